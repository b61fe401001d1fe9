"""BDD100K's Scalabel labels: boxes, outlines with curves, and what a frame is like."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from domains.driving import bdd


def label(category: str, *box: float, **more: Any) -> dict[str, Any]:
    return {"id": "0", "category": category, "box2d": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))} | more


def frame(name: str, *labels: Any, **attributes: str) -> dict[str, Any]:
    return {"name": name, "attributes": attributes, "labels": list(labels)}


def write_set(root: Path, frames: list[Any], split: str = "val", size: tuple[int, int] = (100, 50)) -> Path:
    labels = root / "labels" / "det_20"
    labels.mkdir(parents=True, exist_ok=True)
    (labels / f"det_{split}.json").write_text(json.dumps(frames))
    pictures = root / "images" / "100k" / split
    pictures.mkdir(parents=True, exist_ok=True)
    for name in {each["name"] for each in frames if isinstance(each, dict) and "name" in each}:
        Image.new("RGB", size).save(pictures / name)
    return labels


def test_a_frame_is_asked_for_its_things_and_its_weather(tmp_path: Path) -> None:
    """One question a category, one an attribute; what is undefined is not asked, and is counted."""
    crowd = label("car", 0, 0, 90, 40, attributes={"crowd": True})
    lane = {"id": "9", "category": "lane", "poly2d": [{"vertices": [[0, 0], [1, 1]], "types": "LL", "closed": False}]}
    box3d = {"id": "3", "category": "bus", "box2d": None, "poly2d": None, "box3d": {}}
    frames = [
        frame("a.jpg", label("traffic light", 10, 5, 20, 10), label("car", 50, 5, 60.5, 25), crowd, lane, box3d,
              weather="partly cloudy", scene="undefined", timeofday="dawn/dusk"),
        frame("b.jpg", weather="clear"),
        frame("c.jpg"),
    ]  # fmt: skip
    manifest = convert(task="bdd", input=write_set(tmp_path, frames), output=tmp_path / "out.jsonl")
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert [record.id for record in records] == [
        "bdd-val-images/100k/val/a-ground-1", "bdd-val-images/100k/val/a-ground-2", "bdd-val-images/100k/val/a-weather",
        "bdd-val-images/100k/val/a-timeofday", "bdd-val-images/100k/val/b-weather",
    ]  # fmt: skip
    car, light, weather, time, _ = records
    assert car.answer == "<ref>car</ref><box>[[500, 100, 605, 500]]</box>" and car.split == "val"
    assert car.question == "<image>\nDetect <ref>car</ref>" and car.meta["boxes_px"] == [[50, 5, 60.5, 25]]
    assert light.answer == "<ref>traffic light</ref><box>[[100, 100, 200, 200]]</box>"
    assert weather.answer == weather.meta["label"] == "partly cloudy" and weather.meta["candidates"][0] == "clear"
    assert weather.question == (
        "<image>\nWhat is the weather like? Answer with one of: clear, foggy, overcast, partly cloudy, rainy, snowy."
    )
    assert time.answer == "dawn/dusk"
    assert manifest["counts"]["ignored"] == {
        "crowd region": 1, "label without a box or an outline": 1, "lane or drivable area": 1,
        "picture without an object to ask for": 1, "scene not known": 1,
    }  # fmt: skip


def test_the_kinds_of_questions_are_chosen(tmp_path: Path) -> None:
    """kinds= takes any of them, in one order; a kind that does not exist has the nearest one named."""
    frames = [frame("a.jpg", label("car", 0, 0, 10, 10), label("car", 5, 0, 15, 10), scene="tunnel")]
    labels = write_set(tmp_path, frames)
    for kinds, answers in {
        "count": ["2"],
        "scene,detect": ["<ref>car</ref><box>[[0, 0, 100, 200], [50, 0, 150, 200]]</box>", "tunnel"],
    }.items():
        convert(task="bdd", input=labels, output=tmp_path / "out.jsonl", option=[f"kinds={kinds}"])
        assert [record.answer for record in adapt.read_records(tmp_path / "out.jsonl")] == answers
    convert(task="bdd", input=labels, output=tmp_path / "out.jsonl", option=["kinds=scene", "language=zh"])
    assert adapt.read_records(tmp_path / "out.jsonl")[0].question.startswith("<image>\n这是什么样的地方？")
    for kinds, words in (("counts", "did you mean 'count'"), (" , ", "expected one or more")):
        with pytest.raises(UsageError, match=words):
            convert(task="bdd", input=labels, output=tmp_path / "out.jsonl", option=[f"kinds={kinds}"])


def test_the_published_outlines_equal_the_published_mask(shared: Path) -> None:
    """The four outlines of BDD's own fixture, curves followed, enclose what BDD's own mask of them shows, within a pixel."""
    folder = shared / "data" / "bdd100k_labels" / "tests"
    frames = json.loads((folder / "label" / "testcases" / "example_annotation.json").read_text())
    mask = np.asarray(Image.open(folder / "common" / "testcases" / "example_bitmask.png")).astype(int)
    numbers = mask[..., 2] * 256 + mask[..., 3]
    labels = frames[0]["labels"]
    assert sorted(set(numbers.ravel())) == [0, 1, 2, 3, 4] and len(labels) == 4
    for number, each in zip((1, 2, 3, 4), labels, strict=True):
        found = bdd._object(each, number, "x", bdd.collections.Counter())
        rows, columns = np.nonzero(numbers == number)
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert found is not None and np.abs(np.array(found.box_px) - expected).max() < 2
        controls = [vertex for part in each["poly2d"] for vertex in part["vertices"]]
        if number == 1:  # taking the controls for corners would be 17 pixels off
            assert max(y for _, y in controls) - expected[3] > 15


def test_without_pictures_every_frame_is_rejected_by_name(shared: Path, tmp_path: Path) -> None:
    """BDD's fixtures have no pictures: both frames are named; with made pictures beside them they convert whole."""
    folder = shared / "data" / "bdd100k_labels" / "tests" / "label" / "testcases"
    with pytest.raises(DataError, match="2 of 2 samples rejected"):
        convert(task="bdd", input=folder, output=tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rows] == [
        "example_annotation.json#0",
        "panseg_bdd100k/panseg_bdd100k.json#0",
    ]
    assert "b1c81faa-3df17267-0000001.jpg: no such file" in rows[0]["reason"]
    for name in ("b1c81faa-3df17267-0000001.jpg", "panseg_mask.jpg"):
        Image.new("RGB", (1280, 720)).save(tmp_path / name)
    manifest = convert(task="bdd", input=folder, images=tmp_path, output=tmp_path / "out.jsonl")
    assert (manifest["counts"]["read"], manifest["counts"]["rejected"]) == (2, 0)
    records = adapt.read_records(tmp_path / "out.jsonl")
    number = {record.meta["name"]: len(record.meta["boxes_px"]) for record in records if "panseg" in record.id}
    assert manifest["counts"]["ignored"] == {
        "label without a box or an outline": 1, "part of an outline with fewer than three vertices": 1
    }  # fmt: skip
    assert number["pole"] == 15 - 1 and number["traffic sign"] == 6 and number["vegetation"] == 14 and len(number) == 13


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (7, "expected a frame"),
        ({"labels": []}, "'name' is 'None'"),
        (frame("../a.jpg"), "leaves its root"),
        (frame("a.jpg", label("", 1, 2, 3, 4)), "'category' is ''"),
        (frame("a.jpg", label("car", 5, 2, 3, 4)), "no area"),
        (frame("a.jpg", {"category": "car", "box2d": [1, 2, 3, 4]}), "expected x1, y1, x2, y2"),
        (frame("a.jpg", {"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 3}}), "y2 is 'None', expected a number"),
        (frame("a.jpg", {"category": "car", "poly2d": [{"vertices": [[0, 0], [9, 9]], "types": "L"}]}), "2 vertices"),
        (frame("a.jpg", {"category": "car", "poly2d": [{"vertices": [[0, 0]] * 4, "types": "LLCL"}]}), "1 curve vertices"),
        (frame("a.jpg", {"category": "car", "poly2d": "x"}), "expected parts"),
        (frame("a.jpg", weather="hail"), "'weather' is 'hail', expected one of clear"),
        (frame("a.jpg", label("car", 500, 2, 503, 4)), "outside the picture"),
        ({"name": "a.jpg", "labels": 3}, "expected a list"),
    ],
)
def test_a_fault_rejects_its_frame(tmp_path: Path, bad: Any, words: str) -> None:
    """One bad label, attribute or name rejects that frame with its place, and the others convert."""
    good = frame("good.jpg", label("car", 1, 2, 3, 4))
    write_set(tmp_path, [good])
    Image.new("RGB", (100, 50)).save(tmp_path / "images" / "100k" / "val" / "a.jpg")
    (tmp_path / "labels" / "det_20" / "det_val.json").write_text(json.dumps([bad, good]))
    with pytest.raises(DataError, match=f"1 of 2 samples rejected.*det_val.json#0.*{words}"):
        convert(task="bdd", input=tmp_path / "labels", output=tmp_path / "out.jsonl")


def test_labels_that_name_no_split_find_the_pictures_of_each(tmp_path: Path) -> None:
    """A label file of one's own, of frames from train and val, beside the folders as they are published."""
    for split in ("train", "val"):
        write_set(tmp_path, [frame(f"{split}.jpg", label("car", 1, 2, 9, 9))], split)
    own = tmp_path / "labels" / "mine.json"
    own.write_text(json.dumps([frame(f"{split}.jpg", label("car", 1, 2, 9, 9)) for split in ("train", "val")]))
    convert(task="bdd", input=own, output=tmp_path / "out.jsonl")
    images = {record.images[0] for record in adapt.read_records(tmp_path / "out.jsonl")}
    assert images == {"images/100k/train/train.jpg", "images/100k/val/val.jpg"}


def test_labels_in_a_split_folder_are_of_it(tmp_path: Path) -> None:
    """labels/100k/val with one file a picture is of the val split as the input too."""
    write_set(tmp_path, [frame("a.jpg", label("car", 1, 2, 9, 9))]).rename(tmp_path / "labels" / "val")
    (tmp_path / "labels" / "val" / "det_val.json").rename(tmp_path / "labels" / "val" / "a.json")
    for given in ("labels", "labels/val", "labels/val/a.json"):
        manifest = convert(task="bdd", input=tmp_path / given, output=tmp_path / "out.jsonl")
        assert list(manifest["counts"]["splits"]) == ["val"], given


def test_files_that_are_no_labels_are_named(tmp_path: Path) -> None:
    """A document of another shape is refused where it is the input, and counted where it lies in the folder."""
    labels = write_set(tmp_path, [frame("a.jpg", label("car", 1, 2, 3, 4))])
    (labels / "readme.json").write_text("{}")
    assert convert(task="bdd", input=labels, output=tmp_path / "o.jsonl")["counts"]["ignored"] == {
        "JSON file without frames": 1
    }
    with pytest.raises(DataError, match="expected a list of frames"):
        convert(task="bdd", input=labels / "readme.json", output=tmp_path / "o.jsonl")
    with pytest.raises(UsageError, match="no label file"):
        convert(task="bdd", input=tmp_path / "images", output=tmp_path / "o.jsonl")


def test_what_a_conversion_writes_among_its_labels_is_not_read(tmp_path: Path) -> None:
    """Converting twice among the labels gives the same bytes; a broken file of several is one rejected sample."""
    labels = write_set(tmp_path, [frame("a.jpg", label("car", 1, 2, 30, 40))])
    written = []
    for _ in range(2):
        convert(task="bdd", input=labels, output=labels / "out.jsonl")
        written.append([(labels / name).read_bytes() for name in ("out.jsonl", "out.manifest.json")])
    assert written[0] == written[1]
    (labels / "det_train.json").write_text("[{")
    manifest = convert(task="bdd", input=labels, output=labels / "out.jsonl", max_bad=1)
    assert (manifest["counts"]["read"], manifest["counts"]["rejected"]) == (2, 1)
    assert "det_train.json" in (labels / "out.rejected.jsonl").read_text()


def test_boxes_move_with_frames_that_are_turned_upright(tmp_path: Path) -> None:
    """Tag 6 turns a frame of 100x50 into one of 50x100: the box moves along, and the attributes stay."""
    labels = write_set(tmp_path, [frame("a.jpg", label("car", 10, 5, 30, 25), weather="clear")])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 50)).save(tmp_path / "images" / "100k" / "val" / "a.jpg", exif=exif)
    convert(task="bdd", input=labels, output=tmp_path / "out.jsonl", option={"upright": "yes"})
    car, weather = adapt.read_records(tmp_path / "out.jsonl")
    assert car.meta["boxes_px"] == [[25, 10, 45, 30]] and car.sizes == ((50, 100),)
    assert weather.answer == "clear" and weather.images == car.images
