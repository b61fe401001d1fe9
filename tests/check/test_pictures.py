"""Damaged pictures among whole ones: all of them found, and none besides."""

import functools
import io
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adapt
from adapt.check.jpeg import data_fault, find_end
from adapt.check.pictures import Picture, look
from adapt.check.rows import Row
from adapt.errors import DataError
from adapt.records import ChatRecord, Turn
from adapt.verbs import convert

ENCODINGS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {"quality": 30}),
    ("JPEG", "RGB", {"progressive": True, "quality": 90}),
    ("JPEG", "RGB", {"optimize": True, "subsampling": 1}),
    ("JPEG", "CMYK", {"restart_marker_blocks": 5}),
    ("PNG", "RGB", {}),
    ("PNG", "P", {}),
    ("PNG", "LA", {}),
    ("WEBP", "RGB", {}),
    ("GIF", "L", {}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
)


def texture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """A picture with smooth parts, edges and noise, as photographs have."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = generator.integers(-12, 13, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse, np.int64) + noise, 0, 255).astype(np.uint8))


@functools.cache
def made(seed: int, encoding: int) -> bytes:
    """A small picture in the encoding of that place."""
    return encode(texture(seed), *ENCODINGS[encoding])


def encode(picture: Image.Image, form: str, mode: str, options: dict[str, object]) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    picture.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def wrong_checksum(content: bytes) -> bytes:
    """A PNG whose pixels are all right and whose checksum of them is not."""
    at = content.index(b"IDAT")
    size = int.from_bytes(content[at - 4 : at], "big")
    stated = zlib.crc32(content[at : at + 4 + size]) ^ 1
    return content[: at + 4 + size] + stated.to_bytes(4, "big") + content[at + 8 + size :]


def hole(content: bytes) -> bytes:
    """An eighth of the file in its middle filled with zeros."""
    start, size = len(content) // 2, len(content) // 8
    return content[:start] + bytes(size) + content[start + size :]


# How to damage it, and the encodings (by their place above) that it suits: a BMP has no sums, and any of its pixels may be 0.
DAMAGE: dict[str, tuple[Callable[[bytes], bytes], tuple[int, ...]]] = {
    "cut": (lambda content: content[: len(content) * 2 // 3], (0, 5, 8, 10, 11)),
    "hole": (hole, (0, 1, 2, 4, 5)),
    "flipped header": (lambda content: bytes(byte ^ 255 for byte in content[:12]) + content[12:], (0, 5, 8, 9, 10)),
    "web page": (lambda content: b"<!DOCTYPE html><html><body>404 Not Found</body></html>", (0, 5, 8, 9, 10)),
    "empty": (lambda content: b"", (0, 5, 8, 9, 10)),
    "pointer": (lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", (0, 5, 8, 9, 10)),
    "checksum": (wrong_checksum, (5, 6, 7, 5, 6)),
    "no end mark": (lambda content: content[:-2], (0, 1, 2, 3, 4)),
    "text": (lambda content: b"Please log in to see this picture.\n", (0, 5, 8, 9, 10)),
    "garbage behind": (lambda content: content + bytes(range(1, 200)) * 3, (0, 2, 5, 7, 8)),
}


def look_at(folder: Path, names: list[str], *, decode: bool) -> dict[str, Picture]:
    """What looking tells of each file."""
    rows = [Row(f"f:{n}", folder, ChatRecord(str(n), (Turn("gpt", "x"),), (name,))) for n, name in enumerate(names)]
    return {name: picture for (_, name), picture in look(rows, decode=decode, workers=0).items()}


@pytest.mark.slow
def test_fifty_damaged_among_a_thousand(tmp_path: Path) -> None:
    """50 pictures damaged in ten kinds among 1,000: decoding finds the 50 and no other; headers and ends find all but holes and
    checksums, and no other."""
    damaged: dict[str, str] = {}
    names = []
    for number in range(1000):
        kind, (damage, which) = list(DAMAGE.items())[number // 20 % 10]
        is_damaged = number % 20 == 0
        encoding = which[number // 200] if is_damaged else number % len(ENCODINGS)
        content = made(number % 24, encoding)
        names.append(f"{number}.{ENCODINGS[encoding][0].lower()}")
        if is_damaged:
            damaged[names[-1]] = kind
            content = damage(content)
        (tmp_path / names[-1]).write_bytes(content)
    assert len(damaged) == 50
    found = {name for name, picture in look_at(tmp_path, names, decode=True).items() if picture.fault}
    assert found == set(damaged)
    by_ends = {name for name, picture in look_at(tmp_path, names, decode=False).items() if picture.fault}
    assert by_ends == {name for name, kind in damaged.items() if kind not in ("hole", "checksum")}


@pytest.mark.parametrize("encoding", ENCODINGS[:5], ids=str)
def test_holes_in_jpegs_that_pillow_shows_as_pictures(encoding: tuple[str, str, dict[str, object]]) -> None:
    """A hole of an eighth or of 40 bytes anywhere in the data is found; a whole JPEG of any size has no fault."""
    form, mode, options = encoding
    for seed in range(8):
        content = encode(texture(seed, 40 + 13 * seed, 75 - 7 * seed), form, mode, options)
        assert data_fault(content) == ""
        assert find_end(content) == len(content)
        begin = content.rindex(b"\xff\xda") + 20
        for place in (0.1, 0.4, 0.7):
            at = begin + int((len(content) - begin) * place)
            assert data_fault(content[:at] + bytes(40) + content[at + 40 :])


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}, {"quality": 100, "progressive": True}], ids=str
)
def test_flat_and_regular_pictures_have_no_holes(options: dict[str, object]) -> None:
    """One colour, stripes, boards and ramps make long runs of equal bits, and are whole all the same."""
    down, across = np.mgrid[0:256, 0:320]
    patterns = [
        down * 0,
        down * 0 + 255,
        across * 255 // 319,
        across // 8 % 2 * 255,
        (across + down) % 2 * 255,
        (across // 4) % 2 * 9,
    ]
    for pattern in patterns:
        for mode in ("L", "RGB"):
            content = encode(Image.fromarray(pattern.astype(np.uint8)), "JPEG", mode, options)
            assert data_fault(content) == ""


def test_flipped_bytes_end_in_a_fault_or_none() -> None:
    """Whatever is written into a JPEG, the answer is a fault or none: no error, and no reading outside of the data."""
    generator = np.random.default_rng(3)
    contents = [encode(texture(1), form, mode, options) for form, mode, options in ENCODINGS[:5]]
    for number in range(2000):
        content = bytearray(contents[number % 5])
        for place in generator.integers(2, len(content), 1 + number % 4):
            content[place] = generator.integers(0, 256)
        assert isinstance(data_fault(bytes(content)), str)
        assert isinstance(data_fault(bytes(content[: generator.integers(2, len(content))])), str)


def test_what_cameras_write_behind_a_picture_is_no_fault(tmp_path: Path) -> None:
    """A second picture, a film, Samsung's trailer and padding are no damage."""
    content = encode(texture(0), "JPEG", "RGB", {})
    trailers = (content, b"\0\0\0\x18ftypmp42" + bytes(99), b"xxSEFHxxSEFT", bytes(500), b"\n")
    names = [f"{number}.jpg" for number in range(len(trailers))]
    for name, trailer in zip(names, trailers, strict=True):
        (tmp_path / name).write_bytes(content + trailer)
    for decode in (False, True):
        assert [picture.fault for picture in look_at(tmp_path, names, decode=decode).values()] == [""] * len(names)


def test_a_header_longer_than_what_is_read_first(tmp_path: Path) -> None:
    """A JPEG whose size stands behind 120 KB of metadata, and a TIFF whose header is its end, are read like others."""
    content = encode(texture(0), "JPEG", "RGB", {})
    segment = b"\xff\xe3" + (60_000).to_bytes(2, "big") + bytes(59_998)
    (tmp_path / "long.jpg").write_bytes(content[:2] + 2 * segment + content[2:])
    texture(0, 300, 200).save(tmp_path / "end.tif")
    for decode in (False, True):
        pictures = look_at(tmp_path, ["long.jpg", "end.tif"], decode=decode)
        assert [(picture.fault, picture.size) for picture in pictures.values()] == [("", (48, 40)), ("", (300, 200))]


def test_equal_contents_are_found_without_reading_all(tmp_path: Path) -> None:
    """Large files of one length and one start and end are told apart where a byte between differs, and known as equal else."""
    content = bytearray(encode(texture(0, 300, 300), "BMP", "RGB", {}))
    (tmp_path / "a.bmp").write_bytes(content)
    (tmp_path / "b.bmp").write_bytes(content)
    content[150_000] ^= 1
    (tmp_path / "c.bmp").write_bytes(content)
    for decode in (False, True):
        pictures = look_at(tmp_path, ["a.bmp", "b.bmp", "c.bmp"], decode=decode)
        assert pictures["a.bmp"].content == pictures["b.bmp"].content != pictures["c.bmp"].content


def test_real_pictures_have_no_fault(shared: Path) -> None:
    """Photographs, X-rays, satellite pictures and drawings of the reference data are whole, as Pillow finds them too."""
    folders = ("eurosat_rgb", "vqa_rad", "bccd_voc", "configilm_mock", "drivelm_sample")
    files = [path for name in folders for path in sorted((shared / "data" / name).rglob("*.[jt][pi][gf]"))[::12]]
    names = [str(path.relative_to(shared)) for path in files]
    assert len(names) > 300
    assert {name: each.fault for name, each in look_at(shared, names, decode=True).items() if each.fault} == {}


def test_a_file_of_ff_is_looked_at_once() -> None:
    """Runs of 0xff, which stand in front of every marker, take linear time where no marker follows: in a scan and in parts."""
    header = encode(texture(1), "JPEG", "RGB", {"restart_marker_blocks": 1})
    start = header.index(b"\xff\xda")
    scan = header[: start + 2 + int.from_bytes(header[start + 2 : start + 4], "big")]
    hostile = scan + b"\xff" * 300_000 + b"\0"
    began = time.process_time()
    assert find_end(hostile) is None and data_fault(hostile + b"\xff\xd9")
    assert time.process_time() - began < 5  # minutes where each byte of a run is begun with; most of it compiles


@pytest.mark.parametrize("tag", [273, 279])
@pytest.mark.parametrize("kind", [2, 7, 12])
def test_places_of_pixels_that_are_no_numbers(tmp_path: Path, tag: int, kind: int) -> None:
    """A TIFF may give the places of its strips as text, bytes or fractions: a fault of the picture or none, nothing else."""
    content = bytearray(encode(texture(1), "TIFF", "RGB", {"compression": "tiff_lzw"}))
    first = int.from_bytes(content[4:8], "little")
    for entry in range(first + 2, first + 2 + 12 * int.from_bytes(content[first : first + 2], "little"), 12):
        if int.from_bytes(content[entry : entry + 2], "little") == tag:
            content[entry + 2 : entry + 4] = kind.to_bytes(2, "little")
    (tmp_path / "a.tif").write_bytes(content)
    row = Row("f:1", tmp_path, ChatRecord("1", (Turn("gpt", "x"),), ("a.tif",)))
    for decode in (False, True):
        (found,) = look([row], decode=decode, workers=0).values()
        assert kind == 12 or found.fault.startswith(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", DAMAGE)
def test_convert_rejects_what_decoding_faults(kind: str, tmp_path: Path) -> None:
    """Of every kind of damage in every encoding it suits: the same pictures are faults of a check and rejected samples."""
    damage, which = DAMAGE[kind]
    rows, names = ["image,question,answer"], []
    for number, encoding in enumerate(sorted({*which, 0, 5})):
        content = made(number, encoding)
        for state, bytes_ in (("whole", content), ("bad", damage(content) if encoding in which else content)):
            names.append(f"{state}-{number}.{ENCODINGS[encoding][0].lower()}")
            (tmp_path / names[-1]).write_bytes(bytes_)
            rows.append(f"{names[-1]},what?,{number}")
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    faults = {name for name, picture in look_at(tmp_path, names, decode=True).items() if picture.fault}
    assert faults == {name for name in names if name.startswith("bad") and sorted({*which, 0, 5})[int(name[4])] in which}
    convert(task="vqa", input=tmp_path / "rows.csv", output=tmp_path / "out.jsonl", max_bad=len(names), workers=0)
    kept = {name for record in adapt.read_records(tmp_path / "out.jsonl") for name in record.images}
    assert kept == set(names) - faults


def test_a_rejected_picture_is_rejected_for_the_reason_of_the_check(tmp_path: Path) -> None:
    """Both say the same of one damaged file."""
    (tmp_path / "a.png").write_bytes(wrong_checksum(made(0, 5)))
    (tmp_path / "rows.csv").write_text("image,question,answer\na.png,what?,noise\n")
    with pytest.raises(DataError, match="the checksum of its part 'IDAT'"):
        convert(task="vqa", input=tmp_path / "rows.csv", output=tmp_path / "out.jsonl")
    reason = json.loads((tmp_path / "out.rejected.jsonl").read_text())["reason"]
    fault = look_at(tmp_path, ["a.png"], decode=True)["a.png"].fault
    assert reason.removeprefix("picture a.png: ") == fault.removeprefix(f"{tmp_path / 'a.png'}: ")
