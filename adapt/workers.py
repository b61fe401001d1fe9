"""Work spread over processes with results in the order of the items, so that the number of workers cannot show."""

import collections
import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from adapt import signals
from adapt.errors import DataError, UsageError

Result = TypeVar("Result")
MAX_DEFAULT_WORKERS = 16
_KILLED = "a worker process was killed (out of memory?); try again with fewer --workers"
_PARENT_POLL_S = 0.5
_held: Any = None  # set once in each worker process of open_pool, never in the parent
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
    pool = _processes(workers, (function, shared, items, os.getpid()), _start_worker)
    try:
        ranges = [(start, min(start + chunk, len(items))) for start in range(0, len(items), chunk)]
        futures = collections.deque(signals.submit(pool, _run_range, bounds) for bounds in ranges)
        while futures:
            yield from signals.result_of(futures.popleft())
    except concurrent.futures.process.BrokenProcessPool as error:
        raise DataError(_KILLED) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Submit(Protocol):
    """Has ``function(shared, item)`` run somewhere; ``function`` must be of a module's top level."""

    def __call__(self, function: Callable[[Any, Any], Result], item: Any) -> "concurrent.futures.Future[Result]": ...


@contextlib.contextmanager
def open_pool(shared: Any, workers: int) -> Iterator[Submit]:
    """Give a function that runs calls in ``workers`` processes, all of which hold ``shared`` (0 or 1: in this one, at once).

    Raises UsageError for a negative number, DataError where a worker was killed.
    """
    if workers < 0:
        raise UsageError(f"workers={workers}: expected 0 (in this process) or more")
    if workers < 2:
        yield functools.partial(_call_here, shared)
        return
    pool = _processes(workers, (shared, os.getpid()), _hold_shared)
    try:
        yield lambda function, item: signals.submit(pool, _call_held, function, item)
    except concurrent.futures.process.BrokenProcessPool as error:
        raise DataError(_KILLED) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _call_here(shared: Any, function: Callable[[Any, Any], Result], item: Any) -> "concurrent.futures.Future[Result]":
    done: concurrent.futures.Future[Result] = concurrent.futures.Future()
    done.set_result(function(shared, item))
    return done


def _processes(workers: int, arguments: tuple[Any, ...], start: Callable[..., None]) -> concurrent.futures.ProcessPoolExecutor:
    # Under fork what is shared reaches the workers without being copied or pickled; elsewhere it is pickled once a worker.
    method = "fork" if sys.platform == "linux" else "spawn"
    return concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context(method), start, arguments)


def _hold_shared(shared: Any, parent: int) -> None:
    global _held
    _held = shared
    _become_worker(parent)


def _call_held(function: Callable[[Any, Any], Result], item: Any) -> Result:
    return function(_held, item)


def _become_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _start_worker(function: Callable[..., Any], shared: Any, items: Sequence[Any], parent: int) -> None:
    global _work
    _work = (function, shared, items)
    _become_worker(parent)


def _end_with_parent(parent: int) -> None:
    """A killed parent closes nothing: without this its workers would wait for ever."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def _run_range(bounds: tuple[int, int]) -> list[Any]:
    assert _work is not None
    function, shared, items = _work
    return [function(shared, items[index]) for index in range(*bounds)]
