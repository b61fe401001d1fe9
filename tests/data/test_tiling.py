"""Tiles: the official grids on stored sizes, the pixels of transformers' processor."""

import json
import random
import time

import numpy as np
import pytest
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from adapt.data.tiling import choose_grid, count_tiles, tile, tile_budget


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 10_000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_official_grids(shared) -> None:
    """Grids and tile counts equal the official function's on all 408 stored sizes and limits."""
    rows = [json.loads(line) for line in (shared / "golden/geometry/tiling.jsonl").read_text().splitlines()]
    assert len(rows) == 408
    for row in rows:
        size = row["width"], row["height"], row["max_tiles"]
        assert choose_grid(*size) == (row["cols"], row["rows"]), row
        assert count_tiles(*size) == row["views"], row


@pytest.mark.parametrize(
    ("width", "height", "max_tiles", "grid", "tiles"),
    [
        (448, 448, 12, (1, 1), 1),
        (951, 951, 12, (3, 3), 10),
        (951, 951, 6, (2, 2), 5),
        (640, 480, 12, (4, 3), 13),
        (2688, 896, 12, (6, 2), 13),
    ],
)
def test_known_grids(width: int, height: int, max_tiles: int, grid: tuple[int, int], tiles: int) -> None:
    """Ties go to the larger grid only for large pictures; the stitched six views give thirteen tiles."""
    assert choose_grid(width, height, max_tiles) == grid
    assert count_tiles(width, height, max_tiles) == tiles


@pytest.mark.parametrize(("tile_px", "max_tiles"), [(448, 12), (448, 6), (64, 12), (64, 1)])
def test_pixels_are_transformers(tile_px: int, max_tiles: int) -> None:
    """Tiles of random pictures equal those of transformers' GotOcr2ImageProcessorPil, bit for bit, in number and order."""
    processor = GotOcr2ImageProcessorPil(
        size={"height": tile_px, "width": tile_px}, crop_to_patches=True, min_patches=1, max_patches=max_tiles,
        do_rescale=False, do_normalize=False,
    )  # fmt: skip
    draw = random.Random(tile_px + max_tiles)
    for _ in range(6):
        picture = noise(draw.randint(5, 900), draw.randint(5, 900))
        tiles = tile(picture, max_tiles, tile_px)
        assert tiles.dtype == np.uint8 and len(tiles) == count_tiles(*picture.size, max_tiles, tile_px)
        theirs = np.stack(processor(picture)["pixel_values"])
        assert np.array_equal(tiles.transpose(0, 3, 1, 2), theirs)


def test_other_modes() -> None:
    """A grey picture is tiled as its RGB form."""
    grey = noise(70, 50).convert("L")
    assert np.array_equal(tile(grey, 4, 32), tile(grey.convert("RGB"), 4, 32))


def test_budget_of_several_pictures() -> None:
    """Each of n pictures may take a grid of max_tiles // n tiles, at least one."""
    assert [tile_budget(12, n) for n in (0, 1, 2, 5, 12, 40)] == [12, 12, 6, 2, 1, 1]


def test_wrong_sizes() -> None:
    """A size or limit below one is refused, not turned into a grid."""
    with pytest.raises(ValueError, match="0x5"):
        choose_grid(0, 5, 6)
    with pytest.raises(ValueError, match="at most 0"):
        choose_grid(5, 5, 0)


def test_fast_enough_to_plan() -> None:
    """A hundred thousand different sizes are planned in a few seconds."""
    start = time.perf_counter()
    for i in range(100_000):
        choose_grid(200 + i % 1000, 300 + i // 500, 12)
    assert time.perf_counter() - start < 10
