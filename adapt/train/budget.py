"""How much a pack may hold: chosen from the device's free memory where the recipe says auto, and explained where it ran out.

A pack's budget and checkpointed activations change the cost of a step and nothing else, so they may be chosen anew on another
device; which rows are trained on never depends on them.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from adapt import progress
from adapt.data.packing import PackRule, Piece, RowSizes, pack_places
from adapt.data.plan import Tree
from adapt.errors import DataError
from adapt.train.distributed import World
from adapt.train.memory import Memory, Pack, Predictor, pack_shape
from adapt.train.prepare import Prepared
from adapt.train.recipe import LORA, TrainRecipe
from adapt.train.speed import peak_bytes

MOST_TOKENS, MOST_TILES = 16384, 48
BUSY_TOKENS = 4096  # packs smaller than this leave a GPU idle: activations are computed again rather than that
_PARTS = tuple(share / 8 for share in range(8, 0, -1)) + (1 / 16, 0.0)
# Of what is free: allocators lose some of it between blocks, and on a CPU other programs need theirs.
USABLE = {"cuda": 0.92, "cpu": 0.8}
_ONEDNN = ("could not create a primitive", "could not execute a primitive")
_CHOSEN = ("pack_tokens", "pack_tiles", "checkpoint_activations")


@dataclasses.dataclass(frozen=True)
class Demand:
    """What a plan asks of its packs: its longest sample (in places of a pack), tree and step in tokens, the tiles of its
    largest record and step, the supervised tokens of a step."""

    sample_tokens: int
    record_tiles: int
    tree_tokens: int
    step_tokens: int
    step_tiles: int
    step_predicted: int

    def worst(self, tokens: int, tiles: int, *, one_row: bool) -> Pack:
        """The costliest pack that a budget of ``tokens`` and ``tiles`` can lead to; padding at most doubles a step."""
        places = min(tokens, 2 * self.step_tokens)
        length = places if one_row else min(tokens, self.tree_tokens)
        return Pack(places, length, min(tiles, self.step_tiles), min(places, self.step_predicted))


def demand_of(
    steps: Sequence[Sequence[Tree]], held_out: Iterable[Sequence[Sequence[Tree]]], sizes: RowSizes, *, one_row: bool
) -> Demand:
    """The demand of a plan; held-out rows must fit too, but leave nothing for a backward pass."""
    rows = {row for step in itertools.chain(steps, *held_out) for tree in step for row in tree.rows}
    return Demand(
        sample_tokens=pack_places([max(sizes.tokens((row,)) for row in rows)], one_row=one_row),
        record_tiles=max(int(sizes.tiles[row]) for row in rows),
        tree_tokens=max(sizes.tokens(tree.rows) for step in steps for tree in step),
        step_tokens=max(sum(sizes.tokens(tree.rows) for tree in step) for step in steps),
        step_tiles=max(sum(int(sizes.tiles[tree.rows[0]]) for tree in step) for step in steps),
        step_predicted=max(sum(int(sizes.supervised[row]) for tree in step for row in tree.rows) for step in steps),
    )


def free_bytes(device: torch.device) -> int | None:
    """What the device could still give to this process; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [value for value in (_available_on_host(), _left_in_group()) if value is not None]
    return min(found, default=None)


def _available_on_host() -> int | None:
    place = Path("/proc/meminfo")
    if not place.is_file():
        return None
    lines = [line.split() for line in place.read_text().splitlines() if line.startswith("MemAvailable:")]
    return int(lines[0][1]) * 1024 if lines else None


def _left_in_group() -> int | None:
    """What the control group of a container or a job leaves; its file cache is given up when needed."""
    group = Path("/sys/fs/cgroup")
    limit, used, details = (group / f"memory.{name}" for name in ("max", "current", "stat"))
    if not all(path.is_file() for path in (limit, used, details)) or limit.read_text().strip() == "max":
        return None
    cached = [int(line.split()[1]) for line in details.read_text().splitlines() if line.startswith("inactive_file ")]
    return int(limit.read_text()) - int(used.read_text()) + sum(cached)


def resolve(prepared: Prepared, predicted: Predictor, world: World, before: Mapping[str, Any] | None = None) -> Prepared:
    """``prepared`` with numbers where its recipe says auto: the largest packs that every device of ``world`` has room for.

    ``before`` is what the run chose when it started (``pack_budget`` of its plan.json): taken again where it still fits, so
    that a resumed run has the same packs to the last bit. Raises DataError where nothing fits a GPU; on a CPU says so.
    """
    recipe, device_type = prepared.request.recipe.train, world.device.type
    one_row = device_type == "cuda"
    demand = demand_of(prepared.plan.steps, prepared.held_out.values(), prepared.sizes, one_row=one_row)
    if 0 < recipe.pack_tokens < demand.sample_tokens:  # the rows themselves fit (adapt.train.prepare): it is the rounding up
        raise DataError(
            f"{_largest_row(prepared)}: its tokens in whole attention blocks are {demand.sample_tokens:,} places, more than "
            f"train.pack_tokens={recipe.pack_tokens:,}; raise it to {demand.sample_tokens:,} or more, or lower data.max_tiles"
        )
    found = [value for value in world.gathered(free_bytes(world.device)) if value is not None]
    free = min(found, default=None)
    if free is not None and device_type == "cpu":
        free //= world.size  # they share it
    fitting = Fitting(demand, predicted, device_type, None if free is None else int(USABLE[device_type] * free))
    again = None if before is None else _again(recipe, before, demand)
    if again is not None and fitting.fits(again):
        chosen = again
    else:
        chosen = choose(recipe, fitting)
        if again is not None and again != chosen:
            progress.say("note: the packs of the start do not fit here now; with other packs a run is close, not bit for bit")
    whole = dataclasses.replace(prepared.recipe, train=chosen)
    return dataclasses.replace(prepared, recipe=whole, free_bytes=free if chosen != recipe else None)


def _largest_row(prepared: Prepared) -> str:
    """``file:line`` of the plan's longest row."""
    steps = itertools.chain(prepared.plan.steps, *prepared.held_out.values())
    rows = {row for step in steps for tree in step for row in tree.rows}
    return prepared.index.where(max(rows, key=lambda row: prepared.sizes.tokens((row,))))


@dataclasses.dataclass(frozen=True)
class Fitting:
    """Whether recipes fit a device; ``usable`` None: nobody knows, and all do."""

    demand: Demand
    predicted: Predictor
    device_type: str
    usable: int | None

    def peak(self, recipe: TrainRecipe) -> Memory:
        one_row = self.device_type == "cuda"
        return self.predicted(recipe, self.demand.worst(recipe.pack_tokens, recipe.pack_tiles, one_row=one_row))

    def fits(self, recipe: TrainRecipe) -> bool:
        return self.usable is None or self.peak(recipe).total <= self.usable


def choose(recipe: TrainRecipe, fitting: Fitting) -> TrainRecipe:
    """``recipe`` with numbers in place of auto. Raises DataError where not even the smallest pack fits a GPU.

    What the recipe sets itself is kept, and only warned of where it seems too large: a prediction may be wrong.
    """
    candidates = list(_candidates(recipe, fitting.demand))
    for candidate in candidates:
        if fitting.fits(candidate):
            return candidate
    smallest = min(candidates, key=lambda each: fitting.peak(each).total)
    message = _nothing_fits(smallest, fitting)
    if fitting.device_type != "cpu" and smallest != recipe:
        raise DataError(message)
    progress.say(f"warning: {message}")
    return smallest


def _candidates(recipe: TrainRecipe, demand: Demand) -> Iterator[TrainRecipe]:
    """Activations kept, from the largest packs down to those that keep a device busy; then checkpointed, down to the least."""
    auto = recipe.checkpoint_activations == "auto"
    for checkpoint in ("no", "yes") if auto else (recipe.checkpoint_activations,):
        for part in _PARTS:
            tokens = recipe.pack_tokens or max(demand.sample_tokens, int(MOST_TOKENS * part))
            tiles = recipe.pack_tiles or max(demand.record_tiles, int(MOST_TILES * part), 1)
            idle = not recipe.pack_tokens and tokens < min(BUSY_TOKENS, demand.step_tokens)
            if not (auto and checkpoint == "no" and idle):
                yield dataclasses.replace(recipe, pack_tokens=tokens, pack_tiles=tiles, checkpoint_activations=checkpoint)
            if recipe.pack_tokens and recipe.pack_tiles:
                break


def _again(recipe: TrainRecipe, stored: Mapping[str, Any], demand: Demand) -> TrainRecipe | None:
    """What the run chose before, where the recipe leaves it open; None where it does not hold the plan's largest row."""
    open_ = [name for name in _CHOSEN if getattr(recipe, name) in (0, "auto")]
    if not open_ or any(name not in stored for name in open_):
        return None
    found = dataclasses.replace(recipe, **{name: stored[name] for name in open_})
    return found if found.pack_tokens >= demand.sample_tokens and found.pack_tiles >= demand.record_tiles else None


def _nothing_fits(recipe: TrainRecipe, fitting: Fitting) -> str:
    peak, demand = fitting.peak(recipe), fitting.demand
    knobs = [f"train.{name}" for name in ("pack_tokens", "pack_tiles") if _is_above(recipe, name, demand)]
    knobs += ["train.checkpoint_activations=yes"] if recipe.checkpoint_activations == "no" else []
    for optimizer in ("adamw8bit", "adamw-offload") if recipe.optimizer == "adamw" else ():
        lighter = fitting.peak(dataclasses.replace(recipe, optimizer=optimizer)).total
        alone = int(os.environ.get("WORLD_SIZE", "1")) == 1  # several devices share AdamW's moments out instead
        if alone and lighter < peak.total and (optimizer, fitting.device_type) != ("adamw-offload", "cpu"):
            knobs.append(f"train.optimizer={optimizer} ({_gib(lighter)})")
    knobs += ["data.max_tiles"] if demand.record_tiles > 1 else []
    knobs += ["train.stage=lora"] if recipe.stage != LORA else []
    return (
        f"a step needs {_gib(peak.total)} and {_gib(fitting.usable or 0)} can be used: weights, gradients and moments "
        f"{_gib(peak.weights + peak.gradients + peak.moments)}, the rest for packs of {recipe.pack_tokens:,} tokens and "
        f"{recipe.pack_tiles} tiles; less is needed with {', '.join(knobs) or 'a smaller model'}"
    )


def _is_above(recipe: TrainRecipe, name: str, demand: Demand) -> bool:
    least = {"pack_tokens": demand.sample_tokens, "pack_tiles": demand.record_tiles}
    return bool(getattr(recipe, name) > least[name])


def _gib(number: float) -> str:
    return f"{number / 2**30:.2f} GiB"


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out: of a GPU, of torch on a CPU, or of Python.

    oneDNN, which computes for torch on a CPU, names no reason when it gets no memory for its code or its scratch space.
    """
    said = str(error)
    on_cpu = isinstance(error, RuntimeError) and "CPUAllocator: " in said and "you tried to allocate" in said
    of_onednn = isinstance(error, RuntimeError) and said in _ONEDNN
    return on_cpu or of_onednn or isinstance(error, torch.OutOfMemoryError | MemoryError)


def explain(
    step: int,
    packs: Sequence[Sequence[Piece]],
    sizes: RowSizes,
    rule: PackRule,
    recipe: TrainRecipe,
    predicted: Predictor,
    world: World,
) -> str:
    """What a step took that did not fit, and the settings that make it smaller and leave the run's numbers as they are."""
    packs = [pack for pack in packs if pack]
    shapes = [pack_shape(pack, sizes, rule) for pack in packs]
    peak, largest = max(((predicted(recipe, shape).total, shape) for shape in shapes), key=lambda each: each[0])
    ways = _ways(recipe, largest, _least(packs, sizes, rule), predicted)
    remedy = (
        f"set {' or '.join(ways)} and go on with --resume: the run's numbers stay as they are"
        if ways
        else "its largest pack is one record, computed again in the backward pass: start a run with a smaller data.max_tiles, "
        "train.optimizer=adamw8bit or train.stage=lora"
    )
    tokens = sum(sizes.tokens(piece.tree.rows) for pack in packs for piece in pack)
    return (
        f"step {step} ({tokens:,} tokens, {sum(shape.tiles for shape in shapes):,} tiles; its largest pack {largest.places:,} "
        f"places, {largest.tiles} tiles) does not fit the memory of {world.device}: predicted peak {_gib(peak)}, "
        f"{_gib(peak_bytes(world.device))} held when it failed; {remedy}"
    )


def _least(packs: Sequence[Sequence[Piece]], sizes: RowSizes, rule: PackRule) -> tuple[int, int]:
    """Places and tiles that a pack must have room for: those of the largest record."""
    rows = [row for pack in packs for piece in pack for row in piece.tree.rows]
    places = pack_places([max(sizes.tokens((row,)) for row in rows)], one_row=rule.one_row)
    return places, max(1, *(int(sizes.tiles[row]) for row in rows))


def _ways(recipe: TrainRecipe, pack: Pack, least: tuple[int, int], predicted: Predictor) -> list[str]:
    """Settings that lower the peak of ``pack`` and change no number of the run, each with what it would then be."""
    ways = []
    if recipe.checkpoint_activations == "no":
        lighter = predicted(dataclasses.replace(recipe, checkpoint_activations="yes"), pack)
        ways.append(f"train.checkpoint_activations=yes (predicted {_gib(lighter.total)})")
    half = _half(pack, *least)
    if half.places < pack.places or half.tiles < pack.tiles:
        knobs = f"train.pack_tokens={max(half.places, least[0])} train.pack_tiles={max(half.tiles, least[1])}"
        ways.append(f"{knobs} (predicted {_gib(predicted(recipe, half).total)})")
    return ways


def _half(pack: Pack, least_tokens: int, least_tiles: int) -> Pack:
    """A pack of half the size, or of what the step's largest record needs."""
    places, tiles = max(least_tokens, pack.places // 2), min(pack.tiles, max(least_tiles, pack.tiles // 2))
    return Pack(places, min(places, pack.row_length), tiles, min(places, pack.predicted))
