"""What full tuning of the presets needs on GPUs of four sizes: optimizer, packs and peak, as the memory model says.

The table is the one of docs/memory.md. A pack holds pictures of up to 12 tiles and a thumbnail; precision is bfloat16; each
card gives up the CUDA context and what the allocator loses (adapt.train.budget.USABLE). For each card the first optimizer of
adamw, adamw8bit and adamw-offload under which a step fits.

With a GPU the peak of two steps is measured too, beside what was predicted for the same packs.

Run: python -m benchmarks.memory [--model 1b]
"""

import argparse
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from adapt.data.packing import EncodedTree, collate
from adapt.errors import DataError
from adapt.model.config import PRESETS, ModelConfig
from adapt.model.internvl import InternVL
from adapt.train import budget, memory
from adapt.train.optim import make_optimizer
from adapt.train.recipe import TrainRecipe
from adapt.train.run import compile_layers, count_parameters

MODELS = ("1b", "2b", "4b")
CARDS_GB = (16, 24, 48, 80)
OPTIMIZERS = ("adamw", "adamw8bit", "adamw-offload")
CONTEXT_BYTES = 600 * 2**20  # what CUDA takes for itself
TILES, TEXT_TOKENS = 13, 384  # of the largest record
DEMAND = budget.Demand(
    sample_tokens=TILES * 256 + TEXT_TOKENS,
    record_tiles=TILES,
    tree_tokens=budget.MOST_TOKENS,
    step_tokens=10 * budget.MOST_TOKENS,
    step_tiles=10 * budget.MOST_TILES,
    step_predicted=budget.MOST_TOKENS,
)


def predictor(config: ModelConfig) -> memory.Predictor:
    """Predictions of full tuning in bfloat16 on one GPU."""
    num_trained, num_frozen = count_parameters(config, TrainRecipe())

    def predicted(recipe: TrainRecipe, pack: memory.Pack) -> memory.Memory:
        return memory.predict(config, recipe, pack, torch.bfloat16, num_trained=num_trained, num_frozen=num_frozen)

    return predicted


def fitting(predicted: memory.Predictor, card_gb: int) -> budget.Fitting:
    """What fits a card of that size."""
    return budget.Fitting(DEMAND, predicted, "cuda", int(budget.USABLE["cuda"] * (card_gb * 2**30 - CONTEXT_BYTES)))


def first_that_fits(card: budget.Fitting) -> TrainRecipe | None:
    """The recipe of the first optimizer under which a step fits, its packs chosen as a run chooses them."""
    for optimizer in OPTIMIZERS:
        try:
            return budget.choose(TrainRecipe(optimizer=optimizer), card)
        except DataError:
            continue
    return None


def gigabytes(number: int) -> str:
    """In GiB, which is what a card's size counts."""
    return f"{number / 2**30:.1f}"


def table() -> str:
    """The table in Markdown."""
    lines = [
        "| model | card | `train.optimizer` | activations | largest pack | predicted peak |",
        "|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        predicted = predictor(PRESETS[name])
        for size in CARDS_GB:
            card = fitting(predicted, size)
            recipe = first_that_fits(card)
            if recipe is None:
                least = dataclasses.replace(
                    TrainRecipe(optimizer="adamw-offload", checkpoint_activations="yes"),
                    pack_tokens=DEMAND.sample_tokens,
                    pack_tiles=DEMAND.record_tiles,
                )
                needed = gigabytes(card.peak(least).total)
                lines.append(f"| {name} | {size} GB | does not fit: the least, with adamw-offload, is {needed} GB | | | |")
                continue
            kept = "computed again" if recipe.checkpoint_activations == "yes" else "kept"
            packs = f"{recipe.pack_tokens:,} tokens, {recipe.pack_tiles} tiles"
            peak = gigabytes(card.peak(recipe).total)
            lines.append(f"| {name} | {size} GB | {recipe.optimizer} | {kept} | {packs} | {peak} GB |")
    return "\n".join(lines)


def trees_of(config: ModelConfig, recipe: TrainRecipe) -> list[EncodedTree]:
    """As many pictures of the largest record as fill a pack."""
    prefix = np.r_[np.arange(10, 50), np.full(config.tokens_per_tile * TILES, config.image_token_id)]
    text = TEXT_TOKENS - 40
    tree = EncodedTree(
        prefix_ids=prefix,
        prefix_weights=np.zeros(len(prefix)),
        branches=(np.full(text, 10),),
        branch_weights=(np.r_[np.zeros(text // 2), np.ones(text - text // 2)],),
        tiles=np.zeros((TILES, config.tile_px, config.tile_px, 3), np.uint8),
        keep=np.ones((2 * config.vision.num_layers, TILES), np.float32),
        sources=(0,),
    )
    return [tree] * min(recipe.pack_tokens // tree.num_tokens, recipe.pack_tiles // TILES)


def measure(name: str, recipe: TrainRecipe, device: torch.device, *, compiled: bool) -> tuple[int, int]:
    """(predicted, real) peak of two steps of two packs on a GPU."""
    config = PRESETS[name]
    batch = collate(trees_of(config, recipe), config.image_token_id, one_row=True).to(device)
    places = batch.input_ids_RL.numel()
    pack = memory.Pack(places, places, batch.num_tiles, len(batch.target_ids_P))
    model = InternVL(config).to(device).train()
    if recipe.checkpoint_activations == "yes":
        model.checkpoint_activations()
    compile_layers(model, dataclasses.replace(recipe, compile="yes" if compiled else "no"), device)
    optimizer = make_optimizer(model, recipe)
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        for _ in range(2):
            with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
                losses_P = model(batch)
            losses_P.mean().backward()
            del losses_P
        optimizer.step()
    return predictor(config)(recipe, pack).total, torch.cuda.max_memory_allocated(device)


def show_measured(names: Sequence[str], device: torch.device) -> None:
    """Print the predicted and the real peak of what fits this GPU."""
    free = budget.free_bytes(device)
    assert free is not None, "a GPU says what is free"
    print("\n| model | `train.optimizer` | compiled | predicted | real | predicted over real |\n|---|---|---|---|---|---|")
    for name in names:
        for optimizer in OPTIMIZERS:
            card = budget.Fitting(DEMAND, predictor(PRESETS[name]), "cuda", int(budget.USABLE["cuda"] * free))
            try:
                recipe = budget.choose(TrainRecipe(optimizer=optimizer), card)
            except DataError as error:
                print(f"| {name} | {optimizer} | does not fit: {error} | | | |")
                continue
            for compiled in (False, True):
                predicted, real = measure(name, recipe, device, compiled=compiled)
                torch.cuda.empty_cache()
                shown = f"{gigabytes(predicted)} GB | {gigabytes(real)} GB | {predicted / real:.3f}"
                print(f"| {name} | {optimizer} | {'yes' if compiled else 'no'} | {shown} |")


def main() -> None:
    """Print the table; with a GPU what was measured too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, action="append", help="measure this one on the GPU; all by default")
    names = parser.parse_args().model or MODELS
    print(table())
    if torch.cuda.is_available():
        show_measured(names, torch.device("cuda"))


if __name__ == "__main__":
    main()
