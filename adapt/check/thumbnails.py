"""Small copies of pictures as text, all of them together within a number of bytes, so that a page of any data stays light."""

import base64
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from adapt import safe
from adapt.errors import DataError
from adapt.workers import map_ordered

PAGE_BYTES = 17 * 2**20  # of JPEG: a third more as base64, 23 MiB
MAX_AREA_PX = 1_200_000
MAX_BYTES = 400_000
QUALITY = 82
_BYTES_PER_PX = 0.22  # of photographs at QUALITY; the first guess at a size that fits
_TRIES = 4


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A JPEG as base64, or why there is none; ``size`` is that of the stored picture."""

    content: str = ""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


def make_thumbnails(
    places: Sequence[tuple[Path, str]], workers: int | None = None, max_bytes: int = MAX_BYTES
) -> dict[tuple[Path, str], Thumbnail]:
    """A thumbnail of each (root, path) of at most ``max_bytes``; the bytes of a page are shared out evenly."""
    share = min(max_bytes, PAGE_BYTES // max(1, len(places)))
    return dict(zip(places, map_ordered(_make, share, places, workers=workers, chunk=32), strict=True))


def _make(max_bytes: int, place: tuple[Path, str]) -> Thumbnail:
    root, name = place
    try:
        picture = safe.read_picture(safe.inside(root, name, "picture"))
    except DataError as error:
        return Thumbnail(fault=str(error))
    return Thumbnail(base64.b64encode(_encode(picture, max_bytes)).decode("ascii"), picture.size)


def _encode(picture: Image.Image, max_bytes: int) -> bytes:
    """JPEG of at most ``max_bytes``, or of the smallest picture that was tried."""
    area = min(MAX_AREA_PX, max_bytes / _BYTES_PER_PX)
    content = b""
    for _ in range(_TRIES):
        scale = min(1.0, math.sqrt(area / (picture.width * picture.height)))
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        buffer = io.BytesIO()
        small = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        small.save(buffer, "JPEG", quality=QUALITY)
        content = buffer.getvalue()
        if len(content) <= max_bytes:
            break
        area = size[0] * size[1] * max_bytes / len(content) * 0.85
    return content
