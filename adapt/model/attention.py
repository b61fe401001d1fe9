"""Who sees whom in a pack: a token sees the prefix of its tree and its own branch up to itself, and nothing else.

Two ways to compute it, behind one function: a dense mask for scaled_dot_product_attention, on any device; and flex attention,
which skips the blocks that nobody looks at, where the pack was laid out for it (adapt.data.blocks). Where a pack is one tree
with a long prefix, the prefix is computed on its own, causally, which is half of the work; the mask then has rows for the
branches alone.

Axes: R rows, L row length (queries and keys), B places behind the prefix, H heads, D head size.
"""

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from adapt.data.packing import BLOCK, PREFIX, Batch

TREES = "message_trees"  # the name that transformers' models find ``attend`` by


def tree_mask(tree_RL: Tensor, branch_RL: Tensor) -> Tensor:
    """bool[R, 1, L, L], True where a query (row) may look at a key (column).

    Tokens stand in their tree's order, prefix first, so "before" is "not after in the row". Padding (tree -1) forms a
    tree of its own: every query sees at least itself, and no softmax is empty.
    """
    length = tree_RL.shape[1]
    place = torch.arange(length, device=tree_RL.device)
    before = place[:, None] >= place[None, :]
    same_tree = tree_RL[:, :, None] == tree_RL[:, None, :]
    same_branch = (branch_RL[:, None, :] == PREFIX) | (branch_RL[:, :, None] == branch_RL[:, None, :])
    return (before & same_tree & same_branch)[:, None]


def mask_of(batch: Batch) -> Tensor | BlockMask:
    """The mask of a pack, made once for all layers: by blocks where the pack has their tables, dense elsewhere.

    Dense it is bool[R, 1, L, L], or bool[1, 1, B, L] where the prefix is computed on its own.
    """
    if batch.blocks is None:
        mask = tree_mask(batch.tree_RL, batch.branch_RL)
        return mask[:, :, batch.prefix_apart :]
    tree_L, branch_L = batch.tree_RL[0], batch.branch_RL[0]

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        del row, head
        same_branch = (branch_L[key] == PREFIX) | (branch_L[query] == branch_L[key])
        return (query >= key) & (tree_L[query] == tree_L[key]) & same_branch

    some, which, full, which_full = batch.blocks
    lengths = (len(tree_L), len(tree_L))
    return BlockMask.from_kv_blocks(some, which, full, which_full, BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=lengths)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **settings: Any
) -> tuple[Tensor, None]:
    """Attention of one layer, as transformers calls it: [R, H, L, D] each, out [R, L, H, D].

    Where questions are answered ``held`` computes it: what keeps keys and values (adapt.model.branches).
    """
    if (held := settings.pop("held", None)) is not None:
        return held.attend(module, query, key, value, settings.get("scaling")), None
    if not isinstance(attention_mask, BlockMask):
        return _dense(module, query, key, value, attention_mask, **settings), None
    grouped = query.shape[1] != key.shape[1]
    # Inside of a compiled layer the kernel is part of what is compiled.
    compute = flex_attention if torch.compiler.is_compiling() else _flex(query.device.type)
    mixed = compute(query, key, value, block_mask=attention_mask, scale=settings.get("scaling"), enable_gqa=grouped)
    return mixed.transpose(1, 2).contiguous(), None


def _dense(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    apart = 0 if mask is None else query.shape[2] - mask.shape[2]
    if not apart:
        return sdpa_attention_forward(module, query, key, value, mask, **settings)[0]
    first_query, first_key, first_value = (each[:, :, :apart] for each in (query, key, value))
    causal = settings | {"is_causal": True}
    prefix = sdpa_attention_forward(module, first_query, first_key, first_value, None, **causal)[0]
    branches = sdpa_attention_forward(module, query[:, :, apart:], key, value, mask, **settings)[0]
    return torch.cat([prefix, branches], dim=1)


@functools.cache
def _flex(device: str) -> Any:
    """Compiled on a GPU, where it is one kernel; as it stands on a CPU, where it is for comparison alone."""
    return torch.compile(flex_attention) if device == "cuda" else flex_attention


AttentionInterface.register(TREES, attend)
