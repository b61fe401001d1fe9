"""``adapt check``: every fault in chat JSONL and its pictures, leaks, and what the rows will cost."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt.check.answers import answer_faults, answer_spread, letter_notes, letter_spread
from adapt.check.costs import predict
from adapt.check.faults import KINDS, Fault
from adapt.check.grounding import box_faults, scale_faults
from adapt.check.leaks import duplicate_notes, leak_faults
from adapt.check.pictures import Picture, changed_faults, look, picture_faults, picture_notes
from adapt.check.rows import Row, read_rows
from adapt.check.text import control_tokens, tag_faults
from adapt.errors import UsageError, no_file
from adapt.records import read_manifest
from adapt.safe import file_sha256


def check(
    files: Sequence[Path | str] | Path | str,
    *,
    images: Path | str | None = None,
    against: Path | str | None = None,
    model: str | Path | None = None,
    gpu: str | None = None,
    decode: bool = False,
    similar: bool = False,
) -> dict[str, Any]:
    """Check chat JSONL files as one run would read them, and return what was found.

    The answer holds ``faults`` ({where, kind, message}, in the order of files and lines), ``counts`` of them by kind,
    ``rows`` of ``files`` (the bad ones too; those of ``against`` are not among them), ``records`` (the good ones of them),
    ``pictures``, ``splits``, ``sources``, ``answers``, ``letters``, ``control_tokens``, ``notes``, with ``model`` ``tiles``,
    ``tokens`` and ``training``: what one epoch takes, with ``gpu`` in memory and hours too. ``decode`` reads pictures whole
    instead of their headers and ends; ``similar`` also compares what they look like. Faults do not raise.
    Raises DataError for a file that cannot be read, UsageError for a wrong call.
    """
    paths = [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]
    other = None if against is None else Path(against)
    root = None if images is None else Path(images)
    _check_call(paths, other, root, model, gpu)
    rows, faults, num_bad = _read_all(paths, root)
    tests, bad = read_rows(other, root) if other is not None else ([], [])
    pictures = look([*rows, *tests], decode=decode)
    faults += bad + _faults(rows, tests, pictures, similar=similar)
    costs = None if model is None else predict(rows, pictures, str(model), gpu)
    faults += [] if costs is None else costs.faults
    faults = _in_order(faults, [*paths, *([] if other is None else [other])])
    counts = Counter(fault.kind for fault in faults)
    letters = letter_spread(rows)
    notes = _notes(paths, rows, pictures) + letter_notes(letters) + ([] if costs is None else costs.notes)
    return {
        "files": [str(path) for path in paths],
        "rows": len(rows) + num_bad,
        "records": len(rows),
        "pictures": len({(row.root, name) for row in rows for name in row.record.images}),
        "faults": [dataclasses.asdict(fault) for fault in faults],
        "counts": {kind: counts[kind] for kind in KINDS if counts[kind]},
        "splits": dict(Counter(row.record.split or "(none)" for row in rows).most_common()),
        "sources": dict(Counter(row.source for row in rows).most_common()),
        "answers": answer_spread(rows),
        "letters": letters,
        "control_tokens": control_tokens(rows),
        "notes": notes,
        "tiles": None if costs is None else costs.tiles,
        "tokens": None if costs is None else costs.tokens,
        "training": None if costs is None else costs.training,
    }


def _check_call(
    paths: Sequence[Path], against: Path | None, images: Path | None, model: str | Path | None, gpu: str | None
) -> None:
    if not paths:
        raise UsageError("check: no file given; expected chat JSONL files")
    if gpu is not None and model is None:
        raise UsageError("--gpu without --model: name the model that the GPU is for, such as --model 1b")
    if images is not None and not images.is_dir():
        raise UsageError(f"images '{images}': no such folder")
    for path in (*paths, *([] if against is None else [against])):
        if not path.is_file():
            raise no_file(path)


def _read_all(paths: Sequence[Path], images: Path | None) -> tuple[list[Row], list[Fault], int]:
    """The good rows, the faults, and how many rows are bad: a file without a row is a fault, too."""
    rows: list[Row] = []
    faults: list[Fault] = []
    num_bad = 0
    for path in paths:
        good, bad = read_rows(path, images)
        rows += good
        num_bad += _num_bad(bad)
        faults += bad or ([] if good else [Fault(f"{path}:1", "row", "no rows; expected one chat record a line")])
    return rows, faults, num_bad


def _num_bad(faults: Sequence[Fault]) -> int:
    """How many rows are none of the good ones; one with a doubled id is."""
    return sum(fault.kind == "row" for fault in faults)


def _faults(
    rows: Sequence[Row], tests: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture], *, similar: bool
) -> list[Fault]:
    """What is wrong with rows that could be read, by themselves and beside the ``tests``."""
    faults = picture_faults([*rows, *tests], pictures) + changed_faults([*rows, *tests], pictures)
    faults += box_faults(rows, pictures) + scale_faults(rows) + tag_faults(rows)
    faults += answer_faults(rows) + leak_faults(rows, tests, pictures)
    if similar:
        from adapt.check.similar import similar_faults

        faults += similar_faults(rows, tests, pictures)
    return faults


def _in_order(faults: Sequence[Fault], paths: Sequence[Path]) -> list[Fault]:
    """The faults in the order of files and lines, each once: a row may hold one box twice."""
    order = {str(path): number for number, path in enumerate(paths)}

    def place(fault: Fault) -> tuple[int, int]:
        path, _, line = fault.where.rpartition(":")
        return order[path], int(line)

    return sorted(dict.fromkeys(faults), key=place)


def _notes(paths: Sequence[Path], rows: Sequence[Row], pictures: Mapping[tuple[Path, str], Picture]) -> list[str]:
    edited = [note for path in paths if (note := _edited(path))]
    return edited + picture_notes(pictures) + duplicate_notes(rows, pictures)


def _edited(path: Path) -> str:
    stated = read_manifest(path).get("sha256")
    return (
        f"{path} was edited after its conversion (its sha256 is not the manifest's)"
        if stated not in (None, file_sha256(path))
        else ""
    )
