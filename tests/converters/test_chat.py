"""Conversation files of the three spellings."""

import base64
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from adapt.verbs import convert


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (4 + number, 5), (number, 7, 9)).save(tmp_path / name)
    return tmp_path


def turns(*texts: str, system: str | None = None) -> list[dict[str, str]]:
    first = [] if system is None else [{"from": "system", "value": system}]
    return first + [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]


def run(folder: Path, rows: list[dict[str, Any]], *, name: str = "in.jsonl", **settings: Any) -> list[ChatRecord]:
    content = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(content)
    convert(task="chat", input=folder / name, output=folder / "out.jsonl", **settings)
    return adapt.read_records(folder / "out.jsonl")


def reasons(folder: Path) -> list[str]:
    return [json.loads(line)["reason"] for line in (folder / "out.rejected.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["in.json", "in.jsonl"])
def test_llava_rows_are_kept_as_they_are(folder: Path, name: str) -> None:
    """Turns, picture lists, system rows, unknown fields and a late placeholder stay; sizes are the true ones."""
    rows = [
        {"id": 7, "image": "a.png", "conversations": turns("what\n<image>", "this"), "model": "x"},
        {"id": "t", "conversations": turns("hello", "hi", "more", "no", system="be kind")},
        {"id": "e", "image": "", "conversations": turns("hello", "hi")},
        {"id": "two", "image": ["a.png", "b.png"], "width_list": [1, 1], "height_list": [1, 1],
         "conversations": turns("<image>\n<image>\nsame?", "no"), "meta": {"split": "val"}},
    ]  # fmt: skip
    records = run(folder, rows, name=name)
    assert [record.id for record in records] == ["7", "t", "e", "two"]
    assert records[0].question == "what\n<image>" and records[0].extra == {"model": "x"}
    assert [turn.role for turn in records[1].turns] == ["system", "human", "gpt", "human", "gpt"]
    assert records[3].sizes == ((4, 5), (5, 5)) and records[3].split == "val"
    assert all(record.task == "chat" for record in records)


@pytest.mark.parametrize("clipped", [3, "yes", None])
def test_what_a_row_calls_clipped_is_its_own(folder: Path, clipped: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of an earlier conversion, or of another tool: nothing is counted of them, and no note is made."""
    (record,) = run(folder, [{"image": "a.png", "conversations": turns("what", "this"), "meta": {"clipped": clipped}}])
    assert record.meta["clipped"] == clipped and "poke out" not in capsys.readouterr().err


def test_a_missing_placeholder_is_added_only_for_one_picture(folder: Path) -> None:
    """One picture and no placeholder: it goes in front of the first question. Any other disagreement rejects the row."""
    rows = [
        {"id": "one", "image": "a.png", "conversations": turns("what", "this", "and", "that", system="s")},
        {"id": "doubled", "image": "a.png", "conversations": turns("<image><image>what", "this")},
        {"id": "none", "conversations": turns("<image>what", "this")},
        {"id": "two", "image": ["a.png", "b.png"], "conversations": turns("what", "this")},
        {"id": "answer", "image": "a.png", "conversations": turns("what", "<image>")},
    ]
    records = run(folder, rows, max_bad=4)
    assert [turn.value for turn in records[0].turns] == ["s", "<image>\nwhat", "this", "and", "that"]
    assert len(records) == 1
    assert len(reasons(folder)) == 4


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": turns("a", "b", "c")},
        {"conversations": [*turns("a"), *turns("b")]},
        {"conversations": [*turns("a", "b"), {"from": "system", "value": "s"}, *turns("a", "b")]},
        {"conversations": [{"from": "tool", "value": "x"}]},
        {"conversations": []},
        {"conversations": "text"},
        {"conversations": [{"from": "human"}, {"from": "gpt", "value": "x"}]},
        {"conversations": turns("a", " ")},
        {"video": "a.mp4", "conversations": turns("<video>", "x")},
        {"image": 3, "conversations": turns("a", "x")},
        {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "audio"}]}, {"role": "assistant", "content": "x"}]},
        {"text": "nothing"},
    ],
)
def test_a_row_that_is_no_conversation_is_rejected(folder: Path, row: dict[str, Any]) -> None:
    """Wrong roles, order, shape and kind each reject the row alone, with its line."""
    good = {"conversations": turns("a", "b")}
    assert len(run(folder, [good, row, good], max_bad=1)) == 2
    assert '"in.jsonl:2"' in (folder / "out.rejected.jsonl").read_text()


def message(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": "this"}]}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def picture_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_openai_messages_are_read(folder: Path) -> None:
    """Parts become lines in their order, and text that holds a placeholder of its own cannot pass for a picture."""
    records = run(folder, [message(text_part("see"), picture_part("a.png"), text_part("and"), picture_part("b.png"))])
    assert records[0].question == "see\n<image>\nand\n<image>" and records[0].images == ("a.png", "b.png")
    with pytest.raises(DataError, match="2 <image> placeholder"):
        run(folder, [message(text_part("<image>"), picture_part("a.png"))])


def test_embedded_pictures_are_written_by_content(folder: Path) -> None:
    """data: URIs go to FILE.images; beside them a picture in a file is copied there, so that one root serves all rows."""
    uri = "data:image/png;base64," + base64.b64encode((folder / "a.png").read_bytes()).decode()
    rows = [
        message(picture_part(uri), text_part("q")),
        message(picture_part("a.png"), text_part("q")),
        message(picture_part("b.png")),
    ]
    records = run(folder, rows)
    assert json.loads((folder / "out.manifest.json").read_text())["image_root"] == "out.images"
    assert records[0].images == records[1].images != records[2].images
    assert Image.open(folder / "out.images" / records[2].images[0]).tobytes() == Image.open(folder / "b.png").tobytes()


def anthropic_part(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


def test_anthropic_pictures_are_read(folder: Path) -> None:
    """A part with ``source`` holds its picture as base64; it is written as a data: URI's is, and a path is one."""
    content = (folder / "a.png").read_bytes()
    part = anthropic_part(type="base64", media_type="image/png", data=base64.b64encode(content).decode())
    records = run(folder, [message(part, text_part("q")), message(text_part("q"), anthropic_part(type="url", url="b.png"))])
    assert [record.question for record in records] == ["<image>\nq", "q\n<image>"]
    assert [record.sizes for record in records] == [((4, 5),), ((5, 5),)]
    assert (folder / "out.images" / records[0].images[0]).read_bytes() == content


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (anthropic_part(type="base64", media_type="image/png", data="@@"), "the embedded picture is not base64"),
        (anthropic_part(type="base64", media_type="application/pdf", data="AAAA"), "expected the picture's path or data: URI"),
        (anthropic_part(type="base64", media_type="image/png", data=None), "expected the picture's path or data: URI"),
        (anthropic_part(type="file", file_id="file_1"), "expected the picture's path or data: URI"),
        (anthropic_part(type="url", url="https://host/a.png"), "nothing is fetched: download it"),
        (picture_part("file:///home/a.png"), "'file:///home/a.png', a URL; write its plain path below --images instead"),
        (picture_part("FILE:a.png"), "'FILE:a.png', a URL; write its plain path below --images instead"),
    ],
)
def test_what_no_picture_is_read_from_is_told(folder: Path, part: dict[str, Any], named: str) -> None:
    """Other sources than base64, and URLs: the reason says what was found, and a file's URL which path to write."""
    with pytest.raises(DataError, match="1 of 1 sample rejected"):
        run(folder, [message(part, text_part("q"))])
    assert named in reasons(folder)[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://host/a.png",
        "https://host/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,@@",
        "data:image/png;base64,AAAA",
        "../a.png",
    ],
)
def test_nothing_is_fetched_and_no_root_left(folder: Path, url: str) -> None:
    """Web addresses, bad base64, bytes that are no picture and climbing paths are rejected rows, and leave no files."""
    with pytest.raises(DataError, match="1 of 2 samples rejected"):
        run(folder, [message(picture_part(url), text_part("q")), message(picture_part("a.png"), text_part("q"))])
    assert not (folder / "out.jsonl").exists() and not (folder / "out.images").exists()


def test_repeated_ids_can_be_numbered(folder: Path) -> None:
    """A mixture that repeats ids is rejected row by row, and ids=number takes it whole."""
    rows = [{"id": "same", "conversations": turns("a", "b")}] * 3
    assert len(run(folder, rows, max_bad=2)) == 1
    assert [record.id for record in run(folder, rows, option=["ids=number"])] == ["in-1", "in-2", "in-3"]


def test_splits_are_known_in_any_spelling(folder: Path) -> None:
    """``Test`` and ``training`` of a row's meta are test and train, for --split and in the records; other names stay."""
    given = ("training", "Test", "validation", "test_B")
    rows = [{"conversations": turns("q", "a"), "meta": {"by": "me", "split": split}} for split in given]
    records = run(folder, rows)
    assert [record.meta for record in records] == [{"by": "me", "split": name} for name in ("train", "test", "val", "test_B")]
    rows.append({"conversations": turns("q"), "meta": {"split": "Test"}})
    assert len(run(folder, rows, split="test", max_bad=1)) == len(reasons(folder)) == 1


def test_a_row_tells_its_split_itself_as_a_table_does(folder: Path) -> None:
    """``split`` beside the conversation counts; the one in its meta comes first."""
    rows = [{"conversations": turns("q", "a"), "split": "Test"} | more for more in ({}, {"meta": {"split": "val"}})]
    assert [(record.split, record.extra) for record in run(folder, rows)] == [("test", {}), ("val", {})]
    assert [record.split for record in run(folder, rows, split="test")] == ["test"]


@pytest.mark.parametrize("name", ["test.jsonl", "Test.json", "test-00000-of-00001.jsonl", "test.parquet", "set/test.jsonl"])
def test_a_file_named_for_a_split_is_of_it(folder: Path, name: str) -> None:
    """A file alone gives its rows their split, as it does in a folder, bad rows too; a row that states its own keeps it."""
    talk = {"conversations": turns("q", "a")}
    rows = [
        talk | {"meta": {}, "split": None},
        talk | {"meta": {"split": "val"}},
        talk | {"split": "Train"},
        {"conversations": turns("q")},
    ]
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text(json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows))
    given = folder / "set" if "/" in name else path
    convert(task="chat", input=given, output=folder / "out.jsonl", max_bad=1)
    assert [record.split for record in adapt.read_records(folder / "out.jsonl")] == ["test", "val", "train"]
    convert(task="chat", input=given, output=folder / "out.jsonl", max_bad=1, split="test")
    assert [record.split for record in adapt.read_records(folder / "out.jsonl")] == ["test"]
    assert len(reasons(folder)) == 1


def test_what_is_no_conversation_file_is_refused(folder: Path) -> None:
    """A picture or a folder as input is a wrong call."""
    for name in ("a.png", "."):
        with pytest.raises(UsageError, match=".json or .jsonl"):
            convert(task="chat", input=folder / name, output=folder / "out.jsonl")
