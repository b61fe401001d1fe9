"""Who is compared on a page: each run as it ended, what it was tuned from where that was measured, and other models' scores."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from adapt.domain import all_domains
from adapt.report.runs import (
    BASE,
    BEST,
    OTHER,
    TUNED,
    Measurement,
    RunFacts,
    ScoreSet,
    came_from,
    model_name,
    read_base,
    same_model,
)

GENERAL = "general"


@dataclasses.dataclass(frozen=True)
class Contender:
    """One model's scores. ``before`` are the scores of what it was tuned from, by measurement; ``origin`` says it in words.

    ``is_own`` where a run wrote the model: others may be the same model, measured for several runs.
    """

    name: str
    origin: str
    scores: tuple[ScoreSet, ...]
    before: tuple[tuple[str, ScoreSet], ...] = ()
    is_own: bool = True

    def at(self, measurement: Measurement) -> ScoreSet | None:
        """Its scores in a measurement; of several the first."""
        return next((score for score in self.scores if score.measurement == measurement), None)

    def before_at(self, measurement: Measurement) -> tuple[str, ScoreSet] | None:
        """The name and the scores of what it was tuned from."""
        return next(((name, score) for name, score in self.before if score.measurement == measurement), None)


def find_contenders(runs: Sequence[RunFacts]) -> list[Contender]:
    """What was tuned from stands before what was tuned. A run that another came from is looked up where it was not given, for
    the measurements that the given ones have."""
    shown = {run.folder.resolve() for run in runs}
    bases = {base.folder.resolve(): base for run in runs if run.config and (base := read_base(run)) is not None}
    behind = [base for place, base in bases.items() if place not in shown]
    given = [each for run in runs for each in (_of_run(run, [*runs, *behind]) if run.config else _of_scores(run))]
    asked = {score.measurement for contender in given for score in contender.scores}
    looked_up = [
        Contender(
            base.name,
            f"from {model_name(base.base)}",
            tuple(score for score in base.scores if score.owner == TUNED and (score.measurement in asked or not asked)),
        )
        for base in behind
    ]
    return _bases_once([*looked_up, *given])


def _bases_once(contenders: Sequence[Contender]) -> list[Contender]:
    """Without those that no run wrote and that another one tells of: runs with one base may each have measured it."""
    shown: list[Contender] = []
    renamed: dict[str, str] = {}
    also: dict[str, str] = {}
    for contender in contenders:
        others = [*shown, *(each for each in contenders if each.is_own and each is not contender)]
        same = None if contender.is_own else next((each for each in others if _tells_of(each, contender)), None)
        if same is None:
            shown.append(contender)
        else:
            renamed[contender.name] = same.name
            also[same.name] = f"{also.get(same.name, '')}; also given as {contender.name}"
    return [
        dataclasses.replace(
            each,
            origin=each.origin + also.get(each.name, ""),
            before=tuple((renamed.get(name, name), score) for name, score in each.before),
        )
        for each in shown
    ]


def _tells_of(one: Contender, other: Contender) -> bool:
    """Whether every score of ``other`` is one of ``one``: the same file, or the same model, questions and values."""
    return bool(other.scores) and all(
        (mine := one.at(score.measurement)) is not None
        and (
            mine.folder.resolve() == score.folder.resolve()
            or (same_model(mine.model, score.model) and mine.document["metrics"] == score.document["metrics"])
        )
        for score in other.scores
    )


def _of_scores(folder: RunFacts) -> list[Contender]:
    return [
        Contender(name, model_name(scores[0].model) if scores[0].model else "not said", tuple(scores), is_own=False)
        for name, scores in _by_model(folder).items()
    ]


def _by_model(folder: RunFacts) -> dict[str, list[ScoreSet]]:
    """The scores in a folder that no run wrote, by a name for each model: where there are several, its first place in it."""
    found: dict[str, list[ScoreSet]] = {}
    for score in folder.scores:
        found.setdefault(json.dumps(score.model, sort_keys=True), []).append(score)
    return {folder.name if len(found) == 1 else f"{folder.name}: {scores[0].place}": scores for scores in found.values()}


def _of_run(run: RunFacts, runs: Sequence[RunFacts]) -> list[Contender]:
    owned = {owner: tuple(score for score in run.scores if score.owner == owner) for owner in (BASE, TUNED, BEST, OTHER)}
    before = [(f"{run.name}: before", score) for score in owned[BASE]]
    for other in runs:
        if other is not run:
            named = {other.name: other.scores} if other.config else _by_model(other)
            before += [(name, score) for name, scores in named.items() for score in scores if _is_base(run, other, score)]
    origin = model_name(run.base)
    found = [Contender(run.name, f"from {before[0][0] if before else origin}", owned[TUNED], tuple(before))]
    if owned[BASE]:
        found.insert(0, Contender(f"{run.name}: before", origin, owned[BASE], is_own=False))
    if owned[BEST]:
        found.append(Contender(f"{run.name}: best", "its best step", owned[BEST], tuple(before)))
    for score in owned[OTHER]:
        found.append(Contender(f"{run.name}: {score.place}", model_name(score.model), (score,)))
    return found


def _is_base(run: RunFacts, other: RunFacts, score: ScoreSet) -> bool:
    """Whether a score of another folder is of what ``run`` was tuned from."""
    if same_model(score.model, run.base):
        return True
    return bool(other.config) and score.owner == TUNED and came_from(run, other)


def all_measurements(contenders: Sequence[Contender], runs: Sequence[RunFacts]) -> list[Measurement]:
    """Every measurement of the page: the field's first, then the general ones, then others."""
    found = dict.fromkeys(score.measurement for contender in contenders for score in contender.scores)
    return sorted(found, key=lambda measurement: ("field", "general", "").index(role_of(measurement, runs)))


def role_of(measurement: Measurement, runs: Sequence[RunFacts]) -> str:
    """Whether questions are the field's or general ones: by the files of the tuned runs, else by the benchmark's field."""
    tuned = [run for run in runs if any(came_from(run, other) for other in runs if other is not run)]
    tuned = tuned or [run for run in runs if run.config]
    for role, argument in (("field", "data"), ("general", "general")):
        if any(Path(path).name == measurement.data for run in tuned for path in run.config["arguments"].get(argument) or ()):
            return role
    fields = {domain.name for domain in all_domains() for each in domain.benchmarks if each.name == measurement.benchmark}
    if GENERAL in fields:
        return "general"
    return "field" if any(run.config["arguments"].get("domain") in fields for run in tuned) else ""
