"""Boxes in the text of rows, and those a scorer reads from ``meta.boxes_px``."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adapt import boxes
from adapt.boxes import FULL_SCALE, FoundBoxes, describe_scale, find_boxes, is_unit, scales_in_use
from adapt.check.faults import Fault
from adapt.check.pictures import Picture
from adapt.check.rows import Row

_SMALL_SIDE = 640  # pixels; of boxes in 0-1000 a good part ends beyond it
_ENOUGH_BOXES = 50  # of which each ends beyond with one chance in four, or more: all end before in one source of a million


def _row_boxes(row: Row) -> list[FoundBoxes]:
    return [found for turn in row.record.turns for found in find_boxes(turn.value)]


def box_faults(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[Fault]:
    """Boxes of 0..1000 that are outside, turned round or without area; ``meta.boxes_px`` outside the picture."""
    faults: list[Fault] = []
    for row in rows:
        for found in _row_boxes(row):
            faults += [Fault(row.where, "box", message) for message in _text_faults(found)]
        faults += [Fault(row.where, "box", message) for message in _pixel_faults(row, pictures)]
    return faults


def _text_faults(found: FoundBoxes) -> Iterator[str]:
    for texts, (x1, y1, x2, y2) in zip(found.texts, found.boxes, strict=True):
        if not found.tagged or is_unit(texts) or max(x1, y1, x2, y2) > FULL_SCALE:
            continue  # numbers of another scale are faults of scale
        shown = f"[{', '.join(texts)}]"
        if min(x1, y1, x2, y2) < 0:
            yield f"box {shown}: below 0, expected 0-1000"
        elif x2 < x1 or y2 < y1:
            yield f"box {shown}: the second corner lies before the first; expected x1, y1, x2, y2"
        elif x2 == x1 or y2 == y1:
            yield f"box {shown}: without area"


def _pixel_faults(row: Row, pictures: Mapping[tuple[Path, str], Picture]) -> Iterator[str]:
    stated = row.record.meta.get("boxes_px")
    if stated is None:
        return
    if not isinstance(stated, list) or not all(_is_box(box) for box in stated):
        yield "meta.boxes_px: expected a list of [x1, y1, x2, y2] in pixels"
        return
    sizes = [pictures[row.root, name].size for name in row.record.images]
    if len(sizes) != 1 or sizes[0] == (0, 0):
        return
    width, height = sizes[0]
    for x1, y1, x2, y2 in stated:
        if not (x1 < x2 and y1 < y2):
            yield f"meta.boxes_px {[x1, y1, x2, y2]}: turned round or without area"
        elif x1 < -1 or y1 < -1 or x2 > width + 1 or y2 > height + 1:
            yield f"meta.boxes_px {[x1, y1, x2, y2]}: outside its picture of {width}x{height} px"


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(each, int | float) for each in value)


def scale_faults(rows: Sequence[Row]) -> list[Fault]:
    """Boxes in another scale than 0-1000, one fault for each scale, with the rows named."""
    uses = scales_in_use((row.where, row.source, _row_boxes(row)) for row in rows)
    mixed = "; mixed with 0-1000 in these files" if len(uses) > 1 else ""
    advice = "a model that reads 0-1000 learns wrong places; convert the rows again"
    return [
        Fault(use.places[0], "scale", f"{describe_scale(use)}, expected 0-1000{mixed}; {advice}")
        for use in uses
        if use.scale != boxes.THOUSAND
    ]


def scale_notes(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[str]:
    """Sources whose boxes of 0-1000 may be pixels: all of those on small pictures end inside them.

    Rows with ``meta.boxes_px`` are left out: a converter made their text from those. A box that a picture's rows repeat tells
    no more than once.
    """
    inside: dict[str, set[tuple[Path, str, tuple[str, ...]]]] = collections.defaultdict(set)
    told_apart: set[str] = set()  # sources with a box that no pixels can be
    for row in rows:
        sizes = [pictures[row.root, name].size for name in row.record.images]
        if row.source in told_apart or "boxes_px" in row.record.meta or len(sizes) != 1 or not 0 < max(sizes[0]) <= _SMALL_SIDE:
            continue
        width, height = sizes[0]
        for found in _row_boxes(row):
            for texts, (x1, y1, x2, y2) in zip(found.texts, found.boxes, strict=True):
                if not found.tagged or is_unit(texts):
                    continue
                if max(x1, x2) > width or max(y1, y2) > height:
                    told_apart.add(row.source)
                inside[row.source].add((row.root, row.record.images[0], texts))
    return [
        f"boxes of '{source}' may be pixels: all {len(found):,} different ones on pictures of at most {_SMALL_SIDE} px end "
        "inside those, as few sets of 0-1000 do; look at them with 'adapt gallery', and where they are pixels convert the rows "
        "with --option box_scale=pixels"
        for source, found in sorted(inside.items())
        if source not in told_apart and len(found) >= _ENOUGH_BOXES
    ]
