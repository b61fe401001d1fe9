"""``adapt evaluate``: a model answers a benchmark's questions, and the answers are scored by the benchmark's own rule."""

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import __version__, atomic, progress
from adapt.domain import Benchmark, find_benchmark, parse_options, read_options
from adapt.errors import DataError, UsageError, no_file, unknown
from adapt.evaluate.sampling import Sampling
from adapt.evaluate.score import pair, score_answers, to_document
from adapt.records import ChatRecord, image_root, read_records, write_rows


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """``--set evaluate.max_new_tokens=N``: the longest answer in tokens; 0 is the benchmark's own.

    ``temperature`` 0 is greedy; above it answers are drawn, by ``top_k``, ``top_p`` and ``seed`` (adapt.Sampling).
    """

    max_new_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 0:
            raise UsageError(f"evaluate.max_new_tokens={self.max_new_tokens}: expected 1 or more, or 0 for the benchmark's own")
        self.sampling()

    def sampling(self) -> Sampling:
        """How answers are drawn. Raises UsageError for values that are none."""
        return Sampling(self.temperature, self.top_k, self.top_p, self.seed)


def evaluate(
    *,
    benchmark: str,
    model: str | Path,
    data: str | Path,
    output: str | Path,
    images: str | Path | None = None,
    split: str | None = None,
    set: Sequence[str] = (),  # noqa: A002 (the command line's own word)
    option: str | Iterable[str] | Mapping[str, str] = (),
) -> dict[str, Any]:
    """Write ``predictions.jsonl``, ``marks.jsonl`` (each row's mark, 0..1) and ``scores.json`` into ``output``.

    Returns the scores. Rows of ``split``, else of every ``test*`` split, else of ``val``, else all. Several splits are
    scored apart, each under ``output/SPLIT``, and the answer is {split: scores}. Raises UsageError and DataError.
    """
    chosen = find_benchmark(benchmark)
    options = parse_options(option)
    read_options(chosen.options, options, f"benchmark {chosen.name}")
    settings = _settings(set)
    path, folder = Path(data), Path(output)
    if not path.is_file():
        raise no_file(path)
    if images is not None and not Path(images).is_dir():
        raise UsageError(f"images '{images}': no such folder")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file; --output takes a folder")
    parts = choose_rows(read_records(path), split, path)
    root = image_root(path, None if images is None else Path(images))
    if not root.is_dir():
        raise DataError(f"{path}: its picture root {root} is not a folder; give it with --images")
    from adapt.evaluate.answer import load
    from adapt.report.upkeep import note_scores

    answerer = load(model)
    documents = {}
    for name, records in parts.items():
        place = folder / name if len(parts) > 1 else folder
        progress.say(f"{len(records):,} questions of {f'split {name!r}' if name else 'all rows'} in {path}")
        documents[name] = _answer_and_score(chosen, answerer, records, root, place, options, settings) | {
            "split": name or None,
            "data": str(path),
            "images": None if images is None else str(images),
        }
        atomic.write_text(place / "scores.json", json.dumps(documents[name], indent=1, ensure_ascii=False, allow_nan=False))
    note_scores(folder)
    return documents if len(documents) > 1 else next(iter(documents.values()))


def choose_rows(records: Sequence[ChatRecord], split: str | None, path: Path) -> dict[str, list[ChatRecord]]:
    """The rows to score, by split ('' where all are taken). Raises UsageError for a split that no row has."""
    by_split: dict[str, list[ChatRecord]] = {}
    for record in records:
        by_split.setdefault(record.split or "", []).append(record)
    if not records:
        raise DataError(f"{path}: no rows")
    if split is not None:
        if split not in by_split:
            raise unknown(f"split of {path}", split, by_split)
        return {split: by_split[split]}
    tests = {name: rows for name, rows in by_split.items() if name.startswith("test")}
    if tests:
        return dict(sorted(tests.items()))
    return {"val": by_split["val"]} if "val" in by_split else {"": list(records)}


def _settings(items: Sequence[str]) -> EvaluateSettings:
    known = {f"evaluate.{field.name}": field for field in dataclasses.fields(EvaluateSettings)}
    values: dict[str, Any] = {}
    for item in items:
        name, _, text = item.partition("=")
        if name not in known:
            raise unknown("setting", name, known)
        kind = int if isinstance(known[name].default, int) else float
        try:
            values[known[name].name] = kind(text)
        except ValueError as error:
            example = f"{name}={32 if kind is int else 0.7}"
            raise UsageError(
                f"--set {item}: expected {'a whole number' if kind is int else 'a number'}, such as {example}"
            ) from error
    return EvaluateSettings(**values)


def _answer_and_score(
    benchmark: Benchmark,
    answerer: Any,
    records: Sequence[ChatRecord],
    root: Path,
    folder: Path,
    options: dict[str, str],
    settings: EvaluateSettings,
) -> dict[str, Any]:
    from adapt.evaluate.generate import Question, answer_questions

    longest = settings.max_new_tokens or benchmark.max_new_tokens
    start = time.perf_counter()
    questions = [Question.of(record, root) for record in records]
    found = answer_questions(answerer, questions, max_new_tokens=longest, sampling=settings.sampling())
    answers = dict(progress.track(found, len(records), "answering"))
    seconds = time.perf_counter() - start
    write_rows(folder / "predictions.jsonl", ({"id": record.id, "answer": answers[record.id]} for record in records))
    pairing = pair(records, answers)
    scores = score_answers(benchmark, pairing.answered, options, folder)
    write_rows(folder / "marks.jsonl", ({"id": name, "mark": mark} for name, mark in scores.per_row.items()))
    return to_document(benchmark, scores, pairing) | {
        "model": answerer.found.provenance,
        "adapt_version": __version__,
        "max_new_tokens": longest,
        "sampling": dataclasses.asdict(settings.sampling()) if settings.temperature else None,
        "questions_per_second": round(len(records) / seconds, 2),
    }
