"""Cards of records whose meta holds anything."""

import math
import time

import numpy as np
import pytest

from adapt.check.cards import STORED, is_right, make_card
from adapt.records import ChatRecord, Turn


@pytest.mark.parametrize("far", [10**400, -(10**400), 1e308])
def test_places_beyond_all_numbers_are_drawn_far_outside(far: float) -> None:
    """JSON may hold whole numbers that no float can: the card says that the box reaches out of the picture."""
    turns = (Turn("human", "<image>\nwhere?"), Turn("gpt", "there"))
    record = ChatRecord("a", turns, ("a.png",), ((10, 10),), meta={"boxes_px": [[far, 1, 2, 3]]})
    card = make_card("f:1", record, None, None)
    (shape,) = card.stages[0].shapes
    assert shape.role == STORED and all(math.isfinite(each) for each in shape.box)
    assert card.notes == ("boxes that reach out of the picture: 1 of 1",)


def test_thousands_of_boxes_cost_their_number() -> None:
    """20,000 boxes at one place, in the text, in meta and in the answer: a card in seconds, judged by nobody."""
    text = "<box>[" + ", ".join(["[1, 2, 3, 4]"] * 20_000) + "]</box>"
    other = "<box>[" + ", ".join(["[1, 2, 3, 14]"] * 20_000) + "]</box>"
    turns = (Turn("human", "<image>\nwhere?"), Turn("gpt", text))
    record = ChatRecord("a", turns, ("a.png",), ((1000, 1000),), meta={"boxes_px": [[1, 2, 3, 9]] * 2_000})
    start = time.process_time()
    card = make_card("f:1", record, other, None)
    assert time.process_time() - start < 10
    assert card.right is None and len(card.stages[0].shapes) == 42_000


def test_stored_boxes_are_found_among_those_of_the_text() -> None:
    """300 boxes of meta that the text holds rounded are drawn once, the one that it does not hold too."""
    draws = np.random.default_rng(3)
    boxes = [[x, y, x + 20, y + 30] for x, y in draws.uniform(0, 900, (300, 2)).tolist()]
    text = "<box>" + str([[round(number) for number in box] for box in boxes]) + "</box>"
    turns = (Turn("human", "<image>\nwhere?"), Turn("gpt", text))
    record = ChatRecord("a", turns, ("a.png",), ((1000, 1000),), meta={"boxes_px": [*boxes, [950, 950, 990, 990]]})
    shapes = make_card("f:1", record, text, None).stages[0].shapes
    assert [shape.box for shape in shapes if shape.role == STORED] == [(950, 950, 990, 990)]
    assert is_right(text, text, None) and not is_right(text, "<box>[[1, 2, 3, 4]]</box>", None)
