"""A person's own Postgres and S3, checked before any work: wrong settings are told within about a second."""

from __future__ import annotations

import os
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from duckbook.backends import connections
from duckbook.errors import ServerError, SettingError
from duckbook.settings import S3Endpoint, Settings

ROOM = {"data": 100 * 2**20, "runs": 20 * 2**20}
"""Bytes that must be free for a run to begin: about what a small one writes. A disk may still fill up on the way."""


def check(settings: Settings) -> None:
    """Reach, sign in to and look at what the settings name; nothing is changed on any server.

    Raises
    ------
    SettingError
        The command to call on a failure is not there, or a folder cannot be written or is another user's.
    ServerError
        Something refuses; the sentence names the setting.
    """
    _check_command(settings)
    for name in ("data", "runs"):
        _check_folder(f"DUCKBOOK_{name.upper()}", getattr(settings, name), ROOM[name])
    with ThreadPoolExecutor() as pool:
        checks = [_check_postgres] * (not settings.embedded_postgres) + [_check_s3] * (not settings.embedded_s3)
        checks += [_check_bi] * (settings.bi and settings.bi_postgres_dsn is not None)
        checks += [_check_lake] * (settings.target == "lake" and settings.lake_dsn is not None)
        for done in [pool.submit(one, settings) for one in checks]:
            done.result()


def _check_command(settings: Settings) -> None:
    """The program that is called when a run fails, which nobody would miss before."""
    words = shlex.split(settings.on_failure)
    if words and shutil.which(words[0]) is None:
        raise SettingError(
            f"DUCKBOOK_ON_FAILURE={settings.on_failure} is wrong: there is no program {words[0]}. Name one with its "
            "whole path, or one that PATH leads to."
        )


def _check_folder(setting: str, folder: Path, room: int) -> None:
    """A folder that is written to, before anything is written to it."""
    try:
        made = next(path for path in (folder, *folder.parents) if path.exists())
    except PermissionError:
        made = None
    if made is None or not os.access(made, os.W_OK | os.X_OK):
        raise SettingError(f"{setting}={folder} cannot be written: name a folder that you may write to.")
    free = shutil.disk_usage(made).free
    if free < room:
        raise SettingError(
            f"{setting}={folder} lies on a disk with {free / 2**20:,.0f} MB of room, and a run takes "
            f"{room / 2**20:,.0f} or more: free some, or name another folder."
        )
    owner = folder.stat().st_uid if folder.exists() else os.geteuid()
    if os.geteuid() == 0 and owner != 0:
        raise SettingError(
            f"{setting}={folder} belongs to another user (id {owner}), who could not change what root leaves there: "
            "work as that user, without sudo."
        )


def _check_postgres(settings: Settings) -> None:
    dsn = settings.postgres_dsn.get_secret_value()
    address = connections.postgres_address(dsn)
    if address:
        connections.reach(*address, "DUCKBOOK_POSTGRES_DSN")
    connections.check_schema(dsn, settings.postgres_schema)


def _check_bi(settings: Settings) -> None:
    """The Postgres that every run publishes to at its end."""
    dsn, setting = settings.bi_postgres_dsn.get_secret_value(), "DUCKBOOK_BI_POSTGRES_DSN"
    address = connections.postgres_address(dsn)
    if address:
        connections.reach(*address, setting)
    with connections.postgres(dsn, setting, connections.QUICK_SECONDS):
        pass


def _check_lake(settings: Settings) -> None:
    dsn, setting = settings.lake_dsn.get_secret_value(), "DUCKBOOK_LAKE_DSN"
    address = connections.postgres_address(dsn)
    if address:
        connections.reach(*address, setting)
    connections.check_schema(dsn, settings.lake_schema, setting, "DUCKBOOK_LAKE_SCHEMA")


def _check_s3(settings: Settings) -> None:
    connections.reach_s3(settings)
    s3 = connections.s3_endpoint(settings)

    from botocore.exceptions import BotoCoreError, ClientError

    from duckbook.backends import storage

    client = storage.client(s3, attempts=1, seconds=connections.QUICK_SECONDS)
    for setting, bucket in _buckets(settings).items():
        try:
            # A listing, because a refused HEAD does not say why.
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
            if bucket == settings.s3_historic_bucket:
                _check_may_write(client, bucket)
        except ClientError as error:
            code = storage.error_code(error)
            if code != "NoSuchBucket":
                raise ServerError(connections.s3_refusal(code, str(error), bucket, setting)) from None
        except BotoCoreError as error:
            raise ServerError(_no_s3(settings, error)) from None


def _check_may_write(client, bucket: str) -> None:
    """An upload begun and given up: it asks for the right to write, and leaves nothing behind."""
    key = "history/.duckbook-preflight"
    begun = client.create_multipart_upload(Bucket=bucket, Key=key)
    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=begun["UploadId"])


def ensure_buckets(s3: S3Endpoint, settings: Settings) -> None:
    """Make the two buckets where they are missing.

    Raises
    ------
    ServerError
        The server does not let us; the sentence names the setting.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from duckbook.backends import storage

    client = storage.client(s3)
    for setting, bucket in _buckets(settings).items():
        try:
            storage.ensure_bucket(client, bucket)
        except ClientError as error:
            raise ServerError(connections.s3_refusal(storage.error_code(error), str(error), bucket, setting)) from None
        except BotoCoreError as error:
            raise ServerError(_no_s3(settings, error)) from None


def _buckets(settings: Settings) -> dict[str, str]:
    return {
        "DUCKBOOK_S3_HISTORIC_BUCKET": settings.s3_historic_bucket,
        "DUCKBOOK_S3_LATEST_BUCKET": settings.s3_latest_bucket,
    }


def _no_s3(settings: Settings, error: Exception) -> str:
    setting = "DUCKBOOK_S3_ENDPOINT" if settings.s3_endpoint else "DUCKBOOK_S3_REGION"
    return f"No S3 server answers at {setting}={settings.s3_endpoint or settings.s3_region}: {error}."
