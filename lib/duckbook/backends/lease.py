"""Leases in S3: the right of one machine to write a history or lake that several machines share.

A lease is an object in the shared S3, written with conditional requests, so that only one of two concurrent claims
succeeds. The holder renews it while it works and before every commit. A lease that is not renewed expires, by the
server's clock alone. Processes of one machine also use a lock of the operating system (`lock`, `ingest.transaction`).
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
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from duckbook.backends import storage
from duckbook.backends.clock import now
from duckbook.errors import LeaseError, ServerError
from duckbook.files import write_private

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX = "history/_lease/"

SECONDS = 90
"""Duration of a lease without renewal."""

RENEW_SECONDS = 20
"""Seconds between two renewals."""

CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


@dataclass(frozen=True)
class Holding:
    """A lease as read from S3: the content of its object, its ETag, and the seconds until it expires."""

    content: dict[str, Any]
    etag: str
    seconds_left: float

    @property
    def holder(self) -> str:
        """The holder, as the subject of a sentence."""
        what, data, host, since = (self.content[key] for key in ("what", "data", "host", "since"))
        return f"{what[0].upper()}{what[1:]} of {data} on {host}, since {since},"


def find(client: S3Client, bucket: str, name: str) -> Holding | None:
    """Return who holds a lease, or None if it is free or expired.

    Raises
    ------
    ServerError
        S3 does not answer.
    """
    holding = _read(client, bucket, name)
    return holding if holding and holding.seconds_left > 0 else None


def _read(client: S3Client, bucket: str, name: str) -> Holding | None:
    try:
        response = client.get_object(Bucket=bucket, Key=f"{PREFIX}{name}.json")
        content = json.loads(response["Body"].read())
    except ClientError as error:
        if storage.error_code(error) in storage.MISSING:
            return None
        raise ServerError(f"S3 cannot read the lease s3://{bucket}/{PREFIX}{name}.json: {error}.") from error
    except (BotoCoreError, ValueError) as error:
        raise ServerError(f"S3 cannot read the lease s3://{bucket}/{PREFIX}{name}.json: {error}.") from error
    # Both times are the server's, so clocks of other machines do not matter.
    server_time = parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])
    age = (server_time - response["LastModified"]).total_seconds()
    return Holding(content, response["ETag"], content["seconds"] - age)


class Lease:
    """A lease of this process.

    Parameters
    ----------
    name
        The resource, such as ``history``.
    what
        The task of the holder, such as "an ingest".
    token_file
        File in the data folder that keeps the tokens, protected by a lock of the operating system. A token found
        there belongs to a process that was killed, and its lease is taken over.
    seconds
        Duration without renewal.
    """

    def __init__(
        self, client: S3Client, bucket: str, name: str, what: str, token_file: Path, seconds: float = SECONDS
    ) -> None:
        self.client, self.bucket, self.key, self.name = client, bucket, f"{PREFIX}{name}.json", name
        self.token_file, self.token = token_file, token_hex(8)
        self.content: dict[str, Any] = {"token": self.token, "what": what, "since": now(), "seconds": seconds}
        self.content |= {"host": socket.gethostname(), "data": str(token_file.parent)}
        self._etag, self._expires, self._lost = "", 0.0, ""
        self._lock, self._released = threading.Lock(), threading.Event()

    def take(self) -> Holding | None:
        """Take the lease; return the current holding if it is not free.

        Raises
        ------
        ServerError
            S3 does not answer.
        """
        current = _read(self.client, self.bucket, self.name)
        tokens = self._saved_tokens()
        ours = current and current.content["token"] in tokens and current.content["data"] == self.content["data"]
        if current and current.seconds_left > 0 and not ours:
            return current
        write_private(self.token_file, json.dumps([*tokens, self.token]))
        with self._lock:
            if self._put(current.etag if current else None):
                return None
        # If the other process has released it in the meantime, try again.
        return _read(self.client, self.bucket, self.name) or self.take()

    def renew(self) -> None:
        """Renew the lease, which proves that it is still held.

        Raises
        ------
        LeaseError
            The lease is lost.
        ServerError
            S3 does not answer; the lease may still be held.
        """
        with self._lock:
            if not self._lost and time.monotonic() > self._expires:
                self._lost = "it was not renewed in time"
            if not self._lost and not self._put(self._etag):
                other = find(self.client, self.bucket, self.name)
                self._lost = f"{other.holder} has it" if other else "another process removed it"
        self.check()

    def check(self) -> None:
        """Check without a request that the lease is not known to be lost.

        Raises
        ------
        LeaseError
            The lease is lost.
        """
        if self._lost or time.monotonic() > self._expires:
            raise LeaseError(
                f"The lease s3://{self.bucket}/{self.key} is lost ({self._lost or 'it was not renewed in time'}), so "
                f"{self.content['what']} stops here and commits nothing more: check that S3 is up, and run it again."
            )

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew the lease in the background during the block, and release it at the end."""
        threading.Thread(target=self._renew_repeatedly, name=f"lease of {self.name}", daemon=True).start()
        try:
            yield
        finally:
            self._released.set()
            self._release()

    def _renew_repeatedly(self) -> None:
        while not self._released.wait(RENEW_SECONDS):
            try:
                self.renew()
            except LeaseError:
                return
            except ServerError:
                continue  # Retry until the lease expires.

    def _release(self) -> None:
        with self._lock, suppress(ClientError, BotoCoreError, OSError):
            if not self._lost and time.monotonic() < self._expires:
                try:
                    self.client.delete_object(Bucket=self.bucket, Key=self.key, IfMatch=self._etag)
                except ClientError as error:
                    if storage.error_code(error) != "NotImplemented":
                        raise
                    self.client.delete_object(Bucket=self.bucket, Key=self.key)
            self.token_file.unlink(missing_ok=True)

    def _put(self, etag: str | None) -> bool:
        """Replace the version with this ETag, or create the object; return whether no other process was faster."""
        body = json.dumps(self.content | {"version": token_hex(4)}).encode()
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        requested_at = time.monotonic()
        try:
            put: dict[str, Any] = {"Bucket": self.bucket, "Key": self.key, "Body": body}
            put["ContentType"] = "application/json"
            try:
                self._etag = self.client.put_object(**put, **condition)["ETag"]
            except ClientError as error:
                if storage.error_code(error) == "NotImplemented":
                    # Without conditional requests two concurrent claims both succeed; the loser notices before its
                    # commit.
                    current = _read(self.client, self.bucket, self.name)
                    if (current.etag if current else None) != etag:
                        return False
                    self._etag = self.client.put_object(**put)["ETag"]
                elif storage.error_code(error) in CONFLICT:
                    # boto3 may have retried a request that succeeded, after its response was lost.
                    if storage.get_bytes(self.client, self.bucket, self.key) != body:
                        return False
                    self._etag = self.client.head_object(Bucket=self.bucket, Key=self.key)["ETag"]
                elif storage.error_code(error) in storage.MISSING:
                    return False
                else:
                    raise
        except (ClientError, BotoCoreError) as error:
            raise ServerError(
                f"S3 cannot write the lease s3://{self.bucket}/{self.key}: {error}. Check that the server is up."
            ) from error
        # Servers round times to seconds, so the lease may expire for others a second earlier.
        self._expires = requested_at + self.content["seconds"] - 2
        return True

    def _saved_tokens(self) -> list[str]:
        try:
            return list(json.loads(self.token_file.read_text("utf-8")))
        except (OSError, ValueError):
            return []
