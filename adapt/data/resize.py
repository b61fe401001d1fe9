"""Pillow's bicubic resize of RGB pictures, bit for bit, several times as fast on one core.

Pillow resizes one axis after the other, in integers: each output pixel is a sum of input pixels times weights of 22
fractional bits, rounded and clipped to 0..255 (``src/libImaging/Resample.c`` of github.com/python-pillow/Pillow). Here a pass
works on whole rows, which the processor's vector units do; the pass along the width turns the picture over before and after.

Which axis comes first decides rounding, and it changed: up to Pillow 12 always the width, from 13 on the height where it
shrinks by more than twice what the width does. The installed Pillow is asked once, and where neither rule gives its pixels,
it is used itself.

Axes: H, W height and width before, h, w after, A the axis that is resized, M the bytes of a row, K taps.
"""

import functools
from typing import Literal

import numba
import numpy as np
from PIL import Image

from adapt import progress

_FRACTION_BITS = 22
_SUPPORT = 2.0  # of the bicubic filter, in pixels of the coarser grid
_SHARPNESS = -0.5

Order = Literal["width first", "cheaper first", "Pillow"]


def resize(pixels_HW3: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8[height, width, 3] of uint8[H, W, 3]: what the installed Pillow's ``Image.resize(..., BICUBIC)`` gives."""
    order = _order()
    if order == "Pillow":
        picture = Image.fromarray(pixels_HW3).resize((width, height), Image.Resampling.BICUBIC)
        return np.array(picture)
    return _resize(
        pixels_HW3, width, height, height_first=order == "cheaper first" and _shrinks_most(pixels_HW3, width, height)
    )


def _shrinks_most(pixels_HW3: np.ndarray, width: int, height: int) -> bool:
    """Whether Pillow 13 takes the height first."""
    less_high, less_wide = pixels_HW3.shape[0] - height, pixels_HW3.shape[1] - width
    return less_high > 0 and less_high > 2 * less_wide


@functools.cache
def _order() -> Order:
    """Which rule the installed Pillow follows, by pictures of noise on which the two differ, and on which they do not."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    rules: list[Order] = ["width first", "cheaper first"]
    for width, height in ((60, 32), (80, 40), (140, 180), (33, 90), (70, 47)):
        expected = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
        for rule in list(rules):
            height_first = rule == "cheaper first" and _shrinks_most(noise, width, height)
            if not np.array_equal(_resize(noise, width, height, height_first=height_first), expected):
                rules.remove(rule)
    if not rules:
        progress.say(
            f"note: Pillow {Image.__version__} resizes in a way that is not known here; it is used itself, which is slower"
        )
        return "Pillow"
    return rules[0]


def _resize(pixels_HW3: np.ndarray, width: int, height: int, *, height_first: bool) -> np.ndarray:
    def along_width(picture: np.ndarray) -> np.ndarray:
        return picture if picture.shape[1] == width else _turned(_pass(_turned(picture), width))

    def along_height(picture: np.ndarray) -> np.ndarray:
        return picture if picture.shape[0] == height else _pass(picture, height)

    pixels_HW3 = np.ascontiguousarray(pixels_HW3)
    resized = along_width(along_height(pixels_HW3)) if height_first else along_height(along_width(pixels_HW3))
    return resized.copy() if resized is pixels_HW3 else resized


def _pass(picture_AB3: np.ndarray, size: int) -> np.ndarray:
    """uint8[size, B, 3]: the first axis resized."""
    length, other, channels = picture_AB3.shape
    out = np.empty((size, other * channels), np.uint8)
    _sum_rows(picture_AB3.reshape(length, other * channels), *_weights(length, size), out)
    return out.reshape(size, other, channels)


@functools.lru_cache(maxsize=256)
def _weights(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(int64[size] first input place, int64[size] number of taps, int32[size, K] weights in 22 fractional bits).

    The same float64 operations in the same order as Pillow's, so that each weight rounds alike.
    """
    scale = length / size
    stretch = max(scale, 1.0)
    support = _SUPPORT * stretch
    center = (np.arange(size) + 0.5) * scale
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    taps = np.minimum((center + support + 0.5).astype(np.int64), length) - first
    place = np.arange(int(taps.max()))
    away = np.abs((place + first[:, None] - center[:, None] + 0.5) * (1.0 / stretch))
    a = _SHARPNESS
    near = ((a + 2.0) * away - (a + 3.0)) * away * away + 1.0
    far = (((away - 5.0) * away + 8.0) * away - 4.0) * a
    weights = np.where(away < 1.0, near, np.where(away < 2.0, far, 0.0))
    weights[place >= taps[:, None]] = 0.0
    total = np.zeros(size)
    for tap in place:
        total = total + weights[:, tap]
    weights = weights / total[:, None] * (1 << _FRACTION_BITS)
    return first, taps, np.trunc(weights + np.where(weights < 0, -0.5, 0.5)).astype(np.int32)


def _sum_rows_python(source_AM, first, taps, weights, out_aM):  # type: ignore[no-untyped-def]
    sums = np.empty(source_AM.shape[1], np.int32)
    for row in range(out_aM.shape[0]):
        sums[:] = 1 << (_FRACTION_BITS - 1)
        start, tap = first[row], 0
        while tap + 1 < taps[row]:
            weight, weight_after = weights[row, tap], weights[row, tap + 1]
            line, line_after = source_AM[start + tap], source_AM[start + tap + 1]
            for place in range(sums.shape[0]):
                sums[place] += np.int32(line[place]) * weight + np.int32(line_after[place]) * weight_after
            tap += 2
        if tap < taps[row]:
            weight, line = weights[row, tap], source_AM[start + tap]
            for place in range(sums.shape[0]):
                sums[place] += np.int32(line[place]) * weight
        line = out_aM[row]
        for place in range(sums.shape[0]):
            value = sums[place] >> _FRACTION_BITS
            line[place] = min(max(value, 0), 255)


def _turned_python(picture_HW3):  # type: ignore[no-untyped-def]
    height, width, channels = picture_HW3.shape
    out_WH3 = np.empty((width, height, channels), np.uint8)
    for top in range(0, height, 32):
        for left in range(0, width, 32):
            for column in range(left, min(left + 32, width)):
                for row in range(top, min(top + 32, height)):
                    for channel in range(3):
                        out_WH3[column, row, channel] = picture_HW3[row, column, channel]
    return out_WH3


def _compiled(function):  # type: ignore[no-untyped-def]
    """The function in machine code, kept between processes where there is a folder to keep it in."""
    try:
        return numba.njit(cache=True, boundscheck=False)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        return numba.njit(boundscheck=False)(function)


_sum_rows, _turned = _compiled(_sum_rows_python), _compiled(_turned_python)
