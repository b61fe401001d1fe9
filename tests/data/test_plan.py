"""The plan: the mixture, the trees and the steps, without a device."""

import numpy as np
import pytest

from adapt.data.plan import Stream, epoch_trees, plan_run, whole


def make_stream(name: str, rows: int, groups: int, start: int = 0) -> Stream:
    keys = np.random.default_rng(rows).integers(0, groups, rows)
    return Stream(name, np.arange(start, start + rows), keys)


def plan(ratio: float, **changes: object):
    settings = {"ratio": ratio, "seed": 0, "samples_per_step": 64, "max_branches": 8, "epochs": 2.0, "max_steps": 0}
    domain, general = make_stream("domain", 6000, 700), make_stream("general", 4000, 500, 6000)
    return plan_run(whole(domain), whole(general), **(settings | changes))


@pytest.mark.parametrize("ratio", [0.1, 0.25, 1.0, 3.0])
def test_ratio_holds_in_every_window(ratio: float) -> None:
    """The mixture holds its ratio in every window of 1,000 samples to within one tree."""
    general = np.asarray([tree.stream for step in plan(ratio).steps for tree in step for _ in tree.rows])
    running = np.r_[0, np.cumsum(general)]
    windows = running[1000:] - running[:-1000]
    assert np.abs(windows - 1000 * ratio / (1 + ratio)).max() <= 8


def test_every_row_once_an_epoch() -> None:
    """Each epoch holds every row exactly once, in trees of one picture and at most max_branches rows."""
    stream = make_stream("domain", 5000, 300)
    for epoch in range(2):
        trees = epoch_trees(stream, 7, epoch, 8)
        assert sorted(row for tree in trees for row in tree) == list(range(5000))
        assert max(map(len, trees)) <= 8
        assert all(len({stream.tree_keys[row] for row in tree}) == 1 for tree in trees)
        sizes = np.asarray([len(tree) for tree in trees])
        counts = np.bincount(stream.tree_keys)
        assert len(sizes) == sum(-(-count // 8) for count in counts if count)


def test_epochs_differ_and_seeds_decide() -> None:
    """Another epoch or seed is another order; the same ones are the same plan."""
    stream = make_stream("domain", 500, 60)
    assert epoch_trees(stream, 0, 0, 8) == epoch_trees(stream, 0, 0, 8)
    assert epoch_trees(stream, 0, 0, 8) != epoch_trees(stream, 0, 1, 8)
    assert plan(0.25).digest == plan(0.25).digest != plan(0.25, seed=1).digest


def test_steps_hold_their_size() -> None:
    """A step is samples_per_step samples to within one tree, and no tree is in two steps or in none."""
    made = plan(0.25)
    sizes = [sum(len(tree.rows) for tree in step) for step in made.steps]
    assert all(abs(size - 64) < 8 for size in sizes[:-1])
    assert np.abs(np.cumsum(sizes)[:-1] - 64 * np.arange(1, len(sizes))).max() < 8
    domain = [row for step in made.steps for tree in step if tree.stream == 0 for row in tree.rows]
    assert np.bincount(domain, minlength=6000).min() == 2, "two epochs: every domain row at least twice"
    assert sum(made.samples) == sum(sizes)


def test_max_steps_repeats_the_data() -> None:
    """max_steps decides the length, however often the data must be repeated."""
    made = plan(0.0, max_steps=300)
    assert len(made) == 300
    assert made.epochs[0] == pytest.approx(300 * 64 / 6000, rel=0.01)


def test_a_source_does_not_disturb_another() -> None:
    """Adding general data leaves the inner order of the domain trees as it was."""
    alone = [tree.rows for step in plan(0.0).steps for tree in step]
    mixed = [tree.rows for step in plan(0.5).steps for tree in step if tree.stream == 0]
    shared = min(len(alone), len(mixed))
    assert alone[:shared] == mixed[:shared]
