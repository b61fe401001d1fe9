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
NOT_CLASSES = frozenset({"id", "@id", "fid", "gid", "osm_id", "full_id", "objectid"})
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


def file_key(shapes: Iterable[Mapping[str, Any]]) -> str | None:
    """The key under which a file's shapes, told by their attributes, have their classes; None where each has a key of its own.

    A usual one that any of them has. A ``name`` or ``type`` that no more than half of them have may be that of a house: another
    key that all of them have comes first (``building``, as maps have it).
    """
    counts: Counter[str] = Counter()
    total = 0
    for attributes in shapes:
        named = [key for key, value in attributes.items() if key.lower() not in NOT_CLASSES and _ticked_or_text(value)]
        counts.update(named)
        total += bool(named)
    usual = [key for wanted in CLASS_KEYS for key in counts if key.lower() == wanted]
    sure = [key for key in usual if key.lower() not in ("name", "type") or 2 * counts[key] > total]
    of_all = [key for key, count in counts.items() if count == total and key not in usual]
    return next(iter(sure), None) or (of_all[0] if len(of_all) == 1 else next(iter(usual), None))


def class_of(attributes: Mapping[str, Any], options: Mapping[str, str], where: str, key: str | None) -> str:
    """The class of attributes: by ``class_key``, a usual key or ``key``, the file's (``file_key``), else by option ``name``.

    Raises DataError, with the option to add, where there is none, and where several keys or ticks name different ones.
    """
    stated = options.get("class_key")
    key = stated if stated is not None else _own_key(attributes, key, where)
    value = _one_text(attributes.get(key), where) if key is not None else ""
    is_no = key is not None and key.lower() not in CLASS_KEYS and value.lower() == "no"
    if key is not None and key.lower() not in CLASS_KEYS and value.lower() in ("yes", "no"):
        value = "" if is_no else key  # building=yes, as maps have it
    if value or options.get("name"):
        return value or options["name"]
    listed = ", ".join(str(each)[:40] for each in attributes)
    if stated is not None and attributes and stated not in attributes:
        raise DataError(f"{where}: has no '{stated}' for its class (--option class_key={stated}); it has {listed}")
    if key is None and (own := [each for each in attributes if each.lower() not in NOT_CLASSES]):
        raise DataError(f"{where}: which of {listed} is its class? add: --option class_key={own[0]}")
    told, others = "", [each for each in attributes if each != key and each.lower() not in NOT_CLASSES and attributes[each]]
    if is_no:
        told = f" ('{key}' is no here)"
    elif key is not None and stated is None and others:
        told = (
            f" under '{key}', as others of the file have it; it has {listed} (to take that key: --option class_key={others[0]})"
        )
    raise DataError(f"{where}: has no class{told}; to name all such regions, add: --option name=balloon")


def _own_key(attributes: Mapping[str, Any], key: str | None, where: str) -> str | None:
    """The key of a shape's class: the file's where that is no usual one, else a usual one, else the file's or its only one."""
    if key in attributes and key is not None and key.lower() not in CLASS_KEYS:
        return key
    keys = [each for wanted in CLASS_KEYS for each in attributes if each.lower() == wanted]
    usual = {each: text for each in keys if (text := _one_text(attributes[each], where))}
    # Beside a name, a number is its number, and a type may be that of the outline.
    worded = {each: text for each, text in usual.items() if each.lower() != "type" and not text.isdigit()} or usual
    if len(set(worded.values())) > 1:
        both = ", ".join(f"'{each}' ({text[:40]})" for each, text in worded.items())
        raise DataError(f"{where}: which of {both} is its class? add: --option class_key={next(iter(worded))}")
    if worded or key is not None:
        return next(iter(worded), key)
    own = [each for each in attributes if each.lower() not in NOT_CLASSES]
    return own[0] if len(own) == 1 else None


def _one_text(value: Any, where: str) -> str:
    """A text, a number, or the one ticked box of {"a": true, "b": false}; "" for what names nothing."""
    found = _ticked_or_text(value)
    if len(found) > 1:
        raise DataError(f"{where}: has {len(found)} classes, {', '.join(found)[:80]}; an object has one: untick the others")
    return found[0] if found else ""


def _ticked_or_text(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [str(each) for each, on in value.items() if on is True or on == "true"]
    if isinstance(value, bool) or not isinstance(value, str | int):
        return []
    text = " ".join(str(value).split())
    return [] if text in ("", "undefined") else [text]  # "undefined" is what VIA writes for a menu that was not touched


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
