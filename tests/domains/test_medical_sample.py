"""The generated medical set: exact truth, four native layouts, the same bytes for the same seed."""

import collections
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defusedxml import ElementTree
from PIL import Image
from scipy import ndimage

import adapt
from adapt.errors import UsageError
from adapt.verbs import convert
from domains.draws import Draws
from domains.medical import cells, sample
from domains.medical.cells import PLATELET, RED, Cell, Smear
from domains.medical.sample import write_sample

SIZE = 40  # five single cells of each kind: too few for a split to validate on


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("medical")
    return folder, write_sample(folder, seed=3, size=SIZE)


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_same_seed_same_bytes(written: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The same seed and size give the same bytes; another seed gives other pictures under the same names."""
    write_sample(tmp_path / "again", seed=3, size=SIZE)
    write_sample(tmp_path / "other", seed=4, size=SIZE)
    first, again, other = tree(written[0]), tree(tmp_path / "again"), tree(tmp_path / "other")
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.endswith((".jpg", ".npz")))


def test_layouts_are_read_by_the_native_readers(written: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Every set converts with the reader of the real one, and the counts are those that were announced."""
    folder, facts = written
    for name, each in facts.items():
        counts = convert(task=each["task"], input=folder / each["path"], output=tmp_path / f"{name}.jsonl")["counts"]
        assert (counts["rejected"], counts["records"]) == (0, each["questions"]), name
    detected = convert(
        task="slake", input=folder / "Slake1.0", output=tmp_path / "d.jsonl", option=["kinds=detect", "language=en"]
    )
    assert detected["counts"]["rejected"] == 0 and detected["pictures"]["in_several_splits"] == 0
    for name in ("vqa_rad", "slake", "bloodmnist"):
        splits = collections.defaultdict(set)
        for record in adapt.read_records(tmp_path / f"{name}.jsonl"):
            splits[record.images].add(record.split)
        assert all(len(found) == 1 for found in splits.values()), name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("vqa_rad/trainset.json", "vqa_rad/trainset.json"),
        ("vqa_rad/testset.json", "vqa_rad/testset.json"),
        ("Slake1.0/train.json", "slake_json/Slake1.0/train.json"),
        ("Slake1.0/test.json", "slake_json/Slake1.0/test.json"),
    ],
)
def test_fields_are_those_of_the_real_sets(written: tuple[Path, dict[str, Any]], shared: Path, ours: str, theirs: str) -> None:
    """The rows have the fields of the real ones, of the same types, and no type of answer or question that is not theirs."""
    made, real = json.loads((written[0] / ours).read_text()), json.loads((shared / "data" / theirs).read_text())
    assert {frozenset(row) for row in made} == {frozenset(real[0])}
    types = {name: {type(row[name]) for row in real} for name in real[0]}
    types["answer"] |= {int}  # VQA-RAD's train has ten of them
    assert all(type(row[name]) in types[name] for row in made for name in row)
    for name in ("answer_type", "question_type" if "question_type" in real[0] else "content_type"):
        assert {row[name] for row in made} <= {row[name] for row in real}


def test_boxes_are_those_of_the_pixels(written: tuple[Path, dict[str, Any]]) -> None:
    """Each VOC box, 1-based with both ends inside, is the extent of its cell in the mask beside it; lists cover all once."""
    folder = written[0]
    for number in range(SIZE):
        mask = np.asarray(Image.open(folder / "Slake1.0" / "imgs" / f"xmlab{number}" / "mask.png"))
        found = set()
        for name, value in sample.MASK_VALUES.items():
            labels, _ = ndimage.label(mask == value)
            for down, across in ndimage.find_objects(labels):
                found.add((name, across.start + 1, down.start + 1, across.stop, down.stop))
        root = ElementTree.parse(folder / "BCCD" / "Annotations" / f"BloodImage_{number:05}.xml").getroot()
        boxes = {
            (each.findtext("name"), *(int(each.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")))
            for each in root.iter("object")
        }
        assert boxes == found
    lists = {path.stem: path.read_text().split() for path in (folder / "BCCD" / "ImageSets" / "Main").iterdir()}
    assert sorted(lists["train"] + lists["val"] + lists["test"]) == sorted(
        path.stem for path in (folder / "BCCD" / "JPEGImages").iterdir()
    )
    assert lists["trainval"] == sorted(lists["train"] + lists["val"])


def test_cells_of_the_picture_are_those_of_the_truth() -> None:
    """Counting red discs in the pixels gives the number of red cells: the truth is what was drawn."""
    total = 0
    for index in range(60):
        smear = cells.compose(Draws(11, "test", index))
        counts = sample.count_cells(smear)
        assert len(smear.cells) == counts[RED] + counts[PLATELET] + counts["white cell"]
        if counts["white cell"]:
            continue
        red, green, blue = np.moveaxis(np.asarray(smear.picture).astype(float), 2, 0)
        labels, _ = ndimage.label((red > 1.25 * green) & (red > 1.2 * blue))
        assert sum(np.bincount(labels.ravel())[1:] >= 40) == counts[RED], index
        total += counts[RED]
    assert total > 20


def test_answers_follow_from_the_cells() -> None:
    """A hand-made smear has the answers that counting by hand gives, in both languages."""
    kinds = [RED, RED, RED, PLATELET, "eosinophil"]
    smear = Smear(Image.new("RGB", (96, 96)), tuple(Cell(kind, (1, 1, 9, 9)) for kind in kinds), np.zeros((96, 96), np.uint8))
    asked = {each.text: each.answer for index in range(300) for each in sample.ask(smear, Draws(0, "test", index))}
    assert asked["how many red cells are there?"] == 3 and asked["what is the number of white cells?"] == 1
    assert asked["is there an eosinophil?"] == "Yes" and asked["is a neutrophil present?"] == "No"
    assert asked["are there more than 2 red cells?"] == "Yes" and asked["are there more than 3 red cells?"] == "No"
    assert asked["are there more red cells or more platelets?"] == "red cells"
    assert asked["what kind of white cell is this?"] == "eosinophil"
    both = {
        (language, each.text): each.answer
        for index in range(300)
        for language, each in sample.ask_in_both(smear, Draws(0, "test", index))
    }
    assert both["en", "How many red cells are in the image?"] == both["zh", "图中有几个红细胞?"] == "3"
    assert both["zh", "图中有血小板吗?"] == "有" and both["zh", "图中有单核细胞吗?"] == "没有"
    assert both["zh", "图中的白细胞是哪一种?"] == "嗜酸性粒细胞"


def test_no_answer_can_be_guessed() -> None:
    """Nine or ten different questions a smear; yes and no are both below 70 %."""
    answers: collections.Counter[str] = collections.Counter()
    for index in range(80):
        draws = Draws(index, "test", 0)
        asked = sample.ask(cells.compose(draws), draws)
        assert 8 <= len(asked) <= 10 and len({each.text for each in asked}) == len(asked)
        answers.update(str(each.answer) for each in asked if each.closed and each.answer in ("Yes", "No"))
    assert max(answers.values()) / sum(answers.values()) < 0.7


def test_single_cells_are_balanced_and_not_told_by_their_mean_colour(written: tuple[Path, dict[str, Any]]) -> None:
    """As many of each of BloodMNIST's eight kinds in each split, 28x28 RGB; the mean colour alone does not tell the kind."""
    arrays = np.load(written[0] / "bloodmnist" / "bloodmnist.npz", allow_pickle=False)
    assert "val_images" not in arrays
    for split, count in (("train", 4), ("test", 1)):
        assert arrays[f"{split}_images"].shape == (8 * count, 28, 28, 3) and arrays[f"{split}_images"].dtype == np.uint8
        assert np.bincount(arrays[f"{split}_labels"][:, 0]).tolist() == [count] * 8
    kinds = [*cells.LOOKS, PLATELET]
    points = np.stack(
        [np.asarray(cells.draw_single(kind, Draws(7, kind, n))).mean(axis=(0, 1)) for kind in kinds for n in range(12)]
    )
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2) + np.eye(len(points)) * 1e9
    assert 0.2 < np.mean(distances.argmin(axis=1) // 12 == np.arange(len(points)) // 12) < 0.85


def test_too_small_is_refused(tmp_path: Path) -> None:
    """A size without two pictures a kind is a UsageError that says how many are needed."""
    with pytest.raises(UsageError, match="at least 16"):
        write_sample(tmp_path, size=15)
