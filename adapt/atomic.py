"""Staged writes: a file or folder appears whole under its name, or not at all.

Order of calls, which a power cut needs: write the temporary, fsync it, rename it, fsync the parent folder.
"""

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

STAGING_PREFIX = ".tmp-"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def staging_path(final: Path) -> Path:
    """Where ``final`` is built: beside it, so that the rename stays on one file system."""
    return final.parent / f"{STAGING_PREFIX}{final.name}.{os.getpid()}"


def remove_leftovers(final: Path) -> None:
    """Take away what a killed process left staged for ``final``, and the old folder that it had moved aside."""
    for path in final.parent.glob(f"{STAGING_PREFIX}{glob.escape(final.name)}.*"):
        process = path.name.removeprefix(f"{STAGING_PREFIX}{final.name}.").removeprefix("old.")
        if process.isdigit() and not _is_alive(int(process)):
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
    """Open a binary file that replaces ``final`` when the block ends, and vanishes when it raises."""
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(final)
    temporary = staging_path(final)
    try:
        with open(temporary, "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(final.parent)


def write_bytes(final: Path, content: bytes) -> None:
    """Write ``final`` whole."""
    with staged_file(final) as handle:
        handle.write(content)


def write_text(final: Path, content: str) -> None:
    """Write ``final`` whole, UTF-8."""
    write_bytes(final, content.encode("utf-8"))


@contextlib.contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """Fill a folder that takes the name ``final`` when the block ends, and vanishes when it raises.

    ``final`` must not exist, or is replaced: the old folder is moved aside first and removed last.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(final)
    temporary = staging_path(final)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                with open(os.path.join(folder, name), "rb+") as handle:
                    os.fsync(handle.fileno())
            sync_folder(Path(folder))
        replaced = None
        if final.exists():
            replaced = staging_path(final.with_name(final.name + ".old"))
            shutil.rmtree(replaced, ignore_errors=True)
            os.rename(final, replaced)
        os.rename(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(final.parent)
    if replaced is not None:
        shutil.rmtree(replaced)
