"""What a run leaves on disk while it lasts and when it ends: checkpoints, the best model, the last one, adapters.

All processes of a run put the tensors together; the main one writes them, and all hear whether that went well.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapt import progress
from adapt.errors import DataError
from adapt.model.internvl import InternVL
from adapt.model.layouts import to_disk
from adapt.model.saving import save_model
from adapt.report.card import facts_of_run
from adapt.train import checkpoint
from adapt.train.distributed import World, put_together
from adapt.train.optim import MOMENTS, moments, steps_taken
from adapt.train.parts import adapter_state, merged_state, save_adapter
from adapt.train.prepare import Prepared
from adapt.train.recipe import LORA
from adapt.train.state import Run

ADVICE = "the checkpoints are whole: free some space, and go on with --resume"


class Keeper:
    """Saves checkpoints, the best model and the last one; remembers the best loss."""

    def __init__(
        self,
        prepared: Prepared,
        folder: Path,
        world: World,
        model: InternVL,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        best: float,
        dtype: torch.dtype,
    ) -> None:
        self._prepared, self._folder, self._world, self._model = prepared, folder, world, model
        self._optimizer, self._scaler, self._best, self._dtype = optimizer, scaler, best, dtype
        self._recipe = prepared.request.recipe.train

    def save(self, run: Run) -> None:
        """Write the checkpoint of the run's step."""
        state = {
            "step": run.step,
            "optimizer_steps": steps_taken(self._optimizer),
            "skipped": run.skipped,
            "plan_digest": self._prepared.plan.digest,
            "data_fingerprint": self._prepared.index.fingerprint,
            "best_loss": self._best if self._best < float("inf") else None,
            "scaler": self._scaler.state_dict(),
        }
        disk_names = adapter_state if self._recipe.stage == LORA else to_disk
        together = {moment: self._put_together(tensors) for moment, tensors in moments(self._model, self._optimizer).items()}
        stored = {  # a moment in 8 bits is laid out as our own weights are, and keeps their names
            moment: disk_names(tensors) if moment in MOMENTS else tensors for moment, tensors in together.items()
        }
        weights = disk_names(self._put_together(self._model.state_dict()))
        place = self._folder / "checkpoints"
        self._on_main(lambda: checkpoint.save_checkpoint(place, run.step, weights, stored, state, self._recipe.keep))

    def save_best(self, step: int, loss: float) -> None:
        """Write RUN/best when ``loss`` is the lowest so far."""
        if loss < self._best:
            self._best = loss
            state = merged_state(self._put_together(self._model.state_dict()), self._recipe)
            self._on_main(lambda: self._write_model("best", state, step))

    def finish(self, step: int) -> None:
        """Write what the run was for: the adapters where it trained such, then RUN/model, which says that it is finished."""
        state = self._put_together(self._model.state_dict())
        if self._recipe.stage == LORA:
            self._on_main(lambda: save_adapter(self._folder / "adapter", state, self._recipe, self._prepared.found))
            progress.say(f"the adapters are {self._folder / 'adapter'}; peft loads them onto the base in transformers' layout")
        merged = merged_state(state, self._recipe)
        self._on_main(lambda: self._write_model("model", merged, step))
        progress.say(f"the tuned model is {self._folder / 'model'}; transformers loads it as it is")

    def _put_together(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors on the CPU; nothing in the processes that do not write."""
        found = {}
        for name, tensor in tensors.items():
            put = put_together(tensor)
            if self._world.is_main:
                found[name] = put
        return found

    def _on_main(self, write: Callable[[], Any]) -> None:
        fault = None
        if self._world.is_main:
            try:
                write()
            except (DataError, OSError) as error:
                if self._world.size == 1:
                    raise
                fault = str(error)
        self._world.raise_together(fault)

    def _write_model(self, name: str, state: dict[str, Tensor], step: int) -> None:
        """Write a folder that transformers loads, in the type that the run computed in."""
        prepared = self._prepared
        provenance = {
            "base": prepared.found.provenance,
            "step": step,
            "domain": prepared.request.domain,
            "data": [path.name for path in prepared.request.data],
            "general": [path.name for path in prepared.request.general],
            "data_fingerprint": prepared.index.fingerprint,
        }
        save_model(
            self._folder / name, prepared.config, state, prepared.tokenizer, dtype=self._dtype, provenance=provenance,
            facts=facts_of_run(self._folder), advice=ADVICE,
        )  # fmt: skip
