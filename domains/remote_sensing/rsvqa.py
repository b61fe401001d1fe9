"""RSVQA: questions made from OpenStreetMap about Sentinel-2 (LR) and aerial (HR) pictures.

Sources: github.com/syvlo/RSVQA, Zenodo 6344334 (LR) and 6344367 (HR). Questions train / val / test: LR 57,223 / 10,005 / 10,004
over 772 pictures of 256x256; HR 625,340 / 102,843 / 222,684, and test_phili 105,647 (another city), pictures of 512x512.

Each split is three JSON files (questions, answers, images), full-length lists padded with ``{"id": n, "active": false}``. The
original loader goes by list position, which breaks on a part of the set: here rows are joined by id. Question text is kept as
it is, doubled blanks and missing question marks included.

Redistributed copies are one flat list a split, ``{train,val,test}_qa.json`` of {question, answer, image, question_id, type,
dataset}, with counts binned into words (github.com/Serendi-hi/BLIP-rsvqa); they are read too.
"""

import collections
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt import pixels, safe
from adapt.domain import Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from converters.vqa import SHORT_ANSWER, VqaSample, to_record

SPLITS = ("train", "val", "test", "test_phili")
PREFIXES = {"LR": "rsvqa_lr", "USGS": "rsvqa_hr"}
PICTURE_FOLDERS = ("Images_LR", "Data", "Images/Data", "Images", ".")
FLAT_SETS = {"RSVQA-LR": "rsvqa_lr", "RSVQA-HR": "rsvqa_hr"}


def read(source: Source) -> Reading:
    """The active questions of every split, in the order of the files."""
    if flat := [split for split in SPLITS if (source.input / f"{split}_qa.json").is_file()]:
        return _read_flat(source, flat)
    folder, prefix = _find_set(source.input)
    root = source.images or folder
    names = _picture_names(root)
    ignored: collections.Counter[str] = collections.Counter()
    splits = [split for split in SPLITS if (folder / f"{prefix}_split_{split}_questions.json").is_file()]
    samples = (sample for split in splits for sample in _read_split(folder, prefix, split, names, ignored))
    return Reading(root, samples, ignored=ignored)


def _read_flat(source: Source, splits: list[str]) -> Reading:
    root = source.images or source.input
    pictures = _picture_names(root, required=False)
    samples = (
        _flat_sample(row, f"{split}_qa.json#{index}", split, pictures)
        for split in splits
        for index, row in enumerate(safe.read_array(source.input / f"{split}_qa.json", "questions"))
    )
    return Reading(root, samples)


def _flat_sample(row: Any, where: str, split: str, pictures: tuple[str, dict[str, str]]) -> VqaSample | Rejected:
    texts = ("question", "answer", "image", "type", "dataset")
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) and row[name].strip() for name in texts):
        return Rejected(where, f"{str(row)[:60]}, expected an object with the texts {', '.join(texts)}", split)
    stem = Path(row["image"]).stem
    if row["dataset"] not in FLAT_SETS or not _is_number(row.get("question_id")) or not (stem.isascii() and stem.isdecimal()):
        found = f"dataset {row['dataset'][:20]!r}, question_id {str(row.get('question_id'))[:20]}, image {row['image'][:40]!r}"
        return Rejected(where, f"{found}; expected {' or '.join(FLAT_SETS)}, a number, and a numbered picture", split)
    folder, names = pictures
    source = FLAT_SETS[row["dataset"]]
    meta = {"type": row["type"], "img_id": int(stem)}
    identifier = f"{source.replace('_', '-')}-{row['question_id']}"
    picture = folder + (names[stem] if stem in names else str(row["image"]))
    return VqaSample(identifier, where, split, (picture,), row["question"], row["answer"].strip(), source, meta)


def convert(sample: VqaSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a question."""
    return [to_record(sample, task="rsvqa", suffix=SHORT_ANSWER)]


def _find_set(input: Path) -> tuple[Path, str]:
    """The folder of the split files and their prefix: at ``input``, one or two below, or above a picture folder."""
    if not input.is_dir():
        raise UsageError(f"input '{input}' is not a folder; expected the one with LR_split_*.json or USGS_split_*.json")
    below = [input, *sorted(path for pattern in ("*", "*/*") for path in input.glob(pattern) if path.is_dir())]
    above = [] if any(_prefixes(folder) for folder in below) else list(input.resolve().parents[:2])
    found = [(folder, prefix) for folder in below + above for prefix in _prefixes(folder)]
    if not found:
        raise UsageError(f"input '{input}': no LR_split_*_questions.json or USGS_split_*_questions.json at or below it")
    if len(found) > 1:
        listed = ", ".join(f"{folder}/{prefix}_split_*" for folder, prefix in found)
        raise UsageError(f"{input}: several sets ({listed}); point --input at one of them")
    return found[0]


def _prefixes(folder: Path) -> list[str]:
    return [
        prefix for prefix in PREFIXES if any((folder / f"{prefix}_split_{split}_questions.json").is_file() for split in SPLITS)
    ]


def _picture_names(root: Path, *, required: bool = True) -> tuple[str, dict[str, str]]:
    """The picture folder below ``root``, and stem -> name of its files (redistributed copies are not always .tif)."""
    for name in PICTURE_FOLDERS:
        folder = root / name
        if folder.is_dir():
            files = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in safe.PICTURE_SUFFIXES)
            if files:
                return "" if name == "." else f"{name}/", {Path(file).stem: file for file in reversed(files)}
    if not required:
        return "", {}
    raise DataError(f"{root}: no pictures in {', '.join(PICTURE_FOLDERS[:-1])} or itself; give the picture root with --images")


def _read_split(
    folder: Path, prefix: str, split: str, pictures: tuple[str, dict[str, str]], ignored: collections.Counter[str]
) -> Iterator[VqaSample | Rejected]:
    stem = f"{prefix}_split_{split}"
    questions = _rows(folder / f"{stem}_questions.json", "questions")
    answers = [
        row
        for row in _rows(folder / f"{stem}_answers.json", "answers")
        if isinstance(row, dict) and row.get("active") is not False
    ]
    by_id = {row["id"]: row for row in answers if _is_number(row.get("id"))}
    by_question = {row["question_id"]: row for row in reversed(answers) if _is_number(row.get("question_id"))}
    for index, row in enumerate(questions):
        if not isinstance(row, dict):
            yield Rejected(f"{stem}_questions.json#row {index}", f"{str(row)[:60]!r}, expected an object", split)
            continue
        if row.get("active") is False:
            ignored["inactive question"] += 1
            continue
        where = f"{stem}_questions.json#{row['id'] if _is_number(row.get('id')) else f'row {index}'}"
        try:
            answer = _find_answer(row, by_id, by_question, where)
            yield _sample(row, answer, where, split, PREFIXES[prefix], pictures)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), split)


def _rows(path: Path, key: str) -> list[Any]:
    document = safe.read_json(path)
    rows = document.get(key) if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected an object with a list '{key}'")
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _find_answer(row: Mapping[str, Any], by_id: Mapping[int, Any], by_question: Mapping[int, Any], where: str) -> str:
    listed = row.get("answers_ids")
    found = [by_id[each] for each in listed if _is_number(each) and each in by_id] if isinstance(listed, list) else []
    if not found and _is_number(row.get("id")) and row["id"] in by_question:
        found = [by_question[row["id"]]]
    if not found:
        raise DataError(f"{where}: no active answer (answers_ids {str(listed)[:40]})")
    answer = found[0].get("answer")
    if isinstance(answer, bool) or not isinstance(answer, str | int) or not str(answer).strip():
        raise DataError(f"{where}: the answer is {answer!r}, expected text or a whole number")
    return str(answer).strip()


def _sample(
    row: Mapping[str, Any], answer: str, where: str, split: str, source: str, pictures: tuple[str, dict[str, str]]
) -> VqaSample:
    for name in ("id", "img_id"):
        if not _is_number(row.get(name)):
            raise DataError(f"{where}: '{name}' is {str(row.get(name))[:40]!r}, expected a number")
    for name in ("question", "type"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise DataError(f"{where}: '{name}' is {str(row.get(name))[:40]!r}, expected text")
    folder, names = pictures
    picture = folder + names.get(str(row["img_id"]), f"{row['img_id']}.tif")
    meta = {"type": row["type"], "img_id": row["img_id"]}
    identifier = f"{source.replace('_', '-')}-{row['id']}"
    return VqaSample(identifier, where, split, (picture,), row["question"], answer, source, meta)


TASK = Task(
    name="rsvqa",
    summary="RSVQA low and high resolution: presence, comparison, count, area, rural or urban",
    layout="LR_split_{train,val,test}_{questions,answers,images}.json beside Images_LR/, "
    "or USGS_split_* beside Data/ or Images/Data/; or {train,val,test}_qa.json",
    unit="question",
    licence="CC BY 4.0",
    read=read,
    convert=convert,
    options=pixels.OPTIONS,
    example="adapt convert --task rsvqa --input RSVQA-LR --output rsvqa-test.jsonl --split test",
)
