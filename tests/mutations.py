"""Damage for files that come from outside: what a torn download, a wrong tool or a hostile hand makes of them.

``mutate(folder, number)`` damages one file of a folder, in a way that follows from the number alone.
"""

import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATH_TRICKS = (
    "../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\secret.png",
    "a/../../b.png",
    "C:/x.png",
    "x\x00.png",
    "~/x.png",
    "." * 2000,
)
ODD_VALUES = (
    None, True, -1, 0, 2**70, 1.5, float("nan"), float("inf"), 1e400, "", " ", "x" * 5000, [], {}, [[]], [None], {"a": 1},
    "\ud800", "<img>", "<|im_end|>", "<box>[[1, 2, 3, 4]]</box>", "<image>", *PATH_TRICKS,
)  # fmt: skip
_TAIL = b"]><annotation><filename>&z;</filename></annotation>"
_TENFOLD = b"".join(b'<!ENTITY %c "%s">' % (97 + step, b"&%c;" % (96 + step) * 10) for step in range(1, 9))
BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + _TENFOLD + b'<!ENTITY z "&i;">' + _TAIL
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY z SYSTEM "file:///etc/passwd">' + _TAIL
HOSTILE_PICKLE = b"cposix\nsystem\n(S'true'\ntR."


def mutate(folder: Path, number: int) -> str:
    """Damage one file below ``folder``; returns what was done."""
    draw = random.Random(number)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # Annotations rather than pictures, most of the time: there are fewer of them, and they hold what is parsed.
    texts = [path for path in files if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".tif")]
    path = draw.choice(texts if texts and draw.random() < 0.8 else files)
    ways = [*ANY, *BY_SUFFIX.get(path.suffix.lower(), ())]
    way = draw.choice(ways)
    content = way(path.read_bytes(), draw)
    path.write_bytes(content)
    return f"{way.__name__} of {path.relative_to(folder)}"


def flip_bytes(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20))):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def insert(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    return (
        content[:place]
        + draw.choice((b"\x00" * 9, b"\xff\xfe", b"\r\n\r\n", b'"', b"<", b"{", b"\xef\xbb\xbf", b",,,,"))
        + content[place:]
    )


def empty(content: bytes, draw: random.Random) -> bytes:
    return b""


def repeat_lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    place = draw.randrange(len(lines) + 1)
    return b"".join([*lines[:place], *lines[max(0, place - 3) :]])


def drop_lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    place = draw.randrange(len(lines) + 1)
    return b"".join([*lines[:place], *lines[place + draw.choice((1, 1, 5)) :]])


def trick_path(content: bytes, draw: random.Random) -> bytes:
    """A word with a dot in it, probably a file name, becomes a path that climbs."""
    words = [
        word
        for word in content.replace(b'"', b" ").replace(b",", b" ").replace(b">", b" ").replace(b"<", b" ").split()
        if b"." in word
    ]
    trick = draw.choice(PATH_TRICKS).encode("utf-8", "replace")
    return content.replace(draw.choice(words), trick, 1) if words else trick


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            _places(value[key], found)
    return found


def _change(content: bytes, draw: random.Random, change: Callable[[Any, Any, random.Random], None]) -> bytes:
    try:
        lines = [json.loads(content)]
    except ValueError:
        lines = [json.loads(line) for line in content.splitlines() if line.strip()]
    places = _places(lines, [])
    owner, key = draw.choice(places)
    change(owner, key, draw)
    return b"\n".join(json.dumps(line).encode() for line in lines)


def change_value(content: bytes, draw: random.Random) -> bytes:
    def change(owner: Any, key: Any, draw: random.Random) -> None:
        owner[key] = draw.choice(ODD_VALUES)

    return _change(content, draw, change)


def drop_key(content: bytes, draw: random.Random) -> bytes:
    def change(owner: Any, key: Any, draw: random.Random) -> None:
        del owner[key]

    return _change(content, draw, change)


def double_item(content: bytes, draw: random.Random) -> bytes:
    def change(owner: Any, key: Any, draw: random.Random) -> None:
        if isinstance(owner, list):
            owner.append(owner[key])
        else:
            owner[f"{key}2"] = owner[key]

    return _change(content, draw, change)


def double_key(content: bytes, draw: random.Random) -> bytes:
    place = content.find(b"{")
    return content[: place + 1] + b'"id": 1, "id": 2, ' + content[place + 1 :]


def nest_deeply(content: bytes, draw: random.Random) -> bytes:
    return draw.choice(
        (b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, content[:-2] + b"[" * 100_000)
    )


def bomb(content: bytes, draw: random.Random) -> bytes:
    return draw.choice((BOMB, OUTSIDE, b"<a>" * 100_000 + b"</a>" * 100_000))


def change_tag(content: bytes, draw: random.Random) -> bytes:
    """The text of an element becomes something odd, or an element goes."""
    pieces = content.split(b">")
    place = draw.randrange(len(pieces))
    pieces[place] = draw.choice((b"nan</x", b"-5</x", b"1e999</x", b"", b"<object", b"../../../etc/passwd</x", b"\xff</x"))
    return b">".join(pieces)


def odd_archive(content: bytes, draw: random.Random) -> bytes:
    """An archive with climbing names, with an array header that claims a huge shape, or with another's content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 28, 28), }"
        archive.writestr("../../train_images.npy", b"x")
        archive.writestr(
            "train_images.npy", draw.choice((header.ljust(127) + b"\n", b"\x93NUMPY\x01\x00", b"\x00" * 1_000_000))
        )
        archive.writestr("train_labels.npy", header.replace(b"|u1", b"|O").ljust(127) + b"\n")
    return buffer.getvalue()


def hostile_pickle(content: bytes, draw: random.Random) -> bytes:
    return draw.choice((HOSTILE_PICKLE, b"\x80\x04\x95" + b"\xff" * 8, b"\x80\x02" + b"]" * 100_000 + b"."))


def change_pickled(content: bytes, draw: random.Random) -> bytes:
    """A value inside a pickle becomes something odd; only what a test has pickled is read here."""
    value = pickle.loads(content)
    owner, key = draw.choice(_places(value, []))
    owner[key] = draw.choice(ODD_VALUES)
    return pickle.dumps(value, draw.randrange(6))


ANY = (flip_bytes, flip_bytes, cut, insert, empty)
_TEXT = (repeat_lines, drop_lines, trick_path)
_JSON = (change_value, change_value, change_value, drop_key, drop_key, double_item, double_key, nest_deeply, trick_path)
BY_SUFFIX: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    ".json": _JSON,
    ".jsonl": (*_JSON, *_TEXT),
    ".geojson": _JSON,
    ".csv": _TEXT,
    ".txt": _TEXT,
    ".yaml": _TEXT,
    ".xml": (bomb, change_tag, change_tag, trick_path),
    ".npz": (odd_archive,),
    ".pkl": (hostile_pickle, change_pickled, change_pickled),
}
