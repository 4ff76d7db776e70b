"""Columns computed in chunks: arrays in memory if there is one chunk, memory-mapped files otherwise.

Memory then does not grow with the shop. The files are unnamed, so that a killed load leaves none behind, and the memory
of what was read is released chunk by chunk.
"""

from __future__ import annotations

import mmap
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

CHUNK = 200_000
"""Customers, orders or records per chunk."""

AT_ONCE = 2
"""Chunks computed concurrently; numpy releases the GIL."""


class Columns:
    """The base of classes that have columns as attributes."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> np.ndarray: ...


class Spool:
    """Storage for the columns of one shop.

    Parameters
    ----------
    folder
        Folder of the files; the system's temporary folder if None. A shop of a million customers needs less than a
        gigabyte.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._mapped: list[mmap.mmap] = []

    def ranges(self, count: int) -> Iterator[slice]:
        """Split `count` positions into ranges of at most `CHUNK`, with one empty range for 0 positions.

        Release the memory of what was read after each range.
        """
        for begin in range(0, max(count, 1), CHUNK):
            yield slice(begin, min(begin + CHUNK, count))
            self.release()

    def columns(self, count: int, make: Callable[[slice], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Compute columns of `count` positions, range by range."""
        return self.gather(self.pieces(count, make))

    def pieces(self, count: int, make: Callable[[slice], dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
        """Yield the results of `make` for the `ranges` of `count` positions in order, computing some concurrently."""
        if count <= CHUNK:
            yield from map(make, self.ranges(count))
            return
        pending: deque[Future] = deque()
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for chunk in self.ranges(count):
                pending.append(pool.submit(make, chunk))
                if len(pending) > AT_ONCE:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
                self.release()
        finally:
            pool.shutdown(cancel_futures=True)

    def gather(self, pieces: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Concatenate columns from one or more pieces.

        Returns
        -------
        dict of str to array
            Whole columns, read-only. Their lengths may differ.
        """
        pending = iter(pieces)
        first, second = next(pending), next(pending, None)
        if second is None:
            return first
        with ExitStack() as opened:
            files = {name: opened.enter_context(tempfile.TemporaryFile(dir=self._folder)) for name in first}
            for piece in chain((first, second), pending):
                for name, column in piece.items():
                    column.tofile(files[name])
            return {name: self._map(file, first[name]) for name, file in files.items()}

    def release(self) -> None:
        """Release the memory of what was read; the files stay."""
        for mapped in self._mapped:
            # Systems without madvise reclaim the memory by themselves when it is short.
            with suppress(AttributeError):
                mapped.madvise(mmap.MADV_DONTNEED)

    def _map(self, file, like: np.ndarray) -> np.ndarray:
        if not file.tell():
            return like
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._mapped.append(mapped)
        return np.frombuffer(mapped, like.dtype).reshape(-1, *like.shape[1:])
