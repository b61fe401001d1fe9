"""nuScenes: six boxes' worth of hand-made COCO export, asked in the stitched picture and in each camera's own."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from adapt.verbs import convert

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
NAMES = ("car", "traffic_cone", "bus")
# camera, category, [x, y, width, height] in a picture of 160x90
OBJECTS = (
    ("CAM_FRONT", "car", [16.0, 9.0, 32.0, 18.0]), ("CAM_FRONT", "car", [80.0, 45.0, 80.0, 45.0]),
    ("CAM_BACK", "car", [0.0, 0.0, 16.0, 90.0]), ("CAM_BACK_RIGHT", "traffic_cone", [144.0, 81.0, 16.0, 9.0]),
)  # fmt: skip


def write_set(root: Path, split: str = "train", objects: Any = OBJECTS, **changes: Any) -> Path:
    """One key frame in mmdetection3d's export."""
    images = []
    for camera in CAMERAS:
        place = root / "samples" / camera
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (160, 90), (90, 90, 90)).save(place / f"{camera}__{split}.jpg")
        name = f"samples/{camera}/{camera}__{split}.jpg"
        images.append(
            {"file_name": name, "id": f"{split}-{camera}", "token": f"f-{split}", "width": 160, "height": 90} | changes
        )
    annotations = [
        {
            "id": number,
            "image_id": f"{split}-{camera}",
            "category_id": NAMES.index(name),
            "bbox": box,
            "iscrowd": 0,
            "area": 1.0,
        }
        for number, (camera, name, box) in enumerate(objects)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    path = root / f"nuscenes_infos_{split}_mono3d.coco.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def ask(root: Path, output: Path, **options: str) -> dict[str, list[ChatRecord]]:
    """The records by kind."""
    convert(task="nuscenes", input=root, output=output, option=options, workers=0)
    found: dict[str, list[ChatRecord]] = {}
    for record in adapt.read_records(output):
        found.setdefault(str(record.meta.get("kind", "")), []).append(record)
    return found


def test_boxes_that_poke_out_are_counted_of_all_cameras(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of eleven is few: the note does not guess at a reason."""
    boxes = [("CAM_BACK", "car", [150.0, 0.0, 30.0, 9.0]), *(("CAM_FRONT", "car", [1.0, 1.0, 9.0, 9.0 + n]) for n in range(10))]
    write_set(tmp_path, objects=boxes)
    ask(tmp_path, tmp_path / "out.jsonl")
    assert [line for line in capsys.readouterr().err.splitlines() if "poke out" in line] == [
        "note: boxes that poke out of their pictures, cut at the edge: 1 of 11"
    ]


def test_six_cameras_are_asked_about_at_once(tmp_path: Path) -> None:
    """Hand-made boxes: which cameras, whether, how many, and the boxes as thousandths of the stitched picture."""
    write_set(tmp_path)
    found = ask(tmp_path, tmp_path / "out.jsonl")
    assert set(found) == {"where", "there", "number", "ground"}
    assert {record.images for records in found.values() for record in records} == {found["where"][0].images}
    assert {(record.meta["name"], record.answer) for record in found["where"]} == {
        ("car", "CAM_FRONT, CAM_BACK"), ("traffic cone", "CAM_BACK_RIGHT")
    }  # fmt: skip
    counts = {("car", "CAM_FRONT"): 2, ("car", "CAM_BACK"): 1, ("traffic cone", "CAM_BACK_RIGHT"): 1}
    for kind, truth in (("there", lambda n: "yes" if n else "no"), ("number", str)):
        assert len(found[kind]) == 4  # for each of two names a camera that shows it, and one that does not
        for record in found[kind]:
            (camera,) = re.findall(r"CAM_\w+", record.question.partition("<image>")[2])
            assert record.answer == truth(counts.get((str(record.meta["name"]), camera), 0))
    cars, cone = found["ground"]
    assert cars.question.endswith("<image>\nDetect <ref>car</ref>") and cars.sizes == ((2688, 896),)
    # CAM_FRONT is column 1, row 0: x = (1 + 16/160) / 3, y = 9/90 / 2 and so on, from left to right
    assert cars.answer == "<ref>car</ref><box>[[333, 500, 367, 1000], [367, 50, 433, 150], [500, 250, 667, 500]]</box>"
    assert cone.answer == "<ref>traffic cone</ref><box>[[967, 950, 1000, 1000]]</box>"
    assert cars.meta["boxes_px"][2] == [896 + 448, 224, 1792, 448] and cars.meta["split"] == "train"


def test_each_picture_can_be_asked_on_its_own(tmp_path: Path) -> None:
    """cameras=each grounds each camera's picture in its own thousandths; pictures without objects are counted as ignored."""
    write_set(tmp_path)
    manifest = convert(
        task="nuscenes", input=tmp_path, output=tmp_path / "out.jsonl", option={"cameras": "each", "kinds": "ground"}
    )
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert [record.images for record in records] == [
        (f"samples/{camera}/{camera}__train.jpg",) for camera in ("CAM_FRONT", "CAM_BACK", "CAM_BACK_RIGHT")
    ]
    assert records[0].answer == "<ref>car</ref><box>[[100, 100, 300, 300], [500, 500, 1000, 1000]]</box>"
    assert manifest["counts"]["read"] == 3 and sum(manifest["counts"]["ignored"].values()) == 3
    with pytest.raises(UsageError, match="with cameras=each"):
        convert(task="nuscenes", input=tmp_path, output=tmp_path / "o.jsonl", option={"cameras": "each", "kinds": "where"})


def test_splits_are_in_the_files_names(tmp_path: Path) -> None:
    """A folder's train and val files are two splits; the same questions are drawn on every run and by any worker."""
    write_set(tmp_path, "train")
    write_set(tmp_path, "val")
    manifest = convert(task="nuscenes", input=tmp_path, output=tmp_path / "a.jsonl", option={"kinds": "there,detect,count"})
    convert(task="nuscenes", input=tmp_path, output=tmp_path / "b.jsonl", option={"kinds": "there,detect,count"}, workers=0)
    assert manifest["counts"]["splits"] == {"train": 7, "val": 7} and manifest["counts"]["read"] == 2
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"image": {"token": None}}, "no 'token' of a key frame"),
        ({"image": {"file_name": "samples/CAM_FRONT/CAM_FRONT__val.jpg"}}, "several of them of 'CAM_FRONT'"),
        ({"image": {"file_name": "samples/CAM_TOP/CAM_TOP__train.jpg"}}, "no such file"),
        ({"image": {"file_name": "../../x.jpg"}}, "leaves its root"),
        ({"image": {"width": 320}}, "320"),
        ({"object": {"bbox": [1, 2, 3]}}, r"expected \[x, y, width, height\]"),
        ({"object": {"bbox": [1, 2, 0, 4]}}, "no area"),
        ({"object": {"category_id": 77}}, "names no category"),
    ],
)
def test_a_faulty_picture_rejects_its_key_frame(tmp_path: Path, broken: dict[str, Any], reason: str) -> None:
    """One bad image or object rejects the frame that it belongs to, by name, and no other."""
    write_set(tmp_path, "val")
    path = write_set(tmp_path, "train")
    document = json.loads(path.read_text())
    document["images"][3] |= broken.get("image", {})
    document["annotations"][2] |= broken.get("object", {})
    path.write_text(json.dumps(document))
    convert(task="nuscenes", input=tmp_path, output=tmp_path / "out.jsonl", max_bad=2, workers=0)
    found = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert any(re.search(reason, each["reason"]) for each in found), found
    assert all("train" in each["where"] for each in found)
    assert {record.split for record in adapt.read_records(tmp_path / "out.jsonl")} == {"val"}


def test_a_frame_with_nothing_to_ask_is_ignored(tmp_path: Path) -> None:
    """A key frame without objects, or without those of --option classes, is counted, not rejected; absent=1 asks about it."""
    write_set(tmp_path, "train")
    write_set(tmp_path, "val", objects=())
    manifest = convert(task="nuscenes", input=tmp_path, output=tmp_path / "out.jsonl", workers=0)
    assert manifest["counts"]["ignored"] == {"key frame without an object to ask for": 1}
    assert manifest["counts"]["splits"] == {"train": 12}
    found = ask(tmp_path, tmp_path / "out.jsonl", absent="1", kinds="count")["count"]
    assert [record.answer for record in found if record.split == "val"] == ["0"]
    with pytest.raises(DataError, match="no samples found"):
        convert(task="nuscenes", input=tmp_path, output=tmp_path / "out.jsonl", option={"classes": "bus"}, workers=0)


def test_a_broken_file_of_several_is_one_rejection(tmp_path: Path) -> None:
    """A file without a list of annotations is rejected by name, and the frames of the other file convert."""
    write_set(tmp_path, "val")
    path = write_set(tmp_path, "train")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": 3}))
    manifest = convert(task="nuscenes", input=tmp_path, output=tmp_path / "out.jsonl", max_bad=1, workers=0)
    assert (manifest["counts"]["converted"], manifest["counts"]["rejected"]) == (1, 1)
    assert json.loads((tmp_path / "out.rejected.jsonl").read_text())["where"] == path.name
    with pytest.raises(DataError, match="'annotations' is '3'"):
        convert(task="nuscenes", input=path, output=tmp_path / "out.jsonl", workers=0)


def test_a_class_of_which_a_camera_shows_a_group_is_not_asked_for(tmp_path: Path) -> None:
    """Where CAM_BACK has only a group of cars, "no", 0 and a list without it would be false; the cone is asked for still."""
    path = write_set(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][2]["iscrowd"] = 1
    path.write_text(json.dumps(document))
    found = ask(tmp_path, tmp_path / "out.jsonl", kinds="there,number,where")
    assert {kind: {record.meta["name"] for record in records} for kind, records in found.items()} == {
        kind: {"traffic cone"} for kind in ("there", "number", "where")
    }
    manifests = [
        convert(task="nuscenes", input=tmp_path, output=tmp_path / "out.jsonl", option={"cameras": cameras}, workers=0)
        for cameras in ("stitched", "each")
    ]
    assert [manifest["counts"]["ignored"].get("crowd region") for manifest in manifests] == [1, 1]
    option = {"kinds": "there", "classes": "car"}
    with pytest.raises(DataError, match="no samples found"):  # the frame has nothing to ask, and is counted
        convert(task="nuscenes", input=tmp_path, output=tmp_path / "none.jsonl", option=option, workers=0)
    document["annotations"][2]["image_id"] = "train-CAM_FRONT"  # a group beside single cars: there, but not to be counted
    path.write_text(json.dumps(document))
    found = ask(tmp_path, tmp_path / "out.jsonl", kinds="there,number,where")
    assert {(record.meta["name"], record.answer) for record in found["where"]} == {
        ("car", "CAM_FRONT"), ("traffic cone", "CAM_BACK_RIGHT")
    }  # fmt: skip
    assert {record.meta["name"] for record in found["number"]} == {"traffic cone"}
