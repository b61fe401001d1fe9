"""Weights between two models: the ends to the last bit, the middle as torch computes it, what cannot be mixed refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import InternVLForConditionalGeneration, PreTrainedTokenizerFast

from adapt.data.tokenizer import train_tokenizer
from adapt.errors import DataError, UsageError
from adapt.model.config import ModelConfig, VisionConfig
from adapt.model.internvl import InternVL
from adapt.model.interpolation import interpolate
from adapt.model.saving import save_model

VISION = VisionConfig(image_size_px=32, patch_size_px=8, hidden_size=48, num_layers=2, num_heads=4, mlp_size=100)
LANGUAGE = {
    "model_type": "qwen2",
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
    "max_position_embeddings": 2048,
}


@pytest.fixture(scope="module")
def vocabulary() -> PreTrainedTokenizerFast:
    return train_tokenizer(["Which class is it? A river, a harbour or a runway."] * 50, 400)


def write_model(
    folder: Path, vocabulary: PreTrainedTokenizerFast, seed: int, dtype: torch.dtype = torch.float32, **language: int
) -> Path:
    """A model of random weights as a run leaves it."""
    token = vocabulary.convert_tokens_to_ids("<IMG_CONTEXT>")
    config = ModelConfig(VISION, LANGUAGE | language, image_token_id=token, max_tiles=6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = InternVL(config).state_dict()
    save_model(folder, config, state, vocabulary, dtype=dtype, provenance={"seed": seed})
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, vocabulary: PreTrainedTokenizerFast) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return write_model(folder / "base", vocabulary, 0), write_model(folder / "tuned", vocabulary, 1)


@pytest.mark.parametrize(("alpha", "end"), [(0, 0), (1, 1)])
def test_the_ends_are_the_two_models_to_the_last_bit(pair: tuple[Path, Path], tmp_path: Path, alpha: int, end: int) -> None:
    """alpha 0 has the base's bytes, alpha 1 the tuned model's: the whole weights files are equal."""
    made = interpolate(*pair, alpha, tmp_path / "made")
    assert (made / "model.safetensors").read_bytes() == (pair[end] / "model.safetensors").read_bytes()


def test_the_middle_is_the_mean(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """At 0.5 every tensor equals torch.stack(...).mean(0) of the two files as safetensors reads them, bit for bit."""
    made = load_file(interpolate(*pair, 0.5, tmp_path / "made") / "model.safetensors")
    base, tuned = (load_file(folder / "model.safetensors") for folder in pair)
    assert made.keys() == base.keys()
    for name, tensor in made.items():
        assert torch.equal(tensor, torch.stack([base[name], tuned[name]]).mean(dim=0)), name


def test_bfloat16_is_summed_in_float32(tmp_path: Path, vocabulary: PreTrainedTokenizerFast) -> None:
    """A quarter of the way between bfloat16 models equals the float64 sum rounded once."""
    folders = [write_model(tmp_path / str(seed), vocabulary, seed, torch.bfloat16) for seed in (0, 1)]
    made = load_file(interpolate(*folders, 0.25, tmp_path / "made") / "model.safetensors")
    base, tuned = (load_file(folder / "model.safetensors") for folder in folders)
    for name, tensor in made.items():
        exact = 0.75 * base[name].double() + 0.25 * tuned[name].double()
        assert tensor.dtype is torch.bfloat16
        assert (tensor.double() - exact).abs().max() <= exact.abs().max() * 2.0**-8


def test_what_is_written_is_a_model_that_transformers_loads(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """The folder loads as RUN/model does, has the tokenizer, says what it was made of, and has no card of another model."""
    made = interpolate(*pair, 0.3, tmp_path / "made")
    _, info = InternVLForConditionalGeneration.from_pretrained(made, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    own = json.loads((made / "adapt.json").read_text())["provenance"]["interpolated"]
    assert own["alpha"] == 0.3 and own["tuned"] == {"seed": 1}
    assert (made / "tokenizer.json").is_file() and not (made / "README.md").exists()


def test_sharded_weights_are_mixed_by_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A base in several files, as transformers shards it, gives the same model as in one."""
    model = InternVLForConditionalGeneration.from_pretrained(pair[0])
    sharded = tmp_path / "sharded"
    interpolate(*pair, 0, sharded)
    (sharded / "model.safetensors").unlink()
    model.save_pretrained(sharded, max_shard_size="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    made = interpolate(sharded, pair[1], 0.25, tmp_path / "made") / "model.safetensors"
    assert made.read_bytes() == (interpolate(*pair, 0.25, tmp_path / "whole") / "model.safetensors").read_bytes()


def test_models_of_other_shape_or_vocabulary_are_refused(
    pair: tuple[Path, Path], tmp_path: Path, vocabulary: PreTrainedTokenizerFast
) -> None:
    """Another width is named, another vocabulary of the same length too, and nothing is left behind."""
    wide = write_model(tmp_path / "wide", vocabulary, 0, intermediate_size=192)
    with pytest.raises(DataError, match="differ in language"):
        interpolate(wide, pair[1], 0.5, tmp_path / "made")
    other = train_tokenizer(["Questions of another field, in other words entirely; nothing alike."] * 50, 400)
    spoken = write_model(tmp_path / "spoken", other, 0)
    with pytest.raises(DataError, match="vocabularies"):
        interpolate(spoken, pair[1], 0.5, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_an_alpha_outside_is_wrong_usage(pair: tuple[Path, Path], tmp_path: Path, alpha: float) -> None:
    """0 to 1: no extrapolation."""
    with pytest.raises(UsageError, match="expected 0"):
        interpolate(*pair, alpha, tmp_path / "made")


def test_a_preset_is_no_end(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Random weights of a preset lie in no folder."""
    with pytest.raises(DataError, match="transformers layout"):
        interpolate("nano", pair[1], 0.5, tmp_path / "made")
