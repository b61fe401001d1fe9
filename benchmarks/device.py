"""Everything that needs a GPU, checked and timed in one call of under ten minutes.

The tests that carry the ``gpu`` marker; attention by blocks, with the dense mask and over gathered prefixes, forward and
backward, for the packs of two shapes; the three training shapes against padded batches; and predicted against real memory.
What it prints belongs into benchmarks/RESULTS.md. Without a CUDA device it says so.

Run: python -m benchmarks.device
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapt.data.packing import BLOCK, collate
from adapt.model.attention import attend, mask_of
from adapt.model.config import PRESETS
from benchmarks.gathered import attend_gathered, segments
from benchmarks.training import IMAGE, make_trees

CHECKOUT = Path(__file__).resolve().parent.parent
STEPS = {
    "tests": ["-m", "pytest", "-q", "-m", "gpu", "tests"],
    "rsvqa": ["-m", "benchmarks.training", "--shape", "rsvqa", "--device", "cuda", "--seconds", "10", "--json"],
    "drivelm": ["-m", "benchmarks.training", "--shape", "drivelm", "--device", "cuda", "--seconds", "10", "--json"],
    "single": ["-m", "benchmarks.training", "--shape", "single", "--device", "cuda", "--seconds", "10", "--json"],
    "memory": ["-m", "benchmarks.memory"],
}
LIMIT_S = 180  # of one step; all together take less than ten minutes


def attention(name: str) -> dict[str, Any]:
    """Milliseconds of one layer's attention of the 1b preset, forward and backward, three ways, and how far they are apart."""
    language = PRESETS["1b"].language
    heads, shared = language["num_attention_heads"], language["num_key_value_heads"]
    size = language["hidden_size"] // heads
    tree = make_trees(name, PRESETS["1b"])[0]
    device = torch.device("cuda")
    found: dict[str, Any] = {"tokens": tree.num_tokens}
    gradients: dict[str, Tensor] = {}
    for kind, one_row in (("dense", False), ("blocks", True), ("gathered", True)):
        batch = collate([tree], IMAGE, one_row=one_row)
        parts = segments(batch.tree_RL[0].numpy(), batch.branch_RL[0].numpy()).to(device)
        batch = batch.to(device)
        mask, length = mask_of(batch), batch.input_ids_RL.shape[1]
        torch.manual_seed(0)
        # One draw for all: rows differ by padding at their end alone.
        drawn = (torch.randn(1, tree.num_tokens + BLOCK, count, size, device=device) for count in (heads, shared, shared))
        query, key, value = (
            each[:, :length].transpose(1, 2).to(torch.bfloat16).contiguous().requires_grad_() for each in drawn
        )
        layer = torch.nn.Module()
        layer.num_key_value_groups = heads // shared  # type: ignore[assignment]
        layer.is_causal = False  # type: ignore[assignment]
        best = float("inf")
        for _ in range(12):
            torch.cuda.synchronize()
            start = time.perf_counter()
            query.grad = key.grad = value.grad = None
            if kind == "gathered":
                mixed = attend_gathered(query, key, value, parts, size**-0.5)
            else:
                mixed, _ = attend(layer, query, key, value, mask, scaling=size**-0.5)
            mixed[:, : tree.num_tokens].square().sum().backward()
            torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        found[f"{kind}_ms"] = round(1000 * best, 3)
        gradients[kind] = torch.cat([each.grad[:, :, : tree.num_tokens].float().flatten() for each in (query, key, value)])
        found[f"{kind}_off"] = float((gradients[kind] - gradients["dense"]).norm() / gradients["dense"].norm())
    return found


def main() -> None:
    """Run all, print what each printed."""
    if not torch.cuda.is_available():
        print("no CUDA device: nothing to check or to time")
        return
    print(torch.cuda.get_device_name(0), "torch", torch.__version__, flush=True)
    for name in ("rsvqa", "drivelm"):
        print("attention", name, json.dumps(attention(name)), flush=True)
    for name, command in STEPS.items():
        start = time.perf_counter()
        done = subprocess.run(
            ["timeout", str(LIMIT_S), sys.executable, *command], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        took = time.perf_counter() - start
        print(f"== {name}: exit {done.returncode} after {took:.0f} s\n{done.stdout.strip()}", flush=True)
        if done.returncode:
            print(done.stderr.strip()[-2000:], flush=True)


if __name__ == "__main__":
    main()
