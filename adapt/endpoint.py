"""A language model behind an OpenAI-compatible endpoint: one question, one answer, with patience.

POST to ``.../chat/completions`` as vLLM, llama.cpp, LMDeploy and the hosted services speak it (platform.openai.com/docs,
"Create chat completion"). The key comes from the environment, goes into the one header that is for it, and is never shown.
Redirects are not followed: a key would travel with them. ``close`` ends all requests under way.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import socket
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any

from adapt import safe
from adapt.errors import DataError, UsageError

KEY_VARIABLE = "ADAPT_API_KEY"
ATTEMPTS = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 30.0  # nothing can end this wait from outside
MAX_ANSWER_BYTES = 16 * 2**20
# Try again: the server is busy or is being restarted. What else is refused stays refused.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSED = frozenset({301, 302, 307, 308, 401, 402, 403, 404, 405})


class EndpointError(DataError):
    """No question can be answered: the address, the key or the model is wrong, or nobody listens."""


@dataclasses.dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    wait_s: float


class Endpoint:
    """A model at a URL. Thread-safe: each thread keeps a connection of its own."""

    def __init__(self, url: str, model: str, *, first_wait_s: float = FIRST_WAIT_S, timeout_s: float = TIMEOUT_S) -> None:
        """Raises UsageError for what is no http or https address."""
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(f"endpoint '{url}': expected an address such as http://127.0.0.1:8000/v1")
        try:
            self._host, self._port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"endpoint '{url}': {error}") from error
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

    def ask(self, messages: list[dict[str, str]]) -> str:
        """The model's answer. Raises EndpointError where no question can be answered, DataError where this one cannot."""
        body = json.dumps({"model": self.model, "messages": messages, "temperature": 0}).encode()
        wait_s, last = 0.0, ""
        for attempt in range(ATTEMPTS):
            if self._stop.wait(wait_s):
                raise EndpointError("stopped")
            wait_s = min(self._first_wait_s * 2**attempt, LONGEST_WAIT_S)
            try:
                reply = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                last = f"cannot be reached: {error or type(error).__name__}"
                continue
            if reply.status == 200:
                return _text(reply.body)
            last = f"answers {reply.status}: {_fault(reply.body)}"
            if reply.status in _REFUSED:
                advice = f"; set {KEY_VARIABLE} to its key" if reply.status in (401, 403) and not self._key else ""
                raise EndpointError(f"{self._place()} {last}{advice}")
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
            connection.connect()
            connection.sock.settimeout(self._timeout_s)
        with self._lock:  # ``close`` came before, or will find the socket
            if self._stop.is_set():
                raise EndpointError("stopped")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        connection.request("POST", self._path, body, headers)
        answer = connection.getresponse()
        content = answer.read(MAX_ANSWER_BYTES + 1)
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


def _text(body: bytes) -> str:
    """The answer in a reply. Raises DataError for a reply of another shape, and for an answer that was cut off."""
    document = safe.load_json(body, "the endpoint's reply")
    choices = document.get("choices") if isinstance(document, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    text = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(text, str):
        raise DataError(f"the endpoint's reply holds no choices[0].message.content: {_shown(document)}")
    if choice is not None and choice.get("finish_reason") == "length":
        raise DataError("the endpoint cut the answer off (finish_reason length); give the server more tokens")
    return text


def _fault(body: bytes) -> str:
    try:
        document = safe.load_json(body, "reply")
    except DataError:
        return _shown(body[:200].decode("utf-8", "replace"))
    error = document.get("error", document) if isinstance(document, Mapping) else document
    return _shown(error.get("message", error) if isinstance(error, Mapping) else error)


def _shown(value: Any) -> str:
    return " ".join(str(value).split())[:120]
