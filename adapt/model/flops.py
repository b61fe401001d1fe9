"""A model's costs in floating point operations.

Counted are the matrix products and attention; norms and activations are small beside them.
"""

from adapt.data.flops import Flops
from adapt.model.config import ModelConfig
from adapt.model.language import language_config


def flops_of(config: ModelConfig) -> Flops:
    """The costs of a model."""
    vision, language = config.vision, language_config(config.language)
    width, hidden = vision.hidden_size, language.hidden_size
    places = vision.grid_size**2 + 1
    matrices = 2 * places * (4 * width**2 + 2 * width * vision.mlp_size)
    tower = vision.num_blocks_run * (matrices + 4 * places**2 * width)
    connector = config.tokens_per_tile * 2 * (config.shuffle_size**2 * width * hidden + hidden**2)
    heads = language.num_attention_heads
    head_size = getattr(language, "head_dim", None) or hidden // heads
    attended = heads * head_size
    shared = 2 * (getattr(language, "num_key_value_heads", None) or heads) * head_size
    layer = hidden * (2 * attended + shared) + 3 * hidden * language.intermediate_size
    return Flops(
        per_tile=tower + connector,
        per_token=2.0 * language.num_hidden_layers * layer,
        per_pair=4.0 * language.num_hidden_layers * attended,
        per_prediction=2.0 * hidden * language.vocab_size,
    )
