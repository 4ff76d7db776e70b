"""Upload the marts as Parquet to S3 for BI, and write the file that opens Power BI.

The objects of a publication are ``s3://BUCKET/runs/RUN_ID/MART.parquet``. They never change, and ``current.json``,
uploaded last, points at the current ones. ``current/MART.parquet`` are copies under fixed names, for tools that cannot
follow a pointer; each is replaced on its own. The manifest ``duckbook.json`` lists our objects; no other is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from duckbook.backends import storage
from duckbook.errors import PublishError
from duckbook.files import write_private
from duckbook.publish.publication import GRACE, Publication

POINTER = "current.json"

MANIFEST = "duckbook.json"

DESCRIPTION = "Marts for BI, put here by duckbook, which deletes the objects that this one names and no other."

UPLOAD_THREADS = 4


def upload(
    client: Any,
    bucket: str,
    publication: Publication,
    files: Mapping[str, Path],
    keep: int,
    history: str | None = None,
    grace: timedelta = GRACE,
) -> dict[str, str]:
    """Upload a publication's files, point readers at them, and keep the newest `keep` publications.

    Parameters
    ----------
    history
        Identity of the history from which the marts were built.
    grace
        A publication is kept this long after it was replaced, whatever `keep` is.

    Returns
    -------
    dict
        Mart → address of its object.

    Raises
    ------
    PublishError
        The bucket holds objects that are not ours, or the marts of another history; nothing was changed.
    ServerError
        The object storage refuses them. Readers keep what they had, except some copies under fixed names.
    """
    storage.ensure_bucket(client, bucket)
    keys = {mart: f"runs/{publication.run_id}/{mart}.parquet" for mart in files}
    copies = {mart: f"current/{mart}.parquet" for mart in files}
    manifest = _read_manifest(client, bucket, history)
    earlier, left = manifest["publications"], manifest["left"]
    listed = {*manifest["copies"]}.union(*earlier.values())
    replaced = earlier.pop(publication.run_id, [])

    def put(key: str, content: dict[str, Any]) -> None:
        storage.put_bytes(client, bucket, key, json.dumps(content, indent=1).encode())

    # List objects before their upload and until their deletion, so that those of a killed publication are known.
    manifest["publications"] = {**earlier, publication.run_id: sorted({*replaced, *keys.values()})}
    put(MANIFEST, manifest | {"copies": sorted({*manifest["copies"], *copies.values()})})
    with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
        list(pool.map(lambda mart: storage.upload(client, files[mart], bucket, keys[mart]), files))
        put(POINTER, {"run_id": publication.run_id, "as_of": publication.as_of, "marts": keys})
        list(pool.map(lambda mart: storage.upload(client, files[mart], bucket, copies[mart]), files))
    now = datetime.now(UTC)
    left = {name: left.get(name, now.isoformat()) for name in earlier}
    newest = [*earlier][::-1][: keep - 1]
    kept = [name for name in earlier if name in newest or left[name] > (now - grace).isoformat()]
    manifest["publications"] = {name: earlier[name] for name in kept} | {publication.run_id: sorted(keys.values())}
    for key in listed.difference(copies.values(), *manifest["publications"].values()):
        storage.delete(client, bucket, key)
    put(MANIFEST, manifest | {"left": {name: left[name] for name in kept}, "copies": sorted(copies.values())})
    return {mart: f"s3://{bucket}/{key}" for mart, key in keys.items()}


def _read_manifest(client: Any, bucket: str, history: str | None) -> dict[str, Any]:
    """Name → keys of the bucket's publications, oldest first; name → when it was replaced; keys of copies; history.

    Raises
    ------
    PublishError
        The bucket holds objects that are not ours, or publications of another history.
    """
    if stored := storage.get_bytes(client, bucket, MANIFEST):
        manifest: dict[str, Any] = json.loads(stored)
        if history and manifest["history"] not in {None, history}:
            raise PublishError(
                f"DUCKBOOK_S3_MARTS_BUCKET={bucket} holds the marts of another history, which these would replace: "
                f"name another bucket, or delete {MANIFEST} and the objects that it names."
            )
        return {"left": {}} | manifest | ({"history": history} if history else {})
    objects = [
        each for prefix in (POINTER, "current/", "runs/") for each in storage.list_objects(client, bucket, prefix)
    ]
    try:
        pointer = json.loads(storage.get_bytes(client, bucket, POINTER) or b"")
        marts = {Path(key).name for key in pointer["marts"].values()}
        ours = set(pointer) == {"run_id", "as_of", "marts"}
    except (ValueError, KeyError, TypeError, AttributeError):
        ours = False
    if objects and not ours:
        raise PublishError(
            f"DUCKBOOK_S3_MARTS_BUCKET={bucket} holds {objects[0].key}, which is not from a publication and which this "
            "one might replace: name another bucket."
        )
    # An earlier version wrote no manifest: find its publications by the names of their files.
    publications: dict[str, list[str]] = {}
    for each in sorted(objects, key=lambda each: each.put_at):
        folder, _, name = each.key.rpartition("/")
        if name in marts and folder.startswith(("runs/", "current")):
            publications.setdefault(folder.removeprefix("runs/"), []).append(each.key)
    copies = publications.pop("current", [])
    return {"what": DESCRIPTION, "history": history, "publications": publications, "left": {}, "copies": copies}


def write_pbids(file: Path, server: str, database: str) -> None:
    """Write a Power BI data source file: it opens Power BI Desktop on Postgres, which asks for user and password."""
    details = {"protocol": "postgresql", "address": {"server": server, "database": database}}
    connection = {"details": details, "options": {}, "mode": "Import"}
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(file, json.dumps({"version": "0.1", "connections": [connection]}, indent=2))
