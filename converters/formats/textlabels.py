"""Label files with one object a line, one file a picture (YOLO, DOTA): which file belongs to which picture."""

import collections
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from adapt.domain import Source
from adapt.errors import DataError, UsageError
from converters.formats import imagefolder
from converters.formats.pictures import Told, meant_by, split_of_folders, split_of_input, told_by

# Folders that only tell pictures from labels: what is left of two paths is the same for a picture and its labels.
SIDES = frozenset({"images", "labels", "labeltxt", "img", "imgs", "obj_train_data"})


@dataclasses.dataclass(frozen=True)
class Pair:
    """A picture, its labels, or both: None where there is none. Both are relative, the labels to the input folder."""

    picture: PurePosixPath | None
    labels: PurePosixPath | None

    @property
    def path(self) -> PurePosixPath:
        """The labels, or the picture where there are none."""
        found = self.labels or self.picture
        assert found is not None
        return found


def key_of(path: PurePosixPath) -> str:
    """``images/train/a.jpg``, ``labels/train/a.txt`` and ``train/labels/a.txt`` -> ``train/a``."""
    folders = [part for part in path.parts[:-1] if part.lower() not in SIDES and not part.lower().startswith("labeltxt")]
    return "/".join([*folders, path.stem])


def pictures_below(root: Path, made: Path | None) -> list[PurePosixPath]:
    """The pictures that labels may be of. One that is not read is among them where no other has its key, to be told."""
    found = imagefolder.scan(root, made=made)
    keys = {key_of(path) for path in found.pictures}
    return [path for path in found.everything() if imagefolder.unread_reason(path) is None or key_of(path) not in keys]


def refuse_unread(picture: PurePosixPath, where: str) -> None:
    """Raise DataError for a picture of a format that is not read."""
    if reason := imagefolder.unread_reason(picture):
        raise DataError(f"{where}: {reason}" if where == str(picture) else f"{where}: {picture} is {reason}")


def pair(
    pictures: Iterable[PurePosixPath], labels: Iterable[PurePosixPath], where: Path, pictures_root: Path | None = None
) -> list[Pair]:
    """Every picture and every label file once, by their keys.

    A label file without a picture of its key takes the one of its stem, unless that one's folders name another split.
    ``where`` is the input folder, and ``pictures_root`` that of the pictures where it is another one.

    Raises UsageError where two label files are of one key, or of one picture and split: two sets of labels of one set.
    """
    by_key: dict[str, list[PurePosixPath]] = collections.defaultdict(list)
    by_stem: dict[str, dict[Told, list[PurePosixPath]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for path in pictures:
        by_key[key_of(path)].append(path)
        by_stem[path.stem][told_by(path.parts[:-1])].append(path)
    labelled: dict[str, PurePosixPath] = {}
    labels_of: dict[tuple[PurePosixPath, str | None], PurePosixPath] = {}  # of another split it is rejected, not of another set
    above = _folders_apart(where, pictures_root or where)
    pairs: list[Pair] = []
    for path in labels:
        twin = labelled.setdefault(key_of(path), path)
        if twin != path:
            raise _two_sets(twin, path, where)
        meant = meant_by(split_of_folders(*reversed((*above, *path.parts[:-1]))), path.parts[:-1], ())
        same_stem = [each for told, some in by_stem.get(path.stem, {}).items() if meant.takes(told) for each in some[:2]]
        found = by_key.get(key_of(path)) or (same_stem if len(same_stem) == 1 else [])
        for picture in found:
            if (other := labels_of.setdefault((picture, told_by(path.parts[:-1]).split), path)) != path:
                raise _two_sets(other, path, where)
        pairs += [Pair(picture, path) for picture in found] or [Pair(None, path)]
    taken = {each.picture for each in pairs}
    pairs += [Pair(path, None) for paths in by_key.values() for path in paths if path not in taken]
    return sorted(pairs, key=lambda each: (key_of(each.path).split("/"), str(each.picture)))


def _two_sets(one: PurePosixPath, other: PurePosixPath, where: Path) -> UsageError:
    return UsageError(
        f"input '{where}': {one} and {other} label one picture; point --input at one of their folders, "
        "and --images at the pictures"
    )


def _folders_apart(folder: Path, other: Path) -> tuple[str, ...]:
    """The last folders of a path, those that are not above the other, too: ``set/labels/train`` and ``set/images``."""
    paths = folder.resolve(), other.resolve()
    return paths[0].relative_to(os.path.commonpath(paths)).parts


def split_of(found: Pair, input: Path, pictures_root: Path) -> str | None:
    """The split that the nearest folder of the labels tells, else that of the picture, else the folders that were named."""
    below = [part for path in (found.labels, found.picture) if path for part in reversed(path.parts[:-1])]
    return split_of_folders(*below) or split_of_input(input) or split_of_input(pictures_root)


def label_files(source: Source) -> list[PurePosixPath]:
    """The text files that may hold labels: those in a folder for labels where there is one, else all."""
    found = imagefolder.scan(source.input, made=source.made, suffixes=frozenset({".txt"})).pictures
    in_folder = [path for path in found if any(part.lower().startswith("label") for part in path.parts[:-1])]
    return in_folder or list(found)


def data_root(source: Source) -> Path:
    """The folder of the whole set: above ``labels`` where the input is that folder."""
    folder = source.input if source.input.is_dir() else source.input.parent
    return folder.resolve().parent if folder.resolve().name.lower().startswith("label") else folder
