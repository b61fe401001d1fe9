"""Regions drawn on the pixels of a picture: a box, a translucent mask, or a contour.

Lines run outside of what they mark, so that no pixel of a small object is covered; where it touches the edge of the picture
they run along the edge. All arithmetic is on whole numbers: the same picture on every machine.
"""

import math

import numpy as np
from PIL import Image

from adapt.boxes import Box

Colour = tuple[int, int, int]
LINE_SHARE = 200  # the longer side of a picture in lines: 3 px of 640, which two tiles' worth of shrinking leaves visible
LEAST_LINE_PX = 2


def line_width_px(size: tuple[int, int]) -> int:
    """The width of a line that is seen in a picture of ``size``, however large."""
    return max(LEAST_LINE_PX, round(max(size) / LINE_SHARE))


def draw_box(picture: Image.Image, box_px: Box, colour: Colour, width_px: int) -> Image.Image:
    """A copy with a frame around the box."""
    pixels_HW3 = np.array(picture)
    x1, y1, x2, y2 = math.floor(box_px[0]), math.floor(box_px[1]), math.ceil(box_px[2]), math.ceil(box_px[3])
    left, top = max(x1 - width_px, 0), max(y1 - width_px, 0)
    right, bottom = min(x2 + width_px, picture.width), min(y2 + width_px, picture.height)
    pixels_HW3[top : top + width_px, left:right] = colour
    pixels_HW3[max(bottom - width_px, 0) : bottom, left:right] = colour
    pixels_HW3[top:bottom, left : left + width_px] = colour
    pixels_HW3[top:bottom, max(right - width_px, 0) : right] = colour
    return Image.fromarray(pixels_HW3)


def draw_mask(picture: Image.Image, mask_HW: np.ndarray, colour: Colour, opacity_percent: int) -> Image.Image:
    """A copy with the masked pixels mixed with the colour."""
    pixels_HW3 = np.array(picture)
    covered = pixels_HW3[mask_HW].astype(np.int32) * (100 - opacity_percent) + np.array(colour, np.int32) * opacity_percent
    pixels_HW3[mask_HW] = (covered + 50) // 100
    return Image.fromarray(pixels_HW3)


def draw_contour(picture: Image.Image, mask_HW: np.ndarray, colour: Colour, width_px: int) -> Image.Image:
    """A copy with a line around the masked pixels."""
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    top, bottom = max(rows[0] - width_px, 0), rows[-1] + 1 + width_px
    left, right = max(columns[0] - width_px, 0), columns[-1] + 1 + width_px
    inside = mask_HW[top:bottom, left:right]
    line = _grown(inside, width_px) & ~inside
    edge = np.ones(mask_HW.shape, bool)
    edge[width_px:-width_px, width_px:-width_px] = False
    line |= inside & edge[top:bottom, left:right]
    pixels_HW3 = np.array(picture)
    pixels_HW3[top:bottom, left:right][line] = colour
    return Image.fromarray(pixels_HW3)


def _grown(mask_HW: np.ndarray, steps: int) -> np.ndarray:
    """The mask and every pixel at most ``steps`` away: an octagon, close to a disc."""
    grown = mask_HW.copy()
    for step in range(steps):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        if step % 2:  # corners every other time
            grown |= padded[:-2, :-2] | padded[:-2, 2:] | padded[2:, :-2] | padded[2:, 2:]
    return grown
