"""nuScenes: boxes in the pictures of six cameras, asked for in all six at once or in each camera's own picture.

nuScenes has no 2D boxes of its own (github.com/nutonomy/nuscenes-devkit, schema). This reads the COCO export that
mmdetection3d makes of its 3D boxes (github.com/open-mmlab/mmdetection3d ``tools/dataset_converters/nuscenes_converter.py``,
``export_2d_annotation``): ``nuscenes_infos_{train,val}_mono3d.coco.json`` with ``images`` {id, token, file_name, width,
height}, ``annotations`` {image_id, category_id, bbox [x, y, WIDTH, HEIGHT], ...} and ten categories. ``token`` is the key
frame: six images share one. Pictures of 1600x900 lie in ``samples/CAM_*/``; the camera is the folder. The split is in the
file's name.

A box is what the 3D box covers of the picture, hidden parts included, so it is larger than what is seen of the thing.
Terms: nuscenes.org/terms-of-use, non-commercial.
"""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import randomness
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord
from converters import grounding, multiview
from converters.formats import coco, jsonfiles
from converters.formats.pictures import PictureFinder, split_in
from converters.grounding import Asking
from converters.multiview import MultiviewSample, Stitching
from converters.objects import ObjectsSample, PictureObject, check_object, clipped
from converters.options import refuse_idle
from domains.driving import cameras

QUESTIONS = {
    "there": "Is there a {name} in {camera}? Answer with yes or no.",
    "number": "How many objects of the class {name} are there in {camera}? Answer with a number.",
    "where": "Which cameras show a {name}? Answer with their names.",
}
EMPTY = "key frame without an object to ask for"
OBJECT_KINDS = ("ground", "detect", "count")
KINDS = (*QUESTIONS, *OBJECT_KINDS)
DEFAULT_KINDS = "there,number,where,ground"


@dataclasses.dataclass(frozen=True)
class FrameSample:
    """One key frame: what each camera shows. ``pictures`` are those of ``views``; ``sizes`` are filled in on converting."""

    id: str
    where: str
    split: str | None
    views: tuple[tuple[str, ObjectsSample], ...]
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def pictures(self) -> tuple[str, ...]:
        """One a camera, in the order of ``views``."""
        return tuple(view.pictures[0] for _, view in self.views)

    @property
    def objects(self) -> tuple[PictureObject, ...]:
        """Those of all cameras."""
        return tuple(each for _, view in self.views for each in view.objects)


@dataclasses.dataclass(frozen=True)
class NuscenesContext:
    """How objects are asked for, and how the views are shown; ``asked`` are the questions that name a camera."""

    asking: Asking
    asked: tuple[str, ...]
    stitching: Stitching


def read(source: Source) -> Reading:
    """The key frames, or the pictures, of every file, in the order of the files and of their images."""
    stitched = source.options["cameras"] == "stitched"
    kinds = grounding.read_kinds(source.options, KINDS)
    objects = tuple(kind for kind in kinds if kind in OBJECT_KINDS)
    if not stitched:
        _check_each(source.options, objects)
    paths = jsonfiles.files_of("coco", source)
    root = source.images or (source.input if source.input.is_dir() else source.input.parent)
    finder = PictureFinder(root, source.made, root_first=source.images is not None)
    classes: set[str] = set()

    def read_file(document: Mapping[str, Any], path: Path) -> Iterator[FrameSample | ObjectsSample | Rejected]:
        place = jsonfiles.place(path, source.input)
        pictures = list(_pictures(document, path, source, finder, classes))
        return _frames(pictures, place) if stitched else (each for _, each in pictures)

    samples: list[Any] = list(jsonfiles.read_all(paths, source.input, read_file, _split_of))
    options = {name: value for name, value in source.options.items() if name != multiview.PROMPT_OPTION.name}
    asking = grounding.read_asking(options, classes, task="nuscenes", kinds=objects, spelled=_spelled)
    rig = dataclasses.replace(cameras.RIG, names_drawn=source.options["view_names"] == "drawn")
    stitching = Stitching(rig, multiview.read_prompts(source.options), root)
    context = NuscenesContext(asking, tuple(kind for kind in kinds if kind in QUESTIONS), stitching)
    ignored = collections.Counter(finder.ignored)
    facts: dict[str, Any] = {"classes": sorted(asking.names), "kinds": list(kinds if stitched else objects)}
    if not stitched:
        return Reading(root, list(grounding.with_objects(samples, asking, ignored)), context, ignored, facts)
    assert source.made is not None
    for sample in samples:
        for _, view in () if isinstance(sample, Rejected) else sample.views:
            grounding.count_crowds(view, asking, ignored)
    samples = [sample for sample in samples if isinstance(sample, Rejected) or _has_question(sample, context, ignored)]
    return Reading(source.made, samples, context, ignored, facts | multiview.facts(rig), pictures_root=root)


def _check_each(options: Mapping[str, str], objects: Sequence[str]) -> None:
    """Raise UsageError for options of the stitched picture where each picture is shown on its own."""
    refuse_idle(options, (multiview.VIEW_NAMES, multiview.PROMPT_OPTION), "cameras=each")
    strange = [kind for kind in grounding.read_kinds(options, KINDS) if kind not in objects]
    if not objects or (strange and options["kinds"] != DEFAULT_KINDS):
        raise UsageError(f"kinds={options['kinds']}: with cameras=each expected one or more of {', '.join(OBJECT_KINDS)}")


def _split_of(path: Path, input: Path) -> str | None:
    return split_in(path.stem)


def _spelled(name: str) -> str:
    return name.replace("_", " ").lower()


def _pictures(
    document: Mapping[str, Any], path: Path, source: Source, finder: PictureFinder, classes: set[str]
) -> Iterator[tuple[str, ObjectsSample | Rejected]]:
    """(key frame, picture) of each image; the key frame is "" where there is none. The names of all classes are added."""
    names = coco.category_names(document, path)
    annotations = coco.by_image(document, path, source, finder.ignored)
    classes |= set(names.values())
    split = split_in(path.stem)
    for row, where in coco.images_of(document, jsonfiles.place(path, source.input), split):
        if isinstance(row, Rejected):
            yield "", row
            continue
        token = row.get("token")
        frame = token if isinstance(token, str) else ""
        try:
            yield frame, _picture(row, annotations.get(coco.to_id(row["id"]), []), names, where, split, finder, path)
        except DataError as error:
            yield frame, Rejected(where, str(error).removeprefix(f"{where}: "), split)


def _picture(
    row: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    names: Mapping[int | str, str],
    where: str,
    split: str | None,
    finder: PictureFinder,
    path: Path,
) -> ObjectsSample:
    picture = finder.find(row["file_name"], where, path.parent, split=split)
    objects = []
    for number, each in enumerate(annotations, start=1):
        what = f"{where}: object {number}"
        name = coco.category_of(each, names, what)
        box = coco.to_box(each.get("bbox"), what)
        objects.append(check_object(PictureObject(name, box, crowd=coco.is_crowd(each, what)), number, where))
    size = jsonfiles.stated_size(row)
    meta = {"frame": row["token"]} if isinstance(row.get("token"), str) else {}
    return ObjectsSample(f"nuscenes-{row['id']}", where, split, (picture,), tuple(objects), "nuscenes", meta, stated_size=size)


def _frames(pictures: Sequence[tuple[str, ObjectsSample | Rejected]], place: str) -> Iterator[FrameSample | Rejected]:
    """One sample a key frame, where its first picture stands. A frame with a faulty picture is rejected with its fault."""
    frames: dict[str, list[ObjectsSample | Rejected]] = collections.defaultdict(list)
    for token, picture in pictures:
        if token:
            frames[token].append(picture)
        elif isinstance(picture, Rejected):
            yield picture
        else:
            yield Rejected(
                picture.where, "no 'token' of a key frame; add --option cameras=each to ask without one", picture.split
            )
    for token, views in frames.items():
        where = f"{place}#{token}"
        split = views[0].split
        faulty = next((view for view in views if isinstance(view, Rejected)), None)
        if faulty is not None:
            yield Rejected(where, f"{faulty.where}: {faulty.reason}", split)
            continue
        named = [(_camera_of(view.pictures[0]), view) for view in views if isinstance(view, ObjectsSample)]
        doubled = [name for name, count in collections.Counter(name for name, _ in named).items() if count > 1]
        if doubled:
            yield Rejected(where, f"{len(named)} pictures, several of them of '{doubled[0]}'; expected one a camera", split)
            continue
        yield FrameSample(f"nuscenes-{token}", where, split, tuple(named))


def _has_question(sample: FrameSample, context: NuscenesContext, ignored: collections.Counter[str]) -> bool:
    """Whether there is anything to ask; a frame without is counted."""
    counts = _counts(sample)
    shown = {name for found in counts.values() for name in found if name in context.asking.names}
    kinds = set(context.asking.kinds)
    found = any(shown - _crowded(kind, sample, counts) for kind in context.asked) or bool(
        (shown and kinds & {"ground", "detect"})
        or ("count" in kinds and shown - _crowded("number", sample, counts))
        or (context.asking.absent and kinds & {"ground", "count"})
    )
    if not found:
        ignored[EMPTY] += 1
    return found


def _camera_of(picture: str) -> str:
    """The folder: ``samples/CAM_BACK/n015.jpg`` -> ``CAM_BACK``."""
    return Path(picture).parent.name


def convert(sample: FrameSample | ObjectsSample, context: NuscenesContext, source: Source) -> list[ChatRecord]:
    """The questions of one key frame, or of one camera's picture."""
    if isinstance(sample, ObjectsSample):
        return grounding.ask(sample, context.asking, source.seed)
    whole = _whole(sample, context.stitching.rig)
    records = [record for kind in context.asked for record in _ask_cameras(kind, sample, context, source)]
    for record in grounding.ask(whole, context.asking, source.seed):
        question = record.question.replace(IMAGE_PLACEHOLDER, "").strip()
        records.append(_shown(sample, record.id, question, record.answer, record.meta, context, source))
    return records


def _whole(sample: FrameSample, rig: multiview.Rig) -> ObjectsSample:
    """All objects in pixels of the stitched picture."""
    objects, num_clipped = [], 0
    for (camera, view), size in zip(sample.views, sample.sizes, strict=True):
        if camera not in rig.views:
            continue  # said where the views are stitched
        inside = clipped(dataclasses.replace(view, sizes=(size,)))
        num_clipped += inside.meta.get("clipped", 0)
        for each in inside.objects:
            objects.append(dataclasses.replace(each, box_px=rig.move_box(camera, each.box_px, size)))
    meta = {"frame": sample.id.removeprefix("nuscenes-")} | ({"clipped": num_clipped} if num_clipped else {})
    return ObjectsSample(
        sample.id, sample.where, sample.split, ("stitched",), tuple(objects), "nuscenes", meta, sizes=(rig.size,)
    )


def _ask_cameras(kind: str, sample: FrameSample, context: NuscenesContext, source: Source) -> list[ChatRecord]:
    """The questions of one kind: about each class that the frame shows, in the order of names.

    A class of which a camera shows a group is left out: neither its number nor, without a single one, a "no" would be true.
    """
    counts = _counts(sample)
    records = []
    shown = {name for found in counts.values() for name in found if name in context.asking.names}
    names = sorted(shown - _crowded(kind, sample, counts))
    for name in names:
        showing = [camera for camera in cameras.CAMERAS if camera in counts and counts[camera][name]]
        called = context.asking.names[name]
        for number, (camera, answer) in enumerate(_answers(kind, sample.id, name, showing, counts, source.seed), start=1):
            identifier = f"{sample.id}-{kind}-{called.replace(' ', '-')}-{number}"
            question = QUESTIONS[kind].replace("{name}", called).replace("{camera}", camera)
            meta = {"kind": kind, "name": called, "label": answer, "frame": sample.id.removeprefix("nuscenes-")}
            records.append(_shown(sample, identifier, question, answer, meta, context, source))
    return records


def _counts(sample: FrameSample) -> dict[str, Mapping[str, int]]:
    """How many single objects of each class each camera shows."""
    return {camera: collections.Counter(each.name for each in view.objects if not each.crowd) for camera, view in sample.views}


def _crowded(kind: str, sample: FrameSample, counts: Mapping[str, Mapping[str, int]]) -> set[str]:
    """The classes that a kind of question cannot ask for: whether and where need one object, or no group, in each camera."""
    return {
        each.name
        for camera, view in sample.views
        for each in view.objects
        if each.crowd and (kind == "number" or not counts[camera][each.name])
    }


def _answers(
    kind: str, identifier: str, name: str, showing: Sequence[str], counts: Mapping[str, Mapping[str, int]], seed: int
) -> list[tuple[str, str]]:
    """(camera, answer) for each question: of the cameras that show a thing one is drawn, and one of those that do not."""
    if kind == "where":
        return [("", ", ".join(showing))]
    others = [camera for camera in cameras.CAMERAS if camera not in showing]
    drawn = [
        group[randomness.choice(len(group), seed, f"nuscenes/{kind}", identifier, name, place)]
        for place, group in enumerate((showing, others))
        if group
    ]
    if kind == "there":
        return [(camera, "yes" if camera in showing else "no") for camera in drawn]
    return [(camera, str(counts[camera][name] if camera in counts else 0)) for camera in drawn]


def _shown(
    sample: FrameSample,
    identifier: str,
    question: str,
    answer: str,
    meta: Mapping[str, Any],
    context: NuscenesContext,
    source: Source,
) -> ChatRecord:
    views = tuple((camera, view.pictures[0]) for camera, view in sample.views)
    asked = MultiviewSample(identifier, sample.where, sample.split, views, question, answer, "nuscenes", meta)
    return multiview.to_record(asked, context.stitching, source, task="nuscenes")


TASK = Task(
    name="nuscenes",
    summary="nuScenes objects in six cameras: whether, how many, in which camera and where",
    layout="nuscenes_infos_{train,val}_mono3d.coco.json (a folder with them, or one) with samples/CAM_*/*.jpg",
    unit="key frame (with cameras=each: picture)",
    licence="nuScenes' terms: non-commercial",
    read=read,
    convert=convert,
    options=(
        Option("cameras", "the six cameras stitched, or each picture on its own", "stitched", ("stitched", "each")),
        Option("kinds", f"what to ask, a comma list of {', '.join(KINDS)} (with cameras=each the last three)", DEFAULT_KINDS),
        multiview.VIEW_NAMES,
        multiview.PROMPT_OPTION,
        grounding.CLASSES,
        grounding.ABSENT_OPTION,
        grounding.MAX_OBJECTS,
    ),
    example="adapt convert --task nuscenes --input data/nuscenes --output nuscenes.jsonl",
)
