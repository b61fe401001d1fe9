"""easy-VQA: yes/no, shape and colour questions about drawn shapes (github.com/vzhou842/easy-VQA, MIT).

4,000 + 1,000 pictures of 64x64, 38,575 train and 9,673 test questions, 13 answers. Learnable in seconds, which makes it the
stand-in for general data where a small run must show what is forgotten.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapt import pixels, safe
from adapt.domain import Reading, Rejected, Source, Task
from adapt.errors import UsageError
from adapt.records import ChatRecord
from converters.vqa import VqaSample, to_record

SPLITS = ("train", "test")


def read(source: Source) -> Reading:
    """The questions of both splits, in the order of the files."""
    folders = [folder for folder in (source.input, source.input / "data") if _splits(folder)]
    if not folders:
        raise UsageError(f"input '{source.input}' holds no train/questions.json or test/questions.json")
    folder = folders[0]
    return Reading(source.images or folder, (sample for split in _splits(folder) for sample in _read_split(folder, split)))


def convert(sample: VqaSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a question, in its own words: every answer is a word, so no line needs to ask for one."""
    return [to_record(sample, task="easyvqa", suffix="")]


def _splits(folder: Path) -> list[str]:
    return [split for split in SPLITS if (folder / split / "questions.json").is_file()]


def _read_split(folder: Path, split: str) -> Iterator[VqaSample | Rejected]:
    path = folder / split / "questions.json"
    for index, row in enumerate(safe.read_array(path, "[question, answer, picture number]")):
        where = f"{split}/questions.json#{index}"
        if not _is_row(row):
            yield Rejected(where, f"{str(row)[:60]}, expected [question, answer, picture number]", split)
            continue
        question, answer, picture = row
        yield VqaSample(
            f"easyvqa-{split}-{index}", where, split, (f"{split}/images/{picture}.png",), question, answer, "easyvqa"
        )


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and [type(each) for each in row] == [str, str, int] and bool(row[0].strip() and row[1].strip())


TASK = Task(
    name="easyvqa",
    summary="easy-VQA: questions about drawn shapes, a small stand-in for general data",
    layout="{train,test}/questions.json beside {train,test}/images/<n>.png",
    unit="question",
    licence="MIT",
    read=read,
    convert=convert,
    options=pixels.OPTIONS,
    example="adapt convert --task easyvqa --input easy-VQA/easy_vqa/data --output general.jsonl --split train",
)
