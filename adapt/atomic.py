"""Staged writes: a file or folder appears whole under its name, or not at all.

Order of calls, which a power cut needs: write the temporary, fsync it, rename it, fsync the parent folder.
"""

import contextlib
import ctypes
import errno
import glob
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from adapt.errors import DataError

STAGING_PREFIX = ".tmp-"
# A disk that is full, over its quota or limit, failing, or read-only. Every other fault is told as it is.
_DISK_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
ADVICE = "free some space or choose another place, then run it again"


@contextlib.contextmanager
def disk_faults_told(final: Path, advice: str = ADVICE) -> Iterator[None]:
    """Raise DataError, naming ``final``, the fault and the free bytes, where the disk refuses what the block writes."""
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        if number not in _DISK_FAULTS:
            raise
        there = next(folder for folder in final.absolute().parents if folder.is_dir())
        free = shutil.disk_usage(there).free
        raise DataError(
            f"{final}: not written: {os.strerror(number)} ({free:,} bytes are free in {there}); {advice}"
        ) from error


def _error_number(error: Exception) -> int:
    """The system's number of an error, 0 where it has none. Libraries in Rust give it in their words alone."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else 0


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Make all durable that was written to the file system of ``folder``: one call, however many files there are."""
    sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if sync is None:  # not Linux
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if sync(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)


def staging_path(final: Path) -> Path:
    """Where ``final`` is built: beside it, so that the rename stays on one file system."""
    return final.parent / f"{STAGING_PREFIX}{final.name}.{os.getpid()}"


def remove_leftovers(final: Path) -> None:
    """Take away what a killed process left staged for ``final``.

    The old folder that it had moved aside comes back where the new one had not yet its name.
    """
    for path in final.parent.glob(f"{STAGING_PREFIX}{glob.escape(final.name)}.*"):
        process = path.name.removeprefix(f"{STAGING_PREFIX}{final.name}.")
        is_old, process = process.startswith("old."), process.removeprefix("old.")
        if not process.isdigit() or _is_alive(int(process)):
            continue
        if is_old and not final.exists():
            os.rename(path, final)
        else:
            path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def staged_file(final: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces ``final`` when the block ends, and vanishes when it raises.

    Raises DataError where the disk refuses it; see disk_faults_told.
    """
    final = Path(final)
    temporary = staging_path(final)
    try:
        with disk_faults_told(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(final)
            with open(temporary, "wb") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, final)
            sync_folder(final.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # what is told is the first fault; the next write takes the rest away
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def staged_files(*finals: Path) -> Iterator[tuple[IO[bytes], ...]]:
    """``staged_file`` for several: all are on the disk before the first takes its name, and they do so in this order."""
    with contextlib.ExitStack() as staged:
        handles = tuple(reversed([staged.enter_context(staged_file(final)) for final in reversed(finals)]))
        yield handles
        for handle in handles:
            handle.flush()
            os.fsync(handle.fileno())


def write_bytes(final: Path, content: bytes) -> None:
    """Write ``final`` whole."""
    with staged_file(final) as handle:
        handle.write(content)


def write_text(final: Path, content: str) -> None:
    """Write ``final`` whole, UTF-8."""
    write_bytes(final, content.encode("utf-8"))


@contextlib.contextmanager
def staged_folder(final: Path, *, advice: str = ADVICE) -> Iterator[Path]:
    """Fill a folder that takes the name ``final`` when the block ends, and vanishes when it raises.

    ``final`` must not exist, or is replaced: the old folder is moved aside first and removed last. Raises DataError, ending
    in ``advice``, where the disk refuses it; see disk_faults_told.
    """
    final = Path(final)
    temporary, old = staging_path(final), staging_path(final.with_name(final.name + ".old"))
    try:
        with disk_faults_told(final, advice):
            final.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(final)
            for left in (temporary, old):
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            _sync_tree(temporary)
            if final.exists():
                os.rename(final, old)
            os.rename(temporary, final)
            sync_folder(final.parent)
            if old.exists():
                shutil.rmtree(old)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not final.exists():
            os.rename(old, final)
        raise


def _sync_tree(root: Path) -> None:
    """Make every file and name below a folder durable."""
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb+") as handle:
                os.fsync(handle.fileno())
        sync_folder(Path(folder))
