"""The list of rejected samples: ``FILE.rejected.jsonl``, written while the conversion runs, there only where it has rows."""

import collections
import contextlib
import re
from pathlib import Path
from typing import IO, Self

from adapt import atomic
from adapt.conversion.places import rejected_path
from adapt.domain import Rejected
from adapt.records import dump_row

SHOWN_REASONS = 3
MOST_REASONS = 100  # told apart: neither memory nor the manifest may grow with the rows
OTHER_REASONS = "other reasons"


class Rejections:
    """Rejected samples, counted by reason. Used as a context: what was not committed when it ends is not written."""

    def __init__(self, output: Path) -> None:
        self.path = rejected_path(output)
        self.count = 0
        self._shown: list[str] = []
        self._reasons: collections.Counter[str] = collections.Counter()
        self._staged = contextlib.ExitStack()
        self._handle: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._staged.__exit__(*error)  # type: ignore[arg-type]

    def add(self, rejected: Rejected) -> None:
        """Write one."""
        where, reason = _printable(rejected.where), _printable(rejected.reason)
        if self._handle is None:
            self._handle = self._staged.enter_context(atomic.staged_file(self.path))
        self._handle.write(dump_row({"where": where, "reason": reason}).encode("utf-8") + b"\n")
        self.count += 1
        shape = _shape(reason)
        self._reasons[shape if shape in self._reasons or len(self._reasons) < MOST_REASONS else OTHER_REASONS] += 1
        if len(self._shown) < SHOWN_REASONS:
            self._shown.append(f"{where}: {reason}")

    def commit(self) -> None:
        """The list appears under its name; where nothing was rejected, one of an earlier run is taken away."""
        self._staged.close()
        if not self.count:
            self.path.unlink(missing_ok=True)

    @property
    def first(self) -> str:
        """The first few, with their reasons."""
        return "; ".join(self._shown)

    def reasons(self) -> dict[str, int]:
        """How often each reason occurs, with what differs from row to row left out."""
        return dict(self._reasons.most_common())


def _shape(reason: str) -> str:
    """A reason without quoted names and numbers."""
    return re.sub(r"\d[\d,.]*", "N", re.sub(r"'[^']*'|picture \S+:", "...", reason))


def _printable(text: str) -> str:
    """File names that are not UTF-8 reach Python as lone surrogates, which no UTF-8 file can store."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
