"""The report: one page that holds everything, shows what was trained and answered, and trusts no text in it."""

import base64
import html.parser
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt import safe
from adapt.errors import UsageError
from adapt.records import ChatRecord, Turn, write_records, write_rows
from adapt.verbs import report

ATTACK = "<script>alert(1)</script>\"'><img src=https://evil.example/x.png>"


class Page(html.parser.HTMLParser):
    """What the standard library's parser finds in a page: tags with their attributes, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

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
    (folder / "config.json").write_text(json.dumps({"arguments": arguments, "recipe": recipe, "model": model}))
    plan = {"steps": steps, "samples": {"domain": 160, "general": 80}, "epochs": {"domain": 1.25}, "notes": ["a note"]}
    (folder / "plan.json").write_text(json.dumps(plan))
    rows = [{"step": step, "loss": 1 / step, "loss/roads": 2 / step, "seconds": 0.5} for step in range(1, steps + 1)]
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


def test_the_page_holds_everything_and_fetches_nothing(tmp_path: Path) -> None:
    """No script, no link, no address outside: pictures are data, and the page's own policy forbids the rest."""
    run = write_run(tmp_path / "run", {"preset": "nano"})
    write_scores(run, write_questions(tmp_path), ["three", "four", "three", "two"], 0.5)
    page = Page(report(run, output=tmp_path / "report.html"))
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    assert not [attributes for _, attributes in page.tags if attributes.get("href")]
    assert [picture.size for picture in page.pictures()] == [(492, 369)] * 4  # of 640x480
    policies = [attributes["content"] for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes]
    assert policies and "default-src 'none'" in str(policies[0])


def test_what_was_trained_and_scored_stands_in_the_page(tmp_path: Path) -> None:
    """Model, data, mixture, sources, losses by file, value with interval, count, convention and floor."""
    run = write_run(tmp_path / "run", {"preset": "nano"})
    write_scores(run, write_questions(tmp_path), ["three"] * 4, 0.875)
    text = Page(report([run], output=tmp_path / "report.html")).text
    for expected in (
        "preset nano",
        "field.jsonl",
        "general.jsonl at ratio 0.5",
        "roads",
        "0.875",
        "0.775 to 0.975",
        "words",
        "0.4",
    ):
        assert expected in text


def test_wrong_answers_come_first(tmp_path: Path) -> None:
    """By the benchmark's marks, the wrong ones stand before the right ones, with what was expected."""
    run = write_run(tmp_path / "run", {"preset": "nano"})
    write_scores(run, write_questions(tmp_path), ["three", "three", "seven", "three"], 0.75)
    text = Page(report([run], output=tmp_path / "report.html")).text
    assert text.index("How many? 2") < text.index("How many? 0") < text.index("How many? 1")
    assert "✗ seven" in text and text.count("✓ three") == 3


def test_runs_are_compared_with_the_run_they_came_from(tmp_path: Path) -> None:
    """0.25 to 0.75 is +50 points over the base; the answers of both runs stand beside each other."""
    data = write_questions(tmp_path)
    base, tuned = (
        write_run(tmp_path / "base", {"preset": "nano"}),
        write_run(tmp_path / "tuned", {"folder": str(tmp_path / "base")}),
    )
    write_scores(base, data, ["three", "no", "no", "no"], 0.25)
    write_scores(tuned, data, ["three", "three", "three", "no"], 0.75)
    page = Page(report([base, tuned], output=tmp_path / "report.html"))
    assert "+50.0 points" in page.text and "from base" in page.text
    assert len(page.pictures()) == 4


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    """Markup in answers, questions, names and notes shows as it is written and makes no tag."""
    run = write_run(tmp_path / "run", {"folder": ATTACK}, data=ATTACK)
    write_scores(run, write_questions(tmp_path), [ATTACK] * 4, 0.0)
    page = Page(report([run], output=tmp_path / "report.html"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert len(page.pictures()) == 4
    assert page.text.count(ATTACK) >= 5


def test_a_picture_path_cannot_leave_its_root(tmp_path: Path) -> None:
    """A row that climbs out of the picture root embeds nothing; the rest of the page is written."""
    run, data = write_run(tmp_path / "run", {"preset": "nano"}), write_questions(tmp_path / "data", 1)
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    data.write_text(data.read_text().replace("road.png", "../secret.png"))
    write_scores(run, data, ["four"], 0.0)
    page = Page(report([run], output=tmp_path / "report.html"))
    assert page.pictures() == [] and "✗ four" in page.text


def test_a_run_whose_data_is_gone_still_has_a_page(tmp_path: Path) -> None:
    """Scores and curves are shown, and the page says why there are no pictures."""
    run = write_run(tmp_path / "run", {"preset": "nano"})
    write_scores(run, tmp_path / "gone.jsonl", ["four"], 0.0)
    assert "gone.jsonl is not there any more" in Page(report([run], output=tmp_path / "report.html")).text


def test_curves_of_long_runs_stay_small(tmp_path: Path) -> None:
    """20,000 steps make a page below 100 kB, and the curve ends at the last step."""
    run = write_run(tmp_path / "run", {"preset": "nano"}, steps=20_000)
    page = report([run], output=tmp_path / "report.html")
    assert page.stat().st_size < 100_000
    assert "20,000" in Page(page).text


def test_a_folder_of_runs_stands_for_its_runs(tmp_path: Path) -> None:
    """The parent of runs, as a demo leaves it, is read as these runs in the order they began."""
    for name in ("second", "first"):
        write_run(tmp_path / "demo" / name, {"preset": "nano"})
    os.utime(tmp_path / "demo" / "first" / "config.json", (1, 1))
    text = Page(report(tmp_path / "demo", output=tmp_path / "report.html")).text
    assert text.index("Run: first") < text.index("Run: second")


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_that_is_no_run_is_wrong_usage(tmp_path: Path, name: str) -> None:
    """Exit 2 with the folder's name, and no page is left."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=name):
        report([tmp_path / name], output=tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_page_is_written_the_same_way_twice(tmp_path: Path) -> None:
    """Nothing in the page depends on the time or the process."""
    run = write_run(tmp_path / "run", {"preset": "nano"})
    write_scores(run, write_questions(tmp_path), ["three", "four", "three", "two"], 0.5)
    first, second = (report([run], output=tmp_path / f"{name}.html") for name in ("a", "b"))
    assert safe.file_sha256(first) == safe.file_sha256(second)
