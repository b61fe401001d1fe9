"""Questions about videos: the frames as pictures, ``Frame-1: <image>`` and so on in front of the question, one tile each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from adapt.data.video import FRAME_TILES, frames_text
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.records import ChatRecord, Turn, split_meta
from converters.formats import frames, table


@dataclasses.dataclass(frozen=True)
class VideoSample:
    """One question of one video. ``pictures`` is empty: frames are read, and looked at, as the sample is converted."""

    id: str
    where: str
    split: str | None
    video: frames.Video
    question: str
    answer: str
    source: str
    pictures: tuple[str, ...] = ()


def convert(sample: VideoSample, context: frames.FrameReader, source: Source) -> list[ChatRecord]:
    """One record a question."""
    names = context.names(sample.video, sample.where)
    turns = (Turn("human", frames_text(len(names)) + sample.question), Turn("gpt", sample.answer))
    meta = split_meta(sample.split)
    return [ChatRecord(sample.id, turns, names, max_tiles=FRAME_TILES, task="video", source=sample.source, meta=meta)]


def read(source: Source) -> Reading:
    """A table with a video, a question and an answer in each row."""
    found = table.read_tables(source, picture_column=source.options["video"])
    samples = [row if isinstance(row, Rejected) else _sample(row, source.options, found.name) for row in found.rows]
    videos = (sample.video for sample in samples if not isinstance(sample, Rejected))
    reader = frames.frame_reader(source, found.image_root, videos)
    return Reading(reader.made or found.image_root, samples, context=reader, ignored=found.ignored)


def _sample(row: table.Row, options: Mapping[str, str], source: str) -> VideoSample | Rejected:
    question, answer = (_text(row.values, options[name]) for name in ("question", "answer"))
    for name, found in (("question", question), ("answer", answer), ("video", row.pictures)):
        if not found:
            return Rejected(row.where, f"column '{options[name]}' is empty, expected the {name}", row.split)
    return VideoSample(row.id, row.where, row.split, frames.Video(row.pictures), question, answer, source)


def _text(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)
    return "" if value is None or isinstance(value, dict | list) else table.text_of_cell(value).strip()


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
