"""Which pictures a YOLO set's data.yaml puts into which split: a folder, a list file of picture paths, or several of either.

Paths are looked for as ultralytics does (data/utils.py ``check_det_dataset``, data/base.py ``get_img_files``): below ``path``,
which may be relative to data.yaml, else below data.yaml's own folder; ``./`` in a list is the list's folder, and Roboflow's
``../train/images`` is ``train/images`` beside data.yaml. Of a path from another machine its end is looked for. Paths are
compared as text with those of the pictures found; only list files below data.yaml's folder are opened.
"""

import bisect
import collections
import dataclasses
import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from adapt import safe
from adapt.errors import DataError
from converters.formats.imagefolder import SPLIT_FOLDERS
from converters.formats.pictures import split_of_folders
from converters.formats.textlabels import SIDES

NO_PICTURE = "split of {} that names no picture"
NOT_THERE = "picture of a split list that is not there"
SAME = "split of {} that names the pictures of another"
NOTHING = ("", "~", "null", "none")
MAX_PARTS, MAX_LETTERS = 64, 4096  # of a path; ends of longer ones would take hours to try


@dataclasses.dataclass(frozen=True)
class StatedSplits:
    """The splits that name each picture, the list files, what was not found, and who says so."""

    by_picture: Mapping[PurePosixPath, list[str]] = dataclasses.field(default_factory=dict)
    lists: frozenset[Path] = frozenset()
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    who_names: str = "data.yaml names"

    def of(self, picture: PurePosixPath, where: str) -> str | None:
        """The split stated for a picture. Raises DataError where there are two."""
        found = self.by_picture.get(picture, [])
        if len(found) > 1:
            raise DataError(f"{where}: {self.who_names} its picture in {' and '.join(found)}; a picture belongs to one split")
        return found[0] if found else None


def entries_of(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Each split that a data.yaml states, with a folder or a list file that it names for it."""
    return [(SPLIT_FOLDERS[key], each) for key, value in document.items() if key in SPLIT_FOLDERS for each in _several(value)]


def read_splits(
    document: Mapping[str, Any],
    folder: Path,
    pictures: Iterable[PurePosixPath],
    pictures_root: Path,
    *,
    stated_in: str = "data.yaml",
    ends_count: bool = False,
) -> StatedSplits:
    """What ``document``, the data.yaml in ``folder``, states of pictures below their root. Raises DataError for a bad list.

    ``stated_in`` is what to call the document. With ``ends_count`` an entry that is not there is looked for by its end.
    """
    entries = entries_of(document)
    if not entries:
        return StatedSplits()
    set_root = document.get("path")
    set_root = set_root if isinstance(set_root, str) else ""
    places = _Places(folder, set_root, pictures, pictures_root, ends_count=ends_count)
    named: dict[str, set[PurePosixPath]] = {split: set() for split, _ in entries}
    for split, entry in entries:
        if (found := places.of_entry(entry, split)) is None:
            places.ignored[NO_PICTURE.format(stated_in)] += 1
        named[split].update(found or ())
    by_picture: dict[PurePosixPath, list[str]] = collections.defaultdict(list)
    order = sorted(named, key=("train", "val", "test").index)
    for place, split in enumerate(order):
        if named[split] and any(named[other] == named[split] for other in order[:place]):
            places.ignored[SAME.format(stated_in)] += 1  # as in ultralytics' coco128, which trains and validates on the same
            continue
        for picture in named[split]:
            by_picture[picture].append(split)
    return StatedSplits(by_picture, frozenset(folder / name for name in places.lists), +places.ignored)


def _several(value: Any) -> list[Any]:
    """The entries of one split; a key that is left empty has none."""
    return [each for each in (value if isinstance(value, list) else [value]) if str(each).strip().lower() not in NOTHING]


class _Places:
    """The pictures by their absolute paths, to look stated ones up. ``lists`` and ``ignored`` gather what was met."""

    def __init__(
        self, folder: Path, set_root: str, pictures: Iterable[PurePosixPath], pictures_root: Path, *, ends_count: bool
    ) -> None:
        self._home, root = folder.resolve().as_posix(), pictures_root.resolve()
        self._bases = list(dict.fromkeys([_below(self._home, _plain(set_root)), self._home]))
        self._pictures = {f"{root.as_posix()}/{path}": path for path in pictures}
        self._sorted = sorted(self._pictures)
        self._by_end: dict[str, list[str]] = {}  # made where it is needed
        self._folders: set[str] = set()
        for place in self._pictures:
            while (place := posixpath.dirname(place)) not in self._folders:
                self._folders.add(place)
        is_apart = not root.is_relative_to(self._home) and not Path(self._home).is_relative_to(root)
        self._ends_below = root.as_posix() if is_apart else self._home
        self._ends_count = ends_count
        self.lists: dict[str, list[PurePosixPath]] = {}  # each is read once, however often and in whatever spelling it is named
        self.ignored: collections.Counter[str] = collections.Counter()

    def of_entry(self, entry: Any, split: str) -> list[PurePosixPath] | None:
        """The pictures of a folder or list file; None for what is neither.

        Of a folder that holds those of several splits (``train: images``) only those that no folder says are of another.
        """
        plain = _plain(entry) if isinstance(entry, str) else ""
        for place in self._entry_places(plain) if plain else ():
            if place in self._folders:
                return [
                    path for below, path in self._inside(f"{place}/") if split_of_folders(*reversed(below)) in (None, split)
                ]
            if (name := self._list_name(place)) is not None:
                if name not in self.lists:
                    self.lists[name] = list(self._listed(Path(self._home, name)))
                return self.lists[name]
        return None

    def _inside(self, start: str) -> Iterator[tuple[tuple[str, ...], PurePosixPath]]:
        """The pictures whose paths begin so, with the folders that follow."""
        for place in itertools.islice(self._sorted, bisect.bisect_left(self._sorted, start), None):
            if not place.startswith(start):
                return
            yield PurePosixPath(place.removeprefix(start)).parts[:-1], self._pictures[place]

    def _entry_places(self, plain: str) -> Iterator[str]:
        for base in self._bases:
            yield _below(base, plain)
        yield _below(self._home, _without_climbing(plain))
        stated = _below(self._bases[0], plain)
        if self._ends_count or plain.startswith("/") or not stated.startswith(f"{self._home}/"):  # of another machine
            for end in _ends(stated):
                if not all(part.lower() in SIDES for part in end.split("/")):  # images/ alone says nothing of a split
                    yield _below(self._ends_below, end)

    def _list_name(self, place: str) -> str | None:
        """The name of a list file as seen from data.yaml's folder; None for anything else, and for one outside of it."""
        name = place.removeprefix(f"{self._home}/")
        if name == place or not name.lower().endswith(".txt"):
            return None
        try:
            path = safe.inside(Path(self._home), name, "")
        except DataError:
            return None
        return name if path.is_file() and not _holds_labels(path) else None

    def _listed(self, path: Path) -> Iterator[PurePosixPath]:
        for line in safe.read_text(path).splitlines():
            if not line.strip():
                continue
            place = self._picture_place(line.strip(), path.parent.as_posix())
            if place is None:
                self.ignored[NOT_THERE] += 1
            else:
                yield self._pictures[place]

    def _picture_place(self, line: str, list_folder: str) -> str | None:
        plain, climbs_not = _plain(line), _without_climbing(_plain(line))
        bases = [list_folder] if line.startswith("./") else [*self._bases, list_folder]
        stated = (_below(base, plain) for base in bases)
        ends = (_below(self._ends_below, end) for end in _ends(climbs_not))
        found = next((place for place in itertools.chain(stated, ends) if place in self._pictures), None)
        if found is None:
            same = self._ending(climbs_not)
            found = same[0] if len(same) == 1 else None
        return found

    def _ending(self, end: str) -> list[str]:
        """The pictures whose paths end so."""
        if not self._by_end:
            for place in self._pictures:
                for each in _ends(place):
                    self._by_end.setdefault(each, []).append(place)
        return self._by_end.get(end, [])


def _holds_labels(path: Path) -> bool:
    """Whether a text file is the label file of a picture that is named like a list: its first line is one of numbers."""
    words = next((line.split() for line in safe.read_text_lines(path) if line.strip()), [])
    return len(words) >= 5 and all(re.fullmatch(r"[-+.\d]+(?:[eE][-+]?\d+)?", word) for word in words)


def _plain(text: str) -> str:
    """A path with ``/`` between its folders, from the root where it stood on a drive; "" for one too long to be any."""
    plain = re.sub("^[A-Za-z]:/", "/", text.strip().replace("\\", "/"))
    return posixpath.normpath(plain) if 0 < len(plain) <= MAX_LETTERS else ""


def _below(base: str, plain: str) -> str:
    return posixpath.normpath(posixpath.join(base, plain))


def _without_climbing(plain: str) -> str:
    return re.sub(r"^(\.\./)+", "", plain)


def _ends(plain: str) -> Iterator[str]:
    """``/content/set/images/a`` -> itself, ``set/images/a``, ``images/a``, ``a``: the longest first."""
    parts = [part for part in plain.split("/") if part][-MAX_PARTS:]
    return ("/".join(parts[start:]) for start in range(len(parts)))
