"""``adapt gallery``: one HTML page to look at records with, boxes drawn, before or after a model has answered them."""

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adapt import randomness, safe
from adapt.errors import DataError, UsageError, no_file
from adapt.progress import say
from adapt.records import chat_files, image_root, parse_record, read_manifest, read_rows
from adapt.show import counted

if TYPE_CHECKING:
    from adapt.check.cards import Card

DEFAULT_LIMIT = 500


def gallery(
    files: Sequence[Path | str] | Path | str,
    *,
    output: Path | str,
    images: Path | str | None = None,
    predictions: Path | str | None = None,
    limit: int = DEFAULT_LIMIT,
    seed: int = 0,
) -> Path:
    """Write one self-contained page over the records of ``files`` to ``output`` and return its path.

    Of more than ``limit`` records a part is drawn by ``seed``. With ``predictions`` (JSONL of id and answer) only records
    with an answer are shown, right and wrong by the ``marks.jsonl`` beside them, where ``adapt evaluate`` left one. Pictures
    that cannot be read are named in their cards. Raises DataError for a bad row, UsageError for a wrong call.
    """
    paths = chat_files([Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files])
    page = Path(output)
    root = None if images is None else Path(images)
    _check_call(paths, page, root, limit)
    answers, marks = _read_predictions(predictions)
    places = _places(paths) if answers is None else _answered(paths, answers)
    names = ", ".join(path.name for path in paths)
    if not places:
        what = "no row has an answer among the predictions" if answers is not None else "no rows"
        raise DataError(f"{', '.join(map(str, paths))}: {what}; there is nothing to show")
    about = [f"{counted(len(places), 'record')} of {names}"]
    if len(places) > limit:
        chosen = sorted(randomness.permutation(len(places), seed, "gallery")[:limit])
        about = [f"{limit:,} of {counted(len(places), 'record')} of {names}, drawn with seed {seed}"]
        say(f"{about[0]}; --limit shows more")
        places = [places[index] for index in chosen]
    from adapt.check.gallery import write_page

    cards = [card for path in paths for card in _cards(path, {line for file, line in places if file == path}, answers, marks)]
    if answers is not None:
        wrong = sum(card.right is False for card in cards)
        about.append(f"answers of {predictions}: {wrong:,} of {len(cards):,} shown are wrong")
    roots = {str(path): image_root(path, root) for path in paths}
    return write_page(cards, roots, page, title=" · ".join(path.stem for path in paths), about=about)


def _cards(
    path: Path, lines: Container[int], answers: Mapping[str, str | None] | None, marks: Mapping[str, float]
) -> "Iterator[Card]":
    from adapt.check.cards import make_card

    grid = _grid(path)
    for number, row in read_rows(path):
        if number in lines:
            record = parse_record(row, f"{path}:{number}")
            given = None if answers is None else answers.get(record.id) or "(nothing)"
            yield make_card(f"{path}:{number}", record, given, marks.get(record.id), grid)


def _grid(path: Path) -> list[list[str]]:
    """The views of stitched pictures, row by row, as ``convert`` wrote them into the manifest; [] where it did not."""
    facts = read_manifest(path).get("facts")
    rows = facts.get("grid") if isinstance(facts, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(rows[0]) > 0 for row in rows):
        return []
    return [[str(name) for name in row] for row in rows]


def _check_call(paths: Sequence[Path], page: Path, images: Path | None, limit: int) -> None:
    if not paths:
        raise UsageError("gallery: no file given; expected chat JSONL files")
    for path in paths:
        if not path.is_file():
            raise no_file(path)
    if len({path.resolve() for path in paths}) != len(paths):
        raise UsageError("gallery: one file is given twice")
    if page.is_dir():
        raise UsageError(f"{page}: a folder; --output takes the name of the page, such as {page}/gallery.html")
    if any(page.resolve() == path.resolve() for path in paths):
        raise UsageError(f"{page}: --output is one of the files to show; expected the name of a page, such as gallery.html")
    if page.suffix.lower() not in (".html", ".htm"):  # a slip must not replace a picture or rows
        raise UsageError(f"output '{page}': expected the name of a page that ends in .html, such as gallery.html")
    if images is not None and not images.is_dir():
        raise UsageError(f"images '{images}': no such folder")
    if limit < 1:
        raise UsageError(f"--limit {limit}: expected 1 or more")


def _read_predictions(path: Path | str | None) -> tuple[Mapping[str, str | None] | None, Mapping[str, float]]:
    """Answers by id (None without a file) and the marks that stand beside them."""
    if path is None:
        return None, {}
    path = Path(path)
    if not path.is_file():
        raise no_file(path)
    from adapt.evaluate.marks import read_marks
    from adapt.evaluate.score import read_predictions

    return read_predictions(path).answers, read_marks(path.with_name("marks.jsonl"))


def _places(paths: Sequence[Path]) -> list[tuple[Path, int]]:
    """Where all rows stand."""
    return [(path, number) for path in paths for number, _ in safe.read_lines(path)]


def _answered(paths: Sequence[Path], answers: Mapping[str, str | None]) -> list[tuple[Path, int]]:
    """Where the rows stand that have an answer; says how many have none, and how many answers are of no row."""
    places: list[tuple[Path, int]] = []
    unknown, num_bare = dict.fromkeys(answers), 0
    for path in paths:
        for number, row in read_rows(path):
            name = str(row.get("id")) if isinstance(row, dict) else ""
            if name in answers:
                unknown.pop(name, None)
                places.append((path, number))
            else:
                num_bare += 1
    told = [f"{counted(num_bare, 'record')} without an answer, not shown"] if num_bare else []
    told += [f"{counted(len(unknown), 'answer')} of no record, first: {next(iter(unknown))}"] if unknown else []
    if told and places:
        say(f"note: {'; '.join(told)}")
    return places
