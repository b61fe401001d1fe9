"""DIOR-RSVG: expressions such as "the vehicle on the left of the bridge", each with one box in an aerial picture.

Sources: github.com/ZhanYang-nwpu/RSVG-pytorch ``data_loader.py`` and ``DIOR_RSVG/*.txt``; arXiv 2210.12634. 17,402 pictures
of 800x800, expressions train / val / test 26,991 / 3,829 / 7,500. No licence is stated; DIOR's pictures are for research.

Layout: ``DIOR_RSVG/{Annotations/00001.xml, JPEGImages/00001.jpg, train.txt, val.txt, test.txt}``. The numbers in the lists
are not pictures: they count every ``<object>`` of all XML files, in the order of the files' paths, from 0, and together they
name each once. So a part of the XML files would move every later expression into another split without a word. That is
refused: what the lists name must be there, and where all three are, each object must be in one of them; where a list is
missing a warning says that this cannot be told.

The corners are whole pixels and are taken as they are, as the reference loader takes them. An expression keeps its letters;
``--option case=lower`` writes it small, as that loader does. Question and answer are the published ones (arXiv 2410.16261,
section 3.3). InternVL's own test file (``dior_rsvg_test.json``: a list of {image, prompt, bbox in pixels, size}) is read as
well.

The benchmark's two conventions are in adapt/evaluate/grounding.py. Published rows: LPVA and MGVLF with what they print of
others (github.com/like413/OPT-RSVG, plain IoU, >=), and Mini-InternVL (arXiv 2410.16261, table of remote sensing; plus one, >).
"""

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt import pixels, safe
from adapt.domain import Benchmark, Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.evaluate.grounding import CONVENTION, score_grounding
from adapt.progress import say
from converters import grounding, prompts
from converters.formats import jsonfiles
from converters.objects import ObjectsSample, PictureObject, check_object, to_number
from converters.options import refuse_idle

SPLITS = ("train", "val", "test")
FOLDER = "DIOR_RSVG"
NUM_OBJECTS = 38_320  # in 17,402 files
CASE = Option(
    "case", "the letters of an expression: as they are, or all small as in the reference loader", "keep", ("keep", "lower")
)
CORNERS = ("xmin", "ymin", "xmax", "ymax")
_REF = re.compile(r"<ref>([^<]*)</ref>")


@dataclasses.dataclass(frozen=True)
class _Place:
    """One object of one annotation file, with its number over all files."""

    index: int
    path: Path
    element: safe.Element


def read(source: Source) -> Reading:
    """The expressions of the lists, in the order of their running number; or the rows of InternVL's test file."""
    ignored: collections.Counter[str] = collections.Counter()
    if source.input.is_file():
        refuse_idle(source.options, [CASE], f"{source.input.name}, whose expressions stand as they are")
        root, samples = source.images or source.input.parent, list(_read_internvl(source))
    else:
        folder = next((each for each in (source.input, source.input / FOLDER) if (each / "Annotations").is_dir()), None)
        if folder is None:
            raise UsageError(f"input '{source.input}': expected a folder with Annotations/*.xml, such as {FOLDER}")
        root, samples = source.images or folder, list(_read_folder(folder, source, ignored))
    classes = {each.name for sample in samples if isinstance(sample, ObjectsSample) for each in sample.objects}
    asking = grounding.read_asking(source.options, classes, task="rsground", kinds=("ground",))
    return Reading(root, samples, asking, ignored)


def _read_folder(folder: Path, source: Source, ignored: collections.Counter[str]) -> Iterator[ObjectsSample | Rejected]:
    places = list(_objects(folder / "Annotations"))
    splits = _read_lists(folder, len(places))
    if not source.counting:
        _tell_unchecked(folder, len(places))
    pictures = _picture_folder(source.images or folder)
    for place in places:
        where = f"{place.path.name}#object {place.index}"
        if place.index not in splits:
            ignored["object in no list"] += 1
            continue
        split = splits[place.index]
        try:
            yield _sample(place, pictures, where, split, source)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), split)


def _objects(folder: Path) -> Iterator[_Place]:
    """Every object of every file, numbered. Raises DataError for a file that cannot be read: no later number would be true."""
    index = 0
    paths = sorted(path for path in folder.glob("*.xml") if not path.name.startswith("."))  # macOS lays ._00001.xml beside
    if not paths:
        raise DataError(f"{folder}: no annotation file (.xml) in it")
    for path in paths:
        try:
            root = safe.read_xml(path)
        except DataError as error:
            raise DataError(f"{error}; its objects are counted by the lists, so every file must be read") from error
        for element in root.findall("object"):
            yield _Place(index, path, element)
            index += 1


def _read_lists(folder: Path, num_objects: int) -> dict[int, str]:
    """Running number -> split. Raises DataError where lists and annotations cannot belong together."""
    found: dict[int, str] = {}
    paths = {split: folder / f"{split}.txt" for split in SPLITS}
    present = {split: path for split, path in paths.items() if path.is_file()}
    if not present:
        raise DataError(f"{folder}: no train.txt, val.txt or test.txt beside Annotations/; fetch them with the annotations")
    for split, path in present.items():
        for number, line in enumerate(safe.read_text(path).splitlines(), start=1):
            text = line.strip()
            if not text:
                continue
            if not text.isascii() or not text.isdigit() or len(text) > 9:
                raise DataError(f"{path}:{number}: {text[:40]!r}, expected the number of an object")
            if int(text) in found:
                raise DataError(f"{path}:{number}: object {int(text)} is in {found[int(text)]}.txt too; lists must not overlap")
            found[int(text)] = split
    if found and max(found) >= num_objects:
        raise DataError(
            f"{folder}: the lists name object {max(found):,}, but Annotations/ holds {num_objects:,}; the lists count the "
            "objects of all files, so all files must be there"
        )
    if len(present) == len(SPLITS) and len(found) != num_objects:
        raise DataError(
            f"{folder}: the lists name {len(found):,} objects, but Annotations/ holds {num_objects:,}; they count the objects "
            "of all files, so one more or less moves the others"
        )
    return found


def _tell_unchecked(folder: Path, num_objects: int) -> None:
    """Say so where a list is missing: whether all annotation files are there, on which all numbers hang, then shows nowhere."""
    missing = [f"{split}.txt" for split in SPLITS if not (folder / f"{split}.txt").is_file()]
    if missing:
        say(
            f"warning: {folder}: without {' and '.join(missing)} nothing tells whether Annotations/ is whole, and one file "
            f"more or less moves every later expression into another split; the whole set has {NUM_OBJECTS:,} objects, this "
            f"one {num_objects:,}"
        )


def _picture_folder(root: Path) -> str:
    return "JPEGImages/" if (root / "JPEGImages").is_dir() else ""


def _sample(place: _Place, pictures: str, where: str, split: str, source: Source) -> ObjectsSample:
    """Children are found by tag, and by the reference loader's positions where a tag is not there."""
    element = place.element
    name = _words(_child(element, ("name",), 0), f"{where}: <name>")
    expression = _words(_child(element, ("description", "expression", "sentence"), 3), f"{where}: the expression")
    box = _child(element, ("bndbox",), 2)
    if box is None:
        raise DataError(f"{where}: no <bndbox>")
    texts = [(box.findtext(corner) or "").strip() for corner in CORNERS]
    x1, y1, x2, y2 = (to_number(text, f"{where}: <{key}>") for key, text in zip(CORNERS, texts, strict=True))
    if source.options["case"] == "lower":
        expression = expression.lower()
    found = check_object(PictureObject(name, (x1, y1, x2, y2), caption=expression), 1, where)
    return ObjectsSample(
        f"dior-rsvg-{place.index}", where, split, (f"{pictures}{place.path.stem}.jpg",), (found,), "dior_rsvg",
        {"object": place.index},
    )  # fmt: skip


def _child(element: safe.Element, tags: tuple[str, ...], position: int) -> safe.Element | None:
    for tag in tags:
        if (found := element.find(tag)) is not None:
            return found
    children = list(element)
    return children[position] if len(children) > position else None


def _words(element: safe.Element | None, what: str) -> str:
    text = " ".join((element.text or "").split()) if element is not None else ""
    if not text:
        raise DataError(f"{what} is empty or missing, expected text")
    return text


def _read_internvl(source: Source) -> Iterator[ObjectsSample | Rejected]:
    for number, row in enumerate(safe.read_array(source.input, "rows with image, prompt, bbox and size")):
        where = f"{source.input.name}#{number}"
        try:
            yield _internvl_sample(row, where, number)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), "test")


def _internvl_sample(row: Any, where: str, number: int) -> ObjectsSample:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: {str(row)[:40]!r}, expected an object with image, prompt and bbox")
    prompt, image, box, size = (row.get(key) for key in ("prompt", "image", "bbox", "size"))
    expression = _REF.search(prompt) if isinstance(prompt, str) else None
    if expression is None or not expression[1].strip():
        raise DataError(f"{where}: 'prompt' is {str(prompt)[:40]!r}, expected <ref>an expression</ref>")
    if not isinstance(image, str) or not image:
        raise DataError(f"{where}: 'image' is {str(image)[:40]!r}, expected a path")
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{where}: 'bbox' is {str(box)[:40]!r}, expected x1, y1, x2, y2 in pixels")
    x1, y1, x2, y2 = (to_number(value, f"{where}: a corner") for value in box)
    found = check_object(PictureObject("object", (x1, y1, x2, y2), caption=expression[1].strip()), 1, where)
    stated = jsonfiles.stated_size(dict(enumerate(size)), 0, 1) if isinstance(size, list) and len(size) == 2 else None
    return ObjectsSample(f"dior-rsvg-test-{number}", where, "test", (image,), (found,), "dior_rsvg", stated_size=stated)


TASK = Task(
    name="rsground",
    summary="DIOR-RSVG: the object that an expression means, in an aerial picture",
    layout=f"{FOLDER}/ with Annotations/*.xml, JPEGImages/*.jpg, train.txt, val.txt, test.txt; or dior_rsvg_test.json",
    unit="expression",
    licence="none stated; DIOR's pictures are for research",
    read=read,
    convert=grounding.convert,
    options=(
        CASE,
        prompts.LANGUAGE,
        prompts.prompt_option("{name}"),
        *pixels.OPTIONS,
    ),
    example=f"adapt convert --task rsground --input {FOLDER} --output rsground.jsonl",
)


def _published(name: str, source: str, convention: str, *percents: float) -> dict[str, Any]:
    """A published row of DIOR-RSVG's test set: Acc@0.5 alone, or Acc@0.5 to 0.9, meanIoU and cumIoU."""
    names = ("acc@0.5", "acc@0.6", "acc@0.7", "acc@0.8", "acc@0.9", "mean_iou", "cum_iou")
    shares = {each: round(percent / 100, 4) for each, percent in zip(names, percents, strict=False)}
    return {"name": name, "set": "DIOR-RSVG test", "source": source, "convention": convention} | shares


_PLAIN, _PLUS_ONE, _UNSTATED = "original: plain IoU, >=", "internvl: IoU plus one pixel, >", "not stated"
BENCHMARK = Benchmark(
    name="rsground",
    summary="DIOR-RSVG: the share of expressions whose box is hit at an IoU of 0.5 to 0.9, mean and cumulative IoU",
    headline="acc@0.5",
    score=score_grounding,
    max_new_tokens=200,
    options=(CONVENTION,),
    published=(
        _published("TransVG", "arXiv 2104.08541", _PLAIN, 72.41, 67.38, 60.05, 49.10, 27.84, 63.56, 76.27),
        _published("MGVLF", "arXiv 2210.12634", _PLAIN, 75.98, 72.06, 65.23, 54.89, 35.65, 67.48, 78.63),
        _published("LPVA", "github.com/like413/OPT-RSVG", _PLAIN, 82.27, 77.44, 72.25, 60.98, 39.55, 72.35, 85.11),
        _published("SkyEyeGPT", "arXiv 2401.09712", _UNSTATED, 88.59),
        _published("Mini-InternVL-4B, zero-shot", "arXiv 2410.16261", _PLUS_ONE, 16.89),
        _published("InternVL2-76B, zero-shot", "arXiv 2410.16261", _PLUS_ONE, 29.65),
        _published("Mini-InternVL-DA-1B", "arXiv 2410.16261", _PLUS_ONE, 89.73),
        _published("Mini-InternVL-DA-2B", "arXiv 2410.16261", _PLUS_ONE, 89.24),
        _published("Mini-InternVL-DA-4B", "arXiv 2410.16261", _PLUS_ONE, 92.04),
    ),
)
