"""What an ingest has before its commit: a lock and a lease, a folder for its files, and objects that do not count yet.

The keys of these objects are noted down before the first is put, so that the next ingest can sweep away what one that
was killed has left. Nothing depends on that but tidiness: an object that no commit names is never read, and no other
ingest, on this machine or another, gives its objects these keys.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from duckbook.backends import data_folder, storage
from duckbook.backends.lease import Lease
from duckbook.errors import IngestError
from duckbook.files import write_private
from duckbook.ingest.batches import Chronicle
from duckbook.settings import Settings

LOCK_SECONDS = 600

SMALL_BYTES = 4 * 2**20
"""A file below this is put in one request, one above in parts."""


def upload(settings: Settings, client, files: dict[str, Path], replaced: Iterable[str] = ()) -> None:
    """Put the files of batches that are not committed yet, and note them down first.

    Parameters
    ----------
    replaced
        Keys that the commit will name no more: `sweep` deletes them after it, or the new files where it never came.
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


def sweep(settings: Settings, client, chronicle: Chronicle) -> None:
    """Delete what an ingest that was killed here had put and not committed."""
    note = _note(settings)
    if not note.exists():
        return
    try:
        left = json.loads(note.read_text("utf-8"))
    except ValueError:  # killed while it wrote the note, so before it put anything
        left = {"bucket": settings.s3_historic_bucket, "keys": []}
    named = {key for batch in chronicle.batches for key in batch.files.values()}
    for key in set(left["keys"]) - named:
        storage.delete(client, left["bucket"], key)
    note.unlink()


def forget(settings: Settings) -> None:
    """After the commit: what was put belongs to the history."""
    _note(settings).unlink(missing_ok=True)


def _note(settings: Settings) -> Path:
    return settings.data / "ingest-open.json"


@contextmanager
def alone(settings: Settings, client, what: str) -> Iterator[Lease]:
    """One at a time changes a history: on a machine by a lock, on several by a lease, which a commit renews first.

    A second one waits.
    """
    data_folder.claim(settings.data)
    lock, until = FileLock(settings.data / "ingest.lock", timeout=LOCK_SECONDS), time.monotonic() + LOCK_SECONDS
    try:
        lock.acquire()
    except Timeout:
        raise IngestError(
            "Another ingest of this store has been under way for ten minutes: wait for it to end, or stop it."
        ) from None
    try:
        lease = Lease(client, settings.s3_historic_bucket, "history", what, settings.data / "ingest.lease")
        while holding := lease.take():
            if time.monotonic() > until:
                raise IngestError(
                    f"{holding.holder} has been changing the history in s3://{settings.s3_historic_bucket} for ten "
                    "minutes: wait for it to end, or stop it."
                )
            time.sleep(1)
        with lease.renewing():
            yield lease
    finally:
        lock.release()


@contextmanager
def workspace(settings: Settings) -> Iterator[Path]:
    """An empty folder for the files of one ingest; the lock makes it ours alone."""
    folder = settings.data / "tmp" / "duckbook-ingest"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
