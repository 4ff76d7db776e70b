"""One writer per data folder: a process that changes the warehouse locks it, and a second one reports the first.

The lock is the operating system's, on a file in the data folder, so it is released when its process dies. A lake in
your own S3, which several machines share, also has a lease; `check_lease` verifies it before a commit.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.backends import data_folder
from duckbook.backends.clock import now
from duckbook.errors import ChainError, LeaseError
from duckbook.files import write_private
from duckbook.settings import Settings

if TYPE_CHECKING:
    from duckbook.backends.lease import Lease

TOKEN = "DUCKBOOK_RUN_LEASE"
"""Environment variable that passes the token of a run's lease to its kernels."""

_leases: list[Lease] = []
"""The lease of this process, if it has one."""


@contextlib.contextmanager
def one_writer(settings: Settings, what: str) -> Iterator[Lease | None]:
    """Lock the data folder, and lease a shared lake, for the block.

    Parameters
    ----------
    what
        What the holder is, such as "a run of the chain", for the error message of a second process.

    Yields
    ------
    Lease or None
        The lease of a shared lake.

    Raises
    ------
    ChainError
        Another process holds the lock or the lease.
    """
    with lock_data_folder(settings, what), _lease_lake(settings, what) as lease:
        yield lease


@contextlib.contextmanager
def lock_data_folder(settings: Settings, what: str) -> Iterator[None]:
    """Lock the data folder for the block, without the lease of its lake.

    Raises
    ------
    ChainError
        Another process holds the lock.
    """
    from filelock import FileLock, Timeout

    data_folder.claim(settings.data)
    holder = settings.data / "writer.json"
    lock = FileLock(settings.data / "writer.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise ChainError(
            f"{_holder(holder)} is at work on the data folder {settings.data.name}/: wait for it to end, or choose "
            "another data folder with DATA=folder."
        ) from None
    try:
        write_private(holder, json.dumps({"what": what, "pid": os.getpid(), "since": now()}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _lease_lake(settings: Settings, what: str) -> Iterator[Lease | None]:
    """Lease the lake for the block if it is the target and its files are in your own S3."""
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
            f"{holding.holder} is at work on the lake {settings.lake_schema}: wait for it to end, or choose another "
            "lake with DUCKBOOK_LAKE_SCHEMA. If it was cut off, its lease ends in "
            f"{max(holding.seconds_left, 0):.0f} s."
        )
    with lease.renewing():
        _leases.append(lease)
        try:
            yield lease
        finally:
            _leases.remove(lease)


def check_lease(settings: Settings) -> None:
    """Check before a commit that this process, or the run that it belongs to, still holds the lease of the lake.

    A process outside of runs, such as a kernel of JupyterLab, writes without a lease, like any client of a lake.

    Raises
    ------
    LeaseError
        Another data folder holds the lease, or it was not renewed in time.
    ServerError
        S3 does not answer.
    """
    if settings.target != "lake":
        return
    if _leases:
        _leases[-1].renew()
    elif token := os.environ.get(TOKEN):
        from duckbook.backends import connections, lease, storage

        client = storage.client(connections.s3_endpoint(settings))
        holding = lease.find(client, settings.s3_historic_bucket, _name(settings))
        if holding is None or holding.content["token"] != token:
            raise LeaseError(
                f"This run no longer holds the lake {settings.lake_schema} ("
                f"{f'{holding.holder} has it' if holding else 'its lease was not renewed in time'}), so it stops here "
                "and commits nothing more: check that S3 is up, and run it again."
            )


def _name(settings: Settings) -> str:
    return f"lake-{settings.lake_schema}"


def _holder(path: Path) -> str:
    try:
        content = json.loads(path.read_text("utf-8"))
        return f"{content['what']} (process {content['pid']}, since {content['since']})".capitalize()
    except (OSError, ValueError, KeyError):
        return "Another process"
