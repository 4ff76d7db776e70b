"""A lease: who may change what several machines share, and until when.

It is an object in the S3 that they share, written on conditions, so that one of two that ask at once is refused. Its
holder renews it while it works, and again right before a commit; what is not renewed ends by itself, by the server's
clock alone. A lock of the operating system (`lock`, `uncommitted`) keeps the processes of one machine apart as well.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from duckbook.backends import storage
from duckbook.backends.clock import now
from duckbook.errors import LeaseError, ServerError
from duckbook.files import write_private

PREFIX = "history/_lease/"

SECONDS = 90
"""How long a lease lasts that nobody renews."""

EVERY = 20
"""Seconds between two renewals."""

REFUSED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


@dataclass(frozen=True)
class Holding:
    """A lease as its object says: who holds it, which version of the object that is, and the seconds that are left."""

    told: dict[str, Any]
    etag: str
    left: float

    @property
    def who(self) -> str:
        """The holder, for the beginning of the sentence that others read."""
        what = self.told["what"]
        return f"{what[0].upper()}{what[1:]} of {self.told['data']} on {self.told['host']}, since {self.told['since']},"


def look(client, bucket: str, name: str) -> Holding | None:
    """Who holds a lease, None where nobody does or it has ended.

    Raises
    ------
    ServerError
        The object store does not answer.
    """
    found = _read(client, bucket, name)
    return found if found and found.left > 0 else None


def _read(client, bucket: str, name: str) -> Holding | None:
    try:
        got = client.get_object(Bucket=bucket, Key=f"{PREFIX}{name}.json")
        told = json.loads(got["Body"].read())
    except ClientError as error:
        if storage.error_code(error) in storage.MISSING:
            return None
        raise ServerError(f"S3 does not read the lease s3://{bucket}/{PREFIX}{name}.json: {error}.") from error
    except (BotoCoreError, ValueError) as error:
        raise ServerError(f"S3 does not read the lease s3://{bucket}/{PREFIX}{name}.json: {error}.") from error
    # Both times are the server's: no other clock is asked.
    at = parsedate_to_datetime(got["ResponseMetadata"]["HTTPHeaders"]["date"])
    return Holding(told, got["ETag"], told["seconds"] - (at - got["LastModified"]).total_seconds())


class Lease:
    """A lease that this process holds.

    Parameters
    ----------
    name
        What is leased, such as ``history``.
    what
        What the holder does, such as "an ingest".
    note
        A file in the data folder that keeps its token, under a lock of the operating system: a token that is found
        there is of a holder that was killed, whose lease is taken over.
    seconds
        How long it lasts without a renewal.
    """

    def __init__(self, client, bucket: str, name: str, what: str, note: Path, seconds: float = SECONDS) -> None:
        self.client, self.bucket, self.key, self.name, self.note = client, bucket, f"{PREFIX}{name}.json", name, note
        self.token = token_hex(8)
        self.told = {"token": self.token, "what": what, "host": socket.gethostname(), "data": str(note.parent)}
        self.told |= {"since": now(), "seconds": seconds}
        self._etag, self._until, self._gone = "", 0.0, ""
        self._lock, self._ended = threading.Lock(), threading.Event()

    def take(self) -> Holding | None:
        """Take the lease; who holds it where it cannot be had.

        Raises
        ------
        ServerError
            The object store does not answer.
        """
        there = _read(self.client, self.bucket, self.name)
        noted = self._noted()
        mine = there and there.told["token"] in noted and there.told["data"] == self.told["data"]
        if there and there.left > 0 and not mine:
            return there
        write_private(self.note, json.dumps([*noted, self.token]))
        with self._lock:
            if self._put(there.etag if there else None):
                return None
        # Where the other has given it back by now, it is asked for again.
        return _read(self.client, self.bucket, self.name) or self.take()

    def renew(self) -> None:
        """Renew the lease, which proves that it is still held.

        Raises
        ------
        LeaseError
            It is not.
        ServerError
            The object store does not answer; the lease may still be held.
        """
        with self._lock:
            if not self._gone and time.monotonic() > self._until:
                self._gone = "it was not renewed in time"
            if not self._gone and not self._put(self._etag):
                there = look(self.client, self.bucket, self.name)
                self._gone = f"{there.who} has it" if there else "somebody has removed it"
        self.see()

    def see(self) -> None:
        """See that nothing is known of the lease's end, without asking the server.

        Raises
        ------
        LeaseError
            The lease is gone.
        """
        if self._gone or time.monotonic() > self._until:
            raise LeaseError(
                f"The lease s3://{self.bucket}/{self.key} is gone ({self._gone or 'it was not renewed in time'}), so "
                f"{self.told['what']} stops here and commits nothing more: see that S3 is well, and run it again."
            )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease while the block runs, and give it back."""
        threading.Thread(target=self._keep, name=f"lease of {self.name}", daemon=True).start()
        try:
            yield
        finally:
            self._ended.set()
            self._give_back()

    def _keep(self) -> None:
        while not self._ended.wait(EVERY):
            try:
                self.renew()
            except LeaseError:
                return
            except ServerError:
                continue  # It is tried again, until the lease has ended.

    def _give_back(self) -> None:
        with self._lock, suppress(ClientError, BotoCoreError, OSError):
            if not self._gone and time.monotonic() < self._until:
                try:
                    self.client.delete_object(Bucket=self.bucket, Key=self.key, IfMatch=self._etag)
                except ClientError as error:
                    if storage.error_code(error) != "NotImplemented":
                        raise
                    self.client.delete_object(Bucket=self.bucket, Key=self.key)
            self.note.unlink(missing_ok=True)

    def _put(self, etag: str | None) -> bool:
        """Write the object in place of the version that `etag` names, None for none; whether nobody was faster."""
        body = json.dumps(self.told | {"version": token_hex(4)}).encode()
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        asked = time.monotonic()
        try:
            put = {"Bucket": self.bucket, "Key": self.key, "Body": body, "ContentType": "application/json"}
            try:
                self._etag = self.client.put_object(**put, **condition)["ETag"]
            except ClientError as error:
                if storage.error_code(error) == "NotImplemented":
                    # Such a server tells no two apart that ask at once; each sees before its commit who was last.
                    there = _read(self.client, self.bucket, self.name)
                    if (there.etag if there else None) != etag:
                        return False
                    self._etag = self.client.put_object(**put)["ETag"]
                elif storage.error_code(error) in REFUSED:
                    # A retry after an answer that was lost: the first try had got through.
                    if storage.get_bytes(self.client, self.bucket, self.key) != body:
                        return False
                    self._etag = self.client.head_object(Bucket=self.bucket, Key=self.key)["ETag"]
                elif storage.error_code(error) in storage.MISSING:
                    return False
                else:
                    raise
        except (ClientError, BotoCoreError) as error:
            raise ServerError(
                f"S3 does not write the lease s3://{self.bucket}/{self.key}: {error}. See whether the server is up."
            ) from error
        # Servers tell times to the second, so that one may end for others a second sooner than it seems here.
        self._until = asked + self.told["seconds"] - 2
        return True

    def _noted(self) -> list[str]:
        try:
            return json.loads(self.note.read_text("utf-8"))
        except (OSError, ValueError):
            return []
