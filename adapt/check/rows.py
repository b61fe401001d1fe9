"""Every line of chat JSONL, bad ones too: reading goes on after a bad row, which is what tells a check from a run."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

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
    for where, line in _lines(path):
        try:
            record = _parse(line, where)
        except DataError as error:
            faults.append(Fault(where, "row", str(error).removeprefix(f"{where}: ")))
            continue
        if record.id in places:
            message = f"the id '{record.id}' was seen before, at {places[record.id]}; ids must be unique in a file"
            faults.append(Fault(where, "id", message))
        places.setdefault(record.id, where)
        rows.append(Row(where, root, record))
    return rows, faults


def _parse(line: bytes, where: str) -> ChatRecord:
    if len(line) > safe.MAX_LINE_BYTES:
        raise DataError(f"{where}: a line of more than {safe.MAX_LINE_BYTES:,} bytes is not a row")
    return parse_record(safe.load_json(line, where), where)


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """(``file:line``, bytes) of each line that is not blank; of a line too long only the start is kept in memory."""
    try:
        handle: BinaryIO = open(path, "rb")  # noqa: SIM115  closed below; only the opening is guarded
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; 'adapt convert' writes such files") from error
    with handle:
        number = 0
        while line := handle.readline(safe.MAX_LINE_BYTES + 1):
            number += 1
            rest = line
            while len(rest) > safe.MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest = handle.readline(safe.MAX_LINE_BYTES + 1)
            if line.strip():
                yield f"{path}:{number}", line
