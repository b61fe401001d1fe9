"""Pictures of rows: there, whole, of the size that the row says; and which of them have equal contents, for finding leaks.

Headers and ends are read: a picture is opened once, its first and last bytes tell size, format and whether the file was cut. Of
files that agree in length and in both ends the rest is read too, so equal contents are found as surely as by hashing all.
"""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from adapt import records, safe
from adapt.check.faults import Fault, first_of_each
from adapt.check.rows import Row
from adapt.errors import DataError, bad_picture
from adapt.progress import track
from adapt.records import ChatRecord
from adapt.workers import map_ordered


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a picture file holds, or why it cannot be used. ``orientation`` is its EXIF tag, 1 for upright.

    ``content`` is the same for equal bytes and for these alone among the pictures that were looked at together; '' where the
    file cannot be read.
    """

    size: tuple[int, int] = (0, 0)
    content: str = ""
    orientation: int = 1
    fault: str = ""
    is_whole: bool = False  # whether ``content`` is a hash of all bytes


def look(rows: Sequence[Row], *, decode: bool, workers: int | None = None) -> dict[tuple[Path, str], Picture]:
    """Every distinct (root, path) of the rows, looked at once: its header and end, or with ``decode`` all of it."""
    names = list(dict.fromkeys((row.root, name) for row in rows for name in row.record.images))
    found = map_ordered(_look_at, decode, names, workers=workers, chunk=64)
    pictures = dict(zip(names, track(found, len(names), "looking at pictures"), strict=True))
    alike: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for place, picture in pictures.items():
        if not picture.is_whole and picture.content:
            alike[picture.content].append(place)
    again = [place for places in alike.values() if len(places) > 1 for place in places]
    for place, digest in zip(again, map_ordered(_digest, None, again, workers=workers, chunk=64), strict=True):
        pictures[place] = dataclasses.replace(pictures[place], content=digest)
    return pictures


def _look_at(decode: bool, place: tuple[Path, str]) -> Picture:
    root, name = place
    try:
        path = safe.inside(root, name, "picture")
        if not path.is_file():
            return Picture(fault=f"no such file under {root}; give the right folder with --images")
        return _look_inside(path) if decode else _look_at_ends(path)
    except DataError as error:
        return Picture(fault=str(error))


def _look_at_ends(path: Path) -> Picture:
    from adapt.check.ends import HEAD_BYTES, TAIL_BYTES, end_fault, ends_well

    head, tail, length = safe.read_ends(path, HEAD_BYTES, TAIL_BYTES)
    content = head
    try:
        header = safe.header_of(head, str(path))
    except DataError:
        if not tail:
            raise
        content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES)  # its header may be longer, or at its end
        header = safe.header_of(content, str(path))
    if not ends_well(header, head, tail, length):
        content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES) if len(content) < length else content
        if fault := end_fault(header, content):
            return Picture(fault=f"{path}: {fault}")
    if length == len(content):
        return Picture(header.size, hashlib.sha256(content).hexdigest(), header.orientation, is_whole=True)
    return Picture(header.size, f"{length} {hashlib.sha256(head + tail).hexdigest()}", header.orientation)


def _look_inside(path: Path) -> Picture:
    from adapt.check.ends import content_fault, end_fault

    content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES)
    header = safe.header_of(content, str(path))
    safe.decode_picture(content, str(path))
    if fault := end_fault(header, content) or content_fault(header, content):
        return Picture(fault=f"{path}: {fault}")
    return Picture(header.size, hashlib.sha256(content).hexdigest(), header.orientation, is_whole=True)


def _digest(shared: None, place: tuple[Path, str]) -> str:
    return safe.file_sha256(safe.inside(*place, "picture"))


def refuse_unreadable(rows: Iterable[tuple[str, ChatRecord]], root: Path) -> None:
    """Look at every picture of the rows (``file:line`` and record) once, in this process: what is found later costs hours.

    Raises DataError with file:line for the first that cannot be read. Damage between header and end shows only on decoding.
    """
    first: dict[Path, str] = {}
    for where, record in rows:
        for name in record.images:
            first.setdefault(safe.inside(root, name, where), where)
    for path, where in track(first.items(), len(first), "looking at pictures"):
        try:
            _refuse_unreadable(path)
        except DataError as error:
            raise bad_picture(where, error) from error


def _refuse_unreadable(path: Path) -> None:
    """By the header and the end; where these are not as they should be, the decoder has the last word."""
    from adapt.check.ends import HEAD_BYTES, TAIL_BYTES, ends_well

    head, tail, length = safe.read_ends(path, HEAD_BYTES, TAIL_BYTES)
    try:
        is_whole = ends_well(safe.header_of(head, str(path)), head, tail, length)
    except DataError:
        is_whole = False  # its header may be longer, or at its end
    if not is_whole:
        safe.read_picture(path)


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


def changed_faults(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[Fault]:
    """Pictures whose bytes are others than when their file was converted, as far as all of their bytes were read."""
    stated: dict[Path, dict[str, str]] = {}

    def found() -> Iterator[tuple[Hashable, Fault]]:
        for row in rows:
            path = Path(row.where.rpartition(":")[0])
            listed = stated[path] if path in stated else stated.setdefault(path, _stated_hashes(path))
            for name in row.record.images:
                picture = pictures[row.root, name]
                if picture.is_whole and listed.get(name, picture.content) != picture.content:
                    yield (row.root, name), Fault(row.where, "changed", f"picture '{name}' was changed since it was converted")

    return first_of_each(found())


def _stated_hashes(path: Path) -> dict[str, str]:
    """The sha256 of each picture that ``adapt convert`` wrote down beside the rows."""
    place = records.pictures_path(path)
    if not place.is_file():
        return {}
    listed = (safe.load_line(line, f"{place}:{number}") for number, line in safe.read_lines(place))
    return {str(row.get("path")): str(row.get("sha256")) for row in listed if isinstance(row, dict)}


def picture_notes(pictures: Mapping[tuple[Path, str], Picture]) -> list[str]:
    """What is no fault but good to know: pictures that a viewer would turn, and whose boxes may have been drawn so."""
    turned = [name for (_, name), picture in pictures.items() if picture.orientation != 1]
    if not turned:
        return []
    return [f"pictures with an orientation tag: {len(turned):,}; they are used as stored, unturned; first: {turned[0]}"]


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
