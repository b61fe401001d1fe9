"""A journal: a file that grows by one line for each piece of work done, so that a killed command goes on with the rest.

Its first line says what the work depends on; with anything else it is not gone on with. A line counts once its end is there:
one that a kill tore is cut away. One process at a time writes it, where the system has locks (Windows has none of this kind).
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from adapt import atomic, safe
from adapt.errors import UsageError

_BLOCK_BYTES = 2**16
_SHOWN_CHARACTERS = 60


@dataclasses.dataclass(frozen=True)
class Journal:
    """An open journal. ``path`` is named in errors."""

    path: Path
    handle: IO[bytes]

    def add(self, entry: Mapping[str, Any]) -> int:
        """Append an entry and hand it to the system; returns its place, a byte of the file."""
        place = self.handle.seek(0, os.SEEK_END)
        self.handle.write((json.dumps(dict(entry), ensure_ascii=False, allow_nan=False) + "\n").encode())
        self.handle.flush()
        return place

    def read(self, place: int) -> Any:
        """The entry at a place. Raises DataError, naming it, for a line that is no JSON."""
        self.handle.seek(place)
        return safe.load_line(self.handle.readline(), self.where(place))

    def entries(self) -> Iterator[tuple[int, Any]]:
        """(place, entry) of every line after the header. Raises DataError for one that is no JSON."""
        self.handle.seek(0)
        place = len(self.handle.readline())
        while line := self.handle.readline():
            yield place, safe.load_line(line, self.where(place))
            place += len(line)
            self.handle.seek(place)

    def where(self, place: int) -> str:
        """How an error names an entry."""
        return f"{self.path}: byte {place:,}"


@contextlib.contextmanager
def open_journal(path: Path, header: Mapping[str, Any], *, busy: str, advice: str) -> Iterator[Journal]:
    """The journal, new or gone on with.

    Raises UsageError where another process writes it (``busy`` says what that one does), and where it was begun with another
    header: what differs is named, and ``advice`` says what to do. Raises DataError where the disk refuses what is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a look whether it is there: another process may make it, and write, between the two.
    new = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    with atomic.disk_faults_told(path), os.fdopen(new, "r+b") as handle:
        _lock(handle, f"{path}: another process {busy}")
        if not path.is_file() or not os.path.samestat(path.stat(), os.fstat(handle.fileno())):
            # It was taken away before the lock was ours: what would be written now nobody would find.
            raise UsageError(f"{path}: another process {busy}, and has just finished; start again")
        journal = Journal(path, handle)
        handle.truncate(_whole_bytes(handle))
        handle.seek(0)
        first = handle.readline()
        if handle.read(1):
            _check_header(safe.load_line(first, journal.where(0)), header, f"{path}: begun with other values:", advice)
        else:  # nothing is lost where nothing was done
            handle.seek(0)
            handle.truncate()
            journal.add(header)
        yield journal


def _lock(handle: IO[bytes], told: str) -> None:
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(told) from error


def _whole_bytes(handle: IO[bytes]) -> int:
    """Where the last whole line ends, looked for from the end of the file."""
    end = handle.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK_BYTES)
        handle.seek(start)
        found = handle.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _check_header(found: Any, header: Mapping[str, Any], told: str, advice: str) -> None:
    # As it comes back from the file: tuples are lists there.
    found, given = found if isinstance(found, dict) else {}, json.loads(json.dumps(dict(header)))
    names = [name for name in dict.fromkeys([*given, *found]) if found.get(name) != given.get(name)]
    if names:
        differences = ", ".join(f"{name} ({_shown(found.get(name))}, now {_shown(given.get(name))})" for name in names)
        raise UsageError(f"{told} {differences}; {advice}")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
