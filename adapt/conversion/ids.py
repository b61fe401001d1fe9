"""Ids that were seen, in about 20 bytes each whatever their length: a million need 20 MiB."""

import array
import bisect

import numpy as np

FEWEST_FRESH = 65_536
FRESH_SHARE = 16  # of the settled ids; in a set an id takes eight times as much


class SeenIds:
    """A set of ids that only grows. It keeps 64 bits of a hash: two of a million ids are taken for one in 37 million sets."""

    def __init__(self) -> None:
        self._settled = array.array("Q")  # sorted
        self._fresh: set[int] = set()

    def __contains__(self, identifier: str) -> bool:
        key = _key(identifier)
        if key in self._fresh:
            return True
        place = bisect.bisect_left(self._settled, key)
        return place < len(self._settled) and self._settled[place] == key

    def add(self, identifier: str) -> None:
        """Remember an id."""
        self._fresh.add(_key(identifier))
        if len(self._fresh) >= max(FEWEST_FRESH, len(self._settled) // FRESH_SHARE):
            fresh = np.sort(np.fromiter(self._fresh, np.uint64, len(self._fresh)))
            settled = np.concatenate([np.asarray(self._settled, np.uint64), fresh])
            settled.sort(kind="stable")  # which merges what is sorted
            self._fresh.clear()
            self._settled = array.array("Q")
            self._settled.frombytes(settled.view(np.uint8).data)


def _key(identifier: str) -> int:
    # Python's own 64 bits, keyed anew in each process: nothing but equality is asked of them.
    return hash(identifier) & 0xFFFF_FFFF_FFFF_FFFF
