"""PMC-VQA: two versions of its columns, choices as they are stored, and letters that point at the right one."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.domain import Answered
from adapt.errors import DataError, UsageError
from adapt.evaluate.classes import score_classes
from adapt.verbs import convert

CHOICES = {"Choice A": " A:Fever ", "Choice B": "  B: A. baumannii", "Choice C": "C :T1, weighted", "Choice D": "D:  1:2"}
FIRST = {"Figure_path": "PMC1.jpg", "Question": "What is\nshown? ", "Answer": "A. baumannii", **CHOICES, "Answer_label": "B"}
SECOND = {
    "index": "0", "Figure_path": "PMC1.jpg", "Caption": "A, figure.", "Question": "What is shown?", **CHOICES, "Answer": "D",
    "split": "train",
}  # fmt: skip


def write_table(path: Path, rows: list[dict[str, Any]], *, pictures: str = "images") -> Path:
    (path.parent / pictures).mkdir(exist_ok=True)
    Image.new("RGB", (6, 5)).save(path.parent / pictures / "PMC1.jpg")
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_version_one_is_read_as_it_is_stored(tmp_path: Path) -> None:
    """Prefixes and blanks go, letters inside a choice stay; the record is written out by hand."""
    write_table(tmp_path / "train.csv", [FIRST])
    write_table(tmp_path / "test_clean.csv", [FIRST | {"Answer_label": " C", "Answer": " T1, weighted"}])
    manifest = convert(task="pmcvqa", input=tmp_path, output=tmp_path / "o.jsonl")
    assert manifest["counts"]["splits"] == {"train": 1, "test_clean": 1} and manifest["facts"] == {"version": "1"}
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    listed = "A. Fever\nB. A. baumannii\nC. T1, weighted\nD. 1:2"
    asked = "Answer with the option's letter from the given choices directly."
    assert rows[0] == {
        "id": "pmcvqa-train-1", "image": "images/PMC1.jpg", "width": 6, "height": 5,
        "conversations": [
            {"from": "human", "value": f"<image>\nWhat is\nshown?\n{listed}\n{asked}"}, {"from": "gpt", "value": "B"}
        ],
        "task": "pmcvqa", "source": "pmcvqa",
        "meta": {"split": "train", "answer_type": "closed", "question_type": "choice", "label": "A. baumannii",
                 "candidates": ["Fever", "A. baumannii", "T1, weighted", "1:2"]},
    }  # fmt: skip
    assert rows[1]["conversations"][1]["value"] == "C" and rows[1]["meta"]["label"] == "T1, weighted"


def test_version_two_and_the_misspelt_column(tmp_path: Path) -> None:
    """Answer is the letter, and so is Anwser; the split column is believed; pictures may lie in figures/."""
    write_table(tmp_path / "train_2.csv", [SECOND, SECOND | {"split": "test"}], pictures="figures")
    misspelt = {("Anwser" if name == "Answer" else name): value for name, value in SECOND.items() if name != "split"}
    write_table(tmp_path / "test_2.csv", [misspelt], pictures="figures")
    manifest = convert(task="pmcvqa", input=tmp_path, output=tmp_path / "o.jsonl", option=["suffix="])
    records = adapt.read_records(tmp_path / "o.jsonl")
    assert manifest["facts"] == {"version": "2"} and [record.split for record in records] == ["train", "test", "test"]
    assert {record.answer for record in records} == {"D"} and records[0].images == ("figures/PMC1.jpg",)
    assert records[0].question.endswith("\nD. 1:2")


def test_letters_are_scored_as_the_right_choice(tmp_path: Path) -> None:
    """The classification scorer reads the letter, and the choice's own text, as the label."""
    write_table(tmp_path / "test.csv", [FIRST])
    convert(task="pmcvqa", input=tmp_path / "test.csv", output=tmp_path / "o.jsonl")
    (record,) = adapt.read_records(tmp_path / "o.jsonl")
    for answer, mark in (("B", 1.0), ("B. A. baumannii", 1.0), ("a. baumannii", 1.0), ("A", 0.0), ("Fever", 0.0)):
        assert score_classes([Answered(record, answer)], {}).metrics["accuracy"].value == mark


def test_rows_that_contradict_or_lack_something_are_rejected(tmp_path: Path) -> None:
    """Each fault is one rejected row named by its line; a label is found by its text where the letter is missing."""
    bad = [
        FIRST | {"Answer_label": "A"}, FIRST | {"Answer_label": "E"}, FIRST | {"Answer_label": "", "Answer": "nothing"},
        FIRST | {"Answer_label": "A", "Answer": FIRST["Answer"].upper()},
        FIRST | {"Choice C": " C: "}, FIRST | {"Question": ""}, FIRST | {"Figure_path": ""},
        FIRST | {"Figure_path": "../PMC1.jpg"},
        FIRST | {"Figure_path": "gone.jpg"}, FIRST | {"Answer_label": "", "Answer": "Fever", "Choice B": "Fever"},
    ]  # fmt: skip
    write_table(tmp_path / "test.csv", [FIRST, *bad, FIRST | {"Answer_label": ""}, FIRST | {"Answer": "another spelling"}])
    manifest = convert(task="pmcvqa", input=tmp_path, output=tmp_path / "o.jsonl", max_bad=len(bad))
    assert [record.answer for record in adapt.read_records(tmp_path / "o.jsonl")] == ["B", "B", "B"]
    rejected = [json.loads(line) for line in (tmp_path / "o.rejected.jsonl").read_text().splitlines()]
    assert manifest["counts"]["rejected"] == len(rejected) == len(bad)
    assert rejected[0] == {"where": "test.csv:4", "reason": "Answer_label is A, but the answer 'A. baumannii' is choice B"}
    with pytest.raises(DataError, match="10 of 13"):
        convert(task="pmcvqa", input=tmp_path, output=tmp_path / "o.jsonl")


def test_two_versions_are_not_mixed(tmp_path: Path) -> None:
    """A folder with both asks which; an option answers; what is no PMC-VQA is wrong usage."""
    write_table(tmp_path / "train.csv", [FIRST])
    write_table(tmp_path / "train_2.csv", [SECOND])
    with pytest.raises(UsageError, match="version=1 or version=2"):
        convert(task="pmcvqa", input=tmp_path, output=tmp_path / "o.jsonl")
    for version, answer in (("1", "B"), ("2", "D")):
        convert(task="pmcvqa", input=tmp_path, output=tmp_path / "o.jsonl", option=[f"version={version}"])
        assert adapt.read_records(tmp_path / "o.jsonl")[0].answer == answer
    with pytest.raises(UsageError, match="holds no train.csv"):
        convert(task="pmcvqa", input=tmp_path / "images", output=tmp_path / "o.jsonl")
    (tmp_path / "test.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="no column 'Figure_path'"):
        convert(task="pmcvqa", input=tmp_path / "test.csv", output=tmp_path / "o.jsonl")
