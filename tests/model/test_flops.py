"""What the cost model predicts is what torch counts."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from adapt.data.packing import EncodedTree, collate
from adapt.model.config import PRESETS, ModelConfig
from adapt.model.flops import flops_of
from adapt.model.internvl import InternVL

IMAGE = 5


@pytest.mark.parametrize("tiny_config", ["qwen2", "qwen3", "phi3", "internlm2"], indirect=True)
def test_predicted_operations_are_those_that_torch_counts(tiny_config: ModelConfig) -> None:
    """torch's own counter over a forward pass gives the predicted operations to 1 %; a dense mask computes every pair."""
    config = dataclasses.replace(tiny_config, image_token_id=IMAGE)
    tokens, answer = 2 * config.tokens_per_tile + 12, 6
    tree = EncodedTree(
        prefix_ids=np.r_[6, np.full(2 * config.tokens_per_tile, IMAGE), 7],
        prefix_weights=np.zeros(tokens - 10),
        branches=(np.arange(10, 20),),
        branch_weights=(np.r_[np.zeros(10 - answer), np.ones(answer)],),
        tiles=np.zeros((2, config.tile_px, config.tile_px, 3), np.uint8),
        keep=None,
        sources=(0,),
    )
    batch = collate([tree], IMAGE)
    model = InternVL(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    predicted = flops_of(config).total(tiles=2, tokens=tokens, pairs=tokens**2, predictions=answer)
    patches = 2 * config.vision.grid_size**2 * 3 * config.vision.patch_size_px**2 * config.vision.hidden_size * 2
    assert counter.get_total_flops() == pytest.approx(predicted + patches, rel=0.01)


def test_the_vision_tower_is_most_of_a_tile_of_1b() -> None:
    """A tile of the 1b preset costs 0.73 TFLOP to encode and 256 tokens 0.25 with the head: 2.94 TFLOP with the backward pass.

    Source: the roofline for InternViT-300M with Qwen2-0.5B, 2.18 and 0.76 TFLOP a tile, three times the forward pass.
    """
    flops = flops_of(PRESETS["1b"])
    assert 3 * flops.per_tile == pytest.approx(2.18e12, rel=0.02)
    head_everywhere = flops.total(tiles=0, tokens=256, pairs=256 * 257 // 2, predictions=256)
    assert 3 * head_everywhere == pytest.approx(0.76e12, rel=0.02)
