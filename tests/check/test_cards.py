"""Cards of records whose meta holds anything."""

import math

import pytest

from adapt.check.cards import STORED, make_card
from adapt.records import ChatRecord, Turn


@pytest.mark.parametrize("far", [10**400, -(10**400), 1e308])
def test_places_beyond_all_numbers_are_drawn_far_outside(far: float) -> None:
    """JSON may hold whole numbers that no float can: the card says that the box reaches out of the picture."""
    turns = (Turn("human", "<image>\nwhere?"), Turn("gpt", "there"))
    record = ChatRecord("a", turns, ("a.png",), ((10, 10),), meta={"boxes_px": [[far, 1, 2, 3]]})
    card = make_card("f:1", record, None, None)
    (shape,) = card.stages[0].shapes
    assert shape.role == STORED and all(math.isfinite(each) for each in shape.box)
    assert card.notes == ("1 of 1 boxes reach out of the picture",)
