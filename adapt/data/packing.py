"""Packing: the trees of a step regrouped for a device's budget. It changes the cost of a step and nothing else.

A tree's tokens are its prefix and then its branches. A pack is a rectangle of rows; each row holds whole trees, one after
the other, and is as long as the pack's longest tree, so that the attention mask [R, L, L] stays small.

Axes: T tokens of a tree, N tiles, R rows, L row length, K picture tokens, P predicted tokens, M residual branches of the
vision tower, S tile side in pixels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapt.data.plan import Tree
from adapt.errors import DataError

PADDING = -1
PREFIX = -1


@dataclasses.dataclass(frozen=True)
class RowSizes:
    """What each row of an index costs, in int64 arrays by row number: tokens, tiles and supervised tokens."""

    prefix_tokens: np.ndarray
    branch_tokens: np.ndarray
    tiles: np.ndarray
    supervised: np.ndarray

    def tokens(self, rows: Sequence[int]) -> int:
        """Tokens of the tree of those rows."""
        return int(self.prefix_tokens[rows[0]] + sum(int(self.branch_tokens[row]) for row in rows))

    def longest(self, rows: Sequence[int]) -> int:
        """Tokens of the longest sample among those rows, the prefix counted: its largest position and one."""
        return int(self.prefix_tokens[rows[0]]) + max(int(self.branch_tokens[row]) for row in rows)


@dataclasses.dataclass(frozen=True)
class Piece:
    """A tree, or the part of one that fits the budget; ``number`` is the tree's place in its step (what draws are keyed by)."""

    number: int
    tree: Tree


@dataclasses.dataclass(frozen=True)
class EncodedTree:
    """A tree ready to be laid out. Weights belong to the token they stand at: its share of the loss numerator, 0 unsupervised.

    prefix_ids int64[T], prefix_weights float64[T], branches and branch_weights one array each, tiles uint8[N, S, S, 3],
    keep float32[M, N] drop-path factors or None, sources the source number of each branch.
    """

    prefix_ids: np.ndarray
    prefix_weights: np.ndarray
    branches: tuple[np.ndarray, ...]
    branch_weights: tuple[np.ndarray, ...]
    tiles: np.ndarray
    keep: np.ndarray | None
    sources: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        return len(self.prefix_ids) + sum(map(len, self.branches))


@dataclasses.dataclass(frozen=True)
class Batch:
    """One pack on one device.

    tiles uint8[N, 3, S, S]; input_ids, position_ids int64[R, L]; tree, branch int32[R, L] (-1: padding; branch -1: prefix);
    feature_positions int64[K] flat places of the picture tokens, in the order of the tiles; target_positions int64[P] flat
    places whose hidden state predicts target_ids int64[P] with target_weights float64[P] for source target_sources int64[P];
    keep float32[M, N] or None.
    """

    tiles_NCHW: Tensor
    input_ids_RL: Tensor
    position_ids_RL: Tensor
    tree_RL: Tensor
    branch_RL: Tensor
    feature_positions_K: Tensor
    target_positions_P: Tensor
    target_ids_P: Tensor
    target_weights_P: Tensor
    target_sources_P: Tensor
    keep_MN: Tensor | None
    num_tokens: int

    def to(self, device: torch.device) -> "Batch":
        """The same pack on another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **moved)


class Rectangle:
    """Rows of one length, filled first-fit. Who places the longest first wastes little."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._used: list[int] = []

    @property
    def num_rows(self) -> int:
        return len(self._used)

    def _row_for(self, tokens: int) -> int:
        return next((row for row, used in enumerate(self._used) if used + tokens <= self.length), len(self._used))

    def places_with(self, tokens: int) -> int:
        """Places of the rectangle, padding counted, once something of ``tokens`` is in it too."""
        return max(self.num_rows, self._row_for(tokens) + 1) * self.length

    def place(self, tokens: int) -> tuple[int, int]:
        """(row, start) of ``tokens`` places in the first row that has room, a new one where none has."""
        row = self._row_for(tokens)
        if row == self.num_rows:
            self._used.append(0)
        start = self._used[row]
        self._used[row] += tokens
        return row, start


def pack_places(lengths: Sequence[int]) -> int:
    """Places, padding counted, of one pack of trees of those lengths."""
    rectangle = Rectangle(max(lengths))
    for length in sorted(lengths, reverse=True):
        rectangle.place(length)
    return rectangle.num_rows * rectangle.length


def pack_step(
    trees: Sequence[Tree], sizes: RowSizes, *, pack_tokens: int, pack_tiles: int, rope_threshold: int | None = None
) -> list[list[Piece]]:
    """Group the trees of a step into packs of at most ``pack_tokens`` places (padding counted) and ``pack_tiles`` tiles.

    A tree over the budget is split between its branches. With ``rope_threshold`` no pack holds samples of both at most that
    many tokens and more: the position encoding of a pack follows its longest sample (adapt.model.language.rope_threshold).
    Raises DataError for a single row over the budget.
    """
    pieces = [
        piece
        for number, tree in enumerate(trees)
        for side in _sides(Piece(number, tree), sizes, rope_threshold)
        for piece in _split(side, sizes, pack_tokens, pack_tiles)
    ]

    def is_long(piece: Piece) -> bool:
        return rope_threshold is not None and sizes.longest(piece.tree.rows) > rope_threshold

    pieces.sort(key=lambda piece: (not is_long(piece), -sizes.tokens(piece.tree.rows), piece.number))
    packs: list[list[Piece]] = []
    tiles, rectangle = 0, Rectangle(0)
    for piece in pieces:
        tokens, new_tiles = sizes.tokens(piece.tree.rows), int(sizes.tiles[piece.tree.rows[0]])
        full = rectangle.places_with(tokens) > pack_tokens or tiles + new_tiles > pack_tiles
        if not packs or full or is_long(piece) != is_long(packs[-1][0]):
            packs.append([])
            tiles, rectangle = 0, Rectangle(tokens)
        rectangle.place(tokens)
        tiles += new_tiles
        packs[-1].append(piece)
    return packs


def _sides(piece: Piece, sizes: RowSizes, threshold: int | None) -> list[Piece]:
    """The tree, or its short samples and its long ones apart."""
    rows = piece.tree.rows
    long = [threshold is not None and sizes.longest((row,)) > threshold for row in rows]
    sides = [tuple(row for row, mark in zip(rows, long, strict=True) if mark == side) for side in (False, True)]
    return [dataclasses.replace(piece, tree=dataclasses.replace(piece.tree, rows=each)) for each in sides if each]


def _split(piece: Piece, sizes: RowSizes, pack_tokens: int, pack_tiles: int) -> list[Piece]:
    rows = piece.tree.rows
    if sizes.tiles[rows[0]] > pack_tiles:
        raise DataError(
            f"a record has {sizes.tiles[rows[0]]} tiles, more than train.pack_tiles={pack_tiles}; raise it, or lower "
            "data.max_tiles"
        )
    if sizes.tokens(rows) <= pack_tokens:
        return [piece]
    if len(rows) == 1:
        raise DataError(f"a record has {sizes.tokens(rows):,} tokens, more than train.pack_tokens={pack_tokens}; raise it")
    half = len(rows) // 2
    parts = [dataclasses.replace(piece, tree=dataclasses.replace(piece.tree, rows=part)) for part in (rows[:half], rows[half:])]
    return [each for part in parts for each in _split(part, sizes, pack_tokens, pack_tiles)]


def _rows(trees: Sequence[EncodedTree]) -> tuple[list[tuple[int, int]], int, int]:
    """Place whole trees in rows, longest first: (row, start) of each, the number of rows, the row length."""
    rectangle = Rectangle(max(tree.num_tokens for tree in trees))
    places = [(0, 0)] * len(trees)
    for i in sorted(range(len(trees)), key=lambda i: (-trees[i].num_tokens, i)):
        places[i] = rectangle.place(trees[i].num_tokens)
    return places, rectangle.num_rows, rectangle.length


def collate(trees: Sequence[EncodedTree], image_token_id: int) -> Batch:
    """Lay encoded trees out as one pack."""
    places, num_rows, length = _rows(trees)
    shape = (num_rows, length)
    ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    tree_of, branch_of = np.full(shape, PADDING, np.int32), np.full(shape, PADDING, np.int32)
    weights = np.zeros(shape, np.float64)
    sources = np.zeros(shape, np.int64)
    features = []
    for number, (tree, (row, start)) in enumerate(zip(trees, places, strict=True)):
        prefix = len(tree.prefix_ids)
        end = start + prefix
        ids[row, start:end], positions[row, start:end] = tree.prefix_ids, np.arange(prefix)
        weights[row, start:end], sources[row, start:end] = tree.prefix_weights, tree.sources[0]
        tree_of[row, start : start + tree.num_tokens] = number
        features.append(row * length + start + np.flatnonzero(tree.prefix_ids == image_token_id))
        for branch, (branch_ids, branch_weights) in enumerate(zip(tree.branches, tree.branch_weights, strict=True)):
            begin, end = end, end + len(branch_ids)
            ids[row, begin:end], positions[row, begin:end] = branch_ids, prefix + np.arange(len(branch_ids))
            weights[row, begin:end], branch_of[row, begin:end] = branch_weights, branch
            sources[row, begin:end] = tree.sources[branch]
    targets = np.flatnonzero(weights.reshape(-1))
    tiles = np.concatenate([tree.tiles for tree in trees])
    keeps = [tree.keep for tree in trees if tree.keep is not None]
    return Batch(
        tiles_NCHW=torch.from_numpy(np.ascontiguousarray(tiles.transpose(0, 3, 1, 2))),
        input_ids_RL=torch.from_numpy(ids),
        position_ids_RL=torch.from_numpy(positions),
        tree_RL=torch.from_numpy(tree_of),
        branch_RL=torch.from_numpy(branch_of),
        feature_positions_K=torch.from_numpy(np.concatenate(features)),
        target_positions_P=torch.from_numpy(_predecessors(targets, branch_of, tree_of)),
        target_ids_P=torch.from_numpy(ids.reshape(-1)[targets]),
        target_weights_P=torch.from_numpy(weights.reshape(-1)[targets]),
        target_sources_P=torch.from_numpy(sources.reshape(-1)[targets]),
        keep_MN=torch.from_numpy(np.concatenate(keeps, axis=1)) if keeps else None,
        num_tokens=sum(tree.num_tokens for tree in trees),
    )


def _predecessors(targets: np.ndarray, branch_of: np.ndarray, tree_of: np.ndarray) -> np.ndarray:
    """int64[P]: where each target is predicted from: one place back, in the same branch, since an answer follows its header."""
    before = targets - 1
    same = (tree_of.reshape(-1)[before] == tree_of.reshape(-1)[targets]) & (
        branch_of.reshape(-1)[before] == branch_of.reshape(-1)[targets]
    )
    assert bool(np.all(same)), "a supervised token opens its branch: nothing in the branch predicts it"
    return before
