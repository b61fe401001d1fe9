"""A run's losses over its steps as drawings: paths, marks and ticks for the page's SVG."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from adapt.report.runs import RunFacts

MAX_POINTS = 240
MOST_LINES = 24
# A drawing in its own units; the page scales it.
WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 40
FRAME = {
    "width": WIDTH,
    "height": HEIGHT,
    "left": LEFT,
    "right": WIDTH - RIGHT,
    "top": TOP,
    "bottom": HEIGHT - BOTTOM,
}


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve of a drawing: its name, the number of its colour, its path and its marks."""

    name: str
    colour: int
    path: str
    marks: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Curves over the steps on a logarithmic axis; ``ticks_*`` are (place, label)."""

    title: str
    lines: tuple[Line, ...]
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...]


def draw_losses(run: RunFacts) -> list[Drawing]:
    """Training loss by source and held-out loss by file, where there are any."""
    training: dict[str, list[tuple[int, float]]] = {}
    held_out: dict[str, list[tuple[int, float]]] = {}
    arguments = run.config["arguments"]
    files = {"domain_loss": arguments["data"], "general_loss": arguments.get("general") or ()}
    names = {name: " + ".join(Path(path).name for path in paths) or name for name, paths in files.items()}
    for row in run.log:
        for name, value in row.items():
            if not isinstance(value, int | float) or isinstance(value, bool):
                continue
            if "event" not in row and name.startswith("loss/"):
                training.setdefault(name.removeprefix("loss/"), []).append((row["step"], value))
            elif row.get("event") == "validation" and name.endswith("_loss"):
                held_out.setdefault(names.get(name, name), []).append((row["step"], value))
    made = [draw("Training loss, by source", training, marks=False), draw("Held-out loss, by file", held_out, marks=True)]
    return [drawing for drawing in made if drawing is not None]


def draw(title: str, curves: Mapping[str, Sequence[tuple[int, float]]], *, marks: bool) -> Drawing | None:
    """Curves of (step, loss) on a logarithmic axis, of the longest MOST_LINES; None where there is nothing to draw."""
    longest = sorted(curves, key=lambda name: (-len(curves[name]), name))[:MOST_LINES]
    if len(longest) < len(curves):
        title += f" ({MOST_LINES} of {len(curves)})"
        curves = {name: curves[name] for name in longest}
    thin = {name: _thin([(step, max(value, 1e-4)) for step, value in points]) for name, points in curves.items() if points}
    if not thin:
        return None
    values = [value for points in thin.values() for _, value in points]
    low, high = min(values), max(values)
    low, high = (low / 1.5, high * 1.5) if high / low < 1.5 else (low / 1.08, high * 1.08)
    last = max(step for points in curves.values() for step, _ in points)

    def x(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, last), 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * math.log(high / value) / math.log(high / low), 1)

    lines = []
    for number, (name, points) in enumerate(sorted(thin.items())):
        places = [(x(step), y(value)) for step, value in points]
        path = "M" + "L".join(f"{across} {down}" for across, down in places)
        lines.append(Line(name, number % 6, path, tuple(places) if marks or len(places) == 1 else ()))
    ticks_y = tuple((y(value), f"{value:g}") for value in _ticks(low, high))
    return Drawing(title, tuple(lines), tuple((x(step), f"{step:,}") for step in _steps(last)), ticks_y)


def _thin(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most MAX_POINTS points: means of neighbours where there are more."""
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group)) for group in groups]


def _ticks(low: float, high: float) -> list[float]:
    """Round values in a logarithmic range, three to eight of them where the range allows it."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(range(10, 100))):
        scale = 10 if digits[0] == 10 else 1
        found = [digit / scale * 10.0**decade for decade in decades for digit in digits]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 8)]
    return inside or [low, high]


def _steps(last: int) -> list[int]:
    """Round steps from 0, about five of them."""
    unit = 10 ** math.floor(math.log10(max(1, last)))
    size = next(size for size in (unit // 5, unit // 2, unit, 2 * unit) if size >= 1 and last / size <= 6)
    return list(range(0, last + 1, size))
