"""Message trees against padded batches of transformers' own InternVL: samples a second, and the loss of both.

The same weights, the same samples, the same loss weights, float32, one process, forward and backward. The peer runs at
the fastest of its batch sizes. The model keeps the shape of the 1b preset in small: 448 px tiles of 256 tokens, the vision
tower about three quarters of a tile's work.

Run: python -m benchmarks.message_trees --questions 16 [--json]
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import InternVLForConditionalGeneration

from adapt.data.packing import EncodedTree, collate
from adapt.model.config import ModelConfig, VisionConfig
from adapt.model.internvl import InternVL
from adapt.model.layouts import to_disk
from adapt.model.saving import transformers_config

IMAGE, VOCABULARY = 5, 4096
CONFIG = ModelConfig(
    VisionConfig(image_size_px=448, patch_size_px=14, hidden_size=256, num_layers=6, num_heads=4, mlp_size=1024),
    {
        "model_type": "qwen2", "vocab_size": VOCABULARY, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 1024, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "tie_word_embeddings": False,
    },
    image_token_id=IMAGE,
)  # fmt: skip
QUESTION_TOKENS, ANSWER_TOKENS = 26, 4
BATCH_SIZES = (1, 4, 8, 16)
ROUNDS = 3


def make_tree(questions: int) -> EncodedTree:
    """One picture of one tile and ``questions`` questions of 30 tokens, 4 of them supervised."""
    random = np.random.default_rng(0)
    weights = np.r_[np.zeros(QUESTION_TOKENS), np.full(ANSWER_TOKENS, ANSWER_TOKENS**-0.5)]
    length = QUESTION_TOKENS + ANSWER_TOKENS
    return EncodedTree(
        prefix_ids=np.full(CONFIG.tokens_per_tile, IMAGE, np.int64),
        prefix_weights=np.zeros(CONFIG.tokens_per_tile),
        branches=tuple(random.integers(6, VOCABULARY, length) for _ in range(questions)),
        branch_weights=(weights,) * questions,
        tiles=random.integers(0, 256, (1, 448, 448, 3), dtype=np.uint8),
        keep=None,
        sources=(0,) * questions,
    )


def make_peer(model: InternVL) -> InternVLForConditionalGeneration:
    """transformers' class with the same weights."""
    peer = InternVLForConditionalGeneration._from_config(transformers_config(CONFIG, torch.float32), attn_implementation="sdpa")
    renamed = {}
    for name, tensor in to_disk(model.state_dict()).items():
        inner = name.removeprefix("language_model.")
        if inner.startswith("lm_head"):
            renamed[inner] = tensor
        else:
            renamed["model." + name.replace("language_model.model.", "language_model.")] = tensor
    peer.load_state_dict(renamed)
    return peer


def ours(model: InternVL, tree: EncodedTree) -> float:
    """One forward and backward of the whole tree."""
    batch = collate([tree], IMAGE)
    loss = (model.token_losses(batch) * batch.target_weights_P.float()).sum() / batch.target_weights_P.sum()
    loss.backward()
    return float(loss.detach())


def padded(peer: InternVLForConditionalGeneration, model: InternVL, tree: EncodedTree, batch_size: int) -> float:
    """The same samples, each with its own copy of the picture, in batches."""
    pixels = (torch.from_numpy(tree.tiles).permute(0, 3, 1, 2).float() - model.get_buffer("mean")) / model.get_buffer("std")
    total, weight_sum = 0.0, sum(float(weights.sum()) for weights in tree.branch_weights)
    for start in range(0, len(tree.branches), batch_size):
        branches = np.stack(tree.branches[start : start + batch_size])
        prefix = np.tile(tree.prefix_ids, (len(branches), 1))
        ids = torch.from_numpy(np.concatenate([prefix, branches], axis=1))
        weights = torch.from_numpy(np.stack(tree.branch_weights[start : start + batch_size])).float()
        logits = peer(input_ids=ids, pixel_values=pixels.repeat(len(branches), 1, 1, 1)).logits
        answers = logits[:, tree.prefix_ids.size - 1 : -1]
        each = torch.nn.functional.cross_entropy(
            answers.flatten(0, 1), ids[:, tree.prefix_ids.size :].flatten(), reduction="none"
        )
        loss = (each * weights.flatten()).sum() / weight_sum
        loss.backward()
        total += float(loss.detach())
    return total


def measure(work: Callable[[], float], samples: int) -> tuple[float, float]:
    """(samples a second, median of the rounds; the loss) after one round of warm-up."""
    loss = work()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return samples / float(np.median(seconds)), loss


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=16, help="questions a picture")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = InternVL(CONFIG)
    peer = make_peer(model)
    tree = make_tree(options.questions)
    speed, loss = measure(lambda: ours(model, tree), options.questions)
    peers = {
        size: measure(lambda size=size: padded(peer, model, tree, size), options.questions)
        for size in BATCH_SIZES
        if size <= options.questions
    }
    best = max(peers, key=lambda size: peers[size][0])
    result = {
        "questions": options.questions,
        "threads": torch.get_num_threads(),
        "samples_per_s": {"ours": round(speed, 2), "padded": round(peers[best][0], 2)},
        "padded_batch": best,
        "ratio": round(speed / peers[best][0], 2),
        "loss": {"ours": loss, "padded": peers[best][1]},
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{options.questions} questions a picture, {result['threads']} threads")
    print(f"  ours    {speed:8.2f} samples/s   loss {loss:.7f}")
    print(f"  padded  {peers[best][0]:8.2f} samples/s   loss {peers[best][1]:.7f}   (batch {best}, its fastest)")
    print(f"  ratio   {result['ratio']}")


if __name__ == "__main__":
    main()
