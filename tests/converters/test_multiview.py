"""Several views as one picture: the official drawing, any grid, one picture a moment whatever the number of workers."""

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from converters import multiview

CAMERAS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT")
DRIVING = {"cell": "896x448", "view_names": "none"}


def write_view(path: Path, number: int, size: tuple[int, int] = (40, 24)) -> None:
    """A picture with a gradient, so that turning, mirroring or swapping it would show."""
    ys, xs = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([xs * 5 % 256, ys * 9 % 256, np.full_like(xs, number * 17 % 256)], axis=2).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(views: Any, **changes: Any) -> dict[str, Any]:
    return {"views": views, "question": "What is it?", "answer": "A road."} | changes


@pytest.mark.parametrize("names", ["drawn", "none"])
def test_six_cameras_are_stitched_as_the_official_script_does(shared: Path, tmp_path: Path, names: str) -> None:
    """Bicubic 896x448 cells row by row, names in DejaVuSans-Bold of 50 px, JPEG 75: the same bytes, done by hand."""
    font = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"
    if names == "drawn" and not Path(font).is_file():
        pytest.skip(f"needs {font}")
    samples = shared / "data" / "drivelm_sample" / "nuscenes" / "samples"
    paths = {camera: sorted((samples / camera).iterdir())[0] for camera in CAMERAS}
    whole = np.zeros((896, 2688, 3), np.uint8)
    for number, (camera, path) in enumerate(paths.items()):
        view = Image.open(path).convert("RGB").resize((896, 448), Image.Resampling.BICUBIC)
        if names == "drawn":
            ImageDraw.Draw(view).text((0, 0), camera, (255, 0, 255), ImageFont.truetype(font, 50))
        top, left = 448 * (number // 3), 896 * (number % 3)
        whole[top : top + 448, left : left + 896] = np.asarray(view)
    expected = io.BytesIO()
    Image.fromarray(whole).save(expected, "JPEG")  # Pillow's default quality is 75
    rows = write_rows(tmp_path / "rig.jsonl", [row({camera: str(path.relative_to(samples)) for camera, path in paths.items()})])
    manifest = convert(
        task="multiview", input=rows, images=samples, output=tmp_path / "out.jsonl", option={"view_names": names}
    )
    (record,) = adapt.read_records(tmp_path / "out.jsonl")
    assert (tmp_path / "out.images" / record.images[0]).read_bytes() == expected.getvalue()
    assert record.sizes == ((2688, 896),) and record.meta["view_names"] == names
    assert ("font" in manifest["facts"]) == (names == "drawn") == manifest["facts"]["view_names"].startswith("drawn")


def test_any_grid_of_any_names(tmp_path: Path) -> None:
    """Views given by name in any order, or as a list in the grid's order, are the same picture; the text names each view."""
    for number, name in enumerate(("left", "front", "right", "rear")):
        write_view(tmp_path / f"{name}.png", number)
    named = {"REAR": "rear.png", "L": "left.png", "F": "front.png", "R": "right.png"}
    rows = [row(named, id="a", split="train"), row(["left.png", "front.png", "right.png", "rear.png"], id="b", split="test")]
    path = write_rows(tmp_path / "rig.jsonl", rows)
    option = {"grid": "L,F/R,REAR", "cell": "40x24", "view_names": "none", "id": "id"}
    manifest = convert(task="multiview", input=path, output=tmp_path / "out.jsonl", option=option)
    first, second = adapt.read_records(tmp_path / "out.jsonl")
    assert first.images == second.images and (first.split, second.split) == ("train", "test")
    assert first.question == (
        "One picture of 4 views. Row 1, from left to right: L, F. Row 2, from left to right: R, REAR.\n<image>\nWhat is it?"
    )
    assert manifest["facts"] == {"grid": [["L", "F"], ["R", "REAR"]], "cell": [40, 24], "view_names": "none"}
    stitched = np.asarray(Image.open(tmp_path / "out.images" / first.images[0])).astype(int)
    assert stitched.shape == (48, 80, 3)
    for number, (top, left) in enumerate(itertools.product((0, 24), (0, 40))):
        assert abs(stitched[top : top + 24, left : left + 40, 2].mean() - number * 17) < 6
    assert stitched[4:20, 4, 0].mean() < stitched[4:20, 34, 0].mean()  # not mirrored


def test_the_prompt_can_be_replaced_or_left_out(tmp_path: Path) -> None:
    """--option prompt=TEXT stands in front of the picture; an empty one leaves the picture first; several are data too."""
    write_view(tmp_path / "a.png", 1)
    path = write_rows(tmp_path / "rig.jsonl", [row(["a.png"])])
    for prompt, text in (("", "<image>\nWhat is it?"), ("{views}!", "Row 1, from left to right: A!\n<image>\nWhat is it?")):
        option = {"grid": "A", "cell": "8x8", "prompt": prompt}
        convert(task="multiview", input=path, output=tmp_path / "out.jsonl", option=option)
        assert adapt.read_records(tmp_path / "out.jsonl")[0].question == text
    rows = [row(["a.png"], question=f"{number}?") for number in range(8)]
    option = {"grid": "A", "cell": "8x8", "prompt": "One of {count} and {x}|Another"}
    convert(task="multiview", input=write_rows(path, rows), output=tmp_path / "out.jsonl", option=option)
    heads = {record.question.partition("\n")[0] for record in adapt.read_records(tmp_path / "out.jsonl")}
    assert heads in ({"One of 1 and {x}"}, {"Another"})  # one picture, one text, so that its questions share it
    for prompt, told in (
        ("<image>", "leave <image> out"),
        ("{view}:", "{view} stands for nothing here; what is filled in is {count}, {views}"),
    ):
        with pytest.raises(UsageError, match=told):
            convert(task="multiview", input=path, output=tmp_path / "out.jsonl", option=option | {"prompt": prompt})


def test_workers_and_repetition_change_no_byte(tmp_path: Path) -> None:
    """One process, three, and a second run in the same process give the same JSONL and the same pictures, one a moment."""
    for number in range(20):
        write_view(tmp_path / "p" / f"{number}.png", number)
    rows = [row([f"{place // 50}.png", f"{place // 50 + 1}.png"], question=f"{place}?") for place in range(900)]
    path = write_rows(tmp_path / "rig.jsonl", rows)
    option = {"grid": "A,B", "cell": "32x16"}
    found = []
    for name, workers in (("a", 0), ("b", 3), ("c", 0)):
        convert(
            task="multiview",
            input=path,
            images=tmp_path / "p",
            output=tmp_path / f"{name}.jsonl",
            workers=workers,
            option=option,
        )
        pictures = {each.name: each.read_bytes() for each in (tmp_path / f"{name}.images").iterdir()}
        assert len(pictures) == 18
        found.append(((tmp_path / f"{name}.jsonl").read_bytes(), pictures))
    assert found[0] == found[1] == found[2]


def test_a_picture_is_made_once_and_again_when_it_is_gone(tmp_path: Path) -> None:
    """Questions of one moment share the work; a picture taken away, or a view written anew, is made again."""
    write_view(tmp_path / "a.png", 1)
    rig = multiview.parse_rig("A", {"cell": "16x8", "view_names": "none"})
    sample = multiview.MultiviewSample("1", "here", None, (("A", "a.png"),), "?", "!", "s")
    made = tmp_path / "made"
    name = multiview.stitch(sample, rig, tmp_path, made)
    written = (made / name).stat().st_ino
    assert multiview.stitch(sample, rig, tmp_path, made) == name and (made / name).stat().st_ino == written
    (made / name).unlink()
    assert multiview.stitch(sample, rig, tmp_path, made) == name and (made / name).is_file()
    write_view(tmp_path / "a.png", 9, (48, 24))
    assert multiview.stitch(sample, rig, tmp_path, made) != name


def test_a_faulty_row_is_rejected_alone(tmp_path: Path) -> None:
    """A missing view, one without a place, a missing or damaged picture, no text: each rejects its row and says why."""
    write_view(tmp_path / "a.png", 1)
    (tmp_path / "bad.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    rows = [
        row({"L": "a.png", "R": "a.png"}), row({"L": "a.png"}), row({"L": "a.png", "R": "a.png", "TOP": "a.png"}),
        row(["a.png"]), row({"L": "a.png", "R": "b.png"}), row({"L": "a.png", "R": "bad.png"}), row(["../a.png", "a.png"]),
        row(None), row({"L": "a.png", "R": 3}), row(["a.png", "a.png"], answer=" "), row(["a.png", "a.png"], question=None),
    ]  # fmt: skip
    path = write_rows(tmp_path / "rig.jsonl", rows)
    option = {"grid": "L,R", "cell": "16x8"}
    manifest = convert(task="multiview", input=path, output=tmp_path / "out.jsonl", option=option, max_bad=10)
    assert (manifest["counts"]["read"], manifest["counts"]["converted"]) == (11, 1)
    found = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    words = (
        "no R", "TOP has no place", "holds 1 pictures, expected 2", "no such file", "damaged", "leaves its root",
        "holds 0 pictures", "the picture is '3'", "'answer' is empty", "'question' is empty",
    )  # fmt: skip
    assert [each["where"] for each in found] == [f"rig.jsonl:{number}" for number in range(2, 12)]
    assert all(word in each["reason"] for word, each in zip(words, found, strict=True)), found


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"grid": "A,B/C"}, "rows of as many different names"),
        ({"grid": "A,A"}, "different names"),
        ({"grid": "A,/B,C"}, "different names"),
        ({"cell": "896"}, "a width and a height"),
        ({"cell": "0x4"}, "a width and a height"),
        ({"cell": "9999x9999"}, "a width and a height"),
    ],
)
def test_a_grid_that_is_none_is_wrong_usage(tmp_path: Path, option: dict[str, str], said: str) -> None:
    """Rows of unequal length, doubled names and impossible cells are refused before anything is read."""
    path = write_rows(tmp_path / "rig.jsonl", [row(["a.png"])])
    with pytest.raises(UsageError, match=said):
        convert(task="multiview", input=path, output=tmp_path / "out.jsonl", option=option)


def test_a_box_of_a_view_moves_with_it() -> None:
    """A box in a 1600x900 view of the second row and column, by hand; what lies outside the view ends at its border."""
    rig = multiview.parse_rig(multiview.CAMERAS_GRID, DRIVING)
    assert rig.size == (2688, 896) and rig.views == CAMERAS and rig.place("CAM_BACK_LEFT") == (0, 1)
    assert rig.move_box("CAM_BACK", (800, 450, 1600, 900), (1600, 900)) == (896 + 448, 448 + 224, 1792, 896)
    assert rig.move_box("CAM_FRONT_LEFT", (-5, -5, 1700, 950), (1600, 900)) == (0, 0, 896, 448)


def test_a_missing_view_in_python_is_a_clear_error(tmp_path: Path) -> None:
    """A caller of ``stitch`` whose file is not there gets a DataError with the path."""
    rig = multiview.parse_rig("A", {"cell": "16x8", "view_names": "none"})
    sample = multiview.MultiviewSample("1", "here", None, (("A", "gone.png"),), "?", "!", "s")
    with pytest.raises(DataError, match="gone.png: No such file"):
        multiview.stitch(sample, rig, tmp_path, tmp_path)
