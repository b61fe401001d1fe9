"""Boxes in a table of pictures: a row a picture, its objects in lists, as `datasets` keeps detection sets.

Parquet, a saved folder, the Hub, JSONL or a JSON list (huggingface.co/docs/datasets, "Load image data": metadata.jsonl). A
column ``objects`` is {bbox: [..], category: [..]} or a list of {bbox, category}; without it the row has such lists itself.
Numbered classes are named by the table (ClassLabel), or by classes.csv beside it. An empty list: a picture without objects.

Four numbers are x, y, width and height as in COCO (cppe-5), or two corners (fashionpedia): no table says which. Where one box
in a hundred or more cannot be corners they are the first; otherwise the option must say.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import pixels, safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from adapt.orientation import UPRIGHT
from adapt.progress import say
from adapt.show import counted
from converters.formats import boxes_csv, coco, jsonfiles, table
from converters.formats.coco import set_name
from converters.formats.imagefolder import split_name
from converters.formats.pictures import PictureFinder, sample_id, split_of_folder, split_of_input
from converters.objects import (
    Objects,
    ObjectsSample,
    PictureObject,
    check_object,
    class_names,
    refuse_shares,
    to_number,
)

XYWH, XYXY = "xywh", "xyxy"
OBJECTS, METADATA = "objects", "metadata.jsonl"
SUFFIXES = (".parquet", ".jsonl")  # of files that hold nothing else that is read as objects
_PICTURES = ("image", "img", "picture", "file_name", "filename", "image_path", "path", "jpg", "jpeg", "png")
_BOXES = ("bbox", "bboxes", "box", "boxes")
_LABELS = (  # names rather than numbers
    "category_name", "class_name", "label_name", "category", "categories", "label", "labels", "class", "classes", "name",
    "names", "category_id", "class_id",
)  # fmt: skip
_CROWDS = ("iscrowd", "is_crowd")
_OUTLINES = "segmentation"
_CORNERLESS_SHARE = 0.01  # of boxes that cannot be corners: fewer may be damage


@dataclasses.dataclass(frozen=True)
class _Row:
    """A picture with its objects as the table has them, each a mapping of the lists' keys."""

    where: str
    split: str | None
    id: str
    picture: str
    objects: Sequence[Mapping[str, Any]]
    size: tuple[int, int] | None
    held: pixels.Held | None


@dataclasses.dataclass(frozen=True)
class _Columns:
    """The table's own names: of the picture, and of the column of objects (None: the row has their lists itself)."""

    picture: str
    objects: str | None


@dataclasses.dataclass(frozen=True)
class _Table:
    """A table with the folder it lies in, the split that this is named for, and its place below the input ("" or "train/")."""

    opened: table.Opened
    columns: _Columns
    folder: Path
    split: str | None
    place: str


@dataclasses.dataclass(frozen=True)
class _Keys:
    """How the objects of a table are read: what four numbers are, the keys, and the names of numbered classes."""

    form: str
    box: str | None
    label: str | None
    crowd: str | None
    classes: Mapping[str, str] | None
    name: str | None


def read(source: Source) -> Objects:
    """All rows of a table, of the tables of a folder's splits, or of the metadata.jsonl files of a folder of pictures."""
    tables = list(_tables(source))
    root = source.images or table.folder_of(source.input)
    is_embedded = any(each.opened.embedded for each in tables)
    if is_embedded and source.made:
        root = source.made
    finder = None if is_embedded else PictureFinder(root, source.made, root_first=source.images is not None)
    name = set_name(source.input) if source.input.is_dir() else tables[0].opened.name
    rows = [row for each in tables for row in _rows(each, name, source, finder)]
    found = [row for row in rows if isinstance(row, _Row)]
    keys = _keys(found, source)
    ignored: collections.Counter[str] = collections.Counter()
    for each in tables:
        ignored.update(each.opened.ignored)
    samples = [row if isinstance(row, Rejected) else _sample(row, keys, name, source, ignored) for row in rows]
    if not source.counting:
        _tell_turned(found, source)
    return Objects(name, root, samples, class_names(samples), ignored + (finder.ignored if finder else collections.Counter()))


def is_boxes(path: Path) -> bool:
    """Whether a file is the metadata.jsonl of pictures with boxes, by its first line."""
    first = next(safe.read_lines(path), (0, b""))[1] if path.name == METADATA else b""
    return any(f'"{name}"'.encode() in first for name in (*_BOXES, _OUTLINES))


def _tables(source: Source) -> Iterator[_Table]:
    """Raises UsageError for a folder without tables, and for a table without the columns."""
    paths = [source.input]
    if source.input.is_dir() and not table.is_table(source.input):
        paths = [path for path in jsonfiles.files_below(source, frozenset({".jsonl"})) if is_boxes(path)] or paths
    for path in paths:
        opened = table.open_peeked(dataclasses.replace(source, input=path), lambda row: row.get(_first(row, _PICTURES) or ""))
        is_below = path != source.input
        split = None if _is_hub(source) else split_of_folder(path, source.input) if is_below else split_of_input(path)
        place = f"{path.parent.relative_to(source.input).as_posix()}/" if is_below and path.parent != source.input else ""
        columns = _Columns(_PICTURES[0], OBJECTS) if opened.first is None else _columns(opened.first, path)
        yield _Table(opened, columns, table.folder_of(path), split, place)


def _is_hub(source: Source) -> bool:
    return str(source.input).startswith(table.HUB_PREFIX)


def _first(known: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of the names that a row or an object has, in its own spelling."""
    lower = {str(key).lower(): key for key in reversed(list(known))}
    return next((lower[name] for name in names if name in lower), None)


def _columns(row: Mapping[str, Any], path: Path) -> _Columns:
    picture, objects = _first(row, _PICTURES), _first(row, (OBJECTS,))
    if picture is None or (objects is None and _first(row, (*_BOXES, _OUTLINES)) is None):
        missing = "a picture (image, file_name)" if picture is None else "'objects' or 'bbox'"
        raise UsageError(
            f"{path}: no column of {missing}; its columns are {', '.join(map(str, row))[:120]}; expected a row a picture, with "
            "objects {bbox: [[x, y, width, height], ..], category: [..]}"
        )
    return _Columns(picture, objects)


def _rows(given: _Table, name: str, source: Source, finder: PictureFinder | None) -> Iterator[_Row | Rejected]:
    settings = pixels.read_settings(source.options) or pixels.Settings()
    number = 0
    for part, places in given.opened.parts.items():
        for found, values in places:
            number += 1
            where, split = f"{given.place}{found}", split_name(part) if part else given.split
            try:
                if isinstance(values, DataError):
                    raise DataError(f"{where}: {str(values).removeprefix(f'{found}: ')}")
                if (stated := table.split_cell(values)) not in (None, ""):
                    split = split_name(str(stated))
                objects = _objects(values if given.columns.objects is None else values.get(given.columns.objects), where)
                cell, held = values.get(given.columns.picture), None
                if finder is None and not source.counting:
                    held = table.held_picture(cell, source, settings, where)
                picture = held.name if held else _picture_name(cell, finder, given.folder, where, split)
                own = f"{name}-{number}" if finder is None else sample_id(name, picture)
                size = jsonfiles.stated_size(values)
            except DataError as error:
                yield Rejected(where, str(error).removeprefix(f"{where}: "), split)
            else:
                yield _Row(where, split, own, picture, objects, size, held)


def _picture_name(cell: Any, finder: PictureFinder | None, folder: Path, where: str, split: str | None) -> str:
    if finder is None:  # embedded ones that are only counted
        return where
    contents, names = table.held_in(cell)
    if contents or len(names) != 1:
        raise DataError(f"{where}: {len(contents) + len(names)} pictures, expected the path of one")
    return finder.find(names[0], where, folder, split=split)


def _objects(value: Any, where: str) -> list[Mapping[str, Any]]:
    """The objects of a row, from a list of mappings or a mapping of lists; what is no list beside them is the row's own."""
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return value
    boxes = _first(value, (*_BOXES, _OUTLINES)) if isinstance(value, Mapping) else None
    if boxes is None or not isinstance(value[boxes], list):
        found = value if boxes is None else value[boxes]
        raise DataError(
            f"{where}: its {boxes or 'objects'} are {str(found)[:40]!r}, expected lists of boxes and classes, empty for none"
        )
    count = len(value[boxes])
    for name in (_first(value, _LABELS), _first(value, _CROWDS), _OUTLINES):
        if name is not None and (each := value.get(name)) is not None and not (isinstance(each, list) and len(each) == count):
            found = f"a list of {len(each):,}" if isinstance(each, list) else f"{str(each)[:40]!r}"
            raise DataError(f"{where}: '{boxes}' is a list of {count:,}, but '{name}' {found}; each object has one of both")
    lists = {name: each for name, each in value.items() if isinstance(each, list) and len(each) == count}
    return [{name: each[place] for name, each in lists.items()} for place in range(count)]


def _keys(rows: Sequence[_Row], source: Source) -> _Keys:
    """What the objects of all rows have in common."""
    known: dict[str, Any] = {}
    for row in rows:
        for each in row.objects:
            known.update(dict.fromkeys(map(str, each)))
    label = source.options.get("class_key") or _first(known, _LABELS)
    if "class_key" in source.options and label not in known:
        raise UsageError(f"option class_key={label}: the objects have {', '.join(known) or 'nothing'}")
    box = _first(known, _BOXES)
    form = source.options["boxes"] if "boxes" in source.options else _form([row.objects for row in rows], box, source.input)
    classes = None if _is_hub(source) else boxes_csv.read_classes(table.folder_of(source.input) / boxes_csv.CLASSES)
    return _Keys(form, box, label, _first(known, _CROWDS), classes, source.options.get("name"))


def _form(objects: Sequence[Sequence[Mapping[str, Any]]], box: str | None, path: Path) -> str:
    """Whether boxes are corners, or have a width and height, by what all of them cannot be. Raises UsageError for either."""
    boxes = [each.get(box) for row in objects for each in row] if box else []
    whole = [each for each in boxes if isinstance(each, list) and len(each) == 4 and set(map(type, each)) <= {int, float}]
    num_others = sum(third < first or fourth < second for first, second, third, fourth in whole)
    if not whole or num_others >= _CORNERLESS_SHARE * len(whole):
        return XYWH
    raise UsageError(
        f"{path}: its boxes may be x, y, width and height, or two corners: in {len(whole) - num_others:,} of {len(whole):,} "
        f"the third number is not below the first, nor the fourth below the second; add --option boxes={XYXY} for corners, or "
        f"boxes={XYWH}"
    )


def _sample(row: _Row, keys: _Keys, name: str, source: Source, ignored: collections.Counter[str]) -> ObjectsSample | Rejected:
    try:
        objects = [
            check_object(_object(each, keys, f"{row.where}: object {number}", ignored), number, row.where)
            for number, each in enumerate(row.objects, 1)
        ]
    except DataError as error:
        return Rejected(row.where, str(error).removeprefix(f"{row.where}: "), row.split)
    sample = ObjectsSample(row.id, row.where, row.split, (row.picture,), tuple(objects), name, stated_size=row.size)
    # What stands in a table is turned here: its copy below has no tag any more.
    return sample if row.held is None else pixels.show_held(sample, [row.held], pixels.read_settings(source.options))


def _object(each: Mapping[str, Any], keys: _Keys, what: str, ignored: collections.Counter[str]) -> PictureObject:
    name = _class(each.get(keys.label) if keys.label else None, keys, what)
    what = f"{what} '{name[:80]}'"
    crowd = coco.is_crowd({"iscrowd": each.get(keys.crowd)}, what) if keys.crowd else False
    stated = each.get(keys.box) if keys.box else None
    segmentation = coco.with_area(each.get(_OUTLINES), ignored) if stated is not None else each.get(_OUTLINES)
    polygons, mask, box = coco.read_segmentation(segmentation, what)
    if stated is not None:
        box = _box(stated, keys.form, what)
    if box is None:
        raise DataError(f"{what}: neither 'bbox' nor 'segmentation' says where it is")
    refuse_shares(box, what)
    used = {keys.label, keys.box, keys.crowd, _OUTLINES}
    attributes = {key: value for key, value in each.items() if key not in used and isinstance(value, str | int | float)}
    return PictureObject(name, box, polygons, (), mask, "", crowd, attributes)


def _box(value: Any, form: str, what: str) -> tuple[float, float, float, float]:
    if form == XYWH:
        return coco.to_box(value, what)
    if not isinstance(value, list) or len(value) != 4:
        raise DataError(f"{what}: its box is {str(value)[:60]}, expected [x1, y1, x2, y2]")
    x1, y1, x2, y2 = (to_number(each, f"{what}: a number of its box") for each in value)
    return x1, y1, x2, y2


def _class(label: Any, keys: _Keys, what: str) -> str:
    """The class as text; a number that the table does not name is looked up in classes.csv."""
    if isinstance(label, bool) or not isinstance(label, str | int | float | None):
        raise DataError(f"{what}: its class is {str(label)[:40]!r}, expected text or a number")
    is_gap = label is None or (isinstance(label, float) and not math.isfinite(label))
    text = "" if is_gap else table.text_of_cell(label).strip()
    return boxes_csv.name_of_class(text, keys.classes, keys.name, what)


def _tell_turned(rows: Sequence[_Row], source: Source) -> None:
    """Say how many embedded pictures have an orientation tag, which their copies have not. `datasets` shows such upright."""
    turned = sum(row.held is not None and row.held.orientation != UPRIGHT for row in rows)
    if turned and source.options.get("upright", "no") == "no":
        say(
            f"note: {source.input}: {counted(turned, 'embedded picture')} with an orientation tag, used as stored, unturned; "
            "where boxes were drawn on upright ones: --option upright=labelled"
        )
