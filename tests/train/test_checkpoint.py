"""Checkpoint folders: what a save removes and what a resume leaves."""

from pathlib import Path

import pytest
import torch

from adapt.train import checkpoint


def save(folder: Path, step: int, keep: int) -> Path:
    tensors = {"w": torch.full((2,), float(step))}
    state = {"step": step}
    return checkpoint.save_checkpoint(
        folder, step, tensors, {name: {"w": torch.ones(2)} for name in checkpoint.MOMENTS}, state, keep
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_save_never_removes_itself(tmp_path: Path) -> None:
    """With damaged folders of later steps in the way, the checkpoint just saved is there and valid, and is the newest."""
    for step in (6, 8):
        (save(tmp_path, step, 9) / checkpoint.MANIFEST).unlink()
    for step in (2, 4):
        save(tmp_path, step, 1)
        assert checkpoint.newest_valid(tmp_path) == checkpoint.checkpoint_path(tmp_path, step)
    assert names(tmp_path) == ["step-000004", "step-000006", "step-000008"]


def test_later_folders_go_when_a_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What lies above the resumed step is removed and named; the rest stays."""
    for step in (2, 4, 6):
        save(tmp_path, step, 9)
    checkpoint.remove_after(tmp_path, 4)
    assert names(tmp_path) == ["step-000002", "step-000004"]
    assert "step-000006: the run goes on from step 4" in capsys.readouterr().err
