"""A small tokenizer and small models of each language family."""

import pytest
from transformers import PreTrainedTokenizerFast

from adapt.data.tokenizer import train_tokenizer
from adapt.model.config import ModelConfig, VisionConfig

LANGUAGE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 160,
    "max_position_embeddings": 2048,
    "pad_token_id": None,
    "eos_token_id": None,
}
FAMILIES = {
    "qwen2": {
        **LANGUAGE,
        "model_type": "qwen2",
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    },
    "llama": {**LANGUAGE, "model_type": "llama", "num_key_value_heads": 2, "rms_norm_eps": 1e-5},
    "internlm2": {**LANGUAGE, "model_type": "llama", "num_key_value_heads": 2, "attention_bias": False, "mlp_bias": False},
    "qwen3": {**LANGUAGE, "model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 24},
    "phi3": {**LANGUAGE, "model_type": "phi3", "num_key_value_heads": 4, "rms_norm_eps": 1e-5},
}
VISION = VisionConfig(
    image_size_px=32,
    patch_size_px=8,
    hidden_size=48,
    num_layers=3,
    num_heads=4,
    mlp_size=100,
    layer_norm_eps=1e-5,
    layer_scale_init=0.2,
)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["Which class is it? A river, a harbour or a runway."] * 50, 400)


@pytest.fixture(params=sorted(FAMILIES))
def tiny_config(request) -> ModelConfig:
    """A model of each family; ``parametrize("tiny_config", ["qwen2"], indirect=True)`` takes one."""
    return ModelConfig(VISION, FAMILIES[request.param], internlm2=request.param == "internlm2", image_token_id=5, max_tiles=6)
