"""Region perception: what is asked and answered, what is drawn where, and masks against pycocotools."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image
from pycocotools import mask as coco_mask

import adapt
from adapt import safe
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from adapt.verbs import convert, score
from converters import marks
from converters.masks import decode_rle, encode_rle, fill, object_mask
from converters.objects import MaskFile, PictureObject, Rle

SIZE = (60, 40)
GREY = (90, 100, 110)
RED = (255, 0, 0)
TRIANGLE = {"name": "polygon", "all_points_x": [10, 30, 10], "all_points_y": [10, 10, 30]}
RECTANGLE = {"name": "rect", "x": 40, "y": 5, "width": 10, "height": 20}


def write_via(folder: Path, **attributes: Any) -> Path:
    """One picture with a triangle and a rectangle, as VIA 2 exports them."""
    (folder / "pics").mkdir(exist_ok=True)
    Image.new("RGB", SIZE, GREY).save(folder / "pics" / "a.png")
    regions = [
        {"shape_attributes": TRIANGLE, "region_attributes": {"class": "sail"} | attributes},
        {"shape_attributes": RECTANGLE, "region_attributes": {"class": "mast"} | attributes},
    ]
    path = folder / "set" / "via_region_data.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"a.png123": {"filename": "a.png", "size": 123, "regions": regions, "file_attributes": {}}}))
    return path


def run(folder: Path, *options: str, **call: Any) -> list[ChatRecord]:
    path = folder / "set" / "via_region_data.json"
    if not path.is_file():
        write_via(folder)
    manifest = convert(
        task="region", input=path, images=folder / "pics", output=folder / "out.jsonl", option=["format=via", *options], **call
    )
    counts = manifest["counts"]
    assert counts["read"] == counts["converted"] + counts["rejected"]
    return adapt.read_records(folder / "out.jsonl")


def shown(folder: Path, record: ChatRecord) -> np.ndarray:
    picture = Image.open(folder / "out.images" / record.images[0])
    assert record.sizes == (picture.size,)
    return np.asarray(picture)


def test_coordinates_are_asked_for_as_published(tmp_path: Path) -> None:
    """A record an object: the paper's question, its tagged answer, boxes in thousandths, and what a scorer needs."""
    first, second = run(tmp_path)
    assert first.question == "<image>\nWhat object is in this location<box>[[167, 250, 500, 750]]</box>"
    assert first.answer == "<ref>sail</ref><box>[[167, 250, 500, 750]]</box>"
    assert (second.images, second.sizes) == (("a.png",), (SIZE,))
    assert second.meta == {
        "kind": "name",
        "boxes_px": [[40, 5, 50, 25]],
        "form": "coordinates",
        "label": "mast",
        "candidates": ["mast", "sail"],
    }
    assert [record.answer for record in run(tmp_path, "answer_form=plain")] == ["sail", "mast"]


@pytest.mark.parametrize("answer", ["tagged", "plain"])
def test_names_are_scored_as_classes(tmp_path: Path, answer: str) -> None:
    """The references answer themselves perfectly, with the box in the answer or without."""
    write_via(tmp_path)
    records = run(tmp_path, f"answer_form={answer}")
    rows = [json.dumps({"id": record.id, "answer": record.answer}) for record in records]
    (tmp_path / "p.jsonl").write_text("\n".join(rows))
    result = score(benchmark="classify", predictions=tmp_path / "p.jsonl", references=tmp_path / "out.jsonl")
    assert result["metrics"]["accuracy"]["value"] == 1


def test_captions_and_questions(tmp_path: Path) -> None:
    """An object with a question of its own is asked that; a missing one rejects the object alone."""
    write_via(tmp_path, question="Is it torn?", answer="no")
    records = run(tmp_path)
    assert records[0].question == "<image>\nLook at <ref>region</ref><box>[[167, 250, 500, 750]]</box>. Is it torn?"
    assert [record.answer for record in records] == ["no", "no"]
    assert records[0].meta["kind"] == "question"
    drawn = run(tmp_path, "form=drawn", "language=zh")
    assert drawn[0].question == "<image>\n请看图中红色方框标出的物体。Is it torn?"
    with pytest.raises(DataError, match=r"2 of 2 samples rejected.*region 1: 'sail' has no caption to ask for"):
        run(tmp_path, "ask=caption")


def test_prompts_are_data(tmp_path: Path) -> None:
    """Several prompts are drawn from by (seed, id); the placeholders stand for coordinates, marks and classes."""
    questions = [record.question for record in run(tmp_path, "prompt={box} ?|Name {region} ({candidates}).")]
    written = {"sail": "[[167, 250, 500, 750]]", "mast": "[[667, 125, 833, 625]]"}
    for question, box in zip(questions, written.values(), strict=True):
        assert question in (
            f"<image>\n<box>{box}</box> ?",
            f"<image>\nName <ref>region</ref><box>{box}</box> (mast, sail).",
        )
    assert questions == [record.question for record in run(tmp_path, "prompt={box} ?|Name {region} ({candidates}).")]
    assert run(tmp_path, "prompt={box} {x}? \\boxed{name}")[0].question.endswith(" {x}? \\boxed{name}")
    drawn = run(tmp_path, "form=drawn", "colour=#00FF00", "mark=contour", "prompt=See {mark}", max_bad=1)
    assert drawn[0].question == "<image>\nSee outline"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("prompt=What?",), r"expected \{region\} or \{box\}"),
        (("prompt={region} {mark}",), r"\{mark\} stands for nothing here; what is filled in is \{box\}, "),
        (("form=drawn", "colour=redd"), "colour=redd: expected an English name"),
        (("form=drawn", "width=0"), "width=0: expected a whole number from 1 to 1000"),
        (("form=drawn", "quality=jpeg"), "quality=jpeg: expected a whole number"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    """Each is wrong usage in one line."""
    with pytest.raises(UsageError, match=message):
        run(tmp_path, *options)


def test_a_box_is_drawn_around_its_object(tmp_path: Path) -> None:
    """The frame has its colour and width just outside of the box; inside and beyond nothing changes."""
    _, mast = run(tmp_path, "form=drawn", "quality=png", "width=3")
    assert mast.question == "<image>\nWhat object is marked by the red box? Answer with one word or short phrase."
    assert mast.answer == "mast"
    pixels = shown(tmp_path, mast)
    expected = np.full((SIZE[1], SIZE[0], 3), GREY, np.uint8)
    expected[2:28, 37:53] = RED
    expected[5:25, 40:50] = GREY
    assert np.array_equal(pixels, expected)


def test_a_mask_is_laid_over_its_object(tmp_path: Path) -> None:
    """Inside of the outline the colour is mixed in by its share, outside nothing changes."""
    options = ("form=drawn", "mark=mask", "quality=png", "opacity=40", "colour=blue", "ask=name")
    (sail,) = run(tmp_path, *options, max_bad=1)
    assert sail.question.startswith("<image>\nWhat object is marked by the blue area?")
    pixels = shown(tmp_path, sail)
    assert pixels[12, 12].tolist() == [54, 60, 168]  # 0.6 of the grey, and 0.4 of 255 in blue
    for row, column in ((25, 25), (5, 12), (12, 5), (12, 45)):
        assert pixels[row, column].tolist() == list(GREY)


def test_an_object_without_an_outline_has_no_mask(tmp_path: Path) -> None:
    """A rectangle alone cannot be shown by its pixels: it is rejected with what to do."""
    with pytest.raises(DataError, match=r"1 of 2 samples rejected.*'mast' has no mask and no outline; .*mark=box"):
        run(tmp_path, "form=drawn", "mark=contour")


def test_a_contour_runs_around_its_object(tmp_path: Path) -> None:
    """The line lies outside of the outline, covers no pixel of the object, and is not wider than asked for."""
    write_via(tmp_path)
    sail = run(tmp_path, "form=drawn", "mark=contour", "quality=png", "width=2", max_bad=1)[0]
    is_line = (shown(tmp_path, sail) == RED).all(2)
    inside = fill(((((10.0, 10.0)), (30.0, 10.0), (10.0, 30.0)),), SIZE, "here")
    assert not (is_line & inside).any()
    assert is_line[8:10, 12:25].all()
    assert not is_line[7, 12:25].any()
    assert is_line[12:25, 8:10].all()
    assert is_line[20, 19:21].all()


def test_at_the_edge_lines_stay_in_the_picture() -> None:
    """What fills the picture still gets its frame and its outline, along the edge."""
    plain = Image.new("RGB", SIZE, GREY)
    whole = np.ones((SIZE[1], SIZE[0]), bool)
    for drawn in (marks.draw_box(plain, (0, 0, *SIZE), RED, 2), marks.draw_contour(plain, whole, RED, 2)):
        pixels = np.asarray(drawn)
        assert (pixels[:2] == RED).all()
        assert (pixels[:, -2:] == RED).all()
        assert (pixels[2:-2, 2:-2] == GREY).all()


def test_run_lengths_are_those_of_pycocotools() -> None:
    """Random masks of every density, read from pycocotools' text and written as it writes them."""
    draws = np.random.default_rng(3)
    for number in range(60):
        height, width = draws.integers(1, 90, 2)
        mask = draws.random((height, width)) < (0, 1, 0.5, 0.02, 0.98)[number % 5]
        theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        text = theirs["counts"].decode()
        assert encode_rle(mask) == Rle(text, (width, height))
        assert np.array_equal(decode_rle(Rle(text, (width, height)), "here"), mask)


@pytest.mark.parametrize("text", ["", "0", "zzzzzzzz", "100000000", "PPPPPPPPPPPPPPPPPPPPPP", "é0", "52203", "0" * 10_000])
def test_run_lengths_that_are_none(text: str) -> None:
    """Too few, too many, negative, cut off: refused, where pycocotools answers with memory that nobody wrote."""
    with pytest.raises(DataError, match=r"^here: "):
        decode_rle(Rle(text, (5, 4)), "here")


def test_outlines_cover_what_pycocotools_covers() -> None:
    """Random polygons, crossing themselves or not: the pixels that differ touch the line."""
    draws = np.random.default_rng(4)
    for _ in range(40):
        points = draws.random((draws.integers(3, 9), 2)) * (200, 150)
        mask = fill((tuple(map(tuple, points)),), (200, 150), "here")
        runs = coco_mask.frPyObjects([points.reshape(-1).tolist()], 150, 200)
        theirs = coco_mask.decode(coco_mask.merge(runs)).astype(bool)
        rows, columns = np.nonzero(mask ^ theirs)
        assert all(shapely.LinearRing(points).distance(shapely.points(columns + 0.5, rows + 0.5)) < 1)


def test_an_outline_far_outside_is_refused() -> None:
    """Points that no picture has end in one line, at once."""
    for point in ((1e300, 0.0), (float("nan"), 0.0), (0.0, -1e6)):
        with pytest.raises(DataError, match=r"^here: an outline has a point far outside"):
            fill((((1.0, 1.0), (9.0, 1.0), point),), SIZE, "here")


def test_a_mask_picture_tells_objects_by_colour(tmp_path: Path) -> None:
    """R + 256 G + 65536 B; a mask of another size, without the colour, or outside of its root rejects the object."""
    colours = np.zeros((4, 6, 3), np.uint8)
    colours[1:3, 2:5] = (7, 2, 1)
    Image.fromarray(colours).save(tmp_path / "m.png")
    value = 7 + 256 * 2 + 65536

    def mask_of(path: str, value: int, size: tuple[int, int] = (6, 4)) -> np.ndarray:
        return object_mask(PictureObject("x", (2, 1, 5, 3), mask=MaskFile(path, value)), size, tmp_path, "here")

    assert np.argwhere(mask_of("m.png", value)).tolist() == [[1, 2], [1, 3], [1, 4], [2, 2], [2, 3], [2, 4]]
    for call in ((("m.png", 5)), ("m.png", value, (4, 6)), ("../m.png", value), ("none.png", value)):
        with pytest.raises(DataError, match="here: |none.png: no such file"):
            mask_of(*call)


@pytest.mark.parametrize("mark", ["box", "mask", "contour"])
def test_drawn_pictures_are_the_same_for_any_number_of_workers(shared: Path, tmp_path: Path, mark: str) -> None:
    """COCO's panoptic sample: 47 segments that are told apart, three crowds; the same bytes from one process and from two."""
    data = shared / "data" / "coco_panoptic_sample" / "sample_data"
    found = []
    for workers in (1, 2):
        output = tmp_path / str(workers) / "out.jsonl"
        output.parent.mkdir()
        manifest = convert(
            task="region",
            input=data / "panoptic_examples.json",
            images=data / "input_images",
            output=output,
            option=["form=drawn", f"mark={mark}"],
            workers=workers,
        )
        assert manifest["counts"]["records"] == manifest["counts"]["converted"] == 47
        assert manifest["counts"]["ignored"]["crowd region"] == 3
        pictures = {path.name: path.read_bytes() for path in output.with_suffix(".images").iterdir()}
        found.append((output.read_bytes(), pictures))
    assert found[0] == found[1]
    assert len(found[0][1]) == 47


def test_panoptic_masks_are_those_of_the_detection_form(shared: Path) -> None:
    """The mask picture's colours and the run lengths of the same segments, decoded by pycocotools, cover the same pixels."""
    data = shared / "data" / "coco_panoptic_sample" / "sample_data"
    rows = safe.read_json(data / "panoptic_coco_detection_format.json")["annotations"]
    names = {each["image_id"]: each["file_name"] for each in safe.read_json(data / "panoptic_examples.json")["annotations"]}
    segments = {
        (each["image_id"], tuple(part["bbox"]), part["category_id"]): part["id"]
        for each in safe.read_json(data / "panoptic_examples.json")["annotations"]
        for part in each["segments_info"]
    }
    compared = 0
    for row in rows:
        segment = segments.get((row["image_id"], tuple(row["bbox"]), row["category_id"]))
        if segment is None:
            continue
        theirs = coco_mask.decode(row["segmentation"]).astype(bool)
        height, width = theirs.shape
        each = PictureObject("x", (0, 0, 1, 1), mask=MaskFile(names[row["image_id"]], segment))
        assert np.array_equal(object_mask(each, (width, height), data / "panoptic_examples", "here"), theirs)
        assert np.array_equal(decode_rle(Rle(row["segmentation"]["counts"], (width, height)), "here"), theirs)
        compared += 1
    assert compared >= 40


def test_a_turned_picture_is_drawn_upright(tmp_path: Path) -> None:
    """upright=yes: the mark lies on the upright copy, where the object is."""
    write_via(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE, GREY).save(tmp_path / "pics" / "a.png", exif=exif)
    _, mast = run(tmp_path, "form=drawn", "quality=png", "width=3", "upright=yes")
    assert mast.meta["boxes_px"] == [[15, 40, 35, 50]]  # (x, y) goes to (40 - y, x)
    expected = np.full((SIZE[0], SIZE[1], 3), GREY, np.uint8)
    expected[37:53, 12:38] = RED
    expected[40:50, 15:35] = GREY
    assert np.array_equal(shown(tmp_path, mast), expected)
    assert len(list((tmp_path / "out.images").iterdir())) == 2  # the upright copy itself is shown by no record


@pytest.mark.parametrize("form", ["coordinates", "drawn"])
def test_blood_cells_are_asked_one_by_one(shared: Path, tmp_path: Path, form: str) -> None:
    """BCCD's 4,888 boxes are read; a drawn part of them becomes records of either form."""
    manifest = convert(
        task="region",
        input=shared / "data" / "bccd_voc" / "BCCD",
        output=tmp_path / "out.jsonl",
        option=[f"form={form}"],
        limit=None if form == "coordinates" else 20,
    )
    assert manifest["counts"]["records"] == (4888 if form == "coordinates" else 20)
