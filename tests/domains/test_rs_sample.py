"""The generated remote-sensing set: exact truth, native layouts, the same bytes for the same seed."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from adapt.errors import UsageError
from adapt.verbs import convert
from domains.draws import Draws
from domains.remote_sensing import sample, scenes
from domains.remote_sensing.sample import write_sample

SIZE = 24


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("rs")
    return folder, write_sample(folder, seed=3, size=SIZE)


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_split(folder: Path, split: str) -> list[tuple[dict, str]]:
    kinds = ("questions", "answers")
    questions, answers = (json.loads((folder / f"LR_split_{split}_{kind}.json").read_text())[kind] for kind in kinds)
    return [(question, answer["answer"]) for question, answer in zip(questions, answers, strict=True) if question["active"]]


def test_same_seed_same_bytes(written, tmp_path):
    """The same seed and size give the same bytes; another seed gives other pictures under the same names."""
    folder, _ = written
    write_sample(tmp_path / "again", seed=3, size=SIZE)
    write_sample(tmp_path / "other", seed=4, size=SIZE)
    first, again, other = tree(folder), tree(tmp_path / "again"), tree(tmp_path / "other")
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.endswith((".jpg", ".tif")))


def test_layouts_are_read_by_the_native_readers(written, tmp_path):
    """Both sets convert with the readers of the real ones, and the counts are those that were announced."""
    folder, facts = written
    for name, each in facts.items():
        output = tmp_path / f"{name}.jsonl"
        counts = convert(task=each["task"], input=folder / each["path"], output=output)["counts"]
        assert counts["rejected"] == 0
        assert counts["converted"] == each["questions"] == len(output.read_text().splitlines())
    assert facts["eurosat"]["pictures"] == len(list((folder / "eurosat").rglob("*.jpg"))) == SIZE
    assert facts["rsvqa_lr"]["pictures"] == len(list((folder / "RSVQA-LR").rglob("*.tif"))) == SIZE


def test_fields_and_wording_are_those_of_the_real_set(written, shared):
    """The rows have no field that RSVQA-LR's lack, and where the things are the same the wording is one that occurs there."""
    folder, _ = written
    real = shared / "data" / "configilm_mock" / "RSVQA-LR"
    for kind in ("questions", "answers", "images"):
        ours, theirs = (
            next(row for row in json.loads((place / f"LR_split_train_{kind}.json").read_text())[kind] if row["active"])
            for place in (folder / "RSVQA-LR", real)
        )
        assert ours.keys() <= theirs.keys()
        assert {name: type(value) for name, value in ours.items()} == {name: type(theirs[name]) for name in ours}
    openings = {
        " ".join(row["question"].split()[:3]) for split in ("train", "val", "test") for row, _ in read_split(real, split)
    }
    ours = {" ".join(row["question"].split()[:3]) for row, _ in read_split(folder / "RSVQA-LR", "train")}
    assert {text for text in ours if text.startswith(("How", "What", "Are", "Is the", "Is it"))} <= openings


def test_splits_cover_the_pictures_once(written):
    """Each picture is active in exactly one split; every list is as long as the whole set, padded with bare inactive rows."""
    folder, facts = written
    seen: list[int] = []
    for split in ("train", "val", "test"):
        rows = json.loads((folder / "RSVQA-LR" / f"LR_split_{split}_images.json").read_text())["images"]
        assert [row["id"] for row in rows] == list(range(SIZE))
        assert all(row.keys() == {"id", "active"} for row in rows if not row["active"])
        seen += [row["id"] for row in rows if row["active"]]
        questions = json.loads((folder / "RSVQA-LR" / f"LR_split_{split}_questions.json").read_text())["questions"]
        assert len(questions) == facts["rsvqa_lr"]["questions"]
    assert sorted(seen) == list(range(SIZE))


def test_answers_follow_from_the_scene():
    """A hand-made scene has the answers that counting by hand gives."""
    areas = (scenes.Area("water area", "circular", "small"), scenes.Area("water area", "rectangular", "medium"))
    scene = scenes.Scene(roads=2, residential=7, commercial=1, areas=(*areas, scenes.Area("forest", "square", "large")))
    counts = sample.counts_of(scene)
    assert counts["building"] == 8
    assert counts["water area"] == 2 and counts["small water area"] == 1 and counts["circular water area"] == 1
    assert counts["farmland"] == 0 and counts["large forest"] == 1 and counts["small forest"] == 0
    questions = {each.text: each for index in range(600) for each in sample.ask(scene, Draws(0, "test", index))}
    assert questions["Is it a rural or an urban area"].answer == "urban"
    assert questions["Are there more residential buildings than roads?"].answer == "yes"
    assert questions["Are there less water areas than roads?"].answer == "no"
    assert questions["Is the number of water areas equal to the number of roads?"].answer == "yes"
    assert questions["Is there a farmland?"].answer == "no"
    assert questions["How many roads are there?"].answer == "2"


def test_houses_and_waters_of_the_picture_are_those_of_the_truth():
    """Counting red roofs and blue patches in the pixels gives the scene's numbers: the truth is what was drawn."""
    houses = waters = 0
    for index in range(60):
        picture, scene = scenes.compose(Draws(11, "sample/rsvqa", index))
        red, green, blue = np.moveaxis(np.asarray(picture).astype(float), 2, 0)
        if not any(area.kind == "farmland" for area in scene.areas):
            labels, count = ndimage.label(red > 1.25 * green)
            assert sum(np.bincount(labels.ravel())[1:] >= 5) == scene.residential, (index, count)
            houses += scene.residential
        if not scene.commercial:
            labels, _ = ndimage.label((blue > 0.97 * green) & (blue > 1.2 * red))
            found = sum(np.bincount(labels.ravel())[1:] >= 40)
            assert found == sum(area.kind == "water area" for area in scene.areas), index
            waters += found
    assert houses > 50 and waters > 10


def test_questions_of_a_picture_are_many_and_not_all_alike():
    """12 to 20 questions a picture, all different, of four types, and no majority answer above 75 % for yes and no."""
    asked = [sample.ask(scenes.compose(draws)[1], draws) for draws in (Draws(1, "test", index) for index in range(60))]
    for questions in asked:
        assert 12 <= len(questions) <= 20
        assert len({each.text for each in questions}) == len(questions)
        assert {each.type for each in questions} == {"rural_urban", "count", "presence", "comp"}
    for kind in ("presence", "comp", "rural_urban"):
        answers = [each.answer for questions in asked for each in questions if each.type == kind]
        assert max(answers.count(answer) for answer in set(answers)) / len(answers) < 0.75, kind


def test_mean_colour_does_not_tell_the_classes():
    """A nearest-neighbour on the mean colour alone stays below 85 %: form and texture are needed."""
    colours, names = [], []
    for index in range(25):
        for name in scenes.CLASSES:
            colours.append(np.asarray(scenes.draw_class(name, Draws(5, name, index))).mean(axis=(0, 1)))
            names.append(name)
    points = np.stack(colours)
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2) + np.eye(len(points)) * 1e9
    hits = sum(names[nearest] == name for nearest, name in zip(distances.argmin(axis=1), names, strict=True))
    assert 0.3 < hits / len(names) < 0.85


def test_pictures_are_small_rgb(written):
    """Pictures are 64 px RGB in the formats of the real sets."""
    folder, _ = written
    jpeg = Image.open(next((folder / "eurosat").rglob("*.jpg")))
    tiff = Image.open(next((folder / "RSVQA-LR").rglob("*.tif")))
    assert [(each.format, each.size, each.mode) for each in (jpeg, tiff)] == [
        ("JPEG", (64, 64), "RGB"),
        ("TIFF", (64, 64), "RGB"),
    ]


def test_too_small_is_refused(tmp_path):
    """A size without two pictures a class is a UsageError that says how many are needed."""
    with pytest.raises(UsageError, match="at least 16"):
        write_sample(tmp_path, size=15)
