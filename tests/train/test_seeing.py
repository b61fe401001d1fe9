"""What a run shows while it lasts: the terminal, log.jsonl, TensorBoard, Weights & Biases."""

import re
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import losses, run_here

from adapt.train.log import read_log
from adapt.train.speed import measured_peak


@pytest.mark.slow
def test_the_terminal_says_how_fast_and_how_long(
    data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loss by source, samples, tiles and tokens a second, MFU, data wait, memory and time left; the log has the numbers."""
    run_here(data, tmp_path / "run", "train.max_steps=3", "train.tensorboard=yes")
    said = capsys.readouterr().err
    rate = r"[\d,]+"
    line = (
        rf"step 3 of 3  loss \d+\.\d+ \(common \d+\.\d+, field \d+\.\d+\)  {rate} samples/s  {rate} tiles/s  {rate} tokens/s  "
        r"MFU \d+%  data wait \d+%  \d+\.\d GiB  \d+\.\d min left"
    )
    assert re.search(line, said), said
    rows = [row for row in read_log(tmp_path / "run") if "loss" in row]
    assert all(0 < row["mfu"] < 1.5 and row["peak_bytes"] > 2**28 for row in rows)
    assert all(row["tiles"] <= row["samples"] and 0 <= row["wait_seconds"] <= row["seconds"] for row in rows)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [scalar.value for scalar in events.Scalars("loss")] == pytest.approx([row["loss"] for row in rows])
    assert [scalar.step for scalar in events.Scalars("validation/domain_loss")] == [1, 2, 3]


def test_the_peak_is_what_a_matrix_product_reaches() -> None:
    """The throughput that MFU is measured against is a real one: no product is much faster, nor slower by far."""
    peak = measured_peak(torch.device("cpu"), torch.float32)
    square = torch.ones(768, 768)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        square @ square
        times.append(time.perf_counter() - start)
    reached = 2 * 768**3 / min(times)
    assert 0.2 < reached / peak < 5


@pytest.mark.slow
def test_weights_and_biases_by_one_setting(data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """train.wandb=NAME logs to a project of that name, here offline; the run's numbers are those of a run without it."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_here(data, tmp_path / "plain", "train.max_steps=3")
    run_here(data, tmp_path / "run", "train.max_steps=3", "train.wandb=my-project")
    (stored,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = stored.read_bytes()
    assert b"my-project" in content and b"loss/field" in content and b"validation/domain_loss" in content
    assert (tmp_path / "run" / "wandb_id.txt").read_text() in stored.name
    assert losses(tmp_path / "run") == losses(tmp_path / "plain")


@pytest.mark.slow
def test_compiled_layers_compute_the_same(data: dict[str, Path], tmp_path: Path) -> None:
    """train.compile=yes gives the losses of the layers as they stand, to 1e-5."""
    run_here(data, tmp_path / "plain", "train.max_steps=2")
    run_here(data, tmp_path / "compiled", "train.max_steps=2", "train.compile=yes")
    compiled, plain = ([float.fromhex(loss) for loss in losses(tmp_path / name)] for name in ("compiled", "plain"))
    assert compiled == pytest.approx(plain, rel=1e-5)
