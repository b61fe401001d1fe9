"""Pictures of rows: there, readable, of the size that the row says; and their contents' hashes, for finding leaks."""

import dataclasses
import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path

from adapt import safe
from adapt.check.faults import Fault, first_of_each
from adapt.check.rows import Row
from adapt.errors import DataError
from adapt.progress import track
from adapt.workers import map_ordered


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a picture file holds, or why it cannot be used. ``orientation`` is its EXIF tag, 1 for upright."""

    size: tuple[int, int] = (0, 0)
    sha256: str = ""
    orientation: int = 1
    fault: str = ""


def look(rows: Sequence[Row], *, decode: bool) -> dict[tuple[Path, str], Picture]:
    """Every distinct (root, path) of the rows, read once: the header, or with ``decode`` all pixels."""
    names = list(dict.fromkeys((row.root, name) for row in rows for name in row.record.images))
    found = map_ordered(_look_at, decode, names, chunk=64)
    return dict(zip(names, track(found, len(names), "looking at pictures"), strict=True))


def _look_at(decode: bool, place: tuple[Path, str]) -> Picture:
    root, name = place
    try:
        path = safe.inside(root, name, "picture")
        if not path.is_file():
            return Picture(fault=f"no such file under {root}; give the right folder with --images")
        content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES)
        size = safe.decode_picture(content, str(path)).size if decode else safe.size_of(content, str(path))
    except DataError as error:
        return Picture(fault=str(error))
    return Picture(size, hashlib.sha256(content).hexdigest(), safe.orientation_of(content, str(path)))


def picture_faults(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[Fault]:
    """Missing and damaged pictures, and rows whose width and height are not the picture's."""
    return first_of_each(_faults(rows, pictures))


def _faults(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> Iterator[tuple[Hashable, Fault]]:
    for row in rows:
        for number, name in enumerate(row.record.images):
            picture = pictures[row.root, name]
            if picture.fault:
                yield (row.root, name), Fault(row.where, "picture", f"picture '{name}': {picture.fault}")
                continue
            stated = row.record.sizes[number] if row.record.sizes else picture.size
            if stated != picture.size:
                message = f"picture '{name}' is {_times(picture.size)} px, the row says {_times(stated)}"
                yield (row.root, name, stated), Fault(row.where, "size", message)


def picture_notes(pictures: Mapping[tuple[Path, str], Picture]) -> list[str]:
    """What is no fault but good to know: pictures that a viewer would turn, and whose boxes may have been drawn so."""
    turned = [name for (_, name), picture in pictures.items() if picture.orientation != 1]
    if not turned:
        return []
    return [f"pictures with an orientation tag: {len(turned):,}; they are used as stored, unturned; first: {turned[0]}"]


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
