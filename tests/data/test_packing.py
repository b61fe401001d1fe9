"""Packs are filled and shared by what they cost, and nothing of a step is lost."""

import itertools

import numpy as np
import pytest

from adapt.data.packing import PackRule, Piece, RowSizes, pack_step, piece_flops, share_step, straggler, suggest_pack_tokens
from adapt.data.plan import Plan, Stream, plan_run, whole
from adapt.model.config import PRESETS
from adapt.model.flops import flops_of
from adapt.train.recipe import make_recipe

FLOPS = flops_of(PRESETS["1b"])
RULE = PackRule(tokens=16384, tiles=48)


def mixed_corpus() -> tuple[Stream, Stream, RowSizes]:
    """Sixty frames of 13 tiles with 75 questions each, and 4,500 questions of their own pictures of 1 to 13 tiles."""
    random = np.random.default_rng(0)
    frames = [(frame, 13, random.normal(3.6, 0.5)) for frame in range(60) for _ in range(75)]
    alone = [(1000 + number, int(random.choice([1, 3, 5, 7, 9, 10, 13])), random.normal(4.5, 1.0)) for number in range(4500)]
    rows = frames + alone
    tiles = np.array([row[1] for row in rows])
    own = np.array([int(np.exp(row[2])) + 10 for row in rows])
    sizes = RowSizes(34 + 256 * tiles, own, tiles, np.maximum(1, own // 4))
    keys = np.array([row[0] for row in rows])
    domain, general = np.arange(len(frames)), np.arange(len(frames), len(rows))
    return Stream("domain", domain, keys[domain]), Stream("general", general, keys[general]), sizes


def default_plan() -> tuple[Plan, RowSizes]:
    domain, general, sizes = mixed_corpus()
    recipe = make_recipe({})
    plan = plan_run(
        whole(domain), whole(general), ratio=recipe.data.general_ratio, seed=0, samples_per_step=recipe.train.samples_per_step,
        max_branches=recipe.max_branches, epochs=1, max_steps=0,
    )  # fmt: skip
    return plan, sizes


def test_eight_devices_are_loaded_alike() -> None:
    """The default recipe on a mixed corpus: the busiest of eight devices has less than 3 % more to do than the mean one."""
    plan, sizes = default_plan()
    assert 0 <= straggler(plan.steps, sizes, RULE, FLOPS, 8) < 0.03


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_every_row_of_a_step_is_in_one_pack_of_one_device(ranks: int) -> None:
    """All rows once, as many packs on every device, no pack over the budget; one device's packs are those of the step."""
    plan, sizes = default_plan()
    for step in plan.steps[:10]:
        shares = share_step(step, sizes, RULE, FLOPS, ranks)
        assert len(shares) == ranks and len({len(mine) for mine in shares}) == 1
        packs = list(itertools.chain.from_iterable(shares))
        rows = sorted(row for pack in packs for piece in pack for row in piece.tree.rows)
        assert rows == sorted(row for tree in step for row in tree.rows)
        for pack in packs:
            assert sum(int(sizes.tiles[piece.tree.rows[0]]) for piece in pack) <= RULE.tiles
            assert sum(sizes.tokens(piece.tree.rows) for piece in pack) <= RULE.tokens
    assert share_step(plan.steps[0], sizes, RULE, FLOPS, 1) == [pack_step(plan.steps[0], sizes, RULE)]


def test_one_large_tree_is_shared_too() -> None:
    """A step of one picture with many long questions is split between its branches, since that shortens the step."""
    sizes = RowSizes(np.full(64, 290), np.full(64, 2000), np.full(64, 1), np.full(64, 10))
    plan = plan_run(
        whole(Stream("one", np.arange(64), np.zeros(64))),
        None,
        ratio=0,
        seed=0,
        samples_per_step=64,
        max_branches=64,
        epochs=1,
        max_steps=0,
    )
    (tree,) = plan.steps[0]
    shares = share_step(plan.steps[0], sizes, PackRule(tokens=200_000, tiles=4), FLOPS, 4)
    assert all(mine[0] for mine in shares), "no device is idle"
    unsplit = piece_flops(Piece(0, tree), sizes, FLOPS)
    assert max(sum(piece_flops(piece, sizes, FLOPS) for pack in mine for piece in pack) for mine in shares) < 0.3 * unsplit


def test_the_suggested_pack_length_is_filled_best() -> None:
    """Rows of 3,000 tokens leave a pack of 8,192 a quarter empty; a length that holds whole rows is suggested."""
    sizes = RowSizes(np.full(96, 1000), np.full(96, 2000), np.full(96, 3), np.full(96, 10))
    plan = plan_run(
        whole(Stream("rows", np.arange(96), np.arange(96))),
        None,
        ratio=0,
        seed=0,
        samples_per_step=12,
        max_branches=1,
        epochs=1,
        max_steps=0,
    )
    rule = PackRule(tokens=8192, tiles=48)
    suggested = suggest_pack_tokens(plan.steps, sizes, rule)
    filled = [12 * 3000 / (len(pack_step(plan.steps[0], sizes, PackRule(length, 48))) * length) for length in (suggested, 8192)]
    assert filled[0] > 0.95 > filled[1]
