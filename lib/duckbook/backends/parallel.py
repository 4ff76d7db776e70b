"""Run a function over several inputs concurrently on one DuckDB engine.

A single query leaves DuckDB's threads idle while it waits for a server and while it ends; a second one uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from time import sleep
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import duckdb

Input = TypeVar("Input")
Output = TypeVar("Output")

AT_ONCE = 2
"""Default concurrency: large queries share the engine's memory."""

STOP_SECONDS = 0.1


def run_concurrently(
    connection: duckdb.DuckDBPyConnection,
    function: Callable[[duckdb.DuckDBPyConnection, Input], Output],
    inputs: Collection[Input],
    at_once: int = AT_ONCE,
) -> list[Output]:
    """Run a function over several inputs, each on a cursor of its own, started in the order given.

    An error or Ctrl-C interrupts all queries.

    Parameters
    ----------
    function
        Takes a cursor and an input. Temporary tables and variables are local to the cursor. Settings of the engine are
        shared and must not be changed.

    Returns
    -------
    list
        The outputs, in the order of the inputs.
    """
    running: set[duckdb.DuckDBPyConnection] = set()

    def run_one(value: Input) -> Output:
        with connection.cursor() as cursor:
            running.add(cursor)
            try:
                return function(cursor, value)
            finally:
                running.discard(cursor)

    futures: list[Future[Output]] = []
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for value in inputs:
                futures.append(pool.submit(run_one, value))
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
        except BaseException:
            _stop(running, futures)
            raise
    return [future.result() for future in futures]


def _stop(running: set[duckdb.DuckDBPyConnection], futures: Collection[Future[Output]]) -> None:
    """Interrupt repeatedly until nothing runs, because an interrupt between two queries is lost."""
    import duckdb

    for future in futures:
        future.cancel()
    # Check `running` too: a signal may arrive before the last future is in the list.
    while wait(futures, STOP_SECONDS).not_done or running:
        sleep(0.01)
        for cursor in running.copy():
            with suppress(duckdb.ConnectionException):
                cursor.interrupt()
