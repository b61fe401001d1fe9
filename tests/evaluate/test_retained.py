"""What a tuned model keeps of its base, and the advice: hand-computed, counted out, and against the textbook's variance."""

import itertools
import math

import numpy as np
import pytest

from adapt.errors import DataError
from adapt.evaluate.retained import Candidate, Retained, advise, retained

BASE = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0}
OWN = {name: name for name in "abcd"}


@pytest.mark.parametrize(
    ("tuned", "floor", "value"),
    [
        ([BASE], 0.0, 1.0),
        ([{"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}], 0.0, 2 / 3),
        ([{"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}], 0.0, 4 / 3),
        ([dict.fromkeys("abcd", 0.0)], 0.0, 0.0),
        ([{"a": 1.0, "b": 0.5, "c": 0.0, "d": 0.0}], 0.0, 0.5),
        ([{"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}], 0.25, 0.5),  # (0.5 - 0.25) / (0.75 - 0.25)
        ([{"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}], 0.5, -1.0),  # below the floor: (0.25 - 0.5) / (0.75 - 0.5)
        ([BASE, dict.fromkeys("abcd", 0.0)], 0.0, 0.5),  # two seeds: the mean of their scores
        ([BASE, {"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}], 0.5, 0.5),
    ],
)
def test_kept_is_the_ratio_of_the_leads_over_the_floor(tuned: list[dict[str, float]], floor: float, value: float) -> None:
    """(tuned - floor) / (base - floor) of the mean marks, by hand."""
    assert retained(BASE, tuned, OWN, floor=floor).value == pytest.approx(value)


def test_a_model_equal_to_its_base_keeps_all_for_sure() -> None:
    """The comparison is paired: equal answers leave no doubt, however few the questions and wide the score's own interval."""
    assert retained({"a": 1.0, "b": 1.0, "c": 1.0}, [{"a": 1.0, "b": 1.0, "c": 1.0}], OWN) == Retained(1.0, 1.0, 1.0, 1.0)


def test_the_bounds_are_those_of_all_resamples_counted_out() -> None:
    """With five pictures the 3,125 equally likely resamples can be listed; bounds lie beside their quantiles."""
    sums = [(2.0, 2.0), (3.0, 1.0), (2.0, 3.0), (4.0, 2.0), (3.0, 3.0)]  # marks of four questions a picture: base, tuned
    names = [f"{picture}-{question}" for picture in range(5) for question in range(4)]
    marks = [{name: float(int(name[2]) < sums[int(name[0])][side]) for name in names} for side in (0, 1)]
    found = retained(marks[0], [marks[1]], {name: name[0] for name in names})
    every = np.sort(
        [sum(sums[i][1] for i in drawn) / sum(sums[i][0] for i in drawn) for drawn in itertools.product(range(5), repeat=5)]
    )
    for bound, share in ((found.low, 0.025), (found.at_least, 0.05), (found.high, 0.975)):
        assert np.quantile(every, share - 0.02) <= bound <= np.quantile(every, min(1, share + 0.02))
    assert found.value == pytest.approx(11 / 14)


def test_the_interval_is_as_wide_as_the_ratio_estimator_says() -> None:
    """Over many pictures: the textbook's variance of a ratio (Cochran, Sampling Techniques, 2.11), one-sided bound included."""
    random = np.random.default_rng(7)
    base = (random.random((3000, 3)) < 0.85).astype(float)
    tuned = base * (random.random((3000, 3)) < 0.95)
    names = {f"{i}-{j}": (i, j) for i in range(3000) for j in range(3)}
    found = retained(
        {name: base[place] for name, place in names.items()},
        [{name: tuned[place] for name, place in names.items()}],
        {name: place[0] for name, place in names.items()},
    )
    one, other = base.sum(axis=1), tuned.sum(axis=1)
    ratio = other.sum() / one.sum()
    spread = math.sqrt(np.sum((other - ratio * one) ** 2)) / one.sum()
    assert found.value == pytest.approx(ratio)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert ratio - found.at_least == pytest.approx(1.645 * spread, rel=0.12)


def test_one_picture_makes_nothing_sure() -> None:
    """All questions of one picture: the value is told, and no bound above 0 is."""
    assert retained(BASE, [BASE], dict.fromkeys("abcd", "picture")) == Retained(1.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize(("base", "floor"), [(dict.fromkeys("abcd", 0.0), 0.0), (BASE, 0.75), ({}, 0.0)])
def test_a_base_without_ability_is_refused(base: dict[str, float], floor: float) -> None:
    """Nothing can be kept of nothing: a base at its floor is an error, not a share."""
    with pytest.raises(DataError, match="no ability that could be kept"):
        retained(base, [base], OWN, floor=floor)


def test_marks_of_other_questions_are_refused() -> None:
    """Base and tuned must have answered the same questions; the first that differs is named."""
    with pytest.raises(DataError, match="'d'"):
        retained(BASE, [{"a": 1.0, "b": 1.0, "c": 1.0}], OWN)


def candidate(setting: float, value: float, at_least: float) -> Candidate:
    return Candidate(setting, Retained(value, at_least, value, at_least))


def test_the_smallest_ratio_that_surely_keeps_enough_is_recommended() -> None:
    """Not the best one, and not one whose value alone is high enough: 0.1's 0.985 is not sure."""
    found = advise(
        [candidate(0, 0.4, 0.35), candidate(1, 1.0, 0.99), candidate(0.1, 0.985, 0.97), candidate(0.25, 0.985, 0.98)], 0.98
    )
    assert (found.setting, found.at_least, found.best) == (0.25, 0.98, 1)


def test_a_ratio_above_one_that_keeps_less_does_not_matter() -> None:
    """The smallest that reaches it is taken, whatever the larger ones do."""
    assert advise([candidate(0.5, 0.99, 0.985), candidate(1, 0.9, 0.8)], 0.98).setting == 0.5


def test_where_no_ratio_keeps_enough_none_is_invented() -> None:
    """There is no recommendation then; the best is named with what it keeps, the smaller of two equal ones."""
    found = advise([candidate(0, 0.4, 0.35), candidate(0.5, 0.97, 0.96), candidate(1, 0.99, 0.96)], 0.98)
    assert (found.setting, found.best, found.at_least) == (None, 0.5, 0.96)


def test_a_recommendation_from_marks_by_hand() -> None:
    """Marks in, ratio out: 0.25 loses one question of a hundred, 0 loses half; only the first is surely above 0.9."""
    base = {str(number): 1.0 for number in range(100)}
    groups = {name: name for name in base}
    lost = {0.0: 50, 0.25: 1, 1.0: 0}
    candidates = [
        Candidate(ratio, retained(base, [{name: float(int(name) >= count) for name in base}], groups))
        for ratio, count in lost.items()
    ]
    assert advise(candidates, 0.9).setting == 0.25
    assert advise(candidates, 0.99).setting == 1.0  # 0.25 keeps 0.99, but not surely
