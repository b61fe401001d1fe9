"""The language model: any causal language model that transformers has, built from its configuration."""

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from adapt.errors import DataError
from adapt.model.attention import TREES


def known_settings(language: Mapping[str, Any]) -> dict[str, Any]:
    """``language`` without what the configuration class of its ``model_type`` does not define (code, names, generation).

    Raises DataError for a model type that transformers does not have.
    """
    model_type = str(language.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        raise DataError(f"language model type {model_type!r} is not one of transformers' own; remote code is never run")
    defined = CONFIG_MAPPING[model_type]().to_dict().keys() - PreTrainedConfig().to_dict().keys()
    return {name: value for name, value in language.items() if name in defined | _ALWAYS_KEPT}


_ALWAYS_KEPT = {"model_type", "rope_theta", "rope_scaling", "bos_token_id", "eos_token_id", "pad_token_id"}


def language_config(language: Mapping[str, Any]) -> PreTrainedConfig:
    """The transformers configuration for the dict ``language``.

    Raises DataError for an unknown model type and for settings that transformers refuses.
    """
    settings = known_settings(language)
    if (scaling := settings.get("rope_scaling")) and scaling.get("type") == "su":
        # Phi-3's first name for longrope; transformers renames it too late to find the trained length.
        settings["rope_scaling"] = {**scaling, "type": "longrope"}
    try:
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    except (KeyError, ValueError, TypeError, StrictDataclassError) as error:
        raise DataError(f"the configuration of the language model is not one that transformers takes: {error}") from error
    config.tie_word_embeddings = False
    rope = getattr(config, "rope_parameters", None) or {}
    for each in (rope, *(inner for inner in rope.values() if isinstance(inner, dict))):
        each.pop("type", None)  # the older name of rope_type, which transformers keeps or adds
    return config


def rope_threshold(language: Mapping[str, Any]) -> int | None:
    """The most tokens that the first RoPE factors serve, where they depend on the length; None where they do not.

    transformers picks the factors of longrope and dynamic scaling by the largest position of all that is computed together
    (``modeling_rope_utils.dynamic_rope_update``). So sequences of at most this many tokens, and longer ones, are computed
    apart. ``language`` is the dict of a ModelConfig.
    """
    config = language_config(language)
    found = getattr(config, "rope_parameters", None) or {}
    by_layer = list(found.values()) if found and all(isinstance(each, dict) for each in found.values()) else [found]
    limits = []
    for rope in by_layer:
        if rope.get("rope_type") == "longrope":
            limits.append(int(rope["original_max_position_embeddings"]))
        elif "dynamic" in rope.get("rope_type", ""):
            limits.append(int(config.max_position_embeddings))
    return min(limits, default=None)


def build_language(language: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A language model with random weights and its own output head; attention is adapt.model.attention's."""
    config = language_config(language)
    try:
        model = AutoModelForCausalLM.from_config(config, attn_implementation=TREES, dtype=dtype, trust_remote_code=False)
    except (ValueError, TypeError, ArithmeticError, RuntimeError, AttributeError) as error:
        raise DataError(f"transformers cannot build a causal language model of type {config.model_type!r}: {error}") from error
    _use_torch_norms(model)
    return model


def _use_torch_norms(model: nn.Module) -> None:
    """Replace transformers' RMSNorm by torch's: faster, and not cast to float32 where the weights are float64.

    Same weight name and eps. torch computes in float32 inside for bfloat16 and rounds once, at the end; transformers
    rounds before the weight too, so the two differ by one rounding there.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm") and not isinstance(child, nn.RMSNorm):
                norm: Any = child
                replacement = nn.RMSNorm(norm.weight.shape, eps=norm.variance_epsilon, device="meta")
                replacement.weight = norm.weight
                setattr(parent, name, replacement)
