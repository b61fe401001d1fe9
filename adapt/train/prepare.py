"""From what the user asks to a run ready to start: model, tokenizer, index, streams, plan. Nothing is trained here."""

import dataclasses
import itertools
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt import __version__, atomic, progress, randomness, safe
from adapt.data.augment import AS_STORED, OVERHEAD
from adapt.data.flops import Flops
from adapt.data.index import Index, build_index
from adapt.data.loader import PackReader, TileRule, most_tokens, row_sizes
from adapt.data.mixture import check_sources, make_side, read_by_source, realised
from adapt.data.packing import PackRule, Piece, RowSizes, piece_flops, share_step, straggler, suggest_pack_tokens
from adapt.data.plan import Plan, Side, Tree, draw_symmetries, hold_out, plan_run, stream_of, validation_steps
from adapt.data.template import get_template
from adapt.data.tokenizer import tokenizer_for_run
from adapt.errors import DataError, UsageError
from adapt.model.config import ModelConfig, for_tokenizer
from adapt.model.flops import flops_of
from adapt.model.language import rope_threshold
from adapt.model.loading import Found, find_model
from adapt.model.tokenizer_files import load_tokenizer
from adapt.records import iterate_records, read_manifest
from adapt.show import counted
from adapt.train import memory
from adapt.train.distributed import World
from adapt.train.recipe import LORA, Recipe, TrainRecipe, recipe_settings, trained_parts

RECORDED_PACKAGES = ("torch", "transformers", "timm", "tokenizers", "datasets", "albumentations", "numpy", "pillow")


@dataclasses.dataclass(frozen=True)
class Request:
    """What a run is asked to be."""

    model: str
    data: tuple[Path, ...]
    general: tuple[Path, ...]
    images: Path | None
    domain: str | None
    recipe: Recipe
    accept_test: bool


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run that could start now."""

    request: Request
    recipe: Recipe  # the request's, with numbers where it says auto once ``budget.resolve`` went over it
    found: Found
    config: ModelConfig
    tokenizer: Any
    index: Index
    sizes: RowSizes
    plan: Plan
    domain: Side
    general: Side | None
    held_out: dict[str, tuple[tuple[Tree, ...], ...]]
    notes: tuple[str, ...]
    free_bytes: int | None = None  # of the device, where auto chose by them

    @property
    def sides(self) -> dict[str, Side]:
        """The sides of the mixture by name."""
        return {"domain": self.domain} | ({} if self.general is None else {"general": self.general})

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, in a fixed order."""
        return tuple(sorted(set(self.index.table["source"][:])))


def prepare(request: Request, tokenizer_folder: Path | None = None) -> Prepared:
    """Find the model, index the data and plan the steps. ``tokenizer_folder`` holds the tokenizer of a run to resume.

    Raises UsageError and DataError for all that a person or a file can get wrong.
    """
    recipe = request.recipe
    found = find_model(request.model)
    if recipe.train.stage == LORA and found.folder is None:
        raise UsageError(
            f"train.stage=lora on the preset '{request.model}': adapters beside random weights learn nothing; name a model "
            "that was trained, or leave the stage out"
        )
    files = (*request.data, *request.general)
    if len({file.resolve() for file in files}) != len(files):
        raise UsageError("one file is given twice among --data and --general")
    tokenizer = _tokenizer(found, files, request.accept_test, tokenizer_folder)
    config = dataclasses.replace(
        for_tokenizer(found.config, tokenizer, grows=found.folder is not None), max_tiles=recipe.data.max_tiles
    )
    index = build_index(files, tokenizer, get_template(config.template), request.images, turned=recipe.data.augment == OVERHEAD)
    rule = TileRule(config.tile_px, config.tokens_per_tile, recipe.data.max_tiles)
    sizes = row_sizes(index, rule)
    notes: list[str] = []
    training, held_out = _hold_out(request, index, sizes, notes)
    sides = _sides(index, training, recipe, notes)
    domain, general = sides["domain"], sides.get("general")
    if general is None and recipe.train.early_stop == "forgetting":
        raise UsageError(
            "train.early_stop=forgetting looks at held-out general data, and there is no --general; give it, or drop the stop"
        )
    if general is None:
        notes.append("general ratio 0: no --general data, so forgetting is neither prevented nor measured")
    plan = _plan(recipe, index, domain, general, notes)
    return Prepared(request, recipe, found, config, tokenizer, index, sizes, plan, domain, general, held_out, tuple(notes))


def _hold_out(
    request: Request, index: Index, sizes: RowSizes, notes: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[tuple[Tree, ...], ...]]]:
    """Of each side that has data: the rows to train on, and the steps of those held out."""
    recipe, numbers = request.recipe, np.asarray(index.table["file"][:])
    training: dict[str, np.ndarray] = {}
    held_out: dict[str, tuple[tuple[Tree, ...], ...]] = {}
    for name, mine in (("domain", numbers < len(request.data)), ("general", numbers >= len(request.data))):
        if not mine.any():
            continue
        rows = _usable(index, np.flatnonzero(mine), sizes, request, name, notes)
        train, held, how = hold_out(
            index, rows, share=recipe.data.validation_share, most=recipe.data.validation_rows, seed=recipe.train.seed, name=name
        )
        if not len(train):
            left = f" (its splits: {_splits(index, rows)})" if len(rows) else ""
            why = "; ".join(note.removeprefix(f"{name}: ") for note in notes if note.startswith(f"{name}: "))
            raise UsageError(
                f"the {name} data has no training rows{left}{why and f': {why}'}; expected rows of the split train or of none, "
                "of at most data.max_tokens"
            )
        training[name] = train
        if len(held):
            held_out[name] = validation_steps(
                stream_of(f"{name}-held-out", index, held), recipe.train.samples_per_step, recipe.max_branches
            )
        notes.append(f"{name}: {len(train):,} training rows; held out: {how}")
    return training, held_out


def _plan(recipe: Recipe, index: Index, domain: Side, general: Side | None, notes: list[str]) -> Plan:
    plan = plan_run(
        domain,
        general,
        ratio=recipe.data.general_ratio,
        seed=recipe.train.seed,
        samples_per_step=recipe.train.samples_per_step,
        max_branches=recipe.max_branches,
        epochs=recipe.train.epochs,
        max_steps=recipe.train.max_steps,
    )
    if not plan.samples[0]:
        raise UsageError(
            f"the plan of {len(plan)} steps of {recipe.train.samples_per_step} samples at data.general_ratio="
            f"{recipe.data.general_ratio:g} has no domain sample; raise train.samples_per_step or lower the ratio"
        )
    if recipe.data.augment != OVERHEAD:
        return plan
    plan = draw_symmetries(plan, index, recipe.train.seed)
    trees = [tree for step in plan.steps for tree in step]
    notes.append(
        f"data.augment=overhead turns {sum(tree.symmetry != AS_STORED for tree in trees):,} of {len(trees):,} trees; "
        "those with a text that names a side, or with other than one picture, stay as they are"
    )
    return plan


def _sides(index: Index, training: Mapping[str, np.ndarray], recipe: Recipe, notes: list[str]) -> dict[str, Side]:
    """The sides of the mixture by name, their sources weighed as the recipe says."""
    by_source = read_by_source(recipe.data.weights, recipe.data.epochs, recipe.data.caps)
    check_sources(by_source, index, training)
    sides = {}
    for name, rows in training.items():
        sides[name], said = make_side(name, index, rows, by_source, seed=recipe.train.seed, max_branches=recipe.max_branches)
        notes.extend(said)
    return sides


def _tokenizer(found: Found, files: Sequence[Path], accept_test: bool, stored: Path | None) -> Any:
    if stored is not None:
        return load_tokenizer(stored)
    if found.folder is not None:
        return load_tokenizer(found.folder)
    progress.say(f"training a tokenizer for the preset '{found.config.preset}' on the run's own text")
    records = (record for file in files for _, record in iterate_records(file))
    return tokenizer_for_run(records, found.config.language["vocab_size"], accept_test=accept_test)


def _splits(index: Index, rows: np.ndarray) -> str:
    names, counts = np.unique(np.asarray(index.table["split"][:])[rows], return_counts=True)
    return ", ".join(f"{name or '(none)'} {count:,}" for name, count in zip(names, counts, strict=True))


def _usable(index: Index, rows: np.ndarray, sizes: RowSizes, request: Request, name: str, notes: list[str]) -> np.ndarray:
    """The rows that may be trained on or held out: test splits set aside, over-long rows stopped at or dropped."""
    splits = np.asarray(index.table["split"][:])[rows]
    test = np.char.startswith(splits.astype(str), "test")
    if test.any() and not request.accept_test:
        if test.all():
            raise UsageError(
                f"all {len(rows):,} rows of the {name} data are of a test split; training on it needs --accept-test, "
                "and its scores then mean nothing"
            )
        notes.append(f"{name}: {counted(int(test.sum()), 'row')} of test splits set aside")
        rows, splits = rows[~test], splits[~test]
    elif test.any():
        notes.append(f"{name}: {counted(int(test.sum()), 'row')} of test splits trained on, as --accept-test allows")
    odd = ~np.isin(splits, ("", "train", "val")) & ~np.char.startswith(splits.astype(str), "test")
    if odd.any():
        found = ", ".join(sorted(set(splits[odd].tolist())))
        notes.append(f"{name}: {counted(int(odd.sum()), 'row')} of other splits ({found}) not used; train, val or none are")
        rows = rows[~odd]
    # Judged by data.max_tokens alone: a pack's budget is a device's affair and must never change which rows are trained on.
    tokens = most_tokens(index, sizes)[rows]
    limits = request.recipe
    long = tokens > limits.data.max_tokens
    if long.any() and limits.data.overlong == "stop":
        raise DataError(
            f"{index.where(rows[long][0])}: {_measure(tokens, sizes.tiles[rows], long)}, more than "
            f"data.max_tokens={limits.data.max_tokens:,} ({int(long.sum()):,} such rows); raise it, lower data.max_tiles, or "
            "drop them with --set data.overlong=drop"
        )
    if long.any():
        places = ", ".join(index.where(row) for row in rows[long][:5])
        notes.append(f"{name}: {counted(int(long.sum()), 'over-long row')} dropped: {places}{' ...' if long.sum() > 5 else ''}")
    rows, tokens = rows[~long], tokens[~long]
    for knob, costs in (("pack_tokens", tokens), ("pack_tiles", sizes.tiles[rows])):
        budget = getattr(limits.train, knob)
        over = costs > budget
        if budget and over.any():  # auto makes room for the largest row (adapt/train/budget.py)
            raise DataError(
                f"{index.where(rows[over][0])}: {_measure(tokens, sizes.tiles[rows], over)}, more than train.{knob}={budget:,} "
                f"({int(over.sum()):,} such rows); raise train.{knob} to {int(costs.max()):,} or more, or lower data.max_tiles"
            )
    return rows


def _measure(tokens: np.ndarray, tiles: np.ndarray, chosen: np.ndarray) -> str:
    return f"{int(tokens[chosen][0]):,} tokens and {counted(int(tiles[chosen][0]), 'tile')}"


def reader_of(prepared: Prepared, rule: PackRule, ranks: int) -> PackReader:
    """The reader of the prepared run's packs, for one of ``ranks`` devices."""
    recipe = prepared.request.recipe
    return PackReader(
        index=prepared.index,
        rule=TileRule(prepared.config.tile_px, prepared.config.tokens_per_tile, recipe.data.max_tiles),
        image_token_id=prepared.config.image_token_id,
        reduction=recipe.train.loss_reduction,
        seed=recipe.train.seed,
        augment=recipe.data.augment,
        jpeg_quality=recipe.data.jpeg_quality,
        drop_path=recipe.train.drop_path,
        residual_branches=2 * prepared.config.vision.num_layers,
        source_numbers={name: number for number, name in enumerate(prepared.sources)},
        one_row=rule.one_row,
        always_a_tile=ranks > 1,
    )


def pack_rule(recipe: Recipe, config: ModelConfig, device: torch.device) -> PackRule:
    """What bounds a pack of a run, and how it is laid out."""
    return PackRule(
        tokens=recipe.train.pack_tokens,
        tiles=recipe.train.pack_tiles,
        rope_threshold=rope_threshold(config.language),
        one_row=device.type == "cuda",
    )


def initial_seed(recipe: Recipe) -> int:
    """The seed of random weights."""
    return randomness.key(recipe.train.seed, "weights") % 2**63


JUDGED_STEPS = 50  # of a plan, for what other numbers of devices would make of it


def summary(
    prepared: Prepared, num_trained: int, num_frozen: int, predicted: memory.Predictor, rule: PackRule, ranks: int = 1
) -> dict[str, Any]:
    """The plan in numbers: what ``--dry-run`` prints and ``plan.json`` keeps; ``predicted`` is of one device's memory."""
    recipe, plan, sizes = prepared.recipe, prepared.plan, prepared.sizes
    flops = flops_of(prepared.config)
    step_flops = training_flops(flops, recipe.train)
    trees = [tree for step in plan.steps for tree in step]
    packed, shapes = _packed(plan, sizes, rule, flops, ranks)
    peak = max((predicted(recipe.train, shape) for shape in shapes), key=lambda each: each.total)
    num_parameters = num_trained + num_frozen
    stored = num_trained if recipe.train.stage == LORA else num_parameters
    return {
        "steps": len(plan),
        "samples": {"domain": plan.samples[0], "general": plan.samples[1]},
        "epochs": {"domain": round(plan.epochs[0], 4), "general": round(plan.epochs[1], 4)},
        "realised_general_ratio": round(plan.samples[1] / plan.samples[0], 4),
        "sources": realised(plan, prepared.index, prepared.sides),
        "trees": len(trees),
        "samples_per_tree": round(sum(plan.samples) / max(1, len(trees)), 2),
        "supervised_tokens": sum(int(sizes.supervised[row]) for tree in trees for row in tree.rows),
        "tiles_without_sharing": sum(int(sizes.tiles[row]) for tree in trees for row in tree.rows),
        **packed,
        "devices": ranks,
        "parameters": num_parameters,
        "trained_parameters": num_trained,
        "pack_budget": {
            "pack_tokens": recipe.train.pack_tokens,
            "pack_tiles": recipe.train.pack_tiles,
            "checkpoint_activations": recipe.train.checkpoint_activations,
            "free_bytes": prepared.free_bytes,
        },
        "memory_bytes": dataclasses.asdict(peak) | {"total": peak.total},
        "disk_bytes": (4 * stored + int(memory.STATE_BYTES[recipe.train.optimizer] * num_trained)) * (recipe.train.keep + 1)
        + 8 * num_parameters,
        "teraflops": round(sum(piece_flops(Piece(0, tree), sizes, step_flops) for tree in trees) / 1e12, 1),
        "suggested_pack_tokens": suggest_pack_tokens(plan.steps, sizes, rule),
        "straggler_on": {str(count): straggler(plan.steps[:JUDGED_STEPS], sizes, rule, flops, count) for count in (2, 4, 8)},
        "digest": plan.digest,
        "data_fingerprint": prepared.index.fingerprint,
        "notes": list(prepared.notes),
    }


def _packed(plan: Plan, sizes: RowSizes, rule: PackRule, flops: Flops, ranks: int) -> tuple[dict[str, Any], set[memory.Pack]]:
    """The packs of a plan in numbers, and the distinct shapes among them."""
    tokens = tiles = places = packs = 0
    work = slowest = 0.0
    shapes: set[memory.Pack] = set()
    for step in plan.steps:
        shares = share_step(step, sizes, rule, flops, ranks)
        loads = [sum(piece_flops(piece, sizes, flops) for pack in mine for piece in pack) for mine in shares]
        work, slowest = work + sum(loads), slowest + max(loads)
        for pack in filter(None, itertools.chain.from_iterable(shares)):
            shape = memory.pack_shape(pack, sizes, rule)
            tokens += sum(sizes.tokens(piece.tree.rows) for piece in pack)
            tiles, places, packs = tiles + shape.tiles, places + shape.places, packs + 1
            shapes.add(shape)
    return {
        "tokens": tokens,
        "tiles": tiles,
        "packs": packs,
        "padding": round(1 - tokens / places, 4),
        "fill": round(places / (packs * rule.tokens), 4),
        "straggler": round(ranks * slowest / work - 1, 4),  # how much longer the busiest device works than the mean one
        "largest_pack": {"places": max(shape.places for shape in shapes), "tiles": max(shape.tiles for shape in shapes)},
    }, shapes


def training_flops(forward: Flops, recipe: TrainRecipe) -> Flops:
    """The costs of forward and backward passes together.

    Where weights train, the backward pass computes two products for each of the forward's; where only weights before or beside
    them do, one; and none where nothing before them does.
    """
    trained = trained_parts(recipe)
    return forward.times(3.0 if "vision" in trained else 1.0, 3.0 if "language" in trained else 2.0)


def description(prepared: Prepared, world: World) -> dict[str, Any]:
    """What config.json keeps: all that decides the run's numbers."""
    request = prepared.request
    lora_packages = ("peft",) if request.recipe.train.stage == LORA else ()
    optimizer_packages = ("torchao",) if request.recipe.train.optimizer == "adamw8bit" else ()
    digests = {path: safe.file_sha256(path) for path in prepared.index.files}
    return {
        "adapt_version": __version__,
        "arguments": {
            # absolute: --resume and --config work from any folder
            "model": str(Path(request.model).absolute()) if Path(request.model).is_dir() else request.model,
            "data": [str(path.absolute()) for path in request.data],
            "general": [str(path.absolute()) for path in request.general],
            "images": None if request.images is None else str(request.images.absolute()),
            "domain": request.domain,
            "accept_test": request.accept_test,
        },
        "recipe": recipe_settings(request.recipe),
        "model": prepared.found.provenance,
        "data_fingerprint": prepared.index.fingerprint,
        "files": {str(path.absolute()): digest for path, digest in digests.items()},
        "rows": _rows_of_files(prepared.index),
        # Known now alone: a file that is converted again has another manifest.
        "edited": [
            str(path.absolute()) for path, digest in digests.items() if read_manifest(path).get("sha256") not in (None, digest)
        ],
        "plan_digest": prepared.plan.digest,
        "device": "cpu" if world.device.type == "cpu" else torch.cuda.get_device_name(world.device),
        "devices": world.size,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in (*RECORDED_PACKAGES, *lora_packages, *optimizer_packages)},
        "git_commit": _git_commit(),
    }


def _rows_of_files(index: Index) -> dict[str, int]:
    """How many rows of all splits each file has."""
    counts = np.bincount(np.asarray(index.table["file"][:]), minlength=len(index.files))
    return {str(path.absolute()): int(count) for path, count in zip(index.files, counts, strict=True)}


def _git_commit() -> str | None:
    """The commit of the checkout this package runs from, or None where it is not one."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    answer = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def write_start(folder: Path, prepared: Prepared, plan_summary: Mapping[str, Any], world: World) -> None:
    """Write config.json, plan.json and the tokenizer of a run that starts."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.staged_folder(folder / "tokenizer") as staged:
        prepared.tokenizer.save_pretrained(staged)
    atomic.write_text(folder / "plan.json", json.dumps(dict(plan_summary), indent=1))
    # config.json last: a folder that has one has all that a resume needs
    atomic.write_text(folder / "config.json", json.dumps(description(prepared, world), indent=1))
