"""The questions of a measurement with what each contender answered, joined by id: read once, used by every section."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from adapt import safe
from adapt.domain import Metric
from adapt.evaluate.marks import read_marks
from adapt.evaluate.metrics import share
from adapt.evaluate.paired import Paired, compare
from adapt.evaluate.score import group_of, read_predictions
from adapt.records import ChatRecord, image_root, iterate_records
from adapt.report.contenders import Contender
from adapt.report.runs import Measurement, ScoreSet

KIND_FIELDS = ("type", "question_type", "answer_type", "content_type", "tag", "category", "label")
MOST_KINDS = 40


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What one contender answered, and what its benchmark gave for it."""

    name: str
    answers: Mapping[str, str | None]
    marks: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class AnsweredSet:
    """A measurement: its sheets, and its questions where their file is still there; ``fault`` says why they are not."""

    measurement: Measurement
    sheets: tuple[Sheet, ...]
    records: tuple[tuple[str, ChatRecord], ...] = ()
    root: Path = Path()
    fault: str = ""


@dataclasses.dataclass(frozen=True)
class Pair:
    """The paired test of two contenders on the questions that both answered."""

    first: str
    second: str
    found: Paired


@dataclasses.dataclass(frozen=True)
class Breakdown:
    """Mean marks of each kind of question: ``rows`` are (kind, a Metric or None for each contender)."""

    field: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Metric | None, ...]], ...]


def read_answered(measurement: Measurement, contenders: Sequence[Contender]) -> AnsweredSet:
    """Everything that was asked and answered in a measurement. Raises DataError for damaged files."""
    scored = [(contender.name, score) for contender in contenders if (score := contender.at(measurement)) is not None]
    sheets = tuple(_sheet(name, score) for name, score in scored)
    document = scored[0][1].document
    data = Path(document["data"]) if document.get("data") else None
    if data is None or not data.is_file():
        fault = "the scores do not say where their questions came from" if data is None else f"{data} is not there any more"
        return AnsweredSet(measurement, sheets, fault=fault)
    if measurement.digest and safe.file_sha256(data) != measurement.digest:
        return AnsweredSet(measurement, sheets, fault=f"{data} has changed since its questions were answered")
    known = {name for sheet in sheets for name in (*sheet.answers, *sheet.marks)}
    records = tuple((where, record) for where, record in iterate_records(data) if record.id in known)
    root = image_root(data, None if document.get("images") is None else Path(document["images"]))
    return AnsweredSet(measurement, sheets, records, root)


def _sheet(name: str, score: ScoreSet) -> Sheet:
    path = score.folder / "predictions.jsonl"
    answers = read_predictions(path).answers if path.is_file() else {}
    return Sheet(name, answers, read_marks(score.folder / "marks.jsonl"))


def compare_sheets(answered: AnsweredSet, first: Sheet, second: Sheet) -> Pair | None:
    """How much better ``first`` is; by picture where the questions are there, else by question. None without common marks."""
    common = [name for name in first.marks if name in second.marks]
    if not common:
        return None
    groups = {record.id: group_of(record) for _, record in answered.records}
    mine, other = ([sheet.marks[name] for name in common] for sheet in (first, second))
    return Pair(first.name, second.name, compare(mine, other, [groups.get(name, name) for name in common]))


def break_down(answered: AnsweredSet) -> list[Breakdown]:
    """Mean marks by each field of ``meta`` that parts the questions into few kinds."""
    found = []
    for field in KIND_FIELDS:
        kinds = {record.id: _kind(record, field) for _, record in answered.records}
        distinct = sorted(set(kinds.values()) - {""})
        if 2 <= len(distinct) <= MOST_KINDS:
            names = tuple(sheet.name for sheet in answered.sheets)
            groups = {record.id: group_of(record) for _, record in answered.records}
            rows = [(kind, tuple(_mean(sheet, kind, kinds, groups) for sheet in answered.sheets)) for kind in distinct]
            found.append(Breakdown(field, names, tuple(rows)))
    return found


def _kind(record: ChatRecord, field: str) -> str:
    value = record.meta.get(field)
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str | int) and not isinstance(each, bool) for each in values):
        return ""
    return ", ".join(str(each) for each in values)[:80]


def _mean(sheet: Sheet, kind: str, kinds: Mapping[str, str], groups: Mapping[str, Hashable]) -> Metric | None:
    ids = [name for name in sheet.marks if kinds.get(name) == kind]
    return share([sheet.marks[name] for name in ids], [groups[name] for name in ids]) if ids else None
