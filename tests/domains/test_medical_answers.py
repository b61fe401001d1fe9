"""Open and closed medical questions: values of LLaVA-Med's own functions, cases by hand, and the real sets' denominators."""

import math
from pathlib import Path
from typing import Any

import pytest

from adapt.domain import Answered, Source, find_benchmark
from adapt.errors import DataError, UsageError
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord, Turn
from domains.medical import answers, slake, vqarad

NAMES = {
    *("open_exact", "closed_exact", "overall_exact", "open_recall", "closed_contains"),
    *("open_f1", "overall_f1", "open_bleu_1"),
}


def question(truth: str, answer: str | None, kind: str = "open", *, number: int = 0, **meta: Any) -> Answered:
    turns = (Turn("human", f"<image>\nWhat, {number}?"), Turn("gpt", truth))
    return Answered(ChatRecord(f"q{number}", turns, (f"{number}.png",), meta={"answer_type": kind} | meta), answer)


def of_set(module: Any, folder: Path, split: str, **options: str) -> list[ChatRecord]:
    """The records of one split of a real set, without its pictures being read."""
    source = Source(folder, None, {each.name: each.default for each in module.TASK.options if each.default} | options, seed=0)
    samples = [sample for sample in module.read(source).samples if sample.split == split]
    return [record for sample in samples for record in module.convert(sample, None, source)]


# What calculate_f1score of github.com/microsoft/LLaVA-Med (ad758b6) gives for the pair in normalize_word's form.
OFFICIAL = [
    ("The left lung.", "left lung", 1.0),
    ("lung", "left lung", 0.5),
    ("left left left", "left lung", 0.75),
    ("on the right", "right side", 0.5),
    ("", "left lung", 0.0),
    ("two nodules", "2", 1.0),
    ("T2-weighted MRI", "t2 weighted", 1.0),
    ("none", "0", 1.0),
    ("x-ray, plain film", "Plain film x-ray", 1.0),
    ("blood vessel " * 3000, "blood clot", 0.9996667777407531),
    ("1,000-2,000", "1000 2000", 0.0),
    ("right/left", "left", 1.0),
    ("3.5 cm.", "3.5 cm", 1.0),
]


@pytest.mark.parametrize(("answer", "truth", "value"), OFFICIAL)
def test_recall_is_llava_meds(answer, truth, value):
    """The recall that LLaVA-Med reports, with what it makes of repetition."""
    assert answers.recall(answer, truth) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("X-ray/CT.", "x ray ct"),
        ("X- ray/CT", "x ray ct"),
        ("Yes, the left lung!", "yes left lung"),
        ("1,000-2,000", "10002000"),
        ("A", ""),
        ("None", "0"),
        ("3.5 cm.", "3.5 cm"),
        ("  Ten\tmasses ", "10 masses"),
        ("", ""),
        ("是的。", "是的"),
    ],
)
def test_normal_form_is_vqas(text, form):
    """Values of normalize_word in LLaVA-Med's glossary, and a Chinese full stop."""
    assert answers.vqa_form(text) == form


@pytest.mark.parametrize(
    ("answer", "truth", "exact", "contains", "plain_recall", "bleu_1"),
    [
        ("Yes", "yes", 1, 1, 1, 1),
        ("Yes, it is.", "yes", 0, 1, 1, 1 / 3),
        ("normal", "no", 0, 1, 0, 0),  # "no" stands in "normal"
        ("no", "yes", 0, 0, 0, 0),
        ("", "yes", 0, 0, 0, 0),
        (None, "yes", 0, 0, 0, 0),
        ("  ", "no", 0, 0, 0, 0),
        ("left", "left lung", 0, 0, 1 / 2, math.exp(1 - 2)),
        ("The left lung", "left lung", 1, 1, 1, 1),
        ("left left left", "left lung", 0, 0, 1 / 2, 1 / 3),
        ("left left lung", "left lung", 0, 1, 1, 2 / 3),
        ("one", "1", 1, 1, 1, 1),
        ("yes " * 5000, "yes", 0, 1, 1, 1 / 5000),
        ("A", "A", 1, 1, 0, 0),  # nothing is left of the truth: the texts themselves are compared
        ("", "A", 0, 0, 0, 0),
    ],
)
def test_measures_by_hand(answer, truth, exact, contains, plain_recall, bleu_1):
    """Exact class, containment, words found once, and BLEU-1 with its brevity penalty."""
    found = [measure(answer, truth) for measure in (answers.exact, answers.contains, answers.plain_recall, answers.bleu_1)]
    assert found == pytest.approx([exact, contains, plain_recall, bleu_1])


@pytest.mark.parametrize("benchmark", ["vqarad", "slake", "pathvqa"])
def test_the_scores_of_a_small_set(benchmark):
    """Six questions by hand: three open, three closed, one without an answer; the three sets are scored alike."""
    rows = [
        question("left lung", "The left lung.", number=0, question_type="POS, ORGAN"),
        question("left lung", "lung", number=1, question_type="POS"),
        question("mass", None, number=2),
        question("yes", "Yes", "CLOSED ", number=3, question_type="PRES"),
        question("no", "It is normal", "closed", number=4, question_type="PRES"),
        question("right", "left", "closed", number=5),
    ]
    scores = score_answers(find_benchmark(benchmark), rows, {})
    values = {name: (metric.value, metric.count) for name, metric in scores.metrics.items()}
    assert set(values) == NAMES
    assert values["open_exact"] == (pytest.approx(1 / 3), 3) and values["closed_exact"] == (pytest.approx(1 / 3), 3)
    assert values["overall_exact"] == (pytest.approx(2 / 6), 6)
    assert values["open_recall"] == (pytest.approx(1.5 / 3), 3) and values["closed_contains"] == (pytest.approx(2 / 3), 3)
    assert values["open_f1"] == (pytest.approx((1 + 2 / 3) / 3), 3)
    assert values["overall_f1"] == (pytest.approx((1 + 2 / 3 + 1) / 6), 6)
    assert values["open_bleu_1"] == (pytest.approx((1 + math.exp(-1)) / 3), 3)
    assert scores.per_row == {"q0": 1, "q1": 0, "q2": 0, "q3": 1, "q4": 0, "q5": 0}
    types = scores.details["by_question_type"]
    assert {name: (row["exact"], row["count"]) for name, row in types.items()} == {
        "POS": (0.5, 2), "ORGAN": (1, 1), "PRES": (0.5, 2)
    }  # fmt: skip
    floor = scores.details["floor"]
    assert floor["open_exact"] == 2 / 3 and floor["closed_exact"] == 1 / 3 and floor["overall_exact"] == 3 / 6
    assert floor["overall_exact_of_types"] == 5 / 6  # open: POS+ORGAN, POS, none; closed: PRES (one of yes, no), none
    assert floor["overall_exact_question_only"] == 1  # each of the six texts is asked once
    assert scores.details["answers"] == {"references": 6, "none": 1, "empty": 0, "over_long": 0}


def test_both_rules_of_closed_questions():
    """By the answers only yes and no are closed; the convention says which rule it was, the details count by both."""
    rows = [question("yes", "yes", "closed"), question("mri", "ct", "closed", number=1), question("no", "no", number=2)]
    by_type = score_answers(find_benchmark("vqarad"), rows, {})
    by_answer = score_answers(find_benchmark("vqarad"), rows, {"closed": "yes_no"})
    assert (by_type.metrics["closed_exact"].value, by_type.metrics["closed_exact"].count) == (0.5, 2)
    assert (by_answer.metrics["closed_exact"].value, by_answer.metrics["closed_exact"].count) == (1.0, 2)
    assert by_type.convention.endswith("closed by the dataset's answer_type")
    assert by_answer.convention.endswith("closed by an answer of yes or no")
    both = {"answer_type": {"closed": 2, "open": 1}, "yes_no": {"closed": 2, "open": 1}}
    assert by_type.details["denominators"] == by_answer.details["denominators"] == both
    with pytest.raises(UsageError, match="expected one of answer_type, yes_no"):
        score_answers(find_benchmark("vqarad"), rows, {"closed": "both"})


def test_what_llava_meds_script_leaves_out():
    """run_eval.py: yes or no without the truth is not counted, neither of them is wrong even where the truth is said."""
    rows = [
        question("yes", "yes", "closed", number=0),
        question("yes", "no", "closed", number=1),  # not counted
        question("mri", "mri", "closed", number=2),  # says neither: 0
        question("left", "the left, no doubt", "closed", number=3),
    ]
    scores = score_answers(find_benchmark("slake"), rows, {})
    assert scores.metrics["closed_contains"].value == 3 / 4
    assert scores.details["closed_as_run_eval"] == {"value": 2 / 3, "count": 3, "of": 4}


def test_rows_that_do_not_say_their_type():
    """The row is named, and the way out; by the answers they can be scored all the same."""
    rows = [question("yes", "yes"), Answered(ChatRecord("q9", (Turn("human", "q"), Turn("gpt", "no"))), "no")]
    with pytest.raises(DataError, match=r"row 'q9': meta\.answer_type is 'None', expected open or closed.*closed=yes_no"):
        score_answers(find_benchmark("pathvqa"), rows, {})
    scores = score_answers(find_benchmark("pathvqa"), rows, {"closed": "yes_no"})
    assert scores.metrics["closed_exact"].count == 2 and scores.details["denominators"]["answer_type"] is None


def test_vqa_rads_denominators_and_floors(shared):
    """The real test: 272 closed by the set's own word, 251 by yes and no; 48.9 % of always no. Its own answers score 1."""
    records = of_set(vqarad, shared / "data" / "vqa_rad", "test")
    scores = score_answers(find_benchmark("vqarad"), [Answered(record, record.answer) for record in records], {})
    assert scores.details["denominators"] == {
        "answer_type": {"closed": 272, "open": 179},
        "yes_no": {"closed": 251, "open": 200},
    }
    assert all(metric.value == 1.0 for name, metric in scores.metrics.items() if name != "open_bleu_1")
    assert scores.details["floor"]["closed_exact"] == 133 / 272 == pytest.approx(0.489, abs=5e-4)
    assert scores.details["floor"]["closed_contains_yes_and_no"] == pytest.approx(251 / 272, abs=0.01)
    always_no = score_answers(find_benchmark("vqarad"), [Answered(record, "No.") for record in records], {})
    assert always_no.metrics["closed_exact"].value == scores.details["floor"]["closed_exact"]
    by_answer = score_answers(find_benchmark("vqarad"), [Answered(record, "no") for record in records], {"closed": "yes_no"})
    assert by_answer.metrics["closed_exact"].value == by_answer.details["floor"]["closed_exact"] == 133 / 251


def test_slakes_english_questions(shared):
    """645 open and 416 closed English questions, 43.3 % of always No; the other language apart, and chosen by an option."""
    records = of_set(slake, shared / "data" / "slake_json", "test")
    rows = [Answered(record, "No") for record in records]
    english = score_answers(find_benchmark("slake"), rows, {"language": "en"})
    assert english.details["denominators"]["answer_type"] == {"closed": 416, "open": 645}
    assert english.metrics["closed_exact"].value == english.details["floor"]["closed_exact"] == 180 / 416
    assert english.details["left_out_by_language"] == 1033 and english.convention.endswith("questions in en")
    both = score_answers(find_benchmark("slake"), rows, {})
    assert both.metrics["overall_exact"].count == 2094
    assert both.details["by_language"]["en"]["closed_exact"] == {"value": 180 / 416, "count": 416}
    assert both.details["by_language"]["zh"]["overall_exact"]["count"] == 1033
    with pytest.raises(DataError, match="option language=zh: none of the 1 questions is in it"):
        score_answers(find_benchmark("slake"), [question("yes", "yes", "closed")], {"language": "zh"})


def test_nothing_to_score_is_defined():
    """No rows, and rows of one side only: values 0 with a count of 0."""
    assert score_answers(find_benchmark("vqarad"), [], {}).metrics["overall_exact"].count == 0
    only = score_answers(find_benchmark("vqarad"), [question("mass", "mass")], {})
    assert (only.metrics["closed_exact"].value, only.metrics["closed_exact"].count) == (0.0, 0)
    assert "closed_exact" not in only.details["floor"]


def test_questions_of_one_picture_are_drawn_together():
    """Ten questions of two pictures, one all right and one all wrong: the interval is the whole range."""
    rows = []
    for number in range(10):
        record = question("yes", "yes" if number < 5 else "no", "closed", number=number).record
        record = ChatRecord(record.id, record.turns, (f"{number // 5}.png",), meta=record.meta)
        rows.append(Answered(record, "yes" if number < 5 else "no"))
    metric = score_answers(find_benchmark("vqarad"), rows, {}).metrics["overall_exact"]
    assert (metric.value, metric.low, metric.high) == (0.5, 0.0, 1.0)


def test_published_rows_name_their_school():
    """Each row gives metrics that the scorer has, and no row mixes two schools."""
    for benchmark in answers.BENCHMARKS:
        for row in benchmark.published:
            given = set(row) - {"name", "set", "source", "convention"}
            assert given and given <= NAMES and row["convention"]
            schools = {"exact" if name.endswith("exact") else "f1" if name.endswith("f1") else "llava" for name in given}
            assert len(schools) == 1
