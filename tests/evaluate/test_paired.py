"""The paired comparison against scipy's tests, full enumerations by hand, and runs that do not differ."""

import itertools

import numpy as np
import pytest
from scipy import stats

from adapt.domain import Answered, find_benchmark
from adapt.evaluate.metrics import share
from adapt.evaluate.paired import Paired, compare, compare_headlines
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord, Turn


def test_the_p_value_is_scipys_on_every_swap():
    """With a question a picture and few pictures, all swaps are counted: scipy's exact paired permutation test."""
    generator = np.random.default_rng(0)
    for count in (2, 3, 6, 11):
        first, second = generator.random((2, count))
        theirs = stats.permutation_test(
            (first, second), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True
        )
        assert compare(list(first), list(second), range(count)).p_value == pytest.approx(theirs.pvalue)


def test_the_p_value_of_marks_right_or_wrong_is_mcnemars():
    """For marks of 0 and 1 the swaps are coin throws over the questions where the runs differ: the exact McNemar test."""
    first = [1] * 9 + [0] * 2 + [1] * 50 + [0] * 20
    second = [0] * 9 + [1] * 2 + [1] * 50 + [0] * 20
    exact = stats.binomtest(2, 11, 0.5).pvalue
    assert compare(first, second, range(81)).p_value == pytest.approx(exact)
    many = compare([1] * 45 + [0] * 25, [0] * 45 + [1] * 25, range(70))
    assert many.p_value == pytest.approx(stats.binomtest(25, 70, 0.5).pvalue, abs=0.004)  # drawn: 4 errors of 10,000 draws


def test_a_picture_is_swapped_as_a_whole():
    """Three pictures of 2, 1 and 3 questions: by hand, 2 of the 8 swaps reach the sum of 4."""
    first, second = [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]
    groups = ["a", "a", "b", "c", "c", "c"]
    sums = [2, 1, 1]
    reached = sum(
        abs(sum(sign * each for sign, each in zip(signs, sums, strict=True))) >= 4
        for signs in itertools.product((1, -1), repeat=3)
    )
    found = compare(first, second, groups)
    assert found.p_value == reached / 8 == 0.25
    assert (found.difference, found.count, found.groups) == (4 / 6, 6, 3)
    assert compare(first, second, range(6)).p_value == 2 / 16  # as if independent: four coins


def test_the_interval_is_scipys_paired_bootstrap():
    """With a question a picture the interval is scipy's percentile bootstrap of the differences to within its noise."""
    generator = np.random.default_rng(1)
    first = (generator.random(500) < 0.6).astype(float)
    second = np.where(generator.random(500) < 0.8, first, 1 - first)
    theirs = stats.bootstrap(
        (first, second), lambda x, y, axis: np.mean(x - y, axis=axis), paired=True, method="percentile", rng=1
    ).confidence_interval
    ours = compare(list(first), list(second), range(500))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_pairing_is_narrower_than_the_two_intervals():
    """Runs that mostly agree: the paired interval is a fraction of the scores' own."""
    generator = np.random.default_rng(2)
    first = (generator.random(400) < 0.5).astype(float)
    second = first.copy()
    second[:20] = 1 - second[:20]
    metric, paired = share(list(first), range(400)), compare(list(first), list(second), range(400))
    assert paired.high - paired.low < 0.6 * (metric.high - metric.low)


def test_the_p_value_is_fair():
    """Runs that differ by chance alone, each with its own luck on a picture: below 0.05 in about one of twenty trials. Taken as
    independent questions it would be every second or third trial."""
    generator = np.random.default_rng(3)
    by_picture = by_question = 0
    for _ in range(400):
        marks = generator.random((2, 12)).repeat(5, axis=1) * 0.9 + generator.random((2, 60)) * 0.1
        pictures = np.arange(12).repeat(5).tolist()
        by_picture += compare(list(marks[0]), list(marks[1]), pictures).p_value < 0.05
        by_question += compare(list(marks[0][:20]), list(marks[1][:20]), range(20)).p_value < 0.05
    assert 8 <= by_picture <= 34  # 20 expected, standard deviation 4.4
    assert by_question > 80


def test_who_is_first_is_the_sign():
    """The other way round the difference and the interval change their sign, and the p-value stays."""
    first, second = [1, 1, 0, 1, 1, 0.5], [0, 1, 0, 0.25, 1, 1]
    there, back = compare(first, second, range(6)), compare(second, first, range(6))
    assert (back.difference, back.p_value) == (-there.difference, there.p_value)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


def test_what_cannot_be_told_is_defined():
    """No question, one picture, no difference: nothing found, and never an error; lists of unequal length are one."""
    assert compare([], [], []) == Paired(0.0, -1.0, 1.0, 1.0, 0, 0)
    assert compare([1, 1], [0, 0], ["a", "a"]) == Paired(1.0, -1.0, 1.0, 1.0, 2, 1)
    assert compare([1, 0, 1], [1, 0, 1], "abc") == Paired(0.0, 0.0, 0.0, 1.0, 3, 3)
    with pytest.raises(ValueError, match="marks of 2 and 1 questions in 2 groups"):
        compare([1, 0], [1], "ab")


def test_the_same_numbers_twice():
    """Nothing but the arguments decides; another seed draws others."""
    generator = np.random.default_rng(4)
    first, second = generator.random((2, 300))
    once, again = (compare(list(first), list(second), range(300)) for _ in range(2))
    assert once == again != compare(list(first), list(second), range(300), seed=1)


def rows_of(*kinds: str) -> list[Answered]:
    """A question of each kind about a picture of its own; the truth is yes."""
    turns = (Turn("human", "<image>\nq?"), Turn("gpt", "yes"))
    return [
        Answered(ChatRecord(f"r{number}", turns, (f"{number}.png",), source="rsvqa_lr", meta={"type": kind}), None)
        for number, kind in enumerate(kinds)
    ]


def test_a_headline_of_some_rows_is_compared_on_them():
    """RSVQA's headline leaves counts out: three rows of four are compared, and the difference is that of the headlines."""
    benchmark, bare = find_benchmark("rsvqa"), rows_of("presence", "presence", "comp", "count")
    answers = [["yes", "yes", "no", "yes"], ["yes", "no", "no", "7"]]
    answered = [[Answered(row.record, answer) for row, answer in zip(bare, each, strict=True)] for each in answers]
    first, second = (score_answers(benchmark, each, {}) for each in answered)
    found = compare_headlines(benchmark.headline, first, second, bare)
    assert found["difference"] == pytest.approx(first.metrics["micro"].value - second.metrics["micro"].value)
    assert found["difference"] == pytest.approx(1 / 3) and (found["count"], found["p"]) == (3, 1.0)


def test_a_headline_that_is_no_mean_of_marks_is_not_compared():
    """A macro average is not the mean of the rows' marks; it says so instead of a number."""
    bare = rows_of("presence", "presence", "comp")
    answered = [Answered(row.record, answer) for row, answer in zip(bare, ["yes", "no", "yes"], strict=True)]
    scores = score_answers(find_benchmark("rsvqa"), answered, {})
    reason = "macro is no mean of the marks of single questions: no paired test"
    assert compare_headlines("macro", scores, scores, bare) == {"headline": "macro", "reason": reason}
    assert compare_headlines("final", scores, scores, bare)["reason"].startswith("final is no mean")
    assert compare_headlines("micro", scores, scores, bare)["p"] == 1.0
