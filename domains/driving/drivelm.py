"""DriveLM-nuScenes: questions on perception, prediction, planning and behaviour about six cameras, and the way to a submission.

Source: github.com/OpenDriveLab/DriveLM (1de72a7) ``challenge/``. ``v1_1_train_nus.json`` has 4,072 key frames;
``v1_1_val_nus_q_only.json`` has no answers, and none were ever released. A row's id is ``{scene}_{frame}_{i}``, i running over
perception, prediction, planning and behavior. The challenge asks only some of the questions: test.json (``extract_data.py``:
tags 0 accuracy, 1 GPT, 2 language, 3 match), test_eval.json (``convert_data.py``: two kinds as multiple choice) and
test_llama.json (chat rows); all are read. A train file's own questions get the tags that ``extract_data.py`` gives, but for
what ``_challenge_tags`` names.

Objects are tags of pixels in one camera; here they become tags of the stitched picture (cameras.py), as in InternVL
(arXiv 2410.16261, 4.2.1). Answers that list the important objects carry a box behind each tag, as there; lists of traffic
elements, four plain numbers each in the source, are put into the same frame. What the file says is kept in ``meta``.
"""

import dataclasses
import json
import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from adapt import atomic, randomness, safe
from adapt.boxes import Box
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.evaluate.score import read_predictions
from adapt.progress import say
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, read_records
from adapt.show import counted
from converters import multiview
from converters.formats.pictures import split_in
from converters.multiview import MultiviewSample, Stitching
from converters.options import refuse_idle
from domains.driving import cameras
from domains.driving.cameras import to_camera, to_stitched

__all__ = ["TASK", "Team", "convert", "read", "to_answer", "to_camera", "to_stitched", "write_submission"]

KINDS = ("perception", "prediction", "planning", "behavior")
# The second sentence stands in arXiv 2410.16261, 4.2.1.
PROMPT = (
    "One picture of {count} cameras around the vehicle. {views}. Objects are encoded using <c, CAM, [cx,cy]>, where c is the "
    "identifier, CAM indicates the camera where the object's center point is situated, and x, y represent the horizontal and "
    "vertical coordinates of the center point of the 2D bounding box."
)
UNANSWERED = "(no answer was published)"
_LISTS_OBJECTS = "What are the important objects in the current scene?"
_LISTS_TRAFFIC = "Identify all the traffic elements in the front view"
_STATUS = "What is the moving status of object"
_CHOOSE = "Please select the correct answer from the following options:"
_PLANNING = ("What actions could the ego vehicle take", "lead to a collision", "safe actions")
STATUSES = ("Going ahead.", "Turn right.", "Turn left.", "Stopped.", "Back up.", "Reverse parking.", "Drive backward.")
_SPEEDS = ("driving slowly", "driving with normal speed", "driving fast", "driving very fast")
_STEERS = tuple(f"{how}steering to the {side}" for side in ("left", "right") for how in ("slightly ", ""))
BEHAVIOURS = tuple(
    f"The ego vehicle is {steer}. The ego vehicle is {speed}."
    for steer, speeds in [*((steer, _SPEEDS) for steer in _STEERS), ("going straight", ("not moving", *_SPEEDS))]
    for speed in speeds
)
QUESTIONS = Option("questions", "all of a file, or those that the challenge would ask", "all", ("all", "challenge"))
VAL_SHARE = Option("val_share", "the share of a train file's scenes that becomes the val split", "0")
TRAIN_FILES = ("v1_1_train_nus.json", "train_sample.json")
_FOLDERS = (".", "data", "QA_dataset_nus", "data/QA_dataset_nus", "challenge/data")


@dataclasses.dataclass(frozen=True)
class DrivingSample(MultiviewSample):
    """A question as the file has it; ``boxes_px`` are its frame's objects by tag, each in its own camera."""

    boxes_px: Mapping[str, Box] = dataclasses.field(default_factory=dict)


def read(source: Source) -> Reading:
    """The questions of one file, in its order."""
    path = _find_file(source.input)
    rig = dataclasses.replace(cameras.RIG, names_drawn=source.options["view_names"] == "drawn")
    document = safe.read_json(path)
    root = source.images or path.absolute().parent.parent
    reader = _File(path, root, source.options, _share(source.options["val_share"]))
    if reader.split != "train":
        refuse_idle(source.options, [VAL_SHARE], f"{path.name}, whose split is {reader.split}")
    samples: list[DrivingSample | Rejected | None]
    if isinstance(document, list):
        refuse_idle(source.options, [QUESTIONS], f"{path.name}, which holds the challenge's questions alone")
        samples = [_chat_row(row, number, reader) for number, row in enumerate(document)]
    elif isinstance(document, dict):
        samples = [sample for scene in document for sample in _scene(scene, document[scene], reader)]
    else:
        raise DataError(f"{path}: expected an object of scenes, or a list of chat rows")
    kept = [each for each in samples if each is not None]
    ignored = {"question that the challenge does not ask": len(samples) - len(kept)} if len(kept) < len(samples) else {}
    found = multiview.facts(rig) | {"tags": "thousandths of the stitched picture", "camera_size": list(cameras.VIEW_SIZE)}
    assert source.made is not None
    return Reading(
        source.made, kept, Stitching(rig, multiview.read_prompts(source.options), root), ignored, found, pictures_root=root
    )


def convert(sample: DrivingSample, context: Stitching, source: Source) -> list[ChatRecord]:
    """One record a question, in the frame of the stitched picture."""
    question, answer = to_stitched(sample.question), to_stitched(sample.answer)
    for text in (question, answer):
        if odd := cameras.odd_tag(text):
            raise DataError(
                f"{sample.where}: the tag '{odd[:60]}' is not <c1,CAMERA,x,y> of one of {', '.join(cameras.CAMERAS)}"
            )
    if source.options["boxes"] == "yes":
        answer = _with_boxes(sample, answer)
    sample = dataclasses.replace(sample, question=question, answer=answer)
    return [multiview.to_record(sample, context, source, task="drivelm")]


def _with_boxes(sample: DrivingSample, answer: str) -> str:
    if sample.question.startswith(_LISTS_OBJECTS):
        return cameras.add_boxes(answer, {to_stitched(tag): box for tag, box in sample.boxes_px.items()})
    if sample.question.startswith(_LISTS_TRAFFIC):
        return cameras.traffic_to_stitched(answer)
    return answer


@dataclasses.dataclass(frozen=True)
class _File:
    """What every row of a file is read with."""

    path: Path
    root: Path
    options: Mapping[str, str]
    val_share: float

    @property
    def split(self) -> str:
        """By the file's name: the challenge's test forms, the published validation questions, else train."""
        return split_in(self.path.stem) or "train"

    def split_of(self, scene: str) -> str:
        """The file's split; a drawn share of a train file's scenes is val. The draw has a seed of its own."""
        if self.split == "train" and randomness.uniforms(1, 0, "drivelm/val", scene)[0] < self.val_share:
            return "val"
        return self.split


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise UsageError(f"option val_share={text}: expected a share of the scenes from 0 to below 1, such as 0.1")
    return share


def _find_file(input: Path) -> Path:
    """The file itself, or the one train file of a folder."""
    if input.is_file():
        return input
    found = [input / folder / name for folder in _FOLDERS for name in TRAIN_FILES if (input / folder / name).is_file()]
    if len(found) != 1:
        listed = ", ".join(str(path.relative_to(input)) for path in found) or f"none of {', '.join(TRAIN_FILES)}"
        raise UsageError(f"input '{input}' holds {listed}; point --input at one JSON file")
    return found[0]


def _scene(scene: str, value: Any, reader: _File) -> Iterator[DrivingSample | Rejected | None]:
    frames = value.get("key_frames") if isinstance(value, dict) else None
    if not isinstance(frames, dict):
        yield Rejected(f"{reader.path.name}#{scene}", "the scene has no object 'key_frames'", reader.split_of(scene))
        return
    for frame, content in frames.items():
        yield from _frame(scene, frame, content, reader)


@dataclasses.dataclass(frozen=True)
class _Frame:
    """One key frame: what all its questions share. ``fault`` is why none of them can be asked."""

    scene: str
    frame: str
    where: str
    split: str
    views: tuple[tuple[str, str], ...] = ()
    boxes_px: Mapping[str, Box] = dataclasses.field(default_factory=dict)
    fault: str = ""


def _frame(scene: str, frame: str, content: Any, reader: _File) -> Iterator[DrivingSample | Rejected | None]:
    """The questions of a frame in the order of KINDS; None for one that the challenge does not ask."""
    where, split = f"{reader.path.name}#{scene}_{frame}", reader.split_of(scene)
    kinds = content.get("QA") if isinstance(content, dict) else None
    if not isinstance(kinds, dict) or not all(isinstance(rows, list) and kind in KINDS for kind, rows in kinds.items()):
        yield Rejected(where, f"'QA' is {str(kinds)[:40]}, expected an object of lists {', '.join(KINDS)}", split)
        return
    shared = _read_frame(_Frame(scene, frame, where, split), content, reader)
    rows = [(kind, row) for kind in KINDS for row in kinds.get(kind, [])]
    tags = _challenge_tags(kinds, content.get("key_object_infos"))
    if reader.options["questions"] == "challenge":
        every = len(rows)
        rows = _asked(rows, tags)
        yield from [None] * (every - len(rows))
    for number, (kind, row) in enumerate(rows):
        place = f"{where}_{number}"
        try:
            if shared.fault:
                raise DataError(shared.fault)
            meta = {"tag": _tag_of(row, tags, place), "kind": kind}
            yield _sample(shared, f"{scene}_{frame}_{number}", place, meta, _texts(row, place), reader)
        except DataError as error:
            yield Rejected(place, str(error).removeprefix(f"{place}: "), split)


def _asked(rows: Sequence[tuple[str, Any]], tags: Mapping[int, list[int]]) -> list[tuple[str, Any]]:
    """The rows that the challenge asks, in its order: the first of a frame decides which later ones are scored."""
    order = list(tags)
    tagged = [(kind, row) for kind, row in rows if isinstance(row, dict) and row.get("tag")]
    picked = [(kind, row) for kind, row in rows if id(row) in tags and "tag" not in row]
    return tagged + sorted(picked, key=lambda each: order.index(id(each[1])))


def _tag_of(row: Any, tags: Mapping[int, list[int]], where: str) -> list[int]:
    tag = row.get("tag", tags.get(id(row), [])) if isinstance(row, dict) else []
    if not isinstance(tag, list) or not all(type(each) is int and 0 <= each <= 3 for each in tag):
        raise DataError(f"{where}: 'tag' is {str(tag)[:40]}, expected a list of numbers from 0 to 3")
    return tag


def _read_frame(frame: _Frame, content: Mapping[str, Any], reader: _File) -> _Frame:
    try:
        views = _views(content.get("image_paths"), frame.where, reader)
        return dataclasses.replace(frame, views=views, boxes_px=_boxes(content.get("key_object_infos"), frame.where))
    except DataError as error:
        return dataclasses.replace(frame, fault=str(error).removeprefix(f"{frame.where}: "))


def _texts(row: Any, where: str) -> tuple[str, str]:
    if not isinstance(row, dict):
        raise DataError(f"{where}: {str(row)[:40]!r}, expected an object with 'Q' and 'A'")
    question, answer = row.get("Q"), row.get("A")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where}: 'Q' is {question!r:.40}, expected a question")
    if answer is not None and not isinstance(answer, str):
        raise DataError(f"{where}: 'A' is {answer!r:.40}, expected text")
    return question, answer or ""


def _sample(
    frame: _Frame, identifier: str, where: str, meta: Mapping[str, Any], texts: tuple[str, str], reader: _File
) -> DrivingSample:
    question, answer = texts
    if answer.strip() and reader.options["choices"] == "yes" and _CHOOSE not in question:
        question, answer = _as_choice(identifier, question, answer, str(meta["kind"]), where)
    meta = {
        "tag": meta["tag"], "scene": frame.scene, "frame": frame.frame, "kind": meta["kind"],
        "question_original": question, "answer_original": answer,
    }  # fmt: skip
    if not answer.strip():
        if reader.options["unanswered"] == "reject":
            raise DataError(
                f"{where}: it has no answer, so there is nothing to learn; --option unanswered=keep writes such questions with "
                f"'{UNANSWERED}', to be answered for a submission"
            )
        answer = UNANSWERED
    return DrivingSample(identifier, where, frame.split, frame.views, question, answer, "drivelm", meta, frame.boxes_px)


def _as_choice(identifier: str, question: str, answer: str, kind: str, where: str) -> tuple[str, str]:
    """A question on a moving status or the behaviour with four choices, as convert_data.py asks it, but drawn by its id."""
    pool = BEHAVIOURS if kind == "behavior" else STATUSES if _STATUS in question else ()
    if not pool:
        return question, answer
    if answer not in pool:
        raise DataError(f"{where}: the answer {answer[:60]!r} is none of the {len(pool)} to choose from, such as {pool[0]!r}")
    others = [each for each in pool if each != answer]
    drawn = [others[place] for place in randomness.permutation(len(others), 0, "drivelm/choices", identifier)[:3]]
    options = [answer, *drawn]
    order = randomness.permutation(4, 0, "drivelm/order", identifier)
    listed = " ".join(f"{letter}. {options[place]}" for letter, place in zip("ABCD", order, strict=True))
    return f"{question} {_CHOOSE} {listed}", "ABCD"[list(order).index(0)]


def _challenge_tags(kinds: Mapping[str, Any], objects: Any) -> dict[int, list[int]]:
    """Tags of the questions that extract_data.py picks, by the row's identity; {} where no objects are named.

    It differs on purpose in a question that is picked twice, such as a prediction that names every object and says "no": here
    it is one row with the tags of both ([3, 0]); there the last tag overwrites the first and the row is repeated, each time
    with [0]. Planning goes by ``_PLANNING``, there by the file; a question's words and an object's tag are compared here with
    their case, there without.
    """
    if not isinstance(objects, dict):
        return {}
    rows: dict[str, list[Mapping[str, Any]]] = {
        kind: [row for row in kinds.get(kind, []) if isinstance(row, dict) and isinstance(row.get("Q"), str)] for kind in KINDS
    }
    looks = [
        str(each.get("Visual_description", "")).split(".")[0].lower() for each in objects.values() if isinstance(each, dict)
    ]

    def first(kind: str, fits: Any) -> list[Mapping[str, Any]]:
        return [row for row in rows[kind] if fits(row["Q"], row["A"] if isinstance(row.get("A"), str) else "")][:1]

    picked = [(row, 2) for row in first("perception", lambda q, a: all(look in a.lower() for look in looks))]
    picked += [(row, 0) for row in first("perception", lambda q, a: _STATUS in q)]
    picked += [(row, 3) for row in first("prediction", lambda q, a: all(tag in a for tag in objects))]
    picked += [(row, 0) for row in first("prediction", lambda q, a: "yes" in a.lower() or "no" in a.lower())]
    picked += [(row, 1) for text in _PLANNING for row in first("planning", lambda q, a, text=text: text in q)]
    picked += [(row, 0) for row in rows["behavior"]]
    found: dict[int, list[int]] = {}
    for row, tag in picked:
        found.setdefault(id(row), []).append(tag)
    return found


def _boxes(infos: Any, where: str) -> dict[str, Box]:
    """Boxes by tag; the challenge's forms have none."""
    found: dict[str, Box] = {}
    for tag, info in infos.items() if isinstance(infos, dict) else ():
        box = info.get("2d_bbox") if isinstance(info, dict) else None
        if box is None:
            continue
        if not isinstance(box, list) or len(box) != 4 or not all(type(each) in (int, float) for each in box):
            raise DataError(f"{where}: '2d_bbox' of {tag[:40]} is {str(box)[:40]}, expected four numbers")
        x1, y1, x2, y2 = (float(each) for each in box)
        if x2 < x1 or y2 < y1:
            raise DataError(f"{where}: '2d_bbox' of {tag[:40]} is {box}, expected x1 <= x2 and y1 <= y2")
        found[tag] = (x1, y1, x2, y2)
    return found


def _views(paths: Any, where: str, reader: _File) -> tuple[tuple[str, str], ...]:
    if not isinstance(paths, dict) or not all(isinstance(path, str) for path in paths.values()):
        raise DataError(
            f"{where}: 'image_paths' is {str(paths)[:40]}, expected a path for each of {', '.join(cameras.CAMERAS)}"
        )
    return tuple((camera, _below_root(path, where, reader)) for camera, path in paths.items())


def _below_root(path: str, where: str, reader: _File) -> str:
    """A path of the file as one below the picture root.

    A leading ``../`` starts at the JSON's folder. The challenge's own files were moved after they were made, so where that
    is no file the path is looked for from ``nuscenes/`` or ``samples/`` on too. None of it may leave the root.
    """
    root, here = (Path(os.path.normpath(place.absolute())) for place in (reader.root, reader.path.parent))
    plain = PurePosixPath(path)
    if "\x00" in path or "\\" in path or plain.is_absolute() or len(path) > 1024:
        raise DataError(f"{where}: the path {path[:80]!r} is not a plain relative path")
    parts = [part for part in plain.parts if part != "."]
    while parts and parts[0] == "..":
        parts = parts[1:]
    tails = ["/".join(parts), *("/".join(parts[parts.index(name) :]) for name in ("nuscenes", "samples") if name in parts)]
    candidates = [here / path, *(base / tail for tail in tails for base in (root, here))]
    below = [Path(os.path.normpath(candidate)) for candidate in candidates]
    below = [candidate for candidate in below if candidate.is_relative_to(root)]
    if not below or ".." in parts:
        raise DataError(f"{where}: the path {path[:80]!r} leaves the picture root {reader.root}; give the root with --images")
    found = next((candidate for candidate in below if candidate.is_file()), below[0])
    return found.relative_to(root).as_posix()


def _chat_row(row: Any, number: int, reader: _File) -> DrivingSample | Rejected:
    """A row of test_llama.json: six paths and one question."""
    where = f"{reader.path.name}#{number}"
    try:
        turns = row.get("conversations") if isinstance(row, dict) else None
        identifier = row.get("id") if isinstance(row, dict) else None
        names = row.get("image") if isinstance(row, dict) else None
        if not isinstance(turns, list) or len(turns) != 2 or not all(isinstance(turn, dict) for turn in turns):
            raise DataError(f"{where}: {str(row)[:60]}, expected a chat row with 'id', 'image' and two 'conversations'")
        if not isinstance(identifier, str) or identifier.count("_") < 2:
            raise DataError(f"{where}: 'id' is {str(identifier)[:40]!r}, expected scene_frame_number")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{where}: 'image' is {str(names)[:40]}, expected a list of six paths")
        question, answer = _texts({"Q": turns[0].get("value"), "A": turns[1].get("value")}, where)
        views = tuple((_camera_of(name, where), _below_root(name, where, reader)) for name in names)
        if len({camera for camera, _ in views}) != len(views):
            raise DataError(f"{where}: two pictures of one camera: {', '.join(camera for camera, _ in views)}")
        scene, name, _ = identifier.split("_", 2)
        frame = _Frame(scene, name, where, reader.split_of(scene), views)
        texts = (question.replace(IMAGE_PLACEHOLDER, "").strip(), answer)
        return _sample(frame, identifier, where, {"tag": [], "kind": ""}, texts, reader)
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), reader.split)


def _camera_of(path: str, where: str) -> str:
    """By the folder's name."""
    found = re.search(r"(?:^|/)(CAM_[A-Z_]+)/[^/]*$", path)
    if found is None or found[1] not in cameras.CAMERAS:
        raise DataError(f"{where}: the path {path[:80]!r} lies in no folder of a camera ({', '.join(cameras.CAMERAS)})")
    return found[1]


@dataclasses.dataclass(frozen=True)
class Team:
    """Who submits; the challenge's form asks for all of it."""

    method: str
    team: str
    authors: Sequence[str]
    email: str
    institution: str
    country: str


def to_answer(text: str, question: str = "") -> str:
    """A model's answer in the challenge's form: tags in their cameras, no boxes, traffic elements in pixels."""
    found = to_camera(cameras.without_boxes(text))
    return cameras.traffic_to_camera(found) if question.startswith(_LISTS_TRAFFIC) else found


def write_submission(predictions: Path | str, references: Path | str, output: Path | str, team: Team) -> int:
    """Write the challenge's submission file for the answers of a model; returns the number of answers.

    ``predictions`` are JSONL rows {"id", "answer"}, ``references`` the chat JSONL that was asked. Raises DataError where a
    question has no answer: the challenge scores all or nothing.
    """
    answers = read_predictions(predictions).answers
    records = [record for record in read_records(references) if record.task == "drivelm"]
    missing = [record.id for record in records if not (answers.get(record.id) or "").strip()]
    if not records or missing:
        what = f"'{missing[0]}' of {len(missing):,} questions has no answer in {predictions}" if missing else "no drivelm rows"
        raise DataError(f"{references}: {what}; the challenge takes an answer to every question")
    results = []
    for record in records:
        question = str(record.meta["question_original"])
        answer = to_answer(str(answers[record.id]), question)
        results.append({"id": record.id, "question": f"{IMAGE_PLACEHOLDER}\n{question}", "answer": answer})
    document = dataclasses.asdict(team) | {"authors": list(team.authors), "results": results}
    atomic.write_text(Path(output), json.dumps(document, ensure_ascii=False, indent=4) + "\n")
    if unknown := len(answers) - len(records):
        say(f"{counted(unknown, 'answer')} without a question in {references}: left out")
    return len(results)


TASK = Task(
    name="drivelm",
    summary="DriveLM-nuScenes: questions about six cameras, stitched, objects as tags of the stitched picture",
    layout="v1_1_train_nus.json (or a folder with it), v1_1_val_nus_q_only.json, or the challenge's test.json, test_eval.json, "
    "test_llama.json; pictures nuscenes/samples/CAM_*/*.jpg",
    unit="question",
    licence="questions CC BY-NC-SA 4.0, pictures by nuScenes' terms: non-commercial",
    read=read,
    convert=convert,
    options=(
        multiview.VIEW_NAMES,
        dataclasses.replace(multiview.PROMPT_OPTION, default=PROMPT),
        Option("boxes", "boxes in answers that list objects, in the stitched picture's frame", "yes", ("yes", "no")),
        QUESTIONS,
        Option("choices", "ask for status and behaviour with four choices, as the challenge does", "no", ("yes", "no")),
        Option("unanswered", "reject questions without an answer, or keep them for a submission", "reject", ("reject", "keep")),
        VAL_SHARE,
    ),
    example="adapt convert --task drivelm --input data/v1_1_train_nus.json --output drivelm.jsonl",
)
