"""One HTML page of records: pictures with what is drawn on them, questions, answers, predictions; filters and a search.

Everything stands in the page and nothing is fetched. Text of records is written by an escaping template only; the page's policy
(CSP) lets one script run, by its hash, so a record's text could not become one even where the escaping failed. A picture stands
once, however many questions are asked of it, and is decoded when its card comes near the window.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import __version__, atomic
from adapt.check.cards import PREDICTED, ROLES, Card, Shape, Stage, colours
from adapt.check.thumbnails import Thumbnail, make_thumbnails
from adapt.progress import say
from adapt.show import counted, shortened

FOLDER = Path(__file__).parent
LISTED_ANSWERS = 100
DENSE = 24  # boxes on one picture from which on names are shown only where it is enlarged
_HEIGHT_PX = 340  # of a picture in its card; a wide one takes the whole row
_LEAST_PX, _MOST_TIMES = 160, 4  # small pictures are enlarged no further than this
_WIDE = 2.2


def write_page(cards: Sequence[Card], roots: Mapping[str, Path], output: Path, *, title: str, about: Sequence[str]) -> Path:
    """Write the page to ``output``; ``roots`` holds the picture root of each file, ``about`` the lines under the title."""
    places = list(dict.fromkeys((_root(card, roots), stage.picture) for card in cards for stage in card.stages))
    thumbnails = make_thumbnails(places)
    if faults := [thumbnails[place].fault for place in places if thumbnails[place].fault]:
        say(
            f"warning: {len(faults):,} of {counted(len(places), 'picture')} cannot be shown, first: {faults[0]}; 'adapt check' "
            "lists all"
        )
    numbers = {place: number for number, place in enumerate(places)}
    colour_of = colours(cards)
    answers = Counter(card.record.answer.strip() for card in cards)
    listed = {answer: number for number, (answer, _) in enumerate(answers.most_common(LISTED_ANSWERS))}
    script = (FOLDER / "gallery.js").read_text(encoding="utf-8")
    content = {
        "title": title,
        "version": __version__,
        "about": about,
        "style": (FOLDER / "gallery.css").read_text(encoding="utf-8"),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        "filters": _filters(cards),
        "answers": [(number, shortened(answer), answers[answer]) for answer, number in listed.items()],
        "num_answers": len(answers),
        "cards": [_shown(card, roots, thumbnails, numbers, colour_of, listed) for card in cards],
        "pictures": [thumbnails[place].content for place in places],
        "has_shapes": any(stage.shapes for card in cards for stage in card.stages),
        "has_names": any(shape.name for card in cards for stage in card.stages for shape in stage.shapes),
    }
    atomic.write_text(output, _environment().get_template("gallery.html").render(content))
    return output


def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def _root(card: Card, roots: Mapping[str, Path]) -> Path:
    return roots[card.where.rpartition(":")[0]]


def _filters(cards: Sequence[Card]) -> list[dict[str, Any]]:
    """The fields that can be chosen by, each with its values and how often they occur; one with a single value is left out."""
    counted = {
        "task": Counter(card.record.task or "" for card in cards),
        "source": Counter(_source(card) for card in cards),
        "split": Counter(card.record.split or "" for card in cards),
        "verdict": Counter(_verdict(card) for card in cards),
    }
    return [
        {"name": name, "values": [(value, value or "(none)", count) for value, count in sorted(counts.items())]}
        for name, counts in counted.items()
        if len(counts) > 1
    ]


def _source(card: Card) -> str:
    return card.record.source or Path(card.where.rpartition(":")[0]).stem


def _verdict(card: Card) -> str:
    return {True: "right", False: "wrong", None: "no prediction"}[card.right]


def _shown(
    card: Card,
    roots: Mapping[str, Path],
    thumbnails: Mapping[tuple[Path, str], Thumbnail],
    numbers: Mapping[tuple[Path, str], int],
    colour_of: Mapping[str, int],
    listed: Mapping[str, int],
) -> dict[str, Any]:
    root = _root(card, roots)
    return {
        "id": card.record.id,
        "where": card.where,
        "task": card.record.task or "",
        "source": _source(card),
        "split": card.record.split or "",
        "verdict": _verdict(card),
        "answer": listed.get(card.record.answer.strip(), -1),
        "stages": [
            _stage(stage, thumbnails[root, stage.picture], numbers[root, stage.picture], colour_of) for stage in card.stages
        ],
        "turns": card.turns,
        "notes": card.notes,
        "legend": [(name or "(no name)", ROLES[role], role, colour_of[name], count) for name, role, count in card.names],
        "prediction": card.prediction,
        "right": card.right,
    }


def _stage(stage: Stage, thumbnail: Thumbnail, number: int, colour_of: Mapping[str, int]) -> dict[str, Any]:
    width, height = thumbnail.size if thumbnail.content else stage.size
    if not (width and height):
        width, height = 16, 9
    return {
        "picture": stage.picture,
        "fault": thumbnail.fault,
        "number": number,
        "width": width,
        "height": height,
        "widest": round(min(_HEIGHT_PX, max(_LEAST_PX, _MOST_TIMES * height)) * width / height),
        "is_wide": width / height > _WIDE,
        "shapes": [(shape, colour_of[shape.name]) for shape in stage.shapes],
        "tags": [(shape.name, _tag_place(shape), shape.role, colour_of[shape.name]) for shape in stage.shapes if shape.name],
        "views": stage.views,
        "is_dense": len(stage.shapes) > DENSE,
    }


def _tag_place(shape: Shape) -> tuple[float, float, bool]:
    """(left, top) of a name in percent of the picture, and whether it hangs below that place for want of room above.

    Predicted names stand at the foot of their box, where those of the truth do not cover them.
    """
    left, top, _, bottom = (min(max(each, 0.0), 1000.0) for each in shape.box)
    predicted = shape.role == PREDICTED and bottom > 60
    return round(min(left, 980) / 10, 2), round((bottom if predicted else top) / 10, 2), not predicted and top < 60
