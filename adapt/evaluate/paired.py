"""Whether one run is better than another on the same questions: a paired interval and a paired test, by picture.

Two runs answer the same questions, and what is hard for one is mostly hard for the other: the spread of the differences is
far below that of the scores (Miller, "Adding Error Bars to Evals", arXiv 2411.00640, section 4). The interval draws pictures
with all their questions; the test swaps the two runs' marks of a picture as a whole (Edgington, "Randomization Tests").
Axes: R drawn swaps, G pictures.
"""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from adapt import randomness
from adapt.domain import Answered, Scores
from adapt.evaluate.metrics import share
from adapt.evaluate.score import group_of

PERMUTATIONS = 10_000
MOST_ENUMERATED = 13  # pictures with a difference: 2**13 swaps are fewer than are drawn
_SIGNS_AT_ONCE = 4_000_000
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Paired:
    """The first run's mean mark minus the second's, its 95 % interval, the two-sided p-value, the numbers of
    questions and of the groups (pictures) that were drawn and swapped."""

    difference: float
    low: float
    high: float
    p_value: float
    count: int
    groups: int


def compare(marks_a: Sequence[float], marks_b: Sequence[float], groups: Sequence[Hashable], *, seed: int = 0) -> Paired:
    """Compare two runs' marks (0..1) of the same questions; ``groups`` says which questions share a picture.

    The same arguments give the same numbers. With fewer than two pictures nothing is known of the spread: the interval is
    -1..1 and the p-value 1. Raises ValueError where the three do not have the same length.
    """
    if not len(marks_a) == len(marks_b) == len(groups):
        raise ValueError(
            f"marks of {len(marks_a):,} and {len(marks_b):,} questions in {len(groups):,} groups; expected as many"
        )
    differences = [float(first) - float(second) for first, second in zip(marks_a, marks_b, strict=True)]
    num_groups = len(set(groups))
    if num_groups < 2:
        mean = sum(differences) / len(differences) if differences else 0.0
        return Paired(mean, -1.0, 1.0, 1.0, len(differences), num_groups)
    metric = share(differences, groups, seed)
    p_value = _p_value(_sums(differences, groups), seed)
    return Paired(metric.value, metric.low, metric.high, p_value, metric.count, num_groups)


def compare_headlines(headline: str, first: Scores, second: Scores, answered: Sequence[Answered]) -> dict[str, Any]:
    """What scores.json says of a pair: {headline, difference, low, high, p, count, groups}.

    A headline that is no mean of the rows' marks (a corpus measure such as CIDEr, a macro average, a sum of several) cannot
    be taken apart by question: then {headline, reason}.
    """
    chosen = [each.record for each in answered if _counts(each.record.id, first) and _counts(each.record.id, second)]
    marks_a, marks_b = ([float(scores.per_row[record.id]) for record in chosen] for scores in (first, second))
    for scores, marks in ((first, marks_a), (second, marks_b)):
        metric = scores.metrics.get(headline)
        if not marks or metric is None or metric.count != len(marks) or abs(sum(marks) / len(marks) - metric.value) > _ROUNDING:
            return {"headline": headline, "reason": f"{headline} is no mean of the marks of single questions: no paired test"}
    found = compare(marks_a, marks_b, [group_of(record) for record in chosen])
    return {
        "headline": headline,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p_value,
        "count": found.count,
        "groups": found.groups,
    }


def _counts(identifier: str, scores: Scores) -> bool:
    return identifier in scores.per_row and (scores.headline_rows is None or identifier in scores.headline_rows)


def _sums(differences: Sequence[float], groups: Sequence[Hashable]) -> np.ndarray:
    """float64[G]: the summed differences of the pictures that have one; a swap of the others changes nothing."""
    sums: dict[Hashable, float] = {}
    for difference, group in zip(differences, groups, strict=True):
        sums[group] = sums.get(group, 0.0) + difference
    totals_G = np.asarray(list(sums.values()))
    return totals_G[np.abs(totals_G) > _ROUNDING]


def _p_value(sums_G: np.ndarray, seed: int) -> float:
    """The share of swaps whose difference is at least the observed one: of all swaps, or of those drawn and the observed."""
    if not len(sums_G):
        return 1.0
    least = abs(sums_G.sum()) - _ROUNDING
    if len(sums_G) <= MOST_ENUMERATED:
        swaps_RG = np.arange(2 ** len(sums_G))[:, None] >> np.arange(len(sums_G)) & 1
        return float(np.mean(np.abs((1 - 2 * swaps_RG) @ sums_G) >= least))
    at_once = max(1, _SIGNS_AT_ONCE // len(sums_G))
    reached = 0
    for start in range(0, PERMUTATIONS, at_once):
        rows = min(at_once, PERMUTATIONS - start)
        drawn = randomness.words(-(-rows * len(sums_G) // 64), seed, "swaps", start).astype("<u8").view(np.uint8)
        bits_RG = np.unpackbits(drawn, count=rows * len(sums_G)).reshape(rows, len(sums_G))
        reached += int(np.sum(np.abs(sums_G.sum() - 2 * (bits_RG @ sums_G)) >= least))
    return (1 + reached) / (1 + PERMUTATIONS)
