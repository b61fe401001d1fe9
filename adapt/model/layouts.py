"""The names and shapes of the tensors in each layout: one table of rules, for both directions.

In memory our names are ``vision.vit.*`` (timm's), ``connector.*`` and ``language.*`` (transformers' causal language
model). A layout is a table of rules; a rule says which of our tensors become which on disk, and back, bit for bit, so the
same table serves weights and optimizer moments.

Sources: internvl_chat/tools/internvl_custom2hf.py and internvl_chat/internvl/model/internvl_chat/ of
github.com/OpenGVLab/InternVL; transformers/models/internvl (names of ``save_pretrained``).
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from adapt.errors import DataError
from adapt.model.config import ModelConfig

Tensors = Sequence[Tensor]


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


def official_layout(config: ModelConfig) -> Layout:
    """The layout of the official ``internvl_chat`` folders."""
    if not config.internlm2:
        return (*_OFFICIAL_PICTURES, _renamed("language.{rest}", "language_model.{rest}"))
    heads, size = config.language["num_attention_heads"], config.language["hidden_size"]
    return (*_OFFICIAL_PICTURES, *_internlm2(heads // config.language["num_key_value_heads"], size // heads))


def _pattern(text: str) -> re.Pattern[str]:
    escaped = re.escape(text).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{rest\}", r"(?P<rest>.+)")
    return re.compile(escaped)


@dataclasses.dataclass(frozen=True)
class Group:
    """Tensors that are translated together: the names they have, the names they get, and how."""

    given: tuple[str, ...]
    wanted: tuple[str, ...]
    change: Callable[[Tensors], Tensors]

    def translate(self, tensors: Tensors) -> dict[str, Tensor]:
        """{wanted name: tensor} of the tensors that have the given names, in their order."""
        return dict(zip(self.wanted, self.change(tensors), strict=True))


def match_names(names: Iterable[str], layout: Layout, *, back: bool) -> list[Group]:
    """The groups that ``names`` make: ours, or with ``back`` the layout's.

    Raises DataError listing names that no rule knows and names that a group lacks.
    """
    sources = [
        (number, place, _pattern(text))
        for number, rule in enumerate(layout)
        for place, text in enumerate(rule.disk if back else rule.ours)
    ]
    found: dict[tuple[int, str, str], set[int]] = {}
    strange = []
    for name in names:
        for number, place, pattern in sources:
            if match := pattern.fullmatch(name):
                bound = match.groupdict()
                found.setdefault((number, bound.get("i", ""), bound.get("rest", "")), set()).add(place)
                break
        else:
            strange.append(name)
    groups, missing = [], []
    for (number, index, rest), places in found.items():
        rule = layout[number]
        given, wanted = (rule.disk, rule.ours) if back else (rule.ours, rule.disk)
        filled = [tuple(text.format(i=index, rest=rest) for text in texts) for texts in (given, wanted)]
        missing += [name for place, name in enumerate(filled[0]) if place not in places]
        groups.append(Group(filled[0], filled[1], rule.from_disk if back else rule.to_disk))
    if strange or missing:
        raise DataError("tensor names do not fit the layout" + listing("unknown", strange) + listing("missing", missing))
    return groups


def _translate(tensors: Mapping[str, Tensor], layout: Layout, *, back: bool) -> dict[str, Tensor]:
    translated: dict[str, Tensor] = {}
    for group in match_names(tensors, layout, back=back):
        translated |= group.translate([tensors[name] for name in group.given])
    return translated


def listing(kind: str, names: Iterable[str]) -> str:
    """``; missing (3): a, b, c``, nothing where there are none."""
    names = sorted(names)
    return f"; {kind} ({len(names)}): {', '.join(names)}" if names else ""


def to_disk(state: Mapping[str, Tensor], layout: Layout = TRANSFORMERS) -> dict[str, Tensor]:
    """Our names to the layout's. Any subset of whole groups will do (moments of the trained parts, say)."""
    return _translate(state, layout, back=False)


def from_disk(tensors: Mapping[str, Tensor], layout: Layout = TRANSFORMERS) -> dict[str, Tensor]:
    """The layout's names to ours; the exact inverse of to_disk. Raises DataError for unknown and missing names."""
    return _translate(tensors, layout, back=True)


_PARTS = ("vision_tower", "multi_modal_projector", "language_model")
_INSIDE_LANGUAGE = re.compile(r"language_model\.(?=layers\.|embed_tokens\.|norm\.)")


def stored_name(name: str) -> str:
    """The on-disk name of a tensor of the transformers layout: its in-memory names are read too, in any mixture.

    In memory a leading ``model.`` may stand before each part, the language model has no second ``model.``, and its head is
    ``lm_head`` on its own (transformers/models/internvl/modeling_internvl.py).
    """
    if name.removeprefix("model.").startswith(_PARTS):
        name = name.removeprefix("model.")
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    return _INSIDE_LANGUAGE.sub("language_model.model.", name, count=1)
