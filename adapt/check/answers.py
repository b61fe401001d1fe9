"""Answers: inside the row's candidates, and how they spread: where one letter is mostly right, the letter is learnt."""

import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from adapt.check.faults import Fault
from adapt.check.rows import Row

SHOWN_ANSWERS = 10
CLOSED_SET = 100


def answer_faults(rows: Sequence[Row]) -> list[Fault]:
    """Rows whose answer is none of ``meta.candidates``, neither as text nor as its letter."""
    faults = []
    for row in rows:
        candidates = row.record.meta.get("candidates")
        if candidates is None:
            continue
        if not isinstance(candidates, list) or not candidates:
            faults.append(Fault(row.where, "answer", "meta.candidates: expected a list of answers"))
        elif not _among(row.record.answer, [str(each) for each in candidates]):
            message = f"the answer '{row.record.answer[:60]}' is none of the {len(candidates)} candidates"
            faults.append(Fault(row.where, "answer", message))
    return faults


def _among(answer: str, candidates: Sequence[str]) -> bool:
    answer = answer.strip()
    letters = string.ascii_uppercase[: len(candidates)]
    return answer in {each.strip() for each in candidates} or (len(answer.rstrip(".")) == 1 and answer[0] in letters)


def answer_spread(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """For each source with few distinct answers: rows, distinct answers, the commonest ones and the first's share."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[row.source][row.record.answer.strip()] += 1
    return {
        source: {
            "rows": found.total(),
            "distinct": len(found),
            "largest_share": round(found.most_common(1)[0][1] / found.total(), 4),
            "common": dict(found.most_common(SHOWN_ANSWERS)),
        }
        for source, found in sorted(counts.items())
        if len(found) <= CLOSED_SET
    }
