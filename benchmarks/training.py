"""Samples a second of training: message trees, the same packs without sharing, and padded batches of transformers' InternVL.

The same weights, samples and loss weights, forward and backward, in one process. Three shapes: ``rsvqa``, one tile and 100
questions a picture; ``drivelm``, 13 tiles and 75 questions; ``single``, one tile and one question a picture, of mixed lengths.
Lengths of questions and answers are those of the real sets (benchmarks/lengths.json), for ``single`` between 8 and 512 tokens.

- ``ours``: all questions of a picture in one tree (``--max-branches`` bounds it), packed;
- ``unshared``: every question a tree of its own, packed alike: what packing alone gives;
- ``padded``: ``InternVLForConditionalGeneration``, batches in a drawn order padded to their longest, the fastest of sizes 1, 4,
  8 and 16 (those whose tiles fit).

Each is timed on samples of its own number, as many as take a few seconds; the losses of all three are over the same samples
and must agree, or the speeds mean nothing. ``bound`` is the ratio of the work: the FLOPs of the padded batches over those of
ours, for the same samples. On a CPU the model keeps the shape of the 1b preset in small: 256 tokens a tile, the vision tower
74 % of what a tile costs in the padded batches (there the language head runs on every position).

On a GPU our layers are compiled, as a run's are, and the peer's are as transformers builds them.

Run: python -m benchmarks.training --shape rsvqa|drivelm|single --device cpu|cuda [--max-branches N] [--json]
"""

import argparse
import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import InternVLForConditionalGeneration

from adapt.data.packing import EncodedTree, collate
from adapt.model.config import PRESETS, ModelConfig, VisionConfig
from adapt.model.flops import flops_of
from adapt.model.internvl import InternVL
from adapt.model.layouts import to_disk
from adapt.model.saving import transformers_config
from adapt.train.recipe import TrainRecipe
from adapt.train.run import compile_layers
from adapt.train.speed import measured_peak, peak_bytes

IMAGE = 5
SMALL = ModelConfig(
    VisionConfig(image_size_px=448, patch_size_px=14, hidden_size=256, num_layers=6, num_heads=4, mlp_size=1024),
    {
        "model_type": "qwen2", "vocab_size": 6144, "hidden_size": 256, "num_hidden_layers": 9, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 1024, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "tie_word_embeddings": False,
    },
    image_token_id=IMAGE,
)  # fmt: skip
SYSTEM_TOKENS, TURN_TOKENS = 34, 6  # in front of the picture; around a question
BATCH_SIZES = (1, 4, 8, 16)
PACKS = {"cpu": (1024, 2), "cuda": (16384, 48)}  # places and tiles; a processor works best on what its caches hold
CPU_TILES = 16  # of a padded batch on a CPU; more than fit its memory


@dataclasses.dataclass(frozen=True)
class Shape:
    """``tiles`` and ``questions`` of a picture; ``compared`` samples go through all three, ``pictures`` in the step of ours."""

    tiles: int
    questions: int
    pictures: int
    compared: int


SHAPES = {"rsvqa": Shape(1, 100, 1, 16), "drivelm": Shape(13, 75, 1, 4), "single": Shape(1, 1, 32, 32)}


@dataclasses.dataclass(frozen=True)
class Work:
    """What a pass over some samples costs: tiles, tokens, attended pairs and positions of the head."""

    tiles: int
    tokens: int
    pairs: int
    head: int

    def flops(self, config: ModelConfig) -> float:
        """Floating point operations of one forward pass, two for each multiply-add."""
        return flops_of(config).total(tiles=self.tiles, tokens=self.tokens, pairs=self.pairs, predictions=self.head)


def vision_share(config: ModelConfig) -> float:
    """The vision tower's share of what one tile costs in a padded batch."""
    tokens = config.tokens_per_tile
    whole = Work(1, tokens, tokens * (tokens + 1) // 2, tokens).flops(config)
    without = Work(0, tokens, tokens * (tokens + 1) // 2, tokens).flops(config)
    connector = tokens * 2 * (config.shuffle_size**2 * config.vision.hidden_size * config.language["hidden_size"])
    return (whole - without - connector) / whole


def draw_lengths(name: str, count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """(tokens before the answer, tokens of the answer with its end) of ``count`` samples."""
    if name == "single":
        drawn = np.exp(random.uniform(np.log(8), np.log(512), count)).astype(int)
        return [(int(length) + TURN_TOKENS, max(2, int(length) // 4)) for length in drawn]
    table = np.array(json.loads(Path(__file__).with_name("lengths.json").read_text())[name])
    chosen = random.choice(len(table), count, p=table[:, 2] / table[:, 2].sum())
    return [(int(table[row, 0]) + TURN_TOKENS, int(table[row, 1]) + 1) for row in chosen]


def make_trees(name: str, config: ModelConfig) -> list[EncodedTree]:
    """The pictures of a step, all questions of each in one tree. Source 0 marks the samples that are compared."""
    shape, random = SHAPES[name], np.random.default_rng(0)
    trees, left = [], shape.compared
    for _ in range(shape.pictures):
        lengths = draw_lengths(name, shape.questions, random)
        prefix = np.r_[random.integers(6, 4000, SYSTEM_TOKENS), np.full(config.tokens_per_tile * shape.tiles, IMAGE)]
        trees.append(
            EncodedTree(
                prefix_ids=prefix,
                prefix_weights=np.zeros(len(prefix)),
                branches=tuple(random.integers(6, 4000, before + answer) for before, answer in lengths),
                branch_weights=tuple(np.r_[np.zeros(before), np.full(answer, answer**-0.5)] for before, answer in lengths),
                tiles=random.integers(0, 256, (shape.tiles, config.tile_px, config.tile_px, 3), dtype=np.uint8),
                keep=None,
                sources=tuple(int(number >= left) for number in range(len(lengths))),
            )
        )
        left -= len(lengths)
    return trees


def split(tree: EncodedTree, most: int) -> list[EncodedTree]:
    """The tree in parts of at most ``most`` branches, each with the picture."""
    return [
        dataclasses.replace(
            tree,
            branches=tree.branches[start : start + most],
            branch_weights=tree.branch_weights[start : start + most],
            sources=tree.sources[start : start + most],
        )
        for start in range(0, len(tree.branches), most)
    ]


def pack(trees: Sequence[EncodedTree], device: torch.device) -> list[list[EncodedTree]]:
    """Trees of like length together, up to the budget of tokens and tiles; a larger one goes alone."""
    most_tokens, most_tiles = PACKS[device.type]
    packs: list[list[EncodedTree]] = []
    for tree in sorted(trees, key=lambda tree: -tree.num_tokens):
        tokens = [sum(each.num_tokens for each in pack) + tree.num_tokens for pack in packs[-1:]]
        tiles = [sum(len(each.tiles) for each in pack) + len(tree.tiles) for pack in packs[-1:]]
        if packs and tokens[0] <= most_tokens and tiles[0] <= most_tiles:
            packs[-1].append(tree)
        else:
            packs.append([tree])
    return packs


def work_of_trees(trees: Sequence[EncodedTree], config: ModelConfig) -> Work:
    """What trees cost, padding left out."""
    pairs = 0
    for tree in trees:
        prefix = len(tree.prefix_ids)
        pairs += prefix * (prefix + 1) // 2
        pairs += sum(len(ids) * prefix + len(ids) * (len(ids) + 1) // 2 for ids in tree.branches)
    return Work(
        tiles=sum(len(tree.tiles) for tree in trees),
        tokens=sum(tree.num_tokens for tree in trees),
        pairs=pairs,
        head=sum(int((marks > 0).sum()) for tree in trees for marks in tree.branch_weights),
    )


def batches_of(samples: Sequence[EncodedTree], size: int) -> Iterator[Sequence[EncodedTree]]:
    """Samples in a drawn order, ``size`` at a time."""
    order = np.random.default_rng(1).permutation(len(samples))
    for start in range(0, len(samples), size):
        yield [samples[place] for place in order[start : start + size]]


def work_of_batches(samples: Sequence[EncodedTree], size: int, config: ModelConfig) -> Work:
    """What padded batches cost: every sample as long as the longest of its batch, the head on every position."""
    tiles = tokens = pairs = 0
    for batch in batches_of(samples, size):
        longest = max(sample.num_tokens for sample in batch)
        tiles += sum(len(sample.tiles) for sample in batch)
        tokens += longest * len(batch)
        pairs += longest * (longest + 1) // 2 * len(batch)
    return Work(tiles, tokens, pairs, tokens)


def run_trees(model: InternVL, packs: Sequence[Sequence[EncodedTree]], device: torch.device) -> float:
    """Forward and backward of all packs; the loss over the compared samples."""
    model.zero_grad(set_to_none=True)
    found, weights = 0.0, 0.0
    for trees in packs:
        batch = collate(list(trees), IMAGE, one_row=device.type == "cuda").to(device)
        with autocast(device):
            losses_P = model(batch)
        weighted_P = losses_P * batch.target_weights_P.to(losses_P.dtype)
        weighted_P.sum().backward()
        compared_P = batch.target_sources_P == 0
        found += float(weighted_P.detach()[compared_P].double().sum())
        weights += float(batch.target_weights_P[compared_P].sum())
    return found / weights


def run_padded(
    peer: InternVLForConditionalGeneration, model: InternVL, samples: Sequence[EncodedTree], size: int, device: torch.device
) -> float:
    """Forward and backward of padded batches; the loss over all samples."""
    peer.zero_grad(set_to_none=True)
    found, weights = 0.0, 0.0
    for batch in batches_of(samples, size):
        longest = max(sample.num_tokens for sample in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        marks = torch.zeros(len(batch), longest, dtype=torch.float64)
        seen = torch.zeros(len(batch), longest, dtype=torch.long)
        for row, sample in enumerate(batch):
            length = sample.num_tokens
            ids[row, :length] = torch.from_numpy(np.r_[sample.prefix_ids, sample.branches[0]])
            marks[row, :length] = torch.from_numpy(np.r_[sample.prefix_weights, sample.branch_weights[0]])
            seen[row, :length] = 1
        tiles_NCHW = torch.from_numpy(np.concatenate([sample.tiles for sample in batch])).permute(0, 3, 1, 2).to(device)
        pixels_NCHW = (tiles_NCHW.float() - model.get_buffer("mean")) / model.get_buffer("std")
        ids, marks = ids.to(device), marks.to(device)
        with autocast(device):
            logits = peer(input_ids=ids, pixel_values=pixels_NCHW, attention_mask=seen.to(device)).logits
        each = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        weighted = each * marks[:, 1:].flatten().float()
        weighted.sum().backward()
        found, weights = found + float(weighted.detach().double().sum()), weights + float(marks.sum())
    return found / weights


def autocast(device: torch.device) -> Any:
    """bfloat16 on a GPU, float32 on a CPU, for all three alike."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()


def make_peer(model: InternVL, device: torch.device) -> InternVLForConditionalGeneration:
    """transformers' class with the same weights."""
    config = transformers_config(model.config, torch.float32)
    peer = InternVLForConditionalGeneration._from_config(config, attn_implementation="sdpa").to(device)
    renamed = {}
    for name, tensor in to_disk(model.state_dict()).items():
        inner = name.removeprefix("language_model.")
        own = inner if inner.startswith("lm_head") else "model." + name.replace("language_model.model.", "language_model.")
        renamed[own] = tensor
    peer.load_state_dict(renamed)
    return peer


def measure(work: Callable[[], float], device: torch.device, seconds: float) -> tuple[float, float]:
    """(seconds of the fastest round, loss): a first round, then others while time is left; on a GPU one before, to compile."""
    best, spent, loss = float("inf"), 0.0, 0.0
    if device.type == "cuda":
        work()
    while best == float("inf") or spent + best < seconds:
        start = time.perf_counter()
        loss = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return best, loss


def run(name: str, device: torch.device, max_branches: int | None, time_s: float) -> dict[str, Any]:
    """Measure one shape, ours for ``time_s`` and the others for half of it each."""
    torch.manual_seed(0)
    config = PRESETS["1b"] if device.type == "cuda" else SMALL
    config = dataclasses.replace(config, image_token_id=IMAGE)
    model = InternVL(config).to(device)
    compile_layers(model, TrainRecipe(), device)
    whole = make_trees(name, config)
    samples = [sample for tree in whole for sample in split(tree, 1)]
    compared = [sample for sample in samples if sample.sources == (0,)]
    parts = [part for tree in whole for part in split(tree, max_branches or len(tree.branches))]
    seconds, loss = measure(lambda: run_trees(model, pack(parts, device), device), device, time_s)
    result: dict[str, Any] = {"samples_per_s": {"ours": len(samples) / seconds}, "loss": {"ours": loss}}
    work = work_of_trees(parts, config)
    mfu = (
        3
        * work.flops(config)
        / seconds
        / measured_peak(device, torch.bfloat16 if device.type == "cuda" else torch.float32, 1.0)
    )
    peak = peak_bytes(device)
    seconds, loss = measure(lambda: run_trees(model, pack(compared, device), device), device, time_s / 2)
    result["samples_per_s"]["unshared"], result["loss"]["unshared"] = len(compared) / seconds, loss
    peer = make_peer(model, device)
    found = {}
    for size in BATCH_SIZES:
        tiles = size * len(compared[0].tiles)
        if size == 1 or (size <= len(compared) and (device.type == "cuda" or tiles <= CPU_TILES)):
            found[size] = measure(lambda size=size: run_padded(peer, model, compared, size, device), device, time_s / 2)
    fastest = min(found, key=lambda size: found[size][0])
    result["samples_per_s"]["padded"], result["loss"]["padded"] = len(compared) / found[fastest][0], found[fastest][1]
    bound = work_of_batches(compared, fastest, config).flops(config) / len(compared)
    bound /= work.flops(config) / len(samples)
    ratio = result["samples_per_s"]["ours"] / result["samples_per_s"]["padded"]
    return result | {
        "ratio": ratio,
        "bound": bound,
        "share_of_bound": ratio / bound,
        "mfu": mfu,
        "peak_bytes": peak,
        "padded_batch": fastest,
        "branches_per_tree": max(len(part.branches) for part in parts),
        "vision_share": vision_share(config),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="rsvqa", help="whose pictures and questions")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--max-branches", type=int, metavar="N", help="questions of a tree at most (default: all of a picture)")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="time for ours; the others get half of it")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    if given.max_branches is not None and given.max_branches < 1:
        parser.error(f"--max-branches {given.max_branches}: expected 1 or more")
    result = run(given.shape, torch.device(given.device), given.max_branches, given.seconds)
    if given.json:
        print(json.dumps(result))
        return
    print(f"{given.shape} on {given.device}, {result['threads']} threads, up to {result['branches_per_tree']} questions a tree")
    for kind, speed in result["samples_per_s"].items():
        print(f"  {kind:9}{speed:9.2f} samples/s   loss {result['loss'][kind]:.7f}")
    print(
        f"  ours / padded {result['ratio']:.2f} (batch {result['padded_batch']}, its fastest); by FLOPs {result['bound']:.2f}"
    )
    print(
        f"  {result['share_of_bound']:.0%} of the bound, MFU {result['mfu']:.0%}, peak {result['peak_bytes'] / 2**30:.2f} GiB"
    )


if __name__ == "__main__":
    main()
