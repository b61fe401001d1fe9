"""What rows will cost with a model: tiles, tokens, rows over the recipe's limits; an epoch's operations, memory and hours.

Trees are cut and memory is predicted by the code that a run uses; what the plan adds (general data, held-out rows, the order of
steps) is left to ``adapt finetune --dry-run``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapt.check.faults import Fault
from adapt.check.pictures import Picture
from adapt.check.rows import Row
from adapt.errors import DataError

if TYPE_CHECKING:
    from adapt.data.packing import RowSizes
    from adapt.data.plan import Tree
    from adapt.model.config import ModelConfig
    from adapt.model.loading import Found
    from adapt.train.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Costs:
    """Tiles and tokens of each row that could be measured, the faults among them, and what an epoch of training takes."""

    tiles: dict[str, Any]
    tokens: dict[str, Any]
    faults: list[Fault]
    training: dict[str, Any]
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class _Measured:
    """Rows with their costs; rows of one key can share a tree."""

    rows: list[Row]
    sizes: "RowSizes"
    keys: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        return self.sizes.prefix_tokens + self.sizes.branch_tokens


def predict(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture], model: str, gpu: str | None = None) -> Costs:
    """Count tiles and tokens as a run with ``model`` does. A preset's tokenizer is trained on these rows, as a run would."""
    from adapt.model.loading import find_model
    from adapt.train.recipe import PRESET_RECIPES, make_recipe

    device = None
    if gpu is not None:
        from adapt.check.gpus import find_gpu

        device = find_gpu(gpu)
    found = find_model(model)
    recipe = make_recipe(PRESET_RECIPES.get(found.config.preset or "", {}))
    usable = [row for row in rows if all(not pictures[row.root, name].fault for name in row.record.images)]
    measured, config = _measure(usable, pictures, found, recipe)
    most_tokens = min(recipe.data.max_tokens, recipe.train.pack_tokens or recipe.data.max_tokens)  # 0: auto, as much as needed
    most_tiles = recipe.train.pack_tiles or recipe.data.max_tokens // found.config.tokens_per_tile
    tokens, tiles = measured.tokens, measured.sizes.tiles
    faults = [
        Fault(
            usable[row].where,
            "long",
            f"{tokens[row]:,} tokens and {tiles[row]} tiles, expected at most {most_tokens:,} and {most_tiles}; "
            "raise data.max_tokens or lower data.max_tiles",
        )
        for row in np.flatnonzero((tokens > most_tokens) | (tiles > most_tiles))
    ]
    training, notes = _training(
        measured, np.flatnonzero((tokens <= most_tokens) & (tiles <= most_tiles)), config, recipe, device
    )
    if device is None:
        notes.append("add --gpu NAME, such as --gpu H100, for the memory and hours of an epoch")
    return Costs(_summary(tiles.tolist()), _summary(tokens.tolist()), faults, training, notes)


def _measure(
    rows: list[Row], pictures: Mapping[tuple[Path, str], Picture], found: "Found", recipe: "Recipe"
) -> "tuple[_Measured, ModelConfig]":
    from adapt.data.index import encode_row
    from adapt.data.packing import RowSizes
    from adapt.data.template import get_template
    from adapt.data.tiling import count_tiles, tile_budget
    from adapt.data.tokenizer import tokenizer_for_run
    from adapt.model.config import for_tokenizer
    from adapt.model.tokenizer_files import load_tokenizer

    if found.folder is not None:
        tokenizer = load_tokenizer(found.folder)
    else:
        records = [row.record for row in rows]
        only_test = all((record.split or "").startswith("test") for record in records)  # a run takes those with --accept-test
        tokenizer = tokenizer_for_run(records, found.config.language["vocab_size"], accept_test=only_test)
    template, config = get_template(found.config.template), found.config
    counts, groups = np.zeros((4, len(rows)), np.int64), dict[object, int]()
    keys = np.zeros(len(rows), np.int64)
    for number, row in enumerate(rows):
        budget = tile_budget(recipe.data.max_tiles, len(row.record.images), row.record.max_tiles)
        sizes = [pictures[row.root, name].size for name in row.record.images]
        tiles = sum(count_tiles(width, height, budget, config.tile_px) for width, height in sizes)
        encoded = encode_row(row.record.turns, tokenizer, template)
        ids, prefix = encoded["input_ids"], encoded["prefix_length"]
        shown = prefix - len(sizes) + tiles * config.tokens_per_tile
        counts[:, number] = shown, len(ids) - prefix, tiles, sum(encoded["supervised"])
        contents = tuple(pictures[row.root, name].content for name in row.record.images)
        key = (contents, row.record.max_tiles, tuple(ids[:prefix])) if contents else number
        keys[number] = groups.setdefault(key, len(groups))
    config = for_tokenizer(config, tokenizer, grows=found.folder is not None)
    return _Measured(rows, RowSizes(*counts), keys), config


def _training(
    measured: _Measured, fitting_rows: np.ndarray, config: "ModelConfig", recipe: "Recipe", device: Any
) -> tuple[dict[str, Any], list[str]]:
    """One epoch over the rows to train on (split train or none; all where there are none) as trees."""
    from adapt.data.packing import Piece, piece_flops
    from adapt.data.plan import Stream, Tree, epoch_trees
    from adapt.model.flops import flops_of
    from adapt.train.prepare import training_flops

    trained = [row for row in fitting_rows if measured.rows[row].record.split in (None, "train")] or list(fitting_rows)
    if not trained:
        return {}, []
    chosen = np.asarray(trained, np.int64)
    stream = Stream("domain", chosen, measured.keys[chosen])
    trees = [Tree(0, 0, rows) for rows in epoch_trees(stream, recipe.train.seed, 0, recipe.max_branches)]
    sizes, flops = measured.sizes, training_flops(flops_of(config), recipe.train)
    teraflops = sum(piece_flops(Piece(0, tree), sizes, flops) for tree in trees) / 1e12
    apart = sum(piece_flops(Piece(0, Tree(0, 0, (row,))), sizes, flops) for row in trained) / 1e12
    training: dict[str, Any] = {
        "rows": len(trained),
        "trees": len(trees),
        "tiles": sum(int(sizes.tiles[tree.rows[0]]) for tree in trees),
        "tokens": sum(sizes.tokens(tree.rows) for tree in trees),
        "teraflops": float(f"{teraflops:.6g}"),
        "teraflops_without_sharing": float(f"{apart:.6g}"),
    }
    if device is None:
        return training, []
    memory, notes = _memory(trees, sizes, config, recipe, device)
    return training | memory | {"gpu": device.name, **_hours(device, teraflops)}, notes


def _hours(device: Any, teraflops: float) -> dict[str, Any]:
    from adapt.check.gpus import UTILISATION

    return {"hours": float(f"{device.hours(teraflops):.3g}"), "at_share_of_peak": UTILISATION}


def _memory(
    trees: "list[Tree]", sizes: "RowSizes", config: "ModelConfig", recipe: "Recipe", device: Any
) -> tuple[dict[str, Any], list[str]]:
    """The peak of a step on the device with the packs that a run would choose for it."""
    import torch

    from adapt.train import memory
    from adapt.train.budget import USABLE, Fitting, choose, demand_of
    from adapt.train.recipe import TrainRecipe
    from adapt.train.run import count_parameters

    num_trained, num_frozen = count_parameters(config, recipe.train)

    def predicted(train: TrainRecipe, pack: memory.Pack) -> memory.Memory:
        return memory.predict(config, train, pack, torch.bfloat16, num_trained=num_trained, num_frozen=num_frozen)

    steps = _steps(trees, recipe.train.samples_per_step)
    usable = int(USABLE["cuda"] * device.usable_bytes)
    fitting = Fitting(demand_of(steps, (), sizes, one_row=True), predicted, "cuda", usable)
    try:
        chosen = choose(recipe.train, fitting)
    except DataError as error:
        return {"fits": False}, [f"{device.name}: {error}"]
    total = fitting.peak(chosen).total
    settings = ("pack_tokens", "pack_tiles", "checkpoint_activations")
    found = {"fits": total <= usable, "memory_bytes": total, **{name: getattr(chosen, name) for name in settings}}
    return found, []


def _steps(trees: "list[Tree]", samples: int) -> "list[list[Tree]]":
    """Trees one after the other until each step has its samples."""
    steps: list[list[Tree]] = [[]]
    for tree in trees:
        if sum(len(each.rows) for each in steps[-1]) >= samples:
            steps.append([])
        steps[-1].append(tree)
    return steps


def _summary(counts: Sequence[int]) -> dict[str, Any]:
    if not counts:
        return {"total": 0, "mean": 0.0, "median": 0, "largest": 0}
    return {
        "total": int(np.sum(counts)),
        "mean": round(float(np.mean(counts)), 1),
        "median": int(np.median(counts)),
        "largest": max(counts),
    }
