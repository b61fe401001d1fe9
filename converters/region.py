"""Region perception: one object of a picture is pointed at and asked about: its name, its description, a question of its own.

Both published forms (arXiv 2410.16261, section 3.3): the box as text in the question, answered as published with the name and
the box again (``answer_form=plain``: the name alone), or the region drawn on the pixels of a made picture as box, mask or
contour, answered in plain text. The question for a name beside a box is the published one; the other wordings are ours.

Each object is one sample and one record. Objects that are a crowd, not told apart, are counted as ignored, and so are pictures
without objects. A turned box is pointed at by its upright enclosing box, or by ``mark=contour`` as it is.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor

from adapt import boxes, made, pixels, safe
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, split_meta
from converters import marks, prompts
from converters.formats import annotations
from converters.masks import object_mask
from converters.objects import CROWD, Objects, ObjectsSample, PictureObject, called, clipped, plain
from converters.options import refuse_idle, whole_number

NAME, CAPTION, QUESTION = "name", "caption", "question"
COORDINATES, DRAWN = "coordinates", "drawn"
# (form, what is asked) -> the questions of each language
PROMPTS: Mapping[tuple[str, str], Mapping[str, tuple[str, ...]]] = {
    (COORDINATES, NAME): {"en": ("What object is in this location{box}",), "zh": ("这个位置{box}是什么物体？",)},
    (COORDINATES, CAPTION): {"en": ("Briefly describe {region}.",), "zh": ("请简要描述{region}。",)},
    (COORDINATES, QUESTION): {"en": ("Look at {region}. {question}",), "zh": ("请看{region}。{question}",)},
    (DRAWN, NAME): {
        "en": ("What object is marked by the {mark}? Answer with one word or short phrase.",),
        "zh": ("图中{mark}标出的是什么物体？请用一个词或短语回答。",),
    },
    (DRAWN, CAPTION): {
        "en": ("Briefly describe the object marked by the {mark}.",),
        "zh": ("请简要描述图中{mark}标出的物体。",),
    },
    (DRAWN, QUESTION): {
        "en": ("Look at the object marked by the {mark}. {question}",),
        "zh": ("请看图中{mark}标出的物体。{question}",),
    },
}
REGION_WORD = {"en": "region", "zh": "区域"}
MARK_WORDS = {
    "en": {"box": "box", "mask": "area", "contour": "outline"},
    "zh": {"box": "方框", "mask": "区域", "contour": "轮廓"},
}
CHINESE_COLOURS = {
    "red": "红色", "green": "绿色", "blue": "蓝色", "yellow": "黄色", "orange": "橙色", "purple": "紫色", "pink": "粉色",
    "white": "白色", "black": "黑色", "cyan": "青色", "lime": "绿色", "magenta": "品红色",
}  # fmt: skip
_KNOWN = {
    COORDINATES: frozenset({"box", "region", "question", "candidates"}),
    DRAWN: frozenset({"mark", "question", "candidates"}),
}

FORM_OPTIONS = (
    Option(
        "form", "point by coordinates in the question, or by a mark drawn on the picture", COORDINATES, (COORDINATES, DRAWN)
    ),
    Option("mark", "drawn: what is drawn", "box", ("box", "mask", "contour")),
    Option("colour", "drawn: a colour's English name or #rrggbb", "red"),
    Option("width", "drawn: the width of lines in pixels (default: by the picture's size)"),
    Option("opacity", "drawn: how much of a mask's colour covers the picture, in percent", "40"),
    Option("quality", "drawn: the JPEG quality of made pictures, 1 to 100, or png", "90"),
    Option(
        "answer_form", "coordinates: a name is answered with its box, as published, or plain", "tagged", ("tagged", "plain")
    ),
    Option(
        "ask",
        "what is asked of an object: its name, its caption, its own question (attributes question and answer), or the last of "
        "these that it has",
        "auto",
        ("auto", NAME, CAPTION, QUESTION),
    ),
    Option(
        "prompt",
        "the question instead of the task's own; several with '|', or a file, one a line; holds {region} or {box} "
        "(coordinates), may hold {mark} (drawn), {question}, {candidates}",
    ),
    prompts.LANGUAGE,
)


@dataclasses.dataclass(frozen=True)
class Mark:
    """How regions are drawn. ``width_px`` None goes by the picture's size; ``jpeg_quality`` None is PNG."""

    kind: str
    colour: marks.Colour
    words: str
    width_px: int | None
    opacity_percent: int
    jpeg_quality: int | None


@dataclasses.dataclass(frozen=True)
class Asking:
    """How the regions of a set are asked for. ``root`` holds the mask pictures; ``mark`` is None for coordinates in the text.

    ``names`` maps each class, as the set spells it, to what it is called.
    """

    task: str
    root: Path
    names: Mapping[str, str]
    ask: str
    language: str
    is_tagged: bool
    prompts: Mapping[str, tuple[str, ...]]
    mark: Mark | None = None


def read_asking(source: Source, found: Objects, *, task: str, spelled: Callable[[str], str] = str) -> Asking:
    """What the options ask for. Raises UsageError for an option that cannot be, DataError where two classes get one name."""
    options = source.options
    names = called(found.classes, spelled)
    form, language = options["form"], options["language"]
    _refuse_idle(options)
    kinds = (NAME, CAPTION, QUESTION) if options["ask"] == "auto" else (options["ask"],)
    takes = [f"{{{name}}}" for name in _KNOWN[form]]
    asked = {kind: prompts.read_prompts(options, PROMPTS[form, kind], None, takes=takes) for kind in kinds}
    for prompt in asked[kinds[0]] if "prompt" in options else ():
        _check_prompt(prompt, form)
    mark = _read_mark(options) if form == DRAWN else None
    is_tagged = form == COORDINATES and options["answer_form"] == "tagged"
    return Asking(task, found.root, names, options["ask"], language, is_tagged, asked, mark)


def _refuse_idle(options: Mapping[str, str]) -> None:
    """Raise UsageError for an option of the other form, of another mark, or of a question that is not asked."""
    known = {option.name: option for option in FORM_OPTIONS}
    form, mark = options["form"], options.get("mark", known["mark"].default)
    if form == COORDINATES:
        refuse_idle(options, [known[name] for name in ("mark", "colour", "width", "opacity", "quality")], f"form={form}")
        if options["ask"] in (CAPTION, QUESTION):
            refuse_idle(options, [known["answer_form"]], f"ask={options['ask']}")
    else:
        refuse_idle(options, [known["answer_form"]], f"form={form}")
        refuse_idle(options, [known["width" if mark == "mask" else "opacity"]], f"mark={mark}")


def _check_prompt(prompt: str, form: str) -> None:
    held = set(prompts.PLACEHOLDER.findall(prompt))
    if form == COORDINATES and not held & {"box", "region"}:
        raise UsageError(f"prompt '{prompt[:60]}': expected {{region}} or {{box}} where the coordinates belong")


def _read_mark(options: Mapping[str, str]) -> Mark:
    kind, name, language = options["mark"], options["colour"].strip().lower(), options["language"]
    try:
        colour = ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise UsageError(f"colour={options['colour']}: expected an English name such as red, or #rrggbb") from error
    word = MARK_WORDS[language][kind]
    shade = CHINESE_COLOURS.get(name, "") if language == "zh" else f"{name} " if name.isalpha() else ""
    quality = None if options["quality"] == "png" else whole_number(options, "quality", 1, 100)
    opacity = whole_number(options, "opacity", 1, 100)
    assert opacity is not None, "it has a default"
    return Mark(kind, colour, shade + word, whole_number(options, "width", 1, 1000), opacity, quality)


def each_object(
    samples: Iterable[ObjectsSample | Rejected], ignored: collections.Counter[str]
) -> Iterator[ObjectsSample | Rejected]:
    """A sample for each object, numbered within its picture; what is not asked for is counted in ``ignored``."""
    for sample in samples:
        if isinstance(sample, Rejected):
            yield sample
            continue
        if not sample.objects:
            ignored["picture without an object"] += 1
        for number, each in enumerate(sample.objects, start=1):
            if each.crowd:
                ignored[CROWD] += 1
                continue
            where = f"{sample.where}: region {number}"
            yield dataclasses.replace(sample, id=f"{sample.id}-region-{number}", where=where, objects=(each,))


def convert(sample: ObjectsSample, asking: Asking, source: Source) -> list[ChatRecord]:
    """The record of one region."""
    sample = clipped(sample, source.options.get("upright", "no"))
    each = sample.objects[0]
    kind, answer = _kind_and_answer(each, asking, sample.where)
    values = {"question": str(each.attributes.get("question", "")), "candidates": ", ".join(sorted(asking.names.values()))}
    prompt = prompts.choose(asking.prompts[kind], source.seed, sample.id)
    if "{question}" in prompt and not values["question"]:
        raise DataError(f"{sample.where}: '{each.name}' has no question of its own for the prompt's {{question}}")
    pictures, sizes = sample.pictures, sample.sizes
    if asking.mark is None:
        box = boxes.format_boxes(None, [each.box_px], sample.size)
        pointers = {"box": box, "region": f"<ref>{REGION_WORD[asking.language]}</ref>{box}"}
        if kind == NAME and asking.is_tagged:
            answer = boxes.format_boxes(answer, [each.box_px], sample.size)
    else:
        pointers = {"mark": asking.mark.words}
        pictures = (_draw(sample, asking, asking.mark, source),)
    question = _fill(prompt, values, pointers)
    turns = (Turn("human", f"{IMAGE_PLACEHOLDER}\n{question}"), Turn("gpt", answer))
    return [
        ChatRecord(sample.id, turns, pictures, sizes, task=asking.task, source=sample.source, meta=_meta(sample, kind, asking))
    ]


def _fill(prompt: str, values: Mapping[str, str], pointers: Mapping[str, str]) -> str:
    """The prompt with what is pointed at and what the data says; the data's words are not looked through for placeholders."""
    parts = prompts.PLACEHOLDER.split(prompt)  # text, name, text, name, ..., text
    for place in range(1, len(parts), 2):
        name = parts[place]
        stands = pointers.get(name, "{" + name + "}")
        parts[place] = prompts.fill(stands, **{name: values[name]}) if name in values else stands
    return "".join(parts)


def _kind_and_answer(each: PictureObject, asking: Asking, where: str) -> tuple[str, str]:
    own = str(each.attributes.get("answer", "")).strip() if each.attributes.get("question") else ""
    answers = {NAME: asking.names[each.name], CAPTION: each.caption.strip(), QUESTION: own}
    kind = asking.ask
    if kind == "auto":
        kind = next(kind for kind in (QUESTION, CAPTION, NAME) if answers[kind])
    if not answers[kind]:
        raise DataError(f"{where}: '{each.name}' has no {kind} to ask for; --option ask=name asks for its class")
    return kind, answers[kind]


def _draw(sample: ObjectsSample, asking: Asking, mark: Mark, source: Source) -> str:
    """The name of the made picture that shows the sample's one object marked."""
    assert source.made is not None, "made pictures need a folder"
    root = pixels.picture_root(asking.root, source.options, source.made)
    path = safe.inside(root, sample.pictures[0], sample.where)
    drawn = draw(_original(path, path.stat().st_mtime_ns), sample, mark, asking.root)
    return made.write_picture(source.made, drawn, jpeg_quality=mark.jpeg_quality)


@functools.lru_cache(maxsize=1)  # the regions of a picture come one after the other
def _original(path: Path, changed_ns: int) -> Image.Image:
    return safe.read_picture(path)


def draw(picture: Image.Image, sample: ObjectsSample, mark: Mark, root: Path) -> Image.Image:
    """A copy of the picture with the sample's one object marked; mask pictures lie below ``root``."""
    each = sample.objects[0]
    width_px = mark.width_px or marks.line_width_px(picture.size)
    if mark.kind == "box":
        return marks.draw_box(picture, each.box_px, mark.colour, width_px)
    mask_HW = object_mask(each, picture.size, root, sample.where)
    if mark.kind == "mask":
        return marks.draw_mask(picture, mask_HW, mark.colour, mark.opacity_percent)
    return marks.draw_contour(picture, mask_HW, mark.colour, width_px)


def _meta(sample: ObjectsSample, kind: str, asking: Asking) -> dict[str, Any]:
    each = sample.objects[0]
    meta = split_meta(sample.split) | dict(sample.meta)
    meta |= {"kind": kind, "boxes_px": [[plain(value) for value in each.box_px]]}
    if each.oriented_px:
        meta["polygons_px"] = [[[plain(x), plain(y)] for x, y in each.oriented_px]]
    if asking.mark is not None:
        meta |= {"form": DRAWN, "mark": asking.mark.kind, "drawn_from": sample.pictures[0]}
    else:
        meta["form"] = COORDINATES
    label = asking.names[each.name]
    if kind == NAME:
        meta |= {"label": label} | ({} if label == each.name else {"class_name": each.name})
        meta["candidates"] = sorted(asking.names.values())
    else:
        meta["class_name"] = each.name
    return meta


def read(source: Source) -> Reading:
    """The labelled pictures of any annotation format, one sample an object."""
    found = annotations.read_objects(source)
    return reading_of(source, found, read_asking(source, found, task="region"))


def reading_of(source: Source, found: Objects, asking: Asking) -> Reading:
    """The samples of a set, one an object; drawn ones show made pictures."""
    ignored: collections.Counter[str] = collections.Counter()

    def samples() -> Iterator[ObjectsSample | Rejected]:
        yield from each_object(found.samples, ignored)
        ignored.update(found.ignored)  # a reader may still count while its samples are taken

    facts = {"classes": dict(asking.names)}
    if asking.mark is None:
        return Reading(found.root, samples(), asking, ignored, facts)
    assert source.made is not None, "made pictures need a folder"
    return Reading(source.made, samples(), asking, ignored, facts, pictures_root=found.root)


OPTIONS = (*FORM_OPTIONS, *pixels.OPTIONS)
TASK = Task(
    name="region",
    summary="what one region of a picture is: pointed at by coordinates, or by a box, mask or contour drawn on it",
    layout="annotations and their pictures in any format of --option format",
    unit="object",
    read=read,
    convert=convert,
    options=(*annotations.OPTIONS, *OPTIONS),
    example="adapt convert --task region --input via_region_data.json --images pics --output region.jsonl --option format=via",
)
