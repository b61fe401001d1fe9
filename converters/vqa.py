"""Visual question answering: a picture, a question, a short answer."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from adapt import pixels
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, split_meta
from adapt.show import counted
from converters.formats import table
from converters.formats.pictures import tell_split_folders

# A list of texts as Python prints it; one in JSON may be the answer that was asked for.
_LIST_AS_TEXT = re.compile(r"""\[\s*(?:'.*['"]|".*')\s*\]""", re.DOTALL)
SHORT_ANSWER = "Answer the question using a single word or phrase."


@dataclasses.dataclass(frozen=True)
class VqaSample:
    """One question of one picture (or several). ``meta`` is what a scorer needs besides the answer."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    question: str
    answer: str
    source: str
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def to_record(sample: VqaSample, *, task: str, suffix: str) -> ChatRecord:
    """Pictures, then the question as the dataset has it, then ``suffix`` on a line of its own.

    A question that places all pictures itself stays as it stands. Raises DataError for one that places more or fewer of them.
    """
    placed, count = sample.question.count(IMAGE_PLACEHOLDER), len(sample.pictures)
    if placed not in (0, count):
        raise DataError(
            f"{sample.where}: the question itself holds {counted(placed, f'{IMAGE_PLACEHOLDER} placeholder')} for "
            f"{counted(count, 'picture')}; write one for each picture, or none"
        )
    question = f"{IMAGE_PLACEHOLDER}\n" * (count - placed) + sample.question + (f"\n{suffix}" if suffix else "")
    meta = split_meta(sample.split) | dict(sample.meta)
    turns = (Turn("human", question), Turn("gpt", sample.answer))
    return ChatRecord(sample.id, turns, sample.pictures, task=task, source=sample.source, meta=meta)


def convert(sample: VqaSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a question."""
    return [to_record(sample, task="vqa", suffix=source.options["suffix"])]


def read(source: Source) -> Reading:
    """A table with a picture, a question and an answer in each row."""
    found = table.read_tables(source, picture_column=source.options["image"], find_pictures=True)
    rows = found.rows
    samples = (row if isinstance(row, Rejected) else _sample(row, source.options, found.name) for row in rows)
    return Reading(found.image_root, tell_split_folders(samples, source), ignored=found.ignored)


def _sample(row: table.Row, options: Mapping[str, str], source: str) -> VqaSample | Rejected:
    question, answer = row.values.get(options["question"]), row.values.get(options["answer"])
    meta: dict[str, Any] = {}
    if isinstance(answer, list) and answer:  # several people's answers: the first is learnt, all are kept for scoring
        if any(map(_is_gap, answer)):
            reason = (
                f"column '{options['answer']}' is {str(answer)[:40]!r}, with a gap among the answers; take it out of the list"
            )
            return Rejected(row.where, reason, row.split)
        meta["answers"] = [table.text_of_cell(each) for each in answer]
        answer = answer[0]
    for name, value in (("question", question), ("answer", answer)):
        if value in (None, [], {}) or not str(value).strip():
            return Rejected(row.where, f"column '{options[name]}' is empty, expected the {name}", row.split)
        if isinstance(value, dict | list):
            reason = f"column '{options[name]}' is {str(value)[:40]!r}, expected the {name} as text"
            return Rejected(row.where, reason, row.split)
    if isinstance(answer, str) and _LIST_AS_TEXT.fullmatch(answer.strip()):
        reason = (
            f"column '{options['answer']}' is {answer[:40]!r}, a list written as text; write the answer alone, or save the "
            "table as JSONL or Parquet with lists in it"
        )
        return Rejected(row.where, reason, row.split)
    if not row.pictures:
        return Rejected(row.where, f"column '{options['image']}' is empty, expected a picture", row.split)
    texts = str(question).strip(), table.text_of_cell(answer).strip()
    return VqaSample(row.id, row.where, row.split, row.pictures, *texts, source, meta)


def _is_gap(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


TASK = Task(
    name="vqa",
    summary="questions about pictures with short answers, from a table",
    layout="a table (csv, tsv, json, jsonl, parquet, a folder of them named by split, or hf:NAME) "
    "with columns image, question, answer",
    unit="question",
    read=read,
    convert=convert,
    options=(
        Option("image", "the column of the picture", "image"),
        Option("question", "the column of the question", "question"),
        Option("answer", "the column of the answer", "answer"),
        Option("id", "the column of the id (default: counted)"),
        Option("split", "the column of the split", "split"),
        Option("suffix", f"a line after each question, such as '{SHORT_ANSWER}'", ""),
        *pixels.OPTIONS,
    ),
    example="adapt convert --task vqa --input questions.csv --images photos --output vqa.jsonl",
)
