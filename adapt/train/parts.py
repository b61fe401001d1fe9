"""Which weights of a run train: the parts of its stage, or LoRA adapters beside the frozen language model.

Adapters (Hu et al., "LoRA: low-rank adaptation of large language models", 2021) come from peft. They are put into the language
model alone, by the full names of its layers: by suffix (q_proj and the like) peft would find the vision tower's too, which
have the same names in transformers.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from adapt import atomic
from adapt.errors import DataError, UsageError
from adapt.model.internvl import InternVL
from adapt.model.loading import Found
from adapt.train.recipe import LORA, PARTS, TrainRecipe, trained_parts

_ADAPTER = "default"  # peft's name of the only one
_OURS = re.compile(rf"language\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.{_ADAPTER}\.weight")
_STORED = re.compile(r"base_model\.model\.model\.language_model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")


def set_trained(model: InternVL, recipe: TrainRecipe) -> None:
    """Let the parts of the recipe's stage train and nothing else; under stage=lora, put adapters in (they start as zero).

    Raises UsageError where peft is needed and not installed.
    """
    trained = trained_parts(recipe)
    for name in PARTS:
        getattr(model, name).requires_grad_(name in trained)
    if recipe.stage == LORA:
        _add_adapters(model, recipe.lora_rank, recipe.lora_alpha)


def _add_adapters(model: InternVL, rank: int, alpha: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UsageError("train.stage=lora needs peft; run: pip install 'adapt-vlm[lora]'") from error
    layers = [model.language.get_submodule(name) for name in _linear_layers(model)]
    narrowest = min(min(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear))
    if rank > narrowest:
        raise UsageError(f"train.lora_rank={rank}: the smallest matrix has a side of {narrowest:,}; expected at most that")
    # No dropout: it would draw from the process's own generator, and a resumed run would not be the same run.
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=_linear_layers(model))
    inject_adapter_in_model(config, model.language, adapter_name=_ADAPTER)


def _linear_layers(model: InternVL) -> list[str]:
    """Names, below the language model, of the matrices that get an adapter: all of its layers', the head and embeddings not."""
    inner = model.language.named_modules()
    return [name for name, module in inner if isinstance(module, nn.Linear) and name.startswith("model.layers.")]


def merged_state(state: Mapping[str, Tensor], recipe: TrainRecipe) -> dict[str, Tensor]:
    """The weights by our names (of ``state``, on one device), adapters added to what they stand beside."""
    merged = {}
    for name, tensor in state.items():
        layer, base, leaf = name.rpartition(".base_layer.")
        if base and leaf == "weight":
            above, below = (state[f"{layer}.lora_{side}.{_ADAPTER}.weight"] for side in ("B", "A"))
            merged[f"{layer}.weight"] = tensor + (above @ below * (recipe.lora_alpha / recipe.lora_rank)).to(tensor.dtype)
        elif base:
            merged[f"{layer}.{leaf}"] = tensor
        elif not _OURS.fullmatch(name):
            merged[name] = tensor
    return merged


def adapter_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapters among ``tensors`` (ours by name), by the names that peft stores for transformers' InternVL."""
    found = {match: tensor for name, tensor in tensors.items() if (match := _OURS.fullmatch(name))}
    return {
        f"base_model.model.model.language_model.{match['layer']}.lora_{match['side']}.weight": tensor
        for match, tensor in found.items()
    }


def from_adapter_state(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``adapter_state``. Raises DataError for another name."""
    named = {}
    for name, tensor in stored.items():
        match = _STORED.fullmatch(name)
        if match is None:
            raise DataError(f"'{name}' is no adapter of the language model")
        named[f"language.model.{match['layer']}.lora_{match['side']}.{_ADAPTER}.weight"] = tensor
    return named


def save_adapter(folder: Path, state: Mapping[str, Tensor], recipe: TrainRecipe, base: Found) -> None:
    """Write the adapters among ``state`` for ``PeftModel.from_pretrained(base, folder)`` onto transformers' InternVL."""
    leaves = sorted({name.rpartition(".")[2] for name in _adapted_layers(state)})
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "base_model_name_or_path": base.provenance.get("hub", str(base.folder)),
        "revision": base.provenance.get("commit"),
        "r": recipe.lora_rank,
        "lora_alpha": recipe.lora_alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": rf"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.({'|'.join(leaves)})",
    }
    with atomic.staged_folder(folder) as staged:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter_state(state).items()}
        save_file(tensors, staged / "adapter_model.safetensors", metadata={"format": "pt"})
        (staged / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _adapted_layers(state: Mapping[str, Tensor]) -> set[str]:
    return {match["layer"] for name in state if (match := _OURS.fullmatch(name))}
