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


def split_sides(rows: Sequence[Row], against: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(test rows, rows to train on): tests are those of ``against`` (its training rows apart, where it has splits) and those of
    test splits in ``rows``; trained are those of ``rows`` whose split is train or none."""
    tests = [row for row in rows if is_test(row)] + [row for row in against if row.record.split != "train"]
    return tests, [row for row in rows if row.record.split in (None, "train")]


def leak_faults(rows: Sequence[Row], against: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[Fault]:
    """Pictures of rows to train on that a test row shows too."""
    tests, trained = split_sides(rows, against)
    known: dict[str, tuple[Row, str]] = {}
    for digest, row, name in _contents(tests, pictures):
        known.setdefault(digest, (row, name))
    found = []
    for digest, row, name in _contents(trained, pictures):
        if digest in known and known[digest][0].where != row.where:
            other, other_name = known[digest]
            message = f"picture '{name}' is the test picture '{other_name}' of {other.where}; take these rows out"
            found.append((digest, Fault(row.where, "leak", message)))
    return first_of_each(found)


def duplicate_notes(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[str]:
    """What is no fault but good to know: one picture under several names, and one question asked twice of one picture."""
    names: dict[str, dict[str, None]] = {}
    for digest, _, name in _contents(rows, pictures):
        names.setdefault(digest, {})[name] = None
    doubled = [list(each) for each in names.values() if len(each) > 1]
    notes = []
    if doubled:
        more = sum(len(each) - 1 for each in doubled)
        notes.append(f"doubled pictures: {more:,} under another name; first: {doubled[0][1]} is {doubled[0][0]}")
    asked: dict[tuple[object, ...], dict[str, str]] = {}
    repeated: list[tuple[str, str]] = []
    disagreeing: list[tuple[str, str]] = []
    for row in rows:
        contents = tuple(pictures[row.root, name].content or name for name in row.record.images)
        key = (contents, *((turn.role, turn.value) for turn in row.record.turns[:-1]))
        before = asked.setdefault(key, {})
        if before:
            (repeated if row.record.answer in before else disagreeing).append((row.where, next(iter(before.values()))))
        before.setdefault(row.record.answer, row.where)
    for found, what in ((repeated, "rows that say the same"), (disagreeing, "rows that answer the same question otherwise")):
        if found:
            notes.append(f"{what} about the same picture: {len(found):,}; first: {found[0][0]} and {found[0][1]}")
    return notes
