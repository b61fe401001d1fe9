"""GeoChat: conversations about aerial pictures whose boxes are turned and count in hundredths of the picture.

Sources: github.com/mbzuai-oryx/GeoChat (``geochat_demo.py``, ``geochat/eval/batch_geochat_*.py``), arXiv 2311.15826; data
MBZUAI/GeoChat_Instruct (about 309,000 rows, all for training) and MBZUAI/GeoChat-Bench (``*.jsonl``, test), both Apache-2.0
on the hub; the pictures come from other sets (DOTA, DIOR, FAIR1M, NWPU-RESISC45, RSVQA, FloodNet) with licences of their own.

``GeoChat_Instruct.json`` is a LLaVA list. A box is ``{<x1><y1><x2><y2>|<angle>}``: corners before turning, whole hundredths,
and degrees about the centre; several are joined by ``<delim>`` or by nothing. The turn happens in pixels, so a picture that
is not square matters. The text gets the upright box around the turned one, in ours (0..1000), and all five numbers stay in
``meta.rotated``, in the order of the conversation. The sign of the angle differs between two functions of GeoChat's own code;
the enclosing box is the same for both, which is why no corners are made up here. Small objects may have boxes without width or
height, since a hundredth is as fine as the set goes: such a side is read as a whole hundredth about its place.

``<p>noun</p>`` becomes ``<ref>noun</ref>``; an answer to ``[refer]`` that is boxes alone begins with the question's noun.
Task tags become words, since a model that is not GeoChat does not know them: ``[refer]`` goes (the tags of ours say it),
``[identify]`` in front of a bare box becomes the published question of region perception (arXiv 2410.16261, section 3.3),
``[grounding]`` the sentence MARK at the end. ``--option tags=keep`` leaves them. A file of GeoChat-Bench is read by its rows:
questions with answers (scenes, VQA), ``question`` with corners in pixels (unverified: a scale of its own would be rejected as
lying outside), region captions, descriptions. LRBEN and HRBEN hold no answers; they are in RSVQA's own files, which ``--task
rsvqa`` reads.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt import boxes, safe
from adapt.boxes import Box
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn
from converters.formats import llava, table
from converters.formats.jsonfiles import text_of
from converters.objects import enclosing, plain, to_number, written

INSTRUCT = "GeoChat_Instruct.json"
MARK = "Mark each object that you name with its box."
WHAT_IS_HERE = "What object is in this location"
FULL_SCALE = 100
# Possessive, where a long run of blanks in a hostile row could otherwise cost quadratic time.
_BOX = r"\{(?:\s*+<\s*+\d{1,9}\s*+>){4}\s*+(?:\|\s*+<\s*+-?\d{1,9}\s*+>\s*+)?\}"
_BOXES = rf"(?P<boxes>{_BOX}(?:\s*+(?:<delim>\s*+)?{_BOX})*+)"
_GROUP = re.compile(rf"(?:<p>(?P<noun>[^<>{{}}]*+)</p>\s*+)?{_BOXES}|<p>(?P<alone>[^<>{{}}]*+)</p>")
_ONE = re.compile(_BOX)
_NUMBER = re.compile(r"-?\d+")
_TAG = re.compile(r"\[(refer|grounding|identify)\]")
_LEFT_OVER = re.compile(r"</?p>|<delim>|\{\s*+<")
Rotated = tuple[int, int, int, int, int]


@dataclasses.dataclass(frozen=True)
class GeoChatSample:
    """A conversation in GeoChat's own text; ``truth_px`` are the corners of its answer's objects where a file gives those."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    turns: tuple[Turn, ...]
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    truth_px: tuple[tuple[tuple[float, float], ...], ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()


def upright(rotated: Rotated, size: tuple[int, int]) -> Box:
    """The upright box, in pixels, around a box of hundredths that is turned about its centre in a picture of ``size``.

    A side that rounding to hundredths left without length is one hundredth long.
    """
    x1, y1, x2, y2, angle = rotated
    scale_x, scale_y = size[0] / FULL_SCALE, size[1] / FULL_SCALE
    width, height = max(abs(x2 - x1), 1) * scale_x, max(abs(y2 - y1), 1) * scale_y
    cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    half_x, half_y = (width * cosine + height * sine) / 2, (width * sine + height * cosine) / 2
    x, y = (x1 + x2) / 2 * scale_x, (y1 + y2) / 2 * scale_y
    return x - half_x, y - half_y, x + half_x, y + half_y


def find_rotated(text: str, where: str) -> list[Rotated]:
    """The boxes of a text in their order; one without an angle has 0. Raises DataError for numbers beyond 0..100."""
    found: list[Rotated] = []
    for match in _ONE.finditer(text):
        x1, y1, x2, y2, *angle = (int(number) for number in _NUMBER.findall(match[0]))
        if max(x1, y1, x2, y2) > FULL_SCALE:
            raise DataError(f"{where}: the box {match[0]} goes beyond {FULL_SCALE}; expected hundredths of the picture")
        found.append((x1, y1, x2, y2, angle[0] if angle else 0))
    return found


def to_tagged(text: str, size: tuple[int, int], where: str, noun: str | None = None) -> str:
    """GeoChat's text with our boxes and names; boxes alone get ``noun`` as their name.

    Raises DataError for what looks like a box or a tag of GeoChat's and cannot be read.
    """

    def replace(match: re.Match[str]) -> str:
        if match["boxes"] is None:
            return f"<ref>{match['alone'].strip()}</ref>"
        name = match["noun"].strip() if match["noun"] is not None else None
        px = [_cut(upright(each, size), size) for each in find_rotated(match["boxes"], where)]
        return boxes.format_boxes(name or alone, px, size)

    whole = _GROUP.fullmatch(text.strip())
    alone = noun if whole is not None and whole["noun"] is None and whole["alone"] is None else None
    tagged = _GROUP.sub(replace, text)
    if left := _LEFT_OVER.search(tagged):
        place = tagged[max(left.start() - 20, 0) : left.start() + 40]
        raise DataError(f"{where}: cannot read {place!r}; expected <p>noun</p> and {{<x1><y1><x2><y2>|<angle>}}")
    return tagged


def _cut(box: Box, size: tuple[int, int]) -> Box:
    """The part of a box inside the picture; turning may take its corners over the edge, its centre never."""
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(size[0])), min(box[3], float(size[1]))


def convert(sample: GeoChatSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a conversation."""
    size = sample.sizes[0]
    turns: list[Turn] = []
    kind, noun = "chat", None
    for turn in sample.turns:
        if turn.role == "human":
            kind, noun = _kind(turn.value), _noun(turn.value)
            text = to_tagged(turn.value, size, sample.where)
            turns.append(Turn(turn.role, text if source.options["tags"] == "keep" else _in_words(text)))
        else:
            text = to_tagged(turn.value, size, sample.where, noun if kind == "refer" else None)
            turns.append(Turn(turn.role, text))
    meta = {"split": sample.split} | dict(sample.meta) | {"kind": kind}
    answer_px = [_cut(upright(each, size), size) for each in find_rotated(sample.turns[-1].value, sample.where)]
    if sample.truth_px:
        answer_px = [_inside(enclosing(points), size, sample.where) for points in sample.truth_px]
        turns[-1] = Turn("gpt", boxes.format_boxes(noun, answer_px, size))
        meta["polygons_px"] = [[[plain(x), plain(y)] for x, y in points] for points in sample.truth_px]
    if answer_px:
        meta["boxes_px"] = [[plain(value) for value in box] for box in answer_px]
        meta |= {"name": noun} if noun else {}
    if rotated := [list(each) for turn in sample.turns for each in find_rotated(turn.value, sample.where)]:
        meta["rotated"] = rotated
    return [ChatRecord(sample.id, tuple(turns), sample.pictures, task="geochat", source="geochat", meta=meta)]


def _inside(box: Box, size: tuple[int, int], where: str) -> Box:
    cut = _cut(box, size)
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise DataError(f"{where}: the box {written(box)} lies outside of the picture of {size[0]}x{size[1]}")
    return cut


def _kind(text: str) -> str:
    tag = _TAG.search(text)
    return tag[1] if tag else "chat"


def _noun(text: str) -> str | None:
    """The one noun that a question names, or None."""
    nouns = [noun.strip() for noun in re.findall(r"<p>([^<>{}]*)</p>", text)]
    return nouns[0] if len(nouns) == 1 and nouns[0] else None


def _in_words(text: str) -> str:
    """The question without GeoChat's task tag, and with what the tag means."""
    tag = _TAG.search(text)
    if tag is None:
        return text
    start = text[: tag.start()].rstrip()
    start += "\n" if start.endswith(IMAGE_PLACEHOLDER) else " " if start else ""
    rest = text[tag.end() :].strip()
    if tag[1] == "grounding":
        rest = f"{rest} {MARK}".strip()
    elif tag[1] == "identify" and rest.startswith("<box>") and rest.endswith("</box>"):
        rest = WHAT_IS_HERE + rest
    return start + rest


def read(source: Source) -> Reading:
    """The conversations of GeoChat_Instruct.json, or the rows of one file of GeoChat-Bench."""
    path = source.input / INSTRUCT if source.input.is_dir() else source.input
    if not path.is_file():
        raise UsageError(f"input '{source.input}': expected {INSTRUCT}, its folder, or a .jsonl file of GeoChat-Bench")
    bench = path.suffix.lower() == ".jsonl"
    root = source.images or path.parent
    return Reading(root, _samples(path, bench))


def _samples(path: Path, bench: bool) -> Iterator[GeoChatSample | Rejected]:
    split = "test" if bench else "train"
    rows = table.read_jsonl(path) if bench else table.read_json_list(path)
    for number, (where, row) in enumerate(rows, start=int(bench)):  # as each kind of file numbers its places
        try:
            if isinstance(row, DataError):
                raise row
            if not isinstance(row, Mapping):
                raise DataError(f"{where}: {str(row)[:40]!r}, expected an object")
            identifier = f"geochat-{path.stem}-{number}" if bench else f"geochat-{number}"
            yield (_bench_row if bench else _instruct_row)(row, where, identifier)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), split)


def _instruct_row(row: Mapping[str, Any], where: str, identifier: str) -> GeoChatSample:
    """A LLaVA row. Its own id is kept in meta: ids of several rows are equal."""
    found = llava.parse_conversation(row, where)
    if len(found.pictures) != 1:
        raise DataError(f"{where}: {len(found.pictures)} pictures, expected one")
    turns = list(found.turns)
    if not any(IMAGE_PLACEHOLDER in turn.value for turn in turns) and turns[0].role == "human":
        turns[0] = Turn("human", f"{IMAGE_PLACEHOLDER}\n{turns[0].value}")
    meta = {"id_original": row["id"]} if isinstance(row.get("id"), str | int) else {}
    return GeoChatSample(identifier, where, "train", found.pictures, tuple(turns), meta)


def _bench_row(row: Mapping[str, Any], where: str, identifier: str) -> GeoChatSample:
    """A row of GeoChat-Bench as a conversation of one question; see the module for the kinds."""
    picture = text_of(row, "image" if "image" in row else "image_id", where)
    if Path(picture).suffix.lower() not in safe.PICTURE_SUFFIXES:
        picture += ".png"
    meta = {name: row[name] for name in ("question_id", "category", "type", "dataset", "obj_ids", "size_group") if name in row}
    truth_px: tuple[tuple[tuple[float, float], ...], ...] = ()
    truth = row.get("ground_truth")
    if "description" in row:
        question, answer = "Describe the image in detail.", text_of(row, "description", where)
        question = f"[grounding] {question}" if _ONE.search(answer) else question
    elif "text" in row:
        if truth is None:
            raise DataError(f"{where}: no 'ground_truth'; answers of LRBEN and HRBEN are in RSVQA's files: use --task rsvqa")
        question = text_of(row, "text", where).replace(IMAGE_PLACEHOLDER, "").strip()
        answer = text_of(row, "ground_truth", where)
    elif _ONE.search(text_of(row, "question", where)):
        question = f"[identify] What is the object present at {text_of(row, 'question', where)}"
        answer = (
            truth[0] if isinstance(truth, list) and truth and isinstance(truth[0], str) else text_of(row, "ground_truth", where)
        )
    else:
        question = f"[refer] Give me the location of <p>{text_of(row, 'question', where)}</p>"
        answer = truth if isinstance(truth, str) else ""
        truth_px = () if isinstance(truth, str) else tuple(_polygons(truth, where))
        if not truth_px and not _ONE.search(answer):
            raise DataError(f"{where}: 'ground_truth' is {str(truth)[:40]!r}, expected boxes or corners")
    turns = (Turn("human", f"{IMAGE_PLACEHOLDER}\n{question}"), Turn("gpt", answer))
    return GeoChatSample(identifier, where, "test", (picture,), turns, meta, truth_px)


def _polygons(value: Any, where: str, depth: int = 0) -> Iterator[tuple[tuple[float, float], ...]]:
    """Corner lists, however deep they are nested: [[x, y], ...] or eight numbers in a row are one object."""
    if not isinstance(value, list) or depth > 4 or not value:
        raise DataError(f"{where}: 'ground_truth' is {str(value)[:40]!r}, expected boxes or corners")
    if all(not isinstance(each, list) for each in value):
        if len(value) != 8:
            raise DataError(f"{where}: {len(value)} numbers for an object, expected 8: x and y of four corners")
        numbers = [to_number(each, f"{where}: a corner") for each in value]
        yield tuple(zip(numbers[::2], numbers[1::2], strict=True))
    elif all(isinstance(each, list) and len(each) == 2 and not isinstance(each[0], list) for each in value):
        yield tuple((to_number(x, f"{where}: a corner"), to_number(y, f"{where}: a corner")) for x, y in value)
    else:
        for each in value:
            yield from _polygons(each, where, depth + 1)


TASK = Task(
    name="geochat",
    summary="GeoChat's conversations about aerial pictures; its turned boxes become ours",
    layout=f"{INSTRUCT}, or a .jsonl file of GeoChat-Bench; pictures below --images",
    unit="conversation",
    licence="Apache-2.0; the pictures have licences of their own",
    read=read,
    convert=convert,
    options=(Option("tags", "turn [refer], [grounding] and [identify] into words, or keep them", "words", ("words", "keep")),),
    example=f"adapt convert --task geochat --input {INSTRUCT} --images final_images_llava --output geochat.jsonl",
)
