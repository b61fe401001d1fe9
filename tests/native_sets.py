"""A tiny set in the native layout of each task, for tests that damage it: name -> (task, options, builder).

A builder fills a folder and returns the path of the input below it ("" for the folder itself).
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from adapt.verbs import sample

Builder = Callable[[Path], str]


def picture(path: Path, *, size: tuple[int, int] = (40, 32), seed: int = 0) -> None:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)


def of_sample(domain: str, below: str) -> Builder:
    """One data set of what ``adapt sample`` writes for a field."""

    def build(folder: Path) -> str:
        sample(domain=domain, output=folder / "all", size=16)
        (folder / "all" / below).rename(folder / "set")
        for left in sorted((folder / "all").rglob("*"), reverse=True):
            left.rmdir() if left.is_dir() else left.unlink()
        (folder / "all").rmdir()
        return "set"

    return build


def vqa_table(folder: Path) -> str:
    """A CSV of questions beside its pictures."""
    with open(folder / "questions.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "question", "answer", "split"])
        for number in range(4):
            picture(folder / f"pictures/{number}.png", seed=number)
            writer.writerow([f"pictures/{number}.png", f"What is on picture {number}?", "noise", "train"])
    return "questions.csv"


def chats(folder: Path) -> str:
    """LLaVA rows, with and without a picture."""
    rows = []
    for number in range(4):
        picture(folder / f"{number}.png", seed=number)
        turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Noise."}]
        rows.append({"id": f"chat-{number}", "image": f"{number}.png", "conversations": turns})
    turns = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day."}]
    (folder / "chats.json").write_text(json.dumps([*rows, {"id": "text", "conversations": turns}], indent=1))
    return "chats.json"


def openai_lines(folder: Path) -> str:
    """OpenAI messages, one conversation a line."""
    lines = []
    for number in range(3):
        picture(folder / f"{number}.png", seed=number)
        content = [{"type": "image_url", "image_url": {"url": f"{number}.png"}}, {"type": "text", "text": "What is it?"}]
        lines.append(
            json.dumps({"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "Noise."}]})
        )
    (folder / "chats.jsonl").write_text("\n".join(lines) + "\n")
    return "chats.jsonl"


def class_folders(folder: Path) -> str:
    """Two classes of three pictures each."""
    for number in range(6):
        picture(folder / "set" / ("left", "right")[number % 2] / f"{number}.png", seed=number)
    return "set"


SETS: dict[str, tuple[str, dict[str, str], Builder]] = {
    "classify": ("classify", {}, class_folders),
    "vqa": ("vqa", {}, vqa_table),
    "chat llava": ("chat", {}, chats),
    "chat openai": ("chat", {}, openai_lines),
    "rsvqa": ("rsvqa", {}, of_sample("remote_sensing", "RSVQA-LR")),
    "easyvqa": ("easyvqa", {}, of_sample("general", "data")),
}
