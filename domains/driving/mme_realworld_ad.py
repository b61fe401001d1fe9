"""MME-RealWorld, autonomous driving: lettered choices about large pictures of streets (Zhang et al., arXiv 2408.13257).

Rows and reading: github.com/yfzhang114/MME-RealWorld (``evaluation/``) and ``internvl_chat/eval/domain_specific/mme_rw/
evaluate.py`` of github.com/OpenGVLab/InternVL, which reports on the subtask ``Autonomous_Driving``. The official JSON is one
list of all subtasks; a row has ``Question_id``, ``Image`` (below the folder ``data``), ``Text``, ``Answer choices``
(["(A) many cars", ...]), ``Ground truth`` (a letter), ``Category``, ``Task`` (Perception or Reasoning), ``Subtask`` and
``Question Type``. Licence: that of each picture's source; for research (unverified). All rows are for testing.

Traps. InternVL's script puts the Chinese lead-in before English choices, with no blank before it, and a line broken in its
source leaves 13 blanks in the prompt: ``lead_in=script`` asks just so, the default is the English it means. The script reads
the first of the letters A to E anywhere ("A car" is A, "Both" is B), and an answer of which nothing is left as the first
choice, since the empty text stands in it: here that is wrong, unless ``empty=first``. A missing comma in its list of phrases
joins two of them, so that "The best option is" and "The correct option is" stay in the text.
"""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import pixels, safe
from adapt.domain import Answered, Benchmark, OfficialFiles, Option, Reading, Rejected, Scores, Source, Task
from adapt.errors import DataError, UsageError
from adapt.evaluate.metrics import share
from adapt.evaluate.score import Predictions, group_of, read_predictions
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, read_records

SUBTASK = "Autonomous_Driving"
ABILITIES = ("perception", "reasoning")
LETTERS = "ABCDE"
PICTURE_FOLDERS = ("", "data", "images", "../data")
LEAD_INS = {"english": " The choices are listed below:", "script": "选项如下所示:"}
_ASKED = "Select the best answer to the above multiple-choice question based on the image."
_LETTER_ONLY = "Respond with only the letter (A, B, C, D, or E) of the correct option. \nThe best answer is:"
_GAPS = {"english": " ", "script": " " * 13}
_CHOICE = re.compile(r"\(([A-E])\)\s*(.*)", re.DOTALL)
# Taken out of an answer in this order; the fifth is two that the script's missing comma joins.
PHRASES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:",
    "Best option:",
)
MOST_WORDS = 10


@dataclasses.dataclass(frozen=True)
class StreetChoice:
    """A question with its choices in the file's order; ``right`` is the place of the true one."""

    id: str
    where: str
    split: str | None
    pictures: tuple[str, ...]
    question: str
    choices: tuple[str, ...]
    right: int
    ability: str
    category: str


def read(source: Source) -> Reading:
    """The questions of the subtask in the order of the file; the other subtasks' are counted."""
    path = _find_file(source.input)
    rows = safe.read_array(path, "questions")
    ignored: collections.Counter[str] = collections.Counter()
    samples = list(_read_rows(path, rows, ignored))
    return Reading(_picture_root(source, path, samples), samples, ignored=ignored)


def convert(sample: StreetChoice, context: None, source: Source) -> list[ChatRecord]:
    """The question, the lead-in, a choice a line, and the request for a letter; the answer is the letter."""
    lead_in = source.options["lead_in"]
    listed = "\n".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, sample.choices, strict=False))
    asked = f"{sample.question}{LEAD_INS[lead_in]}\n{listed}\n{_ASKED}{_GAPS[lead_in]}{_LETTER_ONLY}"
    meta = {
        "split": sample.split,
        "ability": sample.ability,
        "category": sample.category,
        "label": sample.choices[sample.right],
        "candidates": list(sample.choices),
    }
    turns = (Turn("human", f"{IMAGE_PLACEHOLDER}\n{asked}"), Turn("gpt", LETTERS[sample.right]))
    return [ChatRecord(sample.id, turns, sample.pictures, task="mme_realworld_ad", source="mme_realworld_ad", meta=meta)]


def _find_file(input: Path) -> Path:
    if input.is_file():
        return input
    found = sorted(input.glob("*RealWorld*.json")) if input.is_dir() else []
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UsageError(f"input '{input}': expected one file such as MME_RealWorld.json in it, found {names}; point at a file")
    return found[0]


def _picture_root(source: Source, path: Path, samples: Sequence[StreetChoice | Rejected]) -> Path:
    """Where the first picture lies that is there; the file's folder where none is."""
    if source.images is not None:
        return source.images
    for sample in samples[:100]:
        for folder in PICTURE_FOLDERS if isinstance(sample, StreetChoice) else ():
            root = path.parent / folder
            if safe.inside(root, sample.pictures[0], sample.where).is_file():  # type: ignore[union-attr]
                return root
    return path.parent


def _read_rows(path: Path, rows: Sequence[Any], ignored: collections.Counter[str]) -> Iterator[StreetChoice | Rejected]:
    for number, row in enumerate(rows):
        where = f"{path.name}#{number}"
        try:
            if not isinstance(row, Mapping):
                raise DataError(f"{where}: {str(row)[:40]!r}, expected an object with Question_id, Image, Text, Answer choices")
            subtask = _text(row, "Subtask", where)
            if subtask != SUBTASK:
                ignored["question of another subtask"] += 1
                continue
            yield _sample(row, path, where)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), "test")


def _sample(row: Mapping[str, Any], path: Path, where: str) -> StreetChoice:
    kind = row.get("Question Type", row.get("Question type"))
    if kind != "Multiple Choice":
        raise DataError(f"{where}: 'Question Type' is {str(kind)[:40]!r}, expected Multiple Choice")
    ability = _text(row, "Task", where).lower()
    if ability not in ABILITIES:
        raise DataError(f"{where}: 'Task' is '{ability[:40]}', expected Perception or Reasoning")
    choices, truth = _choices(row.get("Answer choices"), where), _text(row, "Ground truth", where)
    if len(truth) != 1 or truth not in LETTERS[: len(choices)]:
        raise DataError(f"{where}: 'Ground truth' is '{truth[:40]}', expected a letter of {LETTERS[: len(choices)]}")
    picture = _text(row, "Image", where)
    safe.inside(path.parent, picture, where)
    question, category = _text(row, "Text", where), _text(row, "Category", where)
    identifier = _text(row, "Question_id", where)
    return StreetChoice(
        identifier, where, "test", (picture,), question, choices, LETTERS.index(truth), ability, category
    )  # fmt: skip


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: '{field}' is {str(value)[:40]!r}, expected text")
    return value.strip()


def _choices(value: Any, where: str) -> tuple[str, ...]:
    """The choices without their letters, which must be A, B, C, ... in order."""
    if not isinstance(value, list) or not 2 <= len(value) <= len(LETTERS):
        raise DataError(f"{where}: 'Answer choices' is {str(value)[:40]!r}, expected a list of 2 to {len(LETTERS)} texts")
    found = [_CHOICE.fullmatch(each.strip()) if isinstance(each, str) else None for each in value]
    for letter, match, each in zip(LETTERS, found, value, strict=False):
        if match is None or match[1] != letter or not match[2]:
            raise DataError(f"{where}: a choice is {str(each)[:40]!r}, expected '({letter}) ...'")
    return tuple(match[2] for match in found if match)


def read_letter(answer: str | None, choices: Sequence[str]) -> str:
    """The letter that the official script takes from an answer, '' where it takes none. ``choices`` have their letters."""
    text = _without_phrases(answer)
    letter = re.search(f"[{LETTERS}]", text)
    if letter:
        return letter[0]
    if len(text.split()) > MOST_WORDS:
        return ""
    return next((choice[1] for choice in choices if text.lower() in choice.lower()), "")


def is_left_empty(answer: str | None) -> bool:
    """Whether nothing is left of an answer once the phrases are taken away: the script reads that as the first choice."""
    return not _without_phrases(answer).strip()


def _without_phrases(answer: str | None) -> str:
    text = (answer or "").strip()
    for phrase in PHRASES:
        text = text.replace(phrase, "")
    return text


def read_official(predictions: Path, references: Path) -> OfficialFiles | None:
    """References from the benchmark's JSON and answers from a list of results; either may be ours. None where both are JSONL.

    A result is a row with ``Output`` beside ``Question_id`` (MME-RealWorld's template) or ``output`` beside ``index``
    (InternVL's script). Raises DataError for a row that is neither, and for a second answer to a question.
    """
    kinds = [path.suffix.lower() == ".json" for path in (predictions, references)]
    if not any(kinds):
        return None
    given = _read_results(predictions) if kinds[0] else read_predictions(predictions)
    if not kinds[1]:
        return OfficialFiles(read_records(references), given.answers, given.malformed)
    source = Source(references, references.parent, {"lead_in": "english"}, seed=0)
    found = list(read(source).samples)
    bad = next((each for each in found if isinstance(each, Rejected)), None)
    if bad is not None:
        raise DataError(f"{references}: {bad.where}: {bad.reason}")
    return OfficialFiles([record for each in found for record in convert(each, None, source)], given.answers, given.malformed)


def _read_results(path: Path) -> Predictions:
    """Answers by id; one that is neither text nor number is none, and malformed unless it is null."""
    answers: dict[str, str | None] = {}
    malformed = []
    for number, row in enumerate(safe.read_array(path, "results")):
        names = ("Question_id", "Output") if isinstance(row, Mapping) and "Question_id" in row else ("index", "output")
        identifier, answer = (row.get(name) for name in names) if isinstance(row, Mapping) else (None, None)
        if not isinstance(identifier, str) or names[1] not in row:
            raise DataError(f"{path}#{number}: {str(row)[:60]}, expected Question_id and Output, or index and output")
        if row.get("Subtask", SUBTASK) != SUBTASK:
            continue
        if identifier in answers:
            raise DataError(f"{path}#{number}: a second answer to '{identifier}'; keep one")
        is_text = isinstance(answer, str | int | float) and not isinstance(answer, bool)
        answers[identifier] = str(answer) if is_text else None
        malformed += [] if is_text or answer is None else [identifier]
    return Predictions(answers, tuple(malformed))


def score_street_choices(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """Accuracy over all rows (micro), over those of perception and of reasoning; each category in the details."""
    abilities = [_meta_text(each.record, "ability") for each in answered]
    categories = [f"{ability}/{_meta_text(each.record, 'category')}" for ability, each in zip(abilities, answered, strict=True)]
    read = [_read(each, options.get("empty", "wrong")) for each in answered]
    truths = [each.record.answer.strip() for each in answered]
    marks = [float(found == truth) for found, truth in zip(read, truths, strict=True)]
    groups = [group_of(each.record) for each in answered]

    def over(kinds: Sequence[str], chosen: Callable[[str], bool]) -> list[int]:
        return [row for row, kind in enumerate(kinds) if chosen(kind)]

    rows = {"accuracy": over(abilities, lambda kind: True)} | {name: over(abilities, name.__eq__) for name in ABILITIES}
    by_category = {name: over(categories, name.__eq__) for name in sorted(set(categories))}
    shares = {name: share([marks[row] for row in each], [groups[row] for row in each]) for name, each in by_category.items()}
    return Scores(
        metrics={name: share([marks[row] for row in each], [groups[row] for row in each]) for name, each in rows.items()},
        convention=f"{_MICRO}; " + _EMPTY[options.get("empty", "wrong")],
        per_row={each.record.id: mark for each, mark in zip(answered, marks, strict=True)},
        details={
            "floor": _floor({name: [truths[row] for row in each] for name, each in rows.items()}, answered),
            "unread": sum(found == "" for found in read),
            "left_empty": sum(is_left_empty(each.answer) for each in answered),
            "letters_right": dict(sorted(collections.Counter(truths).items())),
            "letters_given": dict(sorted(collections.Counter(found or "(none)" for found in read).items())),
            "by_category": {
                name: {"accuracy": each.value, "count": each.count, "low": each.low, "high": each.high}
                for name, each in shares.items()
            },
        },
    )


_MICRO = "the official script's reading, micro"
_EMPTY = {"wrong": "an answer with nothing left is wrong", "first": "an answer with nothing left is the first choice"}


def _read(each: Answered, empty: str) -> str:
    candidates, truth = each.record.meta.get("candidates"), each.record.answer.strip()
    if not isinstance(candidates, list) or not candidates or not all(isinstance(name, str) for name in candidates):
        raise DataError(f"row '{each.record.id}': meta.candidates is {str(candidates)[:40]!r}, expected the list of choices")
    if truth not in list(LETTERS[: len(candidates)]):
        raise DataError(f"row '{each.record.id}': the answer is '{truth[:40]}', expected a letter of its choices")
    if each.answer is None or (empty == "wrong" and is_left_empty(each.answer)):
        return ""
    return read_letter(each.answer, [f"({letter}) {name}" for letter, name in zip(LETTERS, candidates, strict=False)])


def _meta_text(record: ChatRecord, name: str) -> str:
    value = record.meta.get(name)
    if not isinstance(value, str) or not value or (name == "ability" and value not in ABILITIES):
        expected = "perception or reasoning" if name == "ability" else "text"
        raise DataError(f"row '{record.id}': meta.{name} is {str(value)[:40]!r}, expected {expected}; see 'adapt tasks'")
    return value


def _floor(truths: Mapping[str, Sequence[str]], answered: Sequence[Answered]) -> dict[str, float]:
    """What always giving the most frequent letter scores, and drawing one blindly."""
    floor = {name: max(collections.Counter(each).values()) / len(each) for name, each in truths.items() if each}
    if answered:
        floor["accuracy_of_chance"] = sum(1 / len(each.record.meta["candidates"]) for each in answered) / len(answered)
    return floor


def _published(name: str, perception: float, reasoning: float, average: float) -> dict[str, Any]:
    """A row of table 5 of the Mini-InternVL paper. Its averages weigh the two parts in more than one way."""
    shares = {"perception": perception, "reasoning": reasoning, "accuracy": average}
    facts = {
        "name": name,
        "set": "MME-RealWorld, autonomous driving",
        "source": "arXiv 2410.16261, table 5",
        "convention": _MICRO,
    }
    return facts | {key: round(value / 100, 4) for key, value in shares.items()}


TASK = Task(
    name="mme_realworld_ad",
    summary="MME-RealWorld's questions on driving, with lettered choices; for testing",
    layout="MME_RealWorld.json (all subtasks in one list) beside data/AutonomousDriving/...",
    unit="question",
    licence="research; the pictures by their sources' terms (unverified)",
    read=read,
    convert=convert,
    options=(
        Option(
            "lead_in",
            "before the choices: English, or what InternVL's script sends, its faults included",
            "english",
            tuple(LEAD_INS),
        ),  # fmt: skip
        *pixels.OPTIONS,
    ),
    example="adapt convert --task mme_realworld_ad --input MME_RealWorld.json --images data --output mme_ad.jsonl",
)

BENCHMARK = Benchmark(
    name="mme_realworld_ad",
    summary="MME-RealWorld, autonomous driving: accuracy, of perception, of reasoning, as the official script reads letters",
    headline="accuracy",
    score=score_street_choices,
    max_new_tokens=100,
    read_official=read_official,
    official_files="a JSON list of results against MME_RealWorld.json",
    options=(Option("empty", "what an answer with nothing left in it counts as; the script: first", "wrong", tuple(_EMPTY)),),
    published=(
        _published("GPT-4o", 21.14, 26.41, 24.60),
        _published("Claude 3.5", 32.43, 31.92, 32.10),
        _published("LLaVA-OneVision-7B", 45.77, 34.08, 41.75),
        _published("Qwen2-VL-7B", 34.62, 31.47, 33.54),
        _published("InternVL2-76B", 47.46, 35.71, 44.30),
        _published("Mini-InternVL-1B, not adapted", 31.34, 22.47, 28.96),
        _published("Mini-InternVL-2B, not adapted", 39.86, 30.13, 37.25),
        _published("Mini-InternVL-4B, not adapted", 38.96, 33.11, 37.39),
        _published("Mini-InternVL-DA-1B", 42.95, 27.75, 38.87),
        _published("Mini-InternVL-DA-2B", 50.74, 40.48, 47.98),
        _published("Mini-InternVL-DA-4B", 53.14, 39.14, 49.38),
    ),
)
