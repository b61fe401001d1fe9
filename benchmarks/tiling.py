"""Tiles a second on one core: ours against the official path, the same pictures, the same run.

The official path (``dynamic_preprocess`` and ``build_transform`` in internvl_chat/internvl/train/dataset.py of
github.com/OpenGVLab/InternVL) resizes with PIL, crops each tile, and turns each into a normalised float tensor by ToTensor
and Normalize. Ours gives the same pixels (adapt/data/resize.py) and hands out uint8; normalising is the device's work, so it
is shown with and without.

Run: python -m benchmarks.tiling [PICTURE...] [--max-tiles 12] [--seconds 3]; without pictures, two made ones of 1600x900 and
512x512 pixels.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from adapt import safe
from adapt.data.tiling import IMAGENET_MEAN, IMAGENET_STD, choose_grid, tile

TILE_PX = 448


def official(picture: Image.Image, max_tiles: int) -> torch.Tensor:
    """float32[N, 3, 448, 448] as the official code makes them."""
    columns, rows = choose_grid(picture.width, picture.height, max_tiles)
    resized = picture.resize((columns * TILE_PX, rows * TILE_PX))
    corners = [(column * TILE_PX, row * TILE_PX) for row in range(rows) for column in range(columns)]
    tiles = [resized.crop((left, top, left + TILE_PX, top + TILE_PX)) for left, top in corners]
    if len(tiles) > 1:
        tiles.append(picture.resize((TILE_PX, TILE_PX)))
    transform = transforms.Compose(
        [
            transforms.Lambda(lambda image: image.convert("RGB") if image.mode != "RGB" else image),
            transforms.Resize((TILE_PX, TILE_PX), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),
        ]
    )
    return torch.stack([transform(each) for each in tiles])


def normalised(picture: Image.Image, max_tiles: int) -> torch.Tensor:
    """Our uint8 tiles as a batch holds them, normalised at once as the model does it on its device."""
    tiles = torch.from_numpy(tile(picture, max_tiles)).permute(0, 3, 1, 2).contiguous()
    mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
    return tiles.float().sub_(mean).div_(std)


def made(size: tuple[int, int]) -> Image.Image:
    """A picture with detail at several scales."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def rate(work: Callable[[Image.Image, int], Any], pictures: list[Image.Image], max_tiles: int, seconds: float) -> float:
    """Tiles a second of ``work`` over the pictures, again and again."""
    work(pictures[0], max_tiles)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for picture in pictures:
            done += len(work(picture, max_tiles))
    return done / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--max-tiles", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pictures = [safe.read_picture(path) for path in given.pictures] or [made((1600, 900)), made((512, 512))]
    for picture in pictures:  # the three give the same pixels
        torch.testing.assert_close(normalised(picture, given.max_tiles), official(picture, given.max_tiles), rtol=0, atol=1e-5)
    sizes = sorted({picture.size for picture in pictures})
    rates = {
        work.__name__: round(rate(work, pictures, given.max_tiles, given.seconds), 1) for work in (official, tile, normalised)
    }
    ratios = {name: round(rates[name] / rates["official"], 2) for name in ("tile", "normalised")}
    print(json.dumps({"sizes": sizes, "max_tiles": given.max_tiles, "tiles_per_s": rates, "over_official": ratios}))


if __name__ == "__main__":
    main()
