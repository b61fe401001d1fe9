"""PMC-VQA's score: letters as models write them, and the official script's reading of the last character."""

import pytest

from adapt.domain import Answered, find_benchmark
from adapt.errors import DataError
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord, Turn
from domains.medical.letters import read_letter, read_like_the_script

CHOICES = ["Fever", "A. baumannii", "Big cell", "Dura"]


def row(answer: str | None, truth: str = "B", number: int = 0, candidates: list[str] | None = None) -> Answered:
    meta = {"candidates": CHOICES if candidates is None else candidates}
    turns = (Turn("human", "<image>\nWhat?"), Turn("gpt", truth))
    return Answered(ChatRecord(f"c{number}", turns, (f"{number}.png",), meta=meta), answer)


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ("B", 1),
        ("b", 1),
        ("(B)", 1),
        ("B.", 1),
        (" D: Dura", 3),
        ("D) whatever", 3),
        ("C\nbecause of its size", 2),
        ("The answer is C.", 2),
        ("The correct option is (D)", 3),
        ("Answer: **A**", 0),
        ("big cell", 2),
        ("A. baumannii", 1),  # the whole name of a choice, though it starts with the letter of another
        ("A. Fever", 0),
        ("A tumour is seen", None),
        ("The answer is a tumour", None),
        ("the answer is A, or rather the answer is B", None),
        ("E", None),  # not offered
        ("Z", None),
        ("1", None),
        ("", None),
        (None, None),
        ("cell " * 4000, None),
    ],
)
def test_letters_as_models_write_them(answer, place):
    """Alone, first, announced, or the choice's own name; articles, two letters and letters not offered are no choice."""
    assert read_letter(answer, CHOICES) == place


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        # " A:Fever" (8), " B:A. baumannii" (15), " C:Big cell" (11), " D:Dura" (7): 2 / (length + 1) where the character is in
        ("A", 0),  # 2/9, not the 2/16 of " B:A. baumannii"
        ("B", 2),  # 2/12 of " C:Big cell" is above the 2/16 of the choice B itself
        ("The answer is D", 3),
        ("D.", 1),  # the full stop stands in "A. baumannii" alone
        ("r", 3),  # 2/8 of " D:Dura" before the 2/9 of " A:Fever"
        ("x", None),
        ("", None),
        (None, None),
        ("B ", 3),  # a blank: in all, " D:Dura" is the shortest
        ("z" * 5000 + "C", 2),
    ],
)
def test_the_official_reading_by_hand(answer, place):
    """The last character, and the most similar choice by difflib's ratio, worked out by hand."""
    assert read_like_the_script(answer, CHOICES) == place


def test_both_conventions_of_a_small_set():
    """The right letter B counts by letter, and is read as C by the script; the details have both."""
    rows = [row("B"), row("D", "D", 1), row("", "A", 2), row(None, "B", 3)]
    scores = score_answers(find_benchmark("pmcvqa"), rows, {})
    assert (scores.metrics["accuracy"].value, scores.metrics["accuracy"].count) == (0.5, 4)
    assert scores.per_row == {"c0": 1, "c1": 1, "c2": 0, "c3": 0}
    assert scores.details["accuracy_by_convention"] == {"letter": 0.5, "original": 0.25}
    assert scores.details["unread"] == 2 and scores.details["letters_given"] == {"(no choice)": 2, "B": 1, "D": 1}
    original = score_answers(find_benchmark("pmcvqa"), rows, {"convention": "original"})
    assert original.metrics["accuracy"].value == 0.25 and "difflib" in original.convention


def test_the_floor_is_the_most_frequent_letter():
    """Two of three are B: always B scores that; drawing blindly a quarter."""
    rows = [row("B", "B", 0), row("B", "B", 1), row("B", "C", 2)]
    scores = score_answers(find_benchmark("pmcvqa"), rows, {})
    assert scores.details["floor"] == {"accuracy": pytest.approx(2 / 3), "accuracy_of_chance": 0.25}
    assert scores.metrics["accuracy"].value == pytest.approx(2 / 3)


def test_rows_without_choices_are_named():
    """No choices, or a truth that is none of them: the row, and what was expected."""
    with pytest.raises(DataError, match=r"row 'c0': meta\.candidates has 0 choices, expected 2 to 26"):
        score_answers(find_benchmark("pmcvqa"), [row("B", candidates=[])], {})
    with pytest.raises(DataError, match="row 'c0': the answer 'E' is neither a choice nor the letter of one"):
        score_answers(find_benchmark("pmcvqa"), [row("B", "E")], {})
    assert score_answers(find_benchmark("pmcvqa"), [row("D", "Dura")], {}).metrics["accuracy"].value == 1.0
    assert score_answers(find_benchmark("pmcvqa"), [], {}).metrics["accuracy"].count == 0
