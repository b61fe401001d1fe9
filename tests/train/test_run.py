"""Runs in this process: what a resume refuses, and which data, stages and losses a run can meet."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord, Turn, write_records
from adapt.train import checkpoint
from adapt.train.log import read_log
from adapt.verbs import finetune

FAST = ("train.samples_per_step=6", "train.max_branches=2", "data.workers=0", "train.tensorboard=no", "train.save_every=1")


def run(made: dict[str, Path], output: Path, *settings: str, **changes: Any) -> dict[str, Any]:
    given = {"model": "nano", "data": [made["field"]], "general": [made["common"]]}
    return finetune(**(given | changes), output=output, set=(*FAST, "train.max_steps=2", *settings))


def unfinish(folder: Path) -> None:
    """Leave the checkpoints alone, as a run that was killed does."""
    shutil.rmtree(folder / "model")


@pytest.mark.slow
def test_a_resume_is_of_the_same_plan_and_model(data: dict[str, Path], tmp_path: Path) -> None:
    """Other roles of the same files, or another base model, are refused with both values; the run stays resumable."""
    run(data, tmp_path / "base")
    run(data, tmp_path / "other", "train.seed=1")
    both = {"data": [data["field"], data["common"]], "general": []}
    run(data, tmp_path / "run", model=tmp_path / "base", **both)
    unfinish(tmp_path / "run")
    with pytest.raises(UsageError, match=r"the run started from the model .*sha256.*, --model is now .*sha256"):
        run(data, tmp_path / "run", model=tmp_path / "other", resume=True, **both)
    with pytest.raises(UsageError, match=r"the plan changed since the checkpoint \(digest \w+ then, \w+ now\)"):
        run(data, tmp_path / "run", model=tmp_path / "base", resume=True)
    shutil.move(tmp_path / "base", tmp_path / "moved")
    run(data, tmp_path / "run", model=tmp_path / "moved", resume=True, **both)
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_the_card_counts_the_rows_that_were_read(data: dict[str, Path], tmp_path: Path) -> None:
    """A file of 72 rows, cut to 60 after a conversion whose manifest stays: config.json and the card have 60."""
    manifest = {"task": "vqa", "counts": {"records": 72}, "sha256": hashlib.sha256(data["field"].read_bytes()).hexdigest()}
    (tmp_path / "field.manifest.json").write_text(json.dumps(manifest))
    lines = data["field"].read_text().splitlines(keepends=True)
    data["field"].write_text("".join(lines[:60]))
    run(data, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["rows"] == {str(data["field"]): 60, str(data["common"]): len(lines)}
    assert config["edited"] == [str(data["field"])]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| field.jsonl | the field | vqa | 60, edited | unknown |" in card
    assert f"| common.jsonl | mixed in | unknown | {len(lines)} | unknown |" in card


@pytest.mark.slow
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


def test_half_an_environment_of_torchrun_is_refused(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WORLD_SIZE that something else than torchrun set is named before anything is written."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="WORLD_SIZE=2 without RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT: something set it"):
        run(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def text_rows(folder: Path, count: int) -> Path:
    """Rows without pictures; the answer of row n is n words long."""
    rows = [
        ChatRecord(f"t{n}", (Turn("human", f"Count to {n}."), Turn("gpt", " ".join(["one"] * n))), source="words")
        for n in range(1, count + 1)
    ]
    write_records(folder / "words.jsonl", rows)
    return folder / "words.jsonl"


@pytest.mark.parametrize("stage", ["all", "align"])
def test_text_alone_is_trained_on(data: dict[str, Path], tmp_path: Path, stage: str) -> None:
    """Two steps on data without a single picture, every part training or the connector alone."""
    words = text_rows(tmp_path, 20)
    done = run(data, tmp_path / "run", f"train.stage={stage}", data=[words], general=[])
    assert [row["tiles"] for row in read_log(tmp_path / "run") if "loss" in row] == [0, 0]
    assert done["loss"] > 0


@pytest.mark.slow
def test_align_moves_the_connector_alone(data: dict[str, Path], tmp_path: Path) -> None:
    """stage=align leaves every weight outside the connector as it was to the last bit, packs of text alone among them."""
    run(data, tmp_path / "base")
    words = text_rows(tmp_path, 20)
    settings = ("train.stage=align", "data.general_ratio=1", "train.pack_tokens=110")
    run(data, tmp_path / "run", *settings, model=tmp_path / "base", general=[words])
    before, after = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("base", "run"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    connector = {name for name in before if "multi_modal_projector" in name}
    assert changed == connector and connector


def test_over_long_rows_are_dropped_and_listed(data: dict[str, Path], tmp_path: Path) -> None:
    """overlong=drop trains on the rest and names the rows; without it the first one stops the run."""
    words = text_rows(tmp_path, 60)
    with pytest.raises(
        DataError, match=r"words\.jsonl:\d+: \d+ tokens and 0 tiles, more than data.max_tokens=60 \(\d+ such rows\)"
    ):
        run(data, tmp_path / "run", "data.max_tokens=60", data=[words], general=[], dry_run=True)
    done = run(data, tmp_path / "run", "data.max_tokens=60", "data.overlong=drop", data=[words], general=[])
    dropped = next(note for note in done["notes"] if "over-long rows dropped" in note)
    assert "words.jsonl:" in dropped and done["loss"] > 0


def test_a_step_waits_for_its_packs_aloud(data: dict[str, Path], tmp_path: Path) -> None:
    """Each row says how long the step took, and how much of that it waited for packs."""
    run(data, tmp_path / "run")
    rows = [row for row in read_log(tmp_path / "run") if "loss" in row]
    assert all(0 < row["wait_seconds"] < row["seconds"] for row in rows)


def test_a_held_out_loss_that_is_not_finite_is_named(data: dict[str, Path], tmp_path: Path) -> None:
    """Weights that blew up in the last update are seen by the measurement after it; nothing of that step is saved."""
    with pytest.raises(DataError, match=r"step 1: the held-out loss of the domain data is (nan|inf)"):
        run(data, tmp_path / "run", "train.learning_rate=1e30", "train.max_steps=1")
    assert checkpoint.list_checkpoints(tmp_path / "run" / "checkpoints") == []


@pytest.mark.slow
def test_a_run_goes_on_from_another_folder(data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started with relative paths, a run is resumed, and started again from its config.json, from elsewhere."""
    run(data, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    run(data, Path("run"), model="base", data=[Path("field.jsonl")], general=[Path("common.jsonl")], images=".")
    unfinish(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    finetune(output="../run", resume=True)
    again = finetune(config="../run/config.json", output="again", dry_run=True)
    assert again["digest"] == json.loads((tmp_path / "run" / "plan.json").read_text())["digest"]


def test_predicted_memory_follows_the_recipe(data: dict[str, Path], tmp_path: Path) -> None:
    """Checkpointed activations and two-byte computation are predicted to take less; one device waits for none."""

    def predicted(*settings: str) -> int:
        summary = run(data, tmp_path / "run", *settings, dry_run=True)
        assert summary["straggler"] == 0.0
        return summary["memory_bytes"]["activations"] + summary["memory_bytes"]["workspace"]

    plain = predicted("train.precision=float32")
    assert predicted("train.precision=bfloat16") < plain
    assert predicted("train.precision=float32", "train.checkpoint_activations=yes") < plain
