"""What was trained on what, in how much time and memory, in words."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt.report.curves import draw_losses
from adapt.report.runs import RunFacts, model_name
from adapt.show import duration


def describe_training(run: RunFacts) -> dict[str, Any]:
    """A run's facts, curves, recipe, versions and fingerprints; empty for a folder of scores that no run wrote."""
    config = run.config
    if not config:
        return {"facts": {}, "notes": [], "recipe": {}, "versions": {}, "digests": {}, "drawings": []}
    versions = {"adapt": config.get("adapt_version"), "python": config.get("python")} | config.get("packages", {})
    digests = {"data": config.get("data_fingerprint"), "plan": config.get("plan_digest")} | {
        Path(path).name: digest for path, digest in config.get("files", {}).items()
    }
    return {
        "facts": dict(_facts(run)),
        "notes": run.plan.get("notes", []),
        "recipe": config["recipe"],
        "versions": versions | {"git commit": config.get("git_commit"), "threads": config.get("threads")},
        "digests": digests,
        "drawings": draw_losses(run),
    }


def _facts(run: RunFacts) -> Iterator[tuple[str, str]]:
    arguments, recipe, plan = run.config["arguments"], run.config["recipe"], run.plan
    steps = max((row["step"] for row in run.log), default=0)
    samples, epochs = plan.get("samples", {}), plan.get("epochs", {})
    general = arguments.get("general") or ()
    ratio = recipe.get("data.general_ratio", 0) if general else 0
    yield "Model it started from", model_name(run.base)
    yield "Field and recipe", arguments.get("domain") or "general recipe"
    yield "Trained on", ", ".join(Path(path).name for path in arguments["data"])
    yield "Mixed in", _mixture(general, ratio, plan)
    yield "Steps", f"{steps:,} of {plan.get('steps', steps):,}, about {recipe['train.samples_per_step']:,} samples each"
    yield (
        "Samples",
        f"{samples.get('domain', 0):,} of the data ({epochs.get('domain', 0):.2f} epochs), "
        f"{samples.get('general', 0):,} mixed in",
    )
    yield (
        "Size",
        f"{plan.get('trees', 0):,} trees with {plan.get('samples_per_tree', 0)} questions on average; "
        f"{plan.get('tokens', 0):,} tokens, {plan.get('tiles', 0):,} tiles",
    )
    yield "Parameters", f"{plan.get('parameters', 0) / 1e6:,.1f} M" + _trained(plan, recipe)
    yield (
        "Learning rate",
        f"{recipe['train.learning_rate']:g}, weight decay {recipe['train.weight_decay']:g}, seed {recipe['train.seed']}",
    )
    yield "Time in steps", _time(run)
    yield "Peak memory", _memory(run)


def _trained(plan: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """How many weights trained, where the plan says it."""
    count = plan.get("trained_parameters")
    return "" if count is None else f", {count / 1e6:,.1f} M of them trained (stage {recipe['train.stage']})"


def _mixture(general: Sequence[str], ratio: float, plan: Mapping[str, Any]) -> str:
    if not general:
        return "no general data"
    names = ", ".join(Path(path).name for path in general)
    if not ratio:
        return f"nothing; {names} is only measured, and its words are in the vocabulary"
    return f"{names} at ratio {ratio:g} to the data above (realised {plan.get('realised_general_ratio', 0):.3f})"


def _time(run: RunFacts) -> str:
    """Time spent in steps and what went through in it; validations and saves are not in it."""
    rows = [row for row in run.log if isinstance(row.get("seconds"), int | float)]
    seconds = sum(row["seconds"] for row in rows)
    samples = sum(row.get("samples", 0) for row in rows)
    speed = f", {samples / seconds:,.1f} samples a second" if seconds > 0 and samples else ""
    return f"{duration(seconds)} on {run.config.get('device', '?')}{speed}"


def _memory(run: RunFacts) -> str:
    measured = max((row["peak_bytes"] for row in run.log if isinstance(row.get("peak_bytes"), int | float)), default=None)
    planned = run.plan.get("memory_bytes", {}).get("total")
    whole = " (on a CPU the whole process, its libraries and data too)" if run.config.get("device") == "cpu" else ""
    words = "none in the log" if measured is None else f"{measured / 2**30:.2f} GiB measured{whole}"
    if planned is None:
        return words
    return f"{words}, {planned / 2**30:.2f} GiB planned for weights, gradients, moments and the largest pack"
