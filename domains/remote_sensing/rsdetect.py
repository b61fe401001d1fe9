"""DOTA, DIOR and FAIR1M: aerial pictures with all their objects, most of them with turned boxes.

DOTA (captain-whu.github.io/DOTA, arXiv 1711.10398; academic use only): ``{train,val}/labelTxt*/*.txt`` and ``images``; 15 to
18 classes. Its pictures have up to 20,000 pixels a side and thousands of objects: cut them into tiles first (DOTA_devkit's
ImgSplit writes the same layout); ``--option max_objects=N`` names the pictures that are still too full.

DIOR (arXiv 1909.00133; for research): ``Annotations/*.xml`` or ``Annotations/Horizontal Bounding Boxes/*.xml`` in Pascal VOC
form, ``JPEGImages-trainval`` and ``JPEGImages-test`` (or one ``JPEGImages``), ``ImageSets/Main/{train,val,test}.txt``; 23,463
pictures of 800x800, 20 classes. Whether its pixels count from 0 or 1 is not documented: they are taken as they are, as
DIOR-RSVG's loader takes them; ``--option origin=1`` subtracts one.

FAIR1M (arXiv 2103.05569; CC BY-NC-SA 4.0): ``labelXml/*.xml`` or ``labelXmls``, pictures ``images/*.tif`` beside it; 37
classes; a ring of five points of which the last is the first (torchgeo ``fair1m.py``).

The split is the list's (DIOR) or the folder's (DOTA, FAIR1M). A picture is one sample. Class names are written as words
(``storagetank`` -> "storage tank"); the manifest and ``meta.class_name`` have the set's spelling.
"""

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from adapt import pixels, safe
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from converters import classification, grounding, prompts
from converters.formats import dota, imagefolder, voc
from converters.formats.pictures import PictureFinder, sample_id, split_of_folder, split_of_input
from converters.objects import (
    Objects,
    ObjectsSample,
    PictureObject,
    check_object,
    class_names,
    enclosing,
    to_number,
    told_apart,
)
from converters.options import refuse_idle

KINDS = ("ground", "detect", "count")
SETS = ("dota", "dior", "fair1m")
SET = Option("set", "which set it is; auto looks at the folders", "auto", ("auto", *SETS))
ORIGIN = Option("origin", "DIOR: the number of the first pixel, 0 or 1", "0", ("0", "1"))
HORIZONTAL = "Horizontal Bounding Boxes"
# Words that have no mark to split at, and names that are not words.
SPELLED = {
    "baseballfield": "baseball field", "basketballcourt": "basketball court", "golffield": "golf field",
    "groundtrackfield": "ground track field", "storagetank": "storage tank", "tenniscourt": "tennis court",
    "trainstation": "train station",
    "Boeing737": "Boeing 737", "Boeing747": "Boeing 747", "Boeing777": "Boeing 777", "Boeing787": "Boeing 787",
} | {name: name for name in ("ARJ21", "C919", "A220", "A321", "A330", "A350")}  # fmt: skip


def readable(name: str) -> str:
    """``large-vehicle`` -> ``large vehicle``, ``groundtrackfield`` -> ``ground track field``."""
    return classification.readable(name, SPELLED)


def read(source: Source) -> Reading:
    """The labelled pictures of the set that the option names, or that the folders tell."""
    kinds = grounding.read_kinds(source.options, KINDS)
    found = read_set(source)
    asking = grounding.read_asking(source.options, found.classes, task="rsdetect", kinds=kinds, spelled=readable)
    ignored: collections.Counter[str] = collections.Counter()
    samples = list(grounding.with_objects(found.samples, asking, ignored))
    ignored.update(found.ignored)
    facts = {"classes": dict(asking.names), "kinds": list(kinds)}
    return Reading(found.root, samples, asking, ignored, facts)


def read_set(source: Source) -> Objects:
    """The pictures and objects of the set that the option ``set`` names, or that the folders tell."""
    given = source.options["set"]
    name = _look(source.input) if given == "auto" else given
    if name != "dior":
        refuse_idle(source.options, [ORIGIN], f"set={name}")
    found = _READERS[name](source)
    samples = [
        each
        if isinstance(each, Rejected)
        else dataclasses.replace(each, id=sample_id(name, each.pictures[0]), source=name)  # not the folder's name
        for each in found.samples
    ]
    return dataclasses.replace(found, name=name, samples=told_apart(samples))


def _look(input: Path) -> str:
    """Which set the folders are of. Raises UsageError for none, or several."""
    if not input.is_dir():
        raise UsageError(f"input '{input}': expected the folder of DOTA, DIOR or FAIR1M")
    folders = {path.name.lower() for pattern in ("*", "*/*", "*/*/*") for path in input.glob(pattern) if path.is_dir()}
    folders.add(input.resolve().name.lower())
    signs = {
        "dota": any(name.startswith("labeltxt") for name in folders),
        "dior": "annotations" in folders,
        "fair1m": any(name.startswith("labelxml") for name in folders),
    }
    found = [name for name in SETS if signs[name]]
    if len(found) != 1:
        seen = (
            f"looks like {' and '.join(found)}" if found else "has no labelTxt (DOTA), Annotations (DIOR) or labelXml (FAIR1M)"
        )
        raise UsageError(f"input '{input}' {seen}; point --input at the set's folder, or add: --option set=dota")
    return found[0]


def _read_dior(source: Source) -> Objects:
    """DIOR's upright boxes through the VOC reader; splits come from the lists above its folder of annotations."""
    root = _dior_folder(source.input)
    folder = root / "Annotations"
    labels = folder / HORIZONTAL if (folder / HORIZONTAL).is_dir() else folder
    if not labels.is_dir():
        raise UsageError(f"input '{source.input}': expected DIOR's folder with Annotations/")
    found = voc.read(dataclasses.replace(source, input=labels, images=source.images or root))
    splits = voc.read_splits(root, {Path(each.where).stem for each in found.samples})
    if not splits:
        own = split_of_input(root)
        samples = [dataclasses.replace(each, split=each.split or own) for each in found.samples]
        return dataclasses.replace(found, samples=samples)
    samples = [_listed(each, splits) for each in found.samples]
    ignored = collections.Counter(found.ignored)
    ignored.update({"picture in no split list": sum(each.split is None for each in samples)})
    kept = [each for each in samples if each.split is not None]
    return dataclasses.replace(found, name="dior", samples=kept, ignored=+ignored)


def _dior_folder(input: Path) -> Path:
    """The folder that holds Annotations/: the input, the one above, or the only such one in it, as archives are unpacked."""
    if input.name == "Annotations":
        return input.parent
    inner = [path.parent for path in sorted(input.glob("*/Annotations")) if path.is_dir()]
    return inner[0] if len(inner) == 1 and not (input / "Annotations").is_dir() else input


def _listed(sample: ObjectsSample | Rejected, splits: Mapping[str, set[str]]) -> ObjectsSample | Rejected:
    """The sample in the split of its list: below a folder of horizontal boxes the VOC reader finds no list."""
    stem = Path(sample.where).stem
    split = voc.listed_split(stem, splits)
    try:
        voc.check_one_split(stem, splits, sample.where)
    except DataError as error:
        return Rejected(sample.where, str(error).removeprefix(f"{sample.where}: "), split)
    return dataclasses.replace(sample, split=split)


def _read_fair1m(source: Source) -> Objects:
    """FAIR1M's label files in the order of their paths; pictures are found by the name that they state."""
    is_labels = _is_labels(source.input.resolve().name)
    scanned = imagefolder.scan(source.input, made=source.made, suffixes=frozenset({".xml"})).pictures
    paths = [path for path in scanned if is_labels or any(map(_is_labels, path.parts[:-1]))]
    if not paths:
        raise UsageError(f"input '{source.input}': no label file (.xml) below a folder labelXml")
    root = source.input.resolve().parent if is_labels else source.input
    finder = PictureFinder(source.images or root, source.made)
    samples: list[ObjectsSample | Rejected] = []
    for path in paths:
        where, split = str(path), split_of_folder(source.input / path, source.input)
        try:
            samples.append(_fair1m_sample(source.input / path, where, split, finder))
        except DataError as error:
            samples.append(Rejected(where, str(error).removeprefix(f"{where}: "), split))
    return Objects("fair1m", finder.root, samples, class_names(samples), finder.ignored)


def _is_labels(folder: str) -> bool:
    return folder.lower().startswith("labelxml")


def _fair1m_sample(path: Path, where: str, split: str | None, finder: PictureFinder) -> ObjectsSample:
    annotation = safe.read_xml(path, where)
    stated = (annotation.findtext("source/filename") or "").strip() or f"{path.stem}.tif"
    images = path.parent.parent / "images"
    picture = finder.find(stated, where, images if images.is_dir() else path.parent, path.stem, split)
    objects = tuple(
        check_object(_fair1m_object(each, f"{where}: object {number}"), number, where)
        for number, each in enumerate(annotation.iterfind("objects/object"), start=1)
    )
    return ObjectsSample(sample_id("fair1m", picture), where, split, (picture,), objects, "fair1m")


def _fair1m_object(element: safe.Element, what: str) -> PictureObject:
    name = " ".join((element.findtext("possibleresult/name") or "").split())
    if not name:
        raise DataError(f"{what}: no <possibleresult><name>")
    points = list(_points(element, f"{what} '{name[:40]}'"))
    corners = tuple(points[:-1] if len(points) == 5 and points[0] == points[-1] else points)
    if len(corners) != 4:
        raise DataError(f"{what} '{name[:40]}': {len(points)} points, expected four corners and the first again")
    return PictureObject(name, enclosing(corners), oriented_px=corners)


def _points(element: safe.Element, what: str) -> Iterator[tuple[float, float]]:
    for point in element.iterfind("points/point"):
        numbers = (point.text or "").split(",")
        if len(numbers) != 2:
            raise DataError(f"{what}: the point {(point.text or '')[:40]!r}, expected 'x,y'")
        yield to_number(numbers[0].strip(), f"{what}: x"), to_number(numbers[1].strip(), f"{what}: y")


_READERS = {"dota": dota.read, "dior": _read_dior, "fair1m": _read_fair1m}
TASK = Task(
    name="rsdetect",
    summary="DOTA, DIOR and FAIR1M: all objects of aerial pictures, by class, in one answer, or counted",
    layout="DOTA {train,val}/{images,labelTxt}, DIOR with Annotations/, JPEGImages*/, ImageSets/Main/, or FAIR1M with images/ "
    "and labelXml/",
    unit="picture",
    licence="DOTA and DIOR for research; FAIR1M CC BY-NC-SA 4.0",
    read=read,
    convert=grounding.convert,
    options=(
        SET,
        Option("kinds", f"what to ask, a comma list of {', '.join(KINDS)}", "detect"),
        ORIGIN,
        *grounding.OPTIONS,
        prompts.prompt_option(),
        grounding.ABSENT_OPTION,
        grounding.MAX_OBJECTS,
        *pixels.OPTIONS,
    ),
    example="adapt convert --task rsdetect --input DOTA --output dota.jsonl --option kinds=detect,count",
)
