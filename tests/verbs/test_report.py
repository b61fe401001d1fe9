"""The report: one page that holds everything, shows what was trained and answered, and trusts no text in it."""

import os
from pathlib import Path

import pytest
from PIL import Image
from report_runs import ATTACK, Page, write_questions, write_run, write_scores

from adapt import safe
from adapt.errors import UsageError
from adapt.verbs import report


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


def test_a_page_is_named_like_one(tmp_path: Path) -> None:
    """A slip does not write a page over rows or weights."""
    run = write_run(tmp_path / "run", {"preset": "nano"})
    with pytest.raises(UsageError, match="expected the name of a page that ends in .html"):
        report(run, output=tmp_path / "train.jsonl")


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
        "2.00 GiB measured (on a CPU the whole process, its libraries and data too), 0.50 GiB planned for weights,",
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


def test_what_is_no_share_is_no_percentage(tmp_path: Path) -> None:
    """A CIDEr of 2 that was 0.5 stands as 2 with +1.5 beside it and no bar; nowhere as 200 %, nor as points."""
    data = write_questions(tmp_path)
    runs = [
        write_run(tmp_path / "base", {"preset": "nano"}),
        write_run(tmp_path / "tuned", {"folder": str(tmp_path / "base")}),
    ]
    for run, value in zip(runs, (0.5, 2.0), strict=True):
        write_scores(run, data, ["three", "no", "no", "no"], value)
        place = run / "scores" / "field" / "scores.json"
        place.write_text(place.read_text().replace('"exact"', '"both_cider"'))
    page = Page(report(runs, output=tmp_path / "report.html"))
    assert "2 +1.5 1.9 to 2.1 · floor 0.4" in page.words
    assert "200.0 %" not in page.words and "150.0" not in page.words
    assert not [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("class") == "bar"]


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
