"""``adapt translate``: chat JSONL in another language, through any OpenAI-compatible endpoint.

Rows are asked for in parallel and land in ``G.progress.jsonl`` as they come, one line each, so that a killed run goes on with
``--resume``: no row twice, none lost. When all are there they are written in their order as ``G.jsonl``, whole or not at all.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import adapt
from adapt import atomic, records, safe, translation
from adapt.conversion.ids import SeenIds
from adapt.conversion.places import rejected_path, spare_others
from adapt.endpoint import MAX_CONCURRENCY, Endpoint, ask_all
from adapt.errors import DataError, UsageError, no_file, unknown
from adapt.journal import Journal, open_journal
from adapt.progress import meter, say
from adapt.records import ChatRecord, Turn
from adapt.show import counted

DEFAULT_WORKERS = 8
TRIES = 3  # of one row, where the answer lost a mark or a text
SHOWN_REASONS = 3
_REF_NAME = re.compile(r"<ref>([^<>]*)</ref>")
_LETTERS = re.compile(r"\(?[A-Z]\)?\.?(?:, [A-Z])*")
_AGAIN = "That answer cannot be used: {fault}. Answer again, with every ⟦T1⟧ line and every mark exactly once."


@dataclasses.dataclass(frozen=True)
class _Work:
    """What a row's translation depends on: the same for all rows, and for the run that goes on."""

    language: str
    rules: str
    endpoint: Endpoint


@dataclasses.dataclass(frozen=True)
class _Progress:
    """The journal, and where in it each finished line of the input stands."""

    journal: Journal
    places: dict[int, int]


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
        if resume and _progress_path(target).exists():
            _refuse_edited(target, header)
        elif resume and _is_finished(target, header):
            say(f"{target}: finished before; nothing to do")
            return records.read_manifest(target)
        atomic.remove_leftovers(target)
        with _open_progress(target, header, resume) as progress:
            total = _check_input(source)
            failed = _run(source, total, _Work(to, rules, server), progress, workers)
            manifest = _finish(source, target, header, progress, failed, total, max_bad)
            if not failed:
                _progress_path(target).unlink()
    say(f"{target}: {manifest['counts']['records']:,} of {counted(total, 'row')} in {translation.LANGUAGES[to]}")
    return manifest


def _check_call(source: Path, target: Path, to: str, workers: int, max_bad: int) -> None:
    if not records.chat_files([source])[0].is_file():
        raise no_file(source)
    if to not in translation.LANGUAGES:
        raise unknown("language", to, translation.LANGUAGES)
    if target.suffix != ".jsonl" or target.is_dir():
        raise UsageError(f"output '{target}': expected a file name that ends in .jsonl")
    spare_others(source, target)
    if not 1 <= workers <= MAX_CONCURRENCY:
        raise UsageError(f"--workers {workers}: expected 1 to {MAX_CONCURRENCY} requests at a time")
    if max_bad < 0:
        raise UsageError(f"--max-bad {max_bad}: expected 0 or more")


def _check_input(source: Path) -> int:
    """The number of rows; the first bad one raises DataError, before a question is paid for."""
    ids, total, closed = SeenIds(), 0, 0
    for where, record in records.iterate_records(source):
        if record.id in ids:
            raise DataError(f"{where}: the id '{record.id}' was seen before; ids must be unique in a file")
        ids.add(record.id)
        total += 1
        closed += _offered(record) is not None
    if not total:
        raise DataError(f"{source}: holds no row")
    if closed:
        say(
            f"note: in {closed:,} of {counted(total, 'row')} meta.candidates says which answers there are: "
            "these and theirs stay"
        )
    return total


def _run(source: Path, total: int, work: _Work, progress: _Progress, workers: int) -> dict[int, str]:
    """Ask for all rows that are not there yet; returns the reasons of those that failed, by line."""
    failed: dict[int, str] = {}
    with meter("translated", total, len(progress.places)) as show:

        def take(row: tuple[int, ChatRecord], answer: dict[str, Any] | DataError) -> None:
            if isinstance(answer, DataError):
                failed[row[0]] = str(answer)
            else:
                progress.places[row[0]] = progress.journal.add({"line": row[0], "row": answer})
            show(len(progress.places), f"{len(failed):,} failed" if failed else "")

        rows = _rows_left(source, progress)
        ask_all(work.endpoint, lambda row: _translate_record(work, row[1]), rows, concurrency=workers, take=take)
    return failed


def _rows_left(source: Path, progress: _Progress) -> Iterator[tuple[int, ChatRecord]]:
    for number, row in records.read_rows(source):
        if number not in progress.places:
            yield number, records.parse_record(row, f"{source}:{number}")


def _translate_record(work: _Work, record: ChatRecord) -> dict[str, Any]:
    """The translated row. Raises DataError where no answer can be used."""
    splits = _splits(record)
    texts = [turn.value for turn in record.turns]
    if message := translation.to_message(splits):
        texts = _ask(work, message, splits)
    turns = tuple(Turn(turn.role, text) for turn, text in zip(record.turns, texts, strict=True))
    meta = dict(record.meta) | _renamed(record, turns[-1].value) | {"language": work.language}
    row = records.record_to_row(dataclasses.replace(record, id=f"{record.id}-{work.language}", turns=turns, meta=meta))
    records.check_row(row, "the translation")
    return row


def _renamed(record: ChatRecord, answer: str) -> dict[str, Any]:
    """``meta.names``, which a scorer compares with the names in the answer, as the translated answer calls them."""
    names = record.meta.get("names")
    if not isinstance(names, list):
        return {}
    before, after = (_REF_NAME.findall(text) for text in (record.turns[-1].value, answer))
    if len(before) != len(after):
        raise DataError(f"the answer names {len(after)} objects, expected {len(before)}")
    called = dict(zip(before, after, strict=True))
    return {"names": [called.get(name, name) if isinstance(name, str) else name for name in names]}


def _splits(record: ChatRecord) -> list[translation.Split]:
    """What of each message of a row is sent."""
    names = _offered(record)
    return [
        translation.Split(turn.value, (), "")
        if names is not None and turn.role == "gpt"
        else translation.split(turn.value, names or ())
        for turn in record.turns
    ]


def _offered(record: ChatRecord) -> tuple[str, ...] | None:
    """The candidates that stay as they are in a row's questions, as its answers do: scorers compare them with ``meta``.

    None where any answer may be given; no name where the answer is the letter of one.
    """
    candidates = record.meta.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        return None
    if _LETTERS.fullmatch(record.answer):
        return ()
    return tuple(name for name in candidates if isinstance(name, str) and name.strip())


def _ask(work: _Work, message: str, splits: list[translation.Split]) -> list[str]:
    messages = [{"role": "system", "content": work.rules}, {"role": "user", "content": message}]
    fault = ""
    for _ in range(TRIES):
        answer = work.endpoint.ask(messages)
        try:
            if len(messages) > 2 and answer.split() == messages[-1]["content"].split():
                raise DataError(translation.untranslated(work.language))  # what was echoed is the request to answer again
            texts = translation.from_message(answer, splits)
            translation.check_script(message, answer, work.language)
            return texts
        except DataError as error:
            fault = str(error)
        again = {"role": "user", "content": _AGAIN.format(fault=fault)}
        messages = [*messages[:2], {"role": "assistant", "content": answer}, again]
    raise DataError(f"{fault} ({TRIES} answers)")


def _progress_path(target: Path) -> Path:
    return target.with_name(target.name.removesuffix(".jsonl") + ".progress.jsonl")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_finished(target: Path, header: Mapping[str, str]) -> bool:
    """Whether ``target`` is there, made of the same. Raises UsageError where it is there and is anything else."""
    if not target.exists():
        return False
    manifest = records.read_manifest(target)
    options = manifest.get("options", {})
    different = [f"{name} was {options.get(name)}, is {value}" for name, value in header.items() if options.get(name) != value]
    if manifest.get("task") != "translate":
        different = ["it is no translation"]
    elif not different and safe.file_sha256(target) != manifest.get("sha256"):
        different = ["it was changed since it was written"]
    if different:
        raise UsageError(
            f"{target}: there, and not what --resume would go on with: {', '.join(different)}; leave --resume out to replace "
            "it, or choose another --output"
        )
    return True


def _refuse_edited(target: Path, header: Mapping[str, str]) -> None:
    """Raise UsageError where ``target`` has the rows of this translation that did not fail, and somebody edited them."""
    manifest = records.read_manifest(target) if target.exists() else {}
    options = manifest.get("options", {})
    is_of_this = manifest.get("task") == "translate" and all(options.get(name) == value for name, value in header.items())
    if is_of_this and safe.file_sha256(target) != manifest.get("sha256"):
        raise UsageError(
            f"{target}: was changed since it was written, and --resume would write it anew from {_progress_path(target)}; move "
            "it away first"
        )


@contextlib.contextmanager
def _open_progress(target: Path, header: Mapping[str, str], resume: bool) -> Iterator[_Progress]:
    """The journal, new or gone on with. Raises UsageError where one is there and was not asked for, or is of other input."""
    path = _progress_path(target)
    if path.exists() and not resume:
        raise UsageError(
            f"{path}: a translation was under way, or rows of it failed; add --resume to ask for the rest, or delete the file "
            "to start again"
        )
    if resume and not path.exists():
        say(f"{path}: not there; starting with the first row")
    missing = [folder for folder in path.parents if not folder.exists()]
    with open_journal(path, header, busy="is translating into it", advice="delete it to start again") as journal:
        progress = _Progress(journal, {_line_of(entry, journal.where(place)): place for place, entry in journal.entries()})
        try:
            yield progress
        except BaseException:
            if not progress.places:  # nothing to go on with: no file says that there is
                path.unlink(missing_ok=True)
            raise
        finally:
            for folder in missing:
                if not any(folder.iterdir()):
                    folder.rmdir()


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
        raise DataError(f"{source}: no row could be translated; see {rejected_path(target)}")
    digest = hashlib.sha256()
    unchanged: list[int] = []
    asked = iter(records.read_rows(source))
    with atomic.staged_file(target) as handle:
        for number in sorted(progress.places):
            row = progress.journal.read(progress.places[number])["row"]
            where = progress.journal.where(progress.places[number])
            before = next((row for place, row in asked if place == number), None)
            if before is None:
                raise DataError(f"{where}: translates line {number} of {source}, which has no such row; cut it out")
            if _is_unchanged(records.parse_record(before, f"{source}:{number}"), records.parse_record(row, where)):
                unchanged.append(number)
            content = (records.dump_row(row) + "\n").encode()
            digest.update(content)
            handle.write(content)
    if unchanged:
        say(
            f"warning: {len(unchanged):,} of {counted(total, 'row')} came back unchanged; first: {source.name}:{unchanged[0]}; "
            "look at them: the model may not have translated"
        )
    made = len(progress.places)
    counts = {"read": total, "converted": made, "rejected": len(failed), "records": made, "unchanged": len(unchanged)}
    origin = records.read_manifest(source)
    manifest = {
        "version": adapt.__version__,
        "task": "translate",
        "image_root": records.relative_root(records.image_root(source), target),
        "options": dict(header),
        "sha256": digest.hexdigest(),
        "counts": counts,
        "facts": origin.get("facts", {}),
    } | ({"licence": origin["licence"]} if origin.get("licence") else {})
    atomic.write_text(records.manifest_path(target), json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")
    return manifest


def _is_unchanged(before: ChatRecord, after: ChatRecord) -> bool:
    """Whether a row has words that were sent, and all of its texts are what they were before."""
    texts = [[turn.value.split() for turn in record.turns] for record in (before, after)]
    return texts[0] == texts[1] and any(each.pieces for each in _splits(before))


def _report_failed(source: Path, target: Path, failed: Mapping[int, str], total: int, max_bad: int) -> None:
    path = rejected_path(target)
    if not failed:
        path.unlink(missing_ok=True)
        return
    listed = [{"where": f"{source.name}:{number}", "reason": failed[number]} for number in sorted(failed)]
    records.write_rows(path, listed)
    shown = "; ".join(f"{each['where']}: {each['reason']}" for each in listed[:SHOWN_REASONS])
    if len(failed) > max_bad:
        kept = "; the others are kept: --resume asks for these again" if len(failed) < total else ""
        raise DataError(
            f"{len(failed):,} of {counted(total, 'row')} failed, more than --max-bad {max_bad}; see {path}{kept}; "
            f"first: {shown}"
        )
    say(f"{len(failed):,} of {counted(total, 'row')} failed; see {path}; --resume asks for these again; first: {shown}")
