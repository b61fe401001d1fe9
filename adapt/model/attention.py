"""Who sees whom in a pack: a token sees the prefix of its tree and its own branch up to itself, and nothing else.

Axes: R rows, L row length (queries and keys).
"""

import torch
from torch import Tensor

from adapt.data.packing import PREFIX


def tree_mask(tree_RL: Tensor, branch_RL: Tensor) -> Tensor:
    """bool[R, 1, L, L], True where a query (row) may look at a key (column).

    Tokens stand in their tree's order, prefix first, so "before" is "not after in the row". Padding (tree -1) forms a
    tree of its own: every query sees at least itself, and no softmax is empty.
    """
    length = tree_RL.shape[1]
    place = torch.arange(length, device=tree_RL.device)
    before = place[:, None] >= place[None, :]
    same_tree = tree_RL[:, :, None] == tree_RL[:, None, :]
    same_branch = (branch_RL[:, None, :] == PREFIX) | (branch_RL[:, :, None] == branch_RL[:, None, :])
    return (before & same_tree & same_branch)[:, None]
