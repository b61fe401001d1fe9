"""One HTML page over one or more runs: what was trained, how it went, what it scores, and what it gets wrong.

Everything stands in the page: styles, drawings, pictures as small data URIs. Nothing is fetched and nothing runs in it.
"""

import base64
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from adapt import __version__, atomic, progress, safe
from adapt.domain import find_benchmark
from adapt.errors import DataError, UsageError
from adapt.evaluate.score import read_predictions
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, image_root, iterate_records, read_rows

TEMPLATE = Path(__file__).with_name("report.html")
MAX_PICTURE_PX = 320
WRONG_CARDS, RIGHT_CARDS = 12, 4
MAX_POINTS = 240
# A drawing in its own units; the page scales it.
WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 40


@dataclasses.dataclass(frozen=True)
class ScoreSet:
    """One scores.json below a run: ``place`` is its folder as seen from the run."""

    place: str
    folder: Path
    document: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, str]:
        """What was measured: benchmark, file of questions, split. The same key in two runs can be compared."""
        document = self.document
        return document["benchmark"], Path(document.get("data") or self.place).name, document.get("split") or ""

    @property
    def headline(self) -> Mapping[str, float]:
        """The benchmark's headline metric."""
        return self.document["metrics"][self.document["headline"]]


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """What a run left."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    plan: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    scores: Sequence[ScoreSet]


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve of a drawing: its name, the number of its colour, its path and its marks."""

    name: str
    colour: int
    path: str
    marks: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Curves over the steps on a logarithmic axis; ``ticks_*`` are (place, label)."""

    title: str
    lines: tuple[Line, ...]
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...]


@dataclasses.dataclass(frozen=True)
class Card:
    """A question with its picture, what was expected, and what each run answered: (run, answer, right?)."""

    pictures: tuple[str, ...]
    question: str
    expected: str
    answers: tuple[tuple[str, str, bool | None], ...]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Cards of one benchmark; ``note`` says how many were wrong, or why there are no cards."""

    title: str
    note: str
    cards: tuple[Card, ...]


def write_report(runs: Sequence[Path], output: Path) -> Path:
    """Write the page over ``runs`` to ``output``. A folder whose subfolders are runs stands for these.

    Raises UsageError for a folder that is no run, DataError for a run whose files are damaged.
    """
    facts = [read_run(folder, name) for folder, name in _named(find_runs(runs))]
    page = _environment().get_template(TEMPLATE.name).render(_content(facts))
    atomic.write_text(output, page)
    return output


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """The run folders, each once; the parent of runs (a demo's folder) gives its runs in the order they began."""
    found: list[Path] = []
    for folder in folders:
        below = [folder] if is_run(folder) else [place.parent for place in folder.glob("*/config.json") if is_run(place.parent)]
        if not below:
            what = "no such folder" if not folder.exists() else "no run (it has no config.json and log.jsonl)"
            raise UsageError(f"{folder}: {what}; expected the --output of 'adapt finetune' or 'adapt demo'")
        found += sorted(below, key=lambda place: ((place / "config.json").stat().st_mtime_ns, place.name))
    return list({place.resolve(): place for place in found}.values())


def is_run(folder: Path) -> bool:
    """Whether ``finetune`` wrote this folder."""
    return (folder / "config.json").is_file() and (folder / "log.jsonl").is_file()


def _named(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each folder with its last name, or with its whole path where two share one."""
    names = [folder.resolve().name for folder in folders]
    return [
        (folder, name if names.count(name) == 1 else folder.as_posix()) for folder, name in zip(folders, names, strict=True)
    ]


def read_run(folder: Path, name: str) -> RunFacts:
    """Everything the page needs of one run. Raises DataError for what cannot be read."""
    config = safe.read_json(folder / "config.json")
    if not isinstance(config, dict) or not {"arguments", "recipe"} <= config.keys():
        raise UsageError(f"{folder}/config.json: not a run's (it has no 'arguments' and 'recipe')")
    plan = safe.read_json(folder / "plan.json") if (folder / "plan.json").is_file() else {}
    log = [row for _, row in read_rows(folder / "log.jsonl") if isinstance(row, dict) and isinstance(row.get("step"), int)]
    scores = [_read_scores(place, folder) for place in sorted(folder.rglob("scores.json"))]
    return RunFacts(name, folder, config, plan, log, scores)


def _read_scores(path: Path, run: Path) -> ScoreSet:
    document = safe.read_json(path)
    if not isinstance(document, dict) or document.get("headline") not in document.get("metrics", {}):
        raise DataError(f"{path}: not scores of 'adapt evaluate' (no metric of the name in 'headline')")
    return ScoreSet(path.parent.relative_to(run).as_posix(), path.parent, document)


def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": lambda value: f"{100 * value:.1f} %", "number": _number}
    return environment


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _content(runs: Sequence[RunFacts]) -> dict[str, Any]:
    return {
        "title": " · ".join(run.name for run in runs),
        "version": __version__,
        "comparison": _comparison(runs) if len(runs) > 1 else None,
        "runs": [_section(run) for run in runs],
        "galleries": _galleries(runs),
        "frame": {
            "width": WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
        },
        "generated": any((folder / "summary.json").is_file() for folder in {run.folder.parent for run in runs}),
    }


# ---- the comparison ----


def _comparison(runs: Sequence[RunFacts]) -> dict[str, Any] | None:
    """One row a run, one column a measurement that any run has; changes are against the run that a model came from."""
    keys = list(dict.fromkeys(score.key for run in runs for score in run.scores))
    if not keys:
        return None
    roles = {key: _role(key, runs) for key in keys}
    keys.sort(key=lambda key: ("field", "general", "").index(roles[key]))
    rows = []
    for run in runs:
        base = next((other for other in runs if other is not run and _came_from(run, other)), None)
        rows.append(
            {
                "name": run.name,
                "from": base.name if base else _model_name(run),
                "cells": [_cell(run, base, key) for key in keys],
            }
        )
    columns = []
    for key in keys:
        score = next(score for run in runs for score in run.scores if score.key == key)
        floor = score.document.get("floor", {}).get(score.document["headline"])
        columns.append(
            {
                "role": {"field": "The field", "general": "General ability", "": "Other"}[roles[key]],
                "what": f"{key[0]} {score.document['headline']}",
                "where": " ".join(part for part in (key[1], key[2]) if part),
                "count": score.headline["count"],
                "floor": floor,
            }
        )
    return {"columns": columns, "rows": rows}


def _cell(run: RunFacts, base: RunFacts | None, key: tuple[str, str, str]) -> dict[str, Any] | None:
    mine = next((score for score in run.scores if score.key == key), None)
    if mine is None:
        return None
    before = next((score for score in base.scores if score.key == key), None) if base else None
    change = None if before is None else 100 * (mine.headline["value"] - before.headline["value"])
    return dict(mine.headline) | {"change": change}


def _role(key: tuple[str, str, str], runs: Sequence[RunFacts]) -> str:
    """Whether a file of questions is the field's or the general one, as the tuned runs used it; '' where no run did."""
    tuned = [run for run in runs if any(_came_from(run, other) for other in runs if other is not run)] or runs
    for role, argument in (("field", "data"), ("general", "general")):
        if any(Path(path).name == key[1] for run in tuned for path in run.config["arguments"].get(argument, ())):
            return role
    return ""


def _came_from(run: RunFacts, base: RunFacts) -> bool:
    """Whether ``run`` started from the weights that ``base`` left."""
    model = run.config.get("model", {})
    folder = model.get("folder")
    if folder is None:
        return False
    if Path(folder).resolve() in (base.folder.resolve(), (base.folder / "model").resolve()):
        return True
    weights = base.folder / "model" / "model.safetensors"
    return weights.is_file() and safe.file_sha256(weights) == model.get("weights_sha256")


# ---- one run ----


def _section(run: RunFacts) -> dict[str, Any]:
    config = run.config
    versions = {"adapt": config.get("adapt_version"), "python": config.get("python")} | config.get("packages", {})
    digests = {"data": config.get("data_fingerprint"), "plan": config.get("plan_digest")} | {
        Path(path).name: digest for path, digest in config.get("files", {}).items()
    }
    return {
        "name": run.name,
        "place": run.folder.as_posix(),
        "facts": _facts(run),
        "notes": run.plan.get("notes", []),
        "recipe": config["recipe"],
        "versions": versions | {"git commit": config.get("git_commit"), "threads": config.get("threads")},
        "digests": digests,
        "drawings": _drawings(run),
        "scores": [_score_section(score) for score in run.scores],
    }


def _trained(plan: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """How many weights trained, where the plan says it."""
    count = plan.get("trained_parameters")
    return "" if count is None else f", {count / 1e6:,.1f} M of them trained (stage {recipe['train.stage']})"


def _facts(run: RunFacts) -> dict[str, str]:
    """What was trained on what, in words."""
    arguments, recipe, plan = run.config["arguments"], run.config["recipe"], run.plan
    steps = max((row["step"] for row in run.log), default=0)
    samples, epochs = plan.get("samples", {}), plan.get("epochs", {})
    ratio = recipe.get("data.general_ratio", 0) if arguments.get("general") else 0
    return {
        "Model it started from": _model_name(run),
        "Field and recipe": arguments.get("domain") or "general recipe",
        "Trained on": ", ".join(Path(path).name for path in arguments["data"]),
        "Mixed in": _mixture(arguments.get("general", ()), ratio, plan),
        "Steps": f"{steps:,} of {plan.get('steps', steps):,}, about {recipe['train.samples_per_step']:,} samples each",
        "Samples": f"{samples.get('domain', 0):,} of the data ({epochs.get('domain', 0):.2f} epochs), "
        f"{samples.get('general', 0):,} mixed in",
        "Size": f"{plan.get('trees', 0):,} trees with {plan.get('samples_per_tree', 0)} questions on average; "
        f"{plan.get('tokens', 0):,} tokens, {plan.get('tiles', 0):,} tiles",
        "Parameters": f"{plan.get('parameters', 0) / 1e6:,.1f} M" + _trained(plan, recipe),
        "Learning rate": f"{recipe['train.learning_rate']:g}, weight decay {recipe['train.weight_decay']:g}, "
        f"seed {recipe['train.seed']}",
        "Time in steps": _duration(sum(row.get("seconds", 0) for row in run.log)) + f" on {run.config.get('device', '?')}",
    }


def _model_name(run: RunFacts) -> str:
    model = run.config.get("model", {})
    if "preset" in model:
        return f"preset {model['preset']}, random weights"
    return f"{model['hub']} at {model['commit'][:12]}" if "hub" in model else str(model.get("folder", "?"))


def _mixture(general: Sequence[str], ratio: float, plan: Mapping[str, Any]) -> str:
    if not general:
        return "no general data"
    names = ", ".join(Path(path).name for path in general)
    if not ratio:
        return f"nothing; {names} is only measured, and its words are in the vocabulary"
    return f"{names} at ratio {ratio:g} to the data above (realised {plan.get('realised_general_ratio', 0):.3f})"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _score_section(score: ScoreSet) -> dict[str, Any]:
    document = score.document
    floor = document.get("floor", {})
    return {
        "title": document["benchmark"],
        "where": " ".join(part for part in (str(document.get("data") or ""), document.get("split") or "") if part)
        or score.place,
        "place": score.place,
        "convention": document.get("convention"),
        "rows": [
            {"name": name, "headline": name == document["headline"], "floor": floor.get(name)} | dict(metric)
            for name, metric in document["metrics"].items()
        ],
        "other_floors": {name: value for name, value in floor.items() if name not in document["metrics"]},
        "counts": document.get("details", {}).get("answers", {}) | {"missing": len(document.get("missing", ()))},
        "published": _published(document["benchmark"]),
    }


def _published(name: str) -> list[dict[str, Any]]:
    try:
        rows = find_benchmark(name).published
    except UsageError:  # a benchmark of a package that is not installed here
        return []
    return [
        {"name": row["name"], "set": row["set"], "source": row["source"]}
        | {"values": {key: value for key, value in row.items() if key not in ("name", "set", "source")}}
        for row in rows
    ]


# ---- curves ----


def _drawings(run: RunFacts) -> list[Drawing]:
    training: dict[str, list[tuple[int, float]]] = {}
    held_out: dict[str, list[tuple[int, float]]] = {}
    arguments = run.config["arguments"]
    files = {"domain_loss": arguments["data"], "general_loss": arguments.get("general", ())}
    names = {name: " + ".join(Path(path).name for path in paths) or name for name, paths in files.items()}
    for row in run.log:
        for name, value in row.items():
            if not isinstance(value, int | float) or isinstance(value, bool):
                continue
            if "event" not in row and name.startswith("loss/"):
                training.setdefault(name.removeprefix("loss/"), []).append((row["step"], value))
            elif row.get("event") == "validation" and name.endswith("_loss"):
                held_out.setdefault(names.get(name, name), []).append((row["step"], value))
    made = [draw("Training loss, by source", training, marks=False), draw("Held-out loss, by file", held_out, marks=True)]
    return [drawing for drawing in made if drawing is not None]


def draw(title: str, curves: Mapping[str, Sequence[tuple[int, float]]], *, marks: bool) -> Drawing | None:
    """Curves of (step, loss) on a logarithmic axis; None where there is nothing to draw."""
    thin = {name: _thin([(step, max(value, 1e-4)) for step, value in points]) for name, points in curves.items() if points}
    if not thin:
        return None
    values = [value for points in thin.values() for _, value in points]
    low, high = min(values), max(values)
    low, high = (low / 1.5, high * 1.5) if high / low < 1.5 else (low / 1.08, high * 1.08)
    last = max(step for points in curves.values() for step, _ in points)

    def x(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, last), 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * math.log(high / value) / math.log(high / low), 1)

    lines = []
    for number, (name, points) in enumerate(sorted(thin.items())):
        places = [(x(step), y(value)) for step, value in points]
        path = "M" + "L".join(f"{across} {down}" for across, down in places)
        lines.append(Line(name, number % 6, path, tuple(places) if marks else ()))
    ticks_y = tuple((y(value), f"{value:g}") for value in _ticks(low, high))
    return Drawing(title, tuple(lines), tuple((x(step), f"{step:,}") for step in _steps(last)), ticks_y)


def _thin(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most MAX_POINTS points: means of neighbours where there are more."""
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group)) for group in groups]


def _ticks(low: float, high: float) -> list[float]:
    """Round values in a logarithmic range, three to eight of them where the range allows it."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(range(10, 100))):
        scale = 10 if digits[0] == 10 else 1
        found = [digit / scale * 10.0**decade for decade in decades for digit in digits]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 8)]
    return inside or [low, high]


def _steps(last: int) -> list[int]:
    """Round steps from 0, about five of them."""
    unit = 10 ** math.floor(math.log10(max(1, last)))
    size = next(size for size in (unit // 5, unit // 2, unit, 2 * unit) if size >= 1 and last / size <= 6)
    return list(range(0, last + 1, size))


# ---- the gallery ----


def _galleries(runs: Sequence[RunFacts]) -> list[Gallery]:
    """For each measurement the same questions, with every run's answer."""
    keys = list(dict.fromkeys(score.key for run in runs for score in run.scores))
    keys.sort(key=lambda key: ("field", "general", "").index(_role(key, runs)))
    return [_gallery(key, [(run.name, score) for run in runs for score in run.scores if score.key == key]) for key in keys]


def _gallery(key: tuple[str, str, str], scored: Sequence[tuple[str, ScoreSet]]) -> Gallery:
    title = " · ".join(part for part in key if part)
    first = scored[0][1].document
    data = Path(first["data"]) if first.get("data") else None
    if data is None or not data.is_file():
        missing = "the scores do not say where their questions came from" if data is None else f"{data} is not there any more"
        return Gallery(title, f"No pictures: {missing}.", ())
    root = image_root(data, None if first.get("images") is None else Path(first["images"]))
    answers = {name: read_predictions(score.folder / "predictions.jsonl").answers for name, score in scored}
    marks = {name: _read_marks(score.folder / "marks.jsonl") for name, score in scored}
    asked = [record for _, record in iterate_records(data) if any(record.id in each for each in answers.values())]
    wrong = [record for record in asked if _count_wrong(record, answers, marks)]
    right = [record for record in asked if not _count_wrong(record, answers, marks)]
    shown = sorted(_spread(wrong, WRONG_CARDS), key=lambda record: -_count_wrong(record, answers, marks))
    cards = [_card(record, root, answers, marks) for record in [*shown, *_spread(right, RIGHT_CARDS)]]
    whose = "the model" if len(scored) == 1 else "at least one model"
    note = (
        f"{len(wrong):,} of {len(asked):,} questions that {whose} got wrong or only partly right; "
        f"{len(cards)} shown, wrong ones first."
    )
    return Gallery(title, note, tuple(cards))


def _read_marks(path: Path) -> dict[str, float]:
    return {str(row["id"]): float(row["mark"]) for _, row in read_rows(path)} if path.is_file() else {}


def _is_right(record: ChatRecord, answer: str | None, marks: Mapping[str, float]) -> bool | None:
    """By the benchmark's own mark; without one, whether the words are the same."""
    if record.id in marks:
        return marks[record.id] >= 1.0
    return (answer or "").strip().lower() == record.answer.strip().lower()


def _count_wrong(
    record: ChatRecord, answers: Mapping[str, Mapping[str, str | None]], marks: Mapping[str, Mapping[str, float]]
) -> int:
    return sum(not _is_right(record, answers[name].get(record.id), marks[name]) for name in answers)


def _spread(records: Sequence[ChatRecord], count: int) -> list[ChatRecord]:
    """``count`` of them, evenly from the first to the last, so that every class and picture has its chance."""
    if len(records) <= count:
        return list(records)
    return [records[(2 * place + 1) * len(records) // (2 * count)] for place in range(count)]


def _card(
    record: ChatRecord, root: Path, answers: Mapping[str, Mapping[str, str | None]], marks: Mapping[str, Mapping[str, float]]
) -> Card:
    given = [
        (name, answers[name].get(record.id) or "(nothing)", _is_right(record, answers[name].get(record.id), marks[name]))
        for name in answers
    ]
    pictures = tuple(uri for name in record.images[:6] if (uri := _data_uri(root, name, record.id)))
    question = record.question.replace(IMAGE_PLACEHOLDER, "").strip()
    return Card(pictures, question, record.answer, tuple(given))


def _data_uri(root: Path, name: str, where: str) -> str:
    """A small copy of the picture as text; '' with a line on stderr where it cannot be read."""
    try:
        picture = safe.read_picture(safe.inside(root, name, where))
    except DataError as error:
        progress.say(f"left out of the report: {error}")
        return ""
    picture.thumbnail((MAX_PICTURE_PX, MAX_PICTURE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
