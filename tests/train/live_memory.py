"""What torch saves and allocates in a step of a model: counted as it happens, at full size without the memory for it."""

import contextlib
import dataclasses
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from adapt.data.packing import Batch, EncodedTree, collate
from adapt.model.config import ModelConfig, VisionConfig
from adapt.model.internvl import InternVL
from adapt.train.memory import Pack

IMAGE = 5


def small_config(kind: str) -> ModelConfig:
    """A model of a few layers whose widths all differ."""
    language = {
        "model_type": kind, "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4 if kind == "phi3" else 2, "intermediate_size": 176, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None,
    }  # fmt: skip
    return ModelConfig(VisionConfig(32, 4, 48, num_layers=3, num_heads=3, mlp_size=208), language, image_token_id=IMAGE)


def batch_of(config: ModelConfig, trees: int, tiles: int, text: int, answer: int = 11) -> Batch:
    """A pack of equal trees of one branch."""
    prefix = np.r_[[7, 8], np.full(config.tokens_per_tile * tiles, IMAGE)]
    tree = EncodedTree(
        prefix_ids=prefix,
        prefix_weights=np.zeros(len(prefix)),
        branches=(np.full(text, 10),),
        branch_weights=(np.r_[np.zeros(text - answer), np.ones(answer)],),
        tiles=np.zeros((tiles, config.tile_px, config.tile_px, 3), np.uint8),
        keep=np.ones((2 * config.vision.num_layers, tiles), np.float32),
        sources=(0,),
    )
    return collate([tree] * trees, IMAGE)


def shape_of(batch: Batch) -> Pack:
    return Pack(batch.input_ids_RL.numel(), batch.input_ids_RL.shape[1], len(batch.tiles_NCHW), len(batch.target_ids_P))


def autocast(precision: torch.dtype | None) -> Any:
    """As adapt/train/update.py computes."""
    return torch.autocast("cpu", dtype=precision, cache_enabled=False) if precision else contextlib.nullcontext()


def saved_bytes(model: InternVL, batch: Batch, precision: torch.dtype | None) -> int:
    """Bytes of all storages that autograd saves in a forward pass; weights, casts of them and logits left out."""
    weights = list(model.parameters())
    own = {tensor.untyped_storage().data_ptr() for tensor in (*weights, *model.buffers())}
    shapes = {tuple(weight.shape) for weight in weights} | {tuple(weight.shape[::-1]) for weight in weights}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast(precision):
        model(batch)
    vocabulary = model.config.language["vocab_size"]
    counted = [each for each in kept.values() if each.shape[-1:] != (vocabulary,) and tuple(each.shape) not in shapes]
    return sum(each.untyped_storage().nbytes() for each in counted)


class Live(TorchDispatchMode):
    """Bytes of the storages alive, and the most so far."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._alive and self._alive[key]() is storage:
            return

        def gone(_: object) -> None:
            self.now -= size
            self._alive.pop(key, None)

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for each in tree_iter(found):
            if isinstance(each, Tensor):
                self.add(each)
        return found


def step_peak(config: ModelConfig, batch: Batch, precision: torch.dtype | None, *, checkpointed: bool) -> tuple[int, int]:
    """(parameters, most bytes alive) in the second of two AdamW steps of two such packs, on tensors without content."""
    with torch.device("meta"):
        model = InternVL(config)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        model = model.to_empty(device="cpu").train()
        if checkpointed:
            model.checkpoint_activations()
        moved = {
            field.name: fake.from_tensor(value)
            for field in dataclasses.fields(batch)
            if isinstance(value := getattr(batch, field.name), Tensor)
        }
        batch = dataclasses.replace(batch, **moved)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        with Live() as live:
            for parameter in model.parameters():
                live.add(parameter)
            for _ in range(2):
                optimizer.zero_grad(set_to_none=True)
                for _ in range(2):
                    with autocast(precision):
                        losses = model(batch)
                    losses.sum().backward()
                    del losses
                optimizer.step()
        return sum(parameter.numel() for parameter in model.parameters()), live.peak
