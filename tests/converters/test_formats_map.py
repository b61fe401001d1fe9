"""Boxes in csv files, WKT and GeoJSON: columns by name, classes by number, and the way from map to pixels."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from converters.formats import boxes_csv, footprints, geojson
from converters.objects import Objects, ObjectsSample

SQUARE = [[[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (80, 60)).save(path)


def read(folder: Path, content: str, **options: str) -> Objects:
    (folder / "train.csv").write_text(content)
    picture(folder / "a.png")
    return boxes_csv.read(Source(folder / "train.csv", None, options, 0))


def only(found: Objects) -> Any:
    (sample,) = found.samples
    return sample


@pytest.mark.parametrize(
    "content",
    [
        "image_path,xmin,ymin,xmax,ymax,label\na.png,1,2,30,40,cat\n",
        "image_path,xmin,xmax,ymin,ymax,label\na.png,1,30,2,40,cat\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,80,60,cat,1,2,30,40\n",
        "label,x,y,width,height,image_id\ncat,1,2,29,38,a.png\n",
        "filename,width,height,class,bbox_x,bbox_y,bbox_width,bbox_height\na.png,80,60,cat,1,2,29,38\n",
        "filename,width,height,class,x,y,w,h\na.png,80,60,cat,1,2,29,38\n",
        "Image,Class,X1,Y1,X2,Y2\na.png,cat,1,2,30,40\n",
        'image_path,label,geometry\na.png,cat,"POLYGON ((1 2, 30 2, 30 40, 1 40, 1 2))"\n',
    ],
)
def test_columns_are_found_by_name_in_any_order(content: str, tmp_path: Path) -> None:
    """Every order and spelling of the columns gives the one box, and the split is the file's name."""
    sample = only(read(tmp_path, content))
    assert isinstance(sample, ObjectsSample), sample
    assert [(each.name, each.box_px) for each in sample.objects] == [("cat", (1, 2, 30, 40))]
    assert (sample.split, sample.pictures) == ("train", ("a.png",))
    assert sample.stated_size == ((80, 60) if "filename" in content else None)


def test_the_real_tree_boxes(shared: Path) -> None:
    """The column orders of six real files, a .tif that is a .png, numbers named by classes.csv, points that are no boxes."""
    folder = shared / "data" / "deepforest_aerial_boxes"
    paths = sorted(path for path in folder.glob("*.csv") if path.name != "classes.csv")
    read_alone = (each for path in paths for each in boxes_csv.read(Source(path, None, {}, 0)).samples)
    samples = {each.where.partition(":")[0]: each for each in read_alone}
    counts = {name: len(each.objects) for name, each in samples.items() if isinstance(each, ObjectsSample)}
    assert counts == {
        "2018_SJER_3_252000_4107000_image_477.csv": 7,
        "2018_SJER_3_252000_4107000_image_477_truth.csv": 7,
        "2019_BLAN_3_751000_4330000_image_crop_bbox.csv": 4,
        "2019_BLAN_3_751000_4330000_image_crop_polygon.csv": 4,
        "OSBS_029.csv": 61,
        "testfile_multi.csv": 37,
    }
    truth = samples["2018_SJER_3_252000_4107000_image_477_truth.csv"]
    assert isinstance(truth, ObjectsSample)
    assert (truth.objects[0].name, truth.objects[0].box_px) == ("Dead", (1, 103, 82, 235))
    tree = samples["OSBS_029.csv"]
    assert isinstance(tree, ObjectsSample) and tree.pictures == ("OSBS_029.png",)
    points = samples["2019_BLAN_3_751000_4330000_image_crop_keypoints.csv"]
    assert isinstance(points, Rejected) and "all 4 regions are points or lines" in points.reason
    bbox, polygon = (samples[f"2019_BLAN_3_751000_4330000_image_crop_{kind}.csv"] for kind in ("bbox", "polygon"))
    assert isinstance(bbox, ObjectsSample) and isinstance(polygon, ObjectsSample)
    for box, outline in zip(bbox.objects, polygon.objects, strict=True):
        assert box.box_px == pytest.approx(outline.box_px, abs=1)
    together = list(boxes_csv.read(Source(folder, None, {}, 0)).samples)  # the same trees in several files are not doubled
    told = {each.where: each.reason for each in together if isinstance(each, Rejected)}
    assert [len(each.objects) for each in together if isinstance(each, ObjectsSample)] == [61, 37] and len(told) == 2
    assert "_477.csv:2 and 2018_SJER_3_252000_4107000_image_477_truth.csv:2, both with 'Dead'" in told[f"{paths[0].name}:2"]


def test_pictures_without_objects_are_rows_without_boxes(tmp_path: Path) -> None:
    """A row that names a picture only, and an empty polygon, are pictures without objects."""
    assert only(read(tmp_path, "image_path,xmin,ymin,xmax,ymax,label\na.png,,,,,\n")).objects == ()
    assert only(read(tmp_path, "ImageId,PolygonWKT_Pix\na,POLYGON EMPTY\n", name="building")).objects == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.png,1,2,1,40,cat", "train.csv:3: object 2 'cat': its box .* has no area"),
        ("a.png,1,2,,40,cat", "train.csv:3: 'xmax' is '', expected a number"),
        ("a.png,nan,2,30,40,cat", "train.csv:3: 'xmin' is nan, expected a finite number"),
        ("a.png,0.1,0.2,0.5,0.9,cat", "shares of the picture"),
        ("a.png,1,2,30,40,", "has no class; .*--option name=balloon"),
        ("a.png,1,2,30,40,7", "class 7 has no name; write classes.csv"),
    ],
)
def test_a_bad_row_rejects_its_picture_alone(row: str, reason: str, tmp_path: Path) -> None:
    """The rows of another picture are still read, and the reason names the line."""
    found = read(tmp_path, f"image_path,xmin,ymin,xmax,ymax,label\na.png,1,2,30,40,cat\n{row}\nb.png,1,2,30,40,cat\n")
    first, second = found.samples
    assert isinstance(first, Rejected) and re.search(reason, first.reason), first
    assert isinstance(second, ObjectsSample) and second.pictures == ("b.png",)


@pytest.mark.parametrize(("label", "name"), [("1", "dog"), ("1.0", "dog"), ("v1.0", "v1.0"), ("1.5", "1.5")])
def test_class_numbers_of_a_column_with_gaps_are_numbers(label: str, name: str, tmp_path: Path) -> None:
    """pandas writes 1.0 where another cell of the column is empty; without classes.csv such a class has no name either."""
    content = f"image_path,xmin,ymin,xmax,ymax,label\na.png,1,2,30,40,{label}\n"
    if name == "dog":
        assert "class 1 has no name" in only(read(tmp_path, content)).reason
    (tmp_path / "classes.csv").write_text("cat,0\ndog,1\n")
    assert only(read(tmp_path, content)).objects[0].name == name


def test_a_picture_is_one_however_its_rows_spell_it(tmp_path: Path) -> None:
    """Rows by path, by bare name and by another folder's path are one picture's objects in the file's order, and one split."""
    picture(tmp_path / "sub dir" / "b.png")
    picture(tmp_path / "a.png")
    rows = ("sub dir/b.png,1,1,5,5,cat,", "a.png,1,1,4,4,cow,", "b.png,2,2,6,6,dog,", "./a.png,1,1,3,3,hen,",
            "/home/me/sub dir/b.png,3,3,7,7,ant,", "sub dir/b.png,4,4,8,8,bee,")  # fmt: skip
    header = "image,xmin,ymin,xmax,ymax,label,split\n"
    samples = list(read(tmp_path, header + "\n".join(rows)).samples)
    assert [(each.where, each.pictures, [thing.name for thing in each.objects]) for each in samples] == [
        ("train.csv:2", ("sub dir/b.png",), ["cat", "dog", "ant", "bee"]), ("train.csv:3", ("a.png",), ["cow", "hen"]),
    ]  # fmt: skip
    (found,) = read(tmp_path, header + f"{rows[0]}val\n{rows[2]}test\n").samples
    assert isinstance(found, Rejected) and "its rows are of the splits 'test' and 'val'" in found.reason


HEADER = "image_path,xmin,ymin,xmax,ymax,label,split\n"


def read_layers(folder: Path, **rows: str) -> list[Any]:
    """The samples of a folder with pictures a.png and b.png and a csv of each name, in the order of names."""
    for name in ("a", "b"):
        picture(folder / f"{name}.png")
    for name, text in rows.items():
        (folder / f"{name}.csv").write_text(HEADER + text)
    return list(boxes_csv.read(Source(folder, None, {}, 0)).samples)


def test_a_file_a_class_is_one_picture_with_all_its_objects(tmp_path: Path) -> None:
    """trees.csv and cars.csv of the same pictures do not contradict each other; a picture of one file keeps its id."""
    folder = tmp_path / "set"
    first, second = read_layers(
        folder, cars="a.png,1,1,5,5,car,\na.png,2,2,6,6,car,\n", trees="b.png,3,3,9,9,tree,\n./a.png,4,4,8,8,tree,val\n"
    )
    assert [(each.name, each.box_px) for each in first.objects] == [
        ("car", (1, 1, 5, 5)), ("car", (2, 2, 6, 6)), ("tree", (4, 4, 8, 8)),
    ]  # fmt: skip
    assert (first.id, first.where, first.pictures, first.split, first.source) == (
        "set-a",
        "cars.csv:2",
        ("a.png",),
        "val",
        "set",
    )
    assert (second.id, second.source, [each.name for each in second.objects]) == ("set-trees-b", "set-trees", ["tree"])
    (found, _) = read_layers(folder, cars="a.png,,,,,,\n")
    assert [each.name for each in found.objects] == ["tree"]


@pytest.mark.parametrize(
    ("cars", "trees", "reason"),
    [
        ("a.png,1,1,5,5,car,", "a.png,2,2,4,4,car,", r"a.png is in cars.csv:2 and trees.csv:2, both with 'car', which may be .*"
         "put all of one class into one file, or point --input at one"),
        ("a.png,1,1,5,5,car,train", "a.png,2,2,4,4,tree,test", "cars.csv:2 and trees.csv:2, of the splits 'train' and 'test'"),
        ("a.png,1,1,5,5,car,", "a.png,2,2,2,4,tree,", "^trees.csv:2: object 1 'tree': its box .* has no area"),
        ("a.png,1,1,1,5,car,", "a.png,2,2,4,4,tree,", "^object 1 'car': its box .* has no area"),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_reject_the_picture(cars: str, trees: str, reason: str, tmp_path: Path) -> None:
    """One rejection names both places: a class of two files, two splits, a bad row in one; the other picture is read."""
    first, second = read_layers(tmp_path, cars=f"{cars}\n", trees=f"{trees}\nb.png,1,1,5,5,tree,\n")
    assert isinstance(first, Rejected) and first.where == "cars.csv:2" and re.search(reason, first.reason), first
    assert isinstance(second, ObjectsSample) and second.pictures == ("b.png",)


def test_a_picture_of_two_splits_files_is_rejected(tmp_path: Path) -> None:
    """train.csv and test.csv with one picture: what is tested would be trained on."""
    (found,) = read_layers(tmp_path, test="a.png,1,1,5,5,car,\n", train="a.png,1,1,5,5,car,\n")
    assert isinstance(found, Rejected) and "a.png is in test.csv:2 and train.csv:2, of the splits 'test' and" in found.reason


def test_one_name_in_two_splits_is_two_pictures(tmp_path: Path) -> None:
    """1.jpg of train and 1.jpg of val, told by a column and found in their folders."""
    picture(tmp_path / "train" / "1.png")
    picture(tmp_path / "val" / "1.png")
    header = "image,xmin,ymin,xmax,ymax,label,split\n"
    found = read(tmp_path, header + "1.png,1,1,5,5,cat,train\n1.png,2,2,6,6,dog,val\n1.png,3,3,7,7,ant,train\n").samples
    assert [(each.split, each.pictures, [thing.name for thing in each.objects]) for each in found] == [
        ("train", ("train/1.png",), ["cat", "ant"]), ("val", ("val/1.png",), ["dog"])
    ]  # fmt: skip


def test_rows_that_belong_to_no_picture_are_rejected_by_line(tmp_path: Path) -> None:
    """A row with an empty picture is a sample of its own; one with too few cells is its picture's."""
    found = read(tmp_path, "image_path,xmin,ymin,xmax,ymax,label\na.png,1,2\n,1,2,30,40,cat\n")
    assert sorted((each.where, each.reason[:20]) for each in found.samples if isinstance(each, Rejected)) == [
        ("train.csv:2", "3 cells, expected 6 "),
        ("train.csv:3", "names no picture"),
    ]


def test_numbers_are_named_by_classes_csv(tmp_path: Path) -> None:
    """name,number and number,name rows; a number that is not listed is rejected; without a file one name may stand for all."""
    content = "image_path,xmin,ymin,xmax,ymax,label\na.png,1,2,30,40,1\n"
    assert only(read(tmp_path, content, name="tree")).objects[0].name == "tree"
    for rows in ("Dead,0\nAlive,1\n", "0,Dead\n1,Alive\n"):
        (tmp_path / "classes.csv").write_text(rows)
        assert only(read(tmp_path, content)).objects[0].name == "Alive"
    (tmp_path / "classes.csv").write_text("Dead,0\n")
    assert "class 1 is not in classes.csv" in only(read(tmp_path, content)).reason


def test_a_csv_of_something_else_is_refused(tmp_path: Path) -> None:
    """Its columns are named, and those that were expected."""
    with pytest.raises(UsageError, match="its columns are question, answer; expected image_path, label and xmin"):
        read(tmp_path, "question,answer\na,b\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("POLYGON ((1 2, 3", "is no WKT"),
        ("GEOMETRYCOLLECTION (POINT (1 1))", "expected a WKT POLYGON or MULTIPOLYGON"),
        ("GEOMETRYCOLLECTION (" * 100_000, "expected a WKT POLYGON"),
        ("POLYGON " + "(" * 100_000, "is no WKT"),
        ("x", "expected a WKT POLYGON"),
    ],
)
def test_hostile_wkt_is_one_line(text: str, reason: str) -> None:
    """Damage, collections and nesting that would end a recursive parser are refused before or by shapely."""
    with pytest.raises(DataError, match=f"^here: .*{reason}"):
        footprints.read_wkt(text, "here")


def test_wkt_parts_holes_and_heights() -> None:
    """Each part is an outline without its closing point, holes are counted, a third coordinate is left out, points are None."""
    second = "((20 20 5, 30 20 5, 30 30 5, 20 20 5), (24 21 5, 25 21 5, 25 22 5, 24 21 5))"
    text = f"SRID=32617;MULTIPOLYGON Z (((0 0 5, 9 0 5, 9 9 5, 0 0 5)), {second})"
    found = footprints.read_wkt(text, "here")
    assert found == footprints.Footprint((((0, 0), (9, 0), (9, 9)), ((20, 20), (30, 20), (30, 30))), 1)
    assert footprints.read_wkt("POINT (1 2)", "here") is None


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def read_geojson(
    folder: Path, *features: Any, name: str = "a.geojson", more: dict[str, Any] | None = None, **options: str
) -> Objects:
    picture(folder / "a.png")
    (folder / name).write_text(json.dumps({"type": "FeatureCollection", "features": list(features)} | (more or {})))
    return geojson.read(Source(folder / name, None, options, 0))


def test_features_belong_to_the_picture_they_name(tmp_path: Path) -> None:
    """xView's image_id groups features by picture; without one the file's own name tells; no feature is no object."""
    square = {"type": "Polygon", "coordinates": SQUARE}
    picture(tmp_path / "b.png")
    found = read_geojson(
        tmp_path,
        feature(square, image_id="a.png", label="car"),
        feature(square, image_id="b.tif", label="bus"),
        name="all.geojson",
    )
    first, second = found.samples
    assert isinstance(first, ObjectsSample) and isinstance(second, ObjectsSample)
    assert (first.pictures, first.objects[0].name) == (("a.png",), "car")
    assert (second.pictures, second.objects[0].name) == (("b.png",), "bus")
    assert only(read_geojson(tmp_path)).objects == ()
    assert only(read_geojson(tmp_path, feature(square, building="yes", id=3))).objects[0].name == "building"


def test_a_picture_is_one_however_its_features_name_it(tmp_path: Path) -> None:
    """Features by bare name, by another extension, by a path and by none: one picture with all its objects, in order."""
    square = {"type": "Polygon", "coordinates": SQUARE}
    named = [{"image": "a.png"}, {"image": "b.tif"}, {"image": "/home/me/a.png"}, {"image": "./a.png"}, {}, {"image": "b"}]
    picture(tmp_path / "b.png")
    found = read_geojson(tmp_path, *(feature(square, label=f"x{place}", **each) for place, each in enumerate(named)))
    assert [(each.where, each.pictures, [thing.name for thing in each.objects]) for each in found.samples] == [
        ("a.geojson#a.png", ("a.png",), ["x0", "x2", "x3", "x4"]), ("a.geojson#b.tif", ("b.png",), ["x1", "x5"]),
    ]  # fmt: skip


def test_a_layer_a_class_is_one_picture_with_all_its_objects(tmp_path: Path) -> None:
    """trees.geojson and cars.geojson that name one picture, by number or text, are one sample; a class of both rejects it."""
    square = {"type": "Polygon", "coordinates": SQUARE}
    picture(tmp_path / "12.png")
    for name, value in (("cars", 12), ("trees", "12.png"), ("wells", 12.0)):
        text = json.dumps({"type": "FeatureCollection", "features": [feature(square, label=name, image_id=value)]})
        (tmp_path / f"{name}.geojson").write_text(text)
    found = only(geojson.read(Source(tmp_path, None, {"class_key": "label"}, 0)))
    assert (found.where, found.pictures, found.id) == ("cars.geojson#12", ("12.png",), f"{tmp_path.name}-12")
    assert [each.name for each in found.objects] == ["cars", "trees", "wells"]
    text = json.dumps({"type": "FeatureCollection", "features": [feature(square, label="cars", image_id=True, image="12")]})
    (tmp_path / "wells.geojson").write_text(text)
    found = only(geojson.read(Source(tmp_path, None, {"class_key": "label"}, 0)))
    assert found.reason.startswith("the picture 12.png is in cars.geojson#12 and wells.geojson#12, both with 'cars', which")


def test_the_key_of_the_class_is_that_of_the_whole_file(tmp_path: Path) -> None:
    """A house's own name is no class where all features have a building; one that has neither is told."""
    square = {"type": "Polygon", "coordinates": SQUARE}
    found = read_geojson(tmp_path, feature(square, building="yes"), feature(square, building="house", name="Villa"))
    assert [each.name for each in only(found).objects] == ["building", "house"]
    found = read_geojson(tmp_path, feature(square, label="car"), feature(square, height="3"))
    assert "feature 2: has no class under 'label', as others of the file have it; it has height" in only(found).reason


def test_features_that_lie_nowhere_are_counted(tmp_path: Path) -> None:
    """Null and empty coordinates are no objects and say so; a picture of nothing else is one without objects."""
    empty = {"type": "Polygon", "coordinates": []}
    nowhere = [feature(each, image=name) for name in ("a.png", "b.png") for each in (None, empty)]
    picture(tmp_path / "b.png")
    square = {"type": "Polygon", "coordinates": SQUARE}
    found = read_geojson(tmp_path, *nowhere, feature(square, image="a.png", label="roof"))
    assert [len(each.objects) for each in found.samples if isinstance(each, ObjectsSample)] == [1, 0]
    assert found.ignored == {"feature without a geometry": 4}


def test_a_number_is_a_key_beside_a_picture_of_the_files_name(tmp_path: Path) -> None:
    """Tiles with a file each, whose features keep the number of a database: no picture is called so."""
    square = {"type": "Polygon", "coordinates": SQUARE}
    found = read_geojson(tmp_path, *(feature(square, label="car", image_id=number) for number in (7, 8)))
    assert only(found).pictures == ("a.png",) and len(only(found).objects) == 2
    (tmp_path / "a.geojson").rename(tmp_path / "all.geojson")
    (tmp_path / "a.png").rename(tmp_path / "7.png")
    first, second = geojson.read(Source(tmp_path / "all.geojson", None, {}, 0)).samples
    assert isinstance(first, ObjectsSample) and first.pictures == ("7.png",) and second.where == "all.geojson#8"


def test_world_files_turn_the_map_into_pixels(tmp_path: Path) -> None:
    """A turned world file: pixel centres go where its six numbers say, computed forwards by hand, and come back."""
    a, d, b, e, c, f = 0.4, 0.3, 0.3, -0.4, 1000.0, 2000.0
    corners = [(9.5, 9.5), (19.5, 9.5), (19.5, 19.5), (9.5, 19.5)]  # pixel centres are at whole numbers there
    placed = [[a * x + b * y + c, d * x + e * y + f] for x, y in corners]
    (tmp_path / "a.pgw").write_text("\n".join(map(str, (a, d, b, e, c, f))))
    found = only(read_geojson(tmp_path, feature({"type": "Polygon", "coordinates": [[*placed, placed[0]]]}, label="x")))
    assert isinstance(found, ObjectsSample), found
    assert found.objects[0].box_px == pytest.approx((10, 10, 20, 20))


def test_places_on_a_map_never_pass_for_pixels(tmp_path: Path) -> None:
    """Outside of the picture, smaller than a pixel, or said to be in a coordinate system: rejected with the file to add."""

    def square(x: float, y: float, side: float) -> dict[str, Any]:
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        return feature({"type": "Polygon", "coordinates": [ring]}, label="x")

    for bad in (square(-122.4, 37.7, 0.1), square(500000, 4100000, 20), square(12.5, 41.9, 0.001)):
        reason = only(read_geojson(tmp_path, bad)).reason
        assert "map coordinates need a world file beside a.png (a.pgw)" in reason
    crs = {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}
    assert "needs a world file beside a.png" in only(read_geojson(tmp_path, square(10, 10, 9), more=crs)).reason
    assert isinstance(only(read_geojson(tmp_path, square(10, 10, 9))), ObjectsSample)
    (tmp_path / "a.pgw").write_text("1 0 0\n")
    assert "3 numbers, expected the six" in only(read_geojson(tmp_path, square(10, 10, 9))).reason
    (tmp_path / "a.pgw").write_text("1 1 1 1 0 0\n")
    assert "its pixels have no area" in only(read_geojson(tmp_path, square(10, 10, 9))).reason


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (feature({"type": "Polygon", "coordinates": [[1, 2], [3]]}, label="x"), "feature 1: its coordinates are not those"),
        (feature({"type": "Polygon", "coordinates": "x"}, label="x"), "not those of a Polygon"),
        (
            feature({"type": "Polygon", "coordinates": [[[1, 1], [2, 2], [None, 3], [1, 1]]]}, label="x"),
            "not those of a Polygon",
        ),
        (feature({"type": "GeometryCollection", "geometries": []}), "expected a Polygon or MultiPolygon"),
        (feature({"type": ["Polygon"]}), "expected a Polygon or MultiPolygon"),
        (feature({"type": "Polygon", "coordinates": SQUARE}), "has no class; .*--option name=balloon"),
        (feature({"type": "Point", "coordinates": [1, 1]}, label="x"), "all 1 regions are points"),
        ("x", "expected an object with a 'geometry'"),
    ],
)
def test_a_bad_feature_is_named(bad: Any, reason: str, tmp_path: Path) -> None:
    """A feature that is none rejects its picture with the feature's number."""
    sample = only(read_geojson(tmp_path, bad))
    assert isinstance(sample, Rejected) and re.search(reason, sample.reason), sample


def test_a_picture_in_two_splits_is_rejected(tmp_path: Path) -> None:
    """The column ``split`` puts a picture's boxes into one split, in any spelling; two of them are not settled by the first."""
    header = "image_path,xmin,ymin,xmax,ymax,label,split\n"
    assert only(read(tmp_path, header + "a.png,1,2,30,40,cat,Valid\na.png,1,2,3,4,cat,val\n")).split == "val"
    found = only(read(tmp_path, header + "a.png,1,2,30,40,cat,train\na.png,1,2,3,4,cat,TEST\n"))
    assert isinstance(found, Rejected) and "'test' and 'train'; a picture belongs to one" in found.reason


def test_a_row_of_too_few_cells_rejects_the_picture_that_it_names(tmp_path: Path) -> None:
    """Without its row the picture would lack an object: one rejection where it first stands; another picture is read."""
    rows = "image_path,label,xmin,ymin,xmax,ymax\na.png,cat,1,2,30,40\nb.png,cat,1,2,30,40\na.png,cat,1,2\n"
    bad, good = read(tmp_path, rows).samples
    assert isinstance(good, ObjectsSample) and good.pictures == ("b.png",)
    assert isinstance(bad, Rejected)
    assert (bad.where, bad.split) == ("train.csv:2", "train") and bad.reason.startswith("train.csv:4: 4 cells, expected 6 ")


def test_broken_files_of_several_are_rejected_by_their_paths(tmp_path: Path) -> None:
    """A csv that is no text and a GeoJSON without features are one rejection each; the file beside them is read."""
    for folder in ("train", "valid"):
        picture(tmp_path / folder / "a.png")
    header = "image_path,label,xmin,ymin,xmax,ymax\n"
    (tmp_path / "train" / "_annotations.csv").write_text(f"{header}a.png,cat,1,2,30,40\n")
    (tmp_path / "valid" / "_annotations.csv").write_bytes(header.encode() + b"a.png,\xff,1,2,30,40\n")
    good, bad = boxes_csv.read(Source(tmp_path, None, {}, 0)).samples
    assert (good.where, good.split) == ("train/_annotations.csv:2", "train")
    assert isinstance(bad, Rejected) and (bad.where, bad.split) == ("valid/_annotations.csv", "val")
    whole = feature({"type": "Polygon", "coordinates": SQUARE}, label="cat", image="a.png")
    for folder, features in (("train", [whole]), ("valid", 3)):
        text = json.dumps({"type": "FeatureCollection", "features": features})
        (tmp_path / folder / "a.geojson").write_text(text)
    good, bad = geojson.read(Source(tmp_path, None, {}, 0)).samples
    assert isinstance(good, ObjectsSample) and (good.where, good.split) == ("train/a.geojson#a.png", "train")
    assert isinstance(bad, Rejected) and (bad.where, bad.split) == ("valid/a.geojson", "val")


def test_boxes_in_utf_16_say_so(tmp_path: Path) -> None:
    """A csv of boxes in UTF-16 is known by its columns, and refused with how to convert it."""
    picture(tmp_path / "a.png")
    text = "image_path,label,xmin,ymin,xmax,ymax\na.png,cat,1,2,30,40\n"
    for encoding in ("utf-16", "utf-16-le"):
        (tmp_path / "boxes.csv").write_bytes(text.encode(encoding))
        for input in (tmp_path, tmp_path / "boxes.csv"):
            with pytest.raises(DataError, match="found UTF-16, expected UTF-8.*iconv"):
                boxes_csv.read(Source(input, None, {}, 0))
