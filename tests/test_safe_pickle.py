"""Pickles and arrays from outside: plain values come out, nothing is ever called, and small files stay small."""

import io
import os
import pickle
import struct
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapt import safe
from adapt.errors import DataError

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20) | st.binary(max_size=20)
)  # fmt: skip
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(value=PLAIN, protocol=st.integers(3, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back_as_python_reads_them(value: Any, protocol: int) -> None:
    """What Python's own pickle writes of plain values is read as Python reads it, in each protocol with bytes."""
    content = pickle.dumps(value, protocol)
    assert safe.load_plain_pickle(content, "p") == pickle.loads(content) == value


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_old_protocols_are_read(protocol: int) -> None:
    """The protocols of Python 2 too; the text of a Python 2 pickle is UTF-8."""
    rows = [{"image": "train_0001", "question": "is ü there?", "n": 3, "f": 0.5, "l": {"yes": 1}, "t": (1, 2, 3), "b": True}]
    assert safe.load_plain_pickle(pickle.dumps(rows, protocol), "p") == rows
    assert safe.load_plain_pickle(b"\x80\x02]U\x03h\xc3\xa9a.", "p") == ["hé"]


class Hostile:
    """An object whose pickle calls a function with arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, eval, exec, open, getattr, pickle.loads, Path])
def test_nothing_is_called(tmp_path: Path, protocol: int, function: Any) -> None:
    """A pickle that calls a function is refused with the opcode, and the file that it would have made is not there."""
    mark = tmp_path / "called"
    arguments = {os.system: (f"touch {mark}",), open: (str(mark), "w"), Path: (str(mark),)}.get(
        function, (f"open({str(mark)!r}, 'w')",)
    )
    content = pickle.dumps([{"image": "a", "question": Hostile(function, *arguments)}], protocol)
    with pytest.raises(DataError, match="p: a pickle that would build or call something"):
        safe.load_plain_pickle(content, "p")
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # GLOBAL, REDUCE
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"\x80\x02\x82\x01.",  # EXT1
        b"Pname\n.",  # PERSID
        b"\x80\x02)Q.",  # BINPERSID
        b"\x80\x04\x8f(K\x01\x90.",  # a set
        b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00x.",  # a bytearray
        b"\x80\x02]K\x0120.",  # DUP and POP, which no writer of plain values needs
        pickle.dumps(np.int64(3)),
        pickle.dumps({1, 2}),
        pickle.dumps(1 + 2j),
    ],
)
def test_every_other_opcode_is_refused(content: bytes) -> None:
    """Globals old and new, instances, extensions, persistent ids, sets, byte arrays, numpy's numbers."""
    with pytest.raises(DataError, match="only lists, dicts, text and numbers are read"):
        safe.load_plain_pickle(content, "p")


def laughs() -> bytes:
    value: list[Any] = ["ha"]
    for _ in range(60):
        value = [value] * 10
    return pickle.dumps(value)


def circle() -> bytes:
    value: list[Any] = []
    value.append({"again": value})
    return pickle.dumps(value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (laughs(), "nested too deeply|small pickle"),
        (circle(), "nested too deeply"),
        (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "nested too deeply"),
        (b"\x80\x02" + b"(" * 200_000 + b".", "damaged pickle"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "damaged pickle: place 2147483647"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fx.", "damaged pickle"),
        (b"\x80\x02B\xff\xff\xff\x7fx.", "damaged pickle"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "damaged pickle"),
        (pickle.dumps([2**64]), "more than 64 bits"),
        (b"\x80\x02\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20 + b".", "more than 64 bits"),
        (b"I" + b"9" * 100_000 + b"\n.", "damaged pickle"),
        (pickle.dumps([float("nan")]), "holds nan"),
        (pickle.dumps([1]) + b"more", "4 bytes behind its end"),
        (pickle.dumps([1, 2, 3])[:-1], "damaged pickle"),
        (b"\x80\x02}]K\x01s.", "damaged pickle: unhashable"),
        (b"\x80\x02h\x05.", "damaged pickle"),
        (b"", "damaged pickle"),
        (b"<!doctype html>", "damaged pickle"),
        (b"version https://git-lfs.github.com/spec/v1", "damaged pickle|build or call"),
    ],
)
def test_bombs_circles_and_damage_are_refused_at_once(content: bytes, said: str) -> None:
    """Each is one DataError in under a second and in memory of the order of the file."""
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(DataError, match=said):
        safe.load_plain_pickle(content, "p")
    seconds, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5 and peak < 20 * 2**20 + 60 * len(content)  # tracing slows it several times over


def test_wide_sharing_is_refused() -> None:
    """A list that stands a thousand times in a list of a thousand, and so on: few bytes, very many values."""
    inner: list[Any] = [0] * 1000
    with pytest.raises(DataError, match="a small pickle that stands for more than"):
        safe.load_plain_pickle(pickle.dumps([[inner] * 1000] * 1000), "p")


def test_memory_does_not_grow_beyond_the_values() -> None:
    """Looking at a wide list takes no list of its own."""
    content = pickle.dumps([[None] * 200_000])
    tracemalloc.start()
    safe.load_plain_pickle(content, "p")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2**20  # 8 bytes a value, and as many while the list grows


def test_a_thousand_damaged_pickles_raise_nothing_else() -> None:
    """Bytes changed at random give a value or a DataError, whatever they are."""
    rows = [
        {"image": f"train_{n:04}", "question": "where is it?", "answer": "here", "label": {"a": 1}, "id": n} for n in range(20)
    ]
    draws = np.random.default_rng(0)
    outcomes = set()
    for number in range(1000):
        content = bytearray(pickle.dumps(rows, number % 6))
        for place in draws.integers(0, len(content), draws.integers(1, 4)):
            content[place] = draws.integers(0, 256)
        try:
            safe.load_plain_pickle(bytes(content), "p")
            outcomes.add("read")
        except DataError as error:
            assert str(error).startswith("p: ")
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    """The size is looked at before a byte is."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(["x" * 1000]))
    assert safe.read_plain_pickle(tmp_path / "a.pkl") == ["x" * 1000]
    with pytest.raises(DataError, match="more than the 500 allowed"):
        safe.read_plain_pickle(tmp_path / "a.pkl", limit=500)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_of_arrays_are_numpys(tmp_path: Path, save: Any) -> None:
    """Shapes and rows equal what numpy.load gives, for stored and for compressed files."""
    arrays = {"a": np.arange(600, dtype=np.uint8).reshape(5, 6, 20), "b": np.arange(5, dtype=">i4"), "c": np.ones((4, 1), bool)}
    save(tmp_path / "x.npz", **arrays)
    shapes = safe.array_shapes(tmp_path / "x.npz")
    loaded = np.load(tmp_path / "x.npz", allow_pickle=False)
    assert shapes == {name: (loaded[name].shape, loaded[name].dtype) for name in loaded}
    for name in arrays:
        np.testing.assert_array_equal(np.stack(list(safe.array_rows(tmp_path / "x.npz", name))), loaded[name])


def write_npy(shape: str, data: bytes, *, descr: str = "'|u1'", order: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (write_npy("(1000000000000,)", b"x"), "expected 1 to 5,000,000 rows"),
        (write_npy("(1000000, 1000000)", b"x"), "1 bytes, expected 1,000,000,000,000"),
        (write_npy("(2, 100000000000)", b"x"), "rows that are not empty"),
        (write_npy("(5, 0)", b""), "rows that are not empty"),
        (write_npy("()", b"x"), "rows that are not empty"),
        (write_npy("(-1, 2)", b"x"), "rows that are not empty"),
        (write_npy("(2, 2)", b"abc"), "3 bytes, expected 4"),
        (write_npy("(2, 2)", b"abcde"), "5 bytes, expected 4"),
        (write_npy("(1,)", pickle.dumps([1]), descr="'|O'"), "Python objects"),
        (write_npy("(2, 2)", b"abcd", order="True"), "column by column"),
        (write_npy("__import__('os').system('true')", b"x"), "not an .npz file"),
        (write_npy("(" * 60, b"x"), "not an .npz file"),
        (b"\x93NUMPY\x09\x00", "not an .npz file|save it again"),
        (b"", "not an .npz file"),
        (pickle.dumps([1]), "not an .npz file"),
    ],
)
def test_headers_that_claim_too_much_are_refused(tmp_path: Path, member: bytes, said: str) -> None:
    """Nothing is made room for before shape, type and length agree."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", member)
    tracemalloc.start()
    with pytest.raises(DataError, match=said):
        safe.array_shapes(tmp_path / "x.npz")
    with pytest.raises(DataError):
        list(safe.array_rows(tmp_path / "x.npz", "a"))
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_damaged_archives_are_data_errors(tmp_path: Path) -> None:
    """Bytes changed at random in an .npz file give the same rows, other rows, or a DataError."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, train_images=np.arange(4000, dtype=np.uint8).reshape(5, 20, 40), train_labels=np.ones((5, 1)))
    draws = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        content = bytearray(buffer.getvalue())
        for place in draws.integers(0, len(content), 3):
            content[place] = draws.integers(0, 256)
        (tmp_path / "x.npz").write_bytes(content)
        try:
            for name in safe.array_shapes(tmp_path / "x.npz"):
                assert len(list(safe.array_rows(tmp_path / "x.npz", name))) >= 1
        except DataError:
            refused += 1
    assert refused > 100
    with pytest.raises(DataError, match="no such file"):
        safe.array_shapes(tmp_path / "absent.npz")


@pytest.mark.parametrize("second", ["a.npy", "a"])
def test_two_arrays_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    """Which of them is meant nobody can say."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, of a doubled name
        archive.writestr("a.npy", write_npy("(2,)", b"ab"))
        archive.writestr(second, write_npy("(3,)", b"abc"))
    with pytest.raises(DataError, match="a second array of this name"):
        safe.array_shapes(tmp_path / "x.npz")
