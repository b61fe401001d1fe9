"""Finding the picture that an annotation names: below the root, under the folder or the extension it has there."""

import collections
import dataclasses
import functools
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from adapt import safe
from adapt.domain import Rejected, Sample, Source
from adapt.errors import DataError
from adapt.progress import say
from converters.formats import imagefolder
from converters.formats.imagefolder import SPLIT_FOLDERS
from converters.formats.namesakes import Namesakes

OTHER_FOLDER = "picture found in another folder than stated"
OTHER_EXTENSION = "picture found under another extension than stated"
OTHER_NAME = "picture found by the name of its annotation file, not the stated one"
NOT_STATED = "picture of its annotation's name, where that states another"


_SPLITS = "|".join(SPLIT_FOLDERS)
# What may stand around a split in a folder's name; "test_project" and "my_test_data" are no splits.
_AROUND = "images?|imgs?|pictures?|labels?|annotations?|instances|masks?|panoptic|set|data"
_SPLIT_FOLDER = re.compile(
    rf"(?:(?:{_AROUND})[-_ ]?)?({_SPLITS})(?:[-_ ]?\d{{1,4}})?(?:[-_ ]?(?:{_AROUND}))?(?:-\d{{5}}-of-\d{{5}})?"
)
_SPLIT_WORD = re.compile("train|val|test")

# Folders of masks and of annotations drawn over pictures, named as their pictures are and so found in their place: those of
# Pascal VOC ("SegmentationClass") with what SBD, DeepLab and LabelMe's labelme2voc.py put behind it ("...Aug", "...Raw",
# "...Visualization"), of the Oxford pets ("trimaps"), COCO-Stuff and COCO panoptic, and "masks" with a split, a kind of file or
# the kind of mask. A word more ("with_mask", "mask_detection") names what pictures show.
_MASK_FOLDER = re.compile(
    r"segmentation(?:class|object)(?:aug|npy|png|raw)?(?:visualization)?|(?:annotations)?visualizations?|"
    rf"(?:(?:{_SPLITS}|binary|class|color|gt|instance|semantic)[-_ ]?)?"
    r"(?:masks?|trimaps?|(?:stuffthing|pixel)maps|panoptic(?:[-_](?:semseg|stuff))?)"
    rf"(?:[-_ ]?(?:trainval|{_SPLITS}))?(?:[-_ ]?(?:png|images?))?(?:[-_ ]?\d{{1,4}})?"
)


def is_mask_folder(name: str) -> bool:
    """Whether a folder holds masks, by its name."""
    return _MASK_FOLDER.fullmatch(name.lower()) is not None


def split_in(*names: str) -> str | None:
    """The split that the first of some files' names tells by one of its words: ``instances_train2017`` -> ``train``."""
    for name in names:
        for word in "".join(letter if letter.isalpha() else " " for letter in name.lower()).split():
            if word in SPLIT_FOLDERS:
                return SPLIT_FOLDERS[word]
    return None


def split_of_folders(*names: str) -> str | None:
    """The split that the first of some folders is named for: ``valid``, ``train2017``; a word among others tells nothing."""
    matches = (_SPLIT_FOLDER.fullmatch(name.lower()) for name in names)
    return next((SPLIT_FOLDERS[match[1]] for match in matches if match), None)


def split_of(path: Path, input: Path) -> str | None:
    """The split of an annotation file: its own name tells it, else its folders, however ``input`` is spelled."""
    return split_in(path.stem) or split_of_folder(path, input)


def split_of_folder(path: Path, input: Path) -> str | None:
    """The split that the folders of a file tell: the nearest below the input, else the input's own.

    Below the input names stand as they are, since a link may lead elsewhere.
    """
    below = path.parent.relative_to(input).parts if path != input else ()
    return split_of_folders(*reversed(below)) or split_of_input(input)


def split_of_input(input: Path) -> str | None:
    """The split that the input folder, or the one of an input file, is named for; of ``test/labels`` it is ``test``."""
    folder = (input if input.is_dir() else input.parent).resolve()
    is_side = folder.name.lower().startswith(("annotation", "image", "label"))
    return split_of_folders(folder.name, *([folder.parent.name] if is_side else []))


Splittable = TypeVar("Splittable", bound=Sample)


def split_by_pictures(samples: Sequence[Splittable | Rejected], source: Source) -> list[Splittable | Rejected]:
    """The samples; where none has a split, and their pictures lie in folders of several, each is of its pictures' folder.

    One list over ``train/`` and ``test/`` divides a set so (metadata.jsonl at its root), and a note says how. Folders of one
    split alone tell nothing (``val2014`` may hold what is trained on), nor do any where a file has the word of a split in its
    name that may mean them all (``instances_trainval2014.json``).
    """
    if any(map(_states_split, samples)):
        return list(samples)
    splits = [None if isinstance(each, Rejected) else _split_shown(each.pictures) for each in samples]
    counts = collections.Counter(split for split in splits if split is not None)
    if len(counts) < 2:
        return list(samples)
    if not source.counting:
        told = ", ".join(f"{split} {count:,}" for split, count in sorted(counts.items()))
        say(f"note: {source.input}: states no split; by the folders of the pictures: {told}")
    return [
        each if isinstance(each, Rejected) else dataclasses.replace(each, split=split)  # type: ignore[type-var]
        for each, split in zip(samples, splits, strict=True)
    ]


def tell_split_folders(samples: Iterable[Splittable | Rejected], source: Source) -> Iterator[Splittable | Rejected]:
    """The samples as they stream, none of them held back; a note after the last where split_by_pictures would divide them."""
    counts: collections.Counter[str] = collections.Counter()
    is_told = source.counting
    for each in samples:
        yield each
        is_told = is_told or _states_split(each)
        split = None if is_told or isinstance(each, Rejected) else _split_shown(each.pictures)
        if split is not None:
            counts[split] += 1
    if not is_told and len(counts) > 1:
        found = ", ".join(f"{split} {count:,}" for split, count in sorted(counts.items()))
        say(
            f"note: {source.input}: states no split, and no row has one; the folders of the pictures are named for several: "
            f"{found}; give each row its own in a column 'split'"
        )


def _states_split(sample: Sample | Rejected) -> bool:
    return sample.split is not None or _SPLIT_WORD.search(posixpath.basename(sample.where).lower()) is not None


def _split_shown(pictures: Sequence[str]) -> str | None:
    """The split of the outermost folders of all pictures of a sample (``test/train/3.png`` may be of a class); None where they
    are of several, or of none."""
    found = {_split_of_place(posixpath.dirname(picture)) for picture in pictures}
    return found.pop() if len(found) == 1 else None


@functools.lru_cache
def _split_of_place(folder: str) -> str | None:
    return split_of_folders(*PurePosixPath(folder).parts)


@dataclasses.dataclass(frozen=True)
class Told:
    """What the folders of a picture tell of it."""

    split: str | None
    is_mask: bool


def told_by(folders: Sequence[str]) -> Told:
    """What the folders from the root on tell: the nearest one of a split its split."""
    return Told(split_of_folders(*reversed(folders)), any(map(is_mask_folder, folders)))


@dataclasses.dataclass(frozen=True)
class Meant:
    """Which of the pictures of a name an annotation can mean, by their folders; splits of None are all."""

    splits: frozenset[str | None] | None = None
    masks: bool = True

    def takes(self, told: Told) -> bool:
        return (self.splits is None or told.split in self.splits) and (self.masks or not told.is_mask)


def meant_by(split: str | None, stated: Sequence[str], own: Sequence[str]) -> Meant:
    """What an annotation of a split can mean that lies in the folders ``own`` and names a picture in the folders ``stated``.

    A picture of another split has other objects, whatever it is called. It is meant where the annotation says so, as files that
    divide COCO anew do (``val2014/1.jpg``), or lies in that split's folder itself. So it is with a mask.
    """
    masks = any(map(is_mask_folder, (*stated, *own)))
    if split not in SPLIT_FOLDERS.values():  # no folder is named for one of another name
        return Meant(None, masks)
    return Meant(frozenset({None, split, split_of_folders(*reversed(stated)), *map(split_of_folders, own)}), masks)


Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class PictureRows(Generic[Row]):
    """A picture below the root, or why there is none that could be meant; where its first row stands, and all its rows."""

    found: str | DataError
    where: str
    rows: list[Row]


class PictureFinder:
    """The pictures below a root, looked for by stated name. The root is scanned once, when a name is not where it says.

    ``ignored`` counts the pictures that lie elsewhere than stated, or under another extension. ``masks`` is a folder of masks
    that its name may not tell. A name is looked for beside its annotation and then from the root on; with ``root_first`` the
    other way round, as a list of pictures is meant where a person named the root that its paths start from.
    """

    def __init__(self, root: Path, made: Path | None = None, masks: Path | None = None, *, root_first: bool = False) -> None:
        self.root = root
        self.ignored: collections.Counter[str] = collections.Counter()
        self._made = made
        self._root_first = root_first
        self._below: dict[Path, str] = {}  # folders as seen from the root; "" where they are not below it
        self._masks = self._seen_from_root(masks)  # "" and "." where no folder below the root is one of masks alone
        self._by_stem: dict[str, list[PurePosixPath]] | None = None
        self._namesakes: dict[str, Namesakes[tuple[str, Told]]] = {}  # by stem, where several pictures share it
        self._shown_splits: set[str | None] | None = None
        self._fault = ""  # why the root cannot be scanned

    def find(
        self, stated: str, where: str, folder: Path | None = None, other: str | None = None, split: str | None = None
    ) -> str:
        """The name of the picture below the root; ``folder`` is where the annotation lies, ``other`` a second name to look for.

        One that is nowhere is answered as stated: reading it then says that it is missing. Raises DataError for a path that
        leaves the root, where the name fits several pictures and none better than the others, where all that it fits are
        masks or of another split than ``split``, the annotation's, and where a folder to look in cannot be read. No split is
        another where neither the annotation's folder nor one of pictures is named for its own: lists may divide one folder.
        """
        plain = stated.strip().replace("\\", "/")
        candidates = self._candidates(plain, folder)
        for name in candidates:
            if safe.inside(self.root, name, where).is_file():
                if other and self._is_beside(other, name):
                    self.ignored[NOT_STATED] += 1
                return name
        own = self._seen_from_root(folder)
        has_folder = split in self._splits() or split_of_folders(*reversed(PurePosixPath(own).parts)) == split
        meant = meant_by(split if has_folder else None, PurePosixPath(plain).parts[:-1], PurePosixPath(own).parts)
        if (found := self._search(plain, where, meant, own)) is not None:
            if found.name != PurePosixPath(plain).name:
                self.ignored[OTHER_EXTENSION] += 1
            elif "/" in plain:  # a bare name says nothing of a folder
                self.ignored[OTHER_FOLDER] += 1
            return str(found)
        if other and (found := self._search(other, where, meant, own)) is not None:
            self.ignored[OTHER_NAME] += 1
            return str(found)
        if not candidates:
            safe.inside(self.root, plain, where)  # says why
        self._refuse_others(plain, where)
        as_stated = posixpath.normpath(plain)
        return candidates[0] if candidates and as_stated not in candidates else as_stated

    def _candidates(self, plain: str, folder: Path | None) -> list[str]:
        """The stated name as seen from the annotation's folder and from the root, as far as it stays below the root."""
        beside = self._seen_from_root(folder)
        folders = ("", beside) if self._root_first else (beside, "")
        names = [posixpath.normpath(posixpath.join(each, plain)) for each in folders]
        return [name for name in dict.fromkeys(names) if plain and _is_plain(name)]

    def has(self, stated: str, folder: Path, split: str | None) -> bool:
        """Whether ``find`` has pictures to choose from; nothing is counted."""
        counted = self.ignored.copy()
        try:
            return safe.inside(self.root, self.find(stated, "", folder, split=split), "").is_file()
        except DataError:  # several of them, or none that is meant: said by who asks for it
            return True
        finally:
            self.ignored = counted

    def _is_beside(self, stem: str, name: str) -> bool:
        """Whether the folder of a picture has another one of that stem and its extension."""
        twin = PurePosixPath(name).with_name(stem + PurePosixPath(name).suffix)
        return PurePosixPath(name).stem != stem and (self.root / twin).is_file()

    def _splits(self) -> set[str | None]:
        """The splits that the folders of the pictures are named for."""
        if self._shown_splits is None:
            folders = {path.parent for paths in self._scanned().values() for path in paths}
            self._shown_splits = {told_by(folder.parts).split for folder in folders}
        return self._shown_splits

    def _seen_from_root(self, folder: Path | None) -> str:
        """The folder's path below the root; "" where it is not below."""
        if folder is None:
            return ""
        if folder not in self._below:
            real, root = folder.resolve(), self.root.resolve()
            self._below[folder] = real.relative_to(root).as_posix() if real.is_relative_to(root) else ""
        return self._below[folder]

    def _search(self, name: str, where: str, meant: Meant, own: str) -> PurePosixPath | None:
        found = self._fitting(name, meant)
        if len(found) > 1 and own:
            beside = PurePosixPath(own, PurePosixPath(name).name)
            shared = _shared_folders(found[0], PurePosixPath(name))
            near = [path for path in self._fitting(str(beside), meant) if path.parent == beside.parent]
            found = [path for path in near if _shared_folders(path, PurePosixPath(name)) == shared] or found
        if len(found) > 1:
            raise DataError(
                f"{where}: picture {name[:80]!r} may be {found[0]} or {found[1]}; point --images at one of the folders"
            )
        return found[0] if found else None

    def _refuse_others(self, name: str, where: str) -> None:
        """Raise DataError for the first picture that the name fits, after none of those was meant."""
        for path in self._fitting(name, Meant()):
            told = self._told(path)
            what = "a mask" if told.is_mask else f"of the split '{told.split}'"
            raise DataError(
                f"{where}: picture {name[:80]!r}: no such file, and {path} is {what}; "
                "if it is meant, write the folder into the annotation, or point --images at it"
            )

    def _told(self, path: PurePosixPath) -> Told:
        is_mask = self._masks not in ("", ".") and path.is_relative_to(self._masks)
        told = told_by(path.parts[:-1])
        return Told(told.split, told.is_mask or is_mask)

    def _fitting(self, name: str, meant: Meant) -> list[PurePosixPath]:
        """The pictures of the name, else those of another extension, that share most folders with it; the first two."""
        wanted = PurePosixPath(name)
        found = self._nearest(wanted.stem, wanted, lambda kind: kind[0] == wanted.name and meant.takes(kind[1]))
        if not found and _is_plain(name):  # of a path from another machine only the name is taken
            is_whole = wanted.suffix.lower() not in safe.PICTURE_SUFFIXES and wanted.name in self._scanned()  # scan_0.5
            found = self._nearest(wanted.name if is_whole else wanted.stem, wanted, lambda kind: meant.takes(kind[1]))
        return found

    def _nearest(self, stem: str, wanted: PurePosixPath, is_meant: Callable[[tuple[str, Told]], bool]) -> list[PurePosixPath]:
        if stem not in self._namesakes:
            paths = self._scanned().get(stem, ())
            found = Namesakes([((path.name, self._told(path)), path) for path in paths])
            if len(paths) < 2:
                return found.nearest(wanted, is_meant)
            self._namesakes[stem] = found
        return self._namesakes[stem].nearest(wanted, is_meant)

    def _scanned(self) -> dict[str, list[PurePosixPath]]:
        """All pictures by stem. Raises DataError, each time after one look, where a folder cannot be read."""
        if self._by_stem is None and not self._fault:
            try:
                pictures = imagefolder.scan(self.root, made=self._made).pictures
            except DataError as error:
                self._fault = str(error)
            else:
                self._by_stem = collections.defaultdict(list)
                for path in pictures:
                    self._by_stem[path.stem].append(path)
        if self._by_stem is None:
            raise DataError(self._fault)
        return self._by_stem


class ByPicture(Generic[Row]):
    """Rows gathered by the picture that they name, however they spell it, in the order in which the pictures come first."""

    def __init__(self, finder: PictureFinder) -> None:
        self._finder = finder
        self._by_text: dict[tuple[str, str | None], PictureRows[Row]] = {}  # of two splits it may be two pictures
        self._by_name: dict[str, PictureRows[Row]] = {}

    def rows_of(self, stated: str, where: str, folder: Path, split: str | None) -> list[Row]:
        """The rows of the picture stated at ``where``, to add to; ``folder`` is where the annotation of ``split`` lies."""
        key = (stated, split)
        if key not in self._by_text:
            try:
                name = self._finder.find(stated, where, folder, split=split)
                self._by_text[key] = self._by_name.setdefault(name, PictureRows(name, where, []))
            except DataError as error:
                self._by_text[key] = PictureRows(error, where, [])
        return self._by_text[key].rows

    def pictures(self) -> list[PictureRows[Row]]:
        """Every picture once; a spelling that fits none is one of its own."""
        return list({id(each): each for each in self._by_text.values()}.values())


def _is_plain(name: str) -> bool:
    try:
        safe.inside(Path(), name, "")
    except DataError:
        return False
    return True


def _shared_folders(path: PurePosixPath, wanted: PurePosixPath) -> int:
    """How many folders above the file are called the same in both, from the file upwards."""
    return len(posixpath.commonprefix([path.parts[-2::-1], wanted.parts[-2::-1]]))


def sample_id(name: str, picture: str) -> str:
    """``set-folder/stem``; where pictures of one set share it, ``told_apart`` adds their extensions."""
    return f"{name}-{PurePosixPath(picture).with_suffix('')}"
