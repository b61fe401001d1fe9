"""Shapes that annotation tools draw, as outlines in pixels; and the class of a shape, from its attributes."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from adapt.boxes import Box
from adapt.errors import DataError
from converters.objects import PictureObject, Point, check_object, refuse_shares

NO_AREA_REASON = "region without an area (point or line)"
CLASS_KEYS = ("name", "class", "label", "class_name", "category", "type")
ROUND_POINTS = 32  # an outline for drawing: at a radius of 100 px it is at most 0.5 px off the circle


def ellipse(centre: Point, radii: tuple[float, float], angle: float = 0.0) -> tuple[tuple[Point, ...], Box]:
    """Outline and enclosing box of an ellipse whose first radius is turned by ``angle`` (radians) from the x axis."""
    (cx, cy), (rx, ry), cos, sin = centre, radii, math.cos(angle), math.sin(angle)
    turns = [2 * math.pi * step / ROUND_POINTS for step in range(ROUND_POINTS)]
    points = tuple(
        (cx + rx * math.cos(turn) * cos - ry * math.sin(turn) * sin, cy + rx * math.cos(turn) * sin + ry * math.sin(turn) * cos)
        for turn in turns
    )
    half_width, half_height = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
    return points, (cx - half_width, cy - half_height, cx + half_width, cy + half_height)


def class_of(attributes: Mapping[str, Any], options: Mapping[str, str], where: str) -> str:
    """The class that attributes name: the key of ``class_key``, else a usual one, else the only one; else the option ``name``.

    Raises DataError, with the option to add, where there is none.
    """
    key = options.get("class_key")
    if key is None:
        usual = [each for wanted in CLASS_KEYS for each in attributes if each.lower() == wanted]
        key = usual[0] if usual else next(iter(attributes)) if len(attributes) == 1 else None
    value = _one_text(attributes.get(key)) if key is not None else ""
    if value and key is not None:
        return key if value == "yes" and key.lower() not in CLASS_KEYS else value  # building=yes, as maps have it
    if options.get("name"):
        return options["name"]
    listed = ", ".join(str(each)[:40] for each in attributes)
    if attributes and key is not None and key not in attributes:
        raise DataError(f"{where}: has no '{key}' for its class (--option class_key={key}); it has {listed}")
    if len(attributes) > 1 and key is None:
        raise DataError(f"{where}: which of {listed} is its class? add: --option class_key={next(iter(attributes))}")
    raise DataError(f"{where}: has no class; to name all such regions, add: --option name=balloon")


def _one_text(value: Any) -> str:
    """A text, a number, or the one ticked box of {"a": true, "b": false}; "" for what names nothing."""
    if isinstance(value, Mapping):
        ticked = [str(each) for each, on in value.items() if on is True or on == "true"]
        return ticked[0] if len(ticked) == 1 else ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = " ".join(str(value).split())
    return "" if text == "undefined" else text  # what VIA writes for a menu that was not touched


def refuse_points_only(num_points: int, objects: Sequence[Any], where: str) -> None:
    """Raise DataError where all regions of a picture are without an area: it would pass for a picture without objects."""
    if num_points and not objects:
        raise DataError(f"{where}: all {num_points} regions are points or lines; expected boxes, polygons or other areas")


def objects_of(
    shapes: Iterable[Any], read: Callable[[Any, str], PictureObject | None], noun: str, where: str, ignored: Counter[str]
) -> tuple[PictureObject, ...]:
    """The shapes of one picture as objects. ``read`` answers None for what has no area, which is counted in ``ignored``.

    Raises DataError with the ``noun`` and the number of a bad shape, and where none of a picture's shapes has an area.
    """
    objects, num_points = [], 0
    for number, shape in enumerate(shapes, 1):
        found = read(shape, f"{where}: {noun} {number}")
        if found is None:
            num_points += 1
        else:
            objects.append(check_object(found, number, where))
            refuse_shares(found.box_px, f"{where}: {noun} {number}")
    refuse_points_only(num_points, objects, where)
    ignored[NO_AREA_REASON] += num_points
    return tuple(objects)
