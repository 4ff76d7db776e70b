"""The log of commits in S3: ``history/_log/NNNNNNNN.json``, written once each and in order.

Putting the object is the commit. Where the server knows conditional writes, two ingests at once cannot both take a
number; on one machine a lock file keeps them apart as well.

A checkpoint holds the texts of the commits so far in one object, so that a log of a thousand commits is read at once.
It is a copy and nothing else: each text in it counts only as long as its commit's object is as it was.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5

from botocore.exceptions import BotoCoreError, ClientError

from duckbook.backends import storage
from duckbook.errors import IngestError, ServerError
from duckbook.ingest.batches import Chronicle, Commit

PREFIX = "history/_log/"

CHECKPOINT = f"{PREFIX}checkpoint.gz"

COMMITS_A_CHECKPOINT = 50

KEY = re.compile(re.escape(PREFIX) + r"(\d{8})\.json")


def key_of(number: int) -> str:
    """Key of a commit's object."""
    return f"{PREFIX}{number:08d}.json"


def read(client, bucket: str) -> Chronicle:
    """All commits of a history; none of them when there is no history yet.

    Raises
    ------
    IngestError
        A commit is missing, or is not what was written.
    ServerError
        The object store does not answer.
    """
    etags = _etags(client, bucket)
    known = _checkpointed(client, bucket) if len(etags) > COMMITS_A_CHECKPOINT else {}

    def text_of(number: int) -> bytes | None:
        etag, text = known.get(number, ("", None))
        return text if etag == etags[number] else storage.get_bytes(client, bucket, key_of(number))

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(text_of, etags))
    return linked({f"s3://{bucket}/{key_of(number)}": text for number, text in zip(etags, texts, strict=True)})


def identity(client, bucket: str) -> str | None:
    """What tells a history from every other one, on any machine and after a restore: None where there is none."""
    first = storage.get_bytes(client, bucket, key_of(1))
    return md5(first, usedforsecurity=False).hexdigest() if first else None


def linked(texts: Mapping[str, bytes | None]) -> Chronicle:
    """The chronicle of commits by the place of each, in order: every one follows the one before it.

    Raises
    ------
    IngestError
        A commit is missing, or is not what was written.
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
                "changed: restore the objects, or empty history/ and ingest the landing zone anew."
            )
        commits.append(commit)
    return Chronicle(tuple(commits))


def _etags(client, bucket: str) -> dict[int, str]:
    """Number of each commit → the ETag of its object, in order."""
    listed = storage.list_objects(client, bucket, PREFIX)
    return {int(name[1]): stored.etag for stored in listed if (name := KEY.fullmatch(stored.key))}


def _checkpointed(client, bucket: str) -> dict[int, tuple[str, bytes]]:
    """Number → ETag and text of the commits in the checkpoint; none of them where it is missing or broken."""
    try:
        lines = gzip.decompress(storage.get_bytes(client, bucket, CHECKPOINT) or b"").splitlines()
        parts = (line.split(b"\t", 1) for line in lines)
        return {number: (etag.decode(), text) for number, (etag, text) in enumerate(parts, 1)}
    except (OSError, EOFError, ValueError, zlib.error):
        return {}


def checkpoint(client, bucket: str, chronicle: Chronicle) -> None:
    """Renew the checkpoint where enough was committed since, from what has been read; a failure costs time alone."""
    if not chronicle.commits or len(chronicle.commits) % COMMITS_A_CHECKPOINT:
        return
    with contextlib.suppress(ServerError):
        etags = _etags(client, bucket)
        lines = [etags[commit.number].encode() + b"\t" + commit.text.encode() for commit in chronicle.commits]
        storage.put_bytes(client, bucket, CHECKPOINT, gzip.compress(b"\n".join(lines), 1))


def put(client, bucket: str, commit: Commit) -> None:
    """Commit: after this the batches that `commit` names belong to the history, before it none of them does.

    Raises
    ------
    IngestError
        Another ingest took the number in the meantime.
    ServerError
        The object store does not answer.
    """
    key = key_of(commit.number)
    body = {"Bucket": bucket, "Key": key, "Body": commit.text.encode(), "ContentType": "application/json"}
    try:
        client.put_object(**body, IfNoneMatch="*")
    except ClientError as error:
        code = storage.error_code(error)
        if code == "NotImplemented" and storage.get_bytes(client, bucket, key) is None:
            storage.put_bytes(client, bucket, key, commit.text.encode())
        elif storage.get_bytes(client, bucket, key) == commit.text.encode():
            return  # A retry after an answer that was lost: the first try had got through.
        elif code in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
            raise IngestError(
                f"Another ingest wrote s3://{bucket}/{key} in the meantime; this one added nothing: run it again."
            ) from error
        else:
            raise ServerError(f"S3 cannot write s3://{bucket}/{key}: {error}. See whether the server is up.") from error
    except BotoCoreError as error:
        raise ServerError(f"S3 cannot write s3://{bucket}/{key}: {error}. See whether the server is up.") from error
