"""Small aerial-like scenes, drawn from primitives whose place and number are known exactly.

Scenes are drawn at twice their size and halved at the end, so that edges look like those of a sensor.
Arrays: ``canvas_HWC`` float32 in 0..255, ``mask_HW`` bool.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw

from domains.draws import Draws

SIZE_PX = 64
_SCALE = 2
_S = SIZE_PX * _SCALE
_CELL = _S // 4  # a composed scene is a board of 4 x 4 cells

Colour = tuple[float, float, float]
Point = tuple[float, float]

_CROPS: tuple[Colour, ...] = ((176, 142, 110), (150, 112, 88), (196, 172, 120), (96, 128, 70), (122, 146, 78), (70, 108, 66))
_GRASSES: tuple[Colour, ...] = ((92, 126, 72), (106, 132, 76), (82, 118, 78), (120, 134, 84))
_WOODS: tuple[Colour, ...] = ((38, 68, 44), (46, 76, 42), (34, 62, 50), (58, 84, 48))
_WATERS: tuple[Colour, ...] = ((28, 52, 88), (36, 70, 104), (44, 86, 96), (62, 104, 110), (30, 60, 74))
_TILES: tuple[Colour, ...] = ((170, 84, 62), (150, 72, 58), (186, 104, 74), (128, 78, 66))
_SHEETS: tuple[Colour, ...] = ((214, 216, 218), (188, 192, 198), (160, 172, 188), (228, 224, 214), (132, 150, 178))
_PAINTS: tuple[Colour, ...] = ((220, 220, 224), (40, 44, 52), (190, 40, 40), (50, 80, 160), (150, 154, 160))
_ASPHALT: Colour = (112, 112, 116)


class Ground:
    """A picture in the making."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws
        self.canvas_HWC = np.zeros((_S, _S, 3), dtype=np.float32)

    def noise(self, cells: int, strength: float) -> np.ndarray:
        """float32[H, W]: smooth noise with ``cells`` bumps a side, within +-strength."""
        grid = (self.draws.uniforms(cells * cells).reshape(cells, cells) * 2 - 1).astype(np.float32)
        return np.asarray(Image.fromarray(grid).resize((_S, _S), Image.Resampling.BICUBIC)) * strength

    def fill(self, mask_HW: np.ndarray, colour: Colour, shade_HW: np.ndarray | float = 0.0) -> None:
        """Paint where the mask is true, a colour plus a shade that moves the three channels together."""
        shade_HW = np.broadcast_to(np.asarray(shade_HW, dtype=np.float32), (_S, _S))
        self.canvas_HWC[mask_HW] = np.asarray(colour, dtype=np.float32) + shade_HW[mask_HW][:, None]

    def picture(self) -> Image.Image:
        """The finished picture, with the haze, light and grain of its own acquisition."""
        light, haze = self.draws.between(0.82, 1.12), self.draws.between(0, 16)
        tint = np.asarray([self.draws.between(0.94, 1.04) for _ in range(3)], dtype=np.float32)
        grain_HWC = ((self.draws.uniforms(_S * _S) - 0.5) * 9).astype(np.float32).reshape(_S, _S, 1)
        canvas_HWC = (self.canvas_HWC + grain_HWC) * light * tint + haze
        halved_HWC = canvas_HWC.reshape(SIZE_PX, _SCALE, SIZE_PX, _SCALE, 3).mean(axis=(1, 3))
        return Image.fromarray(np.clip(np.rint(halved_HWC), 0, 255).astype(np.uint8))


def everywhere() -> np.ndarray:
    """The mask of the whole picture."""
    return np.ones((_S, _S), dtype=bool)


def _mask(draw: Callable[[ImageDraw.ImageDraw], None]) -> np.ndarray:
    canvas = Image.new("L", (_S, _S))
    draw(ImageDraw.Draw(canvas))
    return np.asarray(canvas) > 127


def polygon(points: list[Point]) -> np.ndarray:
    """The mask of a filled polygon."""
    return _mask(lambda pen: pen.polygon(points, fill=255))


def ellipse(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """The mask of a filled ellipse."""
    return _mask(lambda pen: pen.ellipse((left, top, right, bottom), fill=255))


def band(points: list[Point], width: float) -> np.ndarray:
    """The mask of a line with round joints."""

    def draw(pen: ImageDraw.ImageDraw) -> None:
        pen.line(points, fill=255, width=round(width))
        for x, y in points:
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)

    return _mask(draw)


def box(centre: Point, length: float, width: float, angle: float = 0.0) -> list[Point]:
    """The corners of a rectangle turned by ``angle`` radians."""
    along, across = np.array([np.cos(angle), np.sin(angle)]) * length / 2, np.array([-np.sin(angle), np.cos(angle)]) * width / 2
    corners = [np.asarray(centre) + a * along + b * across for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return [(float(x), float(y)) for x, y in corners]


def paint_grass(ground: Ground, mask_HW: np.ndarray) -> None:
    """Meadow: soft patches without direction."""
    ground.fill(mask_HW, ground.draws.pick(_GRASSES), ground.noise(5, 13) + ground.noise(20, 5))


def paint_crop(ground: Ground, mask_HW: np.ndarray) -> None:
    """A field with furrows."""
    draws = ground.draws
    angle, period = draws.between(0, np.pi), draws.between(7, 11)
    ys, xs = np.mgrid[:_S, :_S]
    furrows_HW = np.sin((xs * np.cos(angle) + ys * np.sin(angle)) * 2 * np.pi / period) * draws.between(14, 22)
    ground.fill(mask_HW, draws.pick(_CROPS), furrows_HW + ground.noise(4, 6))


def paint_forest(ground: Ground, mask_HW: np.ndarray) -> None:
    """Canopy: crowns lit from the north-west."""
    draws = ground.draws
    base = draws.pick(_WOODS)
    shade = Image.new("F", (_S, _S), -10.0)
    pen = ImageDraw.Draw(shade)
    crowns = 420
    for x, y, size, bright in draws.uniforms(crowns * 4).reshape(crowns, 4) * (_S, _S, 3.0, 26):
        radius = 3 + size
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=bright - 14)
        pen.ellipse((x - radius * 0.8, y - radius * 0.8, x, y), fill=bright)
    ground.fill(mask_HW, base, np.asarray(shade) + ground.noise(4, 6))


def paint_water(ground: Ground, mask_HW: np.ndarray) -> None:
    """Water: nearly flat, with faint ripples."""
    ripples_HW = np.asarray(Image.fromarray(ground.noise(32, 4)).resize((_S, _S)))
    ground.fill(mask_HW, ground.draws.pick(_WATERS), ground.noise(3, 8) + ripples_HW)


def paint_road(ground: Ground, points: list[Point], width: float, marked: bool = True) -> None:
    """Asphalt with a light verge, and a middle line where it is wide."""
    grey = ground.draws.between(-8, 22)
    ground.fill(band(points, width + 3), (158, 150, 132))
    ground.fill(band(points, width), _ASPHALT, grey + ground.noise(16, 4))
    if marked:
        ground.fill(band(points, 1.6), (226, 222, 204))


def paint_roof(ground: Ground, centre: Point, length: float, width: float, angle: float, industrial: bool) -> None:
    """A building: its shadow to the south-east, a gable roof (two tones) or a flat one with vents."""
    draws = ground.draws
    colour = draws.pick(_SHEETS if industrial else _TILES)
    shift = 2.6 if industrial else 1.8
    shadow = box((centre[0] + shift, centre[1] + shift), length, width, angle)
    ground.fill(polygon(shadow), (34, 36, 40))
    ground.fill(polygon(box(centre, length, width, angle)), colour)
    lean = (-np.sin(angle) * width / 4, np.cos(angle) * width / 4)
    if not industrial:
        ground.fill(polygon(box((centre[0] + lean[0], centre[1] + lean[1]), length, width / 2, angle)), colour, -34)
        return
    for step in (-0.28, 0.0, 0.28):
        vent = (centre[0] + np.cos(angle) * length * step, centre[1] + np.sin(angle) * length * step)
        ground.fill(polygon(box(vent, 2, width * 0.6, angle)), colour, -30)


def paint_vehicle(ground: Ground, centre: Point, angle: float, length: float = 5.0) -> None:
    """A car or a lorry from above."""
    ground.fill(polygon(box(centre, length, 2.6, angle)), ground.draws.pick(_PAINTS))


def paint_tree(ground: Ground, x: float, y: float, radius: float) -> None:
    """A crown with its shadow."""
    ground.fill(ellipse(x - radius + 1.5, y - radius + 1.5, x + radius + 1.5, y + radius + 1.5), (38, 48, 36))
    ground.fill(ellipse(x - radius, y - radius, x + radius, y + radius), (52, 88, 48), ground.draws.between(-8, 14))


def _countryside(ground: Ground) -> None:
    """Land that says nothing of the class drawn over it: meadow, fields or wood on either side."""
    draws = ground.draws
    paints = (paint_grass, paint_crop, paint_forest)
    draws.pick(paints)(ground, everywhere())
    cut = draws.between(0.25, 0.75) * _S
    tilt = draws.between(-0.3, 0.3) * _S
    half = polygon([(cut + tilt, 0), (_S, 0), (_S, _S), (cut - tilt, _S)])
    draws.pick(paints)(ground, half if draws.chance(0.5) else half.T)


def _way(draws: Draws, bend: float) -> tuple[list[Point], float]:
    """A smooth way through the picture from edge to edge, and its mean direction in radians."""
    angle = draws.between(0, np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    middle = np.array([_S / 2, _S / 2]) + across * draws.between(-0.2, 0.2) * _S
    phase, waves, reach = draws.between(0, 2 * np.pi), draws.between(0.6, 1.3), draws.between(0.4, 1.0) * bend * _S
    steps = np.linspace(-0.8, 0.8, 40)
    line = [middle + along * step * _S + across * np.sin(phase + step * waves * 2 * np.pi) * reach for step in steps]
    return [(float(x), float(y)) for x, y in line], angle


def annual_crop(ground: Ground) -> None:
    """Fields side by side, cut at odd angles."""
    draws = ground.draws
    paint_crop(ground, everywhere())
    angle = draws.between(0, np.pi)
    for share in (0.33, 0.66)[: draws.integer(1, 2)]:
        middle = np.array([_S * share, _S / 2])
        centre = middle + np.array([np.cos(angle), np.sin(angle)]) * _S
        paint_crop(ground, polygon(box((float(centre[0]), float(centre[1])), 2 * _S, 4 * _S, angle)))
    if draws.chance(0.6):
        corner = draws.pick(((0, 0), (_S, 0), (0, _S), (_S, _S)))
        paint_crop(ground, polygon(box(corner, draws.between(0.6, 1.1) * _S, draws.between(0.6, 1.1) * _S, angle)))


def forest(ground: Ground) -> None:
    """Closed canopy, now and then with a small clearing."""
    draws = ground.draws
    paint_forest(ground, everywhere())
    if draws.chance(0.3):
        x, y, radius = draws.between(0, _S), draws.between(0, _S), draws.between(6, 14)
        paint_grass(ground, ellipse(x - radius, y - radius, x + radius, y + radius * 0.8))


def highway(ground: Ground) -> None:
    """A wide marked road with traffic through any land."""
    draws = ground.draws
    _countryside(ground)
    points, _ = _way(draws, 0.12)
    width = draws.between(9, 15)
    paint_road(ground, points, width)
    for place in draws.shuffled(range(8, 32))[: draws.integer(2, 5)]:
        (x0, y0), (x1, y1) = points[place], points[place + 1]
        angle = float(np.arctan2(y1 - y0, x1 - x0))
        side = width / 4 * draws.pick((-1, 1))
        paint_vehicle(ground, (x0 - np.sin(angle) * side, y0 + np.cos(angle) * side), angle, draws.pick((4.5, 5.0, 8.0)))


def industrial(ground: Ground) -> None:
    """Large flat roofs on a paved yard, lorries and cars beside them."""
    draws = ground.draws
    ground.fill(everywhere(), _ASPHALT, draws.between(-12, 36) + ground.noise(6, 10))
    if draws.chance(0.7):
        paint_grass(ground, polygon(box((draws.pick((0, _S)), draws.between(0, _S)), draws.between(20, 50), 2 * _S)))
    row = draws.between(0.47, 0.53) * _S
    for step in range(draws.integer(5, 14)):
        paint_vehicle(ground, (8 + step * 7.0, row), np.pi / 2)
    angle = draws.between(-0.25, 0.25) + draws.pick((0.0, np.pi / 2))
    for x, y in draws.shuffled([(0.26, 0.25), (0.74, 0.27), (0.28, 0.75), (0.75, 0.77)])[: draws.integer(3, 4)]:
        paint_roof(ground, (x * _S, y * _S), draws.between(38, 54), draws.between(26, 38), angle, industrial=True)


def pasture(ground: Ground) -> None:
    """Meadows parted by hedges, with lone trees."""
    draws = ground.draws
    paint_grass(ground, everywhere())
    if draws.chance(0.6):
        half, _ = _way(draws, 0.02)
        paint_grass(ground, polygon([*half, (_S * 3.0, _S * 3.0), (_S * 3.0, -_S * 2.0)]))
    for _ in range(draws.integer(1, 2)):
        points, _ = _way(draws, 0.05)
        ground.fill(band(points, draws.between(2.5, 4)), (50, 78, 48), ground.noise(24, 12))
    for _ in range(draws.integer(2, 7)):
        paint_tree(ground, draws.between(4, _S - 4), draws.between(4, _S - 4), draws.between(2.5, 4.5))


def residential(ground: Ground) -> None:
    """Rows of small gable roofs in gardens, along streets."""
    draws = ground.draws
    paint_grass(ground, everywhere())
    angle, pitch = draws.between(0, np.pi), draws.between(15, 19)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    phase = draws.between(-0.5, 0.5)
    for row in range(-7, 8):
        y = (row + phase) * pitch
        if row % 3 == 0:
            ends = [tuple(turn @ np.array([x, y]) + _S / 2) for x in (-2 * _S, 2 * _S)]
            paint_road(ground, [(float(x), float(y)) for x, y in ends], 5, marked=False)
            continue
        for column in range(-7, 8):
            place = turn @ np.array([column * pitch + draws.between(-2, 2), y + draws.between(-1.5, 1.5)]) + _S / 2
            if not (-8 < place[0] < _S + 8 and -8 < place[1] < _S + 8):
                continue
            if draws.chance(0.12):
                paint_tree(ground, float(place[0]), float(place[1]), draws.between(3, 5))
            else:
                paint_roof(ground, (float(place[0]), float(place[1])), draws.between(9, 12), draws.between(7, 9), angle, False)


def river(ground: Ground) -> None:
    """A winding band of water through any land."""
    draws = ground.draws
    _countryside(ground)
    points, _ = _way(draws, 0.22)
    width = draws.between(15, 30)
    ground.fill(band(points, width + 5), (128, 122, 92), ground.noise(8, 8))
    paint_water(ground, band(points, width))


def sea_lake(ground: Ground) -> None:
    """Open water, at times with a shore along one side."""
    draws = ground.draws
    if draws.chance(0.55):
        paint_water(ground, everywhere())
        return
    _countryside(ground)
    angle, reach = draws.between(0, 2 * np.pi), draws.between(0.4, 0.76)
    x, y, radius = _S / 2 + np.cos(angle) * reach * _S, _S / 2 + np.sin(angle) * reach * _S, _S * 0.95
    ground.fill(ellipse(x - radius - 3, y - radius - 3, x + radius + 3, y + radius + 3), (196, 184, 148), ground.noise(8, 8))
    paint_water(ground, ellipse(x - radius, y - radius, x + radius, y + radius))


# EuroSAT's own class names (Helber et al., IEEE JSTARS 2019, arXiv 1709.00029); PermanentCrop and HerbaceousVegetation
# cannot be drawn apart from AnnualCrop and Pasture at this size, so they are left out.
CLASSES: Mapping[str, Callable[[Ground], None]] = MappingProxyType(
    {
        "AnnualCrop": annual_crop,
        "Forest": forest,
        "Highway": highway,
        "Industrial": industrial,
        "Pasture": pasture,
        "Residential": residential,
        "River": river,
        "SeaLake": sea_lake,
    }
)


def draw_class(name: str, draws: Draws) -> Image.Image:
    """A 64 px RGB picture of one class."""
    ground = Ground(draws)
    CLASSES[name](ground)
    return ground.picture()


@dataclasses.dataclass(frozen=True)
class Area:
    """A patch of land or water: what it is, its form (rectangular, square or circular) and its size by cells covered."""

    kind: str
    form: str
    size: str


@dataclasses.dataclass(frozen=True)
class Scene:
    """What stands in a composed picture: the exact truth behind every question."""

    roads: int
    residential: int
    commercial: int
    areas: tuple[Area, ...]

    @property
    def buildings(self) -> int:
        """Houses and halls together."""
        return self.residential + self.commercial


AREA_KINDS = ("water area", "forest", "farmland")
_AREA_CELLS = {"small": (1, 1), "medium": (2, 1), "large": (2, 2)}
_AREA_PAINTS = {"water area": paint_water, "forest": paint_forest, "farmland": paint_crop}


def _free_block(free: set[tuple[int, int]], wide: int, high: int, columns: set[int], rows: set[int]) -> list[tuple[int, int]]:
    """Where a block of cells fits with no road through it."""
    return [
        (x, y)
        for y in range(5 - high)
        for x in range(5 - wide)
        if all((x + i, y + j) in free for i in range(wide) for j in range(high))
        and not any(x + i in columns for i in range(1, wide))
        and not any(y + j in rows for j in range(1, high))
    ]


def _place_area(ground: Ground, free: set[tuple[int, int]], columns: set[int], rows: set[int], kind: str) -> Area | None:
    """Paint one area on free cells and take them away; None where none of the drawn size fits."""
    draws = ground.draws
    size = draws.pick(("small", "small", "medium", "large"))
    wide, high = _AREA_CELLS[size] if draws.chance(0.5) else _AREA_CELLS[size][::-1]
    places = _free_block(free, wide, high, columns, rows)
    if not places:
        return None
    x, y = draws.pick(places)
    gap = 3.5
    left, top, right, bottom = x * _CELL + gap, y * _CELL + gap, (x + wide) * _CELL - gap, (y + high) * _CELL - gap
    circular = kind == "water area" and wide == high and draws.chance(0.5)
    mask_HW = (
        ellipse(left, top, right, bottom) if circular else polygon([(left, top), (right, top), (right, bottom), (left, bottom)])
    )
    _AREA_PAINTS[kind](ground, mask_HW)
    free -= {(x + i, y + j) for i in range(wide) for j in range(high)}
    return Area(kind, "circular" if circular else "square" if wide == high else "rectangular", size)


def compose(draws: Draws) -> tuple[Image.Image, Scene]:
    """A 64 px picture of several things, with what stands in it.

    A board of 4 x 4 cells keeps things apart: roads run along the lines between cells from edge to edge, areas take whole
    cells, halls one cell, houses a quarter of a cell.
    """
    ground = Ground(draws)
    paint_grass(ground, everywhere())
    urban = draws.chance(0.45)
    columns = set(draws.shuffled((1, 2, 3))[: draws.pick((0, 1, 1, 2))])
    rows = set(draws.shuffled((1, 2, 3))[: draws.pick((0, 0, 1, 2))])
    free = {(x, y) for x in range(4) for y in range(4)}
    areas = []
    for kind in draws.shuffled([kind for kind in AREA_KINDS for _ in range(draws.pick((0, 0, 1, 1, 2)))]):
        if len(free) > (9 if urban else 4) and (area := _place_area(ground, free, columns, rows, kind)):
            areas.append(area)
    for column in sorted(columns):
        paint_road(ground, [(column * _CELL, -8), (column * _CELL, _S + 8)], 5)
    for row in sorted(rows):
        paint_road(ground, [(-8, row * _CELL), (_S + 8, row * _CELL)], 5)
    cells = draws.shuffled(sorted(free))
    commercial = min(draws.pick((0, 1, 2, 3, 4) if urban else (0, 0, 0, 1)), len(cells))
    for x, y in cells[:commercial]:
        centre = ((x + 0.5) * _CELL, (y + 0.5) * _CELL)
        paint_roof(ground, centre, draws.between(19, 22), draws.between(14, 17), draws.pick((0.0, np.pi / 2)), industrial=True)
    quarters = [(x + i, y + j) for x, y in cells[commercial:] for i in (0.27, 0.73) for j in (0.27, 0.73)]
    wanted = draws.integer(8, 20) if urban else draws.integer(0, 4)
    houses = quarters[:wanted] if urban else draws.shuffled(quarters)[:wanted]
    for left, top in houses:
        turn = draws.pick((0.0, np.pi / 2))
        paint_roof(ground, (left * _CELL, top * _CELL), draws.between(9, 10.5), draws.between(7, 8.5), turn, industrial=False)
    return ground.picture(), Scene(len(columns) + len(rows), len(houses), commercial, tuple(areas))
