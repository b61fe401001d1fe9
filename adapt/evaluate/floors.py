"""What needs no picture: the score of giving each question text the answer that is right most often."""

import collections
from collections.abc import Hashable, Sequence

from adapt.records import IMAGE_PLACEHOLDER, ChatRecord


def question_text(record: ChatRecord) -> str:
    """The last question without its pictures, in lower case and with single blanks."""
    return " ".join(record.question.replace(IMAGE_PLACEHOLDER, " ").lower().split())


def question_only(records: Sequence[ChatRecord], truths: Sequence[Hashable]) -> float:
    """The share that is right where every question text gets its most frequent truth; 0.0 without records.

    The most frequent is counted in these records themselves: no model that sees no picture can do better, and where most
    questions are asked once it is close to 1.
    """
    by_question: dict[str, collections.Counter[Hashable]] = {}
    for record, truth in zip(records, truths, strict=True):
        by_question.setdefault(question_text(record), collections.Counter())[truth] += 1
    return sum(max(counts.values()) for counts in by_question.values()) / len(records) if records else 0.0
