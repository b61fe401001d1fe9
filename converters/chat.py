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
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, parse_record
from converters.formats import frames, llava

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")
# Fields of the row that this converter writes itself; any other is kept as it was.
_REWRITTEN = frozenset(
    {
        "id", "image", "images", "width", "height", "width_list", "height_list", "video", "videos", "clip", "conversations",
        "messages",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ChatSample:
    """One conversation, already in the shape of a record; frames of its video are read as it is converted."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    record: ChatRecord
    video: frames.Video | None


def read(source: Source) -> Reading:
    """The conversations of a file, in its order."""
    places = list(llava.read_rows(source.input))
    root = source.images or source.input.parent
    copies = any(_holds_bytes(row) for _, row in places)
    samples = [_sample(row, where, number, copies, source) for number, (where, row) in enumerate(places, start=1)]
    videos = (sample.video for sample in samples if isinstance(sample, ChatSample) and sample.video)
    reader = frames.frame_reader(source, root, videos)
    made_root = source.made if copies and source.made is not None else None
    return Reading(made_root or root, samples, context=dataclasses.replace(reader, made=made_root))


def convert(sample: ChatSample, context: frames.FrameReader, source: Source) -> list[ChatRecord]:
    """The record that the reader made, with the frames of its video."""
    if sample.video is None:
        return [sample.record]
    names = context.names(sample.video, sample.where)
    turns = _with_frames(sample.record.turns, len(names), sample.where)
    return [dataclasses.replace(sample.record, turns=turns, images=names, max_tiles=FRAME_TILES)]


def _sample(row: Any, where: str, number: int, copies: bool, source: Source) -> ChatSample | Rejected:
    try:
        if isinstance(row, DataError):
            raise row
        conversation = llava.parse_conversation(row, where)
        pictures = tuple(_picture(name, where, copies, source) for name in conversation.pictures)
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
        if conversation.video is None and record.turns[record.turns[0].role == "system"].value.startswith(VIDEO_PLACEHOLDER):
            raise DataError(f"{where}: {VIDEO_PLACEHOLDER} without a 'video'")
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), _split(row))
    return ChatSample(record.id, where, record.split, pictures, record, conversation.video)


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


def _with_frames(turns: tuple[Turn, ...], count: int, where: str) -> tuple[Turn, ...]:
    """The frames in the place of <video>, which stands in the first question, or in front of it."""
    first = next(place for place, turn in enumerate(turns) if turn.role == "human")
    places = [place for place, turn in enumerate(turns) for _ in range(turn.value.count(VIDEO_PLACEHOLDER))]
    if places not in ([], [first]):
        raise DataError(
            f"{where}: {len(places)} {VIDEO_PLACEHOLDER} placeholder(s) for one video; expected one, in the first question"
        )
    before, _, after = turns[first].value.rpartition(VIDEO_PLACEHOLDER)
    shown = Turn("human", before + frames_text(count) + after.removeprefix("\n"))
    return (*turns[:first], shown, *turns[first + 1 :])


def _holds_bytes(row: Any) -> bool:
    """Whether pictures of the row must be made: embedded ones, and the frames of a video file."""
    if isinstance(row, DataError):
        return False
    try:
        found = llava.parse_conversation(row, "")
    except DataError:
        return False  # said where the row is converted
    return bool(found.video and found.video.is_file) or any(_DATA_URI.match(name) for name in found.pictures)


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
    layout="a .json list or .jsonl file with conversations (from, value) and image or video, or messages (role, content with "
    "image_url)",
    unit="conversation",
    read=read,
    convert=convert,
    options=(
        Option("ids", "keep the rows' ids, or number the rows (LLaVA mixtures repeat ids)", "keep", ("keep", "number")),
        frames.OPTION,
    ),
    example="adapt convert --task chat --input llava.json --images pictures --output general.jsonl",
)
