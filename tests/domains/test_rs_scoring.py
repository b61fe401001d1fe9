"""RSVQA and scene classification: official rules row by row, published numbers recomputed, floors."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapt.domain import Answered, Scores, find_benchmark
from adapt.errors import DataError, UsageError
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord, Turn


def record(
    number: int | str, truth: str, kind: str, source: str = "rsvqa_lr", picture: str = "1.tif", question: str = "question"
) -> ChatRecord:
    turns = (Turn("human", f"<image>\n{question}"), Turn("gpt", truth))
    return ChatRecord(str(number), turns, (picture,), source=source, meta={"type": kind})


def score_one(kind: str, answer: str | None, truth: str, source: str = "rsvqa_lr", convention: str = "original") -> float:
    answered = [Answered(record(0, truth, kind, source), answer)]
    return score_answers(find_benchmark("rsvqa"), answered, {"convention": convention}).per_row["0"]


@pytest.mark.parametrize(
    ("kind", "answer", "truth", "source", "mark"),
    [
        ("presence", "yes", "yes", "rsvqa_lr", 1),
        ("presence", "Yes.", "yes", "rsvqa_lr", 1),
        ("presence", " yes", "yes", "rsvqa_lr", 1),
        ("presence", "yes, there is", "yes", "rsvqa_lr", 0),
        ("presence", "", "yes", "rsvqa_lr", 0),
        ("presence", None, "yes", "rsvqa_lr", 0),
        ("presence", "?", "yes", "rsvqa_lr", 0),
        ("comp", "yes " * 5000, "yes", "rsvqa_lr", 0),
        ("rural_urban", "Urban", "urban", "rsvqa_lr", 1),
        ("count", "0", "0", "rsvqa_lr", 1),
        ("count", None, "0", "rsvqa_lr", 0),
        ("count", "", "0", "rsvqa_lr", 0),
        ("count", "1", "10", "rsvqa_lr", 1),
        ("count", "10", "11", "rsvqa_lr", 0),
        ("count", "11", "100", "rsvqa_lr", 1),
        ("count", "100", "101", "rsvqa_lr", 0),
        ("count", "101", "1000", "rsvqa_lr", 1),
        ("count", "1000", "1001", "rsvqa_lr", 0),
        ("count", "99999", "1001", "rsvqa_lr", 1),
        ("count", "-3", "0", "rsvqa_lr", 0),
        ("count", "five", "5", "rsvqa_lr", 0),
        ("count", "5.0", "5", "rsvqa_lr", 0),
        ("count", "²", "2", "rsvqa_lr", 0),
        ("count", "9" * 10_000, "1001", "rsvqa_lr", 0),
        ("count", "between 0 and 10", "5", "rsvqa_lr", 1),
        ("count", "7", "between 0 and 10", "rsvqa_lr", 1),
        ("count", "More than 1000.", "5000", "rsvqa_lr", 1),
        ("count", "between 5 and 10", "7", "rsvqa_lr", 0),
        ("count", "5", "7", "rsvqa_hr", 0),
        ("count", "7", "7", "rsvqa_hr", 1),
        ("count", "07", "7", "rsvqa_hr", 1),
        ("count", "between 0 and 10", "7", "rsvqa_hr", 0),
        ("count", "7", "between 0 and 10", "rsvqa_hr", 1),
        ("area", "820m2", "500m2", "rsvqa_hr", 1),
        ("area", "820", "500m2", "rsvqa_hr", 1),
        ("area", "820 m2", "500m2", "rsvqa_hr", 1),
        ("area", "0m2", "0m2", "rsvqa_hr", 1),
        ("area", "0m2", "3m2", "rsvqa_hr", 0),
        ("area", "between 100m2 and 1000m2", "820m2", "rsvqa_hr", 1),
        ("area", "more than 1000m2", "6500m2", "rsvqa_hr", 1),
        ("area", "1000m2", "6500m2", "rsvqa_hr", 0),
        ("area", "big", "6500m2", "rsvqa_hr", 0),
    ],
)
def test_original_rule_by_hand(kind, answer, truth, source, mark):
    """The original's classes: spelling by its encoder, bins for LR counts and areas, exact HR counts; nothing is wrong."""
    assert score_one(kind, answer, truth, source) == mark


def test_internvl_rule_equals_the_official_script(shared: Path):
    """Every stored row of InternVL's own script has its mark, faults included."""
    lines = (shared / "golden" / "metrics" / "rsvqa_internvl.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) > 30
    for row in rows:
        mark = score_one(row["type"], row["response"], row["answer"], convention="internvl")
        assert bool(mark) == row["correct"], row


def flat_qa(shared: Path, split: str) -> list[ChatRecord]:
    rows = json.loads((shared / "data" / "rsvqa_lr_flat_qa" / f"{split}_qa.json").read_text())
    return [
        record(row["question_id"], row["answer"], row["type"], picture=row["image"], question=row["question"]) for row in rows
    ]


@pytest.fixture(scope="module")
def test_set(shared: Path) -> list[ChatRecord]:
    return flat_qa(shared, "test")


def score_set(records: list[ChatRecord], answers: list[str]) -> Scores:
    answered = [Answered(each, answer) for each, answer in zip(records, answers, strict=True)]
    return score_answers(find_benchmark("rsvqa"), answered, {})


def test_floors_of_the_whole_test_set(test_set):
    """The majority floors are the counted ones: 56.0, 75.0, 66.7, 28.6, micro 70.1 without counts, 57.9 with them."""
    floor = score_set(test_set, [each.answer for each in test_set]).details["floor"]
    expected = {"rural_urban": 56.0, "presence": 75.0, "comp": 66.7, "count": 28.6, "micro": 70.1, "micro_all": 57.9}
    expected |= {"micro_question_only": 91.4, "micro_all_question_only": 85.1}
    assert {name: round(100 * floor[name], 1) for name in expected} == expected


def test_answering_the_majority_scores_the_floor(test_set):
    """The printed floor is reached by giving each type's majority answer, so it is a score and not an estimate."""
    details = score_set(test_set, [each.answer for each in test_set]).details
    scores = score_set(test_set, [details["majority_answer"][each.meta["type"]] for each in test_set])
    floor = {name: value for name, value in details["floor"].items() if not name.endswith("_question_only")}
    assert {name: pytest.approx(metric.value) for name, metric in scores.metrics.items()} == floor


def test_the_blind_floor_by_hand() -> None:
    """Texts asked twice or more get their most frequent class: 2 of 3 and 1 of 1 without counts; counts of one bin are one."""
    asked = [
        ("A road?", "yes", "presence"), ("a  road?", "yes", "presence"), ("A road?", "no", "presence"),
        ("A lake?", "no", "presence"), ("How many?", "3", "count"), ("How many?", "8", "count"), ("How many?", "0", "count"),
    ]  # fmt: skip
    answered = [Answered(record(n, truth, kind, question=text), None) for n, (text, truth, kind) in enumerate(asked)]
    floor = score_answers(find_benchmark("rsvqa"), answered, {}).details["floor"]
    assert (floor["micro_question_only"], floor["micro_all_question_only"]) == (3 / 4, 5 / 7)


def test_truth_scores_one_and_counts_are_the_documented_ones(test_set):
    """The truth against itself is right everywhere, with the documented number of questions behind each metric."""
    metrics = score_set(test_set, [each.answer for each in test_set]).metrics
    assert {metric.value for metric in metrics.values()} == {1.0}
    counts = {"rural_urban": 100, "presence": 2955, "comp": 4002, "count": 2947}
    counts |= {"micro": 7057, "macro": 7057, "micro_all": 10004, "macro_all": 10004}
    assert {name: metric.count for name, metric in metrics.items()} == counts


@pytest.mark.parametrize(
    ("name", "rural_urban", "presence", "comp", "micro", "macro"),
    [
        ("RSVQA", 90.00, 87.46, 81.50, 84.12, 86.32),
        ("GeoChat", 94.00, 91.09, 90.33, 90.70, 91.81),
        ("SkyEyeGPT", 75.00, 88.93, 88.63, 88.56, 84.19),
        ("SkySenseGPT", 95.00, 91.07, 92.00, 91.65, 92.69),
        ("Bi-Modal", 92.66, 91.06, 91.16, 91.14, 91.63),
        ("RSGPT", 94.00, 91.17, 91.70, 91.51, 92.29),
        ("DA-1B", 95.00, 81.39, 91.6, 87.37, 89.33),
        ("DA-2B", 93.00, 87.07, 91.85, 89.86, 90.64),
        ("DA-4B", 92.00, 85.69, 92.18, 89.46, 89.96),
        ("Mini-4B zero-shot", 66.00, 64.64, 73.26, 69.55, 67.97),
        ("InternVL2-76B zero-shot", 61.00, 66.29, 79.61, 73.77, 68.97),
    ],
)
def test_micro_and_macro_of_published_rows(name, rural_urban, presence, comp, micro, macro):
    """Answers with the published share of each type give the published (or recomputed) micro and macro."""
    answered = []
    for kind, count, share in (("rural_urban", 100, rural_urban), ("presence", 2955, presence), ("comp", 4002, comp)):
        right = round(count * share / 100)
        answered += [Answered(record(f"{kind}{row}", "yes", kind), "yes" if row < right else "no") for row in range(count)]
    answered += [Answered(record(f"count{row}", "5", "count"), None) for row in range(2947)]
    metrics = score_answers(find_benchmark("rsvqa"), answered, {}).metrics
    assert 100 * metrics["micro"].value == pytest.approx(micro, abs=0.015)
    assert 100 * metrics["macro"].value == pytest.approx(macro, abs=0.2 if name == "Bi-Modal" else 0.015)  # 92.66 of 100 rows
    assert metrics["micro_all"].value == pytest.approx(metrics["micro"].value * 7057 / 10004)
    assert metrics["macro_all"].value == pytest.approx(metrics["macro"].value * 3 / 4)


PRINTED = {
    "RSVQA": ("macro", 86.32),
    "GeoChat": ("micro", 90.70),
    "SkyEyeGPT": ("macro", 84.19),
    "SkySenseGPT": ("macro", 92.69),
    "Bi-Modal": ("macro", 91.63),
    "RSGPT": ("macro", 92.29),
    "Mini-InternVL-4B, zero-shot": ("micro", 69.55),
    "InternVL2-76B, zero-shot": ("micro", 73.77),
    "Mini-InternVL-DA-1B": ("micro", 87.37),
    "Mini-InternVL-DA-2B": ("micro", 89.87),
    "Mini-InternVL-DA-4B": ("micro", 89.46),
    "PaliGemma 3B, 224 px": ("macro", 92.65),
    "PaliGemma 3B, 448 px": ("macro", 93.11),
}


def published(of: str) -> list[dict[str, Any]]:
    return [dict(row) for row in find_benchmark("rsvqa").published if row["set"] == of]


def test_published_rows_name_the_average_that_they_print() -> None:
    """Each LR row's recomputed average is the printed one under the name that the paper leaves open, micro or macro."""
    rows = {row["name"]: row for row in published("RSVQA-LR test") if "macro_all" not in row}
    assert set(rows) == set(PRINTED)
    for name, (average, percent) in PRINTED.items():
        assert 100 * rows[name][average] == pytest.approx(percent, abs=0.011), name
        assert f"{average} printed" in rows[name]["convention"]
    assert (rows["Mini-InternVL-DA-1B"]["micro"], rows["Mini-InternVL-DA-1B"]["macro"]) == (0.8737, 0.8933)


def test_the_original_averages_hold_their_counts() -> None:
    """The AA and OA of RSVQA's paper on LR follow from its four types: 81.49 and 79.08."""
    with_counts, without = (
        next(row for row in published("RSVQA-LR test") if row["name"] == "RSVQA" and ("count" in row) == wanted)
        for wanted in (True, False)
    )
    types = {"rural_urban": 100, "presence": 2955, "comp": 4002, "count": 2947}
    shares = without | with_counts
    assert shares["macro_all"] == pytest.approx(sum(shares[kind] for kind in types) / 4, abs=1e-4)
    assert shares["micro_all"] == pytest.approx(sum(shares[kind] * types[kind] for kind in types) / 10_004, abs=1e-4)


def test_published_rows_of_high_resolution() -> None:
    """One mixture of presence and comparison explains every printed micro average of a test set; SkySenseGPT's is the mean."""
    for split, comparisons in (("test", 0.5545), ("test_phili", 0.56)):
        rows = published(f"RSVQA-HR {split}")
        printed = [row for row in rows if "micro" in row]
        assert len(printed) == (5 if split == "test" else 6)
        for row in printed:
            mixed = (1 - comparisons) * row["presence"] + comparisons * row["comp"]
            assert row["micro"] == pytest.approx(mixed, abs=2e-4), row["name"]
        (eye,) = (row for row in rows if row["name"] == "SkyEyeGPT")
        assert eye["macro"] == {"test": 0.8529, "test_phili": 0.8189}[split]
    sky = next(row for row in published("RSVQA-HR test_phili") if row["name"] == "SkySenseGPT")
    assert sky["macro"] == 0.7664 and "micro" not in sky and "macro printed" in sky["convention"]


def test_published_rows_of_grounding() -> None:
    """DIOR-RSVG's rows have the documented numbers and say under which overlap they were measured."""
    rows = {row["name"]: dict(row) for row in find_benchmark("rsground").published}
    assert rows["LPVA"] == {
        "name": "LPVA", "set": "DIOR-RSVG test", "source": "github.com/like413/OPT-RSVG",
        "convention": "original: plain IoU, >=", "acc@0.5": 0.8227, "acc@0.6": 0.7744, "acc@0.7": 0.7225, "acc@0.8": 0.6098,
        "acc@0.9": 0.3955, "mean_iou": 0.7235, "cum_iou": 0.8511,
    }  # fmt: skip
    best = rows["Mini-InternVL-DA-4B"]
    assert (best["acc@0.5"], best["convention"]) == (0.9204, "internvl: IoU plus one pixel, >")
    assert len(rows) == 9 and all(row["acc@0.5"] < 1 for row in rows.values())


def test_high_resolution_by_hand() -> None:
    """Eight questions of HR: micro and macro leave counts and areas out; exact counts under original, bins under InternVL's."""
    rows = [
        ("presence", "yes", "yes"), ("presence", "no", "yes"), ("presence", "no", "no"), ("comp", "no", "no"),
        ("count", "7", "7"), ("count", "7", "9"), ("area", "50m2", "12m2"), ("area", "50m2", "500m2"),
    ]  # fmt: skip
    answered = [Answered(record(n, truth, kind, "rsvqa_hr"), answer) for n, (kind, truth, answer) in enumerate(rows)]
    expected = {
        "original": {"presence": 2 / 3, "comp": 1, "count": 1 / 2, "area": 1 / 2, "micro": 3 / 4, "macro": 5 / 6,
                     "micro_all": 5 / 8, "macro_all": (2 / 3 + 1 + 1 / 2 + 1 / 2) / 4},
        "internvl": {"presence": 2 / 3, "comp": 1, "count": 1, "area": 0, "micro": 3 / 4, "macro": 5 / 6,
                     "micro_all": 5 / 8, "macro_all": (2 / 3 + 1 + 1 + 0) / 4},
    }  # fmt: skip
    for convention, values in expected.items():
        scores = score_answers(find_benchmark("rsvqa"), answered, {"convention": convention})
        assert {name: metric.value for name, metric in scores.metrics.items()} == pytest.approx(values)
    assert scores.metrics["micro"].count == 4 and scores.metrics["micro_all"].count == 8


def test_the_convention_is_a_sentence() -> None:
    """Whoever reads the scores alone learns the bins, and which types the headline leaves out."""
    for convention, bins in (("original", "0, 10, 100, 1000"), ("internvl", "0, 100, 1000")):
        scores = score_answers(find_benchmark("rsvqa"), [Answered(record(0, "yes", "comp"), "yes")], {"convention": convention})
        assert bins in scores.convention and "micro leaves count and area out" in scores.convention


def test_numbers_alone_have_a_headline() -> None:
    """A file of counts is read by micro_all: micro is of no row, and 0 would be taken for a score."""
    rows = [Answered(record(n, "5", "count"), answer) for n, answer in enumerate(("5", "500"))]
    scores = score_answers(find_benchmark("rsvqa"), rows, {})
    assert (scores.headline, scores.metrics["micro_all"].value, scores.metrics["micro"].count) == ("micro_all", 0.5, 0)


def test_a_class_that_is_not_offered_is_named() -> None:
    """No answer could be right there: the row is a fault of the data, and one line says which."""
    turns = (Turn("human", "<image>\nClassify"), Turn("gpt", "B"))
    for meta in ({"label": "desert", "candidates": CLASSES}, {"candidates": CLASSES}):
        with pytest.raises(DataError, match="row 'r4': the class '(desert|B)' is none of the 3 in meta.candidates"):
            score_answers(find_benchmark("rsclassify"), [Answered(ChatRecord("r4", turns, meta=meta), "forest")], {})


def test_conventions_differ_where_they_should():
    """5 against 70: one bin under InternVL's rule, two under the original; another name is refused."""
    assert score_one("count", "5", "70", convention="internvl") == 1
    assert score_one("count", "5", "70", convention="original") == 0
    with pytest.raises(UsageError, match="original, internvl"):
        score_one("count", "5", "70", convention="paper")


def test_a_missing_type_is_named():
    """A reference without meta.type is a DataError with its id."""
    turns = (Turn("human", "q"), Turn("gpt", "yes"))
    with pytest.raises(DataError, match="row 'x'.*meta.type.*presence"):
        score_answers(find_benchmark("rsvqa"), [Answered(ChatRecord("x", turns), "yes")], {})


CLASSES = ["annual crop", "forest", "sea lake"]


def scene(number: int, label: str) -> ChatRecord:
    turns = (Turn("human", "<image>\nClassify"), Turn("gpt", label))
    return ChatRecord(str(number), turns, (f"{number}.jpg",), meta={"label": label, "candidates": CLASSES})


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        ("annual crop", 1),
        ("Annual Crop", 1),
        ("AnnualCrop", 1),
        ("annual_crop", 1),
        ("annual crop.", 1),
        (" annual crop \n", 1),
        ("forest", 0),
        ("crop", 0),
        ("annual crop, forest", 0),
        ("It is annual crop", 0),
        ("A", 0),  # no letters were offered
        ("", 0),
        (None, 0),
        ("annual crop " * 5000, 0),
    ],
)
def test_scene_answers_by_hand(answer, mark):
    """GeoChat's rule: equal after dropping blanks, dots and case; anything around the name is wrong."""
    scores = score_answers(find_benchmark("rsclassify"), [Answered(scene(0, "annual crop"), answer)], {})
    assert scores.per_row["0"] == mark


AID_AND_UCM = ("BareLand", "DenseResidential", "RailwayStation", "agricultural", "mobilehomepark", "storagetanks")


@pytest.mark.parametrize("label", AID_AND_UCM)
def test_geochats_rule_by_its_formula(label: str) -> None:
    """On the folder names of AID and UC Merced our mark is GeoChat's: blanks and dots dropped, lower case, then equal."""
    names = [*AID_AND_UCM]
    answers = [label, label.lower(), f"{label}.", label[:4] + " " + label[4:], f"a {label}", f"{label}s", "", "none", *names]
    for answer in answers:
        turns = (Turn("human", "<image>\nClassify"), Turn("gpt", label))
        row = ChatRecord("0", turns, ("0.jpg",), meta={"label": label, "candidates": names})
        official = answer.replace(" ", "").lower().replace(".", "") == label.lower()
        assert score_answers(find_benchmark("rsclassify"), [Answered(row, answer)], {}).per_row["0"] == official, answer


def test_accuracy_recall_confusion_by_hand():
    """Six answers counted by hand: 3 of 6 right, recalls 2/3, 1/2 and 0, one answer out of the list."""
    truths = ["annual crop", "annual crop", "annual crop", "forest", "forest", "sea lake"]
    answers = ["annual crop", "AnnualCrop", "forest", "forest", "a lake, I think", "forest"]
    answered = [
        Answered(scene(number, truth), answer) for number, (truth, answer) in enumerate(zip(truths, answers, strict=True))
    ]
    scores = score_answers(find_benchmark("rsclassify"), answered, {})
    assert scores.metrics["accuracy"].value == 0.5
    assert scores.metrics["balanced_accuracy"].value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores.details["out_of_list"] == 1
    assert scores.details["recall"]["annual crop"] == {"value": pytest.approx(2 / 3), "count": 3}
    assert scores.details["confusion"]["forest"] == {"(out of list)": 1, "forest": 1}
    assert scores.details["confusion"]["sea lake"] == {"forest": 1}
    assert scores.details["floor"]["accuracy"] == 0.5
    assert scores.details["floor"]["balanced_accuracy"] == pytest.approx(1 / 3)
