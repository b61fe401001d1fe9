"""The two faults a person can cause, and the one place that words "did you mean"."""

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """A file or a row is not what it must be. The command line answers with exit code 1.

    The message says where (``file:line`` or an id), what was found, what was expected, and what to do.
    """


class UsageError(ValueError):
    """The command or a setting is wrong. The command line answers with exit code 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist: names the nearest one, else lists all that do."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names) or 'none'}"
    return UsageError(f"unknown {kind} '{name}': {hint}")
