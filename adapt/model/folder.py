"""A model folder as data: its numbers and its weights, in transformers' layout or the official ``internvl_chat`` one.

Nothing of the folder is run. Weights come from safetensors alone, a tensor at a time, so that loading needs hardly more
memory than the model itself.

Sources: internvl_chat/internvl/model/internvl_chat/configuration_*.py and internvl_chat/tools/internvl_custom2hf.py of
github.com/OpenGVLab/InternVL; transformers/models/internvl/configuration_internvl.py.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adapt import safe
from adapt.errors import DataError
from adapt.model.config import ModelConfig, VisionConfig
from adapt.model.internvl import InternVL
from adapt.model.language import known_settings
from adapt.model.layouts import TRANSFORMERS, Layout, listing, match_names, official_layout, stored_name, to_disk
from adapt.model.tokenizer_files import picture_token_id

_HEAD, _EMBEDDINGS = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"


def load_config(folder: Path | str) -> ModelConfig:
    """The model's numbers, from config.json (of transformers or official) and, where there is one, adapt.json.

    Raises DataError for what is not supported.
    """
    place = Path(folder) / "config.json"
    stored = safe.read_object(place)
    model_type = stored.get("model_type")
    read = {"internvl": _transformers_config, "internvl_chat": _official_config}.get(str(model_type))
    try:
        if read is not None:
            config = read(place, stored)
            expected_shapes(config)  # whether a model can be built of it at all
            return config
    except DataError as error:
        raise error if str(place.parent) in str(error) else DataError(f"{place}: {error}") from error
    except KeyError as error:
        raise DataError(f"{place}: has no {error}, which a model of type '{model_type}' needs; fetch it again") from error
    except (TypeError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{place}: a value is of another kind than a '{model_type}' has: {error}; fetch it again") from error
    raise DataError(f"{place}: model_type is {model_type!r}; expected 'internvl' (transformers) or 'internvl_chat' (official)")


def _transformers_config(place: Path, stored: Mapping[str, Any]) -> ModelConfig:
    own = safe.read_object_if_there(place.with_name("adapt.json"))
    tiling = own.get("tiling", {})
    processor = safe.read_object_if_there(place.with_name("processor_config.json"))
    pictures = processor.get("image_processor", {}) | safe.read_object_if_there(place.with_name("preprocessor_config.json"))
    vision = stored["vision_config"]
    _refuse_variants(place, stored, _ONLY_PROJECTOR)
    _refuse_variants(place, vision, _ONLY_VISION)
    _refuse_variants(place.with_name("adapt.json"), tiling, ONLY_TILING)
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
            feature_layer=stored.get("vision_feature_layer", -1),
        ),
        language=known_settings(stored["text_config"]),
        downsample_ratio=stored["downsample_ratio"],
        internlm2=own.get("internlm2", False),
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
    internlm2 = language.get("model_type") == "internlm2"
    if internlm2:
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
            feature_layer=stored["select_layer"],
        ),
        language=known_settings(language),
        downsample_ratio=stored["downsample_ratio"],
        ps_version=stored["ps_version"],
        internlm2=internlm2,
        image_token_id=picture_token_id(place.parent),
        template=stored["template"],
        max_tiles=stored["max_dynamic_patch"] if stored["dynamic_image_size"] else 1,
    )


def _side(value: Any) -> int:
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or sides[0] != sides[1]:
        raise DataError(f"tiles and patches must be square; config.json has {value}")
    return sides[0]


_ONLY_PROJECTOR = {"projector_hidden_act": "gelu", "vision_feature_select_strategy": "default"}
_ONLY_VISION = {
    "hidden_act": "gelu",
    "norm_type": "layer_norm",
    "use_qk_norm": False,
    "use_absolute_position_embeddings": True,
    "use_mean_pooling": True,
}
_ONLY_OFFICIAL = {"pad2square": False}
_ONLY_OFFICIAL_VISION = {"hidden_act": "gelu", "norm_type": "layer_norm", "qk_normalization": False}
# What adapt.data.tiling does; another rule would give other tiles without a word.
ONLY_TILING = {"min_tiles": 1, "use_thumbnail": True}
_ONLY_OFFICIAL_TILING = {"min_dynamic_patch": 1, "use_thumbnail": True}
_ONLY_PREPROCESSOR = {"min_patches": 1}


def _refuse_variants(place: Path, stored: Mapping[str, Any], supported: Mapping[str, Any]) -> None:
    for name, only in supported.items():
        found = stored.get(name, only)
        if found != only:
            raise DataError(f"{place}: {name} is {found!r}; only {only!r} is supported (InternViT-300M and its like)")


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A tensor that was not read yet: its file, its name there, its shape."""

    path: Path
    name: str
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        # Opened anew each time: a mapped file that stays open keeps every page that was read in memory.
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(self.name)


def stream_state(folder: Path | str) -> Iterator[tuple[str, Tensor]]:
    """(our name, tensor) of every weight in the stored type, memory-mapped, from one safetensors file or many.

    Every tensor is accounted for before the first is read. Raises one DataError that lists the missing, extra, doubled and
    misshapen ones by their names on disk; one where a file is not whole, or is not safetensors.
    """
    folder = Path(folder)
    config = load_config(folder)
    found = safe.read_object(folder / "config.json")
    layout = layout_of(found, config)
    stored = _stored_tensors(folder, stored_name if layout is TRANSFORMERS else str)
    # The layouts agree on these two names, but for InternLM2, whose head was never tied.
    language = found.get("llm_config", found)
    if language.get("tie_word_embeddings", layout is TRANSFORMERS) and _HEAD not in stored and _EMBEDDINGS in stored:
        stored[_HEAD] = stored[_EMBEDDINGS]
    _account_for(stored, config, layout, folder)
    for group in match_names(stored, layout, back=True):
        yield from group.translate([stored[name].read() for name in group.given]).items()


def load_state(folder: Path | str) -> dict[str, Tensor]:
    """Every weight by our name: ``stream_state`` at once."""
    return dict(stream_state(folder))


def layout_of(stored: Mapping[str, Any], config: ModelConfig) -> Layout:
    """The layout of a folder whose config.json is ``stored``."""
    return TRANSFORMERS if stored["model_type"] == "internvl" else official_layout(config)


def expected_shapes(config: ModelConfig, layout: Layout = ()) -> dict[str, torch.Size]:
    """The shape of every tensor of the model, by our name, or by that of a layout."""
    with torch.device("meta"):
        state = InternVL(config).state_dict()
    return {name: tensor.shape for name, tensor in (to_disk(state, layout) if layout else state).items()}


def compare_shapes(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, torch.Size], where: str) -> None:
    """Raise one DataError that lists the missing, extra and misshapen tensors."""
    misshapen = [
        f"{name} {list(shapes[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in shapes and tuple(shapes[name]) != tuple(shape)
    ]
    missing, extra = expected.keys() - shapes.keys(), shapes.keys() - expected.keys()
    if missing or extra or misshapen:
        raise DataError(
            f"{where}: the weights do not fit config.json"
            + listing("missing", missing)
            + listing("extra", extra)
            + listing("misshapen", misshapen)
        )


def _account_for(stored: Mapping[str, _Stored], config: ModelConfig, layout: Layout, folder: Path) -> None:
    compare_shapes({name: tensor.shape for name, tensor in stored.items()}, expected_shapes(config, layout), str(folder))


def _stored_tensors(folder: Path, rename: Callable[[str], str]) -> dict[str, _Stored]:
    """{on-disk name: tensor} of all safetensors files of a folder. Raises DataError where two tensors have one name."""
    tensors: dict[str, _Stored] = {}
    doubled, elsewhere = [], []
    promised = _weight_map(folder)
    for path, names in promised.items():
        try:
            with safe_open(path, framework="pt") as file:
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: not a whole safetensors file ({error}); fetch it again") from error
        elsewhere += [f"{name} not in {path.name}" for name in names if name not in shapes]
        for name, shape in shapes.items():
            if (known := tensors.get(rename(name))) is not None:
                doubled.append(f"{rename(name)} ({known.name} in {known.path.name}, {name} in {path.name})")
            tensors[rename(name)] = _Stored(path, name, shape)
    if doubled:
        raise DataError(f"{folder}: tensors that are there twice{listing('doubled', doubled)}")
    if elsewhere:
        raise DataError(f"{folder / INDEX}: does not tell where the tensors are{listing('wrong', elsewhere)}")
    return tensors


INDEX = "model.safetensors.index.json"
_CODE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})


def _weight_map(folder: Path) -> dict[Path, list[str]]:
    """{safetensors file: names of tensors that the index promises in it}; one file has no index and no promises."""
    index = folder / INDEX
    if index.exists():
        names = safe.read_object(index).get("weight_map")
        if not isinstance(names, dict):
            raise DataError(f"{index}: has no 'weight_map'")
        strange = sorted({str(file) for file in names.values() if Path(str(file)).suffix != ".safetensors"})
        if strange:
            raise DataError(f"{index}: names {', '.join(strange)}; only safetensors files are opened")
        promised: dict[Path, list[str]] = {}
        for name, file in sorted(names.items(), key=lambda item: (item[1], item[0])):
            promised.setdefault(safe.inside(folder, file, str(index)), []).append(name)
        return promised
    if (folder / "model.safetensors").exists():
        return {folder / "model.safetensors": []}
    others = sorted(path.name for path in folder.glob("*") if path.suffix in _CODE_SUFFIXES)
    found = f"only {', '.join(others)}, which may run code when opened" if others else "no weights"
    raise DataError(f"{folder}: {found}; expected model.safetensors")
