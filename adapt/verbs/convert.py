"""``adapt convert``: a native dataset becomes chat JSONL, a manifest, and a list of what was rejected.

Reader -> samples of the chosen split -> a seeded part of them -> every distinct picture decoded once -> records, checked ->
``FILE.jsonl``. Rows stream through (adapt/conversion), in the dataset's order: neither hash seeds nor folders nor workers can
show in the bytes, and memory grows by no more than some 20 bytes an id and some hundred a picture.
"""

import codecs
import collections
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import adapt
from adapt import atomic, made, pixels, randomness, records, signals
from adapt.conversion.ids import SeenIds
from adapt.conversion.lines import Line, Result, Shared
from adapt.conversion.pictures import PictureBook
from adapt.conversion.places import spare_others
from adapt.conversion.rejections import Rejections
from adapt.conversion.stream import stream
from adapt.domain import Reading, Rejected, Source, Task, find_task, parse_options, read_options
from adapt.errors import DataError, UsageError
from adapt.progress import say, track
from adapt.show import counted

_MANY_CLIPPED = 0.1  # of the boxes
_PACKED = frozenset({".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst"})
_BLANK = codecs.BOM_UTF8 + b" \t\r\n"


def convert(
    *,
    task: str,
    input: Path | str,
    output: Path | str,
    images: Path | str | None = None,
    split: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    workers: int | None = None,
    max_bad: int = 0,
    option: str | Iterable[str] | Mapping[str, str] = (),
) -> dict[str, Any]:
    """Turn the native dataset at ``input`` into chat JSONL at ``output`` and return its manifest.

    ``option`` holds ``name=value`` texts (or is a mapping). ``limit`` takes a seeded random part of the chosen split.
    Beside ``FILE.jsonl`` lie its manifest and ``FILE.pictures.jsonl``: path, size and sha256 of each picture that rows show,
    made ones aside (their names are of their content).
    Raises UsageError for a wrong call, DataError where more than ``max_bad`` samples are rejected; what was rejected is in
    ``FILE.rejected.jsonl`` either way, and an existing ``FILE.jsonl`` then stays as it was.
    """
    chosen = find_task(task)
    output = _check_call(Path(output), limit, max_bad, workers)
    options = read_options(chosen.options, parse_options(option), f"task '{task}'")
    source = Source(_check_input(input, chosen), _check_images(images), options, seed, made.made_folder(output))
    spare_others(source.input, output)
    made_before, file_before = _made_names(source), _which_file(output)
    atomic.remove_leftovers(output)
    try:
        manifest = _convert(chosen, source, output, split, limit, workers, max_bad)
    except BaseException:
        if _which_file(output) == file_before:  # else the new rows stand, and show them
            _remove_made(source, _made_names(source) - made_before)
        raise
    counts = manifest["counts"]
    say(
        f"{output}: {counted(counts['records'], 'record')} from {counted(counts['read'], 'sample')}, "
        f"{counts['rejected']:,} rejected"
    )
    if leaked := manifest["pictures"].get("in_several_splits"):
        say(f"warning: pictures in several splits: {leaked:,}; 'adapt check' names those that train and test share")
    return manifest


def _check_call(output: Path, limit: int | None, max_bad: int, workers: int | None) -> Path:
    if output.suffix != ".jsonl":
        raise UsageError(f"output '{output}': expected a name that ends in .jsonl")
    if output.is_dir():
        raise UsageError(f"output '{output}' is a folder; expected a file name that ends in .jsonl")
    for name, value, least in (("limit", limit, 1), ("max-bad", max_bad, 0), ("workers", workers, 0)):
        if value is not None and value < least:
            raise UsageError(f"--{name} {value}: expected {least} or more")
    return output


def _check_input(input: Path | str, task: Task) -> Path:
    path = Path(input)
    if not path.exists() and not str(input).startswith("hf:"):
        raise UsageError(f"input '{input}' does not exist; task '{task.name}' reads {task.layout}")
    if path.suffix.lower() in _PACKED and path.is_file():
        raise UsageError(f"input '{input}' is packed; unpack it, and point --input at what was in it")
    return path


def _check_images(images: Path | str | None) -> Path | None:
    if images is not None and not Path(images).is_dir():
        raise UsageError(f"images '{images}': no such folder")
    return None if images is None else Path(images)


def _convert(
    task: Task, source: Source, output: Path, split: str | None, limit: int | None, workers: int | None, max_bad: int
) -> dict[str, Any]:
    reading = task.read(source)
    kept = None if limit is None else _draw(task, source, reading, split, limit)
    wanted = _Wanted(source.input, split, task.layout)
    samples = (sample for place, sample in enumerate(wanted.of(reading.samples)) if kept is None or place in kept)
    settings, root = _settings(source, reading), reading.pictures_root or reading.image_root
    if settings is not None:  # every picture is written there, changed or not: one root serves all rows
        assert source.made is not None
        reading = dataclasses.replace(reading, image_root=source.made)
    shared = Shared(
        task, source, reading.context, reading.image_root, root,
        makes=reading.pictures_root is not None, settings=settings,
    )  # fmt: skip
    book, tally = PictureBook(), _Tally(numbers_rows=source.options.get("ids") == "keep")
    with contextlib.ExitStack() as staged:
        places = records.pictures_path(output), output, records.manifest_path(output)
        pictures, lines, about = staged.enter_context(atomic.staged_files(*places))
        rejections = staged.enter_context(Rejections(output))
        for sample, result in track(stream(shared, samples, book, workers), None, "converting"):
            for line in _take(sample, result, tally, rejections):
                tally.add(line, is_made=reading.image_root == source.made)
                lines.write(line.content)
                if line.images and not shared.makes:
                    pictures.writelines(records.dump_row(row).encode() + b"\n" for row in book.rows(line.images))
        wanted.check(reading.ignored)
        if tally.made:
            assert source.made is not None
            atomic.sync_file_system(source.made)  # or rows could outlive, in a power cut, the pictures that they show
        rejections.commit()
        _judge(output, rejections, tally, max_bad)
        manifest = _manifest(task, source, reading, output, tally, rejections) | {
            "split": split,
            "limit": limit,
            "pictures": book.counts(),
        }
        about.write((json.dumps(manifest, ensure_ascii=False, indent=1) + "\n").encode("utf-8"))
        with signals.held():  # Ctrl-C finds all the names taken, or none
            staged.close()
            if not book.listed:
                records.pictures_path(output).unlink()
    _remove_made(source, _made_names(source) - tally.made)
    _tell_clipped(tally.clipped, tally.boxes)
    _tell_turned(source, manifest["pictures"]["with_orientation_tag"], tally.has_places)
    return manifest


def _take(sample: Any, result: Result, tally: "_Tally", rejections: Rejections) -> Sequence[Line]:
    """Count a sample and return its lines; of one that is rejected (also for an id that ``tally`` has) write why instead."""
    tally.read += 1
    tally.has_places = tally.has_places or hasattr(sample, "upright")
    fault = result if isinstance(result, Rejected) else tally.repeated(sample, result)
    if fault is not None:
        rejections.add(fault)
        return ()
    assert not isinstance(result, Rejected)
    if objects := getattr(sample, "objects", ()):  # else "clipped" in meta is the user's own
        tally.boxes += len(objects)
        tally.clipped += max((line.clipped for line in result), default=0)
    return result


def _tell_clipped(clipped: int, boxes: int) -> None:
    """Say how many boxes poked out of their pictures. Of a set whose numbers are what they are read as few do."""
    if not clipped:
        return
    many = clipped >= _MANY_CLIPPED * boxes
    cause = (
        ": so many may be two corners that stand where x, y, width and height do, or be of pictures of another size; look at "
        "them with 'adapt gallery'"
    )
    say(f"note: boxes that poke out of their pictures, cut at the edge: {clipped:,} of {boxes:,}{cause if many else ''}")


def _tell_turned(source: Source, turned: int, has_places: bool) -> None:
    """Say what became of pictures with an orientation tag. Whether boxes were drawn on the upright ones no file says: only a
    stated size can tell, and not where a turn by half or a mirror leaves the size as it was."""
    how = source.options.get("upright", "no")
    if turned and how == "no":
        say(f"note: pictures with an orientation tag: {turned:,}; their pixels are used as stored, unturned")
    if turned and how == "yes" and has_places:
        say(
            f"note: turned upright: {counted(turned, 'picture')}, and boxes with them, except where the stated size is the "
            "upright one; boxes that a tool drew on upright pictures stay with --option upright=labelled; look at them with "
            "'adapt gallery'"
        )


def _settings(source: Source, reading: Reading) -> pixels.Settings | None:
    """What is made of the set's pictures before samples show them; pictures that a reader wrote itself it settled then."""
    is_settled = (reading.pictures_root or reading.image_root) == source.made
    return None if is_settled else pixels.read_settings(source.options)


class _Wanted:
    """The samples of a split (a rejected one of unknown split belongs to all); knows afterwards which splits there were."""

    def __init__(self, input: Path, split: str | None, layout: str) -> None:
        self._input, self._split, self._layout = input, split, layout
        self._known: set[str] = set()
        self._found = 0

    def of(self, samples: Iterable[Any]) -> Iterator[Any]:
        for sample in samples:
            if sample.split is not None:
                self._known.add(sample.split)
            if self._split is None or sample.split in (self._split, None):
                self._found += 1
                yield sample

    def check(self, ignored: Mapping[str, int]) -> None:
        """Raises UsageError where no sample is of the split, DataError where there was none; it names what was ``ignored``."""
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(ignored.items()) if count)
        left_out = f"; left out ({reasons})" if reasons else ""
        if self._split is not None and self._split not in self._known:
            known = ", ".join(sorted(self._known)) or f"no splits{left_out}"
            raise UsageError(f"no split '{self._split}' in {self._input}: it has {known}")
        if not self._found:
            found = "the file is empty" if self._input.is_file() and _is_blank(self._input) else "no samples found"
            raise DataError(f"{self._input}: {found}{left_out}; expected {self._layout}")


def _is_blank(path: Path) -> bool:
    """Whether a file holds nothing but blanks, line ends and the mark of UTF-8."""
    with path.open("rb") as handle:
        return not any(line.strip(_BLANK) for line in handle)


def _draw(task: Task, source: Source, reading: Reading, split: str | None, limit: int) -> set[int] | None:
    """The places, among the samples of the split, of a seeded random part; None where all are kept."""
    again = reading if isinstance(reading.samples, Sequence) else task.read(dataclasses.replace(source, counting=True))
    wanted = _Wanted(source.input, split, task.layout)
    count = sum(1 for _ in track(wanted.of(again.samples), None, "counting"))
    wanted.check(again.ignored)
    return None if limit >= count else set(randomness.permutation(count, source.seed, "limit")[:limit])


class _Tally:
    """What is counted of the lines."""

    def __init__(self, *, numbers_rows: bool) -> None:
        """``numbers_rows``: the task could give rows ids of its own."""
        self._cure = "; --option ids=number numbers the rows instead" if numbers_rows else ""
        self.read = self.records = self.boxes = self.clipped = 0
        self.has_places = False  # whether samples have coordinates, which move with their pictures
        self.splits: collections.Counter[str | None] = collections.Counter()
        self.made: set[str] = set()
        self.digest = hashlib.sha256()
        self._ids = SeenIds()

    def repeated(self, sample: Any, lines: Sequence[Line]) -> Rejected | None:
        """Why the lines of a sample cannot stand: an id that was seen before."""
        own: set[str] = set()
        for line in lines:
            if line.id in self._ids or line.id in own:
                return Rejected(
                    sample.where, f"the id '{line.id}' was seen before; ids must be unique{self._cure}", sample.split
                )
            own.add(line.id)
        return None

    def add(self, line: Line, *, is_made: bool) -> None:
        self._ids.add(line.id)
        self.records += 1
        self.splits[line.split] += 1
        self.digest.update(line.content)
        if is_made:
            self.made.update(line.images)


def _judge(output: Path, rejections: Rejections, tally: _Tally, max_bad: int) -> None:
    """Raise DataError where more than ``max_bad`` samples were rejected, or all; say what was."""
    if rejections.count > max_bad:
        kept = f"; the {output.name} of an earlier run was left as it was" if output.exists() else ""
        raise DataError(
            f"{rejections.count:,} of {counted(tally.read, 'sample')} rejected, more than --max-bad {max_bad}; "
            f"see {rejections.path}; first: {rejections.first}{kept}"
        )
    if rejections.count:
        say(
            f"{rejections.count:,} of {counted(tally.read, 'sample')} rejected; see {rejections.path}; "
            f"first: {rejections.first}"
        )
    if not tally.records:
        raise DataError(f"none of {counted(tally.read, 'sample')} could be converted; see {rejections.path}")


def _manifest(
    task: Task, source: Source, reading: Reading, output: Path, tally: _Tally, rejections: Rejections
) -> dict[str, Any]:
    return {
        "version": adapt.__version__,
        "task": task.name,
        "image_root": records.relative_root(reading.image_root, output),
        "options": dict(source.options),
        "seed": source.seed,
        "sha256": tally.digest.hexdigest(),
        "counts": {
            "read": tally.read,
            "converted": tally.read - rejections.count,
            "rejected": rejections.count,
            "records": tally.records,
            "ignored": dict(sorted(reading.ignored.items())),
            "splits": {name or "(none)": count for name, count in tally.splits.items()},
            "reasons": rejections.reasons(),
        }
        | ({"clipped": tally.clipped} if tally.clipped else {}),
        "facts": dict(reading.facts),
    } | ({"licence": task.licence} if task.licence else {})


def _which_file(path: Path) -> tuple[int, int] | None:
    """What tells a file from the one that took its place; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _made_names(source: Source) -> set[str]:
    """What has the name of a made picture and is there."""
    return made.names(source.made) if source.made is not None else set()


def _remove_made(source: Source, names: Iterable[str]) -> None:
    """Take away made pictures that no row shows: those of an earlier run, or of one that failed."""
    assert source.made is not None
    made.remove(source.made, names)
