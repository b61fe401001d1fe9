"""Boxes between pixels and text."""

import json
import math
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapt.boxes import detect_scale, find_boxes, format_boxes, read_boxes, refuse_mixed_scales, to_pixels
from adapt.errors import DataError


def test_hand_cases_of_writing() -> None:
    """Pixels become integers 0..1000 in the published form; counted by hand."""
    assert format_boxes("ship", [(80, 40, 400, 800)], (800, 800)) == "<ref>ship</ref><box>[[100, 50, 500, 1000]]</box>"
    two = format_boxes("a car", [(0, 0, 160, 90), (800, 450, 1600, 900)], (1600, 900))
    assert two == "<ref>a car</ref><box>[[0, 0, 100, 100], [500, 500, 1000, 1000]]</box>"
    assert format_boxes(None, [(-5, 3, 650, 481)], (640, 480)) == "<box>[[0, 6, 1000, 1000]]</box>"
    # Python's round: ties to even, as upstream
    assert format_boxes(None, [(1, 3, 5, 7)], (2000, 2000)) == "<box>[[0, 2, 2, 4]]</box>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<ref>ship</ref><box>[[1, 2, 3, 4]]</box>", [("ship", [(1, 2, 3, 4)])]),
        ("<ref>ship</ref><box>[1, 2, 3, 4]</box>", [("ship", [(1, 2, 3, 4)])]),
        ("<ref> ship </ref> <box> [[ 1,2 , 3,4 ],[5,6,7,8.5]] </box>", [("ship", [(1, 2, 3, 4), (5, 6, 7, 8.5)])]),
        ("<box>[[1, 2, 3, 4]]</box>", [(None, [(1, 2, 3, 4)])]),
        ("it is at [[10, 20, 30, 40]].", [(None, [(10, 20, 30, 40)])]),
        ("[10, 20, 30, 40]", [(None, [(10, 20, 30, 40)])]),
        ("[0.1, 0.25, 0.5, 1.0]", [(None, [(100, 250, 500, 1000)])]),
        ("[0, 0, 1, 0.5]", [(None, [(0, 0, 1000, 500)])]),
        ("[0, 0, 1, 1]", [(None, [(0, 0, 1, 1)])]),  # whole numbers are thousandths
        ("<box>(10,20),(30,40)</box>", [(None, [(10, 20, 30, 40)])]),
        ("<box>10, 20, 30, 40</box>", [(None, [(10, 20, 30, 40)])]),
        ("<ref>a</ref><box>[[1, 2, 3, 4]]", [("a", [(1, 2, 3, 4)])]),  # cut by the length limit
        (
            "<ref>a</ref><box>[[1, 2, 3, 4]]</box> and <ref>b</ref><box>[[5, 6, 7, 8]]</box>",
            [("a", [(1, 2, 3, 4)]), ("b", [(5, 6, 7, 8)])],
        ),
        ("<ref>a</ref><box>[[1, 2, 3]]</box>", []),
        ("<box>[[1, 2, 3, 4, 5]]</box>", []),
        ("<box>[[1, 2, x, 4], [5, 6, 7, 8]]</box>", [(None, [(5, 6, 7, 8)])]),
        ("<box>[[1e999, 2, 3, 4]]</box>", []),
        ("<box></box>", []),
        ("no box, 1, 2, 3, 4 here", []),
        ("[-5, 20, 1030, 40]", [(None, [(-5, 20, 1030, 40)])]),
        ("[30, 40, 10, 20]", [(None, [(30, 40, 10, 20)])]),  # kept: the reader does not repair
    ],
)
def test_spellings(text: str, expected: list[object]) -> None:
    """Every listed spelling is read as written here, and what is not a box is left out."""
    found = read_boxes(text)
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [[pytest.approx(box) for box in boxes] for _, boxes in expected] == [boxes for _, boxes in found]


def test_round_trip_of_500_random_boxes() -> None:
    """Pixels -> text -> pixels loses at most half of a thousandth of the side, for boxes of at least that thousandth."""
    generator = np.random.default_rng(0)
    for _ in range(500):
        width, height = (int(value) for value in generator.integers(1, 5000, 2))
        xs, ys = (
            start + np.array([0, generator.uniform(side / 1000, side - start)])
            for side in (width, height)
            for start in [generator.uniform(0, side * 0.999)]
        )
        box = (xs[0], ys[0], xs[1], ys[1])
        text = format_boxes("thing", [box], (width, height))
        # read with json, which is not ours
        written = json.loads(re.search(r"<box>(.*)</box>", text)[1])[0]
        assert [(name, [list(each) for each in boxes]) for name, boxes in read_boxes(text)] == [("thing", [written])]
        back = to_pixels(written, (width, height))
        for value, found, side in zip(box, back, (width, height, width, height), strict=True):
            assert abs(value - found) <= side * 0.0005 + 1e-9


@pytest.mark.parametrize(
    ("box", "size", "written"),
    [
        ((3000, 5600, 3003, 5607), (7000, 7000), "[428, 800, 429, 801]"),  # 428.57 and 429.0: the first goes down
        ((3003, 5600, 3006, 5607), (7000, 7000), "[429, 800, 430, 801]"),  # 429.0 and 429.43: the last goes up
        ((3000, 3000, 3001, 3001), (2000000, 2000000), "[1, 1, 2, 2]"),  # 1.5 and 1.5005, which round to 2
        ((0, 1, 3, 2), (7000, 7000), "[0, 0, 1, 1]"),  # nothing lies below 0
        ((6997, 6998, 7000, 6999), (7000, 7000), "[999, 999, 1000, 1000]"),  # or above 1000
        ((10, 3000, 10, 3700), (7000, 7000), "[1, 429, 1, 529]"),  # no area in pixels: none is made
        ((7001, 0, 7003, 70), (7000, 7000), "[1000, 0, 1000, 10]"),  # nor outside of the picture
    ],
)
def test_small_boxes_keep_an_area(box: tuple[float, ...], size: tuple[int, int], written: str) -> None:
    """A side that has length in pixels and loses it by rounding becomes one unit, by the corner that moves less."""
    assert format_boxes(None, [box], size) == f"<box>[{written}]</box>"


_TINY = st.tuples(st.floats(0, 1), st.floats(1e-6, 1e-3))


@settings(deadline=None)  # a busy machine is no fault
@given(_TINY, _TINY, st.integers(2000, 100_000))
def test_tiny_boxes_stay_within_a_unit(across: tuple[float, float], down: tuple[float, float], side: int) -> None:
    """A box of less than a thousandth is written with an area, inside 0..1000, each edge at most one unit away."""
    (x1, x2), (y1, y2) = (
        (start * (1 - length) * side, (start * (1 - length) + length) * side) for start, length in (across, down)
    )
    text = format_boxes("ant", [(x1, y1, x2, y2)], (side, side))
    written = json.loads(re.search(r"<box>(.*)</box>", text)[1])[0]
    assert 0 <= written[0] < written[2] <= 1000
    assert 0 <= written[1] < written[3] <= 1000
    assert all(abs(unit - value / side * 1000) <= 1 + 1e-6 for unit, value in zip(written, (x1, y1, x2, y2), strict=True))


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(max_size=80) | st.text("[](), .0123456789<>/boxrefe-", max_size=80))
def test_reading_never_fails(text: str) -> None:
    """Any text at all is read without an exception, and every box read is four finite numbers."""
    for _, boxes in read_boxes(text):
        assert boxes
        assert all(len(box) == 4 and all(math.isfinite(value) for value in box) for box in boxes)


_COORDINATE = st.integers(0, 1000)


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.tuples(_COORDINATE, _COORDINATE, _COORDINATE, _COORDINATE), min_size=1, max_size=5))
def test_written_boxes_are_read_back(corners: list[tuple[int, int, int, int]]) -> None:
    """In a picture of 1000 px whole pixels are the text's own numbers, so nothing at all is lost."""
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    assert read_boxes(format_boxes("x", boxes, (1000, 1000))) == [("x", boxes)]


def test_bad_boxes_are_not_written() -> None:
    """A box that is no box, or a name that would break the tags, is refused with what was found."""
    for boxes in ([], [(1, 2, 3)], [(5, 0, 1, 1)], [(0, 0, math.nan, 1)]):
        with pytest.raises(DataError):
            format_boxes("a", boxes, (10, 10))
    with pytest.raises(DataError, match="</ref>"):
        format_boxes("a</ref><box>", [(0, 0, 1, 1)], (10, 10))


def test_scales() -> None:
    """Each published convention is told from the numbers; a few small boxes are not called percent."""
    generator = np.random.default_rng(1)
    shares = np.sort(generator.uniform(0, 1, (200, 4)), axis=1)
    assert detect_scale(shares) == "unit"
    assert detect_scale(np.round(shares * 100)) == "percent"
    assert detect_scale(np.round(shares * 1000)) == "thousand"
    assert detect_scale(shares * 4000) == "pixel"
    assert detect_scale([(3, 4, 50, 60)]) == "thousand"


def test_mixed_scales_are_refused_with_their_rows() -> None:
    """One row in shares of 1 among rows of 0..1000 is found and named."""
    good = [(f"a.jsonl:{i}", "a", find_boxes(f"<box>[[{i}, 5, 400, 900]]</box>")) for i in range(1, 30)]
    refuse_mixed_scales(good)
    with pytest.raises(DataError, match=r"1 box in 0-1 \(b.jsonl:7\)"):
        refuse_mixed_scales([*good, ("b.jsonl:7", "b", find_boxes("[0.1, 0.2, 0.3, 0.4]"))])
    percent = [("c.jsonl:1", "c", find_boxes("<box>[[5, 5, 40, 90]]</box>"))] * 25
    with pytest.raises(DataError, match="25 boxes in 0-100"):
        refuse_mixed_scales([*good, *percent])
    # numbers in brackets that are no boxes do not count
    refuse_mixed_scales([*good, ("d.jsonl:1", "d", find_boxes("the years [1999, 2001, 2005, 2010]"))])


@pytest.mark.parametrize("piece", ["1", " ", "[", "<ref>", "<box>", "(1,", "1,", "<box>1 ", "[1,2,3,"])
def test_hostile_text_costs_linear_time(piece: str) -> None:
    """A row of a hundred thousand repeated pieces is read in well under a second."""
    started = time.process_time()
    for text in (piece * 100_000, "<box>" + piece * 100_000, "[1" + piece * 100_000):
        read_boxes(text)
    assert time.process_time() - started < 3
