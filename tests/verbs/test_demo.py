"""The demo: what it leaves, what it refuses, and that its figures show a gain and what forgetting costs."""

import json
from pathlib import Path

import pytest

from adapt.errors import UsageError
from adapt.report.runs import find_runs
from adapt.verbs import demo

RUNS = ("base", "without_general", "with_general")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices go to the test's own folder."""
    monkeypatch.setenv("ADAPT_CACHE", str(tmp_path / "cache"))


def check_outcome(folder: Path, returned: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The promises on what a demo leaves; returns summary.json."""
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == returned
    assert tuple(summary) == RUNS
    assert all(set(row) == {"domain", "general"} for row in summary.values())
    assert all(0 <= share <= 1 for row in summary.values() for share in row.values())
    assert [run.name for run in find_runs([folder])] == list(RUNS)
    page = (folder / "report.html").read_text()
    assert "What was gained, what was kept" in page and "data:image/jpeg" in page
    assert all((folder / name / "report.html").is_file() for name in RUNS)
    return summary


@pytest.mark.slow
def test_a_tiny_cut_of_the_demo_leaves_all_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three runs, their pages, the page over all and summary.json; every stage is announced; a second call is refused."""
    folder = tmp_path / "demo"
    check_outcome(folder, demo(output=folder, scale=0.02))
    said = capsys.readouterr()
    assert said.out == ""
    assert all(f"[{number}/9]" in said.err for number in range(1, 10))
    with pytest.raises(UsageError, match="not empty"):
        demo(output=folder)


@pytest.mark.parametrize("scale", [pytest.param(0.5, marks=pytest.mark.slow), pytest.param(1.0, marks=pytest.mark.stress)])
def test_the_demo_shows_gain_and_forgetting(tmp_path: Path, scale: float) -> None:
    """Tuning gains at least 20 points on the field; without general data the general share falls below the mixed run's.

    Half of its pictures and steps show it too, in half the time.
    """
    summary = check_outcome(tmp_path / "demo", demo(output=tmp_path / "demo", scale=scale))
    for name in ("without_general", "with_general"):
        assert summary[name]["domain"] >= summary["base"]["domain"] + 0.20
    assert summary["without_general"]["general"] < summary["with_general"]["general"]


@pytest.mark.parametrize("name", ["generic", "general", "remote_sensin"])
def test_a_field_without_a_demo_is_wrong_usage(tmp_path: Path, name: str) -> None:
    """Exit 2 names a field that has one, before anything is written."""
    with pytest.raises(UsageError, match="remote_sensing|another --domain"):
        demo(output=tmp_path / "demo", domain=name)
    assert not (tmp_path / "demo").exists()
