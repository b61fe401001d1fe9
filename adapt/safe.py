"""The only door for bytes from outside: pictures, videos, JSON and paths are opened here and nowhere else.

Why each guard stands: Pillow sniffs by content and only warns of bombs; ``json.loads`` takes NaN, doubled keys and lone
surrogates, and answers deep nesting with RecursionError; ``startswith`` lets a sibling folder through where
``is_relative_to`` does not; a pickle may call any function; an array's header may claim more than there is.
"""

import codecs
import collections
import dataclasses
import hashlib
import io
import itertools
import json
import math
import os
import pickle
import pickletools
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from xml.etree.ElementTree import Element, ParseError  # types only: defusedxml does the reading

from PIL import Image, UnidentifiedImageError

from adapt import orientation
from adapt.errors import DataError, UsageError
from adapt.progress import say

if TYPE_CHECKING:
    import numpy as np

PICTURE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".dcm", ".dicom"})
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"})
# ffmpeg sniffs by content, and a playlist by any name would make it open other files and addresses.
_VIDEO_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts"
ORIENTATION_TAG = 0x0112  # EXIF
MAX_PICTURE_PIXELS = 64_000_000
MAX_PICTURE_BYTES = 64 * 2**20
MAX_JSON_BYTES = 2 * 2**30
MAX_LINE_BYTES = 16 * 2**20
MAX_XML_BYTES = 16 * 2**20
MAX_YAML_BYTES = 2**17  # it is read letter by letter in Python
MAX_YAML_DEPTH = 50
# Above 8 bits a stretch must be chosen: a silent cut to 8 bits turns most scientific pictures black.
DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
CHOOSE_STRETCH = "choose the range to show: --option stretch=2,98 (percentiles)"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF
_TIFF_BITS = 258  # TIFF 6.0, section 8
_PNG_BIT_DEPTH = 24  # the byte of IHDR (PNG, section 11.2.2)
# What Pillow's decoders raise on damaged and hostile files, by reading them and by mutating small ones.
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, MemoryError, struct.error
)  # fmt: skip


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"holds a number out of range ({text[:20]})")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        raise ValueError(f"holds the key '{counts.most_common(1)[0][0]}' twice")
    return found


# One decoder for all documents: making one for each line costs as much as reading a short line.
_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys)


def load_json(content: bytes | str, where: str) -> Any:
    """Parse one JSON document strictly.

    Raises DataError(``where``: ...) for bad UTF-8, NaN, doubled keys, lone surrogates and nesting too deep.
    """
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8") if isinstance(content, bytes) else content
        value = _STRICT.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: holds half of a surrogate pair, which no UTF-8 file can store") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}); save the file as UTF-8"
        ) from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deeply to be data") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON: {error.msg.removesuffix(' at')} at column {error.colno}, line {error.lineno} of the document"
        ) from error
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def read_bytes(path: Path, limit: int = MAX_JSON_BYTES) -> bytes:
    """The content of a file of at most ``limit`` bytes."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path}: {size:,} bytes, more than the {limit:,} allowed")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """Parse a JSON file strictly; see load_json."""
    return load_json(read_bytes(Path(path)), str(path))


def read_object(path: Path) -> dict[str, Any]:
    """Parse the JSON object in ``path``. Raises DataError for any other document."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds {str(value)[:40]!r}, expected a JSON object; fetch or write it again")
    return value


def read_object_if_there(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``, {} where there is no such file."""
    return read_object(path) if path.is_file() else {}


def read_text(path: Path, limit: int = MAX_JSON_BYTES) -> str:
    """The UTF-8 text of a file, without a byte order mark."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error


def read_xml(path: Path, where: str | None = None) -> Element:
    """The root element of an XML file of at most 16 MiB.

    Raises DataError(``where`` or the path: ...) for what is no XML, and for document types: entities are defined there, and a
    few lines of them unfold to gigabytes or name other files.
    """
    import defusedxml.ElementTree
    from defusedxml import DefusedXmlException

    where = where or str(path)
    try:
        root: Element = defusedxml.ElementTree.fromstring(read_bytes(path, MAX_XML_BYTES), forbid_dtd=True)
    except DefusedXmlException as error:
        raise DataError(
            f"{where}: holds a document type (<!DOCTYPE or <!ENTITY), which data does not need; remove it"
        ) from error
    except ParseError as error:
        line, column = error.position
        raise DataError(f"{where}: not XML: {str(error).partition(':')[0]} at line {line}, column {column}") from error
    except (ValueError, LookupError, RecursionError) as error:  # encodings that do not exist, or are not what they say
        raise DataError(f"{where}: not XML: {error}") from error
    return root


def _depth(steps: Iterable[int]) -> int:
    return max(itertools.accumulate(steps), default=0)


def read_yaml(path: Path) -> Any:
    """The document of a small YAML file; every scalar stays text, since YAML reads ``no`` as a truth value.

    Raises DataError for what is no YAML, for nesting too deep, and for aliases (a few lines of them unfold to gigabytes).
    """
    import yaml

    text = read_text(path, MAX_YAML_BYTES)
    # Brackets first: PyYAML takes quadratic time for those in each other.
    if _depth({"[": 1, "{": 1, "]": -1, "}": -1}.get(letter, 0) for letter in text) > MAX_YAML_DEPTH:
        raise DataError(f"{path}: nested too deeply to be data")
    try:
        events = list(yaml.parse(text, Loader=yaml.BaseLoader))
        if any(isinstance(event, yaml.AliasEvent) for event in events):
            raise DataError(f"{path}: holds an alias (*name), which data does not need; write it out")
        starts, ends = yaml.CollectionStartEvent, yaml.CollectionEndEvent
        if _depth(isinstance(event, starts) - isinstance(event, ends) for event in events) > MAX_YAML_DEPTH:
            raise DataError(f"{path}: nested too deeply to be data")
        return yaml.BaseLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from error


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of each line that is not blank; of a line too long for ``load_line`` only the start is kept."""
    try:
        handle = open(path, "rb")  # noqa: SIM115 (closed below; only opening may fail here)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    with handle:
        number = 0
        while line := handle.readline(MAX_LINE_BYTES + 1):
            number += 1
            rest = line
            while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest = handle.readline(MAX_LINE_BYTES + 1)
            if line.strip():
                yield number, line


def load_line(line: bytes, where: str) -> Any:
    """Parse one line of ``read_lines`` strictly; see load_json. Raises DataError for a line above 16 MiB, too."""
    if len(line) > MAX_LINE_BYTES:
        raise DataError(f"{where}: a line of more than {MAX_LINE_BYTES:,} bytes is not a row")
    return load_json(line, where)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def inside(root: Path, name: str, where: str) -> Path:
    """``root / name`` for a name that came from data, refused when it could leave ``root``.

    The file itself may be a link (data folders are often farms of links); the name may not climb.
    """
    num_bytes = len(name.encode("utf-8", "surrogatepass"))
    if "\x00" in name or num_bytes > 1024 or "\\" in name or name.startswith(("/", "~")) or name[1:2] == ":":
        raise DataError(
            f"{where}: the path {name[:80]!r} is not a plain relative path; write it from its root folder (for pictures "
            "--images) on, with '/' between folders"
        )
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise DataError(f"{where}: the path {name[:80]!r} leaves its root folder")
    if any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts):  # the most that file systems take
        raise DataError(f"{where}: the path {name[:80]!r}... holds a name of more than 255 bytes")
    return root.joinpath(*parts)


def _describe_non_picture(content: bytes) -> str:
    if not content:
        return "an empty file (0 bytes)"
    if content.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the picture; run 'git lfs pull'"
    head = content[:64].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return "an HTML page, not a picture"
    if is_dicom(content):
        return "a DICOM file; choose the range to show with --option stretch=window, or with percentiles: stretch=2,98"
    if content.startswith(TIFF_SIGNATURES):
        return f"a TIFF of several bands or deep numbers; {CHOOSE_STRETCH}, and three bands with --option bands=4,3,2"
    if all(32 <= byte < 127 or byte in (9, 10, 13) for byte in content[:256]):
        return f"a text file, not a picture (starts with {content[:24].decode('ascii')!r})"
    return f"not a picture of a known format ({', '.join(PICTURE_FORMATS)}); starts with bytes {content[:8].hex(' ')}"


def _open(content: bytes, where: str) -> Image.Image:
    if len(content) > MAX_PICTURE_BYTES:
        raise DataError(f"{where}: {len(content):,} bytes, more than the {MAX_PICTURE_BYTES:,} allowed for a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd tags; damage raises
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=PICTURE_FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: {_describe_non_picture(content)}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: more pixels than the {MAX_PICTURE_PIXELS:,} allowed") from error
    except DAMAGE as error:
        raise DataError(f"{where}: damaged picture header: {error}") from error
    if picture.width * picture.height > MAX_PICTURE_PIXELS:
        raise DataError(f"{where}: {picture.width}x{picture.height} pixels, more than the {MAX_PICTURE_PIXELS:,} allowed")
    return picture


def is_dicom(content: bytes) -> bool:
    """Whether the bytes are a DICOM file (PS3.10, section 7.1: a preamble of 128 bytes, then DICM)."""
    return content[128:132] == b"DICM"


def is_deep(content: bytes, where: str) -> bool:
    """Whether the bytes are a picture that ``decode_picture`` refuses for its depth or bands; bands.py reads its numbers."""
    if is_dicom(content):
        return True
    try:
        return _is_deep(_open(content, where), content)
    except DataError as error:
        if content.startswith(TIFF_SIGNATURES) and isinstance(error.__cause__, UnidentifiedImageError):
            return True
        raise


def _is_deep(picture: Image.Image, content: bytes) -> bool:
    """More than 8 bits a channel. Pillow opens 16-bit colours as 8 bits without a word, so its mode does not tell."""
    if picture.mode in DEEP_MODES:
        return True
    if picture.format == "PNG":
        return content[_PNG_BIT_DEPTH : _PNG_BIT_DEPTH + 1] > b"\x08"
    if picture.format != "TIFF":
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bits = picture.tag_v2.get(_TIFF_BITS, 1)  # type: ignore[attr-defined]
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    except DAMAGE:
        return False  # loading will say what is wrong


def _refuse_deep(picture: Image.Image, content: bytes, where: str) -> None:
    if _is_deep(picture, content):
        raise DataError(f"{where}: more than 8 bits a channel (mode {picture.mode}); {CHOOSE_STRETCH}")


def decode_picture(content: bytes, where: str) -> Image.Image:
    """Decode a whole picture to RGB, in its stored orientation (the first frame of several).

    Transparency is dropped and palettes, grey and CMYK are converted as Pillow's ``convert("RGB")`` does, which is what
    the official InternVL code does. Raises DataError for damage and for more than 8 bits a channel.
    """
    return decode_stored(content, where)[0]


def decode_stored(content: bytes, where: str) -> tuple[Image.Image, int]:
    """``decode_picture``, and the picture's orientation tag, 1 (upright) to 8."""
    picture = _open(content, where)
    _refuse_deep(picture, content, where)
    return _load(picture, "RGB", len(content), where)


def decode_native(content: bytes, where: str) -> tuple[Image.Image, int]:
    """A whole picture in its own mode where that is grey, colours or deep grey, else as RGB; and its orientation tag."""
    picture = _open(content, where)
    mode = picture.mode if picture.mode in {"L", "RGB", "RGBA"} | DEEP_MODES else "RGB"
    return _load(picture, mode, len(content), where)


def mode_of(content: bytes, where: str) -> str:
    """Pillow's name for the channels of a picture, from its header."""
    return _open(content, where).mode


def _load(picture: Image.Image, mode: str, num_bytes: int, where: str) -> tuple[Image.Image, int]:
    """All pixels in ``mode``, in stored order, and the orientation tag."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd palettes and tags; damage raises
            before = _orientation(picture) if picture.format == "TIFF" else None
            loaded = picture.convert(mode)
    except DAMAGE as error:
        raise DataError(f"{where}: damaged picture ({num_bytes:,} bytes): {error}") from error
    if before is None:
        return loaded, _orientation(picture)
    # Pillow turns TIFF files as it loads them, and takes the tag away; other formats it leaves as they are stored.
    was_turned = ORIENTATION_TAG not in picture.tag_v2  # type: ignore[attr-defined]
    return orientation.stored(loaded, before) if was_turned else loaded, before


def read_picture(path: Path, where: str | None = None) -> Image.Image:
    """Decode the picture file ``path`` to RGB; see decode_picture."""
    return decode_picture(read_bytes(path, MAX_PICTURE_BYTES), where or str(path))


def size_of(content: bytes, where: str) -> tuple[int, int]:
    """(width, height) in pixels of the stored order, from the header of a picture's bytes."""
    return _stored_size(_open(content, where))


def _stored_size(picture: Image.Image) -> tuple[int, int]:
    """Pillow gives a TIFF's size as it is once the picture is turned upright."""
    return orientation.upright_size(picture.size, _orientation(picture)) if picture.format == "TIFF" else picture.size


def picture_size(path: Path, where: str | None = None) -> tuple[int, int]:
    """(width, height) in pixels, from the header of a picture file."""
    return size_of(read_bytes(path, MAX_PICTURE_BYTES), where or str(path))


def orientation_of(content: bytes, where: str) -> int:
    """The orientation tag, 1 to 8; 1 (upright) where there is none or it cannot be read. Pixels are used as stored."""
    return _orientation(_open(content, where))


def _orientation(picture: Image.Image) -> int:
    try:
        if picture.format == "PNG" and "exif" not in picture.info:
            return orientation.UPRIGHT  # Pillow would decode the picture to look for one behind it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = picture.getexif().get(ORIENTATION_TAG, orientation.UPRIGHT)
    except DAMAGE:
        return orientation.UPRIGHT  # damaged tags do not damage the pixels
    return value if isinstance(value, int) and 1 <= value <= 8 else orientation.UPRIGHT


@dataclasses.dataclass(frozen=True)
class PictureHeader:
    """What the first bytes of a picture say; ``data_end`` is where the pixels of a TIFF end, 0 for other formats."""

    format: str
    size: tuple[int, int]
    orientation: int
    data_end: int = 0


def header_of(content: bytes, where: str) -> PictureHeader:
    """The header of a picture's bytes. Raises DataError for what is no picture, and for more than 8 bits a channel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd tags; damage raises
        picture = _open(content, where)
        _refuse_deep(picture, content, where)
        end = _tiff_end(picture, where) if picture.format == "TIFF" else 0
        return PictureHeader(str(picture.format), _stored_size(picture), _orientation(picture), end)


def _tiff_end(picture: Image.Image, where: str) -> int:
    tags, ends = picture.tag_v2, [0]  # type: ignore[attr-defined]
    try:
        for offsets, counts in ((273, 279), (324, 325)):  # of strips, of tiles
            pairs = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
            ends += [int(offset) + int(count) for offset, count in pairs]
    except DAMAGE as error:  # the tags may be of any type
        raise DataError(f"{where}: damaged picture header: places of its pixels that are no numbers") from error
    return max(ends)


def read_ends(path: Path, head: int, tail: int) -> tuple[bytes, bytes, int]:
    """The first and the last bytes of a picture file and its length; the last ones are empty where the first are all of it."""
    try:
        with open(path, "rb", buffering=0) as handle:
            length = os.fstat(handle.fileno()).st_size
            if length > MAX_PICTURE_BYTES:
                raise DataError(f"{path}: {length:,} bytes, more than the {MAX_PICTURE_BYTES:,} allowed for a picture")
            first = handle.read(head)
            if length <= head:
                return first, b"", length
            handle.seek(length - tail)
            return first, handle.read(tail), length
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def decode_video(path: Path, where: str, choose: Callable[[Sequence[float]], Sequence[int]]) -> Iterator[Image.Image]:
    """The frames of a video file that ``choose`` picks, as RGB pictures in stored orientation, in order.

    ``choose`` gets the time of every frame in seconds after the first (NaN where the file has none), and answers with rising
    places among them. Raises DataError for damage, for frames too large, and for more than 8 bits a channel; UsageError where
    PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UsageError(f"{path}: reading a video needs PyAV; run: pip install 'adapt-vlm[video]'") from error
    try:
        with _open_video(path) as container:
            stream = _video_stream(container, where)
            times = []
            for frame in _video_frames(container, stream, where):
                times.append(math.nan if frame.time is None else float(frame.time))
                if frame.rotation and len(times) == 1:
                    say(f"note: {where} asks players to turn it by {frame.rotation} degrees; its frames are used as stored")
            _check_whole(container, stream, times, where)
        chosen = choose([time - times[0] for time in times])
        with _open_video(path) as container:
            stream = _video_stream(container, where)
            for place, frame in enumerate(_video_frames(container, stream, where)):
                if place in chosen:
                    yield frame.to_image()
                if place == chosen[-1]:
                    return
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: not a video that can be read whole: {error}") from error


def _open_video(path: Path) -> Any:
    """The container, opened so that damage raises and no other file or address is."""
    import av

    guards = {"format_whitelist": _VIDEO_FORMATS, "protocol_whitelist": "file", "err_detect": "explode"}
    return av.open(f"file:{path}", options=guards, metadata_errors="replace")


def _video_stream(container: Any, where: str) -> Any:
    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise DataError(f"{where}: holds no video stream")
    if stream.codec_context is None:
        raise DataError(f"{where}: its codec is unknown to this ffmpeg; store it as H.264")
    return stream


def _video_frames(container: Any, stream: Any, where: str) -> Iterator[Any]:
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise DataError(f"{where}: a damaged packet at byte {packet.pos}")
        for frame in packet.decode():
            if frame.width * frame.height > MAX_PICTURE_PIXELS:
                raise DataError(f"{where}: frames of {frame.width}x{frame.height} pixels; {MAX_PICTURE_PIXELS:,} are allowed")
            if any(part.bits > 8 for part in frame.format.components):
                raise DataError(f"{where}: more than 8 bits a channel ({frame.format.name}); store it with 8 bits first")
            if frame.is_corrupt:
                raise DataError(f"{where}: a damaged frame at {frame.time} seconds")
            yield frame


def _check_whole(container: Any, stream: Any, times: Sequence[float], where: str) -> None:
    """Raise DataError where fewer frames came out than the file says that it holds. Frames cut away by its maker may lack."""
    if not times:
        raise DataError(f"{where}: no frame can be read")
    stated = float(stream.duration * stream.time_base) if stream.duration else None
    if stated is None and container.duration and len(container.streams) == 1:
        stated = container.duration / 1e6
    if stated is None or len(times) < 2 or math.isnan(times[0] + times[-1]):
        return
    span = times[-1] - times[0]
    frame_s = 1 / float(stream.average_rate) if stream.average_rate else span / (len(times) - 1)
    # Some containers state where the last frame ends, others how long all last. A tenth: durations are rounded, and rates vary.
    if max(span, times[-1]) + 4 * frame_s < 0.9 * stated:
        raise DataError(f"{where}: its frames end after {span:.1f} of {stated:.1f} seconds; fetch it again")
    if len(times) + 4 < 0.9 * span / frame_s:
        raise DataError(f"{where}: {len(times):,} frames can be read, expected about {span / frame_s:,.0f}; fetch it again")


MAX_PICKLE_BYTES = 256 * 2**20
MAX_PICKLE_DEPTH = 64
_LAST = object()
# Lists, dicts, tuples, text, bytes and numbers of every protocol. All that is not here can name, build or call something.
_PLAIN_OPCODES = """PROTO FRAME STOP MARK MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET NONE NEWTRUE NEWFALSE INT BININT
    BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT
    DICT SETITEM SETITEMS"""


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every global and every persistent id; the opcodes were looked at before, so neither is ever asked for."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"names {module}.{name}")

    def persistent_load(self, identifier: Any) -> NoReturn:
        raise pickle.UnpicklingError("names an object outside the file")


def read_plain_pickle(path: Path, limit: int = MAX_PICKLE_BYTES) -> Any:
    """The value in a pickle file of at most ``limit`` bytes; see load_plain_pickle."""
    return load_plain_pickle(read_bytes(path, limit), str(path))


def load_plain_pickle(content: bytes, where: str) -> Any:
    """The value of a pickle that holds only lists, tuples, dicts, text, bytes, bools, None, floats and 64-bit integers.

    Nothing is built until every opcode has been looked at. Raises DataError(``where``: ...) for all that could name, build or
    call an object, for damage, for values in a circle or nested deeply, and for few bytes that stand for very many values.
    """
    try:
        _check_opcodes(content, where)
        value = _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    except DataError:
        raise
    except (*DAMAGE, pickle.UnpicklingError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: a damaged pickle: {str(error)[:80]}") from error
    _check_plain(value, 16 * len(content), where)
    return value


def _check_opcodes(content: bytes, where: str) -> None:
    end, plain = -1, frozenset(_PLAIN_OPCODES.split())
    for count, (opcode, argument, place) in enumerate(pickletools.genops(content)):
        end = place or 0  # it is None only where the source cannot tell its place
        if opcode.name not in plain:
            named = "" if argument is None else f" {str(argument)[:40]!r}"
            raise DataError(
                f"{where}: a pickle that would build or call something ({opcode.name}{named} at byte {end}); only lists, "
                "dicts, text and numbers are read: convert it to JSON where you trust it"
            )
        if opcode.name.endswith("PUT") and int(argument or 0) > count:  # the unpickler makes a table of that many places
            raise DataError(f"{where}: a damaged pickle: place {argument} among {count} values")
    if end + 1 != len(content):
        raise DataError(f"{where}: a damaged pickle: {len(content) - end - 1:,} bytes behind its end")


def _check_plain(value: Any, most: int, where: str) -> None:
    """Raise DataError where the value is deep or circular, or is far more than its bytes when it is written out."""
    waiting, seen = [iter((value,))], 0  # what is left at each depth: memory grows with the depth alone
    while waiting:
        each = next(waiting[-1], _LAST)
        if each is _LAST:
            waiting.pop()
            continue
        seen += 1
        if seen > most:
            raise DataError(f"{where}: a small pickle that stands for more than {most:,} values")
        if isinstance(each, dict | list | tuple) and each:
            if len(waiting) > MAX_PICKLE_DEPTH:
                raise DataError(f"{where}: nested too deeply to be data")
            waiting.append(itertools.chain(each, each.values()) if isinstance(each, dict) else iter(each))
        if isinstance(each, int) and not -(2**63) <= each < 2**63:
            raise DataError(f"{where}: holds an integer of more than 64 bits")
        if isinstance(each, float) and not math.isfinite(each):
            raise DataError(f"{where}: holds {each}, which is not data")


MAX_ARRAYS = 1000
MAX_ARRAY_ROWS = 5_000_000
_ARCHIVE_DAMAGE = (*DAMAGE, zipfile.BadZipFile, zlib.error, RuntimeError, tokenize.TokenError)


def array_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], "np.dtype[Any]"]]:
    """Name -> (shape, dtype) of the arrays in an ``.npz`` file, from their headers.

    Raises DataError for what is no such file, for arrays of Python objects, and where a header and its bytes disagree.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > MAX_ARRAYS:
                raise DataError(f"{path}: {len(archive.infolist()):,} members, more than the {MAX_ARRAYS:,} allowed")
            for member in archive.infolist():
                with archive.open(member) as handle:
                    found[member.filename.removesuffix(".npy")] = _array_header(handle, member, f"{path}[{member.filename}]")
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except _ARCHIVE_DAMAGE as error:
        raise DataError(f"{path}: not an .npz file that can be read: {str(error)[:80]}") from error
    return found


def _array_header(handle: Any, member: zipfile.ZipInfo, where: str) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    reader = readers.get(npy.read_magic(handle))
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or reader is None:
        raise DataError(f"{where}: stored in a way that numpy.savez does not write; save it again")
    shape, by_column, dtype = reader(handle)
    if dtype.hasobject:
        raise DataError(f"{where}: an array of Python objects, which is a pickle; only numbers are read")
    if by_column and len(shape) > 1:
        raise DataError(f"{where}: stored column by column; save it again from numpy.ascontiguousarray(...)")
    length = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 1 or shape[0] > MAX_ARRAY_ROWS or length // shape[0] > MAX_PICTURE_BYTES:
        raise DataError(f"{where}: shape {shape} of {dtype}, expected 1 to {MAX_ARRAY_ROWS:,} rows that are not empty")
    if length != member.file_size - handle.tell():
        raise DataError(
            f"{where}: {member.file_size - handle.tell():,} bytes, expected {length:,} for shape {shape} of {dtype}"
        )
    return tuple(shape), dtype


def array_rows(path: Path, name: str) -> "Iterator[np.ndarray]":
    """The rows (first axis) of one array of an ``.npz`` file, one at a time: memory does not grow with the array.

    Raises DataError as array_shapes does, and for an array that ends early or whose checksum is wrong.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as handle:
            shape, dtype = _array_header(handle, archive.getinfo(f"{name}.npy"), f"{path}[{name}.npy]")
            length = math.prod(shape[1:]) * dtype.itemsize
            for number in range(shape[0]):
                content = handle.read(length)
                if len(content) != length:
                    raise DataError(f"{path}[{name}.npy]: ends in row {number:,} of {shape[0]:,}; fetch it again")
                yield np.frombuffer(content, dtype).reshape(shape[1:])
    except DataError:
        raise
    except _ARCHIVE_DAMAGE as error:
        raise DataError(f"{path}[{name}.npy]: damaged: {str(error)[:80]}; fetch it again") from error
