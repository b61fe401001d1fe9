"""LabelMe: one json a picture with ``shapes`` (github.com/wkentaro/labelme), also as X-AnyLabeling writes it.

Read are polygons, rectangles (two opposite corners in any order, or all four), circles (centre and a point on them), turned
boxes and, of a ``mask``, its box; points and lines have no area and are counted. Shapes of one label and one ``group_id`` are
the parts of one object, as in LabelMe's own ``examples/instance_segmentation/labelme2coco.py``. A picture that is embedded
(``imageData``) is not used: the file that ``imagePath`` names is.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError
from converters.formats import jsonfiles
from converters.formats.coco import set_name
from converters.formats.outlines import class_of, ellipse, objects_of
from converters.formats.pictures import PictureFinder, sample_id, split_of_folder
from converters.objects import (
    Objects,
    ObjectsSample,
    PictureObject,
    Point,
    class_names,
    corners_of,
    enclosing,
    to_number,
    without_doubles,
)

NO_AREA = frozenset({"point", "points", "line", "linestrip"})
JOINED = "shape that is a part of another one's object (group_id)"
_INSIDE = "; the file holds the picture itself (imageData): write it out with labelme_export_json, or say where it is: --images"
FLAGS = ("group_id", "difficult", "description")


def read(source: Source) -> Objects:
    """All files of the folder, or the one that is the input."""
    paths = jsonfiles.files_of("labelme", source)
    root = source.input if source.input.is_dir() else source.input.parent
    finder = PictureFinder(source.images or root, source.made)
    name = set_name(source.input) if source.input.is_dir() else root.resolve().name
    ignored: collections.Counter[str] = collections.Counter()

    def read_file(document: Mapping[str, Any], path: Path) -> Iterator[ObjectsSample | Rejected]:
        yield _sample(document, path.relative_to(root).as_posix(), path, root, source, finder, ignored, name)

    samples = without_doubles(
        list(jsonfiles.read_all(paths, root, read_file, _split_of)),
        "let 'imagePath' in each name its own picture, or have one file with all shapes",
    )
    return Objects(name, finder.root, samples, class_names(samples), ignored + finder.ignored)


def _split_of(path: Path, root: Path) -> str | None:
    """By the folders alone: a file is named like its picture."""
    return split_of_folder(path, root)


def _sample(
    document: Mapping[str, Any],
    where: str,
    path: Path,
    root: Path,
    source: Source,
    finder: PictureFinder,
    ignored: collections.Counter[str],
    name: str,
) -> ObjectsSample | Rejected:
    split = _split_of(path, root)
    try:
        shapes, stated = document.get("shapes"), document.get("imagePath")
        if not isinstance(shapes, list) or not isinstance(stated, str):
            raise DataError(f"{where}: expected 'imagePath' and a list 'shapes'")
        picture = _picture(document, stated, where, path, finder, split)
        shapes = objects_of(shapes, lambda shape, place: _object(shape, place, source.options), "shape", where, ignored)
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), split)
    size = jsonfiles.stated_size(document, "imageWidth", "imageHeight")
    objects = _joined(shapes)
    ignored[JOINED] += len(shapes) - len(objects)
    return ObjectsSample(sample_id(name, picture), where, split, (picture,), objects, name, stated_size=size)


def _picture(document: Mapping[str, Any], stated: str, where: str, path: Path, finder: PictureFinder, split: str | None) -> str:
    """As ``PictureFinder.find``; a picture that is not there, and that the file holds itself, is a DataError that says so."""
    is_inside = isinstance(document.get("imageData"), str) and document["imageData"].strip() != ""
    try:
        picture = finder.find(stated, where, path.parent, path.stem, split)
    except DataError as error:
        raise DataError(f"{error}{_INSIDE}" if is_inside else str(error)) from error
    if is_inside and not safe.inside(finder.root, picture, where).is_file():
        raise DataError(f"{where}: picture {picture}: no such file under {finder.root}{_INSIDE}")
    return picture


def _joined(shapes: tuple[PictureObject, ...]) -> tuple[PictureObject, ...]:
    """The shapes of each label and group as one object with all their outlines, in the place of the first."""
    groups: dict[Any, list[PictureObject]] = {}
    for number, each in enumerate(shapes):
        group = each.attributes.get("group_id")
        groups.setdefault((each.name, group) if type(group) in (int, str) else number, []).append(each)
    return tuple(parts[0] if len(parts) == 1 else _one_object(parts) for parts in groups.values())


def _one_object(parts: Sequence[PictureObject]) -> PictureObject:
    outlines = tuple(points for part in parts for points in part.polygons_px or (part.oriented_px or corners_of(part.box_px),))
    box = enclosing(point for part in parts for point in (part.box_px[:2], part.box_px[2:]))
    return dataclasses.replace(parts[0], box_px=box, polygons_px=outlines, oriented_px=())


def _object(shape: Any, what: str, options: Mapping[str, str]) -> PictureObject | None:
    """None for a shape without an area."""
    if not isinstance(shape, dict) or not isinstance(shape.get("points"), list):
        raise DataError(f"{what}: is {str(shape)[:60]}, expected an object with 'label' and 'points'")
    kind = shape.get("shape_type") or "polygon"
    if isinstance(kind, str) and kind in NO_AREA:
        return None
    name = class_of({"label": shape.get("label")}, {key: options[key] for key in ("name",) if key in options}, what, "label")
    points = tuple(_point(point, what) for point in shape["points"])
    flags = shape["flags"] if isinstance(shape.get("flags"), dict) else {}
    attributes = {key: shape[key] for key in FLAGS if shape.get(key) not in (None, "")} | flags
    return _drawn(kind, points, name, attributes, what)


def _drawn(kind: Any, points: tuple[Point, ...], name: str, attributes: Mapping[str, Any], what: str) -> PictureObject:
    if kind == "polygon" and len(points) >= 3:
        return PictureObject(name, enclosing(points), (points,), attributes=attributes)
    if kind in ("rectangle", "mask") and len(points) in (2, 4):
        x1, y1, x2, y2 = enclosing(points)
        last = 1 if kind == "mask" else 0  # a mask's corners are its first and last pixel
        return PictureObject(name, (x1, y1, x2 + last, y2 + last), attributes=attributes)
    if kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        outline, box = ellipse(points[0], (radius, radius))
        return PictureObject(name, box, (outline,), attributes=attributes)
    if kind in ("rotation", "oriented_rectangle") and len(points) == 4:
        return PictureObject(name, enclosing(points), oriented_px=points, attributes=attributes)
    raise DataError(
        f"{what}: a {str(kind)[:40]} of {len(points)} points; expected a polygon, rectangle, circle, rotation or mask"
    )


def _point(point: Any, what: str) -> Point:
    if not isinstance(point, list) or len(point) != 2:
        raise DataError(f"{what}: a point is {str(point)[:40]}, expected [x, y]")
    return to_number(point[0], f"{what}: an x"), to_number(point[1], f"{what}: a y")
