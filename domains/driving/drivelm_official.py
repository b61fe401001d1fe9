"""The files of the DriveLM challenge as references and predictions of a score.

Source: github.com/OpenDriveLab/DriveLM (1de72a7) ``challenge/``: test_eval.json holds scenes, key frames and their questions
with ``Q``, ``A`` and ``tag``; output.json is a list of rows with ``id`` and ``answer``, submission.json has it as ``results``.
An id is ``{scene}_{frame}_{i}``, i running over perception, prediction, planning and behavior.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.domain import OfficialFiles
from adapt.errors import DataError
from adapt.records import ChatRecord, Turn
from domains.driving.drivelm import KINDS

CAMERA = "camera"
_EXPECTED = (
    "beside the challenge's test_eval.json, expected its own forms in the cameras' pixels: output.json, a list of "
    '{"id", "answer"}, or submission.json, an object with these as "results"; answers to converted rows are scored against '
    "those: --references ROWS.jsonl, or made a submission.json by domains.driving.drivelm.write_submission"
)


def read_official(predictions: Path, references: Path) -> OfficialFiles | None:
    """References and answers of the challenge's own files, in its order; None where the references are chat JSONL.

    Raises DataError for files of another shape, for a question without an answer and for a second answer to one.
    """
    if references.suffix.lower() != ".json":
        return None
    answers, malformed = _read_answers(predictions)
    records = list(_records(references))
    untagged = [record.id for record in records if record.meta["tag"] is None]
    if untagged and len(untagged) == len(records):
        raise DataError(f"{references}: a training file, whose questions have no tags; give the challenge's test_eval.json")
    if untagged:
        raise DataError(f"{references}#{untagged[0]}: no 'tag', expected a list of numbers from 0 to 3; fetch the file again")
    return OfficialFiles(records, answers, malformed)


def _records(path: Path) -> Iterator[ChatRecord]:
    document = safe.read_json(path)
    if not isinstance(document, dict):
        found = "a JSON list, as test_llama.json and output.json are" if isinstance(document, list) else "no JSON object"
        raise DataError(f"{path}: {found}; expected the challenge's test_eval.json, an object of scenes with 'key_frames'")
    for scene, content in document.items():
        frames = content.get("key_frames") if isinstance(content, dict) else None
        if not isinstance(frames, dict):
            raise DataError(f"{path}#{scene[:60]}: no object 'key_frames'; expected the challenge's test_eval.json")
        for frame, value in frames.items():
            kinds = value.get("QA") if isinstance(value, dict) else None
            if not isinstance(kinds, dict) or not all(isinstance(rows, list) for rows in kinds.values()):
                raise DataError(f"{path}#{scene}_{frame}: no object 'QA' of lists {', '.join(KINDS)}")
            asked = [(kind, row) for kind in KINDS for row in kinds.get(kind, [])]
            for number, (kind, row) in enumerate(asked):
                yield _record(row, kind, scene, frame, number, path)


def _record(row: Any, kind: str, scene: str, frame: str, number: int, path: Path) -> ChatRecord:
    """A question as a record whose tags are still in the pixels of their cameras."""
    identifier = f"{scene}_{frame}_{number}"
    question, answer, tag = (row.get(key) for key in ("Q", "A", "tag")) if isinstance(row, dict) else (None, None, None)
    if not isinstance(question, str) or not isinstance(answer, str) or not answer:
        raise DataError(f"{path}#{identifier}: {str(row)[:60]}, expected a question 'Q' and its answer 'A'")
    meta = {
        "tag": tag, "scene": scene, "frame": frame, "kind": kind, "question_original": question, "answer_original": answer,
        "coordinates": CAMERA,
    }  # fmt: skip
    turns = (Turn("human", question), Turn("gpt", answer))
    return ChatRecord(identifier, turns, task="drivelm", source="drivelm", meta=meta)


def _holds_scenes(document: Any) -> bool:
    scenes = document.values() if isinstance(document, dict) else ()
    return any(isinstance(scene, dict) and "key_frames" in scene for scene in scenes)


def _read_answers(path: Path) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Answers by id; one that is neither text nor number is none, and malformed unless it is null."""
    try:
        document = safe.read_json(path)
    except DataError as error:
        if path.suffix.lower() == ".jsonl":
            raise DataError(f"{path}: answers as JSON lines; {_EXPECTED}") from error
        raise DataError(f"{error}; {_EXPECTED}") from error
    if _holds_scenes(document):
        raise DataError(
            f"{path}: the challenge's questions with their truth, not answers: --predictions and --references are swapped; "
            "give this one as --references"
        )
    rows = document.get("results") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        found = "an object without a list 'results'" if isinstance(document, dict) else "no list of answers"
        raise DataError(f"{path}: {found}; {_EXPECTED}")
    answers: dict[str, str | None] = {}
    malformed = []
    for number, row in enumerate(rows):
        identifier = row.get("id") if isinstance(row, dict) else None
        if not isinstance(identifier, str) or not identifier or "answer" not in row:
            raise DataError(f"{path}#{number}: {str(row)[:60]}, expected an answer {{'id', 'answer'}}")
        if identifier in answers:
            raise DataError(f"{path}#{number}: a second answer to '{identifier}'; keep one")
        answer = row.get("answer")
        is_text = isinstance(answer, str | int | float) and not isinstance(answer, bool)
        answers[identifier] = str(answer) if is_text else None
        malformed += [] if is_text or answer is None else [identifier]
    return answers, tuple(malformed)
