"""The recipe: what may be set, by whom, and what it makes of a run."""

import math

import pytest
import torch

from adapt.domain import all_domains
from adapt.errors import UsageError
from adapt.train.optim import learning_rate, make_optimizer, moments, restore_moments, steps_taken
from adapt.train.recipe import PRESET_RECIPES, TrainRecipe, make_recipe, parse_settings, recipe_settings


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("train.batch_size=3", "unknown setting 'train.batch_size': known: train.beta1, "),
        ("train.max_step=3", "unknown setting 'train.max_step': did you mean 'train.max_steps'?"),
        ("train.max_steps", "expected key=value"),
        ("train.max_steps=many", "expected a whole number"),
        ("train.learning_rate=nan", "expected zero or more"),
        ("train.learning_rate=-1", "expected zero or more"),
        ("train.loss_reduction=mean", "expected one of token, sample, square"),
        ("train.tensorboard=perhaps", "expected yes or no"),
        ("train.samples_per_step=0", "expected at least 1"),
        ("train.drop_path=1", "expected less than 1"),
        ("train.beta1=1.5", "expected less than 1"),
        ("train.beta2=1", "expected less than 1"),
        ("train.epochs=0", "train.epochs=0: expected more than 0"),
        ("train.max_steps=1.7", "expected a whole number"),
        ("data.prefetch=0", "expected at least 1"),
    ],
)
def test_wrong_settings_are_named(item: str, message: str) -> None:
    """An unknown key, a wrong value or an impossible one is a usage error that says what was expected."""
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        make_recipe(parse_settings([item]))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train.max_steps", None, "expected a whole number"),
        ("train.max_steps", 1.7, "train.max_steps=1.7: expected a whole number"),
        ("train.max_steps", float("inf"), "expected a whole number"),
        ("train.max_steps", True, "expected a whole number"),
        ("train.learning_rate", None, "expected a number"),
        ("train.learning_rate", [1], "expected a number"),
        ("train.tensorboard", None, "expected yes or no"),
        ("train.stage", None, "expected one of all, align, tune, lora"),
    ],
)
def test_values_of_a_config_are_checked_too(name: str, value: object, message: str) -> None:
    """JSON can hold what a command line cannot (null, a fraction, a list): refused by name, never rounded."""
    with pytest.raises(UsageError, match=message):
        make_recipe({name: value})
    assert make_recipe({"train.max_steps": 2.0}).train.max_steps == 2


def test_later_layers_win_and_the_recipe_survives_its_own_settings() -> None:
    """Domain < preset < --set; a recipe written to config.json and read back is the same recipe."""
    made = make_recipe(
        {"train.learning_rate": 1e-5, "train.drop_path": 0.1}, PRESET_RECIPES["nano"], parse_settings(["train.seed=4"])
    )
    assert made.train.learning_rate == PRESET_RECIPES["nano"]["train.learning_rate"]
    assert made.train.seed == 4
    assert make_recipe(recipe_settings(made)) == made


def test_every_domain_recipe_is_valid_and_is_the_published_one() -> None:
    """Each domain's recipe has known keys; rate, decay, warm-up, loss reduction and drop-path are the published values."""
    recipes = [domain.recipe for domain in all_domains() if domain.recipe]
    assert len(recipes) >= 3
    for settings in recipes:
        train = make_recipe(settings).train
        found = (
            train.learning_rate,
            train.weight_decay,
            train.warmup_ratio,
            train.loss_reduction,
            train.drop_path,
            train.clip_norm,
        )
        assert found == (1e-5, 0.01, 0.03, "square", 0.1, 1.0)


def test_learning_rate_is_transformers_cosine() -> None:
    """Warm-up and cosine equal transformers' schedule at every step."""
    from transformers import get_cosine_schedule_with_warmup

    recipe, steps = TrainRecipe(learning_rate=0.3, warmup_ratio=0.1), 57
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = get_cosine_schedule_with_warmup(optimizer, math.ceil(0.1 * steps), steps)
    theirs = []
    for _ in range(steps):
        theirs.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    ours = [learning_rate(recipe, step, steps) for step in range(steps)]
    warmup = math.ceil(0.1 * steps)
    # theirs warms up from 0, a step that moves nothing; ours starts at the first part of the rate
    assert ours[:warmup] == pytest.approx(theirs[1 : warmup + 1])
    assert ours[warmup:] == pytest.approx(theirs[warmup:])


def test_only_matrices_are_decayed() -> None:
    """Weights of two and more axes are in the decayed group, norms and biases in the other; all are in one of them."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    decayed, free = make_optimizer(model, TrainRecipe()).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert sum(p.numel() for group in (decayed, free) for p in group["params"]) == sum(p.numel() for p in model.parameters())


def test_parts_have_rates_of_their_own() -> None:
    """A part's own rate is a factor on the schedule; the parts without one follow train.learning_rate."""
    model = torch.nn.ModuleDict({name: torch.nn.Linear(3, 4) for name in ("vision", "connector", "language")})
    recipe = make_recipe({"train.learning_rate": 4e-5, "train.vision_learning_rate": 2e-6})
    factors = {
        name: group["factor"]
        for group in make_optimizer(model, recipe.train).param_groups
        for name, parameter in model.named_parameters()
        if any(parameter is each for each in group["params"])
    }
    assert factors == pytest.approx({name: 0.05 if name.startswith("vision") else 1.0 for name, _ in model.named_parameters()})
    with pytest.raises(UsageError, match="train.vision_learning_rate with train.learning_rate=0"):
        make_recipe({"train.learning_rate": 0.0, "train.vision_learning_rate": 2e-6})


def test_moments_survive_updates_that_loss_scaling_skipped() -> None:
    """After an overflow AdamW has made fewer updates than the run has steps; restored, its next update is the same."""

    def gradients(model: torch.nn.Module, scaler: torch.amp.GradScaler, optimizer: torch.optim.AdamW, factor: float) -> None:
        optimizer.zero_grad()
        scaler.scale(model(torch.full((2, 3), factor)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    models = [torch.nn.Linear(3, 2) for _ in range(2)]
    optimizers = [make_optimizer(model, TrainRecipe(learning_rate=0.1)) for model in models]
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor in (math.inf, 1.0, 2.0):
        gradients(models[0], scaler, optimizers[0], factor)
    assert steps_taken(optimizers[0]) == 2
    models[1].load_state_dict(models[0].state_dict())
    restore_moments(models[1], optimizers[1], moments(models[0], optimizers[0]), steps_taken(optimizers[0]))
    for model, optimizer in zip(models, optimizers, strict=True):
        gradients(model, torch.amp.GradScaler("cpu", init_scale=4.0), optimizer, 3.0)
    assert torch.equal(models[0].weight, models[1].weight) and torch.equal(models[0].bias, models[1].bias)
