"""The log of commits in S3: ``history/_log/NNNNNNNN.json``, written once each and in order.

Putting the object is the commit. Where the server knows conditional writes, two ingests at once cannot both take a
number; on one machine a lock file keeps them apart as well.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError

from duckbook import storage
from duckbook.batches import Chronicle, Commit
from duckbook.errors import IngestError, ServerError

PREFIX = "history/_log/"

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
    names = (KEY.fullmatch(stored.key) for stored in storage.list_objects(client, bucket, PREFIX))
    numbers = [int(name[1]) for name in names if name]
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda number: storage.get_bytes(client, bucket, key_of(number)), numbers))
    commits: list[Commit] = []
    for number, text in zip(numbers, texts, strict=True):
        where = f"s3://{bucket}/{key_of(number)}"
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
