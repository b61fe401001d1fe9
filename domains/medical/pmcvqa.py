"""PMC-VQA: four-choice questions about figures of open-access papers (arXiv 2305.10415; github.com/xiaoman-zhang/PMC-VQA).

Licence: that of each paper; the set is given out for research (unverified). Two versions are in circulation:

| version | files | columns |
|---|---|---|
| 1 | ``train.csv``, ``test.csv``, ``test_clean.csv`` | Figure_path, Question, Answer, Choice A, ..., Choice D, Answer_label |
| 2 | ``train_2.csv``, ``test_2.csv`` | index, Figure_path, Caption, Question, Choice A, ..., Choice D, Answer, split |

In version 1 ``Answer`` is the text of the right choice and ``Answer_label`` its letter; in version 2 ``Answer`` is the letter.
The official loader reads a misspelt column ``Anwser``, which is taken too. ``test_clean`` (2,000 checked rows of the test) is
what is reported; it stays a split of its own. Pictures lie flat in ``images/`` or ``figures/``.

Traps: choices carry prefixes and blanks (" A:Fever ", "  B: Cough"), which are stripped; a row whose letter and text name two
different choices is rejected.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt import pixels
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, split_meta
from converters.formats import table
from converters.formats.jsonfiles import text_of
from converters.formats.pictures import split_in

LETTERS = "ABCD"
VERSIONS = {"1": {"train": "train", "test": "test", "test_clean": "test_clean"}, "2": {"train_2": "train", "test_2": "test"}}
PICTURE_FOLDERS = ("images", "figures", "images_2", "figures_2")
LETTER_ANSWER = "Answer with the option's letter from the given choices directly."


@dataclasses.dataclass(frozen=True)
class ChoiceSample:
    """A question with its choices in the file's order; ``right`` is the place of the true one."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    question: str
    choices: tuple[str, ...]
    right: int


def read(source: Source) -> Reading:
    """The questions of one version, in the order of its files."""
    version, files = _find_files(source.input, source.options["version"])
    root = source.images or files[0].parent
    samples = (sample for path in files for sample in _read_file(source, path, version, root))
    return Reading(root, samples, facts={"version": version})


def convert(sample: ChoiceSample, context: None, source: Source) -> list[ChatRecord]:
    """The question, its lettered choices, and the request for a letter; the answer is the letter."""
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, sample.choices, strict=True))
    suffix = source.options["suffix"]
    question = f"{IMAGE_PLACEHOLDER}\n{sample.question}\n{listed}" + (f"\n{suffix}" if suffix else "")
    meta = split_meta(sample.split) | {
        "answer_type": "closed",
        "question_type": "choice",
        "label": sample.choices[sample.right],
        "candidates": list(sample.choices),
    }
    turns = (Turn("human", question), Turn("gpt", LETTERS[sample.right]))
    return [ChatRecord(sample.id, turns, sample.pictures, task="pmcvqa", source="pmcvqa", meta=meta)]


def _find_files(input: Path, version: str) -> tuple[str, list[Path]]:
    if input.is_file():
        chosen = version if version != "auto" else "2" if input.stem in VERSIONS["2"] else "1"
        return chosen, [input]
    found = {
        number: [input / f"{stem}.csv" for stem in stems if (input / f"{stem}.csv").is_file()]
        for number, stems in VERSIONS.items()
        if version in ("auto", number)
    }
    there = [number for number, files in found.items() if files]
    if not there:
        raise UsageError(f"input '{input}' holds no train.csv, test.csv, test_clean.csv, train_2.csv or test_2.csv of PMC-VQA")
    if len(there) > 1:
        raise UsageError(f"{input}: holds both versions of PMC-VQA; choose with --option version=1 or version=2")
    return there[0], found[there[0]]


def _read_file(source: Source, path: Path, version: str, root: Path) -> Iterator[ChoiceSample | Rejected]:
    own = dataclasses.replace(source, input=path, images=root, options={})
    split = VERSIONS[version].get(path.stem) or split_in(path.stem)  # a row of no split would be trained on
    folder: str | None = None
    for row in table.read_tables(own, picture_column="Figure_path").rows:
        if isinstance(row, Rejected):
            yield dataclasses.replace(row, split=row.split or split)
            continue
        if folder is None:
            folder = _picture_folder(root, row.pictures)
        try:
            yield _sample(row, folder, row.split or split)
        except DataError as error:
            yield Rejected(row.where, str(error).removeprefix(f"{row.where}: "), row.split or split)


def _picture_folder(root: Path, pictures: tuple[str, ...]) -> str:
    """Where the first picture lies; the first picture folder that there is where it lies nowhere."""
    there = [f"{name}/" for name in PICTURE_FOLDERS if (root / name).is_dir()] + [""]
    plain = pictures and re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", pictures[0])
    return next((folder for folder in there if plain and (root / f"{folder}{pictures[0]}").is_file()), there[0])


def _sample(row: table.Row, folder: str, split: str | None) -> ChoiceSample:
    where, values = row.where, row.values
    if len(row.pictures) != 1:
        raise DataError(f"{where}: column 'Figure_path' is empty, expected a picture")
    choices = tuple(_choice(values, letter, where) for letter in LETTERS)
    right = _right(values, choices, where)
    pictures = (folder + row.pictures[0].strip(),)
    return ChoiceSample(f"pmcvqa-{row.id}", where, split, pictures, text_of(values, "Question", where), choices, right)


def _choice(values: Mapping[str, Any], letter: str, where: str) -> str:
    """The text of a choice without its own letter and the blanks around both."""
    text = re.sub(rf"^{letter}\s*:", "", text_of(values, f"Choice {letter}", where)).strip()
    if not text:
        raise DataError(f"{where}: 'Choice {letter}' is empty, expected a choice")
    return text


def _right(values: Mapping[str, Any], choices: tuple[str, ...], where: str) -> int:
    """The place of the true choice, by its letter; by its text where no letter is given."""
    answer = next((str(values[name]).strip() for name in ("Answer", "Anwser") if values.get(name) not in (None, "")), "")
    label = str(values.get("Answer_label") or "").strip()
    letter = label or (answer if answer in LETTERS else "")
    named = re.sub(r"^[A-D]\s*:\s*", "", answer)
    places = [place for place, choice in enumerate(choices) if choice == named]
    places = places or [place for place, choice in enumerate(choices) if choice.casefold() == named.casefold()]
    if len(letter) == 1 and letter in LETTERS:
        right = LETTERS.index(letter)
        if label and places and right not in places:
            raise DataError(f"{where}: Answer_label is {label}, but the answer '{named[:40]}' is choice {LETTERS[places[0]]}")
        return right
    if label or len(places) != 1:
        found = f"Answer_label '{label[:20]}'" if label else f"the answer '{answer[:40]}'"
        raise DataError(f"{where}: {found} is none of {', '.join(LETTERS)} and names no single choice")
    return places[0]


TASK = Task(
    name="pmcvqa",
    summary="PMC-VQA: four-choice questions about figures of medical papers, versions 1 and 2",
    layout="train.csv, test.csv, test_clean.csv or train_2.csv, test_2.csv beside images/ or figures/",
    unit="question",
    licence="that of each paper (unverified)",
    read=read,
    convert=convert,
    options=(
        Option("version", "1 or 2, where a folder holds the files of both", "auto", ("auto", *VERSIONS)),
        Option("suffix", "a line after the choices, instead of the request for a letter; empty for none", LETTER_ANSWER),
        *pixels.OPTIONS,
    ),
    example="adapt convert --task pmcvqa --input PMC-VQA --output pmcvqa.jsonl",
)
