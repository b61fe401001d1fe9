"""adapt evaluate: what is refused before a model is loaded. The answers themselves: tests/evaluate/test_generate.py."""

import json
from pathlib import Path

import pytest

from adapt.errors import DataError
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
