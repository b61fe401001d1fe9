"""Answers: inside the row's candidates, and how they spread: where one letter is mostly right, the letter is learnt."""

import math
import re
import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from adapt.boxes import without_box
from adapt.check.faults import Fault
from adapt.check.rows import Row

SHOWN_ANSWERS = 10
CLOSED_SET = 100
ENOUGH_LETTERS = 40  # rows of a source from which on their letters are judged
_LETTER = re.compile(r"\(?([A-Z])\)?\.?")
_OPTION = re.compile(r"(?:^|[\s(])([A-Z])[.):]\s")
_BETWEEN = re.compile(r"[,;/\n]|\band\b")


def answer_faults(rows: Sequence[Row]) -> list[Fault]:
    """Rows whose answer is none of ``meta.candidates``, neither as text (a region's with its box, too) nor as its letter.

    Where ``meta.label`` is a list (several labels are right), each of them must be a candidate, and so must each part of the
    answer; with an empty list the answer may be any word for none.
    """
    faults = []
    for row in rows:
        candidates, label = row.record.meta.get("candidates"), row.record.meta.get("label")
        if candidates is None:
            continue
        if not isinstance(candidates, list) or not candidates:
            faults.append(Fault(row.where, "answer", "meta.candidates: expected a list of answers"))
            continue
        names = [str(each).strip() for each in candidates]
        answer = without_box(row.record.answer)
        strange = _strange(answer, [str(each) for each in label], names) if isinstance(label, list) else None
        if strange:
            faults.append(Fault(row.where, "answer", f"'{strange[:60]}' is none of the {len(names)} candidates"))
        elif strange is None and not _among(answer, names):
            message = f"the answer '{row.record.answer[:60]}' is none of the {len(names)} candidates"
            faults.append(Fault(row.where, "answer", message))
    return faults


def _among(answer: str, names: Sequence[str]) -> bool:
    answer = answer.strip()
    letters = string.ascii_uppercase[: len(names)]
    return answer in names or (len(answer.rstrip(".")) == 1 and answer[0] in letters)


def _strange(answer: str, labels: Sequence[str], names: Sequence[str]) -> str:
    """The first label or part of the answer that is no candidate; '' where all are."""
    strange = next((label for label in labels if label.strip() not in names), "")
    if strange or not labels:
        return strange
    rest = answer.strip().rstrip(".")
    for label in sorted(labels, key=len, reverse=True):  # a name may hold a comma, and another name
        rest = rest.replace(label, "\n")
    return next((part for part in map(str.strip, _BETWEEN.split(rest)) if part and not _among(part, names)), "")


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


def letter_spread(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """For each source: how often each letter is the answer, how often it would be by chance, and whether these agree.

    They do not where chi-square lies four standard deviations above its mean and the commonest letter a fifth above its share.
    """
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in rows:
        if match := _LETTER.fullmatch(row.record.answer.strip()):
            found[row.source].append((match[1], _num_options(row)))
    spreads = {}
    for source, answers in sorted(found.items()):
        counts = Counter(letter for letter, _ in answers)
        seen = string.ascii_uppercase.index(max(counts)) + 1
        expected: Counter[str] = Counter()
        for _, options in answers:
            number = max(options, seen if not options else 0, 2)
            expected.update({letter: 1 / number for letter in string.ascii_uppercase[:number]})
        chi_square = sum((counts[letter] - share) ** 2 / share for letter, share in expected.items())
        freedom = max(1, len(expected) - 1)
        common, times = counts.most_common(1)[0]
        uneven = chi_square > freedom + 4 * math.sqrt(2 * freedom) and times > 1.2 * expected[common]
        spreads[source] = {
            "rows": len(answers),
            "counts": dict(sorted(counts.items())),
            "expected": {letter: round(share, 1) for letter, share in sorted(expected.items())},
            "balanced": not uneven or len(answers) < ENOUGH_LETTERS,
        }
    return spreads


def _num_options(row: Row) -> int:
    """How many options the question has: its candidates, else lettered ones in its text, else 0 for unknown."""
    candidates = row.record.meta.get("candidates")
    if isinstance(candidates, list) and len(candidates) <= len(string.ascii_uppercase):
        return len(candidates)
    letters = set(_OPTION.findall(row.record.question))
    return next((n for n, letter in enumerate(string.ascii_uppercase) if letter not in letters), 0)


def letter_notes(spreads: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each source whose letters are unbalanced: no fault, but a model learns the letter."""
    notes = []
    for source, spread in spreads.items():
        if not spread["balanced"]:
            letter, times = max(spread["counts"].items(), key=lambda each: each[1])
            rows, chance = spread["rows"], spread["expected"].get(letter, 0)
            notes.append(
                f"unbalanced letters in {source}: {letter} is right in {times / rows:.0%} of {rows:,} rows, "
                f"{chance / rows:.0%} by chance; draw the order of the options"
            )
    return notes
