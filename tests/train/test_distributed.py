"""Several processes train as one: the same samples and losses as a single one, checkpoints that any number goes on from."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import FIXED, finish, run_here, start_run, wait_for_step

from adapt.records import ChatRecord, Turn, write_records
from adapt.train import checkpoint
from adapt.train.log import read_log

STEPS = ("train.max_steps=20", "train.save_every=5", "train.keep=9", "train.validate_every=10", "train.pack_tokens=200")


def start_two(
    data: dict[str, Path], output: Path, *settings: str, resume: bool = False, model: str = "nano"
) -> subprocess.Popen[str]:
    """Start the tiny run as two processes under torchrun."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "adapt",
        "finetune",
    ]
    command += ["--model", model, "--data", str(data["field"]), "--general", str(data["common"]), "--output", str(output)]
    for setting in (*FIXED, *settings):
        command += ["--set", setting]
    command += ["--resume"] if resume else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def finish_two(process: subprocess.Popen[str]) -> str:
    """Wait for it; fails the test where it failed."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def cut_to(run: Path, step: int) -> None:
    """The run as it was when its checkpoint of ``step`` had just been written."""
    shutil.rmtree(run / "model")
    for path in checkpoint.list_checkpoints(run / "checkpoints"):
        if checkpoint.step_of(path) > step:
            shutil.rmtree(path)


def assert_same_losses(run: Path, other: Path) -> None:
    """Every step's loss, also by source and held out, to 1e-5."""
    one, two = read_log(run), read_log(other)
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for row, expected in zip(one, two, strict=True):
        for name, value in expected.items():
            if "loss" in name:
                assert row[name] == pytest.approx(value, rel=1e-5), (row["step"], name)
        assert row.get("samples") == expected.get("samples")


@pytest.mark.slow
def test_two_processes_are_one_run(data: dict[str, Path], tmp_path: Path) -> None:
    """Two processes see the samples of one: losses within 1e-5 over 20 steps, drop-path on; checkpoints pass both ways.

    One process goes on from the checkpoint of two at step 10, and two from that of one.
    """
    run_here(data, tmp_path / "one", *STEPS)
    said = finish_two(start_two(data, tmp_path / "two", *STEPS))
    assert "on 2 processes (cpu)" in said and said.count("the tuned model is") == 1
    assert_same_losses(tmp_path / "two", tmp_path / "one")
    for step in (5, 20):
        ours, theirs = (checkpoint.checkpoint_path(tmp_path / name / "checkpoints", step) for name in ("two", "one"))
        shapes = [
            {name: tensor.shape for name, tensor in load_file(path / file).items()}
            for path in (ours, theirs)
            for file in ("model.safetensors", "optimizer.safetensors")
        ]
        assert shapes[:2] == shapes[2:], "whole tensors, the same from any number of processes"
    shutil.copytree(tmp_path / "two", tmp_path / "two then one")
    cut_to(tmp_path / "two then one", 10)
    run_here(data, tmp_path / "two then one", *STEPS, resume=True)
    assert_same_losses(tmp_path / "two then one", tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "one then two")
    cut_to(tmp_path / "one then two", 10)
    said = finish_two(start_two(data, tmp_path / "one then two", *STEPS, resume=True))
    assert "devices was 1, is 2" in said
    assert_same_losses(tmp_path / "one then two", tmp_path / "one")


@pytest.mark.slow
def test_what_one_process_finds_stops_both(data: dict[str, Path], tmp_path: Path) -> None:
    """SIGTERM to torchrun is a clean stop of both after the same step; a picture that changed later stops both, said once."""
    process = start_two(data, tmp_path / "run", "train.max_steps=400", "train.save_every=2")
    wait_for_step(tmp_path / "run", 4)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    newest = checkpoint.newest_valid(tmp_path / "run" / "checkpoints")
    assert newest is not None
    rows = [row for row in read_log(tmp_path / "run") if "loss" in row]
    assert checkpoint.step_of(newest) == rows[-1]["step"], "saved at the step it stopped at"
    picture = sorted(data["field"].with_suffix("").glob("*.png"))[0]
    before = picture.stat()
    content = bytearray(picture.read_bytes())
    content[-1] ^= 1
    picture.write_bytes(content)
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    process = start_two(data, tmp_path / "run", "train.max_steps=400", "train.save_every=2", resume=True)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0
    assert said.count("the picture changed since the run was planned") == 1, said
    after = [row["step"] for row in read_log(tmp_path / "run") if "loss" in row]
    assert after == list(range(1, len(after) + 1)) and len(after) < 400, "the run ended before the step that wanted it"


@pytest.mark.slow
def test_parts_text_and_recomputation_on_two(data: dict[str, Path], tmp_path: Path) -> None:
    """Two processes with adapters, activations computed again and rows without pictures end as one does, to 1e-5.

    A held-out picture that changed is one process's find and stops both, said once.
    """
    texts = [
        ChatRecord(f"t{n}", (Turn("human", f"Count to {n}."), Turn("gpt", " ".join(["one"] * n))), source="words")
        for n in range(1, 9)
    ]
    write_records(tmp_path / "words.jsonl", texts)
    both = data | {"common": tmp_path / "words.jsonl"}
    run_here(both, tmp_path / "base", "train.max_steps=2")
    settings = (
        "train.max_steps=4", "train.stage=lora", "train.checkpoint_activations=yes", "data.general_ratio=2",
        "train.samples_per_step=3", "train.max_branches=1",
    )  # fmt: skip
    model = tmp_path / "base" / "model"
    for name, start in (("one", finish), ("two", finish_two)):
        launcher = start_run if name == "one" else start_two
        start(launcher(both, tmp_path / name, *settings, model=str(model)))
    assert_same_losses(tmp_path / "two", tmp_path / "one")
    ours, theirs = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("two", "one"))
    assert ours.keys() == theirs.keys()
    # AdamW makes steps of one size of gradients near zero too, whose sign is rounding: so as a whole, and not value by value
    difference, size = (
        torch.cat([(change(name)).flatten() for name in sorted(theirs)]).norm()
        for change in (lambda name: ours[name] - theirs[name], lambda name: theirs[name])
    )
    assert float(difference) < 1e-3 * float(size)
    picture = tmp_path / "field" / "7.png"  # of the val split
    before = picture.stat()
    picture.write_bytes(picture.read_bytes()[:-1] + b"!")
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    _, said = start_two(both, tmp_path / "three", *settings, model=str(model)).communicate(timeout=300)
    assert said.count("the picture changed since the run was planned") == 1 and "unexpected" not in said, said
