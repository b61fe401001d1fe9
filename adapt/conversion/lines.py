"""From a sample to the lines of its records, checked as they will be read. Pure: it runs in any process."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import pixels, records, safe
from adapt.conversion.pictures import Picture
from adapt.domain import Rejected, Source, Task
from adapt.errors import DataError


@dataclasses.dataclass(frozen=True)
class Shared:
    """What every worker needs. ``pictures_root`` is where the samples' pictures lie; ``makes`` whether records show others.

    ``settings`` say what is made of pictures before samples show them; None where they stay as and where they are.
    """

    task: Task
    source: Source
    context: Any
    image_root: Path
    pictures_root: Path
    makes: bool
    settings: pixels.Settings | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One record as it is written, with what is counted of it: ``clipped`` are the boxes of its sample that were cut."""

    id: str
    split: str | None
    images: tuple[str, ...]
    content: bytes
    clipped: int = 0


Result = tuple[Line, ...] | Rejected


def convert_samples(shared: Shared, samples: Sequence[Any], pictures: Mapping[str, Picture]) -> list[Result]:
    """The lines of each sample, or why it has none."""
    return [_convert(shared, sample, pictures) for sample in samples]


def _convert(shared: Shared, sample: Any, pictures: Mapping[str, Picture]) -> Result:
    if isinstance(sample, Rejected):
        return sample
    try:
        return _lines(shared, sample, pictures)
    except DataError as error:
        return Rejected(sample.where, str(error).removeprefix(f"{sample.where}: "), sample.split)


def _lines(shared: Shared, sample: Any, pictures: Mapping[str, Picture]) -> tuple[Line, ...]:
    for name in sample.pictures:
        if fault := pictures[name].fault:
            raise DataError(fault if fault.startswith(f"{sample.where}: ") else f"picture {fault}")
    held = [pictures[name].held for name in sample.pictures]
    sample = pixels.show_held(sample, held, shared.settings)
    made = shared.task.convert(sample, shared.context, shared.source)
    if not made:
        raise DataError(f"{sample.where}: task '{shared.task.name}' found nothing to ask about it")
    sizes = {picture.name: picture.size for picture in held}
    return tuple([_line(shared, record, sample.where, sizes) for record in made])


def _line(shared: Shared, record: records.ChatRecord, where: str, held: Mapping[str, tuple[int, int]]) -> Line:
    sizes = record.sizes
    if record.images and not shared.makes and all(name in held for name in record.images):
        sizes = tuple(held[name] for name in record.images)
    elif record.images and not sizes:
        sizes = tuple(safe.picture_size(safe.inside(shared.image_root, name, where)) for name in record.images)
    row = records.record_to_row(dataclasses.replace(record, sizes=sizes) if sizes != record.sizes else record)
    records.check_row(row, where)
    try:
        content = records.dump_row(row).encode("utf-8")
    except ValueError as error:  # a lone surrogate (from a file name) or NaN
        raise DataError(f"{where}: cannot be written as UTF-8 JSON: {error}") from error
    return Line(record.id, record.split, record.images, content + b"\n", record.meta.get("clipped", 0))
