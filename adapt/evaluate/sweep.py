"""What the runs of a sweep show together: ``sweep.json``, from the scores and marks that each has left.

Only what was measured goes in, no times and no dates: a sweep that was killed and started again gives the same bytes.
"""

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.evaluate import metrics
from adapt.evaluate.marks import read_marks
from adapt.evaluate.paired import compare
from adapt.evaluate.retained import Advice, Candidate, Marks, Retained, advise, retained

SIDES = ("field", "general")
RATIOS, FRACTIONS = "ratios", "fractions"
ONE = {RATIOS: "ratio", FRACTIONS: "fraction"}
# What the recommendation goes by: which of a row's shares, in words.
KEPT = {RATIOS: "kept", FRACTIONS: "kept_field"}
KEPT_OF = {RATIOS: "general score, against the base", FRACTIONS: "field score, against the largest fraction"}
NOTHING = {"value": 0.0, "low": 0.0, "high": 0.0, "at_least": 0.0}
NOTHING_TO_KEEP = (
    "The largest fraction has no field question right: there is nothing of which a smaller one could keep a share. Train "
    "longer, on more data or at another rate."
)
QUESTION_ONLY = "question_only"  # the last words of a floor that gives each question text its commonest answer in the test


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


@dataclasses.dataclass(frozen=True)
class Gain:
    """What tuning added to the field's headline: tuned minus base, its 95 % interval paired by picture."""

    value: float
    low: float
    high: float
    count: int


@dataclasses.dataclass(frozen=True)
class Worth:
    """Whether the field gained anything at a setting. ``gain`` as a row of the table has it; ``above_base``: surely, by that
    or, where it is None, by intervals that lie apart; ``above_floor``: None where the benchmark tells no floor."""

    gain: Mapping[str, Any] | None
    above_base: bool
    above_floor: bool | None


def summarise(measured: Measured) -> dict[str, Any]:
    """The content of sweep.json; docs/choosing_the_ratio.md says what each name means."""
    base = {side: _marked_by_all(measured, side) for side in SIDES}
    points = [_row(measured, point, base) | _plans(measured, point) for point in measured.points]
    if measured.kind == FRACTIONS:
        for row, kept in zip(points, _kept_of_the_largest(measured, list(base["field"])), strict=True):
            row["kept_field"] = None if kept is None else dataclasses.asdict(kept)
    kept_of = [(row[ONE[measured.kind]], row[KEPT[measured.kind]]) for row in points]
    advice = advise([Candidate(setting, Retained(**(kept or NOTHING))) for setting, kept in kept_of], measured.keep)
    named = next(
        row for row in points if row[ONE[measured.kind]] == (advice.best if advice.setting is None else advice.setting)
    )
    benchmarks = {side: _benchmark(measured, side, len(base[side])) for side in SIDES}
    scores = {side: _score(measured, [measured.base], side) for side in SIDES}
    worth = _worth(named, scores["field"], benchmarks["field"])
    doubts = _doubts(worth, named["field"], scores["field"], benchmarks["field"])
    doubts += _doubts_of_general(measured, scores["general"], benchmarks["general"])
    is_kept = all(kept is not None for _, kept in kept_of)
    return {
        "kind": measured.kind,
        "keep": measured.keep,
        "general_floor": measured.floor,
        "benchmarks": benchmarks,
        "base": scores,
        "points": points,
        "interpolation": {
            "from": measured.interpolated_from,
            "skipped": measured.skipped,
            "points": [_row(measured, point, base) for point in measured.interpolated],
        },
        "recommendation": {"of": KEPT_OF[measured.kind], "reached": advice.setting is not None}
        | dataclasses.asdict(advice)
        | dataclasses.asdict(worth),
        "sentence": " ".join([sentence(measured.kind, measured.keep, advice), *doubts]) if is_kept else NOTHING_TO_KEEP,
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


def _worth(named: Mapping[str, Any], base: Mapping[str, Any], field: Mapping[str, Any]) -> Worth:
    """Of the setting that the sentence names, whatever it is named for."""
    gain, tuned, floor = named["gain"], named["field"], _highest_floor(field)
    above_base = tuned["low"] > base["high"] if gain is None else gain["low"] > 0
    return Worth(gain, above_base, None if floor is None else tuned["low"] > floor)


def _highest_floor(field: Mapping[str, Any]) -> float | None:
    """Of one answer to all, to each type, or by chance. What each question text could reach is counted on the test itself, and
    is no floor where most texts are asked once."""
    return max((value for name, value in field["floors"].items() if not name.endswith(QUESTION_ONLY)), default=None)


def _doubts(worth: Worth, tuned: Mapping[str, Any], base: Mapping[str, Any], field: Mapping[str, Any]) -> list[str]:
    """What speaks against the setting that the sentence names, in words."""
    floor, found = _highest_floor(field), []
    score, before = _shown(tuned, field["metric"]), _shown(base, field["metric"])
    if not worth.above_base:
        found.append(f"But the field gained nothing that is sure: {field['metric']} is {score} there and {before} of the base.")
    if floor is not None and worth.above_floor is False:
        found.append(
            f"{'And' if found else 'But'} the field's score there, {score}, is not surely above "
            f"{_worded(floor, field['metric'])}, which needs no picture."
        )
    if found:
        found.append("Train longer, on more data or at another rate before a setting is chosen by this.")
    return found


def _doubts_of_general(measured: Measured, base: Mapping[str, Any], general: Mapping[str, Any]) -> list[str]:
    """Where the base's general score may be what needs no picture, and no floor was asked for, keeping it shows nothing."""
    floor = _highest_floor(general)
    if measured.kind == FRACTIONS or floor is None or base["low"] > floor or measured.floor >= floor:
        return []
    score, blind = _shown(base, general["metric"]), _worded(floor, general["metric"])
    return [
        f"The base's general score, {score}, is not surely above {blind}, which needs no picture: what is kept of it shows no "
        "ability. Measure on questions that the base can answer, or give --general-floor."
    ]


def _shown(score: Mapping[str, Any], metric: str) -> str:
    """A score and its interval as a sentence has them."""
    scale, digits = (100, 1) if metrics.is_share(metric) else (1, 3)
    low, high = (f"{scale * score[key]:.{digits}f}" for key in ("low", "high"))
    return f"{_worded(score['value'], metric)} ({low} to {high})"


def _worded(value: float, metric: str) -> str:
    return f"{100 * value:.1f} %" if metrics.is_share(metric) else f"{value:.3f}"


def marks_of(model: Model, side: str) -> Marks:
    """The mark of each question, 0..1, by its id. Raises DataError for a row that is none."""
    return read_marks(model.folder / "scores" / side / "marks.jsonl")


def _marked_by_all(measured: Measured, side: str) -> Marks:
    """The base's marks of the questions that every model has a mark for: some rules score a question only where another one
    was answered right."""
    points = (*measured.points, *measured.interpolated)
    others = [marks_of(model, side) for point in points for model in point.models]
    first = marks_of(measured.base, side)
    return {name: mark for name, mark in first.items() if all(name in marks for marks in others)}


def _benchmark(measured: Measured, side: str, compared: int) -> dict[str, Any]:
    of, document = measured.sides[side], _document(measured.base, side)
    headline, floors = document["headline"], document.get("floor", {})
    return {
        "benchmark": of.benchmark,
        "metric": headline,
        "convention": document["convention"],
        "data": of.data.name,
        "split": of.split,
        "floor": floors.get(headline),
        "floors": {name: value for name, value in floors.items() if _metric_of(name, document["metrics"]) == headline},
        "compared": compared,
    }


def _metric_of(floor: str, names: Iterable[str]) -> str | None:
    """The metric that a floor is of: ``micro_all_question_only`` is of ``micro_all``, not of ``micro``."""
    return max((name for name in names if floor == name or floor.startswith(f"{name}_")), key=len, default=None)


def _document(model: Model, side: str) -> dict[str, Any]:
    return safe.read_object(model.folder / "scores" / side / "scores.json")


def _row(measured: Measured, point: Point, base: Mapping[str, Marks]) -> dict[str, Any]:
    """One point of a curve. ``kept`` is of the general questions, ``gain`` of the field's; ``base`` are the base's marks."""
    name = "alpha" if point in measured.interpolated else ONE[measured.kind]
    kept = _kept(measured, point.models, "general", base["general"], measured.floor)
    gain = _gain(measured, point.models, base["field"])
    models = [
        {"seed": model.seed, "folder": model.folder.relative_to(measured.output).as_posix()}
        | {side: _headline(_document(model, side)) for side in SIDES}
        for model in point.models
    ]
    return (
        {name: point.setting}
        | {side: _score(measured, point.models, side) for side in SIDES}
        | {"gain": None if gain is None else dataclasses.asdict(gain), "kept": dataclasses.asdict(kept), "models": models}
    )


def _kept(measured: Measured, models: Sequence[Model], side: str, base: Marks, floor: float) -> Retained:
    marks = [marks_of(model, side) for model in models]
    return retained(base, [{name: each[name] for name in base} for each in marks], measured.sides[side].groups, floor=floor)


def _gain(measured: Measured, models: Sequence[Model], base: Marks) -> Gain | None:
    """The seeds' mean headline of the field minus the base's, paired by their marks.

    None where the headline is not the mean of the marks that are compared: a corpus measure, one of some types of question
    alone, or a rule that scores a question only where another one was answered right.
    """
    marks = [marks_of(model, "field") for model in models]
    headlines = [_headline(_document(model, "field")) for model in (measured.base, *models)]
    sums = [sum(each[name] for name in base) for each in (base, *marks)]
    if not base or not all(
        math.isclose(total, value * len(base), abs_tol=1e-6) for total, value in zip(sums, headlines, strict=True)
    ):
        return None
    tuned = [sum(each[name] for each in marks) / len(marks) for name in base]
    found = compare(tuned, list(base.values()), [measured.sides["field"].groups[name] for name in base])
    return Gain(found.difference, found.low, found.high, found.count)


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


def _kept_of_the_largest(measured: Measured, compared: Sequence[str]) -> list[Retained | None]:
    """What each fraction keeps of the largest one's field score, on the questions that all have marks for; None where that one
    has nothing right, and there is nothing to keep: what was measured is worth its page all the same."""
    most = [marks_of(model, "field") for model in max(measured.points, key=lambda point: point.setting).models]
    whole = {name: sum(marks[name] for marks in most) / len(most) for name in compared}
    return [_kept(measured, point.models, "field", whole, 0.0) if any(whole.values()) else None for point in measured.points]
