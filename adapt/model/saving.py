"""A model folder that others load: as a transformers model, or in the official ``internvl_chat`` layout. Whole or not at all.

Sources: transformers/models/internvl; internvl_chat/tools/internvl_hf2custom.py and the configuration files of
github.com/OpenGVLab/InternVL.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    GenerationConfig,
    InternVLConfig,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

import adapt
from adapt import atomic, safe
from adapt.data.template import IMAGE_CONTEXT, Template, chat_template, get_template, opens_with_bos
from adapt.data.tiling import IMAGENET_MEAN, IMAGENET_STD
from adapt.errors import DataError
from adapt.model.card import TrainingFacts, model_card
from adapt.model.config import ModelConfig
from adapt.model.folder import ONLY_TILING, compare_shapes, expected_shapes
from adapt.model.language import language_config
from adapt.model.layouts import TRANSFORMERS, official_layout, to_disk

FORMATS = ("transformers", "internvl")


def save_model(
    folder: Path | str,
    config: ModelConfig,
    state: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    dtype: torch.dtype | None,
    provenance: Mapping[str, Any],
    layout: str = "transformers",
    facts: TrainingFacts | None = None,
    advice: str = atomic.ADVICE,
) -> None:
    """Write a model folder in one of ``FORMATS``.

    ``dtype`` is that of the stored weights, None keeps each as it is. Without a ``tokenizer`` the folder has the model
    alone: no processor, no chat template, no card. ``facts`` are what the card tells of a training, ``advice`` what to do where
    the disk refuses the folder. Raises DataError where state and config do not fit each other, and for a model that the format
    cannot hold.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    compare_shapes(shapes, expected_shapes(config), str(folder))
    own_token = None if tokenizer is None else tokenizer.convert_tokens_to_ids(IMAGE_CONTEXT)
    assert own_token in (None, config.image_token_id), "another tokenizer's image_token_id"
    stored = dtype or next(iter(state.values())).dtype
    names = TRANSFORMERS if layout == "transformers" else official_layout(config)
    with atomic.staged_folder(Path(folder), advice=advice) as staged:
        if layout == "transformers":
            transformers_config(config, stored).save_pretrained(staged)
        else:
            _write_json(staged / "config.json", official_config(config, stored))
        tensors = {name: tensor.to("cpu", dtype or tensor.dtype).contiguous() for name, tensor in to_disk(state, names).items()}
        save_file(tensors, staged / "model.safetensors", metadata={"format": "pt"})
        if tokenizer is not None:
            _save_tokenizer(staged, config, tokenizer, layout)
            if layout == "transformers":
                card = model_card(config.template, config.max_tiles, provenance, facts)
                (staged / "README.md").write_text(card, encoding="utf-8")
        if layout == "internvl":
            _write_json(staged / "preprocessor_config.json", _official_preprocessor(config))
        own = {
            "adapt_version": adapt.__version__,
            "template": config.template,
            "tiling": {"rule": "internvl", "tile_px": config.tile_px, "max_tiles": config.max_tiles, **ONLY_TILING},
            "internlm2": config.internlm2,
            "preset": config.preset,
            "provenance": dict(provenance),
        }
        _write_json(staged / "adapt.json", own)


def _save_tokenizer(folder: Path, config: ModelConfig, tokenizer: PreTrainedTokenizerBase, layout: str) -> None:
    """The tokenizer and how to generate with it; of the transformers layout with the processor and its chat template."""
    template = get_template(config.template)
    if layout == "transformers":
        _save_processor(folder, config, tokenizer, template)
    else:
        tokenizer.chat_template = None
        tokenizer.save_pretrained(folder)
    _name_tokenizer_class(folder)
    _generation(tokenizer, template).save_pretrained(folder)


def _name_tokenizer_class(folder: Path) -> None:
    """Call the tokenizer by the name that every release of transformers knows; 5 writes one that 4 has not."""
    place = folder / "tokenizer_config.json"
    config = safe.read_object(place)
    _write_json(place, config | {"tokenizer_class": "PreTrainedTokenizerFast"})


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _generation(tokenizer: PreTrainedTokenizerBase, template: Template) -> GenerationConfig:
    end = tokenizer.convert_tokens_to_ids(template.end)
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[end] if tokenizer.eos_token_id in (None, end) else [end, tokenizer.eos_token_id],
        pad_token_id=end if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
    )


def transformers_config(config: ModelConfig, dtype: torch.dtype) -> InternVLConfig:
    """The same model as transformers describes it. Raises DataError for ps_version v1, which transformers does not have."""
    if config.ps_version != "v2":
        raise DataError(
            "ps_version 'v1' lists a tile's tokens column by column, which transformers' InternVL cannot; "
            "write it with --format internvl"
        )
    vision = config.vision
    text = language_config(config.language)
    text.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[text.model_type]]
    return InternVLConfig(
        architectures=["InternVLForConditionalGeneration"],
        dtype=str(dtype).removeprefix("torch."),
        vision_config=InternVLVisionConfig(
            hidden_size=vision.hidden_size,
            num_hidden_layers=vision.num_layers,
            num_attention_heads=vision.num_heads,
            intermediate_size=vision.mlp_size,
            attention_bias=vision.qkv_bias,
            layer_norm_eps=vision.layer_norm_eps,
            layer_scale_init_value=vision.layer_scale_init,
            image_size=[vision.image_size_px, vision.image_size_px],
            patch_size=[vision.patch_size_px, vision.patch_size_px],
        ),
        text_config=text,
        image_token_id=config.image_token_id,
        image_seq_length=config.tokens_per_tile,
        downsample_ratio=config.downsample_ratio,
        vision_feature_layer=config.vision.feature_layer,
        tie_word_embeddings=False,
    )


def image_processor(config: ModelConfig) -> GotOcr2ImageProcessorPil:
    """transformers' picture processor with this model's tiling; equal to adapt.data.tiling bit for bit."""
    return GotOcr2ImageProcessorPil(
        size={"height": config.tile_px, "width": config.tile_px},
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_STD),
        crop_to_patches=True,
        min_patches=ONLY_TILING["min_tiles"],
        max_patches=config.max_tiles,
    )


def _save_processor(folder: Path, config: ModelConfig, tokenizer: PreTrainedTokenizerBase, template: Template) -> None:
    pictures = image_processor(config)
    size = {"height": config.tile_px, "width": config.tile_px}
    frames = InternVLVideoProcessor(size=size, image_mean=list(IMAGENET_MEAN), image_std=list(IMAGENET_STD))
    InternVLProcessor(
        pictures,
        tokenizer,
        frames,
        image_seq_length=config.tokens_per_tile,
        chat_template=chat_template(template, bos=opens_with_bos(template, tokenizer)),
    ).save_pretrained(folder)
    pictures.save_pretrained(folder)


def official_config(config: ModelConfig, dtype: torch.dtype) -> dict[str, Any]:
    """The config.json of the official layout with every field of InternVLChatConfig; no ``auto_map``: there is no code."""
    vision, type_name = config.vision, str(dtype).removeprefix("torch.")
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "downsample_ratio": config.downsample_ratio,
        "dynamic_image_size": True,
        "force_image_size": config.tile_px,
        "hidden_size": config.language["hidden_size"],
        "llm_config": _official_language(config, type_name),
        "max_dynamic_patch": config.max_tiles,
        "min_dynamic_patch": ONLY_TILING["min_tiles"],
        "pad2square": False,
        "ps_version": config.ps_version,
        "select_layer": vision.feature_layer,
        "template": config.template,
        "tie_word_embeddings": False,
        "torch_dtype": type_name,
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "use_thumbnail": ONLY_TILING["use_thumbnail"],
        "vision_config": {
            "architectures": ["InternVisionModel"],
            "model_type": "intern_vit_6b",
            "attention_dropout": 0.0,
            "drop_path_rate": 0.0,
            "dropout": 0.0,
            "hidden_act": "gelu",
            "hidden_size": vision.hidden_size,
            "image_size": vision.image_size_px,
            "initializer_factor": vision.layer_scale_init,
            "initializer_range": 0.02,
            "intermediate_size": vision.mlp_size,
            "layer_norm_eps": vision.layer_norm_eps,
            "norm_type": "layer_norm",
            "num_attention_heads": vision.num_heads,
            "num_channels": 3,
            "num_hidden_layers": vision.num_layers,
            "patch_size": vision.patch_size_px,
            "qk_normalization": False,
            "qkv_bias": vision.qkv_bias,
            "torch_dtype": type_name,
            "use_flash_attn": True,
        },
    }


def _official_language(config: ModelConfig, type_name: str) -> dict[str, Any]:
    """The language model's configuration in the words of transformers 4, which the official code runs on."""
    language = language_config(config.language)
    settings = language.to_dict()
    for name in ("rope_parameters", "dtype", "transformers_version", "_name_or_path"):
        settings.pop(name, None)
    rope = dict(language.rope_parameters)
    settings["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type", "default")
    # Phi-3's own code knows longrope by its first name, and the trained length as a setting of the model.
    trained = rope.pop("original_max_position_embeddings", None)
    if trained is not None:
        settings["original_max_position_embeddings"] = trained
    if (share := rope.pop("partial_rotary_factor", 1.0)) != 1.0:
        settings["partial_rotary_factor"] = share
    if kind == "longrope":
        rope.pop("factor", None)  # follows from the two lengths, and Phi-3's own code takes three keys
    settings["rope_scaling"] = None if kind == "default" else {"type": "su" if kind == "longrope" else kind, **rope}
    settings |= {"tie_word_embeddings": False, "torch_dtype": type_name, "use_cache": True}
    if config.internlm2:
        bias = settings.pop("attention_bias")
        settings.pop("mlp_bias", None)
        return settings | {"model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"], "bias": bias}
    return settings | {"architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[language.model_type]]}


def _official_preprocessor(config: ModelConfig) -> dict[str, Any]:
    return {
        "crop_size": config.tile_px,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
        "resample": 3,
        "size": config.tile_px,
    }
