"""Classification: a picture, the classes it may belong to, and the one it does, or all that do (multi-label).

The question is the published one (arXiv 2410.16261, section 3.3): class names in a sentence, answered with a name, or lettered
options, answered with a letter. Where candidates are drawn or lettered, each picture has its own order, drawn from
(seed, id): nothing but the picture tells the answer. Where several classes may apply, all are offered in one fixed order, and
the answer names those that do in that order, or says that none does.
"""

import dataclasses
import re
import string
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import Any

from adapt import pixels, randomness
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.progress import say
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, split_meta
from adapt.show import counted
from converters.formats import imagefolder, label_columns, table
from converters.formats.pictures import split_by_pictures, split_of_input
from converters.objects import called, ids_apart
from converters.options import read_listed, refuse_idle

NAMES_PREFIX = "Classify the image within one of the given classes: "
NAMES_SUFFIX = "Answer with one word or short phrase."
LETTERS_PREFIX = "Classify the image. Please select the correct answer from the following options: "
SEVERAL_PREFIX = "Classify the image with all of the given classes that apply: "
SEVERAL_SUFFIX = "Answer with their {what}, separated by {marks}, or with {none} where no class applies."
NONE = "none"
LETTERS = string.ascii_uppercase
# A list of texts or numbers as Python prints it; [10-20] is a range.
_LIST_AS_TEXT = re.compile(r"""\[(?:\s*['"].*['"]\s*|\s*(?:[-+]?[\d.]+(?:[,\s]+|(?=\])))*)\]""", re.DOTALL)
_JOINT = re.compile(r"(?<=[^\s/-])[-/]+(?=[^\s/-])|(?: [-/]+)+ ")  # between two words, with blanks around it or not

# What a folder of pictures of any class is called, and which part of a set it is.
_CONTAINERS = frozenset({"image", "images", "img", "imgs", "jpegimages", "picture", "pictures", "photos", "mask", "masks"})
_PARTS = frozenset({"part", "fold", "batch", "set", *imagefolder.SPLIT_FOLDERS})
_LABEL_TABLES = (".csv", ".tsv", ".parquet")  # a .json beside classes mostly lists them


@dataclasses.dataclass(frozen=True)
class ClassSample:
    """A picture and its class: ``label`` is the readable name, ``class_name`` the dataset's own spelling."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    label: str
    class_name: str
    source: str


@dataclasses.dataclass(frozen=True)
class LabelsSample:
    """A picture and all classes that apply to it, none or more: readable name -> the dataset's own spelling."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    labels: Mapping[str, str]
    source: str


OPTIONS = (
    Option("style", "answer with the class name or with the letter of an option", "names", ("names", "letters")),
    Option("candidates", "the classes to choose from: a comma list, or a file with one a line (default: all of the set)"),
    Option("num_candidates", "offer the class and K-1 others, drawn for each picture (default: all)"),
    Option("prefix", "text before the candidates instead of the published one"),
    Option("suffix", "text after the candidates instead of the published one"),
)
SEVERAL_OPTIONS = (Option("none", f"where several classes may apply: the answer where none does (default: {NONE})"),)
LABEL = Option("label", "table: the column of the class, or of all classes that apply", "label")
SEPARATOR = Option("separator", "table: what parts several classes in a cell, such as ';' (lists need none)")
UNCERTAIN = Option(
    "uncertain", "label_columns: a cell of -1 rejects its row, or is as 0 or 1", "rejected", ("rejected", "no", "yes")
)
COLUMNS = (
    Option("image", "table: the column of the picture", "image"),
    LABEL,
    Option(
        "label_columns",
        "table: columns that are a class each, 1 where it applies: MEL,NV,BCC or FIRST..LAST (both included, in the order of "
        "the header)",
    ),
    UNCERTAIN,
    Option("id", "table: the column of the id (default: counted)"),
    Option("split", "table: the column of the split", "split"),
)
FOLDERS = (
    Option(
        "same_names", "folders of one name in several places: a class each (apart), or one class", "apart", ("apart", "joined")
    ),
)


def readable(name: str, spelled: Mapping[str, str] | None = None) -> str:
    """``DenseResidential``, ``dense_residential`` -> ``dense residential``; ``spelled`` splits what has no mark to split at.

    A sign at the start or the end of a word, and what stands between digits, stays: ``-1``, ``her2-``, ``0-1``.
    """
    if spelled and name in spelled:
        return spelled[name]
    words = _JOINT.sub(_parted, " ".join(re.sub(r"[_\s]+", " ", name).split()))
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", words)
    return " ".join(apart.lower().split())


def _parted(joint: re.Match[str]) -> str:
    is_between_digits = joint.string[joint.start() - 1].isdigit() and joint.string[joint.end()].isdigit()
    return joint[0] if is_between_digits else " "


def readable_names(names: Iterable[str], spelled: Mapping[str, str] | None = None) -> dict[str, str]:
    """Dataset spelling -> readable name for all classes, sorted. Raises DataError where two become one."""
    return called(sorted(set(names)), lambda name: readable(name, spelled))


def read_candidates(options: Mapping[str, str], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes a question may offer: the option's, else all of the set, sorted. Raises UsageError for a bad option."""
    given = options.get("candidates")
    if given is None and not classes:
        return ()  # no row has a class: there is nothing to ask, and the rows say why
    names = sorted(classes) if given is None else [_known_as(name, classes) for name in read_listed("candidates", given, ",")]
    if given is None and len(names) == 1:
        raise UsageError(
            f"'{names[0]}' is the only class, and a question needs two or more to choose from; name them with --option "
            f"candidates='{names[0]},...', or point --input at the folder that holds one folder a class"
        )
    if len(names) < 2 or len(set(names)) != len(names):
        raise UsageError(f"candidates {', '.join(names) or '(none)'}: expected two or more different classes")
    num = _num_candidates(options, len(names))
    if options.get("style") == "letters" and num > len(LETTERS):
        raise UsageError(f"{num} candidates have no letters; set --option num_candidates={len(LETTERS)} or fewer")
    return tuple(names)


def _known_as(name: str, classes: Sequence[str]) -> str:
    """A candidate as answers call it: ``SeaLake``, which is how folders spell it, is ``sea lake``."""
    return readable(name) if name not in classes and readable(name) in classes else name


def _num_candidates(options: Mapping[str, str], available: int) -> int:
    text = options.get("num_candidates")
    if text is None:
        return available
    if not text.isdecimal() or not 2 <= int(text) <= available:
        raise UsageError(f"num_candidates={text}: expected a number from 2 to {available}, the number of classes")
    return int(text)


def draw_candidates(sample: ClassSample, classes: Sequence[str], options: Mapping[str, str], seed: int) -> list[str]:
    """The candidates of one question in the order they are shown.

    All names in a sentence keep one order, as published: it is the same in every row and so tells nothing. Otherwise the
    label's place and the others' choice and order are drawn from (seed, id).
    """
    if sample.label not in classes:
        raise DataError(f"{sample.where}: the class '{sample.label}' is not among the candidates: {', '.join(classes)}")
    num = _num_candidates(options, len(classes))
    if num == len(classes) and options.get("style", "names") == "names":
        return list(classes)
    others = [name for name in classes if name != sample.label]
    drawn = [others[index] for index in randomness.permutation(len(others), seed, "candidates", sample.id)[: num - 1]]
    drawn.insert(randomness.choice(num, seed, "label place", sample.id), sample.label)
    return drawn


def convert(sample: ClassSample | LabelsSample, classes: tuple[str, ...], source: Source) -> list[ChatRecord]:
    """One question with its candidates. ``context`` holds the readable names of all classes, sorted."""
    options = source.options
    if isinstance(sample, LabelsSample):
        return [_several_record(sample, classes, options)]
    candidates = draw_candidates(sample, classes, options, source.seed)
    if options.get("style", "names") == "letters":
        listed = " ".join(f"{letter}. {name}" for letter, name in zip(LETTERS, candidates, strict=False))
        prefix, suffix = options.get("prefix", LETTERS_PREFIX), options.get("suffix", "")
        answer = LETTERS[candidates.index(sample.label)]
    else:
        listed = joined(candidates, candidates) + "."
        prefix, suffix = options.get("prefix", NAMES_PREFIX), options.get("suffix", NAMES_SUFFIX)
        answer = sample.label
    question = f"{_spaced(prefix)}{listed} {suffix}".rstrip()
    meta = split_meta(sample.split)
    meta |= {"label": sample.label, "class_name": sample.class_name, "candidates": candidates}
    turns = (Turn("human", f"{IMAGE_PLACEHOLDER}\n{question}"), Turn("gpt", answer))
    return [ChatRecord(sample.id, turns, sample.pictures, task="classify", source=sample.source, meta=meta)]


def joined(names: Iterable[str], candidates: Iterable[str]) -> str:
    """The names with commas between them; with semicolons where a candidate's own name holds a comma."""
    return ("; " if any("," in name for name in candidates) else ", ").join(names)


def check_several(options: Mapping[str, str], classes: Sequence[str]) -> None:
    """Raise UsageError for options that make no sense where several classes may apply."""
    none = options.get("none", NONE)
    if options.get("num_candidates") is not None:
        raise UsageError("num_candidates: where several classes may apply all are offered; leave the option out")
    same = next((name for name in classes if readable(name) == readable(none)), None)
    if not none.strip() or same is not None:
        spelled = f" (it is '{same}')" if same not in (None, none) else ""
        raise UsageError(f"none={none}: expected a word that is not one of the classes{spelled}; set --option none=WORD")


def _several_record(sample: LabelsSample, classes: tuple[str, ...], options: Mapping[str, str]) -> ChatRecord:
    strange = next((name for name in sample.labels if name not in classes), None)
    if strange is not None:
        raise DataError(f"{sample.where}: the class '{strange}' is not among the candidates: {', '.join(classes)}")
    labels, none = [name for name in classes if name in sample.labels], options.get("none", NONE)
    if options.get("style", "names") == "letters":
        listed = " ".join(f"{letter}. {name}" for letter, name in zip(LETTERS, classes, strict=False))
        what, marks, answer = "letters", "commas", ", ".join(LETTERS[classes.index(name)] for name in labels)
    else:
        marks = "semicolons" if any("," in name for name in classes) else "commas"
        listed, what, answer = joined(classes, classes) + ".", "names", joined(labels, classes)
    suffix = options.get("suffix", SEVERAL_SUFFIX.format(what=what, marks=marks, none=none))
    question = f"{_spaced(options.get('prefix', SEVERAL_PREFIX))}{listed} {suffix}".rstrip()
    meta = split_meta(sample.split)
    meta |= {"label": labels, "class_name": [sample.labels[name] for name in labels], "candidates": list(classes)}
    turns = (Turn("human", f"{IMAGE_PLACEHOLDER}\n{question}"), Turn("gpt", answer or none))
    return ChatRecord(sample.id, turns, sample.pictures, task="classify", source=sample.source, meta=meta)


def _spaced(prefix: str) -> str:
    return prefix if not prefix or prefix[-1].isspace() else prefix + " "


def read(source: Source) -> Reading:
    """An image folder, or a table with a picture and its classes in each row."""
    is_table = table.is_table(source.input) or table.has_classes_tables(source.input)
    return _read_folder(source) if source.input.is_dir() and not is_table else _read_table(source)


def _read_folder(source: Source) -> Reading:
    try:
        refuse_idle(source.options, COLUMNS, "a folder of classes")
    except UsageError as error:
        raise UsageError(f"{error}{table.tell_tables(source)}") from error
    if given := [name for name in ("separator", "none") if name in source.options]:
        raise UsageError(f"{given[0]}: a folder gives each picture one class; where several may apply, use a table")
    root = source.images or source.input
    if not source.input.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"images '{root}' does not hold the input '{source.input}'")
    below = PurePosixPath(source.input.resolve().relative_to(root.resolve()).as_posix())
    joined = source.options["same_names"] == "joined"
    try:
        pictures, ignored = imagefolder.find_classes(source.input, made=source.made, joined=joined, quiet=source.counting)
    except UsageError as error:
        raise UsageError(f"{error}{table.tell_tables(source)}") from error
    names = readable_names(picture.class_name for picture in pictures)
    if not source.counting:
        _tell_classes(source, list(names))
    name, own_split = source.input.resolve().name, split_of_input(source.input) or imagefolder.split_beside(source.input)
    paths = [picture.path for picture in pictures if imagefolder.unread_reason(picture.path) is None]
    ids = dict(zip(paths, ids_apart([(f"{name}-{path.with_suffix('')}", str(path)) for path in paths]), strict=True))
    samples = [
        Rejected(str(picture.path), reason, picture.split or own_split)
        if (reason := imagefolder.unread_reason(picture.path)) is not None
        else ClassSample(
            id=ids[picture.path],
            where=str(picture.path),
            split=picture.split or own_split,
            pictures=(str(below / picture.path),),
            label=names[picture.class_name],
            class_name=picture.class_name,
            source=name,
        )
        for picture in pictures
    ]
    return Reading(root, samples, read_candidates(source.options, list(names.values())), ignored, {"classes": names})


def _are_containers(names: Sequence[str]) -> bool:
    """Whether the last folders of these names hold pictures of any class: ``images``, ``HAM10000_images_part_1`` and ``_2``;
    ``real_images`` and ``fake_images`` differ in a word, and are classes."""
    words = [set(re.split(r"[-_ ]+", name.rpartition("/")[2].lower())) for name in names]
    differing = {frozenset(word for word in each - _CONTAINERS - _PARTS if not word.isdigit()) for each in words}
    return all(each & _CONTAINERS for each in words) and len(differing) == 1


def _tell_classes(source: Source, names: Sequence[str]) -> None:
    """Say which folders are classes. Raises UsageError where they are none by their names and a table lies beside them."""
    folder, listed = source.input, table.listed(names)
    first = next((each.name for each in table.tables_of(folder, _LABEL_TABLES, source)), None)
    cure = f"--input {folder / first} --images {folder} --option image=COLUMN label=COLUMN" if first else ""
    if first and _are_containers(names):
        raise UsageError(
            f"input '{folder}': its folders ({listed}) are no classes by their names, and {first} lies beside them; where it "
            f"holds the classes: {cure}; where the folders are the classes, move it out of the folder"
        )
    say(f"note: {folder}: the folders are the classes: {listed}")
    if first:
        say(f"note: {first} is not read; where it holds the classes: {cure}")
    if repeated := sorted({name.rpartition("/")[2] for name in names if "/" in name}):
        say(
            f"note: folders called '{repeated[0]}' lie in several places, and each is a class; to have one class of all that "
            "share a name: --option same_names=joined"
        )


def _read_table(source: Source) -> Reading:
    refuse_idle(source.options, FOLDERS, "a table")
    given = source.options.get("label_columns")
    if given is not None:
        refuse_idle(source.options, (LABEL, SEPARATOR), "label_columns")
    elif (uncertain := source.options["uncertain"]) != UNCERTAIN.default:
        raise UsageError(f"option uncertain={uncertain} has no effect without label_columns, the columns that are a class each")
    found = table.read_tables(source, picture_column=source.options["image"], find_pictures=True)
    found = dataclasses.replace(found, rows=map(_with_one_picture, found.rows))
    return _read_column(source, found) if given is None else _read_columns(source, found, given)


def _read_columns(source: Source, found: table.Tables, given: str) -> Reading:
    """A table with a column for each class: one class a row where every row that can be read has exactly one, else several."""
    column = source.options["label"]
    columns = {} if found.first is None else label_columns.find_columns(given, list(found.first), source.input)
    names = readable_names(columns)
    rows, counts = label_columns.read_rows(found.rows, columns, source.options["uncertain"], column)
    rows = split_by_pictures(rows, source)
    nums = {len(row.values[column]) for row in rows if isinstance(row, table.Row)}
    is_single = nums <= {1} and "none" not in source.options
    if nums and not source.counting:
        _tell_columns(source, list(names), is_single, counts)
    if not is_single:
        return _read_several(source, rows, found, names=names)
    alone = (
        row if isinstance(row, Rejected) else dataclasses.replace(row, values={column: row.values[column][0]}) for row in rows
    )
    return _read_single(source, alone, found, names)


def _tell_columns(source: Source, names: Sequence[str], is_single: bool, counts: Mapping[str, int]) -> None:
    """Say whether the classes exclude each other, which the rows tell and no header does, and what was taken as 0 or 1."""
    path, taken_as = source.input, 1 if source.options["uncertain"] == "yes" else 0
    of = f"of {len(names)}: {table.listed(names)}"
    if is_single:
        say(f"note: {path}: one class a row, {of}; where several or none may apply: --option none={NONE}")
    else:
        say(f"note: {path}: none, one or several classes a row, {of}")
    if num_empty := counts[label_columns.EMPTY]:
        say(f"note: {path}: {counted(num_empty, 'empty cell')} of the label columns taken as 0")
    if num_uncertain := counts[label_columns.UNCERTAIN]:
        say(f"note: {path}: {counted(num_uncertain, 'uncertain cell')} (-1) taken as {taken_as}")


def _read_column(source: Source, found: table.Tables) -> Reading:
    """A table with a column of classes."""
    column, separator = source.options["label"], source.options.get("separator")
    if found.first is not None and column not in found.first:
        raise UsageError(f"{table.no_column(source.input, column, list(found.first))}{label_columns.propose(found.first)}")
    # Classes are known when all rows are; what else stands in them goes, or the bytes of all pictures would be held.
    rows = split_by_pictures(
        [_with_label_alone(row, column) if isinstance(row, table.Row) else row for row in found.rows], source
    )
    if separator is not None or any(isinstance(row, table.Row) and isinstance(row.values.get(column), list) for row in rows):
        return _read_several(source, rows, found, separator=separator)
    if "none" in source.options:
        raise UsageError(
            "none: each row has one class; where several may apply, lists hold them or --option separator=';' parts them"
        )
    labels = (row.values.get(column) for row in rows if not isinstance(row, Rejected))
    names = readable_names(table.text_of_cell(label) for label in labels if not _is_empty(label))
    if not source.counting:
        _tell_joined(source.input, names.keys())
    return _read_single(source, rows, found, names)


def _read_single(
    source: Source, rows: Iterable[table.Row | Rejected], found: table.Tables, names: Mapping[str, str]
) -> Reading:
    """A table whose cells hold one class each."""
    column = source.options["label"]
    samples = [row if isinstance(row, Rejected) else _table_sample(row, column, names, found.name) for row in rows]
    context = _candidates(source, names, samples)
    return Reading(found.image_root, samples, context, found.ignored, {"classes": names})


def _tell_joined(path: Path, names: Set[str]) -> None:
    """Say which classes look like several in one cell: all their parts are classes of other rows."""
    for mark in "|;, ":
        parts = {name: [part.strip() for part in name.split(mark)] for name in names if mark in name.strip()}
        if joined := [name for name, each in parts.items() if all(part in names for part in each)]:
            listed = ", ".join(joined[:3]) + (", ..." if len(joined) > 3 else "")
            say(f"note: {path}: one class each: {listed}; where such a cell names several: --option separator='{mark}'")
            return


def _candidates(source: Source, names: Mapping[str, str], samples: Sequence[Any]) -> tuple[str, ...]:
    """As ``read_candidates``; where rejected rows leave one class, the first of them is told: it may have had another."""
    rejected = [sample for sample in samples if isinstance(sample, Rejected)]
    if rejected and len(names) == 1 and "candidates" not in source.options:
        raise DataError(
            f"{source.input}: '{next(iter(names.values()))}' is the only class of the rows that can be read; rejected: "
            f"{len(rejected):,} of {len(samples):,}, first {rejected[0].where}: {rejected[0].reason}"
        )
    return read_candidates(source.options, list(names.values()))


def _with_one_picture(row: table.Row | Rejected) -> table.Row | Rejected:
    if isinstance(row, Rejected) or len(row.pictures) == 1:
        return row
    return Rejected(row.where, f"{len(row.pictures)} pictures, expected one", row.split)


def _with_label_alone(row: table.Row, column: str) -> table.Row | Rejected:
    label = row.values.get(column)
    if isinstance(label, str) and _LIST_AS_TEXT.fullmatch(label.strip()):
        reason = (
            f"column '{column}' is {label[:40]!r}, a list written as text; write the classes as cat|dog and add --option "
            "separator='|', or save the table as JSONL or Parquet with lists in it"
        )
        return Rejected(row.where, reason, row.split)
    return dataclasses.replace(row, values={column: label})


def _read_several(
    source: Source,
    rows: list[table.Row | Rejected],
    found: table.Tables,
    *,
    separator: str | None = None,
    names: Mapping[str, str] | None = None,
) -> Reading:
    """A table whose cells hold none, one or several classes: lists, or text with ``separator`` between them. ``names`` are
    those of all classes (default: of the cells')."""
    column = source.options["label"]
    cells = [row if isinstance(row, Rejected) else _several_classes(row, column, separator) for row in rows]
    if names is None:
        names = readable_names(name for cell in cells if isinstance(cell, list) for name in cell)
    samples = [
        cell
        if isinstance(cell, Rejected) or isinstance(row, Rejected)
        else LabelsSample(row.id, row.where, row.split, row.pictures, {names[name]: name for name in cell}, found.name)
        for row, cell in zip(rows, cells, strict=True)
    ]
    context = _candidates(source, names, samples)
    check_several(source.options, context)
    return Reading(found.image_root, samples, context, found.ignored, {"classes": names})


def _several_classes(row: table.Row, column: str, separator: str | None) -> list[str] | Rejected:
    """The classes in a row's cell, as the dataset spells them."""
    value = row.values.get(column)
    if isinstance(value, str):
        value = value.split(separator) if separator else [value] if value.strip() else None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        value = [value]
    named = isinstance(value, list) and all(
        isinstance(each, str | int | float) and not isinstance(each, bool) for each in value
    )
    if not named:
        return Rejected(
            row.where, f"column '{column}' is {str(value)[:40]!r}, expected a list of classes ([] for none)", row.split
        )
    assert isinstance(value, list)
    texts = (table.text_of_cell(each).strip() for each in value)
    return [text for text in texts if text]


def _is_empty(label: Any) -> bool:
    return label is None or not str(label).strip()


def _table_sample(row: table.Row, column: str, names: Mapping[str, str], source: str) -> ClassSample | Rejected:
    label = row.values.get(column)
    if _is_empty(label):
        found = "is empty, or -1 as of a hidden label" if label is None else "is empty"  # None: see table.py
        return Rejected(row.where, f"column '{column}' {found}, expected a class", row.split)
    class_name = table.text_of_cell(label)
    return ClassSample(row.id, row.where, row.split, row.pictures, names[class_name], class_name, source)


TASK = Task(
    name="classify",
    summary="which of several classes a picture belongs to, or all that apply; pictures in class folders, or a table",
    layout="<root>/<Class>/<file>, <root>/<split>/<Class>/<file>, or a table (csv, tsv, json, jsonl, parquet) "
    "with columns image, label, or image and one for each class (label_columns)",
    unit="picture",
    read=read,
    convert=convert,
    options=(
        *OPTIONS,
        *SEVERAL_OPTIONS,
        SEPARATOR,
        *COLUMNS,
        *FOLDERS,
        *pixels.OPTIONS,
    ),
    example="adapt convert --task classify --input photos --output photos.jsonl --option style=letters",
)
