"""Operations, memory and hours of an epoch, before a GPU is there."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt.check.gpus import GPUS, find_gpu
from adapt.errors import UsageError
from adapt.model.config import PRESETS
from adapt.model.flops import flops_of
from adapt.verbs.check import check


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Six questions of each of eight pictures of 64x64 px."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(8):
        Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        for question in range(6):
            talk = [{"from": "human", "value": f"<image>\nWhat is {question}?"}, {"from": "gpt", "value": f"It is {number}."}]
            rows.append({"id": f"{number}-{question}", "image": f"{number}.png", "conversations": talk})
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "f.jsonl"


@pytest.mark.slow
def test_an_epoch_costs_what_the_plan_of_a_run_says(asked: Path, tmp_path: Path) -> None:
    """Tiles, tokens, trees and operations are those of ``finetune --dry-run`` on the same rows with nothing held out."""
    from adapt.verbs.finetune import finetune

    found = check(asked, model="nano")["training"]
    planned = finetune(model="nano", data=[asked], output=tmp_path / "run", dry_run=True, set=["data.validation_share=0"])
    assert (found["rows"], found["tiles"]) == (48, 8)
    for name in ("trees", "tiles", "tokens"):
        assert found[name] == planned[name], name
    costs = flops_of(PRESETS["nano"])
    products = 3 * (found["tiles"] * costs.per_tile + found["tokens"] * costs.per_token) / 1e12
    assert products < found["teraflops"] < 1.5 * products  # attention and the vocabulary besides
    assert found["teraflops_without_sharing"] > 2 * found["teraflops"]


def test_memory_and_hours_on_a_gpu(asked: Path) -> None:
    """Hours are operations over 35 % of the published peak; a 4b model does not fit 24 GiB and fits 141."""
    found = check(asked, model="nano", gpu="h100")["training"]
    hours = found["teraflops"] / (989 * 0.35) / 3600
    assert found["hours"] == pytest.approx(hours, rel=0.01)
    assert found["fits"] and 0 < found["memory_bytes"] < 80 * 2**30
    small = check(asked, model="4b", gpu="RTX 4090")
    assert small["training"]["fits"] is False
    assert "a step needs" in small["notes"][-1]
    assert check(asked, model="4b", gpu="H200")["training"]["fits"]


def test_names_of_gpus() -> None:
    """A GPU is found however its name is spelled; a wrong one is answered with the nearest."""
    assert {find_gpu(name).name for name in ("rtx4090", "RTX 4090", "rtx-4090", "NVIDIA RTX 4090", "4090")} == {"RTX4090"}
    assert len({gpu.name for gpu in GPUS}) == len(GPUS)
    with pytest.raises(UsageError, match="did you mean 'H100'"):
        find_gpu("H1000")


def test_a_gpu_needs_a_model(asked: Path) -> None:
    """--gpu alone is wrong usage."""
    with pytest.raises(UsageError, match="--gpu without --model"):
        check(asked, gpu="H100")
