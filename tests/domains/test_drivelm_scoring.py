"""The DriveLM benchmark: the official evaluator's values, its rules by hand, official files and chat JSONL alike."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt import cli, command
from adapt.domain import Answered, Scores, find_benchmark
from adapt.errors import DataError, UsageError
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord, Turn
from adapt.verbs import convert, score
from domains.driving.drivelm_scoring import match, read_rating

# golden/README.txt of the sample: the official evaluator with a judge that always answers 50.
GOLDEN: dict[str, dict[str, float]] = {
    "output": {
        "accuracy": 0.0, "gpt": 0.5, "match": 0.25, "bleu_1": 0.19878472222204968, "bleu_2": 0.08021752318262533,
        "bleu_3": 0.03049990469169432, "bleu_4": 2.240968392219611e-06, "rouge_l": 0.18421722346531388,
        "cider": 0.0017230094120258114, "final": 0.2674510414781805,
    },
    "submission": {
        "accuracy": 1 / 9, "gpt": 0.5, "match": 0.25, "bleu_1": 0.015097121284516488, "bleu_2": 5.901872350479347e-11,
        "bleu_3": 9.524112634310722e-14, "bleu_4": 3.901273924860871e-15, "rouge_l": 0.1213509892819974,
        "cider": 7.342572620175232e-20, "final": 0.2805639068634159,
    },
    "truth": {
        "accuracy": 1.0, "gpt": 0.5, "match": 0.7499999958333333, "bleu_1": 1.0, "bleu_2": 1.0, "bleu_3": 1.0, "bleu_4": 1.0,
        "rouge_l": 1.0, "cider": 10.0, "final": 0.7499999991664514,
    },
}  # fmt: skip
SCORED = {"output": (9, 9, 9, 4), "submission": (9, 9, 9, 4), "truth": (26, 27, 9, 4)}


@pytest.fixture(scope="module")
def sample(shared: Path) -> Path:
    return shared / "data" / "drivelm_sample"


@pytest.fixture(scope="module")
def truth(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The truth of test_eval.json in the form of output.json."""
    rows = []
    for scene, content in json.loads((sample / "test_eval.json").read_text()).items():
        for frame, value in content["key_frames"].items():
            asked = [row for kind in ("perception", "prediction", "planning", "behavior") for row in value["QA"][kind]]
            rows += [{"id": f"{scene}_{frame}_{number}", "answer": row["A"]} for number, row in enumerate(asked)]
    path = tmp_path_factory.mktemp("truth") / "truth.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(scope="module")
def chat(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """test_eval.json as chat JSONL; tiny pictures of the same names, since pixels do not matter here."""
    root = tmp_path_factory.mktemp("chat")
    for path in sample.glob("**/*.jpg"):
        place = root / path.relative_to(sample)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 18), (len(path.name), 90, 90)).save(place)
    (root / "test_eval.json").write_bytes((sample / "test_eval.json").read_bytes())
    convert(task="drivelm", input=root / "test_eval.json", images=root, output=root / "test.jsonl", workers=0)
    return root / "test.jsonl"


def official(name: str, sample: Path, truth: Path, judge: str = "constant:50") -> dict[str, Any]:
    predictions = truth if name == "truth" else sample / f"{name}.json"
    return score(benchmark="drivelm", predictions=predictions, references=sample / "test_eval.json", option=[f"judge={judge}"])


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name: str, sample: Path, truth: Path) -> None:
    """Every value of the official evaluator, its language metrics included, to far below 1e-6, and its denominators."""
    document = official(name, sample, truth)
    found = {metric: document["metrics"][metric]["value"] for metric in GOLDEN[name]}
    assert found == pytest.approx(GOLDEN[name], abs=1e-9)
    scored = document["details"]["scored"]
    assert tuple(scored[part]["scored"] for part in ("accuracy", "gpt", "language", "match")) == SCORED[name]
    assert {part: row["of"] for part, row in scored.items()} == {"accuracy": 26, "gpt": 27, "language": 9, "match": 4}
    assert document["missing"] == [] and document["details"]["questions"]["of_the_challenge"] == 66
    for metric in document["metrics"].values():
        assert metric["low"] <= metric["value"] <= metric["high"]


def test_without_a_judge_the_score_is_named_so(sample: Path, truth: Path) -> None:
    """No gpt, match or final; final_offline is a third each of three parts; the convention says it is no challenge score."""
    document = official("truth", sample, truth, judge="none")
    metrics = document["metrics"]
    assert not {"gpt", "match", "final"} & set(metrics)
    assert document["headline"] == "final_offline" and "no challenge score" in document["convention"]
    parts = [metrics[name]["value"] for name in ("accuracy", "match_f1", "language")]
    assert metrics["final_offline"]["value"] == pytest.approx(sum(parts) / 3) == pytest.approx(1, abs=1e-7)


def write_predictions(path: Path, answers: Mapping[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": name, "answer": answer}) + "\n" for name, answer in answers.items()))
    return path


@pytest.mark.parametrize("name", GOLDEN)
def test_chat_rows_score_as_the_official_files(name: str, sample: Path, truth: Path, chat: Path, tmp_path: Path) -> None:
    """The same answers against converted rows: every metric, interval and denominator is that of the official files."""
    document = json.loads((truth if name == "truth" else sample / f"{name}.json").read_text())
    rows = document if isinstance(document, list) else document["results"]
    predictions = write_predictions(tmp_path / "p.jsonl", {row["id"]: row["answer"] for row in rows})
    found = score(benchmark="drivelm", predictions=predictions, references=chat, option=["judge=constant:50"])
    expected = official(name, sample, truth)
    for metric, row in expected["metrics"].items():
        assert found["metrics"][metric] == pytest.approx(row, abs=1e-12), metric
    assert found["details"]["scored"] == expected["details"]["scored"]


def test_stitched_answers_are_scored_in_their_cameras(chat: Path, tmp_path: Path) -> None:
    """The truth as a model learns it, tags of the stitched picture, opens the gate and matches every point."""
    answers = {record.id: record.answer for record in adapt.read_records(chat)}
    found = score(benchmark="drivelm", predictions=write_predictions(tmp_path / "p.jsonl", answers), references=chat)
    metrics = {name: row["value"] for name, row in found["metrics"].items()}
    assert (metrics["accuracy"], metrics["match_f1"]) == (1.0, pytest.approx(1, abs=1e-7))
    assert found["details"]["scored"]["gpt"] == {"scored": 27, "of": 27, "left_out_by_the_gate": 0}
    assert metrics["language"] == pytest.approx(0.759, abs=5e-4)  # coordinates are words, and rounding changed them


def test_the_published_weights() -> None:
    """The final scores of the published rows follow from their parts by this benchmark's weights, to 0.0001."""
    full = [row for row in find_benchmark("drivelm").published if "bleu_1" in row]
    assert len(full) == 6
    for row in full:
        bleus = sum(row[f"bleu_{order}"] for order in (1, 2, 3, 4))
        language = bleus / 12 + row["rouge_l"] / 3 + row["cider"] / 30
        final = 0.4 * row["gpt"] + 0.2 * (language + row["match"] + row["accuracy"])
        assert final == pytest.approx(row["final"], abs=1.5e-4), row["name"]


@pytest.mark.parametrize(
    ("answer", "truth", "f1", "hits"),
    [
        ("<c1,CAM_BACK,10.0,20.0>", "<c1,CAM_BACK,10.0,20.0>", 1, [(10, 20)]),
        ("<c1,CAM_BACK,18.0,27.9>", "<c1,CAM_BACK,10.0,20.0>", 1, [(10, 20)]),  # 15.9 away
        ("<c1,CAM_BACK,18.0,28.0>", "<c1,CAM_BACK,10.0,20.0>", 0, []),  # 16 is too far
        ("<c1,CAM_BACK,10,20>", "<c1,CAM_BACK,10.0,20.0>", 0, []),  # integers are no points
        ("<c1,CAM_BACK,1600,20.0>", "<c1,CAM_BACK,1600.0,20.0>", 0, []),
        ("10.0 20.0 5.5", "10.0 20.0", 1, [(10, 20)]),  # the odd one is dropped
        ("10.0 20.0 10.0 20.0", "10.0 20.0", 2 / 3, [(10, 20)]),  # a point is hit once
        ("10.0 20.0", "10.0 20.0 90.0 90.0", 2 / 3, [(10, 20)]),
        ("14.0 20.0 10.0 20.0", "10.0 20.0 24.0 20.0", 1, [(10, 20), (24, 20)]),  # 14 away is near enough
        ("22.0 20.0 28.0 20.0", "20.0 20.0 30.0 20.0", 1, [(20, 20), (30, 20)]),
        ("9.0 0.0 0.0 0.0", "0.0 0.0 20.0 0.0", 1 / 2, [(0, 0)]),  # greedy: the first takes what the second needs
        ("", "10.0 20.0", 0, []),
        ("10.0 20.0", "nothing", 0, []),
        ("1.2.3.4", "1.2 3.4", 1, [(1.2, 3.4)]),
        ("9" * 100_000 + ".5 1.0", "1.0 1.0", 0, []),
    ],
)
def test_match_by_hand(answer: str, truth: str, f1: float, hits: list[tuple[float, float]]) -> None:
    """Greedy in the answer's order, the nearest point left by L1, below 16 pixels, decimals only."""
    found, points = match(answer, truth)
    assert found == pytest.approx(f1, abs=1e-7) and points == hits


FIRST = ("What are the important objects?", "<c1,CAM_BACK,10.0,20.0> and <c2,CAM_FRONT,300.0,400.0>", [2])


def ask(*asked: tuple[str, str, list[int], str | None], options: Mapping[str, str] | None = None) -> Scores:
    """Score (question, truth, tags, answer) rows of one frame."""
    answered = []
    for number, (question, expected, tag, answer) in enumerate(asked):
        meta = {"tag": tag, "scene": "s", "frame": "f", "kind": "k", "question_original": question, "answer_original": expected}
        turns = (Turn("human", question), Turn("gpt", expected or "?"))
        answered.append(Answered(ChatRecord(f"s_f_{number}", turns, meta=meta), answer))
    return score_answers(find_benchmark("drivelm"), answered, options or {})


@pytest.mark.parametrize(
    ("first", "question", "count"),
    [
        (FIRST[1], "Is <c1,CAM_BACK,10.0,20.0> a car?", 1),
        ("12.0 21.0", "Is <c1,CAM_BACK,10.0,20.0> a car?", 1),  # a near miss opens the truth's own point
        ("12.0 21.0", "Is <c1,CAM_BACK,12.0,21.0> a car?", 0),  # and not its own
        ("12.0 21.0", "Are <c1,CAM_BACK,10.0,20.0> and <c2,CAM_FRONT,300.0,400.0> near?", 0),  # each has to be open
        ("nothing", "Is <c1,CAM_BACK,10.0,20.0> a car?", 0),
        ("nothing", "Is the car red?", 1),
        ("nothing", "Is <c1,CAM_BACK,10,20> a car?", 1),  # no decimal: always passes
        (None, "Is <c1,CAM_BACK,10.0,20.0> a car?", 0),
        (None, "Is the car red?", 1),
    ],
)
def test_the_gate_by_hand(first: str | None, question: str, count: int) -> None:
    """What a frame's first answer hits decides which later questions are scored; the denominators say so."""
    scores = ask((*FIRST, first), (question, "Yes.", [0], "Yes."))
    assert scores.metrics["accuracy"].count == count and scores.metrics["accuracy"].value == float(count)
    assert scores.details["scored"]["accuracy"] == {"scored": count, "of": 1, "left_out_by_the_gate": 1 - count}
    assert scores.metrics["language"].count == 1


@pytest.mark.parametrize(
    ("answer", "mark"),
    [("No.", 1), ("No", 0), ("no.", 0), (" No. ", 1), ("The correct answer is No.", 0), ("", 0), (None, 0), ("No. " * 9999, 0)],
)
def test_accuracy_by_hand(answer: str | None, mark: int) -> None:
    """Exact text, case and full stop included; blanks around a model's answer are taken away as its own script does."""
    assert ask(("Is it?", "No.", [0], answer)).metrics["accuracy"].value == mark


def test_nothing_to_score_is_zero_of_zero() -> None:
    """A part without items is 0 of 0, and every number of the scores is finite; the official code divides by zero."""
    scores = ask(("Is it?", "No.", [0], "No."), options={"judge": "constant:80"})
    for name in ("gpt", "match", "match_f1", "bleu_1", "rouge_l", "cider", "language"):
        assert (scores.metrics[name].value, scores.metrics[name].count) == (0, 0), name
    assert scores.metrics["final"].value == pytest.approx(0.2)
    assert ask(("Is it?", "No.", [], "No.")).metrics["final_offline"].count == 0


def test_no_answer_is_rated_nothing() -> None:
    """The judge's constant is for answers; a missing and a blank one have 0, and match takes both of its parts."""
    rows = [("Why?", "Because.", [1], text) for text in ("So.", None, " ", "So.")]
    assert ask(*rows, options={"judge": "constant:80"}).metrics["gpt"].value == pytest.approx(0.4)
    scores = ask((FIRST[0], FIRST[1], [3], FIRST[1]), options={"judge": "constant:80"})
    assert scores.metrics["match"].value == pytest.approx((1 + 0.8) / 2, abs=1e-7)
    assert scores.per_row["s_f_0"] == pytest.approx(0.9, abs=1e-7)  # a row's mark is what it adds to match


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("62", 62), (" 78\n", 78), ("85.5", 85.5), ("41.", 41), ("Rating: 85", 85), ("85/100", 85), ("85 out of 100", 85),
        ("0", 0), ("100", 100), ("101", None), ("-5", None), ("1000", None), ("between 60 and 70", None), ("good", None),
        ("", None),
    ],
)  # fmt: skip
def test_ratings_by_hand(reply: str, rating: float | None) -> None:
    """One number from 0 to 100; text, several numbers and numbers beyond are not read, and never guessed."""
    assert read_rating(reply) == rating


def test_references_that_cannot_be_scored_are_named(tmp_path: Path) -> None:
    """No tag, no original text, no published answer: one line each with the row's id."""
    with pytest.raises(DataError, match="row 's_f_0'.*no published answer.*submission"):
        ask(("Why?", "", [1], "So."))
    with pytest.raises(DataError, match="row 's_f_0'.*meta.tag is \\[7\\]"):
        ask(("Why?", "So.", [7], "So."))
    turns = (Turn("human", "q"), Turn("gpt", "a"))
    with pytest.raises(DataError, match="row 'x'.*question_original.*convert --task drivelm"):
        score_answers(find_benchmark("drivelm"), [Answered(ChatRecord("x", turns, meta={"tag": [0]}), "a")], {})
    with pytest.raises(UsageError, match="constant:101.*0 to 100"):
        ask(("Why?", "So.", [1], "So."), options={"judge": "constant:101"})
    with pytest.raises(UsageError, match="judge=nome: expected none, constant:50, or an address"):
        ask(("Why?", "So.", [1], "So."), options={"judge": "nome"})


def test_official_files_of_another_shape_are_named(sample: Path, tmp_path: Path) -> None:
    """A second answer, rows without ids, a file of questions alone, a split: each is one line that says what to do."""
    references = sample / "test_eval.json"
    rows = json.loads((sample / "output.json").read_text())

    def scored(document: Any, truths: Path = references, **more: Any) -> dict[str, Any]:
        (tmp_path / "p.json").write_text(json.dumps(document))
        return score(benchmark="drivelm", predictions=tmp_path / "p.json", references=truths, **more)

    with pytest.raises(DataError, match=r"p.json#66: a second answer to"):
        scored([*rows, rows[3]])
    with pytest.raises(DataError, match=r"p.json#0: .*expected an answer"):
        scored([{"question": "?"}])
    with pytest.raises(DataError, match=r"p.json#1: .*expected an answer"):  # not a silent zero for another key's name
        scored([rows[0], {"id": rows[1]["id"], "response": "yes"}])
    with pytest.raises(DataError, match=r"submission.json"):
        scored({"answers": []})
    with pytest.raises(UsageError, match="no splits"):
        scored(rows, split="test")
    (tmp_path / "r.json").write_text('{"scene": {"frames": {}}}')
    with pytest.raises(DataError, match="key_frames.*test_eval.json"):
        scored(rows, tmp_path / "r.json")
    found = scored([*rows[:-1], {"id": "nobody", "answer": None}])
    assert found["missing"] == [rows[-1]["id"]] and found["unknown"] == ["nobody"] and found["malformed"] == []
    found = scored([rows[0] | {"answer": ["a list"]}, rows[1] | {"answer": None}, *rows[2:]])
    assert found["malformed"] == [rows[0]["id"]] and found["details"]["answers"]["none"] == 2


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("predictions.jsonl", '{"id": "a_b_0", "answer": "x"}\n{"id": "a_b_1", "answer": "x"}\n', "answers as JSON lines"),
        ("predictions.jsonl", '{"id": "a_b_0", "answer": "x"}\n', "an object without a list 'results'"),
        ("output.json", '{"id": "a_b_0", "answer": "x"}\n{"id": "a_b_1", "answer": "x"}\n', "output.json"),
        ("output.json", "7", "no list of answers"),
    ],
)
def test_our_own_predictions_beside_official_references_are_told_what_is_taken(
    sample: Path, tmp_path: Path, name: str, content: str, found: str
) -> None:
    """Both official forms, and where answers to stitched pictures belong: these cannot be told from the cameras' pixels."""
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=found) as told:
        score(benchmark="drivelm", predictions=tmp_path / name, references=sample / "test_eval.json")
    said = str(told.value)
    assert str(tmp_path / name) in said
    assert all(
        word in said for word in ("output.json, a list", "submission.json", "--references ROWS.jsonl", "write_submission")
    )


@pytest.mark.parametrize(
    ("predictions", "references", "named", "told"),
    [
        (
            "output.json",
            "data/train_sample.json",
            "data/train_sample.json",
            "a training file, whose questions have no tags; give",
        ),
        ("output.json", "test_llama.json", "test_llama.json", "a JSON list, as test_llama.json and output.json are; expected"),
        ("test_eval.json", "output.json", "test_eval.json", "--predictions and --references are swapped; give this one as"),
    ],
)
def test_a_wrong_pair_of_the_challenges_files_is_told_which_is_wrong(
    sample: Path, predictions: str, references: str, named: str, told: str
) -> None:
    """The challenge's own whole files in the wrong places: the one that does not belong there, and what does."""
    with pytest.raises(DataError, match=rf"^{re.escape(str(sample / named))}: .*{re.escape(told)}"):
        score(benchmark="drivelm", predictions=sample / predictions, references=sample / references)


def test_a_question_without_a_tag_is_named_with_its_file(sample: Path, tmp_path: Path) -> None:
    """One tag of a file of the challenge is gone: where, not a field that the file does not have."""
    document = json.loads((sample / "test_eval.json").read_text())
    ((scene, content),) = list(document.items())[:1]
    frame, value = next(iter(content["key_frames"].items()))
    del value["QA"]["perception"][1]["tag"]
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"r\.json#{scene}_{frame}_1: no 'tag', expected a list"):
        score(benchmark="drivelm", predictions=sample / "output.json", references=tmp_path / "r.json")


@pytest.mark.parametrize(("benchmark", "own"), [("drivelm", "; .*output.json .* against test_eval.json$"), ("vqa", "$")])
def test_official_answers_beside_converted_rows_are_no_broken_jsonl(sample: Path, chat: Path, benchmark: str, own: str) -> None:
    """output.json is valid JSON: what it is, which rows are expected, and what the challenge's files go with."""
    told = rf'output\.json: one JSON document, .*not JSONL; benchmark {benchmark} expects rows {{"id": .*}} here{own}'
    with pytest.raises(DataError, match=told):
        score(benchmark=benchmark, predictions=sample / "output.json", references=chat)


def test_the_floor_is_a_score(sample: Path, truth: Path) -> None:
    """Giving the majority answer of each kind, and nothing else, has the accuracy that is printed as the floor."""
    document = official("truth", sample, truth)
    majority, floor = document["details"]["majority_answer"], document["floor"]["accuracy"]
    files = find_benchmark("drivelm").read_official(truth, sample / "test_eval.json")  # type: ignore[misc]
    answered = [Answered(record, majority.get(record.meta["kind"], "")) for record in files.references]
    assert score_answers(find_benchmark("drivelm"), answered, {}).metrics["accuracy"].value == floor


def test_the_documented_commands(sample: Path, chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `adapt score --benchmark drivelm` of the field's page exits 0 beside the files that it names."""
    for name in ("output.json", "submission.json", "test_eval.json"):
        (tmp_path / name).symlink_to(sample / name)
    (tmp_path / "test.jsonl").symlink_to(chat)
    answers = {record.id: record.answer for record in adapt.read_records(chat)}
    write_predictions(tmp_path / "predictions.jsonl", answers)
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parent.parent.parent / "domains" / "driving" / "README.md"
    lines = [line for line in page.read_text().splitlines() if line.startswith("adapt score --benchmark drivelm")]
    assert len(lines) == 3
    for line in lines:
        assert command.run(cli.adapt, shlex.split(line)[1:]) == 0, line
