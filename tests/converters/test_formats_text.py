"""YOLO and DOTA: layouts, class names, outlines, headers, and lines that are not what they must be."""

import re
from pathlib import Path

import pytest
from PIL import Image

import adapt
from adapt import safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from converters.formats import dota, textlabels, yolo
from converters.objects import Objects, ObjectsSample

LINE = "1 0.5 0.5 0.25 0.5\n"


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def picture(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60)).save(path)


def read(path: Path, images: Path | None = None) -> Objects:
    return yolo.read(Source(path, images, {}, 0))


def shown(found: Objects) -> list[tuple[str | None, str, int]]:
    return [(each.split, each.pictures[0], len(each.objects)) for each in found.samples if isinstance(each, ObjectsSample)]


def test_every_layout_pairs_pictures_with_labels(tmp_path: Path) -> None:
    """images/train with labels/train, train/images with train/labels, and side by side; the input may be any of the folders."""
    for root, image, label in (
        ("one", "images/train", "labels/train"),
        ("two", "train/images", "train/labels"),
        ("three", "train", "train"),
    ):
        picture(tmp_path / root / image / "a.jpg", tmp_path / root / image / "b.jpg")
        write(tmp_path / root / label / "a.txt", LINE + "0 0.5 0.5 0.25 0.5\n")
        write(tmp_path / root / "classes.txt", "cat\ndog\n")
        assert shown(read(tmp_path / root)) == [("train", f"{image}/a.jpg", 2), ("train", f"{image}/b.jpg", 0)], root
    assert shown(read(tmp_path / "one", tmp_path / "one" / "images")) == [
        ("train", "train/a.jpg", 2),
        ("train", "train/b.jpg", 0),
    ]
    write(tmp_path / "one" / "labels" / "classes.txt", "cat\ndog\n")
    assert shown(read(tmp_path / "one" / "labels")) == [("train", "images/train/a.jpg", 2), ("train", "images/train/b.jpg", 0)]


def test_the_input_may_be_a_folder_of_one_split(tmp_path: Path) -> None:
    """test, test/labels and labels/test are of the test split, and so are their pictures without labels."""
    for root, image, label in (("one", "images/test", "labels/test"), ("two", "test/images", "test/labels")):
        picture(tmp_path / root / image / "a.jpg", tmp_path / root / image / "b.jpg")
        write(tmp_path / root / label / "a.txt", LINE)
        write(tmp_path / root / label / "classes.txt", "cat\ndog\n")
    found = read(tmp_path / "one" / "labels" / "test", tmp_path / "one" / "images" / "test")
    assert shown(found) == [("test", "a.jpg", 1), ("test", "b.jpg", 0)]
    for given in ("test", "test/labels"):
        assert shown(read(tmp_path / "two" / given)) == [("test", "images/a.jpg", 1), ("test", "images/b.jpg", 0)], given


def test_of_two_split_folders_the_nearest_counts(tmp_path: Path) -> None:
    """A copy of labels in train_data/val is of val; labels without a split are of that of their picture's folder."""
    picture(tmp_path / "train_data" / "val" / "a.jpg", tmp_path / "images" / "test" / "b.jpg")
    write(tmp_path / "train_data" / "val" / "a.txt", LINE)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    assert shown(read(tmp_path / "train_data" / "..", tmp_path / "train_data")) == [("val", "val/a.jpg", 1)]
    write(tmp_path / "labels" / "b.txt", LINE)
    assert shown(read(tmp_path)) == [("test", "images/test/b.jpg", 1)]


def test_labels_of_a_picture_named_like_a_list_are_read(tmp_path: Path) -> None:
    """``labels/test.txt`` holds the objects of ``images/test.jpg``, while ``test.txt`` above them lists pictures."""
    picture(tmp_path / "images" / "a.jpg", tmp_path / "images" / "test.jpg")
    for name in ("labels/a.txt", "labels/test.txt", "test.txt"):
        write(tmp_path / name, LINE)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    assert shown(read(tmp_path)) == [(None, "images/a.jpg", 1), (None, "images/test.jpg", 1)]


def test_pictures_of_formats_that_are_not_read_are_told(tmp_path: Path) -> None:
    """With labels or without, each is rejected with what to do, but for one beside the same picture in another format."""
    picture(tmp_path / "images" / "a.jpg")
    for name in ("images/a.dng", "images/b.heic", "images/c.AVIF"):
        write(tmp_path / name, "x")
    for name in ("a", "b"):
        write(tmp_path / "labels" / f"{name}.txt", LINE)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    first, *rejected = read(tmp_path).samples
    assert isinstance(first, ObjectsSample) and first.pictures == ("images/a.jpg",)
    reason = "a picture of the format {}, which is not read; convert it to PNG or JPEG"
    assert rejected == [
        Rejected("labels/b.txt", f"images/b.heic is {reason.format('HEIC')}", None),
        Rejected("images/c.AVIF", reason.format("AVIF"), None),
    ]
    write(tmp_path / "dota" / "labelTxt" / "P1.txt", "54 28 63 11 71 40 12 62 ship\n")
    write(tmp_path / "dota" / "images" / "P1.jp2", "x")
    (sample,) = dota.read(Source(tmp_path / "dota", None, {}, 0)).samples
    assert sample == Rejected("labelTxt/P1.txt", f"images/P1.jp2 is {reason.format('JP2')}", None)


def test_what_is_not_read_of_an_unlabelled_split_is_left_out(tmp_path: Path) -> None:
    """Of a test to be guessed a picture of any format is counted."""
    picture(tmp_path / "train" / "images" / "a.jpg")
    write(tmp_path / "train" / "labels" / "a.txt", LINE)
    write(tmp_path / "test" / "images" / "b.heic", "x")
    write(tmp_path / "classes.txt", "cat\ndog\n")
    found = read(tmp_path)
    assert shown(found) == [("train", "train/images/a.jpg", 1)] and len(found.samples) == 1
    assert found.ignored == {yolo.UNLABELLED: 1}


def test_what_is_no_label_file_is_left_alone(tmp_path: Path) -> None:
    """Lists of pictures, readmes and plots beside ``images`` are neither labels nor samples."""
    picture(tmp_path / "images" / "a.jpg", tmp_path / "runs" / "plot.png")
    for name in ("train.txt", "README.dataset.txt", "labels/a.txt"):
        write(tmp_path / name, LINE)
    write(tmp_path / "data.yaml", "train: ../train/images\nnc: 2\nnames: ['no', 'yes']\n")
    found = read(tmp_path)
    assert shown(found) == [(None, "images/a.jpg", 1)]
    assert found.classes == ("no", "yes")  # not the truth values of YAML
    assert found.ignored == {"picture outside the folder 'images'": 1, "split of data.yaml that names no picture": 1}


def test_labels_without_a_picture_are_rejected(tmp_path: Path) -> None:
    """A label file whose picture is missing is a sample that is rejected by name."""
    write(tmp_path / "labels" / "a.txt", LINE)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    (rejected,) = read(tmp_path).samples
    assert isinstance(rejected, Rejected)
    assert (rejected.where, rejected.reason) == ("labels/a.txt", f"no picture of this name under {tmp_path}")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names:\n- cat\n- dog\n", {0: "cat", 1: "dog"}),
        ("names:\n  1: cat\n  5: dog\n", {1: "cat", 5: "dog"}),
        ("names: [cat, 'no', 12]\n", {0: "cat", 1: "no", 2: "12"}),
    ],
)
def test_names_as_list_and_mapping(text: str, names: dict[int, str], tmp_path: Path) -> None:
    """Both forms of data.yaml, every name as it is written."""
    write(tmp_path / "data.yaml", text)
    assert yolo.read_names(tmp_path).names == names


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("names: !!python/object/apply:os.system ['touch /tmp/x']\n", "'names' holds|expected a list or a mapping"),
        ("a: &a [x]\nnames: *a\n", "an alias"),
        ("names: [" * 5000, "nested too deeply|not YAML"),
        ("names: [cat\n", "not YAML"),
        ("names: {a: b}\n", "expected a number and a name"),
        ("names: {}\n", "expected a list or a mapping"),
        ("names:\n  - [x]\n", "expected a number and a name"),
        ("\x00", "not YAML"),
        ("? [a]\n: b\n? {c: d}\n: e\nnames: [x]", "not YAML"),
    ],
)
def test_hostile_yaml_runs_nothing(text: str, reason: str, tmp_path: Path) -> None:
    """Tags that would call something, aliases, damage and nesting end in one line; nothing is executed."""
    write(tmp_path / "data.yaml", text)
    if "python" in text:  # the tag is not looked at: what stands behind it is a list of one name
        assert yolo.read_names(tmp_path).names == {0: "touch /tmp/x"}
        return
    with pytest.raises(DataError) as caught:
        yolo.read_names(tmp_path)
    assert re.search(reason, str(caught.value)), caught.value


def test_names_that_are_missing_or_disagree_are_named(tmp_path: Path) -> None:
    """Numbers without names would be answers nobody can read; two lists that differ are not guessed between."""
    write(tmp_path / "a.txt", LINE)
    with pytest.raises(UsageError, match="no class names; expected data.yaml"):
        read(tmp_path)
    write(tmp_path / "train" / "classes.txt", "\n")
    with pytest.raises(DataError, match="classes.txt: lists no class"):
        read(tmp_path)
    write(tmp_path / "train" / "classes.txt", "cat\n")
    write(tmp_path / "val" / "classes.txt", "dog\n")
    with pytest.raises(UsageError, match="list different classes"):
        read(tmp_path)
    write(tmp_path / "coco.yaml", "names: [person]")
    write(tmp_path / "data.yaml", "names: [cat]")
    with pytest.raises(UsageError, match="coco.yaml and .*data.yaml name different classes; point --input at the one"):
        read(tmp_path)
    assert yolo.read_names(tmp_path / "data.yaml").names == {0: "cat"}


def test_a_box_in_the_first_pixel_is_one(tmp_path: Path) -> None:
    """Shares are what YOLO's files hold: an object smaller than a pixel, at the corner, is none of a wrong scale."""
    picture(tmp_path / "images" / "a.jpg")
    write(tmp_path / "labels" / "a.txt", "0 0.0007 0.001 0.0014 0.002\n0 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "classes.txt", "cat\n")
    (sample,) = yolo.read(Source(tmp_path, None, {}, 0)).samples
    assert isinstance(sample, ObjectsSample) and len(sample.objects) == 2


def test_an_empty_line_of_classes_moves_no_class(tmp_path: Path) -> None:
    """A class is the number of its line; the one of the empty line has no name."""
    write(tmp_path / "classes.txt", "cat\n\ndog\n\n")
    assert yolo.read_names(tmp_path).names == {0: "cat", 2: "dog"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 0.5 0.5 0.1 0.1", "a.txt:2: class 2, but the set names 2 classes"),
        ("1 40 30 20 20", "these look like pixels"),
        ("1 0.5 0.5 0.2 0.2 0.5 0.5 2 0.6 0.6 2", "a point at 2 of the picture; of key points .* kpt_shape: .NUMBER, 3."),
        ("1 0.5 0.5 0 0.1", "a.txt:2: object 2 'dog': its box .* has no area"),
        ("1 0.5 nan 0.1 0.1", "is nan, expected a finite number"),
        ("1 0.5 0.5 0.1", "3 numbers after the class"),
        ("1 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "7 numbers after the class"),
        ("dog 0.5 0.5 0.1 0.1", "the class is 'dog', expected a number"),
        ("1.5 0.5 0.5 0.1 0.1", "class 1.5"),
    ],
)
def test_a_bad_line_is_named(line: str, reason: str, tmp_path: Path) -> None:
    """One bad line rejects its picture alone, by file and line."""
    picture(tmp_path / "a.jpg", tmp_path / "b.jpg")
    write(tmp_path / "a.txt", LINE + line)
    write(tmp_path / "b.txt", LINE)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    first, second = read(tmp_path).samples
    assert isinstance(first, Rejected) and re.search(reason, first.reason), first
    assert isinstance(second, ObjectsSample)


def test_a_line_that_stands_twice_is_one_object(tmp_path: Path) -> None:
    """However its numbers are spelled, as in Ultralytics, and counted; another class or other key points are another object."""
    picture(tmp_path / "a.jpg")
    write(tmp_path / "a.txt", LINE + "0 0.5 0.5 0.25 0.5\n1 0.50 .5 0.25 0.5\n" + LINE)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    found = read(tmp_path)
    (sample,) = found.samples
    assert isinstance(sample, ObjectsSample) and [each.name for each in sample.objects] == ["dog", "cat"]
    assert found.ignored == {yolo.TWICE: 2}
    write(tmp_path / "data.yaml", "kpt_shape: [1, 3]\nnames: [cat]\n")
    write(tmp_path / "a.txt", "0 0.5 0.5 0.25 0.5 0.1 0.1 2\n0 0.5 0.5 0.25 0.5 0.2 0.1 2\n")
    assert shown(read(tmp_path)) == [(None, "a.jpg", 2)]


def test_key_points_are_not_outlines(tmp_path: Path) -> None:
    """Where data.yaml has kpt_shape, what follows the box are key points; a fifth number is the confidence of a prediction."""
    picture(tmp_path / "a.jpg")
    write(tmp_path / "a.txt", "0 0.5 0.5 0.25 0.5 0.1 0.1 2 0.2 0.2 2\n0 0.5 0.5 0.25 0.5 0.9\n")
    write(tmp_path / "data.yaml", "kpt_shape: [2, 3]\nnames: [cat]\n")
    (sample,) = read(tmp_path).samples
    assert isinstance(sample, ObjectsSample)
    assert [(each.box_px, each.polygons_px) for each in sample.objects] == [((30, 15, 50, 45), ())] * 2
    assert sample.objects[1].attributes == {"confidence": 0.9}


def test_pixels_are_those_of_the_stored_picture(tmp_path: Path) -> None:
    """Shares are of width and height as the file has them, orientation tag or not."""
    exif = Image.Exif()
    exif[safe.ORIENTATION_TAG] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "a.jpg", exif=exif)
    write(tmp_path / "a.txt", LINE)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    (sample,) = read(tmp_path).samples
    assert isinstance(sample, ObjectsSample) and sample.objects[0].box_px == (30, 15, 50, 45)


def test_labels_drawn_upright_are_shares_of_the_upright_picture(tmp_path: Path) -> None:
    """upright=labelled: a stored picture of 80x60 that is shown as 60x80; by hand, centre 0.5 of 60 and of 80."""
    exif = Image.Exif()
    exif[safe.ORIENTATION_TAG] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "a.jpg", exif=exif)
    write(tmp_path / "a.txt", LINE)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    convert(task="ground", input=tmp_path, output=tmp_path / "o.jsonl", option=["upright=labelled", "format=yolo"], workers=0)
    (record,) = adapt.read_records(tmp_path / "o.jsonl")
    assert record.sizes == ((60, 80),) and record.meta["boxes_px"] == [[22.5, 20, 37.5, 60]]


def test_dota_headers_flags_and_floats(tmp_path: Path) -> None:
    """Both headers or none, the flag or none, corners as floats; the box encloses the corners, which stay."""
    picture(tmp_path / "images" / "P1.png", tmp_path / "images" / "P2.png", tmp_path / "images" / "P3.png")
    write(tmp_path / "labelTxt" / "P1.txt", "imagesource:GoogleEarth\ngsd:0.26\n54 28 63 11 71.5 40 12 62 large-vehicle 1\n\n")
    write(tmp_path / "labelTxt" / "P2.txt", "54 28 63 11 71 40 12 62 ship\n")
    found = dota.read(Source(tmp_path, None, {}, 0))
    first, second = found.samples
    assert isinstance(first, ObjectsSample) and isinstance(second, ObjectsSample)
    (vehicle,) = first.objects
    assert (vehicle.name, vehicle.box_px) == ("large-vehicle", (12, 11, 71.5, 62))
    assert vehicle.oriented_px == ((54, 28), (63, 11), (71.5, 40), (12, 62))
    assert vehicle.attributes == {"difficult": "1"} and second.objects[0].attributes == {}
    assert found.ignored == {"picture without a label file": 1} and found.classes == ("large-vehicle", "ship")


def test_two_sets_of_dota_labels_are_not_mixed(tmp_path: Path) -> None:
    """labelTxt of versions 1.0 and 1.5 beside each other: one must be named."""
    for folder in ("labelTxt-v1.0", "labelTxt-v1.5"):
        write(tmp_path / "train" / folder / "P1.txt", "54 28 63 11 71 40 12 62 ship 0\n")
    picture(tmp_path / "train" / "images" / "P1.png")
    with pytest.raises(UsageError, match="label one picture; point --input at one of their folders"):
        dota.read(Source(tmp_path, None, {}, 0))
    found = dota.read(Source(tmp_path / "train" / "labelTxt-v1.5", tmp_path / "train" / "images", {}, 0))
    assert shown(found) == [("train", "P1.png", 1)]


def test_two_folders_of_dota_labels_are_named(tmp_path: Path) -> None:
    """As DOTA 1.5 is unpacked: turned and upright boxes of the same pictures. Those of two splits are no such sets."""
    line = "54 28 63 11 71 40 12 62 ship 0\n"
    picture(tmp_path / "train" / "images" / "P1.png", tmp_path / "val" / "images" / "P1.png")
    for name in ("train/labelTxt-v1.5/DOTA-v1.5_train", "val/labelTxt-v1.5/DOTA-v1.5_val"):
        write(tmp_path / name / "P1.txt", line)
    assert shown(dota.read(Source(tmp_path, None, {}, 0))) == [
        ("train", "train/images/P1.png", 1),
        ("val", "val/images/P1.png", 1),
    ]
    write(tmp_path / "train" / "labelTxt-v1.5" / "DOTA-v1.5_train_hbb" / "P1.txt", line)
    both = "DOTA-v1.5_train/P1.txt and train/labelTxt-v1.5/DOTA-v1.5_train_hbb/P1.txt label one picture; point --input at one"
    with pytest.raises(UsageError, match=both):
        dota.read(Source(tmp_path, None, {}, 0))
    one = tmp_path / "train" / "labelTxt-v1.5" / "DOTA-v1.5_train"
    assert shown(dota.read(Source(one, tmp_path / "train" / "images", {}, 0))) == [("train", "P1.png", 1)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("54 28 63 11 71 40 12 ship 0 0", "a corner of '0' is 'ship', expected a number"),
        ("54 28 63", "3 words, expected x1 y1"),
        ("1 1 1 1 1 1 1 1 ship 0", "object 1 'ship': its box .* has no area"),
        ("1 1 inf 1 1 9 1 1 ship 0", "is inf, expected a finite number"),
    ],
)
def test_a_bad_dota_line_is_named(line: str, reason: str, tmp_path: Path) -> None:
    """One bad line rejects its picture alone, by file and line."""
    write(tmp_path / "labelTxt" / "P1.txt", line)
    picture(tmp_path / "images" / "P1.png")
    (sample,) = dota.read(Source(tmp_path, None, {}, 0)).samples
    assert isinstance(sample, Rejected) and re.search(reason, sample.reason), sample


def test_stems_pair_what_folders_do_not(tmp_path: Path) -> None:
    """A label file and a picture of one stem belong together where it is the only one, whatever their folders are called."""
    picture(tmp_path / "pics" / "a.png")
    write(tmp_path / "txt" / "a.txt", LINE)
    found = textlabels.pair([Path("pics/a.png")], [Path("txt/a.txt")], tmp_path)  # type: ignore[list-item]
    assert [(str(each.picture), str(each.labels)) for each in found] == [("pics/a.png", "txt/a.txt")]
