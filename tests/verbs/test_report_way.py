"""A run's page and card on the way of a user: there when training ends, with the scores when they are measured."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image
from report_runs import Page

from adapt.records import ChatRecord, Turn, write_records
from adapt.verbs import evaluate, finetune

FAST = ("train.samples_per_step=6", "train.max_branches=2", "train.max_steps=2", "data.workers=0", "train.tensorboard=no")


def write_field(folder: Path) -> Path:
    """Twenty questions on ten pictures, with a test split."""
    records = []
    for number in range(10):
        picture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        picture.save(folder / f"{number}.png")
        for place, answer in enumerate(("yes", "no")):
            turns = (Turn("human", f"<image>\nQuestion {place}?"), Turn("gpt", answer))
            meta = {"split": "test" if number > 7 else "train"}
            records.append(ChatRecord(f"{number}-{place}", turns, (f"{number}.png",), ((64, 64),), source="field", meta=meta))
    write_records(folder / "field.jsonl", records)
    return folder / "field.jsonl"


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file of a folder but the card."""
    files = [path for path in folder.iterdir() if path.name != "README.md"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_page_and_card_follow_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command but finetune and evaluate; two runs write the same model and card; the finished run is resumed in peace."""
    monkeypatch.setenv("ADAPT_CACHE", str(tmp_path / "cache"))
    data = write_field(tmp_path)
    for name in ("run", "again"):
        finetune(model="nano", data=[data], output=tmp_path / name, set=FAST)
    run, again = tmp_path / "run", tmp_path / "again"
    assert (run / "model" / "README.md").read_bytes() == (again / "model" / "README.md").read_bytes()
    assert digests(run / "model") == digests(again / "model")
    assert "No scores yet" in Page(run / "report.html").text
    assert ModelCard.load(run / "model" / "README.md").data.eval_results is None
    before = digests(run / "model")
    scores = evaluate(benchmark="vqa", model=run, data=data, output=run / "scores")
    [exact, *_] = ModelCard.load(run / "model" / "README.md").data.eval_results
    assert exact.metric_value == scores["metrics"]["exact"]["value"] and exact.metric_type == "exact"
    page = Page(run / "report.html")
    assert "No scores yet" not in page.text and len(page.pictures()) == 4
    assert digests(run / "model") == before
    assert finetune(output=run, resume=True)["finished"] is True
    tuned = finetune(model=run, data=[data], output=tmp_path / "tuned", set=FAST)
    assert tuned["steps"] == 2
    evaluate(benchmark="vqa", model=tmp_path / "tuned", data=data, output=tmp_path / "tuned" / "scores")
    assert "from run" in Page(tmp_path / "tuned" / "report.html").words
