"""Answers of several labels, and letters that are right too often."""

import time
from pathlib import Path

import pytest

from adapt.check.answers import answer_faults, letter_notes, letter_spread
from adapt.check.rows import Row
from adapt.records import ChatRecord, Turn


def row(answer: str, question: str = "Which?", **meta: object) -> Row:
    """A row without a picture."""
    turns = (Turn("human", question), Turn("gpt", answer))
    return Row("f.jsonl:1", Path(), ChatRecord("1", turns, source="quiz", meta=meta))


@pytest.mark.parametrize(
    ("answer", "labels", "is_fault"),
    [
        ("red, blue", ["red", "blue"], False),
        ("red and blue.", ["red", "blue"], False),
        ("A, B", ["red", "blue"], False),
        ("red, green", ["red", "green"], True),
        ("red, pink", ["red"], True),
        ("dark, cold", ["dark, cold"], False),
        ("none", [], False),
    ],
)
def test_several_labels(answer: str, labels: list[str], is_fault: bool) -> None:
    """Of several labels each, and each part of the answer, must be a candidate; without a label it may be any word."""
    candidates = ["red", "blue", "dark, cold"]
    assert bool(answer_faults([row(answer, candidates=candidates, label=labels)])) == is_fault


def test_unbalanced_letters_are_noted() -> None:
    """90 of 100 answers A among four options are noted with the share by chance; an even spread and few rows are not."""
    asked = "Which? A. red B. blue C. green D. pink"
    uneven = [row("A" if number < 90 else "B", asked) for number in range(100)]
    spread = letter_spread(uneven)
    assert spread["quiz"] == {
        "rows": 100,
        "counts": {"A": 90, "B": 10},
        "expected": dict.fromkeys("ABCD", 25.0),
        "balanced": False,
    }
    assert letter_notes(spread) == [
        "unbalanced letters in quiz: A is right in 90% of 100 rows, 25% by chance; draw the order of the options"
    ]
    assert letter_spread([row("ABCD"[number % 4], asked) for number in range(100)])["quiz"]["balanced"]
    assert letter_spread(uneven[:20])["quiz"]["balanced"]
    assert letter_spread([row("yes"), row("Apple")]) == {}


def test_letters_of_questions_with_different_numbers_of_options() -> None:
    """Two options make A right half of the time: no fault where half of the rows have two and the others four."""
    rows = [row("AB"[number % 2], candidates=["x", "y"]) for number in range(200)]
    rows += [row("ABCD"[number % 4], candidates=["w", "x", "y", "z"]) for number in range(200)]
    spread = letter_spread(rows)["quiz"]
    assert spread["expected"] == {"A": 150, "B": 150, "C": 50, "D": 50}
    assert spread["balanced"]


def test_long_blanks_take_no_time() -> None:
    """An answer of very many blanks is split in linear time."""
    began = time.process_time()
    (fault,) = answer_faults([row("a" + " " * 300_000 + "b", candidates=["a"], label=["a"])])
    assert fault.message.startswith("'b' is none")
    assert time.process_time() - began < 1


def test_a_region_is_named_with_its_box() -> None:
    """What one region is may be answered with its name between tags and its box."""
    said = "<ref>{}</ref><box>[[1, 2, 3, 4]]</box>"
    assert not answer_faults([row(said.format("cell"), candidates=["cell", "plate"])])
    assert answer_faults([row(said.format("cat"), candidates=["cell", "plate"])])
