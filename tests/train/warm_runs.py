"""Real runs of ``adapt`` that start in no time: one process imports everything once and forks each of them.

Run as a script this is that process. It takes one order a line and runs no step itself: what is forked has one thread and no
state of a run before it.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


class WarmRuns:
    """The process that forks, seen from a test."""

    def __init__(self, first: Sequence[str]) -> None:
        """Start it. ``first`` are the arguments of a dry run, which imports all that a run does."""
        paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env=os.environ | settings,
        )  # fmt: skip
        self._alive: set[int] = set()
        assert self._ask({"dry": list(first)}) == 0, "the dry run failed"

    def start(self, arguments: Sequence[str], errors: Path, *, naive: bool = False, file_limit: int = 0) -> int:
        """Fork a run of ``adapt`` with these arguments, its stderr into ``errors``; its process id.

        ``naive`` saves in place, ``file_limit`` has the kernel refuse longer files.
        """
        process = self._ask({"start": list(arguments), "errors": str(errors), "naive": naive, "file_limit": file_limit})
        self._alive.add(process)
        return process

    def send(self, process: int, number: int) -> None:
        """Send a signal: to no other process, for its id is not free before ``wait``."""
        assert process in self._alive
        os.kill(process, number)

    def ended(self, process: int) -> bool:
        """Whether it is gone; ``wait`` must still be called."""
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "Z"

    def wait(self, process: int) -> int:
        """The exit code; minus the signal where one killed it."""
        code = self._ask({"wait": process})
        self._alive.discard(process)
        return code

    def close(self) -> None:
        """End what still runs."""
        for process in sorted(self._alive):
            os.kill(process, signal.SIGKILL)
        self._process.communicate(timeout=60)

    def _ask(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextlib.contextmanager
def warm_runs(first: Sequence[str]) -> Iterator[WarmRuns]:
    """WarmRuns for a block."""
    runs = WarmRuns(first)
    try:
        yield runs
    finally:
        runs.close()


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    """Look until it is true, often."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.0005)


def _save_in_place(
    folder: Path, step: int, weights: dict[str, Any], moments: dict[str, dict[str, Any]], state: dict[str, Any], keep: int
) -> Path:
    """The save that tears: durable, but in place, without staging and manifest. The control of the tests that kill."""
    from safetensors.torch import save_file

    from adapt.train.checkpoint import checkpoint_path

    place = checkpoint_path(folder, step)
    place.mkdir(parents=True)
    flat = {f"{moment}.{name}": tensor for moment, tensors in moments.items() for name, tensor in tensors.items()}
    for name, tensors in (("model", weights), ("optimizer", flat)):
        save_file({each: tensor.contiguous() for each, tensor in tensors.items()}, place / f"{name}.safetensors")
        with open(place / f"{name}.safetensors", "rb+") as handle:
            os.fsync(handle.fileno())
    (place / "state.json").write_text(json.dumps(state, indent=1))
    return place


def _run(order: dict[str, Any]) -> int:
    from adapt import cli, command
    from adapt.train import checkpoint

    descriptor = os.open(order["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if order["naive"]:
        checkpoint.save_checkpoint = _save_in_place
    if order["file_limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_limit"], resource.RLIM_INFINITY))
    return command.run(cli.adapt, order["start"])


def _import_all(first: Sequence[str]) -> int:
    import torch

    import adapt.model.saving
    import adapt.train.run  # noqa: F401
    from adapt import cli, command

    torch.set_num_threads(1)
    return command.run(cli.adapt, first)


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the dry run prints is not an answer
    for line in sys.stdin:
        order = json.loads(line)
        if "dry" in order:
            answer = _import_all(order["dry"])
        elif "start" in order:
            answer = os.fork()
            if answer == 0:
                code = 255
                try:
                    code = _run(order)
                finally:
                    os._exit(code)
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    _serve()
