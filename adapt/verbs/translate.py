"""``adapt translate``: chat JSONL in another language, through any OpenAI-compatible endpoint.

Rows are asked for in parallel and land in ``G.progress.jsonl`` as they come, one line each, so that a killed run goes on with
``--resume``: no row twice, none lost. When all are there they are written in their order as ``G.jsonl``, whole or not at all.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import adapt
from adapt import atomic, records, safe, translation
from adapt.endpoint import Endpoint, EndpointError
from adapt.errors import DataError, UsageError, no_file, unknown
from adapt.progress import meter, say
from adapt.records import ChatRecord, Turn

DEFAULT_WORKERS = 8
MAX_WORKERS = 256
TRIES = 3  # of one row, where the answer lost a mark or a text
SHOWN_REASONS = 3
_AGAIN = "That answer cannot be used: {fault}. Answer again, with every ⟦T1⟧ line and every mark exactly once."


@dataclasses.dataclass(frozen=True)
class _Work:
    """What a row's translation depends on: the same for all rows, and for the run that goes on."""

    language: str
    rules: str
    endpoint: Endpoint


@dataclasses.dataclass
class _Progress:
    """The journal: an open file, and where in it each finished line of the input stands."""

    handle: IO[bytes]
    places: dict[int, int]

    def add(self, number: int, entry: Mapping[str, Any], *, done: bool) -> None:
        """Append one entry. It is whole once its line ends; a torn one is cut away when the run goes on."""
        place = self.handle.seek(0, os.SEEK_END)
        self.handle.write((json.dumps({"line": number} | dict(entry), ensure_ascii=False) + "\n").encode())
        self.handle.flush()
        if done:
            self.places[number] = place


def translate(
    file: Path | str,
    *,
    to: str,
    output: Path | str,
    endpoint: str,
    model: str,
    workers: int = DEFAULT_WORKERS,
    max_bad: int = 0,
    resume: bool = False,
) -> dict[str, Any]:
    """Translate every message of the chat JSONL ``file`` and write the rows to ``output``; returns the new manifest.

    Boxes, pictures, tags and coordinates stay as they are (see adapt/translation.py). Ids get ``-LANGUAGE``. The key is taken
    from $ADAPT_API_KEY. Raises UsageError for a wrong call, DataError where the endpoint cannot answer at all or more than
    ``max_bad`` rows fail: what was translated is kept, and ``resume`` asks for the rest.
    """
    source, target = Path(file), Path(output)
    _check_call(source, target, to, workers, max_bad)
    with contextlib.closing(Endpoint(endpoint, model)) as server:
        rules = translation.RULES.format(language=translation.LANGUAGES[to])
        header = {"input_sha256": safe.file_sha256(source), "to": to, "model": model, "rules": _digest(rules)}
        if resume and not _progress_path(target).exists() and _is_finished(target, header):
            say(f"{target}: finished before; nothing to do")
            return records.read_manifest(target)
        atomic.remove_leftovers(target)
        with _open_progress(target, header, resume) as progress:
            total = _check_input(source)
            failed = _run(source, total, _Work(to, rules, server), progress, workers)
            manifest = _finish(source, target, header, progress, failed, total, max_bad)
            _progress_path(target).unlink()
    say(f"{target}: {manifest['counts']['records']:,} of {total:,} rows in {translation.LANGUAGES[to]}")
    return manifest


def _check_call(source: Path, target: Path, to: str, workers: int, max_bad: int) -> None:
    if not source.is_file():
        raise no_file(source)
    if to not in translation.LANGUAGES:
        raise unknown("language", to, translation.LANGUAGES)
    if target.suffix != ".jsonl" or target.is_dir():
        raise UsageError(f"output '{target}': expected a file name that ends in .jsonl")
    if target.exists() and target.samefile(source):
        raise UsageError(f"output '{target}' is the input; choose another name")
    if not 1 <= workers <= MAX_WORKERS:
        raise UsageError(f"--workers {workers}: expected 1 to {MAX_WORKERS} requests at a time")
    if max_bad < 0:
        raise UsageError(f"--max-bad {max_bad}: expected 0 or more")


def _check_input(source: Path) -> int:
    """The number of rows; the first bad one raises DataError, before a question is paid for."""
    ids: dict[str, str] = {}
    for where, record in records.iterate_records(source):
        if record.id in ids:
            raise DataError(f"{where}: the id '{record.id}' was seen before, at {ids[record.id]}; ids must be unique in a file")
        ids[record.id] = where
    if not ids:
        raise DataError(f"{source}: holds no row")
    return len(ids)


def _run(source: Path, total: int, work: _Work, progress: _Progress, workers: int) -> dict[int, str]:
    """Ask for all rows that are not there yet; returns the reasons of those that failed, by line."""
    failed: dict[int, str] = {}
    rows = _rows_left(source, progress)
    under_way: dict[concurrent.futures.Future[dict[str, Any]], int] = {}
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        with meter("translated", total, len(progress.places)) as show:
            while True:
                for number, record in itertools.islice(rows, 2 * workers - len(under_way)):
                    under_way[pool.submit(_translate_record, work, record)] = number
                if not under_way:
                    return failed
                done, _ = concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED)
                for each in done:
                    _take(each, under_way[each], progress, failed)
                    del under_way[each]
                show(len(progress.places), f"{len(failed):,} failed" if failed else "")
    except BaseException:
        work.endpoint.close()  # or the threads would wait for their answers
        raise
    finally:
        try:
            pool.shutdown(wait=True, cancel_futures=True)
        finally:
            _keep(under_way, progress)


def _keep(under_way: Mapping[concurrent.futures.Future[dict[str, Any]], int], progress: _Progress) -> None:
    """Write down the answers that are there though the run ends: they are paid for."""
    for answer, number in under_way.items():
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            progress.add(number, {"row": answer.result()}, done=True)


def _take(answer: concurrent.futures.Future[dict[str, Any]], number: int, progress: _Progress, failed: dict[int, str]) -> None:
    try:
        progress.add(number, {"row": answer.result()}, done=True)
    except EndpointError:
        raise
    except DataError as error:
        failed[number] = str(error)


def _rows_left(source: Path, progress: _Progress) -> Iterator[tuple[int, ChatRecord]]:
    for number, row in records.read_rows(source):
        if number not in progress.places:
            yield number, records.parse_record(row, f"{source}:{number}")


def _translate_record(work: _Work, record: ChatRecord) -> dict[str, Any]:
    """The translated row. Raises DataError where no answer can be used."""
    splits = [translation.split(turn.value) for turn in record.turns]
    texts = [turn.value for turn in record.turns]
    if message := translation.to_message(splits):
        texts = _ask(work, message, splits)
    turns = tuple(Turn(turn.role, text) for turn, text in zip(record.turns, texts, strict=True))
    meta = dict(record.meta) | {"language": work.language}
    row = records.record_to_row(dataclasses.replace(record, id=f"{record.id}-{work.language}", turns=turns, meta=meta))
    records.parse_record(row, "the translation")
    return row


def _ask(work: _Work, message: str, splits: list[translation.Split]) -> list[str]:
    messages = [{"role": "system", "content": work.rules}, {"role": "user", "content": message}]
    fault = ""
    for _ in range(TRIES):
        answer = work.endpoint.ask(messages)
        try:
            return translation.from_message(answer, splits)
        except DataError as error:
            fault = str(error)
        again = {"role": "user", "content": _AGAIN.format(fault=fault)}
        messages = [*messages[:2], {"role": "assistant", "content": answer}, again]
    raise DataError(f"{fault} ({TRIES} answers)")


def _progress_path(target: Path) -> Path:
    return target.with_name(target.name.removesuffix(".jsonl") + ".progress.jsonl")


def _rejected_path(target: Path) -> Path:
    return target.with_name(target.name.removesuffix(".jsonl") + ".rejected.jsonl")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_finished(target: Path, header: Mapping[str, str]) -> bool:
    """Whether ``target`` is there, whole, and was made of the same."""
    manifest = records.read_manifest(target)
    same = all(manifest.get("options", {}).get(name) == value for name, value in header.items())
    return same and target.is_file() and safe.file_sha256(target) == manifest.get("sha256")


@contextlib.contextmanager
def _open_progress(target: Path, header: Mapping[str, str], resume: bool) -> Iterator[_Progress]:
    """The journal, new or gone on with. Raises UsageError where one is there and was not asked for, or is of other input."""
    import fcntl  # not on Windows, where the other verbs work

    path = _progress_path(target)
    if path.exists() and not resume:
        raise UsageError(f"{path}: a translation was under way; add --resume to go on, or delete the file to start again")
    if resume and not path.exists():
        say(f"{path}: not there; starting with the first row")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "r+b" if path.exists() else "w+b") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{path}: another process is translating into it") from error
        yield _read_progress(path, handle, header)


def _read_progress(path: Path, handle: IO[bytes], header: Mapping[str, str]) -> _Progress:
    places: dict[int, int] = {}
    place = 0
    for line in handle:
        if not line.endswith(b"\n"):
            break  # the run was killed while it wrote this one
        entry = safe.load_line(line, f"{path}: byte {place:,}")
        if place == 0:
            differs = [name for name, value in header.items() if not isinstance(entry, dict) or entry.get(name) != value]
            if differs:
                raise UsageError(f"{path}: begun with another {', '.join(differs)}; delete it to start again")
        else:
            places[_line_of(entry, f"{path}: byte {place:,}")] = place
        place += len(line)
    handle.truncate(place)
    progress = _Progress(handle, places)
    if place == 0:
        handle.seek(0)
        handle.write((json.dumps(dict(header)) + "\n").encode())
        handle.flush()
    return progress


def _line_of(entry: Any, where: str) -> int:
    """Which line of the input an entry of the journal translates. Raises DataError for what is no entry."""
    number = entry.get("line") if isinstance(entry, dict) else None
    if isinstance(number, bool) or not isinstance(number, int) or not isinstance(entry.get("row"), dict):
        raise DataError(
            f"{where}: {str(entry)[:40]!r} is no entry of line and row; cut it out, or delete the file to start again"
        )
    return number


def _finish(
    source: Path,
    target: Path,
    header: Mapping[str, str],
    progress: _Progress,
    failed: Mapping[int, str],
    total: int,
    max_bad: int,
) -> dict[str, Any]:
    """Write the rows in their order, the list of those that failed, and the manifest."""
    _report_failed(source, target, failed, total, max_bad)
    if not progress.places:
        raise DataError(f"{source}: no row could be translated; see {_rejected_path(target)}")
    digest = hashlib.sha256()
    with atomic.staged_file(target) as handle:
        for number in sorted(progress.places):
            progress.handle.seek(progress.places[number])
            row = safe.load_line(progress.handle.readline(), f"{_progress_path(target)}: line {number}")["row"]
            content = (records.dump_row(row) + "\n").encode()
            digest.update(content)
            handle.write(content)
    counts = {"read": total, "converted": len(progress.places), "rejected": len(failed), "records": len(progress.places)}
    manifest = {
        "version": adapt.__version__,
        "task": "translate",
        "image_root": records.relative_root(records.image_root(source), target),
        "options": dict(header),
        "sha256": digest.hexdigest(),
        "counts": counts,
        "facts": records.read_manifest(source).get("facts", {}),
    }
    atomic.write_text(records.manifest_path(target), json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")
    return manifest


def _report_failed(source: Path, target: Path, failed: Mapping[int, str], total: int, max_bad: int) -> None:
    path = _rejected_path(target)
    if not failed:
        path.unlink(missing_ok=True)
        return
    listed = [{"where": f"{source.name}:{number}", "reason": failed[number]} for number in sorted(failed)]
    records.write_rows(path, listed)
    shown = "; ".join(f"{each['where']}: {each['reason']}" for each in listed[:SHOWN_REASONS])
    if len(failed) > max_bad:
        raise DataError(
            f"{len(failed):,} of {total:,} rows failed, more than --max-bad {max_bad}; see {path}; the others are kept: "
            f"--resume asks for these again; first: {shown}"
        )
    say(f"{len(failed):,} of {total:,} rows failed; see {path}; first: {shown}")
