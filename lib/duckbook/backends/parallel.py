"""The same done with several things at once, on one engine.

DuckDB shares a query out among its threads, and still leaves them idle while it waits for a server or ends the query.
Two at once fill that in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from time import sleep
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
    """Do the same with several things, each on a cursor of its own; they begin in the order given.

    An error, or an interrupt from the keyboard, stops the queries of all of them.

    Parameters
    ----------
    work
        Takes a cursor and one of the things. Temporary tables and variables are the cursor's own, and go with it; the
        settings of the engine are everybody's, and are left alone.

    Returns
    -------
    list
        The outcomes, in the order of the things.
    """
    running: set[duckdb.DuckDBPyConnection] = set()

    def begun(thing: Thing) -> Outcome:
        with connection.cursor() as cursor:
            running.add(cursor)
            try:
                return work(cursor, thing)
            finally:
                running.discard(cursor)

    done: list[Future] = []
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for thing in things:
                done.append(pool.submit(begun, thing))
            wait(done, return_when=FIRST_EXCEPTION)
            for future in done:
                if future.done():
                    future.result()
        except BaseException:
            _stop(running, done)
            raise
    return [future.result() for future in done]


def _stop(running: set[duckdb.DuckDBPyConnection], done: Collection[Future]) -> None:
    """Interrupt until nothing runs: an interrupt that comes between two queries is lost."""
    import duckdb

    for future in done:
        future.cancel()
    # A signal may come before what was submitted last is in the list.
    while wait(done, STOP_SECONDS).not_done or running:
        sleep(0.01)
        for cursor in running.copy():
            with suppress(duckdb.ConnectionException):
                cursor.interrupt()
