"""EXIF orientation: where a stored pixel, point or box lies once a picture is turned upright.

Tag 0x0112 of EXIF 2.32 (CIPA DC-008), section 4.6.4: which side of the scene the first stored row and column are. Points are
(x, y) from the outer corner of the top left pixel, so a picture of width W ends at x = W.
"""

from collections.abc import Callable

from PIL import Image

from adapt.boxes import Box

UPRIGHT = 1
Point = tuple[float, float]
Size = tuple[int, int]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# (x, y, stored width, stored height) -> the point in the upright picture
_POINTS: dict[int, Callable[[float, float, int, int], Point]] = {
    1: lambda x, y, width, height: (x, y),
    2: lambda x, y, width, height: (width - x, y),
    3: lambda x, y, width, height: (width - x, height - y),
    4: lambda x, y, width, height: (x, height - y),
    5: lambda x, y, width, height: (y, x),
    6: lambda x, y, width, height: (height - y, x),
    7: lambda x, y, width, height: (height - y, width - x),
    8: lambda x, y, width, height: (y, width - x),
}
# The tag of the turn that takes an upright picture back to its stored order; the others are their own way back.
_BACK = {6: 8, 8: 6}


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """A picture in stored order, turned as its orientation tag says."""
    return picture if orientation == UPRIGHT else picture.transpose(_TURNS[orientation])


def stored(picture: Image.Image, orientation: int) -> Image.Image:
    """An upright picture, turned back to the order that its file with this tag stores."""
    return upright(picture, _BACK.get(orientation, orientation))


def upright_size(size: Size, orientation: int) -> Size:
    """(width, height) of the upright picture of a stored ``size``; of a stored picture, for an upright one."""
    width, height = size
    return (height, width) if swaps_sides(orientation) else (width, height)


def swaps_sides(orientation: int) -> bool:
    """Whether an upright picture of this tag is as wide as the stored one is high."""
    return orientation >= 5


def upright_point(point: Point, size: Size, orientation: int) -> Point:
    """Where a point of the stored picture of ``size`` lies in the upright one."""
    return _POINTS[orientation](*point, *size)


def upright_box(box_px: Box, size: Size, orientation: int) -> Box:
    """Where a box of the stored picture of ``size`` lies in the upright one, its first corner first."""
    (x1, y1), (x2, y2) = (upright_point(corner, size, orientation) for corner in (box_px[:2], box_px[2:]))
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
