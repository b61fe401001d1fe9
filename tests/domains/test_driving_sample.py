"""The generated driving set: exact truth, native layouts, the same bytes for the same seed."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adapt
from adapt.errors import UsageError
from adapt.verbs import convert
from domains.draws import Draws
from domains.driving import questions, sample, streets
from domains.driving.sample import write_sample

SIZE = 24


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("driving")
    return folder, write_sample(folder, seed=3, size=SIZE)


@pytest.fixture(scope="module")
def rows(
    written: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, tuple[dict[str, Any], list[Any]]]:
    """(manifest, records) of each dataset, read by its own task."""
    folder, facts = written
    found = {}
    for name, each in facts.items():
        output = tmp_path_factory.mktemp("rows") / f"{name}.jsonl"
        manifest = convert(task=each["task"], input=folder / each["path"], output=output, workers=0)
        found[name] = (manifest, adapt.read_records(output))
    return found


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """The same seed and size give the same bytes; another seed gives other pictures."""
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_sample(tmp_path / name, seed=seed, size=12)
    first, again, other = (tree(tmp_path / name) for name in ("a", "b", "c"))
    assert first == again
    pictures = {content for name, content in first.items() if name.endswith(".jpg")}
    assert not pictures & set(other.values()) and len(first) == len(other)


def test_layouts_are_read_by_the_native_readers(written: Any, rows: Any) -> None:
    """Every set converts whole with the reader of the real one, and the counts are those that were announced."""
    folder, facts = written
    assert set(facts) == {"drivelm", "nuscenes", "bdd", "bddx"}
    for name, (manifest, records) in rows.items():
        assert manifest["counts"]["rejected"] == 0, name
        assert len(records) == facts[name]["questions"], name
        assert len(manifest["counts"]["splits"]) == (1 if name == "drivelm" else 2), name
    cameras = list((folder / "DriveLM" / "data" / "nuscenes" / "samples").glob("*/*.jpg"))
    assert len(cameras) == facts["nuscenes"]["pictures"] == SIZE
    assert len(list((folder / "bdd100k").rglob("*.jpg"))) == facts["bdd"]["pictures"]
    assert len(list((folder / "bddx").rglob("*.jpg"))) == facts["bddx"]["pictures"]


def test_fields_and_wording_are_those_of_the_real_set(written: Any, shared: Path) -> None:
    """Frames, objects and rows have the real set's fields, and each question occurs there, its tags aside."""
    folder, _ = written
    ours = json.loads((folder / "DriveLM/data/QA_dataset_nus/v1_1_train_nus.json").read_text())
    theirs = json.loads((shared / "data/drivelm_sample/data/train_sample.json").read_text())
    frames = [[frame for scene in each.values() for frame in scene["key_frames"].values()] for each in (ours, theirs)]
    assert frames[0][0].keys() == frames[1][0].keys()
    assert list(frames[0][0]["image_paths"]) == list(frames[1][0]["image_paths"])
    infos = [next(iter(frame["key_object_infos"].items())) for frame in (frames[0][0], frames[1][0])]
    assert infos[0][1].keys() == infos[1][1].keys()
    assert all(re.fullmatch(r"<c\d+,CAM_[A-Z_]+,\d+\.\d,\d+\.\d>", tag) for tag, _ in infos)
    wording: list[set[str]] = []
    for part in frames:
        asked = [row for frame in part for kind in frame["QA"].values() for row in kind]
        wording.append({re.sub(r"<[^>]*>", "<>", row["Q"]) for row in asked})
        assert asked[0].keys() == frames[1][0]["QA"]["behavior"][0].keys()
    known = {text for text in wording[0] if not text.startswith(("What object should", "Are there"))}
    assert known <= wording[1] and len(known) >= 8


def test_the_test_form_is_what_the_challenge_would_ask(written: Any, tmp_path: Path) -> None:
    """What the reader picks of the train file by the challenge's rule is what the generator marks, in the same order."""
    folder, _ = written
    place = folder / "DriveLM/data/QA_dataset_nus"
    convert(task="drivelm", input=place / "test.json", output=tmp_path / "test.jsonl", workers=0)
    held_out = adapt.read_records(tmp_path / "test.jsonl")
    assert held_out and {record.split for record in held_out} == {"test"}
    train, _ = sample._split_scenes(sample._key_frames(3, SIZE // 6))
    (place / "marked.json").write_text(json.dumps(sample._drivelm(train, 3, challenge=True)[0]))
    convert(task="drivelm", input=place / "marked.json", output=tmp_path / "a.jsonl", workers=0)
    options = {"questions": "challenge", "boxes": "no"}
    convert(task="drivelm", input=folder / "DriveLM", output=tmp_path / "b.jsonl", option=options, workers=0)
    (place / "marked.json").unlink()
    marked, picked = (adapt.read_records(tmp_path / f"{name}.jsonl") for name in "ab")
    assert [(row.id, row.turns, row.meta["tag"]) for row in marked] == [(row.id, row.turns, row.meta["tag"]) for row in picked]
    assert not {record.meta["scene"] for record in held_out} & {record.meta["scene"] for record in picked}


@pytest.mark.parametrize("name", sorted(streets.SIZES))
def test_a_box_is_what_is_drawn(name: str) -> None:
    """Where a picture with a thing differs from the same without it is the thing's box, to a pixel."""
    for number in range(3):
        view = streets.make_view(Draws(number, "test", name), (name,), timeofday=("daytime", "night")[number % 2])
        (thing,) = view.things
        empty = dataclasses.replace(view, things=())
        with_it, without = (np.asarray(streets.draw_view(each)).astype(int) for each in (view, empty))
        ys, xs = np.nonzero(np.abs(with_it - without).sum(axis=2))
        found = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert all(abs(ours - drawn) <= 1 for ours, drawn in zip(thing.box_px, found, strict=True)), (thing, found)


def test_things_do_not_overlap_and_stay_inside() -> None:
    """However many things a view has, their boxes are apart and inside the view."""
    for number in range(200):
        draws = Draws(number, "test", "apart")
        names = tuple(draws.pick(tuple(streets.SIZES)) for _ in range(draws.integer(0, streets.STRIPS)))
        boxes = sorted(thing.box_px for thing in streets.make_view(draws, names).things)
        assert all(0 <= x1 < x2 <= 1600 and 0 <= y1 < y2 <= 900 for x1, y1, x2, y2 in boxes)
        assert all(first[2] <= second[0] for first, second in zip(boxes, boxes[1:], strict=False))


def test_answers_follow_from_the_scene() -> None:
    """A hand-made frame has the answers that looking at it gives."""
    light = streets.Thing("traffic_light", "red", (700, 130, 780, 330))
    car = streets.Thing("car", "blue", (100, 600, 400, 800), braking=True)
    frame = {"CAM_FRONT": streets.View((light,)), "CAM_BACK": streets.View((car,))}
    keys = questions.key_objects(frame, Draws(0, "test", 0))
    assert [key.tag for key in keys] == ["<c1,CAM_FRONT,740.0,230.0>", "<c2,CAM_BACK,250.0,700.0>"]
    asked = {each.question: each for each in questions.ask(frame, keys, Draws(0, "test", 1))}
    first = next(iter(asked.values()))
    assert first.answer == (
        "There is a red light to the front of the ego vehicle and a blue car to the back of the ego vehicle. "
        "The IDs of these objects are <c1,CAM_FRONT,740.0,230.0> and <c2,CAM_BACK,250.0,700.0>."
    )
    assert asked["What is the moving status of object <c2,CAM_BACK,250.0,700.0>?"].answer == "Stopped."
    assert asked["Is <c1,CAM_FRONT,740.0,230.0> a traffic sign or a road barrier?"].answer == "Yes."
    assert asked["Predict the behavior of the ego vehicle."].answer.endswith("The ego vehicle is not moving.")


def test_no_answer_of_the_boxes_questions_is_given_away(rows: Any) -> None:
    """Whether something is there is answered by yes in half of the cases; the words alone do not tell."""
    _, records = rows["nuscenes"]
    answers = [record.answer for record in records if record.meta["kind"] == "there"]
    assert len(answers) > 12 and abs(answers.count("yes") / len(answers) - 0.5) < 0.05


def test_too_small_is_refused(tmp_path: Path) -> None:
    """A size without two key frames is a UsageError that says how many pictures are needed."""
    with pytest.raises(UsageError, match="at least 12"):
        write_sample(tmp_path, size=11)
