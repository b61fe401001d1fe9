"""Pictures in folders: ``<root>[/<split>]/<Class>/.../<file>``, scanned in one fixed order."""

import collections
import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Set
from pathlib import Path, PurePosixPath

from adapt.errors import DataError, UsageError
from adapt.made import FOLDER_SUFFIX
from adapt.progress import say
from adapt.records import manifest_path
from adapt.safe import PICTURE_SUFFIXES, UNREAD_SUFFIXES

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


Folders = tuple[str, ...]  # of a path, from the root on
_OF_PICTURES = ("images", "image", "imgs", "img", "pictures", "set", "data")  # beside a split: train_images


@dataclasses.dataclass(frozen=True)
class Scan:
    """Paths of pictures relative to the root, sorted by their parts, and the files that were not taken, by reason.

    ``unread`` are pictures, too, of formats that are not read: they are neither among ``pictures`` nor counted.
    """

    pictures: tuple[PurePosixPath, ...]
    ignored: dict[str, int]
    unread: tuple[PurePosixPath, ...] = ()

    def everything(self) -> tuple[PurePosixPath, ...]:
        """The pictures and those that are not read, in one order; ``unread_reason`` tells them apart."""
        return tuple(_in_order([*self.pictures, *self.unread]))


@dataclasses.dataclass(frozen=True)
class ClassPicture:
    """One picture of a class folder. ``path`` is relative to the root, ``class_name`` the folder as it is spelled."""

    path: PurePosixPath
    class_name: str
    split: str | None


def unread_reason(path: PurePosixPath) -> str | None:
    """Why a picture that was scanned is not read; None for one that is."""
    if path.suffix.lower() not in UNREAD_SUFFIXES:
        return None
    return f"a picture of the format {path.suffix[1:].upper()}, which is not read; convert it to PNG or JPEG"


def scan(root: Path, *, made: Path | None = None, suffixes: frozenset[str] = PICTURE_SUFFIXES) -> Scan:
    """Every file below ``root`` whose name is a picture's (ends in ``suffixes``). Links are followed, each real folder once:
    where it lies below ``root`` itself, else by the first link to it.

    ``made`` is the folder of made pictures (Source.made): it and the files of the same conversion are not looked at, so that
    a conversion into its own input folder finds the same things again. Nor are the made pictures of other conversions, beside
    their manifests. Raises DataError for a folder that cannot be read: a whole class could be missing.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):  # holds nothing
            return
        raise DataError(
            f"{error.filename}: this folder cannot be read: {error.strerror}; make it readable or move it out of {root}"
        ) from error

    pictures: list[PurePosixPath] = []
    unread: list[PurePosixPath] = []
    ignored: collections.Counter[str] = collections.Counter()
    own, taken = own_outputs(made), suffixes | UNREAD_SUFFIXES
    for folder, names in _walk(root, own, ignored, refuse):
        real_folder = folder.resolve()
        for name in names:
            if real_folder / name in own:
                continue
            if name.startswith("."):
                ignored["hidden file"] += 1
            elif (suffix := Path(name).suffix.lower()) in taken:
                path = PurePosixPath((folder / name).relative_to(root).as_posix())
                (pictures if suffix in suffixes else unread).append(path)
            else:
                ignored["not a picture by name"] += 1
    return Scan(tuple(_in_order(pictures)), dict(ignored), tuple(_in_order(unread)))


def _walk(
    root: Path, own: Set[Path], ignored: collections.Counter[str], refuse: Callable[[OSError], None]
) -> Iterator[tuple[Path, list[str]]]:
    """The folders at and below ``root`` with the names of their files; folders first, then what links among them lead to."""
    seen: set[Path] = set()
    tops = collections.deque([root])
    while tops:
        if (top := tops.popleft()).resolve() in seen:
            ignored["link to a folder seen before"] += 1
            continue
        for name, subfolders, names in os.walk(top, onerror=refuse):
            folder, kept = Path(name), []
            seen.add(folder.resolve())
            for each in sorted(subfolders):  # sorted: which of two links to one folder is entered must not be chance
                path = folder / each
                real = path.resolve()
                if real in own:
                    continue
                if _is_made(path):
                    ignored["folder of pictures that a conversion made"] += 1
                elif each.startswith(".") or each == "lost+found":  # the file system's own, at the root of a disk
                    ignored["hidden folder"] += 1
                elif path.is_symlink():
                    tops.append(path)
                elif real in seen:  # below a link that leads to a folder above it
                    ignored["link to a folder seen before"] += 1
                else:
                    kept.append(each)
            subfolders[:] = kept
            yield folder, names


def _in_order(paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    return sorted(paths, key=lambda path: path.parts)


def _is_made(folder: Path) -> bool:
    """Whether a conversion wrote the pictures of a folder: its manifest lies beside it."""
    return folder.suffix == FOLDER_SUFFIX and manifest_path(folder.with_suffix("")).is_file()


def own_outputs(made: Path | None) -> set[Path]:
    """What the conversion that makes pictures in ``made`` writes."""
    if made is None:
        return set()
    stem = made.resolve().with_suffix("")
    return {
        stem.with_name(stem.name + end)
        for end in (FOLDER_SUFFIX, ".jsonl", ".manifest.json", ".pictures.jsonl", ".rejected.jsonl")
    }


def find_classes(
    root: Path, *, made: Path | None = None, joined: bool = False, quiet: bool = False
) -> tuple[list[ClassPicture], dict[str, int]]:
    """The pictures of an image folder with their classes and splits, and what was ignored.

    Split folders (``_split_folders``) may lie below others; a picture right in one has no class, nor has one outside of all of
    them: both are ignored. A class is named by its last folder; where several share that name each is a class, named by its
    whole path, or, ``joined``, they are one. Pictures of formats that are not read are among them (``unread_reason``): a class
    may have no others.
    Raises UsageError where no picture lies in a class folder.
    """
    found = scan(root, made=made)
    ignored = collections.Counter(found.ignored)
    everything = found.everything()
    placed = _placed({path.parts[:-1] for path in everything})
    inside = [path for path in everything if placed[path.parts[:-1]][1]]
    if len(inside) < len(everything):
        ignored["picture outside a class folder"] += len(everything) - len(inside)
        beside = sorted(
            {str(path.parent) for path in everything if len(path.parts) > 2 and placed[path.parts[:-1]] == (None, ())}
        )
        if beside and not quiet:
            say(
                f"note: {root}: folders beside those of splits are not read: {', '.join(beside[:5])}"
                f"{', ...' if len(beside) > 5 else ''}; to read one, point --input at the folder above it"
            )
    folders = [placed[path.parts[:-1]][1] for path in inside]
    if not folders:
        raise UsageError(
            f"input '{root}': no picture in a class folder; expected <Class>/<file> or <split>/<Class>/<file> in it"
        )
    names = {folder: folder[-1] for folder in folders} if joined else _name_classes(set(folders))
    pictures = [
        ClassPicture(path, names[folder], placed[path.parts[:-1]][0]) for path, folder in zip(inside, folders, strict=True)
    ]
    return pictures, dict(ignored)


def _placed(folders: set[Folders]) -> dict[Folders, tuple[str | None, Folders]]:
    """The split of each folder that holds pictures and its class folders, none where it lies outside of any."""
    splits = _split_folders(folders)
    if not splits:
        return {each: (None, each) for each in folders}
    heads = {each: next((each[:depth] for depth in range(1, len(each) + 1) if each[:depth] in splits), ()) for each in folders}
    classes = {(splits[head], each[len(head)]) for each, head in heads.items() if head and each != head}
    in_splits = collections.Counter(name for _, name in classes)
    placed: dict[Folders, tuple[str | None, Folders]] = {}
    for each, head in heads.items():
        below = each[len(head) :] if head else ()
        if below and below[0] == head[-1] and (len(below) > 1 or in_splits[below[0]] == 1):
            below = below[1:]  # train/train/cat, as some archives are packed; a class "train" is in other splits, too
        placed[each] = (splits.get(head), below)
    return placed


def _split_folders(folders: set[Folders]) -> dict[Folders, str]:
    """The split of each folder that is one, of the ``folders`` that hold pictures and those above them.

    A class may be called "train": folders are splits where siblings are named for two of them or more and hold class folders
    (``seg_train`` and ``seg_test``: what stands beside the split's word is the same), or else where all top folders are.
    Raises UsageError for a folder called test or val whose siblings are of no split: its pictures would be trained on.
    """
    heads = {path[:depth] for path in folders for depth in range(1, len(path) + 1)}
    with_classes = {path[:depth] for path in folders for depth in range(1, len(path))}
    words = {head: found for head in heads if (found := _split_word(head[-1])) is not None}
    siblings: dict[tuple[Folders, str], set[str]] = collections.defaultdict(set)
    for head in words.keys() & with_classes:
        siblings[head[:-1], words[head][1]].add(words[head][0])
    divided = {head: word for head, (word, rest) in words.items() if len(siblings[head[:-1], rest]) > 1}
    if divided:
        return divided
    tops = {path[:1] for path in folders if path}
    are_all = all(top in words and words[top][1] in ("", *_OF_PICTURES) for top in tops)
    if are_all:
        return {top: words[top][0] for top in tops}
    for head in sorted(with_classes & words.keys()):
        beside = sorted(each[-1] for each in with_classes if each[:-1] == head[:-1] and each != head)
        if beside and words[head] in (("test", ""), ("val", "")):  # "train" may be a class
            raise UsageError(
                f"the folder {'/'.join(head)} is named for a split and holds folders, as {', '.join(beside[:3])} beside it do, "
                "which are named for none: its pictures would be of no split; move them below a folder called train"
            )
    return {}


def split_beside(folder: Path) -> str | None:
    """The split of a folder called ``seg_test`` beside a ``seg_train``, or of one of its name in it, as archives are packed."""
    folder = folder.resolve()
    if folder.parent.name == folder.name:
        folder = folder.parent
    own = _split_word(folder.name)
    if own is None:
        return None
    if not os.access(folder.parent, os.R_OK | os.X_OK):
        return None  # what lies beside it cannot be seen
    others = (_split_word(each.name) for each in folder.parent.iterdir() if each.is_dir())
    return own[0] if any(other is not None and other[1] == own[1] and other[0] != own[0] for other in others) else None


def _split_word(name: str) -> tuple[str, str] | None:
    """The split that one word of a folder's name tells, and the name without it: ``seg_train`` -> ("train", "seg")."""
    parts = re.split(r"[-_ ]+", name.lower())
    found = [part for part in parts if part in SPLIT_FOLDERS]
    return (SPLIT_FOLDERS[found[0]], " ".join(part for part in parts if part != found[0])) if len(found) == 1 else None


def _name_classes(folders: set[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    counts = collections.Counter(folder[-1] for folder in folders)
    return {folder: folder[-1] if counts[folder[-1]] == 1 else "/".join(folder) for folder in folders}
