"""The generated general set: exact truth, the native layout, the same bytes for the same seed."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt.errors import UsageError
from adapt.verbs import convert
from domains.draws import Draws
from domains.general import sample
from domains.general.sample import write_sample

SIZE = 20


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("general")
    return folder, write_sample(folder, seed=2, size=SIZE)


def test_same_seed_same_bytes(written, tmp_path):
    """The same seed and size give the same bytes; another seed gives others."""
    folder, _ = written
    write_sample(tmp_path / "again", seed=2, size=SIZE)
    write_sample(tmp_path / "other", seed=3, size=SIZE)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)
    pictures = [name for name in names if name.suffix == ".png"]
    assert all((folder / name).read_bytes() != (tmp_path / "other" / name).read_bytes() for name in pictures)


def test_layout_is_read_by_the_native_reader(written, tmp_path):
    """The set converts with easy-VQA's reader, from the folder that was announced."""
    folder, facts = written
    each = facts["easy_vqa"]
    counts = convert(task=each["task"], input=folder / each["path"], output=tmp_path / "g.jsonl")["counts"]
    assert counts["rejected"] == 0
    assert counts["converted"] == each["questions"]
    assert counts["splits"] == {"train": each["questions"] * 4 // 5, "test": each["questions"] // 5}


def test_wording_and_answers_are_those_of_the_real_set(written, shared):
    """Every question of ours stands word for word in easy-VQA, and the answers are its thirteen."""
    folder, _ = written
    real = shared / "data" / "easy_vqa" / "data"
    known = {question for question, _, _ in json.loads((real / "train" / "questions.json").read_text())}
    ours = {question for question, _, _ in json.loads((folder / "data" / "train" / "questions.json").read_text())}
    assert ours <= known
    assert set((folder / "data" / "answers.txt").read_text().split()) == set((real / "answers.txt").read_text().split())


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what shape is in the image?", "circle"),
        ("what color is the circle?", "red"),
        ("is there a circle?", "yes"),
        ("is there a red shape?", "yes"),
        ("is there a triangle?", "no"),
        ("does the image not contain a circle?", "no"),
        ("is no triangle present?", "yes"),
    ],
)
def test_answers_follow_from_the_shape(question, answer):
    """What is asked of a red circle has the answer that a person gives."""
    asked = {text: reply for index in range(200) for text, reply in sample.ask("circle", "red", Draws(0, "test", index))}
    assert asked[question] == answer


def test_every_picture_has_different_questions_of_both_answers():
    """Nine different questions a picture; over many, yes and no are near balance."""
    asked = [sample.ask("triangle", "teal", Draws(1, "test", index)) for index in range(200)]
    assert all(len({text for text, _ in questions}) == 9 for questions in asked)
    replies = [reply for questions in asked for _, reply in questions]
    assert 0.35 < replies.count("yes") / (replies.count("yes") + replies.count("no")) < 0.65


@pytest.mark.parametrize("shape", sample.SHAPES)
def test_the_shape_covers_its_share_of_its_bounding_box(shape):
    """Measured in the pixels, a circle fills pi/4 of its box, a rectangle all, a triangle half."""
    share = {"circle": np.pi / 4, "rectangle": 1.0, "triangle": 0.5}[shape]
    for index in range(10):
        pixels = np.asarray(sample.draw_shape(shape, "black", Draws(0, "test", index))).mean(axis=2)
        rows, columns = np.nonzero(pixels < 120)
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert abs(len(rows) / box - share) < 0.08


def test_pictures_are_small_rgb(written):
    """Pictures are 64 px RGB PNG files."""
    folder, _ = written
    picture = Image.open(folder / "data" / "test" / "images" / "0.png")
    assert (picture.format, picture.size, picture.mode) == ("PNG", (64, 64), "RGB")


def test_too_small_is_refused(tmp_path):
    """One picture cannot be both trained and tested on."""
    with pytest.raises(UsageError, match="at least 2"):
        write_sample(tmp_path, size=1)
