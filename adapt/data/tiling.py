"""From a picture to tiles: which grid, how many, and their pixels.

The rule is InternVL's (``dynamic_preprocess`` and ``find_closest_aspect_ratio`` in
internvl_chat/internvl/train/dataset.py of github.com/OpenGVLab/InternVL): the grid with the closest aspect ratio, the
picture stretched to it with Pillow's bicubic filter (adapt/data/resize.py), tiles row by row, the whole picture last where
there are several.
The number of tiles follows from width and height alone, so lengths are planned from picture headers.
"""

import functools

import numpy as np
from PIL import Image

from adapt.data.resize import resize

# ImageNet statistics of 0..1 pixels; source: github.com/OpenGVLab/InternVL internvl_chat/internvl/train/constants.py
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TILE_PX = 448


@functools.lru_cache(maxsize=64)
def _candidates(max_tiles: int) -> tuple[tuple[float, int, int], ...]:
    """(columns / rows, columns, rows) of every grid, by area; equal areas in an order that changes no choice."""
    sides = range(1, max_tiles + 1)
    grids = [(columns, rows) for columns in sides for rows in sides if columns * rows <= max_tiles]
    grids.sort(key=lambda grid: grid[0] * grid[1])
    return tuple((columns / rows, columns, rows) for columns, rows in grids)


@functools.lru_cache(maxsize=65536)
def choose_grid(width: int, height: int, max_tiles: int, tile_px: int = TILE_PX) -> tuple[int, int]:
    """(columns, rows) for a picture of width x height pixels.

    The closest aspect ratio wins. On an exact tie the larger grid does, where the picture has more than half its pixels.
    """
    if width < 1 or height < 1 or max_tiles < 1:
        raise ValueError(f"{width}x{height} pixels and at most {max_tiles} tiles; expected positive numbers")
    ratio = width / height
    half_area = 0.5 * tile_px * tile_px
    best, best_difference = (1, 1), float("inf")
    for candidate, columns, rows in _candidates(max_tiles):
        difference = abs(ratio - candidate)
        if difference < best_difference or (difference == best_difference and width * height > half_area * columns * rows):
            best, best_difference = (columns, rows), difference
    return best


def count_tiles(width: int, height: int, max_tiles: int, tile_px: int = TILE_PX) -> int:
    """Number of tiles of a picture, the thumbnail included."""
    columns, rows = choose_grid(width, height, max_tiles, tile_px)
    return 1 if columns * rows == 1 else columns * rows + 1


def tile_budget(max_tiles: int, num_pictures: int, own: int = 0) -> int:
    """The largest grid that each of several pictures of one record may take; ``own`` is the record's bound, 0 for none."""
    share = max(1, max_tiles // max(1, num_pictures))
    return min(share, own) if own else share


def tile(image: Image.Image, max_tiles: int, tile_px: int = TILE_PX) -> np.ndarray:
    """uint8[N, tile_px, tile_px, 3]: the tiles of an RGB picture row by row, then the thumbnail where there are several."""
    pixels_HW3 = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    columns, rows = choose_grid(image.width, image.height, max_tiles, tile_px)
    stretched = resize(pixels_HW3, columns * tile_px, rows * tile_px)
    tiles_RrCc3 = stretched.reshape(rows, tile_px, columns, tile_px, 3)
    tiles = tiles_RrCc3.transpose(0, 2, 1, 3, 4).reshape(rows * columns, tile_px, tile_px, 3)
    if len(tiles) == 1:
        return tiles
    return np.concatenate([tiles, resize(pixels_HW3, tile_px, tile_px)[None]])
