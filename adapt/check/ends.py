"""Whether a picture file is whole, from its structure: its first and last bytes where these tell, all of it on request.

Each format says where it ends: JPEG by a mark (ITU T.81, B.1.1.3), PNG by a chunk (and by a checksum of each), GIF by a byte,
WebP and BMP by a length in front, TIFF by the places of its strips. Decoders pass over most of what is wrong there.
"""

import zlib
from collections.abc import Callable

from adapt import safe
from adapt.check import jpeg
from adapt.safe import PictureHeader

HEAD_BYTES, TAIL_BYTES = 32 * 1024, 64
_PADDING = b"\0\r\n "
_PNG_START = 8
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def ends_well(header: PictureHeader, head: bytes, tail: bytes, length: int) -> bool:
    """Whether first and last bytes show a whole file; False where only the whole file can tell."""
    last = (tail or head[-TAIL_BYTES:]).rstrip(_PADDING)
    if header.format in ("JPEG", "MPO"):
        return last.endswith(b"\xff\xd9")
    if header.format == "PNG":
        return (tail or head).endswith(_PNG_END)
    if header.format == "GIF":
        return last.endswith(b";")
    if header.format == "TIFF":
        return header.data_end <= length
    return _FIND_END[header.format](head, length) == length


def end_fault(header: PictureHeader, content: bytes) -> str:
    """Why a file is not whole, or holds more than its picture; '' where neither is so."""
    find, length = _FIND_END.get(header.format), len(content)
    end = header.data_end if find is None else find(content, length)
    if end is None:
        return f"ends before its end mark, after {length:,} bytes; fetch it again"
    if end > length:
        return f"ends after {length:,} of {end:,} bytes; fetch it again"
    rest = content[end:] if find is not None else b""
    if rest.strip(_PADDING) and not _is_known_trailer(rest):
        return f"holds {len(rest):,} bytes after the end of its picture; two files may be mixed up in it: fetch it again"
    return ""


def _is_known_trailer(rest: bytes) -> bool:
    """What cameras put behind a picture: a second picture, a short film, Samsung's list of settings."""
    return rest.lstrip(_PADDING).startswith(b"\xff\xd8\xff") or b"ftyp" in rest[:64] or rest.rstrip(_PADDING).endswith(b"SEFT")


def _png_end(content: bytes, length: int) -> int | None:
    at = _PNG_START
    while at + 12 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        at += 12 + size
        if kind == b"IEND":
            return at
    return None


def _gif_end(content: bytes, length: int) -> int | None:
    """A GIF's blocks are not walked: its last byte is the mark."""
    return length if content.rstrip(_PADDING).endswith(b";") else None


def _webp_end(content: bytes, length: int) -> int | None:
    size = int.from_bytes(content[4:8], "little") + 8
    return size + size % 2 if length > size else size


def _bmp_end(content: bytes, length: int) -> int | None:
    stated = int.from_bytes(content[2:6], "little")
    return stated if stated > 26 else length  # some writers leave the length out


_FIND_END: dict[str, Callable[[bytes, int], int | None]] = {
    "JPEG": lambda content, length: jpeg.find_end(content),
    "MPO": lambda content, length: jpeg.find_end(content),
    "PNG": _png_end,
    "GIF": _gif_end,
    "WEBP": _webp_end,
    "BMP": _bmp_end,
}


def file_fault(content: bytes, where: str) -> str:
    """What is wrong with the bytes of a picture that decodes; '' where nothing is, and of one deeper than 8 bits."""
    if safe.is_deep(content, where):
        return ""
    header = safe.header_of(content, where)
    return end_fault(header, content) or content_fault(header, content)


def content_fault(header: PictureHeader, content: bytes) -> str:
    """Damage inside a picture that its decoder passes over: checksums of a PNG's chunks, codes of a JPEG."""
    if header.format == "PNG":
        return _checksum_fault(content)
    if header.format in ("JPEG", "MPO") and (fault := jpeg.data_fault(content)):
        return f"damaged inside: {fault}; fetch it again"
    return ""


def _checksum_fault(content: bytes) -> str:
    at = _PNG_START
    while at + 12 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        stated = int.from_bytes(content[at + 8 + size : at + 12 + size], "big")
        if zlib.crc32(content[at + 4 : at + 8 + size]) != stated:
            shown = kind.decode("ascii", "backslashreplace")
            return f"damaged inside: the checksum of its part '{shown}' at byte {at:,} is wrong; fetch it again"
        at += 12 + size
        if kind == b"IEND":
            break
    return ""
