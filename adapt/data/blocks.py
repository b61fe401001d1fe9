"""Which blocks of keys each block of queries looks at, in a row of message trees: what flex attention skips the rest by.

Made on the CPU once a pack, from where segments begin and end; the mask itself, of [L, L], is never made.

Axes: L places of the row, Q query blocks, K key blocks.
"""

import numpy as np

from adapt.data.packing import BLOCK, PADDING, PREFIX


def block_tables(tree_L: np.ndarray, branch_L: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(number of partly seen key blocks int32[Q], which int32[Q, K], number of wholly seen ones int32[Q], which int32[Q, K]).

    Padding is a tree of its own, as in adapt.model.attention.tree_mask. ``L`` is a multiple of the block size.
    """
    places = np.arange(len(tree_L))
    opens = np.r_[True, (tree_L[1:] != tree_L[:-1]) | (branch_L[1:] != branch_L[:-1])]
    segment_start_L = np.maximum.accumulate(np.where(opens, places, 0))
    new_tree = np.r_[True, tree_L[1:] != tree_L[:-1]]
    tree_start_L = np.maximum.accumulate(np.where(new_tree, places, 0))
    # A prefix, which may be empty, ends where its tree's first branch opens; padding is a prefix without one.
    first_branch = opens & (branch_L != PREFIX)
    starts = places[first_branch]
    _, first = np.unique(tree_L[starts], return_index=True)
    prefix_end = np.zeros(int(tree_L.max(initial=PADDING)) + 2, np.int64)
    prefix_end[tree_L[starts[first]]] = starts[first]
    in_branch = (tree_L != PADDING) & (branch_L != PREFIX)
    # A branch right behind its prefix sees one stretch; every other token of a branch sees two.
    prefix_end_L = np.where(in_branch, prefix_end[tree_L], tree_start_L)
    joined = segment_start_L == prefix_end_L
    begin_L = np.where(joined, tree_start_L, segment_start_L)
    far_end_L = np.where(joined, tree_start_L, prefix_end_L)
    seen = _count(places, begin_L, places + 1, whole=False) + _count(places, tree_start_L, far_end_L, whole=False)
    whole = _count(places, begin_L, places + 1, whole=True) + _count(places, tree_start_L, far_end_L, whole=True)
    full = whole == BLOCK
    return *_listed((seen > 0) & ~full), *_listed(full)


def _count(places: np.ndarray, begin: np.ndarray, end: np.ndarray, *, whole: bool) -> np.ndarray:
    """int64[Q, K]: how many queries of a block see something (or, ``whole``, all) of a key block by their stretch."""
    blocks = len(places) // BLOCK
    first = -(-begin // BLOCK) if whole else begin // BLOCK
    last = end // BLOCK if whole else -(-end // BLOCK)  # one past
    some = (end > begin) & (last > first)
    changes = np.zeros((blocks, blocks + 1), np.int64)
    np.add.at(changes, (places[some] // BLOCK, first[some]), 1)
    np.add.at(changes, (places[some] // BLOCK, last[some]), -1)
    return np.cumsum(changes, axis=1)[:, :-1]


def _listed(marked_QK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many are marked in each row, and which: those first, in order, the others behind them."""
    order = np.argsort(~marked_QK, axis=1, kind="stable")
    return marked_QK.sum(axis=1).astype(np.int32), order.astype(np.int32)
