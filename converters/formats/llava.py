"""Conversation files: LLaVA, ShareGPT, InternVL and OpenAI chats and tables of such, read into one shape.

LLaVA, ShareGPT and InternVL rows hold ``conversations`` ([{"from", "value"}]) and ``image``; OpenAI rows hold ``messages``
([{"role", "content"}]) whose content is text or a list of text and image_url parts, or ``images`` beside them; Anthropic's hold
``source`` ({"type": "base64", "media_type", "data"}) in a part (docs.anthropic.com, Messages API, vision). Hugging Face
tables hold the same, or ``texts`` ([{"user", "assistant"}]) beside ``images`` (HuggingFaceM4/the_cauldron, dataset card). A
system prompt may stand beside the messages as ``system`` (github.com/hiyouga/LLaMA-Factory, data/README.md, sharegpt). A row
is told by its columns, not by the file it is in. JSONL and tables are read as they are asked for; a JSON list whole.
Qwen-VL names a picture where it stands in the text: ``<img>a.jpg</img>`` (github.com/QwenLM/Qwen-VL, README, finetuning).
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from adapt import safe
from adapt.domain import Source
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER, Turn
from converters.formats import table, unread
from converters.formats.frames import Video, parse_video
from converters.formats.imagefolder import split_name

ROLES = {
    "human": "human",
    "user": "human",
    "gpt": "gpt",
    "assistant": "gpt",
    "system": "system",
    "developer": "system",
}
PICTURE_COLUMNS = ("images", "image")
_FILE_SUFFIXES = (".json", ".jsonl", ".parquet")
# A bracket and a number, as far as bytes tell: line ends are two letters there, and blanks and digits may be of any alphabet.
_MAYBE_BOX = re.compile(rb"\[(?:\s|\\[nrtf])*+(?:[-+.\d\x80-\xff]|\\u)")
_INLINE = re.compile(r"<img>([^<>\n]++)</img>")
Place = tuple[str, Any]


@dataclasses.dataclass(frozen=True)
class Conversation:
    """The messages, from human, gpt or system, and the pictures, or the video, as the file names them."""

    turns: tuple[Turn, ...]
    pictures: tuple[str, ...]
    video: Video | None = None


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of an input: (where, row), or a DataError in the place of a row.

    ``suspects`` are those that may hold boxes, embedded pictures or videos; None where a second look costs a download.
    ``made`` says that the pictures' names are of the folder of made pictures: a table holds their bytes. ``split`` is the one
    that a file is named for: it holds for rows that state none.
    """

    name: str
    rows: Callable[[], Iterator[Place]]
    suspects: Callable[[], Iterator[Place]] | None
    made: bool = False
    split: str | None = None


def open_rows(source: Source) -> Rows:
    """The rows of a .json list, a .jsonl file or a table. Raises UsageError for any other input."""
    path = source.input
    if path.is_file() and path.suffix.lower() == ".jsonl":
        return Rows(path.stem, lambda: table.read_jsonl(path), lambda: _suspect_lines(path), split=table.split_of_file(path))
    if path.is_file() and path.suffix.lower() == ".json":
        rows = list(table.read_json_list(path))
        return Rows(path.stem, lambda: iter(rows), lambda: iter(rows), split=table.split_of_file(path))
    is_hub = str(path).startswith(table.HUB_PREFIX)
    if is_hub or table.is_table(path) or (path.is_file() and path.suffix.lower() == ".parquet"):
        return _open_table(source, is_hub)
    raise UsageError(
        f"input '{path}': expected a file of conversations that ends in .json or .jsonl, or a table: .parquet, a folder that "
        f"`datasets` saved, or hf:NAME{table.tell_tables(source, _FILE_SUFFIXES)}"
    )


def _suspect_lines(path: Path) -> Iterator[Place]:
    for number, line in safe.read_lines(path):
        if _is_suspect(line):
            where = f"{path.name}:{number}"
            try:
                yield where, safe.load_line(line, where)
            except DataError as error:
                yield where, error


def _is_suspect(line: bytes) -> bool:
    """Whether a line may hold boxes, embedded pictures or a video; an escaped letter may spell any of them."""
    return (  # one letter is looked up first where most lines have none: this is all that the first look costs
        b"base64" in line
        or b'"video' in line
        or (b"<" in line and b"<box>" in line)
        or (b"\\" in line and b"\\u00" in line)
        or _MAYBE_BOX.search(line) is not None
    )


def _open_table(source: Source, is_hub: bool) -> Rows:
    opened = table.open_peeked(source, _picture_cell)

    def suspects() -> Iterator[Place]:
        for places in table.open_parts(source, without=PICTURE_COLUMNS)[1].values():
            yield from places

    return Rows(opened.name, lambda: _table_rows(opened, source), None if is_hub else suspects, opened.embedded)


def _picture_cell(row: Mapping[str, Any]) -> Any:
    """The cell of a row's pictures: of two the one that holds them, the other then names where they come from."""
    cells = [row[column] for column in PICTURE_COLUMNS if row.get(column)]
    ranked = sorted(cells, key=lambda cell: [not held for held in table.held_in(cell)])
    return next(iter(ranked), None)


def _refuse_two(row: Mapping[str, Any], where: str) -> None:
    """Raise DataError where both columns hold pictures, or both name some, and not the same."""
    held = {column: table.held_in(row[column]) for column in PICTURE_COLUMNS if row.get(column)}
    contents = [contents for contents, _ in held.values() if contents]
    if not contents:
        _one_of({column: tuple(names) for column, (_, names) in held.items()}, where)
    elif any(each != contents[0] for each in contents):
        raise DataError(f"{where}: 'image' and 'images' hold different pictures; leave one of the columns out")


class RowFault(DataError):
    """Why a row of a table is refused, with the ``split`` that it is of."""

    def __init__(self, message: str, split: str | None) -> None:
        super().__init__(message)
        self.split = split


def _table_rows(opened: table.Opened, source: Source) -> Iterator[Place]:
    """Rows of a table in the shape of a JSON row; a table's other columns are no part of a conversation."""
    for part_split, places in opened.parts.items():
        for where, row in places:
            if isinstance(row, DataError):
                yield where, row
                continue
            split = stated_split(row) or (split_name(part_split) if part_split else None)
            found = {column: row[column] for column in ("messages", "conversations", "texts") if row.get(column)}
            found |= {column: row[column] for column in ("id", "source", "system") if row.get(column) not in (None, "")}
            if split:
                found["meta"] = {"split": split}
            try:
                _refuse_two(row, where)
                found["image"] = list(table.picture_names(_picture_cell(row), source, opened.embedded, where))
                _refuse_unread(row, found, where)
            except DataError as error:
                yield where, RowFault(str(error), split)
                continue
            yield where, found


def _refuse_unread(row: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    """Raise DataError for pictures or audio in columns that are no part of the conversation ``found``."""
    if not unread.holds_files(row):
        return
    try:
        told = parse_conversation(found, where)
    except DataError:
        return  # told when the conversation itself is read
    unread.refuse_files(row, told.turns, shows=bool(told.pictures), where=where)


def stated_split(row: Mapping[str, Any]) -> str | None:
    """The split of a row's meta, else its own, as its column is in a table."""
    meta = row.get("meta")
    split = table.split_cell(meta) if meta and isinstance(meta, Mapping) else None
    if not isinstance(split, str) or not split.strip():
        split = table.split_cell(row)
    return split_name(split) if isinstance(split, str) and split.strip() else None


def parse_conversation(row: Mapping[str, Any], where: str) -> Conversation:
    """The conversation of one row. Raises DataError(``where``: found, expected)."""
    turns, pictures = _parse_turns(row, where)
    turns = _with_system(turns, row.get("system"), where)
    video = parse_video(row, where) if "video" in row or "videos" in row or "clip" in row else None
    if video and pictures:
        raise DataError(f"{where}: both pictures and a video; expected one of them")
    unread.refuse_files(row, turns, shows=bool(pictures or video), where=where)
    return Conversation(turns, pictures, video)


def _parse_turns(row: Mapping[str, Any], where: str) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
    column = "messages" if "messages" in row else "conversations" if "conversations" in row else "texts"
    messages = row.get(column)
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: neither 'conversations' nor 'messages' nor 'texts' holds a list of messages")
    names = _one_of({column: _names(row[column], where) for column in PICTURE_COLUMNS if row.get(column)}, where)
    if column == "texts":
        return _exchanges(messages, len(names), where), names
    turns: list[Turn] = []
    shown: list[str] = []
    bare, inline = 0, False
    for message in messages:
        if isinstance(message, dict) and isinstance(message.get("content"), list):
            text, found, unnamed = _join_parts(message["content"], where)
            shown += found
            bare += unnamed
            message = message | {"content": text}
        turn = _turn(message, where)
        inline = inline or ("<img>" in turn.value and _INLINE.search(turn.value) is not None)
        turns.append(turn)
    if (shown or inline) and (names or bare) or (inline and any(IMAGE_PLACEHOLDER in turn.value for turn in turns)):
        raise DataError(f"{where}: pictures both in the messages and beside them; their order cannot be told")
    if names and not any(IMAGE_PLACEHOLDER in turn.value for turn in turns):
        unread.refuse_foreign_placeholder(turns, where)
    if row.get("objects"):
        _refuse_placeholders(turns, where)
    if inline:
        shown = [name for turn in turns for name in _INLINE.findall(turn.value)]
        turns = [Turn(turn.role, _INLINE.sub(IMAGE_PLACEHOLDER, turn.value)) for turn in turns]
    return tuple(turns), names or tuple(shown)


def _refuse_placeholders(turns: list[Turn], where: str) -> None:
    """Raise DataError for ms-swift's placeholders, whose names and boxes are in ``objects``; ``<bbox>x</bbox>`` is none."""
    for turn in turns:
        mark = "<ref-object>" if "<ref-object>" in turn.value else "<bbox>"
        if mark in turn.value and "</bbox>" not in turn.value:
            raise DataError(
                f"{where}: a message holds {mark!r}, which stands for one of 'objects' and is not filled in; write names "
                "and boxes into the text, as <ref>name</ref><box>[[x1, y1, x2, y2]]</box>"
            )


def _with_system(turns: tuple[Turn, ...], system: Any, where: str) -> tuple[Turn, ...]:
    """The turns with the system prompt that stands beside them in front."""
    if system is None or (isinstance(system, str) and not system.strip()):
        return turns
    if not isinstance(system, str):
        raise DataError(f"{where}: 'system' is {str(system)[:60]}, expected text")
    if turns[0].role != "system":
        return (Turn("system", system), *turns)
    if turns[0].value.strip() != system.strip():
        raise DataError(
            f"{where}: 'system' is {system[:40]!r}, but its first message, of the system, is {turns[0].value[:40]!r}; "
            "expected one of them"
        )
    return turns


def _exchanges(texts: list[Any], num_pictures: int, where: str) -> tuple[Turn, ...]:
    """Turns of [{"user", "assistant"}], all pictures in front: such rows have no placeholders."""
    turns: list[Turn] = []
    for each in texts:
        if not isinstance(each, dict) or not all(isinstance(each.get(name), str) for name in ("user", "assistant")):
            raise DataError(f"{where}: {str(each)[:60]}, expected an object with texts in 'user' and 'assistant'")
        turns += [Turn("human", each["user"]), Turn("gpt", each["assistant"])]
    if num_pictures and not any(IMAGE_PLACEHOLDER in turn.value for turn in turns):
        unread.refuse_foreign_placeholder(turns, where)
        turns[0] = Turn("human", f"{IMAGE_PLACEHOLDER}\n" * num_pictures + turns[0].value)
    return tuple(turns)


def _turn(message: Any, where: str) -> Turn:
    if not isinstance(message, dict):
        raise DataError(f"{where}: message {str(message)[:60]}, expected an object with a role and its text")
    role = message.get("from", message.get("role"))
    text = message.get("value", message.get("content"))
    if not isinstance(role, str) or role not in ROLES:
        raise DataError(f"{where}: a message comes from {str(role)[:40]!r}, expected one of {', '.join(ROLES)}")
    is_plain = len(message) == 2 and isinstance(text, str)  # who speaks, and the text
    if not is_plain:
        _refuse_calls(message, role, where)
    if not isinstance(text, str):
        raise DataError(f"{where}: message {str(message)[:60]}, expected text in 'value' or 'content'")
    if not is_plain and ROLES[role] == "gpt":
        _refuse_unlearnt(message, where)
    return Turn(ROLES[role], text)


def _refuse_calls(message: Mapping[str, Any], role: str, where: str) -> None:
    """Raise DataError for what a message holds beside its text, or instead of it."""
    for name in ("tool_calls", "function_call", "audio", "refusal"):
        if message.get(name):
            raise DataError(f"{where}: a message of {role!r} holds '{name}', which is no text; leave the row out")


def _refuse_unlearnt(message: Mapping[str, Any], where: str) -> None:
    """Raise DataError for an answer that other trainers leave out of the loss: here all answers of a row are learnt."""
    for name in ("weight", "train", "loss"):
        if message.get(name) is False or (name == "weight" and message.get(name) == 0):
            raise DataError(
                f"{where}: an answer has {name!r} {message[name]}, and is not to be learnt; here all answers of a row are: "
                "cut the row before its question, or leave it out"
            )


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not value:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: the picture is {str(value)[:60]}, expected a path or a list of paths")
    return tuple(name for name in names if name)


def _one_of(found: Mapping[str, tuple[str, ...]], where: str) -> tuple[str, ...]:
    """The pictures of the column that has some; those of several must be equal."""
    if not found:
        return ()
    named = {column: names for column, names in found.items() if names}
    if len({tuple(PurePosixPath(name.replace("\\", "/")) for name in names) for names in named.values()}) > 1:
        both = ", but ".join(f"'{column}' is {', '.join(names)[:60]!r}" for column, names in named.items())
        raise DataError(f"{where}: {both}; write all pictures into one of them, in the order of their placeholders")
    return next(iter(named.values()), ())


def _join_parts(parts: list[Any], where: str) -> tuple[str, list[str], int]:
    """Content parts as one text, each picture a placeholder on a line of its own; how many of them name no picture."""
    texts, pictures, bare = [], [], 0
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in ("image_url", "input_image", "image"):
            url = _url(part)
            if url is not None and not isinstance(url, str):
                raise DataError(f"{where}: content part {str(part)[:60]}, expected the picture's path or data: URI as text")
            texts.append(IMAGE_PLACEHOLDER)
            pictures += [url] if url else []
            bare += not url
        else:
            raise DataError(f"{where}: content part {str(part)[:60]}, expected a text or an image_url")
    return "\n".join(texts), pictures, bare


def _url(part: Mapping[str, Any]) -> Any:
    """The path or URL that a part names, or None; anything else is no text."""
    holder = next((part[name] for name in ("image_url", "image", "url", "path") if part.get(name)), None)
    if holder is None and isinstance(part.get("source"), dict) and any(part["source"].values()):
        return _source_url(part["source"])
    return holder.get("url") if isinstance(holder, dict) else holder


def _source_url(source: Mapping[str, Any]) -> Any:
    """The URL of Anthropic's ``source``, a data: URI for its bytes; the source itself where it is another."""
    kind, data = source.get("media_type"), source.get("data")
    if source.get("type") == "base64" and isinstance(data, str) and isinstance(kind, str) and kind.startswith("image/"):
        return f"data:{kind};base64,{data}"
    return source.get("url") or source
