"""Chat data of any topic: LLaVA, ShareGPT, InternVL and OpenAI conversations become checked chat JSONL.

A row with one picture and no ``<image>`` gets it in front of its first question, as InternVL's own reader does; any other
disagreement between placeholders and pictures rejects the row (the LLaVA mixture is said to hold such rows). ``<video>``
becomes the frames of the row's video, as ``Frame-1: <image>`` and so on. Boxes become tags of 0..1000; see chat_boxes.py.

The file is read twice, line by line: first those lines that may hold boxes, embedded pictures or videos, for what must be
known of the whole file; then all of them. Nothing of a row is kept, so JSONL and tables may be larger
than memory; a JSON list is read whole.
"""

import base64
import binascii
import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from adapt import made, safe
from adapt.boxes import PERCENT
from adapt.data.video import FRAME_TILES, VIDEO_PLACEHOLDER, frames_text
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError
from adapt.progress import say
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, split_meta
from converters import chat_boxes
from converters.chat_boxes import Scale
from converters.formats import frames, llava, table

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")
# Fields of the row that this converter writes itself; any other is kept as it was.
_REWRITTEN = frozenset(
    {
        "id", "image", "images", "width", "height", "width_list", "height_list", "video", "videos", "clip", "conversations",
        "messages", "texts", "system", "task", "source", "split", "meta", "max_tiles",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ChatSample:
    """One conversation, in the shape of a record; its boxes are placed and its video's frames read as it is converted.

    ``sizes`` are filled in with the decoded pictures' (width, height) before the sample is converted.
    """

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    record: ChatRecord
    video: frames.Video | None = None
    sizes: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Context:
    """What is known of the whole input: the scales of boxes by source (or one for all), and how frames are read."""

    scales: Mapping[str, Scale]
    scale: Scale
    reader: frames.FrameReader


@dataclasses.dataclass(frozen=True)
class Found:
    """What the first look at the input told."""

    copies: bool = False  # pictures must be made: embedded ones, or the frames of a video file
    video_file: frames.Video | None = None
    boxes: Mapping[str, chat_boxes.Seen] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Way:
    """How each row of the input is taken."""

    source: Source
    name: str
    copies: bool
    number_ids: bool
    split: str | None


def read(source: Source) -> Reading:
    """The conversations of an input, in its order."""
    rows = llava.open_rows(source)
    stated = chat_boxes.stated_scale(source.options)
    found = _look_through(rows, stated is None)
    padded = source.options["padded"] == "yes"
    scales = {name: chat_boxes.found_scale(seen, padded) for name, seen in found.boxes.items()}
    other = stated or (Scale(auto=True) if rows.suspects else chat_boxes.unknown_scale(padded))
    _tell_boxes(found, scales, padded, source)
    makes = found.copies or rows.made
    root = source.made if makes and source.made is not None else source.images or table.folder_of(source.input)
    reader = frames.frame_reader(
        source, source.images or table.folder_of(source.input), [found.video_file] if found.video_file else []
    )
    context = Context(scales, other, dataclasses.replace(reader, made=source.made if makes else None))
    way = _Way(source, rows.name, found.copies, source.options["ids"] == "number", rows.split)
    facts = {"box_scale": {name or "(all)": each.tagged for name, each in scales.items()}} if scales else {}
    return Reading(root, _samples(rows, way), context=context, facts=facts)


def convert(sample: ChatSample, context: Context, source: Source) -> list[ChatRecord]:
    """The record that the reader made, with its boxes in tags of 0..1000 and the frames of its video."""
    record = sample.record
    if sample.video is not None:
        names = context.reader.names(sample.video, sample.where)
        turns = _with_frames(record.turns, len(names), sample.where)
        return [dataclasses.replace(record, turns=turns, images=names, max_tiles=FRAME_TILES)]
    if not sample.pictures:
        return [record]
    scale = context.scales.get(record.source or "", context.scale)
    try:
        turns = _placed(record.turns, scale, sample.sizes)
    except DataError as error:
        raise DataError(f"{sample.where}: {error}") from error
    return [record if turns is record.turns else dataclasses.replace(record, turns=turns)]


def _look_through(rows: llava.Rows, boxes: bool) -> Found:
    """The first look, at the rows that may hold what must be known of the whole input."""
    copies, video_file = False, None
    seen: dict[str, chat_boxes.Seen] = collections.defaultdict(chat_boxes.Seen)
    for where, row in rows.suspects() if rows.suspects else ():
        try:
            found = llava.parse_conversation(row, where) if isinstance(row, dict) else None
        except DataError:
            continue  # said where the row is converted
        if found is None:
            continue
        if found.video and found.video.is_file:
            video_file = video_file or found.video
        copies = copies or bool(video_file) or any(_DATA_URI.match(name) for name in found.pictures)
        if boxes and (found.pictures or rows.made):
            for texts, tagged in chat_boxes.find_numbers(turn.value for turn in found.turns):
                seen[_source_name(row, rows.name)].add(texts, tagged, where)
    return Found(copies, video_file, dict(seen))


def _tell_boxes(found: Found, scales: Mapping[str, Scale], padded: bool, source: Source) -> None:
    """Say which boxes change their scale, and which numbers that may be boxes are left."""
    count = sum(found.boxes[name].tagged for name, scale in scales.items() if scale.tagged == PERCENT)
    if count:
        say(
            f"note: {source.input}: tagged boxes of 0-100: {count:,}, written as 0-1000; where they are of 0-1000 already: "
            "--option box_scale=thousand"
        )
    count = sum(seen.shares for seen in found.boxes.values())
    if count:
        first = next(seen.first_share for seen in found.boxes.values() if seen.shares)
        advice = "" if padded else "; LLaVA's own files count them from a padded square: --option padded=yes"
        say(f"note: {source.input}: boxes of 0-1: {count:,} (first: {first}), written as tags of 0-1000{advice}")
    count = sum(seen.plain for seen in found.boxes.values())
    if count:
        first = next(seen.first_plain for seen in found.boxes.values() if seen.plain)
        say(
            f"note: {source.input}: four numbers in brackets, not 0-1 and without <box> tags: {count:,} (first: {first}), left "
            "as written; where they are boxes, say their scale: --option box_scale=pixels, thousand or percent"
        )


def _samples(rows: llava.Rows, way: _Way) -> Iterator[ChatSample | Rejected]:
    for number, (where, row) in enumerate(rows.rows(), start=1):
        try:
            yield _sample(row, where, number, way)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), _split(row, way))


def _sample(row: Any, where: str, number: int, way: _Way) -> ChatSample:
    """One row. What records.check_row checks is left to it: every record is read back before its line is written."""
    if isinstance(row, DataError):
        raise row
    conversation = llava.parse_conversation(row, where)
    pictures = conversation.pictures and tuple(_picture(name, where, way) for name in conversation.pictures)
    identifier = "" if way.number_ids else row.get("id")
    if identifier is not None and (isinstance(identifier, bool) or not isinstance(identifier, (str, int))):
        raise DataError(f"{where}: 'id' is {str(identifier)[:60]}, expected a string")
    meta = row.get("meta") or {}
    if not isinstance(meta, dict):
        raise DataError(f"{where}: 'meta' is {str(meta)[:60]}, expected an object")
    split = _split(row, way)
    turns = _with_placeholder(conversation)
    if conversation.video is None and turns[0].role == "system" and len(turns) == 1:
        raise DataError(f"{where}: a system message alone; expected human and gpt in turn, ending with gpt")
    if conversation.video is None and turns[turns[0].role == "system"].value.startswith(VIDEO_PLACEHOLDER):
        raise DataError(f"{where}: {VIDEO_PLACEHOLDER} without a 'video'")
    record = ChatRecord(
        id=f"{way.name}-{number}" if identifier in ("", None) else str(identifier),
        turns=turns,
        images=pictures,
        max_tiles=row.get("max_tiles") or 0,
        task="chat",
        source=_source_name(row, way.name),
        meta=meta | split_meta(split),
        extra={name: value for name, value in row.items() if name not in _REWRITTEN},
    )
    return ChatSample(record.id, where, split, pictures, record, conversation.video)


def _source_name(row: Mapping[str, Any], name: str) -> str:
    source = row.get("source")
    return source if isinstance(source, str) else name


def _split(row: Any, way: _Way) -> str | None:
    """The split that the row states, else the one that its file is named for."""
    if isinstance(row, llava.RowFault):
        return row.split
    return (llava.stated_split(row) if isinstance(row, dict) else None) or way.split


def _with_placeholder(conversation: llava.Conversation) -> tuple[Turn, ...]:
    turns = conversation.turns
    if len(conversation.pictures) == 1 and not any(IMAGE_PLACEHOLDER in turn.value for turn in turns):
        first = next((place for place, turn in enumerate(turns) if turn.role == "human"), None)
        if first is not None:
            shown = Turn("human", f"{IMAGE_PLACEHOLDER}\n{turns[first].value}")
            return (*turns[:first], shown, *turns[first + 1 :])
    return turns


def _with_frames(turns: tuple[Turn, ...], count: int, where: str) -> tuple[Turn, ...]:
    """The frames in the place of <video>, which stands in the first question, or in front of it."""
    first = next((place for place, turn in enumerate(turns) if turn.role == "human"), None)
    places = [place for place, turn in enumerate(turns) for _ in range(turn.value.count(VIDEO_PLACEHOLDER))]
    if first is None or places not in ([], [first]):
        raise DataError(
            f"{where}: {len(places)} {VIDEO_PLACEHOLDER} placeholder(s) for one video; expected one, in the first question"
        )
    before, _, after = turns[first].value.rpartition(VIDEO_PLACEHOLDER)
    shown = Turn("human", before + frames_text(count) + after.removeprefix("\n"))
    return (*turns[:first], shown, *turns[first + 1 :])


def _placed(turns: tuple[Turn, ...], scale: Scale, sizes: tuple[tuple[int, int], ...]) -> tuple[Turn, ...]:
    texts = [chat_boxes.rewrite(turn.value, scale, sizes) for turn in turns]
    if all(text is turn.value for text, turn in zip(texts, turns, strict=True)):
        return turns
    return tuple(Turn(turn.role, text) for text, turn in zip(texts, turns, strict=True))


def _picture(name: str, where: str, way: _Way) -> str:
    """The picture's path below the root: as it stands, or where its bytes were written."""
    found = _DATA_URI.match(name)
    if name[:5].lower() == "file:":
        raise DataError(f"{where}: the picture is {name[:60]!r}, a URL; write its plain path below --images instead")
    if found is None and _URL.match(name):
        raise DataError(
            f"{where}: the picture is {name[:60]!r}; nothing is fetched: download it and give its path below --images"
        )
    if not way.copies or way.source.counting:
        return name
    source = way.source
    assert source.made is not None
    if found is None:  # one root serves all rows: beside embedded pictures, those in files are copied
        path = safe.inside(source.images or table.folder_of(source.input), name, where)
        return made.write_encoded(source.made, safe.read_bytes(path, safe.MAX_PICTURE_BYTES), where)
    try:
        content = base64.b64decode(name[found.end() :], validate=True)
    except binascii.Error as error:
        raise DataError(f"{where}: the embedded picture is not base64: {error}") from error
    return made.write_encoded(source.made, content, where)


TASK = Task(
    name="chat",
    summary="conversations about pictures or videos, or without any, from LLaVA, ShareGPT, InternVL or OpenAI files and tables",
    layout="a .json list, .jsonl file or table (parquet, a folder of them, hf:NAME or hf:NAME:SUBSET) with conversations "
    "(from, value) and image or video, messages (role, content with image_url), or texts (user, assistant) and images",
    unit="conversation",
    read=read,
    convert=convert,
    options=(
        Option("ids", "keep the rows' ids, or number the rows (LLaVA mixtures repeat ids)", "keep", ("keep", "number")),
        *chat_boxes.OPTIONS,
        frames.OPTION,
    ),
    example="adapt convert --task chat --input llava.json --images pictures --output general.jsonl",
)
