"""The loop: for each step of the plan its packs, the loss over all of them, one update, a line in the log.

``step`` counts finished updates: the row of the first update says 1, and ``step-000001`` is the checkpoint after it.
"""

import contextlib
import itertools
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from adapt import progress
from adapt.data.loader import PackReader, PackRequest, load_packs, loss_weight
from adapt.data.packing import Batch, RowSizes, pack_step
from adapt.data.plan import Plan, Tree
from adapt.errors import DataError, Stopped
from adapt.model.internvl import InternVL
from adapt.train.log import RunLog
from adapt.train.optim import learning_rate
from adapt.train.prepare import pack_budget
from adapt.train.recipe import Recipe


@dataclass
class Run:
    """All that a running step needs, and what it changes."""

    model: InternVL
    optimizer: torch.optim.AdamW
    recipe: Recipe
    plan: Plan
    reader: PackReader
    sizes: RowSizes
    sources: tuple[str, ...]
    held_out: dict[str, tuple[tuple[Tree, ...], ...]]
    log: RunLog
    device: torch.device
    autocast: torch.dtype | None
    scaler: torch.amp.GradScaler
    save: Callable[[int], None]
    save_best: Callable[[int, float], None]
    step: int = 0
    stop_signal: int = field(default=0)


def denominator(trees: tuple[Tree, ...], sizes: RowSizes, reduction: str) -> float:
    """The sum of the loss weights of a step: known from the plan, the same on any device."""
    counts = (int(sizes.supervised[row]) for tree in trees for row in tree.rows)
    return math.fsum(count * loss_weight(count, reduction) for count in counts)


def requests(steps: tuple[tuple[Tree, ...], ...], run: Run, first: int, *, training: bool) -> list[list[PackRequest]]:
    """The packs of every step from ``first``."""
    budget = pack_budget(run.recipe, run.model.config)
    return [
        [PackRequest(number if training else None, tuple(pack)) for pack in pack_step(steps[number], run.sizes, **budget)]
        for number in range(first, len(steps))
    ]


def train(run: Run) -> None:
    """Run the plan from ``run.step`` to its end, saving and measuring on the way. Raises Stopped after a clean stop."""
    packs = requests(run.plan.steps, run, run.step, training=True)
    batches = load_packs(
        run.reader,
        [request for step in packs for request in step],
        workers=run.recipe.data.workers,
        prefetch=run.recipe.data.prefetch,
    )
    every = run.recipe.train.validate_every or max(1, len(run.plan) // 10)
    run.model.train()
    began, samples = time.monotonic(), 0
    with _clean_stop(run), progress.meter("step", len(run.plan), run.step) as shown:
        for step in packs:
            trees = run.plan.steps[run.step]
            with _memory(run, trees):
                row = update(run, itertools.islice(batches, len(step)), trees)
            run.step += 1
            run.log.write({"step": run.step} | row)
            samples += row["samples"]
            shown(run.step, f"loss {row['loss']:.4f}  {samples / (time.monotonic() - began):.0f} samples/s")
            last = run.step == len(run.plan)
            if run.step % every == 0 or last:
                validate(run)
            if run.step % run.recipe.train.save_every == 0 or last or run.stop_signal:
                run.save(run.step)
            if run.stop_signal and not last:
                raise Stopped(run.stop_signal, "the step is whole and saved; go on with --resume")


def update(run: Run, batches: Iterator[Batch], trees: tuple[Tree, ...]) -> dict[str, Any]:
    """One step: gradients of all its packs, one pack at a time, clipping, AdamW. Returns the log row.

    ``seconds`` is the whole step, ``wait_seconds`` the part of it that waited for packs to be read.
    """
    start, waited = time.perf_counter(), 0.0
    tokens = tiles = 0
    rate = learning_rate(run.recipe.train, run.step, len(run.plan))
    total = denominator(trees, run.sizes, run.recipe.train.loss_reduction)
    sums_2S = torch.zeros(2, len(run.sources), dtype=torch.float64)
    run.optimizer.zero_grad(set_to_none=True)
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        tokens, tiles = tokens + batch.num_tokens, tiles + len(batch.tiles_NCHW)
        loss, sums = pack_loss(run, batch.to(run.device), total)
        scaled = run.scaler.scale(loss)
        if scaled.requires_grad:  # a pack of text alone has no path to the connector, where that alone is trained
            scaled.backward()
        sums_2S += sums.cpu()
    trained = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:  # a step of text alone: the vision tower still decays and ages its moments
            parameter.grad = torch.zeros_like(parameter)
    run.scaler.unscale_(run.optimizer)
    norm = float(torch.nn.utils.clip_grad_norm_(trained, run.recipe.train.clip_norm or math.inf))
    loss_value = float(sums_2S[0].sum()) / total
    if not math.isfinite(loss_value) or (not math.isfinite(norm) and not run.scaler.is_enabled()):
        raise DataError(_not_finite(run, trees, loss_value, norm))
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    run.scaler.step(run.optimizer)
    run.scaler.update()
    by_source = {
        f"loss/{name}": float(sums_2S[0, i] / sums_2S[1, i]) for i, name in enumerate(run.sources) if float(sums_2S[1, i]) > 0
    }
    return {
        "loss": loss_value,
        **by_source,
        "samples": sum(len(tree.rows) for tree in trees),
        "tokens": tokens,
        "tiles": tiles,
        "learning_rate": rate,
        "grad_norm": norm if math.isfinite(norm) else None,
        "seconds": time.perf_counter() - start,
        "wait_seconds": waited,
    }


@contextlib.contextmanager
def _memory(run: Run, trees: tuple[Tree, ...]) -> Iterator[None]:
    """Say what did not fit the device, and which knobs make it smaller."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        tokens = sum(run.sizes.tokens(tree.rows) for tree in trees)
        tiles = sum(int(run.sizes.tiles[tree.rows[0]]) for tree in trees)
        recipe = run.recipe.train
        raise DataError(
            f"step {run.step + 1} ({tokens:,} tokens, {tiles:,} tiles in packs of at most {recipe.pack_tokens:,} and "
            f"{recipe.pack_tiles:,}) does not fit the memory of {run.device}; lower train.pack_tokens={recipe.pack_tokens} or "
            f"train.pack_tiles={recipe.pack_tiles}"
            + ("" if recipe.checkpoint_activations else ", or set train.checkpoint_activations=yes")
            + "; --resume goes on with other values of these"
        ) from error


def pack_loss(run: Run, batch: Batch, total: float) -> tuple[Tensor, Tensor]:
    """(the pack's share of the step's loss, float64[2, sources]: weighted losses and weights by source)."""
    with torch.autocast(run.device.type, dtype=run.autocast) if run.autocast else contextlib.nullcontext():
        losses_P = run.model(batch)
    weighted_P = losses_P * batch.target_weights_P.to(losses_P.dtype)
    both_2P = torch.stack([weighted_P.detach().double(), batch.target_weights_P])
    sums_2S = torch.zeros(2, len(run.sources), dtype=torch.float64, device=losses_P.device)
    sums_2S.index_add_(1, batch.target_sources_P, both_2P)
    return weighted_P.sum() / total, sums_2S


def _not_finite(run: Run, trees: tuple[Tree, ...], loss: float, norm: float) -> str:
    ids = run.reader.index.table["id"]
    names = [ids[row] for tree in trees for row in tree.rows]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return (
        f"step {run.step + 1}: loss {loss}, gradient norm {norm}; the weights were left as they were. Records: {shown}. "
        "Lower train.learning_rate, or look at these records with 'adapt check'"
    )


@torch.no_grad()
def validate(run: Run) -> dict[str, float]:
    """Losses on the held-out splits, logged as an event row; the best domain loss so far saves RUN/best."""
    run.model.eval()
    found: dict[str, float] = {}
    for name, steps in run.held_out.items():
        packs = [request for step in requests(steps, run, 0, training=False) for request in step]
        sums_2S = torch.zeros(2, len(run.sources), dtype=torch.float64)
        for batch in load_packs(run.reader, packs, workers=0, prefetch=0):
            sums_2S += pack_loss(run, batch.to(run.device), 1.0)[1].cpu()
        found[f"{name}_loss"] = value = float(sums_2S[0].sum() / sums_2S[1].sum())
        if not math.isfinite(value):
            raise DataError(
                f"step {run.step}: the held-out loss of the {name} data is {value}; lower train.learning_rate and start a "
                "new run"
            )
    run.model.train()
    if found:
        run.log.write({"event": "validation", "step": run.step} | found)
        progress.say(f"step {run.step:,}: held-out " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    if "domain_loss" in found:
        run.save_best(run.step, found["domain_loss"])
    return found


@contextlib.contextmanager
def _clean_stop(run: Run) -> Iterator[None]:
    """The first SIGTERM or Ctrl-C finishes the step and saves; the second acts as if nobody listened."""

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        run.stop_signal = number
        progress.say("stopping after this step; once more to stop at once")
        for each in before:
            signal.signal(each, before[each])

    # Handlers can be set in the main thread only; elsewhere the caller's stay.
    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
