"""Finding pictures: those that share a name, those of another split, masks, and where is looked first."""

import itertools
import random
import sys
from pathlib import Path, PurePosixPath
from types import FrameType

import pytest
from PIL import Image

from adapt.errors import DataError
from converters.formats.pictures import PictureFinder


def picture(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)


def find(finder: PictureFinder, stated: str) -> str:
    try:
        return finder.find(stated, "x")
    except DataError as error:
        return str(error)


def by_hand(paths: list[PurePosixPath], stated: str) -> str:
    """Counted folder by folder: the path that shares most of them from its end, or both where two do."""
    folders = PurePosixPath(stated).parts[-2::-1]
    shared = [len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(path.parts[-2::-1], folders, strict=False))))
              for path in paths]  # fmt: skip
    first, *others = [str(path) for path, count in zip(paths, shared, strict=True) if count == max(shared)]
    told = f"x: picture {stated!r} may be {first} or {(others or [''])[0]}; point --images at one of the folders"
    return told if others else first


def test_the_longest_shared_trail_of_folders_wins(tmp_path: Path) -> None:
    """For every stated path of up to four folders out of two the answer is that of a count; two as good are named."""
    chosen = random.Random(3)
    folders = [each for depth in range(4) for each in itertools.product("ab", repeat=depth)]
    paths = [PurePosixPath("s", *each, "1.png") for each in chosen.sample(folders, 8)]
    picture(*(tmp_path / path for path in paths))
    paths.sort(key=lambda path: path.parts)
    finder = PictureFinder(tmp_path)
    for stated in ["/".join(("D:", *each, "1.png")) for depth in range(5) for each in itertools.product("ab", repeat=depth)]:
        assert find(finder, stated) == by_hand(paths, stated), stated


@pytest.mark.parametrize("stated", ["D:/old/case{}/image.png", "case{}/image.jpg", "image.png"])
def test_many_pictures_of_one_name_take_no_longer_each(stated: str, tmp_path: Path) -> None:
    """Four times as many are found in about four times as many calls of functions, not in sixteen times as many."""

    def num_calls(num: int) -> int:
        root, count = tmp_path / str(num), 0
        for number in range(num):
            (root / "scans" / f"case{number}").mkdir(parents=True)
            (root / "scans" / f"case{number}" / "image.png").touch()

        def called(frame: FrameType, event: str, value: object) -> None:
            nonlocal count
            count += event == "call"

        finder = PictureFinder(root)
        sys.setprofile(called)
        found = [find(finder, stated.format(number)) for number in range(num)]
        sys.setprofile(None)
        assert "{}" not in stated or found == [f"scans/case{number}/image.png" for number in range(num)]
        return count

    assert num_calls(200) < 6 * num_calls(50)
