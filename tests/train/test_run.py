"""Runs in this process: what a resume refuses, and which data, stages and losses a run can meet."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapt.errors import DataError, UsageError
from adapt.train.log import read_log
from adapt.verbs import finetune

FAST = ("train.samples_per_step=6", "train.max_branches=2", "data.workers=0", "train.tensorboard=no", "train.save_every=1")


def run(made: dict[str, Path], output: Path, *settings: str, **changes: Any) -> dict[str, Any]:
    given = {"model": "nano", "data": [made["field"]], "general": [made["common"]]}
    return finetune(**(given | changes), output=output, set=(*FAST, "train.max_steps=2", *settings))


def unfinish(folder: Path) -> None:
    """Leave the checkpoints alone, as a run that was killed does."""
    shutil.rmtree(folder / "model")


def test_a_resume_is_of_the_same_plan_and_model(data: dict[str, Path], tmp_path: Path) -> None:
    """Other roles of the same files, or another base model, are refused with both values; the run stays resumable."""
    run(data, tmp_path / "base")
    run(data, tmp_path / "other", "train.seed=1")
    both = {"data": [data["field"], data["common"]], "general": []}
    run(data, tmp_path / "run", model=tmp_path / "base", **both)
    unfinish(tmp_path / "run")
    with pytest.raises(DataError, match=r"the run started from the model .*sha256.*, --model is now .*sha256"):
        run(data, tmp_path / "run", model=tmp_path / "other", resume=True, **both)
    with pytest.raises(DataError, match=r"the plan changed since the checkpoint \(digest \w+ then, \w+ now\)"):
        run(data, tmp_path / "run", model=tmp_path / "base", resume=True)
    shutil.move(tmp_path / "base", tmp_path / "moved")
    run(data, tmp_path / "run", model=tmp_path / "moved", resume=True, **both)
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_accepted_new_data_is_in_the_log(data: dict[str, Path], tmp_path: Path) -> None:
    """--accept-new-data goes on with other data and leaves a row that says so, at the step where it happened."""
    run(data, tmp_path / "run", "train.save_every=2")
    unfinish(tmp_path / "run")
    lines = data["field"].read_text().replace("What colour is it?", "Which colour?")
    data["field"].write_text(lines)
    with pytest.raises(DataError, match="the data changed since the checkpoint"):
        run(data, tmp_path / "run", "train.save_every=2", resume=True)
    run(data, tmp_path / "run", "train.save_every=2", resume=True, accept_new_data=True)
    rows = read_log(tmp_path / "run")
    assert [row["step"] for row in rows if row.get("event") == "new data accepted"] == [2]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]


def test_packs_never_change_the_plan(data: dict[str, Path], tmp_path: Path) -> None:
    """Pack budgets leave the plan's digest as it is, over-long rows dropped or not."""
    digests = {
        run(data, tmp_path / "run", "data.overlong=drop", f"train.pack_tokens={tokens}", dry_run=True)["digest"]
        for tokens in (100, 200, 4000)
    }
    assert len(digests) == 1


def test_a_run_leaves_the_process_as_it_was(data: dict[str, Path], tmp_path: Path) -> None:
    """Deterministic algorithms are on while a run lasts and off after it, and no lock is left."""
    run(data, tmp_path / "run")
    assert not torch.are_deterministic_algorithms_enabled()
    assert not (tmp_path / "run" / ".lock").exists()


def test_the_model_is_stored_in_the_type_that_computed(data: dict[str, Path], tmp_path: Path) -> None:
    """RUN/model is float32 where the run computes in float32, bfloat16 where it computes in that."""
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        run(data, tmp_path / precision, f"train.precision={precision}", "train.max_steps=1")
        stored = load_file(tmp_path / precision / "model" / "model.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {dtype}


def test_several_processes_are_refused(data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun with several processes: one device for now, said before anything is written."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="WORLD_SIZE=2: a run uses one device for now"):
        run(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
