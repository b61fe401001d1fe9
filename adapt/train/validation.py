"""Held-out losses during a run, and what they say about going on."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from adapt import progress
from adapt.data.loader import load_packs
from adapt.train.state import Run
from adapt.train.update import pack_loss, read_together

FLAT = 0.005  # a loss that fell by less than this share of itself did not fall


@torch.no_grad()
def validate(run: Run) -> None:
    """Losses on the held-out splits, logged as an event row; the best domain loss so far saves RUN/best.

    Raises DataError where one is not finite.
    """
    run.model.eval()
    found: dict[str, float] = {}
    for name, steps in run.held_out.items():
        packs = [run.requests(step, None) for step in steps]
        batches = load_packs(run.reader, [request for step in packs for request in step], workers=0, prefetch=0)
        sums_2S = torch.zeros(2, len(run.sources), dtype=torch.float64, device=run.world.device)
        for step in packs:
            for batch in read_together(run.world, batches, len(step)):
                sums_2S += pack_loss(run, batch.to(run.world.device), 1.0)[1]
        total_2S = run.world.sum(sums_2S)
        found[f"{name}_loss"] = value = float(total_2S[0].sum() / total_2S[1].sum())
        if not math.isfinite(value):
            run.world.raise_together(
                f"step {run.step}: the held-out loss of the {name} data is {value}; lower train.learning_rate and start a "
                "new run"
            )
    run.model.train()
    if found:
        row = {"event": "validation", "step": run.step} | found
        run.validations.append(row)
        run.log.write(row)
        progress.say(f"step {run.step:,}: held-out " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    if "domain_loss" in found:
        run.save_best(run.step, found["domain_loss"])


def forgets(validations: Sequence[dict[str, Any]], patience: int) -> bool:
    """Whether a run should end: the domain's held-out loss flat and the general one above its best, ``patience`` times on end.

    Flat: not lower by half a percent than the lowest before. Above: higher by half a percent than the lowest before.
    """
    if len(validations) <= patience:
        return False
    domain = [row.get("domain_loss", math.inf) for row in validations]
    general = [row.get("general_loss", -math.inf) for row in validations]
    return all(
        domain[place] > min(domain[:place]) * (1 - FLAT) and general[place] > min(general[:place]) * (1 + FLAT)
        for place in range(len(validations) - patience, len(validations))
    )
