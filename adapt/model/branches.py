"""Keys and values of questions being answered, and the attention over them: a prefix kept once, a place for every branch.

What is decoded together stands in one row of tokens, whatever tree it belongs to: one token of every answer, and the prompts
that have just joined. Everything but attention is computed on that row as it is, with no padding. Attention is two parts,
joined by their normalisers: over the prefix, where all queries of a tree are one block of rows of one matrix product; and over
the branch's own keys, which stand in banks by length (16, 32, 64 ... places), so that one long answer costs the others nothing.
Branches that have ended give up their place at once: the last of a bank moves into it.

Joining two parts of a softmax by their normalisers is from arXiv 1805.02867 (online softmax).

Axes: N tokens of the row, R trees of a shelf, W queries of the widest tree, P prefix keys, S slots of a bank, Q queries of the
longest prompt, C places of a bank, K keys looked at, H heads, U heads of keys, G heads that share one, D head size.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

LEAST_PLACES = 16
# Trees of unequal width share a matrix product while padding does not more than double it.
_MOST_PADDING = 2


class Shelf:
    """The prefixes of trees that were prefilled together, padded on the right: [R, U, P, D] a layer."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def num_keys(self) -> int:
        """Places held, padding counted."""
        return len(self.lengths) * max(self.lengths, default=0)

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Keep the keys and values of a layer; causal attention among them. Padding is on the right, where nobody looks."""
        longest = max(self.lengths)
        self._layers[_layer_of(module)] = key[:, :, :longest].contiguous(), value[:, :, :longest].contiguous()
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling, is_causal=True)[0]

    def at(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer."""
        return self._layers[layer]

    def keep(self, rows: Sequence[int]) -> None:
        """Hold these rows alone from now on."""
        for layer, (key, value) in self._layers.items():
            chosen = torch.tensor(rows, device=key.device)
            self._layers[layer] = key.index_select(0, chosen), value.index_select(0, chosen)
        self.lengths = [self.lengths[row] for row in rows]


class Bank:
    """Slots of ``num_places`` own keys each: [S, U, C, D] a layer, the slots in use first."""

    def __init__(self, num_places: int) -> None:
        self.num_places = num_places
        self.num_used = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def add(self, count: int) -> range:
        """The next free slots."""
        slots = range(self.num_used, self.num_used + count)
        self.num_used += count
        return slots

    def remove(self, slots: Sequence[int]) -> dict[int, int]:
        """Free these slots; {old slot: new slot} of what moved into them."""
        left = self.num_used - len(slots)
        gone = set(slots)
        holes = sorted(slot for slot in gone if slot < left)
        movers = [slot for slot in range(left, self.num_used) if slot not in gone]
        if holes:
            for each in (tensor for pair in self._layers.values() for tensor in pair):
                each[holes] = each[movers]
        self.num_used = left
        return dict(zip(movers, holes, strict=True))

    def move_to(self, other: "Bank", slots: Sequence[int], places: Sequence[int]) -> None:
        """Copy the keys of these slots to those places of a longer bank; the slots stay in use until removed."""
        for layer, pair in self._layers.items():
            wider = other._room(layer, *pair)
            for mine, theirs in zip(pair, wider, strict=True):
                theirs[list(places), :, : self.num_places] = mine[list(slots)]

    def write(self, layer: int, slots_N: Tensor, places_N: Tensor, key_NUD: Tensor, value_NUD: Tensor) -> tuple[Tensor, Tensor]:
        """Keep new keys and values; those of the slots in use, [S, U, C, D] each."""
        key, value = self._room(layer, key_NUD[:, :, None], value_NUD[:, :, None])
        key[slots_N, :, places_N] = key_NUD
        value[slots_N, :, places_N] = value_NUD
        return key[: self.num_used], value[: self.num_used]

    def _room(self, layer: int, *like: Tensor) -> tuple[Tensor, Tensor]:
        found = self._layers.get(layer)
        have = 0 if found is None else len(found[0])
        if have < self.num_used:
            rows = max(self.num_used, 2 * have)
            grown = [each.new_zeros(rows, each.shape[1], self.num_places, each.shape[3]) for each in like]
            for new, old in zip(grown, found or (), strict=False):
                new[:have] = old
            self._layers[layer] = found = (grown[0], grown[1])
        assert found is not None
        return found


@dataclasses.dataclass(frozen=True)
class Queries:
    """Tokens of one branch in the row: ``count`` from ``first``, the first of them in place ``place`` of its slot."""

    shelf: Shelf | None
    row: int
    bank: Bank
    slot: int
    first: int
    count: int
    place: int


@dataclasses.dataclass(frozen=True)
class _Block:
    """Neighbours on a shelf whose queries are one product: grid[R, W] tokens, the used cells of the grid and their tokens."""

    shelf: Shelf
    rows: slice
    num_keys: int
    grid: Tensor
    cells: Tensor
    tokens: Tensor
    sees: Tensor | None


@dataclasses.dataclass(frozen=True)
class _Group:
    """Slots of a bank, one after the other, with at most Q queries each: grid[S, Q] tokens, cells and tokens as in a block."""

    slots: slice
    num_keys: int
    grid: Tensor
    cells: Tensor
    tokens: Tensor
    sees: Tensor


@dataclasses.dataclass(frozen=True)
class _Own:
    bank: Bank
    tokens: Tensor
    slots: Tensor
    places: Tensor
    groups: tuple[_Group, ...]


class Step:
    """The attention of one row of tokens; made once, used by every layer."""

    def __init__(self, queries: Sequence[Queries], device: torch.device) -> None:
        self._device = device
        self._owns = [self._own(bank, queries) for bank in dict.fromkeys(each.bank for each in queries)]
        shelves = dict.fromkeys(each.shelf for each in queries if each.shelf is not None)
        self._blocks = [block for shelf in shelves for block in self._blocks_of(shelf, queries)]
        self.num_layers = 0

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """[1, H, N, D] queries, [1, U, N, D] keys and values of the row; out [1, N, H, D]."""
        self.num_layers += 1
        layer = _layer_of(module)
        heads, shared, size = query.shape[1], key.shape[1], query.shape[3]
        scale = size**-0.5 if scaling is None else scaling
        query_NUGD = (query[0].transpose(0, 1) * scale).unflatten(1, (shared, heads // shared))
        key_NUD, value_NUD = key[0].transpose(0, 1), value[0].transpose(0, 1)
        shape = (*query_NUGD.shape[:3], value.shape[3])
        mixed = query.new_empty(shape)
        norm = torch.empty(shape[:3], dtype=torch.float32 if query.dtype != torch.float64 else query.dtype, device=query.device)
        for own in self._owns:
            held = own.bank.write(
                layer, own.slots, own.places, key_NUD.index_select(0, own.tokens), value_NUD.index_select(0, own.tokens)
            )
            for group in own.groups:
                keys, values = (each[group.slots, :, : group.num_keys] for each in held)
                _part(query_NUGD, keys, values, group.grid, group.sees).put(mixed, norm, group)
        for block in self._blocks:
            keys, values = (each[block.rows, :, : block.num_keys] for each in block.shelf.at(layer))
            _part(query_NUGD, keys, values, block.grid, block.sees).join(mixed, norm, block)
        return mixed.flatten(1, 2)[None]

    def _own(self, bank: Bank, queries: Sequence[Queries]) -> _Own:
        mine = sorted((each for each in queries if each.bank is bank), key=lambda each: each.slot)
        spans = [(each.slot, each.first + step, each.place + step) for each in mine for step in range(each.count)]
        slots, tokens, places = (self._index(list(column)) for column in zip(*spans, strict=True))
        groups, start = [], 0
        for end in range(1, len(mine) + 1):
            # Who answers has one query, who has joined a prompt: the two are apart.
            if (
                end == len(mine)
                or (mine[end].count == 1) != (mine[start].count == 1)
                or mine[end].slot != mine[end - 1].slot + 1
            ):
                groups.append(self._group(mine[start:end]))
                start = end
        return _Own(bank, tokens, slots, places, tuple(groups))

    def _group(self, mine: Sequence[Queries]) -> _Group:
        grid, cells, tokens = self._grid([range(each.first, each.first + each.count) for each in mine])
        num_keys = max(each.place + each.count for each in mine)
        last_SQ = self._index([each.place for each in mine])[:, None] + torch.arange(grid.shape[1], device=self._device)
        sees_SQK = torch.arange(num_keys, device=self._device) <= last_SQ[:, :, None]
        return _Group(slice(mine[0].slot, mine[-1].slot + 1), num_keys, grid, cells, tokens, sees_SQK)

    def _blocks_of(self, shelf: Shelf, queries: Sequence[Queries]) -> list[_Block]:
        asked: dict[int, list[int]] = {}
        for each in queries:
            if each.shelf is shelf and shelf.lengths[each.row]:
                asked.setdefault(each.row, []).extend(range(each.first, each.first + each.count))
        blocks: list[list[int]] = []
        for row in sorted(asked):
            block = [*blocks[-1], row] if blocks and blocks[-1][-1] == row - 1 else []
            widths = [len(asked[each]) for each in block]
            if block and max(widths) * len(widths) <= _MOST_PADDING * sum(widths):
                blocks[-1] = block
            else:
                blocks.append([row])
        return [self._block(shelf, rows, [asked[row] for row in rows]) for rows in blocks]

    def _block(self, shelf: Shelf, rows: Sequence[int], asked: Sequence[Sequence[int]]) -> _Block:
        grid, cells, tokens = self._grid(asked)
        lengths = [shelf.lengths[row] for row in rows]
        num_keys = max(lengths)
        sees = None
        if min(lengths) < num_keys:
            sees = torch.arange(num_keys, device=self._device) < self._index(lengths)[:, None, None]
        return _Block(shelf, slice(rows[0], rows[-1] + 1), num_keys, grid, cells, tokens, sees)

    def _grid(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        width = max(map(len, rows))
        grid = [[*row, *[row[0]] * (width - len(row))] for row in rows]
        cells = [place * width + column for place, row in enumerate(rows) for column in range(len(row))]
        return self._index(grid), self._index(cells), self._index([token for row in rows for token in row])

    def _index(self, numbers: Sequence[Any]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self._device)


@dataclasses.dataclass(frozen=True)
class _Part:
    """A softmax over some of a query's keys: its mean of the values [cells, U, G, D] and its normaliser [cells, U, G]."""

    mean: Tensor
    norm: Tensor

    def put(self, mixed: Tensor, norm: Tensor, where: _Group) -> None:
        """The first part of those tokens."""
        mixed[where.tokens] = self.mean.index_select(0, where.cells)
        norm[where.tokens] = self.norm.index_select(0, where.cells)

    def join(self, mixed: Tensor, norm: Tensor, where: _Block) -> None:
        """A second part of those tokens: each counts by its normaliser."""
        mine, before = self.mean.index_select(0, where.cells), mixed.index_select(0, where.tokens)
        share = (self.norm.index_select(0, where.cells) - norm.index_select(0, where.tokens)).sigmoid()
        mixed[where.tokens] = torch.lerp(before.to(share.dtype), mine.to(share.dtype), share[..., None]).to(mixed.dtype)


def _part(query_NUGD: Tensor, key_SUKD: Tensor, value_SUKD: Tensor, grid_SQ: Tensor, sees_SQK: Tensor | None) -> _Part:
    """Queries at the grid's tokens over the keys of its rows. A row sees at least one key."""
    count, width = grid_SQ.shape
    shared, group, size = query_NUGD.shape[1:]
    query = query_NUGD.index_select(0, grid_SQ.flatten()).view(count, width, shared, group, size)
    query = query.transpose(1, 2).reshape(count, shared, width * group, size)
    scores = query @ key_SUKD.transpose(2, 3)
    if scores.dtype != torch.float64:
        scores = scores.float()
    if sees_SQK is not None:
        hidden = ~sees_SQK[:, None, :, None].expand(-1, -1, width, group, -1).flatten(2, 3)
        scores.masked_fill_(hidden, -torch.inf)
    norm = scores.logsumexp(-1)
    mean = scores.sub_(norm[..., None]).exp_().to(value_SUKD.dtype) @ value_SUKD
    mean = mean.view(count, shared, width, group, -1).transpose(1, 2).flatten(0, 1)
    return _Part(mean, norm.view(count, shared, width, group).transpose(1, 2).flatten(0, 1))


def _layer_of(module: Any) -> int:
    return int(module.layer_idx)
