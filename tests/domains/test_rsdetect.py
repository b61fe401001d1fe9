"""DOTA, DIOR and FAIR1M: turned boxes, splits by folder or list, class names as words."""

from pathlib import Path

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from domains.remote_sensing import rsdetect


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def picture(path: Path, size: tuple[int, int] = (1000, 500)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def test_dota_is_read_with_its_corners(tmp_path: Path) -> None:
    """Headers or none, floats, a missing last number: the enclosing box is in the text, the corners are in meta."""
    write(
        tmp_path / "DOTA/train/labelTxt/P1.txt",
        "imagesource:GoogleEarth\ngsd:0.26\n100 60 160 10 200 40 140 90 large-vehicle 0\n10.5 20 30 20 30 40 10.5 40 ship 1\n",
    )
    write(tmp_path / "DOTA/val/labelTxt/P2.txt", "0 0 10 0 10 10 0 10 ship\n")
    picture(tmp_path / "DOTA/train/images/P1.png")
    picture(tmp_path / "DOTA/val/images/P2.png")
    convert(task="rsdetect", input=tmp_path / "DOTA", output=tmp_path / "out.jsonl")
    first, second = adapt.read_records(tmp_path / "out.jsonl")
    assert (
        first.answer == "<ref>large vehicle</ref><box>[[100, 20, 200, 180]]</box>\n<ref>ship</ref><box>[[10, 40, 30, 80]]</box>"
    )
    assert first.meta == {
        "split": "train", "kind": "detect", "names": ["large vehicle", "ship"],
        "boxes_px": [[100, 10, 200, 90], [10.5, 20, 30, 40]],
        "polygons_px": [[[100, 60], [160, 10], [200, 40], [140, 90]], [[10.5, 20], [30, 20], [30, 40], [10.5, 40]]],
    }  # fmt: skip
    assert (second.split, second.images) == ("val", ("val/images/P2.png",))
    convert(task="rsdetect", input=tmp_path / "DOTA", output=tmp_path / "out.jsonl", option=["kinds=count,ground", "absent=1"])
    answers = {record.id: record.answer for record in adapt.read_records(tmp_path / "out.jsonl") if record.split == "val"}
    assert list(answers.values()) == [
        "<ref>ship</ref><box>[[0, 0, 10, 20]]</box>", "There is no large vehicle in the picture.", "1", "0"
    ]  # fmt: skip


DOTA_CLASSES = """plane ship storage-tank baseball-diamond tennis-court basketball-court ground-track-field harbor bridge
large-vehicle small-vehicle helicopter roundabout soccer-ball-field swimming-pool container-crane airport helipad"""
DIOR_CLASSES = """airplane airport baseballfield basketballcourt bridge chimney dam Expressway-Service-area
Expressway-toll-station golffield groundtrackfield harbor overpass ship stadium storagetank tenniscourt trainstation vehicle
windmill"""
DIOR_XML = (
    "<annotation><filename>{stem}.jpg</filename><size><width>800</width><height>800</height></size><object><name>{name}</name>"
    "<bndbox><xmin>8</xmin><ymin>80</ymin><xmax>16</xmax><ymax>160</ymax></bndbox></object></annotation>"
)


@pytest.mark.parametrize("labels", ["Annotations", "Annotations/Horizontal Bounding Boxes"])
def test_dior_takes_its_splits_from_the_lists(tmp_path: Path, labels: str) -> None:
    """Pictures in two folders, labels in one; a picture in no list is counted, and pixels are taken as they are."""
    names = {"00001": "groundtrackfield", "00002": "Expressway-Service-area", "00003": "ship", "11726": "storagetank"}
    for stem, name in names.items():
        write(tmp_path / "DIOR" / labels / f"{stem}.xml", DIOR_XML.format(stem=stem, name=name))
        picture(tmp_path / "DIOR" / f"JPEGImages-{'test' if stem > '1' else 'trainval'}" / f"{stem}.jpg", (800, 800))
    write(tmp_path / "DIOR/Annotations/Oriented Bounding Boxes/00001.xml", "<annotation/>")
    if labels == "Annotations":
        (tmp_path / "DIOR/Annotations/Oriented Bounding Boxes/00001.xml").unlink()
    for split, text in {"train": "00001\n", "val": "00002\n", "test": "11726\n"}.items():
        write(tmp_path / "DIOR/ImageSets/Main" / f"{split}.txt", text)
    manifest = convert(task="rsdetect", input=tmp_path / "DIOR", output=tmp_path / "out.jsonl", option=["kinds=ground"])
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert [(record.split, record.meta["name"], record.meta["class_name"], record.images[0]) for record in records] == [
        ("train", "ground track field", "groundtrackfield", "JPEGImages-trainval/00001.jpg"),
        ("val", "expressway service area", "Expressway-Service-area", "JPEGImages-trainval/00002.jpg"),
        ("test", "storage tank", "storagetank", "JPEGImages-test/11726.jpg"),
    ]
    assert records[0].answer == "<ref>ground track field</ref><box>[[10, 100, 20, 200]]</box>"
    assert manifest["counts"]["ignored"]["picture in no split list"] == 1 and manifest["counts"]["read"] == 3
    above = convert(task="rsdetect", input=tmp_path, output=tmp_path / "above.jsonl", option=["kinds=ground"])
    assert (above["sha256"], above["image_root"]) == (manifest["sha256"], "DIOR")
    convert(task="rsdetect", input=tmp_path / "DIOR", output=tmp_path / "out.jsonl", option=["kinds=ground", "origin=1"])
    assert adapt.read_records(tmp_path / "out.jsonl")[0].meta["boxes_px"] == [[7, 79, 16, 160]]


@pytest.mark.parametrize("labels", ["Annotations", "Annotations/Horizontal Bounding Boxes"])
def test_dior_lists_of_any_form_give_one_split(tmp_path: Path, labels: str) -> None:
    """What trainval alone names is train; what train and test name is rejected, wherever boxes lie; names may hold blanks."""
    for stem in ("1", "2 b", "3"):
        write(tmp_path / "DIOR" / labels / f"{stem}.xml", DIOR_XML.format(stem=stem, name="ship"))
        picture(tmp_path / "DIOR" / "JPEGImages" / f"{stem}.jpg", (800, 800))
    for split, text in {"trainval": "1\n2 b\n", "test": "3\n"}.items():
        write(tmp_path / "DIOR/ImageSets/Main" / f"{split}.txt", text)
    manifest = convert(task="rsdetect", input=tmp_path / "DIOR", output=tmp_path / "out.jsonl")
    assert manifest["counts"]["splits"] == {"train": 2, "test": 1}
    write(tmp_path / "DIOR/ImageSets/Main/train.txt", "1\n3\n")
    manifest = convert(task="rsdetect", input=tmp_path / "DIOR", output=tmp_path / "out.jsonl", max_bad=1)
    assert manifest["counts"]["splits"] == {"train": 2}
    assert "listed in train and test" in (tmp_path / "out.rejected.jsonl").read_text()


@pytest.mark.parametrize("labels", ["Annotations", "Annotations/Horizontal Bounding Boxes"])
def test_dior_without_lists_is_of_its_folder(tmp_path: Path, labels: str) -> None:
    """A part of the set in a folder test is of the test split, whichever folder is the input."""
    write(tmp_path / "test" / labels / "1.xml", DIOR_XML.format(stem="1", name="ship"))
    picture(tmp_path / "test" / "JPEGImages" / "1.jpg", (800, 800))
    for given in ("test", "test/Annotations"):
        manifest = convert(task="rsdetect", input=tmp_path / given, output=tmp_path / "out.jsonl")
        assert manifest["counts"]["splits"] == {"test": 1}, given


FAIR1M = "<annotation><source><filename>{stem}.tif</filename></source><objects>{objects}</objects></annotation>"
RING = ("10,20", "30,20", "30,40", "10,40", "10,20")


def fair1m_object(name: str, points: tuple[str, ...] = RING) -> str:
    ring = "".join(f"<point>{point}</point>" for point in points)
    return f"<object><possibleresult><name>{name}</name></possibleresult><points>{ring}</points></object>"


@pytest.mark.parametrize("folder", ["labelXml", "labelXmls"])
def test_fair1m_closes_its_rings(tmp_path: Path, folder: str) -> None:
    """Five points of which the last is the first are four corners; models keep their names; the folder has either name."""
    write(tmp_path / "train/part1" / folder / "0.xml", FAIR1M.format(stem=0, objects=fair1m_object("Boeing737")))
    write(tmp_path / "validation" / folder / "1.xml", FAIR1M.format(stem=1, objects=fair1m_object("A220", RING[:4])))
    picture(tmp_path / "train/part1/images/0.tif")
    picture(tmp_path / "validation/images/1.tif")
    convert(task="rsdetect", input=tmp_path, output=tmp_path / "out.jsonl")
    first, second = adapt.read_records(tmp_path / "out.jsonl")
    assert first.answer == "<ref>Boeing 737</ref><box>[[10, 40, 30, 80]]</box>" and first.split == "train"
    assert first.meta["polygons_px"] == [[[10, 20], [30, 20], [30, 40], [10, 40]]]
    assert second.answer.startswith("<ref>A220</ref>") and second.split == "val"
    for given in ("validation", f"validation/{folder}"):
        manifest = convert(task="rsdetect", input=tmp_path / given, output=tmp_path / "out.jsonl")
        assert manifest["counts"]["splits"] == {"val": 1}, given


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (fair1m_object(""), "no <possibleresult>"),
        (fair1m_object("Van", RING[:3]), "3 points"),
        (fair1m_object("Van", ("1,2,3", *RING[:3])), "expected 'x,y'"),
        (fair1m_object("Van", ("1,nan", *RING[:3])), "expected a finite number"),
        (fair1m_object("Van", ("1,2",) * 4), "no area"),
        (fair1m_object("Van", ("2000,20", "2030,20", "2030,40", "2000,40")), "outside the picture"),
    ],
)
def test_a_bad_object_rejects_its_picture(tmp_path: Path, objects: str, words: str) -> None:
    """One line with the file, the object and what was expected; the other picture converts."""
    write(tmp_path / "labelXml/0.xml", FAIR1M.format(stem=0, objects=objects))
    write(tmp_path / "labelXml/1.xml", FAIR1M.format(stem=1, objects=fair1m_object("Bus")))
    for name in ("0", "1"):
        picture(tmp_path / "images" / f"{name}.tif")
    with pytest.raises(DataError, match=f"1 of 2 samples rejected.*labelXml/0.xml.*{words}"):
        convert(task="rsdetect", input=tmp_path, output=tmp_path / "out.jsonl")


def test_full_pictures_are_named_with_the_line_to_raise_the_limit(tmp_path: Path) -> None:
    """max_objects rejects, and never shortens a list."""
    write(tmp_path / "labelTxt/P1.txt", "0 0 10 0 10 10 0 10 ship 0\n" * 3)
    picture(tmp_path / "images/P1.png")
    with pytest.raises(DataError, match="3 objects in one answer; --option max_objects=3 would take them"):
        convert(task="rsdetect", input=tmp_path, output=tmp_path / "out.jsonl", option=["max_objects=2"])
    assert (
        convert(task="rsdetect", input=tmp_path, output=tmp_path / "out.jsonl", option=["max_objects=3"])["counts"]["records"]
        == 1
    )


def test_which_set_it_is_must_be_clear(tmp_path: Path) -> None:
    """No known folder, and folders of two sets, are answered with what was looked for."""
    with pytest.raises(UsageError, match="has no labelTxt"):
        convert(task="rsdetect", input=tmp_path, output=tmp_path / "out.jsonl")
    for name in ("labelTxt", "Annotations"):
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="looks like dota and dior"):
        convert(task="rsdetect", input=tmp_path, output=tmp_path / "out.jsonl")


def test_every_class_has_a_name_of_words() -> None:
    """The classes of the three sets, as their papers list them, become distinct names without marks."""
    for names in (DOTA_CLASSES.split(), DIOR_CLASSES.split()):
        words = [rsdetect.readable(name) for name in names]
        assert len(set(words)) == len(names) and all(word.replace(" ", "").islower() for word in words)
    assert rsdetect.readable("Expressway-toll-station") == "expressway toll station" and rsdetect.readable("C919") == "C919"
