"""Pictures a second that ``adapt check`` looks at on one core: by headers and ends, and decoded whole.

Run: python -m benchmarks.checking [--pictures 5000] [--folder F]. Pictures are made (JPEG and PNG of 64 to 256 px, as textured
as photographs are) or taken from a folder.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from adapt import safe
from adapt.check.pictures import look
from adapt.check.rows import Row
from adapt.records import ChatRecord, Turn


def make_pictures(folder: Path, count: int) -> list[str]:
    """Names of ``count`` different pictures, every fifth a PNG."""
    names = []
    for number in range(count):
        generator = np.random.default_rng(number)
        side = (64, 96, 128, 256)[number % 4]
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
        noise = generator.integers(-10, 11, (side, side, 3))
        picture = Image.fromarray(np.clip(np.asarray(coarse, np.int16) + noise, 0, 255).astype(np.uint8))
        names.append(f"{number}.{'png' if number % 5 == 0 else 'jpg'}")
        picture.save(folder / names[-1])
    return names


def measure(root: Path, names: Sequence[str], *, decode: bool) -> float:
    """Seconds to look at the pictures from one process."""
    rows = [Row(f"f:{n}", root, ChatRecord(str(n), (Turn("gpt", "x"),), (name,))) for n, name in enumerate(names)]
    began = time.perf_counter()
    faults = [picture.fault for picture in look(rows, decode=decode, workers=0).values() if picture.fault]
    assert not faults, faults[0]
    return time.perf_counter() - began


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = given.folder or Path(place)
        if given.folder:
            names = [str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.suffix in safe.PICTURE_SUFFIXES]
        else:
            names = make_pictures(root, given.pictures)
        total_bytes = sum((root / name).stat().st_size for name in names)
        found = {"pictures": len(names), "mean_bytes": round(total_bytes / len(names))}
        for what, decode in (("headers_and_ends", False), ("decoded", True)):
            measure(root, names[:64], decode=decode)  # warms up: files, codecs, machine code
            seconds = min(measure(root, names, decode=decode) for _ in range(2))
            found[f"{what}_per_s"] = round(len(names) / seconds)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
