"""The draws of one generated picture, taken in order from a stream that (seed, purpose, index) fixes."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from adapt import randomness

Item = TypeVar("Item")
BLOCK = 4096


class Draws:
    """Numbers for one picture: every draw moves on in the picture's own stream and touches no other."""

    def __init__(self, seed: int, purpose: str, index: int | str) -> None:
        self._place = (seed, purpose, str(index))
        self._block = 0
        self._left = np.empty(0)

    def uniforms(self, count: int) -> np.ndarray:
        """float64[count] in [0, 1)."""
        while len(self._left) < count:
            fresh = randomness.uniforms(BLOCK, self._place[0], self._place[1], self._place[2], self._block)
            self._left = np.concatenate([self._left, fresh])
            self._block += 1
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * float(self.uniforms(1)[0])

    def integer(self, low: int, high: int) -> int:
        """A whole number in low..high, both included."""
        return low + int(self.uniforms(1)[0] * (high - low + 1))

    def chance(self, share: float) -> bool:
        """True in ``share`` of the cases."""
        return bool(self.uniforms(1)[0] < share)

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.integer(0, len(items) - 1)]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in a drawn order."""
        return [items[place] for place in np.argsort(self.uniforms(len(items)), kind="stable")]
