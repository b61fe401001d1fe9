"""Regions of aerial pictures: what lies in a box of DOTA, DIOR or FAIR1M, by coordinates or drawn on the picture.

Layouts, splits and names are those of ``rsdetect``; the question is the published one (arXiv 2410.16261, section 3.3). Every
object is a sample. ``mark=contour`` runs around a turned box as it is, ``mark=box`` around the upright one that encloses it.
Each drawn region is a picture of the original's size: cut DOTA's into tiles first.
"""

from adapt.domain import Reading, Source, Task
from converters import region
from domains.remote_sensing import rsdetect


def read(source: Source) -> Reading:
    """The objects of the set that the option names, or that the folders tell."""
    found = rsdetect.read_set(source)
    return region.reading_of(source, found, region.read_asking(source, found, task="rsregion", spelled=rsdetect.readable))


TASK = Task(
    name="rsregion",
    summary="DOTA, DIOR and FAIR1M: what lies in one region of an aerial picture",
    layout=rsdetect.TASK.layout,
    unit="object",
    licence=rsdetect.TASK.licence,
    read=read,
    convert=region.convert,
    options=(
        rsdetect.SET,
        rsdetect.ORIGIN,
        *region.OPTIONS,
    ),
    example="adapt convert --task rsregion --input DIOR --output dior_regions.jsonl --option form=drawn --option mark=box",
)
