"""What the rows of the medical question sets have in common: their numbers, and whether a question is closed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.errors import DataError
from converters.formats.jsonfiles import text_of

SHORT_ANSWER_HELP = "a line after each question, instead of the request for a short answer; empty for none"


def read_list(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """(number from 0, row) of a JSON list; None in place of a row that is no object. Raises DataError for another document."""
    for number, row in enumerate(safe.read_array(path, "questions")):
        yield number, row if isinstance(row, dict) else None


def place(path: Path, number: int, row: Mapping[str, Any] | None) -> str:
    """``testset.json#12`` by the question's own number, ``testset.json#row 3`` where it has none."""
    key = None if row is None else row.get("qid")
    return f"{path.name}#{key}" if is_key(key) else f"{path.name}#row {number}"


def is_key(value: Any) -> bool:
    """Whether a value can be a question's number: a whole number, or the digits of one."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, str) and value.isascii() and value.isdigit()
    )


def answer_type_of(row: Mapping[str, Any], where: str) -> str:
    """``open`` or ``closed`` from the dataset's own ``answer_type`` ("CLOSED " with a blank occurs)."""
    kind = text_of(row, "answer_type", where).lower()
    if kind not in ("open", "closed"):
        raise DataError(f"{where}: 'answer_type' is '{kind[:40]}', expected OPEN or CLOSED")
    return kind


def details(row: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, str]:
    """What else a row says of itself, {name in meta: text}, where it does."""
    found = {name: row.get(field) for name, field in fields.items()}
    return {name: value.strip() for name, value in found.items() if isinstance(value, str) and value.strip()}
