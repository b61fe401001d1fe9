"""Made pictures: what embedded bytes give lies in ``FILE.images/`` beside ``FILE.jsonl``.

Files are named by their content, so writing twice is writing once and no name from outside is ever an output path. Metadata
(place, patient, editor) is left behind: JPEG and PNG keep their pixels bit for bit, other formats become PNG.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from adapt import atomic, safe
from adapt.errors import DataError

FOLDER_SUFFIX = ".images"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
_NAME_LENGTH = 32
_MADE_NAME = re.compile(rf"(\.tmp-)?[0-9a-f]{{{_NAME_LENGTH}}}\.(jpg|png)(\.\d+)?")
_JPEG_START_OF_SCAN, _JPEG_COMMENT, _JPEG_ADOBE = 0xDA, 0xFE, 0xEE  # APP14 tells how colours are stored, so it stays


def made_folder(output: Path) -> Path:
    """``train.jsonl`` -> ``train.images``."""
    return output.with_name(output.name.removesuffix(".jsonl") + FOLDER_SUFFIX)


def names(folder: Path) -> set[str]:
    """The made pictures in ``folder``, those an interrupted run left half written included; no other file."""
    return {path.name for path in folder.iterdir() if _MADE_NAME.fullmatch(path.name)} if folder.is_dir() else set()


def remove(folder: Path, names: Iterable[str]) -> None:
    """Delete made pictures, and the folder with its last. A file whose name is not of its content is the user's, and stays."""
    for name in names:
        path = folder / name
        if name.startswith(atomic.STAGING_PREFIX) or safe.file_sha256(path)[:_NAME_LENGTH] == path.stem:
            path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def write_encoded(folder: Path, content: bytes, where: str) -> str:
    """Store the bytes of a picture file without their metadata; returns the file name in ``folder``.

    Raises DataError(``where``: ...) for bytes that do not decode as a whole picture.
    """
    picture = safe.decode_picture(content, where)
    if content.startswith(b"\xff\xd8"):
        return _write(folder, _strip_jpeg(content, where), ".jpg")
    if content.startswith(_PNG_SIGNATURE):
        return _write(folder, _strip_png(content), ".png")
    return _write(folder, _encode_png(picture), ".png")


def write_picture(folder: Path, picture: Image.Image, *, jpeg_quality: int | None = None) -> str:
    """Store an RGB picture that was composed here, as PNG, or as JPEG with ``jpeg_quality``; returns its name in ``folder``."""
    if jpeg_quality is None:
        return _write(folder, _encode_png(picture), ".png")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=jpeg_quality)
    return _write(folder, buffer.getvalue(), ".jpg")


def _encode_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    Image.frombytes(picture.mode, picture.size, picture.tobytes()).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _strip_jpeg(content: bytes, where: str) -> bytes:
    """Drop comments and application segments (EXIF, XMP, IPTC) before the first scan; ITU T.81, annex B."""
    kept, at = [content[:2]], 2
    while at + 4 <= len(content):
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at] != 0xFF or length < 2:
            raise DataError(f"{where}: damaged JPEG: no segment at byte {at:,}")
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _JPEG_START_OF_SCAN:
            return b"".join(kept) + content[at:]
        is_application = 0xE0 < marker <= 0xEF and marker != _JPEG_ADOBE
        if not is_application and marker != _JPEG_COMMENT:
            kept.append(content[at : at + 2 + length])
        at += 2 + length
    raise DataError(f"{where}: damaged JPEG: ends before its first scan")


def _strip_png(content: bytes) -> bytes:
    kept, at = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    while at + 12 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind in _PNG_PIXEL_CHUNKS:
            kept.append(content[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def _write(folder: Path, content: bytes, suffix: str) -> str:
    name = hashlib.sha256(content).hexdigest()[:_NAME_LENGTH] + suffix
    final = folder / name
    # One of another size is what a power cut left.
    if not final.exists() or final.stat().st_size != len(content):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = atomic.staging_path(final)  # workers may make the same picture at the same time
        temporary.write_bytes(content)
        os.replace(temporary, final)
    return name
