"""The worked example of CONTRIBUTING.md, installed as a package that adds a field from outside."""

import json
import os
import re
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
