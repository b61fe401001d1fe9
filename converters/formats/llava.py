"""Conversation files: LLaVA JSON, InternVL JSONL and OpenAI messages, read into one shape.

LLaVA and InternVL rows hold ``conversations`` ([{"from", "value"}]) and ``image``; OpenAI rows hold ``messages`` ([{"role",
"content"}]) whose content is text or a list of text and image_url parts. ``images`` beside text messages is read too.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER
from converters.formats import table
from converters.formats.frames import Video, parse_video

ROLES = {
    "human": "human",
    "user": "human",
    "gpt": "gpt",
    "assistant": "gpt",
    "system": "system",
    "developer": "system",
}


@dataclasses.dataclass(frozen=True)
class Conversation:
    """The messages as (role, text) with human, gpt or system, and the pictures, or the video, as the file names them."""

    turns: tuple[tuple[str, str], ...]
    pictures: tuple[str, ...]
    video: Video | None = None


def read_rows(path: Path) -> Iterator[table.Place]:
    """The rows of a .json list or .jsonl file; what is no object is a DataError in its place."""
    readers = {".json": table.read_json_list, ".jsonl": table.read_jsonl}
    if not path.is_file() or path.suffix.lower() not in readers:
        raise UsageError(f"input '{path}': expected a file of conversations that ends in .json or .jsonl")
    return readers[path.suffix.lower()](path)


def parse_conversation(row: Mapping[str, Any], where: str) -> Conversation:
    """The conversation of one row. Raises DataError(``where``: found, expected)."""
    conversation = _parse_messages(row, where) if "messages" in row else _parse_conversations(row, where)
    video = parse_video(row, where)
    if video and conversation.pictures:
        raise DataError(f"{where}: both pictures and a video; expected one of them")
    return dataclasses.replace(conversation, video=video)


def _parse_conversations(row: Mapping[str, Any], where: str) -> Conversation:
    messages = row.get("conversations")
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: neither 'conversations' nor 'messages' holds a list of messages")
    turns = [_turn(message, "from", "value", where) for message in messages]
    return Conversation(tuple(turns), _names(row.get("image"), where))


def _parse_messages(row: Mapping[str, Any], where: str) -> Conversation:
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: 'messages' is empty, expected a list of messages")
    turns: list[tuple[str, str]] = []
    pictures = list(_names(row.get("images", row.get("image")), where))
    for message in messages:
        if isinstance(message, dict) and isinstance(message.get("content"), list):
            text, found = _join_parts(message["content"], where)
            pictures.extend(found)
            message = message | {"content": text}
        turns.append(_turn(message, "role", "content", where))
    return Conversation(tuple(turns), tuple(pictures))


def _turn(message: Any, role_key: str, text_key: str, where: str) -> tuple[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get(text_key), str):
        raise DataError(f"{where}: message {str(message)[:60]}, expected an object with text in '{text_key}'")
    role = message.get(role_key)
    if not isinstance(role, str) or role not in ROLES:
        raise DataError(f"{where}: a message comes from {role!r}, expected one of {', '.join(ROLES)}")
    return ROLES[role], message[text_key]


def _names(value: Any, where: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names if name != ""):
        raise DataError(f"{where}: the picture is {str(value)[:60]}, expected a path or a list of paths")
    return tuple(name for name in names if name)


def _join_parts(parts: list[Any], where: str) -> tuple[str, list[str]]:
    """Content parts as one text, each picture a placeholder on a line of its own."""
    texts, pictures = [], []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url" and isinstance(_url(part), str):
            texts.append(IMAGE_PLACEHOLDER)
            pictures.append(str(_url(part)))
        else:
            raise DataError(f"{where}: content part {str(part)[:60]}, expected a text or an image_url")
    return "\n".join(texts), pictures


def _url(part: Mapping[str, Any]) -> Any:
    holder = part.get("image_url")
    return holder.get("url") if isinstance(holder, dict) else holder
