"""One writer per store: whoever changes a store's warehouse holds its lock, and who comes second is told who that is.

The lock is the operating system's, on a file in the data folder, so that a process that dies gives it back.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

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

    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        write_private(holder, json.dumps({"what": what, "pid": os.getpid(), "since": now()}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _who(holder) -> str:
    try:
        told = json.loads(holder.read_text("utf-8"))
        return f"{told['what']} (process {told['pid']}, since {told['since']})".capitalize()
    except (OSError, ValueError, KeyError):
        return "Another process"
