"""``marks.jsonl``: what a benchmark gave for each answer, 0..1, as ``adapt evaluate`` leaves it beside the scores."""

from pathlib import Path

from adapt.errors import DataError
from adapt.records import read_rows


def read_marks(path: Path) -> dict[str, float]:
    """The mark of each id; {} where there is no such file. Raises DataError with file:line for a row that is none."""
    marks = {}
    for number, row in read_rows(path) if path.is_file() else ():
        name, mark = (row.get("id"), row.get("mark")) if isinstance(row, dict) else (None, None)
        if name is None or isinstance(mark, bool) or not isinstance(mark, int | float):
            raise DataError(f"{path}:{number}: {str(row)[:60]!r} is no id and mark, as 'adapt evaluate' writes; move it away")
        marks[str(name)] = min(1.0, mark)  # a whole number of JSON may be too large for a float
    return marks
