"""Which pixels of a picture an object covers: from run lengths, a mask picture, outlines or a turned box.

COCO's run lengths (``common/maskApi.c`` in github.com/cocodataset/cocoapi): column by column from the top left, numbers of
pixels that are outside and inside in turn; as text each number in groups of 5 bits from the lowest on, from the third number
on its difference to the one two before. Read here and not by pycocotools, which fills a mask whose runs are too few from
memory that nobody wrote. A pixel belongs to an outline by its centre; Pillow's polygons take whatever the line touches.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from adapt import orientation, safe
from adapt.errors import DataError
from converters.objects import MaskFile, PictureObject, Point, Rle

MAX_FAR = 4.0  # how many picture sizes away a point of an outline may lie
MAX_CUTS = 20_000_000  # rows that the edges of one outline cross


def object_mask(each: PictureObject, size: tuple[int, int], root: Path, where: str) -> np.ndarray:
    """bool[H, W]: the pixels of the object in a picture of ``size`` (width, height). Mask pictures lie below ``root``.

    Raises DataError for an object that has a box alone, a mask of another size, and one that covers no pixel.
    """
    if isinstance(each.mask, Rle):
        mask = decode_rle(each.mask, where)
    elif isinstance(each.mask, MaskFile):
        mask = read_mask_file(each.mask, root, where)
    elif each.polygons_px or each.oriented_px:
        mask = fill(each.polygons_px or (each.oriented_px,), size, where)
    else:
        raise DataError(f"{where}: '{each.name}' has no mask and no outline; choose --option mark=box")
    if mask.shape != size[::-1]:
        raise DataError(f"{where}: its mask is {mask.shape[1]}x{mask.shape[0]}, the picture {size[0]}x{size[1]}")
    if not mask.any():
        raise DataError(f"{where}: the mask of '{each.name}' covers no pixel")
    return mask


def decode_rle(rle: Rle, where: str) -> np.ndarray:
    """bool[H, W] of COCO's compressed run lengths. Raises DataError where they are not those of a mask of that size."""
    width, height = rle.size
    if width < 1 or height < 1 or width * height > safe.MAX_PICTURE_PIXELS:
        raise DataError(f"{where}: a mask of {width}x{height} pixels")
    runs = read_runs(rle.counts, where)
    if min(runs, default=0) < 0 or sum(runs) != width * height:
        raise DataError(f"{where}: the run lengths of its mask do not add up to its {width * height:,} pixels")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return inside.reshape(width, height).T


def read_runs(text: str, what: str) -> list[int]:
    """The runs of COCO's text form, whatever they add up to. Raises DataError for a text that is not one."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise DataError(f"{what}: {letter!r} in its run lengths, expected COCO's letters from 0 to o")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError(f"{what}: its run lengths are cut off")
    return runs


def encode_rle(mask: np.ndarray) -> Rle:
    """COCO's compressed run lengths of bool[H, W]."""
    flat = np.concatenate([[False], mask.T.reshape(-1)])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return Rle(write_runs(np.diff(np.concatenate([[0], ends, [flat.size - 1]])).tolist()), (mask.shape[1], mask.shape[0]))


def write_runs(runs: Sequence[int]) -> str:
    """Runs in COCO's text form."""
    text = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 if more else bits) + 48))
    return "".join(text)


def read_mask_file(mask: MaskFile, root: Path, where: str) -> np.ndarray:
    """bool[H, W]: where the mask picture has the object's colour."""
    picture = safe.read_picture(safe.inside(root, mask.path, where), f"{where}: mask {mask.path}")
    return colour_values(orientation.upright(picture, mask.orientation)) == mask.value


def colour_values(picture: Image.Image) -> np.ndarray:
    """int32[H, W] of an RGB picture: R + 256 G + 65536 B."""
    channels_HW3 = np.asarray(picture).astype(np.int32)
    return channels_HW3 @ np.array([1, 256, 65536], dtype=np.int32)


def fill(polygons_px: tuple[tuple[Point, ...], ...], size: tuple[int, int], where: str) -> np.ndarray:
    """bool[H, W]: the pixels whose centres lie inside one of the outlines, in a picture of ``size`` (width, height).

    What an outline that crosses itself goes around twice is outside, as in COCO.
    """
    far = MAX_FAR * max(size)
    mask_HW = np.zeros(size[::-1], bool)
    for polygon in polygons_px:
        if len(polygon) < 3:
            raise DataError(f"{where}: an outline of {len(polygon)} points; expected three or more")
        points_N2 = np.array(polygon, np.float64)
        if not (np.abs(points_N2) <= far).all():  # NaN is not, either
            raise DataError(f"{where}: an outline has a point far outside the picture of {size[0]}x{size[1]}")
        left, top = np.clip(np.floor(points_N2.min(0)), 0, size).astype(int)
        right, bottom = np.clip(np.ceil(points_N2.max(0)), 0, size).astype(int)
        if left < right and top < bottom:
            mask_HW[top:bottom, left:right] |= _inside(points_N2 - (left, top), (right - left, bottom - top), where)
    return mask_HW


def _inside(points_N2: np.ndarray, size: tuple[int, int], where: str) -> np.ndarray:
    """bool[H, W] of one outline: the line of centres of each row is cut by the edges, and is inside from cut to cut."""
    width, height = size
    starts, ends = points_N2, np.roll(points_N2, -1, axis=0)
    upper = np.where(starts[:, 1:] <= ends[:, 1:], starts, ends)
    lower = np.where(starts[:, 1:] <= ends[:, 1:], ends, starts)
    first = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
    num_rows = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64) - first
    if num_rows.sum() > MAX_CUTS:
        raise DataError(f"{where}: an outline of {len(points_N2):,} points that is {num_rows.sum():,} rows long; simplify it")
    edges = np.repeat(np.arange(len(points_N2)), num_rows)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(num_rows) - num_rows - first, num_rows)
    share = (rows + 0.5 - upper[edges, 1]) / (lower[edges, 1] - upper[edges, 1])
    cuts = upper[edges, 0] + share * (lower[edges, 0] - upper[edges, 0])
    columns = np.clip(np.ceil(cuts - 0.5), 0, width).astype(np.int64)
    num_cuts = np.bincount(rows * (width + 1) + columns, minlength=height * (width + 1)).reshape(height, width + 1)
    return np.cumsum(num_cuts, axis=1)[:, :width] % 2 == 1
