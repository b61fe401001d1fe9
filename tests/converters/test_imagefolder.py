"""Scanning folders: order, splits, links and names that are not classes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapt.errors import UsageError
from converters.formats import imagefolder


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    """Pictures come sorted by folder, then by file, whatever the file system says."""
    touch(tmp_path, "b/2.png", "a b/1.png", "a/10.JPG", "a/9.jpg", "b/3.jfif", "c/readme.md", "c/._9.jpg")
    found = imagefolder.scan(tmp_path)
    assert [str(path) for path in found.pictures] == ["a/10.JPG", "a/9.jpg", "a b/1.png", "b/2.png", "b/3.jfif"]
    assert found.ignored == {"not a picture by name": 1, "hidden file": 1}


def test_folders_linked_in_a_ring_are_entered_once(tmp_path: Path) -> None:
    """A link to a folder above ends the walk there instead of going round."""
    touch(tmp_path, "set/a/1.png", "elsewhere/2.png")
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    found = imagefolder.scan(tmp_path / "set")
    assert [str(path) for path in found.pictures] == ["a/1.png", "b/2.png"]
    assert found.ignored == {"link to a folder seen before": 1}


def test_a_folder_comes_before_links_to_it(tmp_path: Path) -> None:
    """Whatever the links are called and wherever they lie: a class keeps its name, and val is not called test."""
    touch(tmp_path, "set/train/cat/1.png", "set/val/cat/2.png", "set/val/Real/3.png", "elsewhere/4.png")
    for link, folder in (
        ("test", "val"),
        ("train/Alias", "val/Real"),
        ("train/one", "../elsewhere"),
        ("val/two", "../elsewhere"),
    ):
        (tmp_path / "set" / link).symlink_to(tmp_path / "set" / folder)
    pictures, ignored = imagefolder.find_classes(tmp_path / "set")
    assert [(str(each.path), each.split) for each in pictures] == [
        ("train/cat/1.png", "train"), ("train/one/4.png", "train"), ("val/Real/3.png", "val"), ("val/cat/2.png", "val")
    ]  # fmt: skip
    assert ignored == {"link to a folder seen before": 3}


_SCAN = """
import os
from pathlib import Path
from adapt.errors import DataError
from converters.formats import imagefolder
from converters.formats.pictures import PictureFinder
if os.geteuid() == 0:
    os.setuid(65534)  # nobody: root reads every folder
finder = PictureFinder(Path("."))
assert finder.find("a/1.png", "x") == "a/1.png"
for look in (lambda: imagefolder.scan(Path(".")), lambda: finder.find("2.png", "x"), lambda: finder.find("3.png", "x")):
    try:
        look()
    except DataError as error:
        print(error)
"""


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    """The scan ends with the folder and the reason; a picture is found where it is stated, and not elsewhere without a word.

    The file system's own folder at the root of a disk, which only root reads, is passed by.
    """
    touch(tmp_path, "a/1.png", "m/2.png", "c/3.png")
    tmp_path.chmod(0o755)
    (tmp_path / "lost+found").mkdir()
    for name in ("lost+found", "m"):
        (tmp_path / name).chmod(0)
    command = [sys.executable, "-c", _SCAN]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    for name in ("lost+found", "m"):
        (tmp_path / name).chmod(0o755)
    assert done.returncode == 0, done.stderr
    said = "./m: this folder cannot be read: Permission denied; make it readable or move it out of ."
    assert done.stdout.splitlines() == [said] * 3


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """Folders are splits only where all of them are: vehicles of a class "train" stay a class."""
    touch(tmp_path, "train/1.png", "bus/2.png")
    pictures, _ = imagefolder.find_classes(tmp_path)
    assert [(each.class_name, each.split) for each in pictures] == [("bus", None), ("train", None)]


@pytest.mark.parametrize(
    ("names", "classes", "num_outside"),
    [
        (  # Kaggle's: the pictures to be guessed lie in their split without a class
            ("train/Cat/1.jpg", "train/Dog/2.jpg", "test/0.jpg", "test/1.jpg"),
            [("Cat", "train"), ("Dog", "train")],
            2,
        ),
        (
            ("train/Cat/1.jpg", "Test/Cat/2.jpg", "train/stray.jpg", "stray.jpg"),
            [("Cat", "test"), ("Cat", "train")],
            2,
        ),
        (  # Kaggle's chest X-rays, one folder above the splits
            ("xray/train/SICK/1.jpg", "xray/val/SICK/2.jpg", "xray/test/WELL/3.jpg"),
            [("WELL", "test"), ("SICK", "train"), ("SICK", "val")],
            0,
        ),
        (  # Intel's scenes: doubled folders, and pictures to be guessed
            ("seg_pred/seg_pred/1.jpg", "seg_test/seg_test/sea/2.jpg", "seg_train/seg_train/sea/3.jpg"),
            [("sea", "test"), ("sea", "train")],
            1,
        ),
        (
            ("asl_test/asl_test/A_test.jpg", "asl_train/asl_train/A/1.jpg", "asl_train/asl_train/B/1.jpg"),
            [("A", "train"), ("B", "train")],
            1,
        ),
        (("test_set/x/1.jpg", "training_set/x/2.jpg"), [("x", "test"), ("x", "train")], 0),
        (("test_images/1.jpg", "train_images/x/2.jpg"), [("x", "train")], 1),
        (("pred/1.jpg", "train/x/2.jpg", "val/x/2.jpg"), [("x", "train"), ("x", "val")], 1),
        (  # a class "train", in both splits; and pictures of a doubled test folder
            ("train/bus/1.jpg", "train/train/2.jpg", "val/bus/3.jpg", "val/train/4.jpg", "val/val/5.jpg"),
            [("bus", "train"), ("train", "train"), ("bus", "val"), ("train", "val")],
            1,
        ),
        (
            ("zoo/steam train/1.jpg", "zoo/train/old/2.jpg", "zoo/bus/3.jpg"),
            [("bus", None), ("steam train", None), ("old", None)],
            0,
        ),
    ],
)
def test_pictures_without_a_class_leave_splits_splits(
    names: tuple[str, ...], classes: list[tuple[str, str]], num_outside: int, tmp_path: Path
) -> None:
    """Where every top folder is a split, or siblings are, a picture right in one is left out and counted, and is no class."""
    touch(tmp_path, *names)
    pictures, ignored = imagefolder.find_classes(tmp_path)
    assert [(each.class_name, each.split) for each in pictures] == classes
    assert ignored == ({"picture outside a class folder": num_outside} if num_outside else {})


def test_classes_of_one_name_keep_their_paths(tmp_path: Path) -> None:
    """Two folders "other" under different parents are two classes."""
    touch(tmp_path, "animals/other/1.png", "plants/other/2.png", "plants/tree/3.png")
    pictures, _ = imagefolder.find_classes(tmp_path)
    assert [each.class_name for each in pictures] == ["animals/other", "plants/other", "tree"]


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    """Pictures outside class folders are no classification set, and that is said."""
    touch(tmp_path, "1.png")
    with pytest.raises(UsageError, match="no picture in a class folder"):
        imagefolder.find_classes(tmp_path)
    touch(tmp_path, "train/1.png", "test/2.png")
    with pytest.raises(UsageError, match="no picture in a class folder"):
        imagefolder.find_classes(tmp_path)


def test_a_lone_folder_of_test_pictures_is_no_part_of_a_class(tmp_path: Path) -> None:
    """Folds beside test, none of them called train: its pictures would be trained on without a word."""
    touch(tmp_path, "fold1/neg/1.png", "fold2/neg/2.png", "test/neg/3.png")
    with pytest.raises(
        UsageError, match="the folder test is named for a split and holds folders, as fold1, fold2 beside it do"
    ):
        imagefolder.find_classes(tmp_path)
    touch(tmp_path / "s", "test/1.png", "dog/2.png", "cat/old/3.png")
    assert {each.class_name for each in imagefolder.find_classes(tmp_path / "s")[0]} == {"test", "dog", "old"}


def test_folders_beside_splits_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of classes that no split holds is not read, and is named once."""
    touch(tmp_path, "train/cat/1.png", "test/cat/2.png", "holdout/cat/3.png", "holdout/dog/4.png")
    _, ignored = imagefolder.find_classes(tmp_path)
    assert ignored == {"picture outside a class folder": 2}
    assert "folders beside those of splits are not read: holdout/cat, holdout/dog; to read" in capsys.readouterr().err
    imagefolder.find_classes(tmp_path, quiet=True)
    assert not capsys.readouterr().err


def test_half_of_a_divided_set_keeps_its_split(tmp_path: Path) -> None:
    """seg_test is of test beside a seg_train, doubled or not; a folder of its name alone is not."""
    touch(tmp_path, "a/seg_train/sea/1.png", "a/seg_test/seg_test/sea/2.png", "steam train/old/3.png")
    found = [
        imagefolder.split_beside(tmp_path / name)
        for name in ("a/seg_train", "a/seg_test", "a/seg_test/seg_test", "steam train")
    ]
    assert found == ["train", "test", "test", None]


def test_what_another_conversion_made_is_no_data(tmp_path: Path) -> None:
    """Pictures beside their manifest are an output that was written among the data; a folder of that name alone is a class."""
    touch(tmp_path, "cat/1.png", "dog/2.png", "a.images/3.png", "b.images/4.png")
    (tmp_path / "a.manifest.json").write_text("{}")
    pictures, ignored = imagefolder.find_classes(tmp_path)
    assert [each.class_name for each in pictures] == ["b.images", "cat", "dog"]
    assert ignored == {"folder of pictures that a conversion made": 1, "not a picture by name": 1}
