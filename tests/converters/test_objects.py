"""Objects of a picture: what happens at the picture's edge, and with sizes that are not the picture's."""

import dataclasses
import itertools

import pytest
import shapely

from adapt.boxes import Box
from adapt.errors import DataError
from converters.formats.pictures import sample_id
from converters.objects import ObjectsSample, PictureObject, Rle, check_object, clipped, to_number, told_apart

SIZE = (80, 60)


def sample(*objects: PictureObject) -> ObjectsSample:
    return ObjectsSample("s-1", "s.json#1", None, ("a.png",), objects, "s", sizes=(SIZE,))


def test_boxes_that_poke_out_are_cut_and_counted() -> None:
    """Cut at all four edges and counted; one that only passes by rounding is cut and not counted; the others stay the same."""
    boxes: list[Box] = [(-5, -5, 90, 70), (10, 10, 20, 20), (0, 0, 80.000001, 60)]
    found = clipped(sample(*(PictureObject("x", box) for box in boxes)))
    assert [each.box_px for each in found.objects] == [(0, 0, 80, 60), (10, 10, 20, 20), (0, 0, 80, 60)]
    assert found.meta == {"clipped": 1}
    assert clipped(sample()).meta == {}


@pytest.mark.parametrize("box", [(80, 0, 90, 10), (-9, 0, 0, 10), (5, -9, 9, -1), (5, 60, 9, 70)])
def test_boxes_outside_are_named(box: Box) -> None:
    """A box that has no pixel in the picture rejects it, by number and class; touching the edge from outside is outside."""
    with pytest.raises(DataError, match=r"^s.json#1: object 2 'y': its box \[.*\] lies outside the picture of 80x60$"):
        clipped(sample(PictureObject("x", (1, 1, 2, 2)), PictureObject("y", box)))


def test_outlines_are_cut_as_shapely_cuts_them() -> None:
    """Area and bounds of cut outlines are those of the intersection that shapely finds, also for an outline with a notch."""
    outlines = [
        ((-10, 30), (40, -10), (90, 30), (40, 70)),
        ((-10, -10), (40, 30), (90, -10), (90, 70), (40, 50), (-10, 70)),
        ((-5, 10), (30, 10), (30, 20), (-5, 20), (-5, 18), (20, 18), (20, 12), (-5, 12)),
    ]
    for outline in outlines:
        points = tuple((float(x), float(y)) for x, y in outline)
        (found,) = clipped(sample(PictureObject("x", shapely.Polygon(points).bounds, (points,)))).objects
        exact = shapely.Polygon(points).intersection(shapely.box(0, 0, *SIZE))
        assert shapely.Polygon(found.polygons_px[0]).area == pytest.approx(exact.area)
        assert shapely.Polygon(found.polygons_px[0]).bounds == pytest.approx(exact.bounds)


def test_an_outline_outside_is_left_out() -> None:
    """Of an object in two parts the one outside of the picture has no points left."""
    inside, outside = ((1.0, 1.0), (9.0, 1.0), (9.0, 9.0)), ((90.0, 1.0), (99.0, 1.0), (99.0, 9.0))
    (found,) = clipped(sample(PictureObject("x", (1, 1, 99, 9), (inside, outside)))).objects
    assert found.polygons_px == (inside,)


def test_another_size_than_stated_is_rejected() -> None:
    """Both sizes are named; swapped sides are spoken of; masks are held to the picture's size, too."""
    whole = PictureObject("x", (0, 0, 80, 60))
    with pytest.raises(DataError, match=r"^s.json#1: stated as 60x80, but picture a.png is 80x60; no option helps"):
        clipped(dataclasses.replace(sample(whole), stated_size=(60, 80)))
    with pytest.raises(DataError, match=r"stated as 81x60, but picture a.png is 80x60; correct the stated"):
        clipped(dataclasses.replace(sample(whole), stated_size=(81, 60)))
    with pytest.raises(DataError, match="object 1 'x': a mask of 60x80"):
        clipped(sample(dataclasses.replace(whole, mask=Rle("", (60, 80)))))


@pytest.mark.parametrize("value", [None, "", "x", True, [1], float("nan"), float("inf"), "1e999", 10**400, "1_000"])
def test_what_is_no_number_is_refused(value: object) -> None:
    """Coordinates are finite numbers or their text."""
    with pytest.raises(DataError, match="^here"):
        to_number(value, "here")


def test_points_that_are_not_finite_are_found() -> None:
    """NaN hides in corners and outlines, since no comparison sees it."""
    nan = float("nan")
    for each in (
        PictureObject("x", (0, 0, 1, 1), oriented_px=((nan, 0), (1, 1), (1, 1), (1, 1))),
        PictureObject("x", (0, 0, 1, 1), (((0, 0), (1, nan), (1, 1)),)),
        PictureObject("x", (0, 0, nan, 1)),
    ):
        with pytest.raises(DataError, match="object 4 'x': a coordinate is not finite"):
            check_object(each, 4, "here")
    with pytest.raises(DataError, match="object 4 has an empty class name"):
        check_object(PictureObject("  ", (0, 0, 1, 1)), 4, "here")


@pytest.mark.parametrize("order", list(itertools.permutations(("a.png", "a.jpg", "a.png.png", "b.png"))))
def test_ids_that_pictures_share_get_their_extensions(order: tuple[str, ...]) -> None:
    """In any order the ids of a set are told apart, and only those change that would be the same."""
    samples = [ObjectsSample(sample_id("s", name), name, None, (name,), (), "s") for name in order]
    found = {each.pictures[0]: each.id for each in told_apart(samples) if isinstance(each, ObjectsSample)}
    assert found == {"a.png": "s-a.png", "a.jpg": "s-a.jpg", "a.png.png": "s-a.png.png", "b.png": "s-b"}


def test_a_picture_that_is_listed_twice_keeps_its_id() -> None:
    """One picture under one id twice is a fault of the set, not two pictures: the id stays, and the second is refused later."""
    assert [each.id for each in told_apart([sample(), sample()]) if isinstance(each, ObjectsSample)] == ["s-1", "s-1"]
