"""Attention by blocks sees what the dense mask lets see."""

import numpy as np
import pytest
import torch
from test_trees import CONFIG, IMAGE, make_model, make_tree
from torch.nn.attention.flex_attention import create_block_mask

from adapt.data.packing import BLOCK, EncodedTree, collate
from adapt.model.attention import mask_of, tree_mask
from benchmarks.gathered import segments


def trees(*, seed: int, count: int) -> list[EncodedTree]:
    """Trees of 1 to 60 branches; some prefixes are longer than a block, some are empty."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        tiles = int(random.choice([0, 1, 3, 40]))
        branches = int(random.integers(1, 60))
        found.append(make_tree(random, branches=branches, tiles=tiles, drop=False, multi_turn=False))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_block_tables_are_those_of_torch(seed: int) -> None:
    """The tables made from where segments begin and end equal those that torch makes from the whole mask."""
    batch = collate(trees(seed=seed, count=1 + 2 * seed), IMAGE, one_row=True)
    assert batch.blocks is not None and batch.input_ids_RL.shape[0] == 1 and batch.input_ids_RL.shape[1] % BLOCK == 0
    length = batch.input_ids_RL.shape[1]
    dense = tree_mask(batch.tree_RL, batch.branch_RL)[0, 0]
    theirs = create_block_mask(lambda row, head, query, key: dense[query, key], None, None, length, length, device="cpu")
    ours = mask_of(batch)
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    for name in ("kv", "full_kv"):
        numbers = getattr(theirs, f"{name}_num_blocks")[0, 0]
        for row, number in enumerate(numbers.tolist()):
            mine, other = (getattr(mask, f"{name}_indices")[0, 0, row, :number] for mask in (ours, theirs))
            assert torch.equal(mine.sort().values, other.sort().values), (name, row)


def test_attention_by_blocks_is_the_dense_one() -> None:
    """Losses of a pack laid out for flex attention equal those of the dense layout, token by token."""
    model = make_model(torch.float32)
    pack = trees(seed=3, count=4)
    with torch.no_grad():
        by_blocks, dense = (model(collate(pack, IMAGE, one_row=one_row)) for one_row in (True, False))
    assert len(dense) > 100
    torch.testing.assert_close(by_blocks.sort().values, dense.sort().values, rtol=1e-5, atol=1e-5)


def test_gathered_prefixes_are_the_dense_mask() -> None:
    """Causal attention aligned at the end of a segment's gathered keys lets see what the dense mask does."""
    for seed in range(3):
        batch = collate(trees(seed=seed, count=4), IMAGE, one_row=True)
        dense = tree_mask(batch.tree_RL, batch.branch_RL)[0, 0]
        of = segments(batch.tree_RL[0].numpy(), batch.branch_RL[0].numpy())
        seen = torch.zeros_like(dense)
        for segment in range(len(of.query_starts) - 1):
            first, last = of.query_starts[segment : segment + 2].tolist()
            keys = of.key_places[of.key_starts[segment] : of.key_starts[segment + 1]]
            for query in range(first, last):
                seen[query, keys[: len(keys) - (last - 1 - query)]] = True
        assert torch.equal(seen, dense)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gradients_by_blocks_are_the_dense_ones() -> None:
    """On a GPU the compiled kernel gives the gradients of the dense mask, also for packs of other lengths than the first."""
    model = make_model(torch.float32).cuda()
    for seed in range(4):
        pack = trees(seed=seed, count=2 + seed)
        found = []
        for one_row in (True, False):
            model.zero_grad(set_to_none=True)
            batch = collate(pack, IMAGE, one_row=one_row).to(torch.device("cuda"))
            (model(batch) * batch.target_weights_P.float()).sum().backward()
            found.append(
                torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
            )
        assert float((found[0] - found[1]).norm()) < 1e-4 * float(found[1].norm())


def test_a_pack_of_nothing_has_a_tile_and_no_loss() -> None:
    """An empty pack runs the vision tower on a black tile, predicts nothing, and its gradients are zeros."""
    model = make_model(torch.float32)
    batch = collate([], IMAGE, dummy_px=CONFIG.tile_px)
    assert len(batch.tiles_NCHW) == 1 and batch.num_tiles == 0
    losses = model(batch)
    assert losses.shape == (0,)
    losses.sum().backward()
    gradients = [parameter.grad for parameter in model.vision.vit.blocks[-1].parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
