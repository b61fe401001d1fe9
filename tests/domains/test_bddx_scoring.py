"""The BDD-X benchmark: sentences as the COCO scorers see them, signals by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.domain import Answered, Scores, find_benchmark
from adapt.errors import DataError
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord, Turn
from adapt.verbs import convert, score
from domains.driving.bddx_scoring import read_signal


def row(clip: int, kind: str, truth: str, answer: str | None, question: str = "?", **signals: float) -> Answered:
    turns = (Turn("human", f"<image>\n{question}"), Turn("gpt", truth))
    meta = {"kind": kind, "clip": f"c{clip}"} | signals
    return Answered(ChatRecord(f"c{clip}-{kind}", turns, (f"{clip}.jpg",), meta=meta), answer)


def scored(*rows: Answered) -> Scores:
    return score_answers(find_benchmark("bddx"), rows, {})


def signal(answer: str | None, name: str = "speed", question: str = "?", **truths: float) -> float | None:
    return read_signal(row(0, "signals", "1 2", answer, question, **(truths or {name: 1.0})), name)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("2.09", 2.09), ("-0.5", -0.5), (" 3 ", 3), ("3.", 3), ("The speed is 4.5 m/s.", 4.5), ("+2", 2), ("1 or 2", None),
        ("fast", None), ("", None), (None, None), ("1e9", None), ("9999999", None), ("9" * 5000, None), ("2,5", None),
        ("\N{MINUS SIGN}0.5", -0.5), (".5", 0.5), ("-.25", -0.25), ("1.2.3", None), ("2.0" + " " * 2000, None),
    ],
)  # fmt: skip
def test_a_number_by_hand(answer: str | None, value: float | None) -> None:
    """Exactly one number, in a sentence or alone; none, several and absurd ones are not read."""
    assert signal(answer) == value


@pytest.mark.parametrize(
    ("answer", "question", "speed", "angle"),
    [
        ("(2.0, -5.0)", "Predict the control signals.", 2, -5),
        ("speed 2.0, turning angle -5.0", "?", 2, -5),
        ("The angle is -5.0 and the speed 2.0", "?", 2, -5),
        ("-5.0 2.0", "What are the steering angle and the speed?", 2, -5),
        ("2.0", "?", None, None),
        ("1 2 3", "?", None, None),
    ],
)
def test_two_numbers_by_hand(answer: str, question: str, speed: float | None, angle: float | None) -> None:
    """By the words of the answer, else of the question, else speed first."""
    asked = {"speed": 0.0, "angle": 0.0}
    assert (signal(answer, "speed", question, **asked), signal(answer, "angle", question, **asked)) == (speed, angle)


def test_rmse_and_tolerances_by_hand() -> None:
    """Errors 0.1, 0.5, 0 and 4: the root of their mean square; the shares within 0.1, 0.5, 1 and 5, borders included."""
    truths, answers = (2.09, 1.5, 3.0, 0.0), ("2.19", "1.0", "3", "4")
    rows = [row(n, "speed", "x", answer, speed=truth) for n, (truth, answer) in enumerate(zip(truths, answers, strict=True))]
    metrics = scored(*rows).metrics
    assert metrics["speed_rmse"].value == pytest.approx(math.sqrt((0.01 + 0.25 + 0 + 16) / 4))
    assert [metrics[f"speed_a_{most}"].value for most in ("0.1", "0.5", "1", "5")] == [0.5, 0.75, 0.75, 1.0]
    assert metrics["speed_rmse"].count == 4 and metrics["angle_rmse"].count == 0


def test_an_unread_number_is_the_worst_in_range() -> None:
    """Truths 0, 2 and 10, nothing answered: errors 10, 8 and 10, within no tolerance, and counted."""
    rows = [row(n, "angle", "x", None, angle=truth) for n, truth in enumerate((0.0, 2.0, 10.0))]
    scores = scored(*rows)
    assert scores.metrics["angle_rmse"].value == pytest.approx(math.sqrt((100 + 64 + 100) / 3))
    assert scores.metrics["angle_a_5"].value == 0 and scores.details["unread_numbers"] == {"speed": 0, "angle": 3}


def test_no_answer_is_never_without_error() -> None:
    """Where all truths are equal, silence still errs by the widest tolerance: 5, not 0, beside an exact answer's 0."""
    rows = [row(n, "speed", "x", answer, speed=3.0) for n, answer in enumerate(("3.0", None))]
    metrics = scored(*rows).metrics
    assert metrics["speed_rmse"].value == pytest.approx(math.sqrt(25 / 2)) and metrics["speed_a_5"].value == 0.5


def test_the_headline_has_rows() -> None:
    """A file of one kind has a headline of that kind, with items behind it, and not the CIDEr of no clip."""
    pair = SENTENCES[0]
    described, justified = row(0, "description", pair[0], "x"), row(0, "justification", pair[1], "x")
    speed = row(1, "speed", "x", "2", speed=2.0)
    expected = {"both_cider": (described, justified, speed), "description_cider": (described, speed), "speed_a_1": (speed,)}
    for name, rows in expected.items():
        scores = scored(*rows)
        assert scores.headline == name and scores.metrics[name].count == 1


SENTENCES = (
    ("The car slows down to a stop.", "Since the light ahead became red."),
    ("The car moves forward slowly.", "Because the traffic is moving again."),
    ("The car turns to the left.", "Because it enters another street."),
)


def test_right_sentences_have_the_most() -> None:
    """The truth itself: ones, CIDEr 10; both is one text a clip, so three of each."""
    rows = [
        row(n, k, t, t) for n, pair in enumerate(SENTENCES) for k, t in zip(("description", "justification"), pair, strict=True)
    ]
    scores = scored(*rows)
    for name in ("description", "justification", "both"):
        found = [scores.metrics[f"{name}_{metric}"] for metric in ("bleu_4", "rouge_l", "cider")]
        assert [metric.value for metric in found] == pytest.approx([1, 1, 10]) and {metric.count for metric in found} == {3}
    assert scores.per_row == {each.record.id: 1.0 for each in rows}


def test_sentences_equal_the_coco_scorers() -> None:
    """Against pycocoevalcap on the same tokens, for each kind and for both as one text."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    from adapt.evaluate.tokens import ptb_tokens

    answers = [
        ("The car stops.", "The light is red."),
        ("The car moves slowly.", ""),
        ("A car turns right.", "It enters a street."),
    ]
    rows = [
        row(number, kind, truth, answer)
        for number, (truths, said) in enumerate(zip(SENTENCES, answers, strict=True))
        for kind, truth, answer in zip(("description", "justification"), truths, said, strict=True)
    ]
    metrics = scored(*rows).metrics
    parts = {"description": lambda pair: pair[0], "justification": lambda pair: pair[1], "both": " ".join}
    for name, part in parts.items():
        gts = {n: [" ".join(ptb_tokens(part(pair)))] for n, pair in enumerate(SENTENCES)}
        res = {n: [" ".join(ptb_tokens(part(pair)))] for n, pair in enumerate(answers)}
        found = {"bleu_4": Bleu(4).compute_score(gts, res, verbose=0)[0][3], "cider": Cider().compute_score(gts, res)[0]}
        found["rouge_l"] = Rouge().compute_score(gts, res)[0]
        for metric, value in found.items():
            assert metrics[f"{name}_{metric}"].value == pytest.approx(value, abs=1e-12), (name, metric)


def test_a_clip_with_one_kind_is_in_that_alone() -> None:
    """A description without its justification counts under description and not under both; other questions are counted."""
    scores = scored(row(0, "description", *SENTENCES[0][:1] * 2), row(1, "other", "x", "y"))
    assert scores.metrics["both_cider"].count == 0 and scores.metrics["description_rouge_l"].count == 1
    assert scores.details["not_scored"] == {"other": 1} and scores.details["clips_with_both"] == 0


@pytest.mark.parametrize("answer", [None, "", "stop " * 3000, "?!", "\x00"])
def test_wrong_answers_are_wrong_and_finite(answer: str | None) -> None:
    """Missing, empty, over-long and odd sentences have next to nothing, and the scores are plain JSON."""
    scores = scored(*[row(n, "description", pair[0], answer) for n, pair in enumerate(SENTENCES)])
    metric = scores.metrics["description_bleu_4"]
    assert metric.value < 0.01 and json.dumps([metric.value, metric.low, metric.high], allow_nan=False)


def test_the_floor_is_a_score() -> None:
    """Always the most frequent sentence and the mean number have what is printed as the floor."""
    rows = [row(n, "description", SENTENCES[n % 2 and 1][0], None) for n in range(5)]
    rows += [row(n, "speed", "x", None, speed=float(n)) for n in range(5)]
    details = scored(*rows).details
    said = [
        Answered(each.record, "2.0" if "speed" in each.record.meta else details["most_frequent"]["description"])
        for each in rows
    ]
    metrics = scored(*said).metrics
    for name, value in details["floor"].items():
        if metrics[name].count:
            assert metrics[name].value == pytest.approx(value), name
    assert (
        details["floor"]["speed_rmse"] == pytest.approx(math.sqrt(2))
        and details["most_frequent"]["description"] == SENTENCES[0][0]
    )


def test_published_rows() -> None:
    """Rows of the paper's tables as shares, CIDEr a hundredth of what is printed; where no signals are printed none stand."""
    rows = {row["name"]: row for row in find_benchmark("bddx").published}
    assert (rows["Mini-InternVL-DA-2B"]["description_cider"], rows["DriveGPT4"]["justification_cider"]) == (2.4214, 1.0155)
    assert (rows["Mini-InternVL-DA-2B"]["speed_rmse"], rows["Mini-InternVL-DA-1B"]["angle_rmse"]) == (1.26, 9.45)
    assert rows["Mini-InternVL-DA-4B"]["angle_a_5"] == 0.9265
    assert rows["ADAPT"]["both_rouge_l"] == 0.4432 and not any(name.startswith(("speed", "angle")) for name in rows["ADAPT"])


def test_rows_without_a_kind_are_named() -> None:
    """A reference that was not converted is one line with its id and the command."""
    turns = (Turn("human", "q"), Turn("gpt", "a"))
    with pytest.raises(DataError, match="row 'x'.*meta.kind.*convert --task bddx"):
        score_answers(find_benchmark("bddx"), [Answered(ChatRecord("x", turns), "a")], {})


def test_converted_rows_are_scored(tmp_path: Path) -> None:
    """From a file of clips by the documented commands to scores: the truth has errors of 0 and all shares 1."""
    asked = (
        "What is the action of the car?",
        "Why does it do so?",
        "Predict the speed of the next frame.",
        "Predict the angle.",
    )
    clips: list[dict[str, Any]] = []
    for number, pair in enumerate(SENTENCES):
        (tmp_path / "clips" / str(number)).mkdir(parents=True)
        for frame in range(2):
            Image.new("RGB", (32, 18), (frame * 20, number, 0)).save(tmp_path / "clips" / str(number) / f"{frame}.png")
        answers = (*pair, f"{number}.25", f"-{number}.5")
        turns = [
            {"from": r, "value": t}
            for pair in zip(asked, answers, strict=True)
            for r, t in zip(("human", "gpt"), pair, strict=True)
        ]
        turns[0]["value"] = f"<video>\n{turns[0]['value']}"
        clips.append({"id": f"clip{number}", "video": f"clips/{number}", "conversations": turns})
    (tmp_path / "BDD_X_testing.json").write_text(json.dumps(clips))
    convert(
        task="bddx", input=tmp_path / "BDD_X_testing.json", output=tmp_path / "bddx.jsonl", option={"frames": "2"}, workers=0
    )
    rows = [{"id": record.id, "answer": record.answer} for record in adapt.read_records(tmp_path / "bddx.jsonl")]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    metrics = score(benchmark="bddx", predictions=tmp_path / "p.jsonl", references=tmp_path / "bddx.jsonl")["metrics"]
    assert (metrics["speed_rmse"]["value"], metrics["angle_rmse"]["value"], metrics["angle_a_0.1"]["value"]) == (0, 0, 1)
    assert metrics["both_cider"] == pytest.approx({"value": 10, "count": 3, "low": 10, "high": 10})
