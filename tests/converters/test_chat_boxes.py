"""Boxes of general chat data: their scale is told over the whole file, and they become tags of 0-1000."""

import base64
import io
import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert

SIZE = (640, 480)


def rows_of(*answers: str, picture: str | None = "a.png", **more: Any) -> list[dict[str, Any]]:
    """One row an answer."""
    question = "<image>\nwhere?" if picture else "where?"
    shown = {"image": picture} if picture else {}
    return [
        {"id": str(place), "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": text}]}
        | shown
        | more
        for place, text in enumerate(answers)
    ]


def run(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> list[str]:
    """The answers after converting."""
    Image.new("RGB", SIZE).save(folder / "a.png")
    Image.new("RGB", (480, 640)).save(folder / "tall.png")
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    convert(task="chat", input=folder / "in.jsonl", output=folder / "out.jsonl", workers=0, **settings)
    return [record.answer for record in adapt.read_records(folder / "out.jsonl")]


def reasons(folder: Path) -> list[str]:
    return [json.loads(line)["reason"] for line in (folder / "out.rejected.jsonl").read_text().splitlines()]


def test_the_shares_of_llava_become_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain brackets of 0-1, as the LLaVA mixture holds them, are tagged and scaled, and the user is told so."""
    answers = run(
        tmp_path,
        rows_of(
            "[0.12, 0.3, 0.5, 0.61]",
            "one at [0.0,0.5,0.25,1.0], one at [0.1, 0.1, 0.2, 0.2].",
            "[[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]",
            "<ref>dog</ref><box>[[0.1, 0.2, 0.3, 0.4]]</box>",
            "[0, 0, 1, 1]",
            "a list [1, 2, 3, 4] and [0.9, 0.8, 0.1, 0.2]",
        ),
    )
    assert answers == [
        "<box>[[120, 300, 500, 610]]</box>",
        "one at <box>[[0, 500, 250, 1000]]</box>, one at <box>[[100, 100, 200, 200]]</box>.",
        "<box>[[100, 200, 300, 400], [500, 600, 700, 800]]</box>",
        "<ref>dog</ref><box>[[100, 200, 300, 400]]</box>",
        "<box>[[0, 0, 1000, 1000]]</box>",
        "a list [1, 2, 3, 4] and [0.9, 0.8, 0.1, 0.2]",
    ]
    told = capsys.readouterr().err
    assert "boxes of 0-1: 7 (first: in.jsonl:1)" in told and "padded=yes" in told


def test_what_is_no_box_stays(tmp_path: Path) -> None:
    """Numbers in rows without a picture, tags of 0-1000, polygons beside them and box_scale=keep leave a text byte for byte."""
    texts = ["weights [0.1, 0.2, 0.3, 0.4]", "[0.1, 0.2, 0.3]"]
    assert run(tmp_path, rows_of(*texts, picture=None)) == texts
    tagged = [
        "<ref>a</ref><box>[[1, 2,3,  4]]</box>",
        "<box>[[120, 300, 500, 610]]</box>",
        "<box>[[1, 2, 3, 4, 5, 6, 7, 8]]</box>",
    ]
    assert run(tmp_path, rows_of(*tagged)) == tagged
    assert run(tmp_path, rows_of("[0.1, 0.2, 0.3, 0.4]"), option=["box_scale=keep"]) == ["[0.1, 0.2, 0.3, 0.4]"]


def test_pairs_of_corners_become_our_brackets(tmp_path: Path) -> None:
    """Qwen-VL's <box>(a,b),(c,d)</box> of 0-1000 keeps its numbers in our form; other shapes, and text alone, stay."""
    qwen = "<ref>a dog</ref><box>(100,200),(300,400)</box> and <box> ( 1, 2 ) (3 ,4) </box>"
    others = ["<box>(1,2),(3,4),(5,6),(7,8)</box>", "<quad>(1,2),(3,4),(5,6),(7,8)</quad>", "<box>(1,2)</box>", "(1,2),(3,4)"]
    assert run(tmp_path, rows_of(qwen, *others)) == [
        "<ref>a dog</ref><box>[[100, 200, 300, 400]]</box> and <box>[[1, 2, 3, 4]]</box>", *others
    ]  # fmt: skip
    assert run(tmp_path, rows_of(qwen), option=["box_scale=keep"]) == run(tmp_path, rows_of(qwen, picture=None)) == [qwen]
    pixels = rows_of("<box>(64,48),(320,240)</box>")
    assert run(tmp_path, pixels, option=["box_scale=pixels"]) == ["<box>[[100, 100, 500, 500]]</box>"]


def test_a_scale_is_told_over_the_whole_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same small box is percent among boxes that end at 100, 0-1000 among few or larger ones."""
    box = "<box>[[10, 20, 30, 40]]</box>"
    percent = [f"<box>[[{place}, 0, {place + 50}, 100]]</box>" for place in range(25)]
    assert run(tmp_path, rows_of(box, *percent))[0] == "<box>[[100, 200, 300, 400]]</box>"
    assert "tagged boxes of 0-100: 26, written as 0-1000; where they are" in capsys.readouterr().err
    assert run(tmp_path, rows_of(box, *percent, "<box>[[0, 0, 999, 999]]</box>"))[0] == box
    assert "0-100" not in capsys.readouterr().err.replace("0-1000", "")
    assert run(tmp_path, rows_of(box))[0] == box
    both = rows_of(box, *percent, source="a") + [
        row | {"id": f"b{row['id']}"} for row in rows_of(box, "<box>[[0, 0, 999, 5]]</box>", source="b")
    ]
    found = run(tmp_path, both)
    assert (found[0], found[26]) == ("<box>[[100, 200, 300, 400]]</box>", box)
    assert json.loads((tmp_path / "out.manifest.json").read_text())["facts"] == {"box_scale": {"a": "percent", "b": "thousand"}}


def test_what_cannot_be_told_is_rejected_by_row(tmp_path: Path) -> None:
    """Numbers beyond 1000 may be pixels or mistakes: rows with such tags are rejected with what to say; others convert."""
    rows = rows_of("<box>[[1, 2, 600, 470]]</box>", "no box", "<box>[[1, 2, 1200, 470]]</box>")
    assert run(tmp_path, rows, max_bad=2) == ["no box"]
    assert all("box_scale=pixels" in reason and "in.jsonl:3" in reason for reason in reasons(tmp_path))
    assert run(tmp_path, rows[:2], option=["box_scale=pixels"])[0] == ("<box>[[2, 4, 938, 979]]</box>")
    run(tmp_path, rows, option=["box_scale=thousand"], max_bad=1)
    assert reasons(tmp_path) == ["box [1, 2, 1200, 470]: outside 0-1000"]
    run(
        tmp_path,
        rows_of("<box>[[0.5, 0.5, 1, 1]]</box>", "<box>[[0, 0, 1, 1]]</box>", "<box>[[5, 6, 700, 8]]</box>"),
        max_bad=1,
    )
    assert "may be either" in reasons(tmp_path)[0]


@pytest.mark.parametrize("scale", ["unit", "percent", "thousand", "pixels"])
@pytest.mark.parametrize("form", ["[{}]", "<box>[[{}]]</box>"])
def test_500_boxes_of_each_stated_scale_keep_their_place(tmp_path: Path, scale: str, form: str) -> None:
    """native -> text -> pixels moves no edge by more than half a step of 1/1000, whatever the scale and the form."""
    draws = random.Random(7)
    width, height = SIZE
    largest = {"unit": (1, 1), "percent": (100, 100), "thousand": (1000, 1000), "pixels": SIZE}[scale]
    boxes, texts = [], []
    for _ in range(500):
        x1, x2 = sorted(draws.uniform(0, width) for _ in range(2))
        y1, y2 = sorted(draws.uniform(0, height) for _ in range(2))
        numbers = (x1 / width * largest[0], y1 / height * largest[1], x2 / width * largest[0], y2 / height * largest[1])
        if scale == "thousand":  # a tag of whole numbers is left as it is
            numbers = tuple(float(round(value)) for value in numbers)
        boxes.append((x1, y1, x2, y2))
        texts.append(form.format(", ".join(f"{value:.6f}" for value in numbers)))
    texts = [text.replace(".000000", "") for text in texts]
    answers = run(tmp_path, rows_of(*texts), option=[f"box_scale={scale}"])
    for answer, box in zip(answers, boxes, strict=True):
        found = re.fullmatch(r"<box>\[\[(\d+), (\d+), (\d+), (\d+)\]\]</box>", answer)
        assert found is not None, answer
        for value, edge, size in zip(found.groups(), box, (width, height) * 2, strict=True):
            assert abs(int(value) / 1000 - edge / size) <= 0.0005 + 1e-6


def test_boxes_of_a_padded_square_are_moved_back(tmp_path: Path) -> None:
    """padded=yes: shares of the square around a wide or a tall picture, by hand; a box in the padding alone is rejected."""
    # 640x480 lies at y 80..560 of its 640 square: 0.25 * 640 = 160 -> (160 - 80) / 480 = 1/6.
    rows = rows_of("[0.25, 0.25, 0.75, 0.5]", "[0.0, 0.0, 1.0, 1.0]", "[0.1, 0.0, 0.4, 0.1]")
    rows[1]["image"] = "tall.png"
    assert run(tmp_path, rows, option=["padded=yes"], max_bad=1) == [
        "<box>[[250, 167, 750, 500]]</box>",
        "<box>[[0, 0, 1000, 1000]]</box>",
    ]
    assert "padding" in reasons(tmp_path)[0]
    with pytest.raises(UsageError, match="padded=yes has no effect"):
        run(tmp_path, rows, option=["padded=yes", "box_scale=percent"])
    two = [{**rows[0], "image": ["a.png", "tall.png"]}]
    two[0]["conversations"][0]["value"] = "<image><image>where?"
    with pytest.raises(DataError, match="2 pictures; expected one"):
        run(tmp_path, two, option=["padded=yes"])


def test_numbers_that_may_be_boxes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without tags only 0-1 tells its scale; other numbers stay as they are, and the user hears of them and of the cure."""
    texts = ("[10, 20, 600, 470]", "[0.1, 0.2, 0.5, 0.6]", "scores [9, 8, 7, 6]", "[5, 5, 9, 9]")
    assert run(tmp_path, rows_of(*texts))[0] == texts[0]
    said = capsys.readouterr().err
    assert "not 0-1 and without <box> tags: 2 (first: in.jsonl:1), left as written" in said
    assert "--option box_scale=pixels, thousand or percent" in said
    assert run(tmp_path, rows_of(texts[0]), option=["box_scale=pixels"]) == ["<box>[[16, 42, 938, 979]]</box>"]
    run(tmp_path, rows_of(texts[0]), option=["box_scale=keep"])
    run(tmp_path, rows_of(*texts[1:3]))
    assert "left as written" not in capsys.readouterr().err


@pytest.mark.parametrize("form", ["{}", "<box>[{}]</box>"])
def test_the_whole_picture_in_whole_numbers_is_a_share(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """[0, 0, 1, 1] beside boxes of 0-1 alone is one of them, in tags and without; no note says otherwise."""
    texts = [form.format(each) for each in ("[0.1, 0.2, 0.5, 0.6]", "[0, 0, 1, 1]")]
    assert run(tmp_path, rows_of(*texts)) == ["<box>[[100, 200, 500, 600]]</box>", "<box>[[0, 0, 1000, 1000]]</box>"]
    assert "left as written" not in capsys.readouterr().err


def escaped(text: str) -> str:
    """JSON's text of a string with each letter as an escape."""
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'


@pytest.mark.parametrize(
    "text",
    [
        "[0.25, 0.25, 0.75, 0.5]",
        "[\n  0.25,\n  0.25,\n  0.75,\n  0.5\n]",
        "[\t\r 0.25, 0.25, 0.75, 0.5]",
        "[\u00a00.25, 0.25, 0.75, 0.5]",
        "[\u2003.25, .25, .75, .5]",
        "[\u0660.25, 0.25, 0.75, 0.5]",
        "<box>(0.25, 0.25), (0.75, 0.5)</box>",
        "<box>0.25, 0.25, 0.75, 0.5</box>",
    ],
)
def test_the_first_look_sees_boxes_however_they_are_spelled(tmp_path: Path, text: str) -> None:
    """A line of JSONL is looked through as bytes, a .json list as text; padded=yes moves only boxes that were seen."""
    Image.new("RGB", SIZE).save(tmp_path / "a.png")
    row = rows_of("HERE")[0]
    spelled = [json.dumps(text), json.dumps(text, ensure_ascii=False), escaped(text)]
    lines = [json.dumps(row).replace('"HERE"', each) for each in spelled]
    assert [json.loads(line)["conversations"][1]["value"] for line in lines] == [text] * 3
    for name, content in [(f"{number}.jsonl", line) for number, line in enumerate(lines)] + [("list.json", f"[{lines[0]}]")]:
        (tmp_path / name).write_text(content, encoding="utf-8")
        convert(task="chat", input=tmp_path / name, output=tmp_path / "out.jsonl", option=["padded=yes"])
        assert adapt.read_records(tmp_path / "out.jsonl")[0].answer == "<box>[[250, 167, 750, 500]]</box>", name


def test_an_embedded_picture_spelled_with_escapes_is_found(tmp_path: Path) -> None:
    """A JSON writer may escape any letter: the first look sees that a picture must be made all the same."""
    content = io.BytesIO()
    Image.new("RGB", SIZE).save(content, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
    row = rows_of("a")[0] | {"image": "HERE"}
    (tmp_path / "in.jsonl").write_text(json.dumps(row).replace('"HERE"', escaped(uri)))
    convert(task="chat", input=tmp_path / "in.jsonl", output=tmp_path / "out.jsonl")
    assert adapt.read_records(tmp_path / "out.jsonl")[0].sizes == (SIZE,)


@pytest.mark.parametrize("text", ["[" * 50_000, "[0.1," * 20_000, "[[0.1, 0.2, 0.3, 0.4], " * 8_000, "<box>[" + "1" * 100_000])
def test_hostile_brackets_cost_no_time(tmp_path: Path, text: str) -> None:
    """Long runs of brackets and digits are read in well under a second."""
    began = time.process_time()
    run(tmp_path, rows_of(text))
    assert time.process_time() - began < 1
