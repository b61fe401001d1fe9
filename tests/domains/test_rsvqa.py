"""RSVQA: the split files are joined by id, and their padding is not read as data."""

import collections
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert


@pytest.mark.parametrize(
    ("folder", "counts"),
    [
        ("RSVQA-LR", {"train": 300, "val": 500, "test": 400}),
        ("RSVQA-HR", {"train": 400, "val": 300, "test": 300, "test_phili": 201}),
    ],
)
def test_the_real_files_give_their_documented_counts(shared: Path, tmp_path: Path, folder: str, counts: dict[str, int]) -> None:
    """Every active question becomes one row of its split, with the picture, the type and the untouched text."""
    root = shared / "data" / "configilm_mock" / folder
    manifest = convert(task="rsvqa", input=root, output=tmp_path / "out.jsonl")
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert manifest["counts"]["splits"] == counts
    assert manifest["counts"]["rejected"] == 0 and len(records) == sum(counts.values())
    assert manifest["pictures"]["distinct"] == 12
    prefix = {"RSVQA-LR": "LR", "RSVQA-HR": "USGS"}[folder]
    for split in counts:  # joined a second way, from the answers' side
        questions = {
            row["id"]: row for row in json.loads((root / f"{prefix}_split_{split}_questions.json").read_text())["questions"]
        }
        answers = json.loads((root / f"{prefix}_split_{split}_answers.json").read_text())["answers"]
        expected = {
            f"{folder.lower()}-{row['question_id']}": (questions[row["question_id"]], row["answer"])
            for row in answers
            if row["active"]
        }
        for record in (each for each in records if each.split == split):
            question, answer = expected.pop(record.id)
            assert record.answer == answer
            assert record.question == f"<image>\n{question['question']}\nAnswer the question using a single word or phrase."
            assert record.meta["type"] == question["type"] and Path(record.images[0]).stem == str(question["img_id"])
        assert not expected
    assert {record.source for record in records} == {folder.lower().replace("-", "_")}


def test_one_split_can_be_asked_for(shared: Path, tmp_path: Path) -> None:
    """--split test of LR is its 400 questions, from the picture folder as input too."""
    root = shared / "data" / "configilm_mock" / "RSVQA-LR"
    for place in (root, root / "Images_LR"):
        assert convert(task="rsvqa", input=place, output=tmp_path / "o.jsonl", split="test")["counts"]["records"] == 400
    with pytest.raises(UsageError, match="it has test, train, val"):
        convert(task="rsvqa", input=root, output=tmp_path / "o.jsonl", split="test_phili")


def test_two_sets_side_by_side_are_not_mixed(shared: Path, tmp_path: Path) -> None:
    """Pointed at the folder above LR and HR, the reader asks which."""
    with pytest.raises(UsageError, match="several sets"):
        convert(task="rsvqa", input=shared / "data" / "configilm_mock", output=tmp_path / "o.jsonl")


def write_set(root: Path, questions: list[Any], answers: list[Any]) -> Path:
    for kind, rows in (("questions", questions), ("answers", answers), ("images", [])):
        (root / f"LR_split_test_{kind}.json").write_text(json.dumps({kind: rows}))
    (root / "Images_LR").mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(root / "Images_LR" / "5.tif")
    return root


def question(number: int, **changes: Any) -> dict[str, Any]:
    row = {"id": number, "img_id": 5, "type": "count", "question": "How many  roads", "answers_ids": [number], "active": True}
    return {name: value for name, value in (row | changes).items() if value is not None}


def answer(number: int, text: Any, **changes: Any) -> dict[str, Any]:
    return {"id": number, "question_id": number, "answer": text, "active": True} | changes


def test_padding_is_ignored_and_faults_are_rejected_by_place(tmp_path: Path) -> None:
    """Inactive rows are counted as ignored; each active question without text, answer or picture is rejected by its id."""
    questions = [
        {"id": 0, "active": False}, question(10), {"id": 1, "active": False}, question(11), question(12),
        question(13, img_id=77),
        question(14, question=None), question(15, answers_ids=[99]), question(16), question(17), {"id": 18, "active": True},
    ]  # fmt: skip
    answers = [
        answer(17, "between 0 and 10"), {"id": 3, "active": False}, answer(10, 1419), answer(11, "x", active=False),
        answer(13, "1"),
        answer(14, "1"), answer(115, "by question", question_id=15), answer(16, " "), {"id": 4}, answer(12, True),
    ]  # fmt: skip
    write_set(tmp_path, questions, answers)
    manifest = convert(task="rsvqa", input=tmp_path, output=tmp_path / "out.jsonl", max_bad=6)
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert [(record.id, record.answer) for record in records] == [
        ("rsvqa-lr-10", "1419"), ("rsvqa-lr-15", "by question"), ("rsvqa-lr-17", "between 0 and 10")
    ]  # fmt: skip
    assert "How many  roads\n" in records[0].question
    assert manifest["counts"]["ignored"] == {"inactive question": 2}
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rejected] == [
        f"LR_split_test_questions.json#{number}" for number in (11, 12, 13, 14, 16, 18)
    ]
    assert manifest["counts"]["read"] == 9


@pytest.mark.parametrize("wrong", [[3], {"a": 1}, True, "10", 1.5])
@pytest.mark.parametrize("field", ["id", "img_id", "answers_ids"])
def test_values_of_another_type_reject_their_row(tmp_path: Path, field: str, wrong: Any) -> None:
    """A list, an object or a truth value where a number belongs rejects one row and stops nothing."""
    questions = [question(10), question(11, **{field: wrong}), question(12)]
    answers = [answer(10, "1"), answer(11, "1", question_id=wrong), answer(12, "1"), answer(wrong, "1", question_id=99)]
    write_set(tmp_path, questions, answers)
    manifest = convert(task="rsvqa", input=tmp_path, output=tmp_path / "out.jsonl", max_bad=1)
    assert (manifest["counts"]["converted"], manifest["counts"]["rejected"]) == (2, 1)
    place = "row 1" if field == "id" else "11"
    assert json.loads((tmp_path / "out.rejected.jsonl").read_text())["where"] == f"LR_split_test_questions.json#{place}"


def test_a_broken_picture_rejects_each_of_its_questions(shared: Path, tmp_path: Path) -> None:
    """A hundred questions of one cut picture are a hundred rejected samples, and the rest converts."""
    root = tmp_path / "lr"
    shutil.copytree(shared / "data" / "configilm_mock" / "RSVQA-LR", root, copy_function=shutil.copyfile)
    (root / "Images_LR").chmod(0o755)
    path = sorted((root / "Images_LR").iterdir())[0]
    path.write_bytes(path.read_bytes()[:5000])
    manifest = convert(task="rsvqa", input=root, output=tmp_path / "out.jsonl", max_bad=1200)
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert not any(Path(record.images[0]).name == path.name for record in records)
    kept = collections.Counter(record.images[0] for record in records)
    assert len(kept) == 11 and manifest["counts"]["rejected"] == 1200 - len(records)


def test_files_that_are_no_rsvqa_are_refused(tmp_path: Path) -> None:
    """A folder without split files, and split files of another shape, name what was expected."""
    with pytest.raises(UsageError, match="no LR_split_"):
        convert(task="rsvqa", input=tmp_path, output=tmp_path / "out.jsonl")
    write_set(tmp_path, [], [])
    (tmp_path / "LR_split_test_answers.json").write_text("[]")
    with pytest.raises(DataError, match="LR_split_test_answers.json: expected an object with a list 'answers'"):
        convert(task="rsvqa", input=tmp_path, output=tmp_path / "out.jsonl")


def test_flat_lists_are_read_too(shared: Path, tmp_path: Path) -> None:
    """Redistributed LR lists: every row is rejected by name for its missing picture, and converts once it is there."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for name in ("val_qa.json", "test_qa.json"):
        (folder / name).symlink_to(shared / "data" / "rsvqa_lr_flat_qa" / name)
    with pytest.raises(DataError, match="20,009 of 20,009 samples rejected"):
        convert(task="rsvqa", input=folder, output=tmp_path / "out.jsonl", workers=0)
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert len(rejected) == 20_009 and all("no such file" in row["reason"] for row in rejected)
    assert rejected[0]["where"] == "val_qa.json#0" and "472.tif" in rejected[0]["reason"]
    for number in (*range(232, 332), *range(472, 572)):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    counts = convert(task="rsvqa", input=folder, output=tmp_path / "out.jsonl", workers=0)["counts"]
    assert (counts["converted"], counts["splits"]) == (20_009, {"val": 10_005, "test": 10_004})


def test_a_row_that_is_no_object_is_rejected_by_its_place(tmp_path: Path) -> None:
    """One number among the questions is one rejection; among the answers it answers nothing."""
    write_set(tmp_path, [question(10), 3, question(12)], ["x", answer(10, "1"), answer(12, "2")])  # type: ignore[list-item]
    manifest = convert(task="rsvqa", input=tmp_path, output=tmp_path / "out.jsonl", max_bad=1)
    assert (manifest["counts"]["converted"], manifest["counts"]["rejected"]) == (2, 1)
    rejected = json.loads((tmp_path / "out.rejected.jsonl").read_text())
    assert rejected["where"] == "LR_split_test_questions.json#row 1" and rejected["reason"] == "'3', expected an object"
