"""Counter-based random numbers: one per (seed, stream, entity, counter), without state.

The numbers of a stateful generator depend on how the work is split. Here each number is a hash of its purpose, so that
a slice of the shop has the same bytes for any number of threads, in any order and on any machine.

The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014, with the constants of Stafford's variant 13), which passes BigCrush on a plain counter.
"""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_COUNTER = np.uint64(0xD1342543DE82EF95)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


class Randomness:
    """Random streams of one seed.

    Parameters
    ----------
    seed
        Any integer. Two seeds share no stream.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._bases: dict[str, np.uint64] = {}

    def bits(self, stream: str, entity: np.ndarray, counter: int | np.ndarray = 0) -> np.ndarray:
        """64 random bits for each entity.

        Parameters
        ----------
        stream
            Name of the decision. Two streams are independent.
        entity, shape (n,)
            Integer keys.
        counter
            Index of the number within the entity's, a scalar or an array of shape (n,).

        Returns
        -------
        numpy.ndarray of uint64, shape (n,)
        """
        key = np.asarray(entity).astype(np.uint64)
        key *= _GOLDEN
        key += self._base(stream)
        if np.ndim(counter) or counter:
            key = _mix(key)
            with np.errstate(over="ignore"):
                key += np.asarray(counter).astype(np.uint64) * _COUNTER
        return _mix(key)

    def uniform(self, stream: str, entity: np.ndarray, counter: int | np.ndarray = 0) -> np.ndarray:
        """Uniform number in the open interval (0, 1) for each entity, with 53 bits."""
        return to_uniform(self.bits(stream, entity, counter))

    def _base(self, stream: str) -> np.uint64:
        if stream not in self._bases:
            digest = hashlib.blake2b(f"{self.seed}/{stream}".encode(), digest_size=8).digest()
            self._bases[stream] = np.uint64(int.from_bytes(digest, "little"))
        return self._bases[stream]


def to_uniform(bits: np.ndarray) -> np.ndarray:
    """Map 64 random bits to the open interval (0, 1)."""
    unit = (bits >> np.uint64(11)).astype(np.float64)
    unit += 0.5
    unit *= 2.0**-53
    return unit


def part(bits: np.ndarray, shift: int, width: int) -> np.ndarray:
    """Extract `width` bits as integers, so that one hash serves several decisions."""
    return ((bits >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)


def below(bits: np.ndarray, size: np.ndarray | int) -> np.ndarray:
    """Integers 0 … size-1 from the upper 32 bits, by multiplication (Lemire, 2019)."""
    upper = (bits >> np.uint64(32)).astype(np.int64)
    return (upper * size) >> 32


def _mix(key: np.ndarray) -> np.ndarray:
    key ^= key >> np.uint64(30)
    key *= _FIRST
    key ^= key >> np.uint64(27)
    key *= _SECOND
    key ^= key >> np.uint64(31)
    return key
