"""BDD-X in DriveGPT4's form: clips of driving, what the vehicle does, why, and its speed and turning angle.

Sources: github.com/JinkyuKimUCB/BDD-X-dataset (6,970 videos of about 40 s, 26K activities; 5,597 / 717 / 656 videos to train,
validate and test); DriveGPT4 (arXiv 2310.01412), whose instruction files are LLaVA chats with ``<video>``: the current action,
its justification, and the control signals of the next frame as text. Mini-InternVL asks four questions a clip (arXiv
2410.16261, 4.2.2). The videos may not be passed on.

Layout: a .json list, or a folder of them named by split, of {id, video, conversations: [human, gpt, ...]}. Each question of a
clip becomes a record with the clip's frames. What a question asks for is told by its answer and its words: an answer of
numbers is a signal, a question for reasons a justification. How the released files word the signals is not known here, so
every form of one or two numbers is taken: speed comes first where nothing says otherwise.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

from adapt.data.video import FRAME_TILES, VIDEO_PLACEHOLDER, frames_text
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord, Turn, split_meta
from converters.formats import frames, imagefolder, llava, table
from converters.formats.pictures import split_in

DESCRIPTION, JUSTIFICATION, SPEED, ANGLE, SIGNALS, OTHER = "description", "justification", "speed", "angle", "signals", "other"
_NUMBER = re.compile(r"[-+]?\d++(?:\.\d++)?")
# Words that may stand beside the numbers of a signal; any other makes the answer a sentence.
_SIGNAL_WORDS = {
    "the", "is", "of", "in", "be", "will", "and", "next", "frame", "vehicle", "m", "s", "degree", "degrees",
    "speed", "velocity", "turning", "turn", "steering", "course", "angle",
}  # fmt: skip
_SAYS_ANGLE = re.compile(r"\bangle|\bcourse\b|\bsteering\b", re.IGNORECASE)
_SAYS_SPEED = re.compile(r"\bspeed\b|\bvelocity\b", re.IGNORECASE)
_ASKS_WHY = re.compile(
    r"\bwhy\b|\breasons?\b|\brationale\b|\bcauses?\b|\bfactors\b|\bprompted\b|\bcircumstances\b|\bexplain\b|\bjustif|"
    r"\bdriving the vehicle to\b",
    re.IGNORECASE,
)
_ASKS_WHAT = re.compile(
    r"\baction\b|\bdoing\b|\bactivity\b|\bhappening\b|\bengaged\b|\bbehav|\binvolved\b|\bstate\b", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class ClipSample:
    """A clip, its system message and its questions, (question, answer) each. Frames are read on converting."""

    id: str
    where: str
    split: str | None
    video: frames.Video
    system: str
    asked: tuple[tuple[str, str], ...]
    pictures: tuple[str, ...] = ()


def read(source: Source) -> Reading:
    """The clips of every file, in its order."""
    paths = _files(source)
    root = source.images or (source.input if source.input.is_dir() else source.input.parent)
    samples = [sample for path in paths for sample in _read_file(path, source, is_alone=len(paths) == 1)]
    videos = (sample.video for sample in samples if isinstance(sample, ClipSample))
    reader = frames.frame_reader(source, root, videos)
    return Reading(reader.made or root, samples, context=reader)


def convert(sample: ClipSample, context: frames.FrameReader, source: Source) -> list[ChatRecord]:
    """One record a question, all with the same frames in front."""
    names = context.names(sample.video, sample.where)
    shown = frames_text(len(names))
    records = []
    for number, (question, answer) in enumerate(sample.asked, start=1):
        found = describe(question, answer, is_first=number == 1)
        meta = split_meta(sample.split) | {"clip": sample.id} | found
        system = (Turn("system", sample.system),) if sample.system else ()
        turns = (*system, Turn("human", shown + question), Turn("gpt", answer))
        identifier = f"{sample.id}-{number}"
        records.append(ChatRecord(identifier, turns, names, max_tiles=FRAME_TILES, task="bddx", source="bddx", meta=meta))
    return records


def describe(question: str, answer: str, *, is_first: bool = False) -> dict[str, Any]:
    """What a question asks for, ``kind``, and for signals their numbers: ``speed`` in m/s, ``angle`` in degrees."""
    numbers = [float(text) for text in _NUMBER.findall(answer)]
    words = {word.lower() for word in re.findall(r"[A-Za-z]+", answer)}
    last = last_sentence(question)
    if len(numbers) in (1, 2) and words <= _SIGNAL_WORDS:
        return read_signals(numbers, answer, last)
    if _ASKS_WHY.search(last):
        return {"kind": JUSTIFICATION}
    return {"kind": DESCRIPTION if is_first or _ASKS_WHAT.search(last) else OTHER}


def last_sentence(question: str) -> str:
    """What is asked, without what is told before it."""
    return re.split(r"[.?:;]\s+|\n", question.strip())[-1]


def read_signals(numbers: list[float], answer: str, asked: str) -> dict[str, Any]:
    """By the words of the answer, else of what is asked."""
    text = answer if _SAYS_ANGLE.search(answer) or _SAYS_SPEED.search(answer) else asked
    angle, speed = _SAYS_ANGLE.search(text), _SAYS_SPEED.search(text)
    if len(numbers) == 2:
        angle_first = bool(angle and speed and angle.start() < speed.start())
        return {"kind": SIGNALS, "speed": numbers[angle_first], "angle": numbers[not angle_first]}
    if angle and not speed:
        return {"kind": ANGLE, "angle": numbers[0]}
    return {"kind": SPEED, "speed": numbers[0]} if speed and not angle else {"kind": OTHER}


def _files(source: Source) -> list[Path]:
    if source.input.is_file():
        return [source.input]
    own = imagefolder.own_outputs(source.made)
    found = [path for path in sorted(source.input.iterdir()) if path.suffix.lower() in (".json", ".jsonl") and path.is_file()]
    found = [path for path in found if path.resolve() not in own]
    if not found:
        raise UsageError(f"input '{source.input}': no .json or .jsonl file of conversations in it")
    return found


def _read_file(path: Path, source: Source, *, is_alone: bool) -> list[ClipSample | Rejected]:
    """The clips of a file; of several files one that cannot be read is a rejection."""
    split = split_in(path.stem)
    try:
        rows = list(table.read_jsonl(path) if path.suffix.lower() == ".jsonl" else table.read_json_list(path))
    except DataError as error:
        if is_alone:
            raise
        return [Rejected(path.name, str(error).removeprefix(f"{path}: "), split)]
    return [_sample(row, where, number, split, source) for number, (where, row) in enumerate(rows, start=1)]


def _sample(row: Any, where: str, number: int, split: str | None, source: Source) -> ClipSample | Rejected:
    try:
        if isinstance(row, DataError):
            raise row
        found = llava.parse_conversation(row, where)
        if found.video is None:
            raise DataError(f"{where}: no 'video'; expected the clip's file, folder or list of frames")
        identifier = row.get("id")
        if source.options["ids"] == "number" or identifier in (None, ""):
            identifier = f"bddx-{split}-{number}" if split else f"bddx-{number}"
        if not isinstance(identifier, str | int) or isinstance(identifier, bool):
            raise DataError(f"{where}: 'id' is {str(identifier)[:40]!r}, expected a string")
        system = found.turns[0].value if found.turns[0].role == "system" else ""
        turns = found.turns[1:] if system else found.turns
        return ClipSample(str(identifier), where, split, found.video, system, _asked(turns, where))
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), split)


def _asked(turns: tuple[Turn, ...], where: str) -> tuple[tuple[str, str], ...]:
    """(question, answer) pairs, the placeholder of the video left out: frames stand in front of every question."""
    if not turns or len(turns) % 2 or any(turn.role != ("human", "gpt")[place % 2] for place, turn in enumerate(turns)):
        raise DataError(
            f"{where}: messages come from {', '.join(turn.role for turn in turns)[:60]}; expected human and gpt in turn"
        )
    pairs = []
    for question, answer in ((turn.value, reply.value) for turn, reply in zip(turns[::2], turns[1::2], strict=True)):
        question = question.replace(VIDEO_PLACEHOLDER, "").strip()
        if not question or not answer.strip():
            raise DataError(f"{where}: {'an answer' if question else 'a question'} is empty")
        pairs.append((question, answer.strip()))
    return tuple(pairs)


TASK = Task(
    name="bddx",
    summary="BDD-X clips as DriveGPT4 asks about them: what the vehicle does, why, its speed and turning angle",
    layout="a .json list of chats with 'video' and <video> (or a folder of them named by split); a video is a file, a "
    "folder of frames or a list of frames",
    unit="clip",
    licence="videos may not be passed on",
    read=read,
    convert=convert,
    options=(
        Option("ids", "keep the rows' ids, or number the rows (some files repeat ids)", "keep", ("keep", "number")),
        frames.OPTION,
    ),
    example="adapt convert --task bddx --input BDD_X_training.json --images clips --output bddx.jsonl",
)
