"""Every format with random boxes: native file -> reader -> text of 0..1000 -> pixels, within half a step of what was drawn."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from adapt import boxes, safe
from adapt.domain import Source, read_options
from converters.formats import annotations
from converters.objects import Objects, ObjectsSample, clipped

SIZE = (733, 517)
NUM_BOXES = 500
Box = tuple[float, float, float, float]


def draw(*, whole: bool = False) -> list[Box]:
    """Boxes inside the picture, from its first edge to its last; ``whole``: in whole pixels."""
    generator = random.Random(1)
    found: list[Box] = [(0.0, 0.0, float(SIZE[0]), float(SIZE[1]))]
    while len(found) < NUM_BOXES:
        xs, ys = (sorted(generator.uniform(0, length) for _ in range(2)) for length in SIZE)
        if whole:
            xs, ys = [round(x) for x in xs], [round(y) for y in ys]
        if xs[1] - xs[0] >= 1 and ys[1] - ys[0] >= 1:
            found.append((float(xs[0]), float(ys[0]), float(xs[1]), float(ys[1])))
    return found


def turned(box: Box) -> list[tuple[float, float]]:
    """The corners of a diamond whose enclosing box is ``box``."""
    x1, y1, x2, y2 = box
    middle = (x1 + x2) / 2, (y1 + y2) / 2
    return [(middle[0], y1), (x2, middle[1]), (middle[0], y2), (x1, middle[1])]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE).save(path)


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
}


def read(path: Path) -> Objects:
    """Read with every option left alone: the format is found by looking."""
    return annotations.read_objects(Source(path, None, read_options(annotations.OPTIONS, {}, "test"), 0))


@pytest.mark.parametrize("kind", WRITERS)
def test_boxes_come_back_within_half_a_step(kind: str, tmp_path: Path) -> None:
    """500 random boxes, one of them the whole picture, are off by at most half of 1/1000 of the picture after the way there and
    back, and the format is found without being named."""
    write, whole = WRITERS[kind]
    drawn = draw(whole=whole)
    picture(tmp_path / "a.png")
    found = read(write(tmp_path, drawn))
    (sample,) = found.samples
    assert isinstance(sample, ObjectsSample), sample
    assert safe.picture_size(found.root / sample.pictures[0]) == SIZE
    sample = clipped(ObjectsSample(**{**vars(sample), "sizes": (SIZE,)}))
    assert "clipped" not in sample.meta
    assert found.classes == ("cell",)
    assert len(sample.objects) == NUM_BOXES
    steps = [length / 1000 / 2 + 1e-3 for length in (*SIZE, *SIZE)]
    for box, each in zip(drawn, sample.objects, strict=True):
        text = boxes.format_boxes(each.name, [each.box_px], SIZE)
        ((name, (thousand,)),) = boxes.read_boxes(text)
        assert name == "cell"
        back = boxes.to_pixels(thousand, SIZE)
        assert all(abs(a - b) <= step for a, b, step in zip(back, box, steps, strict=True)), (box, back)
