"""GeoJSON: polygons on pictures, in pixels (y down) or in map coordinates.

A file belongs to the picture of its name, unless its features name theirs (``image``, ``image_id`` and the like, as xView
does), by text or a whole number. A picture of several files, such as a layer a class, is one with all its objects (layers.py
says what is rejected). Where a world file lies beside the picture, coordinates are places on the map and become pixels. Where
there is none they must be pixels: what names a coordinate system (``crs``), lies outside of the picture or is smaller than a
pixel is rejected.
"""

import collections
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError
from converters.formats import footprints, jsonfiles
from converters.formats.coco import picture_root, set_name
from converters.formats.layers import join_layers
from converters.formats.outlines import NO_AREA_REASON, NOT_CLASSES, class_of, file_key, refuse_points_only
from converters.formats.pictures import ByPicture, PictureFinder, PictureRows, sample_id, split_of
from converters.objects import Objects, ObjectsSample, PictureObject, check_object, class_names, enclosing

PICTURE_KEYS = ("image", "image_path", "image_name", "file_name", "filename", "image_id", "img")
_NO_CLASSES = NOT_CLASSES.union(PICTURE_KEYS, ("score", "area"))
NOWHERE = "feature without a geometry"  # RFC 7946: null, or empty coordinates


def read(source: Source) -> Objects:
    """All pictures that the files are about, in the files' order."""
    paths = jsonfiles.files_of("geojson", source)
    name = set_name(source.input)
    finder = PictureFinder(source.images or picture_root(source.input), source.made)
    ignored: collections.Counter[str] = collections.Counter()

    def read_file(document: Mapping[str, Any], path: Path) -> Iterator[tuple[str | DataError, ObjectsSample | Rejected]]:
        pictures = _by_picture(document, path, source.input, finder)
        features = (feature for picture in pictures for _, feature in picture.rows if isinstance(feature, dict))
        class_key = file_key(_named(footprints.properties_of(feature), source.options) for feature in features)
        for picture in pictures:
            yield picture.found, _sample(picture, document, path, source, finder, ignored, name, class_key)

    found = jsonfiles.read_all(paths, source.input, read_file)
    samples = join_layers(((None, each) if isinstance(each, Rejected) else each for each in found), name, finder.root)
    return Objects(name, finder.root, samples, class_names(samples), ignored + finder.ignored)


def _by_picture(
    document: Mapping[str, Any], path: Path, input: Path, finder: PictureFinder
) -> list[PictureRows[tuple[int, Any]]]:
    """The pictures with their numbered features: each belongs to the picture that it names, else to that of the file's name."""
    place = jsonfiles.place(path, input)
    split = split_of(path, input)
    found: ByPicture[tuple[int, Any]] = ByPicture(finder)
    is_numbered = not finder.has(path.stem, path.parent, split)  # beside a picture of the file's name a number is a key
    features = [document] if document.get("type") == "Feature" else jsonfiles.rows_of(document, "features", path)
    for number, feature in enumerate(features, 1):
        properties = footprints.properties_of(feature) if isinstance(feature, dict) else {}
        stated = next(filter(None, (_name(properties.get(key), is_numbered) for key in PICTURE_KEYS)), path.stem)
        where = place if stated == path.stem else f"{place}#{stated[:80]}"
        found.rows_of(stated, where, path.parent, split).append((number, feature))
    if not features:
        found.rows_of(path.stem, place, path.parent, split)
    return found.pictures()


def _name(value: Any, is_numbered: bool) -> str | None:
    """A picture's name as a property states it, also 12 or 12.0 where numbers may be names. None for what names nothing."""
    if isinstance(value, str) and value.strip():
        return value
    is_whole = type(value) is int or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if is_whole and is_numbered else None


def _sample(
    named: PictureRows[tuple[int, Any]],
    document: Mapping[str, Any],
    path: Path,
    source: Source,
    finder: PictureFinder,
    ignored: collections.Counter[str],
    name: str,
    class_key: str | None,
) -> ObjectsSample | Rejected:
    picture, where = named.found, named.where
    split = split_of(path, source.input)
    try:
        if isinstance(picture, DataError):
            raise picture
        file = safe.inside(finder.root, picture, where)
        world = footprints.read_world_file(file) if file.is_file() else None
        objects = []
        num_before = ignored[NO_AREA_REASON]
        for number, feature in named.rows:
            found = _object(feature, f"{where}: feature {number}", source.options, world, ignored, class_key)
            if found is not None:
                objects.append(check_object(found, number, where))
        refuse_points_only(ignored[NO_AREA_REASON] - num_before, objects, where)
        if world is None and file.is_file():
            if document.get("crs"):
                raise DataError(f"{where}: in map coordinates ('crs'); that needs a world file beside {picture}")
            boxes = [each.box_px for each in objects]
            footprints.look_at_scale(boxes, safe.picture_size(file, f"{where}: picture {picture}"), picture, where)
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), split)
    return ObjectsSample(sample_id(name, picture), where, split, (picture,), tuple(objects), name)


def _object(
    feature: Any,
    what: str,
    options: Mapping[str, str],
    world: footprints.WorldFile | None,
    ignored: collections.Counter[str],
    class_key: str | None,
) -> PictureObject | None:
    """None for a feature without an area."""
    if not isinstance(feature, dict):
        raise DataError(f"{what}: is {str(feature)[:40]!r}, expected an object with a 'geometry'")
    if feature.get("geometry") is None:
        ignored[NOWHERE] += 1
        return None
    found = footprints.read_geometry(feature["geometry"], what)
    if found is None:
        ignored[NO_AREA_REASON] += 1
        return None
    if not found.outlines:
        ignored[NOWHERE] += 1
        return None
    if found.num_holes:
        ignored["hole in a polygon"] += found.num_holes
    properties = footprints.properties_of(feature)
    outlines = world.to_pixels(found.outlines) if world is not None else found.outlines
    box = enclosing(point for outline in outlines for point in outline)
    return PictureObject(class_of(_named(properties, options), options, what, class_key), box, outlines, attributes=properties)


def _named(properties: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    """The properties that may name a class: not the picture's, nor an id."""
    key = options.get("class_key")
    return {each: value for each, value in properties.items() if each == key or each.lower() not in _NO_CLASSES}
