"""The report as a browser sees it: curves, boxes in two colours, a phone, paper; and who is compared with whom in it."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import COMMAND, Browser
from PIL import Image
from report_runs import ATTACK, Page, write_questions, write_run, write_scores

from adapt.evaluate.paired import compare
from adapt.records import ChatRecord, Turn, write_records, write_rows
from adapt.report.gallery import PICTURE_BYTES
from adapt.report.page import MOST_BYTES
from adapt.report.upkeep import note_scores, write_own_page
from adapt.verbs import report

TRUE_BOX, GUESSED_BOX = "[[100, 200, 500, 600]]", "[[250, 250, 750, 750]]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of this file."""
    if COMMAND is None:
        pytest.skip("needs Chromium")
    with Browser(COMMAND, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def grounded(tmp_path: Path) -> Path:
    """A run with boxes: four questions, one answered with the true box, two with another, one with hostile words."""
    run = write_run(tmp_path / "run", {"preset": "nano"})
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(tmp_path / "road.png")
    truth = f"<ref>car</ref><box>{TRUE_BOX}</box>"
    records = [
        ChatRecord(
            f"q{number}",
            (Turn("human", f"<image>\nWhere is car {number}? {ATTACK * 9}"), Turn("gpt", truth)),
            ("road.png",),
            ((640, 480),),
            meta={"boxes_px": [[64, 96, 320, 288]], "type": ("near", "far")[number % 2]},
        )
        for number in range(4)
    ]
    write_records(tmp_path / "field.jsonl", records)
    guess = truth.replace(TRUE_BOX, GUESSED_BOX)
    write_set(run / "scores" / "field", tmp_path / "field.jsonl", [truth, guess, guess, ATTACK], [1.0, 0.3, 0.2, 0.0])
    return run


def write_set(
    folder: Path, data: Path, answers: list[str], marks: list[float], model: dict[str, str] | None = None, **more: Any
) -> None:
    """Scores of given marks, as ``evaluate`` leaves them."""
    write_rows(folder / "predictions.jsonl", ({"id": f"q{number}", "answer": text} for number, text in enumerate(answers)))
    write_rows(folder / "marks.jsonl", ({"id": f"q{number}", "mark": mark} for number, mark in enumerate(marks)))
    mean = sum(marks) / len(marks)
    metric = {"value": mean, "count": len(marks), "low": max(0.0, mean - 0.1), "high": min(1.0, mean + 0.1)}
    document = {"benchmark": "ground", "headline": "mean_iou", "convention": "plain IoU", "metrics": {"mean_iou": metric}}
    document |= {"floor": {"mean_iou": 0.125}, "data": str(data), "split": None, "model": model or {}}
    (folder / "scores.json").write_text(json.dumps(document | more))


def test_curves_and_boxes_are_drawn(browser: Browser, grounded: Path, tmp_path: Path) -> None:
    """No error, nothing fetched; every curve has a length; true and predicted boxes stand at their places in two colours."""
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.open(report(grounded, output=tmp_path / "r.html"))
    assert browser.messages == []
    assert [each for each in browser.requests if not each.startswith(("file:", "data:image/jpeg"))] == []
    assert browser.evaluate("[...document.querySelectorAll('figure path.curve')].map(each => each.getTotalLength() > 100)")[
        :1
    ] == [True]
    places = browser.evaluate(
        "[...document.querySelectorAll('.stage rect')].map(each => {const box = each.getBoundingClientRect(),"
        " all = each.closest('.stage').querySelector('img').getBoundingClientRect();"
        " return [each.getAttribute('class'), (box.x - all.x) / all.width, (box.y - all.y) / all.height,"
        " box.width / all.width, box.height / all.height]})"
    )
    found = {name: [place for kind, *place in places if kind == name] for name in ("truth", "predicted")}
    assert np.allclose(found["truth"], [[0.1, 0.2, 0.4, 0.4]] * 4, atol=0.01)
    assert sorted(map(tuple, np.round(found["predicted"], 2).tolist())) == [(0.1, 0.2, 0.4, 0.4), *[(0.25, 0.25, 0.5, 0.5)] * 2]
    colours = browser.evaluate(
        "['truth', 'predicted'].map(name => getComputedStyle(document.querySelector('rect.' + name)).stroke)"
    )
    assert len(set(colours)) == 2 and "none" not in colours


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_scrolls_sideways(browser: Browser, grounded: Path, tmp_path: Path, width: int) -> None:
    """Neither the page nor a table in it, on a phone and on a desk, with long words in names and answers."""
    second = write_run(tmp_path / ("a-run-with-a-name-that-has-no-blank-to-break-at" * 2), {"folder": str(grounded)})
    write_set(second / "scores", tmp_path / "field.jsonl", ["W" * 400] * 4, [0.0] * 4)
    page = report([grounded, second], output=tmp_path / "r.html")
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    browser.open(page)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('.wide')].filter(each => each.scrollWidth > each.clientWidth + 1).length"
    assert browser.evaluate(wide) == 0 or width > 500
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_paper_shows_what_is_folded(browser: Browser, grounded: Path, tmp_path: Path) -> None:
    """Printed, the page is white, the folded recipe takes its room, and long words of a question stand whole, once."""
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.open(report(grounded, output=tmp_path / "r.html"))
    closed = "[...document.querySelectorAll('details:not([open])')].filter(each => IN_SHOT each.closest('.shot'))"
    height = closed.replace("IN_SHOT", "!") + ".map(each => each.getBoundingClientRect().height)"
    words = closed.replace("IN_SHOT", "") + (
        ".map(each => [each.querySelector('summary'), each.querySelector('span')].map(part => part.checkVisibility()))"
    )
    before = browser.evaluate(height)
    assert browser.evaluate(words) == [[True, False]] * 4
    browser.call("Emulation.setEmulatedMedia", media="print")
    after = browser.evaluate(height)
    assert before and all(printed > shown + 20 for shown, printed in zip(before, after, strict=True))
    assert browser.evaluate(words) == [[False, True]] * 4
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.call("Emulation.setEmulatedMedia", media="")


def test_hostile_text_runs_and_shows_nothing(browser: Browser, grounded: Path, tmp_path: Path) -> None:
    """Markup in questions, answers, conventions, details and metric names makes no element, in the browser's own parser."""
    metric = {"value": 0.5, "count": 4, "low": 0.4, "high": 0.6}
    details = {"by_" + ATTACK: {ATTACK: {ATTACK: 1}}, "confusion": {ATTACK: {ATTACK + "2": 3}}}
    write_set(
        grounded / "scores" / "hostile", tmp_path / "field.jsonl", [ATTACK] * 4, [0.0] * 4,
        benchmark=ATTACK, convention=ATTACK, metrics={ATTACK: metric}, headline=ATTACK, details=details,
        floor={ATTACK * 2: 0.5},
    )  # fmt: skip
    browser.open(report(grounded, output=tmp_path / "r.html"))
    assert browser.messages == []
    assert browser.evaluate("document.querySelectorAll('script, iframe, img[src*=evil]').length") == 0
    assert browser.evaluate("document.body.textContent").count(ATTACK) >= 12


def test_the_worst_come_first_and_only_the_lowest_marks(grounded: Path, tmp_path: Path) -> None:
    """By the marks 0, 0.2, 0.3 and 1: an answer with no box, the nearer misses, then the right one."""
    text = Page(report(grounded, output=tmp_path / "r.html")).text
    places = [text.index(f"Where is car {number}?") for number in (3, 2, 1, 0)]
    assert places == sorted(places)
    assert "3 of 4 questions that the model got wrong or only partly right; 4 shown, the worst first" in text


def test_kinds_of_question_are_told_apart(grounded: Path, tmp_path: Path) -> None:
    """Marks 1, 0.3, 0.2, 0 with types near, far, near, far: means of 60 % and 15 %, two questions each."""
    text = Page(report(grounded, output=tmp_path / "r.html")).words
    assert "far 15.0 %" in text and "near 60.0 %" in text and text.count("2 questions") == 2


def test_a_run_is_tested_against_what_it_came_from(tmp_path: Path) -> None:
    """The base's scores below the run, known by its weights: change, paired difference, interval and p of ``compare``."""
    data = write_questions(tmp_path, 8)
    run = write_run(tmp_path / "run", {"folder": "/gone", "weights_sha256": "b" * 64})
    before, after = [0.0] * 5 + [1.0] * 3, [1.0] * 7 + [0.0]
    write_set(run / "scores" / "before", data, ["x"] * 8, before, {"folder": "/elsewhere", "weights_sha256": "b" * 64})
    write_set(run / "scores" / "after", data, ["x"] * 8, after)
    text = Page(report(run, output=tmp_path / "r.html")).words
    found = compare(after, before, ["road.png"] * 8)
    assert f"87.5 % {100 * found.difference:+.1f} points" in text and "run: before" in text
    assert f"per question +50.0 ({100 * found.low:+.1f} to {100 * found.high:+.1f}), p = {found.p_value:.3f}" in text


def test_a_base_given_as_a_folder_of_scores_is_compared(tmp_path: Path) -> None:
    """``adapt report RUN EVALUATION``: a folder that no run wrote, of the same weights, counts as before."""
    data = write_questions(tmp_path, 4)
    run = write_run(tmp_path / "run", {"hub": "a/b", "commit": "c" * 40, "weights_sha256": "b" * 64})
    write_set(run / "scores", data, ["x"] * 4, [1.0, 1.0, 1.0, 0.0])
    write_set(tmp_path / "published", data, ["x"] * 4, [0.0, 1.0, 0.0, 0.0], {"hub": "a/b", "weights_sha256": "b" * 64})
    text = Page(report([run, tmp_path / "published"], output=tmp_path / "r.html")).words
    assert "75.0 % +50.0 points" in text and "Scores: published" in text


def test_a_base_that_two_runs_have_measured_is_shown_once(tmp_path: Path) -> None:
    """Both runs' changes and paired tests are against the one row, which names the other too; other values stay another row."""
    data = write_questions(tmp_path, 8)
    model = {"folder": "/gone", "weights_sha256": "b" * 64}
    runs = [write_run(tmp_path / name, model) for name in ("one", "two")]
    for run, right in zip(runs, (5, 7), strict=True):
        write_set(run / "scores" / "before", data, ["x"] * 8, [1.0] * 3 + [0.0] * 5, model)
        write_set(run / "scores" / "after", data, ["x"] * 8, [1.0] * right + [0.0] * (8 - right))
    text = Page(report(runs, output=tmp_path / "r.html")).words
    comparison = text[: text.index("Points are against")]
    assert comparison.count("37.5 %") == 1 and "also given as two: before" in comparison and "two: before" in comparison
    assert "62.5 % +25.0 points" in comparison and "87.5 % +50.0 points" in comparison
    assert comparison.count("per question") == 2
    write_set(runs[1] / "scores" / "before", data, ["x"] * 8, [1.0] * 2 + [0.0] * 6, model)
    text = Page(report(runs, output=tmp_path / "r.html")).words
    assert "also given as" not in text and "87.5 % +62.5 points" in text


def test_a_folder_given_twice_is_shown_once_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By whatever name; a folder of scores that lies in a run given beside it is no second model."""
    data = write_questions(tmp_path, 4)
    model = {"folder": "/gone", "weights_sha256": "b" * 64}
    run = write_run(tmp_path / "run", model)
    write_set(run / "scores" / "before", data, ["x"] * 4, [0.0, 1.0, 0.0, 0.0], model)
    write_set(run / "scores" / "after", data, ["x"] * 4, [1.0, 1.0, 1.0, 0.0])
    (tmp_path / "link").symlink_to(run)
    again = [run, tmp_path / "link", run / "scores" / "before", run / "scores" / "before"]
    text = Page(report(again, output=tmp_path / "r.html")).words
    told = capsys.readouterr().err
    assert f"{tmp_path / 'link'}: given more than once, as {run} too; shown once" in told
    assert f"{run / 'scores' / 'before'}: given more than once; shown once" in told
    comparison = text[: text.index("Points are against")]
    assert comparison.count(" 25.0 %") == 1 and "also given as before" in comparison


@pytest.mark.parametrize(("after", "colour", "shown"), [(300, "same", "+0.0"), (301, "up", "+0.1"), (299, "down", "-0.1")])
def test_a_change_has_the_colour_of_what_is_shown(tmp_path: Path, after: int, colour: str, shown: str) -> None:
    """Green where the digits shown go up, red where they go down, none where they show no change."""
    data = write_questions(tmp_path, 4)
    model = {"folder": "/gone", "weights_sha256": "b" * 64}
    run = write_run(tmp_path / "run", model)
    for name, right, given in (("before", 300.4, model), ("after", after + 0.4, None)):
        folder = run / "scores" / name
        write_set(folder, data, ["x"] * 4, [1.0, 0.0, 0.0, 0.0], given)
        document = json.loads((folder / "scores.json").read_text())
        document["metrics"]["mean_iou"]["value"] = (right + (0.2 if name == "after" and after == 300 else 0)) / 1000
        (folder / "scores.json").write_text(json.dumps(document))
    page = Page(report(run, output=tmp_path / "r.html"))
    assert f"{shown} points" in page.text
    assert [tag["class"] for name, tag in page.tags if name == "span" and tag.get("class") in ("same", "up", "down")] == [
        colour
    ]


def test_a_base_that_is_a_run_is_found(tmp_path: Path) -> None:
    """The page of a run alone shows the scores of the run it was tuned from, where that still is where it was."""
    data = write_questions(tmp_path, 4)
    base = write_run(tmp_path / "first", {"preset": "nano"})
    run = write_run(tmp_path / "second", {"folder": str(base)})
    write_set(base / "scores", data, ["x"] * 4, [0.0, 1.0, 0.0, 0.0])
    write_set(run / "scores", data, ["x"] * 4, [1.0, 1.0, 1.0, 0.0])
    text = Page(report(run, output=tmp_path / "r.html")).words
    assert "75.0 % +50.0 points" in text and "from first" in text


def test_what_only_a_base_that_was_looked_up_has_stays_on_its_own_page(tmp_path: Path) -> None:
    """The base was measured on a second field, the run was not: the run's page says nothing of it; both, asked for, do."""
    data = write_questions(tmp_path, 4)
    other = data.with_name("other.jsonl")
    shutil.copy(data, other)
    base = write_run(tmp_path / "first", {"preset": "nano"})
    run = write_run(tmp_path / "second", {"folder": str(base)})
    write_set(base / "scores" / "field", data, ["x"] * 4, [0.0, 1.0, 0.0, 0.0])
    write_set(base / "scores" / "other", other, ["only the base"] * 4, [0.0, 1.0, 0.0, 0.0])
    write_set(run / "scores" / "field", data, ["x"] * 4, [1.0, 1.0, 1.0, 0.0])
    assert "only the base" not in Page(report(run, output=tmp_path / "r.html")).words
    both = Page(report([base, run], output=tmp_path / "both.html")).words
    assert "only the base" in both and "not measured" in both


def test_of_a_long_question_its_end_is_seen_and_of_a_long_answer_its_start(tmp_path: Path) -> None:
    """What stands before every question of a set is folded away, in a summary that opens the whole."""
    head = "Every question of this set begins with the same long words. " * 10
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(tmp_path / "road.png")
    turns = (Turn("human", f"{head}\n<image>\n\nHow many cars?"), Turn("gpt", "three"))
    write_records(tmp_path / "field.jsonl", [ChatRecord("q0", turns, ("road.png",))])
    run = write_run(tmp_path / "run", {"preset": "nano"})
    write_set(run / "scores", tmp_path / "field.jsonl", ["One and " + "two and " * 90 + "a hundred"], [0.0])
    page = report(run, output=tmp_path / "r.html").read_text()
    folded = re.findall(r"<summary>(\.\.\..*?|One.*?)</summary>", page, re.DOTALL)
    assert [each.split()[-1] for each in folded] == ["cars?", "..."]
    assert folded[0] == "... How many cars?" and len(folded[1]) < 310
    assert page.count("Every question of this set") == 10 and "a hundred" in page


def test_runs_without_a_common_base_are_tested_in_pairs(tmp_path: Path) -> None:
    """Three runs of one file: three paired tests, by picture."""
    data = write_questions(tmp_path, 4)
    runs = [write_run(tmp_path / name, {"preset": "nano"}) for name in "abc"]
    for run, marks in zip(runs, ([1.0, 0, 0, 0], [1.0, 1, 0, 0], [1.0, 1, 1, 0]), strict=True):
        write_set(run / "scores", data, ["x"] * 4, marks)
    text = Page(report(runs, output=tmp_path / "r.html")).words
    assert "b a +25.0" in text and "c a +50.0" in text and "c b +25.0" in text


def test_scores_by_other_rules_are_not_compared(tmp_path: Path) -> None:
    """The same file under two conventions gives two columns and no change."""
    data = write_questions(tmp_path, 2)
    base, run = write_run(tmp_path / "a", {"preset": "nano"}), write_run(tmp_path / "b", {"folder": str(tmp_path / "a")})
    write_set(base / "scores", data, ["x"] * 2, [0.0, 0.0])
    write_set(run / "scores", data, ["x"] * 2, [1.0, 1.0], convention="plus-one-pixel IoU")
    table = Page(report([base, run], output=tmp_path / "r.html")).words.partition("Points are against")[0]
    assert table.count("not measured") == 2 and " points" not in table


def test_files_of_one_name_are_not_compared(tmp_path: Path) -> None:
    """Other questions in a file of the same name, told by its digest: two columns and no change."""
    data = write_questions(tmp_path, 2)
    base, run = write_run(tmp_path / "a", {"preset": "nano"}), write_run(tmp_path / "b", {"folder": str(tmp_path / "a")})
    write_set(base / "scores", data, ["x"] * 2, [0.0, 0.0], data_sha256="0" * 64)
    write_set(run / "scores", data, ["x"] * 2, [1.0, 1.0], data_sha256=hashlib.sha256(data.read_bytes()).hexdigest())
    text = Page(report([base, run], output=tmp_path / "r.html")).words
    table = text.partition("Points are against")[0]
    assert table.count("not measured") == 2 and " points" not in table
    assert f"No pictures: {data} has changed since" in text and text.count("How many?") == 2


def test_a_folder_of_several_models_shows_them_all(tmp_path: Path) -> None:
    """The parent of two evaluations, a server's model and one here: a row each, and a test between them."""
    data = write_questions(tmp_path, 4)
    write_set(tmp_path / "scores" / "one", data, ["x"] * 4, [0.0, 1.0, 0.0, 0.0], {"name": "llava"})
    write_set(tmp_path / "scores" / "two", data, ["x"] * 4, [1.0, 1.0, 1.0, 0.0], {"folder": "m", "weights_sha256": "b" * 64})
    run = write_run(tmp_path / "run", {"folder": "m", "weights_sha256": "b" * 64})
    write_set(run / "scores", data, ["x"] * 4, [1.0, 1.0, 1.0, 1.0])
    text = Page(report([tmp_path / "scores", run], output=tmp_path / "r.html")).words
    assert "scores: one llava, at a server" in text and "scores: two m" in text
    assert "run from scores: two" in text and "100.0 % +25.0 points" in text and "per question +25.0" in text
    assert "scores: two scores: one +50.0" in text


def test_choosing_is_not_compared_with_writing(tmp_path: Path) -> None:
    """The same questions answered by likelihood and in words: two columns, named, and no change."""
    data, run = write_questions(tmp_path, 2), write_run(tmp_path / "run", {"folder": "/gone", "weights_sha256": "b" * 64})
    write_set(run / "scores" / "before", data, ["x"] * 2, [0.0, 0.0], {"folder": "/x", "weights_sha256": "b" * 64})
    write_set(run / "scores" / "after", data, ["x"] * 2, [1.0, 1.0], scoring="likelihood")
    table = Page(report(run, output=tmp_path / "r.html")).words.partition("Points are against")[0]
    assert table.count("not measured") == 2 and "field.jsonl by likelihood" in table and " points" not in table


def test_what_nobody_can_judge_is_not_called_wrong(tmp_path: Path) -> None:
    """Without marks boxes are compared, but not hundreds with hundreds: a question mark, and neither tick nor cross."""
    data, run = write_questions(tmp_path, 1), write_run(tmp_path / "run", {"preset": "nano"})
    boxes = f"<ref>car</ref><box>[{', '.join(f'[{x}, 0, {x + 9}, 9]' for x in range(310))}]</box>"
    write_records(
        data, [ChatRecord("q0", (Turn("human", "<image>\nWhere?"), Turn("gpt", boxes)), ("road.png",), ((640, 480),))]
    )
    write_set(run / "scores", data, [boxes], [1.0])
    (run / "scores" / "marks.jsonl").unlink()
    text = Page(report(run, output=tmp_path / "r.html")).text
    assert "? <ref>" in text and "✗" not in text and "✓" not in text


def test_published_rows_stand_beside_the_runs_own(tmp_path: Path) -> None:
    """RSVQA's published micro average of GeoChat, 0.9074 over its 7,057 questions, beside this run's, and whose rule it is."""
    run, data = write_run(tmp_path / "run", {"preset": "nano"}), write_questions(tmp_path, 2)
    metric = {"value": 0.8125, "count": 2, "low": 0.7, "high": 0.9}
    write_set(run / "s", data, ["x"] * 2, [1.0, 0.0], benchmark="rsvqa", metrics={"micro": metric}, headline="micro")
    text = Page(report(run, output=tmp_path / "r.html")).words
    assert round((100 * 94.00 + 2955 * 91.09 + 4002 * 90.33) / 7057 / 100, 4) == 0.907
    assert "GeoChat RSVQA-LR test, arXiv 2311.15826 0.94 0.9109 0.9033 0.907" in text and "0.8125" in text


def test_the_page_stays_below_its_bound(tmp_path: Path) -> None:
    """Noise, which JPEG cannot make small, endless answers and many classes: no more bytes than the module says."""
    run = write_run(tmp_path / "run", {"preset": "nano"})
    pictures = [f"{number}.png" for number in range(24)]
    for number, name in enumerate(pictures):
        noise = np.random.default_rng(number).integers(0, 256, (300, 500, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    records = [
        ChatRecord(
            f"q{number}", (Turn("human", "<image>\n" * 6 + "?"), Turn("gpt", "yes")), tuple(pictures[number % 4 * 6 :][:6])
        )
        for number in range(16)
    ]
    write_records(tmp_path / "field.jsonl", records)
    for name in ("one", "two"):
        classes = {f"class {number}": {"value": 0.5, "count": 3} for number in range(5000)}
        details = {"recall": classes}
        write_set(run / name, tmp_path / "field.jsonl", ["no " * 10_000] * 16, [0.0] * 16, convention=name, details=details)
    size = report(run, output=tmp_path / "r.html").stat().st_size
    assert PICTURE_BYTES / 4 < size < MOST_BYTES


def test_a_fault_of_the_page_is_one_line_and_stops_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Damaged scores below a run: its training and its answers go on without a page, and stderr says why."""
    run = write_run(tmp_path / "run", {"preset": "nano"})
    (run / "scores").mkdir()
    (run / "scores" / "scores.json").write_text('{"metrics": 3}')
    assert write_own_page(run) is None
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "scores.json: not scores of 'adapt evaluate'" in said and "adapt report" in said


def test_scores_below_a_run_come_into_its_page(tmp_path: Path) -> None:
    """``evaluate`` calls this: the nearest run above is found, its page written; outside a run nothing happens."""
    run, data = write_run(tmp_path / "run", {"preset": "nano"}), write_questions(tmp_path)
    write_scores(run, data, ["three"] * 4, 0.875)
    note_scores(run / "scores" / "field")
    assert "87.5 %" in Page(run / "report.html").text or "0.875" in Page(run / "report.html").text
    note_scores(tmp_path / "elsewhere")
    assert not list(tmp_path.glob("*.html"))
