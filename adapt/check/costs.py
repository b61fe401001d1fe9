"""What rows will cost with a model: tiles and tokens, and which rows are over the recipe's limits."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapt.check.faults import Fault
from adapt.check.pictures import Picture
from adapt.check.rows import Row


@dataclasses.dataclass(frozen=True)
class Costs:
    """Tiles and tokens of each row that could be measured, the faults among them, and the rule they follow."""

    tiles: dict[str, Any]
    tokens: dict[str, Any]
    faults: list[Fault]


def predict(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture], model: str) -> Costs:
    """Count tiles and tokens as a run with ``model`` does. A preset's tokenizer is trained on these rows, as a run would."""
    from adapt.data.template import encode_turns, get_template
    from adapt.data.tiling import count_tiles, tile_budget
    from adapt.data.tokenizer import tokenizer_for_run
    from adapt.model.loading import find_model
    from adapt.model.tokenizer_files import load_tokenizer
    from adapt.train.recipe import PRESET_RECIPES, make_recipe

    found = find_model(model)
    recipe = make_recipe(PRESET_RECIPES.get(found.config.preset or "", {}))
    usable = [row for row in rows if all(not pictures[row.root, name].fault for name in row.record.images)]
    if found.folder is not None:
        tokenizer = load_tokenizer(found.folder)
    else:
        records = [row.record for row in usable]
        only_test = all((record.split or "").startswith("test") for record in records)  # a run takes those with --accept-test
        tokenizer = tokenizer_for_run(records, found.config.language["vocab_size"], accept_test=only_test)
    template = get_template(found.config.template)
    tiles, tokens, faults = [], [], []
    most_tokens = min(recipe.data.max_tokens, recipe.train.pack_tokens or recipe.data.max_tokens)  # 0: auto, as much as needed
    most_tiles = recipe.train.pack_tiles or recipe.data.max_tokens // found.config.tokens_per_tile
    for row in usable:
        budget = tile_budget(recipe.data.max_tiles, len(row.record.images), row.record.max_tiles)
        sizes = [pictures[row.root, name].size for name in row.record.images]
        row_tiles = sum(count_tiles(width, height, budget, found.config.tile_px) for width, height in sizes)
        text_tokens = len(encode_turns(row.record.turns, template, tokenizer).input_ids) - len(sizes)
        row_tokens = text_tokens + row_tiles * found.config.tokens_per_tile
        tiles.append(row_tiles)
        tokens.append(row_tokens)
        if row_tokens > most_tokens or row_tiles > most_tiles:
            message = f"{row_tokens:,} tokens and {row_tiles} tiles, expected at most {most_tokens:,} and {most_tiles}"
            faults.append(Fault(row.where, "long", f"{message}; raise data.max_tokens or lower data.max_tiles"))
    return Costs(_summary(tiles), _summary(tokens), faults)


def _summary(counts: Sequence[int]) -> dict[str, Any]:
    if not counts:
        return {"total": 0, "mean": 0.0, "median": 0, "largest": 0}
    return {
        "total": int(np.sum(counts)),
        "mean": round(float(np.mean(counts)), 1),
        "median": int(np.median(counts)),
        "largest": max(counts),
    }
