"""Chat data of any topic: LLaVA, InternVL and OpenAI conversation files become checked chat JSONL.

A row with one picture and no ``<image>`` gets it in front of its first question, as InternVL's own reader does; any other
disagreement between placeholders and pictures rejects the row (the LLaVA mixture is said to hold such rows). ``<video>``
becomes the frames of the row's video, as ``Frame-1: <image>`` and so on.
"""

import base64
import binascii
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from adapt import made, safe
from adapt.data.video import FRAME_TILES, VIDEO_PLACEHOLDER, frames_text
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, parse_record
from converters.formats import frames, llava

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")
# Fields of the row that this converter writes itself; any other is kept as it was.
_REWRITTEN = frozenset(
    {
        "id", "image", "images", "width", "height", "width_list", "height_list", "video", "clip", "conversations", "messages",
    }
)  # fmt: skip


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
    copies = any(_holds_bytes(row) for _, row in places)
    root = source.images or source.input.parent
    reader = frames.FrameReader(source, root, copies=copies)
    samples = [_sample(row, where, number, copies, source, reader) for number, (where, row) in enumerate(places, start=1)]
    return Reading(source.made if copies and source.made is not None else root, samples)


def convert(sample: ChatSample, context: None, source: Source) -> list[ChatRecord]:
    """The record that the reader made."""
    return [sample.record]


def _sample(
    row: Any, where: str, number: int, copies: bool, source: Source, reader: frames.FrameReader
) -> ChatSample | Rejected:
    try:
        if isinstance(row, DataError):
            raise row
        conversation = llava.parse_conversation(row, where)
        pictures = tuple(_picture(name, where, copies, source) for name in conversation.pictures)
        bound = {}
        if conversation.video:
            pictures, bound = reader.names(conversation.video, where, conversation.clip), {"max_tiles": FRAME_TILES}
        identifier = row.get("id", "") if source.options["ids"] == "keep" else ""
        record = parse_record(
            {name: value for name, value in row.items() if name not in _REWRITTEN}
            | {
                "id": f"{source.input.stem}-{number}" if identifier in ("", None) else identifier,
                "image": list(pictures),
                "conversations": _with_frames(conversation, len(pictures), where)
                if conversation.video
                else _with_placeholder(conversation),
                "task": "chat",
                "source": row.get("source") if isinstance(row.get("source"), str) else source.input.stem,
            }
            | bound,
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


def _with_frames(conversation: llava.Conversation, count: int, where: str) -> list[dict[str, str]]:
    """The frames in the place of <video>, which stands in the first question, or in front of it."""
    turns = [{"from": role, "value": text} for role, text in conversation.turns]
    places = [turn for turn in turns for _ in range(turn["value"].count(VIDEO_PLACEHOLDER))]
    first = next((turn for turn in turns if turn["from"] == "human"), None)
    if first is None or places not in ([], [first]):
        raise DataError(
            f"{where}: {len(places)} {VIDEO_PLACEHOLDER} placeholder(s) for one video; expected one, in the first question"
        )
    before, _, after = first["value"].rpartition(VIDEO_PLACEHOLDER)
    first["value"] = before + frames_text(count) + after.removeprefix("\n")
    return turns


def _holds_bytes(row: Any) -> bool:
    """Whether pictures of the row must be made: embedded ones, and the frames of a video file."""
    if isinstance(row, DataError):
        return False
    try:
        found = llava.parse_conversation(row, "")
        return frames.needs_decoding(found.video) or any(_DATA_URI.match(name) for name in found.pictures)
    except DataError:
        return False


def _picture(name: str, where: str, copies: bool, source: Source) -> str:
    """The picture's path below the root: as it stands, or where its bytes were written."""
    found = _DATA_URI.match(name)
    if found is None and _URL.match(name):
        raise DataError(
            f"{where}: the picture is {name[:60]!r}; nothing is fetched: download it and give its path below --images"
        )
    if not copies:
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
    summary="conversations about pictures or videos, or without any, from LLaVA, InternVL or OpenAI files",
    layout="a .json list or .jsonl file with conversations (from, value) and image, or messages (role, content with image_url)",
    unit="conversation",
    read=read,
    convert=convert,
    options=(
        Option("ids", "keep the rows' ids, or number the rows (LLaVA mixtures repeat ids)", "keep", ("keep", "number")),
        frames.OPTION,
    ),
    example="adapt convert --task chat --input llava.json --images pictures --output general.jsonl",
)
