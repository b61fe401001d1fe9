"""The six cameras of nuScenes, and DriveLM's tags between a camera's own picture and the stitched one.

A tag ``<c1,CAM_BACK,1088.3,497.5>`` is the centre of an object in pixels of that camera's 1600x900 picture. In the stitched
picture (2688x896, each camera a cell of 896x448) it is ``<c1,CAM_BACK,[560,776]>``, in thousandths of the whole. The way back
is InternVL's (github.com/OpenGVLab/InternVL ``internvl_chat/eval/domain_specific/drivelm/evaluate.py``, ``post_process``);
the way there is its inverse. The released script writes clamped numbers without a decimal point, which the challenge's
scorer then does not see; here there is always one. One unit is 4.8 px across and 1.8 px down, so rounding costs 3.3 px (L1).
"""

import re
from collections.abc import Mapping

from adapt import boxes
from adapt.boxes import Box
from converters.multiview import CAMERAS_GRID, CELL, Rig, parse_rig

VIEW_SIZE = (1600, 900)
RIG: Rig = parse_rig(CAMERAS_GRID, {"cell": CELL, "view_names": "drawn"})
CAMERAS = RIG.views
_COLUMNS, _ROWS = len(RIG.rows[0]), len(RIG.rows)
_NAMES = "|".join(sorted(CAMERAS, key=len, reverse=True))
# The numbers that the released script reads: no leading zeros, no bare points.
_NUMBER = r"-?(?:0|[1-9]\d*+)(?:\.\d++)?"
_CAMERA_TAG = re.compile(rf"<(c\d*+)\s*+,\s*+({_NAMES})\s*+,\s*+({_NUMBER})\s*+,\s*+({_NUMBER})\s*+>")
_STITCHED_TAG = re.compile(rf"<(c\d*+),({_NAMES}),\[\s*+({_NUMBER})\s*+,\s*+({_NUMBER})\s*+\]>")
_ANY_TAG = re.compile(r"<c\d*+\s*+,[^<>]*+>")
_TRAFFIC = re.compile(rf"(\((?:[^(),]++,\s*+){{2}})({_NUMBER}),\s*+({_NUMBER}),\s*+({_NUMBER}),\s*+({_NUMBER})\)")
_BOX = re.compile(r"\s?<box>[^<>]*+</box>")


def to_stitched(text: str) -> str:
    """Every tag of a camera's own picture as a tag of the stitched one; all other text stays as it is.

    A centre outside its picture is put on the border, so that the tag stays in its camera's cell.
    """
    return _CAMERA_TAG.sub(lambda tag: f"<{tag[1]},{tag[2]},[{_across(tag[2], tag[3])},{_down(tag[2], tag[4])}]>", text)


def _across(camera: str, text: str) -> int:
    column, width = RIG.place(camera)[0], VIEW_SIZE[0]
    return round(1000 * (column + min(max(float(text), 0), width) / width) / _COLUMNS)


def _down(camera: str, text: str) -> int:
    row, height = RIG.place(camera)[1], VIEW_SIZE[1]
    return round(1000 * (row + min(max(float(text), 0), height) / height) / _ROWS)


def to_camera(text: str) -> str:
    """Every tag of the stitched picture as a tag of its camera's own picture, blanks around the text taken away.

    The camera that a tag names decides; what lies outside its cell is put on the border. Boxes stay as they are. Tags that
    the released script leaves alone (unknown cameras, blanks before the camera, one or three numbers) are left alone.
    """
    return _STITCHED_TAG.sub(lambda tag: f"<{tag[1]},{tag[2]},{','.join(_in_camera(*tag.groups()[1:]))}>", text.strip())


def _in_camera(camera: str, x: str, y: str) -> tuple[str, str]:
    found = []
    sizes = zip((x, y), RIG.place(camera), RIG.size, RIG.cell, VIEW_SIZE, strict=True)
    for text, start, whole, cell, length in sizes:
        value = (float(text) / 1000 * whole - start * cell) / cell * length
        found.append(f"{min(max(value, 0.0), float(length)) + 0.0:.1f}")
    return found[0], found[1]


def odd_tag(stitched: str) -> str | None:
    """The first tag in a stitched text that is in no known form, or None."""
    return next((tag[0] for tag in _ANY_TAG.finditer(stitched) if not _STITCHED_TAG.fullmatch(tag[0])), None)


def add_boxes(stitched: str, boxes_px: Mapping[str, Box]) -> str:
    """``<box>`` behind each tag of a stitched text whose object is known. ``boxes_px``: by stitched tag, in its camera."""

    def boxed(tag: re.Match[str]) -> str:
        if tag[0] not in boxes_px:
            return tag[0]
        return tag[0] + boxes.format_boxes(None, [RIG.move_box(tag[2], boxes_px[tag[0]], VIEW_SIZE)], RIG.size)

    return _STITCHED_TAG.sub(boxed, stitched)


def without_boxes(text: str) -> str:
    """The text without what ``add_boxes`` adds."""
    return _BOX.sub("", text)


def traffic_to_stitched(answer: str) -> str:
    """``(category, status, x1, y1, x2, y2)`` in the front camera's pixels -> in thousandths of the stitched picture."""

    def moved(found: re.Match[str]) -> str:
        x1, y1, x2, y2 = found.groups()[1:]
        front = "CAM_FRONT"
        return f"{found[1]}{_across(front, x1)}, {_down(front, y1)}, {_across(front, x2)}, {_down(front, y2)})"

    return _TRAFFIC.sub(moved, answer)


def traffic_to_camera(answer: str) -> str:
    """The way back from ``traffic_to_stitched``, with one decimal."""

    def moved(found: re.Match[str]) -> str:
        x1, y1, x2, y2 = found.groups()[1:]
        corners = (*_in_camera("CAM_FRONT", x1, y1), *_in_camera("CAM_FRONT", x2, y2))
        return f"{found[1]}{', '.join(corners)})"

    return _TRAFFIC.sub(moved, answer)
