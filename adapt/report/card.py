"""The card of a run's model (RUN/model/README.md), from what the run left: written with it, and again with scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapt import atomic, progress, safe
from adapt.errors import DataError
from adapt.model.card import DataFacts, ScoreFacts, TrainingFacts, hub_id, is_sealed, keep_rows, model_card
from adapt.records import read_manifest
from adapt.report.contenders import find_contenders
from adapt.report.runs import BEST, TUNED, RunFacts, ScoreSet

CARD = "README.md"
# The tasks that read chat JSONL of anyone's making; what all others ask is English.
ANY_LANGUAGE = ("chat", "vqa")
_TOLD = ("train.stage", "train.learning_rate", "train.weight_decay", "train.samples_per_step", "train.seed", "train.precision")


def facts_of_run(folder: Path) -> TrainingFacts | None:
    """What the card of a run's model tells before anything is scored; None, and one line, where the folder does not tell."""
    try:
        config, plan = safe.read_object(folder / "config.json"), safe.read_object_if_there(folder / "plan.json")
        return _facts(config, plan, ())
    except Exception as error:  # noqa: BLE001  the weights are what counts: no fault of a card may keep them from the disk
        progress.say(f"warning: the model's card tells little: {' '.join(str(error).split())}")
        return None


def update_cards(run: RunFacts) -> None:
    """Write the scores of RUN/model and RUN/best into their cards. One that a person has changed is left as it is."""
    contenders = find_contenders([run]) if run.config else []
    for name, owner in (("model", TUNED), ("best", BEST)):
        scores = [score for score in run.scores if score.owner == owner]
        card, own = run.folder / name / CARD, run.folder / name / "adapt.json"
        if not scores or not card.is_file() or not own.is_file():
            continue
        old = safe.read_text(card)
        if not is_sealed(old):
            progress.say(f"{card}: changed by hand, so it is left as it is; the scores are in {run.folder}")
            continue
        before = {score.measurement: score for contender in contenders for _, score in contender.before}
        told = tuple(_score(score, before.get(score.measurement)) for score in scores)
        new = _card(safe.read_object(own), keep_rows(_facts(run.config, run.plan, told), old))
        if new != old:
            atomic.write_text(card, new)


def _card(own: Mapping[str, Any], facts: TrainingFacts) -> str:
    return model_card(own["template"], own["tiling"]["max_tiles"], own.get("provenance", {}), facts)


def _score(score: ScoreSet, before: ScoreSet | None) -> ScoreFacts:
    measurement, document = score.measurement, score.document
    headline = document["headline"]
    metrics = {headline: document["metrics"][headline]} | document["metrics"]
    values = None if before is None else {name: metric["value"] for name, metric in before.document["metrics"].items()}
    return ScoreFacts(
        measurement.benchmark, measurement.data, measurement.split, measurement.convention, headline, metrics, values
    )


def _facts(config: Mapping[str, Any], plan: Mapping[str, Any], scores: tuple[ScoreFacts, ...]) -> TrainingFacts:
    arguments, recipe = config["arguments"], config["recipe"]
    data = [_data(Path(path), config, mixed_in=False) for path in arguments["data"]]
    if recipe.get("data.general_ratio"):
        data += [_data(Path(path), config, mixed_in=True) for path in arguments.get("general") or ()]
    samples, epochs, packages = plan.get("samples", {}), plan.get("epochs", {}), config.get("packages", {})
    told = [
        ("steps", f"{plan.get('steps', 0):,}"),
        ("samples", f"{samples.get('domain', 0):,} of the field ({epochs.get('domain', 0):.2f} epochs), "
                    f"{samples.get('general', 0):,} mixed in"),
        ("parameters", f"{plan.get('parameters', 0):,}, trained {plan.get('trained_parameters', plan.get('parameters', 0)):,}"),
        *((name, str(recipe[name])) for name in _TOLD if name in recipe),
        ("adapt", str(config.get("adapt_version"))),
        *((name, str(packages[name])) for name in ("torch", "transformers") if name in packages),
        ("fingerprint of the data", str(config.get("data_fingerprint"))[:16]),
    ]  # fmt: skip
    return TrainingFacts(tuple(data), tuple(told), scores, _origin(config.get("model", {})))


def _data(path: Path, config: Mapping[str, Any], *, mixed_in: bool) -> DataFacts:
    """By the manifest beside the file. Licence and language are facts that a reader or a person wrote into it.

    The rows, and whether the file was edited, are as when training began: the file may have been converted again since.
    """
    try:
        manifest = read_manifest(path)
    except DataError:
        manifest = {}
    facts = manifest.get("facts")
    facts = facts if isinstance(facts, dict) else {}
    task, counts = str(manifest.get("task") or ""), manifest.get("counts")
    read, converted = config.get("files", {}).get(str(path)), manifest.get("sha256")
    rows = config.get("rows", {}).get(str(path))
    if rows is None and isinstance(counts, dict) and (None in (read, converted) or read == converted):
        rows = counts.get("records")  # of a run of a version that did not count them
    licence = facts.get("licence") or facts.get("license") or manifest.get("licence") or manifest.get("license") or ""
    spoken = facts.get("language") or manifest.get("language") or ("en" if task and task not in ANY_LANGUAGE else "")
    if task == "translate":
        options = manifest.get("options")
        spoken = options.get("to", "") if isinstance(options, dict) else ""
    num_rows = rows if isinstance(rows, int) else None
    is_edited = str(path) in config.get("edited", ())
    return DataFacts(path.name, mixed_in, task, num_rows, str(licence), str(spoken), is_edited)


def _origin(model: Mapping[str, Any]) -> str:
    """The hub's id at the root of a base that is a folder: of a run, or of an export."""
    for _ in range(8):  # a run tuned from a run tuned from a run
        folder = Path(str(model["folder"])) if "folder" in model else None
        if folder is None:
            return ""
        place = folder / "model" if (folder / "model" / "adapt.json").is_file() else folder
        provenance = safe.read_object_if_there(place / "adapt.json").get("provenance") or {}
        if found := hub_id(provenance):
            return found
        model = provenance.get("base") or provenance.get("exported_from") or {}
    return ""
