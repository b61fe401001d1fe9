"""One fault: where it is, of which kind, and what to do about it."""

import dataclasses
from collections.abc import Hashable, Iterable

from adapt.show import counted


@dataclasses.dataclass(frozen=True)
class Fault:
    """``where`` is ``file:line``; ``kind`` one of KINDS; ``message`` says what was found against what was expected."""

    where: str
    kind: str
    message: str


KINDS = {
    "row": "the line is not a chat record",
    "id": "an id stands twice in one file",
    "picture": "a picture is missing, damaged or outside the root",
    "changed": "a picture is not the one that was converted",
    "size": "the row's width and height are not the picture's",
    "box": "a box is outside the picture, turned round or without area",
    "scale": "boxes are not in 0-1000, or not all in one scale",
    "tag": "<ref>, <box> or <quad> without its end, or with something unreadable inside",
    "answer": "the answer is none of the row's candidates",
    "against": "a file to compare with has no test rows",
    "leak": "a test picture is among the training pictures",
    "similar": "a training picture looks like a test picture",
    "long": "a row is over the limits of the recipe",
}


def first_of_each(found: Iterable[tuple[Hashable, Fault]]) -> list[Fault]:
    """The first fault under each key, saying how many rows share it: one missing picture is one fault, not a hundred."""
    first: dict[Hashable, Fault] = {}
    rows: dict[Hashable, dict[str, None]] = {}  # a row that shows one picture twice is one row
    for key, fault in found:
        first.setdefault(key, fault)
        rows.setdefault(key, {})[fault.where] = None
    return [
        fault
        if len(rows[key]) == 1
        else dataclasses.replace(fault, message=f"{fault.message} (and {counted(len(rows[key]) - 1, 'more such row')})")
        for key, fault in first.items()
    ]
