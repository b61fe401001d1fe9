"""Pascal VOC: one XML file a picture (host.robots.ox.ac.uk/pascal/VOC, "Annotation guidelines").

Layouts: ``Annotations/*.xml`` with ``JPEGImages/`` and ``ImageSets/Main/{train,val,test,trainval}.txt`` beside it, or XML files
next to their pictures, in split folders or not.

Original VOC counts pixels from 1 and counts the last one in: a box over the whole picture of 500x375 is 1, 1, 500, 375. So the
default ``origin=1`` takes xmin - 1, ymin - 1, xmax, ymax. Many tools write corners from 0: ``origin=0`` takes them as they are.
"""

import collections
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from adapt import safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from adapt.progress import say
from converters.formats import jsonfiles
from converters.formats.coco import picture_root, set_name
from converters.formats.pictures import PictureFinder, sample_id, split_of_folder
from converters.objects import (
    Objects,
    ObjectsSample,
    PictureObject,
    check_object,
    class_names,
    refuse_shares,
    to_number,
    without_doubles,
)

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = ("difficult", "truncated", "occluded", "pose")
FLAGS_OF_LISTS = ("1", "0", "-1")  # whether a class is in the picture


def read(source: Source) -> Objects:
    """All annotation files at or below the input, in the order of their paths."""
    paths = _annotation_files(source)
    name = set_name(source.input)
    root = picture_root(source.input)
    finder = PictureFinder(source.images or root, source.made)
    stems = {path.stem for path in paths}
    splits = read_splits(root, stems)  # else those beside each folder of annotations: the input may be a folder above the set
    of = {folder: splits or read_splits(folder.parent, stems) for folder in {path.parent for path in paths}}
    ignored: collections.Counter[str] = collections.Counter()
    samples: list[ObjectsSample | Rejected] = []
    for path in paths:
        split = _split_of(path, of[path.parent], source.input)
        where = path.relative_to(source.input).as_posix() if path != source.input else path.name
        try:
            annotation = safe.read_xml(path, where)
            if annotation.tag != "annotation":
                ignored["XML file that is no annotation"] += 1
                continue
            check_one_split(path.stem, of[path.parent], where)
            samples.append(_sample(annotation, path, where, split, source, finder, name))
        except DataError as error:
            samples.append(Rejected(where, str(error).removeprefix(f"{where}: "), split))
    listed = {stem for lists in of.values() for stems in lists.values() for stem in stems}
    if missing := len(listed - stems):
        ignored["picture of a split list without annotations"] += missing
    samples = without_doubles(samples, "let <filename> in each name its own picture, or have one file with all objects")
    _look_at_origin(samples, source)
    return Objects(name, finder.root, samples, class_names(samples), ignored + finder.ignored)


def _annotation_files(source: Source) -> list[Path]:
    if source.input.is_file():
        return [source.input]
    paths = jsonfiles.files_below(source, frozenset({".xml"}))
    if not paths:
        raise UsageError(f"input '{source.input}': no annotation file in it (.xml)")
    return paths


def read_splits(root: Path, stems: Set[str] = frozenset()) -> dict[str, set[str]]:
    """The stems that ``ImageSets/Main`` (or ``Main``, or the folder itself) lists, by split; ``stems`` are those there are."""
    folders = [root / "ImageSets" / "Main", root / "Main", root / "ImageSets", root]
    lists = {"train": "train.txt", "val": "val.txt", "test": "test.txt", "trainval": "trainval.txt"}
    for folder in folders:
        found = {split: _read_list(folder / name, stems) for split, name in lists.items() if (folder / name).is_file()}
        if found:
            return found
    return {}


def _read_list(path: Path, stems: Set[str]) -> set[str]:
    """The stems in a list of names or paths, one a line, with or without an extension.

    What follows a blank is part of the name where one of ``stems`` is called so, else a flag.
    """
    return {_listed_stem(line.strip(), stems) for line in safe.read_text(path).splitlines() if line.strip()}


def _listed_stem(line: str, stems: Set[str]) -> str:
    *before, last = line.rsplit(maxsplit=1)
    unflagged = before[0] if before and last in FLAGS_OF_LISTS else line
    whole = (_stem(text) for text in (line, unflagged))
    return next((stem for stem in whole if stem in stems), _stem(line.split()[0]))


def _stem(text: str) -> str:
    name = Path(text).name
    return Path(name).stem if Path(name).suffix.lower() in safe.PICTURE_SUFFIXES else name


def listed_split(stem: str, splits: Mapping[str, set[str]]) -> str | None:
    """The split whose list names a picture; one that trainval alone names is train."""
    found = next((split for split, stems in splits.items() if stem in stems), None)
    return "train" if found == "trainval" else found


def _split_of(path: Path, splits: Mapping[str, set[str]], input: Path) -> str | None:
    if (listed := listed_split(path.stem, splits)) is not None:
        return listed
    return split_of_folder(path, input)


def check_one_split(stem: str, splits: Mapping[str, set[str]], where: str) -> None:
    """Raise DataError for a picture that two lists name; trainval repeats the others."""
    found = [split for split, stems in splits.items() if stem in stems and split != "trainval"]
    if len(found) > 1:
        raise DataError(f"{where}: listed in {' and '.join(found)}; a picture belongs to one split")


def _sample(
    annotation: safe.Element,
    path: Path,
    where: str,
    split: str | None,
    source: Source,
    finder: PictureFinder,
    name: str,
) -> ObjectsSample:
    stated = " ".join((annotation.findtext("filename") or "").split()) or path.stem
    picture = finder.find(stated, where, path.parent, path.stem, split)
    objects = tuple(
        check_object(_object(each, f"{where}: object {number}", source.options), number, where)
        for number, each in enumerate(annotation.findall("object"), 1)
    )
    return ObjectsSample(
        sample_id(name, picture), where, split, (picture,), objects, name, stated_size=_stated_size(annotation)
    )


def _stated_size(annotation: safe.Element) -> tuple[int, int] | None:
    texts = [(annotation.findtext(f"size/{key}") or "").strip() for key in ("width", "height")]
    if not all(text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) for text in texts):
        return None
    return int(texts[0]), int(texts[1])


def _object(element: safe.Element, what: str, options: Mapping[str, str]) -> PictureObject:
    name = " ".join((element.findtext("name") or "").split()) or options.get("name", "")
    if not name:
        raise DataError(f"{what}: has no <name>; to name all such objects, add: --option name=balloon")
    boxes = element.findall("bndbox")
    if not boxes:
        raise DataError(f"{what} '{name[:80]}': has no <bndbox>")
    if len(boxes) > 1:
        raise DataError(f"{what} '{name[:80]}': has {len(boxes)} <bndbox>, expected one; write an <object> for each")
    (box,) = boxes
    texts = [(box.findtext(corner) or "").strip() for corner in CORNERS]
    x1, y1, x2, y2 = (to_number(text, f"{what} '{name[:80]}': <{key}>") for key, text in zip(CORNERS, texts, strict=True))
    refuse_shares((x1, y1, x2, y2), f"{what} '{name[:80]}'")
    first = int(options.get("origin", "1"))
    flags = {flag: (element.findtext(flag) or "").strip() for flag in FLAGS}
    caption = " ".join((element.findtext("description") or "").split())
    attributes = {flag: text for flag, text in flags.items() if text}
    return PictureObject(name, (x1 - first, y1 - first, x2, y2), caption=caption, attributes=attributes)


def _look_at_origin(samples: Sequence[ObjectsSample | Rejected], source: Source) -> None:
    """Say so where boxes start at pixel 0, which files that count from 1 have none of."""
    if source.options.get("origin", "1") == "0":
        return
    objects = [each for sample in samples if isinstance(sample, ObjectsSample) for each in sample.objects]
    if num := sum(min(each.box_px[:2]) == -1 for each in objects):
        say(
            f"note: boxes that start at pixel 0: {num:,} of {len(objects):,}; if the set counts pixels from 0, add: "
            "--option origin=0"
        )
