"""BDD100K: street scenes with boxes or outlines of what is in them, and the weather, the kind of place and the time of day.

Sources: github.com/bdd100k/bdd100k, github.com/scalabel/scalabel ``scalabel/label/typing.py``, ``doc/format.md`` in
github.com/ucbdrive/bdd-data; arXiv 1805.04687. Labels BSD-3; the pictures (1280x720; 70,000 / 10,000 / 20,000) are free for
research and may not be passed on. Licence and download: bdd-data.berkeley.edu.

Layout: Scalabel JSON files (``labels/det_20/det_train.json``, ``bdd100k_labels_images_val.json``), each a list of frames or
an object with ``frames``; pictures in ``images/100k/{train,val,test}``, in a folder of their video, or flat. The split is in
the name of the file, or of a folder above it; a frame is one sample. A frame: ``name``, ``videoName``, ``attributes``
{weather, scene, timeofday}, ``labels``: [{``category``, ``attributes`` {occluded, truncated, crowd}, ``box2d`` {x1, y1, x2,
y2} or ``poly2d``}].

Boxes are taken as stored (Scalabel's own COCO export adds a pixel to width and height). An outline may have several parts,
and a part may have curves: two vertices marked C are the controls of a Bezier curve between their neighbours, which is
followed, since controls lie outside of what they draw. Lanes and drivable areas, and labels without a shape (3D boxes,
keypoints), are counted as ignored. ``closed`` is not looked at: BDD's own panoptic fixture says false for each of its areas.
Labels of one id in one frame stay apart, as BDD's own export of masks has them.
"""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from adapt import pixels, safe
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, split_meta
from converters import grounding, prompts
from converters.formats import jsonfiles
from converters.formats.pictures import split_of
from converters.grounding import Asking
from converters.objects import ObjectsSample, PictureObject, Point, check_object, enclosing, to_number
from converters.options import refuse_idle

# As doc/format.md of ucbdrive/bdd-data lists them; "undefined" is no answer.
ATTRIBUTES = {
    "weather": ("clear", "foggy", "overcast", "partly cloudy", "rainy", "snowy"),
    "scene": ("city street", "gas stations", "highway", "parking lot", "residential", "tunnel"),
    "timeofday": ("dawn/dusk", "daytime", "night"),
}
QUESTIONS = {
    "weather": {"en": "What is the weather like?", "zh": "天气怎么样？"},
    "scene": {"en": "What kind of place is this?", "zh": "这是什么样的地方？"},
    "timeofday": {"en": "What time of day is it?", "zh": "现在是一天中的什么时间？"},
}
CHOICES = {"en": "Answer with one of: {names}.", "zh": "请从以下选项中选择回答：{names}。"}
OBJECT_KINDS = ("ground", "detect", "count")
KINDS = (*OBJECT_KINDS, *ATTRIBUTES)
DEFAULT_KINDS = "ground,weather,scene,timeofday"
UNDEFINED = "undefined"
PICTURE_FOLDERS = ("", "images/100k/", "images/10k/", "images/track/", "images/seg_track_20/")
SPLIT_FOLDERS = ("train/", "val/", "test/")  # a label file of one's own names no split; the pictures lie in one all the same
AREAS = ("lane", "area", "drivable area")
CURVE_STEPS = 16


@dataclasses.dataclass(frozen=True)
class BddContext:
    """How objects are asked for, and which attributes of the frame are."""

    asking: Asking
    attributes: tuple[str, ...]


def read(source: Source) -> Reading:
    """The frames of every label file, in the order of paths and of their lists."""
    kinds = grounding.read_kinds(source.options, KINDS)
    files = _label_files(source)
    root = source.images or _picture_root(source.input)
    ignored: collections.Counter[str] = collections.Counter()
    samples = [sample for path in files for sample in _read_file(path, source, root, ignored)]
    if not set(kinds) & set(OBJECT_KINDS):
        refuse_idle(source.options, [grounding.CLASSES], f"kinds={source.options['kinds']}")
    classes = {each.name for sample in samples if isinstance(sample, ObjectsSample) for each in sample.objects}
    objects = tuple(kind for kind in kinds if kind in OBJECT_KINDS)
    asking = grounding.read_asking(source.options, classes, task="bdd", kinds=objects)
    context = BddContext(asking, tuple(kind for kind in kinds if kind in ATTRIBUTES))
    kept = list(_with_questions(samples, context, ignored))
    return Reading(root, kept, context, ignored, {"classes": sorted(asking.names), "kinds": list(kinds)})


def convert(sample: ObjectsSample, context: BddContext, source: Source) -> list[ChatRecord]:
    """The questions about objects, then one for each known attribute of the frame."""
    records = grounding.ask(sample, context.asking, source.seed)
    for name in context.attributes:
        if (value := sample.meta.get(name)) is not None:
            records.append(_attribute_record(sample, name, value, context.asking.language))
    return records


def _attribute_record(sample: ObjectsSample, name: str, value: str, language: str) -> ChatRecord:
    choices = CHOICES[language].replace("{names}", ", ".join(ATTRIBUTES[name]))
    turns = (Turn("human", f"{IMAGE_PLACEHOLDER}\n{QUESTIONS[name][language]} {choices}"), Turn("gpt", value))
    meta = split_meta(sample.split)
    meta |= {"kind": name, "label": value, "candidates": list(ATTRIBUTES[name])}
    return ChatRecord(f"{sample.id}-{name}", turns, sample.pictures, task="bdd", source="bdd100k", meta=meta)


def _with_questions(
    samples: Sequence[ObjectsSample | Rejected], context: BddContext, ignored: collections.Counter[str]
) -> Iterator[ObjectsSample | Rejected]:
    for sample in samples:
        if isinstance(sample, ObjectsSample) and not any(name in sample.meta for name in context.attributes):
            yield from grounding.with_objects([sample], context.asking, ignored)
            continue
        if isinstance(sample, ObjectsSample):
            grounding.count_crowds(sample, context.asking, ignored)
        yield sample


def _label_files(source: Source) -> list[Path]:
    if source.input.is_file():
        return [source.input]
    files = jsonfiles.files_below(source, frozenset({".json"}))
    if not files:
        raise UsageError(f"input '{source.input}': no label file (.json) in it; expected Scalabel files such as det_train.json")
    return files


def _picture_root(input: Path) -> Path:
    """The folder that holds images/, at or above the labels; else the folder of the labels."""
    folder = (input if input.is_dir() else input.parent).resolve()
    return next((each for each in (folder, *folder.parents[:3]) if (each / "images").is_dir()), folder)


def _read_file(path: Path, source: Source, root: Path, ignored: collections.Counter[str]) -> Iterator[ObjectsSample | Rejected]:
    split = split_of(path, source.input)
    place = jsonfiles.place(path, source.input)
    try:
        document = safe.read_json(path)
    except DataError as error:
        if path == source.input:
            raise
        yield Rejected(place, str(error).removeprefix(f"{path}: "), split)
        return
    frames = document.get("frames") if isinstance(document, dict) else document
    if not isinstance(frames, list):
        if path != source.input:  # another JSON file in the folder
            ignored["JSON file without frames"] += 1
            return
        raise DataError(f"{path}: expected a list of frames, or an object with a list 'frames'")
    for number, frame in enumerate(frames):
        where = f"{place}#{number}"
        try:
            yield _sample(frame, where, split, root, ignored)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), split)


def _sample(frame: Any, where: str, split: str | None, root: Path, ignored: collections.Counter[str]) -> ObjectsSample:
    if not isinstance(frame, Mapping):
        raise DataError(f"{where}: {str(frame)[:40]!r}, expected a frame: an object with 'name' and 'labels'")
    name = frame.get("name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{where}: 'name' is {str(name)[:40]!r}, expected the picture's name")
    video = frame.get("videoName")
    picture = _find_picture(root, name, video if isinstance(video, str) else None, split, where)
    labels = frame.get("labels") or []
    if not isinstance(labels, list):
        raise DataError(f"{where}: 'labels' is {str(labels)[:40]!r}, expected a list")
    skipped: collections.Counter[str] = collections.Counter()
    found = (_object(label, number, where, skipped) for number, label in enumerate(labels, start=1))
    objects = tuple(each for each in found if each is not None)
    meta = _attributes(frame.get("attributes"), where, skipped)
    ignored.update(skipped)
    stem = PurePosixPath(picture).with_suffix("")
    return ObjectsSample(f"bdd-{split}-{stem}" if split else f"bdd-{stem}", where, split, (picture,), objects, "bdd100k", meta)


def _find_picture(root: Path, name: str, video: str | None, split: str | None, where: str) -> str:
    """The first place where the picture lies; without one the name as it stands, which is then reported as missing."""
    for folder in PICTURE_FOLDERS:
        for below in (f"{split}/", "") if split else ("", *SPLIT_FOLDERS):
            for last in (f"{video}/" if video else "", ""):
                candidate = f"{folder}{below}{last}{name}"
                if safe.inside(root, candidate, where).is_file():
                    return candidate
    safe.inside(root, name, where)
    return name


def _attributes(value: Any, where: str, skipped: collections.Counter[str]) -> dict[str, str]:
    """The attributes that have an answer. Raises DataError for one that the set does not know."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: 'attributes' is {str(value)[:40]!r}, expected an object")
    found: dict[str, str] = {}
    for name, choices in ATTRIBUTES.items():
        given = value.get(name)
        if given is None:
            continue
        if given in ("", UNDEFINED):
            skipped[f"{name} not known"] += 1
        elif given in choices:
            found[name] = given
        else:
            raise DataError(f"{where}: '{name}' is {str(given)[:40]!r}, expected one of {', '.join(choices)}, {UNDEFINED}")
    return found


def _object(label: Any, number: int, where: str, skipped: collections.Counter[str]) -> PictureObject | None:
    if not isinstance(label, Mapping):
        raise DataError(f"{where}: label {number} is {str(label)[:40]!r}, expected an object")
    name = label.get("category")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: label {number}: 'category' is {str(name)[:40]!r}, expected a name")
    what = f"{where}: label {number} '{name[:40]}'"
    if name.split("/")[0] in AREAS:
        skipped["lane or drivable area"] += 1
        return None
    attributes = label.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        raise DataError(f"{what}: 'attributes' is {str(attributes)[:40]!r}, expected an object")
    box, parts = label.get("box2d"), label.get("poly2d")
    polygons = _polygons(parts, what, skipped) if parts is not None else ()
    if box is not None:
        if not isinstance(box, Mapping):
            raise DataError(f"{what}: 'box2d' is {str(box)[:40]!r}, expected x1, y1, x2, y2")
        x1, y1, x2, y2 = (to_number(box.get(key), f"{what}: {key}") for key in ("x1", "y1", "x2", "y2"))
    elif polygons:
        x1, y1, x2, y2 = enclosing(point for polygon in polygons for point in polygon)
    else:
        skipped["label without a box or an outline"] += 1
        return None
    crowd = attributes.get("crowd") is True
    return check_object(PictureObject(name, (x1, y1, x2, y2), polygons, crowd=crowd, attributes=attributes), number, where)


def _polygons(parts: Any, what: str, skipped: collections.Counter[str]) -> tuple[tuple[Point, ...], ...]:
    """The parts of an outline. Old files hold one part, new ones a list; of an open line the ends are joined."""
    found: list[tuple[Point, ...]] = []
    for part in parts if isinstance(parts, list) else [parts]:
        vertices = part.get("vertices") if isinstance(part, Mapping) else None
        if not isinstance(vertices, list) or not all(isinstance(each, list) and len(each) == 2 for each in vertices):
            raise DataError(f"{what}: 'poly2d' is {str(part)[:40]!r}, expected parts with 'vertices' of x and y")
        points = [(to_number(x, f"{what}: x"), to_number(y, f"{what}: y")) for x, y in vertices]
        types = part.get("types") or "L" * len(points)
        if not isinstance(types, str) or len(types) != len(points):
            raise DataError(f"{what}: {len(points)} vertices of types {str(types)[:40]!r}; expected one type each")
        if len(points) < 3:
            skipped["part of an outline with fewer than three vertices"] += 1
            continue
        found.append(flatten(points, types, what))
    return tuple(found)


def flatten(points: Sequence[Point], types: str, what: str) -> tuple[Point, ...]:
    """A closed outline without curves: each pair of C vertices becomes points on the cubic Bezier curve that it controls."""
    starts = [place for place, kind in enumerate(types) if kind == "L"]
    if not starts or set(types) - {"L", "C"}:
        raise DataError(f"{what}: vertices of types {types[:40]!r}; expected L, and C in pairs")
    first = starts[0]
    ring = [*range(first, len(points)), *range(first), first]
    flat: list[Point] = []
    place = 0
    while place < len(ring) - 1:
        flat.append(points[ring[place]])
        run = next(step for step in range(1, len(ring)) if types[ring[place + step]] == "L")
        if run == 3:
            flat += _curve([points[ring[place + step]] for step in range(4)])
        elif run != 1:
            raise DataError(f"{what}: {run - 1} curve vertices in a row; expected two between corners")
        place += run
    return tuple(flat)


def _curve(controls: Sequence[Point]) -> list[Point]:
    """Points inside a cubic Bezier curve, its ends left out."""
    found = []
    for step in range(1, CURVE_STEPS):
        t = step / CURVE_STEPS
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        x, y = (sum(weight * point[axis] for weight, point in zip(weights, controls, strict=True)) for axis in (0, 1))
        found.append((x, y))
    return found


TASK = Task(
    name="bdd",
    summary="BDD100K: where things are in street scenes; weather, place and time of day",
    layout="Scalabel label files (labels/det_20/det_{train,val}.json, or one of them) with images/100k/{train,val,test}/*.jpg",
    unit="frame",
    licence="labels BSD-3, pictures may not be passed on",
    read=read,
    convert=convert,
    options=(
        Option("kinds", f"what to ask, a comma list of {', '.join(KINDS)}", DEFAULT_KINDS),
        *grounding.OPTIONS,
        prompts.prompt_option("{name}"),
        grounding.ABSENT_OPTION,
        grounding.MAX_OBJECTS,
        *pixels.OPTIONS,
    ),
    example="adapt convert --task bdd --input bdd100k/labels/det_20 --images bdd100k --output bdd.jsonl",
)
