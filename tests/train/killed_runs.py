"""The run that nobody killed, and what a run that was killed or stopped must have in common with it."""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_runs import FIXED, write_data
from warm_runs import WarmRuns, warm_runs

from adapt.train import checkpoint

STEPS = 6
SETTINGS = (
    *FIXED,
    f"train.max_steps={STEPS}",
    "train.save_every=1",
    "train.validate_every=2",
    "data.workers=0",
)


@dataclass(frozen=True)
class Whole:
    """The run that nobody killed."""

    runs: WarmRuns
    data: dict[str, Path]
    losses: list[str]
    weights: str
    files: dict[int, dict]  # of the manifest of each step
    seconds: float

    def arguments(self, output: Path) -> list[str]:
        """The command line of the same run in another folder, started or resumed."""
        return [*command_line(self.data, output), "--resume"]


def command_line(data: dict[str, Path], output: Path) -> list[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["finetune", "--model", "nano", "--data", str(data["field"]), "--general", str(data["common"]), "--output",
            str(output), *settings]  # fmt: skip


def losses(run: Path) -> list[str]:
    """float.hex of the loss of each step in the log, which must be 1, 2, 3, ... A last line that was cut is left out."""
    content = (run / "log.jsonl").read_bytes() if (run / "log.jsonl").exists() else b""
    rows = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    rows = [row for row in rows if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [float(row["loss"]).hex() for row in rows]


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def files_of(path: Path) -> dict:
    return json.loads((path / checkpoint.MANIFEST).read_text())["files"]


@contextlib.contextmanager
def whole_run(folder: Path) -> Iterator[Whole]:
    """Make the data and the run that nobody kills, ready to be compared with others."""
    data = {name: write_data(folder, name, 24, seed) for name, seed in (("field", 0), ("common", 1000))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPT_CACHE", str(folder / "cache"))
        with warm_runs([*command_line(data, folder / "dry"), "--dry-run"]) as runs:
            run, began = folder / "whole", time.monotonic()
            arguments = [*command_line(data, run), "--set", f"train.keep={STEPS}"]
            assert runs.wait(runs.start(arguments, folder / "errors")) == 0, (folder / "errors").read_text()
            seconds = time.monotonic() - began
            files = {checkpoint.step_of(path): files_of(path) for path in checkpoint.list_checkpoints(run / "checkpoints")}
            assert len(losses(run)) == len(files) == STEPS
            found = Whole(runs, data, losses(run), weights(run), files, seconds)
            shutil.rmtree(run)
            yield found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def check_shot(whole: Whole, run: Path) -> Path | None:
    """What a killed run left is a whole run up to a step: at most one older than the last of the log. Its checkpoint."""
    done = losses(run)
    assert done == whole.losses[: len(done)]
    valid = [path for path in checkpoint.list_checkpoints(run / "checkpoints") if checkpoint.fault(path) is None]
    if not valid:
        assert len(done) <= 1
        return None
    step = checkpoint.step_of(valid[0])
    assert len(done) - 1 <= step <= max(len(done), step), "at most one save old"
    assert checkpoint.load_checkpoint(valid[0])[2]["step"] == step
    assert files_of(valid[0]) == whole.files[step], "bit for bit what the run that nobody killed had saved"
    return valid[0]


def check_end(whole: Whole, run: Path) -> None:
    """The run that was killed again and again is the run that was not, and nothing half-written lies in it."""
    assert losses(run) == whole.losses
    assert weights(run) == whole.weights
    assert not [path for path in run.rglob("*") if path.name.startswith(".tmp-")]
    assert (run / "report.html").is_file()
    assert names(run / "checkpoints") == {f"step-{STEPS - 1:06d}", f"step-{STEPS:06d}"}
