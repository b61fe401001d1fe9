"""Whether the compressed data of a JPEG are whole: every Huffman code is read, no pixel is made.

libjpeg, and Pillow with it, goes on over damaged data with a warning that nobody sees, so a file with a hole in its middle
decodes into a picture with stripes. What gives a hole away is that the codes after it no longer add up: a code that no table
has, a coefficient beyond the 64th, data that end before the last block or long after it. Sequential and progressive Huffman
files are read (ITU T.81, annexes F and G); arithmetic and lossless ones are not judged.
"""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np

_START_OF_SCAN, _TABLES, _QUANTISATION, _RESTARTS, _END = 0xDA, 0xC4, 0xDB, 0xDD, 0xD9
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# A run of 0xff is looked at once: from each of its bytes anew a file of them would take hours.
_RESTART_MARK = re.compile(rb"(?<!\xff)\xff++[\xd0-\xd7]")
_MARK = re.compile(rb"\xff++([\x01-\xcf\xd8-\xfe])")
_SCAN_END = re.compile(rb"(?<!\xff)\xff++([\x01-\xcf\xd8-\xfe])")  # neither a stuffed byte nor a restart
_ZEROS = re.compile(rb"\0{24,}")
MAX_BLOCKS = 2**22


@dataclasses.dataclass
class _Frame:
    """What the segments in front of a scan said. ``factors`` are (horizontal, vertical) by component; ``seen`` marks which
    coefficients of a component are no longer zero, in a progressive file."""

    kind: int = 0
    width: int = 0
    height: int = 0
    factors: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
    tables: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((8, 1 << 16), np.uint16))
    restart: int = 0
    seen: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    def blocks(self, component: int) -> int:
        """Blocks of a component that a scan of it alone has."""
        across, down = self.factors[component]
        most_across, most_down = (max(each) for each in zip(*self.factors.values(), strict=True))
        wide, high = -(-self.width * across // most_across), -(-self.height * down // most_down)
        number = -(-wide // 8) * -(-high // 8)
        if number > MAX_BLOCKS:
            raise ValueError(f"{number:,} blocks")
        return number


def find_end(content: bytes) -> int | None:
    """The place after the end mark of a JPEG, or None where the file ends before it."""
    return next((stop for marker, _, stop in _segments(content) if marker == _END), None)


def data_fault(content: bytes) -> str:
    """What is wrong with the compressed data; '' where nothing is, or where the kind of JPEG is not judged."""
    from adapt.check.jpeg_codes import FAULTS  # numba takes its time, and is needed here alone

    frame = _Frame()
    try:
        for marker, start, stop in _segments(content):
            body = content[start:stop]
            if marker in _FRAMES:
                _read_frame(frame, marker, body)
                if frame.kind not in (*_SEQUENTIAL, *_PROGRESSIVE) or not (frame.width and frame.height):
                    return ""
            elif marker == _TABLES:
                _read_tables(frame, body)
            elif marker == _QUANTISATION:
                _check_quantisation(body)
            elif marker == _RESTARTS:
                frame.restart = int.from_bytes(body[:2], "big")
            elif marker == _START_OF_SCAN and (fault := _scan(frame, body)):
                return FAULTS[fault]
    except (IndexError, KeyError, ValueError) as error:
        return f"a segment that makes no sense ({error})"
    return ""


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, stop) of each segment's body; that of a scan goes on to the next marker."""
    at = 2
    while match := _MARK.match(content, at):
        marker, at = match[1][0], match.end()
        if marker == _END:
            yield marker, at, at
            return
        if at + 2 > len(content):
            return
        stop = at + int.from_bytes(content[at : at + 2], "big")
        if marker == _START_OF_SCAN:
            found = _SCAN_END.search(content, stop)
            if found is None:
                return
            stop = found.start()
        yield marker, at + 2, stop
        at = stop


def _read_frame(frame: _Frame, marker: int, body: bytes) -> None:
    frame.kind = marker
    frame.height, frame.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    for number in range(body[5]):
        name, factors = body[6 + 3 * number], body[7 + 3 * number]
        frame.factors[name] = factors >> 4, factors & 15
        if 0 in frame.factors[name]:
            raise ValueError("a component of no size")


def _read_tables(frame: _Frame, body: bytes) -> None:
    """Each table as 65,536 entries, by the next 16 bits: length of the code * 256 + symbol, 0 for no code."""
    at = 0
    while at < len(body):
        table = (body[at] >> 4 & 1) * 4 + (body[at] & 3)
        lengths = np.repeat(np.arange(1, 17), list(body[at + 1 : at + 17]))
        symbols = np.frombuffer(body, np.uint8, len(lengths), at + 17)
        spans = 1 << (16 - lengths)
        if spans.sum() > 1 << 16 or len(np.unique(symbols)) < len(symbols):
            raise ValueError("a table of codes that contradict each other")
        frame.tables[table] = 0
        frame.tables[table, : spans.sum()] = np.repeat(lengths * 256 + symbols, spans)
        at += 17 + len(lengths)


def _has_hole(data: bytes) -> bool:
    """Whether a progressive scan was filled with zeros somewhere. Half of its bits are no codes, so these may go on adding up.

    A long run of zeros among data that have few others; a drawing with stripes has them everywhere.
    """
    longest = max(map(len, _ZEROS.findall(data)), default=0)
    rest = len(data) - longest
    return 0 < longest <= rest and data.count(0) - longest < rest / 16


def _check_quantisation(body: bytes) -> None:
    at = 0
    while at < len(body):
        wide = 2 if body[at] >> 4 else 1
        values = np.frombuffer(body, ">u2" if wide == 2 else np.uint8, 64, at + 1)
        if not values.all():
            raise ValueError("a quantisation table with 0")
        at += 1 + 64 * wide


def _scan(frame: _Frame, body: bytes) -> int:
    from adapt.check.jpeg_codes import BLOCK_BYTES, DC_FIRST, DC_REFINE, FULL, HOLE, read_ac, read_blocks

    count = body[0]
    components = [(body[1 + 2 * n], body[2 + 2 * n] >> 4 & 3, body[2 + 2 * n] & 3) for n in range(count)]
    first, last, high = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] >> 4
    if not (1 <= count <= 4 and first <= last <= 63 and (count == 1 or first == 0)):
        raise ValueError(f"a scan of {count} components, coefficients {first} to {last}")
    parts = [part.replace(b"\xff\x00", b"\xff") for part in _RESTART_MARK.split(body[4 + 2 * count :])]
    bounds = np.cumsum([0, *(len(part) for part in parts)])
    data = np.frombuffer(b"".join(parts) + bytes(BLOCK_BYTES), np.uint8)
    if frame.kind in _PROGRESSIVE and first > 0:
        name = components[0][0]
        if _has_hole(b"".join(parts)):
            return HOLE
        number = frame.blocks(name)
        seen = frame.seen.setdefault(name, np.zeros((number, 64), np.uint8))
        return int(read_ac(data, bounds, frame.tables[4 + components[0][2]], seen, frame.restart, first, last, high > 0))
    if count == 1:
        number, factors = frame.blocks(components[0][0]), [1]
    else:
        across, down = (8 * max(each) for each in zip(*frame.factors.values(), strict=True))
        number = -(-frame.width // across) * -(-frame.height // down)
        factors = [frame.factors[name][0] * frame.factors[name][1] for name, _, _ in components]
    order = [(dc, 4 + ac) for n, (_, dc, ac) in enumerate(components) for _ in range(factors[n])]
    mode = FULL if frame.kind in _SEQUENTIAL else DC_REFINE if high else DC_FIRST
    return int(read_blocks(data, bounds, frame.tables, np.array(order), number, frame.restart, mode))
