"""The stream of a conversion: a bounded number of samples is on its way at any time, whatever the number of rows.

Chunks of samples go through two stages in worker processes: their new pictures are decoded, then the samples become lines.
Both keep the reader's order, so the number of workers cannot show.
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from adapt.conversion.lines import Result, Shared, convert_samples
from adapt.conversion.pictures import Picture, PictureBook, decode_pictures
from adapt.domain import Rejected
from adapt.signals import result_of
from adapt.workers import Submit, default_workers, open_pool

SAMPLES = 256  # of a chunk
MOST_SAMPLES = 1024  # of a chunk whose last ones show the same pictures
PICTURES = 16  # decoded by one call of a worker
FEW = 256  # samples that are not worth worker processes
AHEAD = 4  # chunks a worker

Decoding = list[tuple[Sequence[str], "Future[list[Picture]]"]]


def stream(shared: Shared, samples: Iterable[Any], book: PictureBook, workers: int | None) -> Iterator[tuple[Any, Result]]:
    """(sample, its lines or why it has none) for each sample, in order, from ``workers`` processes (0 or 1: from this one)."""
    rest = iter(samples)
    first = list(itertools.islice(rest, FEW + 1))
    everything = itertools.chain(first, rest)
    workers = 0 if len(first) <= FEW else default_workers() if workers is None else workers
    if workers > 1:
        _load_early(first)
    with open_pool(shared, workers) as submit:
        yield from _flow(_chunks(everything), book, submit, AHEAD * max(1, workers))


def _load_early(samples: Iterable[Any]) -> None:
    """Load, before there are workers, the machine code that looks through JPEGs: it takes a process a second."""
    names = (name for sample in samples if not isinstance(sample, Rejected) for name in sample.pictures)
    if any(name.lower().endswith((".jpg", ".jpeg")) for name in names):
        import adapt.check.jpeg_codes  # noqa: F401


def _chunks(samples: Iterable[Any]) -> Iterator[list[Any]]:
    """Chunks of samples; those that show the same pictures stay in one, so that one worker makes, once, what they share."""
    chunk: list[Any] = []
    for sample in samples:
        full = len(chunk) >= MOST_SAMPLES or (len(chunk) >= SAMPLES and not _show_the_same(chunk[-1], sample))
        if full:
            yield chunk
            chunk = []
        chunk.append(sample)
    if chunk:
        yield chunk


def _show_the_same(first: Any, second: Any) -> bool:
    if isinstance(first, Rejected) or isinstance(second, Rejected):
        return False
    return bool(first.pictures) and first.pictures == second.pictures


def _flow(chunks: Iterator[list[Any]], book: PictureBook, submit: Submit, ahead: int) -> Iterator[tuple[Any, Result]]:
    waiting: collections.deque[tuple[list[Any], Decoding]] = collections.deque()
    running: collections.deque[tuple[list[Any], Future[list[Result]]]] = collections.deque()
    for chunk in chunks:
        names = book.ask(chunk)
        parts = [names[start : start + PICTURES] for start in range(0, len(names), PICTURES)]
        waiting.append((chunk, [(part, submit(_decode, part)) for part in parts]))
        if len(waiting) > ahead:
            running.append(_start(*waiting.popleft(), book, submit))
        if len(running) > ahead:
            yield from _finish(*running.popleft())
    while waiting:
        running.append(_start(*waiting.popleft(), book, submit))
    while running:
        yield from _finish(*running.popleft())


def _start(chunk: list[Any], decoding: Decoding, book: PictureBook, submit: Submit) -> tuple[list[Any], "Future[list[Result]]"]:
    for names, future in decoding:
        pictures: list[Picture] = result_of(future)
        book.learn(names, pictures)
    return chunk, submit(_convert, (chunk, book.of(chunk)))


def _finish(chunk: list[Any], future: "Future[list[Result]]") -> Iterator[tuple[Any, Result]]:
    results: list[Result] = result_of(future)
    return zip(chunk, results, strict=True)


def _decode(shared: Shared, names: Sequence[str]) -> list[Picture]:
    return decode_pictures(shared.pictures_root, names, shared.settings, shared.source.made)


def _convert(shared: Shared, work: tuple[Sequence[Any], dict[str, Picture]]) -> list[Result]:
    return convert_samples(shared, *work)
