"""Shares, intervals and text measures against hand-computed values and libraries that we did not write."""

import difflib

import numpy as np
import pytest
from scipy import stats

from adapt.domain import Metric
from adapt.evaluate.metrics import (
    Measure,
    anls,
    edit_distance,
    exact_match,
    mean_of_shares,
    normalise,
    of_sums,
    ratios,
    share,
    token_f1,
)


@pytest.mark.parametrize(
    ("answer", "truth", "mark"),
    [
        ("yes", "yes", 1.0),
        ("Yes.", "yes", 1.0),
        (" The  Cat!", "a cat", 1.0),
        ("cats", "cat", 0.0),
        ("no", "yes", 0.0),
        ("", "yes", 0.0),
        (None, "yes", 0.0),
        ("   ", "yes", 0.0),
        ("yes " * 10_000, "yes", 0.0),
        ("", "A", 0.0),  # SQuAD's form of "A" is empty; an empty answer must not equal it
        ("a.", "A", 1.0),
        ("B", "A", 0.0),
        ("+", "+", 1.0),
        ("-", "+", 0.0),
        ("Ärzte", "ärzte", 1.0),
    ],
)
def test_exact_match(answer, truth, mark):
    """Exact match on SQuAD's normal form; nothing and too much are wrong."""
    assert exact_match(answer, truth) == mark


@pytest.mark.parametrize(
    ("answer", "truth", "mark"),
    [
        ("red car", "red car", 1.0),
        ("the red car", "red car", 1.0),
        ("red", "red car", 2 / 3),  # precision 1, recall 1/2
        ("red blue green car", "red car", 2 / 3),  # precision 1/2, recall 1
        ("red red", "red car", 0.5),  # one common token of two and two
        ("blue", "red car", 0.0),
        ("", "red car", 0.0),
        (None, "red car", 0.0),
        ("the", "red car", 0.0),
        ("car, red", "red car", 1.0),
        ("red car " * 1000, "red car", 2 / 1001),  # precision 2/2000, recall 1
        ("A", "A", 1.0),
    ],
)
def test_token_f1(answer, truth, mark):
    """SQuAD's F1 over bags of tokens."""
    assert token_f1(answer, truth) == pytest.approx(mark)


@pytest.mark.parametrize(
    ("answer", "truth", "mark"),
    [
        ("stop", "stop", 1.0),
        ("STOP", "stop", 1.0),
        ("stop  sign", "stop sign", 1.0),
        ("stap", "stop", 0.75),  # 1 of 4
        ("stops", "stop", 0.8),  # 1 of 5
        ("st", "stop", 0.0),  # 2 of 4 is not below 0.5
        ("sto", "stop", 0.75),
        ("go", "stop", 0.0),
        ("", "stop", 0.0),
        (None, "stop", 0.0),
        ("stop" * 50_000, "stop", 0.0),
        ("kitten", "sitting", 1 - 3 / 7),
    ],
)
def test_anls(answer, truth, mark):
    """1 - edit distance over the longer length, cut at 0.5, as in ST-VQA and DocVQA."""
    assert anls(answer, truth) == pytest.approx(mark)


def test_edit_distance_against_textbook_and_bounds():
    """Textbook pairs; and on drawn strings it lies between the difference in length and difflib's number of edits."""
    pairs = {("kitten", "sitting"): 3, ("flaw", "lawn"): 2, ("", "abc"): 3, ("same", "same"): 0, ("intention", "execution"): 5}
    for (first, second), distance in pairs.items():
        assert edit_distance(first, second) == edit_distance(second, first) == distance
    generator = np.random.default_rng(0)
    for _ in range(100):
        first, second = ("".join(generator.choice(list("abc"), generator.integers(0, 9))) for _ in range(2))
        edits = difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
        upper = sum(max(b - a, d - c) for tag, a, b, c, d in edits if tag != "equal")
        assert abs(len(first) - len(second)) <= edit_distance(first, second) <= upper


def test_normal_form_is_squads():
    """The examples of SQuAD's script: case, punctuation, articles, blanks."""
    assert normalise("The  U.S. Army's\tTank") == "us armys tank"
    assert normalise("an") == "an"
    assert normalise("theatre") == "theatre"


def test_share_is_the_mean_with_its_count():
    """The value is the plain mean; the interval holds it and stays in 0..1."""
    metric = share([1, 0, 0.5, 1], ["a", "b", "c", "d"])
    assert (metric.value, metric.count) == (0.625, 4)
    assert 0 <= metric.low <= 0.625 <= metric.high <= 1


def test_nothing_to_average_is_defined():
    """No marks give 0 with a count of 0, not an error and not NaN; one group says nothing of the spread."""
    assert share([], []) == Metric(0.0, 0, 0.0, 0.0)
    assert mean_of_shares([], [], []) == Metric(0.0, 0, 0.0, 0.0)
    assert share([1.0, 1.0], ["one", "one"]) == Metric(1.0, 2, 0.0, 1.0, 1)


def test_a_metric_tells_from_how_many_pictures_its_interval_is_drawn():
    """Five rows of two pictures are two, of every kind of measure; a measure that nothing stands behind has none."""
    marks, groups = [1.0, 0.0, 1.0, 1.0, 0.0], ["a", "a", "b", "b", "b"]
    assert (share(marks, groups).count, share(marks, groups).groups) == (5, 2)
    assert mean_of_shares(marks, [0, 1, 0, 1, 0], groups).groups == 2
    assert ratios({"share": (marks, [1.0] * 5)}, groups)["share"].groups == 2
    nothing = {"none": Measure(lambda sums_RC: sums_RC[:, 0], 0)}
    assert of_sums(np.zeros((5, 1)), groups, nothing)["none"].groups == 0


def test_interval_is_that_of_scipys_bootstrap():
    """With a group for each row the interval is scipy's percentile bootstrap to within its own noise."""
    marks = (np.random.default_rng(1).random(400) < 0.3).astype(float)
    metric = share(list(marks), list(range(400)))
    theirs = stats.bootstrap((marks,), np.mean, n_resamples=2000, method="percentile", rng=1).confidence_interval
    assert metric.low == pytest.approx(theirs.low, abs=0.006)
    assert metric.high == pytest.approx(theirs.high, abs=0.006)


def test_questions_of_one_picture_are_not_independent():
    """100 copies of each of 20 pictures give the interval of 20 items, not of 2,000."""
    marks = [float(index % 2) for index in range(20)]
    alone = share(marks, list(range(20)))
    copied = share([mark for mark in marks for _ in range(100)], [index for index in range(20) for _ in range(100)])
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    blind = share([mark for mark in marks for _ in range(100)], list(range(2000)))
    assert copied.high - copied.low > 5 * (blind.high - blind.low)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Over 200 drawn sets of 100 pictures with 5 like-minded questions each, 90 to 99 % of intervals hold the truth."""
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        difficulty = generator.beta(2, 2, 100)
        marks = (generator.random((100, 5)) < difficulty[:, None]).astype(float)
        metric = share(list(marks.ravel()), [index for index in range(100) for _ in range(5)])
        held += metric.low <= 0.5 <= metric.high
    assert 0.90 <= held / 200 <= 0.99


def test_macro_weighs_kinds_alike():
    """Nine right of kind a and one wrong of kind b: micro 0.9, macro 0.5."""
    marks, kinds, groups = [1.0] * 9 + [0.0], ["a"] * 9 + ["b"], list(range(10))
    assert share(marks, groups).value == pytest.approx(0.9)
    assert mean_of_shares(marks, kinds, groups).value == 0.5


def test_same_input_same_interval():
    """The interval is a function of the marks, groups and seed alone: nothing is drawn from a process's generator."""
    marks, groups = [float(index % 3 == 0) for index in range(60)], [index // 3 for index in range(60)]
    np.random.seed(0)
    first = share(marks, groups)
    np.random.seed(1)
    assert share(marks, groups) == first
    assert share(marks, [f"picture {group}" for group in groups]) == first
