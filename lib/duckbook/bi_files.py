"""The marts as Parquet in S3, and files that open a connection in BI tools.

A publication is ``s3://BUCKET/runs/RUN_ID/MART.parquet``, never changed once it is there, and ``current.json`` names
the one to read: it is put last. ``current/MART.parquet`` are copies under names that stay, for tools that follow no
pointer; each is replaced whole, one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from duckbook import storage
from duckbook.processes import write_private

POINTER = "current.json"

UPLOADS = 4


def put(client, bucket: str, run_id: str, as_of: str | None, files: Mapping[str, Path], keep: int) -> dict[str, str]:
    """Put a publication's files into the bucket, point readers at them, and leave the newest `keep` publications.

    Returns
    -------
    dict
        Mart → address of its object.

    Raises
    ------
    ServerError
        The object store does not take them; readers then keep what they had, but for copies under names that stay.
    """
    storage.ensure_bucket(client, bucket)
    keys = {mart: f"runs/{run_id}/{mart}.parquet" for mart in files}
    with ThreadPoolExecutor(UPLOADS) as pool:
        list(pool.map(lambda mart: storage.upload(client, files[mart], bucket, keys[mart]), files))
        told = {"run_id": run_id, "as_of": as_of, "marts": keys}
        storage.put_bytes(client, bucket, POINTER, json.dumps(told, indent=1).encode())
        list(pool.map(lambda mart: storage.upload(client, files[mart], bucket, f"current/{mart}.parquet"), files))
    _prune(client, bucket, run_id, set(files), keep)
    return {mart: f"s3://{bucket}/{key}" for mart, key in keys.items()}


def _prune(client, bucket: str, run_id: str, marts: set[str], keep: int) -> None:
    """Delete publications beyond the newest, which the one just put always is, and marts that are no more."""
    stored = storage.list_objects(client, bucket, "runs/")
    newest: dict[str, object] = {}
    for found in stored:
        name = found.key.split("/")[1]
        newest[name] = max(newest.get(name, found.put_at), found.put_at)
    order = sorted(newest, key=lambda name: (name == run_id, newest[name]), reverse=True)
    gone = set(order[max(keep, 1) :])
    keys = [found.key for found in stored if found.key.split("/")[1] in gone]
    kept = {f"current/{mart}.parquet" for mart in marts}
    keys += [found.key for found in storage.list_objects(client, bucket, "current/") if found.key not in kept]
    for key in keys:
        storage.delete(client, bucket, key)


def write_pbids(file: Path, server: str, database: str) -> None:
    """Write a Power BI data source file, which opens Power BI Desktop on a Postgres; it asks for user and password."""
    details = {"protocol": "postgresql", "address": {"server": server, "database": database}}
    connection = {"details": details, "options": {}, "mode": "Import"}
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(file, json.dumps({"version": "0.1", "connections": [connection]}, indent=2))
