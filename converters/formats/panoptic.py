"""COCO's panoptic form: one json, and a mask picture per image whose colours are segments (cocodataset.org, "Data format").

A segment's id is R + 256 G + 65536 B of its pixels. Masks lie in a folder named like the json (``panoptic_val2017.json`` and
``panoptic_val2017/``), or in the one that the option ``masks`` names. The root of the set is the folder above both pictures and
masks, since the samples name both. The two-channel form (category and instance as colours, no json) is not read.
"""

import collections
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from converters.formats import coco, jsonfiles
from converters.formats.pictures import PictureFinder, sample_id, split_of
from converters.objects import MaskFile, Objects, ObjectsSample, PictureObject, check_object

MAX_SEGMENT = 256**3 - 1


def read(source: Source) -> Objects:
    """All images of one panoptic json."""
    paths = jsonfiles.files_of("panoptic", source)
    if len(paths) > 1:
        raise UsageError(f"{paths[0]} and {paths[1]} are both panoptic files; point --input at one of them")
    path = paths[0]
    document = safe.read_object(path)
    masks = _masks_folder(path, source)
    pictures = (source.images or coco.picture_root(source.input)).resolve()
    root = Path(os.path.commonpath([pictures, masks.resolve()]))
    finder = PictureFinder(pictures, source.made, masks)
    names = coco.category_names(document, path)
    ignored: collections.Counter[str] = collections.Counter()
    annotations = coco.by_image(document, path, source, ignored)
    name = coco.set_name(source.input)
    below = pictures.relative_to(root).as_posix(), masks.resolve().relative_to(root).as_posix()
    samples: list[ObjectsSample | Rejected] = []
    split = split_of(path, source.input)
    for row, where in coco.images_of(document, jsonfiles.place(path, source.input), split):
        if isinstance(row, Rejected):
            samples.append(row)
            continue
        try:
            picture = finder.find(row["file_name"], where, split=split)
            mask, objects = _segments(annotations.get(coco.to_id(row["id"]), []), names, masks, below[1], where)
            size = _size(row, root, mask, where)
        except DataError as error:
            samples.append(Rejected(where, str(error).removeprefix(f"{where}: "), split))
            continue
        joined = picture if below[0] == "." else f"{below[0]}/{picture}"
        samples.append(ObjectsSample(sample_id(name, picture), where, split, (joined,), objects, name, stated_size=size))
    return Objects(name, root, samples, tuple(sorted(set(names.values()))), ignored + finder.ignored)


def _masks_folder(path: Path, source: Source) -> Path:
    folder = Path(source.options["masks"]) if "masks" in source.options else path.with_suffix("")
    if not folder.is_dir():
        raise UsageError(f"no folder of masks at '{folder}'; name it: --option masks=FOLDER")
    return folder


def _segments(
    rows: list[dict[str, Any]], names: Mapping[int | str, str], masks: Path, below: str, where: str
) -> tuple[str, tuple[PictureObject, ...]]:
    """The mask picture's name below the root, and the segments of an image."""
    if len(rows) != 1:
        raise DataError(f"{where}: {len(rows)} annotations, expected one with its segments_info")
    name, segments = rows[0].get("file_name"), rows[0].get("segments_info")
    if not isinstance(name, str) or not isinstance(segments, list):
        raise DataError(f"{where}: its annotation has no 'file_name' of a mask and list 'segments_info'")
    if not safe.inside(masks, name, where).is_file():
        raise DataError(f"{where}: mask {name}: no such file under {masks}")
    mask = name if below == "." else f"{below}/{name}"
    return mask, tuple(
        check_object(_segment(each, names, mask, f"{where}: segment {number}"), number, where)
        for number, each in enumerate(segments, 1)
    )


def _segment(row: Any, names: Mapping[int | str, str], mask: str, what: str) -> PictureObject:
    if not isinstance(row, dict) or type(row.get("id")) is not int or not 0 < row["id"] <= MAX_SEGMENT:
        raise DataError(f"{what}: is {str(row)[:60]}, expected an object with an 'id' from 1 to {MAX_SEGMENT:,}")
    name = coco.category_of(row, names, what)
    what = f"{what} '{name[:80]}'"
    box, crowd = coco.to_box(row.get("bbox"), what), coco.is_crowd(row, what)
    return PictureObject(name, box, mask=MaskFile(mask, row["id"]), crowd=crowd, attributes={"id": row["id"]})


def _size(row: Mapping[str, Any], root: Path, mask: str, where: str) -> tuple[int, int]:
    """The mask's size, which must be the picture's; a size that the json states must agree with it."""
    size = safe.picture_size(safe.inside(root, mask, where), f"{where}: mask {mask}")
    stated = jsonfiles.stated_size(row) or size
    if stated != size:
        raise DataError(f"{where}: stated as {stated[0]}x{stated[1]}, but mask {mask} is {size[0]}x{size[1]}")
    return size
