"""The Huffman codes of a JPEG, read one after the other in machine code; no value is kept but what the next code needs.

ITU T.81, annexes F (sequential) and G (progressive). Data come without stuffed bytes and cut at their restart marks: ``bounds``
are where the parts begin and the last one ends. Tables have an entry for each next 16 bits: length * 256 + symbol, 0 for no
code.
"""

import numba
import numpy as np

BLOCK_BYTES = 512  # more than the codes of one block can take: the end is looked for between blocks
SLACK_BITS = 32  # padding at the end of a scan is 7 bits at most, but not every encoder keeps to it
# So many coefficients on end of which all bits are 0, signs included: not in a picture, but in a hole filled with zeros.
HOLE_LENGTH = 30
WHOLE, NO_CODE, SHORT, LONG, BEYOND, HOLE = range(6)
FAULTS = {
    NO_CODE: "a code that its tables do not have",
    SHORT: "its data end before the last block",
    LONG: "its data go on after the last block",
    BEYOND: "a coefficient out of range",
    HOLE: "a hole filled with zeros",
}
FULL, DC_FIRST, DC_REFINE = range(3)


def _peek(data, at):  # type: ignore[no-untyped-def]
    """The 16 bits from bit ``at`` on."""
    byte = at >> 3
    three = (np.int64(data[byte]) << 16) | (np.int64(data[byte + 1]) << 8) | np.int64(data[byte + 2])
    return (three >> (8 - (at & 7))) & 0xFFFF


def _read_block_python(data, at, table, zeros):  # type: ignore[no-untyped-def]
    """The 63 coefficients of a sequential block: (where it ends, zeros, what is wrong). ``zeros``: see HOLE_LENGTH."""
    k = 1
    while k < 64:
        bits = _peek(data, at)
        entry = table[bits]
        if entry == 0:
            return at, zeros, NO_CODE
        at += entry >> 8
        run, size = np.int64(entry >> 4 & 15), np.int64(entry & 15)
        zeros = zeros + 1 if size and bits >> (16 - min(16, (entry >> 8) + size)) == 0 else 0
        if zeros == HOLE_LENGTH:
            return at, zeros, HOLE
        if size == 0 and run < 15:
            break
        k += run
        if k > 63 and size:
            return at, zeros, BEYOND
        at += size
        k += 1
    return at, zeros, WHOLE


def _read_blocks_python(data, bounds, tables, order, number, restart, mode):  # type: ignore[no-untyped-def]
    """Whole blocks, or their first coefficients; ``order`` is (table of those, table of the others) of a unit's blocks."""
    part, at, end, zeros = 0, np.int64(0), 8 * bounds[1], 0
    for unit in range(number):
        if restart and unit and unit % restart == 0:
            if end - at >= SLACK_BITS:
                return LONG
            part += 1
            if part + 1 >= len(bounds):
                return SHORT
            at, end = 8 * bounds[part], 8 * bounds[part + 1]
        for block in range(len(order)):
            if mode == DC_REFINE:
                at += 1
                continue
            entry = tables[order[block, 0], _peek(data, at)]
            if entry == 0 or entry & 255 > 15:
                return NO_CODE
            at += (entry >> 8) + (entry & 255)
            if mode == FULL:
                at, zeros, fault = _read_block(data, at, tables[order[block, 1]], zeros)
                if fault:
                    return fault
            if at > end:
                return SHORT
    return _at_end(at, end, part, bounds)


def _at_end_python(at, end, part, bounds):  # type: ignore[no-untyped-def]
    if at > end:
        return SHORT
    return LONG if end - at >= SLACK_BITS or part + 2 < len(bounds) else WHOLE


def _pass_over_python(seen, at, k, last, run):  # type: ignore[no-untyped-def]
    """Over ``run`` coefficients that are zero, the others having a bit each: (where that ends, the next coefficient)."""
    while k <= last:
        if seen[k]:
            at += 1
        elif run == 0:
            break
        else:
            run -= 1
        k += 1
    return at, k


def _read_ac_python(data, bounds, table, seen, restart, first, last, refines):  # type: ignore[no-untyped-def]
    """One scan of a component's coefficients ``first`` to ``last`` of a progressive file."""
    part, at, end, left = 0, np.int64(0), 8 * bounds[1], np.int64(0)  # left: blocks that have nothing more
    for block in range(len(seen)):
        if restart and block and block % restart == 0:
            if end - at >= SLACK_BITS:
                return LONG
            part += 1
            if part + 1 >= len(bounds):
                return SHORT
            at, end, left = 8 * bounds[part], 8 * bounds[part + 1], np.int64(0)
        k = first
        while left == 0 and k <= last:
            entry = table[_peek(data, at)]
            if entry == 0:
                return NO_CODE
            at += entry >> 8
            run, size = np.int64(entry >> 4 & 15), np.int64(entry & 15)
            if size == 0 and run < 15:
                left = np.int64(1) << run
                if run:
                    left += _peek(data, at) >> (16 - run)
                    at += run
                break
            at += size
            if refines:
                at, k = _pass_over(seen[block], at, k, last, run)
            else:
                k += run
            if size and k > last:
                return BEYOND
            if size:
                seen[block, k] = 1
            k += 1
        if left:
            if refines:
                at, k = _pass_over(seen[block], at, k, last, 64)
            left -= 1
        if at > end:
            return SHORT
    return _at_end(at, end, part, bounds)


def _compiled(function):  # type: ignore[no-untyped-def]
    """The function in machine code, kept between processes where there is a folder to keep it in."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        return numba.njit(function)


_peek, _at_end = _compiled(_peek), _compiled(_at_end_python)
_read_block, _pass_over = _compiled(_read_block_python), _compiled(_pass_over_python)
read_blocks, read_ac = _compiled(_read_blocks_python), _compiled(_read_ac_python)
