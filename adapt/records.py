"""ChatRecord and its JSONL: the one contract between data and training.

The form is the one InternVL's own trainer reads (``docs/en/get_started/chat_data_format.md`` in
github.com/ErfeiCui/InternVL-doc), so the files work there too: one JSON object a line, ``image`` a string or a list,
``conversations`` alternating human and gpt with an optional system row first, and as many ``<image>`` placeholders as pictures.
"""

import dataclasses
import io
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonlines

from adapt import atomic, safe
from adapt.errors import DataError, UsageError
from adapt.progress import say

IMAGE_PLACEHOLDER = "<image>"
MAX_TILES = 10_000
ROLES = ("system", "human", "gpt")
# A split becomes a folder's name (adapt evaluate writes OUTPUT/SPLIT), so it may not hold a path.
_SPLIT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OTHER_SUFFIXES = (".json", ".csv", ".tsv", ".parquet", ".xml")  # of what convert reads
_COMPANIONS = {".manifest.json": "manifest", ".pictures.jsonl": "list of pictures", ".rejected.jsonl": "list of rejected rows"}
_LINE = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_KNOWN_FIELDS = frozenset(
    {"id", "image", "width", "height", "width_list", "height_list", "max_tiles", "conversations", "task", "source", "meta"}
)


@dataclasses.dataclass(frozen=True)
class Turn:
    """One message. ``role`` is system, human or gpt; pictures stand in ``value`` as ``<image>``."""

    role: str
    value: str


@dataclasses.dataclass(frozen=True)
class ChatRecord:
    """One line of chat JSONL.

    ``images`` are paths relative to the image root, ``sizes`` their (width, height) in pixels where known (empty
    otherwise), ``max_tiles`` the largest grid of any of them (0: the run's own bound; frames of a video have 1), ``meta``
    holds the split and what a scorer needs, ``extra`` any other field of the line, kept as it was.
    """

    id: str
    turns: tuple[Turn, ...]
    images: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    max_tiles: int = 0
    task: str | None = None
    source: str | None = None
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def split(self) -> str | None:
        """``meta.split``, or None."""
        return self.meta.get("split")

    @property
    def question(self) -> str:
        """The last human message, placeholders and all."""
        return next(turn.value for turn in reversed(self.turns) if turn.role == "human")

    @property
    def answer(self) -> str:
        """The last gpt message: the ground truth."""
        return self.turns[-1].value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _count_places(value: Any, where: str) -> int:
    """How many pictures the messages have a place for; raises DataError for messages that are none."""
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: 'conversations' is {_shown(value)}, expected a list of messages")
    expected, places = "human", 0
    role: Any = None
    for place, row in enumerate(value):
        role, text = (row.get("from"), row.get("value")) if isinstance(row, dict) else (None, None)
        if not isinstance(text, str) or role not in ROLES:
            raise DataError(f"{where}: message {_shown(row)}, expected {{'from': 'human' or 'gpt', 'value': text}}")
        if role != expected and (place or role != "system"):
            raise _wrong_order(value, where)
        if role == "gpt" and (not text or text.isspace()):
            raise DataError(f"{where}: an answer is empty; there is nothing to learn from the row")
        if role != "system":
            expected = "gpt" if role == "human" else "human"
        if IMAGE_PLACEHOLDER in text:
            if role != "human":
                raise DataError(
                    f"{where}: {IMAGE_PLACEHOLDER} stands in a gpt or system message; pictures belong to the human ones"
                )
            places += text.count(IMAGE_PLACEHOLDER)
    if role != "gpt":
        raise _wrong_order(value, where)
    return places


def _wrong_order(messages: list[Any], where: str) -> DataError:
    roles = ", ".join(str(row.get("from")) if isinstance(row, dict) else _shown(row) for row in messages)
    return DataError(f"{where}: messages come from {roles}; expected human and gpt in turn, ending with gpt")


def _parse_images(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = row.get("image")
    if value is None or value in ("", []):
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{where}: 'image' is {_shown(value)}, expected a path or a list of paths")
    return tuple(names)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _parse_sizes(row: Mapping[str, Any], count: int, where: str) -> tuple[tuple[int, int], ...]:
    if "width_list" in row or "height_list" in row:
        widths, heights = row.get("width_list"), row.get("height_list")
    elif "width" in row or "height" in row:
        widths, heights = [row.get("width")], [row.get("height")]
    else:
        return ()
    if not count:
        return ()
    if not isinstance(widths, list) or not isinstance(heights, list) or len(widths) != count or len(heights) != count:
        raise DataError(
            f"{where}: widths {_shown(widths)} and heights {_shown(heights)} for {count} pictures; expected one each"
        )
    if not all(_is_size(value) for value in widths + heights):
        raise DataError(f"{where}: widths {_shown(widths)}, heights {_shown(heights)}; expected positive integers")
    return tuple(zip(widths, heights, strict=True))


def _parse_max_tiles(row: Mapping[str, Any], where: str) -> int:
    value = row.get("max_tiles")
    if value is not None and not (_is_size(value) and value <= MAX_TILES):
        raise DataError(f"{where}: 'max_tiles' is {_shown(value)}, expected 1 to {MAX_TILES:,}: the most tiles of a picture")
    return value or 0


def _check_split(split: Any, where: str) -> None:
    if split is None:
        return
    if not isinstance(split, str) or not _SPLIT.fullmatch(split) or split in (".", ".."):
        raise DataError(
            f"{where}: 'meta.split' is {_shown(split)}, expected a name such as train or test_a: letters, digits, '_', '.' "
            "and '-', at most 64"
        )


def split_meta(split: str | None) -> dict[str, Any]:
    """What ``meta`` says of the split: nothing where a set has none."""
    return {} if split is None else {"split": split}


def _checked(row: Any, where: str) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...], int]:
    """The pictures, their sizes and the most tiles of a row. Raises DataError where it is no record."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: {_shown(row)}, expected a JSON object with 'id' and 'conversations'")
    if "video" in row:
        raise DataError(f"{where}: a 'video' row; 'adapt convert --task chat' writes its frames as pictures")
    identifier = row.get("id")  # (below, a tuple: str | int would be built for each row)
    if not isinstance(identifier, (str, int)) or isinstance(identifier, bool) or identifier == "":
        raise DataError(f"{where}: 'id' is {_shown(identifier)}, expected a string")
    places = _count_places(row.get("conversations"), where)
    images = _parse_images(row, where)
    meta = row.get("meta")
    if meta is not None and not isinstance(meta, dict):
        raise DataError(f"{where}: 'meta' is {_shown(meta)}, expected an object")
    _check_split((meta or {}).get("split"), where)
    if places != len(images):
        raise DataError(f"{where}: {places} {IMAGE_PLACEHOLDER} placeholder(s) for {len(images)} picture(s); expected as many")
    sizes, max_tiles = _parse_sizes(row, len(images), where), _parse_max_tiles(row, where)
    for name in ("task", "source"):
        if not isinstance(value := row.get(name), str) and value is not None:
            raise DataError(f"{where}: '{name}' is {_shown(value)}, expected a string")
    return images, sizes, max_tiles


def check_row(row: Any, where: str) -> None:
    """Raise the DataError that ``parse_record`` would: a row is looked at so before it is written, and no record is built."""
    _checked(row, where)


def parse_record(row: Any, where: str) -> ChatRecord:
    """Build a record from one parsed JSON object. Raises DataError(``where``: found, expected)."""
    images, sizes, max_tiles = _checked(row, where)
    return ChatRecord(
        id=str(row["id"]),
        turns=tuple([Turn(message["from"], message["value"]) for message in row["conversations"]]),
        images=images,
        sizes=sizes,
        max_tiles=max_tiles,
        task=row.get("task"),
        source=row.get("source"),
        meta=row.get("meta") or {},
        extra={name: value for name, value in row.items() if name not in _KNOWN_FIELDS},
    )


def record_to_row(record: ChatRecord) -> dict[str, Any]:
    """The JSON object of a record, keys in the contract's order."""
    row: dict[str, Any] = {"id": record.id}
    if len(record.images) == 1:
        row["image"] = record.images[0]
        if record.sizes:
            row["width"], row["height"] = record.sizes[0]
    elif record.images:
        row["image"] = list(record.images)
        if record.sizes:
            row["width_list"] = [width for width, _ in record.sizes]
            row["height_list"] = [height for _, height in record.sizes]
    if record.max_tiles:
        row["max_tiles"] = record.max_tiles
    row["conversations"] = [{"from": turn.role, "value": turn.value} for turn in record.turns]
    if record.task is not None:
        row["task"] = record.task
    if record.source is not None:
        row["source"] = record.source
    if record.meta:
        row["meta"] = dict(record.meta)
    return row | dict(record.extra)


def dump_row(row: Any) -> str:
    """One JSON line without its end: compact enough to read, non-ASCII kept, NaN refused."""
    return _LINE.encode(row)


def read_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, parsed JSON value) of a JSONL file; blank lines are skipped.

    Raises DataError(``path:line``: ...) for what is not strict JSON and for a line above 16 MiB.
    """
    for number, line in safe.read_lines(path):
        yield number, safe.load_line(line, f"{path}:{number}")


def iterate_records(path: Path | str) -> Iterator[tuple[str, ChatRecord]]:
    """Yield (``file:line``, record) of a chat JSONL file, checked. Raises DataError at the first bad row."""
    for number, row in read_rows(Path(path)):
        where = f"{path}:{number}"
        yield where, parse_record(row, where)


def read_records(path: Path | str) -> list[ChatRecord]:
    """All records of a chat JSONL file. Raises DataError with file:line for a bad row or an id seen before."""
    return list(read_placed(path).values())


def read_placed(path: Path | str) -> dict[str, ChatRecord]:
    """``read_records`` by ``file:line``, in the file's order."""
    records: dict[str, ChatRecord] = {}
    places: dict[str, str] = {}
    for where, record in iterate_records(path):
        if record.id in places:
            raise DataError(
                f"{where}: the id '{record.id}' was seen before, at {places[record.id]}; ids must be unique in a file"
            )
        places[record.id] = where
        records[where] = record
    return records


def write_rows(path: Path, rows: Iterable[Any]) -> int:
    """Write JSONL whole (staged, synced, renamed) and return the number of lines."""
    count = 0
    with atomic.staged_file(path) as handle:
        text = io.TextIOWrapper(handle, encoding="utf-8", newline="\n", write_through=True)
        writer = jsonlines.Writer(text, dumps=dump_row)
        for row in rows:
            writer.write(row)
            count += 1
        text.detach()
    return count


def write_records(path: Path | str, records: Iterable[ChatRecord]) -> int:
    """Write records as chat JSONL, replacing ``path`` atomically; returns the number of lines."""
    return write_rows(Path(path), (record_to_row(record) for record in records))


def chat_files(paths: Sequence[Path]) -> list[Path]:
    """The files among ``paths`` that may hold chat JSONL: a note tells of each that convert wrote beside one, as ``*`` gives.

    Raises UsageError for a dataset that was not converted, and where there are only files that stand beside others.
    """
    chosen: list[Path] = []
    told: list[tuple[Path, str, Path]] = []
    for path in paths:
        end = next((end for end in _COMPANIONS if path.name.endswith(end)), None)
        owner = path.with_name(path.name.removesuffix(end) + ".jsonl") if end else path
        if end and path.is_file() and not _begins_as_chat(path):
            told.append((path, _COMPANIONS[end], owner))
        elif path.suffix.lower() in _OTHER_SUFFIXES and path.is_file() and not _begins_as_chat(path):
            raise UsageError(
                f"{path}: no chat JSONL, which ends in .jsonl; convert it first: adapt convert --task TASK --input {path} "
                "--output FILE.jsonl ('adapt tasks' lists the tasks)"
            )
        else:
            chosen.append(path)
    if told and not chosen:
        path, what, owner = told[0]
        if not owner.is_file():
            return list(paths)  # each of its rows says what it lacks
        raise UsageError(f"{path}: the {what} of {owner.name}, no chat JSONL; give {owner}")
    for path, what, owner in told:
        say(f"note: {path}: not read, it is the {what} of {owner.name}")
    return chosen


def _begins_as_chat(path: Path) -> bool:
    """Whether one of the first lines is an object with conversations, whatever the file is called."""
    for _, line in itertools.islice(safe.read_lines(path), 5):
        try:
            row = safe.load_line(line, "")
        except DataError:
            continue  # told when the file is read, if another line says that it holds chats
        if isinstance(row, dict) and "conversations" in row:
            return True
    return False


def manifest_path(path: Path) -> Path:
    """``train.jsonl`` -> ``train.manifest.json``."""
    return path.with_name(path.name.removesuffix(".jsonl") + ".manifest.json")


def pictures_path(path: Path) -> Path:
    """``train.jsonl`` -> ``train.pictures.jsonl``: path, size and sha256 of each picture, as it was when it was converted."""
    return path.with_name(path.name.removesuffix(".jsonl") + ".pictures.jsonl")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest beside a JSONL file, or an empty dict where there is none."""
    place = manifest_path(path)
    if not place.exists():
        return {}
    return safe.read_object(place)


def image_root(path: Path, override: Path | None = None) -> Path:
    """The folder that the picture paths of ``path`` start from: ``override``, else the manifest's, else the file's own."""
    if override is not None:
        return Path(override)
    root = read_manifest(path).get("image_root", ".")
    if not isinstance(root, str) or "\x00" in root:
        raise DataError(f"{manifest_path(path)}: 'image_root' is {_shown(root)}, expected a folder; convert again")
    return path.parent / root


def relative_root(root: Path, output: Path) -> str:
    """The picture root as seen from the JSONL's folder, so that both can move together."""
    try:
        return Path(os.path.relpath(root.resolve(), output.resolve().parent)).as_posix()
    except ValueError:  # another drive
        return root.resolve().as_posix()
