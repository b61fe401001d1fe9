"""README.md of a model folder, in the hub's form: what it is, how to ask it, what it learnt from, what it scores.

The metadata are those of the hub's model cards (huggingface.co/docs/hub/model-cards; ``model-index`` as
huggingface_hub.EvalResult reads it). Nothing in the text tells the time, the machine or a folder: the same run writes the same.
A card ends in a seal, the digest of what stands above it: where that does not fit, a person has changed the card.
"""

import dataclasses
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from adapt.show import figure

UNKNOWN = "unknown"
_SEAL = "<!-- Written by adapt, which brings it up to date until this line or anything above it is changed. sha256 {} -->\n"
_TOLD_ROWS = re.compile(rf"^\| .* \| (?:mixed in|the field) \| .* \| ([\d,]+|{UNKNOWN})(?:, edited)? \| .* \|$", re.MULTILINE)
_SEALED = re.compile(re.escape(_SEAL).replace(r"\{\}", "([0-9a-f]{64})"))

_USE = """## How to ask it

```python
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

folder = "."  # this folder
model = AutoModelForImageTextToText.from_pretrained(folder)
processor = AutoProcessor.from_pretrained(folder)
processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil")  # exactly the pixels of training


def ask(pictures, question, frames=False, max_new_tokens=64):
    # frames=True: the pictures are those of a video, in order
    parts = []
    for number, picture in enumerate(pictures, start=1):
        if frames:
            parts.append({{"type": "text", "text": f"\\nFrame-{{number}}: " if number > 1 else "Frame-1: "}})
        parts.append({{"type": "image", "image": picture}})
    parts.append({{"type": "text", "text": question}})
    inputs = processor.apply_chat_template(
        [{{"role": "user", "content": parts}}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        max_patches=1 if frames else max(1, {max_tiles} // max(1, len(pictures))),
    )
    made = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    answer = made[0, inputs["input_ids"].shape[1] :].tolist()
    ends = [place for place, token in enumerate(answer) if token in model.generation_config.eos_token_id]
    return processor.decode(answer[: ends[0]] if ends else answer).strip()  # <ref> and <box> stay


print(ask(["picture.jpg"], "What is in the picture?"))
```

- Without `backend="pil"` transformers resizes through torchvision where that is installed, whose bicubic filter is not
  Pillow's: pixels differ by up to 2 of 255 grey levels on photographs, and more on noise.
- A picture has at most {max_tiles} tiles and a thumbnail. Several pictures of one question share them: `max_patches` says how
  many each may have, for a whole call; so ask questions with another number of pictures in another call. Frames of a video
  have one tile each and stand in the text as `Frame-1: ` and so on, a line each.
- The chat template opens with the system prompt of training (template `{template}`).
"""


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """A file it was trained on, as its manifest tells: ``licence`` and ``language`` are '' where nothing tells.

    ``rows`` are those of all splits in the file that was read; ``is_edited`` where its manifest was of
    another content then.
    """

    name: str
    mixed_in: bool = False
    task: str = ""
    rows: int | None = None
    licence: str = ""
    language: str = ""
    is_edited: bool = False


@dataclasses.dataclass(frozen=True)
class ScoreFacts:
    """One evaluation: every metric's (value, count, low, high) by name, the headline first; shares 0..1."""

    benchmark: str
    data: str
    split: str
    convention: str
    headline: str
    metrics: Mapping[str, Mapping[str, float]]
    before: Mapping[str, float] | None = None


@dataclasses.dataclass(frozen=True)
class TrainingFacts:
    """What a card tells beyond the provenance: the files, the plan and the recipe as (what, value) in words, the scores.

    ``origin`` is the hub's id of what the base came from, where the base is a folder that says so.
    """

    data: tuple[DataFacts, ...] = ()
    training: tuple[tuple[str, str], ...] = ()
    scores: tuple[ScoreFacts, ...] = ()
    origin: str = ""


def model_card(template: str, max_tiles: int, provenance: Mapping[str, Any], facts: TrainingFacts | None = None) -> str:
    """The text of README.md, with a function to paste. ``provenance`` is what adapt.json keeps."""
    facts = facts or TrainingFacts()
    files = _files(provenance, facts)
    title, origin = _title(provenance, files)
    parts = [
        _metadata(title, files, provenance, facts),
        f"# {_plain(title)}\n\n{origin}\n",
        _USE.format(max_tiles=max_tiles, template=template),
        *_about(provenance, facts),
    ]
    text = "\n".join(parts)
    return text + "\n" + _SEAL.format(hashlib.sha256(text.encode()).hexdigest())


def is_sealed(card: str) -> bool:
    """Whether a card stands as ``model_card`` wrote it."""
    found = list(_SEALED.finditer(card))
    if not found or found[-1].end() != len(card):
        return False
    return hashlib.sha256(card[: found[-1].start() - 1].encode()).hexdigest() == found[-1][1]


def keep_rows(facts: TrainingFacts, card: str) -> TrainingFacts:
    """Facts with the numbers of rows that a run's earlier card tells, where nothing else tells them any more."""
    told = [None if number == UNKNOWN else int(number.replace(",", "")) for number in _TOLD_ROWS.findall(card)]
    if len(told) != len(facts.data):
        return facts
    data = [
        dataclasses.replace(each, rows=number if each.rows is None else each.rows)
        for each, number in zip(facts.data, told, strict=True)
    ]
    return dataclasses.replace(facts, data=tuple(data))


def _files(provenance: Mapping[str, Any], facts: TrainingFacts) -> tuple[list[str], list[str]]:
    """The names of what was trained on and of what was mixed in. General data may be named in a run and never be learnt from,
    which the provenance alone does not tell."""
    if facts.data:
        return [each.name for each in facts.data if not each.mixed_in], [each.name for each in facts.data if each.mixed_in]
    return list(provenance.get("data") or ()), list(provenance.get("general") or ())


def _title(provenance: Mapping[str, Any], files: tuple[list[str], list[str]]) -> tuple[str, str]:
    base, field, source = (provenance.get(name) for name in ("base", "domain", "exported_from"))
    if not isinstance(base, Mapping):
        name = _name(source) if isinstance(source, Mapping) else "An InternVL model"
        return name, "Written by adapt; the weights keep the source's values and type."
    start = _name(base)
    data = " mixed with ".join(", ".join(names) for names in files if names)
    title = f"{start}, tuned" + (f" for {str(field).replace('_', ' ')}" if field else "")
    return title, f"Tuned with adapt from `{_code(start)}` on {_plain(data)}, {provenance.get('step')} steps."


def _name(model: Mapping[str, Any]) -> str:
    """A hub id, a preset or the name of a folder: no path of the machine that wrote it."""
    return str(model.get("hub") or model.get("preset") or Path(str(model.get("folder", "a model"))).name)


# ---- the metadata ----


def _metadata(title: str, files: tuple[list[str], list[str]], provenance: Mapping[str, Any], facts: TrainingFacts) -> str:
    """The YAML block. A licence and a base that are not known are not made up: ``unknown``, and no ``base_model``."""
    field = provenance.get("domain")
    base = hub_id(provenance) or facts.origin
    content: dict[str, Any] = {"license": UNKNOWN, "library_name": "transformers", "pipeline_tag": "image-text-to-text"}
    if base:
        content |= {"base_model": base}
        if "base" in provenance:
            content["base_model_relation"] = "finetune"
    if languages := sorted({each.language for each in facts.data if each.language}):
        content["language"] = languages
    if names := [_slug(Path(name).stem) for part in files for name in part]:
        content["datasets"] = list(dict.fromkeys(names))
    content["tags"] = ["adapt-vlm", "internvl", "vision-language", *([_slug(str(field))] if field else [])]
    if facts.scores:
        content["model-index"] = [{"name": title, "results": [_result(score) for score in facts.scores]}]
    return "---\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000) + "---\n"


def hub_id(provenance: Mapping[str, Any]) -> str:
    """The hub's id of the model that a folder was made from; '' where its provenance names none."""
    for name in ("base", "exported_from"):
        model = provenance.get(name)
        if isinstance(model, Mapping) and isinstance(model.get("hub"), str):
            return model["hub"]
    return ""


def _slug(text: str) -> str:
    """A name in the letters that the hub takes."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "data"


def _result(score: ScoreFacts) -> dict[str, Any]:
    dataset = {"name": score.data, "type": _slug(Path(score.data).stem)}
    if score.split:
        dataset["split"] = score.split
    return {
        "task": {"type": "visual-question-answering", "name": score.benchmark},
        "dataset": dataset,
        "metrics": [
            {"type": name, "value": round(float(metric["value"]), 6), "name": f"{score.benchmark} {name}"}
            for name, metric in score.metrics.items()
        ],
    }


# ---- the text ----


def _about(provenance: Mapping[str, Any], facts: TrainingFacts) -> list[str]:
    if "base" not in provenance:
        return []
    parts = [_scores(facts.scores)]
    if facts.data:
        parts.append(_data(facts.data))
    if facts.training:
        parts.append("## How it was trained\n\n" + _table(("what", "value"), facts.training))
    return [*parts, _limits(provenance)]


def _scores(scores: Sequence[ScoreFacts]) -> str:
    if not scores:
        return "## Scores\n\nNot measured yet; `adapt evaluate` with an output folder below the run writes them here.\n"
    parts = ["## Scores\n\nShares of 1 where a metric is a share; the interval is 95 %, drawn by picture.\n"]
    for score in scores:
        what = " ".join(part for part in (score.data, score.split and f"split {score.split}") if part)
        rows = [
            (
                name + (" (headline)" if name == score.headline else ""),
                figure(metric["value"]),
                f"{figure(metric['low'])} to {figure(metric['high'])}",
                f"{metric['count']:,}",
                "-" if score.before is None or name not in score.before else figure(score.before[name]),
            )
            for name, metric in score.metrics.items()
        ]
        parts.append(f"### {_plain(score.benchmark)} on {_plain(what)}\n")
        parts.append(_table(("metric", "value", "95 % interval", "items", "before tuning"), rows))
        parts.append(f"Convention: {_plain(score.convention)}.\n")
    return "\n".join(parts)


def _data(data: Sequence[DataFacts]) -> str:
    rows = [
        (
            each.name,
            "mixed in" if each.mixed_in else "the field",
            each.task or UNKNOWN,
            (UNKNOWN if each.rows is None else f"{each.rows:,}") + (", edited" if each.is_edited else ""),
            each.licence or UNKNOWN,
        )
        for each in data
    ]
    words = (
        "Rows are those of the file that was read; test rows are among them, and were trained on only where that was asked"
        " for. Task and licence are what the file's manifest says. Where it says no licence, ask where the data came from.\n"
    )
    if any(each.is_edited for each in data):
        words += "\nA file that is called edited was changed between its conversion and the training.\n"
    return "## What it learnt from\n\n" + _table(("file", "part", "task", "rows, all splits", "licence"), rows) + "\n" + words


def _limits(provenance: Mapping[str, Any]) -> str:
    field = str(provenance.get("domain") or "its data").replace("_", " ")
    return (
        "## Limits\n\n"
        f"- Tuned for {_plain(field)}: elsewhere it may know less than what it came from; see the general scores, if any.\n"
        "- It answers every question, also one that its picture cannot answer, and may be wrong with the same words.\n"
        "- Scores hold for the named files and conventions. Not tested for any use where an error harms somebody.\n"
        "- The licences of the model it came from and of the data bind it too; adapt does not know them all.\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_plain(cell) for cell in row] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _plain(text: str) -> str:
    """Text from outside on one line, with nothing that markdown or HTML would read as its own."""
    short = html.escape(" ".join(text.split())[:400], quote=False)
    return re.sub(r"([\\`*\[\]|])", r"\\\1", short)


def _code(text: str) -> str:
    """Text from outside for a code span, in which nothing can be escaped."""
    return re.sub(r"[`<>]", "'", " ".join(text.split()))
