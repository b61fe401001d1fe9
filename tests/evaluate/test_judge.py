"""A judge behind an endpoint: asked once, cached, and read into the scores with its model and prompt."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapt import endpoint
from adapt.endpoint import Endpoint
from adapt.errors import DataError
from adapt.evaluate.judge import ask_all
from adapt.verbs import score


class Server:
    """An endpoint on a free port that answers with the text that ``reply`` gives for a request, or with a status."""

    def __init__(self, reply: Callable[[dict[str, Any]], str | int]) -> None:
        self.requests: list[dict[str, Any]] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(request)
                found = reply(request)
                body = json.dumps({"choices": [{"message": {"content": found}}]}).encode()
                with contextlib.suppress(OSError):  # the client may be gone
                    self.send_response(found if isinstance(found, int) else 200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start a server; waits between attempts are short."""
    monkeypatch.setattr(endpoint.Endpoint.__init__, "__kwdefaults__", {"first_wait_s": 0.01, "timeout_s": 10.0})
    started: list[Server] = []

    def start(reply: Callable[[dict[str, Any]], str | int]) -> Server:
        server = Server(reply)
        threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.http.shutdown()
        server.http.server_close()


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def echo(request: dict[str, Any]) -> str:
    return f"reply to {request['messages'][-1]['content']}"


def test_each_question_is_asked_once(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Equal questions are one request, replies are in the questions' order, and a second run asks only what is new."""
    server = serve(echo)
    texts = [f"q{number % 7}" for number in range(20)]
    cache = tmp_path / "deep" / "judge.jsonl"
    replies = ask_all(Endpoint(server.url, "m"), [question(text) for text in texts], cache)
    assert replies == [f"reply to {text}" for text in texts]
    assert len(server.requests) == 7 and {request["model"] for request in server.requests} == {"m"}
    again = ask_all(Endpoint(server.url, "m"), [question(text) for text in [*texts, "ß\n new"]], cache)
    assert again == [*replies, "reply to ß\n new"] and len(server.requests) == 8
    ask_all(Endpoint(server.url, "another"), [question("q1")], cache)
    assert len(server.requests) == 9  # another model's replies are its own


def test_a_killed_run_goes_on(serve: Callable[..., Server], tmp_path: Path) -> None:
    """What came before a failure is kept, half a line at the end is dropped, and no question is asked twice."""
    server = serve(lambda request: 400 if request["messages"][0]["content"] == "bad" else echo(request))
    cache = tmp_path / "judge.jsonl"
    ask_all(Endpoint(server.url, "m"), [question("a"), question("b")], cache)
    with pytest.raises(DataError, match="400"):
        ask_all(Endpoint(server.url, "m"), [question("bad")], cache)
    with open(cache, "a") as handle:
        handle.write('{"model": "m", "messag')
    before = len(server.requests)
    assert ask_all(Endpoint(server.url, "m"), [question("a"), question("c")], cache) == ["reply to a", "reply to c"]
    assert len(server.requests) == before + 1
    kept = [json.loads(line)["reply"] for line in cache.read_text().splitlines()]  # as they came, several being under way
    assert sorted(kept) == [f"reply to {text}" for text in "abc"]


def test_a_server_that_is_busy_is_asked_again(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Two times 503, then an answer."""
    server = serve(lambda request: 503 if len(server.requests) < 3 else "77")
    assert ask_all(Endpoint(server.url, "m"), [question("a")], tmp_path / "judge.jsonl") == ["77"]


def test_a_file_of_something_else_is_no_cache(tmp_path: Path) -> None:
    """It is named with its line, and is not written to."""
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"id": "a", "answer": "b"}\n')
    with pytest.raises(DataError, match=r"predictions.jsonl:1: .*judge_cache=PATH"):
        ask_all(Endpoint("127.0.0.1:9", "m"), [question("a")], path)
    assert path.read_text() == '{"id": "a", "answer": "b"}\n'


def test_a_judged_score(serve: Callable[..., Server], shared: Path, tmp_path: Path) -> None:
    """The sample's answers rated 60, one reply of text left out: model and prompt stand in the scores, the cache beside."""
    folder = shared / "data" / "drivelm_sample"
    (tmp_path / "output.json").write_bytes((folder / "output.json").read_bytes())
    server = serve(lambda request: "I cannot rate this." if "Brake gently to a stop, slightly offset to the right." in
                   request["messages"][1]["content"] else "60")  # fmt: skip

    def judged(*more: str, behind: str = "") -> dict[str, Any]:
        options = [f"judge={server.url}{behind}", "judge_model=rater", *more]
        paths = {"predictions": tmp_path / "output.json", "references": folder / "test_eval.json"}
        return score(benchmark="drivelm", option=options, **paths)

    document = judged()
    assert document["metrics"]["gpt"] == {
        "value": pytest.approx(0.6),
        "count": 8,
        "low": pytest.approx(0.6),
        "high": pytest.approx(0.6),
    }
    assert document["metrics"]["match"]["value"] == pytest.approx(0.3)
    assert document["headline"] == "final"  # the challenge's own number, since there is a judge
    told = document["details"]["judge"]
    assert told["model"] == "rater" and told["unread_replies"] == 1 and told["prompt"].startswith("Rate my answer based on")
    assert len(server.requests) == 9 + 4 and len((tmp_path / "judge.jsonl").read_text().splitlines()) == 13
    sent = server.requests[0]["messages"]
    assert sent[0] == {"role": "system", "content": "an evaluator who rates my answer based on the correct answer"}
    assert "Output the number onlyThis is the correct answer: " in sent[1]["content"]
    assert judged()["metrics"] == document["metrics"] and len(server.requests) == 13
    again = judged(f"judge_cache={tmp_path / 'other.jsonl'}", behind="?key=secret")
    assert again["details"]["judge"]["url"] == server.url  # what stands behind '?' may be a key
    assert len(server.requests) == 26
