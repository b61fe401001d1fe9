"""The file-system calls of a block of code: counted, and one of them made to fail or to be the last thing a process did."""

import builtins
import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

BY_PATH = ("mkdir", "rename", "replace", "unlink", "rmdir")
KILLED = 9


@dataclass
class FileSystem:
    """``calls`` are (what, path) in order. Call number ``at`` (from 0) is not made: ``fault`` is called in its place.

    A write that fails, of Python or of safetensors, has left half of its bytes behind.
    """

    root: Path
    at: int | None = None
    fault: Callable[[str], None] | None = None
    calls: list[tuple[str, Path]] = field(default_factory=list)
    _opened: dict[int, Path] = field(default_factory=dict)

    def called(self, what: str, path: Path, torn: Callable[[], object] | None = None) -> None:
        """Note one call, or let it fail."""
        if self.root not in path.parents:
            return
        self.calls.append((what, path))
        if self.fault is not None and len(self.calls) - 1 == self.at:
            if torn is not None:
                torn()
            self.fault(str(path))

    def place(self, path: Any, dir_fd: int | None = None) -> Path:
        return self._opened[dir_fd] / path if dir_fd is not None else Path(path).absolute()

    def opened(self, descriptor: int, path: Path) -> None:
        self._opened[descriptor] = path

    def path_of(self, descriptor: int) -> Path:
        return self._opened[descriptor]


class _Writer:
    """An open file whose writes are counted."""

    def __init__(self, handle: Any, path: Path, system: FileSystem) -> None:
        self._handle, self._path, self._system = handle, path, system

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *raised: object) -> None:
        self._handle.close()

    def write(self, content: Any) -> int:
        def half() -> None:
            self._handle.write(content[: len(content) // 2])
            self._handle.flush()

        self._system.called("write", self._path, half)
        return self._handle.write(content)


@contextlib.contextmanager
def watched(system: FileSystem) -> Iterator[FileSystem]:
    """Count the calls below ``system.root`` while the block lasts."""
    true_open, true_os_open, true_fsync = builtins.open, os.open, os.fsync
    true_serialize = safetensors.torch.serialize_file

    def open_file(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(path, int):
            return true_open(path, mode, *args, **kwargs)
        place = system.place(path)
        system.called("open", place)
        handle = true_open(path, mode, *args, **kwargs)
        system.opened(handle.fileno(), place)
        return _Writer(handle, place, system) if set(mode) & set("wax") else handle

    def open_descriptor(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = system.place(path, dir_fd)
        system.called("open", place)
        descriptor = true_os_open(path, flags, mode, dir_fd=dir_fd)
        system.opened(descriptor, place)
        return descriptor

    def fsync(descriptor: int) -> None:
        system.called("fsync", system.path_of(descriptor))
        true_fsync(descriptor)

    def serialize(tensors: Any, path: Any, metadata: Any = None) -> None:
        def half() -> None:
            true_serialize(tensors, path, metadata)
            os.truncate(path, Path(path).stat().st_size // 2)

        system.called("write", system.place(path), half)
        true_serialize(tensors, path, metadata)

    def by_path(name: str) -> Callable[..., Any]:
        true = getattr(os, name)

        def call(path: Any, *args: Any, dir_fd: int | None = None, **kwargs: Any) -> Any:
            system.called(name, system.place(args[0] if name in ("rename", "replace") else path, dir_fd))
            return true(path, *args, **({} if dir_fd is None else {"dir_fd": dir_fd}), **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module in (builtins, io):
            patch.setattr(module, "open", open_file)
        for name in BY_PATH:
            patch.setattr(os, name, by_path(name))
        patch.setattr(os, "open", open_descriptor)
        patch.setattr(os, "fsync", fsync)
        patch.setattr(safetensors.torch, "serialize_file", serialize)
        yield system


def count(root: Path, work: Callable[[], object]) -> list[tuple[str, Path]]:
    """The calls of ``work``."""
    with watched(FileSystem(root)) as system:
        work()
    return system.calls


def fail_at(root: Path, at: int, error: int, work: Callable[[], object]) -> None:
    """Do ``work`` with call ``at`` raising OSError(``error``)."""

    def refuse(path: str) -> None:
        raise OSError(error, os.strerror(error), path)

    with watched(FileSystem(root, at, refuse)):
        work()


def die_at(root: Path, at: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that is gone at call ``at``, without a word; whether it came to that call."""
    process = os.fork()
    if process == 0:
        try:
            with watched(FileSystem(root, at, lambda path: os._exit(KILLED))):
                work()
        except BaseException:  # noqa: BLE001 (nothing of this process may go on)
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, KILLED), f"the work failed before call {at}"
    return code == KILLED
