"""Turning pictures upright: pixels, boxes, outlines and masks move together, as Pillow turns the pixels."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from adapt import orientation, pixels, safe
from adapt.errors import DataError
from adapt.verbs import convert
from converters.masks import decode_rle, encode_rle
from converters.objects import MaskFile, ObjectsSample, PictureObject
from converters.orientation import upright_objects

SIZE = (7, 5)
TAGS = range(1, 9)
BOX = (1.0, 2.0, 4.0, 3.0)


def marked() -> Image.Image:
    """A picture whose pixels are all different, with the pixels of BOX white."""
    values = np.arange(SIZE[0] * SIZE[1] * 3, dtype=np.uint8).reshape(SIZE[1], SIZE[0], 3)
    values[2:3, 1:4] = 255
    return Image.fromarray(values)


def save(path: Path, tag: int, **options: object) -> Path:
    exif = Image.Exif()
    exif[0x0112] = tag
    how = {"tiffinfo": {0x0112: tag}} if path.suffix == ".tif" else {"exif": exif}
    marked().save(path, **how, **options)
    return path


def white(picture: Image.Image) -> tuple[int, int, int, int]:
    """The box around the white pixels."""
    rows, columns = np.nonzero((np.asarray(picture) == 255).all(2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("tag", TAGS)
def test_pixels_and_boxes_move_as_pillow_turns_them(tmp_path: Path, tag: int) -> None:
    """For each of the eight tags: the pixels are exif_transpose's, and the box lies around the same pixels."""
    path = save(tmp_path / "a.png", tag)
    expected = ImageOps.exif_transpose(Image.open(path))
    stored, found = safe.decode_stored(path.read_bytes(), "a.png")
    turned = orientation.upright(stored, found)
    assert (found, turned.size, turned.tobytes()) == (tag, expected.size, expected.tobytes())
    assert orientation.upright_size(SIZE, tag) == expected.size
    assert orientation.upright_box(BOX, SIZE, tag) == white(expected)
    assert orientation.stored(turned, tag).tobytes() == marked().tobytes()


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("how", [{}, {"compression": "tiff_lzw"}])
def test_a_tiff_is_used_as_it_is_stored(tmp_path: Path, tag: int, how: dict[str, str]) -> None:
    """Pillow turns TIFF files as it loads them; here pixels, size and tag are those of the file."""
    content = save(tmp_path / "a.tif", tag, **how).read_bytes()
    assert safe.size_of(content, "a.tif") == SIZE
    picture, found = safe.decode_stored(content, "a.tif")
    assert (picture.tobytes(), found) == (marked().tobytes(), tag)


@pytest.mark.parametrize("tag", TAGS)
def test_objects_move_with_their_masks(tmp_path: Path, tag: int) -> None:
    """Box, outline, turned box, run lengths and mask picture of an object cover the same turned pixels."""
    mask = np.zeros(SIZE[::-1], bool)
    mask[2:3, 1:4] = True
    corners = ((1.0, 2.0), (4.0, 2.0), (4.0, 3.0), (1.0, 3.0))
    mask_file = MaskFile("m.png", 255)
    objects = tuple(
        PictureObject("x", BOX, polygons_px=(corners,), oriented_px=corners, mask=each)
        for each in (encode_rle(mask), mask_file)
    )
    sample = ObjectsSample("1", "here", None, ("a.png",), objects, "set", sizes=(SIZE,), stated_size=SIZE)
    expected = ImageOps.exif_transpose(Image.open(save(tmp_path / "a.png", tag)))
    moved = upright_objects(sample, tag)
    assert moved.size == moved.stated_size == expected.size
    run_lengths, by_file = moved.objects
    assert run_lengths.box_px == by_file.box_px == white(expected)
    for points in (*run_lengths.polygons_px, run_lengths.oriented_px):
        xs, ys = zip(*points, strict=True)
        assert (min(xs), min(ys), max(xs), max(ys)) == white(expected)
    assert np.array_equal(decode_rle(run_lengths.mask, "here"), (np.asarray(expected) == 255).all(2))
    assert by_file.mask == dataclasses.replace(mask_file, orientation=tag)


def test_objects_labelled_upright_stay() -> None:
    """Where the stated size is that of the upright picture alone, the boxes are the upright ones already."""
    sample = ObjectsSample(
        "1", "here", None, ("a.png",), (PictureObject("x", BOX),), "set", sizes=(SIZE,), stated_size=SIZE[::-1]
    )
    moved = upright_objects(sample, 6)
    assert (moved.size, moved.objects) == (SIZE[::-1], sample.objects)


def test_a_damaged_tag_is_none(tmp_path: Path) -> None:
    """Tags outside 1 to 8 and EXIF data that cannot be read leave the picture upright and whole."""
    for content in (b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00", b"\xff" * 40):
        marked().save(tmp_path / "a.jpg", exif=content)
        assert safe.decode_stored((tmp_path / "a.jpg").read_bytes(), "a.jpg")[1] == 1
    assert safe.decode_stored(save(tmp_path / "a.png", 9).read_bytes(), "a.png")[1] == 1


def test_held_pictures_know_their_stored_size(tmp_path: Path) -> None:
    """An upright copy has the turned size, and remembers the one that the coordinates of its file are in."""
    content = save(tmp_path / "a.png", 6).read_bytes()
    settings = pixels.read_settings({"upright": "yes"})
    held = pixels.hold(content, "a.png", settings, tmp_path / "made")
    assert (held.size, held.stored_size, held.orientation, held.turned) == (SIZE[::-1], SIZE, 6, 6)
    made = Image.open(tmp_path / "made" / held.name)
    assert made.tobytes() == ImageOps.exif_transpose(Image.open(tmp_path / "a.png")).tobytes()
    assert safe.orientation_of((tmp_path / "made" / held.name).read_bytes(), held.name) == 1


STORED, OUTSIDE = (100, 60), [10, 80, 5, 15]  # the box lies inside the upright picture of 60x100 alone
TO_UPRIGHT = "outside the picture of 100x60, but inside the upright one of 60x100 (orientation tag 6): where boxes were drawn "


@pytest.mark.parametrize(
    ("upright", "tag", "stated", "box", "said"),
    [
        ("no", 1, (60, 100), [1, 1, 5, 5], "stated as 60x100, but picture p.jpg is 100x60; no option helps"),
        ("yes", 1, (60, 100), [1, 1, 5, 5], "stated as 60x100, but picture p.jpg is 100x60; no option helps"),
        ("labelled", 1, (60, 100), [1, 1, 5, 5], "stated as 60x100, but picture p.jpg is 100x60; no option helps"),
        ("no", 6, (60, 100), [1, 1, 5, 5], "p.jpg is 100x60; its orientation tag (6) swaps the two: use --option upright=yes"),
        ("no", 6, (77, 33), [1, 1, 5, 5], "stated as 77x33, but picture p.jpg is 100x60; correct the stated width and height"),
        (
            "yes", 6, (77, 33), [1, 1, 5, 5],
            "stated as 77x33, but picture p.jpg is stored as 100x60, upright 60x100 (orientation tag 6); correct the stated",
        ),
        ("labelled", 6, (77, 33), [1, 1, 5, 5], "stated as 77x33, but picture p.jpg is stored as 100x60, upright 60x100 (o"),
        ("labelled", 6, (100, 60), [1, 1, 5, 5], "(6) swaps the two: use --option upright=yes"),
        ("no", 6, None, OUTSIDE, f"its box [10, 80, 15, 95] lies {TO_UPRIGHT}on that one, use --option upright=labelled"),
        ("yes", 6, None, OUTSIDE, f"its box [10, 80, 15, 95] lies {TO_UPRIGHT}on that one, use --option upright=labelled"),
        (
            "labelled", 6, None, [80, 10, 15, 5],
            "its box [80, 10, 95, 15] lies outside the upright picture of 60x100, but inside the stored one of 100x60 "
            "(orientation tag 6): where boxes were drawn on that one, use --option upright=yes",
        ),
    ],
)  # fmt: skip
def test_what_fits_no_picture_is_told_in_the_users_own_names_and_numbers(
    tmp_path: Path, upright: str, tag: int, stated: tuple[int, int] | None, box: list[int], said: str
) -> None:
    """Sizes and boxes as the file has them, the picture as the file names it, and the option that converts it."""
    with pytest.raises(DataError) as told:
        convert_coco(tmp_path, upright, tag, stated, box)
    assert said in str(told.value)
    if said.endswith(("upright=labelled", "upright=yes")):
        manifest = convert_coco(tmp_path, said.rpartition("=")[2], tag, stated, box)
        assert manifest["counts"]["rejected"] == 0


@pytest.mark.parametrize(
    ("upright", "tag", "stated", "box"),
    [
        ("no", 3, None, OUTSIDE),
        ("no", 6, None, [10, 80, 55, 15]),
        ("yes", 6, STORED, OUTSIDE),
        ("labelled", 6, None, [10, 200, 5, 5]),
    ],
)
def test_no_option_is_named_that_would_not_help(
    tmp_path: Path, upright: str, tag: int, stated: tuple[int, int] | None, box: list[int]
) -> None:
    """A turn by half, a box outside both ways, a stated size that says which picture was meant: the box alone is told."""
    with pytest.raises(DataError, match=r"lies outside the (upright )?picture of (100x60|60x100)$"):
        convert_coco(tmp_path, upright, tag, stated, box)


def convert_coco(folder: Path, upright: str, tag: int, stated: tuple[int, int] | None, box: list[int]) -> dict:
    """Convert one picture of STORED size with one COCO box (x, y, width, height)."""
    (folder / "pics").mkdir(exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.new("RGB", STORED).save(folder / "pics" / "p.jpg", exif=exif)
    image = {"id": 1, "file_name": "p.jpg"} | (dict(zip(("width", "height"), stated, strict=True)) if stated else {})
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box}
    document = {"images": [image], "categories": [{"id": 1, "name": "ship"}], "annotations": [annotation]}
    (folder / "a.json").write_text(json.dumps(document))
    return convert(
        task="ground", input=folder / "a.json", images=folder / "pics", output=folder / "o.jsonl", option=f"upright={upright}"
    )
