"""A picture with its labelled objects: what every detection and segmentation format is read into.

Coordinates are pixels of the stored picture, x to the right and y down from the outer corner of its top left pixel, as floats
(0-based: the right edge of a picture of width W is W). A format that counts pixels from 1 or gives shares is turned on reading.
"""

import collections
import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from adapt.boxes import Box
from adapt.domain import Rejected
from adapt.errors import DataError
from adapt.orientation import UPRIGHT, swaps_sides

Point = tuple[float, float]
CROWD = "crowd region"  # what readers call one that they leave out and count
ROUNDING_SHARE = 1e-6  # x + width of shares may be more than 1 by less than this
ROUNDING_PX = 0.01  # x + width of floats may pass the edge by less than this; such a box is not counted as cut


@dataclasses.dataclass(frozen=True)
class Rle:
    """A mask as COCO's compressed run lengths. ``size`` is (width, height) of the mask."""

    counts: str
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class MaskFile:
    """The pixels of a mask picture that have one value: of a colour R + 256 G + 65536 B. ``path`` as a picture's.

    ``orientation`` is the tag by which the mask's pixels are turned before they lie on those of the picture.
    """

    path: str
    value: int
    orientation: int = 1


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

    ``sizes`` are filled in with the decoded picture's (width, height) before the sample is converted; ``stated_size`` is the
    (width, height) that the annotations were made for, where the file says so: ``clipped`` compares the two. ``orientation`` is
    filled in too: the tag of the picture's file, whether its pixels were turned by it or not. ``file`` is the picture that the
    set names, where ``pictures`` becomes a made copy; ``as_stored`` is the sample before its coordinates were turned: messages
    show the user's own name and numbers.
    """

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    objects: tuple[PictureObject, ...]
    source: str
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ()
    stated_size: tuple[int, int] | None = None
    orientation: int = UPRIGHT
    file: str = ""
    as_stored: "ObjectsSample | None" = None

    def __post_init__(self) -> None:
        if not self.file and self.pictures:
            object.__setattr__(self, "file", self.pictures[0])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        return self.sizes[0]

    def upright(self, orientations: Sequence[int]) -> "ObjectsSample":
        """The sample on the upright copy of its picture, for coordinates and ``sizes`` of the stored one."""
        from converters.orientation import upright_objects

        return upright_objects(self, orientations[0])


@dataclasses.dataclass(frozen=True)
class Objects:
    """A set of pictures with labelled objects: what every reader of a detection or segmentation format answers.

    ``root`` is the folder below which the samples' pictures (and mask files) lie. ``classes`` are all class names of the set,
    sorted: its own list where it has one, else those of its objects. ``ignored`` counts by reason what was not read.
    """

    name: str
    root: Path
    samples: Iterable[ObjectsSample | Rejected]
    classes: tuple[str, ...]
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)


def told_apart(samples: Iterable[ObjectsSample | Rejected]) -> list[ObjectsSample | Rejected]:
    """The samples, with ids that tell their pictures apart."""
    told = list(samples)
    named = [(place, each) for place, each in enumerate(told) if isinstance(each, ObjectsSample)]
    ids = ids_apart([(each.id, each.pictures[0]) for _, each in named])
    for (place, each), own in zip(named, ids, strict=True):
        if own != each.id:
            told[place] = dataclasses.replace(each, id=own)
    return told


def without_doubles(samples: Sequence[ObjectsSample | Rejected], cure: str) -> list[ObjectsSample | Rejected]:
    """The samples without those of one split and picture that differ in their objects: the picture shows the objects of all of
    them, and none of them has all. Each is rejected with another's place and the ``cure``."""
    shared: dict[tuple[str | None, tuple[str, ...]], list[ObjectsSample]] = collections.defaultdict(list)
    for each in samples:
        if isinstance(each, ObjectsSample):
            shared[each.split, each.pictures].append(each)
    parted = {key: rows for key, rows in shared.items() if any(row.objects != rows[0].objects for row in rows)}
    return [
        _double(each, parted[each.split, each.pictures], cure)
        if isinstance(each, ObjectsSample) and (each.split, each.pictures) in parted
        else each
        for each in samples
    ]


def _double(sample: ObjectsSample, rows: Sequence[ObjectsSample], cure: str) -> Rejected:
    other = next((row.where for row in rows if row.where != sample.where), sample.where)
    reason = f"its picture {sample.pictures[0]} is that of {other}, too, and shows the objects of both; {cure}"
    return Rejected(sample.where, reason, sample.split)


def ids_apart(named: Sequence[tuple[str, str]]) -> list[str]:
    """An id for each (id, picture): with the extensions of those that share one, ``set-a.png`` and ``set-a.jpg``."""
    ids = [each for each, _ in named]
    lengthened: set[int] = set()
    while True:
        pictures: dict[str, set[str]] = collections.defaultdict(set)
        for own, (_, picture) in zip(ids, named, strict=True):
            pictures[own].add(picture)
        shared = [place for place, own in enumerate(ids) if len(pictures[own]) > 1 and place not in lengthened]
        if not shared:
            return ids
        for place in shared:  # its longer id may meet that of yet another picture, such as a.png.jpg
            ids[place] += PurePosixPath(named[place][1]).suffix
        lengthened.update(shared)


def class_names(samples: Iterable[ObjectsSample | Rejected]) -> tuple[str, ...]:
    """The names of all objects, sorted."""
    return tuple(sorted({each.name for sample in samples if isinstance(sample, ObjectsSample) for each in sample.objects}))


def called(classes: Iterable[str], spelled: Callable[[str], str]) -> dict[str, str]:
    """Class -> what it is called in the text. Raises DataError where two would be called the same."""
    names = {name: spelled(name) for name in classes}
    by_text: dict[str, str] = {}
    for name, text in names.items():
        if (twin := by_text.setdefault(text, name)) != name:
            raise DataError(f"the classes '{twin}' and '{name}' would both be called '{text}'; rename one")
    return names


def to_number(value: Any, what: str) -> float:
    """A coordinate as a finite float, from a number or its text. Raises DataError(``what``: found, expected)."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str) or "_" in str(value):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{what} is {str(value)[:40]!r}, expected a number") from error
    if not math.isfinite(number):
        raise DataError(f"{what} is {number}, expected a finite number")
    return number


def to_points(numbers: Sequence[Any], what: str) -> tuple[Point, ...]:
    """x1, y1, x2, y2, ... as points; finiteness is checked with the object. Raises DataError for what is no number."""
    if set(map(type, numbers)) <= {int, float}:  # the way of nearly all: millions of them in a large set
        with contextlib.suppress(OverflowError):
            values = list(map(float, numbers))
            return tuple(zip(values[::2], values[1::2], strict=True))
    what = f"{what}: a number of its polygon"
    values = [to_number(each, what) for each in numbers]
    return tuple(zip(values[::2], values[1::2], strict=True))


def enclosing(points: Iterable[Point]) -> Box:
    """The smallest upright box around points. Raises ValueError for none."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def corners_of(box_px: Box) -> tuple[Point, ...]:
    """The four corners of an upright box, clockwise from the top left."""
    x1, y1, x2, y2 = box_px
    return ((x1, y1), (x2, y1), (x2, y2), (x1, y2))


def check_object(each: PictureObject, number: int, where: str) -> PictureObject:
    """The object, where it has a name, a box with an area, and finite points; else a DataError names object ``number``."""
    label = f"{where}: object {number} '{each.name[:80]}'"
    if not each.name.strip():
        raise DataError(f"{where}: object {number} has an empty class name")
    points = itertools.chain(each.oriented_px, *each.polygons_px)
    if not all(map(math.isfinite, itertools.chain(each.box_px, *points))):
        raise DataError(f"{label}: a coordinate is not finite: {written(each.box_px)}; expected pixels")
    x1, y1, x2, y2 = each.box_px
    if x2 <= x1 or y2 <= y1:
        raise DataError(f"{label}: its box {written(each.box_px)} has no area; expected x1 < x2 and y1 < y2 in pixels")
    return each


def refuse_shares(box: Box, label: str) -> None:
    """Raise DataError for a box within 0..1 that is not of whole numbers: shares of a picture that passed for pixels."""
    if min(box) >= 0 and max(box) <= 1 + ROUNDING_SHARE and any(value != int(value) for value in box):
        raise DataError(f"{label}: its box {written(box)} is in shares of the picture, from 0 to 1; expected pixels")


def clipped(sample: ObjectsSample, upright: str = "no") -> ObjectsSample:
    """The sample with all boxes and outlines inside its decoded picture. Every ``convert`` of objects starts with this.

    A box that pokes out is cut at the picture's edge, and ``meta["clipped"]`` says how many were: it goes into the record.
    Corners of turned boxes stay as the source has them, since a cut one would be no rectangle. Raises DataError, which rejects
    the sample, for a box wholly outside, for a stated size that is not the picture's, and for a mask of another size; what it
    advises depends on the option ``upright`` (adapt/pixels.py) that the sample was made with.
    """
    width, height = sample.size
    _check_sizes(sample, upright)
    objects: list[PictureObject] = []
    num_clipped = 0
    for number, each in enumerate(sample.objects, 1):
        x1, y1, x2, y2 = each.box_px
        inside = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            raise DataError(f"{sample.where}: object {number} '{each.name[:80]}': {_outside(sample, number - 1, upright)}")
        if inside == each.box_px:
            objects.append(each)
            continue
        num_clipped += any(abs(a - b) > ROUNDING_PX for a, b in zip(inside, each.box_px, strict=True))
        polygons = (_clip_polygon(polygon, (width, height)) for polygon in each.polygons_px)
        objects.append(dataclasses.replace(each, box_px=inside, polygons_px=tuple(each for each in polygons if each)))
    meta = dict(sample.meta) | ({"clipped": num_clipped} if num_clipped else {})
    return dataclasses.replace(sample, objects=tuple(objects), meta=meta)


def _outside(sample: ObjectsSample, place: int, upright: str) -> str:
    """What to say of the box of object ``place``, wholly outside, and to do where it fits the picture turned otherwise."""
    given = sample.as_stored or sample
    box_px, size = given.objects[place].box_px, given.size
    is_turned = upright != "no" and sample.as_stored is None and swaps_sides(sample.orientation)
    told = f"its box {written(box_px)} lies outside the {'upright ' if is_turned else ''}picture of {_sides(size)}"
    x1, y1, x2, y2 = box_px
    fits_other = x1 >= -ROUNDING_PX and y1 >= -ROUNDING_PX and x2 <= size[1] + ROUNDING_PX and y2 <= size[0] + ROUNDING_PX
    if not swaps_sides(sample.orientation) or given.stated_size is not None or not fits_other:
        return told
    other, choice = ("stored", "yes") if is_turned else ("upright", "labelled")
    return (
        f"{told}, but inside the {other} one of {_sides(size[::-1])} (orientation tag {sample.orientation}): where boxes were "
        f"drawn on that one, use --option upright={choice}"
    )


def _check_sizes(sample: ObjectsSample, upright: str) -> None:
    given = sample.as_stored or sample
    stated = given.stated_size
    if stated is not None and stated != given.size:
        raise DataError(
            f"{sample.where}: stated as {_sides(stated)}, but picture {sample.file} is {_found(sample, upright)}; "
            f"{_advice(sample)}"
        )
    for number, each in enumerate(given.objects, 1):
        if isinstance(each.mask, Rle) and each.mask.size != given.size:
            raise DataError(
                f"{sample.where}: object {number} '{each.name[:80]}': a mask of {_sides(each.mask.size)}, but "
                f"picture {sample.file} is {_found(sample, upright)}"
            )


def _found(sample: ObjectsSample, upright: str) -> str:
    """The size of the picture's file; with the upright one where its copy was turned to another."""
    if upright == "no" or not swaps_sides(sample.orientation):
        return _sides(sample.size)
    return f"stored as {_sides(sample.size[::-1])}, upright {_sides(sample.size)} (orientation tag {sample.orientation})"


def _advice(sample: ObjectsSample) -> str:
    """What to do with a stated size that is not the picture's. ``upright=yes`` goes by each stated size: it fits both sides."""
    given = sample.as_stored or sample
    if given.stated_size != given.size[::-1]:
        return "correct the stated width and height, or the picture's name"
    if swaps_sides(sample.orientation):
        return f"its orientation tag ({sample.orientation}) swaps the two: use --option upright=yes"
    return "no option helps where no orientation tag swaps the two: correct the stated width and height"


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _clip_polygon(polygon: Sequence[Point], size: tuple[int, int]) -> tuple[Point, ...]:
    """The part of an outline inside the picture: Sutherland and Hodgman (1974), one edge of the picture after the other."""
    points = list(polygon)
    for axis, limit, sign in ((0, 0.0, 1), (0, float(size[0]), -1), (1, 0.0, 1), (1, float(size[1]), -1)):
        kept: list[Point] = []
        for start, end in zip([*points[-1:], *points[:-1]], points, strict=True):
            before, after = (start[axis] - limit) * sign, (end[axis] - limit) * sign
            if (before < 0) != (after < 0):
                share = before / (before - after)
                crossing = [start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])]
                crossing[axis] = limit
                kept.append((crossing[0], crossing[1]))
            if after >= 0:
                kept.append(end)
        points = kept
    return tuple(points)


def written(box: Sequence[float]) -> str:
    """A box as messages show it."""
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def plain(value: float) -> int | float:
    """A number of pixels as it is best stored: whole where it is whole, else to a thousandth."""
    return int(value) if float(value).is_integer() else round(float(value), 3)
