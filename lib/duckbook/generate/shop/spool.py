"""Columns that are made a piece at a time: arrays in memory while they are one piece, read from files beyond that.

A store of any size then takes the memory of some pieces. The files have no name, so that nothing is left of a load
that is killed, and what has been read of them is let go of piece by piece.
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

import numpy as np

PIECE = 200_000
"""Customers, orders or records that are worked on at once."""

AT_ONCE = 2
"""Pieces that are made side by side: numpy lets go of Python's lock while it reckons."""


class Spool:
    """Keeps the columns of one store.

    Parameters
    ----------
    folder
        Where the files lie; the system's folder for temporary files if None. A store of a million customers fills
        less than a gigabyte.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._mapped: list[mmap.mmap] = []

    def ranges(self, count: int) -> Iterator[slice]:
        """Ranges of at most `PIECE` positions that cover `count` of them, in order; an empty one where there are none.

        After each, the memory of what was read in it is let go of.
        """
        for begin in range(0, max(count, 1), PIECE):
            yield slice(begin, min(begin + PIECE, count))
            self.release()

    def columns(self, count: int, make: Callable[[slice], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Columns of which `make` makes the pieces, one for each of the `ranges` of `count` positions."""
        return self.gather(self.pieces(count, make))

    def pieces(self, count: int, make: Callable[[slice], dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
        """What `make` makes of the `ranges` of `count` positions, in their order, some ranges at once."""
        if count <= PIECE:
            yield from map(make, self.ranges(count))
            return
        coming: deque[Future] = deque()
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for some in self.ranges(count):
                coming.append(pool.submit(make, some))
                if len(coming) > AT_ONCE:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
                self.release()
        finally:
            pool.shutdown(cancel_futures=True)

    def gather(self, pieces: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Put columns together from their pieces, of which there is at least one.

        Returns
        -------
        dict of str to array
            Each column whole, and not to be written to. Columns may be of different lengths.
        """
        coming = iter(pieces)
        first, second = next(coming), next(coming, None)
        if second is None:
            return first
        with ExitStack() as opened:
            files = {name: opened.enter_context(tempfile.TemporaryFile(dir=self._folder)) for name in first}
            for piece in chain((first, second), coming):
                for name, column in piece.items():
                    column.tofile(files[name])
            return {name: self._map(file, first[name]) for name, file in files.items()}

    def release(self) -> None:
        """Let go of the memory of what was read; the files stay as they are and are read again when asked for."""
        for mapped in self._mapped:
            # What the system does not offer, it does by itself when memory is short.
            with suppress(AttributeError):
                mapped.madvise(mmap.MADV_DONTNEED)

    def _map(self, file, like: np.ndarray) -> np.ndarray:
        if not file.tell():
            return like
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._mapped.append(mapped)
        return np.frombuffer(mapped, like.dtype).reshape(-1, *like.shape[1:])
