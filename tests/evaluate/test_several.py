"""Multi-label answers: which classes an answer names, and the shares that follow."""

from typing import Any

import pytest

from adapt.domain import Answered
from adapt.errors import DataError
from adapt.evaluate.several import score_several
from adapt.records import ChatRecord, Turn

CLASSES = ["edema", "mass", "normal, benign"]


def row(number: int, labels: Any, *, classes: list[str] = CLASSES, lettered: bool = False, truth: str = "none") -> ChatRecord:
    listed = " ".join(f"{letter}. {name}" for letter, name in zip("ABC", classes, strict=False)) if lettered else "which?"
    meta = {"label": labels, "candidates": classes}
    return ChatRecord(str(number), (Turn("human", f"<image>\n{listed}"), Turn("gpt", truth)), (f"{number}.png",), meta=meta)


@pytest.mark.parametrize(
    ("answer", "labels", "lettered", "mark"),
    [
        ("edema; mass", ["edema", "mass"], False, 1),
        (" Mass ;EDEMA.", ["edema", "mass"], False, 1),
        ("edema", ["edema", "mass"], False, 0),
        ("edema; mass; normal, benign", ["edema", "mass"], False, 0),
        ("edema; mass; cough", ["edema", "mass"], False, 0),
        ("normal, benign", ["normal, benign"], False, 1),
        ("None.", [], False, 1),
        ("nothing", [], False, 0),
        ("edema", [], False, 0),
        ("none", ["edema"], False, 0),
        ("", [], False, 0),
        (None, [], False, 0),
        ("A; B", ["edema", "mass"], True, 1),
        ("B", ["mass"], True, 1),
        ("B", ["mass"], False, 0),
        ("A. edema; C", ["edema", "normal, benign"], True, 1),
    ],
)
def test_which_classes_an_answer_names(answer: str | None, labels: list[str], lettered: bool, mark: int) -> None:
    """Any order and case; too few, too many and strange words are wrong; letters only where they were offered."""
    assert score_several([Answered(row(0, labels, lettered=lettered), answer)]).per_row == {"0": mark}


def test_commas_part_names_that_hold_none() -> None:
    """Where no class name holds a comma, commas and lines part the answer, and one class may be read whole."""
    for answer in ("a, b", "b,a", "a\nb", "a; b"):
        assert score_several([Answered(row(0, ["a", "b"], classes=["a", "b", "c d"]), answer)]).per_row["0"] == 1


def test_shares_are_those_counted_by_hand() -> None:
    """Two classes over four rows: accuracy, balanced accuracy, precision and recall counted on paper."""
    truths = [["a"], ["a", "b"], [], ["b"]]
    answers = ["a", "a", "b, x", None]
    rows = [
        Answered(row(n, labels, classes=["a", "b"]), answer)
        for n, (labels, answer) in enumerate(zip(truths, answers, strict=True))
    ]
    scores = score_several(rows)
    assert scores.metrics["accuracy"].value == 1 / 4 and scores.metrics["accuracy"].count == 4
    # a: present 2/2, absent 2/2; b: present 0/2, absent 1/2
    assert scores.metrics["balanced_accuracy"].value == (1 + 1 + 0 + 0.5) / 4
    assert scores.details["classes"] == {
        "a": {"count": 2, "precision": 1.0, "recall": 1.0}, "b": {"count": 2, "precision": 0.0, "recall": 0.0}
    }  # fmt: skip
    assert scores.details["floor"] == {"accuracy": 1 / 4, "balanced_accuracy": 0.5} and scores.details["out_of_list"] == 2


@pytest.mark.parametrize("labels", ["a", None, ["c"], [3]])
def test_a_label_that_is_no_list_of_candidates_is_named(labels: Any) -> None:
    """One row with a single label among rows with lists is a DataError with its id."""
    with pytest.raises(DataError, match="row '1': meta.label"):
        score_several([Answered(row(0, ["a"], classes=["a"]), "a"), Answered(row(1, labels, classes=["a"]), "a")])


def test_no_rows_are_no_score() -> None:
    """An empty benchmark has counts of 0."""
    assert score_several([]).metrics["accuracy"].count == 0
