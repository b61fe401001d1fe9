"""Boxes between pixels and text. Inside the code a box is (x1, y1, x2, y2) in pixels of the stored picture.

The text form is InternVL's (``docs/en/get_started/chat_data_format.md`` in github.com/ErfeiCui/InternVL-doc): integers
0..1000, ``round(v / size * 1000)``, as ``<ref>name</ref><box>[[x1, y1, x2, y2]]</box>``; clipping to 0..1000 is ours, and so is
the one unit that a side gets which rounding would leave without length: a box with area in pixels has one in the text.
Reading takes what models and older datasets write: single and double brackets, decimals, tags or none, shares of 1
(the general set of LLaVA). Two scales in one run corrupt grounding (github.com/OpenGVLab/InternVL issues 211 and 844), so
a scale can be named and a mixture refused.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence

from adapt.errors import DataError

Box = tuple[float, float, float, float]
FULL_SCALE = 1000
TAGS = ("<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>")  # in the order of InternVL's token ids
# Few boxes may all lie in a corner; from this many on, none beyond 100 means that 100 is the edge.
ENOUGH_BOXES = 20
UNIT, PERCENT, THOUSAND, PIXEL = "unit", "percent", "thousand", "pixel"
SCALE_RANGES = {UNIT: "0-1", PERCENT: "0-100", THOUSAND: "0-1000", PIXEL: "pixels"}

# Possessive (*+, ++) where a long run of digits or blanks in a hostile row could otherwise cost quadratic time.
_NUMBER = r"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"
_FOUR = rf"({_NUMBER})\s*+,\s*+({_NUMBER})\s*+,\s*+({_NUMBER})\s*+,\s*+({_NUMBER})\s*+"
_PAIR = rf"\(\s*+({_NUMBER})\s*+,\s*+({_NUMBER})\s*+\)"
_PAIRS = rf"{_PAIR}\s*+,?\s*+{_PAIR}"
_BRACKETED = re.compile(rf"\[\s*+{_FOUR}\]")
_ONE = rf"\[\s*+{_NUMBER}(?:\s*+,\s*+{_NUMBER}){{3}}\s*+\]"
_LISTED = re.compile(rf"\[\s*+{_ONE}(?:\s*+,\s*+{_ONE})*+\s*+\]|{_ONE}")
_INSIDE_TAGS = re.compile(rf"\[\s*+{_FOUR}\]|{_PAIRS}|(?<![\d.,\[(]){_FOUR}(?![\d.,\])])")
_TAGGED = re.compile(r"(?:<ref>(?P<name>[^<]*)</ref>\s*)?<box>(?P<body>[^<]*)(?:</box>|\Z)")
_PAIRED = re.compile(rf"<box>\s*+{_PAIRS}\s*+</box>")


@dataclasses.dataclass(frozen=True)
class FoundBoxes:
    """Boxes of one name as they are written. ``texts`` holds the four numbers of each as text; ``tagged`` whether in <box>."""

    name: str | None
    texts: tuple[tuple[str, str, str, str], ...]
    tagged: bool

    @property
    def boxes(self) -> list[Box]:
        """The numbers as written, in whatever scale the writer used."""
        return [_floats(texts) for texts in self.texts]


def format_boxes(name: str | None, boxes_px: Iterable[Sequence[float]], size: tuple[int, int]) -> str:
    """The text of one name's boxes in a picture of ``size`` (width, height); without a name the boxes alone.

    Raises DataError for no box, a number that is not finite, corners in the wrong order, or a tag inside the name.
    """
    if name is not None and any(tag in name for tag in TAGS):
        raise DataError(f"the name {name!r} holds one of {', '.join(TAGS)}; it cannot be written between tags")
    written = [_to_thousand(box, size) for box in boxes_px]
    if not written:
        raise DataError(f"no box to write for {name!r}; expected at least one")
    body = ", ".join("[" + ", ".join(str(value) for value in box) + "]" for box in written)
    head = "" if name is None else f"<ref>{name}</ref>"
    return f"{head}<box>[{body}]</box>"


def _to_thousand(box_px: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    if len(box_px) != 4 or not all(math.isfinite(value) for value in box_px):
        raise DataError(f"box {list(box_px)}: expected four finite numbers x1, y1, x2, y2 in pixels")
    x1, y1, x2, y2 = box_px
    if x2 < x1 or y2 < y1:
        raise DataError(f"box {list(box_px)}: the second corner lies before the first; expected x1 <= x2 and y1 <= y2")
    width, height = size
    (left, right), (top, bottom) = _span(x1, x2, width), _span(y1, y2, height)
    return left, top, right, bottom


def _span(first_px: float, last_px: float, length_px: int) -> tuple[int, int]:
    """A side as integers 0..1000. One that only rounding leaves without length is a unit long, by the end that moves less."""
    first, last = (min(max(value_px / length_px * FULL_SCALE, 0), FULL_SCALE) for value_px in (first_px, last_px))
    place = round(first)
    if round(last) > place or first == last:
        return place, round(last)
    is_last_moved = place == 0 or (place < FULL_SCALE and first + last > 2 * place)
    return (place, place + 1) if is_last_moved else (place - 1, place)


def to_pixels(box: Sequence[float], size: tuple[int, int]) -> Box:
    """A box of 0..1000 as pixels of a picture of ``size`` (width, height), kept inside the picture."""
    width, height = size
    x1, y1, x2, y2 = box
    return _length(x1, width), _length(y1, height), _length(x2, width), _length(y2, height)


def _length(value: float, length_px: int) -> float:
    return min(max(value / FULL_SCALE * length_px, 0.0), float(length_px))


def find_boxes(text: str) -> list[FoundBoxes]:
    """Boxes in ``text`` as written, in their order. What is not four finite numbers is not a box and is left out.

    In <box> tags (the end tag may be cut off): ``[[a, b, c, d]]``, ``[a, b, c, d]``, ``a, b, c, d``, ``(a, b), (c, d)``.
    Outside of them: only four numbers in brackets.
    """
    found: list[FoundBoxes] = []
    end = 0
    for match in _TAGGED.finditer(text):
        found += _untagged(text[end : match.start()])
        texts = tuple(_numbers(inner) for inner in _INSIDE_TAGS.finditer(match["body"]))
        found.append(FoundBoxes((match["name"] or "").strip() or None, _finite_only(texts), tagged=True))
        end = match.end()
    found += _untagged(text[end:])
    return [each for each in found if each.texts]


def is_only_boxes(body: str) -> bool:
    """Whether what stands between <box> tags is boxes and nothing that is none, such as three numbers or an open bracket."""
    return not _INSIDE_TAGS.sub("", body).strip(" \t\r\n,[]") and body.count("[") == body.count("]")


def without_box(text: str) -> str:
    """The name of a text that is one name with its boxes, as regions are answered; any other text as it is."""
    found = _TAGGED.fullmatch(text.strip())
    return found["name"] if found and found["name"] else text


def outside_tags(text: str) -> str:
    """The text with what stands in <box> tags left out."""
    return _TAGGED.sub("<box>", text)


def move_boxes(text: str, size: tuple[int, int], move: Callable[[Box], Box]) -> str | None:
    """The text with each box in <box> tags put where ``move`` sends it, in pixels of a picture of ``size`` (width, height).

    All else stays as it is written. None where the tags hold numbers that are not boxes of whole numbers 0..1000 with
    their first corner first: polygons, turned boxes, other scales.
    """
    parts, end = [], 0
    for tagged in _TAGGED.finditer(text):
        body, start = tagged["body"], tagged.start("body")
        if any(character.isdigit() for character in _INSIDE_TAGS.sub("", body)):
            return None
        for inner in _INSIDE_TAGS.finditer(body):
            if not _is_ours(_numbers(inner)):
                return None
            moved = _to_thousand(move(to_pixels(_floats(_numbers(inner)), size)), size)
            places = [place for place in range(1, 1 + len(inner.groups())) if inner[place] is not None]
            for place, value in zip(places, moved, strict=True):
                parts += [text[end : start + inner.start(place)], str(value)]
                end = start + inner.end(place)
    return "".join([*parts, text[end:]])


def place_boxes(text: str, place: Callable[[tuple[str, str, str, str], bool], Box | None]) -> str:
    """The text with its boxes as ``format_boxes`` writes them.

    ``place`` gets the four numbers as written and whether they stand in <box> tags, and answers with shares of the picture
    (0..1), or None where they shall stay as they are: neighbours in one list or tag stay with them. Raises DataError where tags
    hold other numbers beside a box that was placed.
    """
    parts, end = [], 0
    for tagged in _TAGGED.finditer(text):
        parts += [_place_listed(text[end : tagged.start()], place), _place_tagged(tagged, place)]
        end = tagged.end()
    return "".join([*parts, _place_listed(text[end:], place)])


def bracket_pairs(text: str) -> str:
    """The text with each ``<box>(a, b), (c, d)</box>``, as Qwen-VL writes it, as ``<box>[[a, b, c, d]]</box>``."""
    return _PAIRED.sub(r"<box>[[\1, \2, \3, \4]]</box>", text)


def _place_tagged(tagged: re.Match[str], place: Callable[[tuple[str, str, str, str], bool], Box | None]) -> str:
    body = tagged["body"]
    found = [place(_numbers(inner), True) for inner in _INSIDE_TAGS.finditer(body)]
    boxes = [box for box in found if box is not None]
    if not boxes:
        return tagged[0]
    if len(boxes) < len(found) or any(character.isdigit() for character in _INSIDE_TAGS.sub("", body)):
        raise DataError(f"<box>{body[:60]}</box>: expected boxes of four numbers, all in one scale")
    head = tagged[0][: tagged.start("body") - tagged.start()].removesuffix("<box>")
    return head + format_boxes(None, boxes, (1, 1))


def _place_listed(text: str, place: Callable[[tuple[str, str, str, str], bool], Box | None]) -> str:
    """The same for numbers in brackets outside of tags."""

    def written(listed: re.Match[str]) -> str:
        found = [place(_numbers(inner), False) for inner in _BRACKETED.finditer(listed[0])]
        boxes = [box for box in found if box is not None]
        return format_boxes(None, boxes, (1, 1)) if boxes and len(boxes) == len(found) else listed[0]

    return _LISTED.sub(written, text)


def _is_ours(texts: tuple[str, str, str, str]) -> bool:
    """Whether four numbers are written as ``format_boxes`` writes them."""
    if not all(text.isascii() and text.isdigit() for text in texts):
        return False
    x1, y1, x2, y2 = (int(text) for text in texts)
    return x1 <= x2 <= FULL_SCALE and y1 <= y2 <= FULL_SCALE


def _untagged(text: str) -> list[FoundBoxes]:
    texts = _finite_only(tuple(_numbers(match) for match in _BRACKETED.finditer(text)))
    return [FoundBoxes(None, texts, tagged=False)]


def _numbers(match: re.Match[str]) -> tuple[str, str, str, str]:
    first, second, third, fourth = (value for value in match.groups() if value is not None)
    return first, second, third, fourth


def _finite_only(found: tuple[tuple[str, str, str, str], ...]) -> tuple[tuple[str, str, str, str], ...]:
    return tuple(texts for texts in found if all(math.isfinite(value) for value in _floats(texts)))


def _floats(texts: tuple[str, str, str, str]) -> Box:
    x1, y1, x2, y2 = (float(text) for text in texts)
    return x1, y1, x2, y2


def is_unit(texts: Sequence[str]) -> bool:
    """Whether four numbers, as written, are shares of 1: none beyond 0..1 and at least one with a decimal point."""
    return all(0 <= float(text) <= 1 for text in texts) and any(not text.lstrip("+-").isdigit() for text in texts)


def read_boxes(text: str) -> list[tuple[str | None, list[Box]]]:
    """(name or None, boxes in 0..1000) for each group of boxes in ``text``; see find_boxes for the spellings.

    Shares of 1 are scaled up. Order of corners and values beyond 0..1000 are kept as written; ``to_pixels`` clips.
    """
    return [(found.name, [_scaled(texts) for texts in found.texts]) for found in find_boxes(text)]


def _scaled(texts: tuple[str, str, str, str]) -> Box:
    x1, y1, x2, y2 = _floats(texts)
    if is_unit(texts):
        return x1 * FULL_SCALE, y1 * FULL_SCALE, x2 * FULL_SCALE, y2 * FULL_SCALE
    return x1, y1, x2, y2


def detect_scale(boxes: Iterable[Sequence[float]]) -> str:
    """The scale of a set of boxes, by their largest number: 'unit', 'percent', 'thousand' or 'pixel'.

    Percent is told only from ENOUGH_BOXES on; fewer small boxes may well be a corner of 0..1000. Pixels of pictures
    smaller than 1000 px look like 'thousand': a limit that no look at the numbers removes.
    """
    rows = [list(box) for box in boxes]
    largest = max((abs(value) for box in rows for value in box), default=float(FULL_SCALE))
    if largest <= 1:
        return UNIT
    if largest > FULL_SCALE:
        return PIXEL
    return PERCENT if largest <= 100 and len(rows) >= ENOUGH_BOXES else THOUSAND


@dataclasses.dataclass(frozen=True)
class ScaleUse:
    """One scale found in a run: where its first boxes stand and how many boxes use it."""

    scale: str
    places: tuple[str, ...]
    count: int


def scales_in_use(rows: Iterable[tuple[str, str, Sequence[FoundBoxes]]]) -> list[ScaleUse]:
    """The scales found in rows of (where, source, boxes), the most used first.

    Shares of 1 and numbers above 1000 show in a single row; percent shows only over all rows of one source.
    Only tagged boxes count, and untagged ones where they are shares of 1: other bracketed numbers may be anything.
    """
    places: dict[str, list[str]] = {}
    by_source: dict[str, list[tuple[str, Box]]] = {}
    for where, source, groups in rows:
        for group in groups:
            for texts in group.texts:
                box = _floats(texts)
                if is_unit(texts):
                    places.setdefault(UNIT, []).append(where)
                elif group.tagged and max(abs(value) for value in box) > FULL_SCALE:
                    places.setdefault(PIXEL, []).append(where)
                elif group.tagged:
                    by_source.setdefault(source, []).append((where, box))
    for found in by_source.values():
        places.setdefault(detect_scale([box for _, box in found]), []).extend(where for where, _ in found)
    uses = [ScaleUse(scale, tuple(dict.fromkeys(wheres)), len(wheres)) for scale, wheres in places.items()]
    return sorted(uses, key=lambda use: (-use.count, use.scale))


def refuse_mixed_scales(rows: Iterable[tuple[str, str, Sequence[FoundBoxes]]]) -> None:
    """Raise DataError, naming rows, where the boxes of a run are not all in one scale."""
    uses = scales_in_use(rows)
    if len(uses) > 1:
        described = "; ".join(describe_scale(use) for use in uses)
        raise DataError(f"boxes in {len(uses)} scales: {described}; expected 0-1000 everywhere: convert those rows again")


def describe_scale(use: ScaleUse, shown: int = 3) -> str:
    """``12 boxes in 0-1 (a.jsonl:3, a.jsonl:7, ...)``."""
    dots = ", ..." if len(use.places) > shown else ""
    boxes = "1 box" if use.count == 1 else f"{use.count:,} boxes"
    return f"{boxes} in {SCALE_RANGES[use.scale]} ({', '.join(use.places[:shown])}{dots})"
