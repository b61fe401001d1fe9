"""Questions to a judge, a language model behind an OpenAI-compatible endpoint; what it answered once is not asked again.

The answers stand in a JSONL file, a row ``{"model", "messages", "reply"}`` each, written as they come: a run that was stopped
goes on where it was, and a second one needs no judge.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from adapt import atomic, safe
from adapt import endpoint as endpoints
from adapt.endpoint import Endpoint
from adapt.errors import DataError
from adapt.progress import meter
from adapt.records import dump_row, read_rows

Messages = list[dict[str, str]]

AT_ONCE = 8


def ask_all(endpoint: Endpoint, questions: Sequence[Messages], cache: Path) -> list[str]:
    """The judge's reply to each question, those in ``cache`` from there. Equal questions are asked once.

    Raises EndpointError where no question can be answered, DataError where one cannot, or ``cache`` is no such file; the
    replies that came before stay in ``cache``.
    """
    known = _read(cache, endpoint.model)
    keys = [_key(messages) for messages in questions]
    new = dict.fromkeys(key for key in keys if key not in known)
    before = len(known)
    if new:
        with atomic.disk_faults_told(cache):
            cache.parent.mkdir(parents=True, exist_ok=True)
            with open(cache, "ab") as handle, meter("judged", len(new)) as show:

                def keep(key: str, reply: str | DataError) -> None:
                    if isinstance(reply, DataError):
                        raise reply
                    row = {"model": endpoint.model, "messages": json.loads(key), "reply": reply}
                    handle.write(f"{dump_row(row)}\n".encode())
                    handle.flush()
                    known[key] = reply
                    show(len(known) - before, "")

                endpoints.ask_all(endpoint, lambda key: endpoint.ask(json.loads(key)), new, concurrency=AT_ONCE, take=keep)
    return [known[key] for key in keys]


def _key(messages: Messages) -> str:
    return json.dumps(messages, ensure_ascii=False)


def _read(cache: Path, model: str) -> dict[str, str]:
    """The replies of this model. A last line without an end, which a killed run leaves, is taken away."""
    if not cache.exists():
        return {}
    content = safe.read_bytes(cache)
    if content and not content.endswith(b"\n"):
        atomic.write_bytes(cache, content[: content.rfind(b"\n") + 1])
    known = {}
    for number, row in read_rows(cache):
        if not isinstance(row, dict) or not isinstance(row.get("messages"), list) or not isinstance(row.get("reply"), str):
            raise DataError(
                f"{cache}:{number}: {str(row)[:60]}, expected a judge's reply {{model, messages, reply}}; choose another file "
                "with --option judge_cache=PATH"
            )
        if row.get("model") == model:
            known[_key(row["messages"])] = row["reply"]
    return known
