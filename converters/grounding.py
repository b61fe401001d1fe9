"""Grounding, dense detection and counting: a picture with labelled objects becomes questions about where and how many.

The question and the answer of ``ground`` are the published ones (arXiv 2410.16261, section 3.3): ``Detect <ref>NAME</ref>``,
``<ref>NAME</ref><box>[[x1, y1, x2, y2]]</box>``; several objects of one name share one ``<box>``. The question of ``detect`` is
InternVL's for dense detection (``docs/en/get_started/chat_data_format.md`` in github.com/ErfeiCui/InternVL-doc), its answer one
line a name. Counting and the Chinese wording are ours.

What is fixed: names go in the order of their characters, the objects of a name from left to right and, where two begin at the
same x, from top to bottom. A turned box has no form in the text: its upright enclosing box is written, and its corners are kept
in ``meta.polygons_px``. A crowd region is counted as ignored; where a name has one in a picture, nobody knows the number, so
that name is not counted there. A picture with nothing to ask for is counted as ignored, too; ``absent`` asks about it.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from adapt import boxes, pixels, randomness
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError, unknown
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, split_meta
from converters import prompts
from converters.formats import annotations
from converters.objects import CROWD, ObjectsSample, PictureObject, called, clipped, corners_of, plain
from converters.options import read_listed, refuse_idle, whole_number

# fmt: off
PROMPTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ground": {
        "en": ("Detect <ref>{name}</ref>",),
        "zh": ("检测<ref>{name}</ref>", "请框出图中的<ref>{name}</ref>", "请给出<ref>{name}</ref>的位置"),
    },
    "detect": {
        "en": ("Please detect and label all objects in the following image and mark their positions.",),
        "zh": ("请检测并标注图中的所有物体，并给出它们的位置。", "找出图中的所有物体，并标出它们的位置。"),
    },
    "detect some": {
        "en": ("Please detect and label all objects of these classes in the image and mark their positions: {names}.",),
        "zh": ("请检测图中所有属于以下类别的物体，并给出它们的位置：{names}。",),
    },
    "count": {
        "en": ("How many objects of the class {name} are there? Answer with a number.",),
        "zh": ("图中有多少个{name}？请用数字回答。", "图中{name}的数量是多少？请用数字回答。"),
    },
}
# fmt: on
NEEDS = {"ground": "{name}", "detect": None, "count": "{name}"}
ABSENT = {"en": "There is no {name} in the picture.", "zh": "图中没有{name}。"}
NOTHING = "picture without an object to ask for"


@dataclasses.dataclass(frozen=True)
class Asking:
    """How the objects of a set are asked for.

    ``names`` maps each class of the whole set that is asked for, as the set spells it, to what it is called in the text;
    ``prompts`` are the questions of each kind. ``by_caption`` asks for an object by its own caption where it has one.
    """

    task: str
    kinds: tuple[str, ...]
    names: Mapping[str, str]
    prompts: Mapping[str, tuple[str, ...]]
    language: str = "en"
    by_caption: bool = True
    absent: int = 0
    max_objects: int | None = None


CLASSES = Option("classes", "ask for these classes only: a comma list, or a file with one a line (default: all of the set)")
OPTIONS = (CLASSES, prompts.LANGUAGE)
REFER = Option(
    "refer",
    "ask for an object by its own caption where it has one, or by the name of its class",
    "caption",
    ("caption", "name"),
)
ABSENT_OPTION = Option("absent", "ask for N more classes of the set that the picture does not show", "0")
MAX_OBJECTS = Option("max_objects", "reject a picture that needs more boxes than N in one answer (default: no limit)")


def read_asking(
    options: Mapping[str, str],
    classes: Iterable[str],
    *,
    task: str,
    kinds: Sequence[str],
    spelled: Callable[[str], str] = str,
) -> Asking:
    """What the options ask for in a set of these classes. ``spelled`` turns a class into what it is called.

    Raises UsageError for an option that cannot be, and DataError where two classes would get one name.
    """
    known = sorted(set(classes))
    chosen = _chosen_classes(options.get("classes"), known)
    names = called(chosen, spelled)
    _refuse_idle(options, kinds)
    if "prompt" in options and len(kinds) > 1:
        raise UsageError(
            f"prompt replaces one kind of question, and {', '.join(kinds)} are asked; add --option kinds={kinds[0]}"
        )
    asked = {kind: prompts.read_prompts(options, _defaults(kind, options), NEEDS[kind]) for kind in kinds}
    return Asking(
        task=task,
        kinds=tuple(kinds),
        names=names,
        prompts=asked,
        language=options.get("language", "en"),
        by_caption=options.get("refer", "caption") == "caption",
        absent=whole_number(options, "absent", 0) or 0,
        max_objects=whole_number(options, "max_objects", 1),
    )


def _refuse_idle(options: Mapping[str, str], kinds: Sequence[str]) -> None:
    """Raise UsageError for an option of kinds of questions that are not asked."""
    uses = ((ABSENT_OPTION, ("ground", "count")), (MAX_OBJECTS, ("ground", "detect")), (REFER, ("ground",)))
    idle = [option for option, users in uses if not set(users) & set(kinds)] + ([] if kinds else [prompts.prompt_option()])
    refuse_idle(options, idle, f"kinds={options.get('kinds', ', '.join(kinds))}")
    if "prompt" in options and ("ground" not in kinds or options.get("absent", "0") == "0"):
        refuse_idle(options, [prompts.LANGUAGE], "prompt: its language is that of the prompt")


def read_kinds(options: Mapping[str, str], known: Sequence[str]) -> tuple[str, ...]:
    """The kinds of questions that ``kinds`` lists, in the order of ``known``. Raises UsageError for another."""
    given = [kind.strip() for kind in options["kinds"].split(",") if kind.strip()]
    for kind in given:
        if kind not in known:
            raise unknown("kind of question", kind, known)
    if not given:
        raise UsageError(f"kinds={options['kinds']}: expected one or more of {', '.join(known)}")
    return tuple(kind for kind in known if kind in given)


def _defaults(kind: str, options: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    return PROMPTS["detect some" if kind == "detect" and "classes" in options else kind]


def _chosen_classes(given: str | None, known: list[str]) -> list[str]:
    if given is None:
        return known
    chosen = read_listed("classes", given, ",")
    for name in chosen:
        if name not in known:
            raise unknown("class", name, known)
    if not chosen:
        raise UsageError(f"classes={given}: expected one class or more of {', '.join(known)}")
    return sorted(set(chosen))


def with_objects(
    samples: Iterable[ObjectsSample | Rejected], asking: Asking, ignored: collections.Counter[str]
) -> Iterator[ObjectsSample | Rejected]:
    """The samples that have something to ask for; pictures without, and crowds, are counted in ``ignored``."""
    for sample in samples:
        if not isinstance(sample, Rejected):
            count_crowds(sample, asking, ignored)
        if not isinstance(sample, Rejected) and not _has_question(sample, asking):
            ignored[NOTHING] += 1
        else:
            yield sample


def count_crowds(sample: ObjectsSample, asking: Asking, ignored: collections.Counter[str]) -> None:
    """Count in ``ignored`` the crowds of a picture that no answer tells of."""
    num_crowds = sum(each.crowd and each.name in asking.names for each in sample.objects)
    if num_crowds and asking.kinds:
        ignored[CROWD] += num_crowds


def _has_question(sample: ObjectsSample, asking: Asking) -> bool:
    asked = {each.name for each in sample.objects if not each.crowd and each.name in asking.names}
    if asking.kinds == ("count",):
        asked -= _crowded(sample)
    return bool(asked) or bool(set(asking.kinds) & {"ground", "count"} and asking.absent and _absent_classes(sample, asking))


def ask(sample: ObjectsSample, asking: Asking, seed: int, upright: str = "no") -> list[ChatRecord]:
    """The records of a picture, kind after kind. Raises DataError for a box outside, or for too many in an answer."""
    sample = clipped(sample, upright)
    visible = [each for each in sample.objects if not each.crowd and each.name in asking.names]
    ordered = sorted(visible, key=lambda each: each.box_px)
    return [record for kind in asking.kinds for record in _KINDS[kind](sample, ordered, asking, seed)]


def _ground(sample: ObjectsSample, objects: Sequence[PictureObject], asking: Asking, seed: int) -> list[ChatRecord]:
    """A question for each name (or caption) in the picture, then for classes that it does not show."""
    groups: dict[str, list[PictureObject]] = {}
    for each in objects:
        groups.setdefault(_called(each, asking), []).append(each)
    asked: list[tuple[str, str, list[PictureObject]]] = []
    for name in sorted(groups):
        asked.append((name, write_objects(name, groups[name], sample, asking), groups[name]))
    asked += [(name, prompts.fill(ABSENT[asking.language], name=name), []) for name in _drawn_absent(sample, asking, seed)]
    return [
        _record(sample, asking, seed, "ground", number, answer, {"name": name} | box_meta(found, asking, name), name=name)
        for number, (name, answer, found) in enumerate(asked, start=1)
    ]


def _detect(sample: ObjectsSample, objects: Sequence[PictureObject], asking: Asking, seed: int) -> list[ChatRecord]:
    """One question for all objects: a line for each name."""
    if not objects:
        return []
    ordered = sorted(objects, key=lambda each: asking.names[each.name])  # stable: left to right inside a name
    _check_number(ordered, "objects", sample, asking)
    groups: dict[str, list[PictureObject]] = {}
    for each in ordered:
        groups.setdefault(asking.names[each.name], []).append(each)
    answer = "\n".join(write_objects(name, found, sample, asking) for name, found in groups.items())
    meta = {"names": [asking.names[each.name] for each in ordered]} | box_meta(ordered, asking, None)
    return [_record(sample, asking, seed, "detect", None, answer, meta, names=", ".join(sorted(asking.names.values())))]


def _count(sample: ObjectsSample, objects: Sequence[PictureObject], asking: Asking, seed: int) -> list[ChatRecord]:
    """A question for each class in the picture that has no crowd, then for classes that it does not show."""
    crowded = _crowded(sample)
    counts = collections.Counter(each.name for each in objects if each.name not in crowded)
    numbers = sorted((asking.names[name], count) for name, count in counts.items())
    numbers += [(name, 0) for name in _drawn_absent(sample, asking, seed)]
    return [
        _record(sample, asking, seed, "count", number, str(count), {"name": name, "label": str(count)}, name=name)
        for number, (name, count) in enumerate(numbers, start=1)
    ]


_KINDS: Mapping[str, Callable[[ObjectsSample, Sequence[PictureObject], Asking, int], list[ChatRecord]]] = {
    "ground": _ground,
    "detect": _detect,
    "count": _count,
}


def _called(each: PictureObject, asking: Asking) -> str:
    return each.caption if asking.by_caption and each.caption else asking.names[each.name]


def _crowded(sample: ObjectsSample) -> set[str]:
    return {each.name for each in sample.objects if each.crowd}


def _absent_classes(sample: ObjectsSample, asking: Asking) -> list[str]:
    shown = {each.name for each in sample.objects}
    return [name for name in asking.names if name not in shown]


def _drawn_absent(sample: ObjectsSample, asking: Asking, seed: int) -> list[str]:
    """The names of at most ``absent`` classes that the picture does not show, drawn from (seed, id)."""
    others = _absent_classes(sample, asking) if asking.absent else []
    if not others:
        return []
    drawn = randomness.permutation(len(others), seed, "absent", sample.id)[: asking.absent]
    return [asking.names[others[index]] for index in drawn]


def write_objects(name: str, objects: Sequence[PictureObject], sample: ObjectsSample, asking: Asking) -> str:
    """``<ref>name</ref><box>[[..], [..]]</box>``. Raises DataError for more boxes than ``max_objects``."""
    _check_number(objects, f"'{name}'", sample, asking)
    return boxes.format_boxes(name, [each.box_px for each in objects], sample.size)


def _check_number(objects: Sequence[PictureObject], what: str, sample: ObjectsSample, asking: Asking) -> None:
    if asking.max_objects is not None and len(objects) > asking.max_objects:
        raise DataError(
            f"{sample.where}: {len(objects)} {what} in one answer; --option max_objects={len(objects)} would take them"
        )


def box_meta(objects: Sequence[PictureObject], asking: Asking, name: str | None) -> dict[str, Any]:
    """What a scorer and the way back need: boxes in pixels, corners of turned ones, the class as the set spells it."""
    meta: dict[str, Any] = {"boxes_px": [[plain(value) for value in each.box_px] for each in objects]}
    if any(each.oriented_px for each in objects):
        corners = [each.oriented_px or corners_of(each.box_px) for each in objects]
        meta["polygons_px"] = [[[plain(x), plain(y)] for x, y in points] for points in corners]
    classes = sorted({each.name for each in objects})
    if name is not None and classes and classes != [name]:
        meta["class_name"] = classes[0] if len(classes) == 1 else classes
    return meta


def _record(
    sample: ObjectsSample,
    asking: Asking,
    seed: int,
    kind: str,
    number: int | None,
    answer: str,
    meta: Mapping[str, Any],
    **values: str,
) -> ChatRecord:
    identifier = f"{sample.id}-{kind}" + ("" if number is None else f"-{number}")
    question = prompts.fill(prompts.choose(asking.prompts[kind], seed, identifier), **values)
    turns = (Turn("human", f"{IMAGE_PLACEHOLDER}\n{question}"), Turn("gpt", answer))
    split = split_meta(sample.split)
    asked_kind = {} if kind == asking.task else {"kind": kind}
    row_meta = split | dict(sample.meta) | asked_kind | dict(meta)
    return ChatRecord(identifier, turns, sample.pictures, task=asking.task, source=sample.source, meta=row_meta)


def convert(sample: ObjectsSample, context: Asking, source: Source) -> list[ChatRecord]:
    """The records of one picture."""
    return ask(sample, context, source.seed, source.options.get("upright", "no"))


def _read(source: Source, kind: str) -> Reading:
    found = annotations.read_objects(source)
    asking = read_asking(source.options, found.classes, task=kind, kinds=(kind,))
    ignored: collections.Counter[str] = collections.Counter()
    samples = list(with_objects(found.samples, asking, ignored))
    ignored.update(found.ignored)  # after the samples: a reader may count while they are taken
    return Reading(found.root, samples, asking, ignored, {"classes": sorted(asking.names)})


def read_ground(source: Source) -> Reading:
    """The labelled pictures of any annotation format, asked where things are."""
    return _read(source, "ground")


def read_detect(source: Source) -> Reading:
    """The labelled pictures of any annotation format, asked for everything in them."""
    return _read(source, "detect")


def read_count(source: Source) -> Reading:
    """The labelled pictures of any annotation format, asked how many there are."""
    return _read(source, "count")


_LAYOUT = "annotations and their pictures in any format of --option format"

GROUND = Task(
    name="ground",
    summary="where the objects of a name are: a question for each name in each picture, answered with boxes",
    layout=_LAYOUT,
    unit="picture",
    read=read_ground,
    convert=convert,
    options=(
        *annotations.OPTIONS,
        *OPTIONS,
        prompts.prompt_option("{name}"),
        REFER,
        ABSENT_OPTION,
        MAX_OBJECTS,
        *pixels.OPTIONS,
    ),
    example="adapt convert --task ground --input annotations.json --images pics --output ground.jsonl --option format=coco",
)
DETECT = Task(
    name="detect",
    summary="all objects of a picture, or all of some classes, in one answer",
    layout=_LAYOUT,
    unit="picture",
    read=read_detect,
    convert=convert,
    options=(*annotations.OPTIONS, *OPTIONS, prompts.prompt_option(), MAX_OBJECTS, *pixels.OPTIONS),
    example="adapt convert --task detect --input annotations.json --images pics --output detect.jsonl --option format=coco",
)
COUNT = Task(
    name="count",
    summary="how many objects of a class a picture shows",
    layout=_LAYOUT,
    unit="picture",
    read=read_count,
    convert=convert,
    options=(*annotations.OPTIONS, *OPTIONS, prompts.prompt_option("{name}"), ABSENT_OPTION, *pixels.OPTIONS),
    example="adapt convert --task count --input annotations.json --images pics --output count.jsonl --option format=coco",
)
