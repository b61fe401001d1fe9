"""Test pictures among the training ones, found by content: names differ, bytes do not."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adapt.check.faults import Fault, first_of_each
from adapt.check.pictures import Picture
from adapt.check.rows import Row

_REPEATED = ("rows that say the same", "rows that answer the same question otherwise")
_OF_WHAT = ("about the same picture", "without a picture")


def _contents(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> Iterator[tuple[str, Row, str]]:
    for row in rows:
        for name in row.record.images:
            if digest := pictures[row.root, name].content:
                yield digest, row, name


def is_test(row: Row) -> bool:
    """Whether the row belongs to a test split."""
    return (row.record.split or "").startswith("test")


def tests_among(against: Sequence[Row]) -> list[Row]:
    """The test rows of a file to compare with, which is not checked itself: its training rows apart, where it has splits."""
    return [row for row in against if row.record.split != "train"]


def split_sides(rows: Sequence[Row], tests: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(test rows, rows to train on): ``tests`` and the rows of test splits; those whose split is train or none."""
    return [*filter(is_test, rows), *tests], [row for row in rows if row.record.split in (None, "train")]


def leak_faults(rows: Sequence[Row], tests: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[Fault]:
    """Pictures of rows to train on that a test row, of ``tests`` or of the rows, shows too."""
    tests, trained = split_sides(rows, tests)
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
    return notes + _repeated_notes(rows, pictures)


def _repeated_notes(rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[str]:
    asked: dict[tuple[object, ...], dict[str, str]] = {}
    found: dict[str, list[tuple[str, str]]] = {f"{what} {of_what}": [] for of_what in _OF_WHAT for what in _REPEATED}
    for row in rows:
        contents = tuple(pictures[row.root, name].content or name for name in row.record.images)
        key = (contents, *((turn.role, turn.value) for turn in row.record.turns[:-1]))
        before = asked.setdefault(key, {})
        if before:
            what = f"{_REPEATED[row.record.answer not in before]} {_OF_WHAT[not contents]}"
            found[what].append((row.where, next(iter(before.values()))))
        before.setdefault(row.record.answer, row.where)
    return [f"{what}: {len(places):,}; first: {places[0][0]} and {places[0][1]}" for what, places in found.items() if places]
