"""Pictures in folders: ``<root>[/<split>]/<Class>/.../<file>``, scanned in one fixed order."""

import collections
import dataclasses
import os
from pathlib import Path, PurePosixPath

from adapt.errors import DataError, UsageError
from adapt.safe import PICTURE_SUFFIXES

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_name(text: str) -> str:
    """``Valid`` -> ``val``; a split of another name, such as ``test_phili``, keeps it."""
    return SPLIT_FOLDERS.get(text.lower(), text)


@dataclasses.dataclass(frozen=True)
class Scan:
    """Paths of pictures relative to the root, sorted by their parts, and the files that were not taken, by reason."""

    pictures: tuple[PurePosixPath, ...]
    ignored: dict[str, int]


@dataclasses.dataclass(frozen=True)
class ClassPicture:
    """One picture of a class folder. ``path`` is relative to the root, ``class_name`` the folder as it is spelled."""

    path: PurePosixPath
    class_name: str
    split: str | None


def scan(root: Path, *, made: Path | None = None, suffixes: frozenset[str] = PICTURE_SUFFIXES) -> Scan:
    """Every file below ``root`` whose name is a picture's (ends in ``suffixes``). Links are followed, each real folder once.

    ``made`` is the folder of made pictures (Source.made): it and the files of the same conversion are not looked at, so that
    a conversion into its own input folder finds the same things again. Raises DataError for a folder that cannot be read: a
    whole class could be missing.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):  # holds nothing
            return
        raise DataError(
            f"{error.filename}: this folder cannot be read: {error.strerror}; make it readable or move it out of {root}"
        ) from error

    pictures: list[PurePosixPath] = []
    ignored: collections.Counter[str] = collections.Counter()
    own = own_outputs(made)
    seen = {root.resolve()}
    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        real_folder, kept = Path(folder).resolve(), []
        for name in sorted(subfolders):  # sorted: which of two links to one folder is entered must not be chance
            real = Path(folder, name).resolve()
            if real in own:
                continue
            if name.startswith(".") or name == "lost+found":  # the file system's own, at the root of a disk
                ignored["hidden folder"] += 1
            elif real not in seen:
                seen.add(real)
                kept.append(name)
            else:
                ignored["link to a folder seen before"] += 1
        subfolders[:] = kept
        for name in names:
            if real_folder / name in own:
                continue
            if name.startswith("."):
                ignored["hidden file"] += 1
            elif Path(name).suffix.lower() not in suffixes:
                ignored["not a picture by name"] += 1
            else:
                pictures.append(PurePosixPath(Path(folder, name).relative_to(root).as_posix()))
    return Scan(tuple(sorted(pictures, key=lambda path: path.parts)), dict(ignored))


def own_outputs(made: Path | None) -> set[Path]:
    """What the conversion that makes pictures in ``made`` writes."""
    if made is None:
        return set()
    stem = made.resolve().with_suffix("")
    return {
        stem.with_name(stem.name + end) for end in (".images", ".jsonl", ".manifest.json", ".pictures.jsonl", ".rejected.jsonl")
    }


def find_classes(root: Path, *, made: Path | None = None) -> tuple[list[ClassPicture], dict[str, int]]:
    """The pictures of an image folder with their classes and splits, and what was ignored.

    Split folders count as such when every top folder with pictures is one (a class may be called "train"); a picture right
    in one has no class, and is ignored. A class is named by its last folder, by its whole path where two would share a name.
    Raises UsageError where no picture lies in a class folder.
    """
    found = scan(root, made=made)
    ignored = collections.Counter(found.ignored)
    has_splits = all(path.parts[0].lower() in SPLIT_FOLDERS for path in found.pictures if len(path.parts) > 1)
    inside = [path for path in found.pictures if len(path.parts) > (2 if has_splits else 1)]
    if len(inside) < len(found.pictures):
        ignored["picture outside a class folder"] += len(found.pictures) - len(inside)
    folders = [path.parts[1:-1] if has_splits else path.parts[:-1] for path in inside]
    if not folders:
        raise UsageError(
            f"input '{root}': no picture in a class folder; expected <Class>/<file> or <split>/<Class>/<file> in it"
        )
    names = _name_classes(set(folders))
    pictures = [
        ClassPicture(path, names[folder], SPLIT_FOLDERS[path.parts[0].lower()] if has_splits else None)
        for path, folder in zip(inside, folders, strict=True)
    ]
    return pictures, dict(ignored)


def _name_classes(folders: set[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    counts = collections.Counter(folder[-1] for folder in folders)
    return {folder: folder[-1] if counts[folder[-1]] == 1 else "/".join(folder) for folder in folders}
