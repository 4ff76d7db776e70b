"""One writer per store: whoever changes a store's warehouse holds its lock, and who comes second is told who that is.

The lock is the operating system's, on a file in the data folder, so that a process that dies gives it back. A lake that
stores of other machines share, because its files lie in an S3 of one's own, is leased there as well: `check` says
before a commit whether the lease is still held.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from duckbook.backends import data_folder
from duckbook.backends.clock import now
from duckbook.errors import ChainError, LeaseError
from duckbook.files import write_private
from duckbook.settings import Settings

if TYPE_CHECKING:
    from duckbook.backends.lease import Lease

TOKEN = "DUCKBOOK_RUN_LEASE"
"""The variable that tells a run's kernels the token of the lease that the run holds."""

_held: list[Lease] = []
"""The lease that this process holds, if it does."""


@contextlib.contextmanager
def one_writer(settings: Settings, what: str) -> Iterator[Lease | None]:
    """Hold the store while the block runs.

    Parameters
    ----------
    what
        Who holds it, for the sentence that the second one reads, such as "a run of the chain".

    Yields
    ------
    Lease or None
        The lease of a lake that is shared.

    Raises
    ------
    ChainError
        Another process holds it.
    """
    with hold_data_folder(settings, what), _lake(settings, what) as lease:
        yield lease


@contextlib.contextmanager
def hold_data_folder(settings: Settings, what: str) -> Iterator[None]:
    """Hold the data folder alone, whoever holds the lease of its lake.

    Raises
    ------
    ChainError
        Another process holds it.
    """
    from filelock import FileLock, Timeout

    data_folder.claim(settings.data)
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


@contextlib.contextmanager
def _lake(settings: Settings, what: str) -> Iterator[Lease | None]:
    """Hold the lease of a shared lake, where it is the target and its files are not in the store's own S3."""
    if settings.target != "lake" or settings.embedded_s3:
        yield None
        return
    from duckbook.backends import connections, preflight, storage
    from duckbook.backends.lease import Lease

    s3, name = connections.s3_endpoint(settings), _name(settings)
    preflight.ensure_buckets(s3, settings)
    lease = Lease(storage.client(s3), settings.s3_historic_bucket, name, what, settings.data / f"{name}.lease")
    if holding := lease.take():
        raise ChainError(
            f"{holding.who} is at work on the lake {settings.lake_schema}: wait for it to end, or take another lake "
            f"with DUCKBOOK_LAKE_SCHEMA. If it was cut off, its lease ends in {max(holding.left, 0):.0f} s."
        )
    with lease.kept():
        _held.append(lease)
        try:
            yield lease
        finally:
            _held.remove(lease)


def check(settings: Settings) -> None:
    """See, before a commit, that this process or the run that it belongs to still holds the lake.

    A process that belongs to no run, such as a kernel of JupyterLab, writes as any other user of a lake does.

    Raises
    ------
    LeaseError
        Another store has it, or it was not renewed in time.
    ServerError
        The object store does not answer.
    """
    if settings.target != "lake":
        return
    if _held:
        _held[-1].renew()
    elif token := os.environ.get(TOKEN):
        from duckbook.backends import connections, lease, storage

        holding = lease.look(
            storage.client(connections.s3_endpoint(settings)), settings.s3_historic_bucket, _name(settings)
        )
        if holding is None or holding.told["token"] != token:
            raise LeaseError(
                f"This run holds the lake {settings.lake_schema} no more ("
                f"{f'{holding.who} has it' if holding else 'its lease was not renewed in time'}), so it stops here and "
                "commits nothing more: see that S3 is well, and run it again."
            )


def _name(settings: Settings) -> str:
    return f"lake-{settings.lake_schema}"


def _who(holder) -> str:
    try:
        told = json.loads(holder.read_text("utf-8"))
        return f"{told['what']} (process {told['pid']}, since {told['since']})".capitalize()
    except (OSError, ValueError, KeyError):
        return "Another process"
