"""Files and paths from outside: how large a file may be, and which paths stay below their root.

``startswith`` lets a sibling folder through, so names are judged part by part.
"""

import codecs
import hashlib
import os
import struct
from pathlib import Path

from adapt.errors import DataError

MAX_PICTURE_BYTES = 64 * 2**20
MAX_JSON_BYTES = 2 * 2**30
# What Pillow's decoders raise on damaged and hostile files, by reading them and by mutating small ones.
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, MemoryError, struct.error
)  # fmt: skip


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


def read_text(path: Path, limit: int = MAX_JSON_BYTES) -> str:
    """The UTF-8 text of a file, without a byte order mark."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(error, str(path)) from error


def not_utf8(error: UnicodeDecodeError, where: str) -> DataError:
    """The error for bytes from the start of a file that are not UTF-8: names UTF-16, which Windows' tools write."""
    if (marks := utf16_marks(error.object)) is not None:
        return DataError(f"{where}: {marks}")
    return DataError(f"{where}: not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}); save the file as UTF-8")


def utf16_marks(content: bytes) -> str | None:
    """What to say of a text in UTF-16, told by its mark or by the zeros beside its letters; None for another text."""
    head = content[:64]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or head.count(0) > len(head) // 4:
        return "found UTF-16, expected UTF-8; save it as UTF-8, or: iconv -f UTF-16 -t UTF-8 OLD > NEW"
    return None


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
