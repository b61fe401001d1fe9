"""The matrix products of a step are in the type that the recipe says, forward and backward."""

import numpy as np
import pytest
import torch
from test_trees import CONFIG, IMAGE, make_model
from torch.utils._python_dispatch import TorchDispatchMode

from adapt.data.packing import EncodedTree, collate

PRODUCTS = ("aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm", "aten.convolution", "attention")


class Products(TorchDispatchMode):
    """Notes the type of every matrix product, convolution and attention that torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, torch.dtype]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if any(product in name for product in PRODUCTS):
            # of attention the queries, keys and values (backward: their gradient first); its statistics are float32 always
            operands = args[: 4 if "backward" in name else 3] if "attention" in name else args
            self.found += [
                (name, each.dtype) for each in operands if isinstance(each, torch.Tensor) and each.is_floating_point()
            ]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_every_matrix_product_is_in_the_compute_precision(dtype: torch.dtype) -> None:
    """torch's own dispatcher sees no product in another type; the weights stay float32, and so do their gradients."""
    model = make_model(torch.float32)
    tokens = CONFIG.tokens_per_tile
    tree = EncodedTree(
        prefix_ids=np.r_[6, np.full(tokens, IMAGE), 7],
        prefix_weights=np.zeros(tokens + 2),
        branches=(np.arange(10, 20), np.arange(20, 27)),
        branch_weights=(np.r_[np.zeros(4), np.ones(6)], np.r_[np.zeros(4), np.ones(3)]),
        tiles=np.zeros((1, 16, 16, 3), np.uint8),
        keep=np.ones((4, 1), np.float32),
        sources=(0, 0),
    )
    batch = collate([tree], IMAGE)
    with Products() as products:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16, cache_enabled=False):
            losses = model(batch)
        losses.sum().backward()
    assert len(products.found) > 50
    assert any("attention" in name for name, _ in products.found)
    assert {each for each in products.found if each[1] != dtype} == set()
    assert losses.dtype == torch.float32
    assert all(parameter.dtype == parameter.grad.dtype == torch.float32 for parameter in model.parameters())
