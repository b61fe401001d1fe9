"""Medical pictures with boxes, such as blood cells: where they are, how many there are, and what is here.

Any set in Pascal VOC or COCO form is read (converters/formats). Made for BCCD (github.com/Shenggan/BCCD_Dataset, MIT): 364
blood smears of 640x480 in ``BCCD/{Annotations/*.xml, JPEGImages/*.jpg, ImageSets/Main/{train,val,test}.txt}``, 205 / 87 / 72;
boxes: RBC 4,155, WBC 372, Platelets 361, counted from 1 as in Pascal VOC (two of a single pixel). Its labels are known to
leave cells out, so counts are those of the labels. The split is the lists', or COCO's files'; a picture is one sample.

Kinds: ``ground`` asks for all objects of a name, ``count`` for their number, ``detect`` for all objects at once, ``region``
for the name of what lies at given coordinates, once for each object (the published forms, arXiv 2410.16261, section 3.3).
Abbreviations are written out in questions and answers (SPELLED); ``--option spelling=keep`` leaves every name as the set spells
it, and ``meta.class_name`` and the manifest have that spelling either way.

The benchmark scores each kind of row by its own rule (adapt/evaluate/grounding.py): ``ground`` and ``detect`` by boxes,
``count`` by the number, ``region`` by the name. No published result for BCCD asks in words, so none stands beside it.
"""

import collections
import dataclasses
from collections.abc import Iterator, Mapping

from adapt import pixels
from adapt.domain import Benchmark, Option, Reading, Source, Task
from adapt.evaluate.grounding import CONVENTION, score_grounding
from adapt.records import ChatRecord
from converters import classification, grounding, prompts, region
from converters.formats import annotations
from converters.objects import Objects, ObjectsSample

SPELLED = {"RBC": "red blood cell", "WBC": "white blood cell", "Platelets": "platelet"}
KINDS = ("ground", "count", "detect", "region")
DEFAULT_KINDS = "ground,count,region"
# Regions are pointed at by coordinates here; drawn ones are --task region.
_REGION_OPTIONS = {"form": region.COORDINATES, "ask": region.NAME, "answer_form": "tagged"}


@dataclasses.dataclass(frozen=True)
class MedContext:
    """How the objects of a set are asked for, all of a name and one by one (None: not at all)."""

    asking: grounding.Asking
    regions: region.Asking | None


def readable(name: str) -> str:
    """``RBC`` -> ``red blood cell``, ``tumor_cell`` -> ``tumor cell``."""
    return classification.readable(name, SPELLED)


def read(source: Source) -> Reading:
    """The labelled pictures of a set; those with nothing to ask for are counted as ignored."""
    kinds = grounding.read_kinds(source.options, KINDS)
    found = annotations.read_objects(source)
    spelled = readable if source.options["spelling"] == "words" else str
    objects = tuple(kind for kind in kinds if kind != "region")
    asking = grounding.read_asking(
        source.options if objects else _without_prompt(source.options),
        found.classes,
        task="medground",
        kinds=objects,
        spelled=spelled,
    )
    regions = _read_regions(source, found, asking) if "region" in kinds else None
    # A region needs an object, as grounding does.
    choosing = dataclasses.replace(asking, kinds=tuple("ground" if kind == "region" else kind for kind in kinds))
    ignored: collections.Counter[str] = collections.Counter()
    samples = list(grounding.with_objects(found.samples, choosing, ignored))
    ignored.update(found.ignored)
    facts = {"classes": dict(asking.names), "kinds": list(kinds)}
    return Reading(found.root, samples, MedContext(asking, regions), ignored, facts)


def _read_regions(source: Source, found: Objects, asking: grounding.Asking) -> region.Asking:
    """How single objects are asked for; a prompt is theirs only where nothing else is asked."""
    given = _without_prompt(source.options) if asking.kinds else source.options
    chosen = dataclasses.replace(source, options=_REGION_OPTIONS | dict(given))
    regions = region.read_asking(chosen, found, task="medground")
    return dataclasses.replace(regions, names=asking.names)


def _without_prompt(options: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in options.items() if name != "prompt"}


def convert(sample: ObjectsSample, context: MedContext, source: Source) -> list[ChatRecord]:
    """The records of one picture, kind after kind."""
    records = grounding.ask(sample, context.asking, source.seed)
    if context.regions is not None:
        for each in _regions(sample, context.asking):
            records += region.convert(each, context.regions, source)
    return records


def _regions(sample: ObjectsSample, asking: grounding.Asking) -> Iterator[ObjectsSample]:
    """A sample for each object that is asked for, numbered as the set has them."""
    for number, each in enumerate(sample.objects, start=1):
        if not each.crowd and each.name in asking.names:
            yield dataclasses.replace(sample, id=f"{sample.id}-region-{number}", objects=(each,))


TASK = Task(
    name="medground",
    summary="medical pictures with boxes: where things are, how many there are, what is at a place",
    layout="Pascal VOC (BCCD/ with Annotations/*.xml, JPEGImages/, ImageSets/Main/) or a COCO file and its pictures",
    unit="picture",
    licence="BCCD MIT",
    read=read,
    convert=convert,
    options=(
        Option("kinds", f"what to ask, a comma list of {', '.join(KINDS)}", DEFAULT_KINDS),
        Option("spelling", "write abbreviations and joined words out, or keep the set's spelling", "words", ("words", "keep")),
        *annotations.OPTIONS,
        *grounding.OPTIONS,
        prompts.prompt_option(),
        grounding.REFER,
        grounding.ABSENT_OPTION,
        grounding.MAX_OBJECTS,
        *pixels.OPTIONS,
    ),
    example="adapt convert --task medground --input BCCD --output bccd.jsonl --option kinds=ground,count,region",
)

BENCHMARK = Benchmark(
    name="medground",
    summary="medical pictures with boxes: hits at an IoU of 0.5 to 0.9, F1 over all boxes, exact counts, names of regions",
    headline="acc@0.5",
    score=score_grounding,
    max_new_tokens=512,  # a smear has some thirty cells of one name
    options=(CONVENTION,),
)
