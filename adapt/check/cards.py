"""From a chat record to what a page shows of it: words, and the boxes, outlines and view names that lie on its pictures.

Places are 0..1000 of a picture's width and height, the scale of the text, so a shape stands right on a copy of any size.
"""

import bisect
import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from adapt.boxes import FULL_SCALE, Box, find_boxes, is_unit, read_boxes
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn

ASKED, TRUTH, STORED, PREDICTED = "asked", "truth", "stored", "predicted"
ROLES = {ASKED: "in the question", TRUTH: "in the answer", STORED: "in meta", PREDICTED: "predicted"}
COLOURS = 8
SAME_PLACE = 1.5  # of 1000: a box of meta in pixels and its rounded text are one box
RIGHT_OVERLAP = 0.5  # intersection over union
MOST_COMPARED = 300  # boxes of one record, each with each
_VIEW_SHAPE = 16 / 10  # width to height that a camera's picture in a grid is likeliest to have
_FARTHEST_PX = 1e9
_STORED_FIELDS = ("boxes_px", "oriented_px", "polygons_px")


@dataclasses.dataclass(frozen=True)
class Shape:
    """A box (two corners) or an outline (three or more): its name ('' without), whose it is, and its corners in 0..1000."""

    name: str
    role: str
    corners: tuple[tuple[float, float], ...]

    @property
    def box(self) -> Box:
        """The enclosing box."""
        across, down = [x for x, _ in self.corners], [y for _, y in self.corners]
        return min(across), min(down), max(across), max(down)

    @property
    def points(self) -> str:
        """The corners as SVG writes them."""
        return " ".join(f"{x:g},{y:g}" for x, y in self.corners)

    @property
    def is_box(self) -> bool:
        """Whether the corners are those of an upright box."""
        return len(self.corners) == 2


@dataclasses.dataclass(frozen=True)
class View:
    """The name of a camera and where its picture begins, in 0..1000."""

    name: str
    left: float
    top: float


@dataclasses.dataclass(frozen=True)
class Stage:
    """One picture of a record with all that is drawn on it. ``size`` is (width, height) as the row says, (0, 0) unknown."""

    picture: str
    size: tuple[int, int]
    shapes: tuple[Shape, ...] = ()
    views: tuple[View, ...] = ()


@dataclasses.dataclass(frozen=True)
class Card:
    """A record as it is shown. ``prediction`` is None where there is none to show, ``right`` None where nobody can say."""

    where: str
    record: ChatRecord
    stages: tuple[Stage, ...]
    turns: tuple[Turn, ...]
    notes: tuple[str, ...] = ()
    prediction: str | None = None
    right: bool | None = None

    @property
    def names(self) -> list[tuple[str, str, int]]:
        """(name, role, how often) of the shapes, the commonest first."""
        counts = Counter((shape.name, shape.role) for stage in self.stages for shape in stage.shapes)
        return [(name, role, count) for (name, role), count in counts.most_common()]


def make_card(
    where: str,
    record: ChatRecord,
    prediction: str | None,
    mark: float | None,
    grid: Sequence[Sequence[str]] = (),
) -> Card:
    """The card of a record; ``prediction`` is a model's answer and ``mark`` (0..1) what a benchmark gave for it.

    ``grid`` holds the names of the views of stitched pictures, row by row, as the file's manifest says; they are shown where
    ``meta.view_names`` says that a picture is stitched and that they are not drawn on it.
    """
    shapes = [*_text_shapes(record, prediction)]
    sizes = record.sizes or ((0, 0),) * len(record.images)
    if len(sizes) == 1 and sizes[0] != (0, 0):
        shapes += _stored_shapes(record.meta, sizes[0], shapes)
    notes = []
    if len(record.images) > 1 and shapes:
        notes.append(
            f"boxes that are not drawn: {len(shapes):,}; the text does not say on which of {len(record.images)} pictures"
        )
        shapes = []
    if outside := sum(_is_outside(shape) for shape in shapes):
        notes.append(f"boxes that reach out of the picture: {outside:,} of {len(shapes):,}")
    views, meta = _view_names(record.meta), record.meta
    if not views and grid and meta.get("view_names") == "none":
        views, meta = [name for row in grid for name in row], {"grid": [len(grid[0]), len(grid)]}
    stages = []
    for number, (name, size) in enumerate(zip(record.images, sizes, strict=True)):
        if len(record.images) == 1:
            stages.append(Stage(name, size, tuple(shapes), tuple(_grid(views, meta, size))))
        else:
            own = (View(views[number], 0, 0),) if len(views) == len(record.images) else ()
            stages.append(Stage(name, size, (), own))
    right = None if prediction is None else is_right(record.answer, prediction, mark)
    return Card(where, record, tuple(stages), tuple(_readable_turns(record)), tuple(notes), prediction, right)


def _readable_turns(record: ChatRecord) -> Iterator[Turn]:
    """Turns with the places of pictures numbered, or left out where there is one in front."""
    number = 0
    for turn in record.turns:
        parts = turn.value.split(IMAGE_PLACEHOLDER)
        if len(record.images) == 1:
            yield Turn(turn.role, "".join(parts).strip())
            continue
        text = parts[0]
        for part in parts[1:]:
            number += 1
            text += f"[picture {number}]{part}"
        yield Turn(turn.role, text.strip())


def _text_shapes(record: ChatRecord, prediction: str | None) -> Iterator[Shape]:
    for turn in record.turns:
        yield from _shapes_in(turn.value, ASKED if turn.role != "gpt" else TRUTH, untagged=False)
    if prediction is not None:
        yield from _shapes_in(prediction, PREDICTED, untagged=True)


def _shapes_in(text: str, role: str, *, untagged: bool) -> Iterator[Shape]:
    for found, (_, scaled) in zip(find_boxes(text), read_boxes(text), strict=True):
        for texts, (x1, y1, x2, y2) in zip(found.texts, scaled, strict=True):
            if found.tagged or untagged or is_unit(texts):  # other numbers in brackets may be anything
                yield Shape(found.name or "", role, ((min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2))))


def _stored_shapes(meta: Mapping[str, Any], size: tuple[int, int], known: Sequence[Shape]) -> list[Shape]:
    """What a scorer reads of places in pixels, where the text does not hold the same box."""
    width, height = size
    boxes = sorted(shape.box for shape in known)
    found = []
    for field in _STORED_FIELDS:
        for points in _outlines(meta.get(field), flat_is_box=field == "boxes_px"):
            corners = tuple((_bounded(x) / width * FULL_SCALE, _bounded(y) / height * FULL_SCALE) for x, y in points)
            shape = Shape(str(meta.get("name") or meta.get("label") or "") if len(corners) > 2 else "", STORED, corners)
            if len(corners) > 2 or not _is_known(shape.box, boxes):
                found.append(shape)
    return found


def _is_known(box: Box, known: Sequence[Box]) -> bool:
    """Whether a box is one of those, which are sorted; of them MOST_COMPARED that begin as far left are looked at."""
    start = bisect.bisect_left(known, box[0] - SAME_PLACE, key=lambda other: other[0])
    return any(_same(box, other) for other in known[start : start + MOST_COMPARED])


def _outlines(value: Any, *, flat_is_box: bool) -> Iterator[tuple[tuple[float, float], ...]]:
    """Every list of points in a nest of lists: [[x, y], ...] or flat [x1, y1, x2, y2, ...]; four flat numbers are a box's."""
    if not isinstance(value, list) or not value:
        return
    if all(_is_number(each) for each in value):
        if len(value) % 2 == 0 and (len(value) >= 6 or (flat_is_box and len(value) == 4)):
            yield tuple(zip(value[::2], value[1::2], strict=True))
    elif all(isinstance(each, list) and len(each) == 2 and all(_is_number(part) for part in each) for each in value):
        if len(value) >= 3:
            yield tuple((x, y) for x, y in value)
    else:
        for each in value:
            yield from _outlines(each, flat_is_box=flat_is_box)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bounded(value: float) -> float:
    """A whole number of JSON may be too large for a float, and a float too large to be drawn."""
    return max(-_FARTHEST_PX, min(_FARTHEST_PX, value))


def _same(one: Box, other: Box) -> bool:
    return all(abs(a - b) <= SAME_PLACE for a, b in zip(one, other, strict=True))


def _is_outside(shape: Shape) -> bool:
    x1, y1, x2, y2 = shape.box
    return x1 < -SAME_PLACE or y1 < -SAME_PLACE or x2 > FULL_SCALE + SAME_PLACE or y2 > FULL_SCALE + SAME_PLACE


def _view_names(meta: Mapping[str, Any]) -> list[str]:
    views = meta.get("views")
    return [str(each) for each in views] if isinstance(views, list | dict) else []


def _grid(views: Sequence[str], meta: Mapping[str, Any], size: tuple[int, int]) -> Iterator[View]:
    """The views of a stitched picture, row by row, in ``meta.grid`` [columns, rows] or the grid that fits its shape best."""
    if not views:
        return
    grid = meta.get("grid")
    if not (isinstance(grid, list) and len(grid) == 2 and all(isinstance(each, int) and each > 0 for each in grid)):
        ratio = size[0] / size[1] if all(size) else 1.0
        shapes = [(columns, len(views) // columns) for columns in range(1, len(views) + 1) if len(views) % columns == 0]
        grid = min(shapes, key=lambda shape: _log_distance(ratio * shape[1] / shape[0], _VIEW_SHAPE))
    columns, rows = grid
    for number, name in enumerate(views[: columns * rows]):
        yield View(name, FULL_SCALE * (number % columns) / columns, FULL_SCALE * (number // columns) / rows)


def _log_distance(one: float, other: float) -> float:
    return max(one / other, other / one)


def is_right(expected: str, answer: str, mark: float | None) -> bool | None:
    """By the benchmark's mark; without one every box must overlap its own by half, and other words must be the same.

    None where there are more boxes than can be compared.
    """
    if mark is not None:
        return mark >= 1.0
    truth, given = (list(_shapes_in(text, "", untagged=True)) for text in (expected, answer))
    if not truth:
        return _plain(expected) == _plain(answer)
    if len(truth) != len(given):
        return False
    if len(truth) > MOST_COMPARED:
        return None
    for shape in truth:
        best = max(given, key=lambda other: _overlap(shape.box, other.box))
        if _overlap(shape.box, best.box) < RIGHT_OVERLAP or (best.name and shape.name and best.name != shape.name):
            return False
        given.remove(best)
    return True


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".").casefold()


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    whole = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common
    return common / whole if whole > 0 else 0.0


def colours(cards: Iterable[Card]) -> dict[str, int]:
    """A colour's number for each name; the commonest names have colours of their own."""
    counts: Counter[str] = Counter()
    for card in cards:
        for name, _, count in card.names:
            counts[name] += count
    return {name: number % COLOURS for number, (name, _) in enumerate(counts.most_common())}
