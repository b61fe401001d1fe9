"""Scoring a choice of several classes at once, answered with names or letters, or with the word for none.

An answer is read part by part, at commas or at semicolons (class names may hold commas), whichever gives more classes. What
names no candidate makes the answer wrong as a whole and counts as out of list; classes named beside it still count as named.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from adapt.domain import Answered, Scores
from adapt.errors import DataError
from adapt.evaluate.classes import candidates_of, read_choice
from adapt.evaluate.metrics import mean_of_shares, share
from adapt.evaluate.score import group_of
from adapt.records import ChatRecord

RULE = "all classes that apply, by name or letter in any order: right where none is missing and none too many"


@dataclasses.dataclass(frozen=True)
class _Marked:
    """One row: what was offered, what is true, what was named, and whether anything else was said."""

    candidates: tuple[str, ...]
    labels: frozenset[str]
    named: frozenset[str]
    strange: bool

    @property
    def is_right(self) -> bool:
        return self.named == self.labels and not self.strange


def is_several(record: ChatRecord) -> bool:
    """Whether a row asks for all classes that apply: ``meta.label`` is a list."""
    return isinstance(record.meta.get("label"), list)


def score_several(answered: Sequence[Answered]) -> Scores:
    """Accuracy: the share of rows with exactly the right classes. Balanced accuracy: the share of rows for which a class is
    told right, of each class where it is present and where it is absent apart, and the mean of these. Precision and recall of
    each class are in the details.
    """
    rows = [_mark(each) for each in answered]
    groups = [group_of(each.record) for each in answered]
    marks = [float(row.is_right) for row in rows]
    cells = [(row, place, name) for place, row in enumerate(rows) for name in row.candidates]
    told = [float((name in row.named) == (name in row.labels)) for row, _, name in cells]
    kinds = [(name, name in row.labels) for row, _, name in cells]
    return Scores(
        metrics={
            "accuracy": share(marks, groups),
            "balanced_accuracy": mean_of_shares(told, kinds, [groups[place] for _, place, _ in cells]),
        },
        convention=RULE,
        per_row={each.record.id: mark for each, mark in zip(answered, marks, strict=True)},
        details={"floor": _floor(rows), "out_of_list": sum(row.strange for row in rows), "classes": _by_class(rows)},
    )


def _mark(each: Answered) -> _Marked:
    record = each.record
    labels, candidates = record.meta.get("label"), candidates_of(record, ())
    if not isinstance(labels, list) or not candidates or not all(name in candidates for name in labels):
        raise DataError(
            f"row '{record.id}': meta.label is {str(labels)[:60]}, expected a list of names from meta.candidates, as elsewhere"
        )
    found = _read(each.answer, candidates, lettered=_is_lettered(record, labels, candidates))
    if found == [None] and not labels and (each.answer or "").strip(" .").lower() == record.answer.strip(" .").lower():
        found = []  # the row's own word for none
    named = frozenset(name for name in found if name is not None)
    return _Marked(tuple(candidates), frozenset(labels), named, strange=None in found)


def _read(answer: str | None, candidates: Sequence[str], *, lettered: bool) -> list[str | None]:
    """The candidate that each part of an answer names, None for what names none."""
    text = (answer or "").strip()
    whole = read_choice(text, candidates, lettered)
    if whole is not None:
        return [whole]
    ways = [[part.strip().removesuffix(".") for part in re.split(marks, text)] for marks in (r"[,\n]", ";")]
    found = [[read_choice(part, candidates, lettered) for part in parts if part] for parts in ways]
    return min(found, key=lambda names: (-len(names) + names.count(None), names.count(None))) or [None]


def _is_lettered(record: ChatRecord, labels: Sequence[str], candidates: Sequence[str]) -> bool:
    """Whether the question lists its candidates by letter."""
    return all(f"{chr(65 + place)}. {name}" in record.question for place, name in enumerate(candidates[:26]))


def _floor(rows: Sequence[_Marked]) -> dict[str, float]:
    """What always saying none scores."""
    kinds = {(name, name in row.labels) for row in rows for name in row.candidates}
    if not kinds:
        return {}
    absent = sum(not present for _, present in kinds)
    return {"accuracy": sum(not row.labels for row in rows) / len(rows), "balanced_accuracy": absent / len(kinds)}


def _by_class(rows: Sequence[_Marked]) -> Mapping[str, Any]:
    found = {}
    for name in sorted({name for row in rows for name in row.candidates}):
        true = sum(name in row.labels for row in rows)
        said = sum(name in row.named for row in rows)
        both = sum(name in row.labels and name in row.named for row in rows)
        found[name] = {"count": true, "precision": both / said if said else 0.0, "recall": both / true if true else 0.0}
    return found
