"""adapt score and adapt sample: what is read, what is refused, and the form of the answer."""

import json
import re
from pathlib import Path

import pytest

from adapt import command
from adapt.cli import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import sample, score


def write(path: Path, rows: list) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def reference(number: int, truth: str) -> dict:
    turns = [{"from": "human", "value": "<image>\nq?"}, {"from": "gpt", "value": truth}]
    return {"id": f"r{number}", "image": f"{number}.png", "conversations": turns}


@pytest.fixture
def references(tmp_path) -> Path:
    return write(tmp_path / "test.jsonl", [reference(number, "yes") for number in range(4)])


def test_the_document(references, tmp_path):
    """Metrics have value, count, low and high; the whole is plain JSON with the promised names."""
    predictions = write(tmp_path / "p.jsonl", [{"id": f"r{number}", "answer": "yes"} for number in range(4)])
    scores = score(benchmark="vqa", predictions=predictions, references=references)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores["benchmark"] == "vqa" and scores["headline"] == "exact" and scores["missing"] == []
    assert scores["metrics"]["exact"] == {"value": 1.0, "count": 4, "low": 1.0, "high": 1.0}
    assert set(scores["metrics"]) == {"exact", "f1", "anls"}
    assert scores["groups"] == {"exact": 4, "f1": 4, "anls": 4}
    assert scores["floor"]["exact"] == 1.0


def test_the_document_tells_how_many_pictures_its_intervals_are_drawn_from(tmp_path):
    """Four questions, three of one picture: the intervals are drawn from two."""
    rows = [reference(number, "yes") | {"image": "one.png" if number < 3 else "two.png"} for number in range(4)]
    predictions = write(tmp_path / "p.jsonl", [{"id": f"r{number}", "answer": "yes"} for number in range(4)])
    scores = score(benchmark="vqa", predictions=predictions, references=write(tmp_path / "test.jsonl", rows))
    assert scores["metrics"]["exact"]["count"] == 4 and scores["groups"]["exact"] == 2


def test_missing_answers_count_as_wrong_and_are_listed(references, tmp_path, capsys):
    """Two of four answered: the count stays four, the other two are listed and said on stderr."""
    predictions = write(tmp_path / "p.jsonl", [{"id": "r0", "answer": "yes"}, {"id": "r2", "answer": "yes"}])
    scores = score(benchmark="vqa", predictions=predictions, references=references)
    assert scores["missing"] == ["r1", "r3"]
    assert (scores["metrics"]["exact"]["value"], scores["metrics"]["exact"]["count"]) == (0.5, 4)
    captured = capsys.readouterr()
    assert "2 references without an answer" in captured.err and captured.out == ""


def test_answers_to_nothing_are_listed_and_change_nothing(references, tmp_path):
    """An id that no reference has is named; files that share no id at all do not belong together."""
    rows = [{"id": f"r{number}", "answer": "yes"} for number in range(4)]
    scores = score(
        benchmark="vqa", predictions=write(tmp_path / "p.jsonl", [*rows, {"id": "x", "answer": "no"}]), references=references
    )
    assert scores["unknown"] == ["x"] and scores["metrics"]["exact"]["value"] == 1.0
    with pytest.raises(DataError, match="'x' against 'r0'"):
        score(benchmark="vqa", predictions=write(tmp_path / "q.jsonl", [{"id": "x", "answer": "no"}]), references=references)


def test_references_of_several_splits(tmp_path):
    """Training rows are no references; answers to two test splits need a choice."""
    splits = ["train", "train", "test", "test_phili"]
    rows = [reference(number, "yes") | {"meta": {"split": split}} for number, split in enumerate(splits)]
    everything = write(tmp_path / "all.jsonl", rows)
    answers = [{"id": f"r{number}", "answer": "yes"} for number in range(4)]
    one = write(tmp_path / "one.jsonl", [answers[2]])
    assert score(benchmark="vqa", predictions=one, references=everything)["metrics"]["exact"]["count"] == 1
    two = write(tmp_path / "two.jsonl", answers)
    with pytest.raises(UsageError, match="test, test_phili, scored apart; choose one with --split"):
        score(benchmark="vqa", predictions=two, references=everything)
    chosen = score(benchmark="vqa", predictions=two, references=everything, split="train")
    assert chosen["metrics"]["exact"]["count"] == 2


def test_a_second_answer_is_refused(references, tmp_path):
    """Two answers to one id: both places are named."""
    predictions = write(tmp_path / "p.jsonl", [{"id": "r0", "answer": "yes"}, "", {"id": "r0", "answer": "no"}])
    with pytest.raises(DataError, match=r"p\.jsonl:3: a second answer to 'r0', the first is at .*p\.jsonl:1"):
        score(benchmark="vqa", predictions=predictions, references=references)


@pytest.mark.parametrize(
    "row", ["[]", "3", '{"id": "r0"}', '{"answer": "yes"}', '{"id": null, "answer": "x"}', "{", '{"id": NaN}']
)
def test_what_is_no_prediction_is_refused_with_its_line(references, tmp_path, row):
    """A row that is not a prediction is a DataError with file:line."""
    predictions = write(tmp_path / "p.jsonl", [{"id": "r1", "answer": "yes"}, row])
    with pytest.raises(DataError, match=r"p\.jsonl:2: "):
        score(benchmark="vqa", predictions=predictions, references=references)


@pytest.mark.parametrize("answer", [["yes"], {"text": "yes"}, True])
def test_malformed_answers_are_wrong_and_counted(references, tmp_path, capsys, answer):
    """An answer that is neither text nor number is wrong, listed and said on stderr, and stops nothing."""
    rows = [{"id": "r0", "answer": answer}] + [{"id": f"r{number}", "answer": "yes"} for number in (1, 2, 3)]
    scores = score(benchmark="vqa", predictions=write(tmp_path / "p.jsonl", rows), references=references)
    assert scores["malformed"] == ["r0"] and scores["missing"] == []
    assert scores["metrics"]["exact"]["value"] == 0.75
    assert "\n1 answer neither text nor number: wrong; first: r0\n" in capsys.readouterr().err


def test_null_answers_are_said_and_so_are_those_of_the_other_run(references, tmp_path, capsys):
    """Null is no text of another kind, each has its line; the file of --against is looked at the same way, by its name."""
    rows = [{"id": f"r{number}", "answer": answer} for number, answer in enumerate([None, ["x"], "yes", None])]
    ours, theirs = write(tmp_path / "p.jsonl", rows), write(tmp_path / "q.jsonl", [*rows[1:], {"id": "x", "answer": None}])
    score(benchmark="vqa", predictions=ours, references=references, against=theirs)
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"1 reference without an answer in {theirs}: wrong; first: r0",
        f"1 answer without a reference in {theirs}: left out; first: x",
        f"1 answer neither text nor number in {theirs}: wrong; first: r1",
        f"1 answer null in {theirs}: wrong; first: r3",
        "1 answer neither text nor number: wrong; first: r1",
        "2 answers null: wrong; first: r0",
    ]


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_of_answers_is_refused(references, tmp_path, content):
    """A file without a row is a write that failed, not a score of zero; so is that of --against."""
    whole = write(tmp_path / "p.jsonl", [{"id": "r0", "answer": "yes"}])
    empty = tmp_path / "q.jsonl"
    empty.write_text(content)
    for given in ({"predictions": empty}, {"predictions": whole, "against": empty}):
        with pytest.raises(DataError, match=r"q\.jsonl: the file is empty, expected JSONL rows"):
            score(benchmark="vqa", references=references, **given)


def test_numbers_are_answers(tmp_path):
    """{"answer": 3} answers "3", and a numeric id meets its text."""
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "3"}]
    references = write(tmp_path / "r.jsonl", [{"id": 7, "conversations": turns}])
    scores = score(benchmark="vqa", predictions=write(tmp_path / "p.jsonl", [{"id": "7", "answer": 3}]), references=references)
    assert scores["metrics"]["exact"]["value"] == 1.0


@pytest.mark.parametrize("benchmark", ["vqa", "classify", "rsclassify", "rsvqa"])
def test_no_answers_at_all_is_a_score_of_zero(tmp_path, benchmark):
    """Answers that are all null are a complete failure of the model, not an error of the command."""
    rows = [reference(number, truth) | {"meta": {"type": "presence"}} for number, truth in enumerate(["yes", "no"])]
    nothing = [{"id": row["id"], "answer": None} for row in rows]
    references, predictions = write(tmp_path / "r.jsonl", rows), write(tmp_path / "p.jsonl", nothing)
    scores = score(benchmark=benchmark, predictions=predictions, references=references)
    assert scores["missing"] == [] and scores["details"]["answers"]["none"] == 2
    assert scores["metrics"][scores["headline"]]["value"] == 0.0
    json.dumps(scores, allow_nan=False)


def test_wrong_usage_is_named(references, tmp_path):
    """Unknown benchmarks and options come with the nearest name, malformed options with the form to use."""
    given = {"predictions": write(tmp_path / "p.jsonl", [{"id": "r0", "answer": "yes"}]), "references": references}
    with pytest.raises(UsageError, match="unknown benchmark 'rsvqua': did you mean 'rsvqa'"):
        score(benchmark="rsvqua", **given)
    with pytest.raises(UsageError, match="expected name=value"):
        score(benchmark="rsvqa", option=["convention"], **given)
    with pytest.raises(UsageError, match="did you mean 'convention'"):
        score(benchmark="rsvqa", option=["conventoin=original"], **given)
    with pytest.raises(UsageError, match="given twice"):
        score(benchmark="rsvqa", option=["convention=original", "convention=internvl"], **given)


def test_no_references_is_an_error(tmp_path):
    """Nothing to score is a DataError, not a score of zero."""
    with pytest.raises(DataError, match="no rows"):
        score(
            benchmark="vqa",
            predictions=write(tmp_path / "p.jsonl", [{"id": "r0", "answer": "yes"}]),
            references=write(tmp_path / "r.jsonl", []),
        )


@pytest.mark.parametrize("benchmark", ["rsvqa", "vqa"])
def test_a_published_file_as_references_is_to_be_converted(tmp_path, benchmark):
    """A JSON list is no broken chat JSONL: the way there is told, by the task of the benchmark's name."""
    references = tmp_path / "test_qa.json"
    references.write_text(json.dumps([{"question": "q", "answer": "yes"}], indent=1))
    predictions = write(tmp_path / "p.jsonl", [{"id": "r0", "answer": "yes"}])
    way = rf"adapt convert --task {benchmark} --input PATH .*'adapt tasks {benchmark}' says"
    with pytest.raises(DataError, match=rf"test_qa\.json: one JSON document, not chat JSONL; convert it first: {way}"):
        score(benchmark=benchmark, predictions=predictions, references=references)
    with pytest.raises(DataError, match=r"broken\.jsonl:1: "):
        score(benchmark=benchmark, predictions=predictions, references=write(tmp_path / "broken.jsonl", ["{"]))


def test_sample_writes_whole_and_says_what_to_paste(tmp_path):
    """The command that follows stands in the answer, with the place and the task of each dataset."""
    output = tmp_path / "made"
    facts = sample(domain="general", output=output, size=5)
    assert facts["easy_vqa"]["next"] == f"adapt convert --task easyvqa --input {output}/data --output easy_vqa.jsonl"
    assert Path(facts["easy_vqa"]["path"]).is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_sample_refuses_what_it_would_overwrite(tmp_path):
    """A folder with something in it stays as it is; an empty one is used."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        sample(domain="general", output=tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert sample(domain="general", output=tmp_path / "empty", size=2)["easy_vqa"]["pictures"] == 2


def test_sample_names_the_domains_that_have_one(tmp_path):
    """An unknown domain comes with the nearest one, a domain without a sample with those that have one."""
    with pytest.raises(UsageError, match="did you mean 'remote_sensing'"):
        sample(domain="remote-sensing", output=tmp_path / "x")
    with pytest.raises(UsageError, match="driving, general, medical, remote_sensing"):
        sample(domain="generic", output=tmp_path / "x")
    with pytest.raises(UsageError, match="at least 16"):
        sample(domain="remote_sensing", output=tmp_path / "x", size=3)
    assert list(tmp_path.iterdir()) == []


def test_against_another_run(tmp_path, capsys):
    """Ours right on all of eight pictures, theirs on none of them but one: seven to nothing, 2 of 2**7 swaps reach it."""
    references = write(tmp_path / "eight.jsonl", [reference(number, "yes") for number in range(8)])
    ours = write(tmp_path / "p.jsonl", [{"id": f"r{number}", "answer": "yes"} for number in range(8)])
    theirs = write(tmp_path / "q.jsonl", [{"id": f"r{number}", "answer": "no" if number else "yes"} for number in range(7)])
    scores = score(benchmark="vqa", predictions=ours, references=references, against=theirs)
    paired = scores["paired"]
    assert paired == {
        "against": str(theirs), "headline": "exact", "difference": 7 / 8, "low": paired["low"], "high": 1.0,
        "p": 2 / 2**7, "count": 8, "groups": 8,
    }  # fmt: skip
    assert 0.5 < paired["low"] < 7 / 8
    assert f"1 reference without an answer in {theirs}: wrong; first: r7" in capsys.readouterr().err
    assert scores["missing"] == [] and scores["metrics"]["exact"]["value"] == 1.0
    assert "paired" not in score(benchmark="vqa", predictions=ours, references=references)
    with pytest.raises(UsageError, match="no such file"):
        score(benchmark="vqa", predictions=ours, references=references, against=tmp_path / "none.jsonl")
    (tmp_path / "other.jsonl").write_text('{"id": "x", "answer": "a"}\n')
    with pytest.raises(DataError, match=r"other\.jsonl: none of the 1 predicted ids is in the references"):
        score(benchmark="vqa", predictions=ours, references=references, against=tmp_path / "other.jsonl")


def test_against_on_the_command_line(tmp_path, capsys):
    """The table is followed by one line on the pair; with --json it stands in the document."""
    references = write(tmp_path / "eight.jsonl", [reference(number, "yes") for number in range(8)])
    ours = write(tmp_path / "p.jsonl", [{"id": f"r{number}", "answer": "yes"} for number in range(8)])
    theirs = write(tmp_path / "q.jsonl", [{"id": f"r{number}", "answer": "no" if number else "yes"} for number in range(8)])
    given = ["score", "--benchmark", "vqa", "--predictions", str(ours), "--references", str(references)]
    assert command.run(adapt, [*given, "--against", str(theirs)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"against .*q\.jsonl: exact \+87\.5 points, 95 % \+\d+\.\d to \+100\.0, p = 0\.0156, 8 questions", line)
    assert command.run(adapt, [*given, "--against", str(theirs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["paired"]["p"] == 2 / 2**7


def test_against_says_how_many_pictures_are_drawn(tmp_path, capsys):
    """Eight questions of two pictures: the interval and the test have two draws, and the line and the document say so."""
    rows = [reference(number, "yes") | {"image": f"{number % 2}.png"} for number in range(8)]
    references = write(tmp_path / "eight.jsonl", rows)
    ours = write(tmp_path / "p.jsonl", [{"id": f"r{number}", "answer": "yes"} for number in range(8)])
    theirs = write(tmp_path / "q.jsonl", [{"id": f"r{number}", "answer": "no"} for number in range(8)])
    given = ["score", "--benchmark", "vqa", "--predictions", str(ours), "--references", str(references)]
    assert command.run(adapt, [*given, "--against", str(theirs)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(", p = 0.5, 8 questions of 2 pictures")
    found = score(benchmark="vqa", predictions=ours, references=references, against=theirs)["paired"]
    assert (found["count"], found["groups"]) == (8, 2)
