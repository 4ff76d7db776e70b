"""Objects and buckets in S3 with boto3: list, read, write, upload and delete.

It works with any S3 server. A failed request raises a `ServerError` that names the object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from duckbook.errors import ServerError
from duckbook.settings import S3Endpoint, Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECTIONS = 16

MEDIA_TYPES = {".ndjson": "application/x-ndjson", ".parquet": "application/vnd.apache.parquet"}
"""Suffix of a key → media type. Without one SeaweedFS guesses, and compresses text, which makes writes twice and reads
six times as slow."""

MULTIPART_BYTES = 2**30
"""Larger objects are uploaded in parts, which have no media type."""

MISSING = {"NoSuchKey", "NoSuchBucket", "404", "NotFound"}


class StoredObject(NamedTuple):
    """An object: key, ETag without quotes, size in bytes, and time of the last change."""

    key: str
    etag: str
    size: int
    put_at: datetime


@lru_cache(maxsize=2)
def _session(local: bool) -> boto3.Session:
    """Return a session. After its first client it has parsed the megabytes that describe S3.

    For a server of this machine it reads no AWS profile: the environment may name one that does not exist.
    """
    if not local:
        return boto3.Session()
    no_config: dict[str, Any] = {"profile": (None, [], None, None), "config_file": (None, [], os.devnull, None)}
    return boto3.Session(botocore_session=botocore.session.Session(session_vars=no_config))


def prepare(settings: Settings) -> None:
    """Load boto3's description of S3 for later clients of this process and of its forks."""
    client(S3Endpoint("http://127.0.0.1" if settings.embedded_s3 else None, "us-east-1", "nobody", "nothing"))


def client(s3: S3Endpoint, attempts: int = 4, seconds: float = 60) -> S3Client:
    """Return a boto3 client with timeouts and retries.

    Parameters
    ----------
    attempts
        Attempts per request, with growing pauses.
    seconds
        Read timeout.
    """
    local = s3.host is not None and _is_loopback(s3.host.rsplit(":", 1)[0])
    config = Config(  # type: ignore[call-arg]  # The stubs lack ignore_configured_endpoint_urls.
        connect_timeout=min(3, seconds),
        read_timeout=seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path" if s3.url else "auto"},
        # Since 2025 boto3 adds checksums that several S3 servers reject.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Only the settings say where S3 is; DuckDB would ignore AWS_ENDPOINT_URL.
        ignore_configured_endpoint_urls=True,
        proxies={} if local else None,
    )
    return _session(local).client(
        "s3",
        endpoint_url=s3.url,
        region_name=s3.region,
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        aws_session_token=s3.session_token,
        config=config,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def error_code(error: Exception) -> str:
    """Return the code of an S3 error, such as ``AccessDenied``, or an empty text."""
    return error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""


@contextmanager
def _named_errors(action: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError, boto3.exceptions.Boto3Error) as error:
        denied = error_code(error) in {"AccessDenied", "403"}
        remedy = "grant these credentials the right to it" if denied else "check that S3 is up (`make status`)"
        raise ServerError(f"S3 cannot {action}: {str(error).rstrip('.')}. To go on, {remedy}.") from error


def list_objects(client: S3Client, bucket: str, prefix: str = "") -> list[StoredObject]:
    """Return the objects whose keys start with `prefix`, sorted by key; none if the bucket does not exist."""
    objects: list[StoredObject] = []
    with _named_errors(f"list s3://{bucket}/{prefix}"):
        try:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                contents = page.get("Contents", [])
                objects += [
                    StoredObject(o["Key"], o["ETag"].strip('"'), o["Size"], o["LastModified"]) for o in contents
                ]
        except ClientError as error:
            if error_code(error) not in MISSING:
                raise
    # Servers differ in their order.
    return sorted(objects)


def put_bytes(client: S3Client, bucket: str, key: str, data: bytes) -> None:
    """Write an object, atomically."""
    with _named_errors(f"write s3://{bucket}/{key}"):
        client.put_object(Bucket=bucket, Key=key, Body=data)


def get_bytes(client: S3Client, bucket: str, key: str) -> bytes | None:
    """Return an object's content, or None if it does not exist."""
    with _named_errors(f"read s3://{bucket}/{key}"):
        try:
            return client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error_code(error) in MISSING:
                return None
            raise


def read_head(client: S3Client, bucket: str, key: str, n: int) -> bytes:
    """Return the first `n` bytes of an object, fewer if it is shorter."""
    with _named_errors(f"read s3://{bucket}/{key}"):
        try:
            # Some servers ignore Range and send everything, so read no more than `n`.
            body = client.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{n - 1}")["Body"]
        except ClientError as error:
            if error_code(error) in {"InvalidRange", "416"}:  # An empty object has no first byte.
                return b""
            raise
        with body:
            return body.read(n)


def upload(client: S3Client, path: Path, bucket: str, key: str) -> None:
    """Upload a file with the media type of the key's suffix, in parts if it is very large."""
    from boto3.s3.transfer import TransferConfig

    media_type = MEDIA_TYPES.get(Path(key).suffix)
    extra = {"ContentType": media_type} if media_type else None
    config = TransferConfig(multipart_threshold=MULTIPART_BYTES)
    with _named_errors(f"write s3://{bucket}/{key}"):
        client.upload_file(str(path), bucket, key, ExtraArgs=extra, Config=config)


def download(client: S3Client, bucket: str, key: str, path: Path) -> None:
    """Download an object to a file."""
    with _named_errors(f"read s3://{bucket}/{key}"):
        client.download_file(bucket, key, str(path))


def delete(client: S3Client, bucket: str, key: str) -> None:
    """Delete an object if it exists."""
    with _named_errors(f"delete s3://{bucket}/{key}"):
        client.delete_object(Bucket=bucket, Key=key)


def delete_prefix(client: S3Client, bucket: str, prefix: str) -> int:
    """Delete the objects whose keys start with `prefix`; return how many there were.

    Each takes a request, because not every server can delete several at once.
    """
    if not prefix:
        raise ValueError("delete_prefix needs a prefix: an empty one would empty the bucket")
    keys = [stored.key for stored in list_objects(client, bucket, prefix)]
    with _named_errors(f"delete s3://{bucket}/{prefix}"), ThreadPoolExecutor(CONNECTIONS // 2) as pool:
        list(pool.map(lambda key: client.delete_object(Bucket=bucket, Key=key), keys))
    return len(keys)


def ensure_bucket(client: S3Client, bucket: str) -> None:
    """Create a bucket if it is missing.

    Raises
    ------
    ClientError
        The server does not allow it.
    """
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error_code(error) not in MISSING:
            raise
        region = client.meta.region_name
        # AWS needs the region, except us-east-1, which it rejects here; other servers ignore it.
        located = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        location: dict[str, Any] = located if region != "us-east-1" else {}
        try:
            client.create_bucket(Bucket=bucket, **location)
        except ClientError as create_error:
            if error_code(create_error) not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise
            # Either another process created it at the same moment, or it is in another account: then this raises.
            client.head_bucket(Bucket=bucket)
