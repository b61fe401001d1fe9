"""A prepared run carried out: started or resumed, trained, saved as a model that transformers loads."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from adapt import progress, safe
from adapt.data.mixture import describe_sources
from adapt.data.packing import PackRule
from adapt.errors import DataError, Stopped, UsageError
from adapt.model.config import ModelConfig
from adapt.model.flops import flops_of
from adapt.model.internvl import InternVL
from adapt.model.layouts import from_disk
from adapt.model.loading import load_internvl
from adapt.report.upkeep import write_own_page
from adapt.show import counted
from adapt.train import checkpoint
from adapt.train.distributed import World, shard
from adapt.train.keeper import Keeper
from adapt.train.lock import locked
from adapt.train.log import NoLog, RunLog, read_log
from adapt.train.loop import train
from adapt.train.memory import Memory, Pack, Predictor, predict
from adapt.train.optim import MOMENTS, make_optimizer, restore_moments
from adapt.train.parts import from_adapter_state, set_trained
from adapt.train.prepare import Prepared, description, initial_seed, reader_of, training_flops, write_start
from adapt.train.recipe import LORA, TrainRecipe
from adapt.train.state import Run

# Settings that change a run's cost, not its numbers: a resume may change them.
FREE_SETTINGS = frozenset(
    {
        "train.pack_tokens", "train.pack_tiles", "train.checkpoint_activations", "train.reshard", "train.compile",
        "train.save_every", "train.keep", "train.early_stop", "train.patience", "train.skip_nonfinite", "train.tensorboard",
        "train.wandb", "data.workers", "data.prefetch",
    }
)  # fmt: skip


def count_parameters(config: ModelConfig, recipe: TrainRecipe) -> tuple[int, int]:
    """(weights that train, weights that do not), adapters among the first, without making them."""
    with torch.device("meta"):
        model = InternVL(config)
        set_trained(model, recipe)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return trained, sum(parameter.numel() for parameter in model.parameters()) - trained


def predictor(
    config: ModelConfig, recipe: TrainRecipe, precision: torch.dtype | None, num_trained: int, num_frozen: int, world: World
) -> Predictor:
    """What a pack will take of one device's memory, by recipe and pack."""

    def predicted(train: TrainRecipe, pack: Pack) -> Memory:
        return predict(
            config, train, pack, precision, num_trained=num_trained, num_frozen=num_frozen, device_type=world.device.type,
            world_size=world.size, reshard=reshards(recipe, num_trained + num_frozen, world),
        )  # fmt: skip

    return predicted


def show_plan(prepared: Prepared, summary: Mapping[str, Any], world: World) -> None:
    """Say what will happen, in a few lines on stderr."""
    samples, pack, memory = summary["samples"], summary["largest_pack"], summary["memory_bytes"]
    lines = [
        *prepared.notes,
        f"{counted(summary['steps'], 'step')} of about {prepared.request.recipe.train.samples_per_step} samples on "
        f"{_devices(world)}: {samples['domain']:,} domain and {samples['general']:,} general samples "
        f"({summary['epochs']['domain']:.2f} and {summary['epochs']['general']:.2f} epochs; "
        f"realised ratio {summary['realised_general_ratio']:.3f})",
        *describe_sources(summary["sources"]),
        f"{counted(summary['trees'], 'tree')} of {summary['samples_per_tree']} questions; {summary['tokens']:,} tokens; "
        f"{counted(summary['tiles'], 'tile')} encoded ({summary['tiles_without_sharing']:,} without sharing); "
        f"{counted(summary['packs'], 'pack')}, {summary['fill']:.0%} full, {summary['padding']:.1%} padding, the largest "
        f"{pack['places']:,} tokens and {counted(pack['tiles'], 'tile')}",
        *_balance(prepared.request.recipe.train, summary),
        f"{summary['parameters'] / 1e6:,.1f} M parameters, {summary['trained_parameters'] / 1e6:,.1f} M of them trained (stage "
        f"{prepared.recipe.train.stage}); memory: {memory['total'] / 2**30:.2f} GiB at the peak, "
        f"{(memory['weights'] + memory['gradients'] + memory['moments']) / 2**30:.2f} GiB of it weights, gradients and "
        f"moments; disk: up to {summary['disk_bytes'] / 2**30:.2f} GiB",
        packing_line(prepared),
        f"{summary['teraflops']:,} TFLOP: {summary['minutes_roughly']:.1f} minutes here, roughly",
    ]
    recipe = prepared.request.recipe.train
    if recipe.precision == "auto" and precision_of(recipe, world.device) is torch.float16:
        lines.append("this GPU has no native bfloat16: computing in float16 with loss scaling")
    for line in lines:
        progress.say(line)


def packing_line(prepared: Prepared) -> str:
    """What bounds the packs, and where that comes from."""
    recipe, free = prepared.recipe.train, prepared.free_bytes
    kept = "computed again in the backward pass" if recipe.checkpoint_activations == "yes" else "kept"
    source = "as set" if recipe == prepared.request.recipe.train else "auto"
    source += "" if free is None else f", from {free / 2**30:.1f} GiB free"
    most = f"{recipe.pack_tokens:,} tokens and {counted(recipe.pack_tiles, 'tile')}"
    return f"packs of at most {most}, activations {kept} ({source})"


def _devices(world: World) -> str:
    return str(world.device) if world.size == 1 else f"{world.size} processes ({world.device.type})"


def _balance(recipe: TrainRecipe, summary: Mapping[str, Any]) -> list[str]:
    """How evenly several devices would work, and a pack length that is filled better."""
    stragglers = ", ".join(f"{share:.1%} on {count}" for count, share in summary["straggler_on"].items())
    lines = [f"straggler (how much longer the busiest device works than the mean): {stragglers} devices"]
    better, now = summary["suggested_pack_tokens"], summary["pack_budget"]["pack_tokens"]
    if better != now:
        lines.append(f"train.pack_tokens={better} would fill packs better than {now:,}; it changes no number of the run")
    if summary["straggler"] > 0.03:
        lines.append(f"a larger train.samples_per_step ({recipe.samples_per_step} now) is spread more evenly")
    return lines


def minutes_roughly(teraflops: float, peak_flops: float, devices: int) -> float:
    """How long the plan takes if every device keeps up half of the matrix throughput that this one shows now."""
    return 2 * teraflops * 1e12 / (peak_flops * devices) / 60


def precision_of(recipe: TrainRecipe, device: torch.device) -> torch.dtype | None:
    """The autocast type, None for float32."""
    if recipe.precision != "auto":
        return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[recipe.precision]
    if device.type == "cpu":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where a prepared run happens: its world, the rule of its packs, the plan in numbers, what the device can do and hold."""

    world: World
    rule: PackRule
    summary: dict[str, Any]
    peak_flops: float
    predicted: Predictor


def run_plan(prepared: Prepared, folder: Path, setting: Setting, *, resume: bool, accept_new_data: bool) -> dict[str, Any]:
    """Train from the newest valid checkpoint, or from the start, to the plan's end."""
    with _deterministic(setting.world.device), contextlib.ExitStack() as held:
        with setting.world.main_first():
            if setting.world.is_main:
                held.enter_context(locked(folder))
        return _run_plan(prepared, folder, setting, resume=resume, accept_new_data=accept_new_data)


@contextlib.contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Deterministic algorithms on a CPU while a run lasts; after it the caller's process is as it was."""
    before, only_warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)


def _run_plan(prepared: Prepared, folder: Path, setting: Setting, *, resume: bool, accept_new_data: bool) -> dict[str, Any]:
    found, accepted = _start(prepared, folder, setting, resume=resume, accept_new_data=accept_new_data)
    run, keeper = _make_run(prepared, folder, setting, found)
    if accepted:
        run.log.write(accepted | {"step": run.step})
    try:
        train(run)
    finally:
        run.log.close()
    if setting.world.is_main and (page := write_own_page(folder)):  # before RUN/model, which says that the run is finished
        progress.say(f"its curves are in {page}")
    keeper.finish(run.step)
    if run.stop_signal:  # whoever started this run, a sweep or a shell script, is not to go on
        raise Stopped(run.stop_signal, f"{folder} is finished all the same")
    if not setting.world.is_main:
        return {}
    rows = read_log(folder)
    losses = [row["loss"] for row in rows if "loss" in row]
    validation = [
        {name: value for name, value in row.items() if name != "event"} for row in rows if row.get("event") == "validation"
    ]
    return setting.summary | {
        "output": str(folder),
        "loss": losses[-1] if losses else None,
        "validation": validation[-1] if validation else None,
    }


def _start(
    prepared: Prepared, folder: Path, setting: Setting, *, resume: bool, accept_new_data: bool
) -> tuple[Path | None, dict[str, Any] | None]:
    """The checkpoint to go on from, and the log's row where its data has changed since; the folder made ready.

    The main process does it; the others hear what it found.
    """
    found, accepted = None, None
    with setting.world.main_first():
        if setting.world.is_main:
            found, accepted = _make_ready(prepared, folder, setting, resume=resume, accept_new_data=accept_new_data)
    return setting.world.gathered((found, accepted))[0]


def _make_ready(
    prepared: Prepared, folder: Path, setting: Setting, *, resume: bool, accept_new_data: bool
) -> tuple[Path | None, dict[str, Any] | None]:
    found = checkpoint.newest_valid(folder / "checkpoints") if resume else None
    if resume:
        progress.say(f"resuming from {found}" if found else f"{folder}: no valid checkpoint; starting from step 0")
    if found:
        accepted = _check_same_run(prepared, folder, found, accept_new_data, setting.world)
        checkpoint.remove_after(folder / "checkpoints", checkpoint.step_of(found))
        return found, accepted
    checkpoint.remove_after(folder / "checkpoints", 0)
    checkpoint.require_space(folder, setting.summary["disk_bytes"])
    write_start(folder, prepared, setting.summary, setting.world)
    return None, None


def _make_run(prepared: Prepared, folder: Path, setting: Setting, found: Path | None) -> tuple[Run, Keeper]:
    """The run at the step of ``found``, or at its start."""
    recipe, world = prepared.recipe, setting.world
    precision = precision_of(recipe.train, world.device)
    scaler = torch.amp.GradScaler(world.device.type, enabled=precision is torch.float16)
    model = _model(prepared)
    stored = _restore_weights(found, model, lora=recipe.train.stage == LORA) if found else Stored()
    reshard = reshards(recipe.train, sum(parameter.numel() for parameter in model.parameters()), world)
    model = model.to(world.device)
    compile_layers(model, recipe.train, world.device)
    shard(model, world, reshard=reshard)
    optimizer = make_optimizer(model, recipe.train)
    if found:
        restore_moments(model, optimizer, stored.moments, stored.state["optimizer_steps"])
        if scaler.is_enabled() and stored.state["scaler"]:
            scaler.load_state_dict(stored.state["scaler"])
    step, best = stored.state.get("step", 0), stored.state.get("best_loss")
    log: RunLog | NoLog = NoLog()
    with world.main_first():  # who cuts what a kill tore off the log; the others read what is left
        if world.is_main:
            log = RunLog(folder, resume_step=step, tensorboard=recipe.train.tensorboard, wandb=recipe.train.wandb)
    validations = [row for row in (read_log(folder) if step else []) if row.get("event") == "validation"]
    best_loss = float("inf") if best is None else best
    flops = flops_of(prepared.config)
    keeper = Keeper(prepared, folder, world, model, optimizer, scaler, best_loss, precision or torch.float32)
    run = Run(
        model=model, optimizer=optimizer, recipe=recipe, plan=prepared.plan,
        reader=reader_of(prepared, setting.rule, world.size), sizes=prepared.sizes, sources=prepared.sources,
        held_out=prepared.held_out, log=log, world=world, rule=setting.rule, flops=flops,
        step_flops=training_flops(flops, recipe.train),
        predicted=setting.predicted,
        peak_flops=setting.peak_flops, autocast=precision, scaler=scaler, reshard=reshard, save=keeper.save,
        save_best=keeper.save_best, step=step, skipped=stored.state.get("skipped", 0), validations=validations,
    )  # fmt: skip
    return run, keeper


def reshards(recipe: TrainRecipe, num_parameters: int, world: World) -> bool:
    """Whether several devices give the whole weights of a layer back after each use: where memory is short."""
    if recipe.reshard != "auto" or world.size == 1 or world.device.type != "cuda":
        return recipe.reshard == "yes"
    whole_bytes = 8 * num_parameters  # weights and gradients in float32
    return whole_bytes > 0.4 * torch.cuda.get_device_properties(world.device).total_memory


def compile_layers(model: InternVL, recipe: TrainRecipe, device: torch.device) -> None:
    """Have torch.compile make kernels of the vision blocks and decoder layers, where asked for or on a GPU."""
    if recipe.compile == "yes" or (recipe.compile == "auto" and device.type == "cuda"):
        for layer in (*model.vision.vit.blocks, *model.language.model.layers):
            layer.compile()


def _model(prepared: Prepared) -> InternVL:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(initial_seed(prepared.request.recipe))
        model = load_internvl(prepared.found, prepared.config)
        set_trained(model, prepared.request.recipe.train)
    if prepared.recipe.train.checkpoint_activations == "yes":
        model.checkpoint_activations()
    return model


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a checkpoint holds beside the weights, by our names; empty where a run starts."""

    moments: dict[str, dict[str, torch.Tensor]] = dataclasses.field(default_factory=dict)
    state: dict[str, Any] = dataclasses.field(default_factory=dict)


def _restore_weights(found: Path, model: InternVL, *, lora: bool) -> Stored:
    """Put the weights of a checkpoint into a model that is not spread yet; with ``lora`` it holds the adapters alone."""
    weights, moments, state = checkpoint.load_checkpoint(found)
    own_names = from_adapter_state if lora else from_disk
    missing = model.load_state_dict(own_names(weights), strict=not lora).missing_keys
    assert not any(".lora_" in name for name in missing), "a checkpoint holds every adapter"
    return Stored({moment: own_names(tensors) if moment in MOMENTS else tensors for moment, tensors in moments.items()}, state)


def _check_same_run(
    prepared: Prepared, folder: Path, found: Path, accept_new_data: bool, world: World
) -> dict[str, Any] | None:
    """Refuse to go on with other data, another recipe, plan or model; say what else differs.

    Raises UsageError for what the command says otherwise than before, DataError for a file that has changed.

    Returns the row that the log keeps where new data was accepted.
    """
    stored, now = safe.read_json(folder / "config.json"), description(prepared, world)
    state = safe.read_json(found / "state.json")  # where new data was accepted before, its checkpoints are of that
    stored |= {name: state[name] for name in ("data_fingerprint", "plan_digest")}
    different = sorted(
        name for name, value in now["recipe"].items() if value != stored["recipe"].get(name) and name not in FREE_SETTINGS
    )
    if different:
        shown = ", ".join(f"{name} was {stored['recipe'].get(name)}, is {now['recipe'][name]}" for name in different)
        raise UsageError(f"{folder}: the recipe changed since the checkpoint: {shown}; give the old values or start a new run")
    was, given = _contents(stored["model"]), _contents(now["model"])
    if was != given:
        raise UsageError(
            f"{folder}: the run started from the model {was}, --model is now {given}; give the old one or start a new run"
        )
    accepted = None
    if stored["data_fingerprint"] != now["data_fingerprint"]:
        message = (
            f"{folder}: the data changed since the checkpoint (fingerprint {stored['data_fingerprint'][:12]} then, "
            f"{now['data_fingerprint'][:12]} now): {_changed_files(stored['files'], now['files'])}"
        )
        if not accept_new_data and (others := _other_files(stored, now)):
            raise UsageError(f"{folder}: {others}; give what it was begun with, or go on with the other by --accept-new-data")
        if not accept_new_data:
            raise DataError(f"{message}; restore it, or go on with it by --accept-new-data")
        progress.say(f"warning: {message}; accepted")
        accepted = {"event": "new data accepted", "was": stored["data_fingerprint"], "is": now["data_fingerprint"]}
    elif stored["plan_digest"] != now["plan_digest"]:
        raise UsageError(
            f"{folder}: the plan changed since the checkpoint (digest {stored['plan_digest'][:12]} then, "
            f"{now['plan_digest'][:12]} now): the files stand in another order or on the other side of --data and --general, "
            "or adapt is another release; give what the run was started with, or start a new run"
        )
    for name in ("threads", "device", "devices", "packages", "python"):
        if stored.get(name) != now[name]:
            progress.say(f"note: {name} was {stored.get(name)}, is {now[name]}: the resumed run is close, not bit for bit")
    return accepted


def _other_files(stored: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How --data and --general name other files than before; '' where they are the same ones, changed or moved.

    A file of another content and another name is another file.
    """
    said = []
    for flag in ("data", "general"):
        was, given = stored["arguments"][flag], now["arguments"][flag]
        changed = [(old, new) for old, new in zip(was, given, strict=False) if stored["files"][old] != now["files"][new]]
        if len(was) != len(given) or any(Path(old).name != Path(new).name for old, new in changed):
            said.append(f"the run was begun with --{flag} {_listed(was)}, --{flag} is now {_listed(given)}")
    return "; ".join(said)


def _listed(paths: Sequence[str]) -> str:
    return " ".join(paths) or "nothing"


def _changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What is known of how the data changed. Files are told apart by their place: a run may have moved with its data."""
    if len(before) != len(now):
        return f"{counted(len(before), 'file')} then, {len(now)} now"
    changed = [
        path + _unchanged_elsewhere(old, path, was)
        for (path, digest), (old, was) in zip(now.items(), before.items(), strict=True)
        if digest != was
    ]
    if changed:
        return f"other content in {', '.join(changed)}"
    return "the JSONL files are as they were, their pictures are not"


def _unchanged_elsewhere(old: str, path: str, digest: str) -> str:
    """A remark where the file that the run was begun with lies elsewhere, as it was: another may have been given for it."""
    is_as_it_was = old != path and Path(old).is_file() and safe.file_sha256(Path(old)) == digest
    return f" ({old}, which the run was begun with, is as it was)" if is_as_it_was else ""


def _contents(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is, wherever it lies: its digests and commit, or its name where it has none."""
    found = {name: value for name, value in provenance.items() if name.endswith("sha256") or name == "commit"}
    return found or dict(provenance)
