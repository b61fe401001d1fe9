"""Pickles from outside: plain values alone, and nothing is built before every opcode has been looked at.

A pickle may call any function, and a few of its bytes may stand for very many values.
"""

import io
import itertools
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from adapt.errors import DataError
from adapt.safe.files import DAMAGE, read_bytes

MAX_PICKLE_BYTES = 256 * 2**20
MAX_PICKLE_DEPTH = 64
_LAST = object()
# Lists, dicts, tuples, text, bytes and numbers of every protocol. All that is not here can name, build or call something.
_PLAIN_OPCODES = """PROTO FRAME STOP MARK MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET NONE NEWTRUE NEWFALSE INT BININT
    BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT
    DICT SETITEM SETITEMS"""


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every global and every persistent id; the opcodes were looked at before, so neither is ever asked for."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"names {module}.{name}")

    def persistent_load(self, identifier: Any) -> NoReturn:
        raise pickle.UnpicklingError("names an object outside the file")


def read_plain_pickle(path: Path, limit: int = MAX_PICKLE_BYTES) -> Any:
    """The value in a pickle file of at most ``limit`` bytes; see load_plain_pickle."""
    return load_plain_pickle(read_bytes(path, limit), str(path))


def load_plain_pickle(content: bytes, where: str) -> Any:
    """The value of a pickle that holds only lists, tuples, dicts, text, bytes, bools, None, floats and 64-bit integers.

    Nothing is built until every opcode has been looked at. Raises DataError(``where``: ...) for all that could name, build or
    call an object, for damage, for values in a circle or nested deeply, and for few bytes that stand for very many values.
    """
    try:
        _check_opcodes(content, where)
        value = _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    except DataError:
        raise
    except (*DAMAGE, pickle.UnpicklingError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: a damaged pickle: {str(error)[:80]}") from error
    _check_plain(value, 16 * len(content), where)
    return value


def _check_opcodes(content: bytes, where: str) -> None:
    end, plain = -1, frozenset(_PLAIN_OPCODES.split())
    for count, (opcode, argument, place) in enumerate(pickletools.genops(content)):
        end = place or 0  # it is None only where the source cannot tell its place
        if opcode.name not in plain:
            named = "" if argument is None else f" {str(argument)[:40]!r}"
            raise DataError(
                f"{where}: a pickle that would build or call something ({opcode.name}{named} at byte {end}); only lists, "
                "dicts, text and numbers are read: convert it to JSON where you trust it"
            )
        if opcode.name.endswith("PUT") and int(argument or 0) > count:  # the unpickler makes a table of that many places
            raise DataError(f"{where}: a damaged pickle: place {argument} among {count} values")
    if end + 1 != len(content):
        raise DataError(f"{where}: a damaged pickle: {len(content) - end - 1:,} bytes behind its end")


def _check_plain(value: Any, most: int, where: str) -> None:
    """Raise DataError where the value is deep or circular, or is far more than its bytes when it is written out."""
    waiting, seen = [iter((value,))], 0  # what is left at each depth: memory grows with the depth alone
    while waiting:
        each = next(waiting[-1], _LAST)
        if each is _LAST:
            waiting.pop()
            continue
        seen += 1
        if seen > most:
            raise DataError(f"{where}: a small pickle that stands for more than {most:,} values")
        if isinstance(each, dict | list | tuple) and each:
            if len(waiting) > MAX_PICKLE_DEPTH:
                raise DataError(f"{where}: nested too deeply to be data")
            waiting.append(itertools.chain(each, each.values()) if isinstance(each, dict) else iter(each))
        if isinstance(each, int) and not -(2**63) <= each < 2**63:
            raise DataError(f"{where}: holds an integer of more than 64 bits")
        if isinstance(each, float) and not math.isfinite(each):
            raise DataError(f"{where}: holds {each}, which is not data")
