"""Ordered work over processes."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from adapt.errors import DataError
from adapt.signals import held
from adapt.workers import map_ordered, open_pool

ITEMS = list(range(40))


def slow_first(shared: int, item: int) -> int:
    time.sleep(0.02 if item < 8 else 0)
    return item * shared


def fail_late(shared: int, item: int) -> int:
    if item == 30:
        raise DataError("row 30: bad")
    return item


def die(shared: int, item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def name_process(shared: int, item: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 2, 5, None])
def test_results_keep_the_order_of_the_items(workers: int | None) -> None:
    """However many processes, and however long each item takes, results come in order."""
    assert list(map_ordered(slow_first, 3, ITEMS, workers=workers, chunk=4)) == [item * 3 for item in ITEMS]


def test_work_is_really_spread() -> None:
    """Two workers are other processes than this one; 0 is this one."""
    assert os.getpid() not in set(map_ordered(name_process, 0, ITEMS, workers=2, chunk=4))
    assert set(map_ordered(name_process, 0, ITEMS, workers=0)) == {os.getpid()}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_arrives_as_it_was_raised(workers: int) -> None:
    """An exception in a worker is the same exception here."""
    with pytest.raises(DataError, match="^row 30: bad$"):
        list(map_ordered(fail_late, 0, ITEMS, workers=workers, chunk=4))


def test_a_killed_worker_is_an_error_not_a_wait() -> None:
    """A worker that the system kills ends the work with what to try."""
    with pytest.raises(DataError, match="fewer --workers"):
        list(map_ordered(die, 0, ITEMS, workers=2, chunk=4))


@pytest.mark.parametrize("workers", [0, 2])
def test_calls_of_a_pool_hold_what_is_shared(workers: int) -> None:
    """Each call gets what is shared and its item, in other processes where there are any; an exception arrives as raised."""
    with open_pool(3, workers) as submit:
        assert [submit(slow_first, item).result() for item in (9, 10)] == [27, 30]
        assert (submit(name_process, 0).result() == os.getpid()) == (workers == 0)
        with pytest.raises(DataError, match="^row 30: bad$"):
            submit(fail_late, 30).result()


def test_a_killed_worker_of_a_pool_is_an_error_not_a_wait() -> None:
    """Whoever waits for an answer learns what to try."""
    with pytest.raises(DataError, match="fewer --workers"), open_pool(0, 2) as submit:
        submit(die, 0).result()


_INTERRUPTED = """
import contextlib, operator, signal, threading
from adapt.endpoint import Endpoint, ask_all
from adapt.signals import result_of
from adapt.workers import map_ordered, open_pool

enter, main, left = threading.Condition.__enter__, threading.get_ident(), [int(SKIPPED)]

def interrupted(condition):
    found = enter(condition)
    if threading.get_ident() == main:
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)
    return found

def map_all():
    for _ in range(20):
        list(map_ordered(operator.add, 1, range(40), workers=2, chunk=4))

def use_pool():
    with open_pool(1, 2) as submit:
        for _ in range(200):
            result_of(submit(operator.add, 1))

def ask_threads():
    with contextlib.closing(Endpoint("http://127.0.0.1:9/v1", "nobody")) as endpoint:
        ask_all(endpoint, operator.neg, range(200), concurrency=4, take=lambda item, answer: None)

threading.Condition.__enter__ = interrupted
WORK()
"""


@pytest.mark.parametrize("work", ["map_all", "use_pool", "ask_threads"])
@pytest.mark.parametrize("skipped", [2, 5])
def test_ctrl_c_inside_a_lock_of_a_pool_leaves_nothing_waiting(work: str, skipped: int) -> None:
    """A signal that comes just when the main thread has taken a lock of the pool's ends the process, and does not hang it."""
    script = _INTERRUPTED.replace("SKIPPED", str(skipped)).replace("WORK", work)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT and "KeyboardInterrupt" in done.stderr, done.stderr


def test_a_signal_while_handlers_are_put_back_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGTERM between the two is answered by its own handler, and Ctrl-C is answered afterwards too."""
    put, calls = signal.signal, iter(range(100))

    def interrupted(number: int, handler: Any) -> Any:
        found = put(number, handler)
        if next(calls) == 2:  # two handlers are set; the first is put back
            signal.raise_signal(signal.SIGTERM)
        return found

    before = put(signal.SIGTERM, lambda number, frame: sys.exit(143))
    monkeypatch.setattr(signal, "signal", interrupted)
    try:
        with pytest.raises(SystemExit, match="143"), held():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        put(signal.SIGTERM, before)
        put(signal.SIGINT, signal.default_int_handler)
