"""Pictures above 8 bits, of many bands, and DICOM: what is shown of them is chosen, and computed as written down."""

import io
import json
import re
from pathlib import Path

import datasets
import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

import adapt
from adapt import pixels, safe
from adapt.domain import all_domains
from adapt.errors import DataError, UsageError
from adapt.verbs import convert

DEEP = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000) + 100


def bytes_of(values: np.ndarray, suffix: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    if suffix == ".tif":
        tifffile.imwrite(buffer, values, **how)
    else:
        Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def dicom(values: np.ndarray, **changes: object) -> bytes:
    """A small DICOM file of stored values, with a patient in it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["test"])
    meta.TransferSyntaxUID = changes.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "12345"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel = 1 if values.ndim == 2 else 3
    dataset.BitsAllocated = dataset.BitsStored = values.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    dataset.PlanarConfiguration = 0
    dataset.PixelData = values.tobytes()
    for name, value in changes.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def shown(content: bytes, folder: Path, **options: str) -> np.ndarray:
    """uint8[H, W, 3]: the made picture of the bytes under those options."""
    held = pixels.hold(content, "here", pixels.read_settings(options), folder)
    return np.asarray(Image.open(folder / held.name))


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The stretch by its definition."""
    black, white = np.percentile(values, (low, high))
    return np.rint(np.clip((values.astype(float) - black) / (white - black), 0, 1) * 255)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("percentiles", [(2, 98), (0, 100), (10, 50)])
def test_a_deep_grey_picture_is_stretched(tmp_path: Path, suffix: str, percentiles: tuple[int, int]) -> None:
    """16 bits of grey: the percentiles become black and white, and what lies beyond is cut."""
    made = shown(bytes_of(DEEP, suffix), tmp_path, stretch=f"{percentiles[0]},{percentiles[1]}")
    assert np.array_equal(made, np.repeat(stretched(DEEP, *percentiles)[:, :, None], 3, 2))


def test_sixteen_bit_colours_are_not_cut_to_eight(tmp_path: Path) -> None:
    """Pillow opens PNG and TIFF files of 16-bit colours as 8 bits; here they are refused, or stretched channel by channel."""
    colours = np.stack([DEEP // 50, DEEP // 7, DEEP], 2)
    for content in (imagecodecs.png_encode(colours), bytes_of(colours, ".tif", photometric="rgb")):
        assert Image.open(io.BytesIO(content)).mode == "RGB"
        with pytest.raises(DataError, match=r"^here: more than 8 bits a channel .*--option stretch=2,98"):
            safe.decode_picture(content, "here")
        made = shown(content, tmp_path, stretch="0,100")
        for channel in range(3):
            assert np.array_equal(made[:, :, channel], stretched(colours[:, :, channel], 0, 100))
        assert np.array_equal(shown(content, tmp_path, stretch="full"), np.rint(colours / 65535 * 255))


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_bands_of_a_tiff_are_chosen(tmp_path: Path, planar: str) -> None:
    """Five bands: three of them, counted from 1, are red, green and blue; without the choice the line to paste is said."""
    bands = np.stack([DEEP // divisor for divisor in (1, 2, 3, 5, 7)], 2)
    stored = bands if planar == "contig" else np.moveaxis(bands, 2, 0)
    content = bytes_of(stored, ".tif", photometric="minisblack", planarconfig=planar)
    made = shown(content, tmp_path, stretch="2,98", bands="4,3,2")
    for channel, band in enumerate((3, 2, 1)):
        assert np.array_equal(made[:, :, channel], stretched(bands[:, :, band], 2, 98))
    assert np.array_equal(shown(content, tmp_path, stretch="2,98", bands="5")[:, :, 0], stretched(bands[:, :, 4], 2, 98))
    for options, message in (
        ({"stretch": "2,98"}, r"^here: 5 bands; choose three of them with --option bands="),
        ({"stretch": "2,98", "bands": "6"}, r"^here: 5 bands; --option bands asks for number 6"),
        ({"bands": "4,3,2"}, r"^here: more than 8 bits a channel \(uint16\); choose the range"),
    ):
        with pytest.raises(DataError, match=message):
            shown(content, tmp_path, **options)
    with pytest.raises(DataError, match=r"a TIFF of several bands .*stretch=2,98.*bands=4,3,2"):
        safe.decode_picture(content, "here")


def test_no_data_does_not_count(tmp_path: Path) -> None:
    """NaN and GDAL's no-data number do not widen the range, and are black."""
    values = DEEP.astype(np.float32)
    values[0, 0], values[0, 1] = np.nan, -9999
    content = bytes_of(values, ".tif", extratags=[(42113, 2, 6, "-9999\0", True)])
    made = shown(content, tmp_path, stretch="0,100")[:, :, 0]
    rest = DEEP.reshape(-1)[2:]
    assert made[0, :2].tolist() == [0, 0]
    assert np.array_equal(made.reshape(-1)[2:], stretched(rest, 0, 100))


def test_eight_bits_stay_as_they_are(tmp_path: Path) -> None:
    """A stretch changes nothing of a picture of 8 bits: the file's own pixels are kept; its bands may be chosen."""
    values = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(shown(bytes_of(values, ".png"), tmp_path, stretch="2,98"), values)
    assert np.array_equal(shown(bytes_of(values, ".png"), tmp_path, bands="3,2,1"), values[:, :, ::-1])
    many = np.arange(96, dtype=np.uint8).reshape(4, 4, 6)
    content = bytes_of(many, ".tif", photometric="minisblack", planarconfig="contig")
    assert np.array_equal(shown(content, tmp_path, bands="6,1,2"), many[:, :, [5, 0, 1]])


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_window_of_a_dicom_file(tmp_path: Path, function: str) -> None:
    """Stored values go through slope, intercept and the file's window; MONOCHROME1 is inverted. Compared with pydicom's."""
    values = (np.arange(48, dtype=np.int16).reshape(6, 8) - 10) * 30
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 400, "WindowWidth": 900, "VOILUTFunction": function}
    content = dicom(values, **tags)
    dataset = pydicom.dcmread(io.BytesIO(content))
    expected = apply_windowing(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = -(2**15) * 2 - 100, (2**15 - 1) * 2 - 100  # pydicom spreads the window over all that 16 bits can become
    expected = (expected - low) / (high - low) * 255
    made = shown(content, tmp_path, stretch="window")
    assert np.abs(made[:, :, 0] - expected).max() <= 0.51
    assert len(np.unique(made)) > 10
    inverted = shown(dicom(values, **tags, PhotometricInterpretation="MONOCHROME1"), tmp_path, stretch="window")
    assert np.array_equal(inverted, 255 - made)


def test_a_dicom_file_by_percentiles_and_in_colour(tmp_path: Path) -> None:
    """Percentiles leave padding out; the first of several windows is used; colours of 8 bits stay as they are."""
    values = DEEP.copy()
    values[0, 0] = 63000
    made = shown(dicom(values, PixelPaddingValue=63000), tmp_path, stretch="0,100")[:, :, 0]
    assert made[0, 0] == 0
    assert np.array_equal(made.reshape(-1)[1:], stretched(DEEP.reshape(-1)[1:], 0, 100))
    several = shown(dicom(values, WindowCenter=[1000, 5], WindowWidth=[500, 5]), tmp_path, stretch="window")
    assert np.array_equal(several, shown(dicom(values, WindowCenter=1000, WindowWidth=500), tmp_path, stretch="window"))
    colours = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(shown(dicom(colours), tmp_path, stretch="window"), colours)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"stretch": "window"}, "gives no window of its own; choose percentiles"),
        ({}, {"upright": "yes"}, "a DICOM file; choose the range to show with --option stretch=window"),
        ({"NumberOfFrames": 2}, {"stretch": "2,98"}, "2 frames; expected one"),
        ({"Rows": 60000, "Columns": 60000}, {"stretch": "2,98"}, r"in a file of \d+: damaged"),
        ({"Rows": 600}, {"stretch": "2,98"}, "cannot be read"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, {"stretch": "2,98"}, "PALETTE COLOR.*export them as PNG"),
        ({"TransferSyntaxUID": DeflatedExplicitVRLittleEndian}, {"stretch": "2,98"}, "deflated"),
        ({"WindowCenter": 1, "WindowWidth": 0}, {"stretch": "window"}, r"its window \(LINEAR, width 0\)"),
    ],
)
def test_dicom_files_that_cannot_be_shown(
    tmp_path: Path, changes: dict[str, object], options: dict[str, str], message: str
) -> None:
    """Each ends in one line that says what was found and what to do."""
    with pytest.raises(DataError, match=rf"^here: .*{message}"):
        shown(dicom(DEEP, **changes), tmp_path, **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [("stretch", "98,2"), ("stretch", "2"), ("stretch", "nan,1"), ("stretch", "-1,5"), ("bands", "0,1,2"), ("bands", "1,2")],
)
def test_settings_that_cannot_be(name: str, value: str) -> None:
    """Percentiles out of order or range and bands not counted from 1 are wrong usage."""
    with pytest.raises(UsageError, match=rf"^{name}={value}: expected"):
        pixels.read_settings({name: value})


@pytest.mark.parametrize("kind", [".tif", ".dcm", ".png"])
def test_damaged_bytes_end_in_one_line(tmp_path: Path, kind: str) -> None:
    """Bytes flipped and cut anywhere: a picture, or a DataError that names the place."""
    bands = np.stack([DEEP] * 5, 2)
    whole = {
        ".tif": bytes_of(bands, ".tif", photometric="minisblack", planarconfig="contig", compression="deflate"),
        ".dcm": dicom(DEEP, WindowCenter=5, WindowWidth=5),
        ".png": bytes_of(DEEP, ".png"),
    }[kind]
    draws = np.random.default_rng(5)
    settings = pixels.read_settings({"stretch": "2,98", "bands": "1"})
    refused = 0
    for number in range(150):
        content = bytearray(whole[: draws.integers(len(whole))] if number % 3 == 0 else whole)
        for place in draws.integers(max(1, len(content)), size=number % 5 + 1) if content else ():
            content[place] = draws.integers(256)
        try:
            pixels.hold(bytes(content), "here", settings, tmp_path)
        except DataError as error:
            refused += 1
            assert str(error).startswith("here: ")
    assert refused > 40


def test_a_folder_of_deep_pictures_is_classified(tmp_path: Path) -> None:
    """classify: refused with the line to paste; with it, made 8-bit copies, and nothing of the patient in any file."""
    for name, content in {
        "ill/1.dcm": dicom(DEEP, WindowCenter=20000, WindowWidth=9000),
        "ill/2.png": bytes_of(DEEP, ".png"),
        "well/3.tif": bytes_of(DEEP[::-1].copy(), ".tif"),
        "well/4.png": bytes_of((DEEP // 200).astype(np.uint8), ".png"),
    }.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    output = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match=r"3 of 4 samples rejected.*--option stretch="):
        convert(task="classify", input=tmp_path / "in", output=output)
    manifest = convert(task="classify", input=tmp_path / "in", output=output, option="stretch=2,98")
    assert manifest["counts"]["read"] == manifest["counts"]["converted"] == 4
    assert manifest["image_root"] == "out.images"
    for record in adapt.read_records(output):
        picture = Image.open(tmp_path / "out.images" / record.images[0])
        assert (picture.mode in ("RGB", "L"), picture.size, record.sizes) == (True, (8, 6), ((8, 6),))
    for path in (output, *(tmp_path / "out.images").iterdir(), output.with_suffix("").with_suffix(".manifest.json")):
        assert b"Doe" not in path.read_bytes()


def test_pictures_with_a_tag_are_told_and_turned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ground: stored pixels and boxes unless asked; upright copies with moved boxes where asked, for any number of workers."""
    values = np.zeros((30, 40, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(values).save(tmp_path / "plain.png")
    images = [
        {"id": number, "file_name": name, "width": 40, "height": 30} for number, name in enumerate(("turned.png", "plain.png"))
    ]
    boxes = [
        {"id": number, "image_id": number, "category_id": 1, "bbox": [4, 3, 8, 6], "area": 48, "iscrowd": 0}
        for number in (0, 1)
    ]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    found = {}
    said = {}
    for upright in ("no", "yes", "labelled"):
        output = tmp_path / f"{upright}.jsonl"
        options = [f"upright={upright}", "format=coco"]
        if upright == "labelled":
            coco["images"][0] |= {"width": 30, "height": 40}
            (tmp_path / "boxes.json").write_text(json.dumps(coco))
        manifest = convert(task="ground", input=tmp_path / "boxes.json", images=tmp_path, output=output, option=options)
        assert manifest["pictures"]["with_orientation_tag"] == 1
        said[upright] = capsys.readouterr().err
        found[upright] = [(record.sizes[0], record.meta["boxes_px"]) for record in adapt.read_records(output)]
    assert "used as stored, unturned" in said["no"] and "note" not in said["labelled"]
    assert "turned upright: 1 picture, and boxes" in said["yes"] and "upright=labelled" in said["yes"]
    plain = ((40, 30), [[4, 3, 12, 9]])
    assert found["no"] == [plain, plain]
    # A quarter to the right: (x, y) goes to (30 - y, x).
    assert found["yes"] == [((30, 40), [[21, 4, 27, 12]]), plain]
    assert found["labelled"] == [((30, 40), [[4, 3, 12, 9]]), plain]


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("stated", [(40, 30), (30, 40)])
def test_the_advice_for_swapped_sides_ends(tmp_path: Path, tag: int, stated: tuple[int, int]) -> None:
    """Whatever the tag, the stated size and the option: the option that an error names converts, or it says that none does."""
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png", exif=exif)
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": stated[0], "height": stated[1]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 3, 8, 6], "area": 48, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    output = tmp_path / "out.jsonl"

    def told(upright: str) -> str:
        options = [f"upright={upright}", "format=coco"]
        try:
            convert(task="ground", input=tmp_path / "boxes.json", images=tmp_path, output=output, option=options, workers=0)
        except DataError as error:
            return str(error)
        return ""

    faults = [told(upright) for upright in ("no", "yes", "labelled")]
    advised = {name for fault in faults for name in re.findall(r"--option upright=(\w+)", fault)}
    assert not any(told(name) for name in advised)
    assert all("--option upright=" in fault or "no option helps" in fault for fault in faults if fault)
    # A quarter turn: no fits sides as stored, labelled upright ones, yes both. Else the sides are wrong under any option.
    is_quarter, is_stored = tag >= 5, stated == (40, 30)
    expected = [is_stored, True, not is_stored] if is_quarter else [is_stored] * 3
    assert [not fault for fault in faults] == expected


def test_deep_pictures_inside_a_table(tmp_path: Path) -> None:
    """vqa: embedded deep pictures are stretched as they are read, once; bands are not chosen a second time."""
    colours = np.stack([DEEP // 50, DEEP // 7, DEEP], 2)
    rows = {"image": [{"bytes": imagecodecs.png_encode(colours), "path": None}], "question": ["what?"], "answer": ["this"]}
    features = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
    )
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "t.parquet")
    output = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="--option stretch="):
        convert(task="vqa", input=tmp_path / "t.parquet", output=output)
    convert(task="vqa", input=tmp_path / "t.parquet", output=output, option=["stretch=0,100", "bands=3,2,1"])
    (record,) = adapt.read_records(output)
    made = np.asarray(Image.open(tmp_path / "out.images" / record.images[0]))
    for channel in range(3):
        assert np.array_equal(made[:, :, channel], stretched(colours[:, :, 2 - channel], 0, 100))


def test_bands_of_a_scene_set(tmp_path: Path) -> None:
    """rsclassify: 13 bands of 16 bits in EuroSAT's layout; the same made pictures from one process and from two."""
    found = []
    for count in (1, 2):
        for number in range(140):
            path = tmp_path / "2750" / ("River", "Forest")[number % 2] / f"{('River', 'Forest')[number % 2]}_{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            bands = np.stack([DEEP // (band + 1) + number for band in range(13)], 2)
            path.write_bytes(bytes_of(bands, ".tif", photometric="minisblack", planarconfig="contig"))
        output = tmp_path / f"{count}.jsonl"
        options = ["bands=4,3,2", "stretch=2,98"]
        convert(task="rsclassify", input=tmp_path / "2750", output=output, option=options, workers=count)
        found.append({path.name: path.read_bytes() for path in (tmp_path / f"{count}.images").iterdir()})
        assert len(adapt.read_records(output)) == 140
    assert found[0] == found[1]


def test_the_documents_name_the_tasks_that_take_the_options() -> None:
    """docs/formats.md lists exactly the tasks that have upright, stretch and bands; the plain picture questions are there."""
    found = {
        task.name for each in all_domains() for task in each.tasks if {option.name for option in pixels.OPTIONS}
        <= {option.name for option in task.options}
    }  # fmt: skip
    text = (Path(adapt.__file__).parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")
    listed = text.partition("\nTaken by ")[2].partition(".")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == found
    assert {"rsvqa", "cocoqa", "easyvqa", "pmcvqa", "vqarad", "pathvqa", "rsground", "bdd"} <= found


def test_deep_pictures_of_a_question_set_are_stretched(tmp_path: Path) -> None:
    """A set's 16-bit picture is refused with what to choose, and shown in 8 bits under the option."""
    (tmp_path / "train" / "images").mkdir(parents=True)
    (tmp_path / "train" / "images" / "1.png").write_bytes(bytes_of(DEEP, ".png"))
    (tmp_path / "train" / "questions.json").write_text(json.dumps([["What is it?", "a circle", 1]]))
    with pytest.raises(DataError, match="stretch"):
        convert(task="easyvqa", input=tmp_path, output=tmp_path / "out.jsonl")
    manifest = convert(task="easyvqa", input=tmp_path, output=tmp_path / "out.jsonl", option={"stretch": "0,100"})
    (record,) = adapt.read_records(tmp_path / "out.jsonl")
    with Image.open(tmp_path / manifest["image_root"] / record.images[0]) as picture:
        values = np.asarray(picture)
    assert values.dtype == np.uint8 and (values[0, 0, 0], values[-1, -1, 0]) == (0, 255)


def test_indexes_of_a_palette_are_no_grey(tmp_path: Path) -> None:
    """The numbers of a palette TIFF say nothing without its colours: refused where bands are asked for, else its colours."""
    buffer = io.BytesIO()
    picture = Image.fromarray((DEEP // 200).astype(np.uint8)).convert("P")
    picture.putpalette([255 - number // 3 for number in range(768)])
    picture.save(buffer, "TIFF")
    for options in ({"upright": "yes"}, {"stretch": "2,98"}):
        assert np.array_equal(shown(buffer.getvalue(), tmp_path, **options), np.asarray(picture.convert("RGB")))
    with pytest.raises(DataError, match="^here: a TIFF of palette colours.*store it as RGB"):
        shown(buffer.getvalue(), tmp_path, bands="1")
