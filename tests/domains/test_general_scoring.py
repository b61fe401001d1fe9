"""The generic benchmarks: short answers with their blind floors, and choices by name or letter."""

import json
from pathlib import Path

import pytest

from adapt.domain import Answered, Scores, find_benchmark
from adapt.errors import DataError
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord, Turn
from adapt.verbs import convert, score


def question(number: int, text: str, truth: str, **meta) -> ChatRecord:
    turns = (Turn("human", f"<image>\n{text}"), Turn("gpt", truth))
    return ChatRecord(str(number), turns, (f"{number // 2}.png",), meta=meta)


def score_all(benchmark: str, rows: list[tuple[ChatRecord, str | None]]) -> Scores:
    return score_answers(find_benchmark(benchmark), [Answered(*row) for row in rows], {})


ROWS = [
    (question(0, "what color is it?", "red"), "Red."),
    (question(1, "what color is it?", "blue"), "red"),
    (question(2, "is there a cat?", "yes"), "yes"),
    (question(3, "is there a cat?", "yes"), None),
    (question(4, "is there a dog?", "no"), ""),
    (question(5, "how many?", "3"), "3"),
    (question(6, "what is it?", "red car"), "red"),
    (question(7, "what is it?", "stop sign"), "stop sing"),
]


def test_exact_f1_and_anls_by_hand():
    """Eight answers by hand: exact 3/8; F1 adds 2/3 and 1/2; ANLS has 3/4 for 'Red.' and 7/9 for 'stop sing'."""
    metrics = score_all("vqa", ROWS).metrics
    assert metrics["exact"].value == 3 / 8
    assert metrics["f1"].value == pytest.approx((3 + 2 / 3 + 1 / 2) / 8)
    assert metrics["anls"].value == pytest.approx((2 + 3 / 4 + 7 / 9) / 8)
    assert {metric.count for metric in metrics.values()} == {8}


def test_breakdown_by_answer_type():
    """yes/no, number and other are told apart as in VQA v2, and a dataset's own answer_type wins."""
    by_type = score_all("vqa", ROWS).details["by_answer_type"]
    assert {kind: (round(each["exact"], 4), each["count"]) for kind, each in by_type.items()} == {
        "yes/no": (0.3333, 3),
        "number": (1.0, 1),
        "other": (0.25, 4),
    }
    own = [(question(0, "q", "yes", answer_type="CLOSED "), "yes"), (question(1, "q", "mri", answer_type="OPEN"), "ct")]
    assert {kind: each["exact"] for kind, each in score_all("vqa", own).details["by_answer_type"].items()} == {
        "closed": 1.0,
        "open": 0.0,
    }


def test_blind_floors_by_hand():
    """One answer to all gets 2 of 8 ('yes'); the best for each question text gets 1 + 2 + 1 + 1 + 1 = 6 of 8."""
    details = score_all("vqa", ROWS).details
    assert details["floor"] == {"exact": 2 / 8, "exact_question_only": 6 / 8}
    assert details["majority_answer"] == "yes"


def test_answers_without_content_are_counted():
    """None, empty and over-long answers are wrong, and how many of each there were is said."""
    rows = [*ROWS, (question(8, "q", "yes"), "yes " * 1000)]
    assert score_all("vqa", rows).details["answers"] == {"references": 9, "none": 1, "empty": 1, "over_long": 1}


@pytest.mark.parametrize(
    ("answer", "exact", "f1", "anls"),
    [
        ("sofa", 1, 1, 1),
        ("Couch", 1, 1, 1),
        ("red couch", 0, 2 / 3, 1 - 4 / 9),
        ("sofas", 0, 0, 4 / 5),
        ("a long seat", 1, 1, 1),
        ("seat", 0, 2 / 3, 0),
        ("couches", 0, 0, 5 / 7),
        ("chair", 0, 0, 0),
        ("", 0, 0, 0),
        (None, 0, 0, 0),
        ("sofa " * 1000, 0, 2 / 1001, 0),
    ],
)
def test_the_best_of_several_right_answers_counts(answer, exact, f1, anls):
    """Three people said sofa, couch and a long seat: each measure takes the nearest, worked out by hand."""
    record = question(0, "what is it?", "sofa", answers=["sofa", "couch", "a long seat", 7, ""])
    metrics = score_all("vqa", [(record, answer)]).metrics
    found = {name: metric.value for name, metric in metrics.items()}
    assert found == {"exact": exact, "f1": pytest.approx(f1), "anls": pytest.approx(anls)}


def test_the_floor_knows_several_right_answers():
    """An answer that somebody gave to two of three rows gets two, though no row has it first."""
    rows = [(question(n, f"q{n}", truth, answers=others), None) for n, (truth, others) in enumerate(
        [("sofa", ["couch"]), ("seat", ["couch", "Couch."]), ("bench", [])])]  # fmt: skip
    details = score_all("vqa", rows).details
    assert details["majority_answer"] == "couch" and details["floor"]["exact"] == 2 / 3


def test_floors_of_real_easy_vqa(shared: Path, tmp_path: Path):
    """On easy-VQA's real test set the truth scores 1 and blind answers stay well below it; yes/no questions are the 7,136."""
    converted = tmp_path / "test.jsonl"
    convert(task="easyvqa", input=shared / "data" / "easy_vqa" / "data", output=converted, split="test")
    rows = [json.loads(line) for line in converted.read_text().splitlines()]
    predictions = tmp_path / "predictions.jsonl"
    answers = [{"id": row["id"], "answer": row["conversations"][-1]["value"]} for row in rows]
    predictions.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    scores = score(benchmark="vqa", predictions=predictions, references=converted)
    assert scores["metrics"]["exact"]["value"] == 1.0
    assert scores["metrics"]["exact"]["count"] == 9673
    assert scores["details"]["by_answer_type"]["yes/no"]["count"] == 7136
    assert scores["floor"]["exact"] < scores["floor"]["exact_question_only"] < 0.9


NAMES = ["cat", "dog", "sea lion"]


def choice(number: int, label: str, lettered: bool) -> ChatRecord:
    answer = "ABC"[NAMES.index(label)] if lettered else label
    turns = (Turn("human", "<image>\nwhich?"), Turn("gpt", answer))
    return ChatRecord(str(number), turns, (f"{number}.png",), meta={"label": label, "candidates": NAMES})


@pytest.mark.parametrize(
    ("answer", "lettered", "mark"),
    [
        ("B", True, 1),
        ("b", True, 1),
        ("B.", True, 1),
        ("(B)", True, 1),
        ("B. dog", True, 1),
        ("B) Dog.", True, 1),
        ("dog", True, 1),
        ("A", True, 0),
        ("D", True, 0),
        ("B. cat", True, 0),
        ("A B", True, 0),
        ("", True, 0),
        (None, True, 0),
        ("B" * 10_000, True, 0),
        ("dog", False, 1),
        ("Dog.", False, 1),
        ("B", False, 0),
        ("a dog", False, 0),
    ],
)
def test_choices_by_name_or_letter(answer, lettered, mark):
    """Names always count, letters only where the question offered them, a letter that contradicts its name not at all."""
    assert score_all("classify", [(choice(0, "dog", lettered), answer)]).per_row["0"] == mark


def test_names_that_differ_only_in_a_dot_stay_apart():
    """Where dropping dots would make one class of two, it is not done."""
    turns = (Turn("human", "<image>\nwhich?"), Turn("gpt", "1.5"))
    record = ChatRecord("0", turns, ("0.png",), meta={"label": "1.5", "candidates": ["1.5", "15"]})
    assert score_all("classify", [(record, "15")]).per_row["0"] == 0
    assert score_all("classify", [(record, "1.5")]).per_row["0"] == 1


def test_classes_without_candidates_are_those_of_the_references():
    """Rows of another tool, without meta, are scored against the labels that occur."""
    rows = [(ChatRecord(str(n), (Turn("human", "q"), Turn("gpt", name))), name) for n, name in enumerate(NAMES)]
    scores = score_all("classify", rows)
    assert scores.metrics["accuracy"].value == scores.metrics["balanced_accuracy"].value == 1.0


def test_a_bad_label_is_named():
    """meta.label that is no text is a DataError with the row's id."""
    turns = (Turn("human", "q"), Turn("gpt", "dog"))
    with pytest.raises(DataError, match="row 'r7'.*meta.label"):
        score_all("classify", [(ChatRecord("r7", turns, meta={"label": 3}), "dog")])


def test_free_answers_are_no_classes(capsys):
    """Rows that name no classes: what is taken for them is said; twenty answers that mostly occur once are refused."""
    rows = [(ChatRecord(str(n), (Turn("human", "q"), Turn("gpt", f"A street, number {n}."))), "no") for n in range(20)]
    with pytest.raises(DataError, match=r"row '0' and the others have neither .*20 of 20 answers occur once.*--benchmark vqa"):
        score_all("classify", rows)
    assert score_all("classify", rows[:19]).metrics["accuracy"].count == 19
    assert "their 19 different answers are taken as the classes" in capsys.readouterr().err
    named = [(ChatRecord(str(n), (Turn("human", "q"), Turn("gpt", NAMES[n % 3]))), "cat") for n in range(60)]
    assert score_all("classify", named).metrics["accuracy"].value == pytest.approx(1 / 3)
