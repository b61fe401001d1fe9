"""All formats alike: random boxes there and back, the format found by looking, and inputs changed at random.

The way of a box: native file -> reader -> text of 0..1000 -> pixels, within half a step of what was drawn.
"""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from native_boxes import FEW_BOXES, SIZE, WRITERS, Box, picture, write
from PIL import Image

import adapt
from adapt import boxes, safe
from adapt.domain import Rejected, Source, read_options
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from converters.formats import annotations
from converters.objects import Objects, ObjectsSample, clipped

NUM_BOXES = 500
FORMAT_OF = {"yolo outlines": "yolo", "via 1": "via", "csv wkt": "csv", "geojson map": "geojson"}


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


def read(path: Path, **options: str) -> Objects:
    """Without ``format`` the format is found by looking."""
    return annotations.read_objects(Source(path, None, read_options(annotations.OPTIONS, options, "test"), 0))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_named_for_a_split_gives_it_however_it_is_named(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """set/test is of the test split as input too, by its path and by ``.``; in a folder train that holds val, val is right."""

    def splits(path: Path) -> set[str | None]:
        return {each.split for each in read(path, format=FORMAT_OF.get(kind, kind)).samples if isinstance(each, ObjectsSample)}

    write = WRITERS[kind][0]
    for folder in (tmp_path / "set" / "test", tmp_path / "train" / "val"):
        folder.mkdir(parents=True)
        picture(folder / "a.png")
        given = write(folder, FEW_BOXES)
        assert splits(given) == {folder.name}
    if (names := tmp_path / "train" / "val" / "data.yaml").is_file():
        names.rename(tmp_path / "train" / "data.yaml")
    assert splits(tmp_path / "train") == {"val"}
    monkeypatch.chdir(tmp_path / "set" / "test")
    assert splits(Path()) == {"test"}


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


def first_boxes(found: Objects) -> Any:
    (sample,) = found.samples
    assert isinstance(sample, ObjectsSample), sample
    return [pytest.approx(each.box_px, abs=1e-3) for each in sample.objects]


@pytest.mark.parametrize("kind", WRITERS)
def test_folders_are_told_apart(kind: str, tmp_path: Path) -> None:
    """The folder of a set is enough, for every format; naming the format reads the same; options are given as text."""
    write(kind, tmp_path)
    assert first_boxes(read(tmp_path)) == FEW_BOXES
    assert first_boxes(read(tmp_path, format=FORMAT_OF.get(kind, kind))) == FEW_BOXES


def test_several_formats_are_not_guessed_between(tmp_path: Path) -> None:
    """Where two formats lie in one folder both are named, with the option to add: a csv beside others is of less use."""
    write("voc", tmp_path)
    (tmp_path / "all.csv").write_text("image,label,xmin,ymin,xmax,ymax\na.png,cell,1,1,3,3\n")
    with pytest.raises(UsageError, match="holds csv and voc; add: --option format=voc, or name one file"):
        read(tmp_path)
    (tmp_path / "all.csv").unlink()
    write("coco", tmp_path)
    with pytest.raises(UsageError, match="holds coco and voc; add: --option format=coco, or name one file"):
        read(tmp_path)


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    """One error lists all formats, for a folder, a file of another kind, and JSON of something else."""
    for name, content in (
        ("readme.md", "x"),
        ("vqa.json", '[{"question": 1}]'),
        ("notes.txt", "hello"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(UsageError, match="looked for json .COCO, panoptic, VIA, LabelMe, GeoJSON., xml .VOC., txt"):
            read(tmp_path / name)
    with pytest.raises(UsageError, match="found no annotations in it"):
        read(tmp_path)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="a.csv: its columns are a, b; expected image_path, label and xmin"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "tool"),
    [
        ("annotations.xml", '<annotations><image id="0" name="a.png"><box/></image></annotations>', "CVAT's XML"),
        ("annotations.xml", '<annotations><track id="0" label="car"></track></annotations>', "CVAT's XML of a video"),
        (
            "project.json",
            '[{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [{"original_width": 8, "original_height": 6, '
            '"value": {"x": 1, "rectanglelabels": ["cat"]}}]}]}]',
            "Label Studio's JSON",
        ),
        ("a.png.json", '{"objects": [{"classTitle": "cat", "points": {"exterior": [[1, 2]]}}]}', "Supervisely's JSON"),
        ("a.json", '{"item": {"slots": []}, "annotations": [{"bounding_box": {"x": 1}}]}', "V7's JSON"),
    ],
)  # fmt: skip
def test_files_of_other_tools_are_named_with_the_way_out(tmp_path: Path, name: str, content: str, tool: str) -> None:
    """Each of these tools exports COCO's json; the error says so, for the file and for its folder."""
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=f"this is {tool}, which is not read: export it as COCO$"):
        read(tmp_path / name)
    with pytest.raises(UsageError, match=f"; {name} is {tool}, which is not read: export it as COCO$"):
        read(tmp_path)


def test_a_list_over_folders_of_splits_is_divided_by_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file at the root over train/ and test/: a picture is of its folder's split, where nothing else tells one; a file that
    is named for several tells that they are used together."""
    for name in ("train/a.png", "test/b.png"):
        picture(tmp_path / name)
    names = ["train/a.png", "test/b.png"]
    (tmp_path / "boxes.csv").write_text(
        "image_path,label,xmin,ymin,xmax,ymax\n" + "".join(f"{name},x,1,1,4,4\n" for name in names)
    )
    document = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [{"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 4, 4]} for number in range(2)],
        "categories": [{"id": 1, "name": "x"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(document))
    objects = {"bbox": [[90, 1, 4, 4]], "category": ["x"]}
    (tmp_path / "metadata.jsonl").write_text(
        "".join(json.dumps({"file_name": name, "objects": objects}) + "\n" for name in names)
    )
    for given in ("boxes.csv", "boxes.json", "metadata.jsonl"):
        assert [each.split for each in read(tmp_path / given).samples] == ["train", "test"], given
        told = f"note: {tmp_path / given}: states no split; by the folders of the pictures: test 1, train 1\n"
        assert told in capsys.readouterr().err
    (tmp_path / "boxes.json").rename(tmp_path / "instances_trainval2014.json")
    assert [each.split for each in read(tmp_path / "instances_trainval2014.json").samples] == [None, None]


def test_a_csv_of_via_is_named(tmp_path: Path) -> None:
    """Its regions are JSON in cells; the project's own file has them all."""
    (tmp_path / "via.csv").write_text("filename,file_size,region_count,region_id,region_shape_attributes,region_attributes\n")
    for given in (tmp_path / "via.csv", tmp_path):
        with pytest.raises(
            UsageError, match="csv.* VIA's.*: save the project, or export its annotations, as json|a csv of VIA's; save"
        ):
            read(given)


@pytest.mark.parametrize(
    ("content", "said"), [("{}".encode("utf-16"), "found UTF-16, expected UTF-8"), (b"", "empty, expected a JSON document")]
)
def test_a_file_that_is_no_json_says_so(content: bytes, said: str, tmp_path: Path) -> None:
    """One named file that cannot be read is told from one that holds something else."""
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "a.json")


def test_the_marks_between_the_cells_are_told(tmp_path: Path) -> None:
    """Tabs in a .tsv are read, in a file and in a folder; other marks, and tabs in a .csv, are named with what to do."""
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    rows = "image_path,label,xmin,ymin,xmax,ymax\na.png,x,1,2,11,7\n"
    (tmp_path / "b.tsv").write_text(rows.replace(",", "\t"))
    for given in (tmp_path / "b.tsv", tmp_path):
        convert(task="ground", input=given, output=tmp_path / "out.jsonl")
        assert adapt.read_records(tmp_path / "out.jsonl")[0].answer == "<ref>x</ref><box>[[50, 200, 550, 700]]</box>"
    for mark, said in (
        (";", "separated by ';'; save it with commas or tabs"),
        ("\t", "separated by tabs; call it b.tsv, or save"),
    ):
        (tmp_path / "b.csv").write_text(rows.replace(",", mark))
        for task in ("ground", "classify"):
            with pytest.raises(UsageError, match=said):
                convert(task=task, input=tmp_path / "b.csv", output=tmp_path / "out.jsonl")


@pytest.mark.parametrize("option", ["name=cell", "class_key=kind", "origin=0", "masks=m"])
def test_an_option_that_a_format_does_not_take_is_refused(option: str, tmp_path: Path) -> None:
    """It would do nothing, and nobody would know; defaults stand for no option."""
    write("coco", tmp_path)
    name, _, value = option.partition("=")
    assert name in annotations.TAKEN_BY
    with pytest.raises(UsageError, match=f"option {option} has no effect with format=coco; it is for "):
        read(tmp_path, **{name: value})
    assert first_boxes(read(tmp_path, **read_options(annotations.OPTIONS, {}, "a test"))) == FEW_BOXES


def test_every_format_can_be_named() -> None:
    """The choices of the option are the readers, and auto."""
    (chosen,) = (each for each in annotations.OPTIONS if each.name == "format")
    assert chosen.choices == ("auto", *annotations.READERS)
    assert all(each.help for each in annotations.OPTIONS)


def changed(content: bytes, generator: random.Random) -> bytes:
    """One change: a byte flipped, a part cut out, doubled, or replaced by something that parsers stumble over."""
    place, end = sorted(generator.randrange(len(content)) for _ in range(2))
    strange = [
        b"",
        b"\x00",
        b"NaN",
        b"-1",
        b"1e999",
        b"9" * 400,
        b"null",
        b'"',
        b"{",
        b"[",
        b"<",
        b"&x;",
        b"../../",
        b"\xff\xfe",
    ]
    match generator.randrange(4):
        case 0:
            return content[:place] + bytes([content[place] ^ (1 << generator.randrange(8))]) + content[place + 1 :]
        case 1:
            return content[:place] + content[min(end, place + 20) :]
        case 2:
            return content[:end] + content[place:end] + content[end:]
        case _:
            return content[:place] + generator.choice(strange) + content[place + generator.randrange(9) :]


@pytest.mark.parametrize("kind", WRITERS)
def test_changed_inputs_are_read_or_refused(kind: str, tmp_path: Path, num_changes: int = 20) -> None:
    """Files changed at random places: samples, rejected samples with place and reason, or one error; each in under 1 s."""
    path = write(kind, tmp_path)
    files = [each for each in sorted(tmp_path.rglob("*")) if each.is_file() and each.suffix != ".png"]
    originals = {each: each.read_bytes() for each in files}
    generator = random.Random(kind)
    for _ in range(num_changes):
        target = generator.choice(files)
        target.write_bytes(changed(originals[target], generator))
        start = time.process_time()
        for options in ({}, {"format": FORMAT_OF.get(kind, kind), "name": "x"}):
            try:
                for each in read(path, **options).samples:
                    assert each.where and (not isinstance(each, Rejected) or each.reason)
            except (DataError, UsageError) as error:
                assert str(error) and "\n" not in str(error)
        assert time.process_time() - start < 1
        target.write_bytes(originals[target])


def paths_of(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [way for key, each in items for way in [(*above, key), *paths_of(each, (*above, key))]]


@pytest.mark.parametrize("kind", ["coco", "via", "via 1", "labelme", "geojson"])
def test_values_of_other_types_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    """Every value of a JSON document replaced by those of other types, and taken away: one error or reason, nothing else."""
    WRITERS[kind][0](tmp_path, FEW_BOXES[:1])
    (path,) = (each for each in tmp_path.iterdir() if each.suffix in (".json", ".geojson"))
    content = path.read_text()
    strange = [None, "x", "", -1, 1e308, 10**400, [], {}, [[]], [{}], {"a": []}, True, "\ud800", "../../a.png"]
    for way in paths_of(json.loads(content)):
        for value in [*strange, KeyError]:
            document = json.loads(content)
            holder = document
            for key in way[:-1]:
                holder = holder[key]
            holder[way[-1]] = value
            if value is KeyError:
                del holder[way[-1]]
            path.write_text(json.dumps(document))
            try:
                for each in read(path, format=FORMAT_OF.get(kind, kind)).samples:
                    assert not isinstance(each, Rejected) or each.reason
            except (DataError, UsageError) as error:
                assert str(error)


def test_pictures_of_one_stem_are_both_read(tmp_path: Path) -> None:
    """a.png and a.jpg in one set are two samples with two ids."""
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    (tmp_path / "boxes.csv").write_text("image_path,label,xmin,ymin,xmax,ymax\na.png,x,1,1,4,4\na.jpg,x,1,1,4,4\n")
    found = annotations.read_objects(Source(tmp_path / "boxes.csv", None, {}, 0)).samples
    assert [each.id for each in found if isinstance(each, ObjectsSample)] == ["boxes-a.png", "boxes-a.jpg"]


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_csv_without_a_line_is_said_to_be_empty(tmp_path: Path, content: str) -> None:
    """There is no list of columns where there are none."""
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UsageError, match="a.csv: the file is empty; expected image_path, label and xmin"):
        read(tmp_path / "a.csv")
