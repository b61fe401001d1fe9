"""COCO and its panoptic form: joins by id, run lengths, splits, and what is named when it is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as masks

from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from converters.formats import coco, panoptic
from converters.formats.pictures import split_of_folders
from converters.masks import object_mask, read_runs
from converters.objects import MaskFile, ObjectsSample, Rle

CATEGORIES = [
    {"id": 0, "name": "cells", "supercategory": "none"},
    {"id": 5, "name": "red", "supercategory": "cells"},
    {"id": 6, "name": "white", "supercategory": "cells"},
]


def document() -> dict[str, Any]:
    images = [{"id": number, "file_name": f"{name}.png", "width": 8, "height": 6} for number, name in ((11, "a"), (12, "b"))]
    annotations = [{"id": 1, "image_id": 11, "category_id": 5, "bbox": [1, 2, 3, 4], "iscrowd": 0}]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    for name in ("a", "b"):
        Image.new("RGB", (8, 6)).save(path.parent / f"{name}.png")
    return path


def read(path: Path, **options: str) -> list[ObjectsSample | Rejected]:
    return list(coco.read(Source(path, None, options, 0)).samples)


def one(folder: Path, annotation: dict[str, Any]) -> ObjectsSample | Rejected:
    """The first picture of a file in which its only object is changed by ``annotation``."""
    value = document()
    value["annotations"][0] |= annotation
    return read(write(folder / "a.json", value))[0]


def test_an_annotation_that_stands_twice_is_one_object(tmp_path: Path) -> None:
    """The same id with the same content is counted and left out; of one id, or without any, two that differ are two."""
    value = document()
    (row,) = value["annotations"]
    value["annotations"] += [row | {"id": "1"}, row | {"bbox": [1, 2, 3, 3]}, row | {"image_id": 12}]
    value["annotations"] += [row | {"image_id": 12, "id": None}] * 2
    found = coco.read(Source(write(tmp_path / "a.json", value), None, {}, 0))
    assert [len(each.objects) for each in found.samples if isinstance(each, ObjectsSample)] == [2, 3]
    assert found.ignored == {coco.TWICE: 1}


def test_a_picture_of_two_images_is_told_by_both(tmp_path: Path) -> None:
    """Two ids for one file: either would lack the other's objects. A category's name has no blanks around it."""
    value = document()
    value["images"] += [{"id": 13, "file_name": "a.png"}]
    value["annotations"] += [{"id": 2, "image_id": 12, "category_id": 5, "bbox": [1, 1, 2, 2]}]
    value["categories"] = [{"id": 5, "name": " red \ncell"}]
    first, second, third = read(write(tmp_path / "a.json", value))
    assert isinstance(second, ObjectsSample) and [each.name for each in second.objects] == ["red cell"]
    for sample, other in ((first, 13), (third, 11)):
        assert isinstance(sample, Rejected)
        assert sample.reason.startswith(
            f"its picture a.png is that of a.json#image {other}, too, and shows the objects of both"
        )


@pytest.mark.parametrize(
    ("segmentation", "is_rejected"),
    [
        ([[6, 0, 8, 0, 8, 1]], True),
        ({"size": [6, 8], "counts": [42, 3, 3]}, True),  # column 7, rows 0 to 2
        ([[4.5, 0, 8, 0, 8, 2]], False),  # half a pixel apart
        ([[2, 3, 8, 0, 8, 5]], False),
        ([], False),
    ],
)
def test_an_outline_elsewhere_than_its_box_is_of_another_object(tmp_path: Path, segmentation: Any, is_rejected: bool) -> None:
    """Drawn would be the one, asked about the other: where they do not meet at all the picture is rejected with both."""
    value = document()
    value["annotations"][0] |= {"segmentation": segmentation}
    sample = read(write(tmp_path / "a.json", value))[0]
    assert isinstance(sample, Rejected) == is_rejected, sample
    if isinstance(sample, Rejected):
        assert "its bbox, [1, 2, 4, 6] by corners, do not meet; one of them is of another object" in sample.reason


@pytest.mark.parametrize(("name", "found"), [(7, "7"), (0, "0"), ("7 ", "7")])
def test_a_number_is_a_name(tmp_path: Path, name: Any, found: str) -> None:
    """A category that is called 7 is a class "7", as in a table."""
    group = {"id": 0, "name": "digits", "supercategory": "none"}
    value = document() | {"categories": [group, {"id": 5, "name": name, "supercategory": "digits"}]}
    assert coco.read(Source(write(tmp_path / "a.json", value), None, {}, 0)).classes == (found,)


def test_a_picture_of_two_splits_is_in_both(tmp_path: Path) -> None:
    """Each split's file has its own objects; ids 1.0 and "1.0" of one picture are two images and no fault of ours."""
    for split in ("train", "val"):
        write(tmp_path / f"{split}.json", document())
    assert [each.split for each in read(tmp_path) if isinstance(each, ObjectsSample)] == ["train", "train", "val", "val"]
    value = document() | {"images": [{"id": each, "file_name": "a.png"} for each in ("1.0", 1.0)]}
    value["annotations"] = [{"id": 2, "image_id": "1.0", "category_id": 5, "bbox": [1, 1, 2, 2]}]
    assert all(isinstance(each, Rejected) for each in read(write(tmp_path / "one" / "a.json", value)))
    value["categories"] = [
        {"id": 5, "name": " cells", "supercategory": "cells"},
        {"id": 6, "name": "red", "supercategory": "cells "},
    ]
    found = coco.read(Source(write(tmp_path / "two" / "a.json", document() | {"categories": value["categories"]}), None, {}, 0))
    assert found.classes == ("cells", "red")


def test_images_without_annotations_stay(tmp_path: Path) -> None:
    """Both images are samples; the second has no objects; xywh became corners; the group above the classes is no class."""
    found = coco.read(Source(write(tmp_path / "instances_val2017.json", document()), None, {}, 0))
    first, second = found.samples
    assert isinstance(first, ObjectsSample) and isinstance(second, ObjectsSample)
    assert [(each.name, each.box_px) for each in first.objects] == [("red", (1, 2, 4, 6))]
    assert (second.objects, second.pictures, second.split, second.stated_size) == ((), ("b.png",), "val", (8, 6))
    assert found.classes == ("red", "white")


def test_roboflow_splits_are_folders(tmp_path: Path) -> None:
    """``train/_annotations.coco.json`` and ``valid/...`` are one set: splits from folders, pictures beside their file."""
    for folder in ("train", "valid"):
        write(tmp_path / folder / "_annotations.coco.json", document())
    samples = read(tmp_path)
    assert [(each.split, each.pictures) for each in samples if isinstance(each, ObjectsSample)] == [
        ("train", ("train/a.png",)),
        ("train", ("train/b.png",)),
        ("val", ("valid/a.png",)),
        ("val", ("valid/b.png",)),
    ]
    assert len({each.id for each in samples if isinstance(each, ObjectsSample)}) == 4


def test_of_the_files_of_one_split_the_objects_are_read(tmp_path: Path) -> None:
    """Beside instances_* captions are left alone; two files of one split are refused, not merged."""
    write(tmp_path / "annotations" / "instances_train2017.json", document())
    write(tmp_path / "annotations" / "captions_train2017.json", document())
    assert len(read(tmp_path)) == 2
    write(tmp_path / "annotations" / "instances_train2014.json", document())
    with pytest.raises(UsageError, match="both COCO files of one split"):
        read(tmp_path)


def test_files_beside_those_of_coco_are_read_or_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of a split that no instances_ file has is read; one beside such a file, or of no split, is told."""
    folder = tmp_path / "annotations"
    for name in ("instances_train.json", "captions_train.json", "person_keypoints_train.json", "stuff_train.json"):
        write(folder / name, document())
    assert [each.split for each in read(tmp_path)] == ["train"] * 2
    assert capsys.readouterr().err == ""
    write(folder / "custom_val.json", document())
    found = coco.read(Source(tmp_path, None, {}, 0))
    assert [each.where for each in found.samples] == [
        f"annotations/{name}.json#image {number}" for name in ("custom_val", "instances_train") for number in (11, 12)
    ]
    assert capsys.readouterr().err == "" and not found.ignored
    for name in ("custom_train.json", "all.json", "captions_test.json"):
        write(folder / name, document())
    found = coco.read(Source(tmp_path, None, {}, 0))
    assert len(list(found.samples)) == 4 and found.ignored == {coco.PASSED_BY: 3}
    assert capsys.readouterr().err == (
        f"note: {tmp_path}: COCO files that are not read, since files named instances_ are there: 3 (annotations/all.json, "
        "annotations/captions_test.json, annotations/custom_train.json); to read one, point --input at it\n"
    )
    coco.read(Source(tmp_path, None, {}, 0, counting=True))
    assert capsys.readouterr().err == ""
    write(folder / "other_val.json", document())
    with pytest.raises(UsageError, match="custom_val.json and .*other_val.json are both COCO files of one split"):
        read(tmp_path)


def random_mask(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mask = np.zeros((6, 8), np.uint8, order="F")
    mask[generator.integers(0, 4) :, generator.integers(0, 6) :] = generator.integers(0, 2, 1)
    return np.asfortranarray(np.where(generator.random((6, 8)) < 0.3, 1 - mask, mask), np.uint8)


@pytest.mark.parametrize("seed", range(40))
def test_run_lengths_in_both_forms_are_those_of_pycocotools(seed: int, tmp_path: Path) -> None:
    """Compressed text stays as it is, a list of runs becomes the text that pycocotools writes, and the box is its toBbox."""
    mask = random_mask(seed)
    if not mask.any():
        mask[0, 0] = 1
    encoded = masks.encode(mask)
    text = encoded["counts"].decode()
    flat = mask.flatten(order="F")
    runs, value = [0], 0
    for pixel in flat.tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    x, y, width, height = masks.toBbox(encoded).tolist()
    for counts in (text, runs):
        found = one(tmp_path, {"segmentation": {"counts": counts, "size": [6, 8]}, "bbox": None, "iscrowd": 1})
        assert isinstance(found, ObjectsSample)
        assert found.objects[0].mask == Rle(text, (8, 6))
        assert found.objects[0].box_px == (x, y, x + width, y + height)
        assert found.objects[0].crowd


def test_large_runs_are_read_as_pycocotools_writes_them(tmp_path: Path) -> None:
    """Runs beyond five and ten bits, and differences below zero, decode to what they were."""
    for seed in range(20):
        generator = np.random.default_rng(seed)
        runs = generator.integers(1, 5000, 40).tolist()
        mask = np.repeat(np.arange(40) % 2, runs).astype(np.uint8).reshape(1, -1)
        encoded = masks.encode(np.asfortranarray(mask))
        assert read_runs(encoded["counts"].decode(), "here") == runs


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ({"counts": "0P1", "size": [6, 8]}, "fill"),
        ({"counts": "0P", "size": [6, 8]}, "cut off"),
        ({"counts": "\x00\xff", "size": [6, 8]}, "letters from 0 to o"),
        ({"counts": "o" * 50, "size": [6, 8]}, "letters from 0 to o"),
        ({"counts": [1, 2], "size": [6, 8]}, "fill 3 pixels, expected 48"),
        ({"counts": [-1, 49], "size": [6, 8]}, "counts of 0 or more"),
        ({"counts": [48], "size": [10**9, 10**9]}, "pixels allowed"),
        ({"counts": [48], "size": [-6, -8]}, "expected .height, width."),
        ({"counts": [48], "size": [6, 8]}, "no area"),
        ([[1, 2, 3, 4]], "4 numbers, expected x and y of three points"),
        ([[1, 2, 3, 4, 5, "x"]], "'x', expected a number"),
        ([1, 2, 3], "expected a list of polygons or run lengths"),
    ],
)
def test_damaged_masks_reject_their_picture_alone(segmentation: Any, reason: str, tmp_path: Path) -> None:
    """What pycocotools would read beyond its end, or not look at, is one line that names object and fault."""
    value = document()
    value["annotations"][0] |= {"segmentation": segmentation, "bbox": None}
    first, second = read(write(tmp_path / "a.json", value))
    assert isinstance(first, Rejected)
    assert re.search(reason, first.reason), first.reason
    assert first.where == "a.json#image 11" and "object 1 'red'" in first.reason
    assert isinstance(second, ObjectsSample)


SLIVER = [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("segmentation", "num_kept", "num_left_out"), [([[]], 0, 1), ([SLIVER], 0, 1), ([[1, 2, 4, 2, 4, 6], SLIVER, []], 1, 2)]
)
def test_outlines_of_too_few_points_are_left_out_beside_a_box(
    segmentation: Any, num_kept: int, num_left_out: int, tmp_path: Path
) -> None:
    """The box tells the object, the rest is counted, and a mark that needs an outline says that there is none."""
    value = document()
    value["annotations"][0]["segmentation"] = segmentation
    found = coco.read(Source(write(tmp_path / "a.json", value), None, {}, 0))
    first, _ = found.samples
    assert isinstance(first, ObjectsSample) and found.ignored == {coco.FEW_POINTS: num_left_out}
    assert first.objects[0].box_px == (1, 2, 4, 6) and len(first.objects[0].polygons_px) == num_kept
    if not num_kept:
        with pytest.raises(DataError, match="'red' has no mask and no outline; choose --option mark=box"):
            object_mask(first.objects[0], (8, 6), tmp_path, "here")


@pytest.mark.parametrize("bbox", [None, []])
def test_outlines_of_too_few_points_are_no_object(bbox: Any, tmp_path: Path) -> None:
    """Without a box nothing tells where the object is: the picture is rejected, also where another part has points enough."""
    for segmentation in ([[]], [SLIVER], [[1, 2, 4, 2, 4, 6], SLIVER]):
        found = one(tmp_path, {"segmentation": segmentation, "bbox": bbox})
        assert isinstance(found, Rejected) and "expected x and y of three points or more" in found.reason
    found = one(tmp_path, {"segmentation": [[1, 2, 4, 2, 4, 6, 7]]})
    assert isinstance(found, Rejected) and "a polygon of 7 numbers" in found.reason


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"bbox": [1, 2, 0, 4]}, r"object 1 'red': its box \[1, 2, 1, 6\] has no area"),
        ({"bbox": [1, 2, -3, 4]}, "has no area"),
        ({"bbox": [1e308, 2, 1e308, 4]}, "not finite"),
        ({"bbox": [10**400, 2, 3, 4]}, "expected a number"),
        ({"bbox": [True, 2, 3, 4]}, "'True', expected a number"),
        ({"bbox": [1, 2, 3]}, "expected .x, y, width, height."),
        ({"bbox": None}, "neither 'bbox' nor 'segmentation'"),
        ({"category_id": 99}, "category_id '99' names no category"),
        ({"category_id": [5]}, "names no category"),
        (
            {"bbox": [0.2, 0.3, 0.4, 0.7]},
            r"object 1 'red': its box .* is in shares of the picture, from 0 to 1; expected",
        ),
        ({"iscrowd": 2}, "object 1 'red': its iscrowd is '2', expected 0 or 1"),
        ({"iscrowd": "no"}, "its iscrowd is 'no', expected 0 or 1"),
        ({"iscrowd": [0]}, "its iscrowd is '.0.', expected 0 or 1"),
    ],
)
def test_an_object_that_is_wrong_is_named(annotation: dict[str, Any], reason: str, tmp_path: Path) -> None:
    """The picture of a bad object is rejected, and the reason says which object and what was found."""
    found = one(tmp_path, annotation)
    assert isinstance(found, Rejected)
    assert re.search(reason, found.reason), found.reason


@pytest.mark.parametrize("crowd", [False, True])
def test_a_crowd_is_told_by_number_truth_and_text(tmp_path: Path, crowd: bool) -> None:
    """The text "0" is no crowd, whose object would vanish from answers; without a value an object is none, in both forms."""
    written = (1, 1.0, True, "1", "true", "True") if crowd else (0, 0.0, False, "0", "false", "False", None, "null", "")
    value = document()
    segment = {"category_id": 5, "bbox": [0, 0, 4, 6]}
    annotations = [segment | {"image_id": 11, "iscrowd": each} for each in written]
    value["annotations"] = annotations if crowd else [*annotations, segment | {"image_id": 11}]
    first, _ = read(write(tmp_path / "a.json", value))
    assert isinstance(first, ObjectsSample) and {each.crowd for each in first.objects} == {crowd}
    segments = [segment | {"id": number, "iscrowd": each} for number, each in enumerate(written, start=1)]
    value["annotations"] = [{"image_id": 11, "file_name": "a.png", "segments_info": segments}]
    (tmp_path / "p").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "p" / "a.png")
    first, _ = panoptic.read(Source(write(tmp_path / "p.json", value), None, {}, 0)).samples
    assert isinstance(first, ObjectsSample) and {each.crowd for each in first.objects} == {crowd}
    segments[0]["iscrowd"] = "2"
    first, _ = panoptic.read(Source(write(tmp_path / "p.json", value), None, {}, 0)).samples
    assert isinstance(first, Rejected) and first.reason == "segment 1 'red': its iscrowd is '2', expected 0 or 1"


def test_what_cannot_be_told_is_rejected_or_counted(tmp_path: Path) -> None:
    """Doubled image ids and category ids are not guessed at; annotations of unlisted images are counted."""
    value = document()
    value["images"][1]["id"] = 11
    value["annotations"].append({"image_id": 99, "category_id": 5, "bbox": [1, 1, 1, 1]})
    found = coco.read(Source(write(tmp_path / "a.json", value), None, {}, 0))
    assert [each.reason for each in found.samples if isinstance(each, Rejected)] == [
        "the image id 11 is given 2 times; ids must be unique"
    ] * 2
    assert found.ignored == {coco.ORPHAN: 1}
    value = document() | {"categories": [*CATEGORIES, {"id": 5, "name": "blue"}]}
    assert isinstance(read(write(tmp_path / "b.json", value))[0], Rejected)


@pytest.mark.parametrize("is_listed_as_text", [True, False])
def test_a_number_and_its_text_are_one_id(tmp_path: Path, is_listed_as_text: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids written as text in one list and as numbers in the other are joined: images and categories; other texts stay texts."""
    value = document()
    rows = (*value["images"], *CATEGORIES) if is_listed_as_text else value["annotations"]
    keys = {"id"} if is_listed_as_text else {"image_id", "category_id"}
    changed = iter([{key: str(each) if key in keys else each for key, each in row.items()} for row in rows])
    lists = ("images", "categories") if is_listed_as_text else ("annotations",)
    value |= {name: [next(changed) for _ in value[name]] for name in lists}
    value["images"].append({"id": "0x0b", "file_name": "c.png"})
    Image.new("RGB", (8, 6)).save(tmp_path / "c.png")
    found = coco.read(Source(write(tmp_path / "a.json", value), None, {}, 0))
    first, second, third = found.samples
    assert isinstance(first, ObjectsSample) and isinstance(second, ObjectsSample) and isinstance(third, ObjectsSample)
    assert [[each.name for each in sample.objects] for sample in (first, second, third)] == [["red"], [], []]
    assert found.classes == ("red", "white") and not found.ignored and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("listed", "joined"),
    [
        (11, 11.0),
        (11.0, 11),
        ("11", 11.0),
        (1234567890123456789, "1234567890123456789"),
        ("170141183460469231731687303715884105727", 2**127 - 1),
        (2**53 - 1, float(2**53 - 1)),
    ],
)
def test_whole_floats_and_long_numbers_are_ids(listed: Any, joined: Any, tmp_path: Path) -> None:
    """1.0, as pandas writes it, is 1, of images and categories; a number of 19 digits or more is the same as its text."""
    value = document()
    value["images"][0]["id"] = listed
    value["annotations"][0] |= {"image_id": joined, "category_id": 5.0}
    found = coco.read(Source(write(tmp_path / "a.json", value), None, {}, 0))
    first, second = found.samples
    assert isinstance(first, ObjectsSample) and [each.name for each in first.objects] == ["red"]
    assert isinstance(second, ObjectsSample) and second.objects == () and not found.ignored


def test_floats_that_were_rounded_are_no_ids(tmp_path: Path) -> None:
    """From 2**53 on a float may be another number than was written, and a fraction is none: the picture is rejected."""
    for unsure in (float(2**53), 1e22, 11.5):
        value = document()
        value["images"][1]["id"] = unsure
        good, bad = read(write(tmp_path / "a.json", value))
        assert isinstance(good, ObjectsSample) and isinstance(bad, Rejected)
        assert (bad.where, bad.reason[:13]) == ("a.json#images[1]", "the image is ")


def test_a_file_whose_annotations_belong_to_no_image_is_refused(tmp_path: Path) -> None:
    """Its pictures would all pass as empty: an error that shows an id of both lists; among other files it is one rejection."""
    value = document()
    value["annotations"] = [{"image_id": f"{each}.png", "category_id": 5, "bbox": [1, 1, 1, 1]} for each in "ab"]
    path = write(tmp_path / "valid" / "_annotations.coco.json", value)
    fault = "none of its 2 annotations belongs to an image that it lists: annotations[0], image_id 'a.png', against id 11 of "
    for counting in (False, True):
        with pytest.raises(DataError, match=re.escape(f"{path}: {fault}")):
            coco.read(Source(path, None, {}, 0, counting=counting))
    write(tmp_path / "train" / "_annotations.coco.json", document())
    *good, bad = read(tmp_path)
    assert [type(each) for each in good] == [ObjectsSample, ObjectsSample]
    assert isinstance(bad, Rejected) and (bad.where, bad.split) == ("valid/_annotations.coco.json", "val")
    assert bad.reason == f"{fault}images[0]; write the same ids in both lists"


def test_annotations_of_no_image_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr says of which file, how many, and what stands in the first; where samples are counted, none."""
    value = document()
    value["annotations"] += [{"image_id": "a.png", "category_id": 5, "bbox": [1, 1, 1, 1]}, 7]
    path = write(tmp_path / "a.json", value)
    coco.read(Source(path, None, {}, 0))
    left_out = (
        f"note: {path}: annotations of images that it does not list: 2, left out; first: annotations[1], image_id 'a.png'"
    )
    assert capsys.readouterr().err.splitlines() == [left_out]
    coco.read(Source(path, None, {}, 0, counting=True))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\a.jpg", "x\x00.png", "~/a.jpg", "a/" * 600 + "a.jpg", "y" * 300]
)
def test_no_picture_outside_the_root_is_named(name: str, tmp_path: Path) -> None:
    """File names that climb, or that no file system takes, reject their image."""
    value = document()
    value["images"][0]["file_name"] = name
    first, second = read(write(tmp_path / "set" / "a.json", value))
    assert isinstance(first, Rejected) and "path" in first.reason
    assert isinstance(second, ObjectsSample)


def test_panoptic_segments_point_into_their_mask(tmp_path: Path) -> None:
    """The root lies above pictures and masks; a segment's value is its colour; a mask of another size is rejected."""
    value = document()
    segments = [{"id": 70000, "category_id": 5, "bbox": [0, 0, 4, 6], "iscrowd": 0}]
    value["annotations"] = [
        {"image_id": 11, "file_name": "a.png", "segments_info": segments},
        {"image_id": "12", "file_name": "b.png", "segments_info": segments},
    ]
    path = write(tmp_path / "pictures" / "p.json", value).rename(tmp_path / "panoptic_val.json")
    (tmp_path / "panoptic_val").mkdir()
    Image.new("RGB", (8, 6), (112, 17, 1)).save(tmp_path / "panoptic_val" / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "panoptic_val" / "b.png")
    found = panoptic.read(Source(path, tmp_path / "pictures", {}, 0))
    first, second = found.samples
    assert isinstance(first, ObjectsSample) and isinstance(second, Rejected)
    assert found.root == tmp_path and first.pictures == ("pictures/a.png",) and first.split == "val"
    assert first.objects[0].mask == MaskFile("panoptic_val/a.png", 112 + 256 * 17 + 65536 * 1)
    assert second.reason == "stated as 8x6, but mask panoptic_val/b.png is 8x8"


def test_the_real_panoptic_sample_matches_its_masks(shared: Path) -> None:
    """Each of the 50 segments of two COCO pictures fills exactly its box in its mask, and the detection form has the same."""
    folder = shared / "data" / "coco_panoptic_sample" / "sample_data"
    found = panoptic.read(Source(folder / "panoptic_examples.json", folder / "input_images", {}, 0))
    detection = read(folder / "panoptic_coco_detection_format.json")
    sizes = []
    for sample, other in zip(found.samples, detection, strict=True):
        assert isinstance(sample, ObjectsSample) and isinstance(other, ObjectsSample)
        assert [(each.name, each.box_px) for each in sample.objects] == [(each.name, each.box_px) for each in other.objects]
        sizes.append(len(sample.objects))
        for each, same in zip(sample.objects, other.objects, strict=True):
            assert isinstance(each.mask, MaskFile) and isinstance(same.mask, Rle)
            colours = np.asarray(Image.open(found.root / each.mask.path)).astype(int) @ [1, 256, 65536]
            runs = masks.encode(np.asfortranarray(colours == each.mask.value, np.uint8))
            assert runs["counts"].decode() == same.mask.counts
    assert sizes == [18, 32]


def test_a_split_does_not_hang_on_how_the_input_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file is in one split, named from the root or from inside its folder; a folder of a longer name tells none."""
    path = write(tmp_path / "test" / "ann.json", document())
    monkeypatch.chdir(path.parent)
    for spelled in (path, Path("ann.json"), path.parent, Path(), Path("../test")):
        assert {each.split for each in read(spelled)} == {"test"}, spelled
    deeper = write(tmp_path / "set" / "test" / "annotations" / "ann.json", document())
    for spelled in (deeper, deeper.parent, deeper.parents[1], deeper.parents[2]):
        assert {each.split for each in read(spelled)} == {"test"}, spelled
    for folder in ("test_project", "my_test_data", "latest"):
        assert {each.split for each in read(write(tmp_path / folder / "ann.json", document()))} == {None}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *[(name, "train") for name in ("train", "Training", "train2017", "instances_train2017", "train-00000-of-00002")],
        *[(name, "val") for name in ("val", "valid", "validation", "val_images")],
        *[(name, "test") for name in ("test", "testing", "test_images", "images_test")],
        *[(name, None) for name in ("test_project", "my_test_data", "trainer", "contest", "train_and_test", "")],
    ],
)
def test_only_whole_names_of_folders_are_splits(folder: str, split: str | None) -> None:
    """A folder is a split's where nothing but a year, a part or a word for its content stands beside the split."""
    assert split_of_folders(folder) == split


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_broken_file_of_several_is_one_rejection(tmp_path: Path, key: str) -> None:
    """A document without one of its lists is rejected by its path, and the other split is read; alone it is refused."""
    write(tmp_path / "train" / "_annotations.coco.json", document())
    path = write(tmp_path / "valid" / "_annotations.coco.json", document() | {key: {"file_name": 3}})
    *good, bad = read(tmp_path)
    assert [type(each) for each in good] == [ObjectsSample, ObjectsSample]
    assert isinstance(bad, Rejected)
    assert (bad.where, bad.split) == ("valid/_annotations.coco.json", "val") and bad.reason.startswith(f"'{key}' is ")
    with pytest.raises(DataError, match=f"'{key}' is .*expected a list"):
        read(path)


def test_places_tell_files_of_one_name_apart(tmp_path: Path) -> None:
    """In Roboflow's folders every file has one name: a place says which folder it is in."""
    for folder in ("train", "valid"):
        write(tmp_path / folder / "_annotations.coco.json", document())
    assert [each.where for each in read(tmp_path)] == [
        f"{folder}/_annotations.coco.json#image {number}" for folder in ("train", "valid") for number in (11, 12)
    ]
