"""VQA-RAD: both forms in circulation, their odd values, and the pictures that train and test share."""

import collections
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert

SUFFIX = "\nAnswer the question using a single word or phrase."


@pytest.fixture(scope="module")
def converted(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Any], Path]:
    root = shared / "data" / "vqa_rad"
    output = tmp_path_factory.mktemp("vqarad") / "out.jsonl"
    return convert(task="vqarad", input=root, output=output), adapt.read_records(output), root


def test_the_real_files_give_their_documented_counts(converted: tuple[dict[str, Any], list[Any], Path]) -> None:
    """3,064 + 451 questions, none rejected, each with the text, the picture and the answer of its row."""
    manifest, records, root = converted
    assert manifest["counts"]["splits"] == {"train": 3064, "test": 451} and manifest["counts"]["rejected"] == 0
    rows = {
        f"vqarad-{row['qid']}": row
        for name in ("trainset", "testset")
        for row in json.loads((root / f"{name}.json").read_text())
    }
    assert len(rows) == len(records)
    for record in records:
        row = rows[record.id]
        assert record.question == f"<image>\n{row['question'].strip()}{SUFFIX}"
        assert record.answer == str(row["answer"]).strip() and record.images == (f"images/{row['image_name']}",)


def test_what_the_scorer_needs_is_clean(converted: tuple[dict[str, Any], list[Any], Path]) -> None:
    """Test: 272 closed (133 no, 118 yes, 21 others) and 179 open; no blank and no misspelt type is left."""
    records = [record for record in converted[1] if record.split == "test"]
    assert collections.Counter(record.meta["answer_type"] for record in records) == {"closed": 272, "open": 179}
    closed = collections.Counter(record.answer.lower() for record in records if record.meta["answer_type"] == "closed")
    assert (closed["no"], closed["yes"], sum(closed.values())) == (133, 118, 272)
    types = {part for record in converted[1] for part in record.meta["question_type"].split(", ")}
    assert types == {"PRES", "POS", "ABN", "SIZE", "OTHER", "MODALITY", "ATTRIB", "PLANE", "COLOR", "ORGAN", "COUNT"}


def test_shared_pictures_are_told_and_can_be_left_out(
    converted: tuple[dict[str, Any], list[Any], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 203 test pictures occur in train: the manifest counts them; with drop none does, and what went is counted."""
    manifest, records, root = converted
    assert manifest["pictures"]["in_several_splits"] == 203
    tested = {record.images for record in records if record.split == "test"}
    shared_rows = sum(record.images in tested for record in records if record.split == "train")
    option = ["shared_pictures=drop"]
    apart = convert(task="vqarad", input=root, output=tmp_path / "apart.jsonl", option=option)
    assert "in several splits" not in capsys.readouterr().err
    assert apart["counts"]["splits"] == {"train": 3064 - shared_rows, "test": 451}
    assert apart["counts"]["ignored"] == {"train question on a picture of the test": shared_rows}


def row(number: int, **changes: Any) -> dict[str, Any]:
    values = {
        "qid": str(number), "phrase_type": "freeform", "image_name": "a.jpg", "image_organ": "HEAD", "question": "is it  ct? ",
        "question_rephrase": "NULL", "question_type": "MODALITY", "answer": "Yes", "answer_type": "CLOSED ",
    }  # fmt: skip
    return {name: value for name, value in (values | changes).items() if value is not None}


def write_public(folder: Path, rows: Any) -> Path:
    (folder / "VQA_RAD Image Folder").mkdir()
    Image.new("RGB", (5, 4)).save(folder / "VQA_RAD Image Folder" / "a.jpg")
    (folder / "VQA_RAD Dataset Public.json").write_text(json.dumps(rows))
    return folder


def test_the_public_form_is_split_by_its_phrase_type(tmp_path: Path) -> None:
    """Rows whose phrase_type starts with test_ are the test; one record, written out by hand."""
    rows = [row(1), row(2, phrase_type="test_freeform", answer=4), row(3, phrase_type="test_para "), row(4, phrase_type="para")]
    manifest = convert(task="vqarad", input=write_public(tmp_path, rows), output=tmp_path / "out.jsonl", option=["suffix="])
    assert manifest["counts"]["splits"] == {"train": 2, "test": 2}
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1]) == {
        "id": "vqarad-2", "image": "VQA_RAD Image Folder/a.jpg", "width": 5, "height": 4,
        "conversations": [{"from": "human", "value": "<image>\nis it  ct?"}, {"from": "gpt", "value": "4"}],
        "task": "vqarad", "source": "vqarad",
        "meta": {"split": "test", "answer_type": "closed", "question_type": "MODALITY", "organ": "HEAD",
                 "phrase_type": "test_freeform"},
    }  # fmt: skip


def test_bad_rows_are_rejected_one_by_one(tmp_path: Path) -> None:
    """Each fault is one rejected row with its place and its field; the rows around it stay."""
    faults = {
        "VQA_RAD Dataset Public.json#row 1": [3],
        "VQA_RAD Dataset Public.json#12": row(12, answer=True),
        "VQA_RAD Dataset Public.json#13": row(13, answer_type="MAYBE"),
        "VQA_RAD Dataset Public.json#14": row(14, question=" "),
        "VQA_RAD Dataset Public.json#15": row(15, phrase_type=None),
        "VQA_RAD Dataset Public.json#16": row(16, image_name="../a.jpg"),
        "VQA_RAD Dataset Public.json#17": row(17, image_name={"a": 1}),
        "VQA_RAD Dataset Public.json#row 8": row(18, qid=None),
        "VQA_RAD Dataset Public.json#19": row(19, image_name="gone.jpg"),
    }
    folder = write_public(tmp_path, [row(10), *faults.values(), row(20)])
    with pytest.raises(DataError, match="9 of 11 samples rejected"):
        convert(task="vqarad", input=folder, output=tmp_path / "out.jsonl")
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert {each["where"] for each in rejected} == set(faults)
    assert "'answer' is 'True', expected text" in rejected[1]["reason"]
    assert convert(task="vqarad", input=folder, output=tmp_path / "out.jsonl", max_bad=9)["counts"]["converted"] == 2


def test_two_forms_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    """With both forms the reader asks which; a file pointed at is read alone; a folder with neither is wrong usage."""
    folder = write_public(tmp_path, [row(1)])
    (folder / "testset.json").write_text(json.dumps([row(2)]))
    with pytest.raises(UsageError, match="two forms"):
        convert(task="vqarad", input=folder, output=tmp_path / "o.jsonl")
    assert convert(task="vqarad", input=folder / "testset.json", output=tmp_path / "o.jsonl")["counts"]["splits"] == {"test": 1}
    with pytest.raises(UsageError, match="holds no test to compare with"):
        (tmp_path / "trainset.json").write_text(json.dumps([row(3)]))
        convert(task="vqarad", input=tmp_path / "trainset.json", output=tmp_path / "o.jsonl", option=["shared_pictures=drop"])
    with pytest.raises(UsageError, match="holds neither"):
        convert(task="vqarad", input=folder / "VQA_RAD Image Folder", output=tmp_path / "o.jsonl")
    (folder / "testset.json").write_text('{"rows": 1}')
    with pytest.raises(DataError, match="expected a JSON list"):
        convert(task="vqarad", input=folder / "testset.json", output=tmp_path / "o.jsonl")
