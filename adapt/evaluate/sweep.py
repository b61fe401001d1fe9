"""What the runs of a sweep show together: ``sweep.json``, from the scores and marks that each has left.

Only what was measured goes in, no times and no dates: a sweep that was killed and started again gives the same bytes.
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.evaluate import metrics
from adapt.evaluate.marks import read_marks
from adapt.evaluate.retained import Advice, Candidate, Marks, Retained, advise, retained

SIDES = ("field", "general")
RATIOS, FRACTIONS = "ratios", "fractions"
ONE = {RATIOS: "ratio", FRACTIONS: "fraction"}


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two things measured: the benchmark, its questions and their pictures."""

    benchmark: str
    data: Path
    split: str | None
    groups: Mapping[str, Hashable]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that was measured: ``folder`` holds ``scores/field`` and ``scores/general``, for a run its plan.json too."""

    folder: Path
    seed: int | None = None


@dataclasses.dataclass(frozen=True)
class Point:
    """Models that differ by their seed alone, at one ratio, fraction or alpha."""

    setting: float
    models: tuple[Model, ...]


@dataclasses.dataclass(frozen=True)
class Measured:
    """All that a finished sweep measured. ``skipped`` says why there is no interpolation, where there should be."""

    output: Path
    kind: str
    keep: float
    floor: float
    sides: Mapping[str, Side]
    base: Model
    points: tuple[Point, ...]
    interpolated: tuple[Point, ...]
    interpolated_from: float | None
    skipped: str | None
    settings: Mapping[str, Any]


def summarise(measured: Measured) -> dict[str, Any]:
    """The content of sweep.json; docs/choosing_the_ratio.md says what each name means."""
    compared = {side: _marked_by_all(measured, side) for side in SIDES}
    marks = marks_of(measured.base, "general")
    base = {name: marks[name] for name in compared["general"]}
    points = [_row(measured, point, base) | _plans(measured, point) for point in measured.points]
    advice, kept = _advice(measured, points, compared["field"])
    scores = {side: _document(measured.base, side) for side in SIDES}
    return {
        "kind": measured.kind,
        "keep": measured.keep,
        "general_floor": measured.floor,
        "benchmarks": {
            side: {
                "benchmark": of.benchmark,
                "metric": scores[side]["headline"],
                "convention": scores[side]["convention"],
                "data": of.data.name,
                "split": of.split,
                "floor": scores[side].get("floor", {}).get(scores[side]["headline"]),
                "compared": len(compared[side]),
            }
            for side, of in measured.sides.items()
        },
        "base": {side: _score(measured, [measured.base], side) for side in SIDES},
        "points": points,
        "interpolation": {
            "from": measured.interpolated_from,
            "skipped": measured.skipped,
            "points": [_row(measured, point, base) for point in measured.interpolated],
        },
        "recommendation": {"of": kept, "reached": advice.setting is not None} | dataclasses.asdict(advice),
        "sentence": sentence(measured.kind, measured.keep, advice),
        "settings": dict(measured.settings),
    }


def sentence(kind: str, keep: float, advice: Advice) -> str:
    """The recommendation in words, and nothing where nothing is enough."""
    one = ONE[kind]
    what = "the base's general score" if kind == RATIOS else "the largest fraction's field score"
    if advice.setting is None:
        return (
            f"No {one} tried keeps {keep:g} of {what} with 95 % confidence. The best, {one} {advice.best:g}, keeps at least "
            f"{advice.at_least:.3f}: try others, more test questions, or a smaller --keep."
        )
    return (
        f"{one.capitalize()} {advice.setting:g} is the smallest tried that keeps at least {keep:g} of {what} with 95 % "
        f"confidence (at least {advice.at_least:.3f})."
    )


def marks_of(model: Model, side: str) -> Marks:
    """The mark of each question, 0..1, by its id. Raises DataError for a row that is none."""
    return read_marks(model.folder / "scores" / side / "marks.jsonl")


def _marked_by_all(measured: Measured, side: str) -> list[str]:
    """The questions that every model has a mark for: some rules score a question only where another one was answered right."""
    points = (*measured.points, *measured.interpolated)
    models = [measured.base, *(model for point in points for model in point.models)]
    first, *others = (marks_of(model, side) for model in models)
    return [name for name in first if all(name in marks for marks in others)]


def _document(model: Model, side: str) -> dict[str, Any]:
    return safe.read_object(model.folder / "scores" / side / "scores.json")


def _row(measured: Measured, point: Point, base: Marks) -> dict[str, Any]:
    """One point of a curve. ``kept`` is of the general questions, which ``base`` are the base's marks of."""
    name = "alpha" if point in measured.interpolated else ONE[measured.kind]
    kept = _kept(measured, point.models, "general", base, measured.floor)
    models = [
        {"seed": model.seed, "folder": model.folder.relative_to(measured.output).as_posix()}
        | {side: _headline(_document(model, side)) for side in SIDES}
        for model in point.models
    ]
    return (
        {name: point.setting}
        | {side: _score(measured, point.models, side) for side in SIDES}
        | {"kept": dataclasses.asdict(kept), "models": models}
    )


def _kept(measured: Measured, models: Sequence[Model], side: str, base: Marks, floor: float) -> Retained:
    marks = [marks_of(model, side) for model in models]
    return retained(base, [{name: each[name] for name in base} for each in marks], measured.sides[side].groups, floor=floor)


def _headline(document: Mapping[str, Any]) -> float:
    return float(document["metrics"][document["headline"]]["value"])


def _score(measured: Measured, models: Sequence[Model], side: str) -> dict[str, Any]:
    """The headline metric over the seeds, and its 95 % interval by picture, all seeds' answers to a picture drawn together.

    A metric that is no mean of marks (a corpus measure) cannot be pooled: its interval is the mean of the seeds' own.
    """
    documents = [_document(model, side) for model in models]
    headlines = [each["metrics"][each["headline"]] for each in documents]
    value = sum(each["value"] for each in headlines) / len(headlines)
    marks = [marks_of(model, side) for model in models]
    pooled = metrics.share(
        [mark for each in marks for mark in each.values()],
        [measured.sides[side].groups[name] for each in marks for name in each],
    )
    found = {"value": value, "count": headlines[0]["count"]}
    if math.isclose(pooled.value, value, abs_tol=1e-9):
        return found | {"low": pooled.low, "high": pooled.high, "interval": "pooled by picture"}
    means = {bound: sum(each[bound] for each in headlines) / len(headlines) for bound in ("low", "high")}
    return found | means | {"interval": "mean of the seeds' intervals"}


def _plans(measured: Measured, point: Point) -> dict[str, Any]:
    """What the runs of a point have seen, of each seed."""
    plans = [safe.read_object(model.folder / "plan.json") for model in point.models]
    return {
        "samples": [plan["samples"] for plan in plans],
        "steps": [plan["steps"] for plan in plans],
    }


def _advice(measured: Measured, points: Sequence[Mapping[str, Any]], compared: Sequence[str]) -> tuple[Advice, str]:
    """Of ratios: what each keeps of the base on general questions; of fractions: of the largest one on the field's.

    ``compared`` are the field's questions that all have marks for.
    """
    if measured.kind == RATIOS:
        found = [Retained(**row["kept"]) for row in points]
        kept = "general score, against the base"
    else:
        most = [marks_of(model, "field") for model in max(measured.points, key=lambda point: point.setting).models]
        whole = {name: sum(marks[name] for marks in most) / len(most) for name in compared}
        # Where the largest fraction gets nothing right there is nothing to keep of it; what was measured is worth its page.
        found = [
            _kept(measured, point.models, "field", whole, 0.0) if any(whole.values()) else Retained(0.0, 0.0, 0.0, 0.0)
            for point in measured.points
        ]
        kept = "field score, against the largest fraction"
    candidates = [Candidate(point.setting, each) for point, each in zip(measured.points, found, strict=True)]
    return advise(candidates, measured.keep), kept
