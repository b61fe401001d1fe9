"""classes.csv beside a table of boxes: the names of classes that it has as numbers, in rows of name,number or number,name."""

import re
from collections.abc import Mapping
from pathlib import Path

from adapt import safe
from adapt.errors import DataError

CLASSES = "classes.csv"
_WHOLE = re.compile(r"^([0-9]+)\.0$")  # as pandas writes class numbers of a column with gaps


def read_classes(path: Path) -> dict[str, str] | None:
    """Names by number; None where there is no such file."""
    if not path.is_file():
        return None
    found: dict[str, str] = {}
    for line in safe.read_text(path, safe.MAX_LINE_BYTES).splitlines():
        row = line.split(",")
        if len(row) == 2 and row[1].strip().isdecimal():
            found[row[1].strip()] = row[0].strip()
        elif len(row) == 2 and row[0].strip().isdecimal():
            found[row[0].strip()] = row[1].strip()
    return found


def name_of_class(label: str, classes: Mapping[str, str] | None, own: str | None, where: str) -> str:
    """What a class is called: a number by ``classes``, or as the option ``own`` says. Raises DataError where neither does."""
    label = _WHOLE.sub(r"\1", label)
    if label and not label.isdecimal():
        return label
    if label and classes is not None:
        if label not in classes:
            raise DataError(f"{where}: class {label[:20]} is not in {CLASSES}")
        return classes[label]
    if own:
        return own
    if label:
        raise DataError(f"{where}: class {label[:20]} has no name; write {CLASSES} (name,number rows) beside the table, "
                        "or name all objects: --option name=balloon")  # fmt: skip
    raise DataError(f"{where}: has no class; to name all such objects, add: --option name=balloon")
