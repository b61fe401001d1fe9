"""adapt evaluate: what is refused before a model is loaded. The answers themselves: tests/evaluate/test_generate.py."""

import json
from pathlib import Path

import pytest

from adapt.errors import DataError, UsageError
from adapt.verbs import evaluate


def write(path: Path, splits: list[str | None]) -> Path:
    """Rows of text alone, one of each split."""
    turns = [{"from": "human", "value": "q?"}, {"from": "gpt", "value": "a"}]
    rows = [{"id": f"r{number}", "conversations": turns, "meta": {"split": split}} for number, split in enumerate(splits)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_split_cannot_leave_the_output_folder(tmp_path: Path) -> None:
    """Scores of several splits lie in folders of their names; one that names another place is refused, nothing is written."""
    data = write(tmp_path / "d.jsonl", ["test", "test/../../evil"])
    with pytest.raises(DataError, match=r"d\.jsonl:2: 'meta\.split'"):
        evaluate(benchmark="vqa", model="nano", data=data, output=tmp_path / "a" / "scores")
    assert list(tmp_path.iterdir()) == [data]


def test_a_wrong_images_folder_is_wrong_usage(tmp_path: Path) -> None:
    """--images that is no folder is said as such, without the advice to give it."""
    data = write(tmp_path / "d.jsonl", ["test"])
    with pytest.raises(UsageError, match=r"^images '.*nowhere': no such folder$"):
        evaluate(benchmark="vqa", model="nano", data=data, output=tmp_path / "s", images=tmp_path / "nowhere")


def test_a_picture_root_that_went_away_is_a_fault_of_the_data(tmp_path: Path) -> None:
    """A manifest whose picture root is not there is answered with the option that gives another."""
    data = write(tmp_path / "d.jsonl", ["test"])
    (tmp_path / "d.manifest.json").write_text(json.dumps({"image_root": "gone"}))
    with pytest.raises(DataError, match=r"d\.jsonl: its picture root .*gone is not a folder; give it with --images"):
        evaluate(benchmark="vqa", model="nano", data=data, output=tmp_path / "s")
