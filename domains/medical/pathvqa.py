"""PathVQA: questions about pathology pictures from textbooks (He et al. 2020, arXiv 2003.10286; github.com/UCSD-AI4H/PathVQA).

Licence: MIT (unverified); the pictures come from textbooks. Layout: ``pvqa/images/{train,val,test}/<id>.jpg``, and
``pvqa/qas/`` in one of two forms, both pickled; about 19,755 / 6,279 / 6,761 questions train / val / test (unverified):

| form | file | row |
|---|---|---|
| qa | ``qas/{split}/{split}_qa.pkl`` | ``{image, question, answer}`` |
| vqa | ``qas/{split}_vqa.pkl`` | ``{answer_type, img_id, label: {answer: score}, question_id, question_type, sent}`` |

Where both are there the first is read: its answers are whole, while ``label`` may be empty. Where it lacks a split that the
second has, the second is read for all, so that answers are of one form; where neither has every split, each is read in the form
that it has. Both are told. The split is the files' own.

Traps: a pickle may run any code, so only lists, dicts, text and numbers are read (adapt.safe.read_plain_pickle). The files'
``answer_type`` is yes/no, number or other: here a question is closed where its answer is yes or no. Ids count a split's rows.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt import pixels, safe
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.progress import say
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
    files = _find_files(source, folder)
    root = source.images or folder
    below = "images/" if (root / "images").is_dir() or source.images is None else ""
    samples = (sample for split, (form, path) in files.items() for sample in _read_file(path, split, form, below))
    forms = {split: form for split, (form, _) in files.items()}
    return Reading(root, samples, facts={"file": forms if len(set(forms.values())) > 1 else next(iter(forms.values()))})


def convert(sample: VqaSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a question."""
    return [to_record(sample, task="pathvqa", suffix=source.options["suffix"])]


def _find_set(input: Path) -> Path:
    for folder in (input, input / "pvqa"):
        if (folder / "qas").is_dir():
            return folder
    raise UsageError(f"input '{input}' holds no folder qas (with train_vqa.pkl or train/train_qa.pkl), nor pvqa/qas")


def _find_files(source: Source, folder: Path) -> dict[str, tuple[str, Path]]:
    """The form and the file of each split. What the form that comes first, or that is asked for, lacks is told."""
    there, asked = {form: _files_of(folder, form) for form in FORMS}, source.options["file"]
    splits = [split for split in SPLITS if any(split in files for files in there.values())]
    whole = [form for form in FORMS if len(there[form]) == len(splits)]
    forms = (whole[:1] or FORMS) if asked == "auto" else (asked,)
    found = {split: (form, there[form][split]) for form in reversed(forms) for split in there[form]}
    if not found:
        raise UsageError(
            f"{folder / 'qas'}: no train/train_qa.pkl and no train_vqa.pkl" + ("" if asked == "auto" else f" (file={asked})")
        )
    first = FORMS[0] if asked == "auto" else asked
    lacking = [split for split in splits if split not in there[first]]
    if there[first] and lacking and not source.counting:
        read = ", ".join(f"{split} ({found[split][0]})" for split in splits if split in found)
        say(f"note: {folder / 'qas'}: the form {first} has no {', '.join(lacking)}; read: {read}; --option file= chooses")
    return {split: found[split] for split in splits if split in found}


def _files_of(folder: Path, form: str) -> dict[str, Path]:
    """The files of one form by split."""
    names = {split: f"{split}/{split}_qa.pkl" if form == "qa" else f"{split}_vqa.pkl" for split in SPLITS}
    return {split: folder / "qas" / name for split, name in names.items() if (folder / "qas" / name).is_file()}


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
        Option(
            "file",
            "which of the two files is read where both are there (auto: qa, if it has every split)",
            "auto",
            ("auto", *FORMS),
        ),
        Option("suffix", rows.SHORT_ANSWER_HELP, SHORT_ANSWER),
        *pixels.OPTIONS,
    ),
    example="adapt convert --task pathvqa --input pvqa --output pathvqa.jsonl",
)
