"""Boxes that an answer names, in pixels, and why an answer names none.

``read_any`` takes every spelling of adapt/boxes.py. ``read_internvl`` takes what InternVL's script takes, traps included
(``internvl_chat/eval/domain_specific/rs_det/caculate.py`` of github.com/OpenGVLab/InternVL): the first brackets with three
commas on one line, up to the first closing bracket after them, read as JSON. Single brackets, two boxes in one list (the text
is cut inside) and fewer than four numbers are refused, and so is a box behind other brackets on its line.
"""

import dataclasses
import re
from collections.abc import Sequence

from adapt import safe
from adapt.boxes import FULL_SCALE, Box, read_boxes, to_pixels
from adapt.errors import DataError

MOST_BOXES = 1000  # of one answer, or as many as are true; a model that repeats itself names more, and those are too many
LARGEST = 10**300
NO_BOX = "no_box"
_BEGUN = re.compile(r"<box>|[\[{(]\s*+[-+.]?\d[\d.]*+\s*+,")
_BRACKETS = re.compile(r"\[++[^,]*+,[^,]*+,[^,]*+,[^\]]*+\]++")


@dataclasses.dataclass(frozen=True)
class NamedBox:
    """A box of an answer in pixels, inside the picture, with its name if it has one; ``oddity`` if it is written oddly."""

    box_px: Box
    name: str | None = None
    oddity: str | None = None


@dataclasses.dataclass(frozen=True)
class BoxAnswer:
    """The boxes of an answer; without any, ``fault`` says why. ``num_left_out`` boxes were beyond the limit."""

    boxes: tuple[NamedBox, ...] = ()
    fault: str | None = None
    num_left_out: int = 0

    @property
    def num_named(self) -> int:
        """All boxes that the answer names."""
        return len(self.boxes) + self.num_left_out


def read_any(answer: str | None, size: tuple[int, int], most: int = MOST_BOXES) -> BoxAnswer:
    """Every box of an answer about a picture of ``size`` (width, height), in its order, but no more than ``most``.

    Faults: none (no answer), empty, malformed (a box was begun that cannot be read), no_box.
    """
    if blank := _blank(answer):
        return BoxAnswer(fault=blank)
    assert answer is not None
    found = [_named(box, size, name) for name, boxes in read_boxes(answer) for box in boxes]
    if not found:
        return BoxAnswer(fault="malformed" if _BEGUN.search(answer) else NO_BOX)
    return BoxAnswer(tuple(found[:most]), num_left_out=max(0, len(found) - most))


def read_internvl(answer: str | None, size: tuple[int, int]) -> BoxAnswer:
    """The one box that InternVL's script reads.

    Faults: none, empty, no_box, not_json (two boxes in one list, words in brackets), single_brackets, not_four_numbers.
    """
    if blank := _blank(answer):
        return BoxAnswer(fault=blank)
    assert answer is not None
    text = _first_brackets(answer)
    if text is None:
        return BoxAnswer(fault=NO_BOX)
    try:
        value = safe.load_json(text, "answer")
    except DataError:
        return BoxAnswer(fault="not_json")
    first = value[0] if isinstance(value, list) else value
    if isinstance(first, int | float):
        return BoxAnswer(fault="single_brackets")
    if not isinstance(first, list) or len(first) != 4 or not all(_is_number(each) for each in first):
        return BoxAnswer(fault="not_four_numbers")
    return BoxAnswer((_named(first, size),))


def _is_number(value: object) -> bool:
    """JSON's whole numbers may be too large for a float."""
    return isinstance(value, int | float) and abs(value) < LARGEST


def _blank(answer: str | None) -> str | None:
    return "none" if answer is None else "" if answer.strip() else "empty"


def _first_brackets(answer: str) -> str | None:
    """Where a line's first bracket is not followed by three commas and an end, no later one of the line is."""
    for line in answer.split("\n"):
        start = line.find("[")
        match = _BRACKETS.match(line, start) if start >= 0 else None
        if match is not None:
            return match[0]
    return None


def _named(box: Sequence[float], size: tuple[int, int], name: str | None = None) -> NamedBox:
    x1, y1, x2, y2 = box
    oddity = None
    if x2 < x1 or y2 < y1:
        oddity = "corners_in_wrong_order"
    elif min(box) < 0 or max(box) > FULL_SCALE:
        oddity = "beyond_the_picture"
    elif x1 == x2 or y1 == y2:
        oddity = "without_area"
    return NamedBox(to_pixels(box, size), name, oddity)
