"""Ids of a conversion."""

import sys
import tracemalloc

from adapt.conversion.ids import FEWEST_FRESH, SeenIds


def test_seen_ids_are_a_set() -> None:
    """Every id that was added is in, none other is, before and after ids are settled."""
    seen, count = SeenIds(), 2 * FEWEST_FRESH + 100
    assert "row-0" not in seen
    for number in range(count):
        seen.add(f"row-{number}")
    assert all(f"row-{number}" in seen for number in range(0, count, 97))
    assert not any(f"other-{number}" in seen for number in range(0, count, 97))
    seen.add("half a pair \ud800")
    assert "half a pair \ud800" in seen and "half a pair \ud801" not in seen


def test_settled_ids_need_eight_bytes() -> None:
    """What is settled lies in one array of numbers (which keeps a sixteenth to spare)."""
    seen = SeenIds()
    for number in range(3 * FEWEST_FRESH):
        seen.add(str(number))
    assert len(seen._settled) and sys.getsizeof(seen._settled) <= 9 * 3 * FEWEST_FRESH
    assert sys.getsizeof(seen._fresh) < 8_000_000


def test_settling_ids_needs_no_objects() -> None:
    """At its highest, while ids are settled, memory is the fresh ones (below 100 bytes each) and twice what is settled."""
    seen, count = SeenIds(), 3 * FEWEST_FRESH
    tracemalloc.start()
    try:
        for number in range(count):
            seen.add(str(number))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * FEWEST_FRESH + 2 * 9 * count, peak
