"""What a step will take of the device's memory, before it runs: from the model's numbers, the recipe and the largest pack.

Every figure is what autograd keeps in our own modules, operation by operation: timm's vision blocks with the residual sums of
adapt/model/vision.py, transformers' decoder layers, and the head and loss on ``HEAD_POSITIONS`` supervised positions at a time.
Weights and the residual stream are float32 always; under autocast the inputs and outputs of matrix products are of the
computing type, and each normalised input is cast once for every product that reads it. tests/train/test_memory.py holds it
against what torch saves and allocates.

Axes: C width of the vision tower, M of its MLP, D width of the language model, I of its MLP, V vocabulary.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from adapt.data.packing import PackRule, Piece, RowSizes, pack_places
from adapt.model.config import ModelConfig
from adapt.model.internvl import HEAD_POSITIONS
from adapt.train.recipe import LORA, TrainRecipe, trained_parts

# Bytes of AdamW's two moments a trained weight on the device; 8 bits and a float32 scale every 256 weights (torchao).
MOMENT_BYTES = {"adamw": 8.0, "adamw8bit": 2 * (1 + 4 / 256), "adamw-offload": 0.0}
STATE_BYTES = MOMENT_BYTES | {"adamw-offload": 8.0}  # in a checkpoint
# What an update needs beside its moments, in bytes a weight of the largest matrix: torchao's 8-bit update works in float32,
# one matrix at a time; compiled (on a GPU) most of it is fused away.
_UPDATE_BYTES = {"cpu": 24.0, "cuda": 8.0}


@dataclasses.dataclass(frozen=True)
class Pack:
    """What decides the cost of a pack: places (padding counted), the length of its rows, tiles, supervised positions."""

    places: int
    row_length: int
    tiles: int
    predicted: int


def pack_shape(pack: Sequence[Piece], sizes: RowSizes, rule: PackRule) -> Pack:
    """What the pieces of a pack make of it."""
    lengths = [sizes.tokens(piece.tree.rows) for piece in pack]
    places = pack_places(lengths, one_row=rule.one_row)
    return Pack(
        places=places,
        row_length=places if rule.one_row else max(lengths),
        tiles=sum(int(sizes.tiles[piece.tree.rows[0]]) for piece in pack),
        predicted=sum(int(sizes.supervised[row]) for piece in pack for row in piece.tree.rows),
    )


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device at the moment of a step when it holds the most.

    ``casts`` are the weights in the computing type, ``activations`` what the backward pass needs, ``workspace`` what comes and
    goes within an operation.
    """

    weights: int
    gradients: int
    moments: int
    casts: int
    activations: int
    logits: int
    workspace: int

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class _Saved:
    """Bytes that one layer leaves for the backward pass: its input, all of it, and what its backward pass adds for a while."""

    input: int
    layer: int
    backward: int
    layers: int

    def kept(self, checkpointed: bool) -> int:
        return self.layers * (self.input if checkpointed else self.layer)

    def recomputed(self, checkpointed: bool) -> int:
        """What the backward pass of one layer adds to what was kept."""
        return self.backward + (self.layer - self.input if checkpointed else 0)


@dataclasses.dataclass(frozen=True)
class _Casts:
    """Bytes of weights in the computing type: all, those of one decoder layer, the head's. adapt/train/update.py has autocast
    keep no cache of them."""

    all: int
    layer: int
    head: int


Predictor = Callable[[TrainRecipe, Pack], Memory]


def predict(
    config: ModelConfig,
    recipe: TrainRecipe,
    pack: Pack,
    precision: torch.dtype | None,
    *,
    num_trained: int,
    num_frozen: int,
    device_type: str = "cuda",
    world_size: int = 1,
    reshard: bool = True,
) -> Memory:
    """The most that a step of packs like ``pack`` holds; ``precision`` None computes in float32.

    ``recipe.checkpoint_activations`` is yes or no here. Layers that torch.compile makes kernels of keep less than this says.
    With ``world_size`` above 1 weights, gradients and moments are shared out evenly (FSDP2); each device holds besides the
    whole weights of the layer it is at and of the embeddings, or with ``reshard`` off all of them and their gradients. On a CPU
    attention takes a dense mask and repeated keys and values; elsewhere neither.
    """
    checkpointed = recipe.checkpoint_activations == "yes"
    vision = _vision_block(config, recipe, pack, precision)
    language = _decoder_layer(config, recipe, pack, precision, device_type)
    in_front = _in_front(config, recipe, pack, precision) + vision.kept(checkpointed)
    kept = in_front + _behind(config, recipe, pack) + language.kept(checkpointed)
    casts = _casts(config, recipe, num_trained, precision)
    logits, gradient = _head(config, recipe, pack, precision)
    update = int(_UPDATE_BYTES[device_type] * _largest_matrix(config, recipe)) if recipe.optimizer == "adamw8bit" else 0
    whole_weights, whole_gradients = _gathered(config, num_trained, num_frozen, reshard) if world_size > 1 else (0, 0)
    layer = casts.layer if checkpointed else casts.all

    def at(casts: int, activations: int, logits: int, workspace: int) -> Memory:
        return Memory(
            weights=4 * (num_trained + num_frozen) // world_size + whole_weights,
            gradients=4 * num_trained // world_size + whole_gradients,
            moments=int(MOMENT_BYTES[recipe.optimizer] * num_trained) // world_size,
            casts=casts,
            activations=activations,
            logits=logits,
            workspace=workspace,
        )

    return max(
        at(casts.head if checkpointed else casts.all, kept, logits, gradient),  # the losses and the head's backward pass
        at(layer, kept, 0, language.recomputed(checkpointed)),  # the last decoder layer's
        at(layer, in_front, 0, vision.recomputed(checkpointed)),  # the last vision block's
        at(0, 0, 0, update),
        key=lambda memory: memory.total,
    )


def _gathered(config: ModelConfig, num_trained: int, num_frozen: int, reshard: bool) -> tuple[int, int]:
    """Bytes of whole weights and of whole gradients that a device holds beside its share: of a layer and the embeddings, or,
    with ``reshard`` off, of all."""
    if not reshard:
        return 4 * (num_trained + num_frozen), 4 * num_trained
    unit = _language_layer(config.language) + 2 * config.language["vocab_size"] * config.language["hidden_size"]
    return 4 * unit, 4 * min(unit, num_trained)


def saved_bytes(
    config: ModelConfig, recipe: TrainRecipe, pack: Pack, precision: torch.dtype | None, device_type: str = "cuda"
) -> int:
    """What one forward pass leaves for the backward pass, logits and casts of weights left out."""
    checkpointed = recipe.checkpoint_activations == "yes"
    vision = _vision_block(config, recipe, pack, precision)
    language = _decoder_layer(config, recipe, pack, precision, device_type)
    around = _in_front(config, recipe, pack, precision) + _behind(config, recipe, pack)
    return around + vision.kept(checkpointed) + language.kept(checkpointed)


def _size(precision: torch.dtype | None) -> int:
    return (precision or torch.float32).itemsize


def _flows(recipe: TrainRecipe, part: str) -> bool:
    """Whether gradients pass through ``part``: where it trains, or something in front of it does."""
    trained = trained_parts(recipe)
    in_front = {"vision": (), "connector": ("vision",), "language": ("vision", "connector")}[part]
    return part in trained or any(name in trained for name in in_front) or (recipe.stage == LORA and part == "language")


def _vision_block(config: ModelConfig, recipe: TrainRecipe, pack: Pack, precision: torch.dtype | None) -> _Saved:
    """Inputs of two norms in float32; qkv's input and output, attention's output and sums, the output of proj (for the layer
    scale), fc1's input and output, GELU's output, the output of fc2 (for the layer scale)."""
    vision, size = config.vision, _size(precision)
    if not _flows(recipe, "vision"):
        return _Saved(0, 0, 0, 0)
    tokens, width, mlp = pack.tiles * (vision.grid_size**2 + 1), vision.hidden_size, vision.mlp_size
    layer = 2 * (4 * width + 8) + size * (8 * width + 2 * mlp) + 4 * vision.num_heads
    backward = 8 * width + size * mlp
    return _Saved(tokens * 4 * width, tokens * layer, tokens * backward, vision.num_blocks_run)


def _decoder_layer(
    config: ModelConfig, recipe: TrainRecipe, pack: Pack, precision: torch.dtype | None, device_type: str
) -> _Saved:
    """Inputs of two norms in float32; the inputs of each product; query, key, value, output and sums of attention; gate, its
    SiLU, up and their product."""
    language, size, dense = config.language, _size(precision), device_type == "cpu"
    if not _flows(recipe, "language"):
        return _Saved(0, 0, 0, 0)
    width, mlp, heads = language["hidden_size"], language["intermediate_size"], language["num_attention_heads"]
    head_size = language.get("head_dim") or width // heads
    query, key = heads * head_size, (heads if dense else language["num_key_value_heads"]) * head_size
    own = "language" in trained_parts(recipe)
    norms = 2 * (4 * width * (2 if dense and own else 1) + 4)  # torch's RMSNorm is one operation on a GPU, several on a CPU
    fused = language["model_type"] == "phi3"  # one product gives query, key and value, one gate and up
    inputs = 2 if fused or precision is None else 5
    products = size * (inputs * width + mlp) if own or recipe.stage == LORA else 0
    attention = size * (2 * query + 2 * key) + 4 * heads
    if fused:  # the value keeps query and key beside it
        attention += size * head_size * (heads + language["num_key_value_heads"])
    if fused or not dense:  # the output in the order of the heads, and in that of the places
        attention += size * query
    mask = pack.places * pack.row_length * size if dense else 0
    layer = pack.places * (norms + products + attention + 3 * size * mlp) + mask
    backward = pack.places * (12 * width + 2 * size * mlp)
    return _Saved(pack.places * 4 * width, layer, backward, language["num_hidden_layers"])


def _in_front(config: ModelConfig, recipe: TrainRecipe, pack: Pack, precision: torch.dtype | None) -> int:
    """Pixels for the patch embedding; inputs of the connector's operations, and its tokens in float32."""
    vision, size, width = config.vision, _size(precision), config.language["hidden_size"]
    shuffled, tokens = vision.hidden_size * config.shuffle_size**2, pack.tiles * config.tokens_per_tile
    pixels = size * 3 * vision.image_size_px**2 * pack.tiles if "vision" in trained_parts(recipe) else 0
    connector = tokens * ((4 + size) * shuffled + size * 2 * width + 4 * width) if _flows(recipe, "connector") else 0
    return pixels + connector


def _behind(config: ModelConfig, recipe: TrainRecipe, pack: Pack) -> int:
    """Input and output of the last norm."""
    return pack.places * 2 * 4 * config.language["hidden_size"] if _flows(recipe, "language") else 0


def _head(config: ModelConfig, recipe: TrainRecipe, pack: Pack, precision: torch.dtype | None) -> tuple[int, int]:
    """(logits, log-probabilities and their gradient of one part, in float32; what gradients of the head's weight add)."""
    vocabulary, width = config.language["vocab_size"], config.language["hidden_size"]
    part = min(pack.predicted, HEAD_POSITIONS) * vocabulary
    logits, gradient = 12 * part, 4 * vocabulary * width  # the gradient in the computing type takes the place of the cast
    if "language" not in trained_parts(recipe):
        return logits, 0
    earlier_parts = gradient if pack.predicted > HEAD_POSITIONS else 0
    return logits, earlier_parts + max(0, _size(precision) * part + gradient - logits)


def _casts(config: ModelConfig, recipe: TrainRecipe, num_trained: int, precision: torch.dtype | None) -> _Casts:
    """Of each weight that gradients pass through the backward pass keeps a cast, unless its layer is computed again."""
    if precision is None:
        return _Casts(0, 0, 0)
    language, trained = config.language, trained_parts(recipe)
    table = language["vocab_size"] * language["hidden_size"]
    own = _language_weights(language)
    number = num_trained - (table if "language" in trained else 0)  # the input embedding is looked up, never multiplied
    if _flows(recipe, "language") and "language" not in trained:
        number += own - table
    layer = _language_layer(language)
    return _Casts(precision.itemsize * number, precision.itemsize * layer, precision.itemsize * table)


def _language_layer(language: Mapping[str, Any]) -> int:
    """Weights of the matrices of one decoder layer."""
    width, heads = language["hidden_size"], language["num_attention_heads"]
    head_size = language.get("head_dim") or width // heads
    return 2 * width * head_size * (heads + language["num_key_value_heads"]) + 3 * width * language["intermediate_size"]


def _language_weights(language: Mapping[str, Any]) -> int:
    tables = 2 * language["vocab_size"] * language["hidden_size"]
    return int(language["num_hidden_layers"] * _language_layer(language) + tables)


def _largest_matrix(config: ModelConfig, recipe: TrainRecipe) -> int:
    """Weights of the largest matrix that trains."""
    vision, language, trained = config.vision, config.language, trained_parts(recipe)
    sizes = {
        "vision": vision.hidden_size * max(vision.mlp_size, 3 * vision.hidden_size),
        "connector": vision.hidden_size * config.shuffle_size**2 * language["hidden_size"],
        "language": language["vocab_size"] * language["hidden_size"],
    }
    return max((sizes[name] for name in trained), default=recipe.lora_rank * language["intermediate_size"])
