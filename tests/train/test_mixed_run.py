"""Weights, epochs and caps of sources, from --set to what a run leaves."""

import json
from pathlib import Path

import pytest
from tiny_runs import run_here, write_data

from adapt import safe
from adapt.errors import UsageError
from adapt.verbs import finetune


def dry_run(data: dict[str, Path], *settings: str) -> dict[str, object]:
    return finetune(
        model="nano",
        data=[data["field"], data["other"]],
        general=[data["common"]],
        output="unused",
        dry_run=True,
        set=("train.samples_per_step=6", "data.general_ratio=0.5", *settings),
    )


def test_the_plan_says_what_it_takes_of_each_source(
    data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows, samples, share and epochs of each source are in the plan's summary, and one line says them."""
    data["other"] = write_data(tmp_path, "other", 8, 500)
    plain = dry_run(data)["sources"]
    assert [each["epochs"] for each in plain["domain"].values()] == [1.0, 1.0]
    made = dry_run(data, "data.epochs=other=3", "data.caps=field=20")["sources"]
    assert made["domain"] == {
        "field": {"rows": 20, "samples": 20, "share": 0.2410, "epochs": 1.0},
        "other": {"rows": 21, "samples": 63, "share": 0.7590, "epochs": 3.0},
    }
    said = capsys.readouterr().err
    assert "domain: 20 of 63 training rows of 'field' drawn" in said
    assert "sources: domain: field 24.1% (1.00 epochs), other 75.9% (3.00 epochs); general: common 100.0%" in said
    with pytest.raises(UsageError, match="'fild': did you mean 'field'"):
        dry_run(data, "data.weights=fild=3,other=1")


@pytest.mark.slow
def test_the_settings_are_part_of_the_run(data: dict[str, Path], tmp_path: Path) -> None:
    """config.json keeps the texts, and the same run started from it has the same plan."""
    run_here(data, tmp_path / "run", "train.max_steps=2", "data.caps=field=30, common=9")
    kept = safe.read_json(tmp_path / "run" / "config.json")
    assert kept["recipe"]["data.caps"] == "field=30, common=9"
    again = finetune(config=tmp_path / "run" / "config.json", output=tmp_path / "again", dry_run=True)
    assert again["digest"] == json.loads((tmp_path / "run" / "plan.json").read_text())["digest"]
    assert again["sources"]["general"]["common"]["rows"] == 9
