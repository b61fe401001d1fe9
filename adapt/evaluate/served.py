"""Answers from a server that speaks OpenAI's protocol: vLLM, SGLang, Ollama, LM Studio, `transformers serve`.

A record becomes messages as "Create chat completion" of platform.openai.com/docs describes them: pictures are ``image_url``
parts that hold the file itself as a data URL (RFC 2397), between parts of text, in the order of the ``<image>`` places.

What the server sees must be the pixels that a model sees here. Servers turn pictures by their orientation tag
(``load_image`` of transformers) and lay transparent ones on a background, and do not read every format; so what is no plain,
upright JPEG or PNG is sent as a PNG of the pixels that ``safe.read_picture`` gives.
"""

import base64
import dataclasses
import functools
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import orientation, progress, safe
from adapt.endpoint import Endpoint, EndpointTimeoutError, ask_all
from adapt.errors import DataError
from adapt.evaluate.engine import CUT, REFUSED, AnswerRules, Keep, Reply
from adapt.evaluate.sampling import Sampling
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord
from adapt.show import counted

OPENAI = "openai"
_ROLES = {"system": "system", "human": "user", "gpt": "assistant"}
_PLAIN_FORMATS, _PLAIN_MODES = frozenset({"JPEG", "PNG"}), frozenset({"L", "RGB"})
_KEPT_PICTURES = 32  # encoded ones that wait for the next question of the same picture
_HOPELESS = 20  # so many failures without one answer: it is not the questions


@dataclasses.dataclass(frozen=True)
class ServedEngine:
    """A model behind an endpoint. ``images`` is the picture root, ``as_png`` counts the pictures that are not sent as they are.

    ``max_bad`` questions without an answer are accepted by the caller.
    """

    endpoint: Endpoint
    images: Path
    concurrency: int
    max_bad: int
    as_png: int

    @classmethod
    def of(
        cls, endpoint: Endpoint, records: Iterable[ChatRecord], images: Path, concurrency: int, max_bad: int
    ) -> "ServedEngine":
        """Look at all pictures first: a missing or unfit one raises DataError before a question is paid for."""
        names = dict.fromkeys((name, record.id) for record in records for name in record.images)
        paths = dict.fromkeys(safe.inside(images, name, where) for name, where in names)
        as_png = sum(_plain_type(safe.read_bytes(path, safe.MAX_PICTURE_BYTES), str(path)) is None for path in paths)
        if as_png:
            progress.say(f"{as_png:,} of {counted(len(paths), 'picture')} sent as PNG: no plain, upright JPEG or PNG")
        return cls(endpoint, images, concurrency, max_bad, as_png)

    @property
    def model(self) -> Mapping[str, Any]:
        """The model's name at the server."""
        return {"name": self.endpoint.model}

    @property
    def facts(self) -> Mapping[str, Any]:
        """The protocol and the address; never the key."""
        return {"name": OPENAI, "url": self.endpoint.address}

    def answer(self, records: Sequence[ChatRecord], rules: AnswerRules, keep: Keep) -> Mapping[str, str]:
        """Ask for all records, some at a time. Raises EndpointError where none can be answered."""
        form = request_form(rules.max_new_tokens, rules.sampling)
        picture = functools.lru_cache(_KEPT_PICTURES)(picture_part)
        failed: dict[str, str] = {}
        answered = 0

        def ask(record: ChatRecord) -> Reply:
            return _reply(self.endpoint, to_messages(record, self.images, picture), form)

        with progress.meter("answered", len(records)) as show:

            def take(record: ChatRecord, reply: Reply | DataError) -> None:
                nonlocal answered
                if isinstance(reply, DataError):
                    failed[record.id] = str(reply)
                    if len(failed) > max(_HOPELESS, self.max_bad) and not answered:
                        raise DataError(f"the first {len(failed)} questions all failed; '{record.id}': {reply}")
                else:
                    answered += 1
                    keep(record.id, reply)
                show(answered + len(failed), f"{len(failed):,} failed" if failed else "")

            try:
                ask_all(self.endpoint, ask, records, concurrency=self.concurrency, take=take)
            except EndpointTimeoutError as error:
                raise EndpointTimeoutError(
                    f"{error}; is it still at work? Give it more time with --set evaluate.timeout=SECONDS, or less at once "
                    "with --set evaluate.concurrency=N"
                ) from error
        return failed


def request_form(max_new_tokens: int, sampling: Sampling) -> dict[str, Any]:
    """The fields of a request beside model and messages. ``top_k`` is no field of the protocol: it is sent where it is set."""
    form: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": sampling.temperature}
    if sampling.temperature:
        form |= {"top_p": sampling.top_p, "seed": sampling.seed}
    return form | ({"top_k": sampling.top_k} if sampling.top_k else {})


def to_messages(record: ChatRecord, root: Path, picture: Callable[[Path], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The turns of a record up to its last question, as messages; ``picture`` makes the part that shows a file."""
    paths = iter([safe.inside(root, name, record.id) for name in record.images])
    messages: list[dict[str, Any]] = []
    for turn in record.turns[:-1]:
        content: Any = turn.value
        if turn.role == "human" and IMAGE_PLACEHOLDER in turn.value:
            first, *others = turn.value.split(IMAGE_PLACEHOLDER)
            content = _text(first)
            for text in others:
                content += [picture(next(paths)), *_text(_after_picture(text))]
        messages.append({"role": _ROLES[turn.role], "content": content})
    return messages


def _text(text: str) -> list[Mapping[str, Any]]:
    return [{"type": "text", "text": text}] if text else []


def _after_picture(text: str) -> str:
    """Without the line end that the training data has after a picture: servers' chat templates put it there themselves.

    Ours puts none before a blank, so there it stays (adapt.data.template.chat_template).
    """
    return text[1:] if text.startswith("\n") and not text[1:2].isspace() else text


def picture_part(path: Path) -> dict[str, Any]:
    """The part of a message that shows a picture file: its own bytes, or a PNG of its pixels. Raises DataError."""
    content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES)
    kind = _plain_type(content, str(path))
    if kind is None:
        buffer = io.BytesIO()
        pixels = safe.decode_picture(content, str(path))
        pixels.info.clear()  # tags and transparency would be written too
        pixels.save(buffer, "PNG")
        content, kind = buffer.getvalue(), "png"
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(content).decode()}"}}


def _plain_type(content: bytes, where: str) -> str | None:
    """``jpeg`` or ``png`` where every reader sees the same pixels in these bytes, else None. DataError for no picture."""
    header = safe.header_of(content, where)
    is_plain = header.format in _PLAIN_FORMATS and safe.mode_of(content, where) in _PLAIN_MODES
    return header.format.lower() if is_plain and header.orientation == orientation.UPRIGHT else None


def _reply(endpoint: Endpoint, messages: Sequence[Mapping[str, Any]], form: Mapping[str, Any]) -> Reply:
    """A cut answer and a refusal are answers too: they are scored as they stand, and counted."""
    found = endpoint.complete(messages, **form)
    text = found.text.strip() if found.text else ""
    if found.finish == "content_filter" or (found.refusal and not text):
        return Reply(text or found.refusal, REFUSED)
    if found.finish == "length":
        return Reply(text, CUT)
    if found.text is None:
        raise DataError(f"the endpoint's reply holds no text (finish_reason {found.finish or 'not given'})")
    return Reply(text)
