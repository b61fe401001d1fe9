"""Small blood smears, drawn from discs whose place, kind and number are known exactly.

Drawn at twice the size and halved at the end, so that edges look like those of a sensor. Colours follow Wright's stain: red
cells pale red with a lighter middle, nuclei purple, platelets small and purple. Coordinates are pixels of the finished picture.
Arrays: ``canvas_HWC`` float32 in 0..255, ``mask_HW`` bool.
"""

import dataclasses

import numpy as np
from PIL import Image

from domains.draws import Draws

SIZE_PX = 96
_SCALE = 2

Colour = tuple[float, float, float]
RED, PLATELET = "red cell", "platelet"


@dataclasses.dataclass(frozen=True)
class Look:
    """How a cell with a nucleus looks: lobes of the nucleus and their share of the radius, colours, and how many granules."""

    body: Colour
    nucleus: Colour
    lobes: int
    lobe_share: float
    granule: Colour = (0.0, 0.0, 0.0)
    granules: int = 0
    notched: bool = False


LOOKS = {
    "basophil": Look((206, 188, 224), (118, 78, 160), 2, 0.42, (58, 34, 112), 34),
    "eosinophil": Look((238, 196, 176), (112, 66, 152), 2, 0.4, (232, 112, 62), 40),
    "erythroblast": Look((176, 166, 196), (62, 34, 82), 1, 0.5),
    "immature granulocyte": Look((196, 178, 222), (150, 104, 186), 1, 0.78, (128, 66, 148), 12),
    "lymphocyte": Look((166, 190, 236), (96, 54, 142), 1, 0.86),
    "monocyte": Look((184, 188, 206), (132, 94, 170), 1, 0.76, notched=True),
    "neutrophil": Look((240, 214, 224), (104, 56, 146), 3, 0.34),
}
WHITE_KINDS = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")  # those of healthy blood


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell: its kind and its box x1, y1, x2, y2 in pixels of the picture."""

    kind: str
    box_px: tuple[float, float, float, float]

    @property
    def is_white(self) -> bool:
        """Whether it is one of the white cells."""
        return self.kind in WHITE_KINDS


@dataclasses.dataclass(frozen=True)
class Smear:
    """A finished picture and its cells. ``places_HW`` (uint8) is 1 + the place in ``cells`` of the cell that a pixel shows."""

    picture: Image.Image
    cells: tuple[Cell, ...]
    places_HW: np.ndarray


class Slide:
    """A smear in the making."""

    def __init__(self, draws: Draws, size_px: int = SIZE_PX) -> None:
        self.draws, self.size_px = draws, size_px
        side = size_px * _SCALE
        self._y, self._x = np.mgrid[0:side, 0:side].astype(np.float32) / _SCALE + 0.5 / _SCALE
        ground = [draws.between(228, 242), draws.between(216, 230), draws.between(220, 236)]
        self.canvas_HWC = np.ones((side, side, 3), np.float32) * np.asarray(ground, np.float32)
        self.cells: list[Cell] = []
        self._places_HW = np.zeros((side, side), np.uint8)

    def disc(self, x: float, y: float, radius: float, wobble: float = 0.0) -> np.ndarray:
        """The mask of a disc; ``wobble`` bends its edge by up to that share of the radius."""
        across, down = self._x - x, self._y - y
        edge: np.ndarray | float = radius
        if wobble:
            turn, phase = np.arctan2(down, across), [self.draws.between(0, 2 * np.pi) for _ in range(2)]
            edge = radius * (1 - wobble + wobble * (np.cos(2 * turn + phase[0]) + np.cos(3 * turn + phase[1])) / 2)
        return np.hypot(across, down) < edge

    def fill(self, mask_HW: np.ndarray, colour: Colour, shade: float = 0.0) -> None:
        """Paint where the mask is true, in a colour moved by up to ``shade``."""
        self.canvas_HWC[mask_HW] = np.asarray(colour, np.float32) + self.draws.between(-shade, shade)

    def add(self, kind: str, x: float, y: float, radius: float) -> None:
        """Draw a cell; what lies outside the picture is cut off, and the box with it."""
        body_HW = self.disc(x, y, radius, 0.06)
        if kind == RED:
            self.fill(body_HW, (208, 126, 122), 8)
            self.fill(self.disc(x, y, radius * 0.42), (222, 158, 152), 6)
        elif kind == PLATELET:
            self.fill(body_HW, (150, 104, 170), 10)
        else:
            self._paint_nucleated(LOOKS[kind], body_HW, x, y, radius)
        down, across = np.nonzero(body_HW)
        box = (across.min() / _SCALE, down.min() / _SCALE, (across.max() + 1) / _SCALE, (down.max() + 1) / _SCALE)
        self.cells.append(Cell(kind, tuple(float(value) for value in box)))  # type: ignore[arg-type]
        self._places_HW[body_HW] = len(self.cells)

    def _paint_nucleated(self, look: Look, body_HW: np.ndarray, x: float, y: float, radius: float) -> None:
        self.fill(body_HW, look.body, 6)
        nucleus_HW, start, share = np.zeros_like(body_HW), self.draws.between(0, 2 * np.pi), look.lobe_share
        for lobe in range(look.lobes):
            turn = start + lobe * 2 * np.pi / look.lobes + self.draws.between(-0.2, 0.2)
            away = 0.0 if look.lobes == 1 else radius * (0.36 if look.lobes == 2 else 0.44)
            nucleus_HW |= self.disc(x + away * np.cos(turn), y + away * np.sin(turn), radius * share, 0.05)
        if look.notched:
            nucleus_HW &= ~self.disc(x + radius * 0.55 * np.cos(start), y + radius * 0.55 * np.sin(start), radius * 0.45)
        self.fill(nucleus_HW & body_HW, look.nucleus, 8)
        for _ in range(look.granules):
            turn, away = self.draws.between(0, 2 * np.pi), radius * 0.88 * self.draws.between(0, 1) ** 0.5
            grain_HW = self.disc(x + away * np.cos(turn), y + away * np.sin(turn), max(0.6, radius * 0.08))
            self.fill(grain_HW & body_HW, look.granule, 14)

    def finish(self) -> Smear:
        """The smear, with the light and grain of its own acquisition. A pixel that a cell only touches is the cell's."""
        side, light = self.size_px * _SCALE, self.draws.between(0.9, 1.04)
        grain_HWC = ((self.draws.uniforms(side * side) - 0.5) * 10).astype(np.float32).reshape(side, side, 1)
        canvas_HWC = (self.canvas_HWC + grain_HWC) * light
        blocks = (self.size_px, _SCALE, self.size_px, _SCALE)
        halved_HWC = canvas_HWC.reshape(*blocks, 3).mean(axis=(1, 3))
        picture = Image.fromarray(np.clip(np.rint(halved_HWC), 0, 255).astype(np.uint8))
        return Smear(picture, tuple(self.cells), self._places_HW.reshape(blocks).max(axis=(1, 3)))


def compose(draws: Draws) -> Smear:
    """A smear of up to eight red cells, five platelets and two white cells, none touching another or the edge."""
    slide = Slide(draws)
    whites = draws.pick((0, 1, 1, 1, 2))
    wanted = [(draws.pick(WHITE_KINDS), draws.between(12, 15)) for _ in range(whites)]
    wanted += [(RED, draws.between(7, 9)) for _ in range(draws.integer(0, 8))]
    wanted += [(PLATELET, draws.between(2.2, 3.2)) for _ in range(draws.pick((0, 0, 1, 2, 3, 4, 5)))]
    placed: list[tuple[float, float, float]] = []
    for kind, radius in wanted:
        for _ in range(60):
            x, y = draws.between(radius + 1, SIZE_PX - radius - 1), draws.between(radius + 1, SIZE_PX - radius - 1)
            if all(np.hypot(x - other[0], y - other[1]) > radius + other[2] + 2 for other in placed):
                placed.append((x, y, radius))
                slide.add(kind, x, y, radius)
                break
    return slide.finish()


def draw_single(kind: str, draws: Draws, size_px: int = 28) -> Image.Image:
    """One cell in the middle of a small picture, with red cells cut off at the edges around it."""
    slide, middle = Slide(draws, size_px), size_px / 2
    for _ in range(draws.integer(1, 3)):
        turn, away = draws.between(0, 2 * np.pi), draws.between(0.62, 0.8) * size_px
        slide.add(RED, *_edge(middle + away * np.cos(turn), middle + away * np.sin(turn), size_px), draws.between(5, 7))
    radius = draws.between(2.4, 4) if kind == PLATELET else draws.between(9, 11)
    slide.add(kind, middle + draws.between(-1.5, 1.5), middle + draws.between(-1.5, 1.5), radius)
    return slide.finish().picture


def _edge(x: float, y: float, size_px: int) -> tuple[float, float]:
    """A point kept near enough that a disc around it shows."""
    return float(np.clip(x, -3, size_px + 3)), float(np.clip(y, -3, size_px + 3))
