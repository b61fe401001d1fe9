"""Regions of aerial pictures in the layouts of DOTA, DIOR and FAIR1M, built tiny from their published forms."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert

GREY = (90, 100, 110)
TURNED = "30 10 50 20 40 40 20 30"  # the four corners of a turned box in x y
DIOR = """<annotation><filename>{stem}.jpg</filename><size><width>80</width><height>60</height><depth>3</depth></size>
<object><name>storagetank</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>20</xmax><ymax>15</ymax></bndbox></object>
</annotation>"""
FAIR1M = """<?xml version="1.0" encoding="utf-8"?><annotation><source><filename>{stem}.tif</filename></source>
<size><width>80</width><height>60</height><depth>3</depth></size><objects><object><coordinate>pixel</coordinate>
<type>rectangle</type><description>None</description><possibleresult><name>{name}</name></possibleresult>
<points><point>30.0,10.0</point><point>50.0,20.0</point><point>40.0,40.0</point><point>20.0,30.0</point>
<point>30.0,10.0</point></points></object></objects></annotation>"""


def put(path: Path, text: str = "") -> None:
    """A text file, or a grey picture of 80x60."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".txt", ".xml"):
        path.write_text(text)
    else:
        Image.new("RGB", (80, 60), GREY).save(path)


def build(root: Path, name: str) -> Path:
    if name == "dota":
        header = "imagesource:GoogleEarth\ngsd:0.26\n"
        for split, stem, rest in (("train", "P0001", "large-vehicle 0"), ("val", "P0002", "storage-tank 1")):
            put(root / split / "labelTxt" / f"{stem}.txt", f"{header}{TURNED} {rest}\n")
            put(root / split / "images" / f"{stem}.png")
    elif name == "dior":
        for stem, split in (("00001", "train"), ("00002", "val"), ("11726", "test")):
            put(root / "Annotations" / "Horizontal Bounding Boxes" / f"{stem}.xml", DIOR.format(stem=stem))
            put(root / "Annotations" / "Oriented Bounding Boxes" / f"{stem}.xml", "<annotation/>")
            put(root / ("JPEGImages-test" if split == "test" else "JPEGImages-trainval") / f"{stem}.jpg")
            put(root / "Main" / f"{split}.txt", f"{stem}\n")
    else:
        for split, stem, kind in (("train", "1", "Boeing737"), ("validation", "2", "other-ship")):
            put(root / split / "labelXml" / f"{stem}.xml", FAIR1M.format(stem=stem, name=kind))
            put(root / split / "images" / f"{stem}.tif")
    return root


EXPECTED = {
    "dota": [
        ("dota-train/images/P0001-region-1", "train", "large vehicle"),
        ("dota-val/images/P0002-region-1", "val", "storage tank"),
    ],
    "dior": [
        ("dior-JPEGImages-trainval/00001-region-1", "train", "storage tank"),
        ("dior-JPEGImages-trainval/00002-region-1", "val", "storage tank"),
        ("dior-JPEGImages-test/11726-region-1", "test", "storage tank"),
    ],
    "fair1m": [
        ("fair1m-train/images/1-region-1", "train", "Boeing 737"),
        ("fair1m-validation/images/2-region-1", "val", "other ship"),
    ],
}


@pytest.mark.parametrize("form", ["coordinates", "drawn"])
@pytest.mark.parametrize("name", EXPECTED)
def test_each_set_is_told_by_its_layout(tmp_path: Path, name: str, form: str) -> None:
    """Ids, splits, readable names and boxes of each set in both forms; every sample becomes a record."""
    root = build(tmp_path / "data", name)
    manifest = convert(task="rsregion", input=root, output=tmp_path / "out.jsonl", option=[f"form={form}"])
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert manifest["counts"]["read"] == manifest["counts"]["converted"] == len(EXPECTED[name])
    assert [(record.id, record.split, record.meta["label"]) for record in records] == EXPECTED[name]
    assert {record.source for record in records} == {name}
    assert {record.task for record in records} == {"rsregion"}
    box = [11, 6, 20, 15] if name == "dior" else [20, 10, 50, 40]
    assert [record.meta["boxes_px"] for record in records] == [[box]] * len(records)
    if name != "dior":
        assert records[0].meta["polygons_px"] == [[[30, 10], [50, 20], [40, 40], [20, 30]]]
    text = "[[138, 100, 250, 250]]" if name == "dior" else "[[250, 167, 625, 667]]"
    assert (f"<box>{text}</box>" in records[0].question) == (form == "coordinates")


def test_a_turned_box_is_drawn_as_it_is(tmp_path: Path) -> None:
    """mark=contour runs around the four corners, not around the enclosing box."""
    root = build(tmp_path / "data", "dota")
    options = ["form=drawn", "mark=contour", "quality=png", "width=2", "ask=name"]
    convert(task="rsregion", input=root, output=tmp_path / "out.jsonl", option=options)
    (record, _) = adapt.read_records(tmp_path / "out.jsonl")
    pixels = np.asarray(Image.open(tmp_path / "out.images" / record.images[0]))
    assert record.question == "<image>\nWhat object is marked by the red outline? Answer with one word or short phrase."
    is_line = (pixels == (255, 0, 0)).all(2)
    assert is_line[8, 29]  # just above the top corner (30, 10)
    assert is_line[13, 40]  # just above the side from (30, 10) to (50, 20), whose middle is (40, 15)
    assert not is_line[10:12, 48:50].any()  # the enclosing box has a corner here
    assert not is_line[20:30, 30:40].any()  # inside


def test_a_faulty_object_file_rejects_its_picture(tmp_path: Path) -> None:
    """FAIR1M files with too few corners, no name, no XML or a bomb are rejected by name; the rest is converted."""
    root = build(tmp_path / "data", "fair1m")
    folder = root / "train" / "labelXml"
    good = FAIR1M.format(stem="1", name="Van")
    faults = {
        "three": good.replace("<point>40.0,40.0</point>", ""),
        "nameless": FAIR1M.format(stem="1", name=" "),
        "cut": good[:200],
        "bomb": '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
        "number": good.replace("50.0,20.0", "50.0,nan"),
        "climbs": good.replace("1.tif", "../../../1.tif"),
    }
    for name, text in faults.items():
        put(folder / f"{name}.xml", text)
    manifest = convert(task="rsregion", input=root, output=tmp_path / "out.jsonl", max_bad=len(faults))
    assert manifest["counts"]["rejected"] == len(faults)
    assert manifest["counts"]["converted"] == 2
    rows = (tmp_path / "out.rejected.jsonl").read_text()
    assert all(f"train/labelXml/{name}.xml" in rows for name in faults)


def test_a_folder_that_is_none_of_them(tmp_path: Path) -> None:
    """Neither or several of the layouts: one line with the option to add."""
    (tmp_path / "data").mkdir()
    for message in ("has no labelTxt", "looks like dota and dior"):
        with pytest.raises(UsageError, match=rf"{message}.*--option set=dota"):
            convert(task="rsregion", input=tmp_path / "data", output=tmp_path / "out.jsonl")
        build(tmp_path / "data", "dota")
        build(tmp_path / "data", "dior")
    with pytest.raises((UsageError, DataError), match=r"labelXml"):
        convert(task="rsregion", input=tmp_path / "data", output=tmp_path / "out.jsonl", option="set=fair1m")
