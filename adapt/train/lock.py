"""One process writes a run: a lock file in its folder, held from the first write to the last."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from adapt import progress
from adapt.errors import UsageError

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder/.lock``. Raises UsageError, naming the process, where another one holds it.

    The kernel lets go of the lock when its process dies, however it dies; what a dead one left is taken over, said aloud.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with open(path, "a+") as handle:
        handle.seek(0)
        owner = handle.read().strip()
        try:
            # A record lock, which a loader's workers do not inherit: they may outlive a killed run by seconds.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = not path.exists() or not os.path.samestat(path.stat(), os.fstat(handle.fileno()))
        except OSError as error:
            raise _taken(folder, owner) from error
        if gone:
            raise _taken(folder, owner)
        if owner:
            progress.say(f"{folder}: process {owner} died while it wrote this run; taking over")
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _taken(folder: Path, owner: str) -> UsageError:
    return UsageError(
        f"{folder}: {f'process {owner}' if owner else 'another process'} is writing this run; wait for it, or choose another "
        "--output"
    )
