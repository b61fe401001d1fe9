"""Which pictures Darknet's lists put into which split: train.txt, valid.txt and test.txt, the path of a picture a line.

A ``*.data`` file beside ``*.names`` says which lists count, ``key = value`` a line (AlexeyAB/darknet, README, "How to train").
Without one they are the text files called after a split. Paths are seen from where darknet runs. CVAT's "YOLO 1.1"
(openvinotoolkit/datumaro) begins them with a ``data/`` that it does not write: they are looked for by their ends
(yolo_splits.py).
"""

import collections
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath

from adapt import safe
from adapt.errors import DataError, UsageError
from converters.formats import yolo_splits
from converters.formats.imagefolder import SPLIT_FOLDERS

PICTURE_ENDS = tuple(sorted(safe.PICTURE_SUFFIXES | safe.UNREAD_SUFFIXES))
MIXED = "text file named for a split that holds paths of pictures and other lines"
MAX_DATA_BYTES = 2**16  # of a file of five lines
MAX_FOLDERS = 20  # with lists of their own; each is matched with all pictures


def read_splits(folders: Iterable[Path], pictures: Sequence[PurePosixPath], pictures_root: Path) -> yolo_splits.StatedSplits:
    """What the lists in each of the folders state of the pictures.

    Raises DataError for a bad list, UsageError for ``*.data`` files that contradict each other and for too many folders.
    """
    by_picture: dict[PurePosixPath, list[str]] = collections.defaultdict(list)
    lists: set[Path] = set()
    ignored: collections.Counter[str] = collections.Counter()
    num_folders = 0
    for folder in {each.resolve(): each for each in folders}.values():
        stated_in, document = "a .data file", _of_data_file(folder)
        if not document:
            stated_in, document = "the lists", _of_names(folder, ignored)
        if not document:
            continue
        num_folders += 1
        if num_folders > MAX_FOLDERS:
            raise UsageError(f"{folder}: more than {MAX_FOLDERS} folders list pictures by split; point --input at one of them")
        found = yolo_splits.read_splits(document, folder, pictures, pictures_root, stated_in=stated_in, ends_count=True)
        lists |= found.lists
        ignored.update(found.ignored)
        for picture, splits in found.by_picture.items():
            by_picture[picture] += [split for split in splits if split not in by_picture[picture]]
    return yolo_splits.StatedSplits(by_picture, frozenset(lists), +ignored, "Darknet's lists name")


def _of_data_file(folder: Path) -> dict[str, list[str]]:
    """What the ``*.data`` files beside ``*.names`` name for each split; nothing where there is none."""
    if not any(folder.glob("*.names")):
        return {}
    paths = sorted(path for path in folder.glob("*.data") if path.is_file())
    found = {path: stated for path in paths if _is_there(stated := _stated(path), folder)}
    for path, stated in found.items():
        if stated != next(iter(found.values())):
            raise UsageError(f"{next(iter(found))} and {path} name different lists; leave only the one that is meant")
    return next(iter(found.values()), {})


def _is_there(stated: Mapping[str, Sequence[str]], folder: Path) -> bool:
    """Whether one of the lists that a .data file names lies beside it: those of other sets do not."""
    names = (PurePosixPath(each.replace("\\", "/")).name for values in stated.values() for each in values)
    return any(len(name) < 256 and (folder / name).exists() for name in names)


def _stated(path: Path) -> dict[str, list[str]]:
    """The lists of each split; none in what is no text of a few lines: weights of a model are called .data, too.

    Raises DataError for such a file that is named as the list of names beside it is.
    """
    stated: dict[str, dict[str, None]] = collections.defaultdict(dict)
    try:
        text = safe.read_text(path, MAX_DATA_BYTES)
    except DataError:
        if path.with_suffix(".names").is_file():
            raise
        return {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip().lower() in SPLIT_FOLDERS and value.strip():
            stated[key.strip().lower()][value.strip()] = None
    return {key: list(values) for key, values in stated.items()}


def _of_names(folder: Path, ignored: collections.Counter[str]) -> dict[str, list[str]]:
    """The text files called after a split that hold paths of pictures alone; one that holds other lines, too, is counted."""
    stated: dict[str, list[str]] = collections.defaultdict(list)
    for path in sorted(folder.glob("*.[tT][xX][tT]")):
        if path.stem.lower() in SPLIT_FOLDERS and path.is_file():
            kinds = kinds_of_lines(path)
            if kinds == {"picture"}:
                stated[path.stem.lower()].append(path.name)
            ignored[MIXED] += len(kinds) == 2
    return stated


def kinds_of_lines(path: Path) -> Set[str]:
    """Whether lines of a text file are each a "picture", by the end of its path, or "other". Empty lines are neither."""
    kinds: set[str] = set()
    for line in safe.read_text_lines(path):
        if text := line.strip().lower():
            kinds.add("picture" if text.endswith(PICTURE_ENDS) else "other")
            if len(kinds) == 2:
                break
    return kinds
