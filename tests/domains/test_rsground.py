"""DIOR-RSVG: the running number over all objects decides the split, and nothing shifts it silently."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert

OBJECT = (
    "<object><name>{name}</name><pose>Unspecified</pose><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox><description>{text}</description></object>"
)


def thing(*box: object, name: str = "ship", text: str = "A white ship") -> str:
    return OBJECT.format(*box, name=name, text=text)


def write_set(root: Path, files: dict[str, Sequence[str]], **lists: str) -> Path:
    folder = root / "DIOR_RSVG"
    for name in ("Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for stem, objects in files.items():
        text = f"<annotation><filename>{stem}.jpg</filename><size><width>800</width></size>{''.join(objects)}</annotation>"
        (folder / "Annotations" / f"{stem}.xml").write_text(text)
        Image.new("RGB", (800, 800)).save(folder / "JPEGImages" / f"{stem}.jpg")
    for split, text in lists.items():
        (folder / f"{split}.txt").write_text(text)
    return folder


# Written out of order: numbers 0 and 1 are in 00001, 2 in 00002, 3 to 5 in 00010.
FILES = {
    "00010": [thing(8, 80, 16, 160, text="third"), thing(0, 0, 8, 8, text="fourth"), thing(0, 0, 80, 80, text="fifth")],
    "00002": [thing(100, 200, 300, 400, name="bridge", text="The  bridge\n at the top")],
    "00001": [thing(8, 8, 16, 16, text="zeroth"), thing(0, 0, 800, 800, text="first")],
}


def test_the_lists_count_objects_over_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers run over objects in the order of paths, not over pictures: each expression lands in its own split."""
    folder = write_set(tmp_path, FILES, train="5\n2\n0\n", val="3\n", test="1\n4\n")
    for place in (folder, tmp_path):
        manifest = convert(task="rsground", input=place, output=tmp_path / "out.jsonl")
        records = adapt.read_records(tmp_path / "out.jsonl")
        found = [(record.meta["object"], record.meta["name"], record.split, record.images[0][-9:]) for record in records]
        assert found == [
            (0, "zeroth", "train", "00001.jpg"), (1, "first", "test", "00001.jpg"),
            (2, "The bridge at the top", "train", "00002.jpg"), (3, "third", "val", "00010.jpg"),
            (4, "fourth", "test", "00010.jpg"), (5, "fifth", "train", "00010.jpg"),
        ]  # fmt: skip
        assert manifest["counts"]["splits"] == {"train": 3, "test": 2, "val": 1}
        assert "nothing tells" not in capsys.readouterr().err
    bridge = adapt.records.record_to_row(records[2])
    assert bridge == {
        "id": "dior-rsvg-2-ground-1", "image": "JPEGImages/00002.jpg", "width": 800, "height": 800,
        "conversations": [
            {"from": "human", "value": "<image>\nDetect <ref>The bridge at the top</ref>"},
            {"from": "gpt", "value": "<ref>The bridge at the top</ref><box>[[125, 250, 375, 500]]</box>"},
        ],
        "task": "rsground", "source": "dior_rsvg",
        "meta": {"split": "train", "object": 2, "kind": "ground", "name": "The bridge at the top",
                 "boxes_px": [[100, 200, 300, 400]], "class_name": "bridge"},
    }  # fmt: skip
    convert(task="rsground", input=folder, output=tmp_path / "out.jsonl", split="train", option=["case=lower"])
    assert adapt.read_records(tmp_path / "out.jsonl")[1].answer.startswith("<ref>the bridge at the top</ref>")


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"train": "0\n1\n2\n", "val": "3\n4\n", "test": "5\n6\n"}, "name object 6, but Annotations/ holds 6"),
        ({"train": "0\n1\n2\n", "val": "3\n", "test": "5\n"}, "name 5 objects, but Annotations/ holds 6"),
        ({"train": "0\n1\n", "val": "1\n"}, r"val.txt:1: object 1 is in train.txt too"),
        ({"test": "0\nx\n"}, "test.txt:2: 'x', expected the number"),
        ({}, "no train.txt"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path: Path, lists: dict[str, str], words: str) -> None:
    """A missing or an extra file would shift every later number; overlap would leak test into training."""
    with pytest.raises(DataError, match=words):
        convert(task="rsground", input=write_set(tmp_path, FILES, **lists), output=tmp_path / "out.jsonl")


def test_a_file_that_cannot_be_read_stops_the_count(tmp_path: Path) -> None:
    """Its objects have numbers too, so nothing after it could be trusted; entities are refused likewise."""
    folder = write_set(tmp_path, FILES, test="0\n")
    for text in ("<annotation><object>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>'):
        (folder / "Annotations" / "00002.xml").write_text(text)
        with pytest.raises(DataError, match=r"00002.xml.*so every file must be read"):
            convert(task="rsground", input=folder, output=tmp_path / "out.jsonl")


def test_objects_in_no_list_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the test list alone, the rest is ignored by name, and numbers stay what they are. That all files are there is not
    known, and said. A file that macOS lays beside one is none of them."""
    folder = write_set(tmp_path, FILES, test="1\n4\n")
    (folder / "Annotations" / "._00001.xml").write_bytes(b"\0\5\x16\7")
    manifest = convert(task="rsground", input=folder, output=tmp_path / "out.jsonl")
    assert "DIOR_RSVG: without train.txt and val.txt nothing tells whether Annotations/ is whole" in capsys.readouterr().err
    assert [record.meta["name"] for record in adapt.read_records(tmp_path / "out.jsonl")] == ["first", "fourth"]
    assert manifest["counts"]["ignored"] == {"object in no list": 4} and manifest["counts"]["read"] == 2


def test_tags_of_another_name_are_read_by_position(tmp_path: Path) -> None:
    """The reference loader goes by position: children 0, 2 and 3 are name, box and expression, whatever they are called."""
    odd = "<object><a>ship</a><b/><c><xmin>8</xmin><ymin>8</ymin><xmax>16</xmax><ymax>16</ymax></c><d>a ship</d></object>"
    convert(task="rsground", input=write_set(tmp_path, {"1": [odd]}, test="0"), output=tmp_path / "out.jsonl")
    assert adapt.read_records(tmp_path / "out.jsonl")[0].answer == "<ref>a ship</ref><box>[[10, 10, 20, 20]]</box>"


def test_a_bad_object_rejects_itself_and_keeps_its_number(tmp_path: Path) -> None:
    """No words, no number, no area, outside: each is rejected by its place, and the numbers after it hold."""
    bad = [thing(1, 2, 3, 4, text=" "), thing("x", 2, 3, 4), thing(5, 2, 3, 4), thing(900, 900, 950, 950), thing(8, 8, 16, 16)]
    folder = write_set(
        tmp_path, {"1": bad, "2": [thing(1, 2, 3, 4, text="</ref>".replace("<", "&lt;"))]}, test="0\n1\n2\n3\n4\n5"
    )
    manifest = convert(task="rsground", input=folder, output=tmp_path / "out.jsonl", max_bad=9)
    assert [record.meta["object"] for record in adapt.read_records(tmp_path / "out.jsonl")] == [4]
    assert (manifest["counts"]["read"], manifest["counts"]["rejected"]) == (6, 5)
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    for reason, words in zip(reasons, ("expression", "'x', expected a number", "no area", "outside", "tag"), strict=True):
        assert words in reason


def test_the_test_file_of_internvl_is_read(tmp_path: Path) -> None:
    """{image, prompt, bbox, size}: the same question and answer, and a picture of another size than stated is refused."""
    Image.new("RGB", (800, 800)).save(tmp_path / "1.jpg")
    row = {"image": "1.jpg", "prompt": "<ref>a ship</ref>", "bbox": [8, 8, 16, 16], "size": [800, 800]}
    rows = [row, row | {"size": [400, 400]}, row | {"prompt": "a ship"}, row | {"bbox": [1, 2, 3]}, row | {"image": 3}, 7]
    (tmp_path / "dior_rsvg_test.json").write_text(json.dumps(rows))
    manifest = convert(task="rsground", input=tmp_path / "dior_rsvg_test.json", output=tmp_path / "out.jsonl", max_bad=5)
    (record,) = adapt.read_records(tmp_path / "out.jsonl")
    assert record.question == "<image>\nDetect <ref>a ship</ref>" and record.meta["boxes_px"] == [[8, 8, 16, 16]]
    assert record.split == "test" and manifest["counts"]["rejected"] == 5


def test_another_folder_is_refused(tmp_path: Path) -> None:
    """A folder without Annotations, and one without files in it, name what was expected."""
    with pytest.raises(UsageError, match="expected a folder with Annotations"):
        convert(task="rsground", input=tmp_path, output=tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="no annotation file"):
        convert(task="rsground", input=write_set(tmp_path, {}), output=tmp_path / "out.jsonl")


def test_boxes_move_with_pictures_that_are_turned_upright(tmp_path: Path) -> None:
    """Tag 3 turns a picture by half: upright=yes turns the box with it, and without the option both stay."""
    folder = write_set(tmp_path, {"00001": [thing(80, 160, 240, 400)]}, train="0\n")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (800, 800)).save(folder / "JPEGImages" / "00001.jpg", exif=exif)
    for option, box in (({}, [80, 160, 240, 400]), ({"upright": "yes"}, [560, 400, 720, 640])):
        convert(task="rsground", input=folder, output=tmp_path / "out.jsonl", option=option)
        assert adapt.read_records(tmp_path / "out.jsonl")[0].meta["boxes_px"] == [box]
