"""Pictures whose objects lie in several files of a set, a file a class: trees.csv and cars.csv, or layers of a map.

A class that two files have for one picture may be the same objects twice (a model's beside the truth, boxes beside outlines),
so such a picture is rejected.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from adapt import safe
from adapt.domain import Rejected
from adapt.errors import DataError
from converters.formats.pictures import sample_id
from converters.objects import ObjectsSample

Sample = ObjectsSample | Rejected


def join_layers(found: Iterable[tuple[str | DataError | None, Sample]], name: str, root: Path) -> list[Sample]:
    """What the files have of each picture as one sample with all its objects, in the place of the first; the rest as it is.

    ``found`` are samples with the picture below ``root`` that each is of, where one was found; a file has a picture once.
    The id of a joined picture is that of the set ``name`` and the picture, without a file. One that is missing is left to be
    said as that.
    """
    by_picture: dict[str, list[Sample]] = collections.defaultdict(list)
    for number, (picture, sample) in enumerate(found):
        by_picture[picture if isinstance(picture, str) else f"\0{number}"].append(sample)
    joined: list[Sample] = []
    for picture, layers in by_picture.items():
        is_joined = len(layers) > 1 and safe.inside(root, picture, layers[0].where).is_file()
        joined += [_join(layers, picture, name)] if is_joined else layers
    return joined


def _join(layers: Sequence[Sample], picture: str, name: str) -> Sample:
    first = layers[0]
    split = next((each.split for each in layers if each.split), None)
    samples: list[ObjectsSample] = []
    for each in layers:
        if isinstance(each, Rejected):
            reason = each.reason if each is first else f"{each.where}: {each.reason}"
            return Rejected(first.where, reason, split)
        samples.append(each)
    try:
        _check(samples)
    except DataError as error:
        return Rejected(first.where, str(error), split)
    objects = tuple(itertools.chain.from_iterable(each.objects for each in samples))
    size = next((each.stated_size for each in samples if each.stated_size), None)
    return dataclasses.replace(
        samples[0], id=sample_id(name, picture), split=split, objects=objects, source=name, stated_size=size
    )


def _check(samples: Sequence[ObjectsSample]) -> None:
    """Raise DataError for layers of two splits or sizes, or with a class in common."""
    for one, other in itertools.combinations(samples, 2):
        both = f"the picture {one.file} is in {one.where} and {other.where}"
        if one.split and other.split and one.split != other.split:
            raise DataError(f"{both}, of the splits '{one.split}' and '{other.split}'; a picture belongs to one")
        if one.stated_size and other.stated_size and one.stated_size != other.stated_size:
            sizes = " and ".join(f"{width}x{height}" for width, height in (one.stated_size, other.stated_size))
            raise DataError(f"{both}, stated as {sizes}; expected one size")
        if common := {each.name for each in one.objects} & {each.name for each in other.objects}:
            raise DataError(
                f"{both}, both with '{min(common)[:80]}', which may be the same objects twice; put all of one class into one "
                "file, or point --input at one"
            )
