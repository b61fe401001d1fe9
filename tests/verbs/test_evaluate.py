"""adapt evaluate: what is refused before a model is loaded. The answers themselves: tests/evaluate/test_generate.py."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord, Turn, write_records
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


def write_seen(folder: Path, pictures: list[bytes]) -> Path:
    """A row of the split test for each picture of those bytes."""
    turns = (Turn("human", "<image>\nq?"), Turn("gpt", "a"))
    for number, content in enumerate(pictures):
        (folder / f"{number}.png").write_bytes(content)
    records = [ChatRecord(f"r{number}", turns, (f"{number}.png",), meta={"split": "test"}) for number in range(len(pictures))]
    write_records(folder / "d.jsonl", records)
    return folder / "d.jsonl"


def png(size: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("damage", ["gone", "cut", "text"])
def test_a_picture_that_cannot_be_read_is_told_before_a_model_is_looked_for(tmp_path: Path, damage: str) -> None:
    """With the line of its row and the command that lists all of them; nothing is written. A header is less than 200 px."""
    content = {"gone": b"", "cut": png(200)[:-1000], "text": b"no picture"}[damage]
    data = write_seen(tmp_path, [png(8), content])
    if damage == "gone":
        (tmp_path / "1.png").unlink()
    why = {"gone": "no such file", "cut": "damaged picture", "text": "a text file"}[damage]
    with pytest.raises(DataError, match=rf"d\.jsonl:2: picture .*1\.png: {why}.*; run 'adapt check' to list all such rows$"):
        evaluate(benchmark="vqa", model="no-such-model", data=data, output=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_pictures_that_decode_and_those_of_other_splits_are_no_obstacle(tmp_path: Path) -> None:
    """Bytes behind a picture's end, which every decoder passes over, do not stop an evaluation; nor what is not asked."""
    data = write_seen(tmp_path, [png(8) + b"more"])
    with open(data, "a") as handle:
        row = json.loads(data.read_text()) | {"id": "other", "image": "gone.png", "meta": {"split": "train"}}
        handle.write(json.dumps(row) + "\n")
    with pytest.raises(UsageError, match="unknown model"):
        evaluate(benchmark="vqa", model="no-such-model", data=data, output=tmp_path / "s")


def test_rows_that_a_benchmark_cannot_score_are_refused_before_a_model_is_looked_for(tmp_path: Path) -> None:
    """Boxes asked of rows without any: what scoring would say of the references is said at once, and nothing is left."""
    data = write(tmp_path / "d.jsonl", ["test", "test_far"])
    with pytest.raises(DataError, match=r"d\.jsonl: benchmark ground: row 'r0' and all others ask neither for boxes nor"):
        evaluate(benchmark="ground", model="no-such-model", data=data, output=tmp_path / "s")
    with pytest.raises(DataError, match=r"d\.jsonl:1: r0: no list of names in meta\.candidates"):
        evaluate(benchmark="vqa", model="no-such-model", data=data, output=tmp_path / "s", set=["evaluate.scoring=likelihood"])
    assert list(tmp_path.iterdir()) == [data]


def test_looking_at_references_asks_no_judge(tmp_path: Path) -> None:
    """A judge that is an address where nobody listens is no obstacle before there are answers, and no file of it is made."""
    meta = {"split": "test", "scene": "s", "frame": "f", "question_original": "q?", "answer_original": "a", "tag": [1]}
    turns = (Turn("human", "q?"), Turn("gpt", "a"))
    write_records(tmp_path / "d.jsonl", [ChatRecord("s_f_0", turns, task="drivelm", meta=meta)])
    with pytest.raises(UsageError, match="unknown model"):
        evaluate(
            benchmark="drivelm", model="no-such-model", data=tmp_path / "d.jsonl", output=tmp_path / "s",
            option=["judge=http://127.0.0.1:9/v1", "judge_model=m"],
        )  # fmt: skip
    assert not (tmp_path / "s").exists()
