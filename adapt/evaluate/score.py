"""From predictions and references to scores: who answered what, and the one form that scores.json has.

Predictions are JSONL rows ``{"id": ..., "answer": ...}``. A reference without a prediction, an answer that is null, empty or
not a text counts as wrong and is counted by kind; a prediction that no reference asked for is named, and changes nothing.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt.domain import Answered, Benchmark, Metric, Scores, read_options
from adapt.errors import DataError
from adapt.records import ChatRecord, read_rows

OVER_LONG_CHARACTERS = 2000


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Answers by reference id; ``malformed`` lists the ids whose answer is neither text, number nor null."""

    answers: Mapping[str, str | None]
    malformed: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Pairing:
    """References with their answers; ids without an answer, and answers without a reference."""

    answered: tuple[Answered, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def group_of(record: ChatRecord) -> Hashable:
    """What is drawn together in an interval: the pictures of a record, or the record itself where it has none."""
    return record.images or record.id


def read_predictions(path: Path | str) -> Predictions:
    """Read predictions JSONL. Raises DataError with file:line for a row that is no prediction or an id seen before."""
    answers: dict[str, str | None] = {}
    places: dict[str, str] = {}
    malformed = []
    for number, row in read_rows(Path(path)):
        where = f"{path}:{number}"
        if not isinstance(row, dict) or "answer" not in row or not _is_id(row.get("id")):
            raise DataError(f'{where}: {str(row)[:60]}, expected a prediction {{"id": ..., "answer": ...}}')
        identifier, answer = str(row["id"]), row["answer"]
        if identifier in places:
            raise DataError(f"{where}: a second answer to '{identifier}', the first is at {places[identifier]}; keep one")
        places[identifier] = where
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = str(answer)
        if answer is not None and not isinstance(answer, str):
            malformed.append(identifier)
            answer = None
        answers[identifier] = answer
    return Predictions(answers, tuple(malformed))


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def pair(records: Sequence[ChatRecord], answers: Mapping[str, str | None]) -> Pairing:
    """Give each reference its answer. Raises DataError where there are no references, or not one id is shared."""
    if not records:
        raise DataError("the references hold no rows; there is nothing to score")
    known = {record.id for record in records}
    unknown = tuple(each for each in answers if each not in known)
    if len(unknown) == len(answers) and answers:
        raise DataError(
            f"none of the {len(answers):,} predicted ids is in the references: '{unknown[0]}' against '{records[0].id}'; "
            "these files do not belong together"
        )
    answered = tuple(Answered(record, answers.get(record.id)) for record in records)
    return Pairing(answered, tuple(record.id for record in records if record.id not in answers), unknown)


def score_answers(
    benchmark: Benchmark, answered: Sequence[Answered], options: Mapping[str, str], folder: Path | None = None
) -> Scores:
    """Score by the benchmark's rule; ``folder`` is where the predictions are. Raises UsageError for an option that it lacks."""
    given = read_options(benchmark.options, options, f"benchmark {benchmark.name}")
    beside = [option.name for option in benchmark.options if option.is_beside and option.name not in options]
    given |= {name: str((folder or Path()) / given[name]) for name in beside if name in given}
    scores = benchmark.score(answered, given)
    return dataclasses.replace(scores, details={"answers": _count_answers(answered)} | dict(scores.details))


def check_references(
    benchmark: Benchmark, records: Sequence[ChatRecord], options: Mapping[str, str], path: Path, folder: Path
) -> None:
    """Raise what scoring would raise whatever the answers are: they are scored as if not one had come, and nothing is kept.

    ``folder`` is where the predictions will be. UsageError for an option, DataError, naming ``path``, for references.
    """
    try:
        score_answers(benchmark, [Answered(record, None) for record in records], options, folder)
    except DataError as error:
        raise DataError(f"{path}: benchmark {benchmark.name}: {error}") from error


def _count_answers(answered: Sequence[Answered]) -> dict[str, int]:
    """How many answers there are, how many are missing or empty, and how many are far longer than what was asked for.

    What the last are worth is the benchmark's to say: LLaVA-Med's containment, for one, takes the truth wherever it stands.
    """
    texts = [each.answer for each in answered if each.answer is not None]
    return {
        "references": len(answered),
        "none": len(answered) - len(texts),
        "empty": sum(not text.strip() for text in texts),
        "over_long": sum(len(text) > OVER_LONG_CHARACTERS for text in texts),
    }


def to_document(benchmark: Benchmark, scores: Scores, pairing: Pairing, malformed: Sequence[str] = ()) -> dict[str, Any]:
    """The content of scores.json. ``floor`` is what needs no picture; it stands beside the metric of the same name."""
    details = {name: value for name, value in scores.details.items() if name != "floor"}
    return {
        "benchmark": benchmark.name,
        "metrics": {name: _metric_row(metric) for name, metric in scores.metrics.items()},
        "groups": {name: metric.groups for name, metric in scores.metrics.items()},
        "convention": scores.convention,
        "headline": scores.headline or benchmark.headline,
        "floor": dict(scores.details.get("floor", {})),
        "missing": list(pairing.missing),
        "unknown": list(pairing.unknown),
        "malformed": list(malformed),
        "details": details,
    }


def _metric_row(metric: Metric) -> dict[str, float]:
    return {"value": metric.value, "count": metric.count, "low": metric.low, "high": metric.high}
