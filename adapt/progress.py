"""How a long verb shows that it lives: a bar on a terminal, plain lines elsewhere, always on stderr."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
PLAIN_INTERVAL_S = 10.0
METER_INTERVAL_S = 5.0


def is_quiet() -> bool:
    """Whether this process is one of several that torchrun started, and not the first: that one speaks for all."""
    return os.environ.get("RANK", "0") != "0" and os.environ.get("WORLD_SIZE", "1") != "1"


def say(text: str) -> None:
    """One line on stderr, whole, whichever threads speak."""
    if not is_quiet():
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def track(items: Iterable[Item], total: int | None, label: str) -> Iterator[Item]:
    """Yield ``items`` and show how far they are; ``total`` may be unknown.

    A generator is closed wherever this is left: what it started (worker processes, threads) has ended before an exception,
    which Ctrl-C may raise in here, is seen outside.
    """
    with contextlib.closing(items) if isinstance(items, Generator) else contextlib.nullcontext():
        if sys.stderr.isatty() and not is_quiet():
            yield from _bar(items, total, label)
        else:
            yield from _lines(items, total, label)


def _bar(items: Iterable[Item], total: int | None, label: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)
        for item in items:
            yield item
            progress.advance(task)


def _lines(items: Iterable[Item], total: int | None, label: str) -> Iterator[Item]:
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= PLAIN_INTERVAL_S:
            last = time.monotonic()
            say(f"{label}: {done:,}" + (f" of {total:,}" if total else ""))


@contextlib.contextmanager
def meter(label: str, total: int, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Give a function that is told (how many are done, what to show beside it) and shows it.

    On a terminal always; elsewhere a line every few seconds, and for the last.
    """
    if sys.stderr.isatty() and not is_quiet():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn(label),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=total, completed=done)
            yield lambda now, text: progress.update(task, completed=now, description=text)
        return
    began, first, last = time.monotonic(), done, 0.0

    def line(now: int, text: str) -> None:
        nonlocal last
        moment = time.monotonic()
        if moment - last >= METER_INTERVAL_S or now == total:
            last = moment
            left_s = (moment - began) / max(1, now - first) * (total - now)
            say(f"{label} {now:,} of {total:,}  {text}  {left_s / 60:.1f} min left")

    yield line
