"""VGG Image Annotator: regions drawn on pictures (gitlab.com/vgg/via, versions 1 and 2).

Version 1 exports {key: {filename, size, regions: {"0": region}}}, version 2 has regions as a list, and a project file holds the
same under ``_via_img_metadata``. The class is one of the ``region_attributes``; the balloon set of the Mask R-CNN tutorial has
none at all: ``--option name=balloon`` names its regions. The split is told by the folder or the file's name.
"""

import collections
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt.boxes import Box
from adapt.domain import Rejected, Source
from adapt.errors import DataError
from converters.formats import jsonfiles
from converters.formats.coco import picture_root, set_name
from converters.formats.outlines import class_of, ellipse, file_key, objects_of
from converters.formats.pictures import PictureFinder, sample_id, split_of
from converters.objects import Objects, ObjectsSample, PictureObject, Point, class_names, enclosing, to_number

NO_AREA = frozenset({"point", "polyline", "line"})


def read(source: Source) -> Objects:
    """All pictures of a file, or of the files of a folder, in their order."""
    paths = jsonfiles.files_of("via", source)
    name = set_name(source.input)
    finder = PictureFinder(source.images or picture_root(source.input), source.made, root_first=source.images is not None)
    ignored: collections.Counter[str] = collections.Counter()

    def read_file(document: Mapping[str, Any], path: Path) -> Iterator[ObjectsSample | Rejected]:
        rows = document.get("_via_img_metadata", document)
        if not isinstance(rows, dict) or not any(isinstance(row, dict) and "filename" in row for row in rows.values()):
            raise DataError(f"{path}: expected pictures with 'filename' and 'regions' (VIA 1 or 2; of VIA 3 export COCO)")
        place, class_key = jsonfiles.place(path, source.input), file_key(_all_attributes(rows.values()))
        called = _called(document)
        for key, row in rows.items():
            yield _sample(row, f"{place}#{key[:80]}", path, source, finder, ignored, name, class_key, called)

    samples = list(jsonfiles.read_all(paths, source.input, read_file))
    return Objects(name, finder.root, samples, class_names(samples), ignored + finder.ignored)


def _sample(
    row: Any,
    where: str,
    path: Path,
    source: Source,
    finder: PictureFinder,
    ignored: collections.Counter[str],
    name: str,
    class_key: str | None,
    called: Mapping[str, Mapping[str, str]],
) -> ObjectsSample | Rejected:
    split = split_of(path, source.input)
    try:
        if not isinstance(row, dict) or not isinstance(row.get("filename"), str):
            raise DataError(f"{where}: the picture is {str(row)[:60]}, expected an object with 'filename' and 'regions'")
        picture = finder.find(row["filename"], where, path.parent, split=split)
        objects = objects_of(
            _regions(row.get("regions"), where),
            lambda region, place: _object(region, place, source.options, class_key, called),
            "region",
            where,
            ignored,
        )
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), split)
    return ObjectsSample(sample_id(name, picture), where, split, (picture,), objects, name)


def _regions(regions: Any, where: str) -> Sequence[Any]:
    """The regions of version 1, a dict, or of version 2, a list; none where there is no such key."""
    if isinstance(regions, dict):
        return list(regions.values())
    if not isinstance(regions, list | None):
        raise DataError(f"{where}: 'regions' is {str(regions)[:40]!r}, expected a list or an object")
    return regions or []


def _all_attributes(rows: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """The attributes of a file's regions, of those that can be read."""
    for row in rows:
        regions = row.get("regions") if isinstance(row, dict) else None
        listed = regions.values() if isinstance(regions, dict) else regions if isinstance(regions, list) else []
        found = (region.get("region_attributes") for region in listed if isinstance(region, dict))
        yield from (attributes for attributes in found if isinstance(attributes, dict))


def _called(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What a project of VIA 2 calls the numbers that menus and boxes to tick hold: attribute -> number -> its description.

    A number without one stays. An id that is a word is the name itself, and its description tells of it. That of a choice
    between pictures (type ``image``) is the picture, by its address or in base64, and no name.
    """
    stated = document.get("_via_attributes")
    menus = stated.get("region") if isinstance(stated, dict) else None
    found: dict[str, dict[str, str]] = {}
    for attribute, menu in menus.items() if isinstance(menus, dict) else ():
        options = menu.get("options") if isinstance(menu, dict) and menu.get("type") != "image" else None
        found[attribute] = {
            number: text.strip()
            for number, text in (options.items() if isinstance(options, dict) else ())
            if number.isdigit() and isinstance(text, str) and text.strip()
        }
    return found


def _spelled(attributes: Mapping[str, Any], called: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The attributes of a region with the names of numbers."""
    spelled = dict(attributes)
    for attribute, value in attributes.items():
        names = called.get(attribute)
        if names is None:
            continue
        if isinstance(value, str):
            spelled[attribute] = names.get(value.strip(), value)
        elif isinstance(value, dict):
            ticked = {number: is_on for number, is_on in value.items() if is_on is True or is_on == "true"}
            spelled[attribute] = {names.get(number, number): is_on for number, is_on in (ticked or value).items()}
    return spelled


def _object(
    region: Any, what: str, options: Mapping[str, str], class_key: str | None, called: Mapping[str, Mapping[str, str]]
) -> PictureObject | None:
    """None for a shape without an area."""
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    attributes = region.get("region_attributes") or {} if isinstance(region, dict) else {}
    if not isinstance(shape, dict) or not isinstance(attributes, dict):
        raise DataError(f"{what}: is {str(region)[:60]}, expected an object with 'shape_attributes' and 'region_attributes'")
    if isinstance(shape.get("name"), str) and shape["name"] in NO_AREA:
        return None
    attributes = _spelled(attributes, called)
    polygons, box = _outline(shape, what)
    return PictureObject(class_of(attributes, options, what, class_key), box, polygons, attributes=attributes)


def _outline(shape: Mapping[str, Any], what: str) -> tuple[tuple[tuple[Point, ...], ...], Box]:
    def number(key: str) -> float:
        return to_number(shape.get(key), f"{what}: '{key}'")

    kind = shape.get("name")
    if kind == "rect":
        x, y = number("x"), number("y")
        return (), (x, y, x + number("width"), y + number("height"))
    if kind == "polygon":
        points = _points(shape.get("all_points_x"), shape.get("all_points_y"), what)
        return (points,), enclosing(points)
    if kind in ("circle", "ellipse"):
        radii = (number("r"), number("r")) if kind == "circle" else (number("rx"), number("ry"))
        angle = number("theta") if shape.get("theta") is not None and kind == "ellipse" else 0.0
        if min(radii) <= 0 or math.isinf(sum(radii)):
            raise DataError(f"{what}: a {kind} of radius {min(radii):g}, expected more than 0")
        points, box = ellipse((number("cx"), number("cy")), radii, angle)
        return (points,), box
    raise DataError(f"{what}: a shape '{str(kind)[:40]}', expected rect, polygon, circle or ellipse")


def _points(xs: Any, ys: Any, what: str) -> tuple[Point, ...]:
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys) or len(xs) < 3:
        raise DataError(
            f"{what}: a polygon of x {str(xs)[:40]} and y {str(ys)[:40]}, expected two lists of three or more numbers"
        )
    pairs = zip(xs, ys, strict=True)
    return tuple(
        (to_number(x, f"{what}: a number of its polygon"), to_number(y, f"{what}: a number of its polygon")) for x, y in pairs
    )
