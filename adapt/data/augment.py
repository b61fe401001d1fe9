"""Augmentation, drawn per tree: photometric always safe to the text, geometric where every text of the tree allows it.

``photometric`` is mild, for colour can be the question. ``overhead`` adds the symmetries of a picture taken from above,
which has no side that is up: all eight of a square, of another rectangle those four that keep its size. Boxes in the text
move with the picture; words that name a side, and places written otherwise than as our boxes, forbid it.

A symmetry's name and what it does to pixels are albumentations' (``augmentations.geometric.functional.d4``).
"""

import functools
import io
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from adapt import boxes, safe

AS_STORED = "e"
SYMMETRIES_OF_A_SQUARE = (AS_STORED, "r90", "r180", "r270", "v", "hvt", "h", "t")
SYMMETRIES_OF_A_RECTANGLE = (AS_STORED, "r180", "v", "h")
OVERHEAD = "overhead"

_PLACE_WORDS = re.compile(
    r"<quad>|\b(left|right|top|bottom|upper|lower|above|below|beneath|under(neath)?|over|up|down|upside|(north|south)(east|west)?"
    r"|east|west|(counter|anti)?clockwise|front|behind|corner|side|horizontal|vertical|CAM_\w+)(ern|ward|wards|most|ly)?\b"
    r"|[左右上下东南西北前后]"
    r"|[\[({]\s*<?[-+.\d]+\s*[,>]+\s*<?[-+.\d]",  # numbers in brackets may be a place: [12, 40], (12, 40), {<12><40>
    re.IGNORECASE,
)


def can_turn(texts: Iterable[str]) -> bool:
    """Whether the texts stay true of a picture turned or mirrored, once the boxes in them have moved with it."""
    return all(
        not _PLACE_WORDS.search(boxes.outside_tags(text)) and boxes.move_boxes(text, (1000, 1000), lambda box: box) is not None
        for text in texts
    )


def symmetries(size: tuple[int, int]) -> tuple[str, ...]:
    """The symmetries that a picture of ``size`` (width, height) may be shown in, the first as it is stored."""
    return SYMMETRIES_OF_A_SQUARE if size[0] == size[1] else SYMMETRIES_OF_A_RECTANGLE


def turn_box(box: boxes.Box, symmetry: str, size: tuple[int, int]) -> boxes.Box:
    """Where a box of a picture of ``size`` (width, height), in pixels, lies in the turned picture."""
    (x1, y1, x2, y2), (width, height) = box, size
    left, above, right, below = width - x2, height - y2, width - x1, height - y1  # the box as each mirror shows it
    return {
        AS_STORED: box,
        "r90": (y1, left, y2, right),
        "r180": (left, above, right, below),
        "r270": (above, x1, below, x2),
        "v": (x1, above, x2, below),
        "hvt": (above, left, below, right),
        "h": (left, y1, right, y2),
        "t": (y1, x1, y2, x2),
    }[symmetry]


def turn_text(text: str, symmetry: str, size: tuple[int, int]) -> str:
    """A text that ``can_turn`` allowed, as it is true of the turned picture."""
    moved = boxes.move_boxes(text, size, lambda box: turn_box(box, symmetry, size))
    assert moved is not None, "can_turn looks first"
    return moved


def _quiet() -> None:
    # Importing albumentations looks for a newer release over the network unless told not to, and takes 1.7 s.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


@functools.cache
def _photometric() -> Any:
    _quiet()
    import albumentations

    return albumentations.Compose(
        [
            albumentations.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
            albumentations.GaussNoise(std_range=(0.01, 0.03), p=0.25),
        ]
    )


def load() -> None:
    """Import what augmentation needs in this process: workers forked from it need not, each on its own."""
    _photometric()


def turn(picture_HWC: np.ndarray, symmetry: str) -> np.ndarray:
    """uint8[H, W, 3] -> the picture in that symmetry."""
    if symmetry == AS_STORED:
        return picture_HWC
    _quiet()
    from albumentations.augmentations.geometric import functional

    return np.ascontiguousarray(functional.d4(picture_HWC, symmetry))


def augment(picture_HWC: np.ndarray, *, symmetry: str, draw: int) -> np.ndarray:
    """uint8[H, W, 3] -> the picture in a symmetry, its light and noise by the draw ``draw``."""
    pipeline = _photometric()
    pipeline.set_random_seed(draw)
    return pipeline(image=turn(picture_HWC, symmetry))["image"]


def degrade(tiles_NSS3: np.ndarray, qualities: Sequence[int]) -> np.ndarray:
    """uint8[N, S, S, 3] -> the same shape: each tile through JPEG at its own quality, 1 to 100.

    What ``build_transform`` with data_augment does in internvl_chat/internvl/train/dataset.py of github.com/OpenGVLab/InternVL,
    where the quality is drawn from 75 to 100 for each tile on its own.
    """
    degraded = []
    for tile_SS3, quality in zip(tiles_NSS3, qualities, strict=True):
        stored = io.BytesIO()
        Image.fromarray(tile_SS3).save(stored, format="JPEG", quality=quality)
        degraded.append(np.asarray(safe.decode_picture(stored.getvalue(), "a tile through JPEG")))
    return np.stack(degraded)
