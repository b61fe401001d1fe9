"""Checkpoints with flipped bits and cut files are found, whatever the bit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.train import checkpoint


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """The older and the newer checkpoint of a folder."""
    weights = {name: torch.arange(60.0) + number for number, name in enumerate(("a.weight", "b.weight", "c.weight"))}
    moments = {name: {each: tensor + 1 for each, tensor in weights.items()} for name in checkpoint.MOMENTS}
    state = {"optimizer_steps": 4, "best_loss": 0.25, "data_fingerprint": "f" * 64, "scaler": {}}
    older, newer = (checkpoint.save_checkpoint(tmp_path, step, weights, moments, {"step": step} | state, 2) for step in (2, 4))
    return older, newer


def assert_falls_back(older: Path, newer: Path, damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The older checkpoint is taken and loads, and what is said names the damaged file."""
    problem = checkpoint.fault(newer) or ""
    assert str(newer) in problem
    assert damaged.name in problem
    assert checkpoint.newest_valid(older.parent) == older
    assert checkpoint.load_checkpoint(older)[2]["step"] == 2
    assert f"warning: {problem}; trying the checkpoint before it" in capsys.readouterr().err


def test_200_flipped_bits_and_50_cuts_are_found(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """200 single flipped bits and 50 cut files, over all files of a checkpoint: 250 of 250 found and said, none loaded."""
    older, newer = two
    random = np.random.default_rng(0)
    files = sorted(newer.iterdir())
    assert len(files) == 4
    for case in range(250):
        damaged = files[case % 4]
        whole = damaged.read_bytes()
        place = int(random.integers(len(whole)))
        content = bytearray(whole)
        if case < 200:
            content[place] ^= 1 << int(random.integers(8))
        damaged.write_bytes(content if case < 200 else content[:place])
        assert_falls_back(older, newer, damaged, capsys)
        damaged.write_bytes(whole)
        assert checkpoint.newest_valid(older.parent) == newer


def test_every_byte_of_a_manifest_counts(two: tuple[Path, Path]) -> None:
    """The manifest vouches for the other files, so each of its own bytes is tried: of its step, names and sizes too."""
    newer = two[1]
    place = newer / checkpoint.MANIFEST
    whole = place.read_bytes()
    for number in range(len(whole)):
        content = bytearray(whole)
        content[number] ^= 1  # digits stay digits and letters stay letters
        place.write_bytes(content)
        assert checkpoint.fault(newer) is not None, f"byte {number}: {bytes(content)!r}"
    place.write_bytes(whole)
    assert checkpoint.fault(newer) is None


def test_a_checkpoint_under_another_steps_name_does_not_count(two: tuple[Path, Path]) -> None:
    """A folder renamed by hand is no checkpoint of the step that its name says."""
    renamed = two[1].rename(two[1].with_name("step-000009"))
    assert "step 9" in (checkpoint.fault(renamed) or "")
    assert checkpoint.newest_valid(renamed.parent) == two[0]
