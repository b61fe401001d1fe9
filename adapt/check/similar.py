"""Test pictures that stand among the training ones in other bytes: recompressed, resized, saved in another format.

Two pictures are taken for one where their perceptual hashes (ImageHash's phash: signs of the 64 lowest frequencies of a 32x32
copy) differ in at most MAX_BITS of 64 bits and their colours on a 16x16 grid by at most MAX_COLOUR of 255 on average. Measured
on all pairs of different pictures: none of 4.5 million of EuroSAT is taken for one (at 10 bits and without the colours 3, at 12
bits 22), none of 49 thousand of VQA-RAD, and 62 of 3 million of easy-VQA's drawn shapes, of which 8,048 would be without
the colours. Copies at JPEG quality 50 or half the size are all found for VQA-RAD, BCCD and DriveLM, and 89 to 97 % of
them for EuroSAT, whose open sea has no frequencies to tell by. Not found: what was cropped, turned, made grey or much brighter.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from adapt import safe
from adapt.check.faults import Fault
from adapt.check.leaks import split_sides
from adapt.check.pictures import Picture
from adapt.check.rows import Row
from adapt.errors import DataError
from adapt.progress import track
from adapt.workers import map_ordered

MAX_BITS, MAX_COLOUR = 8, 6.0
_GRID_PX = 16
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Look:
    """What a picture looks like: its perceptual hash as one number and uint8[16, 16, 3] of its colours."""

    bits: int
    colours: np.ndarray

    def distance(self, other: "Look") -> tuple[int, float]:
        """(bits that differ, mean difference of the colours)."""
        difference = np.abs(self.colours.astype(np.int16) - other.colours)
        return (self.bits ^ other.bits).bit_count(), float(difference.mean())


def look_of(picture: Image.Image) -> Look:
    """What an RGB picture looks like."""
    import imagehash

    hashed = imagehash.phash(picture).hash
    small = picture.resize((_GRID_PX, _GRID_PX), Image.Resampling.BILINEAR)
    return Look(int.from_bytes(np.packbits(hashed.flatten()).tobytes(), "big"), np.asarray(small))


def are_similar(one: Look, other: Look) -> bool:
    """Whether two pictures are taken for one."""
    bits, colour = one.distance(other)
    return bits <= MAX_BITS and colour <= MAX_COLOUR


def similar_faults(rows: Sequence[Row], tests: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[Fault]:
    """Pictures to train on that look like a test picture, each with the nearest; equal bytes are left to ``leaks``.

    Decodes all of them.
    """
    shown, trained = (_first_rows(side, pictures) for side in split_sides(rows, tests))
    if not shown or not trained:
        return []
    looks = _looks([*shown, *(place for place in trained if place not in shown)])
    # Of blank pictures every pair is alike: what is kept grows with the pictures, not with the pairs.
    nearest: dict[tuple[Path, str], tuple[tuple[int, float], tuple[Path, str]]] = {}
    for place, other, distance in _pairs(trained, shown, looks):
        if pictures[place].content == pictures[other].content or trained[place].where == shown[other].where:
            continue
        if place not in nearest or distance < nearest[place][0]:
            nearest[place] = distance, other
    return [
        Fault(trained[place].where, "similar", _message(place[1], other[1], shown[other].where, distance))
        for place, (distance, other) in nearest.items()
    ]


def _message(name: str, other: str, where: str, distance: tuple[int, float]) -> str:
    how = f"{distance[0]} of 64 bits and {distance[1]:.1f} of 255 levels apart"
    return f"picture '{name}' looks like the test picture '{other}' of {where} ({how}); look at both and take these rows out"


def _first_rows(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> dict[tuple[Path, str], Row]:
    """The first row of each readable picture; of equal contents the first picture alone."""
    first: dict[tuple[Path, str], Row] = {}
    contents: set[str] = set()
    for row in rows:
        for name in row.record.images:
            content = pictures[row.root, name].content
            if content and content not in contents:
                contents.add(content)
                first[row.root, name] = row
    return first


def _looks(places: Sequence[tuple[Path, str]]) -> dict[tuple[Path, str], Look]:
    found = track(map_ordered(_look_at, None, places, chunk=64), len(places), "comparing pictures")
    return {place: look for place, look in zip(places, found, strict=True) if look is not None}


def _look_at(shared: None, place: tuple[Path, str]) -> Look | None:
    try:
        return look_of(safe.read_picture(safe.inside(*place, "picture")))
    except DataError:
        return None  # damage inside, which --decode names


def _pairs(
    trained: Mapping[tuple[Path, str], Row], tests: Mapping[tuple[Path, str], Row], looks: Mapping[tuple[Path, str], Look]
) -> Iterator[tuple[tuple[Path, str], tuple[Path, str], tuple[int, float]]]:
    ours, theirs = ([place for place in side if place in looks] for side in (trained, tests))
    hashes = np.array([looks[place].bits for place in theirs], np.uint64)
    for start in range(0, len(ours), _CHUNK):
        part = ours[start : start + _CHUNK]
        bits = np.bitwise_count(np.array([looks[place].bits for place in part], np.uint64)[:, None] ^ hashes[None])
        for mine, other in np.argwhere(bits <= MAX_BITS).tolist():
            one, two = looks[part[mine]], looks[theirs[other]]
            if are_similar(one, two):
                yield part[mine], theirs[other], one.distance(two)
