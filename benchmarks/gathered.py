"""The other way to compute a message tree on a GPU: variable-length flash attention over gathered prefixes.

Every segment of a pack (a prefix, a branch, padding) is a sequence of queries; a branch's keys are its tree's prefix, gathered
anew for each branch, and its own tokens. Flash attention aligns a causal mask at the end of the keys, so a branch's token sees
the whole prefix and its branch up to itself. It computes no pair too many, where blocks of 128 round up, but it copies a prefix
once a branch: benchmarks.device times it against adapt.model.attention.

Axes: L places of the row, S segments, G gathered keys, H heads, D head size.
"""

import dataclasses
import inspect

import numpy as np
import torch
from torch import Tensor

from adapt.data.packing import PADDING, PREFIX


@dataclasses.dataclass(frozen=True)
class Segments:
    """Where segments begin (``query_starts``, ``key_starts``: int32[S+1]), the place of each key (int64[G]), the longest."""

    query_starts: Tensor
    key_starts: Tensor
    key_places: Tensor
    longest_query: int
    longest_key: int

    def to(self, device: torch.device) -> "Segments":
        """The same on another device."""
        moved = (each.to(device) for each in (self.query_starts, self.key_starts, self.key_places))
        return Segments(*moved, self.longest_query, self.longest_key)


def segments(tree_L: np.ndarray, branch_L: np.ndarray) -> Segments:
    """The segments of a row of trees, each tree's prefix (which may be empty) in front of its branches."""
    opens = np.r_[True, (tree_L[1:] != tree_L[:-1]) | (branch_L[1:] != branch_L[:-1])]
    edges = np.r_[np.flatnonzero(opens), len(tree_L)]
    keys, prefix_of = [], {}
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        own, tree = np.arange(start, end), int(tree_L[start])
        if tree != PADDING and branch_L[start] == PREFIX:
            prefix_of[tree] = own
        is_branch = tree != PADDING and branch_L[start] != PREFIX
        keys.append(np.r_[prefix_of[tree], own] if is_branch and tree in prefix_of else own)
    counts = [len(each) for each in keys]
    return Segments(
        torch.from_numpy(edges.astype(np.int32)),
        torch.from_numpy(np.cumsum([0, *counts], dtype=np.int32)),
        torch.from_numpy(np.concatenate(keys)),
        int(np.diff(edges).max()),
        max(counts),
    )


def attend_gathered(query: Tensor, key: Tensor, value: Tensor, of: Segments, scale: float) -> Tensor:
    """Attention of one layer on a CUDA device: [1, H, L, D] each, out [1, L, H, D]."""
    from torch.nn.attention.varlen import varlen_attn

    query_LHD, key_LHD, value_LHD = (each[0].transpose(0, 1) for each in (query, key, value))
    grouped = query.shape[1] // key.shape[1]
    key_GHD, value_GHD = (each.index_select(0, of.key_places) for each in (key_LHD, value_LHD))
    settings = {}
    if "enable_gqa" in inspect.signature(varlen_attn).parameters:
        settings["enable_gqa"] = grouped > 1
    else:  # torch 2.11 wants a key for every query head
        key_GHD, value_GHD = (each.repeat_interleave(grouped, 1) for each in (key_GHD, value_GHD))
    mixed = varlen_attn(
        query_LHD.contiguous(), key_GHD, value_GHD, of.query_starts, of.key_starts, of.longest_query, of.longest_key,
        scale=scale, window_size=(-1, 0), **settings,
    )  # fmt: skip
    return mixed[None]  # type: ignore[no-any-return]
