"""Test pictures among the training ones, found by content: names differ, bytes do not."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adapt.check.faults import Fault, first_of_each
from adapt.check.pictures import Picture
from adapt.check.rows import Row


def _contents(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> Iterator[tuple[str, Row, str]]:
    for row in rows:
        for name in row.record.images:
            if digest := pictures[row.root, name].content:
                yield digest, row, name


def is_test(row: Row) -> bool:
    """Whether the row belongs to a test split."""
    return (row.record.split or "").startswith("test")


def leak_faults(rows: Sequence[Row], against: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[Fault]:
    """Pictures of rows to train on (split train or none) that a test row shows too.

    Test rows are those of ``against`` (its training rows apart, where it has splits) and those of test splits in ``rows``.
    """
    tests = [row for row in rows if is_test(row)] + [row for row in against if row.record.split != "train"]
    known: dict[str, tuple[Row, str]] = {}
    for digest, row, name in _contents(tests, pictures):
        known.setdefault(digest, (row, name))
    trained = [row for row in rows if row.record.split in (None, "train")]
    found = []
    for digest, row, name in _contents(trained, pictures):
        if digest in known and known[digest][0].where != row.where:
            other, other_name = known[digest]
            message = f"picture '{name}' is the test picture '{other_name}' of {other.where}; take these rows out"
            found.append((digest, Fault(row.where, "leak", message)))
    return first_of_each(found)
