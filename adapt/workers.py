"""Work spread over processes with results in the order of the items, so that the number of workers cannot show."""

import concurrent.futures
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from adapt.errors import DataError, UsageError

Result = TypeVar("Result")
MAX_DEFAULT_WORKERS = 16
_PARENT_POLL_S = 0.5
_work: tuple[Callable[..., Any], Any, Sequence[Any]] | None = None  # set once in each worker process, never in the parent


def default_workers() -> int:
    """The processors that this process may use, at most 16."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MAX_DEFAULT_WORKERS)


def map_ordered(
    function: Callable[[Any, Any], Result], shared: Any, items: Sequence[Any], *, workers: int | None = None, chunk: int = 256
) -> Iterator[Result]:
    """Yield ``function(shared, item)`` for each item, in order, from ``workers`` processes (0 or 1: from this one).

    ``function`` must be of a module's top level. An exception ends the iteration where it arose.
    """
    workers = default_workers() if workers is None else workers
    if workers < 0:
        raise UsageError(f"workers={workers}: expected 0 (in this process) or more")
    workers = min(workers, len(items) // chunk)
    if workers < 2:
        yield from (function(shared, item) for item in items)
        return
    # Under fork the items reach the workers without being copied or pickled; elsewhere they are pickled once a worker.
    method = "fork" if sys.platform == "linux" else "spawn"
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context(method), _start_worker, (function, shared, items, os.getpid())
    )
    try:
        ranges = [(start, min(start + chunk, len(items))) for start in range(0, len(items), chunk)]
        yield from itertools.chain.from_iterable(pool.map(_run_range, ranges))
    except concurrent.futures.process.BrokenProcessPool as error:
        raise DataError("a worker process was killed (out of memory?); try again with fewer --workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(function: Callable[..., Any], shared: Any, items: Sequence[Any], parent: int) -> None:
    global _work
    _work = (function, shared, items)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """A killed parent closes nothing: without this its workers would wait for ever."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def _run_range(bounds: tuple[int, int]) -> list[Any]:
    assert _work is not None
    function, shared, items = _work
    return [function(shared, items[index]) for index in range(*bounds)]
