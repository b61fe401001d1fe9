"""What a model is, in numbers: the vision encoder, the language model, the tiling, and the four presets.

The numbers of 1b, 2b and 4b are those of Mini-InternVL (arXiv 2410.16261, table 1; the configurations of
OpenGVLab/InternVL2-1B, -2B and -4B): InternViT-300M with Qwen2-0.5B, InternLM2-1.8B (a Llama in transformers) and
Phi-3-mini. Presets have random weights, so the long-context RoPE scaling of the last two is left out; a checkpoint brings
its own.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from adapt.data.template import IMAGE_CONTEXT, PICTURE_TOKENS
from adapt.errors import DataError

NO_TOKEN = -1  # the picture token of a folder whose tokenizer is not there


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """A vision transformer with a class token, layer scale and no final norm, on square tiles of one size.

    ``feature_layer`` says whose output the connector gets, counted as in a list of the embeddings and then each block's
    output: -1 is the last block's, -2 that of the one before it.
    """

    image_size_px: int
    patch_size_px: int
    hidden_size: int
    num_layers: int
    num_heads: int
    mlp_size: int
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-6
    layer_scale_init: float = 0.1
    feature_layer: int = -1

    def __post_init__(self) -> None:
        sizes = {
            name: getattr(self, name) for name in ("image_size_px", "patch_size_px", "hidden_size", "num_heads", "mlp_size")
        }
        for name, value in sizes.items():
            if not isinstance(value, int) or value < 1:
                raise DataError(f"the vision encoder's {name} is {value!r}, expected a positive integer")
        if not -self.num_layers - 1 <= self.feature_layer <= self.num_layers:
            raise DataError(f"feature layer {self.feature_layer} of a vision encoder with {self.num_layers} layers")
        if self.image_size_px % self.patch_size_px:
            raise DataError(f"image size {self.image_size_px} px is not a multiple of the patch size {self.patch_size_px} px")
        if self.hidden_size % self.num_heads:
            raise DataError(f"vision width {self.hidden_size} is not a multiple of its {self.num_heads} heads")

    @property
    def num_blocks_run(self) -> int:
        """Blocks in front of the feature layer: those behind it are kept and stored, and never run."""
        return self.feature_layer if self.feature_layer >= 0 else self.num_layers + 1 + self.feature_layer

    @property
    def grid_size(self) -> int:
        """Patches along one side of a tile."""
        return self.image_size_px // self.patch_size_px


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The whole model. ``language`` is a transformers text configuration as a dict, ``model_type`` included.

    ``ps_version`` is the order of a tile's tokens: "v2" row by row, "v1" column by column (InternVL 1.2). ``internlm2`` says
    that the Llama is an InternLM2, which the official layout stores under its own names.
    """

    vision: VisionConfig
    language: Mapping[str, Any]
    downsample_ratio: float = 0.5
    ps_version: str = "v2"
    internlm2: bool = False
    image_token_id: int = 0
    template: str = "internvl2_5"
    max_tiles: int = 12
    preset: str | None = None

    def __post_init__(self) -> None:
        if self.ps_version not in ("v1", "v2"):
            raise DataError(f"ps_version {self.ps_version!r}; expected 'v1' or 'v2'")
        if (
            not 0 < self.downsample_ratio <= 1
            or self.shuffle_size != 1 / self.downsample_ratio
            or self.vision.grid_size % self.shuffle_size
        ):
            raise DataError(
                f"downsample_ratio {self.downsample_ratio} with {self.vision.grid_size} patches a side; "
                "expected 1/n with n a divisor of the patches"
            )

    @property
    def shuffle_size(self) -> int:
        """Patches along one side of the cell that becomes one token."""
        return round(1 / self.downsample_ratio)

    @property
    def tokens_per_tile(self) -> int:
        return (self.vision.grid_size // self.shuffle_size) ** 2

    @property
    def tile_px(self) -> int:
        return self.vision.image_size_px


_VIDEO = "<video>"  # transformers' conversions of InternVL add it to the tokenizer, and no row for it


def for_tokenizer(config: ModelConfig, tokenizer: Any, *, grows: bool = False) -> ModelConfig:
    """``config`` with the picture token of ``tokenizer``; with ``grows`` also with rows for picture tokens that have none.

    Raises DataError where the vocabulary has too few rows, and where config and tokenizer name different picture tokens.
    """
    image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_CONTEXT)
    if image_token_id is None or image_token_id == tokenizer.unk_token_id:
        raise DataError("the tokenizer has no '<IMG_CONTEXT>' token; expected an InternVL tokenizer")
    num_rows = config.language["vocab_size"]
    new = [tokenizer.convert_ids_to_tokens(number) for number in range(num_rows, len(tokenizer))]
    if new and not (grows and set(new) <= {*PICTURE_TOKENS, _VIDEO}):
        raise DataError(
            f"the tokenizer has {len(tokenizer):,} tokens, the language model {num_rows:,} rows; "
            "train a smaller tokenizer or choose the model that the tokenizer belongs to"
        )
    if grows and config.image_token_id not in (NO_TOKEN, image_token_id):
        raise DataError(
            f"config.json says that <IMG_CONTEXT> is {config.image_token_id}, the tokenizer {image_token_id}; "
            "the files do not belong together"
        )
    language = {**config.language, "vocab_size": max(num_rows, len(tokenizer))}
    return dataclasses.replace(config, image_token_id=image_token_id, language=language)


def _rope(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


INTERNVIT_300M = VisionConfig(image_size_px=448, patch_size_px=14, hidden_size=1024, num_layers=24, num_heads=16, mlp_size=4096)

NANO_VISION = VisionConfig(image_size_px=64, patch_size_px=8, hidden_size=192, num_layers=6, num_heads=4, mlp_size=768)

NANO_LANGUAGE = {
    "model_type": "qwen2",
    "vocab_size": 2048,
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.07,  # about width ** -0.5, as in the vision tower
    "rope_parameters": _rope(1e4),
    "tie_word_embeddings": False,
}

QWEN2_0_5B = {
    "model_type": "qwen2",
    "vocab_size": 151655,
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_parameters": _rope(1e6),
    "tie_word_embeddings": False,
}

INTERNLM2_1_8B = {
    "model_type": "llama",
    "vocab_size": 92553,
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "rope_parameters": _rope(1e6),
    "tie_word_embeddings": False,
}

PHI_3_MINI = {
    "model_type": "phi3",
    "vocab_size": 32020,
    "hidden_size": 3072,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_parameters": _rope(1e4),
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 32000,
    "pad_token_id": None,  # a padding row of the embedding would never learn
}

PRESETS: dict[str, ModelConfig] = {
    "nano": ModelConfig(NANO_VISION, NANO_LANGUAGE, image_token_id=5, preset="nano"),
    "1b": ModelConfig(INTERNVIT_300M, QWEN2_0_5B, image_token_id=151648, preset="1b"),
    "2b": ModelConfig(INTERNVIT_300M, INTERNLM2_1_8B, internlm2=True, image_token_id=92546, preset="2b"),
    "4b": ModelConfig(INTERNVIT_300M, PHI_3_MINI, image_token_id=32013, preset="4b"),
}
