"""Pictures with labelled objects, in whatever format they were annotated: one call reads them all into ``Objects``."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from adapt import safe
from adapt.domain import Option, Source
from adapt.errors import UsageError
from converters.formats import (
    boxes_csv,
    boxes_table,
    coco,
    dota,
    geojson,
    jsonfiles,
    labelme,
    panoptic,
    table,
    textlabels,
    via,
    voc,
    yolo,
)
from converters.formats.pictures import split_by_pictures
from converters.objects import Objects, told_apart

READERS: Mapping[str, Callable[[Source], Objects]] = {
    "coco": coco.read,
    "panoptic": panoptic.read,
    "voc": voc.read,
    "yolo": yolo.read,
    "dota": dota.read,
    "via": via.read,
    "labelme": labelme.read,
    "csv": boxes_csv.read,
    "geojson": geojson.read,
    "table": boxes_table.read,
}
OPTIONS = (
    Option("format", "how the objects are stored; auto looks at the input", "auto", ("auto", *READERS)),
    Option("name", "voc, via, labelme, csv, geojson, table: the class of regions that have none, such as name=balloon"),
    Option("class_key", "via, csv, geojson, table: the attribute, column or property of the class (default: looked for)"),
    Option("image", "table: the column of the picture (default: looked for)"),
    Option("objects", "table: the column of the lists of objects (default: objects, or the row's own lists)"),
    Option(
        "box_form",
        "table: what four numbers are, x, y, width and height or two corners (default: looked for)",
        None,
        (boxes_table.XYWH, boxes_table.XYXY),
    ),
    Option("origin", "voc: the number of the first pixel, 1 as in Pascal VOC or 0", "1", ("1", "0")),
    Option("masks", "panoptic: the folder of mask pictures (default: beside the json, named like it)"),
)
# Options that mean something in some formats alone; origin is given where it is not its default.
TAKEN_BY = {
    "name": ("voc", "via", "labelme", "csv", "geojson", "table"),
    "class_key": ("via", "csv", "geojson", "table"),
    "image": ("table",),
    "objects": ("table",),
    "box_form": ("table",),
    "origin": ("voc",),
    "masks": ("panoptic",),
}
# What other tools write, by marks that all stand in a file, and what to do instead: named where nothing else is found. CVAT,
# Label Studio, Supervisely and V7 export COCO's json (docs.cvat.ai, labelstud.io/guide/export, ecosystem.supervisely.com,
# docs.v7labs.com).
_AS_COCO = "export it as COCO"
OTHER_TOOLS = (
    ("CVAT's XML", (b"<annotations>", b"<image "), _AS_COCO),
    ("CVAT's XML of a video", (b"<annotations>", b"<track "), _AS_COCO),
    ("Label Studio's JSON", (b'labels"', b"original_width", b"original_height"), _AS_COCO),
    ("Supervisely's JSON", (b'"classTitle"', b'"points"'), _AS_COCO),
    ("V7's JSON", (b'"bounding_box"', b'"slots"'), _AS_COCO),
    ("VIA's csv", (b"region_shape_attributes",), "save the project, or export its annotations, as json"),
)
_VOC_ROOT = re.compile(rb"<annotation[\s>]")
LOOKED_AT = 20  # files of one kind: LabelMe and VOC have one a picture


def read_objects(source: Source) -> Objects:
    """The set at ``source.input``, in the format that the option names or that is found by looking.

    Raises UsageError where no format fits, or more than one; DataError where nothing in the input can be read.
    """
    given = source.options.get("format", "auto")
    name = _look(source) if given == "auto" else given
    defaults = {option.name: option.default for option in OPTIONS}
    for option, formats in TAKEN_BY.items():
        if name not in formats and source.options.get(option, defaults[option]) != defaults[option]:
            raise UsageError(
                f"option {option}={source.options[option]} has no effect with format={name}; it is for {', '.join(formats)}"
            )
    found = READERS[name](source)
    return dataclasses.replace(found, samples=split_by_pictures(told_apart(found.samples), source))


def _look(source: Source) -> str:
    """The one format of the input, by the names of its files and what stands in them."""
    path = source.input
    if path.is_file() and path.suffix.lower() in boxes_csv.SUFFIXES:
        return "csv"  # whose reader says which columns it misses
    if str(path).startswith(table.HUB_PREFIX) or (path.is_file() and path.suffix.lower() in boxes_table.SUFFIXES):
        return "table"
    found = sorted({kind for kind in map(_kind_of, _candidates(source)) if kind is not None})
    if len(found) == 1:
        return found[0]
    if found:
        likely = next(
            (name for name in found if name not in ("csv", "table")), found[0]
        )  # such a list often repeats the others
        raise UsageError(f"input '{path}' holds {' and '.join(found)}; add: --option format={likely}, or name one file")
    if path.is_dir() and table.is_table(path):
        return "table"
    if path.is_file() and path.suffix.lower() in jsonfiles.SUFFIXES:
        if boxes_table.is_list_of_boxes(safe.read_bytes(path)):
            return "table"
        safe.read_json(path)  # which says it where this is no JSON at all
    raise UsageError(
        f"input '{path}': found no annotations in it; looked for json (COCO, panoptic, VIA, LabelMe, GeoJSON), xml (VOC), "
        f"txt (YOLO, DOTA), csv with columns of boxes or WKT, and tables with lists of boxes{_tell_others(source)}"
    )


def _candidates(source: Source) -> list[Path]:
    if source.input.is_file():
        return [source.input]
    found: list[Path] = []
    for suffixes in ((".json", ".geojson"), (".xml",), boxes_csv.SUFFIXES, (".yaml", ".yml", ".names"), (".jsonl",)):
        found += itertools.islice(jsonfiles.files_below(source, frozenset(suffixes)), LOOKED_AT)
    return found + [source.input / path for path in itertools.islice(textlabels.label_files(source), LOOKED_AT)]


def _kind_of(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix in jsonfiles.SUFFIXES:
        return jsonfiles.kind_of(safe.read_bytes(path))
    if suffix == ".xml":
        return "voc" if _VOC_ROOT.search(safe.read_bytes(path)) else None
    if suffix in boxes_csv.SUFFIXES:
        return "csv" if boxes_csv.is_boxes(boxes_csv.header_of(path)) else None
    if yolo.is_names_file(path):
        return "yolo"
    if suffix == ".jsonl":
        return "table" if boxes_table.is_boxes(path) else None
    return _kind_of_lines(path) if suffix == ".txt" else None


def _tell_others(source: Source) -> str:
    """The end of an error for an input without annotations that are read: files of another tool in it, else its tables."""
    for path in _candidates(source):
        if path.suffix.lower() in (".json", ".xml", *boxes_csv.SUFFIXES):
            content = safe.read_bytes(path)
            for tool, marks, cure in OTHER_TOOLS:
                if all(mark in content for mark in marks):
                    place = f"{jsonfiles.place(path, source.input)} is " if path != source.input else "this is "
                    return f"; {place}{tool}, which is not read: {cure}"
    return table.tell_tables(source, boxes_table.SUFFIXES)


def _kind_of_lines(path: Path) -> str | None:
    """YOLO or DOTA, by the first line that is neither empty nor a header."""
    for _, content in itertools.islice(safe.read_lines(path), 4):
        line = content[:4096].decode("utf-8", "replace").strip()
        if dota.is_line(line):
            return "dota"
        if yolo.is_line(line):
            return "yolo"
    return None
