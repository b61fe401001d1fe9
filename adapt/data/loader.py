"""From packs of row numbers to batches: pictures are read, compared with the index, cut into tiles and laid out.

Runs in worker processes. What a batch holds depends on its pack alone, never on the worker, so their number cannot matter.
"""

import dataclasses
import hashlib
import signal
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adapt import randomness, safe, signals
from adapt.data.augment import augment, degrade, load
from adapt.data.packing import Batch, EncodedTree, Piece, RowSizes, collate
from adapt.data.tiling import count_tiles, tile, tile_budget
from adapt.errors import DataError

if TYPE_CHECKING:
    from adapt.data.index import Index


@dataclasses.dataclass(frozen=True)
class TileRule:
    """How pictures become tiles: side in pixels, tokens of a tile, most tiles a record."""

    tile_px: int
    tokens_per_tile: int
    max_tiles: int


def loss_weight(supervised: int, reduction: str) -> float:
    """The weight of each supervised token of a row with ``supervised`` of them.

    ``token`` 1, ``sample`` 1/n, ``square`` 1/sqrt(n). Source: github.com/OpenGVLab/InternVL
    ``internvl_chat/internvl/train/dataset_packed.py``.
    """
    if supervised == 0:
        return 0.0
    return {"token": 1.0, "sample": 1.0 / supervised, "square": supervised**-0.5}[reduction]


def row_sizes(index: "Index", rule: TileRule) -> RowSizes:
    """The cost of every row of the index under a tile rule, the turned rows after the others."""
    import pyarrow.compute as pc

    columns, turned = index.table.with_format("arrow")[:], index.turned.with_format("arrow")[:]
    both = [columns, turned]
    lengths = np.concatenate([pc.list_value_length(each["input_ids"]).to_numpy() for each in both])
    flags = np.concatenate([pc.list_flatten(each["supervised"]).to_numpy() for each in both])
    running, ends = np.r_[0, np.cumsum(flags, dtype=np.int64)], np.cumsum(lengths, dtype=np.int64)
    supervised = running[ends] - running[ends - lengths]
    prefix = np.concatenate([each["prefix_length"].to_numpy() for each in both]).astype(np.int64)
    records = np.concatenate([np.arange(len(index)), turned["row"].to_numpy()])
    pictures = columns["pictures"].to_pylist()
    shapes = list(zip(index.pictures["width"][:], index.pictures["height"][:], strict=True))
    own = columns["max_tiles"].to_pylist()
    counts = np.asarray([_tiles(numbers, most, shapes, rule) for numbers, most in zip(pictures, own, strict=True)], np.int64)
    placeholders = np.asarray([len(numbers) for numbers in pictures], dtype=np.int64)[records]
    counts = counts[records]
    return RowSizes(
        prefix_tokens=prefix - placeholders + counts * rule.tokens_per_tile,
        branch_tokens=lengths - prefix,
        tiles=counts,
        supervised=supervised,
    )


def most_tokens(index: "Index", sizes: RowSizes) -> np.ndarray:
    """int64[N]: tokens of each row of the index's table, a row that turns in its longest symmetry."""
    tokens = sizes.prefix_tokens + sizes.branch_tokens
    most = tokens[: len(index)].copy()
    np.maximum.at(most, np.asarray(index.turned["row"][:], dtype=np.int64), tokens[len(index) :])
    return most


def _tiles(numbers: Sequence[int], own: int, shapes: Sequence[tuple[int, int]], rule: TileRule) -> int:
    budget = tile_budget(rule.max_tiles, len(numbers), own)
    return sum(count_tiles(*shapes[number], budget, rule.tile_px) for number in numbers)


def read_tiles(picture: dict[str, Any], budget: int, rule: TileRule, change: "Change | None" = None) -> np.ndarray:
    """uint8[n, S, S, 3] of one picture. Raises DataError where its content is not what the index saw."""
    path = Path(picture["path"])
    content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES)
    if (found := hashlib.sha256(content).hexdigest()) != picture["sha256"]:
        raise DataError(
            f"{path}: the picture changed since the run was planned (sha256 {found[:12]}, expected {picture['sha256'][:12]}); "
            f"restore it, or have it indexed anew (touch '{path}') and go on with --resume --accept-new-data or with a new run"
        )
    decoded = safe.decode_picture(content, str(path))
    if change is not None:
        from PIL import Image

        decoded = Image.fromarray(augment(np.asarray(decoded), symmetry=change.symmetry, draw=change.draw))
    return tile(decoded, budget, rule.tile_px)


@dataclasses.dataclass(frozen=True)
class Change:
    """One drawn augmentation of one picture."""

    symmetry: str
    draw: int


@dataclasses.dataclass(frozen=True)
class PackRequest:
    """One pack to load: its step (what draws are keyed by; None outside training) and its pieces."""

    step: int | None
    pieces: tuple[Piece, ...]


@dataclasses.dataclass(frozen=True)
class PackReader:
    """Turns a PackRequest into a Batch. Frozen and picklable: workers get a copy.

    ``one_row`` and ``always_a_tile`` say how ``collate`` lays a pack out: for flex attention, and for one of several devices.
    """

    index: "Index"
    rule: TileRule
    image_token_id: int
    reduction: str
    seed: int
    augment: str
    jpeg_quality: int
    drop_path: float
    residual_branches: int
    source_numbers: dict[str, int]
    one_row: bool = False
    always_a_tile: bool = False

    def read(self, request: PackRequest) -> Batch:
        """Load one pack."""
        return collate(
            [self.tree(piece, request.step) for piece in request.pieces],
            self.image_token_id,
            one_row=self.one_row,
            dummy_px=self.rule.tile_px if self.always_a_tile else 0,
        )

    def tree(self, piece: Piece, step: int | None) -> EncodedTree:
        """Encode one tree: pictures from disk, weights of the loss, drop-path factors."""
        rows = [self.index.fields(row) for row in piece.tree.rows]
        tiles = self._tiles(rows, piece, step)
        prefix_length = rows[0]["prefix_length"]
        prefix = self._expand(rows[0]["input_ids"][:prefix_length], tiles)
        weights = [
            np.asarray(row["supervised"], np.float64) * loss_weight(sum(row["supervised"]), self.reduction) for row in rows
        ]
        # A supervised token of the prefix is one token for every branch: it carries the weights of all.
        shared = np.sum([weight[:prefix_length] for weight in weights], axis=0)
        real = np.asarray(rows[0]["input_ids"][:prefix_length], np.int64) != self.image_token_id
        prefix_weights = np.zeros(len(prefix))
        prefix_weights[prefix != self.image_token_id] = shared[real] if prefix_length else 0.0
        return EncodedTree(
            prefix_ids=prefix,
            prefix_weights=prefix_weights,
            branches=tuple(np.asarray(row["input_ids"][prefix_length:], np.int64) for row in rows),
            branch_weights=tuple(weight[prefix_length:] for weight in weights),
            tiles=np.concatenate(tiles) if tiles else np.zeros((0, self.rule.tile_px, self.rule.tile_px, 3), np.uint8),
            keep=self._keep(piece, step, sum(map(len, tiles))),
            sources=tuple(self.source_numbers[row["source"]] for row in rows),
        )

    def _tiles(self, rows: list[dict[str, Any]], piece: Piece, step: int | None) -> list[np.ndarray]:
        numbers = rows[0]["pictures"]
        budget = tile_budget(self.rule.max_tiles, len(numbers), rows[0]["max_tiles"])
        out = []
        for place, number in enumerate(numbers):
            change = None
            if step is not None and self.augment != "none":
                draw = randomness.choice(2**31, self.seed, "augment", step, piece.number, place)
                change = Change(piece.tree.symmetry, draw)
            tiles = read_tiles(self.index.pictures[number], budget, self.rule, change)
            if step is not None and self.jpeg_quality:
                drawn = randomness.uniforms(len(tiles), self.seed, "jpeg", step, piece.number, place)
                tiles = degrade(tiles, [self.jpeg_quality + int(draw * (101 - self.jpeg_quality)) for draw in drawn])
            out.append(tiles)
        return out

    def _expand(self, ids: list[int], tiles: list[np.ndarray]) -> np.ndarray:
        """int64[T]: each picture's placeholder becomes as many as its tiles have tokens."""
        flat = np.asarray(ids, np.int64)
        times = np.ones(len(flat), np.int64)
        times[flat == self.image_token_id] = [len(each) * self.rule.tokens_per_tile for each in tiles]
        return np.repeat(flat, times)

    def _keep(self, piece: Piece, step: int | None, num_tiles: int) -> np.ndarray | None:
        """float32[M, N]: 0 or 1/(1 - p) for each residual branch and tile; p grows linearly with depth, as in timm."""
        if step is None or self.drop_path == 0:
            return None
        layers = self.residual_branches // 2
        rates = np.repeat(np.linspace(0, self.drop_path, layers), 2)[:, None]
        draws = randomness.uniforms(self.residual_branches * num_tiles, self.seed, "drop-path", step, piece.number)
        return ((draws.reshape(self.residual_branches, num_tiles) >= rates) / (1 - rates)).astype(np.float32)


class _Requests(torch.utils.data.Dataset):
    """The map-style face of a PackReader that DataLoader asks for: the key is the request itself."""

    def __init__(self, reader: PackReader) -> None:
        self._reader = reader

    def __getitem__(self, request: PackRequest) -> Batch | DataError:
        # DataLoader would make a traceback of what a worker raises: the fault comes back as a value, to be raised here.
        try:
            return self._reader.read(request)
        except DataError as error:
            return error


def _same(item: Any) -> Any:
    return item


_GRACE_S = 60


def _start_worker(number: int) -> None:
    """A worker leaves Ctrl-C and SIGTERM to its parent, which ends the step first and then its workers.

    Schedulers and ``timeout`` send SIGTERM to the whole process group: a worker that died of it at once would turn the
    clean stop into a fault. One whose parent asks in vain is gone after ``_GRACE_S`` seconds.
    """
    del number
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def load_packs(
    reader: PackReader, requests: Sequence[PackRequest], *, workers: int, prefetch: int, pin: bool = False
) -> Generator[Batch, None, None]:
    """Yield the batch of each request, in order. ``workers`` 0 reads in this process; ``pin`` readies them for a GPU's copies.

    Raises DataError for a bad picture.
    """
    if workers and reader.augment != "none":
        load()
    loader = torch.utils.data.DataLoader(
        _Requests(reader),
        sampler=requests,
        batch_size=None,
        collate_fn=_same,
        num_workers=workers,
        worker_init_fn=_start_worker,
        prefetch_factor=prefetch if workers else None,
        pin_memory=pin,
    )
    batches: Any = iter(loader)
    try:
        for item in batches:
            if isinstance(item, DataError):
                raise item
            yield item
    finally:
        # Torch ends them in a __del__: a signal would be lost there, and a traceback out of ``next`` holds it off.
        with signals.held():
            if workers:
                batches._shutdown_workers()
