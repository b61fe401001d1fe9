"""Boxes in conversations: which scale a file uses, and the way from it to tags of 0..1000.

LLaVA's mixture writes shares of 1 in plain brackets (RefCOCO and Visual Genome rows), others write 0-100, 0-1000 or pixels,
tagged or not. What four small numbers mean shows over a whole file only, so the file is looked through before a row is
converted. Users who drew LLaVA's boxes found that they are shares of the picture padded to a square with its middle kept
(github.com/haotian-liu/LLaVA issues 606 and 623; not confirmed by its authors): ``padded=yes`` undoes that.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

from adapt import boxes
from adapt.boxes import ENOUGH_BOXES, FULL_SCALE, PERCENT, PIXEL, THOUSAND, UNIT, Box
from adapt.domain import Option
from adapt.errors import DataError, UsageError
from converters.objects import written

KEEP, AUTO = "keep", "auto"
OPTIONS = (
    Option(
        "box_scale",
        "the scale of boxes in the text, which become <box> tags of 0-1000: found over the whole file (auto), stated (0-1, "
        "0-100, 0-1000 or pixels of the stored picture, with or without tags), or left as written (keep)",
        AUTO,
        (AUTO, UNIT, PERCENT, THOUSAND, "pixels", KEEP),
    ),
    Option("padded", "boxes of 0-1 count from the picture padded to a square, as in LLaVA's files", "no", ("no", "yes")),
)
_LARGEST = {UNIT: 1.0, PERCENT: 100.0, THOUSAND: float(FULL_SCALE)}
Texts = tuple[str, str, str, str]


@dataclasses.dataclass
class Seen:
    """What the boxes of one source look like so far: enough of them to tell the scale, not all."""

    shares: int = 0  # four numbers that can only be shares of 1
    tagged_shares: int = 0
    first_share: str = ""
    plain: int = 0  # other four numbers in brackets without tags, which may be boxes or not
    first_plain: str = ""
    tagged: int = 0  # other tagged boxes
    first: list[Box] = dataclasses.field(default_factory=list)
    largest: Box = (0.0, 0.0, 0.0, 0.0)
    largest_where: str = ""

    def add(self, texts: Texts, tagged: bool, where: str) -> None:
        """Look at one more box."""
        box = to_numbers(texts)
        if boxes.is_unit(texts):
            self.shares += 1
            self.tagged_shares += tagged
            self.first_share = self.first_share or where
        elif tagged:
            self.tagged += 1
            if len(self.first) < ENOUGH_BOXES:
                self.first.append(box)
            if max(map(abs, box)) > max(map(abs, self.largest)):
                self.largest, self.largest_where = box, where
        elif box[0] < box[2] and box[1] < box[3] and max(box) > 1:
            self.plain += 1
            self.first_plain = self.first_plain or where


@dataclasses.dataclass(frozen=True)
class Scale:
    """How the boxes of one source are read.

    ``auto``: found and not stated. ``fault`` says why tagged boxes that are not plainly shares of 1 cannot be read; ``mixed``
    that there are plain shares of 1 among the tagged boxes, too.
    """

    tagged: str = THOUSAND
    untagged: str = KEEP
    padded: bool = False
    fault: str = ""
    auto: bool = False
    mixed: bool = False


def stated_scale(options: Mapping[str, str]) -> Scale | None:
    """The scale that the user says; None for auto. Raises UsageError for padding that touches nothing."""
    chosen, padded = options["box_scale"], options["padded"] == "yes"
    if padded and chosen not in (AUTO, UNIT):
        raise UsageError(
            f"option padded=yes has no effect with box_scale={chosen}; it is for boxes of 0-1: box_scale=unit or auto"
        )
    if chosen == AUTO:
        return None
    scale = PIXEL if chosen == "pixels" else chosen
    return Scale(scale, scale, padded)


def found_scale(seen: Seen, padded: bool) -> Scale:
    """The scale of a source, from all of its boxes."""
    untagged = UNIT if seen.shares else KEEP
    if not seen.tagged:
        return Scale(UNIT if seen.shares else THOUSAND, untagged, padded, auto=True)
    scale, fault = boxes.detect_scale([*seen.first, seen.largest]), ""
    if scale == PIXEL:
        fault = (
            f"boxes go beyond {FULL_SCALE:,} ({written(seen.largest)} at {seen.largest_where}): say --option box_scale=pixels "
            "where they are pixels of the stored pictures, box_scale=thousand to reject those beyond alone"
        )
    return Scale(scale, untagged, padded, fault, auto=True, mixed=bool(seen.tagged_shares) and scale != UNIT)


def unknown_scale(padded: bool) -> Scale:
    """For rows that come as a stream, and are not looked through first: only plain shares of 1 can be told."""
    fault = (
        "the scale of boxes cannot be told from a stream; say it: --option box_scale=unit, percent, thousand, pixels or keep"
    )
    return Scale(THOUSAND, UNIT, padded, fault, auto=True)


def find_numbers(texts: Iterable[str]) -> Iterator[tuple[Texts, bool]]:
    """Every four numbers that may be a box, and whether they stand in tags."""
    for text in texts:
        if "[" in text or "<box>" in text:
            for group in boxes.find_boxes(text):
                yield from zip(group.texts, itertools.repeat(group.tagged))


def rewrite(text: str, scale: Scale, sizes: tuple[tuple[int, int], ...]) -> str:
    """``text`` with its boxes in tags of 0..1000. ``sizes`` are those of the row's pictures.

    Raises DataError for a tagged box that is none in its scale, and where the size of one picture is needed and there are more.
    """
    if scale.tagged == KEEP or ("[" not in text and "<box>" not in text):
        return text
    return boxes.place_boxes(boxes.bracket_pairs(text), lambda texts, tagged: _place(texts, tagged, scale, sizes))


def _place(texts: Texts, tagged: bool, scale: Scale, sizes: tuple[tuple[int, int], ...]) -> Box | None:
    box = to_numbers(texts)
    if not all(math.isfinite(value) for value in box):
        return None
    kind = scale.tagged if tagged else scale.untagged
    if scale.auto and boxes.is_unit(texts):
        kind = UNIT
    elif scale.fault and tagged:
        raise DataError(scale.fault)
    elif scale.mixed and tagged and max(box) <= 1:
        raise DataError(f"box {written(box)}: its file has tagged boxes of 0-1 and of larger numbers, and this may be either")
    if kind == KEEP or (kind == THOUSAND and tagged and scale.auto):
        return None  # as it is: 'adapt check' names what is wrong with it
    size = _size(sizes) if kind == PIXEL or (kind == UNIT and scale.padded) else (1, 1)
    fault = _fault(box, kind, size)
    if fault and tagged:
        raise DataError(f"box {written(box)}: {fault}")
    if fault or (kind == THOUSAND and tagged):
        return None
    return _unpadded(box, size) if kind == UNIT and scale.padded else _shares(box, kind, size)


def _size(sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    if len(sizes) != 1:
        raise DataError(f"boxes that count from the size of a picture, and {len(sizes)} pictures; expected one")
    return sizes[0]


def _fault(box: Box, kind: str, size: tuple[int, int]) -> str:
    x1, y1, x2, y2 = box
    # A pixel of leave: some tools count from 1.
    right, bottom = (size[0] + 1, size[1] + 1) if kind == PIXEL else (_LARGEST[kind],) * 2
    if min(box) < 0 or max(x1, x2) > right or max(y1, y2) > bottom:
        where = f"a picture of {size[0]}x{size[1]} px" if kind == PIXEL else boxes.SCALE_RANGES[kind]
        return f"outside {where}"
    return "the second corner lies before the first" if x2 < x1 or y2 < y1 else ""


def _shares(box: Box, kind: str, size: tuple[int, int]) -> Box:
    width, height = size if kind == PIXEL else (_LARGEST[kind],) * 2
    x1, y1, x2, y2 = box
    return x1 / width, y1 / height, x2 / width, y2 / height


def _unpadded(box: Box, size: tuple[int, int]) -> Box:
    """Shares of the padded square as shares of the picture. Raises DataError for a box that lies in the padding."""
    width, height = size
    side = max(size)
    left, top = (side - width) // 2, (side - height) // 2
    x1, y1, x2, y2 = (value * side for value in box)
    x1, x2 = ((min(max(value - left, 0), width)) / width for value in (x1, x2))
    y1, y2 = ((min(max(value - top, 0), height)) / height for value in (y1, y2))
    if x1 >= x2 or y1 >= y2:
        raise DataError(f"box {written(box)}: lies in the padding of a picture of {width}x{height} px; is padded=yes right?")
    return x1, y1, x2, y2


def to_numbers(texts: Texts) -> Box:
    """Four texts as numbers."""
    x1, y1, x2, y2 = (float(text) for text in texts)
    return x1, y1, x2, y2
