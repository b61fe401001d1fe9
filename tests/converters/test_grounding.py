"""Grounding, detection and counting from pictures with labelled objects."""

import collections
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from adapt import boxes
from adapt.domain import Rejected
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord, parse_record, read_records, record_to_row
from adapt.verbs import convert
from converters import grounding, prompts
from converters.classification import read_candidates
from converters.grounding import ask, read_asking
from converters.objects import ObjectsSample, PictureObject


def thing(name: str, *box: float, **more: Any) -> PictureObject:
    return PictureObject(name, (box[0], box[1], box[2], box[3]), **more)


def street(*objects: PictureObject, size: tuple[int, int] = (1000, 500), **more: Any) -> ObjectsSample:
    return ObjectsSample("s-7", "labels.json#7", "train", ("7.jpg",), objects, "street", sizes=(size,), **more)


STREET = street(
    thing("car", 600, 250, 700, 300),
    thing("dog", 0, 0, 10, 10),
    thing("car", 100, 250, 200.4, 301),
    thing("car", 100, 20, 200, 50),
)
CLASSES = ("car", "cat", "dog", "tram")


def asked(sample: ObjectsSample, kind: str, seed: int = 0, **options: str) -> list[ChatRecord]:
    return ask(sample, read_asking(options, CLASSES, task=kind, kinds=(kind,)), seed)


def test_a_name_is_asked_for_once_with_all_its_boxes() -> None:
    """The published question and answer, one row a name; objects go left to right, then top to bottom."""
    dog_and_car = [record_to_row(record) for record in asked(STREET, "ground")]
    assert dog_and_car == [
        {
            "id": "s-7-ground-1", "image": "7.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nDetect <ref>car</ref>"},
                {"from": "gpt", "value": "<ref>car</ref><box>[[100, 40, 200, 100], [100, 500, 200, 602], "
                                         "[600, 500, 700, 600]]</box>"},
            ],
            "task": "ground", "source": "street",
            "meta": {"split": "train", "name": "car",
                     "boxes_px": [[100, 20, 200, 50], [100, 250, 200.4, 301], [600, 250, 700, 300]]},
        },
        {
            "id": "s-7-ground-2", "image": "7.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nDetect <ref>dog</ref>"},
                {"from": "gpt", "value": "<ref>dog</ref><box>[[0, 0, 10, 20]]</box>"},
            ],
            "task": "ground", "source": "street",
            "meta": {"split": "train", "name": "dog", "boxes_px": [[0, 0, 10, 10]]},
        },
    ]  # fmt: skip


def test_all_objects_are_one_answer() -> None:
    """Dense detection: a line a name, names in the order of their characters, or of the classes that were asked for."""
    (record,) = asked(STREET, "detect")
    assert record.question == "<image>\n" + grounding.PROMPTS["detect"]["en"][0]
    assert record.answer.splitlines() == [
        "<ref>car</ref><box>[[100, 40, 200, 100], [100, 500, 200, 602], [600, 500, 700, 600]]</box>",
        "<ref>dog</ref><box>[[0, 0, 10, 20]]</box>",
    ]
    assert record.meta["names"] == ["car", "car", "car", "dog"] and len(record.meta["boxes_px"]) == 4
    (some,) = asked(STREET, "detect", classes="tram,dog")
    assert some.question.endswith("mark their positions: dog, tram.") and some.answer.startswith("<ref>dog</ref>")


def test_counting_gives_a_number() -> None:
    """How many, for each class of the picture."""
    counts = [(record.question, record.answer, record.meta["label"]) for record in asked(STREET, "count")]
    assert counts == [
        ("<image>\nHow many objects of the class car are there? Answer with a number.", "3", "3"),
        ("<image>\nHow many objects of the class dog are there? Answer with a number.", "1", "1"),
    ]


def test_classes_that_are_not_there_are_asked_about() -> None:
    """absent=N draws N other classes of the set by (seed, id): words for grounding, 0 for counting, no box to score."""
    for kind, answer in (("ground", "There is no {} in the picture."), ("count", "0")):
        extra = asked(STREET, kind, absent="1")[2:]
        assert len(extra) == 1 and extra == asked(STREET, kind, absent="1")[2:]
        name = extra[0].meta["name"]
        assert name in ("cat", "tram") and extra[0].answer == answer.format(name)
        assert {record.meta["name"] for record in asked(STREET, kind, absent="9")[2:]} == {"cat", "tram"}
    assert asked(STREET, "ground", absent="1")[2].meta["boxes_px"] == []
    drawn = {asked(dataclasses.replace(STREET, id=str(n)), "count", absent="1")[2].meta["name"] for n in range(20)}
    assert drawn == {"cat", "tram"}


def test_a_crowd_is_neither_counted_nor_asked_for() -> None:
    """Its box is in no answer, its class is not counted there and is not said to be absent."""
    crowd = street(thing("car", 0, 0, 500, 500, crowd=True), thing("car", 1, 1, 9, 9), thing("cat", 2, 2, 8, 8, crowd=True))
    (record,) = asked(crowd, "ground")
    assert record.meta == {"split": "train", "name": "car", "boxes_px": [[1, 1, 9, 9]]}
    assert asked(crowd, "count") == []
    assert {record.meta["name"] for record in asked(crowd, "count", absent="4")} == {"dog", "tram"}


def test_an_expression_of_its_own_is_asked_for_before_the_class() -> None:
    """A caption names its object; objects of one caption share an answer; refer=name asks for the class."""
    red = "the red car at the left"
    sample = street(thing("car", 5, 5, 9, 9, caption=red), thing("car", 50, 5, 90, 9), thing("car", 1, 5, 4, 9, caption=red))
    first, second = asked(sample, "ground")
    assert first.question == "<image>\nDetect <ref>car</ref>" and first.meta["boxes_px"] == [[50, 5, 90, 9]]
    assert second.answer == f"<ref>{red}</ref><box>[[1, 10, 4, 18], [5, 10, 9, 18]]</box>"
    assert second.meta["name"] == red and second.meta["class_name"] == "car"
    assert len(asked(sample, "ground", refer="name")) == 1


def test_turned_boxes_keep_their_corners() -> None:
    """The text has the enclosing box, meta the corners, aligned with the boxes."""
    corners = ((10.0, 0.0), (20.0, 10.0), (10.0, 20.0), (0.0, 10.0))
    (record,) = asked(street(thing("car", 0, 0, 20, 20, oriented_px=corners), thing("car", 100, 100, 110, 120)), "ground")
    assert record.answer == "<ref>car</ref><box>[[0, 0, 20, 40], [100, 200, 110, 240]]</box>"
    assert record.meta["polygons_px"] == [
        [[10, 0], [20, 10], [10, 20], [0, 10]],
        [[100, 100], [110, 100], [110, 120], [100, 120]],
    ]


def test_a_picture_above_the_limit_is_rejected_with_the_line_to_raise_it() -> None:
    """max_objects never cuts a list short."""
    for kind in ("ground", "detect"):
        with pytest.raises(DataError, match=r"^labels.json#7: \d .* --option max_objects=\d would take them"):
            asked(STREET, kind, max_objects="2")
    assert len(asked(STREET, "ground", max_objects="3")) == 2
    with pytest.raises(DataError, match="4 objects in one answer"):
        asked(STREET, "detect", max_objects="3")


def test_questions_are_data(tmp_path: Path) -> None:
    """prompt= replaces them: several with |, or a file; each row has one by (seed, id); Chinese by language=zh."""
    (tmp_path / "questions.txt").write_text("Wo ist <ref>{name}</ref>?\n\nZeige {name}\n")
    for given in ("Wo ist <ref>{name}</ref>? | Zeige {name}", str(tmp_path / "questions.txt")):
        used = collections.Counter(
            record.question.removeprefix("<image>\n").replace(record.meta["name"], "X")
            for number in range(50)
            for record in asked(dataclasses.replace(STREET, id=str(number)), "ground", prompt=given)
        )
        assert set(used) == {"Wo ist <ref>X</ref>?", "Zeige X"} and min(used.values()) > 20
    one, again, other = (asked(STREET, "count", seed, prompt="a {name}|b {name}|c {name}|d {name}") for seed in (1, 1, 2))
    assert one == again != other
    chinese = asked(STREET, "ground", language="zh", absent="1")
    assert "<ref>car</ref>" in chinese[0].question and not chinese[0].question.startswith("<image>\nDetect")
    assert chinese[2].answer in ("图中没有cat。", "图中没有tram。")
    for bad, words in (
        ("Find it", "expected {name}"),
        ("<image> {name}", "leave <image> out"),
        (" | ", "no question"),
        ("{name} {names}", "{names} stands for nothing here; what is filled in is {name}"),
    ):
        with pytest.raises(UsageError, match=words):
            asked(STREET, "ground", prompt=bad)
    assert asked(STREET, "ground", prompt="Find {name}; write \\boxed{answer}")[0].question.endswith("; write \\boxed{answer}")
    with pytest.raises(UsageError, match="{name} stands for nothing here; nothing is filled in"):
        asked(STREET, "detect", prompt="All of {name}")
    with pytest.raises(UsageError, match="add --option kinds=ground"):
        read_asking({"prompt": "{name}?"}, CLASSES, task="t", kinds=("ground", "count"))


def test_no_name_can_forge_a_tag() -> None:
    """A class called </ref> rejects its picture and is never written."""
    for name in ("a</ref>b", "<image>"):
        asking = read_asking({}, [name], task="ground", kinds=("ground",))
        with pytest.raises(DataError, match="tag|between tags"):
            ask(street(thing(name, 1, 1, 2, 2)), asking, 0)
    braces = read_asking({}, ["{name}"], task="ground", kinds=("ground",))
    assert ask(street(thing("{name}", 1, 1, 2, 2)), braces, 0)[0].question == "<image>\nDetect <ref>{name}</ref>"


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("absent", "-1", "0 or more"), ("absent", "two", "whole number"), ("max_objects", "0", "1 or more"),
     ("classes", "cars", "did you mean 'car'"), ("classes", ",", "one class or more")],
)  # fmt: skip
def test_a_wrong_option_is_one_clear_line(option: str, value: str, words: str) -> None:
    """A number that is none, and a class that the set does not have, are wrong usage."""
    with pytest.raises(UsageError, match=words):
        asked(STREET, "ground", **{option: value})


@pytest.mark.parametrize("kind", ["ground", "detect", "count"])
def test_a_language_beside_a_prompt_is_refused_where_no_answer_has_words(kind: str) -> None:
    """A prompt is in the language that it is written in; only what a picture does not show is answered in words."""
    with pytest.raises(UsageError, match="option language=zh has no effect with prompt"):
        asked(STREET, kind, prompt="{name}?", language="zh")
    assert asked(STREET, "ground", prompt="{name}?", language="zh", absent="9")[-1].answer == "图中没有tram。"


def test_counting_looks_for_crowds_once() -> None:
    """Aerial pictures have thousands of objects, and the work must grow as they do: each is looked at a few times."""

    class Watched(tuple[PictureObject, ...]):
        looks = 0

        def __iter__(self) -> Iterator[PictureObject]:
            Watched.looks += 1
            return super().__iter__()

    sample = street(*(thing("car", x, 0, x + 5, 5) for x in range(50)))
    object.__setattr__(sample, "objects", Watched(sample.objects))
    (record,) = grounding._count(sample, sample.objects, read_asking({}, CLASSES, task="count", kinds=("count",)), 0)
    assert record.answer == "50" and Watched.looks < 5


def test_two_classes_are_never_called_the_same() -> None:
    """Where readable names meet, the classes are named."""
    with pytest.raises(DataError, match="'(Car|car)' and '(Car|car)' would both be called 'car'"):
        read_asking({}, ["car", "Car"], task="t", kinds=("ground",), spelled=str.lower)


def test_pictures_without_objects_are_counted_not_dropped() -> None:
    """Nothing to ask for is ignored by name, a crowd too; absent= asks about such a picture; rejected samples pass through."""
    samples = [STREET, street(), Rejected("x", "why"), street(thing("car", 0, 0, 9, 9, crowd=True))]
    for kind, options, kept in (
        ("ground", {}, [STREET, samples[2]]), ("ground", {"absent": "1"}, samples), ("detect", {}, [STREET, samples[2]]),
    ):  # fmt: skip
        ignored: collections.Counter[str] = collections.Counter()
        asking = read_asking(options, CLASSES, task=kind, kinds=(kind,))
        assert list(grounding.with_objects(samples, asking, ignored)) == kept
        assert ignored == collections.Counter({grounding.NOTHING: len(samples) - len(kept), "crowd region": 1})
        assert all(ask(sample, asking, 0) for sample in kept if isinstance(sample, ObjectsSample))


@pytest.mark.parametrize(("task", "num_rows"), [("detect", 2), ("region", 12)])
def test_boxes_that_poke_out_are_told(tmp_path: Path, task: str, num_rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    """One of twelve may be a slip; where corners stand for width and height many do, and the note says what they may be."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (100, 50)).save(tmp_path / name)
    corners = [[12 * number, number, 12 * number + 20, 2 * number + 9] for number in range(6)]

    def converted(boxes: list[list[int]]) -> tuple[int, str]:
        value = {
            "images": [{"id": 0, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}],
            "annotations": [
                {"id": number, "image_id": number % 2, "category_id": 1, "bbox": box}
                for number, box in enumerate([*boxes, *([0, 0, 5, 5] for _ in range(6))])
            ],
            "categories": [{"id": 1, "name": "cell"}],
        }
        (tmp_path / "a.json").write_text(json.dumps(value))
        counts = convert(task=task, input=tmp_path / "a.json", output=tmp_path / "out.jsonl")["counts"]
        assert counts["records"] == num_rows
        notes = [line for line in capsys.readouterr().err.splitlines() if "poke out" in line]
        return counts.get("clipped", 0), "".join(notes)

    assert converted([[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners]) == (0, "")
    as_wide = [[1, 1, 5, 5]] * 5
    assert converted([*as_wide, [90, 1, 30, 5]]) == (1, "note: boxes that poke out of their pictures, cut at the edge: 1 of 12")
    count, note = converted(corners)
    assert count == 2 and ": 2 of 12: so many may be two corners that stand where x, y, width and height do" in note


def test_boxes_come_back_from_the_text() -> None:
    """500 random boxes through every answer and back to pixels: within half a step of a thousandth."""
    numbers = np.random.default_rng(5)
    for _ in range(50):
        width, height = (int(value) for value in numbers.integers(30, 3000, 2))
        corners = np.sort(numbers.uniform(0, 1, (10, 2, 2)), axis=1) * [width, height]
        objects = [thing(str(number % 3), *box.reshape(4)) for number, box in enumerate(corners)]
        sample = street(*objects, size=(width, height))
        asking = read_asking({}, ["0", "1", "2"], task="t", kinds=("ground", "detect"))
        *ground, detect = ask(sample, asking, 0)
        for records in (ground, [detect]):
            found = [
                boxes.to_pixels(box, (width, height))
                for record in records
                for _, group in boxes.read_boxes(record.answer)
                for box in group
            ]
            stored = [box for record in records for box in record.meta["boxes_px"]]
            errors = np.abs(np.array(found) - np.array(stored)) / [width, height, width, height]
            assert errors.max() <= 0.5 / 1000 + 1e-6 and len(found) == 10
        expected = sorted(tuple(np.round(box.reshape(4), 3)) for box in corners)
        assert np.allclose(sorted(map(tuple, stored)), expected, atol=1e-3)
        assert all(parse_record(record_to_row(record), "row") == record for record in (*ground, detect))


def test_a_coco_file_is_asked_about_as_pycocotools_reads_it(shared: Path, tmp_path: Path) -> None:
    """The documented call on real tree boxes (their pictures are made): each annotation is in an answer, and is counted."""
    folder = shared / "data" / "deepforest_aerial_boxes"
    api = COCO(str(folder / "coco_sample_file.json"))
    for image in api.imgs.values():
        Image.new("L", (image["width"], image["height"])).save(tmp_path / image["file_name"])
    found: dict[str, list[ChatRecord]] = {}
    for task in ("ground", "detect", "count"):
        output = tmp_path / f"{task}.jsonl"
        source = folder / "coco_sample_file.json"
        convert(task=task, input=source, images=tmp_path, output=output, option=["format=coco"], workers=0)
        found[task] = read_records(output)
    for number, image in api.imgs.items():
        boxes_xywh = [each["bbox"] for each in api.loadAnns(api.getAnnIds(imgIds=[number]))]
        expected = sorted([x, y, x + w, y + h] for x, y, w, h in boxes_xywh)
        for task in ("ground", "detect"):
            rows = [record for record in found[task] if record.images == (image["file_name"],)]
            stored = sorted(box for record in rows for box in record.meta["boxes_px"])
            assert np.allclose(stored, expected, atol=1e-3)
        numbers = [int(record.answer) for record in found["count"] if record.images == (image["file_name"],)]
        assert sum(numbers) == len(expected)
    assert sum(int(record.answer) for record in found["count"]) == len(api.anns) > 0


@pytest.mark.parametrize("mutated", ["x", None, [], 1e400, -5, True])
def test_the_tasks_take_any_coco_file_or_say_why_not(tmp_path: Path, mutated: Any) -> None:
    """Any value in any place of the file is read or rejected: no other exception."""
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 10}, {"id": 2, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 5, 5]} for number in (1, 2)],
    }
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    for key, rows in document.items():
        for field in [None, *rows[0]]:
            changed = json.loads(json.dumps(document))
            if field is None:
                changed[key] = mutated
            else:
                changed[key][0][field] = mutated
            (tmp_path / "c.json").write_text(json.dumps(changed).replace("Infinity", "1e400"))
            with contextlib.suppress(DataError, UsageError):
                convert(task="ground", input=tmp_path / "c.json", output=tmp_path / "o.jsonl", option=["format=coco"])


def test_prompts_of_each_kind_hold_their_placeholder() -> None:
    """The default questions can be asked in both languages."""
    for kind, needs in grounding.NEEDS.items():
        for language in prompts.LANGUAGES:
            assert all(needs is None or needs in prompt for prompt in grounding.PROMPTS[kind][language])


def test_a_list_longer_than_a_file_name_is_a_list() -> None:
    """Thirty classes in one option are asked for: the text is not taken for the name of a file."""
    names = [f"a class of some length, number {number}".replace(",", "") for number in range(30)]
    assert tuple(read_asking({"classes": ",".join(names)}, names, task="t", kinds=("ground",)).names) == tuple(sorted(names))
    assert read_candidates({"candidates": ",".join(names)}, ()) == tuple(names)


def test_a_list_in_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A list is not read with letters replaced: the file is named."""
    (tmp_path / "names.txt").write_bytes(b"caf\xe9\ncar\n")
    for ask_for in (
        lambda options: read_asking(options, CLASSES, task="t", kinds=("ground",)),
        lambda options: read_candidates(options, CLASSES),
    ):
        with pytest.raises(UsageError, match="names.txt"):
            ask_for({name: str(tmp_path / "names.txt") for name in ("classes", "candidates")})
