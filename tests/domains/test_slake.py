"""SLAKE: two languages, three splits, boxes beside the pictures, and a copy without pictures."""

import collections
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.boxes import read_boxes, to_pixels
from adapt.errors import DataError, UsageError
from adapt.verbs import convert

FILES = ("train", "validate", "test")


@pytest.fixture(scope="module")
def with_pictures(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """The real annotations with made pictures beside them, one file under many names."""
    folder = tmp_path_factory.mktemp("slake") / "Slake1.0"
    shutil.copytree(shared / "data" / "slake_json" / "Slake1.0", folder)
    rows = {name: json.loads((folder / f"{name}.json").read_text()) for name in FILES}
    Image.new("RGB", (12, 10)).save(folder / "made.jpg")
    for name in {row["img_name"] for found in rows.values() for row in found}:
        (folder / "imgs" / name).parent.mkdir(parents=True)
        os.link(folder / "made.jpg", folder / "imgs" / name)
    return folder, rows


def test_without_pictures_every_question_is_rejected_by_name(shared: Path, tmp_path: Path) -> None:
    """14,028 rows, each rejected for its own missing picture; no JSONL is left."""
    with pytest.raises(DataError, match="14,028 of 14,028 samples rejected"):
        convert(task="slake", input=shared / "data" / "slake_json" / "Slake1.0", output=tmp_path / "out.jsonl")
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    missing = [row for row in rejected if row["reason"].startswith("picture imgs/xmlab") and "no such file" in row["reason"]]
    assert len(rejected) == 14_028 and len(missing) == 14_028
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
def test_with_pictures_the_whole_set_converts(
    with_pictures: tuple[Path, dict[str, list[dict[str, Any]]]], tmp_path: Path
) -> None:
    """All 14,028 rows are read; the one without an answer is rejected by its place, every other is a record as written."""
    folder, rows = with_pictures
    manifest = convert(task="slake", input=folder.parent, output=tmp_path / "out.jsonl", max_bad=1)
    counts = manifest["counts"]
    assert (counts["read"], counts["converted"], counts["rejected"]) == (14_028, 14_027, 1)
    assert counts["splits"] == {"train": 9834, "val": 2099, "test": 2094}
    assert counts["ignored"] == {"list that repeats test.json": 2}
    rejected = json.loads((tmp_path / "out.rejected.jsonl").read_text())
    assert rejected == {"where": "train.json#1622", "reason": "'answer' is '', expected text"}
    by_id = {f"slake-{row['qid']}": row for found in rows.values() for row in found}
    for record in adapt.read_records(tmp_path / "out.jsonl"):
        row = by_id[record.id]
        asked = {"en": "Answer the question using a single word or phrase.", "zh": "请用一个词或短语回答问题。"}[row["q_lang"]]
        assert record.question == f"<image>\n{row['question'].strip()}\n{asked}" and record.answer == row["answer"].strip()
        assert record.meta["answer_type"].upper() == row["answer_type"]
        assert record.meta["question_type"] == row["content_type"] and record.images == (f"imgs/{row['img_name']}",)


@pytest.mark.slow
@pytest.mark.parametrize(("language", "count", "open_count"), [("en", 1061, 645), ("zh", 1033, None)])
def test_a_language_can_be_chosen(
    with_pictures: tuple[Path, dict[str, list[dict[str, Any]]]],
    tmp_path: Path,
    language: str,
    count: int,
    open_count: int | None,
) -> None:
    """The English test is 1,061 questions, 645 open; what is left out is counted; the picture folder may be given."""
    option = [f"language={language}"]
    folder = with_pictures[0]
    manifest = convert(
        task="slake", input=folder, images=folder / "imgs", output=tmp_path / "o.jsonl", split="test", option=option
    )
    assert manifest["counts"]["records"] == count and manifest["counts"]["rejected"] == 0
    other = {"en": "zh", "zh": "en"}[language]
    assert manifest["counts"]["ignored"][f"question in another language ({other})"] > 2000
    types = collections.Counter(record.meta["answer_type"] for record in adapt.read_records(tmp_path / "o.jsonl"))
    assert open_count in (None, types["open"])


def question(number: int, **changes: Any) -> dict[str, Any]:
    values = {
        "img_id": 1, "img_name": "xmlab1/source.jpg", "question": "Which organ?", "answer": "Liver", "q_lang": "en",
        "location": "Abdomen", "modality": "CT", "answer_type": "OPEN", "base_type": "vqa", "triple": ["vhead", "_", "_"],
        "qid": number, "content_type": "Organ",
    }  # fmt: skip
    return values | changes


def write_set(folder: Path, rows: list[Any], marks: Any = None) -> Path:
    place = folder / "Slake1.0" / "imgs" / "xmlab1"
    place.mkdir(parents=True)
    Image.new("RGB", (200, 100)).save(place / "source.jpg")
    Image.new("L", (200, 100)).save(place / "mask.png")
    if marks is not None:
        (place / "detection.json").write_text(marks if isinstance(marks, str) else json.dumps(marks))
    (folder / "Slake1.0" / "test.json").write_text(json.dumps(rows))
    return folder


def test_marked_organs_are_asked_for_with_their_boxes(tmp_path: Path) -> None:
    """x, y, width, height become corners; boxes of one name share one record; text and pixels agree to half a step."""
    marks = [{"Liver": [20.0, 10.0, 50.0, 40.0]}, {"Left Kidney": [120, 60, 30, 40.5]}, {"Liver": [0, 0, 200, 100]}]
    folder = write_set(tmp_path, [question(1), question(2, q_lang="zh")], marks)
    option = ["kinds=detect", "language=all"]
    manifest = convert(task="slake", input=folder, output=tmp_path / "o.jsonl", option=option)
    records = {record.id: record for record in adapt.read_records(tmp_path / "o.jsonl")}
    assert manifest["counts"]["read"] == 4 and manifest["counts"]["rejected"] == 0
    liver, kidney = records["slake-detect-xmlab1-Liver-en"], records["slake-detect-xmlab1-Left Kidney-zh"]
    assert liver.question == "<image>\nDetect <ref>Liver</ref>"
    assert liver.answer == "<ref>Liver</ref><box>[[100, 100, 350, 500], [0, 0, 1000, 1000]]</box>"
    assert liver.meta["boxes_px"] == [[20.0, 10.0, 70.0, 50.0], [0.0, 0.0, 200.0, 100.0]]
    assert liver.meta["mask"] == "imgs/xmlab1/mask.png" and liver.split == "test"
    assert kidney.question == "<image>\n请检测图中的<ref>Left Kidney</ref>"
    ((_, (box,)),) = read_boxes(kidney.answer)
    assert kidney.meta["boxes_px"] == [[120.0, 60.0, 150.0, 100.0]]  # half a pixel beyond the edge is cut
    assert all(abs(a - b) <= 0.1 for a, b in zip(to_pixels(box, (200, 100)), (120, 60, 150, 100), strict=True))
    both = convert(task="slake", input=folder, output=tmp_path / "o.jsonl", option=["kinds=vqa,detect", "language=en"])
    assert both["counts"]["records"] == 3


def test_bad_marks_are_rejected_one_by_one(tmp_path: Path) -> None:
    """A mark that is no box, one without an area and one outside the picture go; the good one beside them stays."""
    marks = [
        {"a": [1, 2, 3]}, {"b": [1, 2, 0, 4]}, {"c": [150, 2, 80, 4]}, {"d": "x"}, {"e": [1, 2, True, 4]}, {"": [1, 2, 3, 4]},
        {"</ref>": [1, 2, 3, 4]}, {"Lung": [1, 2, 3, 4]}, {"f": [1, 2, 10**400, 4]},
    ]  # fmt: skip
    folder = write_set(tmp_path, [question(1)], marks)
    option = ["kinds=detect", "language=en"]
    manifest = convert(task="slake", input=folder, output=tmp_path / "o.jsonl", option=option, max_bad=8)
    assert (manifest["counts"]["converted"], manifest["counts"]["rejected"]) == (1, 8)
    rejected = [json.loads(line) for line in (tmp_path / "o.rejected.jsonl").read_text().splitlines()]
    assert rejected[2]["where"] == "imgs/xmlab1/detection.json#c" and "outside the picture of 200x100" in rejected[2]["reason"]


@pytest.mark.parametrize("marks", ["{", "[" * 100_000, '{"Liver": [1, 2, 3, 4]}', "[3]", '[{"a": [NaN, 1, 1, 1]}]', "\xff"])
def test_a_file_of_marks_that_cannot_be_read_rejects_its_picture(tmp_path: Path, marks: str) -> None:
    """Whatever is wrong with one detection.json is said with its place, and the questions of the picture stay."""
    folder = write_set(tmp_path, [question(1)], marks)
    manifest = convert(task="slake", input=folder, output=tmp_path / "o.jsonl", option=["kinds=vqa,detect"], max_bad=1)
    assert (manifest["counts"]["converted"], manifest["counts"]["rejected"]) == (1, 1)
    assert json.loads((tmp_path / "o.rejected.jsonl").read_text())["where"] == "imgs/xmlab1/detection.json"


def test_pictures_without_marks_are_counted(tmp_path: Path) -> None:
    """No detection.json means that nobody marked the picture: counted, not rejected."""
    manifest = convert(
        task="slake", input=write_set(tmp_path, [question(1)]), output=tmp_path / "o.jsonl", option=["kinds=vqa,detect"]
    )
    assert manifest["counts"]["ignored"] == {"picture with nothing marked": 1}


def test_bad_rows_and_calls_are_refused(tmp_path: Path) -> None:
    """A row of another language, type or path is rejected alone; a wrong folder or kind is wrong usage."""
    bad = [question(2, q_lang="de"), [1], question(4, img_name="../x.jpg"), question(5, answer_type=None), question("six")]
    folder = write_set(tmp_path, [question(1), *bad, question(7, content_type=3.5)])
    manifest = convert(task="slake", input=folder, output=tmp_path / "o.jsonl", max_bad=6)
    assert (manifest["counts"]["converted"], manifest["counts"]["rejected"]) == (1, 6)
    with pytest.raises(UsageError, match="Slake1.0"):
        convert(task="slake", input=tmp_path / "Slake1.0" / "imgs", output=tmp_path / "o.jsonl")
    with pytest.raises(UsageError, match="kinds=masks: expected vqa or detect"):
        convert(task="slake", input=folder, output=tmp_path / "o.jsonl", option=["kinds=masks"])


def test_the_file_of_the_val_split_has_two_names(tmp_path: Path) -> None:
    """The Hub's copy calls it validation.json; beside validate.json it is refused, and another file of questions is told."""
    folder = write_set(tmp_path, [question(1)]) / "Slake1.0"
    (folder / "validation.json").write_text(json.dumps([question(2)]))
    (folder / "extra.json").write_text(json.dumps([question(3)]))
    (folder / "settings.json").write_text('{"question": 1}')
    counts = convert(task="slake", input=tmp_path, output=tmp_path / "o.jsonl")["counts"]
    assert counts["splits"] == {"test": 1, "val": 1}
    assert counts["ignored"] == {"file of questions that is named for no split (extra.json)": 1}
    (folder / "validate.json").write_text(json.dumps([question(4)]))
    with pytest.raises(UsageError, match="validate.json and validation.json are both the val split; keep one"):
        convert(task="slake", input=tmp_path, output=tmp_path / "o.jsonl")


def test_marks_do_not_hang_on_the_questions(tmp_path: Path) -> None:
    """With kinds=detect a row whose question cannot be read still names its picture; one that names none is rejected."""
    marks = [{"Liver": [20, 10, 50, 40]}]
    folder = write_set(tmp_path, [question(1, q_lang="de"), [1], question(2, img_name=None), question(3, q_lang="zh")], marks)
    option = ["kinds=detect", "language=en"]
    manifest = convert(task="slake", input=folder, output=tmp_path / "o.jsonl", option=option, max_bad=2)
    assert (manifest["counts"]["converted"], manifest["counts"]["rejected"], manifest["counts"]["ignored"]) == (1, 2, {})
    (record,) = adapt.read_records(tmp_path / "o.jsonl")
    assert record.meta["name"] == "Liver" and record.meta["boxes_px"] == [[20.0, 10.0, 70.0, 50.0]]
    rejected = [json.loads(line)["where"] for line in (tmp_path / "o.rejected.jsonl").read_text().splitlines()]
    assert rejected == ["test.json#row 1", "test.json#2"]


def test_a_file_of_the_set_is_answered_with_its_folder(tmp_path: Path) -> None:
    """Masks and boxes lie beside it: the folder is the set."""
    path = write_set(tmp_path, [question(1)]) / "Slake1.0" / "test.json"
    with pytest.raises(
        UsageError, match=f"test.json' is a file; expected the folder of the set, {path.parent}: it holds masks"
    ):
        convert(task="slake", input=path, output=tmp_path / "o.jsonl")
