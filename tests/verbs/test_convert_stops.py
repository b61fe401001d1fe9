"""Ctrl-C at every line of a conversion: all of it stands, or nothing."""

import collections
import functools
import multiprocessing
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.verbs import convert

CODE = Path(adapt.__file__).parent
WATCHED = ("atomic.py", "conversion", "made.py", "progress.py", "verbs/convert.py")

Place = tuple[str, int]


def watch(reached: Callable[[Place], None]) -> None:
    """Tell of every line of the watched code before it runs, in this process."""

    def of_lines(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            reached((frame.f_code.co_filename, frame.f_lineno))
        return of_lines

    def of_calls(frame: FrameType, event: str, argument: Any) -> Any:
        path = frame.f_code.co_filename.removeprefix(f"{CODE}/")
        return of_lines if path != frame.f_code.co_filename and path.startswith(WATCHED) else None

    sys.settrace(of_calls)


def stopped(work: Callable[[], Any], place: Place, visit: int) -> bool:
    """Do ``work`` and press Ctrl-C at a line of its ``visit``-th visit. Whether that ended it; its workers have ended then."""
    visits: collections.Counter[Place] = collections.Counter()
    before = multiprocessing.active_children()

    def press(here: Place) -> None:
        visits[here] += 1
        if here == place and visits[here] == visit:
            signal.raise_signal(signal.SIGINT)

    watch(press)
    try:
        work()
    except KeyboardInterrupt:
        assert multiprocessing.active_children() == before, f"{place}: workers could still write pictures"
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.slow
def test_ctrl_c_at_every_line_leaves_all_or_nothing(tmp_path: Path) -> None:
    """In the middle of a line's visits: no picture, no temporary file and no list without its rows, or the whole output."""
    for number in range(300):  # more than are done without workers, and made pictures of each
        picture = tmp_path / "set" / "ab"[number % 2] / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8), (number % 256, number // 256, 7)).save(picture)
    output = tmp_path / "out" / "out.jsonl"
    work = functools.partial(
        convert, task="classify", input=tmp_path / "set", output=output, workers=2, option="upright=yes"
    )  # fmt: skip
    visits: collections.Counter[Place] = collections.Counter()

    def count(place: Place) -> None:
        visits[place] += 1

    watch(count)
    try:
        work()
    finally:
        sys.settrace(None)
    names = sorted(path.name for path in output.parent.iterdir())
    assert names == ["out.images", "out.jsonl", "out.manifest.json"]
    whole = {path: path.read_bytes() for path in output.parent.rglob("*") if path.is_file()}
    assert len(whole) == 302

    ended = 0
    for place, visit in sorted(visits.items()):
        shutil.rmtree(output.parent, ignore_errors=True)
        ended += stopped(work, place, (visit + 1) // 2)
        left = {path: path.read_bytes() for path in output.parent.rglob("*") if path.is_file()}
        if output.exists():
            assert left == whole, place
        else:
            assert not output.parent.exists() or not list(output.parent.iterdir()), place
    assert ended > 200, "the lines must be those of a conversion"
