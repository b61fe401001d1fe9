"""Questions about videos: the frames as pictures, ``Frame-1: <image>`` and so on in front of the question, one tile each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from adapt.data.video import FRAME_TILES, frames_text
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError
from adapt.records import ChatRecord, Turn
from converters.formats import frames, table


@dataclasses.dataclass(frozen=True)
class VideoSample:
    """One question of one video, its frames chosen."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    question: str
    answer: str
    source: str


def convert(sample: VideoSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a question."""
    turns = (Turn("human", frames_text(len(sample.pictures)) + sample.question), Turn("gpt", sample.answer))
    meta = {} if sample.split is None else {"split": sample.split}
    return [ChatRecord(sample.id, turns, sample.pictures, max_tiles=FRAME_TILES, task="video", source=sample.source, meta=meta)]


def read(source: Source) -> Reading:
    """A table with a video, a question and an answer in each row."""
    found = table.read_tables(source, picture_column=source.options["video"])
    rows = list(found.rows)
    copies = any(not isinstance(row, Rejected) and frames.needs_decoding(row.pictures) for row in rows)
    reader = frames.FrameReader(source, found.image_root, copies=copies)
    samples = [row if isinstance(row, Rejected) else _sample(row, source.options, found.name, reader) for row in rows]
    root = source.made if copies and source.made is not None else found.image_root
    return Reading(root, samples)


def _sample(row: table.Row, options: Mapping[str, str], source: str, reader: frames.FrameReader) -> VideoSample | Rejected:
    texts = {name: _text(row.values, options[name]) for name in ("question", "answer")}
    for name, text in texts.items():
        if not text:
            return Rejected(row.where, f"column '{options[name]}' is empty, expected the {name}", row.split)
    if not row.pictures:
        return Rejected(row.where, f"column '{options['video']}' is empty, expected a video", row.split)
    try:
        names = reader.names(row.pictures, row.where)
    except DataError as error:
        return Rejected(row.where, str(error).removeprefix(f"{row.where}: "), row.split)
    return VideoSample(row.id, row.where, row.split, names, texts["question"], texts["answer"], source)


def _text(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()


TASK = Task(
    name="video",
    summary="questions about videos, as frames of one tile each",
    layout="a table (csv, tsv, json, jsonl, parquet, or a folder of them named by split) with columns video, question, answer; "
    "a video is a file, a folder of frames or a list of frames",
    unit="question",
    read=read,
    convert=convert,
    options=(
        Option("video", "the column of the video", "video"),
        Option("question", "the column of the question", "question"),
        Option("answer", "the column of the answer", "answer"),
        Option("id", "the column of the id (default: counted)"),
        Option("split", "the column of the split", "split"),
        frames.OPTION,
    ),
    example="adapt convert --task video --input clips.csv --images videos --output clips.jsonl",
)
