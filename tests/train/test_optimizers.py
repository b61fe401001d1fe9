"""The other optimizers: their numbers, their checkpoints, and where they are refused."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_resume import losses, weights
from tiny_runs import run_here

from adapt.errors import UsageError
from adapt.train import checkpoint
from adapt.train.distributed import World
from adapt.train.optim import MOMENTS, check_optimizer, make_optimizer, moments, restore_moments, steps_taken
from adapt.train.recipe import TrainRecipe

needs_torchao = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="torchao, the extra 'memory', is not here"
)
EIGHT_BIT, OFFLOAD = TrainRecipe(optimizer="adamw8bit"), TrainRecipe(optimizer="adamw-offload")


def models(count: int) -> list[torch.nn.Module]:
    """The same small model several times: a matrix that torchao keeps in 8 bits, biases that it does not."""
    torch.manual_seed(0)
    first = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 3))
    made = [first]
    for _ in range(count - 1):
        made.append(torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 3)))
        made[-1].load_state_dict(first.state_dict())
    return made


def steps(model: torch.nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    """Steps as the loop makes them: gradients clipped, the rate of the step set as a number."""
    for step in range(first, last):
        optimizer.zero_grad(set_to_none=True)
        inputs = torch.randn(16, 64, generator=torch.Generator().manual_seed(step))
        model(inputs).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 / (step + 1) * group["factor"]
        optimizer.step()


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


def test_offloaded_updates_are_those_of_adamw() -> None:
    """Moments on the host give the weights of torch's own AdamW to the last bit, clipping included, and its checkpoint."""
    plain, offloaded, resumed = models(3)
    optimizers = [make_optimizer(plain, TrainRecipe()), make_optimizer(offloaded, OFFLOAD), make_optimizer(resumed, OFFLOAD)]
    steps(plain, optimizers[0], 0, 4)
    steps(offloaded, optimizers[1], 0, 4)
    assert equal(plain, offloaded)
    resumed.load_state_dict(plain.state_dict())
    restore_moments(resumed, optimizers[2], moments(plain, optimizers[0]), steps_taken(optimizers[0]))
    steps(plain, optimizers[0], 4, 6)
    steps(resumed, optimizers[2], 4, 6)
    assert equal(plain, resumed)


@needs_torchao
def test_moments_in_8_bits_survive_a_checkpoint(tmp_path: Path) -> None:
    """Codes, scales and their table go through safetensors as plain tensors; the restored optimizer's next updates are the same
    to the last bit, and stay near AdamW's."""
    whole, resumed, plain = models(3)
    optimizers = [make_optimizer(whole, EIGHT_BIT), make_optimizer(resumed, EIGHT_BIT), make_optimizer(plain, TrainRecipe())]
    steps(whole, optimizers[0], 0, 3)
    stored = moments(whole, optimizers[0])
    assert stored["exp_avg_codes"]["0.weight"].dtype is torch.uint8 and "0.weight" not in stored["exp_avg"]
    assert set(stored["exp_avg"]) == {"0.bias", "2.weight", "2.bias"}, "small ones stay as they are"
    saved = checkpoint.save_checkpoint(tmp_path, 3, dict(whole.state_dict()), stored, {"step": 3}, keep=1)
    found, read, _ = checkpoint.load_checkpoint(saved)
    resumed.load_state_dict(found)
    restore_moments(resumed, optimizers[1], read, 3)
    for model, optimizer in zip((whole, resumed), optimizers, strict=False):
        steps(model, optimizer, 3, 6)
    assert equal(whole, resumed)
    steps(plain, optimizers[2], 0, 6)
    for one, other in zip(whole.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=2e-4)
    assert not equal(whole, plain)


def test_the_checkpoint_of_adamw_keeps_its_form(tmp_path: Path) -> None:
    """Plain AdamW stores two float32 tensors a parameter, by moment and name, and nothing else."""
    (model,) = models(1)
    optimizer = make_optimizer(model, TrainRecipe())
    steps(model, optimizer, 0, 1)
    saved = checkpoint.save_checkpoint(tmp_path, 1, dict(model.state_dict()), moments(model, optimizer), {"step": 1}, keep=1)
    names = {f"{moment}.{name}" for moment in MOMENTS for name, _ in model.named_parameters()}
    assert set(load_file(saved / "optimizer.safetensors")) == names


@needs_torchao
@pytest.mark.slow
def test_a_run_in_8_bits_resumes_bit_for_bit(data: dict[str, Path], tmp_path: Path) -> None:
    """Six steps equal six steps that ended after three: every loss and the weights. Another optimizer is refused."""
    settings = ("train.optimizer=adamw8bit", "train.max_steps=6", "train.save_every=3", "train.keep=9")
    for name in ("whole", "cut"):
        run_here(data, tmp_path / name, *settings)
    for path in ("model/config.json", "checkpoints/step-000006/manifest.json"):
        (tmp_path / "cut" / path).unlink()
    with pytest.raises(UsageError, match="train.optimizer was adamw8bit, is adamw"):
        run_here(data, tmp_path / "cut", *settings, "train.optimizer=adamw", resume=True)
    run_here(data, tmp_path / "cut", *settings, resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole") and len(losses(tmp_path / "whole")) == 6
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_where_an_optimizer_cannot_run_it_is_refused(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offloading on a CPU, either on several devices, 8 bits without torchao: wrong usage, before anything is written."""
    with pytest.raises(UsageError, match="train.optimizer=adamw-offload takes the moments from a GPU to the host"):
        run_here(data, tmp_path / "run", "train.optimizer=adamw-offload")
    assert not (tmp_path / "run").exists()
    for recipe in (EIGHT_BIT, OFFLOAD):
        with pytest.raises(UsageError, match=f"train.optimizer={recipe.optimizer} is for one device"):
            check_optimizer(recipe, torch.device("cuda"), World(0, 2, torch.device("cpu")).size)
    check_optimizer(OFFLOAD, torch.device("cuda"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs torchao; run: pip install 'adapt-vlm\[memory\]'"):
        check_optimizer(EIGHT_BIT, torch.device("cpu"))
