"""Pictures from outside: formats on a list, sizes looked at before anything is decoded, stored order kept.

Pillow sniffs by content and only warns of bombs.
"""

import dataclasses
import io
import re
import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from adapt import orientation
from adapt.errors import DataError
from adapt.safe.files import DAMAGE, MAX_PICTURE_BYTES, read_bytes

PICTURE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".dcm", ".dicom"}
)
# Names of formats that are not on the list: cameras', scanners', editors' and those that few decoders read.
_UNREAD = (
    ".heic .heif .hif .avif .jp2 .j2k .jpx .jpf .jxl .jxr .ppm .pgm .pbm .pnm .tga .psd .psb .svg .exr .pcx "
    ".dng .raw .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .orf .rw2 .raf .pef .srw"
)
UNREAD_SUFFIXES = frozenset(_UNREAD.split())
ORIENTATION_TAG = 0x0112  # EXIF
MAX_PICTURE_PIXELS = 64_000_000
# Above 8 bits a stretch must be chosen: a silent cut to 8 bits turns most scientific pictures black.
DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
CHOOSE_STRETCH = "choose the range to show: --option stretch=2,98 (percentiles)"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF
_TIFF_BITS = 258  # TIFF 6.0, section 8
_PNG_BIT_DEPTH = 24  # the byte of IHDR (PNG, section 11.2.2)


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
            warnings.simplefilter("ignore")  # odd tags, and sizes that are looked at below; damage raises
            picture = Image.open(io.BytesIO(content), formats=PICTURE_FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: {_describe_non_picture(content)}") from error
    except Image.DecompressionBombError as error:
        raise _too_large(_refused_size(content, error), where) from error
    except DAMAGE as error:
        raise DataError(f"{where}: damaged picture header: {error}") from error
    if picture.width * picture.height > MAX_PICTURE_PIXELS:
        raise _too_large(f"{picture.width}x{picture.height}", where)
    return picture


def _refused_size(content: bytes, refusal: Image.DecompressionBombError) -> str:
    """The size of a picture that Pillow refuses once its header is read; its pixels where the format's plugin refuses it."""
    openers = (Image.OPEN[name] for name in PICTURE_FORMATS)
    read_header = next(read for read, accept in openers if accept is not None and accept(content[:16]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "{}x{}".format(*read_header(io.BytesIO(content), "").size)
        except Image.DecompressionBombError:
            return next(iter(re.findall(r"\d+", str(refusal))), "too many")


def _too_large(size: str, where: str) -> DataError:
    return DataError(
        f"{where}: {size} pixels, more than the {MAX_PICTURE_PIXELS:,} allowed; cut it into tiles, or make it smaller"
    )


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
