"""What a server is sent, and what becomes of its replies: a stand-in that speaks the protocol decodes what it gets."""

import base64
import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from stand_in import Server, says

from adapt.endpoint import Endpoint, EndpointError, EndpointTimeoutError
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord, Turn, write_records
from adapt.verbs import evaluate

FILES = {
    "plain.jpg": "RGB", "plain.png": "RGB", "grey.jpg": "L", "turned.jpg": "RGB", "clear.png": "RGBA", "palette.png": "P",
    "print.jpg": "CMYK", "map.tif": "RGB", "map.bmp": "RGB", "map.gif": "P", "map.webp": "RGB",
}  # fmt: skip
AS_THEY_ARE = {"plain.jpg", "plain.png", "grey.jpg"}


def shown(part: dict[str, Any]) -> bytes:
    """The bytes of a picture part, its media type compared with what they are."""
    head, _, data = part["image_url"]["url"].partition(",")
    content = base64.b64decode(data, validate=True)
    assert head == f"data:image/{str(Image.open(io.BytesIO(content)).format).lower()};base64"
    return content


def yes(request: dict[str, Any]) -> tuple[int, Any]:
    return says("yes", finish_reason="stop")


def question_of(request: dict[str, Any]) -> str:
    """The words of the last message."""
    content = request["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Every kind of picture file, one with an orientation tag and one that is transparent."""
    random = np.random.default_rng(1)
    for number, (name, mode) in enumerate(FILES.items()):
        pixels = random.integers(0, 256, (20 + number, 30, 4), dtype=np.uint8)
        picture = Image.fromarray(pixels).convert("RGB") if mode != "RGBA" else Image.fromarray(pixels)
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.convert(mode).save(tmp_path / name, **({"exif": exif} if name == "turned.jpg" else {}))
    return tmp_path


def write(folder: Path, records: list[ChatRecord]) -> Path:
    write_records(folder / "d.jsonl", records)
    return folder / "d.jsonl"


def plain(count: int, answer: str = "yes") -> list[ChatRecord]:
    """Questions without pictures."""
    return [ChatRecord(f"r{number}", (Turn("human", f"Question {number}?"), Turn("gpt", answer))) for number in range(count)]


def run(data: Path, server: Server, **settings: Any) -> dict[str, Any]:
    call = {"benchmark": "vqa", "model": "m", "data": data, "output": data.parent / "out", "engine": server.url}
    return evaluate(**(call | settings))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_server_sees_the_pixels_that_a_model_sees_here(
    pictures: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain files go as their own bytes; the others as PNG of their stored pixels, also for a server that turns pictures."""
    turns = (Turn("human", "<image>\nWhat?"), Turn("gpt", "yes"))
    server = serve(yes)
    scores = run(write(pictures, [ChatRecord(name, turns, (name,)) for name in FILES]), server)
    assert scores["engine"]["pictures_as_png"] == len(FILES) - len(AS_THEY_ARE)
    assert "8 of 11 pictures sent as PNG" in capsys.readouterr().err
    got = {}
    for request in server.requests:
        picture, text = request["messages"][-1]["content"]
        assert text == {"type": "text", "text": "What?"} and picture["type"] == "image_url"
        got[Image.open(io.BytesIO(shown(picture))).size[1]] = shown(picture)
    for number, name in enumerate(FILES):
        content = got[20 + number]
        assert (content == (pictures / name).read_bytes()) == (name in AS_THEY_ARE)
        with Image.open(pictures / name) as stored, Image.open(io.BytesIO(content)) as sent:
            assert np.array_equal(np.asarray(ImageOps.exif_transpose(sent).convert("RGB")), np.asarray(stored.convert("RGB")))


def test_turns_and_places_keep_their_order(pictures: Path, serve: Callable[..., Server]) -> None:
    """System prompt, earlier turns, two pictures, frames: roles and parts as in the record, and the truth is never sent."""
    turns = (
        Turn("system", "Be brief."),
        Turn("human", "Compare <image> with <image>\nplease. "),
        Turn("gpt", "They differ."),
        Turn("human", "And this?\n<image>\n  indented"),
        Turn("gpt", "the truth"),
    )
    frames = (Turn("human", "Frame-1: <image>\nFrame-2: <image>\nWhat happens?"), Turn("gpt", "the truth"))
    records = [
        ChatRecord("turns", turns, ("plain.png", "plain.jpg", "grey.jpg")),
        ChatRecord("frames", frames, ("plain.jpg", "plain.png"), max_tiles=1),
    ]
    server = serve(yes)
    run(write(pictures, records), server, set=["evaluate.concurrency=1"])

    def plainly(messages: list[dict[str, Any]]) -> list[tuple[str, Any]]:
        names = {(pictures / name).read_bytes(): name for name in AS_THEY_ARE}
        return [
            (each["role"], each["content"])
            if isinstance(each["content"], str)
            else (each["role"], [part["text"] if part["type"] == "text" else names[shown(part)] for part in each["content"]])
            for each in messages
        ]

    assert [plainly(request["messages"]) for request in server.requests] == [
        [
            ("system", "Be brief."),
            ("user", ["Compare ", "plain.png", " with ", "plain.jpg", "please. "]),
            ("assistant", "They differ."),
            ("user", ["And this?\n", "grey.jpg", "\n  indented"]),
        ],
        [("user", ["Frame-1: ", "plain.jpg", "Frame-2: ", "plain.png", "What happens?"])],
    ]


def test_the_request_says_how_answers_are_made(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """Greedy by default with the benchmark's length; drawn answers bring their settings; scores.json records both."""
    data, server = write(tmp_path, plain(1)), serve(yes)
    scores = run(data, server)
    sent = {name: value for name, value in server.requests[0].items() if name != "messages"}
    assert sent == {"model": "m", "max_tokens": 32, "temperature": 0.0}
    assert scores["engine"]["request"] == {"max_tokens": 32, "temperature": 0.0} and scores["sampling"] is None
    drawn = [f"evaluate.{each}" for each in ("max_new_tokens=7", "temperature=0.5", "top_p=0.9", "seed=3", "top_k=4")]
    scores = run(data, server, set=drawn)
    expected = {"max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3, "top_k": 4}
    assert {name: value for name, value in server.requests[1].items() if name != "messages"} == {"model": "m"} | expected
    assert scores["engine"]["request"] == expected and scores["max_new_tokens"] == 7


def test_predictions_stand_in_the_order_of_the_references(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """Whichever answer comes first; never more requests at a time than asked for; the key is in one header and in no file."""
    together, most, lock = 0, 0, threading.Lock()
    gate = threading.Barrier(3)

    def slow(request: dict[str, Any]) -> tuple[int, Any]:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        gate.wait(10)  # three must be there at a time
        with lock:
            together -= 1
        return says(f"  answer to {question_of(request)}\n")

    server = serve(slow)
    data = write(tmp_path, plain(12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPT_API_KEY", "secret-1")
        scores = run(data, server, engine=f"{server.url}?key=secret-2", set=["evaluate.concurrency=3"])
    assert most == 3 and len(server.requests) == 12
    found = rows(tmp_path / "out" / "predictions.jsonl")
    assert found == [{"id": f"r{number}", "answer": f"answer to Question {number}?"} for number in range(12)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["marks.jsonl", "predictions.jsonl", "scores.json"]
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert server.headers[0][1]["Authorization"] == "Bearer secret-1"
    assert scores["engine"]["url"] == f"{server.url}/chat/completions" and scores["model"] == {"name": "m"}
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == scores


def test_cut_answers_and_refusals_are_kept_and_counted(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """They are scored as they stand; a model that spent its tokens without a word said nothing, and that is an answer."""
    replies = [
        says("yes", finish_reason="length"),
        says(None, finish_reason="length"),
        says(None, finish_reason="content_filter"),
        (200, {"choices": [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}]}),
        says("yes", finish_reason="stop"),
        says("", finish_reason="stop"),
    ]
    server = serve(lambda request: replies[int(question_of(request)[9:-1])])
    scores = run(write(tmp_path, plain(6)), server)
    answers = [row["answer"] for row in rows(tmp_path / "out" / "predictions.jsonl")]
    assert answers == ["yes", "", "", "I cannot", "yes", ""]
    assert (scores["engine"]["cut"], scores["engine"]["refused"], scores["engine"]["failed"]) == (2, 2, {})
    assert scores["metrics"]["exact"]["value"] == pytest.approx(2 / 6) and scores["details"]["answers"]["empty"] == 3


def test_questions_that_cannot_be_answered_are_asked_again_or_accepted(
    tmp_path: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure is no wrong answer: exit by DataError, the others kept; accepted ones are wrong, named, and null."""

    def too_long(request: dict[str, Any]) -> tuple[int, Any]:
        return (400, {"error": {"message": "context too long"}}) if "3?" in question_of(request) else yes(request)

    data, server = write(tmp_path, plain(6)), serve(too_long)
    with pytest.raises(
        DataError, match=r"1 of 6 questions without an answer, first 'r3': .*answers 400: context too long; .*max_bad"
    ):
        run(data, server)
    assert not (tmp_path / "out" / "predictions.jsonl").exists()
    server.requests.clear()
    scores = run(data, server, set=["evaluate.max_bad=1"])
    assert [question_of(request) for request in server.requests] == ["Question 3?"]
    assert scores["engine"]["failed"] == {"r3": "the endpoint answers 400: context too long"} and scores["resumed"] == 5
    assert rows(tmp_path / "out" / "predictions.jsonl")[3] == {"id": "r3", "answer": None}
    assert scores["metrics"]["exact"]["value"] == pytest.approx(5 / 6) and scores["details"]["answers"]["none"] == 1
    assert scores["questions_per_second"] == 0
    assert "1 of 6 questions have no answer and count as wrong (evaluate.max_bad=1): 'r3'; the" in capsys.readouterr().err


def test_of_many_accepted_failures_the_first_are_named(
    tmp_path: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Five of six fail and six are accepted: their number and the first three, in the order of the questions."""
    server = serve(lambda request: yes(request) if "0?" in question_of(request) else (400, {"error": "no"}))
    run(write(tmp_path, plain(6)), server, set=["evaluate.max_bad=6", "evaluate.concurrency=1"])
    told = "5 of 6 questions have no answer and count as wrong (evaluate.max_bad=6): 'r1', 'r2', 'r3', ...; the reasons"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ((200, b"not JSON"), "not JSON"),
        (says(["parts"]), r"no choices\[0\]"),
        (says(None), "holds no text"),
        ((200, {"choices": []}), r"no choices\[0\]"),
        ((200, {"choices": [7]}), r"no choices\[0\]"),
        ((500, b"oops"), "answers 500: oops"),
    ],
)
def test_replies_of_another_shape_are_failures(tmp_path: Path, serve: Callable[..., Server], reply: Any, told: str) -> None:
    """None of them is taken for an answer."""
    with pytest.raises(DataError, match=told):
        run(write(tmp_path, plain(1)), serve(lambda request: reply))


def test_a_server_that_answers_nothing_is_not_asked_everything(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """A model without eyes refuses each picture: some twenty questions tell, not all of a benchmark."""
    server = serve(lambda request: (400, {"error": "no pictures"}))
    with pytest.raises(DataError, match=r"the first 21 questions all failed; .*no pictures"):
        run(write(tmp_path, plain(300)), server, set=["evaluate.concurrency=2"])
    assert len(server.requests) < 40


def test_a_server_that_hangs_is_told_of_and_given_up(
    tmp_path: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """A server may be silent for evaluate.timeout seconds; two retries, a line each, and the error says how to give it more."""
    done = threading.Event()

    def hang(request: dict[str, Any]) -> Any:
        done.wait(20)
        return says("yes")

    server = serve(hang)
    begun = time.monotonic()
    told = r"http://127.0.0.1:\d+ gives no answer within 0.2 s \(3 times\);.*--set evaluate.timeout=SECONDS"
    try:
        with pytest.raises(DataError, match=told):
            run(write(tmp_path, plain(1)), server, set=["evaluate.timeout=0.2", "evaluate.concurrency=1"])
    finally:
        done.set()
    assert time.monotonic() - begun < 10 and len(server.requests) <= 3  # a busy machine may read the last one later
    lines = [line for line in capsys.readouterr().err.splitlines() if "gives no answer within 0.2 s; try" in line]
    assert [line.partition("; ")[2].partition(" in ")[0] for line in lines] == ["try 2 of 3", "try 3 of 3"]


def test_a_connection_that_does_not_come_about_is_no_slow_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that never shakes hands cannot be reached: six tries, and no advice to wait longer for an answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"https://127.0.0.1:{silent.getsockname()[1]}"
        asked = Endpoint(f"{place}/v1", "m", first_wait_s=0.01, timeout_s=0.1)
        told = f"{place} cannot be reached: no connection within 0.1 s; is the server running"
        with contextlib.closing(asked), pytest.raises(EndpointError, match=told) as error:
            asked.ask([{"role": "user", "content": "x"}])
    assert not isinstance(error.value, EndpointTimeoutError)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("; ")[2].partition(" in ")[0] for line in lines] == [f"try {number} of 6" for number in range(2, 7)]


def test_every_retry_is_told_in_a_line(
    tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What happened and which try it is, without the key; a server that is busy twice answers all the same."""
    monkeypatch.setenv("ADAPT_API_KEY", "sk-secret-123")
    replies = iter([(503, {"error": "busy for sk-secret-123"}), (0, b""), says("yes")])
    run(write(tmp_path, plain(1)), serve(lambda request: next(replies)))
    lines = [line for line in capsys.readouterr().err.splitlines() if "; try " in line]
    assert len(lines) == 2 and "answers 503: busy for ***; try 2 of 6 in " in lines[0] and "; try 3 of 6 in " in lines[1]


def test_what_is_wrong_is_said_before_a_question_is_paid_for(
    pictures: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Other engines, missing and damaged pictures, settings out of range; a folder as a model's name is a name."""
    server = serve(yes)
    data = write(pictures, plain(1))
    with pytest.raises(UsageError, match=r"engine 'nativ': expected 'native', or a server's address such as http"):
        run(data, server, engine="nativ")
    for setting in ("concurrency=0", "concurrency=257", "max_bad=-1", "timeout=0", "timeout=nan"):
        with pytest.raises(UsageError, match=rf"evaluate\.{setting}: expected"):
            run(data, server, set=[f"evaluate.{setting}"])
    with pytest.raises(UsageError, match="scoring=likelihood needs the model here"):
        run(data, server, set=["evaluate.scoring=likelihood"])
    with pytest.raises(UsageError, match="unknown evaluate.scoring 'likelyhood': did you mean 'likelihood'"):
        run(data, server, set=["evaluate.scoring=likelyhood"])
    with pytest.raises(UsageError, match="likelihood writes none"):
        run(data, server, set=["evaluate.scoring=likelihood", "evaluate.max_new_tokens=5"])
    with pytest.raises(UsageError, match=r"endpoint 'http://\[::1': "):
        run(data, server, engine="http://[::1")
    with pytest.raises(UsageError, match="likelihood draws none"):
        run(data, server, set=["evaluate.scoring=likelihood", "evaluate.temperature=1"])
    turns = (Turn("human", "<image>"), Turn("gpt", "yes"))
    (pictures / "page.png").write_text("<html>")
    for name, told in (("gone.png", "gone.png: no such file"), ("page.png", "an HTML page, not a picture")):
        with pytest.raises(DataError, match=told):
            run(write(pictures, [*plain(3), ChatRecord("p", turns, (name,))]), server)
    assert server.requests == []
    run(write(pictures, plain(1)), server, model=str(pictures))
    assert server.requests[0]["model"] == str(pictures) and "its files are not read" in capsys.readouterr().err


@pytest.mark.parametrize("status", [200, 400, 401])
def test_a_key_that_a_server_repeats_is_written_nowhere(
    tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """As some hosts do: neither an error nor the reasons in scores.json have the key."""
    monkeypatch.setenv("ADAPT_API_KEY", "sk-secret-123")
    server = serve(lambda request: (status, {"error": {"message": "no such model for sk-secret-123"}}))
    data = write(tmp_path, plain(1))
    reason = "content: .*" if status == 200 else f"answers {status}: "
    with pytest.raises(DataError, match=rf"{reason}no such model for \*\*\*") as told:
        run(data, server)
    assert "secret" not in str(told.value)
    if status != 401:
        assert "for ***" in str(run(data, server, set=["evaluate.max_bad=1"])["engine"]["failed"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_an_address_without_v1_is_told_so(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """The usual slip: 404 where /v1 is missing."""
    server = serve(lambda request: (404, {"detail": "Not Found"}))
    with pytest.raises(DataError, match=r"answers 404: .*most servers listen below /v1"):
        run(write(tmp_path, plain(1)), server, engine=server.url.removesuffix("/v1"))
