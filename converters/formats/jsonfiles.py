"""Annotations in JSON: which format a file is in, told by the keys that only this format has, and the files of a folder."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from adapt import safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from converters.formats import imagefolder
from converters.formats.pictures import split_of

Found = TypeVar("Found")
SUFFIXES = frozenset({".json", ".geojson"})
# All of the keys of a line must be there. The order decides: a panoptic file has all keys of a COCO file, too.
_SIGNS = (
    ("panoptic", ("segments_info", "annotations")),
    ("via", ("_via_img_metadata",)),
    ("via", ("shape_attributes", "regions")),
    ("labelme", ("shapes", "imagePath")),
    ("coco", ("images", "annotations", "file_name")),
    ("via", ("regions", "filename")),
)


def kind_of(content: bytes) -> str | None:
    """The format of a JSON document, by its keys, without parsing: files of half a gigabyte are common."""
    for kind, keys in _SIGNS:
        if all(b'"' + key.encode() + b'"' in content for key in keys):
            return kind
    is_geojson = b'"FeatureCollection"' in content or (b'"Feature"' in content and b'"geometry"' in content)
    return "geojson" if is_geojson else None


def files_of(kind: str, source: Source) -> list[Path]:
    """The file that is the input, or those of this format in the folder that is. Raises UsageError for none."""
    if source.input.is_file():
        return [source.input]
    found = [path for path in files_below(source, SUFFIXES) if kind_of(safe.read_bytes(path)) == kind]
    if not found:
        raise UsageError(f"input '{source.input}': no {kind} file in it (.json)")
    return found


def files_below(source: Source, suffixes: frozenset[str]) -> list[Path]:
    """The files below the input folder that end in ``suffixes``, in a fixed order, what this conversion writes left out."""
    return [source.input / path for path in imagefolder.scan(source.input, made=source.made, suffixes=suffixes).pictures]


def place(path: Path, input: Path) -> str:
    """What rejections call a file: its path below the input folder; its name where it is the input itself."""
    return path.relative_to(input).as_posix() if path.is_relative_to(input) and path != input else path.name


def read_all(
    paths: Sequence[Path],
    input: Path,
    read: Callable[[Mapping[str, Any], Path], Iterable[Found]],
    split: Callable[[Path, Path], str | None] = split_of,
) -> Iterator[Found | Rejected]:
    """What ``read`` finds in the JSON object of each file; a file that cannot be read is one rejection.

    A single file that cannot be read is a DataError: there is nothing else in the input.
    """
    for path in paths:
        try:
            found = list(read(safe.read_object(path), path))
        except DataError as error:
            if len(paths) == 1:
                raise
            yield Rejected(place(path, input), str(error).removeprefix(f"{path}: "), split(path, input))
        else:
            yield from found


def rows_of(document: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    """The list under ``key``. Raises DataError for anything else."""
    rows = document.get(key)
    if not isinstance(rows, list):
        raise DataError(f"{path}: '{key}' is {str(rows)[:40]!r}, expected a list")
    return rows


def stated_size(row: Mapping[Any, Any], width: str | int = "width", height: str | int = "height") -> tuple[int, int] | None:
    """(width, height), where the row has both; some writers leave them out or write 0."""
    found = row.get(width), row.get(height)
    if all(isinstance(value, int) and not isinstance(value, bool) and value > 0 for value in found):
        return found[0], found[1]  # type: ignore[return-value]
    return None


def text_of(row: Mapping[str, Any], field: str, where: str) -> str:
    """A field's text without blanks around it; whole numbers are written out. Raises DataError for what is neither."""
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise DataError(f"{where}: '{field}' is {str(value)[:40]!r}, expected text")
    return str(value).strip()
