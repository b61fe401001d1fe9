"""COCO-QA: one-word questions made from captions of COCO pictures (Ren, Kiros, Zemel 2015, arXiv 1505.02074).

78,736 train and 38,948 test questions by the paper; 430 answers. Layout: ``cocoqa-2015-05-17/{train,test}/`` with four parallel
text files, one row a line: questions.txt, answers.txt, img_ids.txt, types.txt (0 object, 1 number, 2 colour, 3 location; 2 and
3 were checked on rows, 0 and 1 are the paper's); pictures ``{train,val}2014/COCO_{train,val}2014_<12 digits>.jpg``, train
questions about train2014 and test questions about val2014. The split is the files' own. Questions end without a mark and hold
the grammar of a machine: they are kept as they are.
"""

from collections.abc import Iterator
from pathlib import Path

from adapt import pixels, safe
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from converters.vqa import SHORT_ANSWER, VqaSample, to_record

SPLITS = {"train": "train2014", "test": "val2014"}
FILES = ("questions.txt", "answers.txt", "img_ids.txt", "types.txt")
TYPES = {"0": "object", "1": "number", "2": "color", "3": "location"}


def read(source: Source) -> Reading:
    """The questions of both splits, in the order of the files."""
    folder = _find(source.input)
    places = (source.images, source.input / "images", folder.parent / "images", folder)
    root = next(place for place in places if place is not None and (place == folder or place.is_dir()))
    splits = [split for split in SPLITS if (folder / split / FILES[0]).is_file()]
    return Reading(root, (sample for split in splits for sample in _read_split(folder, split, root)))


def convert(sample: VqaSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a question, with a line that asks for one word."""
    return [to_record(sample, task="cocoqa", suffix=source.options["suffix"])]


def _find(path: Path) -> Path:
    below = sorted(path.glob("cocoqa*")) if path.is_dir() else []
    for folder in (path, *below):
        if any((folder / split / FILES[0]).is_file() for split in SPLITS):
            return folder
    raise UsageError(f"input '{path}' holds no train/questions.txt or test/questions.txt, and no folder cocoqa-* with them")


def _read_split(folder: Path, split: str, root: Path) -> Iterator[VqaSample | Rejected]:
    columns = [_lines(folder / split / name) for name in FILES]
    counts = [len(lines) for lines in columns]
    if len(set(counts)) != 1:
        shown = ", ".join(f"{name} {count:,}" for name, count in zip(FILES, counts, strict=True))
        raise DataError(f"{folder / split}: the files do not have equally many lines ({shown}); fetch the set again")
    for number, row in enumerate(zip(*columns, strict=True), start=1):
        where = f"{split}/questions.txt:{number}"
        fault = _fault(row)
        if fault:
            yield Rejected(where, fault, split)
            continue
        question, answer, picture, kind = row
        yield VqaSample(
            f"cocoqa-{split}-{number}",
            where,
            split,
            (_picture(root, split, int(picture)),),
            question,
            answer,
            "cocoqa",
            {"question_type": TYPES[kind]},
        )


def _lines(path: Path) -> list[str]:
    """The lines; a byte that is not UTF-8 becomes U+FFFD, which rejects its row alone."""
    text = safe.read_bytes(path).decode("utf-8", "replace")
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def _fault(row: tuple[str, ...]) -> str:
    question, answer, picture, kind = row
    if not question or not answer:
        return f"'{'question' if not question else 'answer'}' is empty"
    if "\ufffd" in question + answer:
        return "the text is not UTF-8"
    if not (picture.isascii() and picture.isdecimal() and len(picture) <= 12):
        return f"the picture's number is {picture[:40]!r}, expected at most 12 digits"
    return "" if kind in TYPES else f"the type is {kind[:40]!r}, expected one of {', '.join(TYPES)}"


def _picture(root: Path, split: str, number: int) -> str:
    """In the folder of its split, in the other one, or without a folder; where it is nowhere, as the set has it."""
    own = SPLITS[split]
    others = [each for each in SPLITS.values() if each != own]
    names = [f"{folder}/COCO_{folder}_{number:012}.jpg" for folder in (own, *others)]
    names += [name.rpartition("/")[2] for name in names]
    return next((name for name in names if (root / name).is_file()), names[0])


TASK = Task(
    name="cocoqa",
    summary="COCO-QA: what, how many, which colour and where, in one word, about COCO pictures",
    layout="cocoqa-2015-05-17/{train,test}/{questions,answers,img_ids,types}.txt beside images/{train2014,val2014}/",
    unit="question",
    licence="pictures under Flickr's terms; of the questions none was found",
    read=read,
    convert=convert,
    options=(Option("suffix", "a line after each question (empty: none)", SHORT_ANSWER), *pixels.OPTIONS),
    example="adapt convert --task cocoqa --input COCO-QA --output cocoqa.jsonl",
)
