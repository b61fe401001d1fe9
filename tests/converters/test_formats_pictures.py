"""Finding pictures: those that share a name, those of another split, masks, and where is looked first."""

import itertools
import json
import random
import sys
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any

import pytest
from PIL import Image

from adapt.domain import Rejected, Source
from adapt.errors import DataError
from converters.formats import annotations
from converters.formats.pictures import PictureFinder


def picture(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def read(path: Path, images: Path | None = None) -> list[tuple[str, str | None]]:
    """The place and the picture of each sample, None for one that is rejected as missing."""
    samples = list(annotations.read_objects(Source(path, images, {}, 0)).samples)
    for each in samples:
        if isinstance(each, Rejected):
            assert "no such file" in each.reason or "no picture of this name" in each.reason, each
    return [(each.where, None if isinstance(each, Rejected) else each.pictures[0]) for each in samples]


def coco(file_name: str) -> dict[str, Any]:
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}]
    return {"images": [{"id": 1, "file_name": file_name}], "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}


def labelme(stated: str) -> dict[str, Any]:
    return {"imagePath": stated, "shapes": [{"label": "cell", "shape_type": "rectangle", "points": [[1, 1], [4, 4]]}]}


def voc(stated: str) -> str:
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax>"
    return f"<annotation><filename>{stated}</filename><object><name>cell</name><bndbox>{box}</bndbox></object></annotation>"


def find(finder: PictureFinder, stated: str) -> str:
    try:
        return finder.find(stated, "x")
    except DataError as error:
        return str(error)


def by_hand(paths: list[PurePosixPath], stated: str) -> str:
    """Counted folder by folder: the path that shares most of them from its end, or both where two do."""
    folders = PurePosixPath(stated).parts[-2::-1]
    shared = [len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(path.parts[-2::-1], folders, strict=False))))
              for path in paths]  # fmt: skip
    first, *others = [str(path) for path, count in zip(paths, shared, strict=True) if count == max(shared)]
    told = f"x: picture {stated!r} may be {first} or {(others or [''])[0]}; point --images at one of the folders"
    return told if others else first


def test_the_longest_shared_trail_of_folders_wins(tmp_path: Path) -> None:
    """For every stated path of up to four folders out of two the answer is that of a count; two as good are named."""
    chosen = random.Random(3)
    folders = [each for depth in range(4) for each in itertools.product("ab", repeat=depth)]
    paths = [PurePosixPath("s", *each, "1.png") for each in chosen.sample(folders, 8)]
    picture(*(tmp_path / path for path in paths))
    paths.sort(key=lambda path: path.parts)
    finder = PictureFinder(tmp_path)
    for stated in ["/".join(("D:", *each, "1.png")) for depth in range(5) for each in itertools.product("ab", repeat=depth)]:
        assert find(finder, stated) == by_hand(paths, stated), stated


@pytest.mark.parametrize("stated", ["D:/old/case{}/image.png", "case{}/image.jpg", "image.png"])
def test_many_pictures_of_one_name_take_no_longer_each(stated: str, tmp_path: Path) -> None:
    """Four times as many are found in about four times as many calls of functions, not in sixteen times as many."""

    def num_calls(num: int) -> int:
        root, count = tmp_path / str(num), 0
        for number in range(num):
            (root / "scans" / f"case{number}").mkdir(parents=True)
            (root / "scans" / f"case{number}" / "image.png").touch()

        def called(frame: FrameType, event: str, value: object) -> None:
            nonlocal count
            count += event == "call"

        finder = PictureFinder(root)
        sys.setprofile(called)
        found = [find(finder, stated.format(number)) for number in range(num)]
        sys.setprofile(None)
        assert "{}" not in stated or found == [f"scans/case{number}/image.png" for number in range(num)]
        return count

    assert num_calls(200) < 6 * num_calls(50)


LABELS = {
    "train/_annotations.coco.json": coco("0001.jpg"),
    "annotations/instances_train2017.json": coco("0001.jpg"),
    "train/0001.json": labelme("..\\imgs\\0001.jpg"),
    "train/0001.xml": voc("D:/old/0001.jpg"),
    "train/via.json": {"k": {"filename": "0001.jpg", "regions": []}},
    "train/0001.geojson": {"type": "FeatureCollection", "features": []},
    "train/boxes.csv": "image,xmin,ymin,xmax,ymax,label\n0001.jpg,1,1,4,4,cell\n",
    "boxes.csv": "image,xmin,ymin,xmax,ymax,label,split\n0001.jpg,1,1,4,4,cell,Training\n",
    "labels/train/0001.txt": "0 0.5 0.5 0.25 0.25\n",
    "train/labelTxt/0001.txt": "1 1 4 1 4 4 1 4 cell 0\n",
}


@pytest.mark.parametrize("name", LABELS)
def test_a_picture_of_another_split_is_never_taken(name: str, tmp_path: Path) -> None:
    """Missing in train while one of its name lies in valid: rejected, by every reader; one in no split's folder is taken."""
    write(tmp_path / name, LABELS[name])
    if name.startswith("labels/"):
        write(tmp_path / "classes.txt", "cell\n")
    picture(tmp_path / "images" / "valid" / "0001.jpg")
    if not name.startswith(("train/", "labels/train/")):  # the folder of pictures tells that the set has such
        assert [found for _, found in read(tmp_path)] == ["images/valid/0001.jpg"]
        picture(tmp_path / "images" / "train" / "0002.jpg")
    assert [found for where, found in read(tmp_path) if "valid" not in where] == [None]
    picture(tmp_path / "images" / "more" / "0001.jpg")
    assert [found for where, found in read(tmp_path) if "valid" not in where] == ["images/more/0001.jpg"]


def test_of_two_pictures_that_may_be_meant_the_stated_one_is_taken_and_told(tmp_path: Path) -> None:
    """b.xml says a.jpg, and b.jpg is there too: a copied file, perhaps."""
    for name, stated in (("b.xml", voc("a.jpg")), ("c.json", labelme("a.jpg"))):
        write(tmp_path / name[-3:] / name, stated)
        picture(*(tmp_path / name[-3:] / f"{stem}.jpg" for stem in "abc"))
        found = annotations.read_objects(Source(tmp_path / name[-3:], None, {}, 0))
        assert [each.pictures for each in found.samples] == [("a.jpg",)]
        assert found.ignored == {"picture of its annotation's name, where that states another": 1}


def test_lists_may_divide_one_folder_whatever_it_is_called(tmp_path: Path) -> None:
    """Kaggle's train pictures, divided by two COCO files: no folder is named for val, and its pictures are where they are."""
    for split, name in (("train", "0001.jpg"), ("val", "0002.jpg")):
        write(tmp_path / "annotations" / f"{split}.json", coco(name))
        picture(tmp_path / "images" / "train" / name)
    assert [found for _, found in read(tmp_path)] == ["images/train/0001.jpg", "images/train/0002.jpg"]


@pytest.mark.parametrize("stated", ["scan_0.5", "scan_0.5.jpg", "old/scan_0.5.png"])
def test_a_dot_in_a_name_is_no_extension(stated: str, tmp_path: Path) -> None:
    """``scan_0.5`` without an extension is the picture of that name, not ``scan_0`` under another extension."""
    picture(tmp_path / "imgs" / "scan_0.jpg", tmp_path / "imgs" / "scan_0.5.jpg")
    assert find(PictureFinder(tmp_path), stated) == "imgs/scan_0.5.jpg"
    assert find(PictureFinder(tmp_path), "scan_0") == "imgs/scan_0.jpg"


def test_the_other_split_keeps_its_picture(tmp_path: Path) -> None:
    """Both files list 0001.jpg, which lies in valid alone: its row is no second one of the picture; the reason names it."""
    for folder in ("train", "valid"):
        write(tmp_path / folder / "_annotations.coco.json", coco("0001.jpg"))
    picture(tmp_path / "valid" / "0001.jpg")
    train, valid = annotations.read_objects(Source(tmp_path, None, {}, 0)).samples
    assert isinstance(train, Rejected) and not isinstance(valid, Rejected) and valid.pictures == ("valid/0001.jpg",)
    named = (
        "valid/0001.jpg is of the split 'val'; if it is meant, write the folder into the annotation, or point --images at it"
    )
    assert (train.split, train.reason) == ("train", f"picture '0001.jpg': no such file, and {named}")
    assert read(tmp_path / "train", tmp_path / "valid") == [("_annotations.coco.json#image 1", "0001.jpg")]


@pytest.mark.parametrize(
    ("name", "stated", "there"),
    [
        ("instances_val.json", "train2014/1.jpg", "train2014/1.jpg"),  # as LVIS and RefCOCO divide COCO anew
        ("instances_val.json", "D:/coco/train2014/1.jpg", "images/train2014/1.jpg"),
        ("train/val.json", "1.jpg", "train/images/1.jpg"),  # all of it lies in the folder of the training set
        ("all.json", "1.jpg", "valid/1.jpg"),
        ("fold_1/all.json", "1.jpg", "valid/1.jpg"),
        ("instances_test.json", "1.jpg", "my_train_pictures/1.jpg"),
    ],
)
def test_a_picture_is_taken_where_no_other_split_is_told(name: str, stated: str, there: str, tmp_path: Path) -> None:
    """The annotation says the folder itself, lies in it, or tells no split; or the picture's folders tell none."""
    write(tmp_path / name, coco(stated))
    picture(tmp_path / there)
    assert [found for _, found in read(tmp_path)] == [there]


def test_labels_named_by_their_split_take_no_picture_of_another(tmp_path: Path) -> None:
    """The input is labels/train itself, and val/1.jpg is not its picture; the folder test above both tells neither apart."""
    write(tmp_path / "test" / "classes.txt", "cell\n")
    write(tmp_path / "test" / "labels" / "train" / "1.txt", "0 0.5 0.5 0.25 0.25\n")
    write(tmp_path / "test" / "labels" / "train" / "classes.txt", "cell\n")
    picture(tmp_path / "test" / "images" / "val" / "1.jpg")
    for images in ("test/images", "test"):
        assert ("1.txt", None) in read(tmp_path / "test" / "labels" / "train", tmp_path / images)
    (tmp_path / "test" / "labels" / "train" / "1.txt").rename(tmp_path / "test" / "labels" / "1.txt")
    assert read(tmp_path / "test") == [("labels/1.txt", "images/val/1.jpg")]


@pytest.mark.parametrize(
    "mask",
    ["SegmentationClass/a.png", "SegmentationObjectPNG/a.png", "SegmentationClassVisualization/a.jpg", "Masks/sub/a.png",
     "train_masks/a.png", "annotations/trimaps/a.png", "AnnotationsVisualization/a.jpg", "panoptic_val2017/a.png"],
)  # fmt: skip
def test_a_mask_is_never_taken_for_its_picture(mask: str, tmp_path: Path) -> None:
    """JPEGImages/a.jpg that is missing is not its mask, which is named in the reason; where it is there no mask makes two."""
    write(tmp_path / "Annotations" / "a.xml", voc("a.jpg"))
    picture(tmp_path / mask)
    (rejected,) = annotations.read_objects(Source(tmp_path, None, {"format": "voc"}, 0)).samples
    assert isinstance(rejected, Rejected)
    named = f"no such file, and {mask} is a mask; if it is meant, write the folder into the annotation, or point --images at it"
    assert rejected.reason == f"picture 'a.jpg': {named}"
    assert read(tmp_path, (tmp_path / mask).parent) == [("Annotations/a.xml", Path(mask).name)]
    picture(tmp_path / "JPEGImages" / "a.jpg")
    assert read(tmp_path) == [("Annotations/a.xml", "JPEGImages/a.jpg")]


@pytest.mark.parametrize(
    ("name", "stated", "there"),
    [
        ("Annotations/a.xml", "D:/old/masks/a.png", "new/masks/a.png"),
        ("Annotations/a.xml", "SegmentationClass/a.png", "SegmentationClass/a.png"),
        ("mask/Annotations/a.xml", "a.png", "mask/JPEGImages/a.png"),
        ("Annotations/a.xml", "a.png", "with_mask/a.png"),
        ("Annotations/a.xml", "a.png", "mask_detection/a.png"),
    ],
)
def test_a_folder_called_mask_is_searched_where_it_is_meant(name: str, stated: str, there: str, tmp_path: Path) -> None:
    """The stated path names such a folder, the annotation lies in one, or the name says what the pictures show."""
    write(tmp_path / name, voc(stated))
    picture(tmp_path / there)
    assert read(tmp_path) == [(name, there)]


def test_the_masks_of_a_panoptic_set_are_no_pictures(tmp_path: Path) -> None:
    """In the folder that is named like the json, whatever that is called; and beside the labels of YOLO."""
    segments = [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 1, "category_id": 1, "bbox": [0, 0, 4, 4]}]}]
    write(tmp_path / "set.json", coco("a.jpg") | {"annotations": segments})
    picture(tmp_path / "set" / "a.png")
    assert read(tmp_path) == [("set.json#image 1", None)]
    write(tmp_path / "yolo" / "classes.txt", "cell\n")
    write(tmp_path / "yolo" / "labels" / "a.txt", "0 0.5 0.5 0.25 0.25\n")
    picture(tmp_path / "yolo" / "masks" / "a.png", tmp_path / "yolo" / "images" / "b.jpg")
    assert ("labels/a.txt", None) in read(tmp_path / "yolo")
    (tmp_path / "yolo" / "images" / "b.jpg").unlink()
    assert ("labels/a.txt", None) in read(tmp_path / "yolo")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("day2/1.json", labelme("1.jpg")),
        ("day2/1.xml", voc("1.jpg")),
        ("day2/1.geojson", {"type": "FeatureCollection", "features": []}),
        ("day2/via.json", {"k": {"filename": "1.jpg", "regions": []}}),
        ("day2/boxes.csv", "image,xmin,ymin,xmax,ymax,label\n1.jpg,1,1,4,4,cell\n"),
        ("day2/coco.json", coco("1.jpg")),
    ],
)
def test_a_picture_beside_its_annotation_is_meant(name: str, content: Any, tmp_path: Path) -> None:
    """1.jpg lies at the root, too, and is another one; it is taken where none lies beside the annotation.

    A list of pictures means its root where one is named: COCO's file_name is relative to the folder of the pictures.
    """
    write(tmp_path / name, content)
    picture(tmp_path / "1.jpg", tmp_path / "day2" / "1.jpg")
    is_list = Path(name).stem != "1"
    assert [found for _, found in read(tmp_path)] == ["day2/1.jpg"]
    assert [found for _, found in read(tmp_path, tmp_path)] == ["1.jpg" if is_list else "day2/1.jpg"]
    (tmp_path / "day2" / "1.jpg").unlink()
    assert [found for _, found in read(tmp_path)] == ["1.jpg"]


def test_of_pictures_as_good_the_one_beside_is_meant(tmp_path: Path) -> None:
    """A bare name and a path from elsewhere fit three pictures; one that shares a folder more is still nearer."""
    picture(*(tmp_path / day / "1.jpg" for day in ("day1", "day2", "day3", "day4/x", "day5/x")))
    finder = PictureFinder(tmp_path)
    assert finder.find("D:\\old\\1.jpg", "x", tmp_path / "day3") == "day3/1.jpg"
    assert finder.find("1", "x", tmp_path / "day3") == "day3/1.jpg"
    assert finder.find("D:/day1/1.jpg", "x", tmp_path / "day3") == "day1/1.jpg"
    with pytest.raises(DataError, match="may be day4/x/1.jpg or day5/x/1.jpg"):
        finder.find("D:/x/1.jpg", "x", tmp_path / "day3")
    with pytest.raises(DataError, match="may be day1/1.jpg or day2/1.jpg"):
        finder.find("1", "x", tmp_path / "Annotations")
