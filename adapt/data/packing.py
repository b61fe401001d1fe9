"""Packing: the trees of a step regrouped for a device's budget. It changes the cost of a step and nothing else.

A tree's tokens are its prefix and then its branches. A pack is a rectangle of rows; each row holds whole trees, one after
the other, and is as long as the pack's longest tree, so that the attention mask [R, L, L] stays small.

Axes: T tokens of a tree, N tiles, R rows, L row length, K picture tokens, P predicted tokens, M residual branches of the
vision tower, S tile side in pixels.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapt.data.flops import Flops
from adapt.data.plan import Tree
from adapt.errors import DataError

PADDING = -1
PREFIX = -1
EVEN = 1.02  # of the mean: a busiest device that is left as it is
MOST_SPLITS = 2  # a device
LONG_PREFIX = 256  # tokens; computing a shorter one on its own saves less than it costs
BLOCK = 128  # queries and keys of a block of flex attention


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

    def pairs(self, rows: Sequence[int]) -> int:
        """(query, key) pairs that the attention of the tree of those rows computes."""
        prefix = int(self.prefix_tokens[rows[0]])
        own = sum(int(count) * prefix + int(count) * (int(count) + 1) // 2 for count in self.branch_tokens[list(rows)])
        return prefix * (prefix + 1) // 2 + own

    def predictions(self, rows: Sequence[int]) -> int:
        """Supervised tokens of those rows."""
        return int(self.supervised[list(rows)].sum())

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
    keep float32[M, N] or None; blocks the four tables of adapt.data.blocks, each with two leading axes of 1, where the pack is
    one row for flex attention; prefix_apart the tokens of a prefix whose attention is computed on its own, 0 for none.
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
    blocks: tuple[Tensor, ...] | None
    prefix_apart: int
    num_tokens: int

    @property
    def num_tiles(self) -> int:
        """Tiles that tokens stand for."""
        return len(self.tiles_NCHW) if len(self.feature_positions_K) else 0

    def to(self, device: torch.device) -> "Batch":
        """The same pack on another device."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same pack in pages that a GPU copies from on its own; what a DataLoader with pin_memory calls."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        moved: dict[str, Any] = {
            field.name: change(value)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        if self.blocks is not None:
            moved["blocks"] = tuple(map(change, self.blocks))
        return dataclasses.replace(self, **moved)


class Rectangle:
    """Rows of one length, filled first-fit; or one row that grows, to whole attention blocks.

    Who places the longest first wastes little.
    """

    def __init__(self, length: int, one_row: bool = False) -> None:
        self._length = length
        self._one_row = one_row
        self._used: list[int] = []

    @property
    def num_rows(self) -> int:
        return len(self._used)

    @property
    def length(self) -> int:
        """Of every row."""
        return whole_blocks(sum(self._used)) if self._one_row else self._length

    def _row_for(self, tokens: int) -> int:
        if self._one_row:
            return 0
        return next((row for row, used in enumerate(self._used) if used + tokens <= self._length), len(self._used))

    def places_with(self, tokens: int) -> int:
        """Places of the rectangle, padding counted, once something of ``tokens`` is in it too."""
        if self._one_row:
            return whole_blocks(sum(self._used) + tokens)
        return max(self.num_rows, self._row_for(tokens) + 1) * self._length

    def place(self, tokens: int) -> tuple[int, int]:
        """(row, start) of ``tokens`` places in the first row that has room, a new one where none has."""
        row = self._row_for(tokens)
        if row == self.num_rows:
            self._used.append(0)
        start = self._used[row]
        self._used[row] += tokens
        return row, start


def whole_blocks(tokens: int) -> int:
    """``tokens`` rounded up to whole attention blocks."""
    return -(-tokens // BLOCK) * BLOCK


def pack_places(lengths: Sequence[int], *, one_row: bool = False) -> int:
    """Places, padding counted, of one pack of trees of those lengths."""
    rectangle = Rectangle(max(lengths), one_row)
    for length in sorted(lengths, reverse=True):
        rectangle.place(length)
    return rectangle.num_rows * rectangle.length


@dataclasses.dataclass(frozen=True)
class PackRule:
    """What bounds a pack: places (padding counted) and tiles.

    With ``rope_threshold`` no pack holds samples of both at most that many tokens and more: the position encoding of a pack
    follows its longest sample (adapt.model.language.rope_threshold). ``one_row`` lays a pack out as one row of whole attention
    blocks, for flex attention; without it as a rectangle, whose dense masks are small.
    """

    tokens: int
    tiles: int
    rope_threshold: int | None = None
    one_row: bool = False

    def is_long(self, longest: int) -> bool:
        """Whether a sample of that many tokens is on the far side of the threshold."""
        return self.rope_threshold is not None and longest > self.rope_threshold


def pack_step(trees: Sequence[Tree], sizes: RowSizes, rule: PackRule) -> list[list[Piece]]:
    """Group the trees of a step into packs within the rule; a tree over the budget is split between its branches.

    Raises DataError for a single row over the budget.
    """
    return _fill(_pieces(trees, sizes, rule), sizes, rule)


def share_step(trees: Sequence[Tree], sizes: RowSizes, rule: PackRule, flops: Flops, ranks: int) -> list[list[list[Piece]]]:
    """The packs of each of ``ranks`` devices, as many for each: who has fewer gets empty ones.

    Trees go, the dearest first, to the device that has least to do so far. Where the busiest still has much more to do than the
    mean, the dearest trees are split between their branches, as long as that shortens its step: the picture is then encoded
    twice.
    """
    pieces = _pieces(trees, sizes, rule)
    if ranks == 1:
        return [_fill(pieces, sizes, rule)]

    costs = {piece: piece_flops(piece, sizes, flops) for piece in pieces}
    shares = best = _spread(costs, ranks)
    for _ in range(MOST_SPLITS * ranks):
        loads = [sum(costs[piece] for piece in share) for share in shares]
        dearest = max((piece for piece in costs if len(piece.tree.rows) > 1), key=costs.__getitem__, default=None)
        if dearest is None or max(loads) <= EVEN * sum(loads) / ranks:
            break
        costs = {piece: cost for piece, cost in costs.items() if piece is not dearest}
        costs |= {half: piece_flops(half, sizes, flops) for half in _halves(dearest)}
        shares = _spread(costs, ranks)
        best = min(best, shares, key=lambda each: max(sum(piece_flops(p, sizes, flops) for p in share) for share in each))
    shares = best
    packs = [_fill(share, sizes, rule) for share in shares]
    most = max(map(len, packs))
    return [mine + [[] for _ in range(most - len(mine))] for mine in packs]


def piece_flops(piece: Piece, sizes: RowSizes, flops: Flops) -> float:
    """Operations of the forward pass of a piece, padding left out."""
    rows = piece.tree.rows
    return flops.total(
        tiles=int(sizes.tiles[rows[0]]),
        tokens=sizes.tokens(rows),
        pairs=sizes.pairs(rows),
        predictions=sizes.predictions(rows),
    )


def straggler(steps: Sequence[Sequence[Tree]], sizes: RowSizes, rule: PackRule, flops: Flops, ranks: int) -> float:
    """How much longer the busiest of ``ranks`` devices works than the mean one, over those steps, by predicted operations."""
    work = slowest = 0.0
    for step in steps:
        shares = share_step(step, sizes, rule, flops, ranks)
        loads = [sum(piece_flops(piece, sizes, flops) for pack in mine for piece in pack) for mine in shares]
        work, slowest = work + sum(loads), slowest + max(loads)
    return round(ranks * slowest / work - 1, 4)


def suggest_pack_tokens(steps: Sequence[Sequence[Tree]], sizes: RowSizes, rule: PackRule, most_steps: int = 100) -> int:
    """The pack length, among those near the rule's, that the packs of the first steps fill best; the rule's own in a draw.

    Where a step is one pack there is nothing to fill better.
    """

    def fill(tokens: int) -> float:
        used = count = 0
        for step in steps[:most_steps]:
            packs = pack_step(step, sizes, dataclasses.replace(rule, tokens=tokens))
            used += sum(sizes.tokens(piece.tree.rows) for pack in packs for piece in pack)
            count += len(packs)
        return used / (count * tokens)

    if all(len(pack_step(step, sizes, rule)) == 1 for step in steps[:most_steps]):
        return rule.tokens
    largest = max(
        pack_places([sizes.tokens((row,))], one_row=rule.one_row) for step in steps for tree in step for row in tree.rows
    )
    near = {rule.tokens * eighths // 8 // BLOCK * BLOCK for eighths in range(3, 12)}
    return max(
        [rule.tokens, *sorted(tokens for tokens in near if tokens >= largest)], key=lambda tokens: round(fill(tokens), 2)
    )


def _spread(costs: Mapping[Piece, float], ranks: int) -> list[list[Piece]]:
    """Longest processing time first (Graham, "Bounds on multiprocessing timing anomalies", 1969), then exchanges that help."""
    pieces, cost = list(costs), list(costs.values())
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0.0] * ranks
    for number in sorted(range(len(pieces)), key=lambda number: (-cost[number], number)):
        least = loads.index(min(loads))
        shares[least].append(number)
        loads[least] += cost[number]
    while max(loads) > EVEN * sum(loads) / ranks and _exchange(shares, loads, cost):
        pass
    return [[pieces[number] for number in share] for share in shares]


def _exchange(shares: list[list[int]], loads: list[float], cost: Sequence[float]) -> bool:
    """Give one piece of the busiest share for one of another, or for none, so that the busier of the two has less to do.

    The best such exchange is made; False where there is none.
    """
    busiest = loads.index(max(loads))
    best: tuple[float, int, int, int | None] = loads[busiest] * (1 - 1e-4), busiest, 0, None
    for other in range(len(shares)):
        for mine in shares[busiest] if other != busiest else ():
            for taken in (None, *shares[other]):
                moved = cost[mine] - (0.0 if taken is None else cost[taken])
                after = max(loads[busiest] - moved, loads[other] + moved)
                if after < best[0]:
                    best = after, other, mine, taken
    _, other, given, swapped = best
    if other == busiest:
        return False
    moved = cost[given] - (0.0 if swapped is None else cost[swapped])
    shares[busiest].remove(given)
    shares[other].append(given)
    if swapped is not None:
        shares[other].remove(swapped)
        shares[busiest].append(swapped)
    loads[busiest], loads[other] = loads[busiest] - moved, loads[other] + moved
    return True


def _pieces(trees: Sequence[Tree], sizes: RowSizes, rule: PackRule) -> list[Piece]:
    """The trees, those over the budget in parts that are not."""
    return [
        piece
        for number, tree in enumerate(trees)
        for side in _sides(Piece(number, tree), sizes, rule)
        for piece in _split(side, sizes, rule)
    ]


def _fill(pieces: Sequence[Piece], sizes: RowSizes, rule: PackRule) -> list[list[Piece]]:
    def is_long(piece: Piece) -> bool:
        return rule.is_long(sizes.longest(piece.tree.rows))

    order = sorted(pieces, key=lambda piece: (not is_long(piece), -sizes.tokens(piece.tree.rows), piece.number))
    packs: list[list[Piece]] = []
    tiles, rectangle = 0, Rectangle(0, rule.one_row)
    for piece in order:
        tokens, new_tiles = sizes.tokens(piece.tree.rows), int(sizes.tiles[piece.tree.rows[0]])
        full = rectangle.places_with(tokens) > rule.tokens or tiles + new_tiles > rule.tiles
        if not packs or full or is_long(piece) != is_long(packs[-1][0]):
            packs.append([])
            tiles, rectangle = 0, Rectangle(tokens, rule.one_row)
        rectangle.place(tokens)
        tiles += new_tiles
        packs[-1].append(piece)
    return packs


def _sides(piece: Piece, sizes: RowSizes, rule: PackRule) -> list[Piece]:
    """The tree, or its short samples and its long ones apart."""
    rows = piece.tree.rows
    long = [rule.is_long(sizes.longest((row,))) for row in rows]
    sides = [tuple(row for row, mark in zip(rows, long, strict=True) if mark == side) for side in (False, True)]
    return [dataclasses.replace(piece, tree=dataclasses.replace(piece.tree, rows=each)) for each in sides if each]


def _split(piece: Piece, sizes: RowSizes, rule: PackRule) -> list[Piece]:
    rows = piece.tree.rows
    if sizes.tiles[rows[0]] > rule.tiles:
        raise DataError(
            f"a record has {sizes.tiles[rows[0]]} tiles, more than train.pack_tiles={rule.tiles}; raise it, or lower "
            "data.max_tiles"
        )
    if pack_places([sizes.tokens(rows)], one_row=rule.one_row) <= rule.tokens:
        return [piece]
    if len(rows) == 1:
        raise DataError(f"a record has {sizes.tokens(rows):,} tokens, more than train.pack_tokens={rule.tokens}; raise it")
    return [each for part in _halves(piece) for each in _split(part, sizes, rule)]


def _halves(piece: Piece) -> tuple[Piece, Piece]:
    rows = piece.tree.rows
    half = len(rows) // 2
    first, second = (
        dataclasses.replace(piece, tree=dataclasses.replace(piece.tree, rows=part)) for part in (rows[:half], rows[half:])
    )
    return first, second


def _rows(trees: Sequence[EncodedTree], one_row: bool) -> tuple[list[tuple[int, int]], int, int]:
    """Place whole trees in rows, longest first: (row, start) of each, the number of rows, the row length."""
    if not trees:
        return [], 1, BLOCK if one_row else 1
    rectangle = Rectangle(max(tree.num_tokens for tree in trees), one_row)
    places = [(0, 0)] * len(trees)
    for i in sorted(range(len(trees)), key=lambda i: (-trees[i].num_tokens, i)):
        places[i] = rectangle.place(trees[i].num_tokens)
    return places, rectangle.num_rows, rectangle.length


def collate(trees: Sequence[EncodedTree], image_token_id: int, *, one_row: bool = False, dummy_px: int = 0) -> Batch:
    """Lay encoded trees out as one pack, ``one_row`` with the tables of flex attention.

    A pack without a picture gets one black tile of side ``dummy_px``, which no token stands for (0: none): among several
    devices every one must run the vision tower as often as the others.
    """
    from adapt.data.blocks import block_tables

    places, num_rows, length = _rows(trees, one_row)
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
    blocks = block_tables(tree_of[0], branch_of[0]) if one_row else None
    keeps = [tree.keep for tree in trees if tree.keep is not None]
    return Batch(
        tiles_NCHW=torch.from_numpy(np.ascontiguousarray(_tiles(trees, dummy_px).transpose(0, 3, 1, 2))),
        input_ids_RL=torch.from_numpy(ids),
        position_ids_RL=torch.from_numpy(positions),
        tree_RL=torch.from_numpy(tree_of),
        branch_RL=torch.from_numpy(branch_of),
        feature_positions_K=torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *features])),
        target_positions_P=torch.from_numpy(_predecessors(targets, branch_of, tree_of)),
        target_ids_P=torch.from_numpy(ids.reshape(-1)[targets]),
        target_weights_P=torch.from_numpy(weights.reshape(-1)[targets]),
        target_sources_P=torch.from_numpy(sources.reshape(-1)[targets]),
        keep_MN=torch.from_numpy(np.concatenate(keeps, axis=1)) if keeps else None,
        blocks=None if blocks is None else tuple(torch.from_numpy(table)[None, None] for table in blocks),
        prefix_apart=0 if one_row else _prefix_apart(trees),
        num_tokens=sum(tree.num_tokens for tree in trees),
    )


def _tiles(trees: Sequence[EncodedTree], dummy_px: int) -> np.ndarray:
    """uint8[N, H, W, 3]: the tiles of all trees in their order; without any, one black tile of ``dummy_px`` (0: none)."""
    tiles = np.concatenate([np.zeros((0, dummy_px, dummy_px, 3), np.uint8)] * (not trees) + [tree.tiles for tree in trees])
    return np.zeros((1, dummy_px, dummy_px, 3), np.uint8) if dummy_px and not len(tiles) else tiles


def _prefix_apart(trees: Sequence[EncodedTree]) -> int:
    """The length of the prefix of a tree alone that is long enough to be computed apart, else 0."""
    prefix = len(trees[0].prefix_ids) if len(trees) == 1 else 0
    return prefix if prefix >= LONG_PREFIX else 0


def _predecessors(targets: np.ndarray, branch_of: np.ndarray, tree_of: np.ndarray) -> np.ndarray:
    """int64[P]: where each target is predicted from: one place back, in the same branch, since an answer follows its header."""
    before = targets - 1
    same = (tree_of.reshape(-1)[before] == tree_of.reshape(-1)[targets]) & (
        branch_of.reshape(-1)[before] == branch_of.reshape(-1)[targets]
    )
    assert bool(np.all(same)), "a supervised token opens its branch: nothing in the branch predicts it"
    return before
