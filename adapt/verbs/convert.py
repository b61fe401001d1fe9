"""``adapt convert``: a native dataset becomes chat JSONL, a manifest, and a list of what was rejected.

Reader -> samples of the chosen split -> a seeded part of them -> every distinct picture decoded once -> records, checked ->
``FILE.jsonl``. Each stage keeps the dataset's order, so neither hash seeds nor folders nor workers can show in the bytes.
"""

import collections
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import adapt
from adapt import atomic, made, randomness, records, safe
from adapt.domain import Reading, Rejected, Source, Task, find_task, parse_options, read_options
from adapt.errors import DataError, UsageError
from adapt.progress import say, track
from adapt.workers import map_ordered

SHOWN_REASONS = 3


@dataclasses.dataclass(frozen=True)
class _Picture:
    """What decoding a picture told: its size and content, or why it cannot be used."""

    size: tuple[int, int] = (0, 0)
    sha256: str = ""
    fault: str = ""


@dataclasses.dataclass(frozen=True)
class _Shared:
    """What every worker needs for turning samples into lines."""

    task: Task
    source: Source
    reading: Reading
    pictures: Mapping[str, _Picture]


@dataclasses.dataclass(frozen=True)
class _Line:
    """One record as it is written, with what the parent counts."""

    id: str
    split: str | None
    images: tuple[str, ...]
    content: bytes


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
    Raises UsageError for a wrong call, DataError where more than ``max_bad`` samples are rejected; what was rejected is in
    ``FILE.rejected.jsonl`` either way, and an existing ``FILE.jsonl`` then stays as it was.
    """
    chosen = find_task(task)
    output = _check_call(Path(output), limit, max_bad, workers)
    options = read_options(chosen.options, parse_options(option), f"task '{task}'")
    source = Source(_check_input(input, chosen), _check_images(images), options, seed, made.made_folder(output))
    made_before = _made_names(source)
    atomic.remove_leftovers(output)
    try:
        reading = chosen.read(source)
        samples = _choose(list(track(reading.samples, None, "reading")), source, split, limit)
        shared = _Shared(
            chosen, source, reading, _decode_pictures(samples, reading.pictures_root or reading.image_root, workers)
        )
        manifest = _write(output, shared, samples, split, limit, workers, max_bad)
    except BaseException:
        _remove_made(source, _made_names(source) - made_before)
        raise
    counts = manifest["counts"]
    say(f"{output}: {counts['records']:,} records from {counts['read']:,} samples, {counts['rejected']:,} rejected")
    if leaked := manifest["pictures"].get("in_several_splits"):
        say(f"warning: {leaked:,} pictures are in several splits; 'adapt check' names them")
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
    return path


def _check_images(images: Path | str | None) -> Path | None:
    if images is not None and not Path(images).is_dir():
        raise UsageError(f"images '{images}': no such folder")
    return None if images is None else Path(images)


def _choose(samples: list[Any], source: Source, split: str | None, limit: int | None) -> list[Any]:
    """The samples of ``split`` (a rejected one of unknown split belongs to all), then a drawn part in the set's order."""
    if split is not None:
        known = sorted({sample.split for sample in samples if sample.split is not None})
        if split not in known:
            raise UsageError(f"no split '{split}' in {source.input}: it has {', '.join(known) or 'no splits'}")
        samples = [sample for sample in samples if sample.split in (split, None)]
    if limit is not None and limit < len(samples):
        drawn = randomness.permutation(len(samples), source.seed, "limit")[:limit]
        samples = [samples[index] for index in sorted(drawn)]
    if not samples:
        raise DataError(f"{source.input}: no samples found")
    return samples


def _decode_pictures(samples: Sequence[Any], root: Path, workers: int | None) -> dict[str, _Picture]:
    names = list(dict.fromkeys(name for sample in samples if not isinstance(sample, Rejected) for name in sample.pictures))
    found = map_ordered(_decode_picture, root, names, workers=workers, chunk=64)
    return dict(zip(names, track(found, len(names), "decoding pictures"), strict=True))


def _decode_picture(root: Path, name: str) -> _Picture:
    try:
        path = safe.inside(root, name, name)
        if not path.is_file():
            raise DataError(f"{name}: no such file under {root}")
        content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES)
        size = safe.decode_picture(content, name).size
    except DataError as error:
        return _Picture(fault=str(error))
    return _Picture(size=size, sha256=hashlib.sha256(content).hexdigest())


def _convert_sample(shared: _Shared, sample: Any) -> list[_Line] | Rejected:
    """The lines of one sample. Pure; runs in a worker."""
    if isinstance(sample, Rejected):
        return sample
    try:
        return _lines(shared, sample)
    except DataError as error:
        return Rejected(sample.where, str(error).removeprefix(f"{sample.where}: "), sample.split)


def _lines(shared: _Shared, sample: Any) -> list[_Line]:
    for name in sample.pictures:
        if fault := shared.pictures[name].fault:
            raise DataError(fault if fault.startswith(f"{sample.where}: ") else f"picture {fault}")
    if hasattr(sample, "sizes"):
        sample = dataclasses.replace(sample, sizes=tuple(shared.pictures[name].size for name in sample.pictures))
    made_records = shared.task.convert(sample, shared.reading.context, shared.source)
    if not made_records:
        raise DataError(f"{sample.where}: task '{shared.task.name}' found nothing to ask about it")
    return [_line(shared, record, sample.where) for record in made_records]


def _line(shared: _Shared, record: records.ChatRecord, where: str) -> _Line:
    sizes = record.sizes
    if shared.reading.pictures_root is None and all(name in shared.pictures for name in record.images):
        sizes = tuple(shared.pictures[name].size for name in record.images)
    elif not sizes:
        sizes = tuple(safe.picture_size(safe.inside(shared.reading.image_root, name, where)) for name in record.images)
    row = records.record_to_row(dataclasses.replace(record, sizes=sizes))
    records.parse_record(row, where)
    try:
        content = records.dump_row(row).encode("utf-8")
    except ValueError as error:  # a lone surrogate (from a file name) or NaN
        raise DataError(f"{where}: cannot be written as UTF-8 JSON: {error}") from error
    return _Line(record.id, record.split, record.images, content + b"\n")


def _write(
    output: Path, shared: _Shared, samples: list[Any], split: str | None, limit: int | None, workers: int | None, max_bad: int
) -> dict[str, Any]:
    """Write the three files and return the manifest. More than ``max_bad`` rejected: only the list of them is written."""
    rejected: list[Rejected] = []
    ids: set[str] = set()
    splits: collections.Counter[str | None] = collections.Counter()
    used: set[str] = set()
    digest = hashlib.sha256()
    results = map_ordered(_convert_sample, shared, samples, workers=workers)
    with atomic.staged_file(output) as handle:
        for sample, result in zip(samples, track(results, len(samples), "converting"), strict=True):
            fault = result if isinstance(result, Rejected) else _repeated(sample, result, ids)
            if fault is not None:
                rejected.append(fault)
                continue
            assert not isinstance(result, Rejected)
            for line in result:
                ids.add(line.id)
                splits[line.split] += 1
                used.update(line.images)
                digest.update(line.content)
                handle.write(line.content)
        _report_rejected(output, rejected, len(samples), max_bad)
        if not ids:
            raise DataError(f"none of the {len(samples):,} samples could be converted; see {_rejected_path(output)}")
    _remove_made(shared.source, _made_names(shared.source) - used)
    manifest = {
        "version": adapt.__version__,
        "task": shared.task.name,
        "image_root": _relative_root(shared.reading.image_root, output),
        "options": dict(shared.source.options),
        "seed": shared.source.seed,
        "split": split,
        "limit": limit,
        "sha256": digest.hexdigest(),
        "counts": {
            "read": len(samples),
            "converted": len(samples) - len(rejected),
            "rejected": len(rejected),
            "records": len(ids),
            "ignored": dict(sorted(shared.reading.ignored.items())),
            "splits": {name or "(none)": count for name, count in splits.items()},
            "reasons": _count_reasons(rejected),
        },
        "pictures": _count_pictures(shared.pictures, samples),
        "facts": dict(shared.reading.facts),
    }
    atomic.write_text(records.manifest_path(output), json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")
    return manifest


def _repeated(sample: Any, lines: list[_Line], ids: set[str]) -> Rejected | None:
    for line in lines:
        if line.id in ids or sum(other.id == line.id for other in lines) > 1:
            return Rejected(sample.where, f"the id '{line.id}' was seen before; ids must be unique", sample.split)
    return None


def _rejected_path(output: Path) -> Path:
    return output.with_name(output.name.removesuffix(".jsonl") + ".rejected.jsonl")


def _report_rejected(output: Path, rejected: list[Rejected], num_read: int, max_bad: int) -> None:
    path = _rejected_path(output)
    if not rejected:
        path.unlink(missing_ok=True)
        return
    records.write_rows(path, ({"where": _printable(each.where), "reason": _printable(each.reason)} for each in rejected))
    shown = "; ".join(f"{_printable(each.where)}: {_printable(each.reason)}" for each in rejected[:SHOWN_REASONS])
    if len(rejected) > max_bad:
        kept = f"; the {output.name} of an earlier run was left as it was" if output.exists() else ""
        raise DataError(
            f"{len(rejected):,} of {num_read:,} samples rejected, more than --max-bad {max_bad}; "
            f"see {path}; first: {shown}{kept}"
        )
    say(f"{len(rejected):,} of {num_read:,} samples rejected; see {path}; first: {shown}")


def _printable(text: str) -> str:
    """File names that are not UTF-8 reach Python as lone surrogates, which no UTF-8 file can store."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _count_reasons(rejected: list[Rejected]) -> dict[str, int]:
    """How often each reason occurs, with what differs from row to row (quoted names, numbers) left out."""
    shapes = (re.sub(r"\d[\d,.]*", "N", re.sub(r"'[^']*'|picture \S+:", "...", each.reason)) for each in rejected)
    return dict(collections.Counter(_printable(shape) for shape in shapes).most_common())


def _count_pictures(pictures: Mapping[str, _Picture], samples: Iterable[Any]) -> dict[str, int]:
    """Distinct pictures, those whose bytes occur under another name, and contents that lie in more than one split."""
    splits: dict[str, set[str | None]] = collections.defaultdict(set)
    for sample in samples:
        for name in () if isinstance(sample, Rejected) else sample.pictures:
            if not pictures[name].fault:
                splits[pictures[name].sha256].add(sample.split)
    usable = sum(not picture.fault for picture in pictures.values())
    across = sum(len(found) > 1 for found in splits.values())
    return {"distinct": usable, "same_content": usable - len(splits), "in_several_splits": across}


def _relative_root(image_root: Path, output: Path) -> str:
    """The picture root as seen from the JSONL's folder, so that both can move together."""
    try:
        return Path(os.path.relpath(image_root.resolve(), output.resolve().parent)).as_posix()
    except ValueError:  # another drive
        return image_root.resolve().as_posix()


def _made_names(source: Source) -> set[str]:
    """Made pictures that are there: only names that content gave, never a file of the user's."""
    return made.names(source.made) if source.made is not None else set()


def _remove_made(source: Source, names: Iterable[str]) -> None:
    """Take away made pictures that no row shows: those of an earlier run, or of one that failed."""
    assert source.made is not None
    for name in names:
        (source.made / name).unlink(missing_ok=True)
    if source.made.is_dir() and not any(source.made.iterdir()):
        source.made.rmdir()
