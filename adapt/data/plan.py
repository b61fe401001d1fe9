"""The plan: which message trees make each step, known before the run starts and on no device.

A step is a set of trees, a pure function of (data fingerprint, seed, samples_per_step, max_branches, mixture) and nothing
else. So the state of the data is one integer, the step; packing and the number of workers or devices come later and
change nothing here. Two sides are mixed, the domain and the general data: whichever is further behind its share gives
the next tree, which keeps the ratio in every window to within one tree. A side may be several sources with quotas
(adapt/data/mixture.py), which share its samples in the same way.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adapt import randomness
from adapt.data.augment import AS_STORED, symmetries

if TYPE_CHECKING:
    from adapt.data.index import Index


@dataclasses.dataclass(frozen=True)
class Stream:
    """Rows that are drawn together. ``rows`` are row numbers of the index, ``tree_keys`` int64 of each.

    The ``name`` is what draws are keyed by, so what stands beside a stream cannot change its inner order.
    """

    name: str
    rows: np.ndarray
    tree_keys: np.ndarray


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of the mixture: its streams, and how many samples of each an epoch of the side holds."""

    streams: tuple[Stream, ...]
    quotas: tuple[float, ...]

    @property
    def epoch_samples(self) -> float:
        """The samples of one epoch of the side."""
        return sum(self.quotas)


def whole(stream: Stream) -> Side:
    """A side of one stream, each row once an epoch."""
    return Side((stream,), (float(len(stream.rows)),))


@dataclasses.dataclass(frozen=True)
class Tree:
    """Rows that share their pictures and their prompt up to the last picture; ``stream`` 0 is the domain, 1 general data.

    In another ``symmetry`` than the stored one the rows with boxes are turned rows of the index.
    """

    stream: int
    epoch: int
    rows: tuple[int, ...]
    symmetry: str = AS_STORED


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


class _SideTrees:
    """The trees of one side for ever; each comes from the stream that is furthest behind its quota.

    Behind is counted to the middle of a stream's next tree, which keeps each within one tree of its quota at every place.
    A window lies between two places: two streams hold it to one tree, three or more to less than two. No order of trees
    does much better (Tijdeman, "The chairman assignment problem", Discrete Mathematics 32, 1980).
    With ``epochs`` a stream that has given its part of them waits for the others: the end falls on whole quotas.
    """

    def __init__(self, side: Side, number: int, seed: int, max_branches: int, epochs: float | None) -> None:
        self._trees = [_endless(stream, number, seed, max_branches) for stream in side.streams]
        self._next = [next(trees) for trees in self._trees]
        self._shares = [quota / side.epoch_samples for quota in side.quotas]
        self._goals = [0 if epochs is None else max(1, round(epochs * quota)) for quota in side.quotas]
        self._given = [0] * len(side.streams)

    @property
    def samples(self) -> int:
        """Samples given so far."""
        return sum(self._given)

    @property
    def goal(self) -> int:
        """The samples that all streams together are to give; 0 without ``epochs``."""
        return sum(self._goals)

    def _waiting(self) -> list[int]:
        return [i for i, (given, goal) in enumerate(zip(self._given, self._goals, strict=True)) if given < goal]

    @property
    def ended(self) -> bool:
        """Whether every stream has reached its goal."""
        return not self._waiting()

    def take(self) -> Tree:
        """The next tree."""
        total = self.samples

        def behind(i: int) -> float:
            half = len(self._next[i].rows) / 2
            return self._shares[i] * (total + half) - self._given[i] - half

        chosen = max(self._waiting() or range(len(self._given)), key=behind)
        tree = self._next[chosen]
        self._next[chosen] = next(self._trees[chosen])
        self._given[chosen] += len(tree.rows)
        return tree


def _side_behind(sides: Sequence[_SideTrees], shares: Sequence[float]) -> _SideTrees:
    """The side that is furthest behind its share."""
    total = sum(side.samples for side in sides)
    behind = [share * total - side.samples for share, side in zip(shares, sides, strict=True)]
    if max(behind) <= 0:
        behind = list(shares)
    return sides[behind.index(max(behind))]


def plan_run(
    domain: Side,
    general: Side | None,
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
    mixed = (domain,) if ratio == 0 or general is None else (domain, general)
    shares = (1.0,) if len(mixed) == 1 else (1 / (1 + ratio), ratio / (1 + ratio))
    ends = (None if max_steps else epochs, None)
    sides = [_SideTrees(side, i, seed, max_branches, ends[i]) for i, side in enumerate(mixed)]
    goal = max_steps * samples_per_step if max_steps else round(sides[0].goal / shares[0])
    steps: list[tuple[Tree, ...]] = []
    current: list[Tree] = []
    total = 0
    while total < goal or not sides[0].ended:
        tree = _side_behind(sides, shares).take()
        current.append(tree)
        total += len(tree.rows)
        if total >= (len(steps) + 1) * samples_per_step:
            steps.append(tuple(current))
            current = []
            if max_steps and len(steps) == max_steps:
                break
    if current:
        steps.append(tuple(current))
    samples = (sides[0].samples, sides[1].samples if len(sides) == 2 else 0)
    done = (samples[0] / domain.epoch_samples, samples[1] / general.epoch_samples if general is not None else 0.0)
    return Plan(tuple(steps), samples, done, _digest(steps))


def draw_symmetries(plan: Plan, index: "Index", seed: int) -> Plan:
    """The plan with a symmetry drawn for each tree whose rows can all turn, by its place in the plan."""
    turnable = np.asarray(index.table["turnable"][:])
    pictures = index.table["pictures"][:]
    sizes = list(zip(index.pictures["width"][:], index.pictures["height"][:], strict=True))
    of_turned = np.asarray(index.turned["row"][:], dtype=np.int64)

    def row_in(row: int, group: tuple[str, ...], symmetry: str) -> int:
        first = int(np.searchsorted(of_turned, row))
        moves = symmetry != AS_STORED and first < len(of_turned) and of_turned[first] == row
        return len(index) + first + group.index(symmetry) - 1 if moves else row

    def turned(tree: Tree, step: int, number: int) -> Tree:
        if not turnable[list(tree.rows)].all():
            return tree
        group = symmetries(sizes[pictures[tree.rows[0]][0]])
        drawn = group[randomness.choice(len(group), seed, "symmetry", step, number)]
        rows = tuple(row_in(row, group, drawn) for row in tree.rows)
        return dataclasses.replace(tree, rows=rows, symmetry=drawn)

    steps = [tuple(turned(tree, step, number) for number, tree in enumerate(trees)) for step, trees in enumerate(plan.steps)]
    drawn = [[tree.symmetry for tree in step] for step in steps]
    digest = hashlib.sha256(f"{_digest(steps)} {drawn}".encode()).hexdigest()
    return dataclasses.replace(plan, steps=tuple(steps), digest=digest)


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
