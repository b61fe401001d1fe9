"""MME-RealWorld's driving questions: official rows, the two prompts, and the official script's reading of letters."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.domain import Answered, find_benchmark
from adapt.errors import DataError, UsageError
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord, Turn
from adapt.verbs import convert, score
from domains.driving.mme_realworld_ad import LEAD_INS, read_letter

CHOICES = ["(A) There are many cars.", "(B) One bus", "(C) 13 trucks", "(D) many pedestrians", "(E) All the above are wrong."]
ROW = {
    "Question_id": "Perception/Autonomous_Driving/Objects_Identify/0000", "Question Type": "Multiple Choice",
    "Image": "AutonomousDriving/a.jpg", "Text": "What is in front of the ego car?", "Answer choices": CHOICES,
    "Ground truth": "D", "Task": "Perception", "Subtask": "Autonomous_Driving", "Category": "Objects_Identify",
}  # fmt: skip


def write(folder: Path, rows: list[Any], below: str = "data") -> Path:
    picture = folder / below / "AutonomousDriving" / "a.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(picture)
    path = folder / "MME_RealWorld.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_a_row_is_asked_as_the_benchmark_asks_it(tmp_path):
    """The record written out by hand; the other subtasks are counted, the picture is found beside the file."""
    write(tmp_path, [ROW, ROW | {"Subtask": "Monitoring"}])
    manifest = convert(task="mme_realworld_ad", input=tmp_path, output=tmp_path / "o.jsonl")
    assert manifest["counts"]["records"] == 1 and manifest["counts"]["splits"] == {"test": 1}
    assert manifest["counts"]["ignored"] == {"question of another subtask": 1}
    asked = (
        "<image>\nWhat is in front of the ego car? The choices are listed below:\n"
        "(A) There are many cars.\n(B) One bus\n(C) 13 trucks\n(D) many pedestrians\n(E) All the above are wrong.\n"
        "Select the best answer to the above multiple-choice question based on the image. Respond with only the letter "
        "(A, B, C, D, or E) of the correct option. \nThe best answer is:"
    )
    assert json.loads((tmp_path / "o.jsonl").read_text()) == {
        "id": "Perception/Autonomous_Driving/Objects_Identify/0000", "image": "AutonomousDriving/a.jpg",
        "width": 8, "height": 6,
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": "D"}],
        "task": "mme_realworld_ad", "source": "mme_realworld_ad",
        "meta": {"split": "test", "ability": "perception", "category": "Objects_Identify", "label": "many pedestrians",
                 "candidates": [choice[4:] for choice in CHOICES]},
    }  # fmt: skip


def test_the_scripts_own_words(tmp_path):
    """lead_in=script: the Chinese sentence right after the question, and the 13 blanks of the script's broken line."""
    path = write(tmp_path, [ROW], below="elsewhere")
    given = {"input": path, "images": tmp_path / "elsewhere", "output": tmp_path / "o.jsonl"}
    convert(task="mme_realworld_ad", option="lead_in=script", **given)
    question = adapt.read_records(tmp_path / "o.jsonl")[0].question
    assert question.startswith("<image>\nWhat is in front of the ego car?选项如下所示:\n(A) There")
    assert "based on the image.             Respond with only" in question and "listed below" not in question
    assert set(LEAD_INS) == {"english", "script"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Ground truth": "F"}, "'Ground truth' is 'F', expected a letter of ABCDE"),
        ({"Ground truth": ""}, "'Ground truth' is '', expected text"),
        ({"Answer choices": CHOICES[:1]}, "expected a list of 2 to 5 texts"),
        ({"Answer choices": [*CHOICES[:2], "(D) no"]}, r"a choice is '\(D\) no', expected '\(C\) ...'"),
        ({"Answer choices": ["(A) ", "(B) x"]}, r"a choice is '\(A\) ', expected '\(A\) ...'"),
        ({"Answer choices": "ABCD"}, "'Answer choices' is 'ABCD'"),
        ({"Task": "Guessing"}, "'Task' is 'guessing', expected Perception or Reasoning"),
        ({"Question Type": "Open"}, "'Question Type' is 'Open', expected Multiple Choice"),
        ({"Image": "../../etc/passwd"}, "leaves its root folder"),
        ({"Text": 7}, "'Text' is '7', expected text"),
        ({"Subtask": None}, "'Subtask' is 'None', expected text"),
    ],
)
def test_damaged_rows_are_rejected_with_their_place(tmp_path, change, message):
    """One bad row of two: it is named with its number in the list, the other is converted."""
    path = write(tmp_path, [ROW, ROW | change])
    manifest = convert(task="mme_realworld_ad", input=path, output=tmp_path / "o.jsonl", max_bad=1)
    assert manifest["counts"]["records"] == 1
    rejected = json.loads((tmp_path / "o.rejected.jsonl").read_text())
    assert rejected["where"] == "MME_RealWorld.json#1"
    assert re.search(message, rejected["reason"])


def test_what_is_no_such_file_is_said(tmp_path):
    """A folder without the file, and a file that holds no list."""
    with pytest.raises(UsageError, match=r"expected one file such as MME_RealWorld\.json in it, found none"):
        convert(task="mme_realworld_ad", input=tmp_path, output=tmp_path / "o.jsonl")
    (tmp_path / "MME_RealWorld.json").write_text("{}")
    with pytest.raises(DataError, match="expected a JSON list of questions"):
        convert(task="mme_realworld_ad", input=tmp_path, output=tmp_path / "o.jsonl")


# What post_process of InternVL's mme_rw/evaluate.py (1bfe09e) gives for these answers and CHOICES.
OFFICIAL = [
    ("D", "D"),
    ("(B) One bus", "B"),
    ("The best answer is C.", "C"),
    ("The answer is: E", "E"),
    ("Best answer: D", "D"),
    ("The best option is D", "D"),
    ("Both are wrong", "B"),
    ("A car is there, so the answer is D", "A"),
    ("many cars", "A"),
    ("13", "C"),
    ("The best option is 13", ""),
    ("one bus", "B"),
    ("F", ""),
    ("there is nothing at all of this kind to be seen anywhere here", ""),
    ("there is nothing at all of this kind to be seen anywhere here: D", "D"),
    ("", "A"),
    ("The answer is", "A"),
    ("x" * 9000, ""),
    ("\n d", "D"),
]


@pytest.mark.parametrize(("answer", "letter"), OFFICIAL)
def test_letters_are_read_as_the_script_reads_them(answer, letter):
    """The first of A to E anywhere, else the first choice that holds the text; more than ten words without a letter: none."""
    assert read_letter(answer, CHOICES) == letter


def row(answer: str | None, truth: str, ability: str = "perception", number: int = 0, category: str = "Count") -> Answered:
    meta = {"ability": ability, "category": category, "candidates": [choice[4:] for choice in CHOICES]}
    turns = (Turn("human", "<image>\nWhat?"), Turn("gpt", truth))
    return Answered(ChatRecord(f"m{number}", turns, (f"{number}.jpg",), meta=meta), answer)


def test_the_scores_of_a_small_set():
    """Seven questions by hand: micro over all, perception and reasoning apart, categories in the details."""
    rows = [
        row("D", "D", number=0),
        row("many cars", "A", number=1),
        row("C", "A", number=2, category="Attribute"),
        row(None, "A", number=3),
        row("The answer is", "A", "reasoning", 4),
        row("x" * 9000, "B", "reasoning", 5),
        row("B", "B", "reasoning", 6),
    ]
    scores = score_answers(find_benchmark("mme_realworld_ad"), rows, {})
    found = {name: (metric.value, metric.count) for name, metric in scores.metrics.items()}
    assert found == {
        "accuracy": (pytest.approx(3 / 7), 7), "perception": (2 / 4, 4), "reasoning": (pytest.approx(1 / 3), 3)
    }  # fmt: skip
    assert scores.per_row == {"m0": 1, "m1": 1, "m2": 0, "m3": 0, "m4": 0, "m5": 0, "m6": 1}
    categories = {name: (each["accuracy"], each["count"]) for name, each in scores.details["by_category"].items()}
    assert categories == {
        "perception/Attribute": (0, 1), "perception/Count": (pytest.approx(2 / 3), 3),
        "reasoning/Count": (pytest.approx(1 / 3), 3),
    }  # fmt: skip
    assert scores.details["unread"] == 3 and scores.details["left_empty"] == 2
    assert scores.details["floor"] == {
        "accuracy": pytest.approx(4 / 7), "perception": 3 / 4, "reasoning": pytest.approx(2 / 3),
        "accuracy_of_chance": pytest.approx(0.2),
    }  # fmt: skip
    as_script = score_answers(find_benchmark("mme_realworld_ad"), rows, {"empty": "first"})
    assert as_script.metrics["reasoning"].value == pytest.approx(2 / 3)  # nothing left is the first choice
    assert as_script.per_row["m3"] == 0  # an answer that is missing is none


def test_rows_of_another_task_are_named():
    """Without the ability, or without the choices, the row and what was expected."""
    bare = ChatRecord("m9", (Turn("human", "q"), Turn("gpt", "A")), meta={"ability": "guess"})
    with pytest.raises(DataError, match=r"row 'm9': meta\.ability is 'guess', expected perception or reasoning"):
        score_answers(find_benchmark("mme_realworld_ad"), [Answered(bare, "A")], {})
    bare = ChatRecord("m9", bare.turns, meta={"ability": "reasoning", "category": "Count"})
    with pytest.raises(DataError, match=r"row 'm9': meta\.candidates is 'None', expected the list of choices"):
        score_answers(find_benchmark("mme_realworld_ad"), [Answered(bare, "A")], {})
    assert score_answers(find_benchmark("mme_realworld_ad"), [], {}).metrics["accuracy"].count == 0


@pytest.mark.parametrize(
    ("truth", "candidates", "message"),
    [
        ("many cars", ["many cars", "none"], "the answer is 'many cars', expected a letter of its choices"),
        ("C", ["many cars", "none"], "the answer is 'C', expected a letter of its choices"),
        ("AB", ["many cars", "none"], "the answer is 'AB', expected a letter of its choices"),
        ("A", [], r"meta\.candidates is '\[\]', expected the list of choices"),
    ],
)
def test_a_truth_that_no_answer_reaches_is_named(truth, candidates, message):
    """A reference without a letter among its choices would make every answer wrong: it is a fault of the data."""
    meta = {"ability": "reasoning", "category": "Count", "candidates": candidates}
    bad = ChatRecord("m8", (Turn("human", "q"), Turn("gpt", truth)), meta=meta)
    with pytest.raises(DataError, match=f"row 'm8': {message}"):
        score_answers(find_benchmark("mme_realworld_ad"), [Answered(bad, "A")], {})


def test_from_the_file_to_the_score(tmp_path):
    """Converted rows score 1 with their own letters, and the paper's rows weigh perception and reasoning into the average."""
    path = write(tmp_path, [ROW, ROW | {"Question_id": "r/1", "Task": "Reasoning", "Ground truth": "A"}])
    convert(task="mme_realworld_ad", input=path, output=tmp_path / "o.jsonl")
    answers = [{"id": record.id, "answer": record.answer} for record in adapt.read_records(tmp_path / "o.jsonl")]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(each) + "\n" for each in answers))
    found = score(benchmark="mme_realworld_ad", predictions=tmp_path / "p.jsonl", references=tmp_path / "o.jsonl")
    assert {name: each["value"] for name, each in found["metrics"].items()} == {
        "accuracy": 1.0, "perception": 1.0, "reasoning": 1.0
    }  # fmt: skip
    for published in find_benchmark("mme_realworld_ad").published:
        low, high = sorted((published["perception"], published["reasoning"]))
        assert low <= published["accuracy"] <= high


@pytest.mark.parametrize("names", [("Question_id", "Output"), ("index", "output")])
def test_the_official_files_are_scored_as_they_are(tmp_path, names):
    """Results of both official scripts, on the official rows or on ours: a half right, other subtasks left out."""
    rows = [ROW, ROW | {"Question_id": "r/1", "Task": "Reasoning", "Ground truth": "A"}]
    path = write(tmp_path, [*rows, ROW | {"Question_id": "o/1", "Subtask": "Monitoring"}])
    results = [{names[0]: row["Question_id"], names[1]: "The best answer is D"} for row in rows]
    results.append({"Question_id": "o/1", "Output": "A", "Subtask": "Monitoring"})
    (tmp_path / "results.json").write_text(json.dumps(results))
    convert(task="mme_realworld_ad", input=path, output=tmp_path / "o.jsonl")
    for references in (path, tmp_path / "o.jsonl"):
        found = score(benchmark="mme_realworld_ad", predictions=tmp_path / "results.json", references=references)
        assert found["metrics"]["accuracy"]["value"] == 0.5 and found["metrics"]["perception"]["value"] == 1.0
        assert found["missing"] == found["unknown"] == []
    paired = score(
        benchmark="mme_realworld_ad", predictions=tmp_path / "results.json", references=path, against=tmp_path / "results.json"
    )["paired"]
    assert (paired["difference"], paired["p"], paired["count"]) == (0.0, 1.0, 2)
    (tmp_path / "results.json").write_text(json.dumps([*results[:1], results[0]]))
    with pytest.raises(DataError, match=r"results\.json#1: a second answer to 'Perception/Autonomous_Driving"):
        score(benchmark="mme_realworld_ad", predictions=tmp_path / "results.json", references=path)
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": ROW["Question_id"], "answer": ["D"]}) + "\n")
    ours = score(benchmark="mme_realworld_ad", predictions=tmp_path / "p.jsonl", references=path)
    assert ours["malformed"] == [ROW["Question_id"]] and ours["metrics"]["accuracy"]["value"] == 0.0
    (tmp_path / "results.json").write_text(json.dumps([{**results[0], names[1]: ["D"]}, {**results[1], names[1]: None}]))
    theirs = score(benchmark="mme_realworld_ad", predictions=tmp_path / "results.json", references=path)
    assert theirs["malformed"] == [ROW["Question_id"]] and theirs["details"]["answers"]["none"] == 2
    (tmp_path / "results.json").write_text(json.dumps([{"Question_id": ROW["Question_id"], "output": "D"}]))
    with pytest.raises(DataError, match=r"results\.json#0: .*expected Question_id and Output, or index and output"):
        score(benchmark="mme_realworld_ad", predictions=tmp_path / "results.json", references=path)
    (tmp_path / "results.json").write_text(json.dumps([{"id": 1}]))
    with pytest.raises(DataError, match=r"results\.json#0: .*expected Question_id and Output, or index and output"):
        score(benchmark="mme_realworld_ad", predictions=tmp_path / "results.json", references=path)
