"""How much of the base's ability a tuned model has kept, with what confidence, and the advice that follows.

Kept is the tuned model's mean mark over the base's on the same questions: (tuned - floor) / (base - floor), where the floor is
what needs no ability at all (0 unless given: a plain ratio of scores). Both have answered the same questions, so the bootstrap
is paired: it draws pictures with all their questions and all their answers, the base's and those of every seed (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: percentile bounds). Axes: R resamples, G pictures.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from adapt.errors import DataError
from adapt.evaluate.metrics import resample

Marks = Mapping[str, float]
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Retained:
    """The share kept, its two-sided 95 % interval, and what it is at least with 95 % confidence (one-sided)."""

    value: float
    low: float
    high: float
    at_least: float


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A run to choose by its setting (a ratio, a fraction): what it keeps."""

    setting: float
    retained: Retained


@dataclasses.dataclass(frozen=True)
class Advice:
    """The smallest setting that keeps enough. Where none does, ``setting`` is None and ``best`` the one that keeps most."""

    setting: float | None
    best: float
    at_least: float


def retained(base: Marks, tuned: Sequence[Marks], groups: Mapping[str, Hashable], *, floor: float = 0.0) -> Retained:
    """What ``tuned`` (the marks of each seed) keeps of ``base``; ``groups`` gives the pictures of each question.

    A resample in which the base is not above the floor counts as nothing kept. With one picture nothing is known of the
    spread, and nothing is sure to be kept. Raises DataError where the marks are of different questions, or the base itself
    is not above the floor: there is nothing to keep then.
    """
    names = list(base)
    for marks in tuned:
        if marks.keys() != base.keys():
            other = next(iter(marks.keys() ^ base.keys()))
            raise DataError(f"the base and a run have answered different questions (first: '{other}'); measure both again")
    if not names or sum(base.values()) / len(names) <= floor:
        raise DataError(
            f"the base scores {sum(base.values()) / max(1, len(names)):.4f} on {len(names):,} general questions, not above the "
            f"floor of {floor:g}: it has no ability that could be kept; measure on questions that it can answer"
        )
    numbers: dict[Hashable, int] = {}
    group_of = np.asarray([numbers.setdefault(groups[name], len(numbers)) for name in names])
    sums_G3 = np.zeros((len(numbers), 3))
    lead = [sum(marks[name] for marks in tuned) / len(tuned) - floor for name in names]
    np.add.at(sums_G3, group_of, np.stack([np.asarray([base[name] - floor for name in names]), lead, np.ones(len(names))], 1))
    value = float(_ratios(sums_G3.sum(axis=0, keepdims=True))[0])
    if len(numbers) == 1:
        return Retained(value, 0.0, max(1.0, value), 0.0)
    ratios_R = _ratios(resample(sums_G3, 0))
    low, high = np.quantile(ratios_R, (0.025, 0.975))
    return Retained(value, float(min(low, value)), float(max(high, value)), float(np.quantile(ratios_R, 1 - CONFIDENCE)))


def _ratios(sums_R3: np.ndarray) -> np.ndarray:
    """float64[R]: tuned lead over base lead, 0 where the base has none."""
    base_R, tuned_R = sums_R3[:, 0], sums_R3[:, 1]
    return np.divide(tuned_R, base_R, out=np.zeros_like(tuned_R), where=base_R > 0)


def advise(candidates: Sequence[Candidate], keep: float) -> Advice:
    """The smallest setting that keeps at least ``keep`` with 95 % confidence; the best one where none does."""
    assert candidates, "a sweep has at least one run"
    best = max(candidates, key=lambda each: (each.retained.at_least, -each.setting))
    enough = [each for each in candidates if each.retained.at_least >= keep]
    if not enough:
        return Advice(None, best.setting, best.retained.at_least)
    smallest = min(enough, key=lambda each: each.setting)
    return Advice(smallest.setting, best.setting, smallest.retained.at_least)
