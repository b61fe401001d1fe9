"""The picture of a sweep: what each run scores on its field against what it has kept, on one page that fetches nothing."""

import dataclasses
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
STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


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
    anchor: str


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
    x_axis, y_axis = (_axis(summary, side) for side in ("general", "field"))
    base = _dot(summary["base"] | {"models": []}, "base", 2, x_axis, y_axis)
    runs = [_dot(row, f"{row[one]:g}", 0, x_axis, y_axis) for row in summary["points"]]
    between = [_dot(row, f"α {row['alpha']:g}", 1, x_axis, y_axis) for row in mixed]
    ends = [dot for dot, row in zip(runs, summary["points"], strict=True) if row[one] == summary["interpolation"]["from"]]
    line = _keep_line(summary)
    return {
        "version": adapt.__version__,
        "title": f"Sweep of {summary['kind']}",
        "summary": summary,
        "one": one,
        "dots": [*between, *runs, base],
        "curve": _path(runs),
        "mixed_curve": _path([base, *between, *ends]) if between else "",
        "ticks_x": x_axis.ticks(),
        "ticks_y": y_axis.ticks(),
        "keep_x": x_axis.place(line) if x_axis.low <= line <= x_axis.high else None,
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


def _keep_line(summary: Mapping[str, Any]) -> float:
    """The general score that keeps just enough of the base's lead over the floor."""
    floor, base = summary["general_floor"], summary["base"]["general"]["value"]
    return floor + summary["keep"] * (base - floor)


def _axis(summary: Mapping[str, Any], side: str) -> Axis:
    rows = [summary["base"], *summary["points"], *summary["interpolation"]["points"]]
    shares = [bound for row in rows for bound in (row[side]["low"], row[side]["high"])]
    shares += [model[side] for row in rows for model in row.get("models", ())]
    low, high = min(shares), max(shares)
    step = next((step for step in STEPS if (high - low) / step <= NUM_TICKS), STEPS[-1])
    first, last = int(low // step), int(-(-high // step))
    ends = (LEFT, WIDTH - RIGHT) if side == "general" else (HEIGHT - BOTTOM, TOP)
    return Axis(first * step, max(last, first + 1) * step, *ends, step)


def _dot(row: Mapping[str, Any], name: str, curve: int, x_axis: Axis, y_axis: Axis) -> Dot:
    field, general = row["field"], row["general"]
    x, y = x_axis.place(general["value"]), y_axis.place(field["value"])
    near_right = x > WIDTH - RIGHT - 60
    seeds = [(x_axis.place(model["general"]), y_axis.place(model["field"])) for model in row["models"]]
    return Dot(
        x, y,
        (x_axis.place(general["low"]), x_axis.place(general["high"])),
        (y_axis.place(field["low"]), y_axis.place(field["high"])),
        tuple(seeds) if len(seeds) > 1 else (),
        name, curve, x - 9 if near_right else x + 9, y - 8, "end" if near_right else "start",
    )  # fmt: skip


def _path(dots: Sequence[Dot]) -> str:
    return "M" + "L".join(f"{dot.x} {dot.y}" for dot in dots)


def _table_row(row: Mapping[str, Any], name: str, folder: Path | None) -> dict[str, Any]:
    return {
        "name": name,
        "field": row["field"],
        "general": row["general"],
        "kept": row["kept"],
        "spread": {side: [model[side] for model in row["models"]] for side in ("field", "general")},
        "samples": row.get("samples"),
        "steps": row.get("steps"),
        "minutes": None if folder is None else [_minutes(folder / model["folder"]) for model in row["models"]],
    }


def _minutes(run: Path) -> float:
    """The time of a run's steps, those lost to a kill left out."""
    rows = (row for _, row in read_rows(run / "log.jsonl"))
    return sum(float(row.get("seconds", 0)) for row in rows if isinstance(row, dict)) / 60
