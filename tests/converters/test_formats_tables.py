"""Tables of pictures with lists of boxes, as `datasets` writes them; where COCO's json says the same, so do the records."""

import io
import json
import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
from PIL import Image

import adapt
from adapt.domain import Rejected, Source, read_options
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from converters.formats import annotations
from converters.objects import Objects, ObjectsSample

WIDTH, HEIGHT = 80, 60
NAMES = ["Coverall", "Mask"]
BOXES = [[[30.0, 20, 10, 12], [5, 6, 20, 30]], [], [[50, 1, 30, 8]]]
CLASSES = [[1, 0], [], [1]]
FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
        "objects": {
            "id": datasets.List(datasets.Value("int64")),
            "bbox": datasets.List(datasets.List(datasets.Value("float32"), length=4)),
            "category": datasets.List(datasets.ClassLabel(names=NAMES)),
        },
    }
)


def noise(number: int) -> Image.Image:
    values = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(number: int, kind: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    noise(number).save(buffer, kind, **settings)
    return buffer.getvalue()


def rows() -> list[dict[str, Any]]:
    return [
        {
            "image": {"bytes": encoded(number), "path": f"{number}.png"},
            "width": WIDTH,
            "height": HEIGHT,
            "objects": {"id": list(range(len(boxes))), "bbox": boxes, "category": classes},
        }
        for number, (boxes, classes) in enumerate(zip(BOXES, CLASSES, strict=True))
    ]


def write_coco(root: Path, boxes: Any = BOXES, **more: Any) -> Path:
    """The same pictures and boxes as COCO's json."""
    for number in range(len(boxes)):
        (root / f"{number}.png").write_bytes(encoded(number))
    document = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(len(boxes))],
        "annotations": [
            {"id": 10 * number + place, "image_id": number, "category_id": CLASSES[number][place], "bbox": box, **more}
            for number, each in enumerate(boxes)
            for place, box in enumerate(each)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES)],
    }
    (root / "coco.json").write_text(json.dumps(document))
    return root / "coco.json"


def asked(path: Path, output: Path, task: str = "ground", **options: str) -> list[tuple[str, str, tuple[int, int]]]:
    """Question, answer and size of each record."""
    convert(task=task, input=path, output=output, option=options)
    found = adapt.read_records(output)
    return [(record.turns[0].value, record.answer, record.sizes[0]) for record in found]


def read(path: Path, **options: str) -> Objects:
    return annotations.read_objects(Source(path, None, read_options(annotations.OPTIONS, options, "test"), 0))


def write_lines(path: Path, *given: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in given))
    return path


def reasons(found: Objects) -> list[str]:
    return [f"{each.where}: {each.reason}" for each in found.samples if isinstance(each, Rejected)]


@pytest.mark.parametrize("task", ["ground", "detect", "count", "region"])
def test_a_parquet_file_asks_what_coco_asks(task: str, tmp_path: Path) -> None:
    """Embedded pictures keep their pixels; numbers of classes become names; a row without boxes has no objects."""
    expected = asked(write_coco(tmp_path), tmp_path / "coco.jsonl", task)
    datasets.Dataset.from_list(rows(), features=FEATURES).to_parquet(tmp_path / "train.parquet")
    assert asked(tmp_path / "train.parquet", tmp_path / "o" / "table.jsonl", task) == expected and len(expected) > 1
    manifest = json.loads((tmp_path / "o" / "table.manifest.json").read_text())
    assert manifest["counts"]["splits"] == {"train": len(adapt.read_records(tmp_path / "o" / "table.jsonl"))}
    record = adapt.read_records(tmp_path / "o" / "table.jsonl")[0]
    if task != "region":
        with Image.open(tmp_path / "o" / "table.images" / record.images[0]) as picture:
            assert picture.tobytes() == noise(0).tobytes()


def test_every_container_of_rows_is_read(tmp_path: Path) -> None:
    """A saved folder, the Hub's folder of Parquet parts, a list of objects instead of lists, and lists in the row itself."""
    expected = asked(write_coco(tmp_path), tmp_path / "coco.jsonl")
    whole = datasets.Dataset.from_list(rows(), features=FEATURES)
    datasets.DatasetDict({"train": whole}).save_to_disk(tmp_path / "saved")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    whole.to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    listed = [
        {"image": row["image"], "objects": [dict(zip(row["objects"], each, strict=True)) for each in
                                            zip(*row["objects"].values(), strict=True)]}
        for row in rows()
    ]  # fmt: skip
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": datasets.List({key: feature.feature for key, feature in FEATURES["objects"].items()}),
        }
    )
    datasets.Dataset.from_list(listed, features=features).to_parquet(tmp_path / "listed.parquet")
    flat = [{"image": row["image"], "bbox": row["objects"]["bbox"], "label": row["objects"]["category"]} for row in rows()]
    own = {"image": datasets.Image(), "bbox": FEATURES["objects"]["bbox"], "label": FEATURES["objects"]["category"]}
    datasets.Dataset.from_list(flat, features=datasets.Features(own)).to_parquet(tmp_path / "flat.parquet")
    for number, name in enumerate(("saved", "hub", "listed.parquet", "flat.parquet")):
        assert asked(tmp_path / name, tmp_path / f"{number}.jsonl") == expected, name
    # What `datasets` is given as the name of a hub's set may be a folder: read as a stream, and asked once.
    assert asked(Path(f"hf:{tmp_path / 'hub'}"), tmp_path / "stream.jsonl", absent="0") == expected
    assert {record.split for record in adapt.read_records(tmp_path / "stream.jsonl")} == {"train"}


def test_a_folder_of_pictures_with_metadata(tmp_path: Path) -> None:
    """metadata.jsonl names pictures beside it, in the folder of each split; classes.csv beside it names the numbers."""
    folder = tmp_path / "set"
    for split, numbers in (("train", (0, 1)), ("validation", (2,))):
        names = [f"{number}.png" for number in numbers]
        objects = [{"bbox": BOXES[number], "categories": CLASSES[number]} for number in numbers]
        write_lines(
            folder / split / "metadata.jsonl",
            *({"file_name": name, "objects": each} for name, each in zip(names, objects, strict=True)),
        )
        for number in numbers:
            (folder / split / f"{number}.png").write_bytes(encoded(number))
    told = "class 1 has no name; write classes.csv .name,number rows. beside the table, or name all objects: --option name="
    with pytest.raises(DataError, match=rf"first: train/metadata.jsonl:1: object 1: {told}"):
        convert(task="ground", input=folder, output=tmp_path / "o.jsonl")
    (folder / "classes.csv").write_text("Coverall,0\nMask,1\n")
    assert asked(folder, tmp_path / "o.jsonl") == asked(write_coco(tmp_path), tmp_path / "coco.jsonl")
    found = adapt.read_records(tmp_path / "o.jsonl")
    assert [(record.id, record.images[0], record.split) for record in found] == [
        ("set-train/0-ground-1", "train/0.png", "train"),
        ("set-train/0-ground-2", "train/0.png", "train"),
        ("set-validation/2-ground-1", "validation/2.png", "val"),
    ]
    (folder / "classes.csv").rename(folder / "validation" / "classes.csv")
    asked(folder / "validation" / "metadata.jsonl", tmp_path / "o.jsonl", box_form="xywh")
    (record,) = adapt.read_records(tmp_path / "o.jsonl")
    assert (record.id, record.source, record.split) == ("set-validation-2-ground-1", "set-validation", "val")


def test_corners_are_never_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where too few boxes tell which of the two all are, the option must; where enough do, a note says how many."""
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")

    def write(*boxes: list[Any], size: tuple[int, int] | None = None) -> Path:
        stated = {} if size is None else {"width": size[0], "height": size[1]}
        objects = {"bbox": boxes, "category": ["x"] * len(boxes)}
        return write_lines(tmp_path / "metadata.jsonl", {"file_name": "a.png", "objects": objects, **stated})

    def found(**options: str) -> list[tuple[float, ...]]:
        (sample,) = read(tmp_path, **options).samples
        assert isinstance(sample, ObjectsSample)
        return [each.box_px for each in sample.objects]

    write([10, 20, 30, 40], ["1", "2", "3", "4"])
    with pytest.raises(
        UsageError, match=r"two corners \(0 of 2 cannot be two corners\); add --option box_form=xyxy for corners, or"
    ):
        found()
    assert found(box_form="xyxy") == [(10, 20, 30, 40), (1, 2, 3, 4)]
    assert found(box_form="xywh") == [(10, 20, 40, 60), (1, 2, 4, 6)]
    for box in ([10, 20, 5, 40], [10, 20, 30, 15]):
        write([10, 20, 30, 40], box)
        assert found()[0] == (10, 20, 40, 60)
        assert "boxes are read as x, y, width and height: 1 of 2 cannot be two corners" in capsys.readouterr().err
        for count, corners in ((1, 8), (2, 100), (3, 298)):  # too few, or too small a share: may be damage
            write(*[box] * count, *[[1, 2, 3, 4]] * corners)
            with pytest.raises(UsageError, match=rf"\({count} of {count + corners} cannot"):
                found()
        write(*[box] * 3, *[[1, 2, 3, 4]] * 297)
        assert len(found()) == 300
    # Of ten boxes five cannot be corners, and two would leave the picture as they are: more than may be damage.
    write(*[[10, 20, 5, 4]] * 5, *[[30, 20, 70, 55]] * 2, *[[1, 2, 3, 4]] * 3, size=(WIDTH, HEIGHT))
    with pytest.raises(UsageError, match=r"\(5 of 10 cannot be two corners, and 2 would leave their pictures with a width"):
        found()
    with pytest.raises(UsageError, match="option box_form=xyxy has no effect with format=coco"):
        annotations.read_objects(Source(write_coco(tmp_path), None, {"box_form": "xyxy"}, 0))


def test_outlines_masks_and_crowds_are_those_of_coco(tmp_path: Path) -> None:
    """A segmentation tells the object's outline, or its box where it has none; crowds are marked."""
    outline = [[10.0, 10, 40, 10, 40, 30, 12, 34]]
    coco = write_coco(tmp_path, [[[10.0, 10, 30, 24]]], segmentation=outline, iscrowd=1)
    document = json.loads(coco.read_text())
    document["annotations"][0]["category_id"] = 0
    coco.write_text(json.dumps(document))
    (expected,) = read(coco).samples
    assert isinstance(expected, ObjectsSample)
    for more in ({"bbox": [[10, 10, 30, 24]]}, {}):
        objects = {"segmentation": [outline], "category": [0], "iscrowd": [1], **more}
        write_lines(tmp_path / "t" / "rows.jsonl", {"image": "../0.png", "objects": objects})
        (tmp_path / "t" / "classes.csv").write_text("Coverall,0\n")
        source = Source(tmp_path / "t" / "rows.jsonl", tmp_path, {"box_form": "xywh"}, 0)
        (sample,) = annotations.read_objects(source).samples
        assert isinstance(sample, ObjectsSample), sample
        (each,), (other,) = sample.objects, expected.objects
        assert (each.name, each.box_px, each.polygons_px, each.crowd) == (other.name, other.box_px, other.polygons_px, True)


def test_upright_copies_of_embedded_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A JPEG with an orientation tag is turned with its boxes as the same file beside a COCO json is; else it is told of."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(0, "JPEG", exif=exif.tobytes())
    coco = write_coco(tmp_path, BOXES[:1])
    (tmp_path / "0.png").unlink()
    (tmp_path / "0.jpg").write_bytes(content)
    row = rows()[0] | {"image": {"bytes": content, "path": None}}
    datasets.Dataset.from_list([row], features=FEATURES).to_parquet(tmp_path / "rows.parquet")
    for upright in ("no", "yes"):
        expected = asked(coco, tmp_path / "coco.jsonl", upright=upright)
        capsys.readouterr()
        assert asked(tmp_path / "rows.parquet", tmp_path / "table.jsonl", upright=upright) == expected
        told = "1 embedded picture with an orientation tag, used as stored, unturned"
        assert (told in capsys.readouterr().err) == (upright == "no")
        pictures = [tmp_path / f"{name}.images" / adapt.read_records(tmp_path / f"{name}.jsonl")[0].images[0]
                    for name in ("table", "coco")]  # fmt: skip
        if upright == "yes":
            assert pictures[0].read_bytes() == pictures[1].read_bytes()
            assert expected[0][2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("objects", "told"),
    [
        ({"bbox": [[1, 2, 3, 4]], "category": ["x", "y"]}, "'bbox' is a list of 1, but 'category' a list of 2; each object"),
        ({"bbox": [[1, 2, 3, 4]], "category": "x"}, "'bbox' is a list of 1, but 'category' 'x'; each object has one of both"),
        (None, "its objects are 'None', expected lists of boxes and classes, empty for none"),
        ({"bbox": None, "category": []}, "its bbox are 'None', expected lists"),
        ({"category": ["x"]}, "its objects are .*, expected lists of boxes and classes"),
        ({"bbox": [[1, 2, 3]], "category": ["x"]}, r"object 1 'x': its bbox is \[1, 2, 3\], expected \[x, y, width, height\]"),
        ({"bbox": [[1, 2, 0, 4]], "category": ["x"]}, "object 1 'x': its box .* has no area"),
        ({"bbox": [[0.1, 0.2, 0.3, 0.4]], "category": ["x"]}, "is in shares of the picture, from 0 to 1; expected pixels"),
        ({"bbox": [[1, 2, 3, 4]], "category": [None]}, "object 1: has no class; to name all such objects"),
        ({"bbox": [[1, 2, 3, 4]], "category": [["x"]]}, "object 1: its class is .*, expected text or a number"),
        ({"bbox": [[1, 2, 3, 4]], "category": ["x"], "iscrowd": ["maybe"]}, "object 1 'x': its iscrowd is 'maybe', expected 0"),
        ([{"category": "x"}], "object 1 'x': neither 'bbox' nor 'segmentation' says where it is"),
    ],
)
def test_a_row_that_is_wrong_is_rejected_with_its_place(tmp_path: Path, objects: Any, told: str) -> None:
    """The other rows are read."""
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "b.png")
    good = {"file_name": "a.png", "objects": {"bbox": [[20, 2, 3, 4]], "category": ["x"]}}
    path = write_lines(tmp_path / "rows.jsonl", good, {"file_name": "b.png", "objects": objects})
    found = read(path, box_form="xywh")
    (reason,) = reasons(found)
    assert reason.startswith("rows.jsonl:2: ")
    assert re.search(told, reason)
    assert len([each for each in found.samples if isinstance(each, ObjectsSample)]) == 1


def test_corners_without_an_order_are_rejected(tmp_path: Path) -> None:
    """As corners, a box must have its first one at the top left."""
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    objects = {"bbox": [[30, 2, 3, 4]], "category": ["x"]}
    path = write_lines(tmp_path / "metadata.jsonl", {"file_name": "a.png", "objects": objects})
    assert "has no area; expected x1 < x2" in reasons(read(path, box_form="xyxy"))[0]


def test_a_table_of_something_else_names_its_columns(tmp_path: Path) -> None:
    """Neither picture nor boxes: one error, with what is there; a key that no object has is named, too."""
    path = write_lines(tmp_path / "rows.jsonl", {"file_name": "a.png", "text": "x"})
    with pytest.raises(UsageError, match="no column of 'objects' or 'bbox'; its columns are file_name, text; expected a row a"):
        read(path)
    write_lines(path, {"objects": {"bbox": []}})
    with pytest.raises(UsageError, match=r"no column of a picture \(image, file_name\); its columns are objects"):
        read(path)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    write_lines(path, {"file_name": "a.png", "objects": {"bbox": [[20, 2, 3, 4]], "kind": ["x"], "shade": ["dark"]}})
    with pytest.raises(UsageError, match="option class_key=colour: the objects have bbox, kind, shade"):
        read(path, class_key="colour")
    (sample,) = read(path, class_key="kind").samples
    assert isinstance(sample, ObjectsSample) and sample.objects[0].name == "x"
    assert sample.objects[0].attributes == {"shade": "dark"}


def test_class_numbers_beyond_the_table_and_hidden_ones(tmp_path: Path) -> None:
    """A number that the table does not name rejects its row with the column; -1 hides a class."""
    stored = datasets.Dataset.from_list(rows(), features=FEATURES).data.table
    for number, told in ((7, r"class 7 in column 'objects.category', but the table names 2 classes"), (-1, "has no class")):
        objects = stored["objects"].to_pylist()
        objects[2]["category"] = [number]
        place = stored.schema.get_field_index("objects")
        changed = stored.set_column(place, "objects", pyarrow.array(objects, stored.schema.field("objects").type))
        changed = changed.replace_schema_metadata(stored.schema.metadata)
        datasets.Dataset(datasets.table.InMemoryTable(changed)).to_parquet(tmp_path / "rows.parquet")
        found = annotations.read_objects(Source(tmp_path / "rows.parquet", None, {}, 0, tmp_path / "made"))
        (reason,) = reasons(found)
        assert reason.startswith("rows.parquet#2: ")
        assert re.search(told, reason)


def test_one_picture_in_two_rows(tmp_path: Path) -> None:
    """With other objects in each, none shows them all: both are rejected, embedded or by name. With the same ones a picture
    that is embedded twice is two records of one file."""
    objects = [{"bbox": [[20, 2, 3, 4]], "category": [label]} for label in "xy"]
    (tmp_path / "a.png").write_bytes(encoded(0))
    write_lines(tmp_path / "metadata.jsonl", *({"file_name": "a.png", "objects": each} for each in objects))
    told = "its picture is that of {}, too, with other objects; give a picture one row with all"
    assert reasons(read(tmp_path)) == [
        "metadata.jsonl:1: " + told.format("metadata.jsonl:2"),
        "metadata.jsonl:2: " + told.format("metadata.jsonl:1"),
    ]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": {
                "bbox": datasets.List(datasets.List(datasets.Value("int64"))),
                "category": datasets.List(datasets.Value("string")),
            },
        }
    )
    for pair, count in ((objects, 0), (objects[:1] * 2, 2)):
        table = [{"image": {"bytes": encoded(0), "path": None}, "objects": each} for each in pair]
        datasets.Dataset.from_list(table, features=features).to_parquet(tmp_path / "train.parquet")
        manifest = None
        if count:
            manifest = convert(task="ground", input=tmp_path / "train.parquet", output=tmp_path / "o" / "o.jsonl")
            assert manifest["counts"]["records"] == count and len(list((tmp_path / "o" / "o.images").iterdir())) == 1
        else:
            with pytest.raises(
                DataError, match=r"2 of 2 samples rejected.*train.parquet#0: its picture is that of train.parquet#1"
            ):
                convert(task="ground", input=tmp_path / "train.parquet", output=tmp_path / "o" / "o.jsonl")


def test_an_empty_first_picture_hides_no_split(tmp_path: Path) -> None:
    """Whether metadata.jsonl holds boxes is told by any of its rows, and once one file does, those of other splits are read."""
    folder = tmp_path / "set"
    boxes = {"bbox": [[20, 2, 3, 4]], "category": ["x"]}
    for split, given in (("train", [[], boxes, boxes]), ("val", [boxes]), ("test", [None, boxes])):
        lines = [
            {"file_name": f"{number}.png"} | ({} if each is None else {"objects": each}) for number, each in enumerate(given)
        ]
        write_lines(folder / split / "metadata.jsonl", *lines)
        for number in range(len(given)):
            (folder / split / f"{number}.png").write_bytes(encoded(number))
    found = read(folder)
    assert [each.split for each in found.samples] == ["test", "test", "train", "train", "train", "val"]
    assert reasons(found) == [
        "test/metadata.jsonl:1: its objects are 'None', expected lists of boxes and classes, empty for none"
    ]
    for _ in range(2):  # its own output among the tables of the folder is none
        convert(task="ground", input=folder, output=folder / "train.jsonl", max_bad=1)


def test_classes_need_not_occur(tmp_path: Path) -> None:
    """Those that the table, or classes.csv, names and no picture shows are asked for as absent, as COCO's categories are."""
    path = write_coco(tmp_path, [BOXES[2]])
    document = json.loads(path.read_text())
    document["annotations"][0]["category_id"] = 1
    path.write_text(json.dumps(document))
    expected = asked(path, tmp_path / "coco.jsonl", absent="1")
    assert len(expected) == 2
    row = rows()[2] | {"image": {"bytes": encoded(0), "path": None}}
    datasets.Dataset.from_list([row], features=FEATURES).to_parquet(tmp_path / "t.parquet")
    assert asked(tmp_path / "t.parquet", tmp_path / "o.jsonl", absent="1") == expected
    datasets.Dataset.from_list([row], features=FEATURES).save_to_disk(tmp_path / "saved")
    assert asked(tmp_path / "saved", tmp_path / "o.jsonl", absent="1") == expected
    (tmp_path / "classes.csv").write_text("Coverall,0\nMask,1\n")
    lines = write_lines(tmp_path / "rows.jsonl", {"image": "0.png", "objects": {"bbox": BOXES[2], "category": [1]}})
    assert asked(lines, tmp_path / "o.jsonl", absent="1") == expected


def test_digits_hidden_classes_and_text_beside_lists(tmp_path: Path) -> None:
    """ClassLabel's "3" is a name; -1 and NaN hide a class; a text called name is the picture's; class_key may be any key."""
    names = datasets.ClassLabel(names=[str(digit) for digit in range(10)])
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "digits": {
                "bbox": datasets.List(datasets.List(datasets.Value("int64"))),
                "label": datasets.List(names),
                "sure": datasets.List(datasets.Value("float64")),
            },
            "split": datasets.Value("string"),
        }
    )
    digits = {"bbox": [[20, 2, 3, 4]], "label": [3], "sure": [float("nan")]}
    row = {"image": {"bytes": encoded(0), "path": None}, "digits": digits, "split": "test"}
    datasets.Dataset.from_list([row], features=features).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="no column of 'objects' or 'bbox'.*--option objects=COLUMN names one"):
        read(tmp_path / "t.parquet")
    convert(task="ground", input=tmp_path / "t.parquet", output=tmp_path / "o.jsonl", option={"objects": "digits"})
    (record,) = adapt.read_records(tmp_path / "o.jsonl")
    assert record.answer.startswith("<ref>3</ref>") and record.split == "test"
    with pytest.raises(DataError, match="object 1: has no class; to name all such objects"):
        option = {"objects": "digits", "class_key": "sure"}
        convert(task="ground", input=tmp_path / "t.parquet", output=tmp_path / "o.jsonl", option=option)
    with pytest.raises(UsageError, match="no column 'foto': its columns are image, digits, split"):
        read(tmp_path / "t.parquet", image="foto", objects="digits")
    (tmp_path / "a.png").write_bytes(encoded(0))
    flat = {"file_name": "a.png", "bbox": [[20, 2, 3, 4]], "category_id": ["cat"], "kind": ["dog"], "name": "photo one"}
    for name in "bc":
        (tmp_path / f"{name}.png").write_bytes(encoded(0))
    others = [{"file_name": "b.png", "category_id": [-1]}, {"file_name": "c.png", "kind": ["a", "b"]}]
    path = write_lines(tmp_path / "rows.jsonl", flat, *(flat | each for each in others))
    assert [each.objects[0].name for each in read(path).samples if isinstance(each, ObjectsSample)] == ["cat", "cat"]
    assert reasons(read(path)) == ["rows.jsonl:2: object 1: has no class; to name all such objects, add: --option name=balloon"]
    assert reasons(read(path, class_key="kind")) == [
        "rows.jsonl:3: 'bbox' is a list of 1, but 'kind' a list of 2; each object has one of both"
    ]


def test_a_json_list_of_rows_is_found_by_looking(tmp_path: Path) -> None:
    """As its lines would be."""
    (tmp_path / "a.png").write_bytes(encoded(0))
    row = {"file_name": "a.png", "Objects": {"BBox": [[20, 2, 3, 4]], "Category": ["x"], "Segmentation": [[]]}}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    (sample,) = read(tmp_path / "rows.json").samples
    assert isinstance(sample, ObjectsSample) and sample.objects[0].box_px == (20, 2, 23, 6)


def test_nothing_is_decoded_before_the_boxes_are_known_to_be_read(tmp_path: Path) -> None:
    """Corners that must be named, and a key that no object has, are said before any picture of the table is written."""
    corners = [row | {"objects": row["objects"] | {"bbox": [[1, 2, 30, 40]] * len(row["objects"]["bbox"])}} for row in rows()]
    datasets.Dataset.from_list(corners, features=FEATURES).to_parquet(tmp_path / "t.parquet")
    for options, told in (
        ({}, "0 of 3 cannot be two corners"),
        ({"class_key": "kind"}, "option class_key=kind: the objects have"),
    ):
        made = tmp_path / "made"
        with pytest.raises(UsageError, match=told):
            annotations.read_objects(Source(tmp_path / "t.parquet", None, options, 0, made))
        assert not made.exists()


def test_a_stated_size_of_a_turned_embedded_picture(tmp_path: Path) -> None:
    """The advice is the one that the same picture beside a COCO json gets, though the copy has lost its tag."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(0, "JPEG", exif=exif.tobytes())
    coco = write_coco(tmp_path, BOXES[:1])
    document = json.loads(coco.read_text())
    document["images"][0] |= {"file_name": "0.jpg"}
    (tmp_path / "0.jpg").write_bytes(content)
    for upright, size in (("no", (HEIGHT, WIDTH)), ("labelled", (WIDTH, HEIGHT))):
        document["images"][0] |= dict(zip(("width", "height"), size, strict=True))
        coco.write_text(json.dumps(document))
        row = rows()[0] | {"image": {"bytes": content, "path": None}, "width": size[0], "height": size[1]}
        datasets.Dataset.from_list([row], features=FEATURES).to_parquet(tmp_path / "t.parquet")
        said = []
        for path in (coco, tmp_path / "t.parquet"):
            with pytest.raises(DataError) as caught:
                convert(task="ground", input=path, output=tmp_path / "o.jsonl", option={"upright": upright})
            said.append(str(caught.value).partition("stated as")[2].partition("; see")[0])
        shown = [each.partition(", but picture ")[::2] for each in said]
        assert shown[0][0] == shown[1][0] and shown[0][1].partition(" is ")[2] == shown[1][1].partition(" is ")[2] != ""


def test_sets_of_two_forms_in_one_folder_are_not_guessed_between(tmp_path: Path) -> None:
    """A Parquet split and a metadata.jsonl with boxes: both are named, and neither is dropped."""
    folder = tmp_path / "set"
    folder.mkdir()
    datasets.Dataset.from_list(rows(), features=FEATURES).to_parquet(folder / "train.parquet")
    (folder / "extra").mkdir()
    (folder / "extra" / "0.png").write_bytes(encoded(0))
    boxes = {"file_name": "0.png", "objects": {"bbox": [[20, 2, 3, 4]], "category": ["x"]}}
    write_lines(folder / "extra" / "metadata.jsonl", boxes)
    with pytest.raises(UsageError, match=r"holds train.parquet and extra/metadata.jsonl, each a set; point --input at one"):
        read(folder)


def test_a_metadata_without_boxes_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unlabelled test split beside a labelled one: left out, with a note and a count."""
    for split, more in (("train", {"objects": {"bbox": [[20, 2, 3, 4]], "category": ["x"]}}), ("test", {"text": "objects"})):
        write_lines(tmp_path / "set" / split / "metadata.jsonl", {"file_name": "0.png", **more})
        (tmp_path / "set" / split / "0.png").write_bytes(encoded(0))
    manifest = convert(task="ground", input=tmp_path / "set", output=tmp_path / "o.jsonl")
    assert manifest["counts"]["splits"] == {"train": 1} and manifest["counts"]["ignored"] == {"metadata.jsonl without boxes": 1}
    assert "not read, without boxes in the first 1,000 rows: test/metadata.jsonl\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("label", "classes", "option", "name"),
    [
        ("1", "cat,0\ndog,1\n", {}, "dog"),
        ("1", None, {"name": "cell"}, "cell"),
        ("1", None, {}, "1"),
        (1, "cat,0\ndog,1\n", {}, "dog"),
        (1.0, "cat,0\ndog,1\n", {}, "dog"),
        ("mouse", "cat,0\ndog,1\n", {"name": "cell"}, "mouse"),
        (10**401, None, {"name": "cell"}, "cell"),
    ],
)
def test_numbers_of_classes_are_looked_up(
    tmp_path: Path, label: Any, classes: str | None, option: dict[str, str], name: str
) -> None:
    """As numbers or as text, in classes.csv or by the option; text alone stays a name."""
    (tmp_path / "a.png").write_bytes(encoded(0))
    if classes is not None:
        (tmp_path / "classes.csv").write_text(classes)
    write_lines(tmp_path / "metadata.jsonl", {"file_name": "a.png", "objects": {"bbox": [[20, 2, 3, 4]], "category": [label]}})
    (sample,) = read(tmp_path, **option).samples
    assert isinstance(sample, ObjectsSample), sample
    assert sample.objects[0].name == name


def test_a_list_of_results_beside_a_set_is_no_set(tmp_path: Path) -> None:
    """COCO's results form has boxes and no pictures; a caption "box" is no key. Alone they are no annotations either."""
    expected = [each.where for each in read(write_coco(tmp_path)).samples]
    (tmp_path / "results.json").write_text('[{"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]')
    (tmp_path / "captions.json").write_text('[{"image": "0.png", "label": "box"}]')
    assert [each.where for each in read(tmp_path).samples] == expected
    for name in ("results.json", "captions.json"):
        with pytest.raises(UsageError, match="found no annotations in it"):
            read(tmp_path / name)


def test_names_before_numbers_and_ids_that_differ(tmp_path: Path) -> None:
    """Of category_id and name the name is the class; the same objects with other ids are the same objects."""
    (tmp_path / "a.png").write_bytes(encoded(0))
    each = {"bbox": [20, 2, 3, 4], "category_id": 1, "name": "cat"}
    lines = [{"file_name": "a.png", "objects": [each | {"id": number}]} for number in range(2)]
    write_lines(tmp_path / "metadata.jsonl", *lines)
    found = [sample for sample in read(tmp_path).samples if isinstance(sample, ObjectsSample)]
    assert [sample.objects[0].name for sample in found] == ["cat", "cat"]


def test_objects_under_another_name_need_not_be_in_the_first_row(tmp_path: Path) -> None:
    """The option's own spelling counts."""
    (tmp_path / "a.png").write_bytes(encoded(0))
    path = write_lines(
        tmp_path / "rows.jsonl",
        {"file_name": "a.png"},
        {"file_name": "a.png", "Annotations": {"bbox": [[20, 2, 3, 4]], "category": ["x"]}},
    )
    found = read(path, objects="Annotations")
    assert reasons(found) == ["rows.jsonl:1: its Annotations are 'None', expected lists of boxes and classes, empty for none"]
    assert len([each for each in found.samples if isinstance(each, ObjectsSample)]) == 1


def test_a_saved_folder_of_no_splits_has_no_rows(tmp_path: Path) -> None:
    """An empty DatasetDict, and a dataset_info.json that is no object: one line, no other exception."""
    datasets.DatasetDict({}).save_to_disk(tmp_path / "empty")
    datasets.Dataset.from_list(rows(), features=FEATURES).save_to_disk(tmp_path / "set")
    for name, content in (("empty", None), ("set", "null"), ("set", "[]")):
        if content is not None:
            (tmp_path / name / "dataset_info.json").write_text(content)
        with pytest.raises((DataError, UsageError)):
            convert(task="ground", input=tmp_path / name, output=tmp_path / "o.jsonl")
