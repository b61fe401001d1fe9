"""The journal that killed commands go on from."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

import adapt
from adapt.errors import DataError, UsageError
from adapt.journal import open_journal

HEADER = {"model": "m", "settings": {"seed": 1}, "split": ["test"]}


def lines(path: Path, header: dict = HEADER) -> list:
    with open_journal(path, header, busy="writes it", advice="delete it") as journal:
        return [entry for _, entry in journal.entries()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "new" / "j.jsonl"
    with open_journal(place, HEADER, busy="writes it", advice="delete it") as journal:
        for number in range(3):
            journal.add({"id": number, "answer": "雪\n" * number})
    return place


def test_whatever_a_kill_left_is_cut_at_the_last_whole_line(path: Path) -> None:
    """Cut after any byte: the lines whose end was written are there, in order, and new ones follow them whole."""
    content = path.read_bytes()
    whole = [json.loads(line) for line in content.splitlines()][1:]
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        expected = whole[: max(0, content[:length].count(b"\n") - 1)]
        assert lines(path) == expected
        with open_journal(path, HEADER, busy="", advice="") as journal:
            place = journal.add({"id": "more"})
            assert journal.read(place) == {"id": "more"}
        assert lines(path) == [*expected, {"id": "more"}]


def test_a_torn_line_longer_than_a_block_is_cut(path: Path) -> None:
    """The last whole line is found however far from the end it is."""
    before = path.read_bytes()
    path.write_bytes(before + b'{"id": "' + b"x" * 200_000)
    assert len(lines(path)) == 3 and path.read_bytes() == before


def test_another_header_is_refused_with_what_differs(path: Path) -> None:
    """What was begun with something else is not gone on with, and stays as it is; both values and the advice are told."""
    before = path.read_bytes()
    with pytest.raises(
        UsageError, match=r'j\.jsonl: begun with other values: model \("m", now "n"\), x \(null, now 1\); delete it$'
    ):
        lines(path, HEADER | {"model": "n", "x": 1})
    with pytest.raises(UsageError, match=r"other values: split \(\[\"test\"\], now null\)"):
        lines(path, {name: value for name, value in HEADER.items() if name != "split"})
    assert path.read_bytes() == before


def test_a_header_alone_binds_nobody(tmp_path: Path) -> None:
    """Where nothing was done yet, other work begins without a word."""
    path = tmp_path / "j.jsonl"
    lines(path)
    assert lines(path, {"model": "other"}) == []
    assert path.read_text() == '{"model": "other"}\n'


def test_a_damaged_line_is_named(path: Path) -> None:
    """A whole line that is no JSON is told with its place."""
    place = path.stat().st_size
    with open(path, "ab") as handle:
        handle.write(b"oops\n")
    with pytest.raises(DataError, match=f"j.jsonl: byte {place:,}: "):
        lines(path)


def test_a_journal_made_meanwhile_is_not_emptied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds no file, and opens one that another process has filled by then, takes nothing away from it."""
    with open_journal(path, HEADER, busy="", advice=""):
        before = path.read_bytes()
        monkeypatch.setattr(Path, "exists", lambda self: False)
        # Locks of one process do not exclude each other: what is seen is the opening alone.
        with open_journal(path, HEADER, busy="", advice="") as journal:
            assert len(list(journal.entries())) == 3
    assert path.read_bytes() == before


def test_a_journal_that_is_gone_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking the other process ended and took its file away: that is told, and no work is begun."""
    lock = fcntl.lockf

    def late(handle: IO[bytes], how: int) -> None:
        path.unlink()
        lock(handle, how)

    monkeypatch.setattr(fcntl, "lockf", late)
    told = "another process is at work, and has just finished; start again"
    with pytest.raises(UsageError, match=told), open_journal(path, HEADER, busy="is at work", advice=""):
        raise AssertionError("nobody would find what is written here")


def test_a_full_disk_is_one_line_with_the_path(path: Path) -> None:
    """Where a line does not fit any more the file and the free bytes are named; what fitted is gone on with."""
    resource = pytest.importorskip("resource")
    script = (
        "import resource, signal, sys; from pathlib import Path; from adapt.journal import open_journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with open_journal(Path(sys.argv[1]), {}, busy='', advice='') as journal:\n"
        "    for number in range(100): journal.add({'id': number})"
    )
    assert resource
    place = path.with_name("full.jsonl")
    environment = {**os.environ, "PYTHONPATH": str(Path(adapt.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(place)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1].startswith(f"adapt.errors.DataError: {place}: not written: File too large (")
    assert lines(place, {}) == [{"id": number} for number in range(len(lines(place, {})))] and len(lines(place, {})) > 50


def test_two_processes_do_not_write_one_journal(path: Path) -> None:
    """The second is told what the first does."""
    script = (
        "import sys; from pathlib import Path; from adapt.journal import open_journal\n"
        "with open_journal(Path(sys.argv[1]), {}, busy='is at work', advice=''): pass"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(adapt.__file__).parent.parent)}
    with open_journal(path, HEADER, busy="", advice=""):
        second = subprocess.run(
            [sys.executable, "-c", script, str(path)], env=environment, capture_output=True, text=True, check=False
        )
    assert "j.jsonl: another process is at work" in second.stderr
