"""Convert numpy arrays to Arrow columns, without Python objects per value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NEVER_FROM = np.int64(2**61)
"""Seconds from which a moment counts as never: `customers.NEVER`, also after additions."""

_HEX = np.frombuffer("".join(f"{n:04x}" for n in range(65_536)).encode(), dtype="S4")


def decimal(scaled: np.ndarray, places: int, known: np.ndarray | None = None) -> pa.Array:
    """DECIMAL(18, places) from integers of the smallest unit; null where `known` is false."""
    words = np.empty((len(scaled), 2), dtype=np.int64)
    words[:, 0] = scaled
    words[:, 1] = words[:, 0] >> 63
    kind = pa.decimal128(18, places)
    column = pa.Array.from_buffers(kind, len(scaled), [None, pa.py_buffer(words)])
    return column if known is None else pc.if_else(pa.array(known), column, pa.scalar(None, kind))


def money(cents: np.ndarray, known: np.ndarray | None = None) -> pa.Array:
    """USD as DECIMAL(18, 2) from cents."""
    return decimal(cents, 2, known)


def moment(second: np.ndarray, until: int | None = None) -> pa.Array:
    """UTC timestamps from seconds since 1970; null from `until` on, or where the moment is never."""
    none = second >= (NEVER_FROM if until is None else until)
    stamp = np.where(none, 0, second) * 1_000_000
    return pa.array(stamp.view("datetime64[us]"), mask=none if none.any() else None)


def pick(pool: Iterable[str], index: np.ndarray) -> pa.Array:
    """Pick strings from a pool; null where the index is negative."""
    values = _pool(tuple(pool))
    index = index.astype(np.int32)
    missing = index < 0
    codes = pa.array(index, mask=missing if missing.any() else None)
    return pa.DictionaryArray.from_arrays(codes, values).dictionary_decode()


@lru_cache
def _pool(texts: tuple[str, ...]) -> pa.Array:
    return pa.array(texts)


def text(number: np.ndarray) -> pa.Array:
    """Integers as strings."""
    return pc.cast(pa.array(number), pa.string())


def join(parts: Sequence[pa.Array], separator: str) -> pa.Array:
    """Join strings row by row."""
    return pc.binary_join_element_wise(*parts, separator)


def hexadecimal(bits: np.ndarray) -> pa.Array:
    """64 bits as 16 hexadecimal digits."""
    words = np.ascontiguousarray(bits).view(np.uint16).reshape(-1, 4)
    digits = np.ascontiguousarray(_HEX[words[:, ::-1]])
    offsets = np.arange(len(bits) + 1, dtype=np.int32) * 16
    return pa.Array.from_buffers(pa.string(), len(bits), [None, pa.py_buffer(offsets), pa.py_buffer(digits)])
