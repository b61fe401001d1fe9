"""MedMNIST: the pixels and classes of its files, several findings at once, and files that are not what they should be."""

import collections
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import adapt
from adapt.domain import Source
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from domains.medical import medmnist


@pytest.mark.slow
def test_the_real_file_gives_its_pixels_and_labels(shared: Path, tmp_path: Path) -> None:
    """3,882 / 524 / 624 pictures (not the official 4,708 of train), each the pixels that numpy reads, grey and 28x28."""
    path = shared / "data" / "medmnist_pneumonia" / "pneumoniamnist.npz"
    manifest = convert(task="medmnist", input=path.parent, output=tmp_path / "o.jsonl")
    assert manifest["counts"]["splits"] == {"train": 3882, "val": 524, "test": 624} and manifest["counts"]["rejected"] == 0
    arrays = np.load(path, allow_pickle=False)
    records = adapt.read_records(tmp_path / "o.jsonl")
    for split in ("train", "val", "test"):
        own = [record for record in records if record.split == split]
        labels = [("normal", "pneumonia")[value] for value in arrays[f"{split}_labels"][:, 0]]
        assert [record.answer for record in own] == labels == [record.meta["label"] for record in own]
        for number in range(0, len(own), 50):
            picture = Image.open(tmp_path / "o.images" / own[number].images[0])
            assert picture.mode == "L"
            np.testing.assert_array_equal(np.asarray(picture), arrays[f"{split}_images"][number])
    assert records[0].question == (
        "<image>\nClassify the image within one of the given classes: normal, pneumonia. Answer with one word or short phrase."
    )


def write_set(path: Path, *, count: int = 6, classes: int = 8, shape: tuple[int, ...] = (28, 28, 3), **arrays: Any) -> Path:
    values = {}
    for place, split in enumerate(("train", "val", "test")):
        images = np.random.default_rng(place).integers(0, 256, (count, *shape), dtype=np.uint8)
        values |= {f"{split}_images": images, f"{split}_labels": np.arange(count, dtype=np.uint8)[:, None] % classes}
    np.savez_compressed(path, **{name: value for name, value in (values | arrays).items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("name", "count"),
    [("pathmnist", 9), ("chestmnist", 14), ("dermamnist", 7), ("octmnist", 4), ("pneumoniamnist", 2), ("retinamnist", 5),
     ("breastmnist", 2), ("bloodmnist", 8), ("tissuemnist", 8), ("organamnist", 11), ("organcmnist", 11), ("organsmnist", 11)],
)  # fmt: skip
def test_every_flat_set_is_known_by_its_name(tmp_path: Path, name: str, count: int) -> None:
    """Twelve sets with as many different classes as MedMNIST's info says, in each of the sizes."""
    assert len(set(medmnist.CLASSES[name].split(";"))) == count and len(medmnist.CLASSES) == 12
    path = write_set(tmp_path / f"{name}_64.npz", count=2, classes=count, shape=(64, 64))
    convert(task="medmnist", input=path, output=tmp_path / "o.jsonl", split="val")
    records = adapt.read_records(tmp_path / "o.jsonl")
    assert [record.answer for record in records] == medmnist.CLASSES[name].split(";")[:2]
    assert records[0].id == f"{name}_64-val-0" and records[0].source == name and records[0].sizes == ((64, 64),)


def test_class_names_with_commas_stay_whole(tmp_path: Path) -> None:
    """Of breastmnist "normal, benign" is one class: semicolons part the candidates, letters are possible too."""
    path = write_set(tmp_path / "breastmnist.npz", classes=2)
    convert(task="medmnist", input=path, output=tmp_path / "o.jsonl")
    record = adapt.read_records(tmp_path / "o.jsonl")[1]
    assert "classes: malignant; normal, benign. Answer" in record.question and record.answer == "normal, benign"
    convert(task="medmnist", input=path, output=tmp_path / "o.jsonl", option=["style=letters"])
    letters = collections.Counter(record.answer for record in adapt.read_records(tmp_path / "o.jsonl"))
    assert set(letters) == {"A", "B"}


def test_chestmnist_names_all_findings(tmp_path: Path) -> None:
    """(N, 14) of 0 and 1: all findings of a picture in the candidates' order, or none."""
    labels = np.zeros((3, 14), np.uint8)
    labels[0, [13, 0, 4]], labels[2, 6] = 1, 1
    flat = np.zeros((3, 28, 28), np.uint8)
    path = tmp_path / "chestmnist.npz"
    np.savez(path, test_images=flat, test_labels=labels)
    convert(task="medmnist", input=path, output=tmp_path / "o.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["conversations"][1]["value"] for row in rows] == ["atelectasis, hernia, mass", "none", "pneumonia"]
    assert rows[0]["meta"]["label"] == ["atelectasis", "hernia", "mass"] and rows[0]["task"] == "medmnist"
    with pytest.raises(UsageError, match="all are offered"):
        convert(task="medmnist", input=path, output=tmp_path / "o.jsonl", option=["num_candidates=4"])


def test_a_label_outside_the_classes_rejects_its_picture(tmp_path: Path) -> None:
    """One wrong number is one rejected sample with its place; with findings, anything but 0 and 1 is."""
    path = write_set(tmp_path / "octmnist.npz", classes=8, val_images=None, test_labels=None)
    manifest = convert(task="medmnist", input=path, output=tmp_path / "o.jsonl", max_bad=2)
    assert (manifest["counts"]["read"], manifest["counts"]["converted"], manifest["counts"]["rejected"]) == (6, 4, 2)
    rejected = json.loads((tmp_path / "o.rejected.jsonl").read_text().splitlines()[0])
    assert rejected == {"where": "octmnist.npz[train]#4", "reason": "label [4], expected 0 to 3"}


def test_a_file_under_another_name(tmp_path: Path) -> None:
    """A renamed file needs its set, a file of one's own its classes; several files in a folder are not guessed between."""
    path = write_set(tmp_path / "mine.npz", classes=2)
    with pytest.raises(UsageError, match=r"unknown MedMNIST set 'mine'.*--option set=NAME"):
        convert(task="medmnist", input=path, output=tmp_path / "o.jsonl")
    convert(task="medmnist", input=path, output=tmp_path / "o.jsonl", option=["set=breastmnist"])
    convert(task="medmnist", input=path, output=tmp_path / "o.jsonl", option=["class_names=healthy; ill, or both"])
    assert adapt.read_records(tmp_path / "o.jsonl")[1].answer == "ill, or both"
    write_set(tmp_path / "octmnist.npz", classes=2)
    with pytest.raises(UsageError, match="several sets"):
        convert(task="medmnist", input=tmp_path, output=tmp_path / "o.jsonl")
    with pytest.raises(UsageError, match="two or more different names"):
        convert(task="medmnist", input=path, output=tmp_path / "o.jsonl", option=["class_names=a"])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"train_images": np.zeros((6, 28, 28, 28), np.uint8)}, "volumes, which are not pictures"),
        ({"train_images": np.zeros((6, 28, 28, 28, 3), np.uint8)}, "volumes, which are not pictures"),
        ({"train_images": np.zeros((6, 28, 28, 3))}, "of float64; expected uint8"),
        ({"train_images": np.zeros((5, 28, 28, 3), np.uint8)}, "5 images but 6 labels"),
        ({"train_labels": np.zeros((6, 3), np.uint8)}, r"expected whole numbers of \(N, 1\)"),
        ({"train_labels": np.zeros((6, 1))}, "labels are float64"),
        ({"train_labels": np.array([[{"a": 1}]] * 6, dtype=object)}, "Python objects"),
        ({name: None for split in ("train", "val", "test") for name in (f"{split}_images",)}, "no MedMNIST file"),
    ],
)
def test_arrays_that_are_something_else_are_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    """Volumes, floats, objects and rows that do not pair are one line with the file's name, and nothing is left behind."""
    path = write_set(tmp_path / "bloodmnist.npz", **arrays)
    with pytest.raises(DataError, match=said):
        convert(task="medmnist", input=path, output=tmp_path / "o.jsonl")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bloodmnist.npz"]


def test_the_3d_sets_are_refused_by_name(tmp_path: Path) -> None:
    """organmnist3d and its kin say that they hold volumes before anything is read."""
    (tmp_path / "organmnist3d_64.npz").write_bytes(b"anything")
    with pytest.raises(UsageError, match="3D sets hold volumes"):
        convert(task="medmnist", input=tmp_path, output=tmp_path / "o.jsonl")
    (tmp_path / "organmnist3d_64.npz").rename(tmp_path / "octmnist.npz")
    with pytest.raises(DataError, match=r"not an \.npz file that can be read"):
        convert(task="medmnist", input=tmp_path, output=tmp_path / "o.jsonl")


def test_counting_for_a_limit_makes_no_picture(tmp_path: Path) -> None:
    """The samples that --limit counts first have the ids and splits of those that are read then, and write nothing."""
    path = write_set(tmp_path / "breastmnist.npz", classes=2)
    options = {"set": "auto"}
    source = Source(path, None, options, 0, tmp_path / "made", counting=True)
    counted = [(sample.id, sample.split) for sample in medmnist.read(source).samples]
    assert not (tmp_path / "made").exists()
    real = list(medmnist.read(dataclasses.replace(source, counting=False)).samples)
    assert counted == [(sample.id, sample.split) for sample in real] and all(sample.pictures[0] for sample in real)
    manifest = convert(task="medmnist", input=path, output=tmp_path / "o.jsonl", limit=3)
    assert manifest["counts"]["records"] == 3 == len(list((tmp_path / "o.images").iterdir()))
