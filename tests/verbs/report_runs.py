"""Run folders as ``finetune`` and ``evaluate`` leave them, without a model in them, and what a parser finds in a page."""

import base64
import html.parser
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from adapt.records import ChatRecord, Turn, write_records, write_rows

ATTACK = "<script>alert(1)</script>\"'><img src=https://evil.example/x.png>"


class Page(html.parser.HTMLParser):
    """What the standard library's parser finds in a page: tags with their attributes, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.pieces: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
        self.pieces.append(data)

    @property
    def words(self) -> str:
        """All text, a blank between any two pieces of it."""
        return " ".join(" ".join(self.pieces).split())

    def pictures(self) -> list[Image.Image]:
        """The embedded pictures, decoded."""
        sources = [attributes["src"] or "" for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        return [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]


def write_run(folder: Path, model: dict[str, str], *, data: str = "field.jsonl", steps: int = 30) -> Path:
    """A run folder as finetune leaves it, without a model in it."""
    folder.mkdir(parents=True)
    recipe = {"train.samples_per_step": 8, "train.learning_rate": 1e-3, "train.weight_decay": 0.01, "train.seed": 0}
    recipe |= {"train.stage": "all", "data.general_ratio": 0.5}
    arguments = {"data": [data], "general": ["general.jsonl"], "domain": "driving"}
    (folder / "config.json").write_text(json.dumps({"arguments": arguments, "recipe": recipe, "model": model, "device": "cpu"}))
    plan = {"steps": steps, "samples": {"domain": 160, "general": 80}, "epochs": {"domain": 1.25}, "notes": ["a note"]}
    plan["memory_bytes"] = {"total": 2**29}
    (folder / "plan.json").write_text(json.dumps(plan))
    rows = [
        {"step": step, "loss": 1 / step, "loss/roads": 2 / step, "seconds": 0.5, "peak_bytes": 2**31}
        for step in range(1, steps + 1)
    ]
    rows.append({"event": "validation", "step": steps, "domain_loss": 0.25, "general_loss": 0.75})
    write_rows(folder / "log.jsonl", rows)
    return folder


def write_questions(folder: Path, count: int = 4) -> Path:
    """``field.jsonl`` of ``count`` questions on one picture of 640x480."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((480, 640, 3), 90, np.uint8)).save(folder / "road.png")
    records = [
        ChatRecord(f"q{number}", (Turn("human", f"<image>\nHow many? {number}"), Turn("gpt", "three")), ("road.png",))
        for number in range(count)
    ]
    write_records(folder / "field.jsonl", records)
    return folder / "field.jsonl"


def write_scores(run: Path, data: Path, answers: list[str], value: float) -> None:
    """Scores as evaluate leaves them, below the run."""
    folder = run / "scores" / "field"
    write_rows(folder / "predictions.jsonl", ({"id": f"q{number}", "answer": text} for number, text in enumerate(answers)))
    write_rows(
        folder / "marks.jsonl", ({"id": f"q{number}", "mark": float(text == "three")} for number, text in enumerate(answers))
    )
    metric = {"value": value, "count": len(answers), "low": value - 0.1, "high": value + 0.1}
    document = {
        "benchmark": "vqa",
        "headline": "exact",
        "convention": "words",
        "metrics": {"exact": metric},
        "floor": {"exact": 0.4},
    }
    (folder / "scores.json").write_text(json.dumps(document | {"data": str(data), "images": None, "split": None}))
