"""adapt score: score answers that were made anywhere, without a model."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adapt.domain import find_benchmark, parse_options
from adapt.errors import no_file
from adapt.evaluate.score import pair, read_predictions, score_answers, to_document
from adapt.progress import say
from adapt.records import read_records


def score(
    *,
    benchmark: str,
    predictions: Path | str,
    references: Path | str,
    option: str | Iterable[str] | Mapping[str, str] = (),
) -> dict[str, Any]:
    """Score predictions JSONL against the ground truth of chat JSONL.

    Returns what scores.json holds: {benchmark, metrics: {name: {value, count, low, high}}, convention, headline, floor,
    missing, unknown, malformed, details}. A missing answer counts as wrong. Raises UsageError for an unknown benchmark or
    option, DataError with file:line for files that cannot be read as such.
    """
    chosen = find_benchmark(benchmark)
    options = parse_options(option)
    for path in (Path(references), Path(predictions)):
        if not path.is_file():
            raise no_file(path)
    records = read_records(references)
    given = read_predictions(predictions)
    pairing = pair(records, given.answers)
    document = to_document(chosen, score_answers(chosen, pairing.answered, options), pairing, given.malformed)
    for kind, why in (("missing", "references have no answer: wrong"), ("unknown", "answers belong to no reference: left out")):
        if document[kind]:
            say(f"{len(document[kind]):,} {why}; first: {document[kind][0]}")
    return document
