"""Scoring how many objects a picture shows: the share of exact numbers, and how far the numbers are off on average."""

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from adapt.errors import DataError
from adapt.evaluate.floors import question_only
from adapt.records import ChatRecord

RULE = "counts: the one number of an answer, exactly; in the mean error an answer without one counts as 0"
WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"
)  # fmt: skip
_NUMBER = re.compile(r"(?<![\d.,])-?\d++(?:[.,]\d++)*+")


def read_count(answer: str | None) -> int | None:
    """The one whole number of an answer ("3", "3.", "There are 3."), or a number word alone; None for anything else."""
    words = (answer or "").strip().rstrip(".").lower()
    if words in WORDS:
        return WORDS.index(words)
    found = _NUMBER.findall(words)
    # Beyond nine digits it is no count: a model that repeats a digit would make the mean error meaningless.
    return int(found[0]) if len(found) == 1 and found[0].isascii() and found[0].isdigit() and len(found[0]) <= 9 else None


def true_count(record: ChatRecord) -> int:
    """The truth: ``meta.label``, else the answer. Raises DataError where it is no whole number."""
    label = record.meta.get("label", record.answer)
    found = read_count(str(label))
    if found is None or isinstance(label, bool):
        raise DataError(f"row '{record.id}': the count is {str(label)[:40]!r}, expected a whole number")
    return found


def count_columns(found: Sequence[int | None], truths: Sequence[int]) -> Mapping[str, tuple[list[float], list[float]]]:
    """What is summed for each metric, row by row."""
    ones = [1.0] * len(truths)
    pairs = list(zip(found, truths, strict=True))
    hits = [float(count == truth) for count, truth in pairs]
    errors = [float(abs((count or 0) - truth)) for count, truth in pairs]
    return {"count_accuracy": (hits, ones), "count_mae": (errors, ones)}


def count_floor(records: Sequence[ChatRecord], truths: Sequence[int]) -> dict[str, float]:
    """One number to every question, and one to each question text, each the best that the truth allows."""
    if not truths:
        return {}
    middle = statistics.median_low(truths)
    return {
        "count_accuracy": max(Counter(truths).values()) / len(truths),
        "count_accuracy_question_only": question_only(records, truths),
        "count_mae": sum(abs(truth - middle) for truth in truths) / len(truths),
    }
