"""The same done with several things at once, on one engine.

DuckDB shares a query out among its threads, and still leaves them idle while it waits for a server or ends the query.
Two at once fill that in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import duckdb

Thing = TypeVar("Thing")
Outcome = TypeVar("Outcome")

AT_ONCE = 2
"""So many large queries share the memory of an engine."""

STOP_SECONDS = 0.1


def each(
    connection: duckdb.DuckDBPyConnection,
    work: Callable[[duckdb.DuckDBPyConnection, Thing], Outcome],
    things: Collection[Thing],
    at_once: int = AT_ONCE,
) -> list[Outcome]:
    """Do the same with several things, each on a cursor of its own, and begin them in the order given.

    An error, or an interrupt from the keyboard, stops the queries of all of them.

    Parameters
    ----------
    work
        Takes a cursor and one of the things. Temporary tables and variables are the cursor's own; `many_threads` aside,
        it leaves the settings of the engine alone.
    things
        In an order that begins with what takes longest.

    Returns
    -------
    list
        The outcomes, in the order of the things.
    """
    cursors = [connection.cursor() for _ in things]
    with ThreadPoolExecutor(at_once) as pool:
        done = [pool.submit(work, cursor, thing) for cursor, thing in zip(cursors, things, strict=True)]
        try:
            wait(done, return_when=FIRST_EXCEPTION)
            for future in done:
                if future.done():
                    future.result()
        except BaseException:
            _stop(cursors, done)
            raise
        finally:
            for cursor in cursors:
                cursor.close()
    return [future.result() for future in done]


def _stop(cursors: Collection[duckdb.DuckDBPyConnection], done: Collection[Future]) -> None:
    """Interrupt until nothing runs: an interrupt that comes between two queries is lost."""
    for future in done:
        future.cancel()
    while wait(done, STOP_SECONDS).not_done:
        for cursor in cursors:
            cursor.interrupt()


class Threads:
    """Raises how many threads an engine has, for as long as anyone who runs side by side asks for more."""

    def __init__(self) -> None:
        self._lock, self._asking, self._before = Lock(), 0, 0

    @contextmanager
    def raised(self, connection: duckdb.DuckDBPyConnection, threads: int) -> Iterator[None]:
        """Let the engine have so many threads, or as many as it had where that is more."""
        with self._lock:
            if not self._asking:
                (self._before,) = connection.execute("select current_setting('threads')").fetchone()
                connection.execute(f"set threads = {max(self._before, threads)}")
            self._asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking:
                    connection.execute(f"set threads = {self._before}")
