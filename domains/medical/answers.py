"""Open and closed questions about medical pictures: VQA-RAD, SLAKE and PathVQA, under the schools that publish on them.

Three schools report numbers that cannot be compared:

- Classification (MEVF, CR, BiomedCLIP): exact answer class, ``open_exact``, ``closed_exact``, both together ``overall_exact``.
- Generative (LLaVA-Med): ``open_recall``, the truth's words found in the answer, and ``closed_contains``, whether the truth
  stands in the answer.
- Token F1 (Med-PaLM M, Med-Gemini): ``overall_f1``, the F1 of the bags of words in SQuAD's normal form, over all questions.

For the first two texts are compared in VQA's normal form (``vqa_form``), which MEVF makes its classes with
(``preprocess_answer``) and LLaVA-Med scores with (``normalize_word`` in ``llava/eval/eval_metrics/glossary.py`` of
github.com/microsoft/LLaVA-Med); contractions written without their apostrophe are not restored. The recall is that of
``calculate_f1score`` beside it.

What a reader of such numbers should know: "no" stands in "normal", so ``closed_contains`` forgives much; an answer that
names everything has the best recall; a word of the truth that the answer repeats counts as often as it is repeated (without
that: ``details.recall_without_repetition``). LLaVA-Med's ``run_eval.py`` (ad758b6) leaves a closed question out of its mean
where the answer says yes or no and does not hold the truth, and takes an answer that says neither as wrong; its number is
``details.closed_as_run_eval``. The nearest of a set of training answers, which version 1.0 takes, is not computed here.
"""

import collections
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapt.domain import Answered, Benchmark, Metric, Option, Scores
from adapt.errors import DataError
from adapt.evaluate.floors import question_only
from adapt.evaluate.metrics import share, token_f1
from adapt.evaluate.score import group_of
from adapt.records import ChatRecord

Groups = Sequence[Any]
CLOSED_RULES = ("answer_type", "yes_no")
YES_NO = frozenset({"yes", "no"})
ARTICLES = frozenset({"a", "an", "the"})
NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_CHINESE_ENDS = "。！？，、；"  # not in VQA's form, which knows English only
_THOUSANDS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")


def vqa_form(text: str) -> str:
    """VQA's normal form: lower case, no punctuation, no articles, numbers to ten as digits, single blanks.

    A mark becomes a blank, unless it stands beside a blank somewhere in the text or the text holds a number such as 1,000:
    then it is dropped. So "T2-weighted" is two words and "T2- weighted" is two words, but "1,000-2,000" is one.
    """
    marks_a_blank = _THOUSANDS.search(text) is None
    bare = text
    for mark in _MARKS:
        dropped = not marks_a_blank or f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if dropped else " ")
    words = (NUMBERS.get(word, word) for word in _FULL_STOP.sub("", bare).lower().split())
    return " ".join(word for word in words if word not in ARTICLES).strip(_CHINESE_ENDS)


def exact(answer: str | None, truth: str) -> float:
    """1.0 where both have the same normal form; where nothing is left of it ("A", "+"), where both are the same text."""
    found, expected = vqa_form(answer or ""), vqa_form(truth)
    return float(found == expected if expected else (answer or "").strip().lower() == truth.strip().lower())


def contains(answer: str | None, truth: str) -> float:
    """1.0 where the truth's normal form stands anywhere in the answer's, inside a word too."""
    expected = vqa_form(truth)
    return float(expected in vqa_form(answer or "")) if expected else exact(answer, truth)


def recall(answer: str | None, truth: str) -> float:
    """LLaVA-Med's recall: found words, as often as the answer has them, over those and the truth's words not found."""
    said = collections.Counter(vqa_form(answer or "").split())
    expected = collections.Counter(vqa_form(truth).split())
    found = sum(said[word] for word in expected if word in said)
    return found / (found + sum(count for word, count in expected.items() if word not in said)) if found else 0.0


def plain_recall(answer: str | None, truth: str) -> float:
    """The share of the truth's words that stand in the answer, whatever it repeats."""
    said, expected = set(vqa_form(answer or "").split()), vqa_form(truth).split()
    return sum(word in said for word in expected) / len(expected) if expected else 0.0


def bleu_1(answer: str | None, truth: str) -> float:
    """The sentence's clipped unigram precision times the brevity penalty (Papineni et al., ACL 2002)."""
    said, expected = vqa_form(answer or "").split(), vqa_form(truth).split()
    common = (collections.Counter(said) & collections.Counter(expected)).total()
    if not common:
        return 0.0
    return common / len(said) * (1.0 if len(said) > len(expected) else math.exp(1 - len(expected) / len(said)))


# metric: the measure, and whether it is taken of closed questions (None: of all)
_METRICS: Mapping[str, tuple[Callable[[str | None, str], float], bool | None]] = {
    "open_exact": (exact, False),
    "closed_exact": (exact, True),
    "overall_exact": (exact, None),
    "open_recall": (recall, False),
    "closed_contains": (contains, True),
    "open_f1": (token_f1, False),
    "overall_f1": (token_f1, None),
    "open_bleu_1": (bleu_1, False),
}


def is_closed(record: ChatRecord, rule: str) -> bool:
    """Whether a question is closed: the dataset calls it so, or (``yes_no``) its answer is yes or no."""
    if rule == "yes_no":
        return vqa_form(record.answer) in YES_NO
    kind = record.meta.get("answer_type")
    known = kind.strip().lower() if isinstance(kind, str) else None
    if known not in ("open", "closed"):
        raise DataError(
            f"row '{record.id}': meta.answer_type is {str(kind)[:40]!r}, expected open or closed; "
            "'--option closed=yes_no' goes by the answers instead"
        )
    return known == "closed"


def score_answers(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """The metrics of all schools; breakdowns, denominators of both closed rules and floors in the details."""
    rule, language = options.get("closed", CLOSED_RULES[0]), options.get("language", "all")
    taken = [each for each in answered if language in ("all", language_of(each.record))]
    if answered and not taken:
        raise DataError(f"option language={language}: none of the {len(answered):,} questions is in it")
    records = [each.record for each in taken]
    closed = [is_closed(record, rule) for record in records]
    marks = [exact(each.answer, each.record.answer) for each in taken]
    groups = [group_of(record) for record in records]
    return Scores(
        metrics=_measure(taken, closed, groups),
        convention=_convention(rule, language),
        per_row={record.id: mark for record, mark in zip(records, marks, strict=True)},
        details={
            "floor": _floor(records, closed),
            "closed_rule": rule,
            "denominators": _denominators(records),
            "left_out_by_language": len(answered) - len(taken),
            "by_question_type": _by(records, question_types, marks, groups),
            "by_language": _by_language(taken, closed, groups),
            "recall_without_repetition": _recall_without_repetition(taken, closed),
            "closed_as_run_eval": _closed_as_run_eval(taken, closed),
        },
    )


def _convention(rule: str, language: str) -> str:
    closed = "the dataset's answer_type" if rule == "answer_type" else "an answer of yes or no"
    schools = "exact class (classification school), recall and containment (LLaVA-Med's)"
    spoken = "" if language == "all" else f"; questions in {language}"
    return f"VQA's normal form: {schools}; SQuAD's: token F1; closed by {closed}{spoken}"


def _measure(taken: Sequence[Answered], closed: Sequence[bool], groups: Groups) -> dict[str, Metric]:
    found = {}
    for name, (measure, side) in _METRICS.items():
        rows = [row for row, is_one in enumerate(closed) if side in (None, is_one)]
        values = [measure(taken[row].answer, taken[row].record.answer) for row in rows]
        found[name] = share(values, [groups[row] for row in rows])
    return found


def language_of(record: ChatRecord) -> str:
    """``meta.language``, English where the set does not say it."""
    return str(record.meta.get("language", "en"))


def question_types(record: ChatRecord) -> list[str]:
    """The question's types: VQA-RAD may give several, with commas."""
    given = record.meta.get("question_type")
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else []


def _by(
    records: Sequence[ChatRecord], kinds: Callable[[ChatRecord], Sequence[str]], marks: Sequence[float], groups: Groups
) -> dict[str, Any]:
    """Exact match of each kind of question; one of two kinds counts in both."""
    rows: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        for kind in kinds(record):
            rows.setdefault(kind, []).append(row)
    found = {}
    for kind in sorted(rows):
        metric = share([marks[row] for row in rows[kind]], [groups[row] for row in rows[kind]])
        found[kind] = {"exact": metric.value, "count": metric.count, "low": metric.low, "high": metric.high}
    return found


def _by_language(taken: Sequence[Answered], closed: Sequence[bool], groups: Groups) -> dict[str, Any]:
    """All metrics of each language, where there are several."""
    languages = [language_of(each.record) for each in taken]
    if len(set(languages)) < 2:
        return {}
    found = {}
    for language in sorted(set(languages)):
        rows = [row for row, other in enumerate(languages) if other == language]
        metrics = _measure([taken[row] for row in rows], [closed[row] for row in rows], [groups[row] for row in rows])
        found[language] = {name: {"value": metric.value, "count": metric.count} for name, metric in metrics.items()}
    return found


def _denominators(records: Sequence[ChatRecord]) -> dict[str, dict[str, int] | None]:
    """How many questions are open and closed by either rule; None where the rows do not say their type."""
    found: dict[str, dict[str, int] | None] = {}
    for rule in CLOSED_RULES:
        try:
            closed = sum(is_closed(record, rule) for record in records)
            found[rule] = {"closed": closed, "open": len(records) - closed}
        except DataError:
            found[rule] = None
    return found


def _floor(records: Sequence[ChatRecord], closed: Sequence[bool]) -> dict[str, float]:
    """What one answer to all open and one to all closed questions reaches; and one to each type of them (``_of_types``), or to
    each question text (``_question_only``).

    ``closed_contains_yes_and_no`` is what containment gives to the one answer "yes or no".
    """
    sides = {
        name: [record for record, each in zip(records, closed, strict=True) if each is (name == "closed")]
        for name in ("open", "closed")
    }
    hits = {name: max(_counts(rows).values(), default=0) for name, rows in sides.items()}
    floor = {f"{name}_exact": hits[name] / len(rows) for name, rows in sides.items() if rows}
    if records:
        types: dict[Any, list[ChatRecord]] = {}
        for record, each in zip(records, closed, strict=True):
            types.setdefault((each, *question_types(record)), []).append(record)
        floor["overall_exact"] = sum(hits.values()) / len(records)
        floor["overall_exact_question_only"] = question_only(records, [_truth_form(record) for record in records])
        floor["overall_exact_of_types"] = sum(max(_counts(rows).values()) for rows in types.values()) / len(records)
    if sides["closed"]:
        floor["closed_contains"] = floor["closed_exact"]
        both = sum(contains("yes or no", record.answer) for record in sides["closed"])
        floor["closed_contains_yes_and_no"] = both / len(sides["closed"])
    return floor


def _counts(records: Sequence[ChatRecord]) -> collections.Counter[str]:
    return collections.Counter(map(_truth_form, records))


def _truth_form(record: ChatRecord) -> str:
    return vqa_form(record.answer) or record.answer


def _recall_without_repetition(taken: Sequence[Answered], closed: Sequence[bool]) -> float | None:
    values = [plain_recall(each.answer, each.record.answer) for each, is_one in zip(taken, closed, strict=True) if not is_one]
    return sum(values) / len(values) if values else None


def _closed_as_run_eval(taken: Sequence[Answered], closed: Sequence[bool]) -> dict[str, Any]:
    """The closed accuracy of LLaVA-Med's script, and how many of the closed questions it counts."""
    counted = []
    for each, is_one in zip(taken, closed, strict=True):
        said, hit = vqa_form(each.answer or ""), contains(each.answer, each.record.answer)
        says_either = "yes" in said or "no" in said
        if is_one and (hit or not says_either):
            counted.append(hit if says_either else 0.0)
    return {"value": sum(counted) / len(counted) if counted else None, "count": len(counted), "of": sum(closed)}


_CLOSED = Option("closed", "which questions are closed: those the dataset calls so, or those answered yes or no",
                 CLOSED_RULES[0], CLOSED_RULES)  # fmt: skip
_LANGUAGE = Option("language", "whose questions are scored; most published results are on English", "all", ("all", "en", "zh"))


def _published(name: str, school: str, source: str, **shares: float) -> dict[str, Any]:
    return {"name": name, "source": source, "convention": school} | shares


def _benchmark(name: str, title: str, published: Sequence[Mapping[str, Any]], *options: Option) -> Benchmark:
    return Benchmark(
        name=name,
        summary=f"{title}: open and closed questions by exact answer class, LLaVA-Med's recall and containment, and token F1",
        headline="overall_exact",
        score=score_answers,
        max_new_tokens=50,
        options=(_CLOSED, *options),
        published=tuple({"set": f"{title} test"} | dict(row) for row in published),
    )


_CLASSES, _GENERATIVE, _TOKENS = "exact answer class", "LLaVA-Med's recall and containment", "token F1"
_LLAVA_MED, _BIOMEDCLIP = "arXiv 2306.00890", "arXiv 2303.00915"
_CR = "Zhan et al., ACM MM 2020 (github.com/Awenbocc/med-vqa)"

VQARAD = _benchmark(
    "vqarad",
    "VQA-RAD",
    (
        _published("CR", _CLASSES, _CR, open_exact=0.600, closed_exact=0.793, overall_exact=0.716),
        _published("BiomedCLIP", _CLASSES, _BIOMEDCLIP, open_exact=0.670, closed_exact=0.765, overall_exact=0.727),
        _published("LLaVA-Med", _GENERATIVE, _LLAVA_MED, open_recall=0.6475, closed_contains=0.8309),
    ),
)

SLAKE = _benchmark(
    "slake",
    "SLAKE",
    (
        _published("BiomedCLIP", _CLASSES, _BIOMEDCLIP, open_exact=0.843, closed_exact=0.889, overall_exact=0.861),
        _published("LLaVA-Med", _GENERATIVE, _LLAVA_MED, open_recall=0.8711, closed_contains=0.8678),
        _published("Med-Gemini", _TOKENS, "arXiv 2405.03162", overall_f1=0.875),
        _published("Med-PaLM M", _TOKENS, "arXiv 2307.14334", overall_f1=0.893),
        _published("LLaVA3-Med", _TOKENS, "unverified", overall_f1=0.898),
    ),
    _LANGUAGE,
)

PATHVQA = _benchmark(
    "pathvqa",
    "PathVQA",
    (
        _published("LLaVA-Med", _GENERATIVE, f"{_LLAVA_MED}, unverified", open_recall=0.3960, closed_contains=0.9109),
        _published("Med-Gemini", _TOKENS, "arXiv 2405.03162", overall_f1=0.647),
        _published("Med-PaLM M", _TOKENS, "arXiv 2307.14334", overall_f1=0.627),
        _published("LLaVA3-Med", _TOKENS, "unverified", overall_f1=0.649),
    ),
)

BENCHMARKS = (VQARAD, SLAKE, PATHVQA)
