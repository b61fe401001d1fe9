"""What a running run is: all that a step needs, and what it changes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from adapt.data.flops import Flops
from adapt.data.loader import PackReader, PackRequest
from adapt.data.packing import PackRule, RowSizes, share_step
from adapt.data.plan import Plan, Tree
from adapt.model.internvl import InternVL
from adapt.train.distributed import World
from adapt.train.log import NoLog, RunLog
from adapt.train.memory import Predictor
from adapt.train.recipe import Recipe


@dataclass
class Run:
    """A run under way. ``step`` counts finished steps, ``skipped`` those among them whose update was left out.

    ``flops`` are a forward pass's, which packs are balanced by, ``step_flops`` those of training; ``peak_flops`` is what the
    device was measured to do in a second; ``validations`` the rows of the log that hold held-out losses, oldest first.
    """

    model: InternVL
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    plan: Plan
    reader: PackReader
    sizes: RowSizes
    sources: tuple[str, ...]
    held_out: dict[str, tuple[tuple[Tree, ...], ...]]
    log: RunLog | NoLog
    world: World
    rule: PackRule
    flops: Flops
    step_flops: Flops
    predicted: Predictor
    peak_flops: float
    autocast: torch.dtype | None
    scaler: torch.amp.GradScaler
    reshard: bool
    save: Callable[["Run"], None]
    save_best: Callable[[int, float], None]
    step: int = 0
    skipped: int = 0
    stop_signal: int = 0
    validations: list[dict[str, Any]] = field(default_factory=list)

    def requests(self, trees: tuple[Tree, ...], step: int | None) -> list[PackRequest]:
        """This process's packs of some trees; ``step`` keys their draws, None outside training."""
        mine = share_step(trees, self.sizes, self.rule, self.flops, self.world.size)[self.world.rank]
        return [PackRequest(step, tuple(pack)) for pack in mine]
