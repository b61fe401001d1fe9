"""Boxes in a csv (or tsv): a row an object, columns by their names in any order.

Corners (xmin, ymin, xmax, ymax), or x, y, width and height, or polygons as WKT (``geometry``). Beside corners, as the
TensorFlow object detection csv has them, and beside ``w`` and ``h`` or ``bbox_width`` and ``bbox_height``, ``width`` and
``height`` are those of the picture. A class that is a number is named by
classes.csv (``name,number`` rows) beside the file. A row that names a picture and nothing else is a picture without objects.

In a folder of several csv files an id holds the file's name, unless the picture is in two of them or more, such as a file a
class: it is one sample with all its objects, whose id holds none (layers.py says what is rejected).
"""

import collections
import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.boxes import Box
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from converters.formats import footprints, jsonfiles, table
from converters.formats.classes_csv import CLASSES, name_of_class, read_classes
from converters.formats.coco import set_name
from converters.formats.imagefolder import split_name
from converters.formats.layers import join_layers
from converters.formats.outlines import NO_AREA_REASON, refuse_points_only
from converters.formats.pictures import ByPicture, PictureFinder, PictureRows, sample_id, split_of
from converters.objects import (
    Objects,
    ObjectsSample,
    PictureObject,
    check_object,
    class_names,
    enclosing,
    refuse_shares,
    to_number,
)

SUFFIXES = (".csv", ".tsv")
_ALIASES = {
    "picture": ("image_path", "image", "filename", "file_name", "path", "img", "image_name", "image_id", "imageid", "img_path"),
    "label": ("label", "class", "class_name", "name", "category", "labelname", "class_id", "type_id"),
    "x1": ("xmin", "x_min", "x1", "left"),
    "y1": ("ymin", "y_min", "y1", "top"),
    "x2": ("xmax", "x_max", "x2", "right"),
    "y2": ("ymax", "y_max", "y2", "bottom"),
    "x": ("x", "bbox_x"),
    "y": ("y", "bbox_y"),
    "width": ("bbox_width", "w", "width"),  # of the box: beside another width, "width" is the picture's
    "height": ("bbox_height", "h", "height"),
    "picture_width": ("image_width", "img_width", "width"),
    "picture_height": ("image_height", "img_height", "height"),
    "wkt": ("geometry", "polygon", "wkt", "polygonwkt_pix"),
    "split": ("split", "set", "subset"),
}
_VIA_REGION = "region_shape_attributes"
_EXPECTED = "image_path, label and xmin, ymin, xmax, ymax (or x, y, width, height, or geometry)"
_CORNERS, _EXTENT = ("x1", "y1", "x2", "y2"), ("x", "y", "width", "height")


_Row = tuple[str, Mapping[str, Any] | DataError]  # where it stands, and its cells by column


@dataclasses.dataclass(frozen=True)
class _Columns:
    """The file's own column name of each role that it has."""

    names: Mapping[str, str]

    def has(self, roles: Sequence[str]) -> bool:
        return all(role in self.names for role in roles)

    def cell(self, row: Mapping[str, str], role: str) -> str:
        return row.get(self.names[role], "").strip() if role in self.names else ""


@dataclasses.dataclass(frozen=True)
class _Table:
    """One csv of a set: its columns, the names of its numbered classes, and the set's name in ids."""

    path: Path
    columns: _Columns
    classes: Mapping[str, str] | None
    source: Source
    name: str


def is_boxes(header: Sequence[str]) -> bool:
    """Whether the columns of a csv are those of boxes or polygons on pictures."""
    found = _columns(header, {})
    return "picture" in found.names and (found.has(_CORNERS) or found.has(_EXTENT) or "wkt" in found.names)


def header_of(path: Path) -> list[str]:
    """The cells of the first line, whatever the encoding: that the file is not UTF-8 is said where its rows are read."""
    separator = table.separator_of(path)
    for _, line in safe.read_lines(path):
        encoding = "utf-16" if safe.utf16_marks(line) else "utf-8-sig"
        try:
            return [
                cell.strip()
                for cell in next(csv.reader([line.decode(encoding, "replace").rstrip("\ufffd")], delimiter=separator), [])
            ]
        except csv.Error:  # a cell beyond all measure
            break
    return []


def _columns(header: Sequence[str], options: Mapping[str, str]) -> _Columns:
    lower = {name.lower(): name for name in reversed(header)}
    found = {role: lower[alias] for role, aliases in _ALIASES.items() for alias in reversed(aliases) if alias in lower}
    if "class_key" in options:
        if options["class_key"] not in header:
            raise UsageError(f"option class_key={options['class_key']}: the columns are {', '.join(header)}")
        found["label"] = options["class_key"]
    return _Columns(found)


def read(source: Source) -> Objects:
    """All pictures of a csv, or of the csv files of a folder, in the order in which rows name them."""
    paths = _files(source)
    folder = source.input if source.input.is_dir() else source.input.parent
    name = set_name(source.input)
    finder = PictureFinder(source.images or folder, source.made, root_first=source.images is not None)
    ignored: collections.Counter[str] = collections.Counter()
    found: list[tuple[str | DataError | None, ObjectsSample | Rejected]] = []  # each with its picture
    for path in paths:
        header = header_of(path)
        if not is_boxes(header):
            is_empty = next(safe.read_lines(path), None) is None
            told = "the file is empty" if is_empty else f"its columns are {', '.join(header)[:120]}"
            told = table.tell_separator(header, path) or told
            if _VIA_REGION in header:
                raise UsageError(f"{path}: a csv of VIA's; save the project, or export its annotations, as json")
            raise UsageError(f"{path}: {told}; expected {_EXPECTED}")
        columns = _columns(header, source.options)
        try:
            classes = read_classes(path.parent / CLASSES)
            pictures, unnamed = _by_picture(path, columns, source.input, finder)
        except DataError as error:
            if len(paths) == 1:
                raise
            reason = str(error).removeprefix(f"{path}: ")
            found.append((None, Rejected(jsonfiles.place(path, source.input), reason, split_of(path, source.input))))
            continue
        found += [(None, each) for each in unnamed]
        csv_file = _Table(path, columns, classes, source, name if len(paths) == 1 else f"{name}-{path.stem}")
        found += [(each.found, _sample(each, csv_file, finder, ignored)) for each in pictures]
    samples = join_layers(found, name, finder.root)
    return Objects(name, finder.root, samples, class_names(samples), ignored + finder.ignored)


def _by_picture(
    path: Path, columns: _Columns, input: Path, finder: PictureFinder
) -> tuple[list[PictureRows[_Row]], list[Rejected]]:
    """The pictures with their rows, faulty ones with what is wrong, and the rows that name none."""
    header = header_of(path)
    split = split_of(path, input)
    found: ByPicture[_Row] = ByPicture(finder)
    unnamed: list[Rejected] = []
    for where, row in table.read_csv(path, jsonfiles.place(path, input)):
        if isinstance(row, table.CellCountError):  # its picture would lack an object
            cells: Mapping[str, str] = dict(zip(header, row.cells, strict=False))
        else:
            cells = row if isinstance(row, Mapping) else {}
        picture = columns.cell(cells, "picture")
        if not picture:
            reason = str(row).removeprefix(f"{where}: ") if isinstance(row, DataError) else "names no picture"
            unnamed.append(Rejected(where, reason, split))
            continue
        of = split_name(columns.cell(cells, "split")) or split
        found.rows_of(picture, where, path.parent, of).append((where, row))
    return found.pictures(), unnamed


def _files(source: Source) -> list[Path]:
    if source.input.is_file():
        return [source.input]
    found = [path for path in jsonfiles.files_below(source, frozenset(SUFFIXES)) if is_boxes(header_of(path))]
    if not found:
        raise UsageError(f"input '{source.input}': no csv in it with columns of a picture and of boxes or WKT")
    return found


def _sample(
    named: PictureRows[_Row], csv_file: _Table, finder: PictureFinder, ignored: collections.Counter[str]
) -> ObjectsSample | Rejected:
    picture, where, columns = named.found, named.where, csv_file.columns
    rows = [(place, row) for place, row in named.rows if not isinstance(row, DataError)]
    splits = sorted({split_name(columns.cell(row, "split")) for _, row in rows}) or [""]
    split = splits[0] or split_of(csv_file.path, csv_file.source.input)
    if (fault := next((row for _, row in named.rows if isinstance(row, DataError)), None)) is not None:
        return Rejected(where, str(fault).removeprefix(f"{where}: "), split)
    try:
        if len(splits) > 1:
            raise DataError(f"{where}: its rows are of the splits {' and '.join(map(repr, splits))}; a picture belongs to one")
        if isinstance(picture, DataError):
            raise picture
        objects = []
        num_before = ignored[NO_AREA_REASON]
        for number, (place, row) in enumerate(rows, 1):
            found = _object(row, csv_file, place, ignored)
            if found is not None:
                objects.append(check_object(found, number, place))
        refuse_points_only(ignored[NO_AREA_REASON] - num_before, objects, where)
        size = _stated_size(rows, columns)
        file = safe.inside(finder.root, picture, where)
        if "wkt" in columns.names and file.is_file():
            boxes = [each.box_px for each in objects]
            footprints.look_at_scale(
                boxes, safe.picture_size(file, f"{where}: picture {picture}"), picture, where, "expected pixels"
            )
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), split)
    return ObjectsSample(
        sample_id(csv_file.name, picture), where, split, (picture,), tuple(objects), csv_file.name, stated_size=size
    )


def _stated_size(rows: Sequence[tuple[str, Mapping[str, str]]], columns: _Columns) -> tuple[int, int] | None:
    """The picture's size, where it has columns that are not those of the boxes."""
    roles = ("picture_width", "picture_height")
    is_boxes_own = not columns.has(_CORNERS) and any(columns.names.get(role) == columns.names.get(role[8:]) for role in roles)
    texts = [columns.cell(rows[0][1], role) for role in roles]
    if is_boxes_own or not all(text.isdecimal() and 0 < len(text) < 10 and int(text) for text in texts):
        return None
    return int(texts[0]), int(texts[1])


def _object(row: Mapping[str, str], csv_file: _Table, where: str, ignored: collections.Counter[str]) -> PictureObject | None:
    """None for a row without an object, and for geometries without an area."""
    columns = csv_file.columns
    corners = _CORNERS if columns.has(_CORNERS) else _EXTENT if columns.has(_EXTENT) else ()
    texts = [columns.cell(row, role) for role in corners]
    wkt = columns.cell(row, "wkt")
    if not any(texts) and not wkt:
        return None
    outlines: footprints.Outlines = ()
    if wkt:
        found = footprints.read_wkt(wkt, where)
        if found is None:
            ignored[NO_AREA_REASON] += 1
            return None
        if not found.outlines and not any(texts):  # POLYGON EMPTY: nothing is there
            return None
        ignored["hole in a polygon"] += found.num_holes
        outlines = found.outlines
    if any(texts):
        box = _box(
            [to_number(text, f"{where}: '{columns.names[role]}'") for text, role in zip(texts, corners, strict=True)], corners
        )
        refuse_shares(box, where)
    else:
        box = enclosing(point for outline in outlines for point in outline)
    used = set(columns.names.values())
    attributes = {name: text for name, text in row.items() if name not in used and text.strip()}
    name = name_of_class(columns.cell(row, "label"), csv_file.classes, csv_file.source.options.get("name"), where)
    return PictureObject(name, box, outlines, attributes=attributes)


def _box(numbers: Sequence[float], roles: Sequence[str]) -> Box:
    x, y, third, fourth = numbers
    return (x, y, third, fourth) if roles == _CORNERS else (x, y, x + third, y + fourth)
