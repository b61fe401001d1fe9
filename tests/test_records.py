"""Rows of chat JSONL at the border: what is refused, and with which words."""

import json
from pathlib import Path

import pytest

from adapt.errors import DataError
from adapt.records import check_row, image_root, parse_record, read_records

ROW = {"id": "r", "conversations": [{"from": "human", "value": "q?"}, {"from": "gpt", "value": "a"}]}


@pytest.mark.parametrize("split", ["test/../../evil", "/tmp/x", "..", ".", "", "a" * 65, "test\n", "tëst", "a b", "a\\b", 3])
def test_a_split_is_a_plain_name(split: object) -> None:
    """A split that could be a path, or is no text, is refused: it becomes the name of a folder."""
    with pytest.raises(DataError, match=r"here: 'meta\.split' is .*, expected a name"):
        parse_record(ROW | {"meta": {"split": split}}, "here")


@pytest.mark.parametrize("split", ["train", "test_phili", "val-2", "test.a", "A" * 64])
def test_names_of_real_splits_are_taken(split: str) -> None:
    """What datasets call their splits is kept as it is."""
    assert parse_record(ROW | {"meta": {"split": split}}, "here").split == split


def test_the_place_of_a_bad_split_is_named(tmp_path: Path) -> None:
    """The error of a file says the line."""
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | {"id": "s", "meta": {"split": "../x"}}) + "\n")
    with pytest.raises(DataError, match=r"test\.jsonl:2: "):
        read_records(path)


@pytest.mark.parametrize("root", [3, None, ["a"], {"a": "b"}, "a\x00b"])
def test_a_picture_root_that_is_no_folder_name_is_refused(tmp_path: Path, root: object) -> None:
    """A manifest's image_root of another type is a fault of that file, named."""
    (tmp_path / "d.manifest.json").write_text(json.dumps({"image_root": root}))
    with pytest.raises(DataError, match=r"d\.manifest\.json: 'image_root' is .*, expected a folder; convert again"):
        image_root(tmp_path / "d.jsonl")


SHOWN = {"image": "a.png", "conversations": [{"from": "human", "value": "<image>q?"}, {"from": "gpt", "value": "a"}]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": True}, "'id' is true, expected a string"),
        ({"id": None}, "'id' is null, expected a string"),
        ({"video": "a.mp4"}, "a 'video' row"),
        ({"conversations": []}, "expected a list of messages"),
        ({"conversations": ROW["conversations"][:1]}, "messages come from human; expected human and gpt in turn"),
        ({"conversations": [{"from": ["gpt"], "value": "a"}]}, "expected {'from': 'human' or 'gpt'"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": " "}]}, "an answer is empty"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "<image>"}]}, "<image> stands in a gpt"),
        ({"image": "a.png"}, "0 <image> placeholder(s) for 1 picture(s)"),
        (SHOWN | {"image": [3]}, "'image' is [3], expected a path"),
        (SHOWN | {"width": 0, "height": 4}, "expected positive integers"),
        (SHOWN | {"width_list": [4], "height_list": [4, 4]}, "for 1 pictures; expected one each"),
        ({"max_tiles": 0}, "'max_tiles' is 0, expected 1 to"),
        ({"task": 3}, "'task' is 3, expected a string"),
        ({"source": ["a"]}, "'source' is [\"a\"], expected a string"),
        ({"meta": "train"}, "'meta' is \"train\", expected an object"),
    ],
)
def test_a_row_that_is_no_record_is_refused_before_it_is_written(change: dict[str, object], reason: str) -> None:
    """Looking at a row and reading it refuse the same, in the same words."""
    row = ROW | change
    with pytest.raises(DataError) as read:
        parse_record(row, "here")
    with pytest.raises(DataError) as looked:
        check_row(row, "here")
    assert str(looked.value) == str(read.value) and reason in str(read.value)


def test_a_row_that_is_a_record_is_taken() -> None:
    """What a record may hold passes."""
    row = ROW | SHOWN | {"width": 3, "height": 4, "max_tiles": 2, "task": "t", "source": "s", "meta": {"split": "a"}, "more": 1}
    check_row(row, "here")
    record = parse_record(row, "here")
    assert (record.images, record.sizes, record.max_tiles) == (("a.png",), ((3, 4),), 2) and record.extra == {"more": 1}
