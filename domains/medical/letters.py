"""PMC-VQA's benchmark: accuracy over four lettered choices (arXiv 2305.10415).

``convention=letter``, the default, is what most reports use: the letter that the answer gives, or the choice that it names.
``convention=original`` is ``src/MedVInT_TD/test.py`` of github.com/xiaoman-zhang/PMC-VQA: the last character of the text is
compared with each choice (written " A:text") by ``difflib.SequenceMatcher.ratio``, and the first most similar one is taken.
For one character that is the shortest choice which has it, so a right letter may be read as another choice. The script maps
the truth in the same way; it is a choice's whole text there, hence itself.
"""

import collections
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapt.domain import Answered, Benchmark, Option, Scores
from adapt.errors import DataError
from adapt.evaluate.classes import LETTERS, candidates_of, read_choice
from adapt.evaluate.metrics import share
from adapt.evaluate.score import group_of
from adapt.records import ChatRecord

UNREAD = "(no choice)"
_ALONE = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:,]?")
_FIRST = re.compile(r"(?:[(\[]([A-Z])[)\]]|([A-Z])\s?[).:,](?!\d)|([A-Z])\s*\n)")
_ANNOUNCED = re.compile(r"(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*[(\[*]*([A-Z])\b")


def read_letter(answer: str | None, choices: Sequence[str]) -> int | None:
    """The place of the choice an answer gives: a letter alone, a choice's name, a letter first or announced ("answer: B").

    Two announced letters that differ are no answer, and "A tumour" is no letter.
    """
    text = (answer or "").strip()
    alone, first = _ALONE.fullmatch(text), _FIRST.match(text)
    announced = {match[1] for match in _ANNOUNCED.finditer(text)}
    named = None if alone else read_choice(text, choices, lettered=False)
    if named is not None:
        return list(choices).index(named)
    if alone:
        letter = alone[1].upper()
    elif first:
        letter = next(filter(None, first.groups()))
    else:
        letter = announced.pop() if len(announced) == 1 else ""
    place = LETTERS.find(letter) if letter else -1
    return place if 0 <= place < len(choices) else None


def read_like_the_script(answer: str | None, choices: Sequence[str]) -> int | None:
    """The choice most similar to the last character of the text; None for no text and where no choice has the character."""
    last = (answer or "")[-1:]
    ratios = [
        difflib.SequenceMatcher(None, f" {LETTERS[place]}:{choice}", last).ratio() if last else 0.0
        for place, choice in enumerate(choices)
    ]
    return ratios.index(max(ratios)) if max(ratios) > 0 else None


_READERS: Mapping[str, Callable[[str | None, Sequence[str]], int | None]] = {
    "letter": read_letter,
    "original": read_like_the_script,
}
_NAMES = {
    "letter": "the letter that the answer gives, or the choice that it names",
    "original": "the choice most similar to the answer's last character by difflib, as the official script reads it",
}


def choices_of(record: ChatRecord) -> tuple[list[str], int]:
    """The choices of a row and the place of the true one. Raises DataError where the row does not have them."""
    choices, truth = candidates_of(record, ()), record.answer.strip()
    if not 2 <= len(choices) <= len(LETTERS):
        raise DataError(f"row '{record.id}': meta.candidates has {len(choices)} choices, expected 2 to {len(LETTERS)}")
    place = LETTERS.find(truth) if len(truth) == 1 else -1
    if not 0 <= place < len(choices):
        if truth not in choices:
            raise DataError(f"row '{record.id}': the answer '{truth[:40]}' is neither a choice nor the letter of one")
        place = choices.index(truth)
    return choices, place


def score_letters(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """Accuracy over rows. What gives no choice (empty, missing, over-long, two letters) is wrong and counted as unread."""
    convention = options.get("convention", "letter")
    rows = [choices_of(each.record) for each in answered]
    groups = [group_of(each.record) for each in answered]
    read = {
        name: [reader(each.answer, choices) for each, (choices, _) in zip(answered, rows, strict=True)]
        for name, reader in _READERS.items()
    }
    marks = {
        name: [float(found == right) for found, (_, right) in zip(places, rows, strict=True)] for name, places in read.items()
    }
    return Scores(
        metrics={"accuracy": share(marks[convention], groups)},
        convention=_NAMES[convention],
        per_row={each.record.id: mark for each, mark in zip(answered, marks[convention], strict=True)},
        details=_details(rows, read[convention])
        | {"accuracy_by_convention": {name: sum(each) / len(each) if each else 0.0 for name, each in marks.items()}},
    )


def _details(rows: Sequence[tuple[Sequence[str], int]], read: Sequence[int | None]) -> dict[str, Any]:
    """The floors (always the most frequent letter; drawing blindly), and which letters are right and which were given."""
    right = collections.Counter(LETTERS[place] for _, place in rows)
    given = collections.Counter(UNREAD if place is None else LETTERS[place] for place in read)
    chance = sum(1 / len(choices) for choices, _ in rows)
    floor = {"accuracy": max(right.values()) / len(rows), "accuracy_of_chance": chance / len(rows)} if rows else {}
    return {
        "floor": floor,
        "unread": given[UNREAD],
        "letters_right": dict(sorted(right.items())),
        "letters_given": dict(sorted(given.items())),
    }


def _published(name: str, source: str, accuracy: float, convention: str) -> dict[str, Any]:
    return {"name": name, "set": "test_clean", "source": source, "convention": convention, "accuracy": accuracy}


PMCVQA = Benchmark(
    name="pmcvqa",
    summary="PMC-VQA: accuracy over four choices, by the letter given or as the official script reads it",
    headline="accuracy",
    score=score_letters,
    max_new_tokens=20,
    options=(Option("convention", "how an answer is read", "letter", tuple(_READERS)),),
    published=(
        _published("MedVInT-TD (re-run)", "arXiv 2406.19280, unverified", 0.427, "not said"),
        _published("MedVInT-TD", "arXiv 2305.10415, unverified", 0.423, "original"),
        _published("HuatuoGPT-Vision-7B", "arXiv 2406.19280, unverified", 0.432, "not said"),
        _published("LLaVA-1.5-7B", "arXiv 2406.19280, unverified", 0.338, "not said"),
    ),
)
