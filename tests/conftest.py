"""Fixtures that more than one folder of tests uses."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_in import Server

from adapt import endpoint

CHECKOUT = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell that starts the tests in the background has it so
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and their children would ignore Ctrl-C too


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and official outputs beside the checkout; the test is skipped where there is none."""
    folder = Path(os.environ.get("ADAPT_SHARED", CHECKOUT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs the reference data in {folder}")
    return folder


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start a server that answers as the given function says; waits between attempts are short."""
    monkeypatch.setattr(endpoint.Endpoint.__init__, "__kwdefaults__", {"first_wait_s": 0.01, "timeout_s": 10.0})
    started: list[Server] = []

    def start(answer: Callable[[dict[str, Any]], tuple[Any, ...]]) -> Server:
        server = Server(answer)
        threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.http.shutdown()
        server.http.server_close()
