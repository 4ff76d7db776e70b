"""Objects in S3, by boto3: list, read, write, upload, delete, and buckets.

For any S3 server: nothing here is peculiar to one of them. A failed request is a `ServerError` that names the object.
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
from typing import NamedTuple

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from duckbook.errors import ServerError
from duckbook.settings import S3Endpoint, Settings

CONNECTIONS = 16

TYPES = {".ndjson": "application/x-ndjson", ".parquet": "application/vnd.apache.parquet"}
"""Ending of a key → its media type. Of objects without one SeaweedFS guesses it, and gzips what it takes for text, at
twice the time for a write and six times that for a read."""

ONE_REQUEST = 2**30
"""An object of so many bytes is uploaded in parts, which carry no type."""

MISSING = {"NoSuchKey", "NoSuchBucket", "404", "NotFound"}


class StoredObject(NamedTuple):
    """An object: its key, its ETag without quotes, its size in bytes, and when it was put."""

    key: str
    etag: str
    size: int
    put_at: datetime


@lru_cache(maxsize=2)
def _session(local: bool) -> boto3.Session:
    """A session of our own, which has read the megabytes that describe S3 once it has made a client.

    For a server of this machine it reads no profile of AWS: the shell may name one that is not there.
    """
    if not local:
        return boto3.Session()
    nothing = {"profile": (None, [], None, None), "config_file": (None, [], os.devnull, None)}
    return boto3.Session(botocore_session=botocore.session.Session(session_vars=nothing))


def warm(local: bool = True) -> None:
    """Read what a first client reads, for later ones of this process and of those that split off from it."""
    client(S3Endpoint("http://127.0.0.1" if local else None, "us-east-1", "nobody", "nothing"))


def prepare(settings: Settings, apart: bool) -> None:
    """As `warm`, for a zygote; in a process `apart` it would be lost."""
    if not apart:
        warm(settings.embedded_s3)


def client(s3: S3Endpoint, attempts: int = 4, seconds: float = 60):
    """A boto3 client with timeouts and retries.

    Parameters
    ----------
    attempts
        How often a request is tried in all, with growing pauses.
    seconds
        How long the server may keep silent.
    """
    local = s3.url is not None and _is_loopback(s3.host.rsplit(":", 1)[0])
    config = Config(
        connect_timeout=min(3, seconds),
        read_timeout=seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path" if s3.url else "auto"},
        # Since 2025 boto3 adds checksums that several S3 servers refuse.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # The settings alone say where S3 is; DuckDB would not follow AWS_ENDPOINT_URL either.
        ignore_configured_endpoint_urls=True,
        **({"proxies": {}} if local else {}),
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
    """The code of an S3 error, such as ``AccessDenied``; empty when the server gave none."""
    return error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError, boto3.exceptions.Boto3Error) as error:
        refused = error_code(error) in {"AccessDenied", "403"}
        remedy = "grant these credentials the right to it" if refused else "see whether S3 is up (`make status`)"
        raise ServerError(f"S3 does not {what}: {str(error).rstrip('.')}. To go on, {remedy}.") from error


def list_objects(client, bucket: str, prefix: str = "") -> list[StoredObject]:
    """The objects whose keys start with `prefix`, sorted by key; none when there is no such bucket.

    Servers list in orders of their own, so ours is made here.
    """
    found: list[StoredObject] = []
    with _told(f"list s3://{bucket}/{prefix}"):
        try:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                contents = page.get("Contents", [])
                found += [StoredObject(o["Key"], o["ETag"].strip('"'), o["Size"], o["LastModified"]) for o in contents]
        except ClientError as error:
            if error_code(error) not in MISSING:
                raise
    return sorted(found)


def put_bytes(client, bucket: str, key: str, data: bytes) -> None:
    """Write one object, whole or not at all."""
    with _told(f"write s3://{bucket}/{key}"):
        client.put_object(Bucket=bucket, Key=key, Body=data)


def get_bytes(client, bucket: str, key: str) -> bytes | None:
    """An object's content, None when there is no such object."""
    with _told(f"read s3://{bucket}/{key}"):
        try:
            return client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error_code(error) in MISSING:
                return None
            raise


def read_head(client, bucket: str, key: str, n: int) -> bytes:
    """The first `n` bytes of an object, fewer when it is shorter."""
    with _told(f"read s3://{bucket}/{key}"):
        try:
            # Servers that ignore Range send the whole: no more than `n` is taken from the wire.
            body = client.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{n - 1}")["Body"]
        except ClientError as error:
            if error_code(error) in {"InvalidRange", "416"}:  # an empty object has no first byte
                return b""
            raise
        with body:
            return body.read(n)


def upload(client, path: Path, bucket: str, key: str) -> None:
    """Write a file as an object of the type that its key ends with, in parts when it is very large."""
    from boto3.s3.transfer import TransferConfig

    named = TYPES.get(Path(key).suffix)
    options = {"ExtraArgs": {"ContentType": named}} if named else {}
    with _told(f"write s3://{bucket}/{key}"):
        client.upload_file(str(path), bucket, key, Config=TransferConfig(multipart_threshold=ONE_REQUEST), **options)


def download(client, bucket: str, key: str, path: Path) -> None:
    """Copy an object into a file."""
    with _told(f"read s3://{bucket}/{key}"):
        client.download_file(bucket, key, str(path))


def delete(client, bucket: str, key: str) -> None:
    """Delete an object, if it is there."""
    with _told(f"delete s3://{bucket}/{key}"):
        client.delete_object(Bucket=bucket, Key=key)


def delete_prefix(client, bucket: str, prefix: str) -> int:
    """Delete the objects whose keys start with `prefix`; how many there were.

    One request each, because not every server has the request that deletes many.
    """
    if not prefix:
        raise ValueError("delete_prefix wants a prefix: an empty one would empty the bucket")
    keys = [found.key for found in list_objects(client, bucket, prefix)]
    with _told(f"delete s3://{bucket}/{prefix}"), ThreadPoolExecutor(CONNECTIONS // 2) as pool:
        list(pool.map(lambda key: client.delete_object(Bucket=bucket, Key=key), keys))
    return len(keys)


def ensure_bucket(client, bucket: str) -> None:
    """Make a bucket where it is missing.

    Raises
    ------
    ClientError
        The server does not let us.
    """
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error_code(error) not in MISSING:
            raise
        region = client.meta.region_name
        # AWS wants the region named, except for its oldest, for which it refuses it; others do not care.
        abroad = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region != "us-east-1" else {}
        try:
            client.create_bucket(Bucket=bucket, **abroad)
        except ClientError as made:
            if error_code(made) not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise
            # Another process made it at the same moment, unless it is somebody else's, which this tells.
            client.head_bucket(Bucket=bucket)
