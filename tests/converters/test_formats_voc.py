"""Pascal VOC: pixels counted from 1, layouts, splits, names that are not the picture's, and hostile XML."""

import re
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from adapt.domain import Rejected, Source
from adapt.errors import UsageError
from converters.formats import voc
from converters.objects import Objects, ObjectsSample

OBJECT = "<object><name>cell</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def xml(*boxes: tuple[object, ...], filename: str = "a.png", more: str = "") -> str:
    objects = "".join(OBJECT.format(*box) for box in boxes)
    return f"<annotation><filename>{filename}</filename>{more}{objects}</annotation>"


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)


def read(path: Path, images: Path | None = None, **options: str) -> Objects:
    return voc.read(Source(path, images, options, 0))


def only(found: Objects) -> ObjectsSample:
    (sample,) = found.samples
    assert isinstance(sample, ObjectsSample), sample
    return sample


def test_the_first_pixel_is_number_one(tmp_path: Path) -> None:
    """1, 1, 8, 6 is the whole of a picture of 8x6; a single pixel has an area; origin=0 takes corners as they are."""
    picture(tmp_path / "a.png")
    write(tmp_path / "a.xml", xml((1, 1, 8, 6), (3, 4, 3, 4)))
    assert [each.box_px for each in only(read(tmp_path)).objects] == [(0, 0, 8, 6), (2, 3, 3, 4)]
    write(tmp_path / "a.xml", xml((0, 0, 8, 6)))
    assert only(read(tmp_path, origin="0")).objects[0].box_px == (0, 0, 8, 6)


def test_an_object_of_two_boxes_rejects_its_picture(tmp_path: Path) -> None:
    """Which of them is meant, or whether they are two objects, nobody says."""
    picture(tmp_path / "a.png")
    box = OBJECT.format(1, 1, 3, 3).removeprefix("<object><name>cell</name>").removesuffix("</object>")
    write(tmp_path / "a.xml", xml((3, 4, 5, 6)).replace("</bndbox>", f"</bndbox>{box}"))
    (sample,) = read(tmp_path).samples
    reason = "object 1 'cell': has 2 <bndbox>, expected one; write an <object> for each"
    assert isinstance(sample, Rejected) and sample.reason == reason


def test_files_that_name_one_picture_are_told(tmp_path: Path) -> None:
    """A template copied with its <filename>: no file tells whose objects the picture shows. A copy of one says the same."""
    for number, box in enumerate([(1, 1, 4, 4), (2, 2, 5, 5), (3, 3, 6, 6), (3, 3, 6, 6)]):
        picture(tmp_path / f"{number}.png")
        write(tmp_path / f"{number}.xml", xml(box, filename=f"{max(2, number)}.png"))
    write(tmp_path / "copy" / "3.xml", (tmp_path / "3.xml").read_text())
    *parted, last, copied = sorted(read(tmp_path).samples, key=lambda each: (each.where.startswith("copy"), each.where))
    for sample, other in zip(parted, ("1.xml", "0.xml", "0.xml"), strict=True):
        assert isinstance(sample, Rejected)
        assert sample.reason == (
            f"its picture 2.png is that of {other}, too, and shows the objects of both; let <filename> in each name its own "
            "picture, or have one file with all objects"
        )
    assert isinstance(last, ObjectsSample) and isinstance(copied, ObjectsSample) and last.id == copied.id


def test_boxes_from_pixel_zero_are_spoken_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that counts from 1 has no pixel 0: the note names the option to add."""
    write(tmp_path / "a.xml", xml((0, 2, 8, 6), (3, 4, 5, 6)))
    read(tmp_path)
    assert "boxes that start at pixel 0: 1 of 2" in capsys.readouterr().err
    read(tmp_path, origin="0")
    assert capsys.readouterr().err == ""


def test_real_blood_cells_in_their_layout(shared: Path) -> None:
    """All 364 pictures with their 4,155, 372 and 361 cells, in the split lists' 205, 87 and 72, whichever folder is named."""
    root = shared / "data" / "bccd_voc" / "BCCD"
    for folder, images in ((root, None), (root / "Annotations", None), (root, root / "JPEGImages")):
        found = read(folder, images)
        samples = [each for each in found.samples if isinstance(each, ObjectsSample)]
        names = [each.name for sample in samples for each in sample.objects]
        assert (len(samples), len(list(found.samples))) == (364, 364)
        assert {name: names.count(name) for name in found.classes} == {"Platelets": 361, "RBC": 4155, "WBC": 372}
        splits = [each.split for each in samples]
        assert {split: splits.count(split) for split in ("train", "val", "test")} == {"train": 205, "val": 87, "test": 72}
        assert all((found.root / each.pictures[0]).is_file() and each.stated_size == (640, 480) for each in samples)
        assert found.ignored == {}


def test_real_trees_whose_file_has_another_extension(shared: Path) -> None:
    """OSBS_029 says .tif and lies there as .png: found, and counted."""
    found = read(shared / "data" / "deepforest_aerial_boxes")
    pictures = {each.pictures[0]: len(each.objects) for each in found.samples if isinstance(each, ObjectsSample)}
    assert pictures == {"2019_YELL_2_541000_4977000_image_crop.png": 279, "OSBS_029.png": 61, "SOAP_061.png": 37}
    assert found.ignored == {"picture found under another extension than stated": 1}


def test_splits_come_from_lists_else_from_folders(tmp_path: Path) -> None:
    """trainval is what train leaves out; a picture in two lists is rejected; listed ones without a file are counted."""
    for stem in ("a", "b", "c", "d.1"):
        write(tmp_path / "Annotations" / f"{stem}.xml", xml(filename=f"{stem}.jpg"))
        picture(tmp_path / "JPEGImages" / f"{stem}.jpg")
    write(tmp_path / "ImageSets" / "Main" / "trainval.txt", "a\nb 1\nd.1\n")
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "b.jpg\nc\nx\n")
    write(tmp_path / "ImageSets" / "Main" / "test.txt", "c\n")
    found = read(tmp_path)
    assert [each.split for each in found.samples] == ["train", "val", "val", "train"]
    rejected = [each for each in found.samples if isinstance(each, Rejected)]
    assert [(each.where, each.reason) for each in rejected] == [
        ("Annotations/c.xml", "listed in val and test; a picture belongs to one split")
    ]
    assert found.ignored == {"picture of a split list without annotations": 1}
    shutil.copytree(tmp_path, tmp_path.parent / "above" / "BCCD")
    above = read(tmp_path.parent / "above")  # the folder above the set has the set's splits
    assert [each.split for each in above.samples] == ["train", "val", "val", "train"]
    write(tmp_path / "flat" / "valid" / "a.xml", xml())
    assert only(read(tmp_path / "flat")).split == "val"


def test_names_with_blanks_are_found_in_split_lists(tmp_path: Path) -> None:
    """A line is a name as a whole where an annotation is called so; else what follows the name is a flag."""
    lists = {"train": "my cat 1\nmy dog\t-1\nb 1\n", "val": "JPEGImages/my cat 2.png\nc\t0\n", "test": "lost cat\n"}
    for split, text in lists.items():
        write(tmp_path / "ImageSets" / "Main" / f"{split}.txt", text)
    for stem in ("b", "c", "my cat 1", "my cat 2", "my dog"):
        write(tmp_path / "Annotations" / f"{stem}.xml", xml(filename=f"{stem}.png"))
    found = read(tmp_path)
    assert {each.where[12:-4]: each.split for each in found.samples} == {
        "b": "train", "c": "val", "my cat 1": "train", "my cat 2": "val", "my dog": "train"
    }  # fmt: skip
    assert found.ignored == {"picture of a split list without annotations": 1}


def test_the_annotation_names_a_picture_that_was_renamed(tmp_path: Path) -> None:
    """A stale file name falls back on the annotation's own; a bare stem works; one that is nowhere stays as stated."""
    picture(tmp_path / "new.png")
    write(tmp_path / "new.xml", xml(filename="C:\\old\\img1.jpg"))
    assert only(read(tmp_path)).pictures == ("new.png",)
    write(tmp_path / "new.xml", xml(filename="new"))
    assert only(read(tmp_path)).pictures == ("new.png",)
    (tmp_path / "new.png").unlink()
    assert only(read(tmp_path)).pictures == ("new",)


def test_two_pictures_of_one_name_are_not_guessed_at(tmp_path: Path) -> None:
    """Where the same name lies in two folders the annotation is rejected with both."""
    for folder in ("x", "y"):
        picture(tmp_path / folder / "a.png")
    write(tmp_path / "Annotations" / "a.xml", xml())
    (rejected,) = read(tmp_path).samples
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "picture 'a.png' may be x/a.png or y/a.png; point --images at one of the folders"


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((5, 1, 3, 6), r"object 2 'cell': its box \[4, 0, 3, 6\] has no area; expected x1 < x2"),
        (("nan", 1, 3, 6), "object 2 'cell': <xmin> is nan, expected a finite number"),
        (("", 1, 3, 6), "<xmin> is '', expected a number"),
        (("1_0", 1, 30, 6), "<xmin> is '1_0', expected a number"),
        ((0.2, 0.3, 0.6, 0.7), "object 2 'cell': its box .0.2, 0.3, 0.6, 0.7. is in shares of the picture"),
    ],
)
def test_a_bad_box_is_named(box: tuple[object, ...], reason: str, tmp_path: Path) -> None:
    """One bad object rejects its picture alone, by its number and class."""
    write(tmp_path / "a.xml", xml((1, 1, 2, 2), box))
    write(tmp_path / "b.xml", xml((1, 1, 2, 2)))
    first, second = read(tmp_path).samples
    assert isinstance(first, Rejected) and re.search(reason, first.reason), first
    assert isinstance(second, ObjectsSample)


@pytest.mark.parametrize(
    "content",
    [
        '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><annotation><filename>&y;</filename></annotation>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
        '<!DOCTYPE annotation SYSTEM "http://example.org/a.dtd"><annotation/>',
        "<annotation><object></annotation>",
        "",
        "not xml",
        '<?xml version="1.0" encoding="nonsense"?><annotation/>',
        '<?xml version="1.0" encoding="utf-7"?><annotation/>',
        "<annotation>" + "<a>" * 100_000,
    ],
)
def test_hostile_xml_is_one_rejected_picture(content: str, tmp_path: Path) -> None:
    """Entities, outside files, damage and deep nesting end in a reason with the place, in no time."""
    start = time.process_time()
    write(tmp_path / "a.xml", content)
    (rejected,) = read(tmp_path).samples
    assert isinstance(rejected, Rejected) and rejected.where == "a.xml" and rejected.reason
    assert time.process_time() - start < 1


def test_deep_xml_is_no_trouble(tmp_path: Path) -> None:
    """A hundred thousand elements in each other are read without a crash: they hold no object."""
    write(tmp_path / "a.xml", "<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>")
    assert only(read(tmp_path)).objects == ()


def test_other_xml_files_are_counted(tmp_path: Path) -> None:
    """The .aux.xml files of map tools are no annotations; a folder without any is refused."""
    write(tmp_path / "a.tif.aux.xml", "<PAMDataset/>")
    write(tmp_path / "a.xml", xml(more="<size><width>0</width><height>6</height></size>"))
    found = read(tmp_path)
    assert only(found).stated_size is None
    assert found.ignored == {"XML file that is no annotation": 1}
    with pytest.raises(UsageError, match="no annotation file"):
        read(tmp_path / "nothing")


def test_cut_files_are_read_or_rejected(tmp_path: Path) -> None:
    """A file cut at any byte is read or rejected, never another exception."""
    content = xml((1, 1, 8, 6), more="<size><width>8</width><height>6</height></size>").encode()
    for end in range(len(content)):
        (tmp_path / "a.xml").write_bytes(content[:end])
        (sample,) = read(tmp_path).samples
        assert isinstance(sample, Rejected)
    for place in range(len(content)):
        (tmp_path / "a.xml").write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        assert len(list(read(tmp_path).samples)) <= 1
