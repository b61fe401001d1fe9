"""Scoring what a region of a picture is called: exact names, or the exact words of a caption or an answer."""

from collections import Counter
from collections.abc import Sequence

from adapt.boxes import without_box
from adapt.domain import Answered
from adapt.evaluate.classes import candidates_of, label_of, normal_form, read_choice, squash
from adapt.evaluate.metrics import exact_match, normalise
from adapt.records import ChatRecord

RULE = "regions: the name alone or with its box (case, blanks, dots, '_' and '-' do not count); captions by their exact words"


def region_marks(answered: Sequence[Answered]) -> list[float]:
    """1.0 for each row whose answer is the truth, else 0.0."""
    labels = sorted({label_of(each.record) for each in answered if "label" in each.record.meta})
    return [_mark(each, labels) for each in answered]


def _mark(each: Answered, labels: Sequence[str]) -> float:
    record = each.record
    if "label" not in record.meta:
        return exact_match(without_box(each.answer or ""), without_box(record.answer))
    label = label_of(record)
    candidates = candidates_of(record, labels)
    same = normal_form(candidates)
    offered = candidates if any(same(name) == same(label) for name in candidates) else [*candidates, label]
    choice = read_choice(each.answer, offered, lettered=False)
    return float(choice is not None and same(choice) == same(label))


def region_floor(records: Sequence[ChatRecord]) -> dict[str, float]:
    """The most frequent answer to every question."""
    truths = Counter(
        squash(label_of(record)) if "label" in record.meta else normalise(without_box(record.answer)) for record in records
    )
    return {"region_accuracy": max(truths.values()) / len(records)} if truths else {}
