"""Rows of chat JSONL at the border: what is refused, and with which words."""

import json
from pathlib import Path

import pytest

from adapt.errors import DataError
from adapt.records import image_root, parse_record, read_records

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
