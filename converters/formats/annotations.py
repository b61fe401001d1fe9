"""Pictures with labelled objects, in whatever format they were annotated: one call reads them all into ``Objects``."""

from collections.abc import Callable, Mapping

from adapt.domain import Option, Source
from adapt.errors import UsageError
from converters.objects import Objects

READERS: Mapping[str, Callable[[Source], Objects]] = {}
FORMATS = ("coco", "panoptic", "voc", "yolo", "dota", "via", "labelme", "csv", "geojson")
OPTIONS = (
    Option("format", "how the objects are stored; auto looks at the input", "auto", ("auto", *FORMATS)),
    Option("name", "the class of regions that have none, such as name=balloon"),
    Option("class_key", "via, labelme, csv, geojson: the attribute, column or property of the class (default: looked for)"),
    Option("origin", "voc: the number of the first pixel, 1 as in Pascal VOC or 0", "1", ("1", "0")),
    Option("masks", "panoptic: the folder of mask pictures (default: beside the json, named like it)"),
)


def read_objects(source: Source) -> Objects:
    """The set at ``source.input``, in the format that the option names or that is found by looking.

    Raises UsageError where no format fits, or more than one; DataError where nothing in the input can be read.
    """
    name = source.options.get("format", "auto")
    if name not in READERS:
        raise UsageError(f"format '{name}' is not there yet")
    return READERS[name](source)
