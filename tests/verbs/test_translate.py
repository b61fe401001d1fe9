"""adapt translate against a stand-in server that speaks the protocol over HTTP and does what the test says."""

import concurrent.futures
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from PIL import Image
from stand_in import Server

import adapt
from adapt import endpoint, signals
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord, Turn
from adapt.verbs import check, score, translate

WORDS = {"Where is": "哪里是", "red car": "红车", "on the left": "在左边", "row": "行"}


def in_chinese(text: str) -> str:
    for old, new in WORDS.items():
        text = text.replace(old, new)
    return text


def good(request: dict[str, Any]) -> tuple[int, Any]:
    """The first user message with its known words replaced, marks and all."""
    text = next(message["content"] for message in request["messages"] if message["role"] == "user")
    return 200, {"choices": [{"message": {"role": "assistant", "content": in_chinese(text)}, "finish_reason": "stop"}]}


def says(content: Any) -> tuple[int, Any]:
    return 200, {"choices": [{"message": {"content": content}}]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve rows: a picture, a name and its box in each question, a row that needs no translation among them."""
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    rows = []
    for number in range(12):
        box = f"<box>[[1, 2, 3, {number + 5}]]</box>"
        question = f"<image>\nWhere is <ref>red car</ref>{box}? <c1,CAM_BACK,9.0,8.5>"
        turns = (Turn("human", question), Turn("gpt", f"row {number} on the left" if number else "A"))
        rows.append(ChatRecord(f"r{number}", turns, ("a.png",), ((9, 8),), meta={"split": "val"}))
    adapt.write_records(tmp_path / "in.jsonl", rows)
    return tmp_path


def run(data: Path, server: Server, **settings: Any) -> dict[str, Any]:
    settings = {"to": "zh", "output": data / "out" / "zh.jsonl", "endpoint": server.url, "model": "m"} | settings
    return translate(data / "in.jsonl", **settings)


def test_rows_are_translated_and_what_is_protected_stays(data: Path, serve: Callable[..., Server]) -> None:
    """Words change; pictures, boxes, tags and order do not; the rows pass `adapt check` from another folder."""
    server = serve(good)
    (data / "in.manifest.json").write_text('{"licence": "CC0", "facts": {"grid": [["FRONT", "BACK"]]}}')
    manifest = run(data, server, workers=5)
    assert manifest["facts"] == {"grid": [["FRONT", "BACK"]]}  # the gallery and the way back need them
    assert manifest["licence"] == "CC0"  # a translation is under the licence of what was translated
    records = adapt.read_records(data / "out" / "zh.jsonl")
    assert [record.id for record in records] == [f"r{number}-zh" for number in range(12)]
    assert records[3].question == "<image>\n哪里是 <ref>红车</ref><box>[[1, 2, 3, 8]]</box>? <c1,CAM_BACK,9.0,8.5>"
    assert (records[0].answer, records[3].answer) == ("A", "行 3 在左边")
    assert records[3].meta == {"split": "val", "language": "zh"}
    assert manifest["counts"] == {"read": 12, "converted": 12, "rejected": 0, "records": 12, "unchanged": 0}
    assert check(data / "out" / "zh.jsonl")["faults"] == []
    sent = json.dumps(server.requests, ensure_ascii=False)
    assert "CAM_BACK" not in sent and "<image>" not in sent and "[[1" not in sent and len(server.requests) == 12
    assert server.headers[0][0] == "/v1/chat/completions" and server.requests[0]["model"] == "m"
    assert sorted(path.name for path in (data / "out").iterdir()) == ["zh.jsonl", "zh.manifest.json"]


def test_the_key_comes_from_the_environment(
    data: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is in one header, and neither in a file nor in what is said; without it there is no header."""
    server = serve(good)
    monkeypatch.setenv("ADAPT_API_KEY", "secret-123")
    run(data, server)
    assert server.headers[0][1]["Authorization"] == "Bearer secret-123"
    written = "".join(path.read_text() for path in (data / "out").iterdir())
    assert "secret" not in written + capsys.readouterr().err
    monkeypatch.delenv("ADAPT_API_KEY")
    run(data, server, output=data / "b.jsonl")
    assert "Authorization" not in server.headers[-1][1]


def test_a_busy_server_is_asked_again(data: Path, serve: Callable[..., Server]) -> None:
    """429 with Retry-After, 503, a connection that is hung up: every row arrives in the end, once."""
    tries: dict[str, int] = {}

    def busy(request: dict[str, Any]) -> tuple[Any, ...]:
        text = request["messages"][1]["content"]
        tries[text] = tries.get(text, 0) + 1
        if tries[text] == 1:
            return 429, {"error": {"message": "slow down"}}, ("Retry-After", "0")
        if tries[text] == 2:
            return 503, b"<html>"
        if tries[text] == 3:
            return 0, b""
        return good(request)

    server = serve(busy)
    assert run(data, server)["counts"]["converted"] == 12
    assert set(tries.values()) == {4}
    assert len(adapt.read_records(data / "out" / "zh.jsonl")) == 12


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (says("⟦T1⟧ no marks"), "the texts ⟦T1⟧, expected 2"),
        (says(""), r"the texts \(none\)"),
        (says(None), "the endpoint's reply holds no text: its choices.* is null or missing$"),
        (
            (200, {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}),
            r"null or missing \(finish_reason stop\)$",
        ),
        ((200, {"choices": [{"message": {"content": None, "refusal": "I will not"}}]}), "refuses to answer: I will not$"),
        ((200, {"choices": []}), "no choices"),
        ((200, {"error": "x"}), "no choices"),
        ((200, b"not JSON"), "not JSON"),
        ((200, b"[" * 100_000), "nested too deeply"),
        ((200, b'{"choices": [{"message": {"content": "\\ud800"}}]}'), "surrogate"),
        ((400, {"error": {"message": "too long"}}), "answers 400: too long"),
        ((500, b"oops"), "answers 500: oops"),
        ((200, {"choices": [{"message": {"content": "⟦T1⟧"}, "finish_reason": "length"}]}), "cut the answer off"),
        (says("⟦T1⟧\n哪里 ⟦1|x⟧? ⟦2⟧ <image>\n⟦T2⟧ a"), "expected|was not sent|comes back"),
    ],
)
def test_a_bad_answer_fails_its_row_alone(data: Path, serve: Callable[..., Server], reply: Any, reason: str) -> None:
    """Answers of every wrong shape: the row is listed with its place and reason, the others are there."""
    server = serve(lambda request: reply if "row 7" in request["messages"][1]["content"] else good(request))
    manifest = run(data, server, max_bad=1)
    assert manifest["counts"] == {"read": 12, "converted": 11, "rejected": 1, "records": 11, "unchanged": 0}
    listed = json.loads((data / "out" / "zh.rejected.jsonl").read_text())
    assert listed["where"] == "in.jsonl:8" and re.search(reason, listed["reason"])


@pytest.mark.parametrize("reason", ["sent the text back untranslated", "holds no letter of Simplified Chinese"])
def test_what_is_no_translation_fails_its_row(data: Path, serve: Callable[..., Server], reason: str) -> None:
    """An endpoint that echoes, or says something in English: every row is listed with the reason, and no file is there."""

    def echo(request: dict[str, Any]) -> tuple[int, Any]:
        text = request["messages"][1]["content"]
        return says(text if "sent" in reason else text.replace("row", "line").replace("car", "van"))

    with pytest.raises(DataError, match=f"12 of 12 rows failed.*{reason}"):
        run(data, serve(echo))
    assert not (data / "out" / "zh.jsonl").exists()
    listed = (data / "out" / "zh.rejected.jsonl").read_text().splitlines()
    assert len(listed) == 12 and all(reason in json.loads(line)["reason"] for line in listed)


def test_an_endpoint_that_repeats_the_last_message_is_named_as_one(data: Path, serve: Callable[..., Server]) -> None:
    """The second and third answer are what asked for them, marks and all: the reason is still the echo."""
    with pytest.raises(
        DataError, match=r"12 of 12 rows failed.*sent the text back untranslated, expected it in S.* \(3 answers"
    ):
        run(data, serve(lambda request: says(request["messages"][-1]["content"])))


def test_rows_that_come_back_unchanged_are_counted(
    data: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Between languages of one script an echo is a translation: it is told in one line; rows without words do not count."""
    texts = ["a road", "12", "row 1", "a ship"]
    rows = [ChatRecord(f"s{number}", (Turn("human", "12?"), Turn("gpt", text))) for number, text in enumerate(texts)]
    adapt.write_records(data / "in.jsonl", rows)
    server = serve(lambda request: says(in_chinese(request["messages"][1]["content"])))
    manifest = run(data, server, to="de", output=data / "de.jsonl")
    assert manifest["counts"] == {"read": 4, "converted": 4, "rejected": 0, "records": 4, "unchanged": 2}
    told = capsys.readouterr().err
    assert told.count("unchanged") == 1 and "warning: 2 of 4 rows came back unchanged; first: in.jsonl:1;" in told
    adapt.write_records(data / "in.jsonl", rows[1:3])
    run(data, server, to="de", output=data / "b.jsonl")
    assert "unchanged" not in capsys.readouterr().err


def test_numbers_and_names_may_stay(data: Path, serve: Callable[..., Server]) -> None:
    """Rows of numbers, units, names and Chinese come back as they were sent, and are rows of the output."""
    texts = ["Toyota Corolla", "12 km, 3.5 cm", "IBM", "这是 a car", "New York: 2 iPhones"]
    rows = [ChatRecord(f"s{number}", (Turn("human", "12?"), Turn("gpt", text))) for number, text in enumerate(texts)]
    adapt.write_records(data / "in.jsonl", rows)
    run(data, serve(lambda request: says(request["messages"][1]["content"])))
    assert [record.answer for record in adapt.read_records(data / "out" / "zh.jsonl")] == texts


def test_a_lost_mark_is_asked_for_again(data: Path, serve: Callable[..., Server]) -> None:
    """The second answer may be right: the fault of the first is told to the model."""
    server = serve(lambda request: says("⟦T1⟧ nothing") if len(request["messages"]) == 2 else good(request))
    assert run(data, server)["counts"]["converted"] == 12
    assert "cannot be used" in server.requests[-1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ((401, {"error": {"message": "no key"}}), "answers 401: no key; set ADAPT_API_KEY"),
        ((404, {"error": {"message": "no model m"}}), "no model m"),
        ((302, b"", ("Location", "http://127.0.0.1:1/")), "answers 302"),
    ],
)
def test_a_refusal_ends_the_run_at_once(data: Path, serve: Callable[..., Server], reply: Any, told: str) -> None:
    """A wrong key or model is one error, not a failed row each; what was translated is kept."""
    server = serve(lambda request: reply)
    with pytest.raises(DataError, match=told):
        run(data, server, workers=2)
    assert len(server.requests) <= 2 and not (data / "out" / "zh.jsonl").exists()
    server.answer = good
    assert run(data, server, resume=True)["counts"]["converted"] == 12


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:9/v1", "http://127.0.0.1:9 cannot be reached: .*; is the server running"),
        (None, r"http://127.0.0.1:\d+ answers 401: no key; set ADAPT_API_KEY"),
    ],
)
def test_a_server_that_answers_nothing_leaves_nothing(
    data: Path, serve: Callable[..., Server], url: str | None, told: str
) -> None:
    """An address without a server is said after a few tries, a refusal at once; no folder is made, and no file."""
    server = serve(lambda request: (401, {"error": "no key"}))
    before = sorted(data.rglob("*"))
    with pytest.raises(DataError, match=told):
        run(data, server, output=data / "new" / "folder" / "zh.jsonl", endpoint=url or server.url)
    assert sorted(data.rglob("*")) == before


def test_a_run_without_an_answer_leaves_the_work_of_an_earlier_one(data: Path, serve: Callable[..., Server]) -> None:
    """Eleven rows are there: a server that then is away takes none of them."""
    server = serve(lambda request: says("") if "row 7" in request["messages"][1]["content"] else good(request))
    with pytest.raises(DataError, match="--resume"):
        run(data, server)
    with pytest.raises(DataError, match="cannot be reached"):
        run(data, server, endpoint="http://127.0.0.1:9/v1", resume=True)
    server.answer, server.requests = good, []
    assert run(data, server, resume=True)["counts"]["converted"] == 12 and len(server.requests) == 1


def test_a_run_in_which_every_row_fails_can_be_started_again(data: Path, serve: Callable[..., Server]) -> None:
    """There is nothing to resume: no progress is left, the list of reasons is, and a new run needs no --resume."""
    server = serve(lambda request: says(""))
    with pytest.raises(DataError, match="12 of 12 rows failed, more than --max-bad 0; see [^;]*; first"):
        run(data, server)
    assert sorted(path.name for path in (data / "out").iterdir()) == ["zh.rejected.jsonl"]
    server.answer = good
    assert run(data, server)["counts"]["converted"] == 12


def test_failed_rows_are_asked_for_again_and_nothing_twice(data: Path, serve: Callable[..., Server]) -> None:
    """More failures than allowed: no output, a list; a resume asks for those rows alone, and another for nothing."""
    server = serve(lambda request: says("") if "row 7" in request["messages"][1]["content"] else good(request))
    with pytest.raises(DataError, match="1 of 12 rows failed.*--resume"):
        run(data, server)
    assert not (data / "out" / "zh.jsonl").exists()
    with pytest.raises(UsageError, match="add --resume"):
        run(data, server)
    with pytest.raises(UsageError, match="begun with other values: model"):
        run(data, server, resume=True, model="other")
    server.answer, server.requests = good, []
    assert run(data, server, resume=True)["counts"]["converted"] == 12
    assert len(server.requests) == 1 and not (data / "out" / "zh.rejected.jsonl").exists()
    assert run(data, server, resume=True)["counts"]["records"] == 12
    assert len(server.requests) == 1


def test_failed_rows_that_were_accepted_are_asked_for_again(
    data: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is written without them, and says how to ask; a resume asks for those rows alone, and then nothing is left."""
    server = serve(lambda request: says("") if "row 7" in request["messages"][1]["content"] else good(request))
    assert run(data, server, max_bad=1)["counts"]["converted"] == 11
    assert "1 of 12 rows failed; see" in (told := capsys.readouterr().err) and "--resume asks for these again" in told
    server.answer, server.requests = good, []
    assert run(data, server, resume=True)["counts"]["converted"] == 12 and len(server.requests) == 1
    assert sorted(path.name for path in (data / "out").iterdir()) == ["zh.jsonl", "zh.manifest.json"]


@pytest.mark.parametrize(
    ("file", "content", "settings", "told"),
    [
        (None, "", {"to": "de"}, "to was zh, is de"),
        ("zh.jsonl", "{}\n", {}, "it was changed since it was written"),
        ("zh.manifest.json", '{"task": "vqa", "sha256": "0f"}', {}, "it is no translation"),
    ],
)
def test_a_resume_replaces_nothing_else(
    data: Path, serve: Callable[..., Server], file: str | None, content: str, settings: dict[str, str], told: str
) -> None:
    """What stands in the place of the output, and is not what would be gone on with, stays."""
    server = serve(good)
    run(data, server)
    if file:
        (data / "out" / file).write_text(content)
    before = (data / "out" / "zh.jsonl").read_bytes()
    with pytest.raises(UsageError, match=rf"not what --resume would go on with: {told}.*; leave --resume out"):
        run(data, server, resume=True, **settings)
    assert (data / "out" / "zh.jsonl").read_bytes() == before


def test_a_resume_for_failed_rows_keeps_what_was_edited(data: Path, serve: Callable[..., Server]) -> None:
    """The rows that did not fail are in a file, and somebody corrected one there: the resume says so, and asks nothing."""
    server = serve(lambda request: says("") if "row 7" in request["messages"][1]["content"] else good(request))
    run(data, server, max_bad=1)
    target = data / "out" / "zh.jsonl"
    target.write_text(edited := target.read_text().replace("1", "2", 1))
    server.answer, server.requests = good, []
    with pytest.raises(UsageError, match="zh.jsonl: was changed since it was written, .*zh.progress.jsonl; move it away first"):
        run(data, server, resume=True)
    assert target.read_text() == edited and not server.requests
    target.rename(data / "mine.jsonl")
    assert run(data, server, resume=True)["counts"]["converted"] == 12 and len(server.requests) == 1


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_and_doubles_nothing(data: Path, serve: Callable[..., Server]) -> None:
    """SIGKILL between rows and a torn last line: the resumed run ends with the bytes of one that was never killed."""
    server = serve(good)
    run(data, server, output=data / "whole.jsonl")
    turn = threading.Semaphore(0)

    def slow(request: dict[str, Any]) -> tuple[Any, ...]:
        turn.acquire(timeout=5)
        return good(request)

    server.answer = slow
    command = [sys.executable, "-m", "adapt", "translate", "in.jsonl", "--to", "zh", "--output", "k.jsonl"]
    command += ["--endpoint", server.url, "--model", "m", "--workers", "2", "--resume"]
    journal = data / "k.progress.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(Path(adapt.__file__).parent.parent)}
    for kill in range(3):
        process = subprocess.Popen(command, cwd=data, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        before = journal.read_bytes().count(b"\n") if journal.exists() else 0
        turn.release(3)
        deadline = time.monotonic() + 120
        while (journal.read_bytes().count(b"\n") if journal.exists() else 0) < before + 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = journal.read_bytes()
        assert content.count(b"\n") >= before + 2
        if kill:
            journal.write_bytes(content + b'{"line": 12, "row": {"id"')
    server.answer = good
    finished = subprocess.run(command, cwd=data, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert (data / "k.jsonl").read_bytes() == (data / "whole.jsonl").read_bytes()
    assert not journal.exists()


def test_a_wrong_call_is_said_before_anything_is_sent(data: Path, serve: Callable[..., Server]) -> None:
    """Unknown languages, other output names, the input as output, addresses that are none, and bad rows cost no question."""
    server = serve(good)
    for settings in (
        {"to": "xx"},
        {"output": data / "out.json"},
        {"output": data / "in.jsonl"},
        {"endpoint": "ftp://host"},
        {"endpoint": "http://host:99999/v1"},
        {"workers": 0},
        {"max_bad": -1},
    ):
        with pytest.raises(UsageError):
            run(data, server, **settings)
    with pytest.raises(UsageError, match="did you mean"):
        translate(data / "im.jsonl", to="zh", output=data / "o.jsonl", endpoint=server.url, model="m")
    with open(data / "in.jsonl", "a") as handle:
        handle.write("{}\n")
    with pytest.raises(DataError, match="in.jsonl:13"):
        run(data, server)
    assert server.requests == []


def test_a_key_from_a_file_and_an_address_with_a_query(
    data: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line end of a key goes, a key with one inside is refused unseen; what stands behind '?' is asked for too."""
    server = serve(good)
    monkeypatch.setenv("ADAPT_API_KEY", "secret-123\n")
    run(data, server, endpoint=f"{server.url}?api-version=2024-06-01")
    path, headers = server.headers[0]
    assert path == "/v1/chat/completions?api-version=2024-06-01" and headers["Authorization"] == "Bearer secret-123"
    monkeypatch.setenv("ADAPT_API_KEY", "secret\n123")
    with pytest.raises(UsageError, match="ADAPT_API_KEY holds letters that no key has") as told:
        run(data, server, output=data / "b.jsonl")
    assert "secret" not in str(told.value)
    with pytest.raises(UsageError, match="without blanks"):
        run(data, server, output=data / "b.jsonl", endpoint=f"{server.url}/a b")


def test_answers_that_came_with_a_refusal_are_kept(
    data: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eleven answers and a refusal are there at once: the resumed run pays for the twelfth row alone."""

    def wait_for_all(pending: Any, **_: Any) -> Any:
        return wait(pending)

    wait = concurrent.futures.wait
    monkeypatch.setattr(concurrent.futures, "wait", wait_for_all)
    all_asked = threading.Event()

    def refuses_last(request: dict[str, Any]) -> tuple[int, Any]:
        if len(server.requests) == 12:
            all_asked.set()
        if "row 5" not in request["messages"][1]["content"]:
            return good(request)
        assert all_asked.wait(30)
        return 401, b""

    server = serve(refuses_last)
    with pytest.raises(DataError, match="answers 401"):
        run(data, server, workers=12)
    assert (data / "out" / "zh.progress.jsonl").read_bytes().count(b"\n") == 12  # the header and eleven rows
    server.answer, server.requests = good, []
    assert run(data, server, resume=True)["counts"]["converted"] == 12
    assert len(server.requests) == 1


def test_nothing_is_begun_after_a_refusal(serve: Callable[..., Server]) -> None:
    """While the first answer is still being taken another item is refused: the last, which waits its turn, is never begun."""
    refused, taken, begun = threading.Event(), threading.Event(), []

    def work(item: str) -> str:
        begun.append(item)
        if item == "refused":
            refused.set()
            raise endpoint.EndpointError("no")
        if item == "under way":
            taken.wait(10)  # the thread of the refused one alone is free for the last
        return item

    def take(item: str, answer: str | DataError) -> None:
        assert refused.wait(10)
        time.sleep(0.3)  # enough for a free thread to begin whatever may be begun
        taken.set()

    items = ["first", "under way", "refused", "last"]
    with pytest.raises(endpoint.EndpointError, match="no"):
        endpoint.ask_all(endpoint.Endpoint(serve(good).url, "m"), work, items, concurrency=2, take=take)
    assert sorted(begun) == sorted(items[:3])


def test_ctrl_c_at_every_line_takes_each_answer_once() -> None:
    """Wherever Ctrl-C comes: what was answered is taken, since it is paid for, and nothing is taken twice."""
    watched = (endpoint.__file__, signals.__file__)
    asked, before = endpoint.Endpoint("http://127.0.0.1:9/v1", "nobody"), signal.getsignal(signal.SIGINT)

    def stopped(last: int) -> bool:
        answered: list[int] = []
        taken: list[int] = []
        lines = itertools.count(1)

        def press(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line" and next(lines) == last:
                signal.raise_signal(signal.SIGINT)
            return press

        sys.settrace(lambda frame, event, argument: press if frame.f_code.co_filename in watched else None)
        try:
            endpoint.ask_all(asked, answered.append, range(3), concurrency=1, take=lambda item, _: taken.append(item))
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
            signal.signal(signal.SIGINT, before)
            assert sorted(taken) == sorted(answered), f"Ctrl-C at line {last}"
        return False

    assert sum(map(stopped, range(1, 500))) > 100, "the lines must be those of three items"


def test_ctrl_c_while_items_are_looked_for_is_answered_at_once() -> None:
    """The next item may lie behind a million rows that are there already."""
    reached = []

    def items() -> Iterator[int]:
        signal.raise_signal(signal.SIGINT)
        reached.append(1)
        yield 1

    with pytest.raises(KeyboardInterrupt):
        endpoint.ask_all(endpoint.Endpoint("http://127.0.0.1:9/v1", "nobody"), str, items(), concurrency=1, take=print)
    assert reached == []


def test_a_connection_that_is_being_made_ends_too(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """``close`` while a thread connects: it asks nothing more, instead of waiting for an answer that nobody wants."""
    connecting, go_on = threading.Event(), threading.Event()
    told: list[str] = []
    connect = socket.create_connection

    def slow(*settings: Any, **more: Any) -> socket.socket:
        connecting.set()
        go_on.wait(5)
        return connect(*settings, **more)

    def ask() -> None:
        try:
            asked.ask([{"role": "user", "content": "x"}])
        except endpoint.EndpointError as error:
            told.append(str(error))

    def late(request: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(4)
        return good(request)

    server = serve(late)
    monkeypatch.setattr(socket, "create_connection", slow)
    asked = endpoint.Endpoint(server.url, "m")
    thread = threading.Thread(target=ask)
    thread.start()
    assert connecting.wait(5)
    asked.close()
    go_on.set()
    thread.join(2)
    assert not thread.is_alive() and told == ["stopped"] and server.requests == []


@pytest.mark.parametrize(
    "line",
    [b'{"row": {}}', b'{"line": 3}', b'{"line": "3", "row": {}}', b"[1]", b'{"line": 3, "row": 1}', b'{"line": 99, "row": {}}'],
)
def test_a_journal_of_another_shape_is_named(data: Path, serve: Callable[..., Server], line: bytes) -> None:
    """A line of the journal that is JSON but no entry is told with its place."""
    server = serve(lambda request: says("") if "row 7" in request["messages"][1]["content"] else good(request))
    with pytest.raises(DataError, match="1 of 12 rows failed"):
        run(data, server)
    journal = data / "out" / "zh.progress.jsonl"
    place = len(journal.read_bytes())
    journal.write_bytes(journal.read_bytes() + line + b"\n")
    server.answer = good
    with pytest.raises(DataError, match=f"zh.progress.jsonl: byte {place:,}: (.* is no entry|translates line 99 of)"):
        run(data, server, resume=True)


def test_the_verbs_need_no_posix_locks() -> None:
    """Windows has no fcntl: the module is asked for where a translation begins, not by all verbs."""
    script = "import sys; sys.modules['fcntl'] = None; import adapt.verbs, adapt.verbs.translate"
    environment = {**os.environ, "PYTHONPATH": str(Path(adapt.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def test_the_names_of_objects_are_those_of_the_answer(data: Path, serve: Callable[..., Server]) -> None:
    """A perfect answer to a translated question scores as one to the question: names are compared, and both are translated."""
    answer = (
        "<ref>red car</ref><box>[[0, 0, 500, 500], [500, 0, 999, 500]]</box>\n<ref>row 7</ref><box>[[0, 500, 500, 999]]</box>"
    )
    meta = {"names": ["red car", "red car", "row 7"], "boxes_px": [[0, 0, 5, 4], [5, 0, 9, 4], [0, 4, 5, 8]]}
    turns = (Turn("human", "<image>\nWhere is it?"), Turn("gpt", answer))
    adapt.write_records(data / "in.jsonl", [ChatRecord("a", turns, ("a.png",), ((9, 8),), task="detect", meta=meta)])
    run(data, serve(good))
    (found,) = adapt.read_records(data / "out" / "zh.jsonl")
    assert found.answer.startswith("<ref>红车</ref><box>") and "<ref>行 7</ref>" in found.answer
    assert found.meta["names"] == ["红车", "红车", "行 7"]
    predictions = data / "predictions.jsonl"
    predictions.write_text(json.dumps({"id": found.id, "answer": found.answer}) + "\n")
    scored = score(benchmark="ground", predictions=predictions, references=data / "out" / "zh.jsonl")
    assert scored["metrics"]["acc@0.5"]["value"] == 1


def test_candidates_and_labels_stay_equal(data: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]) -> None:
    """Named classes stay in question and answer, in tags too; lettered ones are translated; check finds each among them."""
    names = ["red car", "car", "row"]
    asked = {
        "names": ("Where is it: red car, car, row. Where is a cart?", "red car", {"label": "red car"}),
        "several": ("Where is it: red car, car, row.", "car, row", {"label": ["car", "row"]}),
        "none": ("Where is it: red car, car, row.", "none of them on the left", {"label": []}),
        "tagged": ("Where is <box>[[1, 2, 3, 4]]</box>", "<ref>red car</ref><box>[[1, 2, 3, 4]]</box>", {"label": "red car"}),
        "letters": ("Where is it: A. red car B. car C. row", "A", {"label": "red car"}),
    }
    rows = [
        ChatRecord(name, (Turn("human", f"<image>\n{question}"), Turn("gpt", answer)), ("a.png",), ((9, 8),),
                   meta={"candidates": names, **meta})
        for name, (question, answer, meta) in asked.items()
    ]  # fmt: skip
    adapt.write_records(
        data / "in.jsonl", [*rows, ChatRecord("free", (Turn("human", "Where is row 1?"), Turn("gpt", "row 2")))]
    )
    run(data, serve(good))
    assert "in 5 of 6 rows meta.candidates says which answers" in capsys.readouterr().err
    found = {record.id.removesuffix("-zh"): record for record in adapt.read_records(data / "out" / "zh.jsonl")}
    assert {name: found[name].answer for name in asked} == {name: answer for name, (_, answer, _) in asked.items()}
    assert found["names"].question == "<image>\n哪里是 it: red car, car, row. 哪里是 a cart?"
    assert found["letters"].question == "<image>\n哪里是 it: A. 红车 B. car C. 行"
    assert (found["free"].question, found["free"].answer) == ("哪里是 行 1?", "行 2")
    assert check(data / "out" / "zh.jsonl")["faults"] == []
