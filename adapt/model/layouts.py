"""The model on disk: names of tensors in each layout, and the folder that transformers loads as it is.

In memory our names are ``vision.vit.*`` (timm's), ``connector.*`` and ``language.*`` (transformers' causal language
model). A layout is a table of rules; a rule says which of our tensors become which on disk, and back, bit for bit, so the
same table serves weights and optimizer moments.

Sources: internvl_chat/tools/internvl_custom2hf.py and internvl_chat/internvl/model/internvl_chat/ of
github.com/OpenGVLab/InternVL; transformers/models/internvl (names of ``save_pretrained``).
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoTokenizer,
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
from adapt.data.template import IMAGE_CONTEXT, IMAGE_END, IMAGE_START, chat_template, get_template
from adapt.data.tiling import IMAGENET_MEAN, IMAGENET_STD
from adapt.errors import DataError
from adapt.model.config import ModelConfig, VisionConfig
from adapt.model.internvl import InternVL
from adapt.model.language import known_settings, language_config

Tensors = Sequence[Tensor]
NO_TOKEN = -1  # the picture token of a folder whose tokenizer is not there


@dataclasses.dataclass(frozen=True)
class Rule:
    """``ours`` become ``disk`` through ``to_disk``, and back; ``{i}`` stands for a number, ``{rest}`` for anything."""

    ours: tuple[str, ...]
    disk: tuple[str, ...]
    to_disk: Callable[[Tensors], Tensors] = list
    from_disk: Callable[[Tensors], Tensors] = list


Layout = tuple[Rule, ...]


def _renamed(ours: str, disk: str) -> Rule:
    return Rule((ours,), (disk,))


def _thirds(tensors: Tensors) -> Tensors:
    return [part.contiguous() for part in tensors[0].chunk(3)]


def _joined(tensors: Tensors) -> Tensors:
    return [torch.cat(list(tensors))]


_TIMM_BLOCK = "vision.vit.blocks.{i}."
_HF_LAYER = "vision_tower.encoder.layer.{i}."

TRANSFORMERS: Layout = (
    _renamed("vision.vit.cls_token", "vision_tower.embeddings.cls_token"),
    _renamed("vision.vit.pos_embed", "vision_tower.embeddings.position_embeddings"),
    _renamed("vision.vit.patch_embed.proj.{rest}", "vision_tower.embeddings.patch_embeddings.projection.{rest}"),
    Rule(
        (_TIMM_BLOCK + "attn.qkv.{rest}",),
        tuple(_HF_LAYER + f"attention.{part}_proj.{{rest}}" for part in "qkv"),
        _thirds,
        _joined,
    ),
    _renamed(_TIMM_BLOCK + "attn.proj.{rest}", _HF_LAYER + "attention.projection_layer.{rest}"),
    _renamed(_TIMM_BLOCK + "norm1.{rest}", _HF_LAYER + "layernorm_before.{rest}"),
    _renamed(_TIMM_BLOCK + "norm2.{rest}", _HF_LAYER + "layernorm_after.{rest}"),
    _renamed(_TIMM_BLOCK + "ls1.gamma", _HF_LAYER + "lambda_1"),
    _renamed(_TIMM_BLOCK + "ls2.gamma", _HF_LAYER + "lambda_2"),
    _renamed(_TIMM_BLOCK + "mlp.{rest}", _HF_LAYER + "mlp.{rest}"),
    _renamed("connector.norm.{rest}", "multi_modal_projector.layer_norm.{rest}"),
    _renamed("connector.linear_1.{rest}", "multi_modal_projector.linear_1.{rest}"),
    _renamed("connector.linear_2.{rest}", "multi_modal_projector.linear_2.{rest}"),
    _renamed("language.{rest}", "language_model.{rest}"),
)


_OFFICIAL_LAYER = "vision_model.encoder.layers.{i}."

_OFFICIAL_PICTURES: Layout = (
    _renamed("vision.vit.cls_token", "vision_model.embeddings.class_embedding"),
    _renamed("vision.vit.pos_embed", "vision_model.embeddings.position_embedding"),
    _renamed("vision.vit.patch_embed.proj.{rest}", "vision_model.embeddings.patch_embedding.{rest}"),
    _renamed(_TIMM_BLOCK + "ls1.gamma", _OFFICIAL_LAYER + "ls1"),
    _renamed(_TIMM_BLOCK + "ls2.gamma", _OFFICIAL_LAYER + "ls2"),
    _renamed(_TIMM_BLOCK + "{rest}", _OFFICIAL_LAYER + "{rest}"),
    _renamed("connector.norm.{rest}", "mlp1.0.{rest}"),
    _renamed("connector.linear_1.{rest}", "mlp1.1.{rest}"),
    _renamed("connector.linear_2.{rest}", "mlp1.3.{rest}"),
)

_LLAMA_LAYER, _INTERNLM2_LAYER = "language.model.layers.{i}.", "language_model.model.layers.{i}."


def _internlm2(num_queries_per_key: int, head_size: int) -> Layout:
    """InternLM2 is a Llama whose q, k and v rows are interleaved: for each key head its query heads, k, v."""

    def interleaved(tensors: Tensors) -> Tensors:
        shape = (-1, head_size, *tensors[0].shape[1:])
        q, k, v = (tensor.reshape(shape) for tensor in tensors)
        groups = [q.unflatten(0, (-1, num_queries_per_key)), k[:, None], v[:, None]]
        return [torch.cat(groups, dim=1).flatten(0, 2)]

    def apart(tensors: Tensors) -> Tensors:
        groups = tensors[0].unflatten(0, (-1, num_queries_per_key + 2, head_size))
        parts = groups[:, :-2], groups[:, -2], groups[:, -1]
        return [part.reshape(-1, *tensors[0].shape[1:]) for part in parts]

    names = {
        "self_attn.o_proj": "attention.wo",
        "mlp.gate_proj": "feed_forward.w1",
        "mlp.up_proj": "feed_forward.w3",
        "mlp.down_proj": "feed_forward.w2",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    return (
        Rule(
            tuple(_LLAMA_LAYER + f"self_attn.{part}_proj.{{rest}}" for part in "qkv"),
            (_INTERNLM2_LAYER + "attention.wqkv.{rest}",),
            interleaved,
            apart,
        ),
        *(_renamed(f"{_LLAMA_LAYER}{ours}.{{rest}}", f"{_INTERNLM2_LAYER}{theirs}.{{rest}}") for ours, theirs in names.items()),
        _renamed("language.model.embed_tokens.{rest}", "language_model.model.tok_embeddings.{rest}"),
        _renamed("language.model.norm.{rest}", "language_model.model.norm.{rest}"),
        _renamed("language.lm_head.{rest}", "language_model.output.{rest}"),
    )


def official_layout(config: ModelConfig, *, internlm2: bool) -> Layout:
    """The layout of the official ``internvl_chat`` folders; ``internlm2`` where the Llama is stored as InternLM2."""
    if not internlm2:
        return (*_OFFICIAL_PICTURES, _renamed("language.{rest}", "language_model.{rest}"))
    heads, size = config.language["num_attention_heads"], config.language["hidden_size"]
    return (*_OFFICIAL_PICTURES, *_internlm2(heads // config.language["num_key_value_heads"], size // heads))


def _pattern(text: str) -> re.Pattern[str]:
    escaped = re.escape(text).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{rest\}", r"(?P<rest>.+)")
    return re.compile(escaped)


def _translate(tensors: Mapping[str, Tensor], layout: Layout, *, back: bool) -> dict[str, Tensor]:
    """Apply the rules. Raises DataError listing names that no rule knows and names that a group lacks."""
    sources = [
        (number, place, _pattern(text))
        for number, rule in enumerate(layout)
        for place, text in enumerate(rule.disk if back else rule.ours)
    ]
    groups: dict[tuple[int, str, str], dict[int, Tensor]] = {}
    strange = []
    for name, tensor in tensors.items():
        for number, place, pattern in sources:
            if match := pattern.fullmatch(name):
                bound = match.groupdict()
                groups.setdefault((number, bound.get("i", ""), bound.get("rest", "")), {})[place] = tensor
                break
        else:
            strange.append(name)
    translated: dict[str, Tensor] = {}
    missing = []
    for (number, index, rest), parts in groups.items():
        rule = layout[number]
        given, wanted = (rule.disk, rule.ours) if back else (rule.ours, rule.disk)
        absent = [text for place, text in enumerate(given) if place not in parts]
        missing += [text.format(i=index, rest=rest) for text in absent]
        if absent:
            continue
        change = rule.from_disk if back else rule.to_disk
        results = change([parts[place] for place in range(len(given))])
        translated |= {text.format(i=index, rest=rest): tensor for text, tensor in zip(wanted, results, strict=True)}
    if strange or missing:
        raise DataError("tensor names do not fit the layout" + _listing("unknown", strange) + _listing("missing", missing))
    return translated


def _listing(kind: str, names: Iterable[str]) -> str:
    names = sorted(names)
    if not names:
        return ""
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"; {kind} ({len(names)}): {shown}"


def to_disk(state: Mapping[str, Tensor], layout: Layout = TRANSFORMERS) -> dict[str, Tensor]:
    """Our names to the layout's. Any subset of whole groups will do (moments of the trained parts, say)."""
    return _translate(state, layout, back=False)


def from_disk(tensors: Mapping[str, Tensor], layout: Layout = TRANSFORMERS) -> dict[str, Tensor]:
    """The layout's names to ours; the exact inverse of to_disk. Raises DataError for unknown and missing names."""
    return _translate(tensors, layout, back=True)


def expected_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """The shape of every tensor of the model, by our name."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in InternVL(config).state_dict().items()}


def check_state(state: Mapping[str, Tensor], config: ModelConfig, where: str) -> None:
    """Raise one DataError that lists missing, extra and misshapen tensors, by our names."""
    shapes = expected_shapes(config)
    misshapen = [
        f"{name} {list(state[name].shape)} instead of {list(shape)}"
        for name, shape in shapes.items()
        if name in state and state[name].shape != shape
    ]
    missing, extra = shapes.keys() - state.keys(), state.keys() - shapes.keys()
    if missing or extra or misshapen:
        raise DataError(
            f"{where}: the weights do not fit config.json"
            + _listing("missing", missing)
            + _listing("extra", extra)
            + _listing("misshapen", misshapen)
        )


# --- writing a folder -------------------------------------------------------------------------------------------------


def transformers_config(config: ModelConfig, dtype: torch.dtype) -> InternVLConfig:
    """The same model as transformers describes it."""
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
        tie_word_embeddings=False,
    )


def image_processor(config: ModelConfig) -> GotOcr2ImageProcessorPil:
    """transformers' picture processor with this model's tiling; equal to adapt.data.tiling bit for bit."""
    return GotOcr2ImageProcessorPil(
        size={"height": config.tile_px, "width": config.tile_px},
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_STD),
        crop_to_patches=True,
        min_patches=_ONLY_TILING["min_tiles"],
        max_patches=config.max_tiles,
    )


def save_model(
    folder: Path | str,
    config: ModelConfig,
    state: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: torch.dtype,
    provenance: Mapping[str, Any],
) -> None:
    """Write a folder that transformers loads as it is, whole or not at all; ``dtype`` is that of the stored weights.

    Raises DataError where state and config do not fit each other.
    """
    check_state(state, config, str(folder))
    template = get_template(config.template)
    assert tokenizer.convert_tokens_to_ids(IMAGE_CONTEXT) == config.image_token_id, "another tokenizer's image_token_id"
    with atomic.staged_folder(Path(folder)) as staged:
        tensors = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in to_disk(state).items()}
        save_file(tensors, staged / "model.safetensors", metadata={"format": "pt"})
        transformers_config(config, dtype).save_pretrained(staged)
        _save_processor(staged, config, tokenizer)
        end = tokenizer.convert_tokens_to_ids(template.end)
        GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=[end] if tokenizer.eos_token_id in (None, end) else [end, tokenizer.eos_token_id],
            pad_token_id=end if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        ).save_pretrained(staged)
        own = {
            "adapt_version": adapt.__version__,
            "template": config.template,
            "tiling": {
                "rule": "internvl",
                "tile_px": config.tile_px,
                "max_tiles": config.max_tiles,
                **_ONLY_TILING,
            },
            "preset": config.preset,
            "provenance": dict(provenance),
        }
        (staged / "adapt.json").write_text(json.dumps(own, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _save_processor(folder: Path, config: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    pictures = image_processor(config)
    size = {"height": config.tile_px, "width": config.tile_px}
    frames = InternVLVideoProcessor(size=size, image_mean=list(IMAGENET_MEAN), image_std=list(IMAGENET_STD))
    InternVLProcessor(
        pictures,
        tokenizer,
        frames,
        image_seq_length=config.tokens_per_tile,
        chat_template=chat_template(get_template(config.template)),
    ).save_pretrained(folder)
    pictures.save_pretrained(folder)


# --- reading a folder -------------------------------------------------------------------------------------------------


def load_config(folder: Path | str) -> ModelConfig:
    """The model's numbers, from config.json (of transformers or official) and, where there is one, adapt.json.

    Raises DataError for what is not supported.
    """
    place = Path(folder) / "config.json"
    stored = _object(place)
    model_type = stored.get("model_type")
    try:
        if model_type == "internvl":
            return _transformers_config(place, stored)
        if model_type == "internvl_chat":
            return _official_config(place, stored)
    except KeyError as error:
        raise DataError(f"{place}: has no {error}, which a model of type '{model_type}' needs; fetch it again") from error
    raise DataError(f"{place}: model_type is {model_type!r}; expected 'internvl' (transformers) or 'internvl_chat' (official)")


def _transformers_config(place: Path, stored: Mapping[str, Any]) -> ModelConfig:
    own = _object_if_there(place.with_name("adapt.json"))
    tiling = own.get("tiling", {})
    pictures = _object_if_there(place.with_name("preprocessor_config.json"))
    vision = stored["vision_config"]
    _refuse_variants(place, stored, _ONLY_PROJECTOR)
    _refuse_variants(place, vision, _ONLY_VISION)
    _refuse_variants(place.with_name("adapt.json"), tiling, _ONLY_TILING)
    _refuse_variants(place.with_name("preprocessor_config.json"), pictures, _ONLY_PREPROCESSOR)
    return ModelConfig(
        vision=VisionConfig(
            image_size_px=_side(vision["image_size"]),
            patch_size_px=_side(vision["patch_size"]),
            hidden_size=vision["hidden_size"],
            num_layers=vision["num_hidden_layers"],
            num_heads=vision["num_attention_heads"],
            mlp_size=vision["intermediate_size"],
            qkv_bias=vision["attention_bias"],
            layer_norm_eps=vision["layer_norm_eps"],
            layer_scale_init=vision["layer_scale_init_value"],
        ),
        language=known_settings(stored["text_config"]),
        downsample_ratio=stored["downsample_ratio"],
        image_token_id=stored["image_token_id"],
        template=own.get("template", "internvl2_5"),
        max_tiles=tiling.get("max_tiles", pictures.get("max_patches", 12)),
        preset=own.get("preset"),
    )


def _official_config(place: Path, stored: Mapping[str, Any]) -> ModelConfig:
    vision, language = stored["vision_config"], dict(stored["llm_config"])
    _refuse_variants(place, stored, _ONLY_OFFICIAL)
    _refuse_variants(place, vision, _ONLY_OFFICIAL_VISION)
    if stored["dynamic_image_size"]:  # else every picture is one tile
        _refuse_variants(place, stored, _ONLY_OFFICIAL_TILING)
    if language.get("model_type") == "internlm2":
        language |= {"model_type": "llama", "attention_bias": language.get("bias", False), "mlp_bias": False}
    return ModelConfig(
        vision=VisionConfig(
            image_size_px=stored.get("force_image_size") or vision["image_size"],
            patch_size_px=vision["patch_size"],
            hidden_size=vision["hidden_size"],
            num_layers=vision["num_hidden_layers"],
            num_heads=vision["num_attention_heads"],
            mlp_size=vision["intermediate_size"],
            qkv_bias=vision["qkv_bias"],
            layer_norm_eps=vision["layer_norm_eps"],
            layer_scale_init=vision["initializer_factor"],
        ),
        language=known_settings(language),
        downsample_ratio=stored["downsample_ratio"],
        image_token_id=_object_if_there(place.with_name("added_tokens.json")).get(IMAGE_CONTEXT, NO_TOKEN),
        template=stored["template"],
        max_tiles=stored["max_dynamic_patch"] if stored["dynamic_image_size"] else 1,
    )


def _object_if_there(place: Path) -> dict[str, Any]:
    return _object(place) if place.exists() else {}


def _object(place: Path) -> dict[str, Any]:
    value = safe.read_json(place)
    if not isinstance(value, dict):
        raise DataError(f"{place}: expected a JSON object")
    return value


def _side(value: Any) -> int:
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or sides[0] != sides[1]:
        raise DataError(f"tiles and patches must be square; config.json has {value}")
    return sides[0]


_ONLY_PROJECTOR = {"projector_hidden_act": "gelu", "vision_feature_layer": -1, "vision_feature_select_strategy": "default"}
_ONLY_VISION = {
    "hidden_act": "gelu",
    "norm_type": "layer_norm",
    "use_qk_norm": False,
    "use_absolute_position_embeddings": True,
    "use_mean_pooling": True,
}
_ONLY_OFFICIAL = {"select_layer": -1, "ps_version": "v2", "pad2square": False}
_ONLY_OFFICIAL_VISION = {"hidden_act": "gelu", "norm_type": "layer_norm", "qk_normalization": False}
# What adapt.data.tiling does; another rule would give other tiles without a word.
_ONLY_TILING = {"min_tiles": 1, "use_thumbnail": True}
_ONLY_OFFICIAL_TILING = {"min_dynamic_patch": 1, "use_thumbnail": True}
_ONLY_PREPROCESSOR = {"min_patches": 1}


def _refuse_variants(place: Path, stored: Mapping[str, Any], supported: Mapping[str, Any]) -> None:
    for name, only in supported.items():
        found = stored.get(name, only)
        if found != only:
            raise DataError(f"{place}: {name} is {found!r}; only {only!r} is supported (InternViT-300M and its like)")


def load_state(folder: Path | str) -> dict[str, Tensor]:
    """Every weight by our name, memory-mapped, in the stored type; from one safetensors file or many.

    Raises DataError where the weights do not fit config.json, or where there is no safetensors file.
    """
    folder = Path(folder)
    config = load_config(folder)
    state = from_disk(_read_tensors(folder), _layout(folder, config))
    check_state(state, config, str(folder))
    return state


def _layout(folder: Path, config: ModelConfig) -> Layout:
    stored = _object(folder / "config.json")
    if stored["model_type"] == "internvl":
        return TRANSFORMERS
    return official_layout(config, internlm2=stored["llm_config"]["model_type"] == "internlm2")


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = _object(index).get("weight_map")
        if not isinstance(names, dict):
            raise DataError(f"{index}: has no 'weight_map'")
        return [safe.inside(folder, name, str(index)) for name in sorted(set(names.values()))]
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    others = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth"))
    found = f"only {', '.join(others)}, which may run code when opened" if others else "no weights"
    raise DataError(f"{folder}: {found}; expected model.safetensors")


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: not a whole safetensors file ({error}); fetch it again") from error
    return tensors


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, without remote code, its picture tokens named as InternVLProcessor needs them."""
    folder = Path(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        if not hasattr(tokenizer, "context_image_token"):  # official folders name none
            names = {"start_image_token": IMAGE_START, "end_image_token": IMAGE_END, "context_image_token": IMAGE_CONTEXT}
            names |= {"video_token": tokenizer.pad_token}  # must be a token, and one that no text holds; a new one has no row
            tokenizer = type(tokenizer).from_pretrained(folder, local_files_only=True, extra_special_tokens=names)
        return tokenizer
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: no tokenizer that transformers can read: {error}") from error
