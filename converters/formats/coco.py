"""COCO's detection json: ``images``, ``annotations`` and ``categories``, joined by id (cocodataset.org, "Data format").

A box is [x, y, width, height] in pixels, a mask is polygons [x1, y1, x2, y2, ...] or run lengths, and ``iscrowd`` marks a group
that is not told apart. The split is told by the file's name (``instances_train2017.json``) or its folder (Roboflow's
``train/_annotations.coco.json``). An image without annotations is a picture without objects.
"""

import collections
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.boxes import Box
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from adapt.progress import say
from converters import masks
from converters.formats import jsonfiles
from converters.formats.pictures import PictureFinder, sample_id, split_of
from converters.objects import (
    Objects,
    ObjectsSample,
    PictureObject,
    Point,
    Rle,
    check_object,
    enclosing,
    refuse_shares,
    to_number,
    to_points,
    without_doubles,
    written,
)

ORPHAN = "annotation of an image that the file does not list"
PASSED_BY = "COCO file beside files named instances_"
TWICE = "annotation that stands twice"
FEW_POINTS = "polygon of fewer than three points"
_INSTANCES = "instances_"
_COMPANIONS = ("captions_", "person_keypoints_", "stuff_", "panoptic_")  # of the pictures of instances_, by COCO itself
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,4300}")  # Python reads no longer ones
_FIRST_ROUNDED = 2**53  # from here on floats skip whole numbers
_CROWD_TEXTS = {"": False, "null": False, "none": False, "0": False, "false": False, "1": True, "true": True}


def read(source: Source) -> Objects:
    """All images of a json file, or of the json files of a folder, one a split."""
    ignored: collections.Counter[str] = collections.Counter()
    paths = _one_a_split(_without_others(jsonfiles.files_of("coco", source), source, ignored), source.input)
    name = set_name(source.input)
    finder = PictureFinder(source.images or picture_root(source.input), source.made, root_first=source.images is not None)
    classes: set[str] = set()

    def read_file(document: Mapping[str, Any], path: Path) -> Iterator[ObjectsSample | Rejected]:
        names = category_names(document, path)
        annotations = by_image(document, path, source, ignored)
        used = {to_id(each.get("category_id")) for rows in annotations.values() for each in rows}
        classes.update(named_classes(document, names, used))
        split = split_of(path, source.input)
        for row, where in images_of(document, jsonfiles.place(path, source.input), split):
            yield (
                row
                if isinstance(row, Rejected)
                else _sample(row, where, split, annotations, names, finder, path, name, ignored)
            )

    samples = without_doubles(
        list(jsonfiles.read_all(paths, source.input, read_file)),
        "give all of these one image_id, and leave the other image out",
    )
    return Objects(name, finder.root, samples, tuple(sorted(classes)), ignored + finder.ignored)


def set_name(input: Path) -> str:
    """What a set is called in ids: its file or folder; a file named like any other of its tool is called as its folder."""
    if input.is_file() and not input.stem.startswith(("_", "via_")):
        return input.stem
    return (picture_root(input) if input.is_dir() else input.parent).resolve().name


def picture_root(input: Path) -> Path:
    """The folder above ``annotations``, where pictures lie in folders beside it, else the input's own."""
    folder = input if input.is_dir() else input.parent
    return folder.resolve().parent if folder.resolve().name.lower() == "annotations" else folder


def _without_others(paths: Sequence[Path], source: Source, ignored: collections.Counter[str]) -> list[Path]:
    """The files of a folder that may be read: where some are named instances_, those and files of splits that they have not.

    COCO lays captions and key points of the same pictures beside the objects; any other file that is left is told and counted.
    """
    instances = [path for path in paths if path.name.startswith(_INSTANCES)]
    covered = {split_of(path, source.input) for path in instances}
    if not instances:
        return list(paths)
    kept, left = [], []
    for path in paths:
        split, is_companion = split_of(path, source.input), path.name.startswith(_COMPANIONS)
        if path in instances or (split is not None and split not in covered and not is_companion):
            kept.append(path)
        elif not (is_companion and split in covered):
            left.append(jsonfiles.place(path, source.input))
    if left:
        ignored[PASSED_BY] += len(left)
        if not source.counting:
            shown = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
            say(f"note: {source.input}: COCO files that are not read, since files named {_INSTANCES} are there: {len(left):,} "
                f"({shown}); to read one, point --input at it")  # fmt: skip
    return kept


def _one_a_split(paths: Sequence[Path], input: Path) -> Sequence[Path]:
    """The files, where no two are of one split. Raises UsageError for those that are."""
    by_split: dict[str | None, Path] = {}
    for path in paths:
        split = split_of(path, input)
        if split in by_split:
            raise UsageError(f"{by_split[split]} and {path} are both COCO files of one split; point --input at one of them")
        by_split[split] = path
    return paths


def to_id(value: Any) -> int | str | None:
    """An id as rows are joined by it: tools write 1 in one list and "1" or 1.0 in the other. None for what is no id."""
    if isinstance(value, str):
        return int(value) if _WHOLE_NUMBER.fullmatch(value) else value
    if isinstance(value, float) and value.is_integer() and abs(value) < _FIRST_ROUNDED:
        return int(value)
    return value if type(value) is int else None


def category_names(document: Mapping[str, Any], path: Path) -> dict[int | str, str]:
    """Names by id. An id that two names share is left out: its objects cannot be told."""
    names: dict[int | str, str] = {}
    doubled: set[int | str] = set()
    for row in jsonfiles.rows_of(document, "categories", path):
        each = _id_of(row)
        if each is None or type(row.get("name")) not in (str, int):  # a number is a name, too
            continue
        name = _name(str(row["name"]))
        if name and names.setdefault(each, name) != name:
            doubled.add(each)
    return {each: name for each, name in names.items() if each not in doubled}


def _name(text: str) -> str:
    return " ".join(text.split())


def named_classes(document: Mapping[str, Any], names: Mapping[int | str, str], used: set[Any]) -> set[str]:
    """All names but the groups above them: Roboflow lists the set itself as category 0, and no object is one."""
    rows = [row for row in document["categories"] if isinstance(row, dict) and isinstance(row.get("supercategory"), str)]
    named = [row for row in rows if row.get("name") not in (None, "")]  # 0 is a name
    groups = {group for row in named if (group := _name(row["supercategory"])) != _name(str(row["name"]))}
    return {name for each, name in names.items() if each in used or name not in groups}


def by_image(
    document: Mapping[str, Any], path: Path, source: Source, ignored: collections.Counter[str]
) -> dict[int | str | None, list[dict[str, Any]]]:
    """The annotations of each image by ``to_id``, in the file's order; those of images not listed are told and counted.

    Raises DataError where they all are: every picture would pass for one without objects.
    """
    listed = {_id_of(row) for row in jsonfiles.rows_of(document, "images", path)} - {None}
    found: dict[int | str | None, list[dict[str, Any]]] = collections.defaultdict(list)
    num_orphans, first = 0, ""
    for index, row in enumerate(jsonfiles.rows_of(document, "annotations", path)):
        image = to_id(row.get("image_id")) if isinstance(row, dict) else None
        if image in listed:
            found[image].append(row)
            continue
        num_orphans += 1
        if not first:
            shown = f"image_id {row.get('image_id')!r}" if isinstance(row, dict) else repr(row)
            first = f"annotations[{index}], {shown:.60}"
    if num_orphans and not found:
        ids = (
            f"id {row.get('id')!r} of images[{index}]" for index, row in enumerate(document["images"]) if isinstance(row, dict)
        )
        raise DataError(
            f"{path}: none of its {num_orphans:,} annotations belongs to an image that it lists: {first}, against "
            f"{next(ids, 'no image')[:60]}; write the same ids in both lists"
        )
    if num_orphans:
        ignored[ORPHAN] += num_orphans
        if not source.counting:
            say(f"note: {path}: annotations of images that it does not list: {num_orphans:,}, left out; first: {first}")
    return found


def _id_of(row: Any) -> int | str | None:
    return to_id(row.get("id")) if isinstance(row, dict) else None


def images_of(document: Mapping[str, Any], place: str, split: str | None) -> Iterator[tuple[dict[str, Any] | Rejected, str]]:
    """Each image with where it stands; one without an id or a file name, and any whose id occurs twice, is rejected.

    ``place`` is what messages call the file.
    """
    counts = collections.Counter(map(_id_of, document["images"]))
    for index, row in enumerate(document["images"]):
        has_id = _id_of(row) is not None
        where = f"{place}#image {row['id']}" if has_id else f"{place}#images[{index}]"
        if not has_id or not isinstance(row.get("file_name"), str) or not row["file_name"].strip():
            yield Rejected(where, f"the image is {str(row)[:60]}, expected an object with 'id' and 'file_name'", split), where
        elif (count := counts[_id_of(row)]) > 1:
            yield Rejected(where, f"the image id {row['id']} is given {count} times; ids must be unique", split), where
        else:
            yield row, where


def _sample(
    row: Mapping[str, Any],
    where: str,
    split: str | None,
    annotations: Mapping[int | str | None, Sequence[Mapping[str, Any]]],
    names: Mapping[int | str, str],
    finder: PictureFinder,
    path: Path,
    name: str,
    ignored: collections.Counter[str],
) -> ObjectsSample | Rejected:
    try:
        picture = finder.find(row["file_name"], where, path.parent, split=split)
        objects = tuple(
            check_object(_object(each, names, f"{where}: object {number}", ignored), number, where)
            for number, each in enumerate(_once(annotations.get(_id_of(row), ()), ignored), 1)
        )
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), split)
    size = jsonfiles.stated_size(row)
    return ObjectsSample(sample_id(name, picture), where, split, (picture,), objects, name, stated_size=size)


def _once(rows: Sequence[Mapping[str, Any]], ignored: collections.Counter[str]) -> Iterator[Mapping[str, Any]]:
    """The annotations of one image; one that stands there again, with its id and its content, is counted.

    Two that differ are two objects, whatever their ids: some tools write one id to all, or count anew in each image.
    """
    ids = [_id_of(row) for row in rows]
    counts = collections.Counter(ids)
    seen: set[str] = set()
    for own, row in zip(ids, rows, strict=True):
        if own is not None and counts[own] > 1:
            content = json.dumps({**row, "id": own}, sort_keys=True)
            if content in seen:
                ignored[TWICE] += 1
                continue
            seen.add(content)
        yield row


def category_of(row: Mapping[str, Any], names: Mapping[int | str, str], what: str) -> str:
    """The name of an annotation's category. Raises DataError for an id that is not one, or names two."""
    category = to_id(row.get("category_id"))
    name = None if category is None else names.get(category)
    if name is None:
        raise DataError(f"{what}: its category_id {str(row.get('category_id'))[:40]!r} names no category, or more than one")
    return name


def is_crowd(row: Mapping[str, Any], what: str) -> bool:
    """Whether ``iscrowd`` marks a group; without it, no. Raises DataError for what is neither 0 nor 1, in any spelling."""
    value = row.get("iscrowd")
    if value in (0, 1, None):
        return bool(value)
    found = _CROWD_TEXTS.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise DataError(f"{what}: its iscrowd is {str(value)[:40]!r}, expected 0 or 1")
    return found


def _object(
    row: Mapping[str, Any], names: Mapping[int | str, str], what: str, ignored: collections.Counter[str]
) -> PictureObject:
    name = category_of(row, names, what)
    what = f"{what} '{name[:80]}'"
    has_box, segmentation = row.get("bbox") not in (None, []), row.get("segmentation")
    if has_box:
        segmentation = with_area(segmentation, ignored)
    polygons, mask, outlined = read_segmentation(segmentation, what)
    box = to_box(row["bbox"], what) if has_box else outlined
    if box is None:
        raise DataError(f"{what}: neither 'bbox' nor 'segmentation' says where it is")
    refuse_shares(box, what)
    if outlined is not None and _are_apart(outlined, box):
        raise DataError(
            f"{what}: its segmentation, within {written(outlined)}, and its bbox, {written(box)} by corners, do not meet; one "
            "of them is of another object"
        )
    attributes = dict(row["attributes"]) if isinstance(row.get("attributes"), dict) else {}
    caption = row["caption"] if isinstance(row.get("caption"), str) else ""
    crowd = is_crowd(row, what)
    return PictureObject(name, box, polygons, (), mask, caption, crowd, attributes | {"id": row.get("id")})


def _are_apart(first: Box, second: Box) -> bool:
    """Whether more than a pixel, which rounding may take, lies between two boxes."""
    gaps = (first[0] - second[2], second[0] - first[2], first[1] - second[3], second[1] - first[3])
    return max(gaps) > 1


def to_box(value: Any, what: str) -> tuple[float, float, float, float]:
    """[x, y, width, height] as corners. Raises DataError(``what``: ...)."""
    if not isinstance(value, list) or len(value) != 4:
        raise DataError(f"{what}: its bbox is {str(value)[:60]}, expected [x, y, width, height]")
    x, y, width, height = (to_number(each, f"{what}: a number of its bbox") for each in value)
    return x, y, x + width, y + height


def read_segmentation(value: Any, what: str) -> tuple[tuple[tuple[Point, ...], ...], Rle | None, Any]:
    """(polygons, mask, enclosing box) of any of the three forms; the last two None where there is none."""
    if value in (None, [], {}):
        return (), None, None
    if isinstance(value, dict):
        mask = read_rle(value, what)
        return (), mask, _mask_box(mask)
    if not isinstance(value, list) or not all(isinstance(part, list) for part in value):
        raise DataError(f"{what}: its segmentation is {str(value)[:60]}, expected a list of polygons or run lengths")
    polygons = tuple(_polygon(part, what) for part in value)
    return polygons, None, enclosing(point for polygon in polygons for point in polygon)


def with_area(parts: Any, ignored: collections.Counter[str]) -> Any:
    """The segmentation of an object with a box of its own, without points and lines, which are counted."""
    if not isinstance(parts, list):
        return parts
    kept = [part for part in parts if not isinstance(part, list) or len(part) not in (0, 2, 4)]
    if len(kept) < len(parts):
        ignored[FEW_POINTS] += len(parts) - len(kept)
    return kept


def _polygon(part: list[Any], what: str) -> tuple[Point, ...]:
    if len(part) < 6 or len(part) % 2:
        raise DataError(f"{what}: a polygon of {len(part)} numbers, expected x and y of three points or more")
    return to_points(part, what)


def read_rle(value: Mapping[str, Any], what: str) -> Rle:
    """Run lengths, compressed or as a list, in their compressed form; every run has been looked at.

    pycocotools reads beyond the end of a text that is cut off, and takes runs that do not fill the mask.
    """
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(each) is int and each > 0 for each in size):
        raise DataError(f"{what}: run lengths of size {str(size)[:40]}, expected [height, width]")
    height, width = size
    if height * width > safe.MAX_PICTURE_PIXELS:
        raise DataError(f"{what}: a mask of {width}x{height}, more than the {safe.MAX_PICTURE_PIXELS:,} pixels allowed")
    runs = masks.read_runs(counts, what) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise DataError(f"{what}: its run lengths are {str(counts)[:40]!r}, expected counts of 0 or more")
    if sum(runs) != height * width:
        raise DataError(f"{what}: its run lengths fill {sum(runs):,} pixels, expected {height * width:,} ({width}x{height})")
    return Rle(counts if isinstance(counts, str) else masks.write_runs(runs), (width, height))


def _mask_box(mask: Rle) -> tuple[float, float, float, float]:
    from pycocotools import mask as coco_mask

    x, y, width, height = coco_mask.toBbox({"counts": mask.counts, "size": list(reversed(mask.size))}).tolist()
    return x, y, x + width, y + height
