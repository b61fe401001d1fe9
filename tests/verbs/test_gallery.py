"""``adapt gallery``: the page as a browser sees it (headless Chromium, skipped where there is none) and as bytes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import COMMAND, Browser
from PIL import Image

from adapt.errors import DataError, UsageError
from adapt.verbs.gallery import gallery


def row(name: str, question: str = "What is it?", answer: str = "a river", **more: Any) -> dict[str, Any]:
    """One row about the picture a.png of 40x20 px."""
    talk = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": name, "image": "a.png", "width": 40, "height": 20, "conversations": talk, **more}


def write(path: Path, *rows: Any) -> Path:
    """JSONL of rows."""
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two pictures of 40x20 px."""
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(generator.integers(0, 256, (20, 40, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of this file."""
    if COMMAND is None:
        pytest.skip("needs Chromium")
    with Browser(COMMAND, tmp_path_factory.mktemp("profile")) as found:
        yield found


def visible(browser: Browser) -> int:
    """How many cards can be seen."""
    return browser.evaluate("document.querySelectorAll('article:not([hidden])').length")


BOXED = "<ref>cell</ref><box>[[0, 0, 500, 500], [500, 500, 1000, 1000]]</box> and <ref>dot</ref><box>[[10, 20, 30, 40]]</box>"


def test_the_browser_reports_errors(browser: Browser, tmp_path: Path) -> None:
    """A page that throws, and one that breaks its own policy, are seen as errors: the tests below can fail."""
    page = tmp_path / "bad.html"
    page.write_text("<script>nothing.there()</script>")
    browser.open(page)
    assert len(browser.messages) == 1
    page.write_text("<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\"><script>1</script>")
    browser.open(page)
    assert len(browser.messages) == 1


def test_boxes_are_drawn_where_the_text_says(browser: Browser, folder: Path) -> None:
    """One rect a box, at its share of the picture; names beside them; no error on the console and nothing fetched."""
    rows = [row("1", "Where?", BOXED), row("2", "What is <box>[[250, 500, 750, 1000]]</box>?"), row("3")]
    browser.open(gallery(write(folder / "f.jsonl", *rows), output=folder / "g.html"))
    assert browser.messages == []
    assert [each for each in browser.requests if not each.startswith(("file:", "data:image/jpeg"))] == []
    assert browser.evaluate("document.querySelectorAll('rect').length") == 4
    assert browser.evaluate("[...document.querySelectorAll('.tag')].map(each => each.textContent)") == ["cell", "cell", "dot"]
    places = browser.evaluate(
        "[...document.querySelectorAll('rect')].map(each => {const box = each.getBoundingClientRect(),"
        " all = each.closest('.stage').getBoundingClientRect();"
        " return [(box.x - all.x) / all.width, (box.y - all.y) / all.height, box.width / all.width, box.height / all.height]})"
    )
    assert np.allclose(
        places, [[0, 0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.01, 0.02, 0.02, 0.02], [0.25, 0.5, 0.5, 0.5]], atol=0.01
    )
    assert browser.evaluate("[...document.images].map(each => [each.naturalWidth, each.naturalHeight])") == [[40, 20]] * 3


def test_places_of_meta_are_drawn_once(browser: Browser, folder: Path) -> None:
    """Pixels for a scorer are drawn where the text has no such box; outlines as polygons; both on 0..1000."""
    meta = {"boxes_px": [[0, 0, 20, 10], [4, 5, 8, 10]], "polygons_px": [[[0, 0], [40, 0], [20, 20]]]}
    browser.open(gallery(write(folder / "f.jsonl", row("1", answer=BOXED, meta=meta)), output=folder / "g.html"))
    assert browser.evaluate("document.querySelectorAll('rect').length") == 4
    assert browser.evaluate("document.querySelector('rect.stored').getAttribute('x')") == "100"
    assert browser.evaluate("document.querySelector('polygon').getAttribute('points')") == "0,0 1000,0 500,1000"


def test_view_names_stand_in_their_grid(browser: Browser, folder: Path) -> None:
    """Six views of one wide picture are three columns and two rows; several pictures have a name each."""
    Image.new("RGB", (2688, 896)).save(folder / "wide.png")
    six = row("1", image="wide.png", width=2688, height=896, meta={"views": list("abcdef")})
    two = row("2", "<image>?", image=["a.png", "b.png"], meta={"views": ["left", "right"]})
    two = {name: value for name, value in two.items() if name not in ("width", "height")}
    browser.open(gallery(write(folder / "f.jsonl", six, two), output=folder / "g.html"))
    names = browser.evaluate(
        "[...document.querySelectorAll('.view')].map(each => [each.textContent, each.style.left, each.style.top])"
    )
    assert [name for name, _, _ in names] == [*"abcdef", "left", "right"]
    assert [(round(float(left[:-1])), top) for _, left, top in names[:6]] == [
        (0, "0%"), (33, "0%"), (67, "0%"), (0, "50%"), (33, "50%"), (67, "50%"),
    ]  # fmt: skip


def test_view_names_of_the_manifest(browser: Browser, folder: Path) -> None:
    """Names of a stitched picture come from what convert wrote beside the file, where they are not drawn already."""
    path = write(folder / "f.jsonl", row("1", meta={"view_names": "none"}), row("2", meta={"view_names": "drawn"}), row("3"))
    (folder / "f.manifest.json").write_text(json.dumps({"facts": {"grid": [["A", "B"], ["C", "D"]]}}))
    browser.open(gallery(path, output=folder / "g.html"))
    names = browser.evaluate(
        "[...document.querySelectorAll('.view')].map(each => [each.textContent, each.style.left, each.style.top])"
    )
    assert names == [["A", "0%", "0%"], ["B", "50%", "0%"], ["C", "0%", "50%"], ["D", "50%", "50%"]]


def test_hostile_records_stay_text(browser: Browser, folder: Path) -> None:
    """Nothing in a record becomes markup or script: every field that is shown tries."""
    owned = "document.title='owned'"
    attack = f'</script></style></p>"\'><script>{owned}</script><img src=x onerror="{owned}"><svg/onload=alert(1)>'
    answer = f"{attack}<ref>{attack.replace('<', '&lt;')}</ref><box>[[0, 0, 9, 9]]</box>"
    meta = {"views": [attack], "name": attack, "polygons_px": [[0, 0, 9, 9, 0, 9]]}
    rows = [
        row(attack, attack, answer, task=attack, source=attack, meta=meta),
        row("javascript:alert(1)", "{{ 7 * 7 }} {% raw %}", "x", image=f"{attack[:9]}.png"),
    ]
    path = write(folder / "f.jsonl", *rows)
    answers = write(folder / "p.jsonl", {"id": attack, "answer": attack}, {"id": "javascript:alert(1)", "answer": attack})
    browser.open(gallery(path, output=folder / "g.html", predictions=answers))
    assert browser.messages == []
    assert browser.evaluate("document.title") == "f"
    assert browser.evaluate("document.querySelectorAll('script').length") == 2  # one picture and ours
    assert browser.evaluate("document.querySelectorAll('[onerror], [onload], p svg, img[src=x]').length") == 0
    assert browser.evaluate("document.querySelector('.turn').textContent") == attack
    assert "{{ 7 * 7 }}" in browser.evaluate("document.body.textContent")


def test_predictions_are_right_or_wrong(browser: Browser, folder: Path) -> None:
    """Equal words and boxes that overlap by half are right; marks of a benchmark decide where there are any."""
    box = "<box>[[0, 0, 100, 100]]</box>"
    rows = [row("1"), row("2"), row("3", answer=box), row("4", answer=box), row("5"), row("6")]
    answers = ["A river.", "a lake", "[[0, 0, 100, 60]]", "[[0, 0, 100, 40]]", "x"]
    path = write(folder / "f.jsonl", *rows)
    given = write(folder / "p.jsonl", *({"id": str(number), "answer": each} for number, each in enumerate(answers, 1)))

    def verdicts() -> list[str]:
        browser.open(gallery(path, output=folder / "g.html", predictions=given))
        return browser.evaluate("[...document.querySelectorAll('article')].map(each => each.dataset.verdict)")

    assert verdicts() == ["right", "wrong", "right", "wrong", "wrong"]  # 6 has no answer and is not shown
    assert browser.evaluate("document.querySelectorAll('rect.predicted').length") == 2
    write(folder / "marks.jsonl", {"id": "1", "mark": 0.5}, {"id": "5", "mark": 1.0})
    assert verdicts() == ["wrong", "wrong", "right", "wrong", "right"]


def test_five_hundred_records_without_lag(browser: Browser, folder: Path) -> None:
    """500 records with 30 boxes each: filters and search choose the right ones, each in under half a second."""
    answer = "<ref>cell</ref><box>[" + ", ".join(f"[{n}, {n}, {n + 9}, {n + 9}]" for n in range(0, 300, 10)) + "]</box>"
    kinds = {0: ("vqa", "no"), 1: ("ground", answer)}
    rows = []
    for n in range(600):
        task, expected = kinds[n % 2]
        rows.append(row(str(n), f"number-{n}-?", expected, task=task, meta={"split": "train" if n % 5 else "val"}))
    browser.open(gallery(write(folder / "f.jsonl", *rows), output=folder / "g.html"))
    assert visible(browser) == 500
    assert browser.evaluate("document.getElementById('count').textContent") == "500 records"
    chosen = browser.evaluate("[...document.querySelectorAll('article')].map(each => [each.dataset.task, each.dataset.split])")

    def choose(name: str, value: str) -> float:
        milliseconds: float = browser.evaluate(
            f"new Promise(done => {{const began = performance.now();"
            f" const field = document.getElementById('tools').elements['{name}']; field.value = '{value}';"
            " field.dispatchEvent(new Event('input', {bubbles: true}));"
            " setTimeout(() => requestAnimationFrame(() => setTimeout(() => done(performance.now() - began))), 90)})"
        )
        return milliseconds / 1000

    def fastest(name: str, value: str) -> float:
        """Of three, as the machine may be busy."""
        times = []
        for _ in range(3):
            choose(name, "")
            times.append(choose(name, value))
        return min(times)

    assert fastest("task", "vqa") < 0.5
    assert visible(browser) == sum(task == "vqa" for task, _ in chosen)
    assert fastest("split", "val") < 0.5
    assert visible(browser) == sum(each == ["vqa", "val"] for each in chosen)
    choose("task", "")
    choose("split", "")
    first = browser.evaluate("document.querySelector('.turn').textContent")
    assert fastest("search", first) < 0.5
    assert visible(browser) == 1
    assert browser.messages == []


def test_light_dark_and_enlarging(browser: Browser, folder: Path) -> None:
    """The switch turns the page's colours; a picture opens large with its boxes, and closes."""
    browser.open(gallery(write(folder / "f.jsonl", row("1", answer=BOXED)), output=folder / "g.html"))
    colours = []
    for _ in range(2):
        browser.evaluate("document.getElementById('theme').click()")
        colours.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert sorted(colours) == ["rgb(21, 23, 27)", "rgb(251, 250, 248)"]
    browser.evaluate("document.querySelector('.enlarge').click()")
    assert browser.evaluate("document.querySelectorAll('dialog[open] rect').length") == 3
    browser.evaluate("document.querySelector('dialog .stage').click()")
    assert browser.evaluate("document.querySelectorAll('dialog[open]').length") == 0


def test_a_phone_needs_no_scrolling_aside(browser: Browser, folder: Path) -> None:
    """At 360 px the page is no wider than the window, long names and paths included."""
    long = row("x" * 200, "y" * 300, BOXED, task="t" * 80)
    browser.open(gallery(write(folder / "f.jsonl", long, row("2", task="b")), output=folder / "g.html"))
    browser.call("Emulation.setDeviceMetricsOverride", width=360, height=700, deviceScaleFactor=2, mobile=True)
    try:
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_a_picture_stands_once_and_the_page_stays_light(folder: Path) -> None:
    """A hundred questions of one picture hold it once; large noise, the worst for JPEG, is made small to fit its share."""
    page = gallery(write(folder / "f.jsonl", *(row(str(n)) for n in range(100))), output=folder / "g.html").read_text()
    assert page.count('id="picture-') == 1
    from adapt.check.thumbnails import _encode

    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (1500, 2000, 3), dtype=np.uint8))
    assert len(_encode(noise, 36_000)) <= 36_000


def test_what_cannot_be_shown_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing picture stands in its card with the reason; a drawn part is said; the same seed gives the same bytes."""
    path = write(folder / "f.jsonl", row("1", image="no.png"), row("2"), row("3"))
    assert "no.png: no such file" in gallery(path, output=folder / "g.html").read_text()
    assert "warning: 1 of 2 pictures cannot be shown, first: " in capsys.readouterr().err
    first = gallery(path, output=folder / "g.html", limit=2).read_bytes()
    assert "2 of 3 records" in capsys.readouterr().err
    assert gallery(path, output=folder / "h.html", limit=2).read_bytes() == first


def test_wrong_use(folder: Path) -> None:
    """Wrong calls and bad rows are one line each."""
    path = write(folder / "f.jsonl", row("1"))
    for options, message in (
        ({"output": folder}, "a folder"),
        ({"output": path}, "one of the files"),
        ({"output": folder / "a.png"}, "ends in .html"),
        ({"output": folder / "g.html", "limit": 0}, "expected 1 or more"),
        ({"output": folder / "g.html", "images": folder / "no"}, "no such folder"),
        ({"output": folder / "g.html", "predictions": folder / "no"}, "no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            gallery(path, **options)
    with pytest.raises(DataError, match=r"bad\.jsonl:2: "):
        gallery(write(folder / "bad.jsonl", row("1"), {"id": "2"}), output=folder / "g.html")
    with pytest.raises(DataError, match="nothing to show"):
        gallery(path, output=folder / "g.html", predictions=write(folder / "p.jsonl", {"id": "9", "answer": "x"}))


def test_what_predictions_leave_out_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records without an answer are not shown, answers of no record are none: one line counts both."""
    path = write(folder / "f.jsonl", *(row(name) for name in "123"))
    answers = [{"id": name, "answer": "a river"} for name in ("1", "zz")]
    gallery(path, output=folder / "g.html", predictions=write(folder / "p.jsonl", *answers))
    assert capsys.readouterr().err == "note: 2 records without an answer, not shown; 1 answer of no record, first: zz\n"
    gallery(path, output=folder / "g.html")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("other", [{"id": "1"}, {"mark": 1}, [1], {"id": "1", "mark": "good"}, {"id": "1", "mark": True}])
def test_marks_of_another_shape_are_named(folder: Path, other: Any) -> None:
    """A marks.jsonl beside the predictions that somebody else wrote is one line with its place."""
    path, predictions = write(folder / "f.jsonl", row("1")), write(folder / "p.jsonl", {"id": "1", "answer": "a river"})
    write(folder / "marks.jsonl", {"id": "0", "mark": 10**400}, other)
    with pytest.raises(DataError, match=r"marks\.jsonl:2: .* is no id and mark"):
        gallery(path, output=folder / "g.html", predictions=predictions)
