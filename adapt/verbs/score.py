"""adapt score: score answers that were made anywhere, without a model."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.domain import Benchmark, find_benchmark, parse_options
from adapt.errors import DataError, UsageError, no_file
from adapt.evaluate.paired import compare_headlines
from adapt.evaluate.score import Pairing, Predictions, pair, read_predictions, score_answers, to_document
from adapt.progress import say
from adapt.records import ChatRecord, read_records
from adapt.show import counted
from adapt.verbs.evaluate import choose_rows


def score(
    *,
    benchmark: str,
    predictions: Path | str,
    references: Path | str,
    against: Path | str | None = None,
    split: str | None = None,
    option: str | Iterable[str] | Mapping[str, str] = (),
) -> dict[str, Any]:
    """Score predictions JSONL against the ground truth of chat JSONL, or a benchmark's own predictions and reference files.

    Rows of ``split``; else of the test split that was answered; else of ``val``; else all, as ``evaluate`` chooses them.

    Returns what scores.json holds: {benchmark, metrics: {name: {value, count, low, high}}, groups, convention, headline,
    floor, missing, unknown, malformed, details}. A missing answer counts as wrong. ``against`` are another run's predictions
    for the same references: then ``paired`` has the difference of the headline (ours minus theirs) with its 95 % interval and
    the p-value of a paired test, by picture. Raises UsageError for an unknown benchmark or option, DataError with file:line
    for files that cannot be read as such.
    """
    chosen = find_benchmark(benchmark)
    options = parse_options(option)
    for path in (Path(each) for each in (references, predictions, against) if each is not None):
        if not path.is_file():
            raise no_file(path)
    for path in (Path(each) for each in (predictions, against) if each is not None):
        if next(safe.read_lines(path), None) is None:
            own = ", or the benchmark's own file" if chosen.read_official else ""
            raise DataError(f'{path}: the file is empty, expected JSONL rows {{"id": ..., "answer": ...}}{own}; write it again')
    given, found = _read(chosen, Path(predictions), Path(references))
    if found is not None and split is not None:
        raise UsageError(f"{references}: the benchmark's own file has no splits; leave --split {split} out")
    if found is None:
        parts = choose_rows(_read_references(chosen, Path(references)), split, Path(references))
        found = _answered_split(parts, given.answers, Path(references))
    pairing = _pair(found, given, Path(predictions))
    scores = score_answers(chosen, pairing.answered, options, Path(predictions).parent)
    document = to_document(chosen, scores, pairing, given.malformed)
    if against is not None:
        others = _read(chosen, Path(against), Path(references))[0]
        theirs = _pair(found, others, Path(against))
        other = score_answers(chosen, theirs.answered, options, Path(against).parent)
        paired = compare_headlines(document["headline"], scores, other, theirs.answered)
        document["paired"] = {"against": str(against)} | paired
        _tell(theirs, others, f" in {against}")
    _tell(pairing, given)
    return document


def _tell(pairing: Pairing, given: Predictions, where: str = "") -> None:
    """One line on stderr for each way in which references and answers do not meet, or an answer is none."""
    unread = [each.record.id for each in pairing.answered if each.answer is None and each.record.id in given.answers]
    malformed = frozenset(given.malformed)
    for names, noun, (what, then) in (
        (pairing.missing, "reference", ("without an answer", "wrong")),
        (pairing.unknown, "answer", ("without a reference", "left out")),
        ([name for name in unread if name in malformed], "answer", ("neither text nor number", "wrong")),
        ([name for name in unread if name not in malformed], "answer", ("null", "wrong")),
    ):
        if names:
            say(f"{counted(len(names), noun)} {what}{where}: {then}; first: {names[0]}")


def _pair(records: Sequence[ChatRecord], given: Predictions, path: Path) -> Pairing:
    """Each reference with its answer. Raises DataError, naming the file, where the two do not belong together."""
    try:
        return pair(records, given.answers)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read(benchmark: Benchmark, predictions: Path, references: Path) -> tuple[Predictions, Sequence[ChatRecord] | None]:
    """The answers; and the references too, where these are the benchmark's own files and not chat JSONL."""
    official = benchmark.read_official(predictions, references) if benchmark.read_official else None
    if official is None:
        try:
            return read_predictions(predictions), None
        except DataError as error:
            if not _is_one_document(predictions, "answer"):
                raise
            own = f"; its own files are scored together: {benchmark.official_files}" if benchmark.official_files else ""
            raise DataError(
                f"{predictions}: one JSON document, as official files are, not JSONL; benchmark {benchmark.name} expects rows "
                f'{{"id": ..., "answer": ...}} here{own}'
            ) from error
    return Predictions(official.answers, official.malformed), official.references


def _read_references(benchmark: Benchmark, path: Path) -> list[ChatRecord]:
    """Chat JSONL. Raises DataError, with the way to chat JSONL where the file is a dataset as it was published."""
    try:
        return read_records(path)
    except DataError as error:
        if not _is_one_document(path, "conversations"):
            raise
        raise DataError(
            f"{path}: one JSON document, not chat JSONL; convert it first: adapt convert --task {benchmark.name} --input PATH "
            f"--output references.jsonl ('adapt tasks {benchmark.name}' says what PATH holds)"
        ) from error


def _is_one_document(path: Path, row_key: str) -> bool:
    """Whether a file that is no JSONL of rows with ``row_key`` is one JSON document instead."""
    try:
        document = safe.read_json(path)
    except DataError:
        return False  # neither: the rows' own error says where
    return not isinstance(document, dict) or row_key not in document


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
