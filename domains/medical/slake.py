"""SLAKE: bilingual questions about radiology pictures with their organs marked (Liu et al. 2021, arXiv 2102.09542).

Licence: CC BY 4.0 (unverified). Layout: ``Slake1.0/{train,validate,test}.json`` beside
``Slake1.0/imgs/xmlab<n>/{source.jpg,mask.png,detection.json}``. Rows train / validate / test: 9,835 / 2,099 / 2,094, of which
English 4,919 / 1,053 / 1,061 (645 open and 416 closed in the test); the others are Chinese. Published results are nearly all on
English: ``language=en``. The split is the files' own, ``validate`` called val; the Hub's copy (BoKelvin/SLAKE) names that file
``validation.json``.

``kinds=detect`` asks for the boxes of ``detection.json``: a list of ``{name: [x, y, width, height]}`` in pixels, names in
English. ``mask.png`` beside it is named in the record where it is there.

Traps: one English row (qid 1622 of train) has no answer and is rejected, so a whole conversion needs ``--max-bad 1``.
``test_open.csv`` and ``test_close.csv`` repeat the English test under no numbers of their own; they are not read.
"""

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from adapt import boxes, safe
from adapt.boxes import Box
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn
from converters.formats.jsonfiles import text_of
from converters.objects import to_number
from converters.options import refuse_idle
from converters.vqa import SHORT_ANSWER, VqaSample, to_record
from domains.medical import rows

SPLITS = {"train": "train", "validate": "val", "validation": "val", "test": "test"}
SUFFIX = Option("suffix", rows.SHORT_ANSWER_HELP)
LANGUAGES = ("en", "zh")
SUFFIXES = {"en": SHORT_ANSWER, "zh": "请用一个词或短语回答问题。"}
DETECT = {"en": "Detect {}", "zh": "请检测图中的{}"}
REPEATED_LISTS = ("test_open.csv", "test_close.csv")
MAX_DETECTION_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class MarkedSample:
    """One organ or lesion of a picture and all boxes of it, in pixels. ``language`` is that of the question."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    name: str
    boxes_px: tuple[Box, ...]
    language: str
    meta: Mapping[str, Any]
    sizes: tuple[tuple[int, int], ...] = ()


Sample = VqaSample | MarkedSample | Rejected


def read(source: Source) -> Reading:
    """The questions of each split in the chosen languages; then, where asked for, the marked organs of its pictures.

    Raises UsageError for a folder that is no set, and for two files of one split.
    """
    folder = _find_set(source.input)
    files = _split_files(folder)
    root = source.images or folder
    below = _picture_folder(root, given=source.images is not None)
    kinds = _choose("kinds", source.options["kinds"], ("vqa", "detect"))
    if "vqa" not in kinds:
        refuse_idle(source.options, [SUFFIX], f"kinds={source.options['kinds']}")
    languages = LANGUAGES if source.options["language"] == "all" else (source.options["language"],)
    ignored: collections.Counter[str] = collections.Counter()
    if repeated := sum((folder / name).is_file() for name in REPEATED_LISTS):
        ignored["list that repeats test.json"] = repeated
    for path in sorted(folder.glob("*.json")):
        if path.stem not in SPLITS and _holds_questions(path):
            ignored[f"file of questions that is named for no split ({path.name})"] = 1

    def read_all() -> Iterator[Sample]:
        for split, path in files.items():
            pictures: dict[str, str] = {}
            yield from _read_split(path, split, below, languages if "vqa" in kinds else (), pictures, ignored)
            if "detect" in kinds:
                yield from _read_marked(root, pictures, split, languages, ignored)

    return Reading(root, read_all(), ignored=ignored)


def convert(sample: VqaSample | MarkedSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a question, or one a marked name of a picture, asked in its language."""
    if isinstance(sample, MarkedSample):
        return [_marked_record(sample)]
    if not sample.answer:
        raise DataError(f"{sample.where}: 'answer' is '', expected text")
    suffix = source.options.get("suffix", SUFFIXES[sample.meta["language"]])
    return [to_record(sample, task="slake", suffix=suffix)]


def _marked_record(sample: MarkedSample) -> ChatRecord:
    name = f"<ref>{sample.name}</ref>"
    question = f"{IMAGE_PLACEHOLDER}\n{DETECT[sample.language].format(name)}"
    size = sample.sizes[0]
    boxes_px = [_inside(box, size, sample.where) for box in sample.boxes_px]
    answer = boxes.format_boxes(sample.name, boxes_px, size)
    meta = {"split": sample.split, "boxes_px": [list(box) for box in boxes_px]} | dict(sample.meta)
    turns = (Turn("human", question), Turn("gpt", answer))
    return ChatRecord(sample.id, turns, sample.pictures, sample.sizes, task="slake", source="slake_detect", meta=meta)


def _choose(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in text.split(","))
    if not chosen or any(part not in known for part in chosen):
        raise UsageError(f"option {option}={text}: expected {' or '.join(known)}, or both with a comma")
    return chosen


def _find_set(input: Path) -> Path:
    for folder in (input, input / "Slake1.0"):
        if any((folder / f"{stem}.json").is_file() for stem in SPLITS):
            return folder
    if input.is_file():
        raise UsageError(
            f"input '{input}' is a file; expected the folder of the set, {input.parent}: it holds masks and boxes, too"
        )
    raise UsageError(
        f"input '{input}' holds no train.json, validate.json, validation.json or test.json, nor a folder Slake1.0 with them"
    )


def _split_files(folder: Path) -> dict[str, Path]:
    """The file of each split."""
    files: dict[str, Path] = {}
    for stem, split in SPLITS.items():
        path = folder / f"{stem}.json"
        if path.is_file() and split in files:
            raise UsageError(f"{folder}: {files[split].name} and {path.name} are both the {split} split; keep one")
        if path.is_file():
            files[split] = path
    return files


def _holds_questions(path: Path) -> bool:
    try:
        return any(row is not None and "question" in row for _, row in rows.read_list(path))
    except DataError:
        return False


def _picture_folder(root: Path, *, given: bool) -> str:
    """``imgs/`` below the root, unless the root is that folder itself."""
    if (root / "imgs").is_dir():
        return "imgs/"
    return "" if given or any(root.glob("xmlab*")) else "imgs/"


def _read_split(
    path: Path,
    split: str,
    below: str,
    languages: tuple[str, ...],
    pictures: dict[str, str],
    ignored: collections.Counter[str],
) -> Iterator[Sample]:
    """The questions of one file; ``pictures`` become picture -> place of its first row.

    Without ``languages`` no question is read, and only rows that name no picture are rejected: their marks are lost.
    """
    for number, row in rows.read_list(path):
        where = rows.place(path, number, row)
        try:
            if row is None:
                raise DataError(f"{where}: expected an object with question, answer and img_name")
            picture = below + text_of(row, "img_name", where)
            pictures.setdefault(picture, where)
            if not languages:
                continue
            if row.get("q_lang") not in LANGUAGES:
                raise DataError(f"{where}: 'q_lang' is {str(row.get('q_lang'))[:40]!r}, expected en or zh")
            if row["q_lang"] not in languages:
                ignored[f"question in another language ({row['q_lang']})"] += 1
                continue
            yield _sample(row, where, split, picture)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), split)


def _sample(row: Mapping[str, Any], where: str, split: str, picture: str) -> VqaSample:
    if not rows.is_key(row.get("qid")):
        raise DataError(f"{where}: 'qid' is {str(row.get('qid'))[:40]!r}, expected a number")
    meta = {
        "answer_type": rows.answer_type_of(row, where),
        "question_type": text_of(row, "content_type", where),
        "language": row["q_lang"],
        **rows.details(row, {"location": "location", "modality": "modality", "base_type": "base_type"}),
    }
    question = text_of(row, "question", where)
    answer = "" if row.get("answer") == "" else text_of(row, "answer", where)  # looked at once its picture is
    return VqaSample(f"slake-{row['qid']}", where, split, (picture,), question, answer, "slake", meta)


def _read_marked(
    root: Path, pictures: Mapping[str, str], split: str, languages: tuple[str, ...], ignored: collections.Counter[str]
) -> Iterator[Sample]:
    """The marks of each picture in each language; a picture with none is counted."""
    for picture, first in pictures.items():
        where = f"{picture.rpartition('/')[0]}/detection.json"
        try:
            folder = safe.inside(root, picture, first).parent
            if not folder.is_dir():
                raise DataError(f"{where}: no such folder under {root}")
            marked = _marks(folder / "detection.json", where)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), split)
            continue
        if not marked:
            ignored["picture with nothing marked"] += 1
        mask = f"{picture.rpartition('/')[0]}/mask.png"
        details = {"mask": mask} if (folder / "mask.png").is_file() else {}
        for name, found in marked.items():
            for language in languages:
                yield _marked_sample(picture, f"{where}#{name}", split, name, found, language, details)


def _marks(path: Path, where: str) -> dict[str, list[Any]]:
    """Name -> boxes as written of one picture; {} where nobody marked it."""
    if not path.is_file():
        return {}
    entries = safe.load_json(safe.read_bytes(path, MAX_DETECTION_BYTES), where)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{where}: {str(entries)[:40]!r}, expected a list of {{name: [x, y, width, height]}}")
    found: dict[str, list[Any]] = {}
    for entry in entries:
        for name, box in entry.items():
            found.setdefault(name.strip(), []).append(box)
    return found


def _marked_sample(
    picture: str, where: str, split: str, name: str, found: list[Any], language: str, details: Mapping[str, str]
) -> MarkedSample | Rejected:
    try:
        if not name:
            raise DataError("a mark without a name")
        boxes_px = tuple(_corners(box) for box in found)
    except DataError as error:
        return Rejected(where, str(error), split)
    identifier = f"slake-detect-{PurePosixPath(picture).parent.name}-{name}-{language}"
    meta = {"language": language, "name": name, "class_name": name} | dict(details)
    return MarkedSample(identifier, where, split, (picture,), name, boxes_px, language, meta)


def _corners(box: Any) -> Box:
    """[x, y, width, height] -> x1, y1, x2, y2."""
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"the box is {str(box)[:60]}, expected [x, y, width, height]")
    x, y, width, height = (to_number(value, "a number of the box") for value in box)
    if width <= 0 or height <= 0:
        raise DataError(f"the box {box} has no area; expected a width and a height above 0")
    return x, y, x + width, y + height


def _inside(box: Box, size: tuple[int, int], where: str) -> Box:
    """The box, cut at the edges where it is less than a pixel beyond them."""
    x1, y1, x2, y2 = box
    width, height = size
    if min(x1, y1) < -1 or x2 > width + 1 or y2 > height + 1:
        raise DataError(f"{where}: the box {list(box)} lies outside the picture of {width}x{height} pixels")
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))


TASK = Task(
    name="slake",
    summary="SLAKE: questions about radiology pictures in English and Chinese, and the organs marked in them",
    layout="Slake1.0/{train,validate,test}.json (or validation.json) beside imgs/xmlab<n>/{source.jpg,mask.png,detection.json}",
    unit="question (kinds=detect: a name marked in a picture)",
    licence="CC BY 4.0 (unverified)",
    read=read,
    convert=convert,
    options=(
        Option("language", "whose questions are read; the others are counted", "all", (*LANGUAGES, "all")),
        Option("kinds", "vqa: the questions, detect: the boxes of detection.json; both with a comma", "vqa"),
        SUFFIX,
    ),
    example="adapt convert --task slake --input Slake1.0 --output slake.jsonl --max-bad 1",
)
