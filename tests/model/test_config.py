"""The presets' numbers, and what a configuration refuses."""

import dataclasses
import math

import pytest
import torch

from adapt.errors import DataError
from adapt.model.config import INTERNVIT_300M, PRESETS, for_tokenizer
from adapt.model.internvl import InternVL


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "connector", "language"), [("1b", 4_482_816, 0.63e9), ("2b", 12_595_200, 1.89e9), ("4b", 22_034_432, 3.82e9)]
)
def test_published_sizes(name: str, connector: int, language: float) -> None:
    """The presets have the published sizes: 304,012,288 vision parameters, and the connectors to the last one."""
    with torch.device("meta"):
        model = InternVL(PRESETS[name])
    assert count(model.vision) == 304_012_288
    assert count(model.connector) == connector
    assert math.isclose(count(model.language), language, rel_tol=0.01)
    assert model.language.lm_head.weight is not model.language.model.embed_tokens.weight


def test_tokens_per_tile() -> None:
    """A 448 px tile is 256 tokens, a nano tile 16."""
    assert [PRESETS[name].tokens_per_tile for name in ("nano", "1b", "2b", "4b")] == [16, 256, 256, 256]
    assert [PRESETS[name].tile_px for name in ("nano", "1b")] == [64, 448]


def test_nano_is_small() -> None:
    """nano stays near five million parameters, so that a laptop learns with it."""
    with torch.device("meta"):
        assert 3e6 < count(InternVL(PRESETS["nano"])) < 8e6


def test_impossible_numbers() -> None:
    """Numbers that cannot make a model are refused with the numbers in the message."""
    with pytest.raises(DataError, match="450 px is not a multiple"):
        dataclasses.replace(INTERNVIT_300M, image_size_px=450)
    with pytest.raises(DataError, match="15 heads"):
        dataclasses.replace(INTERNVIT_300M, num_heads=15)
    with pytest.raises(DataError, match="0.3"):
        dataclasses.replace(PRESETS["1b"], downsample_ratio=0.3)


def test_tokenizer_fits(tiny_tokenizer) -> None:
    """A preset takes its picture token from the tokenizer, and refuses a tokenizer larger than its vocabulary."""
    fitted = for_tokenizer(PRESETS["1b"], tiny_tokenizer)
    assert tiny_tokenizer.convert_ids_to_tokens(fitted.image_token_id) == "<IMG_CONTEXT>"
    small = dataclasses.replace(PRESETS["nano"], language=dict(PRESETS["nano"].language, vocab_size=100))
    with pytest.raises(DataError, match="100 rows"):
        for_tokenizer(small, tiny_tokenizer)
