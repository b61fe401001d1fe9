"""What a row of grounding asks and what is true there: where things are, how many there are, or what a region is.

Told by ``meta``: ``kind`` (ground, detect, count; name, caption, question of a region, with ``form``), else the record's task,
else ``boxes_px``. Rows of other tools, without ``meta``, are grounding where their answer holds boxes.
"""

import dataclasses
import math
from typing import Any

from adapt.boxes import Box, read_boxes, to_pixels
from adapt.errors import DataError
from adapt.records import ChatRecord

GROUND, DETECT, COUNT, REGION = "ground", "detect", "count", "region"
BOXED = (GROUND, DETECT)
REGION_KINDS = ("name", "caption", "question")


@dataclasses.dataclass(frozen=True)
class Truth:
    """The true boxes of a row in pixels, with their names where the answer has to name them (dense detection)."""

    boxes_px: tuple[Box, ...]
    names: tuple[str, ...] | None = None

    @property
    def is_one(self) -> bool:
        """An expression with its one box: answered by the first box, as all published protocols do."""
        return len(self.boxes_px) == 1 and self.names is None


def kind_of(record: ChatRecord) -> str | None:
    """ground, detect, count or region; None for a row that asks for something else."""
    kind = record.meta.get("kind")
    if kind in REGION_KINDS and "form" in record.meta:
        return REGION
    for stated in (kind, record.task):
        if stated in (COUNT, DETECT):
            return str(stated)
    return GROUND if "boxes_px" in record.meta or read_boxes(record.answer) else None


def size_of(record: ChatRecord) -> tuple[int, int]:
    """(width, height) of the one picture. Raises DataError where the row does not say it."""
    if len(record.sizes) != 1:
        raise DataError(
            f"row '{record.id}': {len(record.sizes)} picture sizes, expected one: boxes are scored in pixels; convert again, "
            "or add width and height to the row"
        )
    return record.sizes[0]


def truth_of(record: ChatRecord) -> Truth:
    """The true boxes: ``meta.boxes_px``, else those of the answer's text. Raises DataError with the row's id."""
    groups = read_boxes(record.answer)
    is_dense = kind_of(record) == DETECT
    if "boxes_px" in record.meta:
        boxes_px = _stated(record)
        names = record.meta.get("names")
        if not is_dense or not isinstance(names, list) or len(names) != len(boxes_px):
            return Truth(boxes_px)
        return Truth(boxes_px, tuple(str(name) for name in names))
    size = size_of(record)
    found = [(name or "", to_pixels(box, size)) for name, boxes in groups for box in boxes]
    return Truth(tuple(box for _, box in found), tuple(name for name, _ in found) if is_dense else None)


def _stated(record: ChatRecord) -> tuple[Box, ...]:
    stated = record.meta["boxes_px"]
    if not isinstance(stated, list) or not all(_is_box(box) for box in stated):
        raise DataError(
            f"row '{record.id}': meta.boxes_px is {str(stated)[:60]}, expected a list of [x1, y1, x2, y2] in pixels"
        )
    return tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in stated)


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each) for each in value)
    )


def is_turned(record: ChatRecord) -> bool:
    """Whether the true boxes stand for turned ones: what is scored is the upright box around each."""
    return "polygons_px" in record.meta or "rotated" in record.meta
