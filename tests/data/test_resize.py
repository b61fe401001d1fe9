"""Our resize against Pillow's own, byte for byte."""

import numpy as np
import pytest
from PIL import Image

from adapt.data import resize as module
from adapt.data.resize import resize

SIZES = [
    *[tuple(int(side) for side in np.random.default_rng(seed).integers(1, 400, 4)) for seed in range(150)],
    (1, 1, 448, 448), (448, 448, 1, 1), (1, 300, 300, 1), (900, 1600, 896, 1792), (512, 512, 448, 448), (448, 448, 448, 448),
    (3000, 40, 448, 448), (40, 3000, 448, 448), (900, 1600, 448, 448), (64, 64, 448, 448),
]  # fmt: skip


def noise(height: int, width: int) -> np.ndarray:
    """Pixels at the ends of the range too, where clipping shows."""
    values = np.random.default_rng(height * 5000 + width).integers(-60, 316, (height, width, 3))
    return values.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("part", range(8))
def test_pixels_are_those_of_the_installed_pillow(part: int) -> None:
    """160 shapes, larger and smaller along each side, down to one pixel; the input may be read-only or strided."""
    assert module._order() != "Pillow", "this release of Pillow is known, or nothing below tests our own code"
    for height, width, new_height, new_width in SIZES[part::8]:
        pixels = noise(height, width)
        expected = np.asarray(Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling.BICUBIC))
        assert np.array_equal(resize(pixels, new_width, new_height), expected), (height, width, new_height, new_width)
        turned = pixels[::-1, ::-1]
        turned.flags.writeable = False
        expected = np.asarray(Image.fromarray(turned.copy()).resize((new_width, new_height), Image.Resampling.BICUBIC))
        assert np.array_equal(resize(turned, new_width, new_height), expected)


@pytest.mark.parametrize("height_first", [False, True])
def test_either_order_is_pillow_in_two_steps(height_first: bool) -> None:
    """The rule of Pillow 12 and that of 13: one axis at a time, asked of Pillow in two calls."""
    pixels = noise(90, 70)
    for width, height in ((60, 32), (80, 40), (140, 180)):
        middle = (70, height) if height_first else (width, 90)
        steps = (
            Image.fromarray(pixels).resize(middle, Image.Resampling.BICUBIC).resize((width, height), Image.Resampling.BICUBIC)
        )
        assert np.array_equal(module._resize(pixels, width, height, height_first=height_first), np.asarray(steps))


def test_a_pillow_of_another_rule_is_used_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the installed Pillow gives other pixels than both rules, those are given, and it is said."""
    own = Image.Image.resize

    def other(self: Image.Image, size: tuple[int, int], *given: object) -> Image.Image:
        return own(self, size, Image.Resampling.BILINEAR)

    monkeypatch.setattr(Image.Image, "resize", other)
    module._order.cache_clear()
    try:
        pixels = noise(50, 40)
        assert np.array_equal(resize(pixels, 30, 20), np.asarray(Image.fromarray(pixels).resize((30, 20))))
        assert "resizes in a way that is not known here" in capsys.readouterr().err
    finally:
        module._order.cache_clear()


def test_the_answer_is_the_caller_s_own() -> None:
    """Nothing of the input is handed out, even where no size changes."""
    pixels = noise(20, 30)
    same = resize(pixels, 30, 20)
    assert np.array_equal(same, pixels) and not np.shares_memory(same, pixels) and same.flags.writeable
