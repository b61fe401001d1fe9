"""What a run left, read from its folder; and whose answers the scores are that lie in it."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import progress, safe
from adapt.errors import DataError, UsageError
from adapt.evaluate.engine import LIKELIHOOD
from adapt.records import read_rows

TUNED, BEST, BASE, OTHER = "tuned", "best", "base", "other"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was asked and by which rule: benchmark, name of the questions' file, split, convention. Equal ones compare.

    ``digest`` is the file's, since files of other questions may have its name; '' where the scores do not say. ``way`` is how
    answers came about where they were not written: choosing among candidates is another task.
    """

    benchmark: str
    data: str
    split: str
    convention: str
    digest: str = ""
    way: str = ""

    @property
    def title(self) -> str:
        """Words for a heading."""
        return " · ".join(part for part in (self.benchmark, self.data, self.split, self.way) if part)


@dataclasses.dataclass(frozen=True)
class ScoreSet:
    """One scores.json: ``place`` is its folder as seen from the run, ``owner`` whose answers they are."""

    place: str
    folder: Path
    document: Mapping[str, Any]
    owner: str

    @property
    def measurement(self) -> Measurement:
        """What was measured."""
        document = self.document
        data = Path(str(document.get("data") or self.place)).name
        split, convention, digest = (str(document.get(name) or "") for name in ("split", "convention", "data_sha256"))
        way = "by likelihood" if document.get("scoring") == LIKELIHOOD else ""
        return Measurement(str(document["benchmark"]), data, split, convention, digest, way)

    @property
    def headline(self) -> Mapping[str, float]:
        """The benchmark's headline metric."""
        return self.document["metrics"][self.document["headline"]]

    @property
    def floor(self) -> float | None:
        """What needs no picture, in the headline metric."""
        return self.document.get("floor", {}).get(self.document["headline"])

    @property
    def trained_on(self) -> int:
        """How many of the questions the model's run was trained on, as far as the scores say."""
        count = self.document.get("trained_on")
        return count if isinstance(count, int) else 0

    @property
    def model(self) -> Mapping[str, Any]:
        """The model that answered, as ``evaluate`` found it; empty where the scores do not say."""
        model = self.document.get("model")
        return model if isinstance(model, dict) else {}


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """What a run left; ``config`` is empty for a folder of scores that no run wrote. ``weights`` is its model's digest."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    plan: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    scores: Sequence[ScoreSet]
    weights: str = ""

    @property
    def base(self) -> Mapping[str, Any]:
        """The model it started from, as ``finetune`` found it."""
        return self.config.get("model", {})


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """The run folders, each once; the parent of runs (a demo's folder) gives its runs in the order they began.

    A folder that no run wrote, with scores somewhere below it (``evaluate`` of a model as it was published), stands for itself.
    """
    found: list[Path] = []
    for folder in folders:
        below = [folder] if is_run(folder) else [place.parent for place in folder.glob("*/config.json") if is_run(place.parent)]
        if not below and next(folder.rglob("scores.json"), None) is not None:
            below = [folder]
        if not below:
            what = (
                "no such folder" if not folder.exists() else "no run (no config.json and log.jsonl) and no scores.json below it"
            )
            raise UsageError(
                f"{folder}: {what}; expected the --output of 'adapt finetune', 'adapt demo' or 'adapt evaluate', "
                "such as adapt report runs/my-field --output report.html"
            )
        found += sorted(below, key=_began)
    once: dict[Path, Path] = {}
    for place in found:
        first = once.setdefault(place.resolve(), place)
        if first is not place:
            progress.say(f"{place}: given more than once{'' if first == place else f', as {first} too'}; shown once")
    return list(once.values())


def _began(folder: Path) -> tuple[int, str]:
    config = folder / "config.json"
    return (config.stat().st_mtime_ns if config.is_file() else 0), folder.name


def is_run(folder: Path) -> bool:
    """Whether ``finetune`` wrote this folder."""
    return (folder / "config.json").is_file() and (folder / "log.jsonl").is_file()


def run_above(folder: Path) -> Path | None:
    """The run that a file or folder lies in, named as the caller names it; or None."""
    return next((place for place in (*folder.parents, *folder.absolute().parents) if is_run(place)), None)


def named(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each folder with its last name, or with its whole path where two share one."""
    names = [folder.resolve().name for folder in folders]
    return [
        (folder, name if names.count(name) == 1 else folder.as_posix()) for folder, name in zip(folders, names, strict=True)
    ]


def read_runs(folders: Sequence[Path]) -> list[RunFacts]:
    """Every run of the folders. Raises UsageError for one that is no run and holds no scores, DataError for damaged files."""
    return [read_run(folder, name) for folder, name in named(find_runs(folders))]


def read_run(folder: Path, name: str) -> RunFacts:
    """Everything the page needs of one run, or of a folder of scores. Raises DataError for what cannot be read."""
    if not is_run(folder):
        return RunFacts(name, folder, {}, {}, (), _read_all_scores(folder, {}, ""))
    config = safe.read_object(folder / "config.json")
    if not {"arguments", "recipe"} <= config.keys():
        raise UsageError(f"{folder}/config.json: not a run's (it has no 'arguments' and 'recipe')")
    plan = safe.read_object_if_there(folder / "plan.json")
    log = [row for _, row in read_rows(folder / "log.jsonl") if isinstance(row, dict) and isinstance(row.get("step"), int)]
    weights = _digest(folder / "model")
    return RunFacts(name, folder, config, plan, log, _read_all_scores(folder, config.get("model", {}), weights), weights)


def read_base(run: RunFacts) -> RunFacts | None:
    """The run whose model ``run`` was tuned from, where it is still there and was measured."""
    folder = run.base.get("folder")
    place = Path(str(folder)) if folder is not None else None
    if place is not None and place.name == "model" and not is_run(place):
        place = place.parent
    if place is None or not is_run(place) or place.resolve() == run.folder.resolve():
        return None
    try:
        found = read_run(place, place.resolve().name)
    except (DataError, UsageError) as error:
        progress.say(f"the run that {run.name} came from is left out of the report: {error}")
        return None
    is_it = any(score.owner == TUNED for score in found.scores) and run.base.get("weights_sha256") in (None, found.weights)
    return found if is_it else None


def _read_all_scores(folder: Path, base: Mapping[str, Any], weights: str) -> list[ScoreSet]:
    found = []
    for path in sorted(folder.rglob("scores.json")):
        document = _read_scores(path)
        owner = _owner(document.get("model"), folder, base, weights)
        found.append(ScoreSet(path.parent.relative_to(folder).as_posix(), path.parent, document, owner))
    return found


def _read_scores(path: Path) -> dict[str, Any]:
    document = safe.read_object(path)
    metrics = document.get("metrics")
    if "benchmark" not in document or not isinstance(metrics, dict) or document.get("headline") not in metrics:
        raise DataError(f"{path}: not scores of 'adapt evaluate' (no metric of the name in 'headline')")
    return document


def _owner(model: Any, folder: Path, base: Mapping[str, Any], weights: str) -> str:
    """Whose answers were scored. By the weights where they are known, since a folder may have moved since."""
    if not isinstance(model, dict) or not model:
        return TUNED
    digest = model.get("weights_sha256")
    if digest is not None and digest == weights:
        return TUNED
    if same_model(model, base):
        return BASE
    if digest is not None and digest == _digest(folder / "best"):
        return BEST
    place = Path(str(model["folder"])).resolve() if "folder" in model else None
    is_ours = place in (folder.resolve(), (folder / "model").resolve())
    return TUNED if is_ours and not (digest and weights) else OTHER


def same_model(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two descriptions of ``evaluate`` and ``finetune`` name the same weights."""
    if "weights_sha256" in one and "weights_sha256" in other:
        return one["weights_sha256"] == other["weights_sha256"]
    return "preset" in one and one["preset"] == other.get("preset")


def _digest(model: Path) -> str:
    """The digest of a model folder's weights as ``finetune`` and ``evaluate`` record it; '' where there are none."""
    files = sorted(model.glob("*.safetensors")) if model.is_dir() else []
    if len(files) <= 1:
        return safe.file_sha256(files[0]) if files else ""
    named = "".join(f"{file.name} {safe.file_sha256(file)}\n" for file in files)
    return hashlib.sha256(named.encode()).hexdigest()


def came_from(run: RunFacts, other: RunFacts) -> bool:
    """Whether ``run`` started from the weights that ``other`` left."""
    if not run.base:
        return False
    folder = run.base.get("folder")
    if folder is not None and Path(folder).resolve() in (other.folder.resolve(), (other.folder / "model").resolve()):
        return True
    weights = run.base.get("weights_sha256")
    return weights is not None and weights == other.weights


def model_name(model: Mapping[str, Any]) -> str:
    """A model in words, as ``finetune`` and ``evaluate`` record it."""
    if "preset" in model:
        return f"preset {model['preset']}, random weights"
    if "hub" in model:
        return f"{model['hub']} at {str(model.get('commit', '?'))[:12]}"
    return f"{model['name']}, at a server" if "name" in model else str(model.get("folder", "?"))
