"""What a run writes while it runs: ``log.jsonl``, one row a step, and TensorBoard events."""

import json
import uuid
from pathlib import Path
from typing import Any

from adapt import atomic, safe
from adapt.errors import UsageError
from adapt.records import read_rows

_ADVICE = "free some space, and go on with --resume"


class RunLog:
    """Appends rows. On resume the log is cut to the checkpoint's step first, atomically, so each step appears once."""

    def __init__(self, folder: Path, *, resume_step: int, tensorboard: bool, wandb: str = "") -> None:
        self._path = folder / "log.jsonl"
        if resume_step and self._path.exists():
            self._cut(resume_step)
        else:
            atomic.write_text(self._path, "")
        self._handle = open(self._path, "ab")  # noqa: SIM115 (open as long as the run)
        self._events: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(folder / "tensorboard", purge_step=resume_step + 1)
        self._wandb = _wandb_run(folder, wandb) if wandb else None

    def _cut(self, step: int) -> None:
        """Keep the rows up to ``step``. A last line that a kill cut short is dropped with the rest."""
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        kept = [line for line in whole.splitlines(keepends=True) if json.loads(line)["step"] <= step]
        atomic.write_bytes(self._path, b"".join(kept))

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; numbers go to TensorBoard too. Raises DataError where the disk is full."""
        with atomic.disk_faults_told(self._path, _ADVICE):
            self._handle.write(json.dumps(row, allow_nan=False).encode() + b"\n")
            self._handle.flush()
        prefix = "validation/" if row.get("event") == "validation" else ""
        numbers = {prefix + name: value for name, value in row.items() if isinstance(value, int | float) and name != "step"}
        if self._events is not None:
            for name, value in numbers.items():
                self._events.add_scalar(name, value, row["step"])
        if self._wandb is not None:
            self._wandb.log(numbers, step=row["step"])

    def close(self) -> None:
        """Flush everything."""
        with atomic.disk_faults_told(self._path, _ADVICE):  # what a full disk refused before is tried once more
            self._handle.close()
        if self._events is not None:
            self._events.close()
        if self._wandb is not None:
            self._wandb.finish()


class NoLog:
    """What the processes beside the main one write: nothing."""

    def write(self, row: dict[str, Any]) -> None:
        """Leave it to the main process."""

    def close(self) -> None:
        """Nothing is open."""


def _wandb_run(folder: Path, project: str) -> Any:
    """A run of Weights & Biases, the same one again after a resume: its id is kept beside the log.

    Raises UsageError where the package is not installed, and where it cannot start a run.
    """
    try:
        import wandb
    except ImportError as error:
        raise UsageError(f"train.wandb={project} needs wandb; run: pip install 'adapt-vlm[wandb]'") from error
    kept = folder / "wandb_id.txt"
    if not kept.exists():
        atomic.write_text(kept, uuid.uuid4().hex[:8])
    config = safe.read_json(folder / "config.json")
    # The terminal's text is not captured: the loader's workers are forked, and what they print must not go through a client
    # that lives in their parent.
    try:
        return wandb.init(
            project=project, dir=folder, id=kept.read_text(), resume="allow", name=folder.name, config=config,
            settings=wandb.Settings(console="off"),
        )  # fmt: skip
    except wandb.Error as error:
        raise UsageError(
            f"train.wandb={project}: Weights & Biases does not start ({error}); run 'wandb login', or set WANDB_MODE=offline, "
            "and go on with --resume"
        ) from error


def read_log(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's log."""
    return [row for _, row in read_rows(run / "log.jsonl")]
