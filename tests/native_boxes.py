"""Boxes in every format of labelled objects, as their tools write them: for tests that read them back or damage them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (733, 517)
Box = tuple[float, float, float, float]
FEW_BOXES = [(1.0, 2.0, 30.0, 40.0), (100.0, 50.0, 140.0, 90.0)]


def turned(box: Box) -> list[tuple[float, float]]:
    """The corners of a diamond whose enclosing box is ``box``."""
    x1, y1, x2, y2 = box
    middle = (x1 + x2) / 2, (y1 + y2) / 2
    return [(middle[0], y1), (x2, middle[1]), (middle[0], y2), (x1, middle[1])]


def write_coco(root: Path, drawn: Sequence[Box]) -> Path:
    rows = [
        {"id": number, "image_id": 7, "category_id": 3, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
        for number, (x1, y1, x2, y2) in enumerate(drawn)
    ]
    images = [{"id": 7, "file_name": "a.png", "width": SIZE[0], "height": SIZE[1]}]
    document = {"images": images, "annotations": rows, "categories": [{"id": 3, "name": "cell"}]}
    (root / "a.json").write_text(json.dumps(document))
    return root / "a.json"


def write_voc(root: Path, drawn: Sequence[Box]) -> Path:
    objects = "".join(
        f"<object><name>cell</name><bndbox><xmin>{x1 + 1:.0f}</xmin><ymin>{y1 + 1:.0f}</ymin>"
        f"<xmax>{x2:.0f}</xmax><ymax>{y2:.0f}</ymax></bndbox></object>"
        for x1, y1, x2, y2 in drawn
    )
    (root / "a.xml").write_text(f"<annotation><filename>a.png</filename>{objects}</annotation>")
    return root


def write_yolo(root: Path, drawn: Sequence[Box]) -> Path:
    width, height = SIZE
    lines = [
        f"0 {(x1 + x2) / 2 / width:.9f} {(y1 + y2) / 2 / height:.9f} {(x2 - x1) / width:.9f} {(y2 - y1) / height:.9f}"
        for x1, y1, x2, y2 in drawn
    ]
    (root / "a.txt").write_text("\n".join(lines))
    (root / "classes.txt").write_text("cell\n")
    return root


def write_yolo_outlines(root: Path, drawn: Sequence[Box]) -> Path:
    outlines = (" ".join(f"{x / SIZE[0]:.9f} {y / SIZE[1]:.9f}" for x, y in turned(box)) for box in drawn)
    (root / "a.txt").write_text("\n".join(f"0 {outline}" for outline in outlines))
    (root / "data.yaml").write_text("names:\n  0: cell\n")
    return root


def write_dota(root: Path, drawn: Sequence[Box]) -> Path:
    lines = [" ".join(f"{x:.4f} {y:.4f}" for x, y in turned(box)) + " cell 0" for box in drawn]
    (root / "labelTxt").mkdir()
    (root / "labelTxt" / "a.txt").write_text("imagesource:GoogleEarth\ngsd:0.26\n" + "\n".join(lines))
    return root


def write_via(root: Path, drawn: Sequence[Box]) -> Path:
    regions = [
        {
            "shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
            "region_attributes": {"name": "cell"},
        }
        for x1, y1, x2, y2 in drawn
    ]
    (root / "via.json").write_text(json.dumps({"a.png1": {"filename": "a.png", "size": 1, "regions": regions}}))
    return root / "via.json"


def write_via_1(root: Path, drawn: Sequence[Box]) -> Path:
    regions = {}
    for number, box in enumerate(drawn):
        xs, ys = zip(*turned(box), strict=True)
        shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
        regions[str(number)] = {"shape_attributes": shape, "region_attributes": {"name": "cell"}}
    (root / "via.json").write_text(json.dumps({"a.png1": {"filename": "a.png", "size": 1, "regions": regions}}))
    return root / "via.json"


def write_labelme(root: Path, drawn: Sequence[Box]) -> Path:
    shapes = [{"label": "cell", "points": [[x2, y1], [x1, y2]], "shape_type": "rectangle"} for x1, y1, x2, y2 in drawn]
    document = {"imagePath": "a.png", "shapes": shapes, "imageWidth": SIZE[0], "imageHeight": SIZE[1]}
    (root / "a.json").write_text(json.dumps(document))
    return root


def write_csv(root: Path, drawn: Sequence[Box]) -> Path:
    rows = [f"cell,{y2!r},{x1!r},{x2!r},{y1!r},a.png" for x1, y1, x2, y2 in drawn]
    (root / "a.csv").write_text("\n".join(["label,ymax,xmin,xmax,ymin,image_path", *rows]))
    return root / "a.csv"


def write_wkt(root: Path, drawn: Sequence[Box]) -> Path:
    rows = [
        'a.png,cell,"POLYGON ((' + ", ".join(f"{x!r} {y!r}" for x, y in [*turned(box), turned(box)[0]]) + '))"' for box in drawn
    ]
    (root / "a.csv").write_text("\n".join(["image_path,label,geometry", *rows]))
    return root / "a.csv"


def write_geojson(root: Path, drawn: Sequence[Box]) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"class": "cell"},
            "geometry": {"type": "Polygon", "coordinates": [[*turned(box), turned(box)[0]]]},
        }
        for box in drawn
    ]
    (root / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return root / "a.geojson"


def write_map(root: Path, drawn: Sequence[Box]) -> Path:
    """Half a metre a pixel, north up, the outer corner of the first pixel at 500000, 4100000: its centre is 0.25 m inside."""
    (root / "a.pgw").write_text("0.5\n0.0\n0.0\n-0.5\n500000.25\n4099999.75\n")
    moved = [(500000 + x1 / 2, 4100000 - y2 / 2, 500000 + x2 / 2, 4100000 - y1 / 2) for x1, y1, x2, y2 in drawn]
    return write_geojson(root, moved)


def write_table(root: Path, drawn: Sequence[Box]) -> Path:
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in drawn]
    row = {"file_name": "a.png", "objects": {"bbox": boxes, "category": ["cell"] * len(boxes)}}
    (root / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    return root / "metadata.jsonl"


WRITERS: dict[str, tuple[Callable[[Path, Sequence[Box]], Path], bool]] = {
    "coco": (write_coco, False),
    "voc": (write_voc, True),
    "yolo": (write_yolo, False),
    "yolo outlines": (write_yolo_outlines, False),
    "dota": (write_dota, False),
    "via": (write_via, False),
    "via 1": (write_via_1, False),
    "labelme": (write_labelme, False),
    "csv": (write_csv, False),
    "csv wkt": (write_wkt, False),
    "geojson": (write_geojson, False),
    "geojson map": (write_map, False),
    "table": (write_table, False),
}


def picture(path: Path) -> None:
    """A black picture of ``SIZE``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE).save(path)


def write(kind: str, root: Path) -> Path:
    """``FEW_BOXES`` on one picture in the format ``kind``; returns the input of a conversion."""
    picture(root / "a.png")
    return WRITERS[kind][0](root, FEW_BOXES)


def write_panoptic(root: Path) -> Path:
    """Two segments of one picture, their numbers as the colours of its mask."""
    picture(root / "pictures" / "a.jpg")
    mask = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    segments: list[dict[str, Any]] = []
    for number, (x1, y1, x2, y2) in enumerate(FEW_BOXES, 1):
        mask[int(y1) : int(y2), int(x1) : int(x2), 0] = number
        area = int((x2 - x1) * (y2 - y1))
        segments.append({"id": number, "category_id": 3, "iscrowd": 0, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area})
    (root / "panoptic").mkdir()
    Image.fromarray(mask).save(root / "panoptic" / "a.png")
    document = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": SIZE[0], "height": SIZE[1]}],
        "annotations": [{"image_id": 7, "file_name": "a.png", "segments_info": segments}],
        "categories": [{"id": 3, "name": "cell", "isthing": 1}],
    }
    (root / "panoptic.json").write_text(json.dumps(document))
    return root / "panoptic.json"
