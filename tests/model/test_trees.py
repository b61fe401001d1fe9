"""Message trees against the same samples one by one: the same loss, the same gradients, no leak between branches.

The separate samples go through transformers' own InternVL class, unpadded, one at a time: nothing of ours but the weights.
"""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import InternVLForConditionalGeneration

from adapt.data.packing import EncodedTree, PackRule, Piece, RowSizes, collate, pack_step
from adapt.data.plan import Tree
from adapt.model.config import ModelConfig, VisionConfig
from adapt.model.internvl import InternVL
from adapt.model.language import rope_threshold
from adapt.model.layouts import to_disk
from adapt.model.saving import transformers_config

IMAGE = 5
CONFIG = ModelConfig(
    VisionConfig(image_size_px=16, patch_size_px=4, hidden_size=32, num_layers=2, num_heads=2, mlp_size=48),
    {
        "model_type": "qwen2", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 512, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "tie_word_embeddings": False,
    },
    image_token_id=IMAGE,
)  # fmt: skip


def make_model(dtype: torch.dtype) -> InternVL:
    torch.manual_seed(0)
    return InternVL(CONFIG).to(dtype)


def make_tree(random: np.random.Generator, *, branches: int, tiles: int, drop: bool, multi_turn: bool) -> EncodedTree:
    """A tree with ``tiles`` tiles in two pictures' places; with ``multi_turn`` an answer stands in the prefix too."""

    def text(count: int) -> list[int]:
        return random.integers(6, 64, count).tolist()

    prefix: list[int] = []
    weights: list[float] = []
    if tiles:
        first = max(1, tiles // 2)
        for part in (first, tiles - first):
            if part:
                words = text(3)
                prefix += words + [IMAGE] * (part * CONFIG.tokens_per_tile) + text(1)
                weights += [0.0] * (len(prefix) - len(weights))
        if multi_turn:
            prefix += text(2)
            weights += [0.7 * branches, 0.7 * branches]
    ids = [text(int(random.integers(4, 9))) for _ in range(branches)]
    marks = [np.where(np.arange(len(branch)) >= 2, 1 / np.sqrt(len(branch) - 2), 0.0) for branch in ids]
    keep = random.choice([0.0, 1.25], size=(2 * CONFIG.vision.num_layers, tiles)).astype(np.float32) if drop and tiles else None
    return EncodedTree(
        prefix_ids=np.asarray(prefix, np.int64),
        prefix_weights=np.asarray(weights),
        branches=tuple(np.asarray(branch, np.int64) for branch in ids),
        branch_weights=tuple(marks),
        tiles=random.integers(0, 256, (tiles, 16, 16, 3), dtype=np.uint8),
        keep=keep,
        sources=(0,) * branches,
    )


def alone(tree: EncodedTree) -> list[EncodedTree]:
    """The same samples, each with its own copy of the picture and an equal share of the prefix's weights."""
    share = tree.prefix_weights / len(tree.branches)
    return [
        dataclasses.replace(tree, prefix_weights=share, branches=(ids,), branch_weights=(marks,), sources=(0,))
        for ids, marks in zip(tree.branches, tree.branch_weights, strict=True)
    ]


def gradients(model: InternVL, packs: list[list[EncodedTree]]) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    total = 0.0
    for pack in packs:
        batch = collate(pack, IMAGE)
        loss = (model(batch) * batch.target_weights_P).sum()
        loss.backward()
        total += float(loss.detach())
    return total, {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, own: float, overall: float) -> None:
    norm = float(torch.sqrt(sum(gradient.double().square().sum() for gradient in other.values())))
    assert norm > 0
    for name, expected in other.items():
        difference = float((one[name] - expected).double().norm())
        assert difference <= own * float(expected.double().norm()) + overall * norm, name


CASES = {
    "one question": [{"branches": 1, "tiles": 1}],
    "twenty questions, two pictures": [{"branches": 20, "tiles": 3}],
    "several trees, one of text alone": [{"branches": 7, "tiles": 2}, {"branches": 1, "tiles": 0}, {"branches": 3, "tiles": 1}],
    "answers before the last picture": [{"branches": 5, "tiles": 2, "multi_turn": True}],
    "more supervised tokens than the head takes at a time": [{"branches": 260, "tiles": 1}, {"branches": 130, "tiles": 2}],
    "a prefix long enough to be computed on its own": [{"branches": 9, "tiles": 80}],
    "equal drop masks": [{"branches": 6, "tiles": 2, "drop": True}, {"branches": 2, "tiles": 1, "drop": True}],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_gradients_equal_separate_samples(case: str, dtype: torch.dtype) -> None:
    """Every tensor's gradient equals that of separate, unpacked samples: to 1e-9 in float64, 1e-5 in float32."""
    random = np.random.default_rng(1)
    trees = [make_tree(random, **({"drop": False, "multi_turn": False} | settings)) for settings in CASES[case]]
    model = make_model(dtype)
    tree_loss, shared = gradients(model, [trees])
    loss, separate = gradients(model, [[sample] for tree in trees for sample in alone(tree)])
    assert tree_loss == pytest.approx(loss, rel=1e-12 if dtype is torch.float64 else 1e-5)
    if dtype is torch.float64:
        assert_close(shared, separate, own=1e-9, overall=1e-12)
    else:
        norm = float(torch.sqrt(sum(gradient.square().sum() for gradient in separate.values())))
        for name, expected in separate.items():
            assert float((shared[name] - expected).norm()) <= 1e-5 * max(float(expected.norm()), 1e-3 * norm), name


def test_separate_samples_equal_transformers() -> None:
    """The loss and the gradients of a tree equal those of transformers' own InternVL run sample by sample."""
    tree = make_tree(np.random.default_rng(2), branches=6, tiles=2, drop=False, multi_turn=False)
    model = make_model(torch.float32)
    loss, ours = gradients(model, [[tree]])
    theirs = InternVLForConditionalGeneration._from_config(
        transformers_config(CONFIG, torch.float32), attn_implementation="eager"
    )
    reference = {
        "model." + name if not name.startswith("language_model.") else name: t
        for name, t in to_disk(model.state_dict()).items()
    }
    renamed = {
        name.replace("language_model.model.", "model.language_model.").replace("language_model.lm_head", "lm_head"): tensor
        for name, tensor in reference.items()
    }
    theirs.load_state_dict(renamed)
    pixels = (torch.from_numpy(tree.tiles).permute(0, 3, 1, 2).float() - model.mean) / model.std
    total = 0.0
    for sample in alone(tree):
        ids = torch.from_numpy(np.concatenate([sample.prefix_ids, sample.branches[0]]))[None]
        weights = torch.from_numpy(np.concatenate([sample.prefix_weights, sample.branch_weights[0]])).float()
        logits = theirs(input_ids=ids, pixel_values=pixels).logits[0]
        each = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
        part = (each * weights[1:]).sum()
        part.backward()
        total += float(part.detach())
    assert loss == pytest.approx(total, rel=1e-5)
    expected = theirs.lm_head.weight.grad
    assert torch.allclose(ours["language.lm_head.weight"], expected, atol=1e-5 * float(expected.norm()))
    expected = theirs.model.vision_tower.embeddings.patch_embeddings.projection.weight.grad
    assert torch.allclose(ours["vision.vit.patch_embed.proj.weight"], expected, atol=1e-5 * float(expected.norm()))


def test_packing_changes_nothing() -> None:
    """Trees in one pack, in one pack each, or split between their branches give the same float64 gradients."""
    random = np.random.default_rng(3)
    trees = [
        make_tree(random, branches=count, tiles=tiles, drop=True, multi_turn=False) for count, tiles in ((8, 1), (2, 2), (4, 1))
    ]
    model = make_model(torch.float64)
    _, together = gradients(model, [trees])
    _, apart = gradients(model, [[tree] for tree in trees])
    first = trees[0]
    halves = [
        dataclasses.replace(
            first, branches=first.branches[part], branch_weights=first.branch_weights[part], sources=first.sources[part]
        )
        for part in (slice(0, 4), slice(4, 8))
    ]
    _, split = gradients(model, [[halves[0], trees[1]], [halves[1], trees[2]]])
    assert_close(together, apart, own=1e-9, overall=1e-12)
    assert_close(together, split, own=1e-9, overall=1e-12)


@torch.no_grad()
def test_branches_are_isolated() -> None:
    """Changing the tokens of one branch, or of another tree, leaves all other logits equal to the last bit."""
    random = np.random.default_rng(4)
    trees = [
        make_tree(random, branches=4, tiles=1, drop=False, multi_turn=False),
        make_tree(random, branches=2, tiles=1, drop=False, multi_turn=False),
    ]
    changed = dataclasses.replace(
        trees[0], branches=(trees[0].branches[0], (trees[0].branches[1] + 7) % 58 + 6, *trees[0].branches[2:])
    )
    model = make_model(torch.float32).eval()
    before, after = (collate(pack, IMAGE) for pack in (trees, [changed, trees[1]]))
    hidden = [model.hidden(batch).flatten(0, 1) for batch in (before, after)]
    touched = ((before.tree_RL == 0) & (before.branch_RL == 1)).flatten()
    assert not torch.equal(hidden[0][touched], hidden[1][touched]), "the change must be visible somewhere"
    real = (before.tree_RL >= 0).flatten()
    logits = [model.language.lm_head(each) for each in hidden]
    assert torch.equal(logits[0][real & ~touched], logits[1][real & ~touched])


LONGROPE = dataclasses.replace(
    CONFIG,
    language={
        **{name: value for name, value in CONFIG.language.items() if name != "rope_parameters"},
        "model_type": "phi3", "original_max_position_embeddings": 24, "pad_token_id": None, "eos_token_id": None,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [30.0] * 4},
    },
)  # fmt: skip


def text_tree(random: np.random.Generator, *lengths: int) -> EncodedTree:
    """A tree with a prefix of 6 tokens and branches of those lengths, each token but the first two predicted."""
    tree = make_tree(random, branches=len(lengths), tiles=0, drop=False, multi_turn=False)
    branches = tuple(random.integers(6, 64, length) for length in lengths)
    marks = tuple(np.where(np.arange(length) >= 2, 1.0, 0.0) for length in lengths)
    return dataclasses.replace(
        tree, prefix_ids=random.integers(6, 64, 6), prefix_weights=np.zeros(6), branches=branches, branch_weights=marks
    )


@torch.no_grad()
def test_a_long_sample_does_not_change_a_short_one() -> None:
    """Where RoPE follows the length, a step's loss equals that of its samples one by one, to 1e-6: long and short samples
    never share a pack, not even those of one tree. In one pack they would differ."""
    random = np.random.default_rng(5)
    trees = [text_tree(random, 8), text_tree(random, 9, 30, 10), text_tree(random, 40), text_tree(random, 18)]
    torch.manual_seed(0)
    model = InternVL(LONGROPE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)

    def losses(packs: list[list[EncodedTree]]) -> float:
        batches = [collate(pack, IMAGE) for pack in packs]
        return sum(float((model(batch) * batch.target_weights_P).sum()) for batch in batches)

    places = [(tree, branch) for tree, each in enumerate(trees) for branch in range(len(each.branches))]
    counts = np.asarray([len(trees[tree].branches[branch]) for tree, branch in places])
    sizes = RowSizes(np.full(len(places), 6), counts, np.zeros(len(places), int), counts - 2)
    planned = [Tree(0, 0, tuple(row for row, place in enumerate(places) if place[0] == tree)) for tree in range(len(trees))]
    threshold = rope_threshold(LONGROPE.language)
    assert threshold == 24

    def encode(piece: Piece) -> EncodedTree:
        tree, chosen = trees[piece.number], [places[row][1] for row in piece.tree.rows]
        return dataclasses.replace(
            tree,
            branches=tuple(tree.branches[branch] for branch in chosen),
            branch_weights=tuple(tree.branch_weights[branch] for branch in chosen),
            sources=(0,) * len(chosen),
        )

    def step(limit: int | None) -> list[list[EncodedTree]]:
        packs = pack_step(planned, sizes, PackRule(tokens=1000, tiles=4, rope_threshold=limit))
        assert sorted(row for pack in packs for piece in pack for row in piece.tree.rows) == list(range(len(places)))
        return [[encode(piece) for piece in pack] for pack in packs]

    expected = losses([[sample] for tree in trees for sample in alone(tree)])
    assert len(step(threshold)) == 2 and len(step(None)) == 1
    assert losses(step(threshold)) == pytest.approx(expected, rel=1e-6)
    assert losses(step(None)) != pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_a_tree_of_40_keeps_its_logits_beside_one_past_the_threshold() -> None:
    """In the packs of a step a tree of 40 positions has the logits that it has alone, with one of 90 in the same step; in one
    pack, which is never made, they would be others."""
    random = np.random.default_rng(11)
    config = dataclasses.replace(LONGROPE, language={**LONGROPE.language, "original_max_position_embeddings": 64})
    short, long = text_tree(random, 34), text_tree(random, 84)
    assert (short.num_tokens, long.num_tokens) == (40, 90)
    torch.manual_seed(0)
    model = InternVL(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)

    def logits(pack: list[EncodedTree]) -> torch.Tensor:
        """float[40, V] of the short tree in a pack."""
        batch = collate(pack, IMAGE)
        mine = (batch.tree_RL == [id(tree) for tree in pack].index(id(short))).flatten()
        return model.language.lm_head(model.hidden(batch).flatten(0, 1)[mine])

    sizes = RowSizes(np.full(2, 6), np.array([34, 84]), np.zeros(2, int), np.array([32, 82]))
    trees = [Tree(0, 0, (0,)), Tree(0, 0, (1,))]
    threshold = rope_threshold(config.language)
    assert threshold == 64
    packs = pack_step(trees, sizes, PackRule(tokens=1000, tiles=4, rope_threshold=threshold))
    with_short = next(pack for pack in packs if any(piece.number == 0 for piece in pack))
    assert torch.equal(logits([(short, long)[piece.number] for piece in with_short]), logits([short]))
    assert not torch.allclose(logits([short, long]), logits([short]), atol=1e-3)
