"""The benchmarks that belong to no field: short answers to questions (``vqa``), a choice between classes (``classify``), and
whatever asks for boxes or numbers (``ground``)."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapt.domain import Answered, Benchmark, Scores
from adapt.errors import DataError
from adapt.evaluate import metrics
from adapt.evaluate.classes import score_classes, squash
from adapt.evaluate.floors import question_text
from adapt.evaluate.grounding import CONVENTION, score_grounding
from adapt.evaluate.score import group_of
from adapt.evaluate.several import is_several, score_several
from adapt.progress import say
from adapt.records import ChatRecord

ENOUGH_ROWS = 20  # from which on answers that occur once are no classes

_MEASURES: Mapping[str, Callable[[str | None, str], float]] = {
    "exact": metrics.exact_match,
    "f1": metrics.token_f1,
    "anls": metrics.anls,
}


def answer_type(record: ChatRecord) -> str:
    """``meta.answer_type`` where a dataset says it, else yes/no, number or other, as in VQA v2 (arXiv 1612.00837)."""
    given = record.meta.get("answer_type")
    if isinstance(given, str) and given.strip():
        return given.strip().lower()
    text = metrics.normalise(record.answer)
    return "yes/no" if text in ("yes", "no") else "number" if text.isdecimal() else "other"


def truths_of(record: ChatRecord) -> list[str]:
    """Every answer that counts as right: the learnt one, and ``meta.answers`` where several people were asked."""
    given = record.meta.get("answers")
    others = [each for each in given if isinstance(each, str) and each.strip()] if isinstance(given, list) else []
    return list(dict.fromkeys([record.answer, *others]))


def score_vqa(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """Exact match, token F1 and ANLS over all rows; exact match of each answer type and the blind floors in the details.

    Of several right answers the one that scores best counts, for each measure, as SQuAD and ST-VQA define theirs.
    """
    groups = [group_of(each.record) for each in answered]
    marks = {
        name: [max(measure(each.answer, truth) for truth in truths_of(each.record)) for each in answered]
        for name, measure in _MEASURES.items()
    }
    per_row = {each.record.id: mark for each, mark in zip(answered, marks["exact"], strict=True)}
    records = [each.record for each in answered]
    return Scores(
        metrics={name: metrics.share(values, groups) for name, values in marks.items()},
        convention="SQuAD normal form for exact and f1, threshold 0.5 for anls; the best of several right answers",
        per_row=per_row,
        details=_floors(records) | {"by_answer_type": _by_type(records, marks["exact"], groups)},
    )


def _by_type(records: Sequence[ChatRecord], marks: Sequence[float], groups: Sequence[Any]) -> dict[str, Any]:
    types = [answer_type(record) for record in records]
    found = {}
    for kind in sorted(set(types)):
        rows = [row for row, other in enumerate(types) if other == kind]
        metric = metrics.share([marks[row] for row in rows], [groups[row] for row in rows])
        found[kind] = {"exact": metric.value, "count": metric.count, "low": metric.low, "high": metric.high}
    return found


def _floors(records: Sequence[ChatRecord]) -> dict[str, Any]:
    """What needs no picture: one answer to everything, and one to each question text, both the best the truth allows."""
    if not records:
        return {"floor": {}}
    by_question: dict[str, collections.Counter[str]] = {}
    for record in records:
        forms = {metrics.normalise(truth) or truth.strip() for truth in truths_of(record)}
        by_question.setdefault(question_text(record), collections.Counter()).update(forms)
    overall = sum(by_question.values(), collections.Counter[str]())
    answer = min(overall, key=lambda text: (-overall[text], text))
    return {
        "floor": {
            "exact": overall[answer] / len(records),
            "exact_question_only": sum(max(counts.values()) for counts in by_question.values()) / len(records),
        },
        "majority_answer": answer,
        "distinct_questions": len(by_question),
    }


def score_choices(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """One class of each row, or, where labels are lists, all classes that apply. Raises DataError for free answers."""
    _check_classes(answered)
    several = any(is_several(each.record) for each in answered)
    return score_several(answered) if several else score_classes(answered, options)


def _check_classes(answered: Sequence[Answered]) -> None:
    """Rows of another tool, which name no classes: what their answers are taken as is said, and free text is refused.

    Said once there are answers to score: references are looked at without any before a model is asked.
    """
    records = [each.record for each in answered]
    if not records or any("label" in record.meta or "candidates" in record.meta for record in records):
        return
    counts = collections.Counter(squash(record.answer) for record in records)
    once = sum(count == 1 for count in counts.values())
    if len(records) >= ENOUGH_ROWS and once > len(records) / 2:
        raise DataError(
            f"row '{records[0].id}' and the others have neither meta.label nor meta.candidates, and {once:,} of "
            f"{len(records):,} answers occur once: these are no classes; score free answers with '--benchmark vqa'"
        )
    if any(each.answer is not None for each in answered):
        say(f"no row has meta.label or meta.candidates: their {len(counts):,} different answers are taken as the classes")


VQA = Benchmark(
    name="vqa",
    summary="short answers: exact match, token F1, ANLS; blind floors beside them",
    headline="exact",
    score=score_vqa,
    max_new_tokens=32,
)

CLASSIFY = Benchmark(
    name="classify",
    summary="a choice between classes, by name or by letter: accuracy, and the mean of the classes' recalls; "
    "of several classes where labels are lists",
    headline="accuracy",
    score=score_choices,
    max_new_tokens=48,  # the longest class name of the public sets (BloodMNIST's) takes more than 20
)

GROUND = Benchmark(
    name="ground",
    summary="boxes of any set: hits at an IoU of 0.5 to 0.9, mean and cumulative IoU; precision, recall and F1 where a name "
    "has several boxes or none; rows of count by the exact number, rows of region by the name",
    headline="acc@0.5",
    score=score_grounding,
    max_new_tokens=512,  # dense detection writes one line a name
    options=(CONVENTION,),
)

BENCHMARKS = (VQA, CLASSIFY, GROUND)
