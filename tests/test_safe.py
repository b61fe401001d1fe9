"""Bytes from outside: damage and traps end in one DataError that names the place."""

import io
import struct
import time

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


def test_a_doubled_key_is_found_in_linear_time() -> None:
    """An object of a hundred thousand keys with one twice at its end is refused in well under a second."""
    text = "{" + ", ".join(f'"{number}": 0' for number in range(100_000)) + ', "99999": 1}'
    start = time.perf_counter()
    with pytest.raises(DataError, match="here: holds the key '99999' twice"):
        safe.load_json(text, "here")
    assert time.perf_counter() - start < 2
