"""Street scenes as a vehicle's cameras see them, drawn from primitives whose names, colours and boxes are known exactly.

Boxes are whole pixels of a 1600x900 view (x1, y1, x2, y2); ``draw_view`` draws at any size. What is drawn of a thing fills its
box to the edges, and things never overlap: each stands in a strip of its own.
"""

import dataclasses

from PIL import Image, ImageDraw

from adapt.boxes import Box
from domains.draws import Draws

VIEW_SIZE = (1600, 900)
HORIZON = 380
STRIPS = 4
Colour = tuple[int, int, int]
PAINTS: dict[str, Colour] = {
    "red": (200, 36, 36), "blue": (36, 70, 190), "white": (236, 238, 240), "black": (24, 26, 30),
    "yellow": (236, 196, 30), "green": (30, 130, 60),
}  # fmt: skip
LIGHTS: dict[str, Colour] = {"red": (255, 30, 30), "green": (40, 230, 80)}
# Width and height of the things in pixels of a view, from small to large.
SIZES: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "car": ((250, 150), (370, 220)),
    "truck": ((290, 240), (370, 300)),
    "bus": ((310, 270), (380, 330)),
    "pedestrian": ((80, 220), (120, 330)),
    "traffic_cone": ((100, 140), (140, 190)),
    "barrier": ((280, 110), (370, 150)),
    "traffic_light": ((70, 180), (90, 230)),
}
VEHICLES = ("car", "truck", "bus")
SKIES: dict[str, tuple[Colour, Colour]] = {  # the sky, and what light falls on everything, in hundredths
    "daytime": ((150, 190, 230), (100, 100, 100)),
    "dawn/dusk": ((226, 150, 110), (86, 70, 70)),
    "night": ((14, 16, 34), (38, 40, 54)),
}


@dataclasses.dataclass(frozen=True)
class Thing:
    """What stands somewhere. ``colour`` is a name of PAINTS, of LIGHTS for a traffic light; ``braking`` lights red lamps."""

    name: str
    colour: str
    box_px: Box
    braking: bool = False

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle of the box."""
        x1, y1, x2, y2 = self.box_px
        return (x1 + x2) / 2, (y1 + y2) / 2


@dataclasses.dataclass(frozen=True)
class View:
    """What one camera sees. ``shift`` moves the lane's marks, ``ground`` are the seeds of what does not matter."""

    things: tuple[Thing, ...]
    timeofday: str = "daytime"
    weather: str = "clear"
    shift: float = 0.0
    ground: int = 0


def make_thing(name: str, strip: int, draws: Draws) -> Thing:
    """A thing of that name in one of the STRIPS of a view, standing on the road or, a light, hanging above it."""
    (low_width, low_height), (high_width, high_height) = SIZES[name]
    grown = draws.between(0, 1)
    width = round(low_width + grown * (high_width - low_width))
    height = round(low_height + grown * (high_height - low_height))
    room = VIEW_SIZE[0] // STRIPS
    left = strip * room + draws.integer(4, room - width - 4)
    bottom = draws.integer(130, 150) + height if name == "traffic_light" else draws.integer(HORIZON + height // 2 + 120, 880)
    colour = draws.pick(tuple(LIGHTS if name == "traffic_light" else PAINTS))
    braking = name in VEHICLES and draws.chance(0.5)
    return Thing(name, colour, (left, bottom - height, left + width, bottom), braking)


def make_view(draws: Draws, names: tuple[str, ...], timeofday: str = "daytime", weather: str = "clear") -> View:
    """A view with a thing of each name, each in a strip of its own, from left to right in a drawn order."""
    strips = draws.shuffled(range(STRIPS))[: len(names)]
    things = tuple(make_thing(name, strip, draws) for name, strip in zip(names, strips, strict=True))
    return View(things, timeofday, weather, draws.between(0, 1), draws.integer(0, 10**6))


def draw_view(view: View, size: tuple[int, int] = VIEW_SIZE) -> Image.Image:
    """An RGB picture of the view."""
    pen = _Pen(size, SKIES[view.timeofday][1])
    _draw_ground(pen, view)
    for thing in view.things:
        _DRAW.get(thing.name, _draw_vehicle)(pen, thing)
    if view.weather in ("rainy", "snowy"):
        _draw_weather(pen, view)
    return pen.picture


class _Pen:
    """Draws in pixels of a 1600x900 view on a canvas of any size, in the light of the hour."""

    def __init__(self, size: tuple[int, int], light: Colour) -> None:
        self.picture = Image.new("RGB", size)
        self._pen = ImageDraw.Draw(self.picture)
        self._across, self._down = size[0] / VIEW_SIZE[0], size[1] / VIEW_SIZE[1]
        self._light = light

    def _points(self, points: tuple[tuple[float, float], ...]) -> list[tuple[int, int]]:
        return [(round(x * self._across), round(y * self._down)) for x, y in points]

    def _lit(self, colour: Colour, glows: bool) -> Colour:
        red, green, blue = (value if glows else value * part // 100 for value, part in zip(colour, self._light, strict=True))
        return red, green, blue

    def box(self, x1: float, y1: float, x2: float, y2: float, colour: Colour, glows: bool = False) -> None:
        """Fill [x1, x2) x [y1, y2)."""
        (left, top), (right, bottom) = self._points(((x1, y1), (x2, y2)))
        self._pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=self._lit(colour, glows))

    def circle(self, x1: float, y1: float, x2: float, y2: float, colour: Colour, glows: bool = False) -> None:
        """Fill the ellipse in that box."""
        (left, top), (right, bottom) = self._points(((x1, y1), (x2, y2)))
        self._pen.ellipse((left, top, max(left, right - 1), max(top, bottom - 1)), fill=self._lit(colour, glows))

    def polygon(self, *points: tuple[float, float], colour: Colour) -> None:
        """Fill a polygon."""
        self._pen.polygon(self._points(points), fill=self._lit(colour, False))


def _draw_ground(pen: _Pen, view: View) -> None:
    draws = Draws(view.ground, "streets/ground", 0)
    width, height = VIEW_SIZE
    sky = SKIES[view.timeofday][0]
    grey = (150, 154, 160) if view.weather in ("rainy", "snowy", "overcast", "foggy") else sky
    pen.box(0, 0, width, HORIZON, sky if view.timeofday == "night" else grey, glows=True)
    left = 0
    while left < width:
        wide = draws.integer(120, 300)
        tone = draws.integer(96, 150)
        pen.box(left, HORIZON - draws.integer(40, 220), min(left + wide, width), HORIZON, (tone, tone - 8, tone - 20))
        left += wide
    pen.box(0, HORIZON, width, height, (112, 128, 96))
    pen.polygon((-500, height), (620, HORIZON), (980, HORIZON), (width + 500, height), colour=(92, 94, 98))
    for step in range(5):
        depth = ((step + view.shift) % 5 / 5) ** 2
        top = HORIZON + depth * (height - HORIZON)
        pen.box(796 - 10 * depth, top, 804 + 10 * depth, top + 10 + 60 * depth, (222, 220, 210))


def _draw_vehicle(pen: _Pen, thing: Thing) -> None:
    """From behind: body, rear window, wheels and lamps; a bus has rows of windows, a truck a box on a dark frame."""
    x1, y1, x2, y2 = thing.box_px
    wide, high = x2 - x1, y2 - y1
    paint, glass = PAINTS[thing.colour], (90, 120, 140)
    if thing.name == "car":
        pen.polygon((x1 + 0.2 * wide, y1), (x2 - 0.2 * wide, y1), (x2, y1 + 0.45 * high), (x1, y1 + 0.45 * high), colour=glass)
        pen.box(x1 + 0.2 * wide, y1, x2 - 0.2 * wide, y1 + 0.08 * high, paint)
        pen.box(x1, y1 + 0.42 * high, x2, y1 + 0.85 * high, paint)
    elif thing.name == "bus":
        pen.box(x1, y1, x2, y1 + 0.9 * high, paint)
        for step in range(4):
            pen.box(
                x1 + (0.06 + 0.23 * step) * wide, y1 + 0.12 * high, x1 + (0.24 + 0.23 * step) * wide, y1 + 0.45 * high, glass
            )
    else:
        pen.box(x1, y1, x2, y1 + 0.7 * high, paint)
        pen.box(x1, y1 + 0.7 * high, x2, y1 + 0.84 * high, (60, 62, 66))
        pen.box(x1 + 0.49 * wide, y1 + 0.04 * high, x1 + 0.51 * wide, y1 + 0.66 * high, (60, 62, 66))
    for left in (x1 + 0.06 * wide, x2 - 0.24 * wide):
        pen.box(left, y1 + 0.8 * high, left + 0.18 * wide, y2, (16, 16, 18))
    for left in (x1 + 0.02 * wide, x2 - 0.16 * wide):
        lamp = LIGHTS["red"] if thing.braking else (110, 20, 20)
        pen.box(left, y1 + 0.56 * high, left + 0.14 * wide, y1 + 0.68 * high, lamp, glows=thing.braking)


def _draw_pedestrian(pen: _Pen, thing: Thing) -> None:
    x1, y1, x2, y2 = thing.box_px
    wide, high = x2 - x1, y2 - y1
    pen.circle(x1 + 0.2 * wide, y1, x2 - 0.2 * wide, y1 + 0.24 * high, (222, 176, 144))
    pen.box(x1, y1 + 0.24 * high, x2, y1 + 0.62 * high, PAINTS[thing.colour])
    pen.box(x1 + 0.08 * wide, y1 + 0.62 * high, x1 + 0.42 * wide, y2, (40, 44, 66))
    pen.box(x2 - 0.42 * wide, y1 + 0.62 * high, x2 - 0.08 * wide, y2, (40, 44, 66))


def _draw_cone(pen: _Pen, thing: Thing) -> None:
    x1, y1, x2, y2 = thing.box_px
    middle, base = (x1 + x2) / 2, y2 - 0.12 * (y2 - y1)
    pen.polygon((middle - 8, y1), (middle + 8, y1), (x2 - 16, base), (x1 + 16, base), colour=(255, 110, 20))
    pen.box(x1 + 26, y1 + 0.5 * (y2 - y1), x2 - 26, y1 + 0.62 * (y2 - y1), (245, 245, 245))
    pen.box(x1, base, x2, y2, (220, 84, 10))


def _draw_barrier(pen: _Pen, thing: Thing) -> None:
    x1, y1, x2, y2 = thing.box_px
    stripe = (x2 - x1) / 6
    for step in range(6):
        colour = ((214, 40, 40), (245, 245, 245))[step % 2]
        pen.box(x1 + step * stripe, y1, x1 + (step + 1) * stripe, y1 + 0.6 * (y2 - y1), colour)
    for left in (x1, x2 - 30):
        pen.box(left, y1 + 0.6 * (y2 - y1), left + 30, y2, (70, 70, 74))


def _draw_light(pen: _Pen, thing: Thing) -> None:
    x1, y1, x2, y2 = thing.box_px
    pen.box(x1, y1, x2, y2, (20, 22, 24))
    third = (y2 - y1) / 3
    for step, name in enumerate(("red", "off", "green")):
        lit = name == thing.colour
        colour = LIGHTS[thing.colour] if lit else (54, 56, 58)
        pen.circle(x1 + 8, y1 + step * third + 6, x2 - 8, y1 + (step + 1) * third - 6, colour, glows=lit)


def _draw_weather(pen: _Pen, view: View) -> None:
    draws = Draws(view.ground, "streets/weather", 0)
    for x, y in draws.uniforms(400).reshape(200, 2) * VIEW_SIZE:
        wide, high = (3, 44) if view.weather == "rainy" else (10, 10)
        pen.box(x, y, x + wide, y + high, (214, 222, 232), glows=True)


_DRAW = {
    "pedestrian": _draw_pedestrian,
    "traffic_cone": _draw_cone,
    "barrier": _draw_barrier,
    "traffic_light": _draw_light,
}
