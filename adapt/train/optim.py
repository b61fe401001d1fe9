"""The optimizers and their learning rate: a pure function of the step, so that nothing about it has to be saved.

``adamw`` is torch's; ``adamw8bit`` keeps its moments in 8 bits (torchao; Dettmers et al., "8-bit Optimizers via Block-wise
Quantization", 2021); ``adamw-offload`` keeps them, and updates, on the host: the numbers are those of ``adamw``.
"""

import contextlib
import importlib.util
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from adapt.errors import UsageError
from adapt.train.distributed import spread_like
from adapt.train.recipe import TrainRecipe

MOMENTS = ("exp_avg", "exp_avg_sq")
_PARTS_OF_8BIT = ("codes", "scale")


def learning_rate(recipe: TrainRecipe, step: int, num_steps: int) -> float:
    """The rate of step ``step`` (from 0) of ``num_steps``: linear warm-up, then a cosine to zero."""
    warmup = math.ceil(recipe.warmup_ratio * num_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def check_optimizer(recipe: TrainRecipe, device: torch.device, world_size: int = 1) -> None:
    """Raise UsageError where the recipe's optimizer cannot run here."""
    name = f"train.optimizer={recipe.optimizer}"
    if recipe.optimizer == "adamw":
        return
    if world_size > 1:
        raise UsageError(f"{name} is for one device; {world_size} share the moments out among them: leave it out")
    if recipe.optimizer == "adamw-offload" and device.type == "cpu":
        raise UsageError(f"{name} takes the moments from a GPU to the host, and this run is on the host; leave it out")
    if recipe.optimizer == "adamw8bit" and importlib.util.find_spec("torchao") is None:
        raise UsageError(f"{name} needs torchao; run: pip install 'adapt-vlm[memory]'")


def make_optimizer(model: nn.Module, recipe: TrainRecipe) -> torch.optim.Optimizer:
    """AdamW over the parameters that train; weights of two and more axes are decayed; norms, biases and layer scales not.

    Each group's ``factor`` is its part's rate over ``recipe.learning_rate``.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own_rate = getattr(recipe, f"{name.split('.')[0]}_learning_rate", 0.0)
            factor = own_rate / recipe.learning_rate if own_rate else 1.0
            decay = recipe.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    described = [
        {"params": parameters, "weight_decay": decay, "factor": factor} for (factor, decay), parameters in groups.items()
    ]
    settings: dict[str, Any] = {
        "lr": recipe.learning_rate, "betas": (recipe.beta1, recipe.beta2), "eps": recipe.epsilon
    }  # fmt: skip
    if recipe.optimizer == "adamw8bit":
        return _eight_bit()(described, **settings)
    if recipe.optimizer == "adamw-offload":
        return HostAdamW(described, **settings)
    return torch.optim.AdamW(described, **settings, fused=True)


class HostAdamW(torch.optim.Optimizer):
    """AdamW whose moments lie in the host's memory, where the update is made; weights and gradients stay on the device.

    Its numbers are those of torch's fused AdamW on a CPU. torchao's CPUOffloadOptimizer is not used: it copies each gradient
    to the host within the backward pass, before loss scaling is undone and gradients are clipped.
    """

    def __init__(self, params: Any, *, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None, "the loop computes the loss"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for moment in MOMENTS:
                state[moment] = torch.zeros_like(parameter, device="cpu", pin_memory=parameter.is_cuda)
        assert parameter.grad is not None
        weight, gradient = parameter.detach().cpu(), parameter.grad.cpu()
        adamw(
            [weight], [gradient], [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]],
            amsgrad=False, beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"],
            weight_decay=group["weight_decay"], eps=group["eps"], maximize=False, fused=True,
        )  # fmt: skip
        parameter.copy_(weight)


def _eight_bit() -> type[torch.optim.Optimizer]:
    """torchao's AdamW in 8 bits, taking its rate as a number."""
    from torchao.optim import AdamW8bit

    class _AdamW8bit(AdamW8bit):
        def step(self, closure: Callable[[], float] | None = None) -> Any:
            for group in self.param_groups:  # torchao compiles the update, and a number would be compiled in
                group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32)
            on_host = all(parameter.device.type == "cpu" for group in self.param_groups for parameter in group["params"])
            # compiled on a CPU each shape of a matrix would take seconds, and a compiler
            with torch.compiler.set_stance("force_eager") if on_host else contextlib.nullcontext():
                return super().step(closure)

    return _AdamW8bit


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """{moment: {parameter name: tensor}} of the parameters that have them; the moments are ``exp_avg`` and ``exp_avg_sq``.

    A moment in 8 bits is ``exp_avg_codes``, ``exp_avg_scale`` and, one for all, ``exp_avg_qmap``.
    """
    found: dict[str, dict[str, Tensor]] = {moment: {} for moment in MOMENTS}
    for name, parameter in model.named_parameters():
        for moment in MOMENTS if parameter in optimizer.state else ():
            tensor = optimizer.state[parameter][moment]
            if not hasattr(tensor, "codes"):
                found[moment][name] = tensor
                continue
            for part in _PARTS_OF_8BIT:
                found.setdefault(f"{moment}_{part}", {})[name] = getattr(tensor, part)
            found[f"{moment}_qmap"] = {"all": tensor.qmap}
    return found


def steps_taken(optimizer: torch.optim.Optimizer) -> int:
    """Updates that AdamW made: fewer than the run's steps where loss scaling skipped some. It corrects its moments by them."""
    counts = {int(state["step"]) for state in optimizer.state.values()}
    assert len(counts) <= 1, "every trained parameter is updated at every step"
    return max(counts, default=0)


def restore_moments(
    model: nn.Module, optimizer: torch.optim.Optimizer, stored: Mapping[str, Mapping[str, Tensor]], steps: int
) -> None:
    """Put moments back as they were after ``steps`` updates (``steps_taken``)."""
    parameters = dict(model.named_parameters())
    on_host = not isinstance(optimizer, torch.optim.AdamW)  # torch's fused AdamW counts on the device
    for name in [*stored["exp_avg"], *stored.get("exp_avg_codes", {})]:
        parameter = parameters[name]
        like = parameter.detach().cpu() if isinstance(optimizer, HostAdamW) else parameter
        optimizer.state[parameter] = {
            "step": torch.tensor(float(steps), dtype=torch.float32, device="cpu" if on_host else parameter.device),
            **{moment: _restored(stored, moment, name, like) for moment in MOMENTS},
        }


def _restored(stored: Mapping[str, Mapping[str, Tensor]], moment: str, name: str, like: Tensor) -> Tensor:
    if name in stored[moment]:
        return spread_like(stored[moment][name], like)
    from torchao.optim.subclass_8bit import OptimState8bit

    parts = [spread_like(stored[f"{moment}_{part}"][name], like) for part in _PARTS_OF_8BIT]
    qmap = spread_like(stored[f"{moment}_qmap"]["all"], like)
    return OptimState8bit(*parts, qmap, moment == "exp_avg", torch.float32)
