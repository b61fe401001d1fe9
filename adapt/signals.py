"""Ctrl-C and SIGTERM kept away from code that they must not leave in the middle.

``concurrent.futures`` takes its locks in Python. An exception that a signal raises just then leaves one locked, and the pool's
threads, and with them the process, wait for ever.
"""

import concurrent.futures
import contextlib
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import Any, TypeVar

Result = TypeVar("Result")
_HELD = (signal.SIGTERM, signal.SIGINT)
_POLL_S = 0.1  # how long a signal waits for its answer while futures are waited for


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM for the end of the block; the first that came is answered there. Elsewhere than in the main
    thread, which alone answers signals, it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    handlers = {number: handler for number in _HELD if (handler := signal.getsignal(number)) is not None}
    is_over = False

    def answer(number: int, frame: FrameType | None) -> None:
        """Also afterwards: a signal that is answered while handlers are put back may leave this one in its place."""
        handler = handlers[signal.Signals(number)]
        if not is_over:
            caught.append(number)
        elif callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    try:
        for number in handlers:
            signal.signal(number, answer)
        yield
    finally:
        is_over = True
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if caught:
            signal.raise_signal(caught[0])


def wait_any(futures: "Collection[concurrent.futures.Future[Any]]") -> "set[concurrent.futures.Future[Any]]":
    """Those of ``futures`` that are done, as soon as one is. Signals are answered between two looks at them."""
    while True:
        with held():
            done, _ = concurrent.futures.wait(futures, timeout=_POLL_S, return_when=concurrent.futures.FIRST_COMPLETED)
        if done:
            return done


def result_of(future: "concurrent.futures.Future[Result]") -> Result:
    """The result of a call, as soon as it is there. Raises what the call raised; signals are answered on the way."""
    wait_any([future])
    with held():
        return future.result()


def submit(
    pool: concurrent.futures.Executor, function: Callable[..., Result], *items: Any
) -> "concurrent.futures.Future[Result]":
    """``pool.submit``, whole."""
    with held():
        return pool.submit(function, *items)


def shut_down(pool: concurrent.futures.ThreadPoolExecutor) -> None:
    """Cancel what waits in a pool of threads, and wait for what runs, signals answered on the way."""
    with held():
        pool.shutdown(wait=False, cancel_futures=True)
    pool.shutdown(wait=True)
