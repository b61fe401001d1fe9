"""YOLO: a text file a picture, a line an object: class number, then centre, width and height as shares of the picture.

Lines with more numbers are outlines (x1 y1 x2 y2 ... as shares), or key points where data.yaml has ``kpt_shape``. Layouts:
``images/[split/]*`` with ``labels/[split/]*``, ``split/images`` with ``split/labels``, or side by side. Names come from the
``names`` of data.yaml (a list or a mapping), else classes.txt or ``*.names``; splits from its ``train``, ``val`` and ``test``
(yolo_splits.py), else from Darknet's lists (darknet_splits.py), else from folders. A picture without a label file, or with an
empty one, is a picture without objects (docs.ultralytics.com/datasets/detect).
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import Any

from adapt import safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from adapt.orientation import upright_size
from converters.formats import darknet_splits, imagefolder, textlabels, yolo_splits
from converters.formats.pictures import sample_id
from converters.objects import Objects, ObjectsSample, PictureObject, check_object, enclosing, to_number

LISTS = frozenset(
    {"classes", "train", "val", "valid", "test", "trainval", "readme", "readme.dataset", "readme.roboflow", "labels"}
)
FARTHEST_SHARE = 2.0  # a box may poke out of its picture, but not as far as pixels do


UNLABELLED = "picture of a split without any label file"  # of a test to be guessed: it shows what nobody says
TWICE = "line of a label file that stands twice"  # ultralytics/data/utils.py (verify_image_label) takes it once, too


@dataclasses.dataclass(frozen=True)
class Names:
    """Class names by number, whether lines go on with key points, the data.yaml that says so, and the folders of the names."""

    names: dict[int, str]
    key_points: bool = False
    document: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folders: tuple[Path, ...] = ()


def read(source: Source) -> Objects:
    """All pictures of the set, in the order of their paths."""
    if source.input.is_file() and not is_names_file(source.input) and not is_yaml(source.input):
        raise UsageError(f"input '{source.input}': expected the folder of the set, or its data.yaml")
    given, root = source.input, textlabels.data_root(source)
    source = dataclasses.replace(source, input=given if given.is_dir() else root)
    pictures_root = source.images or root
    names = read_names(given, source.input, root)
    pictures = textlabels.pictures_below(pictures_root, source.made)
    shown = {path.stem for path in pictures}
    stated = _stated_splits(names, root, pictures, pictures_root)
    beside = {path.stem for path in pictures if len(path.parts) == 1} if pictures_root == source.input else set()
    labels = [
        path
        for path in textlabels.label_files(source)
        if source.input / path not in stated.lists and not _is_list(path, shown, beside, source.input)
    ]
    ignored = collections.Counter(stated.ignored)
    if in_folder := [path for path in pictures if "images" in (part.lower() for part in path.parts[:-1])]:
        ignored["picture outside the folder 'images'"] += len(pictures) - len(in_folder)
    found = textlabels.pair(in_folder or pictures, labels, source.input, pictures_root)
    name = root.resolve().name
    is_upright = source.options.get("upright") == "labelled"
    everything = [_sample(each, source.input, pictures_root, names, stated, name, is_upright, ignored) for each in found]
    labelled = {sample.split for each, sample in zip(found, everything, strict=True) if each.labels is not None}
    samples = [
        sample
        for each, sample in zip(found, everything, strict=True)
        if sample.split in labelled or (isinstance(sample, Rejected) and not _is_unread(each.picture))
    ]
    ignored[UNLABELLED] += len(everything) - len(samples)
    return Objects(name, pictures_root, samples, tuple(sorted(set(names.names.values()))), +ignored)


def _is_unread(picture: PurePosixPath | None) -> bool:
    return picture is not None and imagefolder.unread_reason(picture) is not None


def _stated_splits(
    names: Names, root: Path, pictures: Sequence[PurePosixPath], pictures_root: Path
) -> yolo_splits.StatedSplits:
    """The splits of data.yaml; where it states none, those of Darknet's lists beside the names or at the root."""
    if yolo_splits.entries_of(names.document):
        return yolo_splits.read_splits(names.document, names.folders[0], pictures, pictures_root)
    return darknet_splits.read_splits([*names.folders, root], pictures, pictures_root)


def _is_list(path: PurePosixPath, shown: Set[str], beside: Set[str], folder: Path) -> bool:
    """Whether a text file lists pictures or names, by its name. Such a name may be that of a picture's labels, too.

    In a folder it is, where a picture is called so; at the root where the picture is ``beside`` it and it lists no pictures.
    """
    stem = path.stem.lower()
    if stem not in LISTS:
        return False
    if len(path.parts) > 1:
        return stem == "classes" or path.stem not in shown
    is_of_split = stem in imagefolder.SPLIT_FOLDERS and path.stem in beside
    return not is_of_split or "picture" in darknet_splits.kinds_of_lines(folder / path)


def read_names(*folders: Path) -> Names:
    """The class names of a set, from the first folder (or data.yaml) that has them.

    Raises UsageError for none, or where files disagree.
    """
    for folder in dict.fromkeys(folders):
        paths = [folder] if is_yaml(folder) else sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
        read = {path: safe.read_yaml(path) for path in paths}
        documents = {path: document for path, document in read.items() if isinstance(document, dict) and "names" in document}
        named = [
            Names(_yaml_names(document["names"], path), "kpt_shape" in document, document, (path.parent,))
            for path, document in documents.items()
        ]
        first = next(iter(documents), None)
        if rival := next((path for path, each in zip(documents, named, strict=True) if each.names != named[0].names), None):
            raise UsageError(f"{first} and {rival} name different classes; point --input at the one that is meant")
        if named:
            return named[0]
    lists = [
        path for folder in dict.fromkeys(folders) for pattern in ("classes.txt", "*.names") for path in folder.rglob(pattern)
    ]
    found = {path: _line_names(path) for path in sorted(lists)}
    if not found:
        raise UsageError(
            f"input '{folders[0]}': no class names; expected data.yaml with 'names', or classes.txt with one a line"
        )
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            raise UsageError(f"{first} and {other} list different classes; point --input at the part that is meant")
    if not found[first]:
        raise DataError(f"{first}: lists no class, expected one a line")
    return Names(found[first], folders=tuple(dict.fromkeys(path.parent for path in found)))


def _line_names(path: Path) -> dict[int, str]:
    """The name on each line by the line's number, from 0; an empty line names no class, and moves no other."""
    return {number: line.strip() for number, line in enumerate(safe.read_text(path).splitlines()) if line.strip()}


def _yaml_names(names: object, path: Path) -> dict[int, str]:
    rows = names if isinstance(names, dict) else dict(enumerate(names)) if isinstance(names, list) else {}
    found: dict[int, str] = {}
    for number, text in rows.items():
        if not str(number).isdecimal() or not isinstance(text, str) or not text.strip():
            raise DataError(f"{path}: 'names' holds {str(number)[:40]}: {str(text)[:40]!r}, expected a number and a name")
        found[int(number)] = text.strip()
    if not found:
        raise DataError(f"{path}: 'names' is {str(names)[:40]!r}, expected a list or a mapping of names")
    return found


def _sample(
    found: textlabels.Pair,
    folder: Path,
    pictures_root: Path,
    names: Names,
    stated: yolo_splits.StatedSplits,
    name: str,
    is_upright: bool,
    ignored: collections.Counter[str],
) -> ObjectsSample | Rejected:
    where = str(found.path)
    split = textlabels.split_of(found, folder, pictures_root)
    try:
        if found.picture is None:
            raise DataError(f"{where}: no picture of this name under {pictures_root}")
        picture, split = str(found.picture), stated.of(found.picture, where) or split
        textlabels.refuse_unread(found.picture, where)
        lines = safe.read_text(folder / found.labels, safe.MAX_LINE_BYTES).splitlines() if found.labels is not None else []
        size = _size(pictures_root / picture, f"{where}: picture {picture}", is_upright) if lines else None
        rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
        objects = [
            check_object(_object(words, names, size or (0, 0), f"{where}:{number}"), place, f"{where}:{number}")
            for place, (number, words) in enumerate(rows, 1)
        ]
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), split)
    by_line = {tuple(map(float, words)): each for (_, words), each in zip(rows, objects, strict=True)}
    ignored[TWICE] += len(rows) - len(by_line)
    return ObjectsSample(sample_id(name, picture), where, split, (picture,), tuple(by_line.values()), name)


def _size(path: Path, where: str, is_upright: bool) -> tuple[int, int]:
    """(width, height) that shares are of: of the stored picture, or of the upright one where the labels were drawn on that."""
    content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES)
    size = safe.size_of(content, where)
    return upright_size(size, safe.orientation_of(content, where)) if is_upright else size


def _object(words: Sequence[str], names: Names, size: tuple[int, int], what: str) -> PictureObject:
    number = to_number(words[0], f"{what}: the class")
    if number != int(number) or int(number) not in names.names:
        raise DataError(
            f"{what}: class {words[0][:20]}, but the set names {len(names.names)} classes from {min(names.names)} on"
        )
    name = names.names[int(number)]
    shares = [to_number(word, f"{what}: a number of '{name[:80]}'") for word in words[1:]]
    is_outline = len(shares) >= 6 and len(shares) % 2 == 0 and not names.key_points
    if len(shares) < 4 or (len(shares) > 5 and not is_outline and not names.key_points):
        raise DataError(
            f"{what}: {len(shares)} numbers after the class, expected 4 (cx cy w h), or x and y of 3 points or more"
        )
    if max(map(abs, shares if is_outline else shares[:4])) > FARTHEST_SHARE:
        raise DataError(
            f"{what}: {' '.join(words[:5])[:60]}: expected shares of the picture from 0 to 1; these look like pixels"
        )
    if is_outline and FARTHEST_SHARE in shares:
        raise DataError(
            f"{what}: {' '.join(words[:9])[:60]}: a point at {FARTHEST_SHARE:g} of the picture; of key points (cx cy w h, then "
            "x, y and 0 to 2 for each) data.yaml says so: kpt_shape: [NUMBER, 3]"
        )
    width, height = size
    if is_outline:
        points = tuple((x * width, y * height) for x, y in zip(shares[::2], shares[1::2], strict=True))
        return PictureObject(name, enclosing(points), (points,))
    cx, cy, w, h = shares[:4]
    box = (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
    return PictureObject(name, box, attributes={"confidence": shares[4]} if len(shares) == 5 else {})


def is_line(line: str) -> bool:
    """Whether a line of a label file is one of YOLO's: a whole number, then shares."""
    words = line.split()
    try:
        return len(words) >= 5 and words[0].isdecimal() and all(abs(float(word)) <= FARTHEST_SHARE for word in words[1:5])
    except ValueError:
        return False


def is_yaml(path: Path) -> bool:
    """Whether a path is a YAML file."""
    return path.suffix.lower() in (".yaml", ".yml") and path.is_file()


def is_names_file(path: PurePosixPath | Path) -> bool:
    """Whether a file is one that only sets of this format have."""
    return path.name.lower() in ("data.yaml", "data.yml", "classes.txt") or path.suffix.lower() == ".names"
