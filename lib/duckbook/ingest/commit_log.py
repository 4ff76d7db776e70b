"""The commit log in S3: ``history/_log/NNNNNNNN.json``, each object written once and in order.

Putting the object is the commit. Conditional writes, where the server supports them, keep two concurrent ingests from
taking the same number; on one machine a lock file does so too.

A checkpoint object copies the commits so far, so that a long log is read in one request. A copied commit is only used
while the ETag of its object matches.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from duckbook.backends import storage
from duckbook.errors import IngestError, ServerError
from duckbook.ingest.batches import Commit, History

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX = "history/_log/"

CHECKPOINT = f"{PREFIX}checkpoint.gz"

COMMITS_PER_CHECKPOINT = 50

KEY = re.compile(re.escape(PREFIX) + r"(\d{8})\.json")


def commit_key(number: int) -> str:
    """Return the key of a commit's object."""
    return f"{PREFIX}{number:08d}.json"


def read(client: S3Client, bucket: str) -> History:
    """Read the history, which is empty if there are no commits yet.

    Raises
    ------
    IngestError
        A commit is missing or was changed.
    ServerError
        The object storage does not answer.
    """
    etags = _etags(client, bucket)
    known = _read_checkpoint(client, bucket) if len(etags) > COMMITS_PER_CHECKPOINT else {}

    def text_of(number: int) -> bytes | None:
        etag, text = known.get(number, ("", None))
        return text if etag == etags[number] else storage.get_bytes(client, bucket, commit_key(number))

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(text_of, etags))
    return parse({f"s3://{bucket}/{commit_key(number)}": text for number, text in zip(etags, texts, strict=True)})


def identity(client: S3Client, bucket: str) -> str | None:
    """Return a hash that identifies a history on any machine, also after a restore; None if there is no history."""
    first = storage.get_bytes(client, bucket, commit_key(1))
    return md5(first, usedforsecurity=False).hexdigest() if first else None


def parse(texts: Mapping[str, bytes | None]) -> History:
    """Parse the texts of commits in order, by address or path, and check that each follows the previous one.

    Raises
    ------
    IngestError
        A commit is missing or was changed.
    """
    commits: list[Commit] = []
    for where, text in texts.items():
        try:
            commit = Commit.read(text or b"")
        except (ValueError, KeyError, TypeError) as error:
            raise IngestError(f"{where} is not a commit of the history ({error}): restore the object.") from error
        if (commit.number, commit.previous) != (len(commits) + 1, commits[-1].digest if commits else ""):
            raise IngestError(
                f"{where} does not follow the commit before it, so an object below {PREFIX} is missing or was "
                "changed: restore the objects, or empty history/ and ingest the landing zone again."
            )
        commits.append(commit)
    return History(tuple(commits))


def _etags(client: S3Client, bucket: str) -> dict[int, str]:
    """Return commit number → ETag, in order."""
    listed = storage.list_objects(client, bucket, PREFIX)
    return {int(name[1]): stored.etag for stored in listed if (name := KEY.fullmatch(stored.key))}


def _read_checkpoint(client: S3Client, bucket: str) -> dict[int, tuple[str, bytes]]:
    """Return commit number → ETag and text; empty if the checkpoint is missing or damaged."""
    try:
        lines = gzip.decompress(storage.get_bytes(client, bucket, CHECKPOINT) or b"").splitlines()
        parts = (line.split(b"\t", 1) for line in lines)
        return {number: (etag.decode(), text) for number, (etag, text) in enumerate(parts, 1)}
    except (OSError, EOFError, ValueError, zlib.error):
        return {}


def checkpoint(client: S3Client, bucket: str, history: History) -> None:
    """Write a new checkpoint every `COMMITS_PER_CHECKPOINT` commits; a failure only costs later reads time."""
    if not history.commits or len(history.commits) % COMMITS_PER_CHECKPOINT:
        return
    with contextlib.suppress(ServerError):
        etags = _etags(client, bucket)
        lines = [etags[commit.number].encode() + b"\t" + commit.text.encode() for commit in history.commits]
        storage.put_bytes(client, bucket, CHECKPOINT, gzip.compress(b"\n".join(lines), 1))


def put(client: S3Client, bucket: str, commit: Commit) -> None:
    """Write a commit, which adds its batches to the history atomically.

    Raises
    ------
    IngestError
        Another ingest took the number in the meantime.
    ServerError
        The object storage does not answer.
    """
    key = commit_key(commit.number)
    body = commit.text.encode()
    try:
        client.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*")
    except ClientError as error:
        code = storage.error_code(error)
        if code == "NotImplemented" and storage.get_bytes(client, bucket, key) is None:
            storage.put_bytes(client, bucket, key, body)
        elif storage.get_bytes(client, bucket, key) == body:
            return  # A retry: the response to the first try was lost.
        elif code in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
            raise IngestError(
                f"Another ingest wrote s3://{bucket}/{key} in the meantime; this one added nothing: run it again."
            ) from error
        else:
            raise ServerError(f"S3 cannot write s3://{bucket}/{key}: {error}. Check that the server is up.") from error
    except BotoCoreError as error:
        raise ServerError(f"S3 cannot write s3://{bucket}/{key}: {error}. Check that the server is up.") from error
