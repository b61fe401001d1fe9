"""``adapt finetune``: tune a model on domain data, mixed with general data so that it forgets less."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapt import progress, safe
from adapt.domain import find_domain
from adapt.errors import DataError, UsageError, no_file
from adapt.records import chat_files

if TYPE_CHECKING:
    from adapt.train.distributed import World
    from adapt.train.prepare import Prepared, Request
    from adapt.train.run import Setting


def finetune(
    *,
    model: str | Path | None = None,
    data: Sequence[str | Path] = (),
    output: str | Path,
    domain: str | None = None,
    general: Sequence[str | Path] = (),
    general_ratio: float | None = None,
    images: str | Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    config: str | Path | None = None,
    accept_test: bool = False,
    accept_new_data: bool = False,
    set: Sequence[str] = (),  # noqa: A002 (the command line's own word)
) -> dict[str, Any]:
    """Tune ``model`` on ``data`` and leave a run in ``output``; returns the plan's summary with the run's losses.

    ``general_ratio`` is general samples per domain sample. ``config`` is a run's config.json: it starts the same run again,
    other arguments over it. Under torchrun its processes train as one, and all but the first return an empty dict. Raises
    UsageError, DataError, or adapt.errors.Stopped after a clean stop on a signal.
    """
    folder = Path(output)
    stored = _stored_config(folder, config, resume)
    if resume and not stored and (model is None or not data):
        raise UsageError(
            f"{folder}: holds no run to resume; start one with 'adapt finetune --model 1b --data train.jsonl --output {folder}'"
        )
    request = make_request(stored, model, data, general, general_ratio, images, domain, accept_test, set)
    _check_folder(folder, resume=resume, dry_run=dry_run)
    if resume and not (folder / "config.json").is_file():  # a kill before a run's first file leaves none: not refused
        progress.say(f"{folder}: no run to resume; starting a new one")
    if resume and (folder / "model" / "config.json").is_file():
        _refuse_changes(request, stored, folder)
        progress.say(f"{folder}: the run is finished; nothing to resume")
        return {} if progress.is_quiet() else {"output": str(folder), "finished": True} | safe.read_json(folder / "plan.json")
    from adapt.train.distributed import join_world
    from adapt.train.run import run_plan, show_plan

    with join_world() as world:
        prepared, setting = _prepare(request, folder, resume, dry_run, world)
        show_plan(prepared, setting.summary, world)
        if dry_run:
            return setting.summary if world.is_main else {}
        return run_plan(prepared, folder, setting, resume=resume, accept_new_data=accept_new_data)


def _refuse_changes(request: "Request", stored: Mapping[str, Any], folder: Path) -> None:
    """Raise UsageError where a finished run is resumed with settings that it did not have."""
    from adapt.train.recipe import recipe_settings
    from adapt.train.run import FREE_SETTINGS

    now, was = recipe_settings(request.recipe), stored["recipe"]
    different = [f"{name} was {was.get(name)}, is {now[name]}" for name in now if now[name] != was.get(name, now[name])]
    different = [each for each in different if each.split(" ")[0] not in FREE_SETTINGS]
    if different:
        raise UsageError(f"{folder}: the run is finished and its recipe was another: {', '.join(different)}; start a new run")


def _prepare(request: "Request", folder: Path, resume: bool, dry_run: bool, world: "World") -> "tuple[Prepared, Setting]":
    import torch

    from adapt.train.budget import resolve
    from adapt.train.optim import check_optimizer
    from adapt.train.prepare import pack_rule, prepare, summary
    from adapt.train.run import Setting, count_parameters, minutes_roughly, precision_of, predictor
    from adapt.train.speed import measured_peak

    started = resume and not dry_run and (folder / "config.json").is_file()
    check_optimizer(request.recipe.train, world.device, world.size)
    with world.main_first():
        prepared = prepare(request, folder / "tokenizer" if started else None)
    precision = precision_of(request.recipe.train, world.device)
    trained, frozen = count_parameters(prepared.config, request.recipe.train)
    predicted = predictor(prepared.config, request.recipe.train, precision, trained, frozen, world)
    before = safe.read_json(folder / "plan.json").get("pack_budget") if started else None
    prepared = resolve(prepared, predicted, world, before)
    rule = pack_rule(prepared.recipe, prepared.config, world.device)
    planned = summary(prepared, trained, frozen, predicted, rule, world.size)
    peak = measured_peak(world.device, precision or torch.float32)
    minutes = minutes_roughly(planned["teraflops"], peak, world.size)
    return prepared, Setting(world, rule, planned | {"minutes_roughly": round(minutes, 2)}, peak, predicted)


def _stored_config(folder: Path, config: str | Path | None, resume: bool) -> dict[str, Any]:
    place = Path(config) if config is not None else folder / "config.json"
    if config is not None and not place.is_file():
        raise no_file(place)
    if config is None and not (resume and place.is_file()):
        return {}
    stored = safe.read_json(place)
    if not isinstance(stored, dict) or "arguments" not in stored or "recipe" not in stored:
        raise DataError(f"{place}: not the config.json of a run (it has no 'arguments' and 'recipe')")
    return stored


def make_request(
    stored: dict[str, Any],
    model: str | Path | None,
    data: Sequence[str | Path],
    general: Sequence[str | Path],
    general_ratio: float | None,
    images: str | Path | None,
    domain: str | None,
    accept_test: bool,
    settings: Sequence[str],
) -> "Request":
    """What a run is asked to be: the arguments over those of the ``stored`` config.json. Raises UsageError."""
    from adapt.train.prepare import Request
    from adapt.train.recipe import make_recipe

    before = stored.get("arguments", {})
    chosen = _chosen_settings(settings, general_ratio)
    name = str(model) if model is not None else before.get("model")
    files = tuple(chat_files([Path(path) for path in (data or before.get("data", ()))]))
    mixed = tuple(chat_files([Path(path) for path in (general or before.get("general", ()))]))
    field = domain if domain is not None else before.get("domain")
    if name is None or not files:
        missing = [flag for flag, given in (("--model", name), ("--data", files)) if not given]
        raise UsageError(f"missing {' and '.join(missing)}")
    if chosen.get("data.general_ratio") and not mixed:
        raise UsageError(
            f"--general-ratio {chosen['data.general_ratio']} without --general: name the general data, or leave the ratio out"
        )
    layers = [stored["recipe"]] if stored else _published_layers(field, name)
    for path in (*files, *mixed):
        if not path.is_file():
            raise no_file(path)
    root = images if images is not None else before.get("images")
    return Request(
        model=name,
        data=files,
        general=mixed,
        images=None if root is None else Path(root),
        domain=field,
        recipe=make_recipe(*layers, chosen),
        accept_test=accept_test or before.get("accept_test", False),
    )


def _chosen_settings(settings: Sequence[str], general_ratio: float | None) -> dict[str, Any]:
    """What ``--set`` and ``--general-ratio`` say, by the recipe's names. Raises UsageError."""
    from adapt.train.recipe import parse_settings

    chosen = parse_settings(settings)
    if general_ratio is not None:
        if not 0 <= general_ratio < float("inf"):
            raise UsageError(f"--general-ratio {general_ratio}: expected 0 or more general samples per domain sample")
        chosen["data.general_ratio"] = general_ratio
    return chosen


def _published_layers(domain: str | None, model: str) -> list[dict[str, Any]]:
    """The field's recipe, and over it that of a preset. Raises UsageError for a field or a model that does not exist."""
    from adapt.model.loading import find_model
    from adapt.train.recipe import PRESET_RECIPES

    field = dict(find_domain(domain).recipe) if domain else {}
    return [field, PRESET_RECIPES.get(find_model(model).config.preset or "", {})]


def _check_folder(folder: Path, *, resume: bool, dry_run: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file; --output takes a folder")
    if not resume and not dry_run and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: not empty; add --resume to go on with its run, or choose another --output")
