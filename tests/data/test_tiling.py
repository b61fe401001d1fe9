"""Tiles: the official grids on stored sizes, the pixels of transformers' processor."""

import io
import json
import random
import time

import numpy as np
import pytest
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil, get_optimal_tiled_canvas

from adapt import safe
from adapt.data.augment import degrade
from adapt.data.tiling import choose_grid, count_tiles, tile, tile_budget
from adapt.errors import DataError


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


@pytest.mark.parametrize("max_tiles", [1, 6, 12, 24, 40])
def test_grids_are_transformers_on_60_000_sizes(max_tiles: int) -> None:
    """Grids equal transformers' on 12,000 sizes for each limit, small pictures and exact ratios among them."""
    draw = random.Random(max_tiles)
    sizes = [(draw.randint(1, 3000), draw.randint(1, 3000)) for _ in range(6_000)]
    sizes += [(columns * step, rows * step) for columns in range(1, 9) for rows in range(1, 9) for step in range(16, 960, 10)]
    for width, height in sizes[:12_000]:
        theirs = get_optimal_tiled_canvas((height, width), (448, 448), 1, max_tiles)
        assert choose_grid(width, height, max_tiles) == theirs, (width, height)


def stored_picture(kind: str, draw: random.Random) -> bytes:
    """A picture file of odd size in one of the ways that files store them."""
    picture = noise(draw.randint(3, 700), draw.randint(3, 700))
    modes = {"grey": "L", "grey+alpha": "LA", "palette": "P", "alpha": "RGBA", "CMYK": "CMYK", "bit": "1"}
    exif = Image.Exif()
    if kind == "turned":
        exif[0x0112] = draw.randint(2, 8)
    if kind in modes:
        picture = picture.convert(modes[kind])
    made = io.BytesIO()
    file_format = "JPEG" if kind in ("CMYK", "turned", "JPEG") else "PNG"
    picture.save(made, format=file_format, exif=exif)
    return made.getvalue()


@pytest.mark.parametrize(
    "kind", ["RGB", "grey", "grey+alpha", "palette", "alpha", "CMYK", "bit", "turned", "JPEG", "RGB again"]
)
def test_stored_pictures_of_every_mode(kind: str) -> None:
    """20 files of each mode: our tiles are those of transformers' processor on Pillow's RGB, in stored orientation."""
    draw = random.Random(kind)
    for _ in range(20):
        content, max_tiles, tile_px = stored_picture(kind, draw), draw.choice([1, 6, 12, 24, 40]), draw.choice([32, 56, 64])
        processor = GotOcr2ImageProcessorPil(
            size={"height": tile_px, "width": tile_px}, crop_to_patches=True, min_patches=1, max_patches=max_tiles,
            do_rescale=False, do_normalize=False,
        )  # fmt: skip
        theirs = np.stack(processor(Image.open(io.BytesIO(content)).convert("RGB"))["pixel_values"])
        ours = tile(safe.decode_picture(content, "picture"), max_tiles, tile_px)
        assert np.array_equal(ours.transpose(0, 3, 1, 2), theirs)


def test_deep_pictures_need_a_choice() -> None:
    """A 16-bit picture is refused: which stretch to 8 bits is meant cannot be known."""
    made = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(made, format="PNG")
    with pytest.raises(DataError, match="more than 8 bits"):
        safe.decode_picture(made.getvalue(), "deep.png")


def test_degraded_tiles() -> None:
    """Each tile goes through JPEG at its own quality: equal to Pillow's own at that quality, and near the original."""
    tiles = np.stack([np.asarray(noise(40, 40).resize((64, 64), Image.Resampling.BICUBIC))] * 3)
    changed = degrade(tiles, [75, 88, 100])
    for tile_SS3, quality, found in zip(tiles, (75, 88, 100), changed, strict=True):
        made = io.BytesIO()
        Image.fromarray(tile_SS3).save(made, format="JPEG", quality=quality)
        assert np.array_equal(found, np.asarray(Image.open(made)))
    errors = np.abs(changed.astype(int) - tiles).mean(axis=(1, 2, 3))
    assert errors[0] > errors[1] > errors[2]


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
    start = time.process_time()
    for i in range(100_000):
        choose_grid(200 + i % 1000, 300 + i // 500, 12)
    assert time.process_time() - start < 10
