"""AdamW and its learning rate: a pure function of the step, so that nothing about it has to be saved."""

import math

import torch
from torch import nn

from adapt.train.distributed import spread_like
from adapt.train.recipe import TrainRecipe

MOMENTS = ("exp_avg", "exp_avg_sq")


def learning_rate(recipe: TrainRecipe, step: int, num_steps: int) -> float:
    """The rate of step ``step`` (from 0) of ``num_steps``: linear warm-up, then a cosine to zero."""
    warmup = math.ceil(recipe.warmup_ratio * num_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(model: nn.Module, recipe: TrainRecipe) -> torch.optim.AdamW:
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
    return torch.optim.AdamW(
        described, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True
    )


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, torch.Tensor]]:
    """{``exp_avg`` or ``exp_avg_sq``: {parameter name: tensor}} of the parameters that have them."""
    state = optimizer.state
    return {
        moment: {name: state[parameter][moment] for name, parameter in model.named_parameters() if parameter in state}
        for moment in MOMENTS
    }


def steps_taken(optimizer: torch.optim.Optimizer) -> int:
    """Updates that AdamW made: fewer than the run's steps where loss scaling skipped some. It corrects its moments by them."""
    counts = {int(state["step"]) for state in optimizer.state.values()}
    assert len(counts) <= 1, "every trained parameter is updated at every step"
    return max(counts, default=0)


def restore_moments(
    model: nn.Module, optimizer: torch.optim.Optimizer, stored: dict[str, dict[str, torch.Tensor]], steps: int
) -> None:
    """Put moments back as they were after ``steps`` updates (``steps_taken``)."""
    parameters = dict(model.named_parameters())
    for name, first in stored["exp_avg"].items():
        parameter = parameters[name]
        optimizer.state[parameter] = {
            "step": torch.tensor(float(steps), dtype=torch.float32, device=parameter.device),
            "exp_avg": spread_like(first, parameter),
            "exp_avg_sq": spread_like(stored["exp_avg_sq"][name], parameter),
        }
