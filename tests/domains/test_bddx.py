"""BDD-X in DriveGPT4's form: a record a question, its kind and numbers kept for the scorer, frames in front."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from domains.driving.bddx import describe

FOUR = (
    ("<video>\nWhat is the current action of this vehicle?", "The car slows down to a stop."),
    ("Why does this vehicle behave in this way?", "Since the light ahead became red."),
    ("Predict the speed of the vehicle in the next frame.", "2.09"),
    ("Predict the turning angle of the vehicle in the next frame.", "-0.5"),
)


def row(number: int, asked: Any = FOUR, **changes: Any) -> dict[str, Any]:
    turns = [{"from": role, "value": text} for pair in asked for role, text in zip(("human", "gpt"), pair, strict=True)]
    return {"id": f"clip{number}", "video": "clips/a", "conversations": turns} | changes


def write_set(root: Path, rows: list[Any], name: str = "BDD_X_training.json") -> Path:
    (root / "clips" / "a").mkdir(parents=True, exist_ok=True)
    for number in range(8):
        Image.new("RGB", (32, 18), (number * 20, 0, 0)).save(root / "clips" / "a" / f"{number}.png")
    (root / name).write_text(json.dumps(rows))
    return root / name


def test_a_clip_is_four_questions(tmp_path: Path) -> None:
    """Frames of one tile stand in front of each question; kind and numbers are what a scorer needs; the clip joins them."""
    path = write_set(tmp_path, [row(1)])
    manifest = convert(task="bddx", input=path, output=tmp_path / "out.jsonl", option={"frames": "2"})
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert manifest["counts"]["read"] == 1 and manifest["counts"]["splits"] == {"train": 4}
    assert [record.id for record in records] == [f"clip1-{number}" for number in range(1, 5)]
    assert {record.images for record in records} == {("clips/a/2.png", "clips/a/6.png")} and records[0].max_tiles == 1
    for record, (question, answer) in zip(records, FOUR, strict=True):
        assert record.question == "Frame-1: <image>\nFrame-2: <image>\n" + question.removeprefix("<video>\n")
        assert record.answer == answer and record.meta["clip"] == "clip1"
    assert [{key: record.meta.get(key) for key in ("kind", "speed", "angle")} for record in records] == [
        {"kind": "description", "speed": None, "angle": None},
        {"kind": "justification", "speed": None, "angle": None},
        {"kind": "speed", "speed": 2.09, "angle": None},
        {"kind": "angle", "speed": None, "angle": -0.5},
    ]


@pytest.mark.parametrize(
    ("question", "answer", "found"),
    [
        ("The current speed is 3 m/s. What is the vehicle doing?", "It drives at 30.", {"kind": "description"}),
        ("What circumstances led to this vehicle's behavior?", "Traffic moves.", {"kind": "justification"}),
        ("What's the rationale behind this vehicle's behavior?", "Red light.", {"kind": "justification"}),
        ("How many lanes are there?", "There are 3 lanes.", {"kind": "other"}),
        ("How many lanes are there?", "3", {"kind": "other"}),
        ("Predict the control signals.", "Speed: 7.5; Turning angle: -1.25", {"kind": "signals", "speed": 7.5, "angle": -1.25}),
        ("Predict it.", "Turn angle: 4, speed: 1.5 m/s", {"kind": "signals", "speed": 1.5, "angle": 4.0}),
        ("Predict the turning angle and speed.", "4 1.5", {"kind": "signals", "speed": 1.5, "angle": 4.0}),
        ("Speed (m/s): 1, 2; Turn angle: 3\nPredict the speed.", "2.5 m/s.", {"kind": "speed", "speed": 2.5}),
        ("What now?", "The turning angle of the vehicle will be +0.1 degrees.", {"kind": "angle", "angle": 0.1}),
    ],
)
def test_what_a_question_asks_for(question: str, answer: str, found: dict[str, Any]) -> None:
    """Hand-made wordings: answers of numbers are signals, reasons are justifications, and the rest is not mistaken for them."""
    assert describe(question, answer) == found


def test_splits_ids_and_system_messages(tmp_path: Path) -> None:
    """Files of a folder are splits by name; repeated ids are refused unless numbered; a system message is kept."""
    system = {"from": "system", "value": "You drive."}
    first = row(1)
    first["conversations"] = [system, *first["conversations"]]
    write_set(tmp_path, [first, row(2)])
    write_set(tmp_path, [row(2)], "BDD_X_testing.json")
    with pytest.raises(
        DataError, match="'clip2-1' was seen before; ids must be unique; --option ids=number numbers the rows instead"
    ):
        convert(task="bddx", input=tmp_path, output=tmp_path / "o" / "out.jsonl")
    manifest = convert(task="bddx", input=tmp_path, output=tmp_path / "o" / "out.jsonl", option={"ids": "number"})
    records = adapt.read_records(tmp_path / "o" / "out.jsonl")
    assert manifest["counts"]["splits"] == {"test": 4, "train": 8}
    with_system = [record for record in records if record.turns[0].role == "system"]
    assert [record.id for record in with_system] == [f"bddx-train-1-{number}" for number in range(1, 5)]
    with pytest.raises(UsageError, match="no .json"):
        convert(task="bddx", input=tmp_path / "clips", output=tmp_path / "out.jsonl")


def test_a_faulty_clip_is_rejected_alone(tmp_path: Path) -> None:
    """No video, a missing one, another order of messages, an empty answer: each is rejected with its place."""
    rows = [
        row(1), row(2, video=None), row(3, video="clips/b"), row(4, video="../clips/a"), row(5, conversations=[]), 7,
        row(6, [("Why?", " ")]), row(7, [("<video>", "yes")]), row(8, id=["x"]),
        row(9, conversations=[{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]),
    ]  # fmt: skip
    path = write_set(tmp_path, rows)
    manifest = convert(task="bddx", input=path, output=tmp_path / "out.jsonl", max_bad=9)
    assert (manifest["counts"]["read"], manifest["counts"]["converted"], manifest["counts"]["records"]) == (10, 1, 4)
    found = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [each["where"] for each in found] == [f"BDD_X_training.json#{number}" for number in range(1, 10)]
    words = (
        "no 'video'", "neither a folder", "leaves its root", "holds a list of messages", "expected an object",
        "an answer is empty", "a question is empty", "'id' is", "expected human and gpt in turn",
    )  # fmt: skip
    assert all(word in each["reason"] for word, each in zip(words, found, strict=True)), found


def test_what_a_conversion_writes_among_its_chats_is_not_read(tmp_path: Path) -> None:
    """Converting twice into the folder of the chats gives the same bytes."""
    write_set(tmp_path, [row(1)])
    written = []
    for _ in range(2):
        convert(task="bddx", input=tmp_path, output=tmp_path / "out.jsonl")
        written.append([(tmp_path / name).read_bytes() for name in ("out.jsonl", "out.manifest.json")])
    assert written[0] == written[1]


def test_a_broken_file_of_several_is_one_rejection(tmp_path: Path) -> None:
    """A file that holds no list is rejected by name while the clips beside it convert; alone it is refused."""
    write_set(tmp_path, [row(1)])
    path = write_set(tmp_path, {"no": "list"}, "BDD_X_testing.json")  # type: ignore[arg-type]
    option = {"frames": "2"}
    manifest = convert(task="bddx", input=tmp_path, output=tmp_path / "out.jsonl", option=option, max_bad=1)
    assert (manifest["counts"]["converted"], manifest["counts"]["rejected"]) == (1, 1)
    rejected = json.loads((tmp_path / "out.rejected.jsonl").read_text())
    assert rejected["where"] == "BDD_X_testing.json" and rejected["reason"].startswith("expected a JSON list")
    with pytest.raises(DataError, match="expected a JSON list"):
        convert(task="bddx", input=path, output=tmp_path / "out.jsonl", option=option)
