"""``adapt sweep``: short runs from one warm start that differ in the general ratio, or in the amount of domain data.

Every run sees the same domain samples in the same order: a step grows by the general samples that come on top, and the length
is given in epochs of the domain data, which the mixture cannot change (adapt/data/plan.py).
"""

import contextlib
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapt import atomic, progress, randomness, safe
from adapt.check.pictures import refuse_unreadable
from adapt.domain import find_benchmark, find_domain, parse_options, read_options
from adapt.errors import DataError, Stopped, UsageError, no_file
from adapt.evaluate.retained import retained
from adapt.evaluate.score import check_references, group_of
from adapt.evaluate.sweep import FRACTIONS, ONE, RATIOS, SIDES, Measured, Model, Point, Side, marks_of, summarise
from adapt.records import chat_files, image_root, manifest_path, read_placed, read_records, relative_root, write_records
from adapt.train.recipe import make_recipe, parse_settings
from adapt.verbs.evaluate import choose_rows, evaluate, read_questions, read_settings
from adapt.verbs.finetune import finetune, make_request

if TYPE_CHECKING:
    from adapt.train.prepare import Request

DEFAULT_RATIOS = (0.0, 0.1, 0.25, 0.5, 1.0)
DEFAULT_ALPHAS = (0.25, 0.5, 0.75)
CONFIG = "sweep.config.json"
# They change what is made of the runs or which there are, not what a run is: the same folder may be asked again.
FREE = ("keep", "general_floor", "alphas", "values", "seeds")
# A run of a sweep is short, and what it is measured by comes after it.
EVERY_RUN = ("train.tensorboard=no", "train.keep=1", "train.validate_every=1000000000")
OWN_SETTINGS = {
    "train.seed": "--seeds",
    "data.general_ratio": "--ratios, or beside --fractions --general-ratio",
}
Numbers = str | float | Iterable[float]


@dataclasses.dataclass(frozen=True)
class SweepCall:
    """A sweep as it was asked for, every path and number read."""

    output: Path
    model: str
    data: tuple[Path, ...]
    general: tuple[Path, ...]
    sides: Mapping[str, Side]
    kind: str
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    general_ratio: float | None
    keep: float
    general_floor: float
    alphas: tuple[float, ...]
    domain: str | None
    images: Path | None
    settings: tuple[str, ...]
    evaluation: tuple[str, ...]
    options: Mapping[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run: a ratio or a fraction, and a seed."""

    setting: float
    seed: int


def sweep(
    *,
    model: str | Path,
    data: Sequence[str | Path],
    general: Sequence[str | Path],
    benchmark: str,
    output: str | Path,
    ratios: Numbers | None = None,
    fractions: Numbers | None = None,
    general_ratio: float | None = None,
    general_benchmark: str = "vqa",
    seeds: Numbers = (0,),
    keep: float = 0.98,
    general_floor: float = 0.0,
    alphas: Numbers = DEFAULT_ALPHAS,
    domain: str | None = None,
    test: str | Path | None = None,
    general_test: str | Path | None = None,
    split: str | None = None,
    general_split: str | None = None,
    images: str | Path | None = None,
    keep_models: bool = False,
    set: Sequence[str] = (),  # noqa: A002 (the command line's own word)
    option: str | Iterable[str] | Mapping[str, str] = (),
    general_option: str | Iterable[str] | Mapping[str, str] = (),
) -> dict[str, Any]:
    """Tune ``model`` once for each ratio (or fraction) and seed, measure all, and say which ratio is the smallest that will do.

    Leaves ``sweep.html``, ``sweep.json`` (returned) and the runs in ``output``. Called again with the same arguments it goes
    on where it was. ``alphas`` are weights between base and tuned (of the smallest ratio, or the largest fraction); empty for
    none. ``keep_models`` keeps interpolated models, checkpoints and best weights too. Raises UsageError and DataError.
    """
    kind, values = _kind(ratios, fractions, general_ratio)
    files, mixed = _files(data, "--data"), _files(general, "--general")
    call = SweepCall(
        output=Path(output), model=str(model), data=files, general=mixed,
        sides={
            "field": _side(benchmark, "--test", test, files, mixed, split),
            "general": _side(general_benchmark, "--general-test", general_test, mixed, files, general_split),
        },
        kind=kind, values=values, seeds=tuple(int(seed) for seed in _numbers("--seeds", seeds, whole=True)),
        general_ratio=general_ratio, keep=_share("--keep", keep), general_floor=_share("--general-floor", general_floor),
        alphas=_numbers("--alphas", alphas, most=1.0), domain=domain, images=None if images is None else Path(images),
        settings=tuple(each for each in set if not each.startswith("evaluate.")),
        evaluation=tuple(each for each in set if each.startswith("evaluate.")),
        options={"field": parse_options(option), "general": parse_options(general_option)},
    )  # fmt: skip
    return _start(call, keep_models)


# ---- what was asked for ----


def _kind(ratios: Numbers | None, fractions: Numbers | None, general_ratio: float | None) -> tuple[str, tuple[float, ...]]:
    if ratios is not None and fractions is not None:
        raise UsageError("--ratios and --fractions: one sweep varies one of them; leave the other out")
    if fractions is None:
        if general_ratio is not None:
            raise UsageError("--general-ratio is the one ratio of --fractions; a sweep of ratios has --ratios")
        return RATIOS, _numbers("--ratios", DEFAULT_RATIOS if ratios is None else ratios, some=True)
    values = _numbers("--fractions", fractions, most=1.0, some=True)
    if values[0] == 0:
        raise UsageError("--fractions 0: no domain data is nothing to train on; expected more than 0")
    return FRACTIONS, values


def _numbers(
    name: str, given: Numbers, *, most: float = float("inf"), some: bool = False, whole: bool = False
) -> tuple[float, ...]:
    """``"0,0.25"`` or numbers -> (0.0, 0.25), each once, the smallest first. Raises UsageError for what is no such number."""
    each_given = given.split(",") if isinstance(given, str) else [given] if isinstance(given, int | float) else given
    texts = [str(each).strip() for each in each_given]
    wanted = f"{name} {','.join(texts)}: expected numbers such as {'0,1,2' if whole else '0,0.25,1'}"
    found = []
    for text in filter(None, texts):
        try:
            number = float(text)
        except ValueError as error:
            raise UsageError(wanted) from error
        if not 0 <= number <= most or number == float("inf") or (whole and not number.is_integer()):
            raise UsageError(f"{wanted}, each 0 {'or more' if most == float('inf') else f'to {most:g}'}")
        found.append(number)
    if len(set(found)) < len(found) or (not found and (some or whole)):
        raise UsageError(f"{wanted}, {'each once' if found else 'at least one'}")
    return tuple(sorted(found))


def _share(name: str, value: float) -> float:
    if not 0 <= value < 2:
        raise UsageError(f"{name} {value}: expected a share of the score, such as 0.98")
    return float(value)


def _files(given: Sequence[str | Path], name: str) -> tuple[Path, ...]:
    files = tuple(chat_files([Path(path) for path in ([given] if isinstance(given, str | Path) else given)]))
    if not files:
        raise UsageError(f"missing {name}: a sweep needs the field's data and general data")
    for path in files:
        if not path.is_file():
            raise no_file(path)
    return files


def _side(
    benchmark: str, option: str, test: str | Path | None, trained: Sequence[Path], others: Sequence[Path], split: str | None
) -> Side:
    """The held-out questions of one side, ``others`` the training files of the other one.

    Raises UsageError where they would be rows that the runs train on.
    """
    find_benchmark(benchmark)
    if test is None and len(trained) > 1:
        raise UsageError(f"several training files: name the one with the test questions by {option}")
    (path,) = _files([trained[0] if test is None else test], option)
    where = "--split" if option == "--test" else "--general-split"
    parts = choose_rows(read_records(path), split, path)
    if len(parts) > 1:
        raise UsageError(f"{path}: test questions in {', '.join(parts)}; choose one with {where}")
    name, records = next(iter(parts.items()))
    own = path.resolve() in {each.resolve() for each in (*trained, *others)}
    if own and not (name.startswith("test") or name == "val"):
        raise UsageError(
            f"{path}: no held-out rows (of split test or val), and the runs train on the others; give a file of test questions "
            f"by {option}, or convert with splits"
        )
    return Side(benchmark, path, name or None, {record.id: group_of(record) for record in records})


def _check_settings(call: SweepCall) -> None:
    """Raise UsageError for a setting, an option or a folder that no sweep could have: nothing is remembered of such a call."""
    given = parse_options(call.settings)
    for name, option in OWN_SETTINGS.items():
        if name in given:
            raise UsageError(f"--set {name}={given[name]}: a sweep sets it from {option}; leave it out")
    make_recipe(find_domain(call.domain).recipe if call.domain else {}, parse_settings(call.settings))
    read_settings(call.evaluation)
    for name, side in call.sides.items():
        read_options(find_benchmark(side.benchmark).options, call.options[name], f"benchmark {side.benchmark}")
    if call.output.exists() and not call.output.is_dir():
        raise UsageError(f"{call.output}: a file; --output takes a folder")
    if call.output.is_dir() and _holds_work(call.output) and not (call.output / CONFIG).is_file():
        raise UsageError(f"{call.output}: not empty, and no sweep (it has no {CONFIG}); choose another --output")
    if progress.is_quiet() or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("a sweep runs in one process; start it without torchrun")


def _holds_work(folder: Path) -> bool:
    """Whether there is more than a kill leaves while the model and the data are read for the first time."""
    from adapt.train.lock import LOCK

    return any(path.name != LOCK and not path.name.startswith(atomic.STAGING_PREFIX) for path in folder.iterdir())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder. A run that is stopped says how to resume that run; here the same command goes on with all of them."""
    from adapt.train.lock import locked  # it needs POSIX, the verbs do not

    try:
        with locked(folder):
            yield
    except Stopped as stop:
        raise Stopped(stop.number, f"start the same command again to go on with the sweep in {folder}") from stop


def _remember(call: SweepCall) -> None:
    """Keep what was asked, or compare it with what was. Raises UsageError, naming what differs in what a run is.

    Before there is a run anything may be asked: a base that has nothing to keep is refused, and another one takes its place.
    """
    now = _description(call)
    place = call.output / CONFIG
    if place.is_file():
        was = safe.read_object(place)
        different = [name for name in now if now[name] != was.get(name) and name not in FREE]
        if different and (call.output / "runs").is_dir():
            said = "; ".join(f"{name} was {_brief(was.get(name))}, is {_brief(now[name])}" for name in different)
            raise UsageError(f"{call.output}: a sweep with other settings: {said}; give those again, or another --output")
        if different:
            shutil.rmtree(call.output / "base", ignore_errors=True)
    atomic.write_text(place, json.dumps(now, indent=1, ensure_ascii=False))


def _brief(value: Any) -> str:
    """A setting in a message: digests by their first digits."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", json.dumps(value, ensure_ascii=False))


def _description(call: SweepCall) -> dict[str, Any]:
    from adapt.model.loading import find_model

    found = find_model(call.model)
    if found.folder is None:
        raise UsageError(
            f"--model {call.model}: a preset has random weights and no ability to keep; train it on general data first, and "
            "sweep from that run"
        )
    digests = {name: value for name, value in found.provenance.items() if name.endswith("sha256") or name == "commit"}
    plain = ("kind", "values", "seeds", "general_ratio", "keep", "general_floor", "alphas", "domain", "settings", "evaluation")
    return {
        "model": digests,
        "data": [f"{path.name} {safe.file_sha256(path)}" for path in call.data],
        "general": [f"{path.name} {safe.file_sha256(path)}" for path in call.general],
        "images": None if call.images is None else str(call.images.absolute()),
        **{
            f"{name}_test": {"benchmark": side.benchmark, "split": side.split, "sha256": safe.file_sha256(side.data)}
            | dict(call.options[name])
            for name, side in call.sides.items()
        },
        **{name: _plain(getattr(call, name)) for name in plain},
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# ---- the runs ----


def _start(call: SweepCall, keep_models: bool) -> dict[str, Any]:
    """Begin, or go on with, a sweep in its folder, alone."""
    _check_settings(call)
    if not (call.output / "sweep.json").is_file():  # a finished sweep may be asked again without its pictures
        _check_data(call)
    with _alone(call.output):
        _remember(call)
        return _carry_out(call, keep_models)


def _check_data(call: SweepCall) -> None:
    """Raise UsageError or DataError for questions that cannot be asked, and for rows that cannot be learnt from, at once."""
    for name, side in call.sides.items():
        ((_, records),) = read_questions(side.data, side.split, call.images).parts.items()
        place = call.output / "base" / "scores" / name
        check_references(find_benchmark(side.benchmark), records, call.options[name], side.data, place)
    for path in (*call.data, *call.general):
        refuse_unreadable(read_placed(path).items(), image_root(path, call.images))


def _carry_out(call: SweepCall, keep_models: bool) -> dict[str, Any]:
    cells = [Cell(value, seed) for value in call.values for seed in call.seeds]
    base = Model(call.output / "base")
    progress.say(f"[base] measuring {call.model}")
    _measure(call, base, call.model)
    marks = marks_of(base, "general")  # a base that has nothing to keep is refused before hours of training
    retained(marks, [marks], call.sides["general"].groups, floor=call.general_floor)
    for number, cell in enumerate(cells, start=1):
        run = _run_folder(call, cell)
        progress.say(f"[{number}/{len(cells)}] {ONE[call.kind]} {cell.setting:g}, seed {cell.seed}: {run}")
        _train(call, cell, run)
        _measure(call, Model(run), run)
        if not keep_models:  # the last weights are what was measured
            for name in ("checkpoints", "best"):
                shutil.rmtree(run / name, ignore_errors=True)
    interpolated, start, skipped = _interpolate(call, keep_models)
    measured = Measured(
        call.output, call.kind, call.keep, call.general_floor, call.sides, base, _points(call, _run_folder),
        interpolated, start, skipped, _description(call),
    )  # fmt: skip
    from adapt.evaluate.sweep_page import write_page

    summary = summarise(measured)
    atomic.write_text(call.output / "sweep.json", json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False))
    write_page(summary, call.output)
    progress.say(summary["sentence"])
    return summary


def _run_folder(call: SweepCall, cell: Cell) -> Path:
    return call.output / "runs" / f"{ONE[call.kind]}-{cell.setting:g}-seed-{cell.seed}"


def _points(call: SweepCall, folder: Callable[[SweepCall, Cell], Path]) -> tuple[Point, ...]:
    return tuple(
        Point(value, tuple(Model(folder(call, Cell(value, seed)), seed) for seed in call.seeds)) for value in call.values
    )


def _train(call: SweepCall, cell: Cell, run: Path) -> None:
    """Start, or go on with, the run of a cell; a finished one stays as it is."""
    if (run / "model" / "config.json").is_file():
        progress.say(f"{run}: finished before")
        return
    data = call.data if call.kind == RATIOS else _subset(call, cell)
    settings, ratio = _settings(call, cell, data)
    finetune(
        model=call.model, data=data, general=call.general, general_ratio=ratio, domain=call.domain, images=call.images,
        output=run, resume=run.is_dir() and any(run.iterdir()), set=settings,
    )  # fmt: skip


def _settings(call: SweepCall, cell: Cell, data: Sequence[Path]) -> tuple[list[str], float]:
    """The settings of a run, and its ratio: as many domain samples as a run without general data on all data would see.

    Trees keep the size that they have without general data, and the length is said in epochs: so the domain's trees and
    their order are the same whatever the ratio.
    """
    plain = _request(call, call.data, cell.seed, 0.0)
    train = plain.recipe.train
    samples, whole = _domain_samples(plain)
    epoch = whole if call.kind == RATIOS else _domain_samples(_request(call, data, cell.seed, 0.0))[1]
    ratio = cell.setting if call.kind == RATIOS else call.general_ratio
    if ratio is None:
        ratio = _request(call, data, cell.seed, None).recipe.data.general_ratio
    return [
        *EVERY_RUN,
        *call.settings,
        f"train.seed={cell.seed}",
        f"train.samples_per_step={round(train.samples_per_step * (1 + ratio))}",
        f"train.max_branches={plain.recipe.max_branches}",
        "train.max_steps=0",
        f"train.epochs={samples / epoch!r}",
    ], ratio


def _request(call: SweepCall, data: Sequence[Path], seed: int, ratio: float | None) -> "Request":
    settings = [*EVERY_RUN, *call.settings, f"train.seed={seed}"]
    return make_request({}, call.model, data, call.general, ratio, call.images, call.domain, False, settings)


def _domain_samples(request: "Request") -> tuple[int, float]:
    """How many domain samples a run would see, and how many an epoch of its domain data has."""
    from adapt.train.prepare import prepare

    prepared = prepare(request)
    return prepared.plan.samples[0], prepared.domain.epoch_samples


def _subset(call: SweepCall, cell: Cell) -> tuple[Path, ...]:
    """The domain files with a part of their training pictures, smaller parts inside larger ones; other splits stay whole."""
    if cell.setting == 1:
        return call.data
    places = []
    for number, path in enumerate(call.data):
        place = call.output / "data" / f"fraction-{cell.setting:g}-seed-{cell.seed}" / str(number) / path.name
        places.append(place)
        if place.is_file():
            continue
        records = read_records(path)
        groups = list(dict.fromkeys(group_of(record) for record in records if record.split in (None, "train")))
        count = max(1, round(cell.setting * len(groups)))
        drawn = {groups[i] for i in randomness.permutation(len(groups), cell.seed, "fraction", number)[:count].tolist()}
        place.parent.mkdir(parents=True, exist_ok=True)
        root = relative_root(image_root(path, call.images), place)
        atomic.write_text(manifest_path(place), json.dumps({"image_root": root, "part_of": str(path), "seed": cell.seed}))
        write_records(place, [each for each in records if each.split not in (None, "train") or group_of(each) in drawn])
    return tuple(places)


def _measure(call: SweepCall, model: Model, weights: str | Path) -> None:
    """Both sides' scores of a model below ``model.folder``; those that are there stay."""
    for name, side in call.sides.items():
        place = model.folder / "scores" / name
        if (place / "scores.json").is_file():
            continue
        evaluate(
            benchmark=side.benchmark, model=weights, data=side.data, output=place, images=call.images, split=side.split,
            set=call.evaluation, option=call.options[name],
        )  # fmt: skip


def _interpolate(call: SweepCall, keep_models: bool) -> tuple[tuple[Point, ...], float | None, str | None]:
    """Points between the base and the runs that forget most (the smallest ratio) or know most (the largest fraction)."""
    if not call.alphas:
        return (), None, None
    from adapt.model.interpolation import interpolate

    start = call.values[0] if call.kind == RATIOS else call.values[-1]
    points = []
    for alpha in call.alphas:
        models = []
        for seed in call.seeds:
            run = _run_folder(call, Cell(start, seed))
            # Below the run's own name: asked again with a smaller ratio, a sweep starts from another run.
            model = Model(call.output / "interpolated" / run.name / f"alpha-{alpha:g}", seed)
            models.append(model)
            if not all((model.folder / "scores" / side / "scores.json").is_file() for side in SIDES):
                progress.say(f"alpha {alpha:g} of the way from the base to {run.name}")
                try:
                    interpolate(call.model, run, alpha, model.folder / "model")
                except DataError as error:  # what was trained and measured is worth its page all the same
                    progress.say(f"warning: no interpolation: {error}")
                    return (), start, str(error)
                _measure(call, model, model.folder / "model")
            if not keep_models:
                shutil.rmtree(model.folder / "model", ignore_errors=True)
        points.append(Point(alpha, tuple(models)))
    return tuple(points), start, None
