"""A run that is killed and resumed is the run that was not."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import finish, losses, run_here, start_run, wait_for_step, weights

from adapt.errors import DataError, UsageError
from adapt.train import checkpoint
from adapt.train.log import read_log


@pytest.mark.slow
def test_killed_at_step_20_and_resumed_is_bit_for_bit(
    data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """50 steps equal 50 steps killed by SIGKILL at step 20 and resumed: float.hex of every loss, sha256 of the weights."""
    settings = ("train.max_steps=50", "train.save_every=7", "train.validate_every=25", "data.augment=overhead")
    run_here(data, tmp_path / "whole", *settings)
    killed = start_run(data, tmp_path / "killed", *settings)
    wait_for_step(tmp_path / "killed", 20)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = len(losses(tmp_path / "killed"))
    assert 20 <= before < 50, "the kill must come in the middle"
    said = finish(start_run(data, tmp_path / "killed", *settings, resume=True))
    assert "resuming from" in said
    assert len(losses(tmp_path / "whole")) == 50
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    steps = [row["step"] for row in read_log(tmp_path / "killed") if "loss" in row]
    assert steps == list(range(1, 51)), "each step appears once"
    capsys.readouterr()
    run_here(data, tmp_path / "killed", *settings, resume=True)
    assert "nothing to resume" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_and_packs_do_not_change_the_steps(data: dict[str, Path], tmp_path: Path) -> None:
    """0, 1, 2 and 4 loader workers give the same losses to the last bit; other pack budgets the same to 1e-5."""
    found = {}
    for workers in (0, 1, 2, 4):
        run_here(data, tmp_path / str(workers), "train.max_steps=6", f"data.workers={workers}")
        found[workers] = losses(tmp_path / str(workers))
    assert found[0] == found[1] == found[2] == found[4]
    run_here(data, tmp_path / "packs", "train.max_steps=6", "train.pack_tokens=160", "train.pack_tiles=2")
    packed = [float.fromhex(loss) for loss in losses(tmp_path / "packs")]
    assert packed == pytest.approx([float.fromhex(loss) for loss in found[0]], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_sigterm_is_a_clean_stop(data: dict[str, Path], tmp_path: Path, send: Callable[[int, int], None]) -> None:
    """SIGTERM, to the run or to all its processes, ends it after a whole step with exit code 143 and a checkpoint.

    The resumed run is bit for bit.
    """
    settings = ("train.max_steps=16", "train.save_every=1000", "train.validate_every=8")
    run_here(data, tmp_path / "whole", *settings)
    process = start_run(data, tmp_path / "stopped", *settings)
    wait_for_step(tmp_path / "stopped", 3)
    send(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    newest = checkpoint.newest_valid(tmp_path / "stopped" / "checkpoints")
    assert newest is not None
    run_here(data, tmp_path / "stopped", *settings, resume=True)
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_a_torn_log_line_is_cut(data: dict[str, Path], tmp_path: Path) -> None:
    """A line that a kill or a full disk tore off does not keep a run from going on; each step appears once."""
    settings = ("train.max_steps=4", "train.save_every=2", "train.keep=9")
    run_here(data, tmp_path / "run", *settings)
    whole = losses(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(checkpoint.checkpoint_path(tmp_path / "run" / "checkpoints", 4))
    with open(tmp_path / "run" / "log.jsonl", "ab") as log:
        log.write(b'{"step": 5, "loss": 1.2')
    run_here(data, tmp_path / "run", *settings, resume=True)
    assert losses(tmp_path / "run") == whole


@pytest.mark.slow
def test_a_changed_recipe_or_data_is_not_resumed(data: dict[str, Path], tmp_path: Path) -> None:
    """Resuming with another recipe, or with data that changed, is refused with old and new value; the run stays resumable."""
    settings = ("train.max_steps=4", "train.save_every=2")
    run_here(data, tmp_path / "run", *settings)
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(checkpoint.checkpoint_path(tmp_path / "run" / "checkpoints", 4))
    with pytest.raises(UsageError, match="train.learning_rate was 0.001, is 0.5"):
        run_here(data, tmp_path / "run", *settings, "train.learning_rate=0.5", resume=True)
    lines = data["field"].read_text().splitlines()
    row = json.loads(lines[0])
    row["conversations"][1]["value"] = "purple"
    data["field"].write_text("\n".join([json.dumps(row), *lines[1:]]) + "\n")
    with pytest.raises(DataError, match=r"the data changed since the checkpoint.*field\.jsonl"):
        run_here(data, tmp_path / "run", *settings, resume=True)
    data["field"].write_text("\n".join(lines) + "\n")
    run_here(data, tmp_path / "run", *settings, resume=True)
    assert len(losses(tmp_path / "run")) == 4
    with pytest.raises(
        UsageError, match="the run is finished and its recipe was another: train.learning_rate was 0.001, is 0.5"
    ):
        run_here(data, tmp_path / "run", *settings, "train.learning_rate=0.5", resume=True)


@pytest.mark.slow
def test_corrupt_checkpoints_do_not_exist(data: dict[str, Path], tmp_path: Path) -> None:
    """A flipped bit, a cut file or a missing manifest makes a checkpoint invalid; the one before it is taken, said aloud."""
    run_here(data, tmp_path / "run", "train.max_steps=6", "train.save_every=2", "train.keep=3")
    folder = tmp_path / "run" / "checkpoints"
    newest, middle, oldest = checkpoint.list_checkpoints(folder)
    assert [path.name for path in (newest, middle, oldest)] == ["step-000006", "step-000004", "step-000002"]
    assert all(checkpoint.fault(path) is None for path in (newest, middle, oldest))
    content = bytearray((newest / "optimizer.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "optimizer.safetensors").write_bytes(content)
    assert "optimizer.safetensors" in (checkpoint.fault(newest) or "")
    with open(middle / "model.safetensors", "rb+") as handle:
        handle.truncate(1000)
    assert checkpoint.newest_valid(folder) == oldest
    (oldest / checkpoint.MANIFEST).unlink()
    assert checkpoint.newest_valid(folder) is None
