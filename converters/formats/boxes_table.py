"""Boxes in a table of pictures: a row a picture, its objects in lists, as `datasets` keeps detection sets.

Parquet, a saved folder, the Hub, JSONL or a JSON list (huggingface.co/docs/datasets, "Load image data": metadata.jsonl). A
column ``objects`` is {bbox: [..], category: [..]} or a list of {bbox, category}; without it the row has such lists itself.
Text is a class; numbers are named by the table (ClassLabel), or by classes.csv beside it, and a negative one hides its class.
An empty list is a picture without objects.

Four numbers are x, y, width and height as in COCO (cppe-5), or two corners (fashionpedia): no table says which. Where enough
boxes cannot be corners, and few would leave their pictures as the other, they are the first; else the option must say.
"""

import collections
import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import pixels, safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from adapt.orientation import UPRIGHT
from adapt.progress import say
from adapt.show import counted
from converters.formats import coco, jsonfiles, table
from converters.formats.classes_csv import CLASSES, name_of_class, read_classes
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
WITHOUT_BOXES = "metadata.jsonl without boxes"
METADATA = "metadata.jsonl"
SUFFIXES = (".parquet", ".jsonl")  # of files that hold nothing else that is read as objects
_PICTURES = ("image", "img", "picture", "file_name", "filename", "image_path", "path", "jpg", "jpeg", "png")
_OBJECTS = ("objects",)
_BOXES = ("bbox", "bboxes", "box", "boxes")
_LABELS = (  # names rather than numbers
    "category_name", "class_name", "label_name", "category", "categories", "label", "labels", "class", "classes", "name",
    "names", "category_id", "class_id",
)  # fmt: skip
_CROWDS = ("iscrowd", "is_crowd")
_OUTLINES = ("segmentation",)
_BOXES_KEY, _PICTURE_KEY = (
    re.compile(rb'"(?:%s)"\s*:' % "|".join(names).encode(), re.IGNORECASE)
    for names in ((*_OBJECTS, *_BOXES, *_OUTLINES), _PICTURES)
)
_LOOKED_THROUGH = 1_000  # lines of a metadata.jsonl in which boxes are looked for
_FEWEST, _SHARE = 3, 0.01  # boxes that cannot be corners: fewer, or a smaller share, may be damage
_MOST_OUTSIDE = 0.1  # of the boxes, that would leave the stated size of their picture with a width and height
_Four = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class _Table:
    """A table with the folder it lies in, the split that this is named for, its place below the input ("" or "train/"), its
    column of pictures and that of objects (None: the row has the lists itself), and the names in the classes.csv beside it."""

    opened: table.Opened
    folder: Path
    split: str | None
    place: str
    picture: str
    objects: str | None
    classes: Mapping[str, str] | None


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
    classes: Mapping[str, str] | None


@dataclasses.dataclass(frozen=True)
class _Keys:
    """How the objects of all rows are read: what four numbers are, and the keys among those ``known``; ``own`` names objects
    without a class. ``declared`` are the names that the table has for its classes."""

    form: str
    box: str | None
    label: str | None
    crowd: str | None
    outline: str | None
    own: str | None
    known: tuple[str, ...]
    declared: tuple[str, ...]


def read(source: Source) -> Objects:
    """All rows of a table, of the tables of a folder's splits, or of the metadata.jsonl files of a folder of pictures."""
    metadata, without_boxes = _metadata(source)
    tables = list(_tables(metadata or [source.input], source))
    is_embedded = any(each.opened.embedded for each in tables)
    root = source.made if is_embedded and source.made else source.images or table.folder_of(source.input)
    finder = None if is_embedded else PictureFinder(root, source.made, root_first=source.images is not None)
    name = set_name(source.input) if source.input.is_dir() else tables[0].opened.name
    # Pictures in a table are decoded only once its boxes are known to be read; the Hub is asked but once.
    keys = None
    if is_embedded and not _is_hub(source):
        keys = _keys([row for each in tables for row in _ahead(each, source)], tables, source)
    rows = [row for each in tables for row in _rows(each, name, source, finder)]
    found = [row for row in rows if isinstance(row, _Row)]
    keys = keys or _keys([(row.objects, row.size) for row in found], tables, source)
    ignored = collections.Counter({WITHOUT_BOXES: len(without_boxes)} if without_boxes else {})
    for each in tables:
        ignored.update(each.opened.ignored)
    samples = _without_parts([row if isinstance(row, Rejected) else _sample(row, keys, name, source, ignored) for row in rows])
    if not source.counting:
        _tell_turned(found, source)
    ignored.update(finder.ignored if finder else {})
    return Objects(name, root, samples, _classes(samples, tables, keys), ignored)


def is_boxes(path: Path) -> bool:
    """Whether a file is the metadata.jsonl of pictures with boxes: one of its first rows has a key for them."""
    if path.name != METADATA:
        return False
    lines = itertools.islice((line for _, line in safe.read_lines(path)), _LOOKED_THROUGH)
    return any(_BOXES_KEY.search(line) for line in lines)


def is_list_of_boxes(content: bytes) -> bool:
    """Whether a JSON document is a list of rows with pictures and boxes, by its first letter and its keys."""
    is_list = content[:64].lstrip().startswith(b"[")
    return is_list and _BOXES_KEY.search(content) is not None and _PICTURE_KEY.search(content) is not None


def _tables(paths: Sequence[Path], source: Source) -> Iterator[_Table]:
    """Raises UsageError for a folder without tables, and for a table without the columns."""
    for path in paths:
        at = dataclasses.replace(source, input=path)
        opened = table.open_peeked(at, lambda row: row.get(_picture_column(row, source) or ""))
        is_below = path != source.input
        split = None if _is_hub(source) else split_of_folder(path, source.input) if is_below else split_of_input(path)
        place = f"{path.parent.relative_to(source.input).as_posix()}/" if is_below and path.parent != source.input else ""
        folder = table.folder_of(path)
        classes = None
        if not _is_hub(source):
            own, shared = read_classes(folder / CLASSES), read_classes(table.folder_of(source.input) / CLASSES)
            classes = shared if own is None else own
        first = opened.first
        if first is not None and not _is_hub(source) and not _has_objects(first, source):
            rows = (row for places in table.open_parts(at)[1].values() for _, row in places if isinstance(row, Mapping))
            first = next((row for row in rows if _has_objects(row, source)), first)
        yield _Table(opened, folder, split, place, *_columns(first, path, source), classes)


def _metadata(source: Source) -> tuple[list[Path], list[Path]]:
    """The metadata.jsonl files of a folder: with boxes, and without. Raises UsageError where tables of splits lie beside."""
    if not source.input.is_dir():
        return [], []
    found = [path for path in jsonfiles.files_below(source, frozenset({".jsonl"})) if path.name == METADATA]
    read = [path for path in found if is_boxes(path)]
    if not read:
        return [], []
    if tables := table.split_tables(source.input):
        names = [path.relative_to(source.input).as_posix() for path in (tables[0], read[0])]
        raise UsageError(f"input '{source.input}' holds {names[0]} and {names[1]}, each a set; point --input at one")
    others = [path for path in found if path not in read]
    if others and not source.counting:
        listed = table.listed([path.relative_to(source.input).as_posix() for path in others])
        say(f"note: {source.input}: not read, without boxes in the first {_LOOKED_THROUGH:,} rows: {listed}")
    return read, others


def _is_hub(source: Source) -> bool:
    return str(source.input).startswith(table.HUB_PREFIX)


def _first(known: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of the names that a row or an object has, in its own spelling."""
    lower = {str(key).lower(): key for key in reversed(list(known))}
    return next((lower[name] for name in names if name in lower), None)


def _picture_column(row: Mapping[str, Any], source: Source) -> str | None:
    return source.options.get("image") or _first(row, _PICTURES)


def _has_objects(row: Mapping[str, Any], source: Source) -> bool:
    given = source.options.get("objects")
    return given in row if given is not None else _first(row, (*_OBJECTS, *_BOXES, *_OUTLINES)) is not None


def _columns(row: Mapping[str, Any] | None, path: Path, source: Source) -> tuple[str, str | None]:
    """The column of the picture, and that of the objects. ``row`` is the first with objects, else the first; None without."""
    if row is None:
        return _PICTURES[0], _OBJECTS[0]
    picture, objects = _picture_column(row, source), source.options.get("objects") or _first(row, _OBJECTS)
    for column in (source.options.get("image"), source.options.get("objects")):
        if column is not None and column not in row:
            raise table.no_column(path, column, [str(key) for key in row])
    if picture is None or (objects is None and _first(row, (*_BOXES, *_OUTLINES)) is None):
        missing = "a picture (image, file_name)" if picture is None else "'objects' or 'bbox'"
        option = "image" if picture is None else "objects"
        raise UsageError(
            f"{path}: no column of {missing}; its columns are {', '.join(map(str, row))[:120]}; expected a row a picture, "
            "with objects {bbox: [[x, y, width, height], ..], category: [..]}; "
            f"--option {option}=COLUMN names one that is called otherwise"
        )
    return picture, objects


def _ahead(given: _Table, source: Source) -> Iterator[tuple[Sequence[Mapping[str, Any]], tuple[int, int] | None]]:
    """The objects and the stated size of each row that can be read; its picture stays where it is."""
    for places in table.open_parts(source, without=(given.picture,))[1].values():
        for where, values in places:
            if isinstance(values, Mapping):
                try:
                    yield _objects(values, given.objects, source, where), jsonfiles.stated_size(values)
                except DataError:  # said when the row is read whole
                    continue


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
                objects = _objects(values, given.objects, source, where)
                cell, held = values.get(given.picture), None
                if finder is None and not source.counting:
                    held = table.held_picture(cell, source, settings, where)
                picture = held.name if held else _picture_name(cell, finder, given.folder, where, split)
                own = f"{name}-{number}" if finder is None else sample_id(name, picture)
                size = jsonfiles.stated_size(values)
            except DataError as error:
                yield Rejected(where, str(error).removeprefix(f"{where}: "), split)
            else:
                yield _Row(where, split, own, picture, objects, size, held, given.classes)


def _picture_name(cell: Any, finder: PictureFinder | None, folder: Path, where: str, split: str | None) -> str:
    if finder is None:  # embedded ones that are only counted
        return where
    contents, names = table.held_in(cell)
    if contents or len(names) != 1:
        raise DataError(f"{where}: {len(contents) + len(names)} pictures, expected the path of one")
    return finder.find(names[0], where, folder, split=split)


def _objects(row: Mapping[str, Any], column: str | None, source: Source, where: str) -> list[Mapping[str, Any]]:
    """The objects of a row, from a list of mappings or a mapping of lists; what is no list beside them is the row's own."""
    value: Any = row if column is None else row.get(column)
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return value
    boxes = _first(value, (*_BOXES, *_OUTLINES)) if isinstance(value, Mapping) else None
    if boxes is None or not isinstance(value[boxes], list):
        called, found = (column or "boxes", value) if boxes is None else (boxes, value[boxes])
        raise DataError(f"{where}: its {called} are {str(found)[:40]!r}, expected lists of boxes and classes, empty for none")
    count = len(value[boxes])
    for name in (_label_of(value, source), _first(value, _CROWDS), _first(value, _OUTLINES)):
        if name is not None and (each := value.get(name)) is not None and not (isinstance(each, list) and len(each) == count):
            told = f"a list of {len(each):,}" if isinstance(each, list) else f"{str(each)[:40]!r}"
            raise DataError(f"{where}: '{boxes}' is a list of {count:,}, but '{name}' {told}; each object has one of both")
    lists = {name: each for name, each in value.items() if isinstance(each, list) and len(each) == count}
    return [{name: each[place] for name, each in lists.items()} for place in range(count)]


def _label_of(value: Mapping[str, Any], source: Source) -> str | None:
    """The key of the classes: of several that may be it the first with a list; a text beside lists is of the picture."""
    if "class_key" in source.options:
        return source.options["class_key"] if source.options["class_key"] in value else None
    listed = {name: each for name, each in value.items() if isinstance(each, list)}
    return _first(listed, _LABELS) or _first(value, _LABELS)


def _keys(
    rows: Sequence[tuple[Sequence[Mapping[str, Any]], tuple[int, int] | None]], tables: Sequence[_Table], source: Source
) -> _Keys:
    """What the objects of all rows have in common. Raises UsageError for a key that none has, and boxes that may be either."""
    known: dict[str, Any] = {}
    for objects, _ in rows:
        for each in objects:
            known.update(dict.fromkeys(map(str, each)))
    label = source.options.get("class_key") or _first(known, _LABELS)
    if "class_key" in source.options and label not in known:
        raise UsageError(f"option class_key={label}: the objects have {', '.join(known) or 'nothing'}")
    box = _first(known, _BOXES)
    form = source.options.get("box_form")
    if form is None:
        fours = [(four, size) for objects, size in rows for each in objects if (four := _four(each.get(box or ""))) is not None]
        form = _form(fours, source) if fours else XYWH
    own, found = source.options.get("name"), table.declared_classes(source)
    columns = [str(label) if each.objects is None else f"{each.objects}.{label}" for each in tables]
    declared = tuple(name for column in columns for name in found.get(column, ()))
    return _Keys(form, box, label, _first(known, _CROWDS), _first(known, _OUTLINES), own, tuple(known), declared)


def _four(value: Any) -> _Four | None:
    """A box's numbers as its reading will find them; None for what is none."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    try:
        x, y, third, fourth = (to_number(each, "") for each in value)
    except DataError:  # said when the box is read
        return None
    return x, y, third, fourth


def _form(fours: Sequence[tuple[_Four, tuple[int, int] | None]], source: Source) -> str:
    """What boxes are, by what all of them cannot be. Raises UsageError where they may be either."""
    no_corners = sum(third < x or fourth < y for (x, y, third, fourth), _ in fours)
    outside = sum(
        size is not None and (x + third > size[0] + 1 or y + fourth > size[1] + 1) for (x, y, third, fourth), size in fours
    )
    count = len(fours)
    told = f"{no_corners:,} of {count:,} cannot be two corners"
    if no_corners >= max(_SHARE * count, min(_FEWEST, count / 2)) and outside <= _MOST_OUTSIDE * count:
        if not source.counting:
            say(f"note: {source.input}: boxes are read as x, y, width and height: {told}")
        return XYWH
    beyond = f", and {outside:,} would leave their pictures with a width and height" if outside else ""
    raise UsageError(
        f"{source.input}: its boxes may be x, y, width and height, or two corners ({told}{beyond}); add "
        f"--option box_form={XYXY} for corners, or box_form={XYWH}"
    )


def _sample(row: _Row, keys: _Keys, name: str, source: Source, ignored: collections.Counter[str]) -> ObjectsSample | Rejected:
    try:
        objects = [
            check_object(_object(each, keys, row.classes, f"{row.where}: object {number}", ignored), number, row.where)
            for number, each in enumerate(row.objects, 1)
        ]
    except DataError as error:
        return Rejected(row.where, str(error).removeprefix(f"{row.where}: "), row.split)
    sample = ObjectsSample(row.id, row.where, row.split, (row.picture,), tuple(objects), name, stated_size=row.size)
    # What stands in a table is turned here: its copy below has no tag any more.
    return sample if row.held is None else pixels.show_held(sample, [row.held], pixels.read_settings(source.options))


def _object(
    each: Mapping[str, Any], keys: _Keys, classes: Mapping[str, str] | None, what: str, ignored: collections.Counter[str]
) -> PictureObject:
    name = _class(each.get(keys.label) if keys.label else None, keys, classes, what)
    what = f"{what} '{name[:80]}'"
    crowd = coco.is_crowd({"iscrowd": each.get(keys.crowd)}, what) if keys.crowd else False
    stated = each.get(keys.box) if keys.box else None
    outline = each.get(keys.outline) if keys.outline else None
    polygons, mask, box = coco.read_segmentation(outline if stated is None else coco.with_area(outline, ignored), what)
    if stated is not None:
        box = _box(stated, keys.form, what)
    if box is None:
        raise DataError(f"{what}: neither 'bbox' nor 'segmentation' says where it is")
    refuse_shares(box, what)
    used = {keys.label, keys.box, keys.crowd, keys.outline}
    attributes = {key: value for key, value in each.items() if key not in used and isinstance(value, str | int | float)}
    return PictureObject(name, box, polygons, (), mask, "", crowd, attributes)


def _box(value: Any, form: str, what: str) -> _Four:
    if form == XYWH:
        return coco.to_box(value, what)
    if not isinstance(value, list) or len(value) != 4:
        raise DataError(f"{what}: its box is {str(value)[:60]}, expected [x1, y1, x2, y2]")
    x1, y1, x2, y2 = (to_number(each, f"{what}: a number of its box") for each in value)
    return x1, y1, x2, y2


def _class(label: Any, keys: _Keys, classes: Mapping[str, str] | None, what: str) -> str:
    """The class as text; a number that the table does not name is looked up, and a negative one hides its class. Digits are a
    name where the table says so, or where nothing else could name them."""
    if isinstance(label, str) and (text := label.strip()):
        is_name = not text.isdecimal() or keys.declared or (classes is None and keys.own is None)
        return text if is_name else name_of_class(text, classes, keys.own, what)
    if isinstance(label, bool) or not isinstance(label, str | int | float | None):
        raise DataError(f"{what}: its class is {str(label)[:40]!r}, expected text or a number")
    if keys.label is None and keys.own is None:
        found = ", ".join(key for key in keys.known if key not in (keys.box, keys.crowd, keys.outline)) or "none"
        raise DataError(
            f"{what}: has no class; its other keys are {found}: --option class_key=KEY names that of the class, or name all "
            "objects: --option name=balloon"
        )
    is_gap = not isinstance(label, int | float) or (isinstance(label, float) and not math.isfinite(label)) or label < 0
    return name_of_class("" if is_gap else table.text_of_cell(label), classes, keys.own, what)


def _classes(samples: Sequence[ObjectsSample | Rejected], tables: Sequence[_Table], keys: _Keys) -> tuple[str, ...]:
    """The classes of the objects, and those that the table or classes.csv names, which need not occur."""
    names = set(class_names(samples)).union(keys.declared)
    for each in tables:
        if each.classes is not None and names.intersection(each.classes.values()):
            names.update(each.classes.values())
    return tuple(sorted(names))


def _without_parts(samples: Sequence[ObjectsSample | Rejected]) -> list[ObjectsSample | Rejected]:
    """The samples; a picture that rows of a split show with other objects each has no row with all, and is rejected. So is one
    of two splits."""
    rows: dict[tuple[str, ...], list[ObjectsSample]] = collections.defaultdict(list)
    for each in samples:
        if isinstance(each, ObjectsSample):
            rows[each.pictures].append(each)
    faults = {place: fault for shared in rows.values() if len(shared) > 1 for place, fault in _parted(shared).items()}
    return [Rejected(each.where, faults[each.where], each.split) if each.where in faults else each for each in samples]


def _parted(shared: Sequence[ObjectsSample]) -> dict[str, str]:
    """What is wrong with the rows of one picture, by their places; nothing where they say the same."""
    first = shared[0]
    if len({row.split for row in shared}) > 1:
        cure = "of another split; a picture belongs to one"
    elif any(_shown(row) != _shown(first) for row in shared):
        cure = "with other objects; give a picture one row with all"
    else:
        return {}
    return {row.where: f"its picture is that of {(shared[1] if row is first else first).where}, too, {cure}" for row in shared}


def _shown(sample: ObjectsSample) -> list[PictureObject]:
    """The objects without what rows may tell otherwise of the same ones, such as their ids."""
    return [dataclasses.replace(each, attributes={}) for each in sample.objects]


def _tell_turned(rows: Sequence[_Row], source: Source) -> None:
    """Say how many embedded pictures have an orientation tag, which their copies have not. `datasets` shows such upright."""
    turned = sum(row.held is not None and row.held.orientation != UPRIGHT for row in rows)
    if turned and (how := source.options.get("upright", "no")) != "no":
        boxes = ", and boxes with them, except where the stated size is the upright one" if how == "yes" else ""
        say(f"note: {source.input}: turned upright: {counted(turned, 'embedded picture')}{boxes}")
    elif turned:
        say(
            f"note: {source.input}: {counted(turned, 'embedded picture')} with an orientation tag, used as stored, unturned; "
            "where boxes were drawn on upright ones: --option upright=labelled"
        )
