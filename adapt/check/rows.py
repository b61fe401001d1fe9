"""Every line of chat JSONL, bad ones too: reading goes on after a bad row, which is what tells a check from a run."""

import dataclasses
from pathlib import Path

from adapt import records, safe
from adapt.check.faults import Fault
from adapt.errors import DataError
from adapt.records import ChatRecord, parse_record


@dataclasses.dataclass(frozen=True)
class Row:
    """A good row: its place, the folder its picture paths start from, and the record."""

    where: str
    root: Path
    record: ChatRecord

    @property
    def source(self) -> str:
        """``source`` of the row, else the file's name."""
        return self.record.source or Path(self.where.rpartition(":")[0]).stem


def read_rows(path: Path, images: Path | None) -> tuple[list[Row], list[Fault]]:
    """The good rows of a file and a fault for every bad one. Raises DataError where the file cannot be read at all."""
    root = records.image_root(path, images)
    rows: list[Row] = []
    faults: list[Fault] = []
    places: dict[str, str] = {}
    for number, line in safe.read_lines(path):
        where = f"{path}:{number}"
        try:
            record = parse_record(safe.load_line(line, where), where)
        except DataError as error:
            faults.append(Fault(where, "row", str(error).removeprefix(f"{where}: ")))
            continue
        if record.id in places:
            message = f"the id '{record.id}' was seen before, at {places[record.id]}; ids must be unique in a file"
            faults.append(Fault(where, "id", message))
        places.setdefault(record.id, where)
        rows.append(Row(where, root, record))
    return rows, faults
