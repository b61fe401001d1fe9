"""Documents from outside: JSON and its lines, XML, YAML, each read strictly.

``json.loads`` takes NaN, doubled keys and lone surrogates, and answers deep nesting with RecursionError.
"""

import codecs
import collections
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, ParseError  # types only: defusedxml does the reading

from adapt.errors import DataError
from adapt.safe.files import not_utf8, read_bytes, read_text, utf16_marks

MAX_LINE_BYTES = 16 * 2**20
_ESCAPED = re.compile("[\udc80-\udcff]")  # how "surrogateescape" shows a byte that is not UTF-8
MAX_XML_BYTES = 16 * 2**20
MAX_YAML_BYTES = 2**17  # it is read letter by letter in Python
MAX_YAML_DEPTH = 50


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"holds a number out of range ({text[:20]})")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        raise ValueError(f"holds the key '{counts.most_common(1)[0][0]}' twice")
    return found


# One decoder for all documents: making one for each line costs as much as reading a short line.
_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys)


def load_json(content: bytes | str, where: str) -> Any:
    """Parse one JSON document strictly.

    Raises DataError(``where``: ...) for bad UTF-8, NaN, doubled keys, lone surrogates and nesting too deep.
    """
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8") if isinstance(content, bytes) else content
        value = _STRICT.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: holds half of a surrogate pair, which no UTF-8 file can store") from error
    except UnicodeDecodeError as error:
        raise not_utf8(error, where) from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deeply to be data") from error
    except json.JSONDecodeError as error:
        if isinstance(content, bytes) and (marks := utf16_marks(content)) is not None:
            raise DataError(f"{where}: {marks}") from error
        if not text.strip():
            raise DataError(f"{where}: empty, expected a JSON document") from error
        raise DataError(
            f"{where}: not JSON: {error.msg.removesuffix(' at')} at column {error.colno}, line {error.lineno} of the document"
        ) from error
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def read_json(path: Path) -> Any:
    """Parse a JSON file strictly; see load_json."""
    return load_json(read_bytes(Path(path)), str(path))


def read_object(path: Path) -> dict[str, Any]:
    """Parse the JSON object in ``path``. Raises DataError for any other document."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds {str(value)[:40]!r}, expected a JSON object; fetch or write it again")
    return value


def read_array(path: Path, of: str) -> list[Any]:
    """Parse the JSON list in ``path``; ``of`` says what should stand in it. Raises DataError for any other document."""
    value = read_json(path)
    if not isinstance(value, list):
        raise DataError(f"{path}: expected a JSON list of {of}, found {str(value)[:40]!r}")
    return value


def read_object_if_there(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``, {} where there is no such file."""
    return read_object(path) if path.is_file() else {}


def read_xml(path: Path, where: str | None = None) -> Element:
    """The root element of an XML file of at most 16 MiB.

    Raises DataError(``where`` or the path: ...) for what is no XML, and for document types: entities are defined there, and a
    few lines of them unfold to gigabytes or name other files.
    """
    import defusedxml.ElementTree
    from defusedxml import DefusedXmlException

    where = where or str(path)
    try:
        root: Element = defusedxml.ElementTree.fromstring(read_bytes(path, MAX_XML_BYTES), forbid_dtd=True)
    except DefusedXmlException as error:
        raise DataError(
            f"{where}: holds a document type (<!DOCTYPE or <!ENTITY), which data does not need; remove it"
        ) from error
    except ParseError as error:
        line, column = error.position
        raise DataError(f"{where}: not XML: {str(error).partition(':')[0]} at line {line}, column {column}") from error
    except (ValueError, LookupError, RecursionError) as error:  # encodings that do not exist, or are not what they say
        raise DataError(f"{where}: not XML: {error}") from error
    return root


def _depth(steps: Iterable[int]) -> int:
    return max(itertools.accumulate(steps), default=0)


def read_yaml(path: Path) -> Any:
    """The document of a small YAML file; every scalar stays text, since YAML reads ``no`` as a truth value.

    Raises DataError for what is no YAML, for nesting too deep, for doubled keys, and for aliases (a few lines of them unfold
    to gigabytes).
    """
    import yaml

    text = read_text(path, MAX_YAML_BYTES)
    # Brackets first: PyYAML takes quadratic time for those in each other.
    if _depth({"[": 1, "{": 1, "]": -1, "}": -1}.get(letter, 0) for letter in text) > MAX_YAML_DEPTH:
        raise DataError(f"{path}: nested too deeply to be data")
    try:
        events = list(yaml.parse(text, Loader=yaml.BaseLoader))
        if any(isinstance(event, yaml.AliasEvent) for event in events):
            raise DataError(f"{path}: holds an alias (*name), which data does not need; write it out")
        starts, ends = yaml.CollectionStartEvent, yaml.CollectionEndEvent
        if _depth(isinstance(event, starts) - isinstance(event, ends) for event in events) > MAX_YAML_DEPTH:
            raise DataError(f"{path}: nested too deeply to be data")
        loader = yaml.BaseLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if twice := _doubled_key(node):
            raise DataError(f"{path}:{twice.start_mark.line + 1}: holds the key '{twice.value}' twice")
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from error


def _doubled_key(node: Any) -> Any:
    """The first key of a YAML node that its mapping has twice; None without."""
    parts = node.value if isinstance(node.value, list) else []
    seen: set[str] = set()
    for part in parts:
        key, value = part if isinstance(part, tuple) else (None, part)
        if key is not None and isinstance(key.value, str):
            if key.value in seen:
                return key
            seen.add(key.value)
        if (found := _doubled_key(value)) is not None:
            return found
    return None


def read_text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file with their ends as they are, one at a time, without a byte order mark.

    Raises DataError, with the number of the line, for what is not UTF-8 and for a line of more than 16 MiB.
    """
    try:
        content = open(path, "rb")  # noqa: SIM115 (closed below; only opening may fail here)
        head = content.peek(64)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as handle:
        if (marks := utf16_marks(head)) is not None:
            raise DataError(f"{path}: {marks}")
        number = 0
        try:
            while line := handle.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES:
                    raise DataError(f"{path}:{number}: a line of more than {MAX_LINE_BYTES:,} letters is not a row")
                yield line
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{_undecodable(path)}; save the file as UTF-8") from error


def _undecodable(path: Path) -> str:
    """The number of the first line that is not UTF-8, and its first such byte: a decoder only says in which block it lies."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        number = 0
        while line := handle.readline(MAX_LINE_BYTES):
            number += 1
            if found := _ESCAPED.search(line):
                return f"{number}: not UTF-8 (byte 0x{ord(found[0]) - 0xDC00:02x})"
    raise AssertionError(f"{path} changed while it was read")


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of each line that is not blank; of a line too long for ``load_line`` only the start is kept."""
    try:
        handle = open(path, "rb")  # noqa: SIM115 (closed below; only opening may fail here)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    with handle:
        number = 0
        while line := handle.readline(MAX_LINE_BYTES + 1):
            number += 1
            rest = line
            while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest = handle.readline(MAX_LINE_BYTES + 1)
            if not line.isspace():
                yield number, line


def load_line(line: bytes, where: str) -> Any:
    """Parse one line of ``read_lines`` strictly; see load_json. Raises DataError for a line above 16 MiB, too."""
    if len(line) > MAX_LINE_BYTES:
        raise DataError(f"{where}: a line of more than {MAX_LINE_BYTES:,} bytes is not a row")
    return load_json(line, where)
