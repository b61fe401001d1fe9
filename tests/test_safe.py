"""Bytes from outside: damage and traps end in one DataError that names the place."""

import io
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from adapt import safe
from adapt.errors import DataError

STRIP_OFFSETS = 273  # TIFF 6.0, section 8


@pytest.mark.parametrize("kind", [2, 5, 11, 12])
def test_a_tiff_whose_offsets_are_no_integers_is_damaged(kind: int) -> None:
    """Strip offsets of type ASCII, RATIONAL, FLOAT or DOUBLE, on which Pillow raises TypeError, are damage like any other."""
    buffer = io.BytesIO()
    Image.new("RGB", (11, 9)).save(buffer, "TIFF")
    content = bytearray(buffer.getvalue())
    start = struct.unpack_from("<I", content, 4)[0]
    places = [start + 2 + 12 * number for number in range(struct.unpack_from("<H", content, start)[0])]
    place = next(place for place in places if struct.unpack_from("<H", content, place)[0] == STRIP_OFFSETS)
    struct.pack_into("<H", content, place + 2, kind)
    with pytest.raises(DataError, match=r"^here: damaged picture"):
        safe.decode_picture(bytes(content), "here")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "JPEG"])
def test_pictures_that_are_too_large_are_told_with_their_size(kind: str) -> None:
    """Just above the limit, where Pillow warns and where it refuses: the header's size, and what to do; nothing is decoded."""
    for width, height in ((8001, 8000), (10_000, 9_000), (20_000, 10_000), (32_000, 31_000)):
        with pytest.raises(DataError) as caught:
            safe.size_of(with_size(kind, width, height), "here")
        said = f"here: {width}x{height} pixels, more than the 64,000,000 allowed; cut it into tiles, or make it smaller"
        assert str(caught.value) == said


def test_a_webp_that_is_too_large_is_told_with_its_pixels() -> None:
    """Up to 16,383 a side, Pillow's plugin itself refuses the largest."""
    for width, height, size in ((9000, 9000, "9000x9000"), (16_000, 15_000, "240000000")):
        with pytest.raises(DataError, match=f"^here: {size} pixels, more than the 64,000,000 allowed; cut it into tiles"):
            safe.size_of(with_size("WEBP", width, height), "here")


def with_size(kind: str, width: int, height: int) -> bytes:
    """A small picture whose header says that it is large: the size's place is found by the value there."""
    buffer = io.BytesIO()
    Image.new("RGB", (1111, 1237)).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    if kind == "WEBP":  # VP8L: 14 bits each of width - 1 and height - 1 behind the signature byte 0x2f
        content = bytearray(buffer.getvalue())
        place = content.index(b"VP8L") + 9
        (bits,) = struct.unpack_from("<I", content, place)
        struct.pack_into("<I", content, place, bits >> 28 << 28 | (height - 1) << 14 | (width - 1))
        return bytes(content)
    number = {"PNG": ">I", "BMP": "<i", "GIF": "<H", "TIFF": "<H", "JPEG": ">H"}[kind]
    content = buffer.getvalue()
    for old, new in ((1111, width), (1237, height)):
        content = content.replace(struct.pack(number, old), struct.pack(number, new))
    if kind == "PNG":  # section 5.3: the checksum behind IHDR
        content = content[:29] + struct.pack(">I", zlib.crc32(content[12:29])) + content[33:]
    return content


def test_a_doubled_key_is_found_in_linear_time() -> None:
    """An object of a hundred thousand keys with one twice at its end is refused in well under a second."""
    text = "{" + ", ".join(f'"{number}": 0' for number in range(100_000)) + ', "99999": 1}'
    start = time.process_time()
    with pytest.raises(DataError, match="here: holds the key '99999' twice"):
        safe.load_json(text, "here")
    assert time.process_time() - start < 2


def test_xml_without_document_types(tmp_path: Path) -> None:
    """Plain XML is read; entities, whether they unfold or name files, and files beyond the limit are refused in no time."""
    path = tmp_path / "a.xml"
    path.write_text("<a><b>1</b></a>")
    assert safe.read_xml(path).findtext("b") == "1"
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    start = time.process_time()
    for content in (f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><a>&l9;</a>', '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'):
        path.write_text(content)
        with pytest.raises(DataError, match=r"a.xml: holds a document type .* remove it"):
            safe.read_xml(path)
    path.write_text("<a><b></a>")
    with pytest.raises(DataError, match=r"^here: not XML: mismatched tag at line 1, column 8$"):
        safe.read_xml(path, "here")
    path.write_bytes(b"<a>" + b" " * safe.MAX_XML_BYTES + b"</a>")
    with pytest.raises(DataError, match="more than the 16,777,216 allowed"):
        safe.read_xml(path)
    assert time.process_time() - start < 1


def test_yaml_scalars_stay_text(tmp_path: Path) -> None:
    """``no`` is a name, not a truth value; tags call nothing; aliases, which unfold to gigabytes, are refused in no time."""
    path = tmp_path / "a.yaml"
    path.write_text("names: [no, 1, 1e3, 2020-01-01, ~]\nnc: !!python/name:os.system\n")
    assert safe.read_yaml(path) == {"names": ["no", "1", "1e3", "2020-01-01", "~"], "nc": ""}
    start = time.process_time()
    lines = ["a0: &a0 [x]"] + [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(9)]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match="holds an alias"):
        safe.read_yaml(path)
    for nested in ("[" * 100_000, "- " * 5000, "{a: " * 20_000):
        path.write_text(nested)
        with pytest.raises(DataError, match="a.yaml: nested too deeply"):
            safe.read_yaml(path)
    assert time.process_time() - start < 2


def test_names_that_no_file_system_takes_are_refused(tmp_path: Path) -> None:
    """A part of more than 255 bytes, or a whole of more than 1,024, is refused before a file system would raise."""
    for name in ("y" * 256, "ö" * 128, "a/" * 512 + "b", "\u20ac/" * 300):
        with pytest.raises(DataError, match="^here: the path"):
            safe.inside(tmp_path, name, "here")
    assert not safe.inside(tmp_path, "ö" * 127 + "/" + "y" * 255, "here").is_file()


@pytest.mark.parametrize("name", ["a/" + "b" * 300 + ".png", "ü" * 200 + ".png", "a/" * 600, "漢/" * 400])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    """A part of more than 255 bytes, or a path of more than 1,024, is a DataError before a file system is asked."""
    with pytest.raises(DataError, match="a.txt:3: the path"):
        safe.inside(tmp_path, name, "a.txt:3")
    assert safe.inside(tmp_path, "a/" + "b" * 255, "a.txt:3") == tmp_path / "a" / ("b" * 255)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\n'a': 3\n", "x:\n  - {a: 1,\n  a: 2}\n", "1: [{}]\nb: 2\n1: c\n"])
def test_doubled_keys_of_yaml_are_refused(tmp_path: Path, text: str) -> None:
    """Of two values the last would win unseen; equal keys of different mappings are fine."""
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.yaml:3: holds the key '[a1]' twice"):
        safe.read_yaml(path)
    path.write_text("a: {a: {b: 1}, b: 2}\nb: [{a: 1}, {a: 2}]\n")
    assert safe.read_yaml(path) == {"a": {"a": {"b": "1"}, "b": "2"}, "b": [{"a": "1"}, {"a": "2"}]}
    path.write_text("")
    assert safe.read_yaml(path) is None


def test_lines_of_blanks_are_no_rows(tmp_path: Path) -> None:
    """Lines of nothing but white space are counted and left out, whichever blanks they hold."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\n{"a": 1}\n \t\r\n\x0b\x0c\n{"b": 2}\r\n   ')
    assert list(safe.read_lines(path)) == [(2, b'{"a": 1}\n'), (5, b'{"b": 2}\r\n')]
