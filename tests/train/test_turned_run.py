"""A run on turned pictures: its boxes move with them, and nothing but the plan decides how."""

import json
from pathlib import Path

import pytest
from tiny_runs import run_here

from adapt import safe
from adapt.boxes import format_boxes
from adapt.records import ChatRecord, Turn, read_records, write_records
from adapt.train.log import read_log

SETTINGS = ("data.augment=overhead", "train.max_steps=6", "train.save_every=3", "train.validate_every=6")


def with_boxes(path: Path) -> None:
    """Ask of every picture of the file where its square is, too."""
    records = read_records(path)
    pictures = {record.images[0]: record for record in records}
    asked = [
        ChatRecord(
            f"where-{record.id}",
            (Turn("human", "<image>\nWhere is it?"), Turn("gpt", format_boxes("it", [(16, 8, 48, 40)], (64, 64)))),
            record.images,
            record.sizes,
            source=record.source,
            meta=record.meta,
        )
        for record in pictures.values()
    ]
    write_records(path, [*records, *asked])


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_log(run) if "loss" in row]


@pytest.mark.slow
def test_workers_and_a_resume_turn_alike(data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose boxes move has the same losses to the last bit with and without workers, and resumed from a checkpoint."""
    with_boxes(data["field"])
    run_here(data, tmp_path / "run", *SETTINGS, "data.workers=0")
    plan = safe.read_json(tmp_path / "run" / "plan.json")
    (said,) = (note for note in plan["notes"] if note.startswith("data.augment=overhead turns "))
    assert int(said.split()[2]) > plan["trees"] / 2
    run_here(data, tmp_path / "workers", *SETTINGS, "data.workers=1")
    assert losses(tmp_path / "run") == losses(tmp_path / "workers") and len(losses(tmp_path / "run")) == 6
    cut = tmp_path / "run"
    last = sorted((cut / "checkpoints").iterdir())[-1]
    for part in (last, cut / "model"):
        (part / ("manifest.json" if part == last else "config.json")).unlink()
    before = losses(cut)
    run_here(data, cut, *SETTINGS, "data.workers=0", resume=True)
    assert f"resuming from {cut / 'checkpoints' / 'step-000003'}" in capsys.readouterr().err
    assert losses(cut) == before
    assert json.loads((cut / "plan.json").read_text())["digest"] == plan["digest"]
