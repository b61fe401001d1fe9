"""Questions with their pictures, boxes drawn, the worst errors first. A page has at most PICTURE_BYTES of pictures."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import progress
from adapt.check.cards import ASKED, PREDICTED, STORED, TRUTH, Card, Shape, Stage, is_right, make_card
from adapt.check.thumbnails import Thumbnail, make_thumbnails
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord
from adapt.report.answers import AnsweredSet

WRONG_SHOTS, RIGHT_SHOTS, MOST_PICTURES = 12, 4, 6
MOST_GALLERIES = 12
PICTURE_BYTES = 6 * 2**20  # of JPEG in a page: 8 MiB as base64
ONE_PICTURE_BYTES = 40_000
MOST_CHARACTERS = 1200  # of a question or an answer
FOLDED_CHARACTERS = 300  # what is seen of a longer one before it is opened
MOST_SHAPES = 100  # of one picture
# Whose a box is, for its colour and its dashes: what the truth says, what the model says, what the question says.
CLASSES = {TRUTH: "truth", STORED: "truth", PREDICTED: "predicted", ASKED: "asked"}


@dataclasses.dataclass(frozen=True)
class Shot:
    """A question, what was expected, what each contender answered (name, answer, right?). ``card`` has the last's boxes."""

    card: Card
    root: Path
    question: str
    expected: str
    answers: tuple[tuple[str, str, bool | None], ...]

    @property
    def places(self) -> list[tuple[Path, str]]:
        """(root, path) of the pictures that are shown."""
        return [(self.root, stage.picture) for stage in self.card.stages[:MOST_PICTURES]]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Shots of one measurement; ``note`` says how many were wrong, or why there are none."""

    title: str
    note: str
    shots: tuple[Shot, ...]


def choose_shots(answered: AnsweredSet) -> Gallery:
    """The questions to show of a measurement: by the sum of their marks, the lowest first, and a few that all got right."""
    title = answered.measurement.title
    if answered.fault:
        return Gallery(title, f"No pictures: {answered.fault}.", ())
    sums = {record.id: _sum_of_marks(record, answered) for _, record in answered.records}
    wrong = [each for each in answered.records if sums[each[1].id] < len(answered.sheets)]
    right = [each for each in answered.records if sums[each[1].id] >= len(answered.sheets)]
    shown = [*_worst(wrong, sums), *_spread(right, RIGHT_SHOTS)]
    shots = tuple(_shot(where, record, answered) for where, record in shown)
    whose = "the model" if len(answered.sheets) == 1 else "at least one model"
    note = f"{len(wrong):,} of {len(answered.records):,} questions that {whose} got wrong or only partly right; "
    note += f"{len(shots)} shown, the worst first."
    if any(stage.shapes for shot in shots for stage in shot.card.stages):
        note += f" Drawn as predicted: the boxes of {answered.sheets[-1].name}."
    return Gallery(title, note, shots)


def _sum_of_marks(record: ChatRecord, answered: AnsweredSet) -> float:
    """Over the contenders; by the benchmark's own marks, and without one by whether words and boxes are the same."""
    return sum(
        float(is_right(record.answer, sheet.answers.get(record.id) or "", None) is True)
        if (mark := sheet.marks.get(record.id)) is None
        else mark
        for sheet in answered.sheets
    )


def _worst(records: Sequence[tuple[str, ChatRecord]], sums: Mapping[str, float]) -> list[tuple[str, ChatRecord]]:
    """WRONG_SHOTS of the lowest sums; of equal ones an even spread, so that every class and picture has its chance."""
    by_sum: dict[float, list[tuple[str, ChatRecord]]] = {}
    for each in records:
        by_sum.setdefault(sums[each[1].id], []).append(each)
    found: list[tuple[str, ChatRecord]] = []
    for value in sorted(by_sum):
        found += _spread(by_sum[value], WRONG_SHOTS - len(found))
    return found


def _spread(records: Sequence[tuple[str, ChatRecord]], count: int) -> list[tuple[str, ChatRecord]]:
    """``count`` of them, evenly from the first to the last."""
    if len(records) <= count:
        return list(records)
    return [records[(2 * place + 1) * len(records) // (2 * count)] for place in range(count)]


def _shot(where: str, record: ChatRecord, answered: AnsweredSet) -> Shot:
    drawn = answered.sheets[-1]
    card = make_card(where, record, drawn.answers.get(record.id) or "", drawn.marks.get(record.id))
    given = []
    for sheet in answered.sheets:
        answer = sheet.answers.get(record.id) or ""
        right = is_right(record.answer, answer, sheet.marks.get(record.id))
        given.append((sheet.name, _clip(answer) or "(nothing)", right))
    question = record.question.replace(IMAGE_PLACEHOLDER, "").strip()
    return Shot(card, answered.root, _clip(question, is_end=True), _clip(record.answer), tuple(given))


def _clip(text: str, *, is_end: bool = False) -> str:
    """The first characters, or the last: of a question the words before the end are often the same everywhere."""
    if len(text) <= MOST_CHARACTERS:
        return text
    said = f"({len(text):,} characters in all)"
    return f"{said} ... {text[-MOST_CHARACTERS:]}" if is_end else f"{text[:MOST_CHARACTERS]} ... {said}"


def fold(text: str, *, is_end: bool = False) -> tuple[str, str | None]:
    """What is seen of a text, its start or the last paragraph of its end, and the whole of it where that is more."""
    if len(text) <= FOLDED_CHARACTERS:
        return text, None
    if is_end:
        end = text[-FOLDED_CHARACTERS:]
        return "... " + (end.rpartition("\n\n")[2] if "\n\n" in end else end.split(maxsplit=1)[-1]), text
    return text[:FOLDED_CHARACTERS].rsplit(maxsplit=1)[0] + " ...", text


def to_content(galleries: Sequence[Gallery]) -> list[dict[str, Any]]:
    """The galleries as the page's template takes them. A picture that cannot be read is named in its place and on stderr."""
    places = [place for gallery in galleries for shot in gallery.shots for place in shot.places]
    size = min(ONE_PICTURE_BYTES, PICTURE_BYTES // max(1, len(places)))
    thumbnails = make_thumbnails(list(dict.fromkeys(places)), workers=0, max_bytes=size)
    for thumbnail in thumbnails.values():
        if thumbnail.fault:
            progress.say(f"left out of the report: {thumbnail.fault}")
    return [
        {"title": gallery.title, "note": gallery.note, "cards": [_to_card(shot, thumbnails) for shot in gallery.shots]}
        for gallery in galleries
    ]


def _to_card(shot: Shot, thumbnails: Mapping[tuple[Path, str], Thumbnail]) -> dict[str, Any]:
    stages = [_to_stage(stage, thumbnails[place]) for stage, place in zip(shot.card.stages, shot.places, strict=False)]
    notes = list(shot.card.notes)
    if len(shot.card.stages) > MOST_PICTURES:
        notes.append(f"{MOST_PICTURES} of {len(shot.card.stages)} pictures")
    if any(len(stage.shapes) > MOST_SHAPES for stage in shot.card.stages):
        notes.append(f"the first {MOST_SHAPES} boxes are drawn")
    drawn = {whose for stage in stages for _, whose in stage["shapes"]}
    return {
        "stages": stages,
        "drawn": [whose for whose in ("truth", "predicted", "asked") if whose in drawn],
        "question": fold(shot.question, is_end=True),
        "expected": fold(shot.expected),
        "answers": [(name, fold(answer), right) for name, answer, right in shot.answers],
        "notes": notes,
    }


def _to_stage(stage: Stage, thumbnail: Thumbnail) -> dict[str, Any]:
    width, height = thumbnail.size if thumbnail.content else stage.size
    shapes: list[tuple[Shape, str]] = [(shape, CLASSES[shape.role]) for shape in stage.shapes[:MOST_SHAPES]]
    return {
        "picture": thumbnail.content,
        "fault": thumbnail.fault,
        "width": width or 16,
        "height": height or 9,
        "shapes": shapes,
        "views": stage.views,
    }
