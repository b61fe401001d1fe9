"""Arrays from outside, in ``.npz`` files, a row at a time. A header may claim more than there is."""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapt.errors import DataError
from adapt.safe.files import DAMAGE, MAX_PICTURE_BYTES

if TYPE_CHECKING:
    import numpy as np

MAX_ARRAYS = 1000
MAX_ARRAY_ROWS = 5_000_000
_ARCHIVE_DAMAGE = (*DAMAGE, zipfile.BadZipFile, zlib.error, RuntimeError, tokenize.TokenError)


def array_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], "np.dtype[Any]"]]:
    """Name -> (shape, dtype) of the arrays in an ``.npz`` file, from their headers.

    Raises DataError for what is no such file, for arrays of Python objects, and where a header and its bytes disagree.
    """
    found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > MAX_ARRAYS:
                raise DataError(f"{path}: {len(archive.infolist()):,} members, more than the {MAX_ARRAYS:,} allowed")
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in found:
                    raise DataError(f"{path}[{member.filename}]: a second array of this name; save the file again")
                with archive.open(member) as handle:
                    found[name] = _array_header(handle, member, f"{path}[{member.filename}]")
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
