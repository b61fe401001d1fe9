"""easy-VQA: 48,248 questions in the order of their files."""

import json
from pathlib import Path

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert


@pytest.mark.slow
def test_the_whole_set_is_converted(shared: Path, tmp_path: Path) -> None:
    """38,575 + 9,673 questions, in the order of the files, word for word, each with its picture."""
    root = shared / "data" / "easy_vqa" / "data"
    manifest = convert(task="easyvqa", input=root.parent, output=tmp_path / "out.jsonl")
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert manifest["counts"]["splits"] == {"train": 38575, "test": 9673}
    assert manifest["pictures"]["distinct"] == 5000
    rows = [(split, *row) for split in ("train", "test") for row in json.loads((root / split / "questions.json").read_text())]
    for record, (split, question, answer, picture) in zip(records, rows, strict=True):
        assert record.question == f"<image>\n{question}"
        assert (record.answer, record.images, record.split) == (answer, (f"{split}/images/{picture}.png",), split)
    assert records[17].id == "easyvqa-train-17" and records[38575].id == "easyvqa-test-0"
    assert len({record.answer for record in records}) == 13


def test_rows_of_another_shape_are_rejected_by_their_number(tmp_path: Path) -> None:
    """A row that is not [question, answer, number] names its place; a missing picture too."""
    (tmp_path / "train" / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "images" / "0.png")
    rows = [["q?", "a", 0], ["q?", "a"], ["q?", 1, 0], ["q?", "a", True], ["q?", "a", 9], [" ", "a", 0], "x"]
    (tmp_path / "train" / "questions.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="6 of 7 samples rejected"):
        convert(task="easyvqa", input=tmp_path, output=tmp_path / "out.jsonl")
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rejected] == [f"train/questions.json#{number}" for number in range(1, 7)]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    """A folder without questions is a wrong call."""
    with pytest.raises(UsageError, match="questions.json"):
        convert(task="easyvqa", input=tmp_path, output=tmp_path / "out.jsonl")
