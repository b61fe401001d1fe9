"""A generated general set in easy-VQA's native layout: one coloured shape on a pale ground and questions on it.

Layout and wording: github.com/vzhou842/easy-VQA, ``data/{train,test}/{questions.json,images/<id>.png}`` and ``answers.txt``;
``questions.json`` is a list of [question, answer, image id]. The pictures look nothing like those of a domain, so what a
model forgets while it is adapted can be seen on them.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from adapt.errors import UsageError
from domains.draws import Draws

DEFAULT_SIZE = 1000
TEST_SHARE = 0.2
SIZE_PX = 64
SHAPES = ("circle", "rectangle", "triangle")
COLOURS = {
    "red": (224, 30, 30),
    "green": (20, 150, 30),
    "blue": (20, 40, 230),
    "yellow": (240, 214, 20),
    "black": (10, 10, 12),
    "gray": (128, 128, 130),
    "brown": (140, 78, 32),
    "teal": (20, 160, 170),
}
_README = """Generated pictures and questions, not real data.
Made by 'adapt sample --domain general' with seed {seed} and size {size}.
"""
_WHICH_SHAPE = (
    "what shape is in the image?",
    "what shape is present?",
    "what shape does the image contain?",
    "what is the {colour} shape?",
)
_WHICH_COLOUR = (
    "what color is the shape?",
    "what is the color of the shape?",
    "what color is the {shape}?",
    "what is the color of the {shape}?",
)
_IS_THERE = ("is there a {}?", "is there a {} in the image?", "is a {} present?", "does the image contain a {}?")
_IS_NOT_THERE = (
    "is there not a {}?",
    "is no {} present?",
    "does the image not contain a {}?",
    "is there not a {} in the image?",
)


def draw_shape(shape: str, colour: str, draws: Draws) -> Image.Image:
    """A 64 px RGB picture of one shape."""
    ground = tuple(draws.integer(228, 255) for _ in range(3))
    canvas = Image.new("RGB", (SIZE_PX * 2, SIZE_PX * 2), ground)
    pen = ImageDraw.Draw(canvas)
    wide, high = draws.integer(36, 72), draws.integer(36, 72)
    high = wide if shape == "circle" else high
    left, top = draws.integer(4, SIZE_PX * 2 - wide - 4), draws.integer(4, SIZE_PX * 2 - high - 4)
    fill = tuple(min(255, max(0, value + draws.integer(-10, 10))) for value in COLOURS[colour])
    if shape == "circle":
        pen.ellipse((left, top, left + wide, top + high), fill=fill)
    elif shape == "rectangle":
        pen.rectangle((left, top, left + wide, top + high), fill=fill)
    else:
        pen.polygon([(left, top + high), (left + wide, top + high), (left + wide / 2, top)], fill=fill)
    pixels_HWC = np.asarray(canvas, dtype=np.float32).reshape(SIZE_PX, 2, SIZE_PX, 2, 3).mean(axis=(1, 3))
    return Image.fromarray(np.rint(pixels_HWC).astype(np.uint8))


def _yes_no(thing: str, holds: bool, draws: Draws) -> tuple[str, str]:
    if draws.chance(0.7):
        return draws.pick(_IS_THERE).format(thing), "yes" if holds else "no"
    return draws.pick(_IS_NOT_THERE).format(thing), "no" if holds else "yes"


def ask(shape: str, colour: str, draws: Draws) -> list[tuple[str, str]]:
    """Nine questions and answers on one picture: two for the shape, two for the colour, five of yes or no."""
    asked = [(form.format(colour=colour), shape) for form in draws.shuffled(_WHICH_SHAPE)[:2]]
    asked += [(form.format(shape=shape), colour) for form in draws.shuffled(_WHICH_COLOUR)[:2]]
    other_shapes = draws.shuffled([name for name in SHAPES if name != shape])
    other_colours = draws.shuffled([name for name in COLOURS if name != colour])
    things = [(shape, True), (other_shapes[0], False), (f"{colour} shape", True), (f"{other_colours[0]} shape", False)]
    things.append(draws.pick([(other_shapes[1], False), (f"{other_colours[1]} shape", False)]))
    return draws.shuffled(asked + [_yes_no(thing, holds, draws) for thing, holds in things])


def _write_split(folder: Path, split: str, count: int, seed: int) -> int:
    (folder / split / "images").mkdir(parents=True)
    rows: list[list[Any]] = []
    for number in range(count):
        draws = Draws(seed, f"sample/easy_vqa/{split}", number)
        shape, colour = draws.pick(SHAPES), draws.pick(tuple(COLOURS))
        draw_shape(shape, colour, draws).save(folder / split / "images" / f"{number}.png", format="PNG")
        rows += [[question, answer, number] for question, answer in ask(shape, colour, draws)]
    (folder / split / "questions.json").write_text(json.dumps(rows), encoding="utf-8")
    return len(rows)


def write_sample(folder: Path, *, seed: int = 0, size: int = DEFAULT_SIZE) -> dict[str, Any]:
    """Write ``size`` pictures, a fifth of them for testing, under ``folder/data``: the same bytes for the same seed and size.

    Returns {dataset: {path (relative to folder), task, pictures, questions}}. Raises UsageError for a size below 2.
    """
    if size < 2:
        raise UsageError(f"--size {size}: the general sample needs at least 2 pictures, one to train and one to test")
    data = Path(folder) / "data"
    test = max(1, round(size * TEST_SHARE))
    questions = _write_split(data, "train", size - test, seed) + _write_split(data, "test", test, seed)
    answers = [*SHAPES, *COLOURS, "yes", "no"]
    (data / "answers.txt").write_text("\n".join(answers) + "\n", encoding="utf-8")
    note = _README.format(seed=seed, size=size)
    (Path(folder) / "README.txt").write_text(note, encoding="utf-8")
    return {"easy_vqa": {"path": data.name, "task": "easyvqa", "pictures": size, "questions": questions}}
