"""COCO-QA: four parallel text files a split."""

import json
from pathlib import Path

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert

FILES = ("questions", "answers", "img_ids", "types")


def test_the_reference_rows_are_all_there(shared: Path, tmp_path: Path) -> None:
    """20 questions of the reference data, line for line the files' own, each with its picture, from either folder."""
    root = shared / "data" / "configilm_mock" / "COCO-QA"
    manifest = convert(task="cocoqa", input=root, output=tmp_path / "out.jsonl")
    assert manifest["counts"]["splits"] == {"train": 10, "test": 10} and manifest["pictures"]["distinct"] == 20
    records = adapt.read_records(tmp_path / "out.jsonl")
    base = root / "cocoqa-2015-05-17"
    for place, record in enumerate(records):
        split, line = ("train", place) if place < 10 else ("test", place - 10)
        question, answer, picture, _ = ((base / split / f"{name}.txt").read_text().splitlines()[line] for name in FILES)
        assert record.question == f"<image>\n{question}\nAnswer the question using a single word or phrase."
        assert (record.answer, record.split) == (answer, split)
        assert record.images[0].endswith(f"_{int(picture):012}.jpg")
    colours = [record for record in records if record.meta["question_type"] == "color"]
    assert {record.answer for record in colours} == {"brown", "purple", "black", "red", "green"}
    convert(task="cocoqa", input=base, output=tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def write(root: Path, rows: list[tuple[str, str, str, str]], split: str = "train") -> None:
    folder = root / "cocoqa-2015-05-17" / split
    folder.mkdir(parents=True)
    for name, column in zip(FILES, zip(*rows, strict=True), strict=True):
        (folder / f"{name}.txt").write_bytes(b"".join(cell.encode("latin-1") + b"\n" for cell in column))


def test_a_bad_line_rejects_its_row_alone(tmp_path: Path) -> None:
    """Empty cells, numbers that are none, unknown types, bytes that are no UTF-8 and missing pictures name their line."""
    (tmp_path / "images" / "train2014").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "train2014" / "COCO_train2014_000000000007.jpg")
    good = ("what is it", "ball", "7", "0")
    rows = [
        good,
        ("", "a", "7", "0"),
        ("q", " ", "7", "0"),
        ("q", "a", "../7", "0"),
        ("q", "a", "7", "4"),
        ("q\xff", "a", "7", "1"),
    ]
    write(tmp_path, [*rows, ("q", "a", "8", "1"), ("q", "a", "9" * 5000, "1"), good])
    with pytest.raises(DataError, match="7 of 9 samples rejected"):
        convert(task="cocoqa", input=tmp_path, output=tmp_path / "out.jsonl")
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rejected] == [f"train/questions.txt:{number}" for number in range(2, 9)]
    convert(task="cocoqa", input=tmp_path, output=tmp_path / "out.jsonl", max_bad=7, option=["suffix="])
    assert [record.question for record in adapt.read_records(tmp_path / "out.jsonl")] == ["<image>\nwhat is it"] * 2


def test_files_that_do_not_match_are_refused(tmp_path: Path) -> None:
    """A missing line shifts all rows after it: no answer may be given to another question. Another folder is a wrong call."""
    write(tmp_path, [("q", "a", "7", "0"), ("q", "b", "8", "0")])
    (tmp_path / "cocoqa-2015-05-17" / "train" / "answers.txt").write_text("a\n")
    with pytest.raises(DataError, match="answers.txt 1"):
        convert(task="cocoqa", input=tmp_path, output=tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match="questions.txt"):
        convert(task="cocoqa", input=tmp_path / "cocoqa-2015-05-17" / "train", output=tmp_path / "out.jsonl")
