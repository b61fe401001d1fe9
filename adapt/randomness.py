"""The only source of draws: every draw is a pure function of (seed, purpose, indices).

Nothing here keeps state, so ranks, workers, packing and a resumed run cannot change what is drawn. The 64-bit words come
from Philox, whose stream is fixed by its specification (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011); the key is a hash of the arguments. Orders are made by sorting words, which no library release can change.
"""

import hashlib

import numpy as np


def key(seed: int, purpose: str, *indices: int | str) -> int:
    """A 128-bit key for (seed, purpose, indices)."""
    text = "\x1f".join([str(seed), purpose, *(str(index) for index in indices)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def words(count: int, seed: int, purpose: str, *indices: int | str) -> np.ndarray:
    """uint64[count] uniform words."""
    return np.random.Philox(key=key(seed, purpose, *indices)).random_raw(count)


def uniforms(count: int, seed: int, purpose: str, *indices: int | str) -> np.ndarray:
    """float64[count] in [0, 1)."""
    return (words(count, seed, purpose, *indices) >> np.uint64(11)) * 2.0**-53


def permutation(count: int, seed: int, purpose: str, *indices: int | str) -> np.ndarray:
    """int64[count]: the numbers 0..count-1 in a drawn order."""
    return np.argsort(words(count, seed, purpose, *indices), kind="stable")


def choice(count: int, seed: int, purpose: str, *indices: int | str) -> int:
    """One number of 0..count-1."""
    return int(uniforms(1, seed, purpose, *indices)[0] * count)
