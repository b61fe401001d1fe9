"""The splits of a YOLO set by Darknet's lists: CVAT's export, lists alone, label files called like lists, hostile ones."""

import time
from pathlib import Path

import pytest
from PIL import Image

from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from converters.formats import darknet_splits, yolo

LINE = "0 0.5 0.5 0.5 0.5\n"
NO_PICTURE = "split of a .data file that names no picture"
NOT_THERE = "picture of a split list that is not there"
DATA = "classes=1\ntrain = data/train.txt\nvalid = data/valid.txt\ntest=data/test.txt\nnames = obj.names\nbackup = backup/\n"
PICTURES = ("obj_train_data/0.png", "obj_train_data/1.png", "obj_train_data/2.png")
EACH = {"0": "train", "1": "val", "2": "test"}


def build(root: Path, *pictures: str, names: str = "obj.names", **texts: str) -> Path:
    """A set with the pictures and a label file beside each, the file of names, and texts: ``train`` is train.txt."""
    for name in pictures:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)
        path.with_suffix(".txt").write_text(LINE)
    (root / names).write_text("cat\n")
    for name, text in texts.items():
        (root / (name.replace("_", ".") if "_" in name else f"{name}.txt")).write_text(text)
    return root


def cvat(root: Path, data: str = DATA) -> Path:
    lists = {split: f"data/obj_train_data/{number}.png\n" for number, split in enumerate(("train", "valid", "test"))}
    return build(root, *PICTURES, obj_data=data, **lists)


def splits(root: Path, images: Path | None = None) -> dict[str, str | None]:
    """File name -> split; "rejected" for what was."""
    found = yolo.read(Source(root, images, {}, 0)).samples
    return {Path(each.where).stem: "rejected" if isinstance(each, Rejected) else each.split for each in found}


def ignored(root: Path) -> dict[str, int]:
    return dict(yolo.read(Source(root, None, {}, 0)).ignored)


def test_the_lists_of_an_export_of_cvat_are_splits(tmp_path: Path) -> None:
    """Its paths begin with data/, which is not there; the manifest counts the rows of each split."""
    root = cvat(tmp_path / "set")
    assert splits(root) == splits(tmp_path) == splits(root, root / "obj_train_data") == EACH and ignored(root) == {}
    manifest = convert(task="ground", input=root, output=tmp_path / "o.jsonl", workers=0)
    assert manifest["counts"]["splits"] == {"train": 1, "val": 1, "test": 1}


@pytest.mark.parametrize("start", ["", "./", "data/", "/home/me/darknet/data/", "C:\\darknet\\", "..\\"])
def test_paths_are_those_of_where_darknet_runs(start: str, tmp_path: Path) -> None:
    """Lists, and the pictures in them, from another folder or another machine, with an empty line at the end."""
    data = "".join(f"{split}={start}part{number}.txt\r\n" for number, split in enumerate(("train", "VALID", "test")))
    lists = {f"part{number}": f"{start}{name}\r\n\r\n" for number, name in enumerate(PICTURES)}
    root = build(tmp_path, *PICTURES, obj_data=data, **lists)
    assert splits(root) == EACH and ignored(root) == {}


def test_a_folder_data_inside_the_set_is_where_its_lists_are(tmp_path: Path) -> None:
    """Darknet's own layout: data/obj.data, data/obj.names, data/train.txt and data/obj/0.png, seen from above data."""
    names = [f"obj/{number}.png" for number in range(2)]
    build(tmp_path / "data", *names, obj_data=DATA.replace("test=", "#"), train="data/obj/0.png\n", valid="data/obj/1.png\n")
    assert splits(tmp_path) == splits(tmp_path / "data") == {"0": "train", "1": "val"} and ignored(tmp_path) == {}


@pytest.mark.parametrize("names", ["obj.names", "classes.txt", "data.yaml"])
@pytest.mark.parametrize("val", ["valid", "val", "validation"])
def test_without_a_data_file_lists_are_known_by_their_names(names: str, val: str, tmp_path: Path) -> None:
    """At the root, beside any file of names that states no split itself."""
    lists = dict(zip(("train", val, "test"), (f"data/{name}\n" for name in PICTURES), strict=True))
    root = build(tmp_path, *PICTURES, names=names, **lists)
    if names == "data.yaml":
        (root / names).write_text("names: [cat]\n")
    assert splits(root) == EACH and ignored(root) == {}


def test_data_yaml_comes_before_darknets_lists(tmp_path: Path) -> None:
    """Where it states splits, theirs do not count."""
    root = cvat(tmp_path)
    (root / "data.yaml").write_text("names: [cat]\ntrain: train.txt\nval: test.txt\n")
    assert splits(root) == {"0": "train", "1": None, "2": "val"}


def test_the_data_file_says_which_lists_count(tmp_path: Path) -> None:
    """train.txt and valid.txt beside it are none where it names others."""
    root = cvat(tmp_path, "valid = data/train.txt\n")
    assert splits(root) == {"0": "val", "1": None, "2": None}
    (root / "fold2.data").write_text("valid = data/valid.txt\n")
    with pytest.raises(UsageError, match=r"fold2\.data and .*obj\.data name different lists; leave only the one"):
        splits(root)


def test_other_files_called_data_are_left_alone(tmp_path: Path) -> None:
    """Weights of a model, and the .data of another set, whose lists do not lie here."""
    root = cvat(tmp_path, "train = data/train.txt\n")
    expected = splits(root)
    (root / "model.onnx.data").write_bytes(b"\0\xff" * 50_000)
    (root / "w.data").write_bytes(b"\xe4\xff")
    (root / "voc.data").write_text("train = /home/me/voc/2012_train.txt\nvalid = /home/me/voc/2012_val.txt\n")
    assert splits(root) == expected


def test_a_picture_of_two_lists_is_rejected(tmp_path: Path) -> None:
    """And one of no list has no split; two lists of the same pictures are the first, and counted."""
    root = cvat(tmp_path)
    (root / "valid.txt").write_text("data/obj_train_data/0.png\ndata/obj_train_data/1.png\n")
    (root / "test.txt").write_text("")
    assert splits(root) == {"0": "rejected", "1": "val", "2": None}
    first = yolo.read(Source(root, None, {}, 0)).samples[0]
    assert isinstance(first, Rejected)
    assert first.reason == "Darknet's lists name its picture in train and val; a picture belongs to one split"
    (root / "valid.txt").write_text((root / "train.txt").read_text())
    assert splits(root) == {"0": "train", "1": None, "2": None}
    assert ignored(root) == {"split of a .data file that names the pictures of another": 1}


def test_several_exports_in_one_folder_keep_their_splits(tmp_path: Path) -> None:
    """Each one's lists are of its own pictures; with too many the user is asked for one."""
    cvat(tmp_path / "one")
    two = build(tmp_path / "two", "obj_train_data/0.png", train="data/obj_train_data/0.png\n")
    found = {each.where: each.split for each in yolo.read(Source(tmp_path, None, {}, 0)).samples}
    assert found == {
        **{f"one/obj_train_data/{name}.txt": split for name, split in EACH.items()},
        "two/obj_train_data/0.txt": "train",
    }
    for number in range(darknet_splits.MAX_FOLDERS):
        (tmp_path / f"more{number}").mkdir()
        build(tmp_path / f"more{number}", train=(two / "train.txt").read_text())
    with pytest.raises(UsageError, match="more than 20 folders list pictures by split; point --input at one"):
        splits(tmp_path)


@pytest.mark.parametrize("data", ["", DATA])
def test_labels_of_a_picture_named_like_a_list_are_no_list(data: str, tmp_path: Path) -> None:
    """train.txt beside train.png holds its objects, with a .data file that names such a list or without."""
    root = build(tmp_path, "train.png", "valid.png", "sub/test.png", obj_data=data)
    found = yolo.read(Source(root, None, {}, 0))
    assert [(each.where, each.split) for each in found.samples] == [
        ("sub/test.txt", None), ("train.txt", None), ("valid.txt", None)
    ]  # fmt: skip
    assert all(not isinstance(each, Rejected) and len(each.objects) == 1 for each in found.samples)
    assert found.ignored == ({NO_PICTURE: 3} if data else {})


def test_a_list_beside_a_picture_of_its_name_is_a_list(tmp_path: Path) -> None:
    """It holds paths: train.png is a picture without labels."""
    root = build(tmp_path, "a.png", "b.png", "train.png", train="data/a.png\n", valid="data/train.png\ndata/b.png\n")
    assert splits(root) == {"a": "train", "b": "val", "train": "val"}


def test_what_points_nowhere_is_counted(tmp_path: Path) -> None:
    """Lists that are not there or outside the root, pictures that are not there, and text among the paths."""
    (tmp_path / "secret.txt").write_text("obj_train_data/0.png\n")
    data = "train = data/train.txt\nvalid = ../secret.txt\nvalid = /etc/passwd\ntest = nowhere.txt\n"
    root = build(tmp_path / "set", *PICTURES, obj_data=data, train="data/../../../0.gif\n/etc/passwd\n" + "/a" * 9999)
    assert splits(root) == {"0": None, "1": None, "2": None}
    assert ignored(root) == {NO_PICTURE: 3, NOT_THERE: 3}
    (root / "obj.data").unlink()
    (root / "train.txt").write_text("obj_train_data/0.png\nand so on\n")
    assert splits(root) == {"0": None, "1": None, "2": None}
    assert ignored(root) == {"text file named for a split that holds paths of pictures and other lines": 1}


@pytest.mark.parametrize("name", ["obj.data", "train.txt"])
def test_a_damaged_file_is_an_error(name: str, tmp_path: Path) -> None:
    """Without it, test pictures would be trained on."""
    root = cvat(tmp_path)
    for content, reason in ((b"\xff\xfe\x00", "found UTF-16"), (b"train = a\n\xe4\n", "not UTF-8")):
        (root / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}.*{reason}"):
            splits(root)
    (root / "obj.data").write_text("train = train.txt\n" * 5000)
    with pytest.raises(DataError, match=r"obj\.data: 90,000 bytes, more than the 65,536 allowed"):
        splits(root)


@pytest.mark.parametrize(
    "data", ["", "".join(f"train = {'./' * n}train.txt\n" for n in range(150)), f"train = {'data/' * 10_000}train.txt\n"]
)
def test_hostile_lists_take_less_than_a_second(data: str, tmp_path: Path) -> None:
    """20,000 lines, lines of thousands of folders, a list named thousands of times."""
    lines = f"{'a/' * 2000}0.png\n" * 200 + "obj_train_data/9.png\n" * 20_000 + "obj_train_data/0.png\n"
    root = build(tmp_path, *PICTURES, obj_data=data, train=lines)
    began = time.process_time()
    assert splits(root)["0"] in ("train", None)
    assert time.process_time() - began < 1
