"""Tables with a column for each class, 1 where it applies ("one-hot", or several 1 in a row).

| table | its cells |
|---|---|
| Roboflow's ``_classes.csv`` | ``filename, Cat, Dog`` with a blank after each comma; 0, 1 |
| ISIC 2018 and 2019, ground truth | ``image,MEL,NV,...``; 0.0, 1.0; exactly one applies |
| CheXpert (arXiv 1901.07031) | 1.0, 0.0, -1.0 where the report is uncertain, empty where it does not mention it |
| ODIR-5K | ``N,D,G,C,A,H,M,O``; 0, 1 |
"""

import collections
import dataclasses
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt.domain import Rejected
from adapt.errors import DataError, UsageError
from converters.formats import table

_RANGE = ".."
_LISTED = 3  # columns that a proposal names; of more it names the first and the last
UNCERTAIN, EMPTY = "uncertain", "empty"
_CELLS = {
    **dict.fromkeys(("1", "1.0", "true"), "yes"),
    **dict.fromkeys(("0", "0.0", "false"), "no"),
    **dict.fromkeys(("-1", "-1.0"), UNCERTAIN),
    **dict.fromkeys(("", "nan"), EMPTY),
}


def find_columns(given: str, header: Sequence[str], path: Path) -> dict[str, str]:
    """Class -> column for ``A,B`` or ``FIRST..LAST``, in the order given. Blanks around a column's name are no part of it.

    Raises UsageError for a name that is no column, one that stands twice, one column alone, and a range that runs backwards.
    """
    columns = {column.strip(): column for column in header}
    if len(columns) != len(header):
        raise UsageError(f"{path}: two columns differ in blanks alone: {', '.join(map(repr, header))}; rename one")
    known = list(columns)
    parts = [given.strip()] if _ends(given, known) else [part.strip() for part in given.split(",") if part.strip()]
    names = [name for part in parts for name in _named(part, known, path)]
    if len(names) < 2 or len(set(names)) != len(names):
        cure = f"; where one column holds the classes: --option label={names[0]}" if len(names) == 1 else ""
        raise UsageError(f"label_columns={given}: expected two or more different columns{cure}")
    return {name: columns[name] for name in names}


def _named(part: str, known: list[str], path: Path) -> list[str]:
    """The column of a name, or those of a range."""
    if part in known:
        return [part]
    ends = _ends(part, known)
    if ends is None:
        missing = next((end for end in part.split(_RANGE) if end.strip() and end.strip() not in known), part)
        raise table.no_column(path, missing.strip(), known)
    first, last = map(known.index, ends)
    if first > last:
        raise UsageError(f"label_columns={part}: '{ends[0]}' stands after '{ends[1]}'; write {ends[1]}{_RANGE}{ends[0]}")
    return known[first : last + 1]


def _ends(part: str, known: Sequence[str]) -> tuple[str, str] | None:
    """The two columns of a range; a column's own name may hold the dots, or a comma."""
    for dots in re.finditer(rf"(?={re.escape(_RANGE)})", part):
        first, last = part[: dots.start()].strip(), part[dots.start() + len(_RANGE) :].strip()
        if first in known and last in known:
            return first, last
    return None


def read_rows(
    rows: Iterable[table.Row | Rejected], columns: Mapping[str, str], uncertain: str, column: str
) -> tuple[list[table.Row | Rejected], collections.Counter[str]]:
    """The rows in their order, each with the list of its classes as its one value, ``column``; and how many cells were EMPTY,
    which is 0, or UNCERTAIN and taken as 0 or 1. ``columns`` are those of the classes; ``uncertain`` says what a -1 is: yes, no
    or rejected."""
    read: list[table.Row | Rejected] = []
    counts: collections.Counter[str] = collections.Counter()
    for row in rows:
        if isinstance(row, Rejected):
            read.append(row)
            continue
        try:
            cells = {name: _read_cell(row.values, key, uncertain) for name, key in columns.items()}
            missing = sum(cell == EMPTY for cell in cells.values())
            if missing == len(cells):
                raise DataError(f"no label: all {missing} label columns are empty")
        except DataError as error:
            read.append(Rejected(row.where, str(error), row.split))
            continue
        counts[EMPTY] += missing
        counts[UNCERTAIN] += sum(cell == UNCERTAIN for cell in cells.values())
        is_yes = {"yes", UNCERTAIN} if uncertain == "yes" else {"yes"}
        read.append(dataclasses.replace(row, values={column: [name for name, cell in cells.items() if cell in is_yes]}))
    return read, counts


def _read_cell(values: Mapping[str, Any], column: str, uncertain: str) -> str:
    """``yes``, ``no``, EMPTY, or UNCERTAIN where that is not rejected."""
    if column not in values:  # in another part of the set, or a line of JSON: it does not say 0
        raise DataError(f"no column '{column}', expected one in each row as in the first")
    found = _kind(values[column])
    if found == UNCERTAIN and uncertain not in ("yes", "no"):
        raise DataError(f"column '{column}' is -1, uncertain; --option uncertain=no or uncertain=yes counts it as 0 or 1")
    if found is None:
        raise DataError(f"column '{column}' is {str(values[column])[:40]!r}, expected 1 or 0")
    return found


def _kind(value: Any) -> str | None:
    """What a cell says; None where it is no such cell."""
    if value is None:
        return EMPTY
    return _CELLS.get(str(value).strip().lower()) if isinstance(value, str | int | float) else None


def propose(row: Mapping[str, Any]) -> str:
    """The end of an error for a table without a column of classes: the option to add where a row holds 0 and 1; else ""."""
    names, kinds = [name.strip() for name in row], [_kind(value) for value in row.values()]
    flags = [index for index, kind in enumerate(kinds) if kind in ("yes", "no") and names[index]]
    if len(flags) < 2:
        return ""
    span = range(flags[0], flags[-1] + 1)
    # Between 0 and 1 an empty or an uncertain cell is of a class, too.
    chosen = list(span) if all(kinds[index] for index in span) else flags
    is_range = len(chosen) == len(span) and (len(span) > _LISTED or any("," in names[index] for index in span))
    listed = f"{names[chosen[0]]}{_RANGE}{names[chosen[-1]]}" if is_range else ",".join(names[index] for index in chosen)
    return f"; where the columns of 0 and 1 are a class each: --option {shlex.quote(f'label_columns={listed}')}"
