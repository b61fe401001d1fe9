"""The two faults a person can cause, the clean stop a signal asks for, and the one place that words "did you mean"."""

import difflib
import signal
from collections.abc import Iterable
from pathlib import Path


class DataError(ValueError):
    """A file or a row is not what it must be. The command line answers with exit code 1.

    The message says where (``file:line`` or an id), what was found, what was expected, and what to do.
    """


class SharedError(DataError):
    """A fault that one of several processes found and all of them raise; the first says it for all."""


class UsageError(ValueError):
    """The command or a setting is wrong. The command line answers with exit code 2."""


class Stopped(Exception):
    """A signal asked for a clean stop, and the work so far is safe. The exit code is 128 + the signal's number."""

    def __init__(self, number: int, what_next: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {what_next}")
        self.number = number


def no_file(path: Path) -> UsageError:
    """The error for a path given by the user that is no file: names the nearest one in its folder."""
    folder = path.parent
    if path.is_dir():
        return UsageError(f"{path}: a folder; expected a file")
    if not folder.is_dir():
        return UsageError(f"{path}: no such file; the folder '{folder}' does not exist")
    near = difflib.get_close_matches(path.name, [each.name for each in folder.iterdir()], n=1, cutoff=0.6)
    return UsageError(f"{path}: no such file" + (f": did you mean '{folder / near[0]}'?" if near else ""))


def bad_picture(where: str, reason: DataError, check: str = "adapt check") -> DataError:
    """The error for a row, at ``where``, whose picture cannot be read; ``check`` is the command that lists all of them."""
    return DataError(f"{where}: picture {reason}; run '{check}' to list all such rows")


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist: names the nearest one, else lists all that do.

    Of ``section.field`` names the sections agree anyway, so the fields are compared.
    """
    names = sorted(known)
    section, dot, field = name.rpartition(".")
    fields = {each.removeprefix(section + dot): each for each in names if each.startswith(section + dot)} if dot else {}
    if fields:
        names = sorted(fields.values())
        near = [fields[each] for each in difflib.get_close_matches(field, fields, n=1, cutoff=0.6)]
    else:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names) or 'none'}"
    return UsageError(f"unknown {kind} '{name}': {hint}")
