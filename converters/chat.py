"""Chat data of any topic: LLaVA, InternVL and OpenAI conversation files become checked chat JSONL.

A row with one picture and no ``<image>`` gets it in front of its first question, as InternVL's own reader does; any other
disagreement between placeholders and pictures rejects the row (the LLaVA mixture is said to hold such rows).
"""

import base64
import binascii
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from adapt import made, safe
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, parse_record
from converters.formats import llava

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")
# Fields of the row that this converter writes itself; any other is kept as it was.
_REWRITTEN = frozenset({"id", "image", "images", "width", "height", "width_list", "height_list", "conversations", "messages"})


@dataclasses.dataclass(frozen=True)
class ChatSample:
    """One conversation, already in the shape of a record."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    record: ChatRecord


def read(source: Source) -> Reading:
    """The conversations of a file, in its order."""
    places = list(llava.read_rows(source.input))
    embedded = any(_holds_data_uri(row) for _, row in places)
    root = source.images or source.input.parent
    if embedded and source.made is not None:
        root = source.made
    samples = [_sample(row, where, number, embedded, source) for number, (where, row) in enumerate(places, start=1)]
    return Reading(root, samples)


def convert(sample: ChatSample, context: None, source: Source) -> list[ChatRecord]:
    """The record that the reader made."""
    return [sample.record]


def _sample(row: Any, where: str, number: int, embedded: bool, source: Source) -> ChatSample | Rejected:
    try:
        if isinstance(row, DataError):
            raise row
        conversation = llava.parse_conversation(row, where)
        pictures = tuple(_picture(name, where, embedded, source) for name in conversation.pictures)
        identifier = row.get("id", "") if source.options["ids"] == "keep" else ""
        record = parse_record(
            {name: value for name, value in row.items() if name not in _REWRITTEN}
            | {
                "id": f"{source.input.stem}-{number}" if identifier in ("", None) else identifier,
                "image": list(pictures),
                "conversations": _with_placeholder(conversation),
                "task": "chat",
                "source": row.get("source") if isinstance(row.get("source"), str) else source.input.stem,
            },
            where,
        )
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), _split(row))
    return ChatSample(record.id, where, record.split, pictures, record)


def _split(row: Any) -> str | None:
    meta = row.get("meta") if isinstance(row, Mapping) else None
    split = meta.get("split") if isinstance(meta, dict) else None
    return split if isinstance(split, str) else None


def _with_placeholder(conversation: llava.Conversation) -> list[dict[str, str]]:
    turns = [{"from": role, "value": text} for role, text in conversation.turns]
    if len(conversation.pictures) == 1 and not any(IMAGE_PLACEHOLDER in turn["value"] for turn in turns):
        first = next((turn for turn in turns if turn["from"] == "human"), None)
        if first is not None:
            first["value"] = f"{IMAGE_PLACEHOLDER}\n{first['value']}"
    return turns


def _holds_data_uri(row: Any) -> bool:
    if isinstance(row, DataError):
        return False
    try:
        return any(_DATA_URI.match(name) for name in llava.parse_conversation(row, "").pictures)
    except DataError:
        return False


def _picture(name: str, where: str, embedded: bool, source: Source) -> str:
    """The picture's path below the root: as it stands, or where its bytes were written."""
    found = _DATA_URI.match(name)
    if found is None and _URL.match(name):
        raise DataError(
            f"{where}: the picture is {name[:60]!r}; nothing is fetched: download it and give its path below --images"
        )
    if not embedded:
        return name
    assert source.made is not None
    if found is None:  # one root serves all rows: beside embedded pictures, those in files are copied
        path = safe.inside(source.images or source.input.parent, name, where)
        return made.write_encoded(source.made, safe.read_bytes(path, safe.MAX_PICTURE_BYTES), where)
    try:
        content = base64.b64decode(name[found.end() :], validate=True)
    except binascii.Error as error:
        raise DataError(f"{where}: the embedded picture is not base64: {error}") from error
    return made.write_encoded(source.made, content, where)


TASK = Task(
    name="chat",
    summary="conversations about pictures, or without any, from LLaVA, InternVL or OpenAI files",
    layout="a .json list or .jsonl file with conversations (from, value) and image, or messages (role, content with image_url)",
    unit="conversation",
    read=read,
    convert=convert,
    options=(Option("ids", "keep the rows' ids, or number the rows (LLaVA mixtures repeat ids)", "keep", ("keep", "number")),),
    example="adapt convert --task chat --input llava.json --images pictures --output general.jsonl",
)
