"""GeoChat: turned boxes of hundredths become upright boxes of thousandths, nouns and tags become ours."""

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from PIL import Image

import adapt
from adapt import boxes
from adapt.domain import Answered, find_benchmark
from adapt.errors import DataError, UsageError
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord
from adapt.verbs import convert
from adapt.verbs.check import check
from domains.remote_sensing import geochat


def write_rows(folder: Path, rows: list[Any], name: str = "GeoChat_Instruct.json", size: tuple[int, int] = (200, 100)) -> Path:
    Image.new("RGB", size).save(folder / "a.png")
    path = folder / name
    path.write_text(json.dumps(rows) if name.endswith("json") else "".join(json.dumps(row) + "\n" for row in rows))
    return path


def talk(*texts: str, **more: Any) -> dict[str, Any]:
    roles = ("human", "gpt")
    turns = [{"from": roles[number % 2], "value": text} for number, text in enumerate(texts)]
    return {"id": "P1", "image": "a.png", "conversations": turns} | more


def converted(folder: Path, rows: list[Any], **more: Any) -> list[ChatRecord]:
    convert(task="geochat", input=write_rows(folder, rows), output=folder / "out.jsonl", **more)
    return adapt.read_records(folder / "out.jsonl")


def test_a_referred_noun_gets_its_box(tmp_path: Path) -> None:
    """[refer]: the noun of the question names the boxes of the answer; the numbers of the source stay in meta."""
    rows = [talk("<image>\n[refer] where is <p>silver airplane</p>?", "{<10><20><30><40>|<90>}")]
    (record,) = converted(tmp_path, rows)
    assert record.id == "geochat-0" and record.split == "train" and record.images == ("a.png",)
    assert [turn.value for turn in record.turns] == [
        "<image>\nwhere is <ref>silver airplane</ref>?",
        # 40 x 20 px about (40, 30), a quarter turn in pixels: 20 x 40 px
        "<ref>silver airplane</ref><box>[[150, 100, 250, 500]]</box>",
    ]
    assert record.meta == {
        "split": "train", "id_original": "P1", "kind": "refer", "boxes_px": [[30, 10, 50, 50]], "name": "silver airplane",
        "rotated": [[10, 20, 30, 40, 90]],
    }  # fmt: skip


def test_a_described_picture_has_boxes_beside_its_nouns(tmp_path: Path) -> None:
    """[grounding]: several boxes of a noun, joined by <delim>, by nothing or by a blank, share one <box>."""
    one, two, three = "{<0><0><50><50>|<0>}", "{<50><0><100><50>|<0>}", "{<0><50><50><100>}"
    rows = [
        talk(
            "<image>\n[grounding] Describe the image",
            f"There are <p>2 roads</p> {one}<delim>{two} by <p>a lake</p>{three}.\nEnd.",
        ),
        talk("<image>\n[grounding]Describe it.", f"<p>2 roads</p>{one}{two} and <p> 2 fields </p> {one} {two}"),
    ]
    first, second = converted(tmp_path, rows)
    assert first.question == "<image>\nDescribe the image Mark each object that you name with its box."
    assert first.answer == (
        "There are <ref>2 roads</ref><box>[[0, 0, 500, 500], [500, 0, 1000, 500]]</box> by "
        "<ref>a lake</ref><box>[[0, 500, 500, 1000]]</box>.\nEnd."
    )
    assert (
        second.answer.count("<box>[[0, 0, 500, 500], [500, 0, 1000, 500]]</box>") == 2
        and "<ref>2 fields</ref>" in second.answer
    )
    assert first.meta["kind"] == "grounding" and len(first.meta["boxes_px"]) == 3 and "name" not in first.meta


def test_a_region_is_asked_for_in_the_published_form(tmp_path: Path) -> None:
    """[identify] with a bare box is 'What object is in this location'; a sentence keeps its words; tags=keep keeps tags."""
    box = "{<0><0><50><50>|<0>}"
    rows = [
        talk(f"<image>\n[identify] {box}", "<p>1 boeing737 airplane at the top</p>"),
        talk(f"<image>\n[identify] what is at {box} ?", "a car", id=7),
        talk("<image> \n Is there a car?", "No.", "And [identify] " + box, "A tree", "[refer] where is it?", box),
    ]
    bare, asked, several = converted(tmp_path, rows)
    assert bare.question == "<image>\nWhat object is in this location<box>[[0, 0, 500, 500]]</box>"
    assert bare.answer == "<ref>1 boeing737 airplane at the top</ref>" and bare.meta["rotated"] == [[0, 0, 50, 50, 0]]
    assert "boxes_px" not in bare.meta and asked.meta["id_original"] == 7
    assert asked.question == "<image>\nwhat is at <box>[[0, 0, 500, 500]]</box> ?"
    assert [turn.value for turn in several.turns][3:] == ["A tree", "where is it?", "<box>[[0, 0, 500, 500]]</box>"]
    assert several.meta["kind"] == "refer" and len(several.meta["rotated"]) == 2
    kept = converted(tmp_path, rows, option=["tags=keep"])
    assert kept[0].question == "<image>\n[identify] <box>[[0, 0, 500, 500]]</box>"


def test_turned_boxes_equal_shapely() -> None:
    """500 random boxes: the text lies within half a thousandth of what shapely encloses, within one for thinner boxes."""
    numbers = np.random.default_rng(11)
    for sign in (1, -1):
        for _ in range(250):
            width, height = (int(value) for value in numbers.integers(50, 2000, 2))
            (x1, x2), (y1, y2) = (numbers.choice(101, 2, replace=False).tolist() for _ in "xy")
            angle = int(numbers.integers(0, 91))
            text = f"<p>it</p> {{<{x1}><{y1}><{x2}><{y2}>|<{angle}>}}"
            (group,) = boxes.find_boxes(geochat.to_tagged(text, (width, height), "row"))
            corners = (x1 * width / 100, y1 * height / 100, x2 * width / 100, y2 * height / 100)
            expected = shapely.affinity.rotate(shapely.box(*corners), sign * angle, origin="center").bounds
            expected = np.clip(expected, 0, [width, height, width, height])
            units = np.array([width, height, width, height]) / 1000
            is_thin = min((expected[2:] - expected[:2]) / units[2:]) < 1
            found = np.array(boxes.to_pixels(group.boxes[0], (width, height)))
            assert np.abs(found - expected).max() <= units.max() * (1 if is_thin else 0.5) + 1e-6


def test_a_box_without_width_or_height_is_a_hundredth_wide(tmp_path: Path) -> None:
    """Hundredths are as fine as the set goes: an object smaller than that keeps an area, also at the edge, and check agrees."""
    boxes_of = ("{<10><20><10><40>|<0>}", "{<100><0><100><0>|<0>}", "{<50><50><50><50>|<90>}", "{<0><7><9><7>}")
    records = converted(tmp_path, [talk("<image>\n[refer] <p>a car</p>", box) for box in boxes_of])
    assert [boxes.find_boxes(record.answer)[0].boxes[0] for record in records] == [
        (95, 200, 105, 400), (995, 0, 1000, 5), (498, 490, 502, 510), (0, 65, 90, 75),
    ]  # fmt: skip
    assert records[0].meta["rotated"] == [[10, 20, 10, 40, 0]] and records[0].meta["boxes_px"] == [[19, 20, 21, 40]]
    assert check(tmp_path / "out.jsonl")["faults"] == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("{<10><20><30><140>|<0>}", "goes beyond 100"),
        ("{<10><20><30>|<0>}", "cannot read"),
        ("<p>a {<10><20><30><40>|<0>}", "cannot read"),
        ("<p>a{<1><2><3><4>}</p> b", "cannot read"),
        ("{<1><2><3><4>}<delim>", "cannot read"),
        ("{<a><2><3><4>}", "cannot read"),
        ("", "an answer is empty"),
    ],
)
def test_a_box_that_cannot_be_read_rejects_its_row(tmp_path: Path, answer: str, words: str) -> None:
    """No remainder of GeoChat's own spelling ever reaches the output."""
    rows = [talk("[refer] <p>a</p>", "{<1><2><3><4>|<5>}"), talk("[refer] <p>a</p>", answer)]
    with pytest.raises(DataError, match=f"1 of 2 samples rejected.*#1.*{words}" if answer else words):
        converted(tmp_path, rows)


def test_rows_of_another_shape_are_rejected_alone(tmp_path: Path) -> None:
    """No picture, two pictures, no turns, a number for a row: each is named, and the rest converts."""
    rows = [
        talk("q", "a", image=None),
        talk("q", "a", image=["a.png", "a.png"]),
        3,
        talk(),
        talk("q", "a", image="b.png"),
        talk("q", "a"),
    ]
    manifest = convert(task="geochat", input=write_rows(tmp_path, rows), output=tmp_path / "out.jsonl", max_bad=5)
    assert (manifest["counts"]["read"], manifest["counts"]["converted"]) == (6, 1)
    assert adapt.read_records(tmp_path / "out.jsonl")[0].question == "<image>\nq"
    with pytest.raises(UsageError, match="expected GeoChat_Instruct.json"):
        (tmp_path / "empty").mkdir()
        convert(task="geochat", input=tmp_path / "empty", output=tmp_path / "out.jsonl")


def test_the_benchmark_files_are_read_by_their_rows(tmp_path: Path) -> None:
    """Scenes, objects with corners in pixels, region captions and descriptions; a row without answer names the cure."""
    corners = [[[20, 10], [60, 10], [60, 50], [20, 50]]]
    rows = [
        {"question_id": "Beach/1", "image": "a.png", "text": "Classify.", "category": "scene", "ground_truth": "Beach"},
        {"image_id": "a", "question": "the white ship", "ground_truth": corners, "type": "ref", "size_group": "small"},
        {"question_id": 5, "image_id": "a", "question": "{<0><0><50><50>|<0>}", "ground_truth": "a ship"},
        {"image_id": "a", "description": "a <p>ship</p> {<0><0><50><50>|<0>}"},
        {"question_id": 6, "image": "a.png", "text": "How many?", "category": "count"},
        {"question_id": 7, "image_id": "a", "question": "a ship", "ground_truth": [[1, 2, 3]]},
        {"question_id": 8, "image_id": "a", "question": "a ship", "ground_truth": [[900, 900], [990, 900], [990, 990]]},
    ]  # fmt: skip
    path = write_rows(tmp_path, rows, "bench.jsonl")
    manifest = convert(task="geochat", input=path, output=tmp_path / "out.jsonl", max_bad=3)
    assert manifest["counts"]["rejected"] == 3
    scene, ship, region, description = adapt.read_records(tmp_path / "out.jsonl")
    assert scene.answer == "Beach" and scene.split == "test" and scene.meta["category"] == "scene"
    assert ship.question == "<image>\nGive me the location of <ref>the white ship</ref>"
    assert ship.answer == "<ref>the white ship</ref><box>[[100, 100, 300, 500]]</box>"
    assert ship.meta["boxes_px"] == [[20, 10, 60, 50]] and ship.meta["polygons_px"] == [
        [[20, 10], [60, 10], [60, 50], [20, 50]]
    ]
    assert (ship.meta["kind"], ship.meta["type"]) == ("refer", "ref") and ship.meta["size_group"] == "small"
    assert (
        region.question == "<image>\nWhat is the object present at <box>[[0, 0, 500, 500]]</box>" and region.answer == "a ship"
    )
    assert description.question.endswith(geochat.MARK) and description.answer.startswith("a <ref>ship</ref><box>")
    rejected = [json.loads(line)["reason"] for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert "use --task rsvqa" in rejected[0] and "3 numbers" in rejected[1] and "outside" in rejected[2]


def test_a_half_turn_is_no_turn() -> None:
    """Angles of any size mean the same rectangle again after 180 degrees."""
    for angle in (0, 180, -180, 360):
        assert geochat.upright((10, 20, 30, 60, angle), (100, 100)) == pytest.approx((10, 20, 30, 60))
    assert math.isclose(geochat.upright((40, 40, 60, 60, 45), (100, 100))[2], 50 + 10 * math.sqrt(2))


@pytest.mark.parametrize("piece", [" ", "{", "{<1>", "<p>", "{<1><2><3><4>} ", "<p>a</p> ", "<delim>", "[refer"])
def test_long_hostile_rows_take_no_time(piece: str) -> None:
    """200,000 characters of anything end at once, read or refused."""
    started = time.process_time()
    for text in (piece * (200_000 // len(piece)), "<p>a</p>" + piece * (100_000 // len(piece)) + "<delim>"):
        with contextlib.suppress(DataError):
            geochat._in_words(geochat.to_tagged(text, (100, 100), "row"))
    assert time.process_time() - started < 2


def test_turned_boxes_are_scored_by_their_upright_ones(tmp_path: Path) -> None:
    """`ground` scores a referred noun by the box around its turned one, several by pairs, and leaves talk without boxes out."""
    one, two = "{<0><0><50><50>|<0>}", "{<50><0><100><50>|<0>}"
    rows = [
        talk("<image>\n[refer] where is <p>silver airplane</p>?", "{<10><20><30><40>|<90>}"),
        talk("<image>\n[grounding] describe", f"There are <p>ships</p> {one}<delim>{two}."),
        talk("<image>\nwhat is it?", "a harbour"),
    ]
    records = converted(tmp_path, rows)
    answers = ["<box>[[150, 100, 250, 500]]</box>", "<ref>ships</ref><box>[[0, 0, 500, 500]]</box>", "a harbour"]
    answered = [Answered(record, answer) for record, answer in zip(records, answers, strict=True)]
    scores = score_answers(find_benchmark("ground"), answered, {})
    assert dict(scores.per_row) == {"geochat-0": 1.0, "geochat-1": 0.0}
    assert scores.metrics["recall@0.5"].value == pytest.approx(2 / 3)
    assert scores.metrics["precision@0.5"].value == 1.0
    assert "turned boxes: by the upright box around each" in scores.convention
    assert scores.details["not_scored"] == {"geochat": 1}
