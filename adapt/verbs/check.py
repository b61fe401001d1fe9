"""``adapt check``: every fault in chat JSONL and its pictures, leaks, and what the rows will cost."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt.check.answers import answer_faults, answer_spread, letter_notes, letter_spread
from adapt.check.costs import predict
from adapt.check.faults import KINDS, Fault
from adapt.check.grounding import box_faults, scale_faults, scale_notes
from adapt.check.leaks import duplicate_notes, is_test, leak_faults, split_sides, tests_among
from adapt.check.pictures import Picture, changed_faults, look, picture_faults, picture_notes
from adapt.check.rows import Row, read_rows
from adapt.check.text import control_tokens, tag_faults
from adapt.errors import UsageError, no_file
from adapt.records import chat_files, read_manifest
from adapt.safe import file_sha256


def check(
    files: Sequence[Path | str] | Path | str,
    *,
    images: Path | str | None = None,
    against: Sequence[Path | str] | Path | str | None = None,
    model: str | Path | None = None,
    gpu: str | None = None,
    decode: bool = False,
    similar: bool = False,
) -> dict[str, Any]:
    """Check chat JSONL files as one run would read them, and return what was found.

    The answer holds ``faults`` ({where, kind, message}, in the order of files and lines), ``counts`` of them by kind,
    ``rows`` of ``files`` (the bad ones too; those of ``against`` are not among them), ``records`` (the good ones of them),
    ``pictures``, ``tests`` (the rows whose pictures were looked for among those to train on), ``splits``, ``sources``,
    ``answers``, ``letters``, ``control_tokens``, ``notes``, with ``model`` ``tiles``, ``tokens`` and ``training``: what one
    epoch takes, with ``gpu`` in memory and hours too. ``decode`` reads pictures whole instead of their headers and ends;
    ``similar`` also compares what they look like. Faults do not raise; a file of ``against`` without test rows is one. What
    ``convert`` wrote beside a file (``FILE.pictures.jsonl`` and the like) is left out, with a note.
    Raises DataError for a file that cannot be read, UsageError for a wrong call.
    """
    paths, others = chat_files(_paths(files)), chat_files(_paths(against or ()))
    root = None if images is None else Path(images)
    _check_call(paths, others, root, model, gpu)
    rows, faults, num_bad = _read_all(paths, root)
    checked = {path.resolve(): path for path in paths}
    beside, bad, _ = _read_all([path for path in others if path.resolve() not in checked], root)
    useless = _useless(others, checked, [*rows, *beside])
    tests = tests_among(beside)
    pictures = look([*rows, *beside], decode=decode)
    faults += bad + useless + picture_faults([*rows, *beside], pictures) + changed_faults([*rows, *beside], pictures)
    faults += _faults(rows, tests, pictures, similar=similar)
    costs = None if model is None else predict(rows, pictures, str(model), gpu)
    faults += [] if costs is None else costs.faults
    faults = _in_order(faults, [*paths, *others])
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
        "tests": len(split_sides(rows, tests)[0]),
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


def _paths(files: Sequence[Path | str] | Path | str) -> list[Path]:
    return [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]


def _check_call(
    paths: Sequence[Path], others: Sequence[Path], images: Path | None, model: str | Path | None, gpu: str | None
) -> None:
    if not paths:
        raise UsageError("check: no file given; expected chat JSONL files")
    if gpu is not None and model is None:
        raise UsageError("--gpu without --model: name the model that the GPU is for, such as --model 1b")
    if images is not None and not images.is_dir():
        raise UsageError(f"images '{images}': no such folder")
    for path in (*paths, *others):
        if not path.is_file():
            raise no_file(path)
    for group, told in ((paths, "given twice; a row that stands twice weighs twice"), (others, "given twice to --against")):
        if twice := [path for path, count in Counter(path.resolve() for path in group).items() if count > 1]:
            raise UsageError(f"{twice[0]}: {told}")


def _useless(others: Sequence[Path], checked: Mapping[Path, Path], rows: Sequence[Row]) -> list[Fault]:
    """A fault for each file to compare with that has rows and none to compare with; of a ``checked`` one test splits count."""
    faults = []
    for path in others:
        own = checked.get(path.resolve())
        of_file = [row for row in rows if row.where.rpartition(":")[0] == str(own or path)]
        if not of_file or (any(map(is_test, of_file)) if own else tests_among(of_file)):
            continue
        splits = ", ".join(sorted({row.record.split or "none" for row in of_file}))
        message = f"no test rows (its splits: {splits}); nothing was compared with it: give the file of the test questions"
        if len(tests_among(of_file)) == len(of_file):
            message = (
                f"a checked file counts with its test splits alone (its splits: {splits}); nothing was compared with it: leave "
                "it out of the checked files to compare with all of its rows"
            )
        faults.append(Fault(f"{path}:1", "against", message))
    return faults


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
    faults = box_faults(rows, pictures) + scale_faults(rows) + tag_faults(rows)
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
    return edited + picture_notes(pictures) + scale_notes(rows, pictures) + duplicate_notes(rows, pictures)


def _edited(path: Path) -> str:
    stated = read_manifest(path).get("sha256")
    return (
        f"{path} was edited after its conversion (its sha256 is not the manifest's)"
        if stated not in (None, file_sha256(path))
        else ""
    )
