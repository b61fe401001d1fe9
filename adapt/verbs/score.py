"""adapt score: score answers that were made anywhere, without a model."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt.domain import find_benchmark, parse_options
from adapt.errors import UsageError, no_file
from adapt.evaluate.score import Predictions, pair, read_predictions, score_answers, to_document
from adapt.progress import say
from adapt.records import ChatRecord, read_records
from adapt.verbs.evaluate import choose_rows


def score(
    *,
    benchmark: str,
    predictions: Path | str,
    references: Path | str,
    split: str | None = None,
    option: str | Iterable[str] | Mapping[str, str] = (),
) -> dict[str, Any]:
    """Score predictions JSONL against the ground truth of chat JSONL, or a benchmark's own predictions and reference files.

    Rows of ``split``; else of the test split that was answered; else of ``val``; else all, as ``evaluate`` chooses them.

    Returns what scores.json holds: {benchmark, metrics: {name: {value, count, low, high}}, convention, headline, floor,
    missing, unknown, malformed, details}. A missing answer counts as wrong. Raises UsageError for an unknown benchmark or
    option, DataError with file:line for files that cannot be read as such.
    """
    chosen = find_benchmark(benchmark)
    options = parse_options(option)
    for path in (Path(references), Path(predictions)):
        if not path.is_file():
            raise no_file(path)
    official = chosen.read_official(Path(predictions), Path(references)) if chosen.read_official else None
    if official and split is not None:
        raise UsageError(f"{references}: the benchmark's own file has no splits; leave --split {split} out")
    if official:
        records, given = official[0], Predictions(official[1])
    else:
        given = read_predictions(predictions)
        parts = choose_rows(read_records(references), split, Path(references))
        records = _answered_split(parts, given.answers, Path(references))
    pairing = pair(records, given.answers)
    scores = score_answers(chosen, pairing.answered, options, Path(predictions).parent)
    document = to_document(chosen, scores, pairing, given.malformed)
    for kind, why in (("missing", "references have no answer: wrong"), ("unknown", "answers belong to no reference: left out")):
        if document[kind]:
            say(f"{len(document[kind]):,} {why}; first: {document[kind][0]}")
    return document


def _answered_split(
    parts: Mapping[str, Sequence[ChatRecord]], answers: Mapping[str, str | None], path: Path
) -> Sequence[ChatRecord]:
    """The rows of the one split that has answers. Raises UsageError where several have: their scores are not one."""
    answered = [name for name, rows in parts.items() if any(row.id in answers for row in rows)]
    if len(answered) > 1:
        raise UsageError(f"{path}: the answers are of the splits {', '.join(answered)}, scored apart; choose one with --split")
    name = answered[0] if answered else next(iter(parts))
    say(f"{len(parts[name]):,} references of {f'split {name!r}' if name else 'all rows'} in {path}")
    return parts[name]
