"""Polygons as GeoJSON and WKT (through shapely), and the way from map coordinates to pixels.

A world file (``a.tfw`` beside ``a.tif``) has six lines A D B E C F: a pixel's centre (column, row) lies at
x = A column + B row + C, y = D column + E row + F (Esri, "World files for raster datasets").
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.boxes import Box
from adapt.errors import DataError
from converters.objects import Point, to_number

Outlines = tuple[tuple[Point, ...], ...]
NO_AREA = frozenset({"point", "multipoint", "linestring", "multilinestring"})
AREAS = frozenset({"polygon", "multipolygon"})
_WKT_KIND = re.compile(r"\s*(?:SRID\s*=\s*\d{1,9}\s*;)?\s*([A-Za-z]{1,20})")


@dataclasses.dataclass(frozen=True)
class Footprint:
    """The outlines of one geometry (none where it is empty), and how many holes they have."""

    outlines: Outlines
    num_holes: int


def read_wkt(text: str, what: str) -> Footprint | None:
    """A WKT polygon; None for points and lines, which have no area. Raises DataError for anything else."""
    kind = _WKT_KIND.match(text)
    if kind is None or kind[1].lower() not in AREAS | NO_AREA:
        raise DataError(f"{what}: the geometry is {text[:40]!r}, expected a WKT POLYGON or MULTIPOLYGON")
    if kind[1].lower() in NO_AREA:
        return None
    import numpy
    import shapely

    try:
        with numpy.errstate(all="ignore"):  # numbers that overflow become inf, which the objects' check names
            return _footprint(shapely.from_wkt(text.rpartition(";")[2].strip()))
    except shapely.errors.ShapelyError as error:
        raise DataError(f"{what}: the geometry {text[:40]!r} is no WKT: {str(error)[:80]}") from error


def read_geometry(geometry: Any, what: str) -> Footprint | None:
    """A GeoJSON polygon; None for points and lines. Raises DataError for anything else."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(kind, str) or kind.lower() not in AREAS | NO_AREA:
        raise DataError(f"{what}: the geometry is {str(geometry)[:40]!r}, expected a Polygon or MultiPolygon")
    if kind.lower() in NO_AREA:
        return None
    import numpy
    import shapely

    try:
        with numpy.errstate(all="ignore"):
            return _footprint(shapely.from_geojson(json.dumps({"type": kind, "coordinates": geometry.get("coordinates")})))
    except (shapely.errors.ShapelyError, ValueError) as error:
        raise DataError(f"{what}: its coordinates are not those of a {kind}: {str(error)[:80]}") from error


def _footprint(shape: Any) -> Footprint:
    parts = [part for part in (shape.geoms if hasattr(shape, "geoms") else [shape]) if not part.is_empty]
    outlines = tuple(tuple((float(x), float(y)) for x, y, *_ in part.exterior.coords[:-1]) for part in parts)
    return Footprint(outlines, sum(len(part.interiors) for part in parts))


@dataclasses.dataclass(frozen=True)
class WorldFile:
    """x = a column + b row + c, y = d column + e row + f, of pixel centres."""

    a: float
    d: float
    b: float
    e: float
    c: float
    f: float

    def to_pixels(self, outlines: Outlines) -> Outlines:
        """Map coordinates as pixels from the outer corner of the first."""
        area = self.a * self.e - self.b * self.d
        return tuple(
            tuple(
                (
                    (self.e * (x - self.c) - self.b * (y - self.f)) / area + 0.5,
                    (self.a * (y - self.f) - self.d * (x - self.c)) / area + 0.5,
                )
                for x, y in outline
            )
            for outline in outlines
        )


def read_world_file(picture: Path) -> WorldFile | None:
    """The world file beside a picture (``.tfw``, ``.tifw`` or ``.wld`` of ``a.tif``); None where there is none."""
    suffix = picture.suffix[1:]
    for ending in (suffix[:1] + suffix[-1:] + "w", suffix + "w", "wld"):
        for path in (picture.with_suffix(f".{ending.lower()}"), picture.with_suffix(f".{ending.upper()}")):
            if path.is_file():
                return _parse_world_file(path)
    return None


def _parse_world_file(path: Path) -> WorldFile:
    words = safe.read_text(path, 4096).split()
    if len(words) != 6:
        raise DataError(f"{path}: {len(words)} numbers, expected the six of a world file")
    a, d, b, e, c, f = (to_number(word, f"{path}: a number of the world file") for word in words)
    if not math.isfinite(a * e - b * d) or a * e - b * d == 0:
        raise DataError(f"{path}: its pixels have no area; expected the six numbers of a world file")
    return WorldFile(a, d, b, e, c, f)


def look_at_scale(boxes: Sequence[Box], size: tuple[int, int], picture: str, where: str, remedy: str = "") -> None:
    """Raise DataError where coordinates that should be pixels look like places on a map; ``remedy`` says what to do."""
    outside = [box for box in boxes if box[2] <= 0 or box[3] <= 0 or box[0] >= size[0] or box[1] >= size[1]]
    tiny = bool(boxes) and all(box[2] - box[0] < 1 and box[3] - box[1] < 1 for box in boxes)
    if outside or tiny:
        x, y = (outside or boxes)[0][:2]
        found = f"lies outside the picture of {size[0]}x{size[1]}" if outside else "is less than a pixel large"
        world_file = f"{Path(picture).stem}.{_world_suffix(picture)}"
        remedy = remedy or f"map coordinates need a world file beside {picture} ({world_file})"
        raise DataError(f"{where}: the object at {x:g}, {y:g} {found}; {remedy}")


def _world_suffix(picture: str) -> str:
    suffix = Path(picture).suffix[1:].lower()
    return suffix[:1] + suffix[-1:] + "w"


def properties_of(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of a feature, none where it has none."""
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}
