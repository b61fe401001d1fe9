"""VGG Image Annotator and LabelMe: shapes, classes, versions, and the line to paste where there is no class."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import shapely
from PIL import Image

from adapt.domain import Rejected, Source
from adapt.errors import DataError
from converters.formats import labelme, via
from converters.formats.outlines import class_of, ellipse, file_key
from converters.objects import Objects, ObjectsSample

POLYGON = {"name": "polygon", "all_points_x": [1, 5, 5], "all_points_y": [1, 1, 4]}


def region(shape: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    Image.new("RGB", (8, 6)).save(path.parent / "a.png")
    return path


def read(path: Path, **options: str) -> Objects:
    return via.read(Source(path, None, options, 0))


def one(folder: Path, regions: Any, **options: str) -> ObjectsSample | Rejected:
    (sample,) = read(write(folder / "v.json", {"a.png9": {"filename": "a.png", "regions": regions}}), **options).samples
    return sample


def one_object(folder: Path, shape: dict[str, Any]) -> Any:
    sample = one(folder, [region(shape, name="x")])
    assert isinstance(sample, ObjectsSample), sample
    (found,) = sample.objects
    return found


@pytest.mark.parametrize("form", ["1", "2", "project"])
def test_all_versions_are_read_alike(form: str, tmp_path: Path) -> None:
    """Regions as a dict, as a list, and inside a project file give one sample; a picture without regions stays one."""
    shapes = [region(POLYGON, type="cell")]
    regions: Any = {"0": shapes[0]} if form == "1" else shapes
    rows = {"a.png9": {"filename": "a.png", "regions": regions}, "b.png9": {"filename": "b.png", "regions": type(regions)()}}
    value = {"_via_settings": {}, "_via_img_metadata": rows, "_via_attributes": {}} if form == "project" else rows
    first, second = read(write(tmp_path / "train" / "via_region_data.json", value)).samples
    assert isinstance(first, ObjectsSample) and isinstance(second, ObjectsSample)
    (found,) = first.objects
    assert (found.name, found.box_px, found.polygons_px) == ("cell", (1, 1, 5, 4), (((1, 1), (5, 1), (5, 4)),))
    assert (first.split, first.id, first.pictures) == ("train", "train-a", ("a.png",))
    assert second.objects == () and second.pictures == ("b.png",)


def test_balloons_have_no_class_until_they_are_named(tmp_path: Path) -> None:
    """The set of the Mask R-CNN tutorial, VIA 1 with empty attributes in split folders: rejected with the option to paste,
    which makes every region a balloon."""
    for split in ("train", "val"):
        write(tmp_path / split / "via_region_data.json", {"a.png9": {"filename": "a.png", "regions": {"0": region(POLYGON)}}})
    found = read(tmp_path)
    assert [type(each) for each in found.samples] == [Rejected, Rejected]
    assert all("region 1: has no class; to name all such regions, add: --option name=balloon" in each.reason
               for each in found.samples if isinstance(each, Rejected))  # fmt: skip
    found = read(tmp_path, name="balloon")
    assert found.classes == ("balloon",)
    assert [(each.split, each.pictures) for each in found.samples if isinstance(each, ObjectsSample)] == [
        ("train", ("train/a.png",)),
        ("val", ("val/a.png",)),
    ]


def test_circles_and_ellipses_are_enclosed_exactly(tmp_path: Path) -> None:
    """Boxes of round shapes are those of shapely's affine circles, turned or not; the outline lies within half a pixel."""
    found = one_object(tmp_path, {"name": "circle", "cx": 4, "cy": 3, "r": 2})
    assert found.box_px == (2, 1, 6, 5)
    found = one_object(tmp_path, {"name": "ellipse", "cx": 4, "cy": 3, "rx": 2, "ry": 1, "theta": math.pi / 2})
    assert found.box_px == pytest.approx((3, 1, 5, 5))
    for angle in (0.0, 0.4, 1.1, 2.5, -0.7):
        outline, box = ellipse((50, 40), (30, 12), angle)
        circle = shapely.Point(0, 0).buffer(1, quad_segs=400)
        exact = shapely.affinity.translate(
            shapely.affinity.rotate(shapely.affinity.scale(circle, 30, 12), angle, use_radians=True), 50, 40
        )
        assert box == pytest.approx(exact.bounds, abs=0.01)
        assert shapely.Polygon(outline).hausdorff_distance(exact) < 0.5


def test_points_are_counted_and_never_pass_for_nothing(tmp_path: Path) -> None:
    """Points and lines beside areas are counted; a picture that has nothing else is rejected: it is not one without objects."""
    point = region({"name": "point", "cx": 1, "cy": 1}, name="x")
    path = write(tmp_path / "v.json", {"a": {"filename": "a.png", "regions": [point, region(POLYGON, name="x"), point]}})
    found = read(path)
    assert [len(each.objects) for each in found.samples if isinstance(each, ObjectsSample)] == [1]
    assert found.ignored == {"region without an area (point or line)": 2}
    sample = one(tmp_path, [point, point])
    assert isinstance(sample, Rejected) and sample.reason.startswith("all 2 regions are points or lines")


@pytest.mark.parametrize(
    ("attributes", "options", "name"),
    [
        ({"colour": "red", "Class": "cell"}, {}, "cell"),
        ({"cell type": " red  cell"}, {}, "red cell"),
        ({"name": "undefined"}, {"name": "x"}, "x"),
        ({"type": {"a": False, "b": True}}, {}, "b"),
        ({"colour": "red", "size": "big"}, {"class_key": "size"}, "big"),
        ({"class_id": 3}, {}, "3"),
        ({"building": "yes"}, {}, "building"),
    ],
)
def test_the_class_is_found(attributes: dict[str, Any], options: dict[str, str], name: str) -> None:
    """By the option's key, else a usual one, else the only one; menus left alone have none; ticked boxes count."""
    assert class_of(attributes, options, "here", file_key([attributes])) == name


@pytest.mark.parametrize(
    ("options", "value", "name"),
    [
        ({"1": "car", "2": "boat"}, "2", "boat"),
        ({"1": "car", "2": "boat"}, {"1": True, "2": False}, "car"),
        ({"1": "car", "2": "car"}, {"1": True, "2": False}, "car"),
        ({"1": "car", "2": ""}, "2", "2"),
        ({"1": "car", "2": "boat"}, "3", "3"),
        ({"boat": "a vessel of any size"}, "boat", "boat"),
        ({"1": 7}, "1", "1"),
        (None, "1", "1"),
    ],
)
def test_a_menus_number_is_called_as_its_project_says(options: Any, value: Any, name: str, tmp_path: Path) -> None:
    """VIA 2 stores the id of what was chosen: of a number the description is the name, a word is one itself."""
    rows = {"a.png9": {"filename": "a.png", "regions": [region(POLYGON, kind=value)]}}
    menus = {"region": {"kind": {"type": "radio", "options": options}, "other": None}, "file": {}}
    found = read(write(tmp_path / "v.json", {"_via_img_metadata": rows, "_via_attributes": menus}))
    assert found.classes == (name,)


def test_a_menu_of_pictures_names_no_class(tmp_path: Path) -> None:
    """VIA's type ``image`` describes a choice by a picture's address or content: its number stays."""
    rows = {"a.png9": {"filename": "a.png", "regions": [region(POLYGON, kind="1")]}}
    menus = {"region": {"kind": {"type": "image", "options": {"1": "data:image/png;base64,AAAA"}}}}
    found = read(write(tmp_path / "v.json", {"_via_img_metadata": rows, "_via_attributes": menus}))
    assert found.classes == ("1",)


def test_two_attributes_are_not_guessed_between() -> None:
    """Where several attributes might be the class the option that chooses is named."""
    with pytest.raises(DataError, match="here: which of colour, size is its class. add: --option class_key=colour"):
        class_of({"colour": "red", "size": "big"}, {}, "here", file_key([{"colour": "red", "size": "big"}]))


@pytest.mark.parametrize(
    ("attributes", "of_file", "reason"),
    [
        ({"occluded": "yes"}, {"name": "cat"}, "has no class under 'name', as others of the file have it; it has occluded (to"),
        (
            {"quality": "bad"},
            {"Label": "cat", "quality": "good"},
            "under 'Label', as others of the file have it; it has quality",
        ),
        ({"size": "big", "id": "3"}, {"class": "cat"}, "class_key=size); to name all such regions, add: --option name=balloon"),
        ({"id": "1"}, {"id": "2"}, "has no class; to name all such regions, add: --option name=balloon"),
        (
            {"truncated": "no"},
            {"truncated": "yes"},
            "has no class ('truncated' is no here); to name all such regions, add: --option name",
        ),
        (
            {"label": "Rex", "class": "dog"},
            {},
            "which of 'class' (dog), 'label' (Rex) is its class? add: --option class_key=class",
        ),
        ({"id": "3", "a": "x", "b": "y"}, {}, "which of id, a, b is its class? add: --option class_key=a"),
        ({"type": {"cat": True, "dog": True}}, {}, "has 2 classes, cat, dog; an object has one: untick the others"),
    ],
)
def test_a_class_is_the_same_thing_in_all_of_a_file(
    tmp_path: Path, attributes: dict[str, Any], of_file: dict[str, Any], reason: str
) -> None:
    """Beside regions with a class, an attribute that stands alone is none; the line to add is named."""
    rows = {
        name: {"filename": "a.png", "regions": [region(POLYGON, **each)]} for name, each in (("1", attributes), ("2", of_file))
    }
    found = read(write(tmp_path / "v.json", rows)).samples[0]
    assert isinstance(found, Rejected) and reason in found.reason


@pytest.mark.parametrize(
    ("shapes", "names"),
    [
        ([{"car": "yes"}, {"bus": "yes"}], ["car", "bus"]),  # a key of its own each, as maps have them
        ([{"highway": "residential"}, {"building": "yes"}, {"natural": "tree"}], ["residential", "building", "tree"]),
        ([{"building": "yes"}, {"building": "yes", "name": "City Hall"}], ["building", "building"]),
        ([{"building": "house", "name": None, "osm_id": 1}, {"building": "yes", "name": "Villa"}], ["house", "building"]),
        ([{"area": "kitchen"}, {"area": "bath"}], ["kitchen", "bath"]),
        ([{"class": "car", "type": "Polygon"}, {"class": 3, "class_name": "bus"}], ["car", "bus"]),
        ([{"name": "cat", "occluded": "no"}, {"name": "dog"}], ["cat", "dog"]),
        ([{"name": "cat"}, {"Label": "dog"}], ["cat", "dog"]),
    ],
)
def test_classes_of_a_file_are_found_together(shapes: list[dict[str, Any]], names: list[str]) -> None:
    """What a key is shows over the whole file: a name that few have is that of a house."""
    key = file_key(shapes)
    assert [class_of(each, {}, "here", key) for each in shapes] == names


def test_a_key_that_no_region_has_is_named() -> None:
    """A slip in class_key is answered with the attributes that are there, not with the advice to name all regions alike."""
    with pytest.raises(DataError, match="here: has no 'colr' for its class .--option class_key=colr.; it has colour, size"):
        class_of({"colour": "red", "size": "big"}, {"class_key": "colr"}, "here", None)
    with pytest.raises(DataError, match="add: --option name=balloon"):
        class_of({}, {"class_key": "colour"}, "here", None)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"name": "rect", "x": 1, "y": 1, "width": 0, "height": 3}, "object 1 'x': its box .* has no area"),
        ({"name": "rect", "x": 1, "y": 1, "width": 2}, "region 1: 'height' is 'None', expected a number"),
        ({"name": "circle", "cx": 1, "cy": 1, "r": -2}, "a circle of radius -2"),
        ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}, "three or more"),
        ({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, "b", 3]}, "'b', expected a number"),
        ({"name": "heart"}, "a shape 'heart', expected rect, polygon, circle or ellipse"),
        ("x", "expected an object with 'shape_attributes'"),
    ],
)
def test_a_bad_shape_is_named(shape: Any, reason: str, tmp_path: Path) -> None:
    """A shape that is none rejects its picture with the region's number."""
    sample = one(tmp_path, [region(shape, name="x")])
    assert isinstance(sample, Rejected) and re.search(reason, sample.reason), sample


def shape(kind: str, *points: Any, **more: Any) -> dict[str, Any]:
    return {"label": "x", "shape_type": kind, "points": list(points)} | more


def read_labelme(folder: Path, *shapes: Any, picture: str = "a.png", **options: str) -> Objects:
    path = write(folder / "a.json", {"imagePath": picture, "shapes": list(shapes), "imageWidth": 8, "imageHeight": 6})
    return labelme.read(Source(path.parent, None, options, 0))


def test_labelme_shapes_become_boxes(tmp_path: Path) -> None:
    """Rectangles by two corners or all four, circles by a point on them, turned boxes, masks by their first and last pixel."""
    found = read_labelme(
        tmp_path,
        shape("rectangle", [5, 4], [1, 2]),
        shape("rectangle", [1, 2], [5, 2], [5, 4], [1, 4]),
        shape("circle", [4, 3], [4, 1]),
        shape("rotation", [4, 1], [6, 3], [4, 5], [2, 3]),
        shape("mask", [1, 1], [3, 2], mask="iVBOR"),
        shape("polygon", [1, 1], [3, 1], [3, 4]),
        shape("point", [1, 1]),
    )
    (sample,) = found.samples
    assert isinstance(sample, ObjectsSample) and sample.stated_size == (8, 6)
    assert [each.box_px for each in sample.objects] == [
        (1, 2, 5, 4), (1, 2, 5, 4), (2, 1, 6, 5), (2, 1, 6, 5), (1, 1, 4, 3), (1, 1, 3, 4)
    ]  # fmt: skip
    assert sample.objects[3].oriented_px == ((4, 1), (6, 3), (4, 5), (2, 3))
    assert found.ignored == {"region without an area (point or line)": 1}


def test_labelme_shapes_of_one_label_and_group_are_one_object(tmp_path: Path) -> None:
    """A car behind a tree is drawn in two parts with one group_id; another label, another group and none are others."""
    part = [shape("polygon", [1, 1], [3, 1], [3, 4]), shape("rectangle", [5, 2], [7, 5])]
    shapes = [each | {"group_id": 1} for each in part]
    others = [{"group_id": None}, {"group_id": 2}, {"group_id": 1, "label": "tree"}]
    found = read_labelme(tmp_path, shapes[0], *(part[1] | each for each in others), shapes[1])
    (sample,) = found.samples
    assert isinstance(sample, ObjectsSample)
    assert found.ignored == {"shape that is a part of another one's object (group_id)": 1}
    assert [(each.box_px, each.attributes.get("group_id")) for each in sample.objects] == [
        ((1, 1, 7, 5), 1), ((5, 2, 7, 5), None), ((5, 2, 7, 5), 2), ((5, 2, 7, 5), 1)
    ]  # fmt: skip
    assert sample.objects[0].polygons_px == (((1, 1), (3, 1), (3, 4)), ((5, 2), (7, 2), (7, 5), (5, 5)))


def test_labelme_files_that_name_one_picture_are_told(tmp_path: Path) -> None:
    """A file that was copied and drawn in anew with its old path: either would lack the other's shapes."""
    for number in range(2):
        read_labelme(tmp_path, {"label": "a", "shape_type": "rectangle", "points": [[0, number], [3, 4]]})
        (tmp_path / "a.json").rename(tmp_path / f"{number}.json")
    first, second = labelme.read(Source(tmp_path, None, {}, 0)).samples
    for sample, other in ((first, "1.json"), (second, "0.json")):
        assert isinstance(sample, Rejected)
        assert sample.reason.startswith(f"its picture a.png is that of {other}, too, and shows the objects of both; let 'image")


@pytest.mark.parametrize("stated", ["q.png", "../elsewhere/q.png"])
def test_a_labelme_picture_that_only_the_file_holds_is_told(stated: str, tmp_path: Path) -> None:
    """It is not read from there; what to do is said, whichever path stands beside it. One that lies there is used."""
    value = {"imagePath": stated, "shapes": [], "imageData": "aGVsbG8="}
    (sample,) = labelme.read(Source(write(tmp_path / "set" / "one.json", value).parent, None, {}, 0)).samples
    assert isinstance(sample, Rejected) and "the file holds the picture itself (imageData): write it out" in sample.reason
    Image.new("RGB", (8, 6)).save(tmp_path / "set" / "q.png")
    (sample,) = labelme.read(Source(tmp_path / "set", None, {}, 0)).samples
    assert isinstance(sample, ObjectsSample) and sample.pictures == ("q.png",)


def test_labelme_finds_its_picture_from_its_own_folder(tmp_path: Path) -> None:
    """``..\\pics\\b.png`` is looked for from the json's folder, then the json's own name; what climbs out is refused."""
    write(tmp_path / "json" / "a.json", {"imagePath": "..\\pics\\b.png", "shapes": []})
    (tmp_path / "json" / "a.png").rename(tmp_path / "b.png")

    def find() -> Any:
        (sample,) = labelme.read(Source(tmp_path, None, {}, 0)).samples
        return sample

    (tmp_path / "pics").mkdir()
    (tmp_path / "b.png").rename(tmp_path / "pics" / "b.png")
    assert (find().pictures, find().where) == (("pics/b.png",), "json/a.json")
    (tmp_path / "pics" / "b.png").rename(tmp_path / "pics" / "a.jpg")
    assert find().pictures == ("pics/a.jpg",)
    (tmp_path / "pics" / "a.jpg").unlink()
    assert find().pictures == ("pics/b.png",)
    write(tmp_path / "json" / "a.json", {"imagePath": "../../x.png", "shapes": []})
    (tmp_path / "json" / "a.png").unlink()
    assert isinstance(find(), Rejected) and "leaves its root folder" in find().reason


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (shape("polygon", [1, 1], [2, 2]), "a polygon of 2 points"),
        (shape("circle", [1, 1], [1, 1]), "has no area"),
        (shape("polygon", [1, 1], [2, 2], [3]), "a point is .3., expected .x, y."),
        (shape("rectangle", [1, 1], [2, 2], label=""), "shape 1: has no class; .* --option name=balloon"),
        ("x", "expected an object with 'label' and 'points'"),
    ],
)
def test_a_bad_labelme_shape_is_named(bad: Any, reason: str, tmp_path: Path) -> None:
    """A shape that is none rejects its picture with the shape's number."""
    (sample,) = read_labelme(tmp_path, bad).samples
    assert isinstance(sample, Rejected) and re.search(reason, sample.reason), sample


def test_a_broken_file_of_several_is_one_rejection_by_its_path(tmp_path: Path) -> None:
    """Two files of one name: the one whose pictures are none is rejected by its path, the other one is read."""
    rows = {"a.png9": {"filename": "a.png", "regions": [region(POLYGON, name="x")]}}
    write(tmp_path / "train" / "via.json", rows)
    path = write(tmp_path / "val" / "via.json", {"_via_img_metadata": [1]})
    good, bad = read(tmp_path).samples
    assert isinstance(good, ObjectsSample) and good.where == "train/via.json#a.png9"
    assert isinstance(bad, Rejected) and (bad.where, bad.split) == ("val/via.json", "val")
    assert bad.reason.startswith("expected pictures with 'filename'")
    with pytest.raises(DataError, match="expected pictures"):
        read(path)
