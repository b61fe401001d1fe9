"""Medical pictures with boxes: BCCD's blood cells, and a small COCO set."""

import collections
import json
import re
from pathlib import Path

import pytest
from PIL import Image

import adapt
from adapt import boxes
from adapt.errors import DataError, UsageError
from adapt.verbs import convert


def write_voc(root: Path) -> Path:
    """Two pictures of 100x50 in BCCD's layout; the box over the whole of the second counts from 1 and its last pixel in."""
    files = {
        "a": [("RBC", 11, 6, 20, 15), ("WBC", 51, 6, 60, 15), ("RBC", 1, 6, 10, 15)],
        "b": [("Platelets", 1, 1, 100, 50)],
    }
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / "BCCD" / name).mkdir(parents=True)
    for stem, objects in files.items():
        text = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for name, x1, y1, x2, y2 in objects
        )
        size = "<size><width>100</width><height>50</height></size>"
        (root / "BCCD" / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><filename>{stem}.jpg</filename>{size}{text}</annotation>"
        )
        Image.new("RGB", (100, 50)).save(root / "BCCD" / "JPEGImages" / f"{stem}.jpg")
    (root / "BCCD" / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    (root / "BCCD" / "ImageSets" / "Main" / "test.txt").write_text("b\n")
    return root / "BCCD"


def test_a_smear_is_asked_about_in_every_kind(tmp_path: Path) -> None:
    """Where, how many, all at once, and what is here; abbreviations are written out and kept in meta."""
    root = write_voc(tmp_path)
    manifest = convert(task="medground", input=root, output=tmp_path / "out.jsonl", option=["kinds=region,detect,count,ground"])
    first = [record for record in adapt.read_records(tmp_path / "out.jsonl") if record.split == "train"]
    assert [(record.question.removeprefix("<image>\n"), record.answer) for record in first] == [
        ("Detect <ref>red blood cell</ref>", "<ref>red blood cell</ref><box>[[0, 100, 100, 300], [100, 100, 200, 300]]</box>"),
        ("Detect <ref>white blood cell</ref>", "<ref>white blood cell</ref><box>[[500, 100, 600, 300]]</box>"),
        ("How many objects of the class red blood cell are there? Answer with a number.", "2"),
        ("How many objects of the class white blood cell are there? Answer with a number.", "1"),
        ("Please detect and label all objects in the following image and mark their positions.",
         "<ref>red blood cell</ref><box>[[0, 100, 100, 300], [100, 100, 200, 300]]</box>\n"
         "<ref>white blood cell</ref><box>[[500, 100, 600, 300]]</box>"),
        ("What object is in this location<box>[[100, 100, 200, 300]]</box>",
         "<ref>red blood cell</ref><box>[[100, 100, 200, 300]]</box>"),
        ("What object is in this location<box>[[500, 100, 600, 300]]</box>",
         "<ref>white blood cell</ref><box>[[500, 100, 600, 300]]</box>"),
        ("What object is in this location<box>[[0, 100, 100, 300]]</box>",
         "<ref>red blood cell</ref><box>[[0, 100, 100, 300]]</box>"),
    ]  # fmt: skip
    assert first[0].meta == {
        "split": "train", "kind": "ground", "name": "red blood cell", "boxes_px": [[0, 5, 10, 15], [10, 5, 20, 15]],
        "class_name": "RBC",
    }  # fmt: skip
    assert manifest["facts"]["classes"] == {"Platelets": "platelet", "RBC": "red blood cell", "WBC": "white blood cell"}
    assert manifest["counts"]["read"] == 2 and {record.task for record in first} == {"medground"}
    (whole,) = (record for record in adapt.read_records(tmp_path / "out.jsonl") if record.id.endswith("b-ground-1"))
    assert whole.answer == "<ref>platelet</ref><box>[[0, 0, 1000, 1000]]</box>" and whole.split == "test"


def test_options_choose_kinds_names_and_words(tmp_path: Path) -> None:
    """spelling=keep leaves the set's spelling, classes= takes some, prompt= belongs to one kind, absent= asks for others."""
    root, output = write_voc(tmp_path), tmp_path / "out.jsonl"
    convert(task="medground", input=root, output=output, option=["kinds=count", "spelling=keep", "absent=1"])
    assert collections.Counter(record.answer for record in adapt.read_records(output)) == {"0": 2, "1": 2, "2": 1}
    manifest = convert(task="medground", input=root, output=output, option=["classes=WBC", "kinds=ground,region"])
    assert manifest["counts"]["ignored"] == {"picture without an object to ask for": 1} and manifest["counts"]["records"] == 2
    convert(task="medground", input=root, output=output, option=["kinds=region", "prompt=Name {box}", "language=zh"])
    assert adapt.read_records(output)[0].question == "<image>\nName <box>[[100, 100, 200, 300]]</box>"
    for option, words in ((["prompt=Find {name}"], "prompt replaces one kind"), (["kinds=where"], "unknown kind of question")):
        with pytest.raises(UsageError, match=words):
            convert(task="medground", input=root, output=output, option=option)
    with pytest.raises(UsageError, match="expected {name}"):
        convert(task="medground", input=root, output=output, option=["kinds=ground", "prompt=Find it"])


def test_a_coco_set_is_read_too(tmp_path: Path) -> None:
    """xywh boxes of a COCO file: the same questions; a crowd is in none of them."""
    Image.new("RGB", (100, 50)).save(tmp_path / "x.png")
    document = {
        "images": [{"id": 3, "file_name": "x.png", "width": 100, "height": 50}],
        "categories": [{"id": 1, "name": "polyp"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 1, "bbox": [10, 5, 20, 10], "area": 200, "iscrowd": 0},
            {"id": 2, "image_id": 3, "category_id": 1, "bbox": [50, 5, 40, 40], "area": 999, "iscrowd": 1},
        ],
    }
    (tmp_path / "polyps.json").write_text(json.dumps(document))
    convert(task="medground", input=tmp_path / "polyps.json", output=tmp_path / "out.jsonl", option=["format=coco"])
    assert [record.answer for record in adapt.read_records(tmp_path / "out.jsonl")] == [
        "<ref>polyp</ref><box>[[100, 100, 300, 300]]</box>", "<ref>polyp</ref><box>[[100, 100, 300, 300]]</box>"
    ]  # fmt: skip


def test_every_cell_of_bccd_is_asked_for(shared: Path, tmp_path: Path) -> None:
    """364 pictures, 4,155 + 372 + 361 boxes, in grounding, counting and regions; each within half a step of its XML."""
    root = shared / "data" / "bccd_voc" / "BCCD"
    manifest = convert(task="medground", input=root, output=tmp_path / "out.jsonl", option=["spelling=keep"], workers=0)
    records = adapt.read_records(tmp_path / "out.jsonl")
    counts = manifest["counts"]
    assert (counts["read"], counts["converted"], counts["rejected"]) == (364, 364, 0)
    expected: dict[str, collections.Counter[tuple[str, tuple[int, ...]]]] = {}
    pattern = re.compile(r"<name>(\w+)</name>" + r".*?<[xy]m..>(\d+)</" * 4, re.DOTALL)
    for path in sorted((root / "Annotations").glob("*.xml")):
        found = pattern.findall(path.read_text())
        expected[path.stem] = collections.Counter(
            (name, (int(x1) - 1, int(y1) - 1, int(x2), int(y2))) for name, x1, y1, x2, y2 in found
        )
    truth = {"RBC": 4155, "WBC": 372, "Platelets": 361}
    assert collections.Counter(name for each in expected.values() for name, _ in each.elements()) == truth
    asked = {
        kind: [record for record in records if record.id.rsplit("-", 2)[1] == kind] for kind in ("ground", "count", "region")
    }
    assert sum(len(group) for group in asked.values()) == len(records) == 4888 + 2 * len(asked["ground"])
    for name, number in truth.items():
        assert sum(int(record.answer) for record in asked["count"] if record.meta["name"] == name) == number
        assert sum(record.meta["label"] == name for record in asked["region"]) == number
    worst = 0.0
    for kind in ("ground", "region"):
        seen: dict[str, collections.Counter[tuple[str, tuple[int, ...]]]] = collections.defaultdict(collections.Counter)
        for record in asked[kind]:
            name = record.meta["name"] if kind == "ground" else record.meta["label"]
            (group,) = boxes.find_boxes(record.answer)
            for box, stored in zip(group.boxes, record.meta["boxes_px"], strict=True):
                seen[Path(record.images[0]).stem][name, tuple(stored)] += 1
                read_back = boxes.to_pixels(box, (640, 480))
                steps = [abs(a - b) / size * 1000 for a, b, size in zip(read_back, stored, (640, 480, 640, 480), strict=True)]
                worst = max(worst, *steps)
        assert seen == expected
    assert worst <= 0.5 + 1e-9
    by_split = collections.Counter(record.split for record in {record.images[0]: record for record in records}.values())
    assert by_split == {"train": 205, "val": 87, "test": 72}


def test_a_picture_of_another_size_is_rejected(tmp_path: Path) -> None:
    """Boxes made for 100x50 are not written for a picture of 50x25."""
    root = write_voc(tmp_path)
    Image.new("RGB", (50, 25)).save(root / "JPEGImages" / "a.jpg")
    with pytest.raises(DataError, match=r"1 of 2 samples rejected.*Annotations/a.xml.*stated as 100x50"):
        convert(task="medground", input=root, output=tmp_path / "out.jsonl")
