"""One writer per store: whoever changes a store's warehouse holds its lock, and who comes second is told who that is.

The lock is the operating system's, on a file in the data folder, so that a process that dies gives it back. A lake that
stores of other machines share, because its catalog is in a Postgres of one's own, is locked in that Postgres as well.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

from duckbook import markers
from duckbook.errors import ChainError
from duckbook.processes import write_private
from duckbook.runs import now
from duckbook.settings import Settings


@contextlib.contextmanager
def one_writer(settings: Settings, what: str) -> Iterator[None]:
    """Hold the store while the block runs.

    Parameters
    ----------
    what
        Who holds it, for the sentence that the second one reads, such as "a run of the chain".

    Raises
    ------
    ChainError
        Another process holds it.
    """
    from filelock import FileLock, Timeout

    markers.claim(settings.data)
    holder = settings.data / "writer.json"
    lock = FileLock(settings.data / "writer.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise ChainError(
            f"{_who(holder)} is at work on the store {settings.data.name}/: wait for it to end, or take "
            "another store with DATA=folder."
        ) from None
    try:
        with _lake(settings):
            write_private(holder, json.dumps({"what": what, "pid": os.getpid(), "since": now()}))
            yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _lake(settings: Settings) -> Iterator[None]:
    """Hold the shared lake, where it is the target and its Postgres is not the store's own."""
    dsn = settings.lake_dsn or settings.postgres_dsn
    if settings.target != "lake" or dsn is None:
        yield
        return
    from duckbook import access

    named_by = "DUCKBOOK_LAKE_DSN" if settings.lake_dsn else "DUCKBOOK_POSTGRES_DSN"
    with access.postgres(dsn.get_secret_value(), named_by) as connection:
        # Held by the connection, so that Postgres frees it when this process or its machine is gone.
        query = "select pg_try_advisory_lock(hashtext('duckbook'), hashtext(%s))"
        if not connection.execute(query, [settings.lake_schema]).fetchone()[0]:
            raise ChainError(
                f"A run of another store, maybe on another machine, is at work on the lake {settings.lake_schema}: "
                "wait for it to end, or take another lake with DUCKBOOK_LAKE_SCHEMA."
            )
        yield


def _who(holder) -> str:
    try:
        told = json.loads(holder.read_text("utf-8"))
        return f"{told['what']} (process {told['pid']}, since {told['since']})".capitalize()
    except (OSError, ValueError, KeyError):
        return "Another process"
