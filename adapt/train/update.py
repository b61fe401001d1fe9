"""One step of a run: the gradients of all its packs, clipping, the optimizer; what is not finite never reaches the weights."""

import contextlib
import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from adapt import progress
from adapt.data.loader import loss_weight
from adapt.data.packing import Batch, Piece, RowSizes, piece_flops
from adapt.data.plan import Tree
from adapt.errors import DataError
from adapt.train.distributed import World, prepare_backward
from adapt.train.optim import learning_rate
from adapt.train.speed import peak_bytes
from adapt.train.state import Run

SHOWN_IDS = 8


def denominator(trees: tuple[Tree, ...], sizes: RowSizes, reduction: str) -> float:
    """The sum of the loss weights of a step: known from the plan, the same on any device."""
    counts = (int(sizes.supervised[row]) for tree in trees for row in tree.rows)
    return math.fsum(count * loss_weight(count, reduction) for count in counts)


def update(run: Run, batches: Iterator[Batch], num_packs: int) -> dict[str, Any]:
    """Carry out the next step on this process's ``num_packs`` packs. Returns the log row, an ``event`` where it was skipped.

    ``seconds`` is the whole step, ``wait_seconds`` the part of it that waited for packs to be read. Raises DataError for a
    picture that changed, and for a loss or gradient that is not finite.
    """
    start = time.perf_counter()
    trees = run.plan.steps[run.step]
    total = denominator(trees, run.sizes, run.recipe.train.loss_reduction)
    run.optimizer.zero_grad(set_to_none=True)
    sums_2S, tokens, tiles, waited = _gradients(run, batches, num_packs, total)
    trained = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:  # a step of text alone: the vision tower still decays and ages its moments
            parameter.grad = torch.zeros_like(parameter)
    run.scaler.unscale_(run.optimizer)
    clipped = torch.nn.utils.clip_grad_norm_(trained, run.recipe.train.clip_norm or math.inf)
    norm = float(clipped.full_tensor() if isinstance(clipped, DTensor) else clipped)
    loss = float(sums_2S[0].sum()) / total
    # Loss scaling leaves out steps whose gradients overflow and halves its scale; below 1 it is not the scale that is at fault.
    overflowed = run.scaler.is_enabled() and run.scaler.get_scale() >= 1
    if not math.isfinite(loss) or (not math.isfinite(norm) and not overflowed):
        run.scaler.update()
        return _skip(run, trees, loss, norm)
    rate = learning_rate(run.recipe.train, run.step, len(run.plan))
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    run.scaler.step(run.optimizer)
    run.scaler.update()
    by_source = {
        f"loss/{name}": float(sums_2S[0, i] / sums_2S[1, i]) for i, name in enumerate(run.sources) if float(sums_2S[1, i]) > 0
    }
    seconds = time.perf_counter() - start
    work = sum(piece_flops(Piece(0, tree), run.sizes, run.step_flops) for tree in trees)
    return {
        "loss": loss,
        **by_source,
        "samples": sum(len(tree.rows) for tree in trees),
        "tokens": tokens,
        "tiles": tiles,
        "learning_rate": rate,
        "grad_norm": norm if math.isfinite(norm) else None,
        "seconds": seconds,
        "wait_seconds": waited,
        "mfu": work / seconds / (run.peak_flops * run.world.size),
        "peak_bytes": peak_bytes(run.world.device),
    }


def _gradients(run: Run, batches: Iterator[Batch], num_packs: int, total: float) -> tuple[Tensor, int, int, float]:
    """Add up the gradients of the packs of all processes.

    Returns (float64[2, sources] losses and weights, tokens, tiles; of all processes; seconds that this one waited for data).
    """
    sums_2S = torch.zeros(2, len(run.sources), dtype=torch.float64, device=run.world.device)
    counts, waited, asked = torch.zeros(2, dtype=torch.int64), 0.0, time.perf_counter()
    for number, batch in enumerate(read_together(run.world, batches, num_packs)):
        waited += time.perf_counter() - asked
        counts += torch.tensor([batch.num_tokens, batch.num_tiles])
        prepare_backward(run.model, last=number == num_packs - 1, reshard=run.reshard)
        loss, sums = pack_loss(run, batch.to(run.world.device), total)
        scaled = run.scaler.scale(loss) * run.world.size  # FSDP takes the mean over the processes
        if scaled.requires_grad:  # a pack of text alone has no path to the connector, where that alone is trained
            scaled.backward()
        sums_2S += sums
        asked = time.perf_counter()
    tokens, tiles = run.world.sum(counts).tolist()
    return run.world.sum(sums_2S), tokens, tiles, waited


def read_together(world: World, batches: Iterator[Batch], num_packs: int) -> Iterator[Batch]:
    """The next ``num_packs`` packs of this process.

    Among several all are read before the first is given: where one process cannot read its own, all stop with its reason, and
    none waits for another between packs. Raises DataError for a picture that changed.
    """
    if world.size == 1:
        yield from itertools.islice(batches, num_packs)
        return
    fault, read = None, []
    try:
        read = list(itertools.islice(batches, num_packs))
    except DataError as error:
        fault = str(error)
    world.raise_together(fault)
    yield from read


def pack_loss(run: Run, batch: Batch, total: float) -> tuple[Tensor, Tensor]:
    """(the pack's share of the step's loss, float64[2, sources]: weighted losses and weights by source)."""
    # Each weight is read once a forward pass: autocast's cache would only hold all casts of layers that are computed again.
    casting = torch.autocast(run.world.device.type, dtype=run.autocast, cache_enabled=False)
    with casting if run.autocast else contextlib.nullcontext():
        losses_P = run.model(batch)
    weighted_P = losses_P * batch.target_weights_P.to(losses_P.dtype)
    both_2P = torch.stack([weighted_P.detach().double(), batch.target_weights_P])
    sums_2S = torch.zeros(2, len(run.sources), dtype=torch.float64, device=losses_P.device)
    sums_2S.index_add_(1, batch.target_sources_P, both_2P)
    return weighted_P.sum() / total, sums_2S


def _skip(run: Run, trees: tuple[Tree, ...], loss: float, norm: float) -> dict[str, Any]:
    """Leave the weights as they are: an event for the log while the budget lasts. Raises DataError when it is spent."""
    index = run.reader.index
    names = [index.fields(row)["id"] for tree in trees for row in tree.rows]
    shown = ", ".join(names[:SHOWN_IDS]) + (f" and {len(names) - SHOWN_IDS} more" if len(names) > SHOWN_IDS else "")
    budget = run.recipe.train.skip_nonfinite
    found = f"step {run.step + 1}: loss {loss}, gradient norm {norm}; the weights were left as they were. Records: {shown}"
    if run.skipped >= budget:
        spent = f" (train.skip_nonfinite={budget} are spent)" if budget else ""
        run.world.raise_together(
            f"{found}{spent}. Lower train.learning_rate, look at these records with 'adapt check', or leave out so many such "
            "steps with train.skip_nonfinite=N"
        )
    run.skipped += 1
    progress.say(f"warning: {found}; skipped, {run.skipped} of train.skip_nonfinite={budget}")
    return {"event": "skipped", "loss_was": str(loss), "grad_norm_was": str(norm), "records": names}
