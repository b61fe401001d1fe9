"""Tables: CSV, TSV, a JSON list, JSONL, Parquet, a saved `datasets` folder, or a hub dataset, one row a sample.

A hub dataset is ``hf:OWNER/NAME``, with ``:SUBSET`` where it has several and ``@REVISION`` to hold it still.

Text tables are read here, so that a bad row is rejected with its line; Parquet and `datasets` are read by `datasets`.
Pictures that lie inside the table go to ``FILE.images/``, named by their content.
"""

import csv
import dataclasses
import difflib
import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from adapt import made, pixels, safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from adapt.progress import say
from adapt.records import manifest_path
from adapt.show import counted
from converters.formats import imagefolder
from converters.formats.imagefolder import SPLIT_FOLDERS, split_name
from converters.formats.pictures import PictureFinder, split_of_folders, split_of_input

TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
_OTHER_MARKS = {";": "';'", "|": "'|'", "\t": "tabs"}
SPLIT_COLUMN = "split"  # taken where it is there, in any case; one of another name must be
COLUMN_OPTIONS = ("question", "answer", "id")
HUB_PREFIX = "hf:"
_CLASSES_TABLE = "_classes.csv"  # Roboflow's, one in the folder of each split
_OF_FOLDERS = frozenset({"metadata", Path(_CLASSES_TABLE).stem})  # `datasets` keeps its metadata so, too
_HUB_FOLDER = "data"  # where the Hub keeps the Parquet files of a set
_WRITTEN = (".manifest.json", ".pictures.jsonl", ".rejected.jsonl")  # by other conversions
_NAMED = 5  # unread tables that a note names
_LOOKED_THROUGH = 1_000  # rows in which a table's first picture is looked for
_PART = re.compile(r"(?P<split>[a-z]+)-\d{5}-of-(?P<count>\d{5})(-[0-9a-f]+)?")  # as `datasets` writes Parquet
Place = tuple[str, Any]  # where a row stands, and the row: a mapping, or the DataError that reading it gave


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: its values by column, and its pictures as paths relative to the image root; of named ones in their order."""

    id: str
    where: str
    split: str | None
    values: Mapping[str, Any]
    pictures: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Tables:
    """The rows of all files of an input, in order, what was not read, by reason, and the first row that is whole, as it is."""

    name: str
    image_root: Path
    rows: Iterable[Row | Rejected]
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    first: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Opened:
    """The rows of each split, to be read once; ``first`` is the first that is whole. ``embedded``: pictures are bytes.

    ``ignored`` counts the tables of the folder that were not read.
    """

    name: str
    parts: Mapping[str | None, Iterable[Place]]
    first: Mapping[str, Any] | None
    embedded: bool
    ignored: Mapping[str, int]


def split_tables(folder: Path) -> list[Path]:
    """The tables of a folder that are named for splits, without what conversions wrote."""
    found = itertools.chain.from_iterable(_split_files(folder).values())
    return [path for path in found if not manifest_path(path).exists()]


def is_table(path: Path) -> bool:
    """Whether a folder holds tables named by split, or is one that `datasets` saved."""
    return _is_saved_dataset(path) or bool(_named_files(path))


def has_classes_tables(path: Path) -> bool:
    """Whether Roboflow's tables of classes lie in the folders of splits below a folder."""
    return bool(_classes_tables(path))


def read_tables(source: Source, *, picture_column: str, find_pictures: bool = False) -> Tables:
    """The rows of ``source.input``. Options ``id`` and ``split`` name columns.

    With ``find_pictures`` a picture that is named without an extension, or without its folders, is the one below the root that
    is called so.
    Raises UsageError for an input that is no table and for a column that the table has not.
    """
    opened = open_peeked(source, lambda row: row.get(picture_column))
    known = opened.first
    if known is not None:
        given = [source.options[key] for key in COLUMN_OPTIONS if key in source.options]
        given += [] if source.options.get("split", SPLIT_COLUMN) == SPLIT_COLUMN else [source.options["split"]]
        for column in [picture_column, *given]:
            if column not in known:
                raise no_column(source.input, column, [str(key) for key in known])
    root = source.made if opened.embedded and source.made else source.images or folder_of(source.input)
    has_paths = find_pictures and not opened.embedded and not source.counting
    finder = PictureFinder(root, source.made) if has_paths else None
    return Tables(opened.name, root, _rows(opened, source, picture_column, finder), opened.ignored, known)


def tell_separator(header: Sequence[str], path: Path) -> str:
    """What to do about a csv whose one column is all of them, with something else than commas between; "" for another."""
    found = [name for mark, name in _OTHER_MARKS.items() if len(header) == 1 and mark in header[0]]
    if not found:
        return ""
    way = (
        f"call it {path.stem}.tsv, or save it with commas" if found[0] == "tabs" else "save it with commas or tabs between them"
    )
    return f"its cells are separated by {found[0]}; {way}"


def no_column(path: Path, column: str, known: list[str]) -> UsageError:
    """Names the columns that there are, and what to do about another name or another separator."""
    if other := tell_separator(known, path):
        return UsageError(f"{path}: {other}")
    near = difflib.get_close_matches(column, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"its columns are {', '.join(known)}"
    return UsageError(f"{path}: no column '{column}': {hint} (--option NAME=COLUMN names it; see 'adapt tasks')")


def folder_of(path: Path) -> Path:
    """The folder that an input is, or lies in: pictures are named from there."""
    return path if path.is_dir() else path.parent


def open_parts(source: Source, *, without: tuple[str, ...] = ()) -> tuple[str, dict[str | None, Iterator[Place]]]:
    """A name for the ids, and the rows of each split, read as they are asked for; Parquet is read ``without`` some columns."""
    return _open(source, without)


def picture_names(cell: Any, source: Source, embedded: bool, where: str) -> tuple[str, ...]:
    """The pictures of a cell as paths below the image root; bytes are written to ``source.made``."""
    return _pictures(cell, source, embedded, where)


def held_picture(cell: Any, source: Source, settings: pixels.Settings, where: str) -> pixels.Held:
    """The one embedded picture of a cell, written to ``source.made``. Raises DataError for none, several, and damage."""
    contents, names = held_in(cell)
    if len(contents) != 1 or names:
        count = len(contents) + len(names)
        found = "its picture is not embedded as others are" if count == 1 else f"{count} pictures, expected one"
        raise DataError(f"{where}: {found}")
    return pixels.hold(contents[0], where, settings, source.made)


def open_peeked(source: Source, cell_of: Callable[[Mapping[str, Any]], Any]) -> Opened:
    """The rows of each split, and whether they hold their pictures as bytes: the first cell with a picture tells, as
    ``cell_of`` finds it in a row. A note names the tables of a folder that are named for no split: they are not read.
    """
    name, parts = _open(source)
    first = {split: list(itertools.islice(_until_picture(rows, cell_of), _LOOKED_THROUGH)) for split, rows in parts.items()}
    seen = [row for places in first.values() for _, row in places if isinstance(row, Mapping)]
    embedded = any(_holds_bytes(cell_of(row)) for row in seen)
    unknown = [
        split for split, places in first.items() if len(places) == _LOOKED_THROUGH and not _has_picture(places[-1][1], cell_of)
    ]
    if unknown and not embedded and _may_embed(source.input):
        again = _open(source)[1]
        embedded = any(_holds_bytes(cell_of(row)) for split in unknown for row in _first_with_picture(again[split], cell_of))
    joined = {split: itertools.chain(first[split], rows) for split, rows in parts.items()}
    return Opened(name, joined, next(iter(seen), None), embedded, _tell_unread(source))


def _tell_unread(source: Source) -> dict[str, int]:
    """What a folder of tables holds beside those of its splits; what conversions write into it is no table of it."""
    if not source.input.is_dir() or _is_saved_dataset(source.input):
        return {}
    read = set(itertools.chain.from_iterable(_split_files(source.input).values()))
    places = ((source.input, TABLE_SUFFIXES), (source.input / _HUB_FOLDER, (".parquet",)))
    unread = [
        str(path.relative_to(source.input))
        for folder, suffixes in places
        for path in tables_of(folder, suffixes, source)
        if path not in read
    ]
    if not unread:
        return {}
    if not source.counting:
        beside = f" or in {_HUB_FOLDER} below tables" if any(split_of_file(Path(name)) for name in unread) else ""
        say(
            f"note: {source.input}: {counted(len(unread), 'table')} not read, named for no split{beside}: "
            f"{listed(unread)}; to read one, point --input at it"
        )
    return {"table that is named for no split": len(unread)}


def tables_of(folder: Path, suffixes: tuple[str, ...], source: Source) -> list[Path]:
    """The tables in a folder, whatever they are named, without those that conversions wrote there."""
    own = imagefolder.own_outputs(source.made)
    return [
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if path.suffix.lower() in suffixes
        and path.is_file()
        and path.resolve() not in own
        and not path.name.startswith(".")
        and not path.name.endswith(_WRITTEN)
    ]


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _may_embed(path: Path) -> bool:
    """Whether a table can hold pictures as bytes, and be looked through for them: a hub dataset would be fetched twice."""
    paths = [path, *itertools.chain.from_iterable(_split_files(path).values())]
    return _is_saved_dataset(path) or any(each.suffix.lower() == ".parquet" for each in paths)


def _until_picture(rows: Iterable[Place], cell_of: Callable[[Mapping[str, Any]], Any]) -> Iterator[Place]:
    """The rows up to the first with a picture, and with it."""
    for where, row in rows:
        yield where, row
        if _has_picture(row, cell_of):
            return


def _first_with_picture(rows: Iterable[Place], cell_of: Callable[[Mapping[str, Any]], Any]) -> list[Mapping[str, Any]]:
    return list(itertools.islice((row for _, row in rows if _has_picture(row, cell_of)), 1))


def _has_picture(row: Any, cell_of: Callable[[Mapping[str, Any]], Any]) -> bool:
    return isinstance(row, Mapping) and any(map(_shows, _cells(cell_of(row))))


def held_in(cell: Any) -> tuple[list[bytes], list[str]]:
    """The bytes, and of pictures without bytes the paths, that a cell of pictures holds; a number is neither."""
    contents: list[bytes] = []
    names: list[str] = []
    for each in _cells(cell):
        content, path = (each.get("bytes"), each.get("path")) if isinstance(each, dict) else (each, each)
        if isinstance(content, bytes):
            contents.append(content)
        elif isinstance(path, str) and path.strip():
            names.append(path)
    return contents, names


def _holds_bytes(cell: Any) -> bool:
    """Whether a cell holds pictures and not their paths."""
    first = next(filter(_shows, _cells(cell)), None)
    return isinstance(first, bytes) or (isinstance(first, dict) and first.get("bytes") is not None)


def _rows(opened: Opened, source: Source, column: str, finder: PictureFinder | None) -> Iterator[Row | Rejected]:
    id_column, split_column = source.options.get("id"), source.options.get("split", SPLIT_COLUMN)
    number = 0
    for part_split, places in opened.parts.items():
        for where, values in places:
            number += 1
            split = part_split and split_name(part_split)
            try:
                if isinstance(values, DataError):
                    raise values
                if (stated := split_cell(values, split_column)) not in (None, ""):
                    split = split_name(str(stated))
                given = f"{opened.name}-{number}" if id_column is None else values.get(id_column)
                if given in (None, ""):
                    raise DataError(f"{where}: column '{id_column}' is empty, expected an id")
                pictures = _pictures(values.get(column), source, opened.embedded, where)
                if finder is not None:
                    pictures = tuple(_found(name, finder, where, split) for name in pictures)
            except DataError as error:
                yield Rejected(where, str(error).removeprefix(f"{where}: "), split)
                continue
            yield Row(str(given), where, split, values, pictures)


def _found(stated: str, finder: PictureFinder, where: str, split: str | None) -> str:
    """The picture below the root that has the name: ``3`` is ``a/3.jpg``, ``a/3`` that in ``a`` alone, ``3.jpg`` that in any
    folder (NIH's chest X-rays lie in twelve). As stated where there is none, and for a name with folders and extension."""
    wanted = PurePosixPath(stated.strip())
    is_whole = wanted.suffix.lower() in safe.PICTURE_SUFFIXES
    try:
        if is_whole and safe.inside(finder.root, stated.strip(), where).is_file():
            return stated
        below = str(PurePosixPath(*wanted.parts[1:]))
        is_root = len(wanted.parts) > 1 and wanted.parts[0] == finder.root.resolve().name
        if is_root and safe.inside(finder.root, below, where).is_file():  # as CheXpert names its own folder
            return below
        if is_whole and len(wanted.parts) > 1:
            return stated
    except OSError as error:  # longer than a file name can be
        raise DataError(f"{where}: picture {stated[:60]}: {error.strerror}") from error
    found = PurePosixPath(finder.find(stated, where, split=split))
    is_named = found.stem == (wanted.stem if is_whole else wanted.name)
    is_kind = not is_whole or found.suffix.lower() == wanted.suffix.lower()  # A.JPG may be called A.jpg on the disk
    is_meant = is_named and is_kind and (len(wanted.parts) == 1 or found.parent == wanted.parent)
    return str(found) if is_meant else stated


def split_cell(values: Mapping[str, Any], column: str = SPLIT_COLUMN) -> Any:
    """The cell of the split; ``Split`` and the like are read where no ``split`` is there and no other column was named."""
    if column in values or column != SPLIT_COLUMN:
        return values.get(column)
    for name in values:
        if name.lower() == SPLIT_COLUMN:
            return values[name]
    return None


def text_of_cell(value: Any) -> str:
    """A class or an answer as text; a whole float as the digits of its number, ``3``.

    A column of whole numbers with gaps is stored as floats (pandas, Parquet, and JSON that pandas wrote). Rows are read one by
    one, so that each value tells this alone: beside 2.5 a 3.0 is "3", too. A cell of a csv is text and stays as it is written.
    """
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return str(int(value) if is_whole else value)


def is_named(value: Any) -> bool:
    """Whether a cell holds several pictures by name; {bytes, path} is one picture, as `datasets` stores it."""
    return isinstance(value, dict) and bool(value) and not value.keys() <= {"bytes", "path"}


def _pictures(value: Any, source: Source, embedded: bool, where: str) -> tuple[str, ...]:
    return tuple(_picture(cell, source, embedded, where) for cell in _cells(value) if cell not in (None, ""))


def _cells(value: Any) -> list[Any]:
    return list(value.values()) if is_named(value) else value if isinstance(value, list) else [value]


def _shows(cell: Any) -> bool:
    """Whether a cell has a picture, and not only a place for one, such as {bytes: None, path: None}."""
    return any(value not in (None, "") for value in (cell.values() if isinstance(cell, dict) else [cell]))


def _picture(cell: Any, source: Source, embedded: bool, where: str) -> str:
    path = cell.get("path") if isinstance(cell, dict) else cell
    if isinstance(path, str):
        path = path.replace("\\", "/")  # as Windows' tools write it
    content = cell if isinstance(cell, bytes) else cell.get("bytes") if isinstance(cell, dict) else None
    if content is None and not isinstance(path, str):
        raise DataError(f"{where}: the picture is {str(cell)[:40]!r}, expected a path or the bytes of a picture")
    if source.counting or (not embedded and content is None):
        return path if isinstance(path, str) else where
    if not embedded:  # a hub dataset, which is not read twice
        raise DataError(
            f"{where}: an embedded picture, and the first {_LOOKED_THROUGH:,} rows have none; download the dataset and give "
            "its folder or Parquet file"
        )
    assert source.made is not None
    if content is None:  # one root serves all rows: beside embedded pictures, those in files are copied
        assert isinstance(path, str)
        root = source.images or folder_of(source.input)
        content = safe.read_bytes(safe.inside(root, path, where), safe.MAX_PICTURE_BYTES)
    settings = pixels.read_settings(source.options)
    if settings is not None:  # a table has no coordinates that would have to move with the pixels
        return pixels.hold(content, where, settings, source.made).name
    return made.write_encoded(source.made, content, where)


def _open(source: Source, without: tuple[str, ...] = ()) -> tuple[str, dict[str | None, Iterator[Place]]]:
    """A name for the ids, and the rows of each split."""
    text = str(source.input)
    if text.startswith(HUB_PREFIX):
        if not text.removeprefix(HUB_PREFIX).partition(":")[0].partition("@")[0].strip():
            raise UsageError(f"input '{text}': expected the name of a dataset, such as hf:OWNER/NAME or hf:OWNER/NAME:SUBSET")
        return _open_hub(text.removeprefix(HUB_PREFIX))
    if source.input.is_file():
        if source.input.stem not in _OF_FOLDERS:
            return source.input.stem, {split_of_file(source.input): _read_file(source.input, without)}
        folder, split = source.input.resolve().parent, split_of_input(source.input)
        if split and split_of_folders(folder.name) is None:  # train/images
            folder = folder.parent
        name = f"{folder.parent.name}-{folder.name}" if split else folder.name
        return name, {split: _read_file(source.input, without)}
    name = source.input.resolve().name
    if _is_saved_dataset(source.input):
        return name, {
            split: _guarded(rows, source.input) for split, rows in _by_split(_load_saved(source.input), text, without).items()
        }
    files = _split_files(source.input)
    if not files:
        raise UsageError(
            f"input '{text}' holds no table that is named for a split; expected a file that ends in "
            f"{', '.join(TABLE_SUFFIXES)}, a folder with train.csv, test.csv and the like, or a folder that `datasets` "
            f"saved{tell_tables(source)}"
        )
    return name, {
        split: itertools.chain.from_iterable(_read_file(path, without, path.relative_to(source.input)) for path in paths)
        for split, paths in files.items()
    }


def _load_saved(path: Path) -> Any:
    """What `datasets` saved in a folder. Raises DataError where a file of it is missing or damaged."""
    import datasets

    try:
        return datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # json of any shape is not looked at
        raise _not_whole(path, error) from error


def _guarded(rows: Iterator[Place], path: Path) -> Iterator[Place]:
    """The rows of a saved folder; damage that is met on the way is a DataError."""
    try:
        yield from rows
    except DataError:  # a ValueError too, and no damage
        raise
    except (OSError, ValueError) as error:
        raise _not_whole(path, error) from error


def _not_whole(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
    what, fault = (
        ("Parquet file", "it was") if path.is_file() else ("folder that `datasets` saved", "a file of it is missing, or was")
    )
    return DataError(f"{path}: not a whole {what}: {reason}; {fault} cut or damaged, fetch or write it again")


def _is_saved_dataset(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file()


def tell_tables(source: Source, suffixes: tuple[str, ...] = TABLE_SUFFIXES) -> str:
    """The end of an error for a folder that is not read as tables: the folders below that would be, and the tables that it, or
    another folder below, holds under other names; ``suffixes`` are of files that can be the input."""
    if not source.input.is_dir():
        return ""
    folders = [each for each in sorted(source.input.iterdir()) if each.is_dir()]
    whole = [each.name for each in folders if _has_tables(each)]
    others = [each for each in folders if each.name not in whole and each.name[0] != "." and os.access(each, os.R_OK | os.X_OK)]
    unnamed = [
        str(path.relative_to(source.input))
        for folder in (source.input, *others)
        for path in tables_of(folder, suffixes, source)
        if not manifest_path(path).exists()  # else it was converted already
    ]
    told = f"; tables are in {listed(whole)} below it" if whole else ""
    if unnamed:
        which, them = ("which is", "it") if len(unnamed) == 1 else ("which are", "one")
        why = "" if all(Path(name).stem in _OF_FOLDERS for name in unnamed) else f", {which} named for no split"
        told += f"; it holds {listed(unnamed)}{why}: point --input at {them}"
    return told


def _has_tables(folder: Path) -> bool:
    """Whether a folder would be read as tables, whole or not; one that cannot be looked into would not."""
    try:
        return is_table(folder)
    except UsageError:
        return True
    except OSError:
        return False


def _split_files(folder: Path) -> dict[str | None, list[Path]]:
    """The tables of each split, in order: those named for one, else Roboflow's in the folders of splits."""
    return _named_files(folder) or _classes_tables(folder)


def _named_files(folder: Path) -> dict[str | None, list[Path]]:
    """The tables named for a split; where a folder has none, the Parquet files in its ``data``, as the Hub keeps them."""
    return _tables_in(folder, TABLE_SUFFIXES) or _tables_in(folder / _HUB_FOLDER, (".parquet",))


def _classes_tables(folder: Path) -> dict[str | None, list[Path]]:
    """``train/_classes.csv``, ``valid/_classes.csv`` and so on."""
    found: dict[str | None, list[Path]] = {}
    for path in sorted(folder.glob(f"*/{_CLASSES_TABLE}")):
        split = split_of_folders(path.parent.name)
        if split is None or not path.is_file():
            continue
        if others := found.get(split):
            names = f"{others[0].parent.name}/{path.name} and {path.parent.name}/{path.name}"
            raise UsageError(f"{folder}: {names} are both the {split} split; point --input at one")
        found[split] = [path]
    return _in_order(found)


def _tables_in(folder: Path, suffixes: tuple[str, ...]) -> dict[str | None, list[Path]]:
    """The tables of each split, in order: train.csv, or the parts train-00000-of-00002.parquet and so on."""
    found: dict[str | None, list[Path]] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        part, split = _PART.fullmatch(path.stem.lower()), split_of_file(path)
        if path.suffix.lower() not in suffixes or split is None or not path.is_file():
            continue
        others = found.setdefault(split, [])
        if others and not (part and _is_next_part(others[-1], path)):
            raise UsageError(f"{folder}: {others[-1].name} and {path.name} are both the {split} split; point --input at one")
        others.append(path)
    for paths in found.values():
        _check_whole(folder, paths)
    return _in_order(found)


def _in_order(found: Mapping[str | None, list[Path]]) -> dict[str | None, list[Path]]:
    return dict(sorted(found.items(), key=lambda item: ("train", "val", "test").index(str(item[0]))))


def split_of_file(path: Path) -> str | None:
    """The split that a table is named for: test.csv, test-00000-of-00002.parquet."""
    part = _PART.fullmatch(path.stem.lower())
    return SPLIT_FOLDERS.get(part["split"] if part else path.stem.lower())


def _is_next_part(before: Path, path: Path) -> bool:
    first, second = _PART.fullmatch(before.stem.lower()), _PART.fullmatch(path.stem.lower())
    return bool(first and second and (first["split"], first["count"]) == (second["split"], second["count"]))


def _check_whole(folder: Path, paths: list[Path]) -> None:
    part = _PART.fullmatch(paths[-1].stem.lower())
    if part and len(paths) != int(part["count"]):
        raise UsageError(f"{folder}: {len(paths)} of {int(part['count'])} parts of {part['split']}; fetch the others, too")


def _read_file(path: Path, without: tuple[str, ...] = (), called: Path | None = None) -> Iterator[Place]:
    """The rows of a table; places in a csv name it as it is ``called`` (default: by its name)."""
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, without)
    if path.suffix.lower() in (".csv", ".tsv"):
        return read_csv(path, called.as_posix() if called else None)
    reader = {".json": read_json_list, ".jsonl": read_jsonl}.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"input '{path}': expected a table that ends in {', '.join(TABLE_SUFFIXES)}")
    return reader(path)


class CellCountError(DataError):
    """A row of too many or too few ``cells``."""

    def __init__(self, message: str, cells: tuple[str, ...]) -> None:
        super().__init__(message)
        self.cells = cells


def separator_of(path: Path) -> str:
    """What stands between the cells of a csv or tsv, by its name."""
    return "\t" if path.suffix.lower() == ".tsv" else ","


def read_csv(path: Path, called: str | None = None) -> Iterator[Place]:
    """Rows under the header line; ``where`` is the line on which a row starts, of the file as it is ``called``.

    A note tells of the first quoted cell that spans what look like rows: a stray quotation mark swallows them.
    """
    name, separator = called or path.name, separator_of(path)
    lines: list[str] = []  # of the row that is being read
    reader = csv.reader(_kept_in(lines, safe.read_text_lines(path)), delimiter=separator, strict=True)
    header: list[str] | None = None
    is_told = False
    while True:
        where = f"{name}:{reader.line_num + 1}"
        lines.clear()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            cells = []
            yield where, DataError(f"{where}: not a table row: {error}")
        if header and not is_told and _look_like_rows(lines[1:-1], separator, len(header)):
            is_told = True
            say(
                f"note: {where} to {reader.line_num}: one quoted cell spans these lines, which look like rows of their own; "
                "if they are, double or remove its quotation mark"
            )
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if len(set(header)) != len(header):
                raise DataError(f"{path}:1: the header names a column twice: {', '.join(header)}")
        elif len(cells) != len(header):
            message = f"{where}: {len(cells)} cells, expected {len(header)} ({', '.join(header)})"
            yield where, CellCountError(message, tuple(cells))
        else:
            yield where, dict(zip(header, cells, strict=True))


def _kept_in(lines: list[str], given: Iterable[str]) -> Iterator[str]:
    for line in given:
        lines.append(line)
        yield line


def _look_like_rows(lines: list[str], separator: str, num_columns: int) -> bool:
    return num_columns > 1 and any(line.count(separator) == num_columns - 1 for line in lines)


def read_json_list(path: Path) -> Iterator[Place]:
    for index, row in enumerate(safe.read_array(path, "objects")):
        yield _object(row, f"{path.name}#{index}")


def read_jsonl(path: Path) -> Iterator[Place]:
    """One object a line; a line that is none is a DataError in its place."""
    for number, line in safe.read_lines(path):
        where = f"{path.name}:{number}"
        try:
            yield _object(safe.load_line(line, where), where)
        except DataError as error:
            yield where, error


def _object(row: Any, where: str) -> Place:
    return (where, row) if isinstance(row, dict) else (where, DataError(f"{where}: {str(row)[:40]!r}, expected an object"))


def _read_parquet(path: Path, without: tuple[str, ...] = ()) -> Iterator[Place]:
    import datasets
    import pyarrow.parquet

    try:
        about = pyarrow.parquet.read_metadata(path)  # or `datasets` would say what is wrong in lines of its own
    except (OSError, ValueError) as error:
        raise _not_whole(path, error) from error
    if not about.num_rows:  # which `datasets` cannot read
        return
    # Streaming: `datasets` would otherwise copy the whole table into its cache first.
    try:
        found = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
    except (OSError, ValueError) as error:
        raise _not_whole(path, error) from error
    yield from _guarded(_undecoded(found, path.name, without), path)


def _by_split(found: Any, name: str, without: tuple[str, ...] = ()) -> dict[str | None, Iterator[Place]]:
    if isinstance(found, Mapping):
        return {str(split): _undecoded(rows, f"{name}[{split}]", without) for split, rows in found.items()}
    return {None: _undecoded(found, name, without)}


def _undecoded(rows: Any, name: str, without: tuple[str, ...] = ()) -> Iterator[Place]:
    """Rows with pictures as bytes; class numbers become names, and NaN, a gap in a column of numbers, None.

    A class number without a name is a DataError in its row's place; a negative one, the mark of a hidden label, becomes None.
    """
    import datasets

    features = dict(rows.features or {})
    for column, feature in features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
        elif isinstance(inner := getattr(feature, "feature", None), datasets.Image):  # a list of pictures
            rows = rows.cast_column(column, datasets.List(dataclasses.replace(inner, decode=False)))
    # Only now: `datasets` decodes pictures to take a column away, and would store them anew, at 8 bits and JPEG's loss.
    if unread := [column for column in features if column in without]:
        rows = rows.remove_columns(unread)
    labelled = {column: feature for column, feature in features.items() if column not in without and _has_classes(feature)}
    for index, row in enumerate(rows):
        where = f"{name}#{index}"
        try:
            named = {column: _classes_named(row[column], feature, column) for column, feature in labelled.items()}
        except DataError as error:
            yield where, DataError(f"{where}: {error}")
            continue
        gaps = {column: None for column, value in row.items() if isinstance(value, float) and math.isnan(value)}
        yield where, row | gaps | named


def declared_classes(source: Source) -> dict[str, tuple[str, ...]]:
    """The names of numbered classes that a table declares, by column; of a column of objects by ``objects.category``."""
    import datasets
    import pyarrow.parquet

    if str(source.input).startswith(HUB_PREFIX):
        found = _load_hub(str(source.input).removeprefix(HUB_PREFIX))
    elif _is_saved_dataset(source.input):
        found = _load_saved(source.input)
    else:
        paths = [source.input] if source.input.is_file() else list(itertools.chain(*_split_files(source.input).values()))
        if not paths or paths[0].suffix.lower() != ".parquet":
            return {}
        return _classes_in(datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(paths[0])), "")
    rows = next(iter(found.values()), None) if isinstance(found, Mapping) else found
    return _classes_in(dict(getattr(rows, "features", None) or {}), "")


def _classes_in(features: Mapping[str, Any], above: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", feature)  # of a list: its cells'
        if isinstance(inner, dict):
            found |= _classes_in(inner, f"{above}{name}.")
        elif hasattr(inner, "int2str"):
            found[f"{above}{name}"] = tuple(inner.names)
    return found


def _has_classes(feature: Any) -> bool:
    """Whether a column has numbered classes: itself, its lists' cells, or in lists of objects."""
    import datasets

    inner = feature.values() if isinstance(feature, dict) else [feature.feature] if hasattr(feature, "feature") else ()
    return isinstance(feature, datasets.ClassLabel) or any(map(_has_classes, inner))


def _classes_named(value: Any, feature: Any, column: str) -> Any:
    """The name of a class number, or what holds such numbers with their names."""
    if value is None or not _has_classes(feature):
        return value
    if isinstance(value, dict):
        return {key: _classes_named(each, feature[key], f"{column}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_classes_named(each, feature.feature, column) for each in value]
    if value < 0:
        return None
    if value >= feature.num_classes:
        raise DataError(f"class {value} in column '{column}', but the table names {feature.num_classes} classes, from 0")
    return feature.int2str(value)


def _open_hub(name: str) -> tuple[str, dict[str | None, Iterator[Place]]]:
    identifier = name.partition("@")[0].partition(":")[0]
    return identifier.rpartition("/")[2], _by_split(_load_hub(name), identifier)


def _load_hub(name: str) -> Any:
    import datasets

    identifier, _, revision = name.partition("@")
    identifier, _, config = identifier.partition(":")
    try:
        return datasets.load_dataset(identifier, config or None, revision=revision or None, streaming=True)
    except (OSError, ValueError) as error:
        raise DataError(f"hub dataset '{identifier}' cannot be read: {error}") from error
