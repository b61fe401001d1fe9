"""The splits of a YOLO set by its data.yaml: folders, lists, paths as tools write them, and what points nowhere."""

import sys
from pathlib import Path, PurePosixPath
from types import FrameType

import pytest
from PIL import Image

from adapt.domain import Rejected, Source
from adapt.errors import DataError
from adapt.verbs import convert
from converters.formats import yolo, yolo_splits
from converters.objects import ObjectsSample

NO_PICTURE = "split of data.yaml that names no picture"
NOT_THERE = "picture of a split list that is not there"


def build(root: Path, yaml: str, *pictures: str, **lists: str) -> Path:
    """A set with the pictures and a label file for each, data.yaml, and lists of the given lines."""
    for name in pictures:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)
        labels = root / Path(name.replace("images", "labels")).with_suffix(".txt")
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text(yaml + "\nnames: [cat]\n")
    for name, text in lists.items():
        (root / f"{name}.txt").write_text(text)
    return root


def splits(root: Path, images: Path | None = None) -> dict[str, str | None]:
    """File name -> split; "rejected" for what was."""
    found = yolo.read(Source(root, images, {}, 0)).samples
    return {Path(each.where).stem: "rejected" if isinstance(each, Rejected) else each.split for each in found}


def ignored(root: Path) -> dict[str, int]:
    return dict(yolo.read(Source(root, None, {}, 0)).ignored)


FLAT = ("images/0.jpg", "images/1.jpg", "images/2.jpg")
PARTS = ("images/alpha/0.jpg", "images/beta/1.jpg", "images/gamma/2.jpg")
EACH = {"0": "train", "1": "val", "2": "test"}


@pytest.mark.parametrize(
    "lines",
    [
        "images/{}.jpg\n",
        "./images/{}.jpg\r\n\r\n",
        "data/obj_train_data/images/{}.jpg\n",  # darknet's, from the folder where it runs
        "/content/set/images/{}.jpg\n",
        "C:\\set\\images\\{}.jpg\n",
        "../images/{}.jpg\n",
        "{}.jpg\n",
    ],
)
def test_lists_of_pictures_are_splits(lines: str, tmp_path: Path) -> None:
    """Pictures of one folder are in the split whose list names them, however its paths are written."""
    texts = {name: lines.format(number) for number, name in enumerate(("train", "val", "holdout"))}
    root = build(tmp_path / "set", "train: train.txt\nval: ./val.txt\ntest: holdout.txt", *FLAT, **texts)
    assert splits(root) == splits(root / "data.yaml") == splits(root, root / "images") == EACH
    assert splits(root / "labels") == EACH and ignored(root) == {}


@pytest.mark.parametrize(
    "yaml",
    [
        "train: images/alpha\nval: images/beta\ntest: images/gamma/",
        "path: .\ntrain: [images/alpha]\nvalid: ./images/beta\ntest:\n- images/gamma",
        "path: ../set\ntrain: images/alpha\nval: images/beta\ntest: images/gamma",
        "path: ../datasets/set\ntrain: images/alpha\nval: images/beta\ntest: images/gamma",
        "path: images\ntrain: alpha\nval: beta\ntest: gamma",
        "path: /content\ntrain: set/images/alpha\nval: set/images/beta\ntest: set/images/gamma",
        "path: D:\\yolo\ntrain: set\\images\\alpha\nval: set\\images\\beta\ntest: set\\images\\gamma",
        "train: ../images/alpha\nval: ../images/beta\ntest: ../images/gamma",  # Roboflow's
        "train: /content/set/images/alpha\nval: /content/set/images/beta\ntest: /content/set/images/gamma",
    ],
)
def test_folders_of_any_name_are_splits(yaml: str, tmp_path: Path) -> None:
    """A folder is of the split for which data.yaml names it, below ``path`` or beside data.yaml, and on another machine too."""
    root = build(tmp_path / "set", yaml, *PARTS)
    assert splits(root) == EACH and ignored(root) == {}
    assert splits(root, root / "images") == EACH and splits(root, tmp_path) == EACH


def test_data_yaml_comes_before_the_names_of_folders(tmp_path: Path) -> None:
    """What it states counts in a folder of another split; where it states nothing, as in an empty key, folders do."""
    root = build(tmp_path, "train: images/train\nval: val.txt\ntest:", "images/train/0.jpg", "images/dev/1.jpg",
                 "images/test/2.jpg", "images/3.jpg", val="images/test/2.jpg\n")  # fmt: skip
    assert splits(root) == {"0": "train", "1": "val", "2": "val", "3": None}
    assert ignored(root) == {}


def test_several_lists_and_folders_make_one_split(tmp_path: Path) -> None:
    """A list of either, as ultralytics takes it; a picture named twice for one split is of it."""
    root = build(tmp_path, "train: [images/alpha, more.txt]\ntest: images/gamma", *PARTS,
                 more="images/beta/1.jpg\nimages/alpha/0.jpg\n")  # fmt: skip
    assert splits(root) == {"0": "train", "1": "train", "2": "test"}


@pytest.mark.parametrize("val", ["images", "all.txt"])
def test_two_splits_of_the_same_pictures_are_the_first(tmp_path: Path, val: str) -> None:
    """coco128 of ultralytics trains and validates on one folder: that divides nothing, and is counted."""
    root = build(tmp_path, f"train: images\nval: {val}\ntest:", *FLAT, all="".join(f"{name}\n" for name in FLAT))
    assert set(splits(root).values()) == {"train"}
    assert ignored(root) == {"split of data.yaml that names the pictures of another": 1}


@pytest.mark.parametrize(
    "yaml",
    [
        "path: .\ntrain: images",
        "train: images\nval: images\ntest: images",
        "train: ./\nval: ./",
        "train: images\nval: images/val",
    ],
)
def test_an_entry_above_the_folders_of_splits_leaves_them_theirs(tmp_path: Path, yaml: str) -> None:
    """``train: images`` above images/{train,val,test} claims no picture that lies in a folder named for another split."""
    root = build(tmp_path, yaml, "images/train/0.jpg", "images/val/1.jpg", "images/test/2.jpg")
    assert splits(root) == EACH


def test_a_split_without_any_label_file_is_no_set_of_empty_pictures(tmp_path: Path) -> None:
    """The pictures of a test to be guessed show what nobody says; beside labelled ones a picture without labels is empty."""
    root = build(
        tmp_path, "train: images/train\ntest: images/test", "images/train/0.jpg", "images/train/1.jpg", "images/test/2.jpg"
    )
    (root / "labels" / "train" / "1.txt").unlink()
    (root / "labels" / "test" / "2.txt").unlink()
    assert splits(root) == {"0": "train", "1": "train"}
    assert ignored(root) == {"picture of a split without any label file": 1}


def test_lists_of_pictures_of_one_name_take_no_longer_each(tmp_path: Path) -> None:
    """Lines that only their ends tell, and lines of nothing, cost the same each, however many pictures share the name."""

    def num_calls(num: int) -> int:
        names = [PurePosixPath(f"images/{number:05}/rgb.jpg") for number in range(num)]
        folder = tmp_path / str(num)
        folder.mkdir()
        (folder / "train.txt").write_text("".join(f"{number:05}/rgb.jpg\n{number:05}x/rgb.jpg\n" for number in range(num)))
        count = 0

        def called(frame: FrameType, event: str, value: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(called)
        found = yolo_splits.read_splits(
            {"train": ["train.txt", *(f"images/{n:05}" for n in range(num))]}, folder, names, folder
        )
        sys.setprofile(None)
        assert found.ignored == {NOT_THERE: num} and len(found.by_picture) == num
        return count

    assert num_calls(400) < 6 * num_calls(100)


def test_a_picture_of_two_splits_is_rejected(tmp_path: Path) -> None:
    """Which of them is meant cannot be told: the row says both, and the others are read."""
    root = build(tmp_path, "train: train.txt\nval: images/beta", *PARTS, train="images/alpha/0.jpg\nimages/beta/1.jpg\n")
    first, second, third = yolo.read(Source(root, None, {}, 0)).samples
    assert isinstance(second, Rejected)
    assert (second.where, second.reason) == (
        "labels/beta/1.txt", "data.yaml names its picture in train and val; a picture belongs to one split"
    )  # fmt: skip
    assert (
        isinstance(first, ObjectsSample) and isinstance(third, ObjectsSample) and (first.split, third.split) == ("train", None)
    )
    counts = convert(task="detect", input=root, output=tmp_path / "o.jsonl", max_bad=1)["counts"]
    assert (counts["read"], counts["converted"], counts["rejected"]) == (3, 2, 1)


def test_what_points_nowhere_is_counted(tmp_path: Path) -> None:
    """A split that was not unpacked, a list of its pictures, a key of another kind: told, and the pictures there are read."""
    (tmp_path / "secret.txt").write_text("images/alpha/0.jpg\n")
    yaml = "train: ../train/images\nval: [val.txt, /etc/passwd, ../secret.txt, {a: b}]\ntest: images/../../beta"
    root = build(tmp_path / "set", yaml, *PARTS, val="images/delta/9.jpg\nimages/beta/1.jpg\nimages/val/2.jpg\n" + "/a" * 9999)
    assert splits(root) == {"0": None, "1": "val", "2": None}
    assert ignored(root) == {NO_PICTURE: 5, NOT_THERE: 3}


def test_a_name_that_several_pictures_have_is_not_guessed_at(tmp_path: Path) -> None:
    """A bare name in a list is that of the one picture called so; of two it is none."""
    root = build(tmp_path, "train: train.txt", "images/a/0.jpg", "images/b/0.jpg", "images/b/1.jpg", train="0.jpg\n1.jpg\n")
    assert splits(root) == {"0": None, "1": "train"} and ignored(root) == {NOT_THERE: 1}


def test_a_list_beside_its_pictures_is_no_label_file(tmp_path: Path) -> None:
    """Where labels lie beside pictures, a list of another name is not read as labels; the yaml that is the input counts."""
    root = build(tmp_path, "train: part1.txt", "0.jpg", "1.jpg", part1="0.jpg\n", part2="1.jpg\n")
    (root / "part2.txt").rename(root / "valid.txt")
    (root / "fold2.yaml").write_text("train: valid.txt\nval: part1.txt\nnames: [cat]\n")
    assert splits(root) == {"0": "train", "1": None}
    assert splits(root / "fold2.yaml") == {"0": "val", "1": "train"}


def test_a_damaged_list_is_an_error(tmp_path: Path) -> None:
    """A list that is no text is named by its path: without it, test pictures would be trained on."""
    root = build(tmp_path, "test: test.txt", *FLAT)
    (root / "test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"test\.txt: found UTF-16"):
        splits(root)


def test_long_paths_and_lists_are_read(tmp_path: Path) -> None:
    """Lines of thousands of folders, and a list of 100,000 lines, are no trouble."""
    hostile = "/".join(["a"] * 2000)
    lines = "images/0.jpg\n" + f"{hostile}/0.png\n" * 2000 + "images/9.jpg\n" * 100_000
    root = build(tmp_path, f"train: train.txt\nval: {'../' * 20_000}x", *FLAT, train=lines)
    assert splits(root)["0"] == "train"
