"""The picture of a sweep: what each run scores on its field against what it has kept, on one page that fetches nothing."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import adapt
from adapt import atomic
from adapt.evaluate.sweep import ONE
from adapt.records import read_rows

TEMPLATE = Path(__file__).with_name("sweep.html")
# The drawing in its own units; the page scales it.
WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 22, 52
NUM_TICKS = 6
STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LETTER, LETTER_HEIGHT = 8, 14
# The curves' numbers are their colours; the base is drawn last, over the others.
TUNED, MIXED, BASE = 0, 1, 2
DRAWN = (MIXED, TUNED, BASE)
NEAR = 0.9  # models that keep less press all others together


@dataclasses.dataclass(frozen=True)
class Dot:
    """A measured model: its place, its intervals as (from, to) on each axis, the places of its seeds, what it is called."""

    x: float
    y: float
    across: tuple[float, float]
    up: tuple[float, float]
    seeds: tuple[tuple[float, float], ...]
    name: str
    curve: int
    label_x: float
    label_y: float


@dataclasses.dataclass(frozen=True)
class Mark:
    """A row of sweep.json to draw: its name, the number of its curve, and whether the curve of mixed weights ends there."""

    row: Mapping[str, Any]
    name: str
    curve: int
    ends: bool = False


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Dots with two curves through them; ``keep_x`` is the place of the general score to keep, None outside the axis."""

    title: str
    dots: tuple[Dot, ...]
    curve: str
    mixed_curve: str
    ticks_x: list[tuple[float, str]]
    ticks_y: list[tuple[float, str]]
    keep_x: float | None


@dataclasses.dataclass(frozen=True)
class Axis:
    """Shares of ``low`` to ``high`` laid on ``start`` to ``end`` of the drawing."""

    low: float
    high: float
    start: float
    end: float
    step: float

    def place(self, share: float) -> float:
        """Where a share lies."""
        return round(self.start + (share - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """(place, label) of the round values."""
        count = round((self.high - self.low) / self.step)
        values = [self.low + i * self.step for i in range(count + 1)]
        digits = 1 if self.step < 0.01 else 0
        return [(self.place(value), f"{100 * value:.{digits}f} %") for value in values]


def write_page(summary: Mapping[str, Any], folder: Path) -> Path:
    """Write ``folder/sweep.html`` of what sweep.json holds, with the minutes from the runs' logs; returns its path."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    page = environment.get_template(TEMPLATE.name).render(_content(summary, folder))
    atomic.write_text(folder / "sweep.html", page)
    return folder / "sweep.html"


def _content(summary: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    one = ONE[summary["kind"]]
    mixed = summary["interpolation"]["points"]
    marks = [
        Mark(summary["base"] | {"models": []}, "base", BASE),
        *(Mark(row, f"α {row['alpha']:g}", MIXED) for row in mixed),
        *(Mark(row, f"{row[one]:g}", TUNED, ends=row[one] == summary["interpolation"]["from"]) for row in summary["points"]),
    ]
    near = [mark for mark in marks if mark.curve != BASE and mark.row["kept"]["value"] >= NEAR]
    line = _keep_line(summary)
    drawings = [_drawing("All models", marks, line)]
    if 2 <= len(near) < len(marks) - 1:
        drawings.append(_drawing(f"Only those that keep {NEAR:g} or more", near, line))
    return {
        "version": adapt.__version__,
        "title": f"Sweep of {summary['kind']}",
        "summary": summary,
        "one": one,
        "drawings": drawings,
        "keep_share": line,
        "rows": [_table_row(row, f"{one} {row[one]:g}", folder) for row in summary["points"]]
        + [_table_row(row, f"alpha {row['alpha']:g}", None) for row in mixed],
        "frame": {
            "width": WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
        },
    }


def _drawing(title: str, marks: Sequence[Mark], line: float) -> Drawing:
    x_axis, y_axis = (_axis(marks, side) for side in ("general", "field"))
    labels: list[tuple[float, float, float]] = []
    dots = [_dot(mark, x_axis, y_axis, labels) for mark in marks]
    mixed = [dot for mark, dot in zip(marks, dots, strict=True) if mark.curve == MIXED]
    ends = [dot for mark, dot in zip(marks, dots, strict=True) if mark.ends]
    base = [dot for mark, dot in zip(marks, dots, strict=True) if mark.curve == BASE]
    return Drawing(
        title,
        tuple(sorted(dots, key=lambda dot: DRAWN.index(dot.curve))),
        _path([dot for dot in dots if dot.curve == TUNED]),
        _path([*base, *mixed, *ends]) if mixed else "",
        x_axis.ticks(),
        y_axis.ticks(),
        x_axis.place(line) if x_axis.low <= line <= x_axis.high else None,
    )


def _keep_line(summary: Mapping[str, Any]) -> float:
    """The general score that keeps just enough of the base's lead over the floor."""
    floor, base = summary["general_floor"], summary["base"]["general"]["value"]
    return floor + summary["keep"] * (base - floor)


def _axis(marks: Sequence[Mark], side: str) -> Axis:
    rows = [mark.row for mark in marks]
    shares = [bound for row in rows for bound in (row[side]["low"], row[side]["high"])]
    shares += [model[side] for row in rows for model in row["models"]]
    low, high = min(shares), max(shares)
    step = next((step for step in STEPS if (high - low) / step <= NUM_TICKS), STEPS[-1])
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ends = (LEFT, WIDTH - RIGHT) if side == "general" else (HEIGHT - BOTTOM, TOP)
    return Axis(first * step, max(last, first + 1) * step, *ends, step)


def _dot(mark: Mark, x_axis: Axis, y_axis: Axis, labels: list[tuple[float, float, float]]) -> Dot:
    field, general = mark.row["field"], mark.row["general"]
    x, y = x_axis.place(general["value"]), y_axis.place(field["value"])
    seeds = [(x_axis.place(model["general"]), y_axis.place(model["field"])) for model in mark.row["models"]]
    label_x, label_y = _free_place(x, y, LETTER * len(mark.name), labels)
    return Dot(
        x,
        y,
        (x_axis.place(general["low"]), x_axis.place(general["high"])),
        (y_axis.place(field["low"]), y_axis.place(field["high"])),
        tuple(seeds) if len(seeds) > 1 else (),
        mark.name,
        mark.curve,
        label_x,
        label_y,
    )


def _free_place(x: float, y: float, width: float, labels: list[tuple[float, float, float]]) -> tuple[float, float]:
    """Where a label of that width starts: beside its dot, further off where another label stands; noted in ``labels``."""
    for lift in range(4):
        for across in (x + 9, x - 9 - width):
            for place in ((across, y - 8 - lift * LETTER_HEIGHT), (across, y + 17 + lift * LETTER_HEIGHT)):
                inside = place[0] > LEFT and place[0] + width < WIDTH and TOP < place[1] < HEIGHT - BOTTOM
                if inside and not any(_meet(place, width, other) for other in labels):
                    labels.append((*place, width))
                    return place
    return x + 9, y - 8


def _meet(place: tuple[float, float], width: float, other: tuple[float, float, float]) -> bool:
    apart = place[0] + width + 3 < other[0] or other[0] + other[2] + 3 < place[0]
    return not apart and abs(place[1] - other[1]) < LETTER_HEIGHT


def _path(dots: Sequence[Dot]) -> str:
    return "M" + "L".join(f"{dot.x} {dot.y}" for dot in dots) if dots else ""


def _table_row(row: Mapping[str, Any], name: str, folder: Path | None) -> dict[str, Any]:
    return {
        "name": name,
        "field": row["field"],
        "general": row["general"],
        "gain": row["gain"],
        "kept": row["kept"],
        "kept_field": row.get("kept_field"),
        "spread": {side: [model[side] for model in row["models"]] for side in ("field", "general")},
        "samples": row.get("samples"),
        "steps": row.get("steps"),
        "minutes": None if folder is None else [_minutes(folder / model["folder"]) for model in row["models"]],
    }


def _minutes(run: Path) -> float:
    """The time of a run's steps, those lost to a kill left out."""
    rows = (row for _, row in read_rows(run / "log.jsonl"))
    return sum(float(row.get("seconds", 0)) for row in rows if isinstance(row, dict)) / 60
