"""``adapt demo``: the whole way on generated data, through the same verbs that a user calls, on a laptop CPU.

A tiny model learns general questions first, then a field, once from the field's data alone and once with general data mixed
in. What each of the three knows of both is measured: that is what adaptation gains and what it forgets.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from adapt import atomic
from adapt.domain import Demo, Domain, all_domains, find_benchmark, find_domain, parse_options
from adapt.errors import DataError, Stopped, UsageError
from adapt.progress import say
from adapt.show import counted
from adapt.verbs.check import check
from adapt.verbs.convert import convert
from adapt.verbs.evaluate import evaluate
from adapt.verbs.finetune import finetune
from adapt.verbs.report import report
from adapt.verbs.sample import sample

GENERAL = "general"
BASE, WITHOUT, WITH = "base", "without_general", "with_general"
BASE_STEPS, FIELD_STEPS = 400, 120
# Pictures are tiny and the runs short: reading them in the training process is quicker than starting workers.
EVERY_RUN = ("data.workers=0", "train.tensorboard=no", "train.keep=1", "train.save_every=1000000", "train.max_branches=9")
# Colour is what the general questions ask for, so the pictures stay as they are.
BASE_RUN = (*EVERY_RUN, "train.samples_per_step=64", "data.augment=none")
FIELD_RUN = (*EVERY_RUN, "train.learning_rate=5e-4", "data.augment=overhead")
FIELD_SAMPLES = 32  # of the field in a step of either run; the mixed one has as many general samples on top


@dataclasses.dataclass(frozen=True)
class _Part:
    """One of the two sides: what its sample is made of and where its chat JSONL lies."""

    domain: Domain
    demo: Demo
    data: Path


def demo(*, output: str | Path, domain: str = "remote_sensing", scale: float = 1.0) -> dict[str, Any]:
    """Walk the whole way in ``output`` and return what summary.json holds; about four minutes on two CPU cores.

    {"base": {"domain": x, "general": y}, "without_general": {...}, "with_general": {...}}: the headline share (0..1) of the
    field's benchmark and of the general one on their test splits. Leaves report.html, summary.json and the three runs.
    ``scale`` multiplies pictures and steps; below 1 the models have no time to learn. Raises UsageError for a domain without
    a demo and for an ``output`` that is not empty.
    """
    folder = Path(output)
    field_of, general_of = _with_demo(domain), _with_demo(GENERAL)
    if domain == GENERAL:
        raise UsageError(f"the demo adapts from '{GENERAL}' to a field; choose another --domain")
    if not 0 < scale <= 1:
        raise UsageError(f"scale {scale}: expected more than 0 and at most 1")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder}: not empty; choose another --output, or remove it to walk the way again "
            f"('adapt report {folder} --output {folder}/report.html' writes only the page of a finished demo)"
        )
    stage = _Stages(9, scale)
    stage("drawing pictures of the field and of plain shapes", 10)
    general, field = (_convert(each, folder, scale) for each in (general_of, field_of))
    stage("checking every row and picture", 5)
    _check(general, field)
    stage(f"training the base: preset nano, from random weights, on {general.data.name}", 90)
    say(f"(general_loss below is that of {field.data.name}, which the base never learns)")
    with _never_resumed(folder):
        _train_base(folder, general, field, scale)
        stage(f"tuning the base to {field.data.name}, without general data", 60)
        _tune(folder, WITHOUT, field, general, 0, scale)
        stage(f"tuning the base to {field.data.name}, one general sample for each of the field", 75)
        _tune(folder, WITH, field, general, 1, scale)
    summary: dict[str, dict[str, float]] = {}
    for name in (BASE, WITHOUT, WITH):
        stage(f"asking {name} the test questions of both", 8)
        summary[name] = {"domain": _measure(folder / name, field), "general": _measure(folder / name, general)}
    stage("writing summary.json and report.html", 3)
    atomic.write_text(folder / "summary.json", json.dumps(summary, indent=1))
    report([folder / name for name in (BASE, WITHOUT, WITH)], output=folder / "report.html")
    _explain(field, general)
    return summary


@contextlib.contextmanager
def _never_resumed(folder: Path) -> Iterator[None]:
    """A run that is stopped says that it can be resumed; a demo cannot."""
    try:
        yield
    except Stopped as stop:
        raise Stopped(stop.number, f"a demo is not resumed: remove {folder} and start it again") from stop


class _Stages:
    """Announces each stage with its number and about how long it takes on two free cores."""

    def __init__(self, total: int, scale: float) -> None:
        self._done, self._total, self._scale = 0, total, scale

    def __call__(self, what: str, seconds: int) -> None:
        self._done += 1
        say(f"[{self._done}/{self._total}] {what} (about {max(1, round(seconds * self._scale))} s)")


def _with_demo(name: str) -> Domain:
    found = find_domain(name)
    if found.demo is None or found.sample is None:
        names = ", ".join(each.name for each in all_domains() if each.demo is not None and each.name != GENERAL)
        raise UsageError(f"the domain '{name}' has no demo; those that have one: {names}")
    return found


def _convert(domain: Domain, folder: Path, scale: float) -> _Part:
    assert domain.demo is not None
    size = max(40, round(domain.demo.size * scale))
    written = sample(domain=domain.name, output=folder / "data" / domain.name, size=size)[domain.demo.dataset]
    data = folder / f"{domain.name}.jsonl"
    convert(task=written["task"], input=written["path"], output=data, option=domain.demo.options)
    return _Part(domain, domain.demo, data)


def _check(general: _Part, field: _Part) -> None:
    found = check([general.data, field.data], model="nano")
    if found["faults"]:
        first = found["faults"][0]
        raise DataError(
            f"{first['where']}: {first['message']} ({counted(len(found['faults']), 'fault')} in the generated data)"
        )
    say(f"{counted(found['records'], 'row')}, {counted(found['pictures'], 'picture')}, no fault")


def _train_base(folder: Path, general: _Part, field: _Part, scale: float) -> None:
    """General data alone. The field's file is named at ratio 0: never trained on, but its words get into the vocabulary,
    as a published model's vocabulary holds the words of fields that it knows nothing of."""
    steps = max(2, round(BASE_STEPS * scale))
    settings = (*BASE_RUN, f"train.max_steps={steps}")
    finetune(model="nano", data=[general.data], general=[field.data], general_ratio=0, output=folder / BASE, set=settings)


def _tune(folder: Path, name: str, field: _Part, general: _Part, ratio: float, scale: float) -> None:
    """A ratio of 0 trains on none of the general rows but measures on held-out ones, so that forgetting is seen."""
    settings = (
        *_with_own(FIELD_RUN, field.demo.settings),
        f"train.samples_per_step={round(FIELD_SAMPLES * (1 + ratio))}",
        f"train.max_steps={max(2, round(FIELD_STEPS * scale))}",
    )
    finetune(
        model=folder / BASE,
        data=[field.data],
        general=[general.data],
        general_ratio=ratio,
        domain=field.domain.name,
        output=folder / name,
        set=settings,
    )


def _with_own(settings: Sequence[str], own: Sequence[str]) -> list[str]:
    """The settings of every field with those of one field in their place."""
    return [f"{key}={value}" for key, value in (parse_options(settings) | parse_options(own)).items()]


def _measure(run: Path, part: _Part) -> float:
    """The headline share of the part's benchmark on its test split."""
    scores = evaluate(benchmark=part.demo.benchmark, model=run, data=part.data, output=run / "scores" / part.domain.name)
    return scores["metrics"][scores["headline"]]["value"]


def _explain(field: _Part, general: _Part) -> None:
    for name, part in (("field", field), (GENERAL, general)):
        benchmark = find_benchmark(part.demo.benchmark)
        say(f"{name}: share of the test questions in {part.data} answered right ({benchmark.name} {benchmark.headline})")
    say("gained: points on the field over the base; forgotten: points lost on the general questions")
