"""``adapt evaluate``: a model answers a benchmark's questions, and the answers are scored by the benchmark's own rule.

Answers land in ``OUTPUT/predictions.partial.jsonl`` as they come. A command that was killed and is started again as it was goes
on with the questions that have none; the file is taken away when all scores are written.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import __version__, atomic, progress, safe
from adapt.check.pictures import refuse_unreadable
from adapt.domain import Benchmark, find_benchmark, parse_options, read_options
from adapt.endpoint import MAX_CONCURRENCY, TIMEOUT_S, Endpoint
from adapt.errors import DataError, UsageError, no_file, unknown
from adapt.evaluate.engine import CUT, GENERATE, LIKELIHOOD, NATIVE, REFUSED, AnswerRules, Engine, NativeEngine, Reply
from adapt.evaluate.sampling import Sampling
from adapt.evaluate.score import check_references, pair, score_answers, to_document
from adapt.evaluate.served import ServedEngine, request_form
from adapt.evaluate.trained import count_trained, run_of
from adapt.journal import Journal, open_journal
from adapt.records import ChatRecord, chat_files, image_root, read_placed, write_rows
from adapt.show import counted

PARTIAL = "predictions.partial.jsonl"
# Settings that change nothing in what is answered, and act on a server alone.
_OF_SERVERS = ("concurrency", "max_bad", "timeout")
_NAMED = 3  # of the questions without an answer; scores.json has all
LONGEST_TIMEOUT_S = 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """``--set evaluate.max_new_tokens=N``: the longest answer in tokens; 0 is the benchmark's own.

    ``temperature`` 0 is greedy; above it answers are drawn, by ``top_k``, ``top_p`` and ``seed`` (adapt.Sampling). Of a server
    ``concurrency`` questions are asked at a time, ``max_bad`` that it cannot answer are accepted (they count as wrong), and
    a request is tried again after ``timeout`` seconds in which the server sends nothing.
    ``scoring`` is ``generate``, or ``likelihood``: the likeliest of each record's candidates is its answer.
    """

    max_new_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    concurrency: int = 8
    max_bad: int = 0
    timeout: float = TIMEOUT_S
    scoring: str = GENERATE

    def __post_init__(self) -> None:
        if self.max_new_tokens < 0:
            raise UsageError(f"evaluate.max_new_tokens={self.max_new_tokens}: expected 1 or more, or 0 for the benchmark's own")
        if not 1 <= self.concurrency <= MAX_CONCURRENCY:
            raise UsageError(f"evaluate.concurrency={self.concurrency}: expected 1 to {MAX_CONCURRENCY} questions at a time")
        if self.max_bad < 0:
            raise UsageError(f"evaluate.max_bad={self.max_bad}: expected 0 or more questions without an answer")
        if not 0 < self.timeout <= LONGEST_TIMEOUT_S:
            raise UsageError(
                f"evaluate.timeout={self.timeout:g}: expected more than 0 and at most {LONGEST_TIMEOUT_S:,.0f} seconds"
            )
        if self.scoring not in (GENERATE, LIKELIHOOD):
            raise unknown("evaluate.scoring", self.scoring, (GENERATE, LIKELIHOOD))
        if self.scoring == LIKELIHOOD and self.max_new_tokens:
            raise UsageError(
                "evaluate.max_new_tokens is of written answers; evaluate.scoring=likelihood writes none; leave one out"
            )
        if self.scoring == LIKELIHOOD and self.temperature:
            raise UsageError("evaluate.temperature is of drawn answers; evaluate.scoring=likelihood draws none; leave one out")
        self.sampling()

    def sampling(self) -> Sampling:
        """How answers are drawn. Raises UsageError for values that are none."""
        return Sampling(self.temperature, self.top_k, self.top_p, self.seed)


@dataclasses.dataclass(frozen=True)
class Questions:
    """The rows to ask: ``parts`` are they by split, ``places`` has each one's ``file:line`` by id, ``root`` their pictures."""

    root: Path
    parts: Mapping[str, Sequence[ChatRecord]]
    places: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class _Call:
    """What is asked of ``evaluate``, checked."""

    benchmark: Benchmark
    options: Mapping[str, str]
    settings: EvaluateSettings
    data: Path
    data_sha256: str
    images: str | None
    questions: Questions

    @property
    def parts(self) -> Mapping[str, Sequence[ChatRecord]]:
        return self.questions.parts

    @property
    def rules(self) -> AnswerRules:
        return AnswerRules(
            self.settings.max_new_tokens or self.benchmark.max_new_tokens, self.settings.sampling(), self.settings.scoring
        )


def evaluate(
    *,
    benchmark: str,
    model: str | Path,
    data: str | Path,
    output: str | Path,
    images: str | Path | None = None,
    split: str | None = None,
    engine: str = NATIVE,
    set: Sequence[str] = (),  # noqa: A002 (the command line's own word)
    option: str | Iterable[str] | Mapping[str, str] = (),
) -> dict[str, Any]:
    """Write ``predictions.jsonl``, ``marks.jsonl`` (each row's mark, 0..1) and ``scores.json`` into ``output``.

    Returns the scores. Rows of ``split``, else of every ``test*`` split, else of ``val``, else all. Several splits are
    scored apart, each under ``output/SPLIT``, and the answer is {split: scores}. ``engine`` is ``native``, or the URL of a
    server that speaks OpenAI's protocol, where ``model`` is its name for it and the key is taken from $ADAPT_API_KEY.

    A call that was killed goes on when it is made again. Raises UsageError and DataError.
    """
    from adapt.report.upkeep import note_scores

    call = _check_call(benchmark, data, Path(output), images, split, set, option)
    folder = Path(output)
    documents: dict[str, Any] = {}
    with (
        _open_engine(engine, model, call) as answerer,
        _open_partial(folder / PARTIAL, _header(call, answerer)) as (journal, replies),
    ):
        places = {name: _place(folder, call.parts, name) for name in call.parts}
        for name, place in places.items():
            _tell_replaced(call, answerer.model, name, place / "scores.json")
        trained = {name: _count_trained(call, answerer, records) for name, records in call.parts.items()}
        for name, records in call.parts.items():
            progress.say(f"{counted(len(records), 'question')} of {f'split {name!r}' if name else 'all rows'} in {call.data}")
            answered = _answer(call, answerer, records, journal, replies)
            documents[name] = _score(call, answerer, records, answered, places[name])
            documents[name] |= {"split": name or None, "trained_on": trained[name]}
            atomic.write_text(
                places[name] / "scores.json", json.dumps(documents[name], indent=1, ensure_ascii=False, allow_nan=False)
            )
        journal.path.unlink()
    note_scores(folder)
    return documents if len(documents) > 1 else next(iter(documents.values()))


def _tell_replaced(call: _Call, model: Mapping[str, Any], split: str, path: Path) -> None:
    """One line on a finished evaluation of something else that this one will replace; none on the same made anew."""
    try:
        there = safe.read_object_if_there(path)
    except DataError as error:
        progress.say(f"{error}; it is replaced when all is answered")
        return
    if not there:
        return
    ours = {"benchmark": call.benchmark.name, "data_sha256": call.data_sha256, "split": split or None}
    by = _by_another(there.get("model"), model)
    if not by and all(there.get(key) == value for key, value in ours.items()):
        return
    rows = f"split '{there['split']}'" if there.get("split") else "all rows"
    is_edited = there.get("data") == str(call.data) and there.get("data_sha256") != call.data_sha256
    data = f"{there.get('data')}{' before it changed' if is_edited else ''}"
    progress.say(
        f"{path}: the evaluation of {there.get('benchmark')} on {data}, {rows},{by} is replaced when all is answered; "
        "choose another --output to keep it"
    )


def _count_trained(call: _Call, engine: Engine, records: Sequence[ChatRecord]) -> int | None:
    """How many questions the model's own run was trained on, told in a line; None where no run of it is here."""
    run = run_of(engine.answerer.found.folder) if isinstance(engine, NativeEngine) else None
    if run is None:
        return None
    count = count_trained(run, call.data_sha256, records)
    if count:
        progress.say(
            f"warning: {call.data}: {count:,} of {counted(len(records), 'question')} are rows that {run} was trained on: "
            "the scores tell what it remembers, not what it learnt; give held-out rows (--split, or another --data)"
        )
    return count


def _by_another(before: Any, model: Mapping[str, Any]) -> str:
    """`` by NAME`` where another model answered before; a folder that was moved is the same one by its files' digests."""
    if not isinstance(before, dict) or all(before.get(key) == value for key, value in model.items() if key != "folder"):
        return ""
    name = before.get("folder") or before.get("name")
    return f" by {name}{' before it changed' if name == model.get('folder') else ''}"


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


def read_settings(items: Sequence[str]) -> EvaluateSettings:
    """The settings of ``--set evaluate.NAME=VALUE``. Raises UsageError for an unknown name and for what is no value of it."""
    known = {f"evaluate.{field.name}": field for field in dataclasses.fields(EvaluateSettings)}
    values: dict[str, Any] = {}
    for item in items:
        name, _, text = item.partition("=")
        if name not in known:
            raise unknown("setting", name, known)
        kind: type[Any] = type(known[name].default)
        if kind is str:
            values[known[name].name] = text
            continue
        try:
            values[known[name].name] = kind(text)
        except ValueError as error:
            example = f"{name}={32 if kind is int else 0.7}"
            raise UsageError(
                f"--set {item}: expected {'a whole number' if kind is int else 'a number'}, such as {example}"
            ) from error
    return EvaluateSettings(**values)


def _check_call(
    benchmark: str,
    data: str | Path,
    folder: Path,
    images: str | Path | None,
    split: str | None,
    items: Sequence[str],
    option: str | Iterable[str] | Mapping[str, str],
) -> _Call:
    """All that can be said before a model is loaded. Raises UsageError and DataError."""
    chosen, options = find_benchmark(benchmark), parse_options(option)
    read_options(chosen.options, options, f"benchmark {chosen.name}")
    settings, (path,) = read_settings(items), chat_files([Path(data)])
    if not path.is_file():
        raise no_file(path)
    if images is not None and not Path(images).is_dir():
        raise UsageError(f"images '{images}': no such folder")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file; --output takes a folder")
    digest = safe.file_sha256(path)
    questions = read_questions(path, split, images)
    for name, records in questions.parts.items():
        check_references(chosen, records, options, path, _place(folder, questions.parts, name))
    return _Call(chosen, options, settings, path, digest, None if images is None else str(images), questions)


def _place(folder: Path, parts: Mapping[str, Sequence[ChatRecord]], name: str) -> Path:
    return folder / name if len(parts) > 1 else folder


def read_questions(path: Path, split: str | None, images: str | Path | None) -> Questions:
    """The rows to score, every picture that they show looked at. Raises UsageError and DataError, with the row's place."""
    placed = read_placed(path)
    parts = choose_rows(list(placed.values()), split, path)
    root = image_root(path, None if images is None else Path(images))
    if not root.is_dir():
        raise DataError(f"{path}: its picture root {root} is not a folder; give it with --images")
    asked = {record.id for records in parts.values() for record in records}
    rows = [(where, record) for where, record in placed.items() if record.id in asked]
    refuse_unreadable(rows, root)
    return Questions(root, parts, {record.id: where for where, record in rows})


@contextlib.contextmanager
def _open_engine(name: str, model: str | Path, call: _Call) -> Iterator[Engine]:
    """The engine that ``--engine`` names. Raises UsageError for what is neither ``native`` nor an address."""
    if name == NATIVE:
        from adapt.evaluate.answer import load

        unused = [each for each in _OF_SERVERS if getattr(call.settings, each) != getattr(EvaluateSettings, each)]
        if unused:
            progress.say(f"no effect without --engine URL: {', '.join(f'evaluate.{each}' for each in unused)}")
        if call.settings.scoring == LIKELIHOOD:
            _check_candidates(call)
        yield NativeEngine(load(model), call.questions.root, call.questions.places)
        return
    if not any(mark in name for mark in ":/"):
        raise UsageError(f"engine '{name}': expected '{NATIVE}', or a server's address such as http://127.0.0.1:8000/v1")
    if call.settings.scoring == LIKELIHOOD:
        raise UsageError(
            "evaluate.scoring=likelihood needs the model here: a server gives answers, not what each option weighs; "
            "leave --engine out, or the setting"
        )
    with contextlib.closing(Endpoint(name, str(model), timeout_s=call.settings.timeout)) as endpoint:
        if Path(model).is_dir():
            progress.say(
                f"model '{model}' is a folder here: its name is sent to the server as it stands, its files are not read"
            )
        rows = [record for records in call.parts.values() for record in records]
        yield ServedEngine.of(endpoint, rows, call.questions.root, call.settings.concurrency, call.settings.max_bad)


def _check_candidates(call: _Call) -> None:
    """Raise DataError, with its place, for a row whose answer cannot be chosen."""
    from adapt.evaluate.likelihood import Choice

    for record in (record for records in call.parts.values() for record in records):
        where = call.questions.places[record.id]
        try:
            Choice.of(record, call.questions.root, where)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error


def _header(call: _Call, engine: Engine) -> dict[str, Any]:
    """What the answers depend on: with anything else they are not gone on with."""
    return {
        **{f"model.{key}": value for key, value in engine.model.items()},
        "data_sha256": call.data_sha256,
        "images": call.images,
        "benchmark": call.benchmark.name,
        "split": list(call.parts),
        "engine": dict(engine.facts),
        "settings": request_form(call.rules.max_new_tokens, call.rules.sampling) | {"scoring": call.rules.scoring},
        "adapt_version": __version__,
    }


@contextlib.contextmanager
def _open_partial(path: Path, header: Mapping[str, Any]) -> Iterator[tuple[Journal, dict[str, Reply]]]:
    """The answers that an earlier start left, and the file that takes the others."""
    advice = "run the command as it was then to go on with it, delete the file to start again, or choose another --output"
    with open_journal(path, header, busy="is answering into it", advice=advice) as journal:
        replies: dict[str, Reply] = {}
        for place, entry in journal.entries():
            name, reply = _read_entry(entry, journal.where(place))
            replies[name] = reply
        if replies:
            progress.say(f"{path}: {counted(len(replies), 'answer')} of an earlier start; going on with the others")
        try:
            yield journal, replies
        except BaseException:
            if replies:
                progress.say(f"{path} keeps {counted(len(replies), 'answer')}; the same command goes on from there")
            raise


def _read_entry(entry: Any, where: str) -> tuple[str, Reply]:
    fields = entry if isinstance(entry, dict) else {}
    name, text, ended = fields.get("id"), fields.get("answer"), fields.get("ended", "")
    if not isinstance(name, str) or not isinstance(text, str) or ended not in ("", CUT, REFUSED):
        raise DataError(f"{where}: {str(entry)[:40]!r} is no answer with its id; cut it out, or delete the file to start again")
    return name, Reply(text, ended)


@dataclasses.dataclass(frozen=True)
class _Answered:
    """Replies to the records of one split, why others have none, how many were there before, and the speed of the rest."""

    replies: Mapping[str, Reply]
    failed: Mapping[str, str]
    resumed: int
    questions_per_second: float | None


def _answer(
    call: _Call, engine: Engine, records: Sequence[ChatRecord], journal: Journal, replies: dict[str, Reply]
) -> _Answered:
    """Ask for what has no answer yet. Raises DataError where more than evaluate.max_bad cannot be answered."""

    def keep(name: str, reply: Reply) -> None:
        journal.add({"id": name, "answer": reply.text} | ({"ended": reply.ended} if reply.ended else {}))
        replies[name] = reply

    left = [record for record in records if record.id not in replies]
    start = time.perf_counter()
    failed = engine.answer(left, call.rules, keep) if left else {}
    seconds = time.perf_counter() - start
    if len(failed) > call.settings.max_bad:
        name, reason = next(iter(failed.items()))
        raise DataError(
            f"{call.questions.places[name]}: {len(failed):,} of {counted(len(records), 'question')} without an answer, first "
            f"'{name}': {reason}; start the same command again to ask for these, or accept them as wrong with "
            "--set evaluate.max_bad=N"
        )
    if failed:
        first = [f"'{record.id}'" for record in records if record.id in failed][:_NAMED]
        progress.say(
            f"{len(failed):,} of {len(records):,} questions have no answer and count as wrong "
            f"(evaluate.max_bad={call.settings.max_bad}): {', '.join(first)}{', ...' if len(failed) > _NAMED else ''}; "
            "the reasons stand in scores.json, engine.failed"
        )
    own = {record.id: replies[record.id] for record in records if record.id in replies}
    speed = round((len(left) - len(failed)) / seconds, 2) if left else None
    return _Answered(own, failed, len(records) - len(left), speed)


def _score(call: _Call, engine: Engine, records: Sequence[ChatRecord], answered: _Answered, folder: Path) -> dict[str, Any]:
    """Write the predictions in the order of the references, and the marks; returns what scores.json holds."""
    answers = {record.id: answered.replies[record.id].text if record.id in answered.replies else None for record in records}
    write_rows(folder / "predictions.jsonl", ({"id": name, "answer": text} for name, text in answers.items()))
    pairing = pair(records, answers)
    scores = score_answers(call.benchmark, pairing.answered, call.options, folder)
    write_rows(folder / "marks.jsonl", ({"id": name, "mark": mark} for name, mark in scores.per_row.items()))
    return to_document(call.benchmark, scores, pairing) | {
        "model": dict(engine.model),
        "adapt_version": __version__,
        "max_new_tokens": None if call.rules.scoring == LIKELIHOOD else call.rules.max_new_tokens,
        "scoring": call.rules.scoring,
        "sampling": dataclasses.asdict(call.rules.sampling) if call.settings.temperature else None,
        "engine": _engine_row(call, engine, answered),
        "questions_per_second": answered.questions_per_second,
        "resumed": answered.resumed,
        "data": str(call.data),
        "data_sha256": call.data_sha256,
        "images": call.images,
    }


def _engine_row(call: _Call, engine: Engine, answered: _Answered) -> dict[str, Any]:
    """The engine for scores.json; of a server also what was sent, and what came back otherwise than whole."""
    if not isinstance(engine, ServedEngine):
        return dict(engine.facts)
    ends = [reply.ended for reply in answered.replies.values()]
    return {
        **engine.facts,
        "request": request_form(call.rules.max_new_tokens, call.rules.sampling),
        "pictures_as_png": engine.as_png,
        "cut": ends.count(CUT),
        "refused": ends.count(REFUSED),
        "failed": dict(sorted(answered.failed.items())),
    }
