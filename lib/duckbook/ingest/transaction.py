"""The transaction around a commit: a lock and a lease, a working folder, and objects that are not committed yet.

Keys are noted in a file before the first object is put, so that the next ingest can delete what a killed one left.
This only saves space: objects that no commit lists are never read, and keys are unique to their ingest.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from duckbook.backends import data_folder, storage
from duckbook.backends.lease import Lease
from duckbook.errors import IngestError
from duckbook.files import write_private
from duckbook.ingest.batches import History
from duckbook.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LOCK_SECONDS = 600

SMALL_BYTES = 4 * 2**20
"""Smaller files are put in one request, larger ones in parts."""


def upload(settings: Settings, client: S3Client, files: dict[str, Path], replaced: Iterable[str] = ()) -> None:
    """Note the keys of files that are not committed yet, then put them.

    Parameters
    ----------
    replaced
        Keys that the commit no longer lists. `sweep` deletes them after the commit, or the new files if there was none.
    """
    note = _note(settings)
    keys = sorted({*files, *replaced})
    write_private(note, json.dumps({"bucket": settings.s3_historic_bucket, "keys": keys}))

    def put(key: str) -> None:
        path = files[key]
        if path.stat().st_size < SMALL_BYTES:
            storage.put_bytes(client, settings.s3_historic_bucket, key, path.read_bytes())
        else:
            storage.upload(client, path, settings.s3_historic_bucket, key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files))


def sweep(settings: Settings, client: S3Client, history: History) -> None:
    """Delete what a killed ingest of this data folder put and did not commit."""
    note = _note(settings)
    if not note.exists():
        return
    try:
        noted = json.loads(note.read_text("utf-8"))
    except ValueError:  # Killed while writing the note, so before it put anything.
        noted = {"bucket": settings.s3_historic_bucket, "keys": []}
    committed = {key for batch in history.batches for key in batch.files.values()}
    for key in set(noted["keys"]) - committed:
        storage.delete(client, noted["bucket"], key)
    note.unlink()


def clear_note(settings: Settings) -> None:
    """Delete the note after the commit."""
    _note(settings).unlink(missing_ok=True)


def _note(settings: Settings) -> Path:
    return settings.data / "ingest-open.json"


@contextmanager
def exclusive(settings: Settings, client: S3Client, activity: str) -> Iterator[Lease]:
    """Hold the exclusive right to change a history: a lock on this machine, and a lease among machines.

    Waits up to ten minutes for others. Renew the lease before a commit.
    """
    data_folder.claim(settings.data)
    lock, until = FileLock(settings.data / "ingest.lock", timeout=LOCK_SECONDS), time.monotonic() + LOCK_SECONDS
    try:
        lock.acquire()
    except Timeout:
        raise IngestError(
            "Another ingest of this data folder has been running for ten minutes: wait for it to end, or stop it."
        ) from None
    try:
        lease = Lease(client, settings.s3_historic_bucket, "history", activity, settings.data / "ingest.lease")
        while current := lease.take():
            if time.monotonic() > until:
                raise IngestError(
                    f"{current.holder} has been changing the history in s3://{settings.s3_historic_bucket} for ten "
                    "minutes: wait for it to end, or stop it."
                )
            time.sleep(1)
        with lease.renewing():
            yield lease
    finally:
        lock.release()


@contextmanager
def workspace(settings: Settings) -> Iterator[Path]:
    """Create an empty folder for the files of one ingest; call it within `exclusive`."""
    folder = settings.data / "tmp" / "duckbook-ingest"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
