"""Checks of your own Postgres and S3, of folders and of the failure command, in about a second before a run."""

from __future__ import annotations

import os
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.backends import connections
from duckbook.errors import ServerError, SettingError
from duckbook.settings import S3Endpoint, Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pydantic import SecretStr

MIN_FREE = {"data": 100 * 2**20, "runs": 20 * 2**20}
"""Free bytes needed to start a run: about what a small one writes. The disk may still fill up during the run."""


def check(settings: Settings) -> None:
    """Check that the servers, folders and commands of the settings can be used; nothing is changed on any server.

    Raises
    ------
    SettingError
        The failure command does not exist, or a folder cannot be written or belongs to another user.
    ServerError
        A server cannot be used; the message names the setting.
    """
    _check_command(settings)
    for name in ("data", "runs"):
        _check_folder(f"DUCKBOOK_{name.upper()}", getattr(settings, name), MIN_FREE[name])
    with ThreadPoolExecutor() as pool:
        checks = [] if settings.embedded_s3 else [pool.submit(_check_s3, settings)]
        if dsn := settings.postgres_dsn:
            checks.append(pool.submit(_check_postgres, dsn, "POSTGRES", settings.postgres_schema))
        if settings.bi and (dsn := settings.bi_postgres_dsn):  # Every run publishes to it at its end.
            checks.append(pool.submit(_check_postgres, dsn, "BI_POSTGRES"))
        if settings.target == "lake" and (dsn := settings.lake_dsn):
            checks.append(pool.submit(_check_postgres, dsn, "LAKE", settings.lake_schema))
        for future in checks:
            future.result()


def _check_command(settings: Settings) -> None:
    """Check that the failure command exists; otherwise only the first failure would show that it does not."""
    words = shlex.split(settings.on_failure)
    if words and shutil.which(words[0]) is None:
        raise SettingError(
            f"DUCKBOOK_ON_FAILURE={settings.on_failure} is wrong: there is no program {words[0]}. Use its full "
            "path, or a program on the PATH."
        )


def _check_folder(setting: str, folder: Path, min_free: int) -> None:
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
    except PermissionError:
        existing = None
    if existing is None or not os.access(existing, os.W_OK | os.X_OK):
        raise SettingError(f"{setting}={folder} cannot be written: name a folder that you may write to.")
    free = shutil.disk_usage(existing).free
    if free < min_free:
        raise SettingError(
            f"{setting}={folder} is on a disk with {free / 2**20:,.0f} MB free, and a run needs at least "
            f"{min_free / 2**20:,.0f} MB: free some, or name another folder."
        )
    owner = folder.stat().st_uid if folder.exists() else os.geteuid()
    if os.geteuid() == 0 and owner != 0:
        raise SettingError(
            f"{setting}={folder} belongs to another user (id {owner}), who could not change files written by root: "
            "work as that user, without sudo."
        )


def _check_postgres(secret: SecretStr, name: str, schema: str | None = None) -> None:
    """Check a Postgres, and the schema to use in it; `name` is the middle of its settings' names."""
    dsn, setting = secret.get_secret_value(), f"DUCKBOOK_{name}_DSN"
    address = connections.postgres_address(dsn)
    if address:
        connections.check_reachable(*address, setting)
    if schema is not None:
        connections.check_schema(dsn, schema, setting, f"DUCKBOOK_{name}_SCHEMA")
        return
    with connections.postgres(dsn, setting, connections.QUICK_SECONDS):
        pass


def _check_s3(settings: Settings) -> None:
    connections.check_s3_reachable(settings)
    s3 = connections.s3_endpoint(settings)

    from botocore.exceptions import BotoCoreError, ClientError

    from duckbook.backends import storage

    client = storage.client(s3, attempts=1, seconds=connections.QUICK_SECONDS)
    for setting, bucket in _buckets(settings).items():
        try:
            # A listing, because a failed HEAD has no reason.
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
            if bucket == settings.s3_historic_bucket:
                _check_write_access(client, bucket)
        except ClientError as error:
            code = storage.error_code(error)
            if code != "NoSuchBucket":
                raise ServerError(connections.s3_error_message(code, str(error), bucket, setting)) from None
        except BotoCoreError as error:
            raise ServerError(_no_answer(settings, error)) from None


def _check_write_access(client: S3Client, bucket: str) -> None:
    """Start an upload and abort it: this needs the right to write, and leaves nothing behind."""
    key = "history/.duckbook-preflight"
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)
    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])


def ensure_buckets(s3: S3Endpoint, settings: Settings) -> None:
    """Create the two buckets of the landing zone if they are missing.

    Raises
    ------
    ServerError
        The server does not allow it; the message names the setting.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from duckbook.backends import storage

    client = storage.client(s3)
    for setting, bucket in _buckets(settings).items():
        try:
            storage.ensure_bucket(client, bucket)
        except ClientError as error:
            code = storage.error_code(error)
            raise ServerError(connections.s3_error_message(code, str(error), bucket, setting)) from None
        except BotoCoreError as error:
            raise ServerError(_no_answer(settings, error)) from None


def _buckets(settings: Settings) -> dict[str, str]:
    return {
        "DUCKBOOK_S3_HISTORIC_BUCKET": settings.s3_historic_bucket,
        "DUCKBOOK_S3_LATEST_BUCKET": settings.s3_latest_bucket,
    }


def _no_answer(settings: Settings, error: Exception) -> str:
    setting = "DUCKBOOK_S3_ENDPOINT" if settings.s3_endpoint else "DUCKBOOK_S3_REGION"
    return f"No S3 server answers at {setting}={settings.s3_endpoint or settings.s3_region}: {error}."
