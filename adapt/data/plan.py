"""The plan: which message trees make each step, known before the run starts and on no device.

A step is a set of trees, a pure function of (data fingerprint, seed, samples_per_step, max_branches, ratio) and nothing
else. So the state of the data is one integer, the step; packing and the number of workers or devices come later and
change nothing here. Two streams are mixed, the domain and the general data: whichever is further behind its share gives
the next tree, which keeps the ratio in every window to within one tree.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from adapt import randomness

if TYPE_CHECKING:
    from adapt.data.index import Index


@dataclasses.dataclass(frozen=True)
class Stream:
    """The rows of one side of the mixture. ``rows`` are row numbers of the index, ``tree_keys`` int64 of each."""

    name: str
    rows: np.ndarray
    tree_keys: np.ndarray


@dataclasses.dataclass(frozen=True)
class Tree:
    """Rows that share their pictures and their prompt up to the last picture; ``stream`` 0 is the domain, 1 general data."""

    stream: int
    epoch: int
    rows: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Steps as lists of trees, with the samples of each stream and a digest of the whole."""

    steps: tuple[tuple[Tree, ...], ...]
    samples: tuple[int, int]
    epochs: tuple[float, float]
    digest: str

    def __len__(self) -> int:
        return len(self.steps)


def stream_of(name: str, index: "Index", rows: np.ndarray) -> Stream:
    """The stream of those rows of an index."""
    keys = np.asarray(index.table.with_format("numpy")["tree_key"][:], dtype=np.int64)
    return Stream(name, rows, keys[rows])


def epoch_trees(stream: Stream, seed: int, epoch: int, max_branches: int) -> list[tuple[int, ...]]:
    """One epoch of a stream as trees of row numbers, in a drawn order; every row is in exactly one tree.

    The rows of a group are shuffled and cut into parts of nearly equal size, at most ``max_branches``, so that no
    part is a leftover of one question that pays for a picture alone.
    """
    count = len(stream.rows)
    draws = randomness.words(count, seed, "branches", stream.name, epoch)
    order = np.lexsort((draws, stream.tree_keys))
    keys = stream.tree_keys[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    trees = []
    for start, end in zip(starts, np.r_[starts[1:], count], strict=True):
        parts = -(-(end - start) // max_branches)
        trees += [tuple(stream.rows[part].tolist()) for part in np.array_split(order[start:end], parts)]
    drawn = randomness.permutation(len(trees), seed, "trees", stream.name, epoch)
    return [trees[i] for i in drawn]


def _endless(stream: Stream, number: int, seed: int, max_branches: int) -> Iterator[Tree]:
    epoch = 0
    while True:
        for rows in epoch_trees(stream, seed, epoch, max_branches):
            yield Tree(number, epoch, rows)
        epoch += 1


def _mixed(streams: tuple[Stream, ...], shares: tuple[float, ...], seed: int, max_branches: int) -> Iterator[Tree]:
    """Trees of all streams for ever; each comes from the stream that is furthest behind its share."""
    sources = [_endless(stream, i, seed, max_branches) for i, stream in enumerate(streams)]
    given = [0] * len(streams)
    while True:
        total = sum(given)
        behind = [share * total - count for share, count in zip(shares, given, strict=True)]
        if max(behind) <= 0:
            behind = list(shares)
        tree = next(sources[behind.index(max(behind))])
        given[tree.stream] += len(tree.rows)
        yield tree


def plan_run(
    domain: Stream,
    general: Stream | None,
    *,
    ratio: float,
    seed: int,
    samples_per_step: int,
    max_branches: int,
    epochs: float,
    max_steps: int,
) -> Plan:
    """Plan a run of ``max_steps`` steps, or (0) of as many as ``epochs`` of the domain data need.

    ``ratio`` is general samples per domain sample; without ``general`` it counts as 0. Step boundaries lie where the
    running number of samples reaches a multiple of ``samples_per_step``, so a step is that size to within one tree.
    """
    ratio = ratio if general is not None else 0.0
    streams = (domain,) if ratio == 0 or general is None else (domain, general)
    shares = (1.0,) if len(streams) == 1 else (1 / (1 + ratio), ratio / (1 + ratio))
    domain_goal = max(1, round(epochs * len(domain.rows)))
    total_goal = max_steps * samples_per_step if max_steps else round(domain_goal / shares[0])
    steps: list[tuple[Tree, ...]] = []
    current: list[Tree] = []
    counts = [0, 0]
    for tree in _mixed(streams, shares, seed, max_branches):
        if sum(counts) >= total_goal and (max_steps or counts[0] >= domain_goal):
            break
        current.append(tree)
        counts[tree.stream] += len(tree.rows)
        if sum(counts) >= (len(steps) + 1) * samples_per_step:
            steps.append(tuple(current))
            current = []
            if max_steps and len(steps) == max_steps:
                break
    if current:
        steps.append(tuple(current))
    done = (counts[0] / len(domain.rows), counts[1] / len(general.rows) if general is not None and len(general.rows) else 0.0)
    return Plan(tuple(steps), (counts[0], counts[1]), done, _digest(steps))


def validation_steps(stream: Stream, samples_per_step: int, max_branches: int) -> tuple[tuple[Tree, ...], ...]:
    """Every row of a held-out stream once, in steps."""
    trees = [Tree(0, 0, rows) for rows in epoch_trees(stream, 0, 0, max_branches)]
    steps: list[list[Tree]] = [[]]
    for tree in trees:
        if sum(len(each.rows) for each in steps[-1]) >= samples_per_step:
            steps.append([])
        steps[-1].append(tree)
    return tuple(tuple(step) for step in steps)


def hold_out(
    index: "Index", rows: np.ndarray, *, share: float, most: int, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split rows into (training, held out, how): the ``val`` split where there is one, else a drawn share of the pictures.

    Rows that share a picture stay on one side. ``most`` bounds the rows held out; which of a longer ``val`` split they are
    is drawn by picture, for a file often stands in the order of its sources. The caller has set aside the rows that are
    neither.
    """
    splits = np.asarray(index.table["split"][:])[rows]
    train, validation = rows[splits != "val"], rows[splits == "val"]
    if len(validation) > most:
        groups = _by_picture(index, validation)
        order = randomness.permutation(len(groups), seed, "hold-out", name).tolist()
        chosen = np.sort(np.concatenate([groups[number] for number in order])[:most])
        return train, chosen, f"{most:,} of {len(validation):,} rows of split 'val', drawn by picture"
    if len(validation) or not len(train) or share == 0:
        return train, validation, f"the {len(validation):,} rows of split 'val'" if len(validation) else "none"
    groups = _by_picture(index, train)
    goal = min(most, round(share * len(train)))
    held: list[int] = []
    for number in randomness.permutation(len(groups), seed, "hold-out", name).tolist():
        if len(held) >= goal:
            break
        # Pictures that hang together may be most of the data: they are what is to be learnt.
        if len(groups[number]) <= len(train) // 2 and len(held) + len(groups[number]) <= most:
            held += groups[number]
    chosen = np.sort(np.asarray(held, dtype=np.int64))
    return np.setdiff1d(train, chosen), chosen, f"{len(chosen):,} rows drawn by picture from the training rows"


def _by_picture(index: "Index", rows: np.ndarray) -> list[list[int]]:
    """The rows in groups that share no picture (by content) with another group; a row of text alone is a group."""
    hashes = index.pictures["sha256"][:]
    numbers = index.table["pictures"][:]
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    names = [[hashes[number] for number in numbers[row]] or [f"row {row}"] for row in rows.tolist()]
    for first, *others in names:
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[str, list[int]] = {}
    for row, (first, *_) in zip(rows.tolist(), names, strict=True):
        groups.setdefault(root(first), []).append(row)
    return list(groups.values())


def _digest(steps: list[tuple[Tree, ...]]) -> str:
    digest = hashlib.sha256()
    for step in steps:
        digest.update(repr([(tree.stream, tree.epoch, tree.rows) for tree in step]).encode())
    return digest.hexdigest()
