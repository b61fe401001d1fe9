"""Scoring a choice between classes, answered with a class name or with the letter of an option."""

import collections
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapt.boxes import without_box
from adapt.domain import Answered, Scores
from adapt.errors import DataError
from adapt.evaluate.metrics import mean_of_shares, share
from adapt.evaluate.score import group_of
from adapt.records import ChatRecord

Confusion = Mapping[str, collections.Counter[str]]
LETTERS = string.ascii_uppercase
OUT_OF_LIST = "(out of list)"
RULE = "the class by name (case, blanks, dots, '_' and '-' do not count) or, where offered, by letter"
_LETTERED = re.compile(r"\(?([A-Za-z])\)?(?:[.:)]\s*(.*))?", re.DOTALL)


def squash(text: str) -> str:
    """GeoChat's normal form (github.com/mbzuai-oryx/GeoChat: blanks and dots dropped, lower case), without '_' and '-' too.

    So a dataset's own spelling (``AnnualCrop``, ``baseball_diamond``) equals the readable one of the question.
    """
    return re.sub(r"[\s._-]+", "", text).lower()


def candidates_of(record: ChatRecord, all_labels: Sequence[str]) -> list[str]:
    """The classes one question offers: ``meta.candidates``, else every label of the references."""
    given = record.meta.get("candidates")
    if given is None:
        return list(all_labels)
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise DataError(f"row '{record.id}': meta.candidates is {given!r}, expected a list of class names")
    return given


def label_of(record: ChatRecord) -> str:
    """The true class: ``meta.label``, else the answer itself."""
    label = record.meta.get("label", record.answer)
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"row '{record.id}': meta.label is {label!r}, expected the class name")
    return label


def read_choice(answer: str | None, candidates: Sequence[str], lettered: bool) -> str | None:
    """The candidate an answer names, or None. Letters are read only where the question offers them, a name with its box too."""
    if answer is None or not answer.strip():
        return None
    answer = without_box(answer)
    same = normal_form(candidates)
    by_name = {same(name): name for name in candidates}
    if same(answer) in by_name:
        return by_name[same(answer)]
    match = _LETTERED.fullmatch(answer.strip()) if lettered else None
    if match is None or LETTERS.index(match[1].upper()) >= len(candidates):
        return None
    chosen = candidates[LETTERS.index(match[1].upper())]
    return chosen if not match[2] or same(match[2]) == same(chosen) else None


def normal_form(candidates: Sequence[str]) -> Callable[[str], str]:
    """squash, unless it makes one of two candidates ("1.5" and "15"): then case and runs of blanks alone do not count."""
    apart = len({squash(name) for name in candidates}) == len(set(candidates))
    return squash if apart else lambda text: " ".join(text.lower().split())


def _is_lettered(record: ChatRecord, label: str, candidates: Sequence[str]) -> bool:
    """Whether the truth is written as the letter of the label's place."""
    place = LETTERS.find(record.answer.strip() or "?")
    return len(record.answer.strip()) == 1 and 0 <= place < len(candidates) and candidates[place] == label


def _check_offered(record: ChatRecord, label: str, is_it: Sequence[bool]) -> None:
    """No answer could be right where the true class is none of those offered: a fault of the data, not of the model."""
    if not any(is_it):
        raise DataError(
            f"row '{record.id}': the class '{label[:40]}' is none of the {len(is_it)} in meta.candidates, so no answer can be "
            "right; where answers are letters, meta.label has to name the class"
        )


def score_classes(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """Accuracy over rows and the mean of the classes' recalls; confusion, recalls and floors in the details.

    What names no candidate (empty, missing, over-long, two classes) is wrong and counted as out of list.
    """
    labels = [label_of(each.record) for each in answered]
    all_labels = sorted(set(labels))
    marks: list[float] = []
    hits: collections.Counter[str] = collections.Counter()
    confusion: Confusion = {label: collections.Counter() for label in all_labels}
    chances = []
    for each, label in zip(answered, labels, strict=True):
        candidates = candidates_of(each.record, all_labels)
        same = normal_form(candidates)
        _check_offered(each.record, label, [same(name) == same(label) for name in candidates])
        choice = read_choice(each.answer, candidates, _is_lettered(each.record, label, candidates))
        confusion[label][OUT_OF_LIST if choice is None else choice] += 1
        marks.append(float(choice is not None and same(choice) == same(label)))
        hits[label] += int(marks[-1])
        chances.append(1 / max(1, len(candidates)))
    groups = [group_of(each.record) for each in answered]
    return Scores(
        metrics={"accuracy": share(marks, groups), "balanced_accuracy": mean_of_shares(marks, labels, groups)},
        convention=RULE,
        per_row={each.record.id: mark for each, mark in zip(answered, marks, strict=True)},
        details={"floor": _floor(labels, chances)} | _details(labels, hits, confusion),
    )


def _floor(labels: Sequence[str], chances: Sequence[float]) -> dict[str, float]:
    """What always naming the largest class scores, and drawing a candidate blindly."""
    if not labels:
        return {}
    counts = collections.Counter(labels)
    return {
        "accuracy": max(counts.values()) / len(labels),
        "balanced_accuracy": 1 / len(counts),
        "accuracy_of_chance": sum(chances) / len(chances),
    }


def _details(labels: Sequence[str], hits: Mapping[str, int], confusion: Confusion) -> dict[str, Any]:
    counts = collections.Counter(labels)
    return {
        "out_of_list": sum(row[OUT_OF_LIST] for row in confusion.values()),
        "recall": {label: {"value": hits[label] / counts[label], "count": counts[label]} for label in confusion},
        "confusion": {label: dict(sorted(row.items())) for label, row in confusion.items()},
    }
