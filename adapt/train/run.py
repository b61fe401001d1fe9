"""A prepared run carried out: started or resumed, trained, saved as a model that transformers loads."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from adapt import progress, safe
from adapt.errors import DataError, UsageError
from adapt.model.config import ModelConfig
from adapt.model.internvl import InternVL
from adapt.model.layouts import from_disk, to_disk
from adapt.model.loading import load_internvl
from adapt.model.saving import save_model
from adapt.train import checkpoint
from adapt.train.lock import locked
from adapt.train.log import RunLog, read_log
from adapt.train.loop import Run, train
from adapt.train.optim import make_optimizer, moments, restore_moments, steps_taken
from adapt.train.parts import adapter_state, from_adapter_state, merged_state, save_adapter, set_trained
from adapt.train.prepare import Prepared, description, initial_seed, reader_of, write_start
from adapt.train.recipe import LORA, TrainRecipe

# Settings that change a run's cost, not its numbers: a resume may change them.
FREE_SETTINGS = frozenset(
    {
        "train.pack_tokens", "train.pack_tiles", "train.checkpoint_activations", "train.save_every", "train.keep",
        "train.tensorboard", "data.workers", "data.prefetch",
    }
)  # fmt: skip


def count_parameters(config: ModelConfig, recipe: TrainRecipe) -> tuple[int, int]:
    """(weights that train, weights that do not), adapters among the first, without making them."""
    with torch.device("meta"):
        model = InternVL(config)
        set_trained(model, recipe)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return trained, sum(parameter.numel() for parameter in model.parameters()) - trained


def show_plan(prepared: Prepared, summary: Mapping[str, Any], device: torch.device) -> None:
    """Say what will happen, in a few lines on stderr."""
    samples, pack, memory = summary["samples"], summary["largest_pack"], summary["memory_bytes"]
    lines = [
        *prepared.notes,
        f"{summary['steps']:,} steps of about {prepared.request.recipe.train.samples_per_step} samples on {device}: "
        f"{samples['domain']:,} domain and {samples['general']:,} general samples "
        f"({summary['epochs']['domain']:.2f} and {summary['epochs']['general']:.2f} epochs; "
        f"realised ratio {summary['realised_general_ratio']:.3f})",
        f"{summary['trees']:,} trees of {summary['samples_per_tree']} questions; {summary['tokens']:,} tokens; "
        f"{summary['tiles']:,} tiles encoded ({summary['tiles_without_sharing']:,} without sharing); "
        f"{summary['packs']:,} packs, {summary['padding']:.1%} padding, the largest {pack['places']:,} tokens "
        f"and {pack['tiles']} tiles",
        f"{summary['parameters'] / 1e6:,.1f} M parameters, {summary['trained_parameters'] / 1e6:,.1f} M of them trained (stage "
        f"{prepared.request.recipe.train.stage}); memory: {memory['weights_gradients_moments'] / 2**30:.2f} GiB of "
        f"weights, gradients and moments, about {memory['activations_roughly'] / 2**30:.2f} GiB of activations; "
        f"disk: up to {summary['disk_bytes'] / 2**30:.2f} GiB",
        f"{summary['teraflops']:,} TFLOP: {summary['minutes_roughly']:.1f} minutes here, roughly",
    ]
    recipe = prepared.request.recipe.train
    if recipe.precision == "auto" and precision_of(recipe, device) is torch.float16:
        lines.append("this GPU has no native bfloat16: computing in float16 with loss scaling")
    for line in lines:
        progress.say(line)


def minutes_roughly(teraflops: float, precision: torch.dtype | None, device: torch.device) -> float:
    """How long the plan takes if the device keeps up half of the matrix throughput that it shows now, for a moment."""
    square = torch.ones(1024, 1024, dtype=precision or torch.float32, device=device)
    for _ in range(2):  # the first round warms up
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < 0.1:
            done += 1
            (square @ square)[0, 0].item()
        per_second = done * 2 * 1024**3 / (time.perf_counter() - start)
    return 2 * teraflops * 1e12 / per_second / 60


def precision_of(recipe: TrainRecipe, device: torch.device) -> torch.dtype | None:
    """The autocast type, None for float32."""
    if recipe.precision != "auto":
        return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[recipe.precision]
    if device.type == "cpu":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def run_plan(
    prepared: Prepared, folder: Path, device: torch.device, summary: Mapping[str, Any], *, resume: bool, accept_new_data: bool
) -> dict[str, Any]:
    """Train from the newest valid checkpoint, or from the start, to the plan's end."""
    with _deterministic(device), locked(folder):
        return _run_plan(prepared, folder, device, summary, resume=resume, accept_new_data=accept_new_data)


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


def _run_plan(
    prepared: Prepared, folder: Path, device: torch.device, summary: Mapping[str, Any], *, resume: bool, accept_new_data: bool
) -> dict[str, Any]:
    recipe = prepared.request.recipe
    found = checkpoint.newest_valid(folder / "checkpoints") if resume else None
    if resume:
        progress.say(f"resuming from {found}" if found else f"{folder}: no valid checkpoint; starting from step 0")
    accepted = None
    if found:
        accepted = _check_same_run(prepared, folder, accept_new_data, device)
        checkpoint.remove_after(folder / "checkpoints", checkpoint.step_of(found))
    else:
        checkpoint.remove_after(folder / "checkpoints", 0)
        checkpoint.require_space(folder, summary["disk_bytes"])
        write_start(folder, prepared, summary, device)
    model = _model(prepared).to(device)
    optimizer = make_optimizer(model, recipe.train)
    precision = precision_of(recipe.train, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision is torch.float16)
    step, best = 0, float("inf")
    if found:
        step, best = _restore(found, model, optimizer, scaler, lora=recipe.train.stage == LORA)
    log = RunLog(folder, resume_step=step, tensorboard=recipe.train.tensorboard)
    if accepted:
        log.write(accepted | {"step": step})
    keeper = _Keeper(prepared, folder, model, optimizer, scaler, best, precision or torch.float32)
    run = Run(
        model=model, optimizer=optimizer, recipe=recipe, plan=prepared.plan, reader=reader_of(prepared), sizes=prepared.sizes,
        sources=prepared.sources, held_out=prepared.held_out, log=log, device=device, autocast=precision, scaler=scaler,
        save=keeper.save, save_best=keeper.save_best, step=step,
    )  # fmt: skip
    try:
        train(run)
    finally:
        log.close()
    if recipe.train.stage == LORA:  # before RUN/model, which says that the run is finished
        save_adapter(folder / "adapter", model, recipe.train, prepared.found)
        progress.say(f"the adapters are {folder / 'adapter'}; peft loads them onto the base in transformers' layout")
    keeper.write_model(folder / "model", run.step)
    progress.say(f"the tuned model is {folder / 'model'}; transformers loads it as it is")
    _write_report(folder)
    rows = read_log(folder)
    losses = [row["loss"] for row in rows if "loss" in row]
    validation = [
        {name: value for name, value in row.items() if name != "event"} for row in rows if row.get("event") == "validation"
    ]
    return dict(summary) | {"output": str(folder), "loss": losses[-1], "validation": validation[-1] if validation else None}


def _write_report(folder: Path) -> None:
    """RUN/report.html. The run is whole without it, so a fault in what lies in the folder is said and stops nothing."""
    from adapt.evaluate.report import write_report

    try:
        progress.say(f"its curves are in {write_report([folder], folder / 'report.html')}")
    except (DataError, UsageError) as error:
        progress.say(f"warning: no report was written: {error}")


def _model(prepared: Prepared) -> InternVL:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(initial_seed(prepared.request.recipe))
        model = load_internvl(prepared.found, prepared.config)
        set_trained(model, prepared.request.recipe.train)
    recipe = prepared.request.recipe.train
    if recipe.checkpoint_activations:
        model.vision.checkpointing = True
        model.language.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _restore(
    found: Path, model: InternVL, optimizer: torch.optim.AdamW, scaler: torch.amp.GradScaler, *, lora: bool
) -> tuple[int, float]:
    """Weights, moments and scale of a checkpoint; with ``lora`` it holds the adapters alone. Returns (step, best loss)."""
    weights, stored, state = checkpoint.load_checkpoint(found)
    own_names = from_adapter_state if lora else from_disk
    missing = model.load_state_dict(own_names(weights), strict=not lora).missing_keys
    assert not any(".lora_" in name for name in missing), "a checkpoint holds every adapter"
    restore_moments(
        model, optimizer, {moment: own_names(tensors) for moment, tensors in stored.items()}, state["optimizer_steps"]
    )
    if scaler.is_enabled() and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    return state["step"], float("inf") if state["best_loss"] is None else state["best_loss"]


def _check_same_run(prepared: Prepared, folder: Path, accept_new_data: bool, device: torch.device) -> dict[str, Any] | None:
    """Refuse to go on with other data, another recipe, plan or model; say what else differs. Raises DataError.

    Returns the row that the log keeps where new data was accepted.
    """
    stored, now = safe.read_json(folder / "config.json"), description(prepared, device)
    different = sorted(
        name for name, value in now["recipe"].items() if value != stored["recipe"].get(name) and name not in FREE_SETTINGS
    )
    if different:
        shown = ", ".join(f"{name} was {stored['recipe'].get(name)}, is {now['recipe'][name]}" for name in different)
        raise DataError(f"{folder}: the recipe changed since the checkpoint: {shown}; give the old values or start a new run")
    was, found = _contents(stored["model"]), _contents(now["model"])
    if was != found:
        raise DataError(
            f"{folder}: the run started from the model {was}, --model is now {found}; give the old one or start a new run"
        )
    accepted = None
    if stored["data_fingerprint"] != now["data_fingerprint"]:
        message = (
            f"{folder}: the data changed since the checkpoint (fingerprint {stored['data_fingerprint'][:12]} then, "
            f"{now['data_fingerprint'][:12]} now)"
        )
        if not accept_new_data:
            raise DataError(f"{message}; restore it, or go on with it by --accept-new-data")
        progress.say(f"warning: {message}; accepted")
        accepted = {"event": "new data accepted", "was": stored["data_fingerprint"], "is": now["data_fingerprint"]}
    elif stored["plan_digest"] != now["plan_digest"]:
        raise DataError(
            f"{folder}: the plan changed since the checkpoint (digest {stored['plan_digest'][:12]} then, "
            f"{now['plan_digest'][:12]} now): the files stand in another order or on the other side of --data and --general, "
            "or adapt is another release; give what the run was started with, or start a new run"
        )
    for name in ("threads", "device", "packages", "python"):
        if stored[name] != now[name]:
            progress.say(f"note: {name} was {stored[name]}, is {now[name]}: the resumed run is close, not bit for bit")
    return accepted


def _contents(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is, wherever it lies: its digests and commit, or its name where it has none."""
    found = {name: value for name, value in provenance.items() if name.endswith("sha256") or name == "commit"}
    return found or dict(provenance)


class _Keeper:
    """Saves checkpoints, the best model and the last one; remembers the best loss."""

    def __init__(
        self,
        prepared: Prepared,
        folder: Path,
        model: InternVL,
        optimizer: torch.optim.AdamW,
        scaler: torch.amp.GradScaler,
        best: float,
        dtype: torch.dtype,
    ) -> None:
        self._prepared, self._folder, self._model = prepared, folder, model
        self._optimizer, self._scaler, self._best, self._dtype = optimizer, scaler, best, dtype

    def save(self, step: int) -> None:
        """Write the checkpoint of ``step``."""
        state = {
            "step": step,
            "optimizer_steps": steps_taken(self._optimizer),
            "plan_digest": self._prepared.plan.digest,
            "data_fingerprint": self._prepared.index.fingerprint,
            "best_loss": self._best if self._best < float("inf") else None,
            "scaler": self._scaler.state_dict(),
        }
        recipe = self._prepared.request.recipe.train
        disk_names = adapter_state if recipe.stage == LORA else to_disk
        stored = {moment: disk_names(tensors) for moment, tensors in moments(self._model, self._optimizer).items()}
        weights = disk_names(self._model.state_dict())
        checkpoint.save_checkpoint(self._folder / "checkpoints", step, weights, stored, state, recipe.keep)

    def save_best(self, step: int, loss: float) -> None:
        """Write RUN/best when ``loss`` is the lowest so far."""
        if loss < self._best:
            self._best = loss
            self.write_model(self._folder / "best", step)

    def write_model(self, folder: Path, step: int) -> None:
        """Write a folder that transformers loads, in the type that the run computed in."""
        prepared = self._prepared
        provenance = {
            "base": prepared.found.provenance,
            "step": step,
            "domain": prepared.request.domain,
            "data": [path.name for path in prepared.request.data],
            "general": [path.name for path in prepared.request.general],
            "data_fingerprint": prepared.index.fingerprint,
        }
        state = merged_state(self._model)
        save_model(folder, prepared.config, state, prepared.tokenizer, dtype=self._dtype, provenance=provenance)
