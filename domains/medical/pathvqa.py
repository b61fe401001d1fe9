"""PathVQA: questions about pathology pictures from textbooks (He et al. 2020, arXiv 2003.10286; github.com/UCSD-AI4H/PathVQA).

Licence: MIT (unverified); the pictures come from textbooks. Layout: ``pvqa/images/{train,val,test}/<id>.jpg``, and
``pvqa/qas/`` in one of two forms, both pickled; about 19,755 / 6,279 / 6,761 questions train / val / test (unverified):

| form | file | row |
|---|---|---|
| qa | ``qas/{split}/{split}_qa.pkl`` | ``{image, question, answer}`` |
| vqa | ``qas/{split}_vqa.pkl`` | ``{answer_type, img_id, label: {answer: score}, question_id, question_type, sent}`` |

Where both are there the first is read: its answers are whole, while ``label`` may be empty. The split is the files' own.

Traps: a pickle may run any code, so only lists, dicts, text and numbers are read (adapt.safe.read_plain_pickle). The files'
``answer_type`` is yes/no, number or other: here a question is closed where its answer is yes or no. Ids count a split's rows.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt import pixels, safe
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from converters.formats.jsonfiles import text_of
from converters.vqa import SHORT_ANSWER, VqaSample, to_record
from domains.medical import rows

SPLITS = ("train", "val", "test")
FORMS = ("qa", "vqa")
QUESTION_WORDS = ("what", "where", "when", "who", "whose", "which", "why", "how")


def read(source: Source) -> Reading:
    """The questions of each split, in the order of the files."""
    folder = _find_set(source.input)
    form, files = _find_files(folder, source.options["file"])
    root = source.images or folder
    below = "images/" if (root / "images").is_dir() or source.images is None else ""
    samples = (sample for split, path in files.items() for sample in _read_file(path, split, form, below))
    return Reading(root, samples, facts={"file": form})


def convert(sample: VqaSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a question."""
    return [to_record(sample, task="pathvqa", suffix=source.options["suffix"])]


def _find_set(input: Path) -> Path:
    for folder in (input, input / "pvqa"):
        if (folder / "qas").is_dir():
            return folder
    raise UsageError(f"input '{input}' holds no folder qas (with train_vqa.pkl or train/train_qa.pkl), nor pvqa/qas")


def _find_files(folder: Path, form: str) -> tuple[str, dict[str, Path]]:
    for each in FORMS if form == "auto" else (form,):
        names = {split: f"{split}/{split}_qa.pkl" if each == "qa" else f"{split}_vqa.pkl" for split in SPLITS}
        found = {split: folder / "qas" / name for split, name in names.items() if (folder / "qas" / name).is_file()}
        if found:
            return each, found
    raise UsageError(
        f"{folder / 'qas'}: no train/train_qa.pkl and no train_vqa.pkl" + ("" if form == "auto" else f" (file={form})")
    )


def _read_file(path: Path, split: str, form: str, below: str) -> Iterator[VqaSample | Rejected]:
    found = safe.read_plain_pickle(path)
    if not isinstance(found, list):
        raise DataError(f"{path}: holds {str(found)[:40]!r}, expected a list of questions")
    for number, row in enumerate(found):
        where = f"{path.name}#{number}"
        try:
            if not isinstance(row, dict):
                raise DataError(f"{where}: {str(row)[:40]!r}, expected an object with a question and its answer")
            image, question, answer, meta = (_qa_row if form == "qa" else _vqa_row)(row, where)
            picture = f"{below}{split}/{image.removesuffix('.jpg')}.jpg"
            yield VqaSample(f"pathvqa-{split}-{number}", where, split, (picture,), question, answer, "pathvqa", meta)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), split)


def _qa_row(row: Mapping[str, Any], where: str) -> tuple[str, str, str, dict[str, Any]]:
    """Picture, question, answer, meta. The type of the question is its first word."""
    question, answer = text_of(row, "question", where), text_of(row, "answer", where)
    answer_type = _answer_type(answer)
    first = question.split()[0].lower().strip("?,.")
    kind = "yes/no" if answer_type == "closed" else first if first in QUESTION_WORDS else "other"
    return text_of(row, "image", where), question, answer, {"answer_type": answer_type, "question_type": kind}


def _vqa_row(row: Mapping[str, Any], where: str) -> tuple[str, str, str, dict[str, Any]]:
    label = row.get("label")
    if not isinstance(label, dict) or not label or not all(isinstance(score, int | float) for score in label.values()):
        raise DataError(f"{where}: 'label' is {str(label)[:40]!r}, expected {{answer: score}}; the form qa may have the answer")
    best = max(label, key=lambda name: label[name])  # the first of equals
    answer = text_of({"label": best}, "label", where)
    meta = {"answer_type": _answer_type(answer), "question_type": text_of(row, "question_type", where)}
    return text_of(row, "img_id", where), text_of(row, "sent", where), answer, meta


def _answer_type(answer: str) -> str:
    return "closed" if answer.strip(" .").lower() in ("yes", "no") else "open"


TASK = Task(
    name="pathvqa",
    summary="PathVQA: questions about pathology pictures, from its pickled files",
    layout="pvqa/qas/{train,val,test}_vqa.pkl or pvqa/qas/{split}/{split}_qa.pkl beside pvqa/images/{split}/<id>.jpg",
    unit="question",
    licence="MIT (unverified)",
    read=read,
    convert=convert,
    options=(
        Option("file", "which of the two files is read where both are there (auto: qa)", "auto", ("auto", *FORMS)),
        Option("suffix", rows.SHORT_ANSWER_HELP, SHORT_ANSWER),
        *pixels.OPTIONS,
    ),
    example="adapt convert --task pathvqa --input pvqa --output pathvqa.jsonl",
)
