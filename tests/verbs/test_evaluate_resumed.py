"""An evaluation that stopped goes on where it stopped, and ends with what an unbroken one leaves."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stand_in import Server, says
from tiny_model import save_tiny_model, write_questions

import adapt
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord, Turn, write_records
from adapt.verbs import evaluate

OF_A_START = {"questions_per_second", "resumed"}  # all else in scores.json is the same however often it was killed


def ask(data: Path, output: Path, model: Path | str, **settings: Any) -> dict[str, Any]:
    return evaluate(**({"benchmark": "vqa", "model": model, "data": data, "output": output} | settings))


def left_in(folder: Path) -> dict[str, Any]:
    """Every file by its place: bytes, and of scores.json what does not belong to one start."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: {key: value for key, value in json.loads(path.read_text()).items() if key not in OF_A_START}
        if name.endswith("scores.json")
        else path.read_bytes()
        for name, path in files.items()
    }


def echo(request: dict[str, Any]) -> tuple[int, Any]:
    content = request["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    return says("yes" if text.startswith("What") else text)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Forty questions without pictures, of two splits."""
    records = []
    for number in range(40):
        turns = (Turn("human", f"{'What' if number % 3 else 'Who'} is {number}?"), Turn("gpt", "yes"))
        records.append(ChatRecord(f"r{number}", turns, meta={"split": ("test", "test_far")[number % 2]}))
    write_records(tmp_path / "d.jsonl", records)
    return tmp_path / "d.jsonl"


def test_the_model_here_goes_on_after_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture breaks the second batch, told with its row; made whole, the same call asks for the rest, to the same bytes."""
    model, data = save_tiny_model(tmp_path / "m"), write_questions(tmp_path, 70)
    settings = {"set": ["evaluate.max_new_tokens=6"]}
    whole = ask(data, tmp_path / "whole", model, **settings)
    picture = (tmp_path / "69.png").read_bytes()
    (tmp_path / "69.png").write_bytes(picture[:1000] + bytes(500) + picture[1500:])
    with pytest.raises(DataError, match=r"d\.jsonl:277: picture .*69\.png: damaged picture.*'adapt check --decode'"):
        ask(data, tmp_path / "broken", model, **settings)
    partial = tmp_path / "broken" / "predictions.partial.jsonl"
    assert [path.name for path in partial.parent.iterdir()] == [partial.name]
    (tmp_path / "69.png").write_bytes(picture)
    with open(partial, "ab") as handle:
        handle.write(b'{"id": "69-0", "ans')
    capsys.readouterr()
    resumed = ask(data, tmp_path / "broken", model, **settings)
    assert 0 < resumed["resumed"] < 280 and whole["resumed"] == 0
    assert f"{partial}: {resumed['resumed']:,} answers of an earlier start; going on" in capsys.readouterr().err
    assert left_in(tmp_path / "broken") == left_in(tmp_path / "whole")
    answers = (tmp_path / "whole" / "predictions.jsonl").read_text().splitlines()
    assert len({json.loads(line)["answer"] for line in answers}) > 10
    assert whole["engine"] == {"name": "native", "device": whole["engine"]["device"], "dtype": "float32"}


def test_every_key_of_the_scores_is_documented(texts: Path, serve: Callable[..., Server]) -> None:
    """docs/evaluating.md names each key that scores.json and its engine have, in its table, and no other."""
    page = (Path(__file__).parents[2] / "docs" / "evaluating.md").read_text(encoding="utf-8")
    tables = page.split("## scores.json")[1].split("Of a server")
    named = [{key for line in part.splitlines() if line.startswith("| `") for key in line.split("|")[1].split("`")[1::2]}
             for part in tables]  # fmt: skip
    scores = ask(texts, texts.parent / "o", "m", engine=serve(echo).url, split="test")
    assert named[0] == set(scores) and named[1] == set(scores["engine"]) - {"name"}


def test_a_server_is_asked_for_the_rest_alone(texts: Path, serve: Callable[..., Server]) -> None:
    """It goes away in the second split: no question that has an answer is asked again, and the files are the same."""
    server = serve(echo)
    folder = texts.parent
    ask(texts, folder / "whole", "m", engine=server.url)
    server.requests.clear()
    server.answer = lambda request: (403, {"error": "enough"}) if len(server.requests) > 30 else echo(request)
    with pytest.raises(DataError, match="answers 403: enough"):  # one at a time: nothing is under way when it ends
        ask(texts, folder / "broken", "m", engine=server.url, set=["evaluate.concurrency=1"])
    assert len((folder / "broken" / "predictions.partial.jsonl").read_text().splitlines()) == 30 + 1
    assert len(server.requests) == 31  # none after the one that was refused
    server.requests.clear()
    server.answer = echo
    scores = ask(texts, folder / "broken", "m", engine=server.url)
    assert len(server.requests) == 10 and (scores["test"]["resumed"], scores["test_far"]["resumed"]) == (20, 10)
    assert scores["test"]["questions_per_second"] is None
    assert left_in(folder / "broken") == left_in(folder / "whole")
    ask(texts, folder / "broken", "m", engine=server.url)  # a finished one is made anew
    assert len(server.requests) == 50


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": "n"}, r'model\.name \("m", now "n"\)'),
        ({"benchmark": "classify"}, r'benchmark \("vqa", now "classify"\)'),
        ({"split": "test"}, r'split \(\["test", "test_far"\], now \["test"\]\)'),
        ({"set": ["evaluate.max_new_tokens=5"]}, r'settings \(\{"max_tokens": 32, .*now \{"max_tokens": 5, '),
        ({"set": ["evaluate.temperature=0.5"]}, r"settings \("),
        ({"images": "."}, r'images \(null, now "\."\)'),
    ],
)
def test_another_call_does_not_go_on(texts: Path, serve: Callable[..., Server], change: dict[str, Any], told: str) -> None:
    """Answers made otherwise are refused with both values; how many are asked at a time is no such thing."""
    server = serve(lambda request: (403, b"") if len(server.requests) > 30 else echo(request))
    call = {"output": texts.parent / "o", "model": "m", "engine": server.url}
    with pytest.raises(DataError):
        ask(texts, **call)
    before = (texts.parent / "o" / "predictions.partial.jsonl").read_bytes()
    with pytest.raises(
        UsageError, match=rf"partial\.jsonl: begun with other values: {told}.*; run the command as it was .* --output"
    ):
        ask(texts, **(call | change))
    assert (texts.parent / "o" / "predictions.partial.jsonl").read_bytes() == before
    server.answer = echo
    ask(texts, **call, set=["evaluate.concurrency=1"])


def test_other_data_and_another_server_do_not_go_on(texts: Path, serve: Callable[..., Server]) -> None:
    """One changed letter in the data, and another address, are named; a file without the answers is no obstacle."""
    server = serve(lambda request: (403, b"") if len(server.requests) > 30 else echo(request))
    output = texts.parent / "o"
    with pytest.raises(DataError):
        ask(texts, output, "m", engine=server.url)
    with pytest.raises(UsageError, match=r"begun with other values: engine \("):
        ask(texts, output, "m", engine=serve(echo).url)
    texts.write_text(texts.read_text().replace("is 39?", "is 38?"))
    with pytest.raises(UsageError, match=r"begun with other values: data_sha256 \("):
        ask(texts, output, "m", engine=server.url)
    (output / "predictions.partial.jsonl").unlink()
    server.answer = echo
    assert ask(texts, output, "m", engine=server.url)["test"]["resumed"] == 0


@pytest.mark.parametrize("line", ['{"id": 3, "answer": "x"}', '{"id": "r3"}', "[1]", '{"id": "r3", "answer": "x", "ended": 1}'])
def test_a_row_of_another_shape_is_named(texts: Path, serve: Callable[..., Server], line: str) -> None:
    """A whole line that is no answer is told with its place, and nothing is asked."""
    server = serve(lambda request: (403, b"") if len(server.requests) > 30 else echo(request))
    one = ["evaluate.concurrency=1"]  # of several, some may be on their way when the first evaluation has ended
    with pytest.raises(DataError):
        ask(texts, texts.parent / "o", "m", engine=server.url, set=one)
    partial = texts.parent / "o" / "predictions.partial.jsonl"
    place, asked = partial.stat().st_size, len(server.requests)
    partial.write_text(partial.read_text() + line + "\n")
    with pytest.raises(DataError, match=rf"partial\.jsonl: byte {place:,}: .* is no answer with its id; cut it out"):
        ask(texts, texts.parent / "o", "m", engine=server.url, set=one)
    assert len(server.requests) == asked


def start(data: Path, output: Path, model: Path | str, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "adapt", "evaluate", "--benchmark", "vqa", "--model", str(model), "--data", str(data)]
    command += ["--output", str(output), *more]
    environment = {**os.environ, "PYTHONPATH": str(Path(adapt.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def wait_for(partial: Path, lines: int, process: "subprocess.Popen[str]") -> int:
    """Until the file has so many lines, or the process has ended; returns how many."""
    deadline, found = time.monotonic() + 120, 0
    while found < lines and process.poll() is None and time.monotonic() < deadline:
        found = partial.read_bytes().count(b"\n") if partial.exists() else 0
        time.sleep(0.002)
    return found


@pytest.mark.slow
def test_kills_of_the_real_process_lose_and_double_nothing(tmp_path: Path) -> None:
    """SIGKILL twice while a model answers: the last start ends with the bytes of one that was never killed."""
    model = save_tiny_model(tmp_path / "m")
    data = write_questions(tmp_path, 150, ("test", "test_far"))
    length = ("--set", "evaluate.max_new_tokens=100")
    whole = start(data, tmp_path / "whole", model, *length)
    assert whole.wait() == 0, whole.communicate()[1]
    partial = tmp_path / "killed" / "predictions.partial.jsonl"
    counts = [0]
    for _ in range(2):
        process = start(data, partial.parent, model, *length)
        wait_for(partial, counts[-1] + 40, process)
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        counts.append(partial.read_bytes().count(b"\n"))
        names = [json.loads(line)["id"] for line in partial.read_bytes().splitlines(keepends=True)[1:] if line.endswith(b"\n")]
        assert len(set(names)) == len(names)
    assert counts == sorted(set(counts)) and counts[-1] < 600
    last = start(data, partial.parent, model, *length)
    assert last.wait() == 0, last.communicate()[1]
    assert left_in(tmp_path / "killed") == left_in(tmp_path / "whole")
    scores = [json.loads((partial.parent / split / "scores.json").read_text()) for split in ("test", "test_far")]
    assert sum(each["resumed"] for each in scores) == counts[-1] - 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_server_is_asked(texts: Path, serve: Callable[..., Server], number: signal.Signals, code: int) -> None:
    """Ctrl-C ends at once though the server hangs, by one line and no traceback; answers that came are not asked for again."""
    released = False
    turns = itertools.count(1)  # each request has one of its own, though several come at a time

    def hangs(request: dict[str, Any]) -> tuple[int, Any]:
        if next(turns) > 12:
            for _ in range(400):
                if released:
                    break
                time.sleep(0.05)
        return echo(request)

    server = serve(hangs)
    output = texts.parent / "o"
    process = start(texts, output, "m", "--engine", server.url)
    answered = wait_for(output / "predictions.partial.jsonl", 13, process) - 1
    assert answered == 12
    began = time.monotonic()
    process.send_signal(number)
    told = process.communicate()[1]
    assert process.returncode == code and time.monotonic() - began < 8 and "Traceback" not in told
    if number != signal.SIGKILL:
        assert "keeps 12 answers; the same command" in told and told.splitlines()[-1].startswith(
            ("error: interrupted", "error: stopped")
        )
    released = True
    server.answer = echo
    time.sleep(0.2)
    server.requests.clear()
    assert ask(texts, output, "m", engine=server.url)["test"]["metrics"]["exact"]["count"] == 20
    assert len(server.requests) == 40 - 12


def test_a_finished_evaluation_of_something_else_is_named_before_it_is_replaced(
    texts: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Another split, benchmark, model or content of the data: one line each with what was there. The same made anew: none."""
    server, output = serve(echo), texts.parent / "o"
    scores = output / "scores.json"

    def told(model: str = "m", **settings: Any) -> list[str]:
        capsys.readouterr()
        ask(texts, output, model, engine=server.url, **settings)
        return [line for line in capsys.readouterr().err.splitlines() if "replaced" in line]

    ends = "is replaced when all is answered; choose another --output to keep it"
    assert told(split="test") == [] and told(split="test") == []
    assert told(split="test_far") == [f"{scores}: the evaluation of vqa on {texts}, split 'test', {ends}"]
    assert told(split="test_far", benchmark="classify") == [
        f"{scores}: the evaluation of vqa on {texts}, split 'test_far', {ends}"
    ]
    assert told("n", split="test_far", benchmark="classify") == [
        f"{scores}: the evaluation of classify on {texts}, split 'test_far', by m {ends}"
    ]
    texts.write_text(texts.read_text().replace("Who is", "Who was"))
    assert told("n", split="test_far", benchmark="classify") == [
        f"{scores}: the evaluation of classify on {texts} before it changed, split 'test_far', {ends}"
    ]
    scores.write_text("{")
    assert [line.partition(": not JSON")[0] for line in told("n", split="test_far", benchmark="classify")] == [str(scores)]
    assert json.loads(scores.read_text())["benchmark"] == "classify"


def test_each_split_that_is_replaced_is_named(
    texts: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two splits below one folder: those of the other benchmark are named both, before the first is asked."""
    server, output = serve(echo), texts.parent / "o"
    ask(texts, output, "m", engine=server.url)
    capsys.readouterr()
    ask(texts, output, "m", engine=server.url, benchmark="classify")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == [
        str(output / name / "scores.json") for name in ("test", "test_far")
    ]
