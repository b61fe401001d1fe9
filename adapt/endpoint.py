"""A language model behind an OpenAI-compatible endpoint: one question, one answer, with patience; and many at a time.

POST to ``.../chat/completions`` as vLLM, SGLang, llama.cpp, Ollama and the hosted services speak it (platform.openai.com/docs,
"Create chat completion"). The key comes from the environment, goes into the one header that is for it, and is never shown.
Redirects are not followed: a key would travel with them. ``close`` ends all requests under way.
"""

import concurrent.futures
import contextlib
import dataclasses
import http.client
import itertools
import json
import os
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from adapt import progress, safe, signals
from adapt.errors import DataError, UsageError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
KEY_VARIABLE = "ADAPT_API_KEY"
ATTEMPTS = 6
TIMED_OUT_ATTEMPTS = 3  # each costs the whole time of a request: a server that hangs seldom comes back
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 30.0  # nothing can end this wait from outside
MAX_ANSWER_BYTES = 16 * 2**20
# Try again: the server is busy or is being restarted. What else is refused stays refused.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSED = frozenset({301, 302, 307, 308, 401, 402, 403, 404, 405})


MAX_CONCURRENCY = 256


class EndpointError(DataError):
    """No question can be answered: the address, the key or the model is wrong, or nobody listens."""


class EndpointTimeoutError(EndpointError):
    """The server gave no answer in time, several times."""


@dataclasses.dataclass(frozen=True)
class Completion:
    """What a model said. ``finish`` is the server's finish_reason ('' where it gives none), ``refusal`` its words for a no."""

    text: str | None
    finish: str = ""
    refusal: str = ""


@dataclasses.dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    wait_s: float


class Endpoint:
    """A model at a URL. Thread-safe: each thread keeps a connection of its own.

    ``timeout_s`` bounds each wait for the server, not a request as a whole: with every byte it begins anew.
    """

    def __init__(self, url: str, model: str, *, first_wait_s: float = FIRST_WAIT_S, timeout_s: float = TIMEOUT_S) -> None:
        """Raises UsageError for what is no http or https address."""
        try:
            parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
            host, self._port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"endpoint '{url}': {error}") from error
        if parts.scheme not in ("http", "https") or not host or parts.username:
            raise UsageError(f"endpoint '{url}': expected an address such as http://127.0.0.1:8000/v1")
        self._host = host
        path = parts.path.rstrip("/")
        path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
        self._path = f"{path}?{parts.query}" if parts.query else path
        if not (self._path.isascii() and self._path.isprintable() and " " not in self._path):
            raise UsageError(
                f"endpoint '{url}': expected an address without blanks and special letters (%-encoded where needed)"
            )
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.model, self._first_wait_s, self._timeout_s = model, first_wait_s, timeout_s
        self._key = os.environ.get(KEY_VARIABLE, "").strip()  # a key from a file brings its line end
        if not (self._key.isascii() and self._key.isprintable()):
            raise UsageError(f"{KEY_VARIABLE} holds letters that no key has; set it again")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._mine = threading.local()

    @property
    def address(self) -> str:
        """Where questions go, fit to be written down: without what stands behind '?', which may be a key."""
        return self._place() + self._path.partition("?")[0]

    def ask(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The model's whole answer. Raises EndpointError where no question can be answered, DataError where this one cannot."""
        found = self.complete(messages)
        if found.finish == "length":
            raise DataError("the endpoint cut the answer off (finish_reason length); give the server more tokens")
        if found.text is None:
            if found.refusal:
                raise DataError(f"the endpoint refuses to answer: {_shown(found.refusal)}")
            why = f" (finish_reason {_shown(found.finish)})" if found.finish else ""
            raise DataError(f"the endpoint's reply holds no text: its choices[0].message.content is null or missing{why}")
        return found.text

    def complete(self, messages: Sequence[Mapping[str, Any]], **request: Any) -> Completion:
        """What the model says, cut or refused as it may be. ``request`` are further fields of the request (max_tokens, seed).

        Raises EndpointError where no question can be answered, DataError where this one cannot.
        """
        document = {"model": self.model, "messages": list(messages), "temperature": 0} | request
        body = self._ask_patiently(json.dumps(document).encode())
        with contextlib.suppress(DataError):
            return _completion(body)
        return _completion(self._without_key(body))  # some servers say no with status 200, and may repeat the key

    def _ask_patiently(self, body: bytes) -> bytes:
        """The body of the reply, after some tries where the server is busy or away. Each further try is told in one line."""
        wait_s, last, timed_out = 0.0, "", 0
        for attempt in range(ATTEMPTS):
            if attempt and not self._stop.is_set():
                left = TIMED_OUT_ATTEMPTS - timed_out if timed_out else ATTEMPTS
                tries = min(ATTEMPTS, attempt + left)
                progress.say(f"{self._place()} {last}; try {attempt + 1} of {tries} in {wait_s:.3g} s")
            if self._stop.wait(wait_s):
                raise EndpointError("stopped")
            wait_s = min(self._first_wait_s * 2**attempt, LONGEST_WAIT_S)
            try:
                reply = self._post(body)
            except TimeoutError as error:
                self._drop()
                timed_out += 1
                last = str(error)
                if timed_out == TIMED_OUT_ATTEMPTS:
                    raise EndpointTimeoutError(f"{self._place()} {last} ({timed_out} times)") from error
                continue
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                last = f"cannot be reached: {error or type(error).__name__}"
                continue
            if reply.status == 200:
                return reply.body
            last = f"answers {reply.status}: {_fault(self._without_key(reply.body))}"
            if reply.status in _REFUSED:
                raise EndpointError(f"{self._place()} {last}{self._advice(reply.status)}")
            if reply.status not in _PASSING:
                raise DataError(f"the endpoint {last}")
            wait_s = min(max(wait_s, reply.wait_s), LONGEST_WAIT_S)
        if last.startswith("cannot"):
            raise EndpointError(f"{self._place()} {last}; is the server running?")
        raise DataError(f"the endpoint {last} ({ATTEMPTS} times)")

    def close(self) -> None:
        """End waits and requests under way; no question is answered after it."""
        self._stop.set()
        with self._lock:
            for connection in self._open:
                if connection.sock is not None:
                    with contextlib.suppress(OSError):
                        # Not TLS's own, which would first lay the encryption down under a thread that may be writing.
                        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def _advice(self, status: int) -> str:
        if status in (401, 403) and not self._key:
            return f"; set {KEY_VARIABLE} to its key"
        is_bare = status in (404, 405) and self._path.startswith("/chat/completions")
        return "; most servers listen below /v1: add it to the address" if is_bare else ""

    def _without_key(self, body: bytes) -> bytes:
        """A refusal as it may be shown and written down: some servers repeat the key that they refuse."""
        return body.replace(self._key.encode(), b"***") if self._key else body

    def _place(self) -> str:
        return f"{'https' if self._kind is http.client.HTTPSConnection else 'http'}://{self._host}" + (
            f":{self._port}" if self._port else ""
        )

    def _post(self, body: bytes) -> _Reply:
        connection = getattr(self._mine, "connection", None)
        if connection is None:
            patience_s = min(self._timeout_s, CONNECT_TIMEOUT_S)
            connection = self._mine.connection = self._kind(self._host, self._port, timeout=patience_s)
            with self._lock:
                self._open.add(connection)
            try:
                connection.connect()
            except TimeoutError as error:  # nobody is there, which more time for an answer would not change
                raise ConnectionError(f"no connection within {patience_s:g} s") from error
            connection.sock.settimeout(self._timeout_s)
        with self._lock:  # ``close`` came before, or will find the socket
            if self._stop.is_set():
                raise EndpointError("stopped")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        try:
            connection.request("POST", self._path, body, headers)
            answer = connection.getresponse()
            content = answer.read(MAX_ANSWER_BYTES + 1)
        except TimeoutError as error:
            raise TimeoutError(f"gives no answer within {self._timeout_s:g} s") from error
        if len(content) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes")
        if answer.will_close:
            self._drop()
        wait = answer.headers.get("Retry-After", "")
        return _Reply(answer.status, content, float(wait) if wait.isdecimal() else 0.0)

    def _drop(self) -> None:
        connection = self._mine.__dict__.pop("connection", None)
        if connection is not None:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _completion(body: bytes) -> Completion:
    """What a reply says. Raises DataError for one of another shape."""
    document = safe.load_json(body, "the endpoint's reply")
    choices = document.get("choices") if isinstance(document, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise DataError(f"the endpoint's reply holds no choices[0].message.content: {_shown(document)}")
    text, finish, refusal = message.get("content"), choice.get("finish_reason"), message.get("refusal")
    if text is not None and not isinstance(text, str):
        raise DataError(f"the endpoint's reply holds no choices[0].message.content: {_shown(document)}")
    return Completion(text, finish if isinstance(finish, str) else "", refusal if isinstance(refusal, str) else "")


def ask_all(
    endpoint: Endpoint,
    work: Callable[[Item], Answer],
    items: Iterable[Item],
    *,
    concurrency: int,
    take: Callable[[Item, Answer | DataError], None],
) -> None:
    """``work`` every item in ``concurrency`` threads, and ``take`` each result, here, as it comes: an answer or its DataError.

    An EndpointError ends it before another item is begun, and so does whatever ``take`` raises. However it ends, by Ctrl-C
    too: requests under way are closed, and answers that are there are still taken, since they are paid for.
    """
    refusals: list[EndpointError] = []

    def work_unless_refused(item: Item) -> Answer:
        if refusals:
            raise refusals[0]
        try:
            return work(item)
        except EndpointError as error:  # noted in this thread: the next item may be begun before the caller hears of it
            refusals.append(error)
            raise

    left = iter(items)
    under_way: dict[concurrent.futures.Future[Answer], Item] = {}
    pool = concurrent.futures.ThreadPoolExecutor(concurrency)
    try:
        while True:
            for item in itertools.islice(left, 2 * concurrency - len(under_way)):
                with signals.held():  # what is begun is noted, and what is taken is taken once, whenever Ctrl-C comes
                    under_way[pool.submit(work_unless_refused, item)] = item
            if not under_way:
                return
            for each in signals.wait_any(under_way):
                result: Answer | DataError = _result(each)
                with signals.held():
                    take(under_way[each], result)
                    del under_way[each]
    except BaseException:
        endpoint.close()  # or the threads would wait for their answers
        raise
    finally:
        try:
            signals.shut_down(pool)
        finally:
            for future, item in under_way.items():
                if future.done() and not future.cancelled() and future.exception() is None:
                    take(item, future.result())


def _result(future: "concurrent.futures.Future[Any]") -> Any:
    """The answer, or the DataError of an item that has none."""
    try:
        return signals.result_of(future)
    except EndpointError:
        raise
    except DataError as error:
        return error


def _fault(body: bytes) -> str:
    try:
        document = safe.load_json(body, "reply")
    except DataError:
        return _shown(body[:200].decode("utf-8", "replace"))
    error = document.get("error", document) if isinstance(document, Mapping) else document
    return _shown(error.get("message", error) if isinstance(error, Mapping) else error)


def _shown(value: Any) -> str:
    return " ".join(str(value).split())[:120]
