"""A picture with its labelled objects: what every detection and segmentation format is read into.

Coordinates are pixels of the stored picture, x to the right and y down from the outer corner of its top left pixel, as floats
(0-based: the right edge of a picture of width W is W). A format that counts pixels from 1 or gives shares is turned on reading.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from adapt.boxes import Box

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Rle:
    """A mask as COCO's compressed run lengths. ``size`` is (width, height) of the mask."""

    counts: str
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class MaskFile:
    """The pixels of a mask picture that have one value: of a colour R + 256 G + 65536 B. ``path`` as a picture's."""

    path: str
    value: int


@dataclasses.dataclass(frozen=True)
class PictureObject:
    """One object: what it is called, its enclosing box, and what else the source knows of it.

    ``polygons_px`` are its outlines (one a connected part), ``oriented_px`` the corners of a turned box, in the source's order.
    ``caption`` is a phrase for this object alone: a referring expression or a description. ``crowd`` marks a group of objects
    that is not told apart: it is neither counted nor asked for as one.
    """

    name: str
    box_px: Box
    polygons_px: tuple[tuple[Point, ...], ...] = ()
    oriented_px: tuple[Point, ...] = ()
    mask: Rle | MaskFile | None = None
    caption: str = ""
    crowd: bool = False
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ObjectsSample:
    """A picture and all labelled objects in it, in the source's order; it may have none.

    ``sizes`` are filled in with the decoded picture's (width, height) before the sample is converted.
    """

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    objects: tuple[PictureObject, ...]
    source: str
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        return self.sizes[0]
