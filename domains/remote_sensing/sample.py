"""A generated remote-sensing set in two native layouts: EuroSAT's folders and RSVQA-LR's question, answer and image files.

EuroSAT: ``eurosat/2750/<Class>/<Class>_<n>.jpg`` (github.com/phelber/EuroSAT). RSVQA-LR: ``LR_split_<split>_{questions,
answers,images}.json`` and ``Images_LR/<id>.tif`` (Zenodo 6344334); its lists are as long as the whole set and padded with
inactive rows, and so are these. Question wording is RSVQA's, ids and answers follow from the drawn scene.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapt.errors import UsageError
from domains.draws import Draws
from domains.remote_sensing import scenes

DEFAULT_SIZE = 800
SPLIT_SHARES = {"test": 0.2, "val": 0.1}
URBAN_BUILDINGS = 8  # RSVQA too tells urban from rural by the number of buildings (arXiv 2003.07333)
_COUNTS, _PRESENCES, _COMPARISONS = 4, 5, 5
_README = """Generated pictures and questions, not real data.
Made by 'adapt sample --domain remote_sensing' with seed {seed} and size {size}.
eurosat/    scenes of {classes} classes in EuroSAT's folder layout
RSVQA-LR/   scenes with questions in RSVQA-LR's layout
"""


@dataclasses.dataclass(frozen=True)
class Question:
    """A question of RSVQA: its type (rural_urban, count, presence, comp), its text and the true answer."""

    type: str
    text: str
    answer: str


def counts_of(scene: scenes.Scene) -> dict[str, int]:
    """How many of each nameable thing stand in a scene, with and without an attribute."""
    counts = {
        "road": scene.roads,
        "building": scene.buildings,
        "residential building": scene.residential,
        "commercial building": scene.commercial,
    }
    for kind in scenes.AREA_KINDS:
        areas = [area for area in scene.areas if area.kind == kind]
        counts[kind] = len(areas)
        for size in ("small", "medium", "large"):
            counts[f"{size} {kind}"] = sum(area.size == size for area in areas)
    water = [area for area in scene.areas if area.kind == "water area"]
    for form in ("circular", "square", "rectangular"):
        counts[f"{form} water area"] = sum(area.form == form for area in water)
    return counts


def _named(counts: Mapping[str, int], draws: Draws) -> list[str]:
    """The things in a drawn order, those with an attribute behind most of those without."""
    plain = draws.shuffled([name for name in counts if name.split(" ")[0] not in _ATTRIBUTES])
    fine = draws.shuffled([name for name in counts if name.split(" ")[0] in _ATTRIBUTES])
    return plain[:3] + fine[:1] + plain[3:] + fine[1:]


_ATTRIBUTES = ("small", "medium", "large", "circular", "square", "rectangular")


def _count_question(name: str, count: int, draws: Draws) -> Question:
    form = draws.pick(("How many {}s are there", "What is the number of {}s", "What is the amount of {}s"))
    return Question("count", form.format(name) + draws.pick(("?", "?", " in the image?")), str(count))


def _presence_question(name: str, count: int, draws: Draws) -> Question:
    form = draws.pick(("Is there a {}?", "Is a {} present?", "Is there a {} in the image?"))
    return Question("presence", form.format(name), "yes" if count else "no")


def _comparison(counts: Mapping[str, int], first: str, second: str, draws: Draws) -> Question:
    end = draws.pick(("?", "?", " in the image?"))
    kind = draws.pick(("more", "less", "more", "less", "equal"))
    if kind == "equal":
        text, holds = f"Is the number of {first}s equal to the number of {second}s", counts[first] == counts[second]
    elif kind == "more":
        text, holds = f"Are there more {first}s than {second}s", counts[first] > counts[second]
    else:
        text, holds = f"Are there less {first}s than {second}s", counts[first] < counts[second]
    return Question("comp", text + end, "yes" if holds else "no")


def ask(scene: scenes.Scene, draws: Draws) -> list[Question]:
    """The questions of one scene: rural or urban first, then counts, presences and comparisons in a drawn order."""
    counts = counts_of(scene)
    asked = [_count_question(name, counts[name], draws) for name in _named(counts, draws)[:_COUNTS]]
    order = _named(counts, draws)
    present, absent = [name for name in order if counts[name]], [name for name in order if not counts[name]]
    wanted = (present[:3] + absent[:2] + present[3:])[:_PRESENCES]
    asked += [_presence_question(name, counts[name], draws) for name in wanted]
    order = _named(counts, draws)[:6]
    pairs = [
        (first, second)
        for first in order
        for second in order
        if first != second and first not in second and second not in first
    ]
    asked += [_comparison(counts, *pair, draws) for pair in draws.shuffled(pairs)[:_COMPARISONS]]
    area = "urban" if scene.buildings >= URBAN_BUILDINGS else "rural"
    return [Question("rural_urban", "Is it a rural or an urban area", area), *draws.shuffled(asked)]


def _write_eurosat(folder: Path, seed: int, size: int) -> dict[str, Any]:
    each = size // len(scenes.CLASSES)
    for name in scenes.CLASSES:
        place = folder / "2750" / name
        place.mkdir(parents=True)
        for number in range(1, each + 1):
            picture = scenes.draw_class(name, Draws(seed, f"sample/eurosat/{name}", number))
            picture.save(place / f"{name}_{number}.jpg", format="JPEG", quality=92, subsampling=0)
    total = each * len(scenes.CLASSES)
    return {"path": folder.name, "task": "rsclassify", "pictures": total, "questions": total}


def _splits(seed: int, size: int) -> dict[str, set[int]]:
    order = Draws(seed, "sample/rsvqa/splits", 0).shuffled(range(size))
    splits, start = {}, 0
    for name, share in SPLIT_SHARES.items():
        count = max(1, round(size * share))
        splits[name], start = set(order[start : start + count]), start + count
    return {"train": set(order[start:])} | splits


def _write_rsvqa(folder: Path, seed: int, size: int) -> dict[str, Any]:
    (folder / "Images_LR").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for image in range(size):
        draws = Draws(seed, "sample/rsvqa", image)
        picture, scene = scenes.compose(draws)
        picture.save(folder / "Images_LR" / f"{image}.tif", format="TIFF")
        asked = ask(scene, draws)
        numbers = list(range(len(questions), len(questions) + len(asked)))
        origin = {"original_name": f"generated-{seed}-{image}.tif", "sensor": "generated", "people_id": 0, "type": "RGB"}
        images.append({"id": image, **origin, "questions_ids": numbers, "active": True})
        for number, each in zip(numbers, asked, strict=True):
            question = {"img_id": image, "people_id": 0, "type": each.type, "question": each.text, "answers_ids": [number]}
            questions.append({"id": number, **question, "active": True})
            answers.append({"id": number, "question_id": number, "people_id": 0, "answer": each.answer, "active": True})
    for split, members in _splits(seed, size).items():
        shown = [row["img_id"] in members for row in questions]
        _write_list(folder, split, "images", images, [row["id"] in members for row in images])
        _write_list(folder, split, "questions", questions, shown)
        _write_list(folder, split, "answers", answers, shown)
    return {"path": folder.name, "task": "rsvqa", "pictures": size, "questions": len(questions)}


def _write_list(folder: Path, split: str, kind: str, rows: list[dict[str, Any]], active: list[bool]) -> None:
    padded = [row if shown else {"id": row["id"], "active": False} for row, shown in zip(rows, active, strict=True)]
    (folder / f"LR_split_{split}_{kind}.json").write_text(json.dumps({kind: padded}), encoding="utf-8")


def write_sample(folder: Path, *, seed: int = 0, size: int = DEFAULT_SIZE) -> dict[str, Any]:
    """Write about ``size`` pictures of each of the two datasets under ``folder``, the same bytes for the same seed and size.

    Returns {dataset: {path (relative to folder), task, pictures, questions}}. Raises UsageError for a size below 16.
    """
    if size < 2 * len(scenes.CLASSES):
        raise UsageError(
            f"--size {size}: the remote-sensing sample needs at least {2 * len(scenes.CLASSES)}, two pictures a class"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(_README.format(seed=seed, size=size, classes=len(scenes.CLASSES)), encoding="utf-8")
    return {
        "eurosat": _write_eurosat(folder / "eurosat", seed, size),
        "rsvqa_lr": _write_rsvqa(folder / "RSVQA-LR", seed, size),
    }
