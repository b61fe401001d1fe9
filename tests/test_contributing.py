"""The worked examples of CONTRIBUTING.md and docs/own_field.md, installed as packages that add a field from outside."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from adapt.records import read_records

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH: the example as a module, and the entry point that an installed package would have."""
    folder = tmp_path / "site"
    information = folder / "blades-1.0.dist-info"
    information.mkdir(parents=True)
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    example = re.search(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert example is not None
    (folder / "blades.py").write_text(example[1], encoding="utf-8")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: blades\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[adapt.domains]\nwind = blades:DOMAIN\n")
    return folder


def run(package: Path, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command with the package installed."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    return subprocess.run(
        [sys.executable, "-m", "adapt", *args], capture_output=True, text=True, env=environment, cwd=cwd, check=False
    )


@pytest.mark.slow
def test_the_worked_example_converts_a_dataset(package: Path, tmp_path: Path) -> None:
    """A field from another package is found, its dataset converted, and its bad row rejected with its reason."""
    root = tmp_path / "inspections"
    (root / "p").mkdir(parents=True)
    rows = []
    for number, defect in enumerate(["crack", "erosion", None]):
        Image.new("RGB", (30 + number, 20), (number * 80, 0, 0)).save(root / f"p/{number}.png")
        rows.append(
            {"picture": f"p/{number}.png", "defect": defect, "side": "leading edge", "set": "test" if number else "train"}
        )
    (root / "inspections.json").write_text(json.dumps({"inspections": rows}))
    convert = ["convert", "--task", "blades", "--input", "inspections", "--output", "blades.jsonl"]

    refused = run(package, *convert, cwd=tmp_path)
    assert refused.returncode == 1
    assert "'defect' is empty" in refused.stderr.splitlines()[-1]

    answer = run(package, *convert, "--max-bad", "1", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    first, second = read_records(tmp_path / "blades.jsonl")
    assert (first.id, first.images, first.sizes, first.split) == ("blades-p/0", ("p/0.png",), ((30, 20),), "train")
    assert first.question == (
        "<image>\nWhat is wrong with the leading edge of this blade?\nAnswer the question using a single word or phrase."
    )
    assert (first.answer, second.answer, second.split) == ("crack", "erosion", "test")
    assert "defects of turbine blades" in run(package, "tasks", cwd=tmp_path).stdout


@pytest.fixture(scope="module")
def wind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH into which pip has installed the package of docs/own_field.md, from its two files."""
    folder = tmp_path_factory.mktemp("wind")
    text = (CHECKOUT / "docs" / "own_field.md").read_text(encoding="utf-8")
    files = re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in files] == ["pyproject.toml", "adapt_wind.py"]
    (folder / "adapt-wind").mkdir()
    for name, content in files:
        (folder / "adapt-wind" / name).write_text(content, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    answer = subprocess.run(
        [*pip, "--target", str(folder / "site"), str(folder / "adapt-wind")], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return folder / "site"


def written_lines() -> list[list[str]]:
    """The commands of the page's last block."""
    text = (CHECKOUT / "docs" / "own_field.md").read_text(encoding="utf-8")
    last = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[-1]
    return [shlex.split(line)[1:] for line in last.splitlines()]


@pytest.mark.slow
def test_a_field_from_a_package_converts_and_scores(wind: Path, tmp_path: Path) -> None:
    """Task, prompt, sample and scorer of an installed package work; the score is one that was counted by hand."""
    for line in written_lines():
        if line[0] in ("sample", "convert"):
            answer = run(wind, *line, cwd=tmp_path)
            assert answer.returncode == 0, answer.stderr
    rows, own = read_records(tmp_path / "wind.jsonl"), read_records(tmp_path / "own.jsonl")
    assert len(rows) == 60 and own[0].question == "<image>\nGrade of the leading edge, 0 to 5?"
    tests = [row for row in rows if row.split == "test"]
    assert len(tests) == 12
    # The first right, the second off by one, the third not one grade, the others off by two or more.
    grades = [int(row.answer) for row in tests]
    said = [f"Grade {grades[0]}.", str(grades[1] + 1 if grades[1] < 5 else 4), "0 or 1"]
    said += [str(grade + 2 if grade < 3 else grade - 2) for grade in grades[3:]]
    lines = [json.dumps({"id": row.id, "answer": text}) for row, text in zip(tests, said, strict=True)]
    (tmp_path / "said.jsonl").write_text("\n".join(lines) + "\n")
    command = ["score", "--benchmark", "blades", "--predictions", "said.jsonl", "--references", "wind.jsonl", "--json"]
    found = [json.loads(run(wind, *command, *more, cwd=tmp_path).stdout) for more in ([], ["--option", "tolerance=2"])]
    values = [(each["metrics"]["exact"]["value"], each["metrics"]["near"]["value"]) for each in found]
    assert values == [pytest.approx((1 / 12, 2 / 12)), pytest.approx((1 / 12, 11 / 12))]
    refused = run(wind, *command, "--option", "tolerance=two", cwd=tmp_path)
    assert refused.returncode == 2 and "option tolerance=two of benchmark blades: expected one of 0, 1" in refused.stderr


@pytest.mark.slow
def test_every_command_of_the_page_runs(wind: Path, tmp_path: Path) -> None:
    """The last block of docs/own_field.md, line for line; the plan has the recipe of the package."""
    for line in written_lines():
        answer = run(wind, *line, cwd=tmp_path)
        assert answer.returncode == 0, f"{line}\n{answer.stderr}"
        if line[0] == "tasks":
            assert "how badly turbine blades are damaged" in answer.stdout and "nearly right" in answer.stdout
    recipe = "from adapt.domain import find_domain; print(find_domain('wind').recipe['train.samples_per_step'])"
    environment = {**os.environ, "PYTHONPATH": f"{wind}{os.pathsep}{CHECKOUT}"}
    answer = subprocess.run([sys.executable, "-c", recipe], capture_output=True, text=True, env=environment, check=False)
    assert answer.stdout == "64\n"
