"""Augmentation, drawn per tree: photometric always safe to the text, geometric only where no branch's text names a place.

``photometric`` is mild, for colour can be the question. ``overhead`` adds the eight symmetries of the square, which a
picture taken from above has no opinion on; pictures that are not square get the two flips.
"""

import functools
import io
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from adapt import safe

_PLACE_WORDS = re.compile(
    r"<box>|<quad>|\b(left|right|top|bottom|upper|lower|above|below|beneath|under|over|north|south|east|west|clockwise|front|behind"
    r"|corner|side|horizontal|vertical|CAM_\w+)(ern|ward|wards|most|ly)?\b|[左右上下东南西北前后]",
    re.IGNORECASE,
)


def names_a_place(texts: Iterable[str]) -> bool:
    """Whether a text would stop being true of a picture turned or mirrored."""
    return any(_PLACE_WORDS.search(text) for text in texts)


@functools.cache
def _pipeline(kind: str, square: bool, turn: bool) -> Any:
    # Importing albumentations looks for a newer release over the network unless told not to, and takes 1.7 s.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    steps: list[Any] = []
    if kind == "overhead" and turn:
        steps += (
            [albumentations.D4(p=1.0)] if square else [albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]
        )
    steps += [
        albumentations.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
        albumentations.GaussNoise(std_range=(0.01, 0.03), p=0.25),
    ]
    return albumentations.Compose(steps)


def augment(picture_HWC: np.ndarray, kind: str, *, turn: bool, draw: int) -> np.ndarray:
    """uint8[H, W, 3] -> the same shape, by the draw ``draw``. ``turn`` allows geometry."""
    pipeline = _pipeline(kind, picture_HWC.shape[0] == picture_HWC.shape[1], turn)
    pipeline.set_random_seed(draw)
    return pipeline(image=picture_HWC)["image"]


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
