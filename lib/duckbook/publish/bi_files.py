"""The marts as Parquet in S3, and files that open a connection in BI tools.

A publication is ``s3://BUCKET/runs/RUN_ID/MART.parquet``, never changed once it is there, and ``current.json`` names
the one to read: it is put last. ``current/MART.parquet`` are copies under names that stay, for tools that follow no
pointer; each is replaced whole, one after the other. ``duckbook.json`` names what has been put, and nothing else is
deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from duckbook.backends import storage
from duckbook.errors import PublishError
from duckbook.files import write_private
from duckbook.publish.publication import GRACE

POINTER = "current.json"

MARK = "duckbook.json"

WHAT = "Marts for BI, put here by duckbook, which deletes what this object names and nothing else."

UPLOADS = 4


def put(
    client,
    bucket: str,
    run_id: str,
    as_of: str | None,
    files: Mapping[str, Path],
    keep: int,
    history: str | None = None,
    grace: timedelta = GRACE,
) -> dict[str, str]:
    """Put a publication's files into the bucket, point readers at them, and leave the newest `keep` publications.

    Parameters
    ----------
    history
        What tells the history that the marts were made of.
    grace
        For so long a publication stays after readers were pointed at another one, whatever `keep` says.

    Returns
    -------
    dict
        Mart → address of its object.

    Raises
    ------
    PublishError
        The bucket holds what is not ours, or the marts of another history; nothing was changed.
    ServerError
        The object store does not take them; readers then keep what they had, but for copies under names that stay.
    """
    storage.ensure_bucket(client, bucket)
    keys = {mart: f"runs/{run_id}/{mart}.parquet" for mart in files}
    copies = {mart: f"current/{mart}.parquet" for mart in files}
    held, left, copied, history = _held(client, bucket, history)
    replaced = held.pop(run_id, [])
    # Named before they are there and until they are gone, so that what a killed publication left is still known.
    _mark(client, bucket, history, {**held, run_id: {*replaced, *keys.values()}}, left, {*copied, *copies.values()})
    with ThreadPoolExecutor(UPLOADS) as pool:
        list(pool.map(lambda mart: storage.upload(client, files[mart], bucket, keys[mart]), files))
        told = {"run_id": run_id, "as_of": as_of, "marts": keys}
        storage.put_bytes(client, bucket, POINTER, json.dumps(told, indent=1).encode())
        list(pool.map(lambda mart: storage.upload(client, files[mart], bucket, copies[mart]), files))
    at = datetime.now(UTC)
    left = {name: left.get(name, at.isoformat()) for name in held}
    newest = [*held][-(keep - 1) :] if keep > 1 else []
    kept = {name: of for name, of in held.items() if name in newest or left[name] > (at - grace).isoformat()}
    kept[run_id] = [*keys.values()]
    named = {key for publication in kept.values() for key in publication} | {*copies.values()}
    for key in {key for publication in held.values() for key in publication}.union(replaced, copied) - named:
        storage.delete(client, bucket, key)
    _mark(client, bucket, history, kept, {name: left[name] for name in kept if name in left}, copies.values())
    return {mart: f"s3://{bucket}/{key}" for mart, key in keys.items()}


def _held(
    client, bucket: str, history: str | None
) -> tuple[dict[str, list[str]], dict[str, str], list[str], str | None]:
    """Name → keys of the publications that the bucket holds, oldest first, and when readers left each.

    Then the keys of the copies, and the history.

    Raises
    ------
    PublishError
        It holds what no publication has put there, or those of another history.
    """
    marked = json.loads(storage.get_bytes(client, bucket, MARK) or b"{}")
    if marked:
        if history and marked["history"] not in {None, history}:
            raise PublishError(
                f"DUCKBOOK_S3_MARTS_BUCKET={bucket} holds the marts of another history, which these would replace: "
                f"name another bucket, or delete {MARK} and what it names."
            )
        return marked["publications"], marked.get("left", {}), marked["copies"], history or marked["history"]
    prefixes = (POINTER, "current/", "runs/")
    stored = [found for prefix in prefixes for found in storage.list_objects(client, bucket, prefix)]
    try:
        told = json.loads(storage.get_bytes(client, bucket, POINTER) or b"")
        marts = {Path(key).name for key in told["marts"].values()}
        ours = set(told) == {"run_id", "as_of", "marts"}
    except (ValueError, KeyError, TypeError, AttributeError):
        ours = False
    if stored and not ours:
        raise PublishError(
            f"DUCKBOOK_S3_MARTS_BUCKET={bucket} holds {stored[0].key}, which no publication has put there and this one "
            "might replace: name another bucket."
        )
    # What an earlier version left has no mark: its publications are told by the names of their files.
    held: dict[str, list[str]] = {}
    for found in sorted(stored, key=lambda found: found.put_at):
        folder, _, name = found.key.rpartition("/")
        if name in marts and folder.startswith(("runs/", "current")):
            held.setdefault(folder.removeprefix("runs/"), []).append(found.key)
    copies = held.pop("current", [])
    return held, {}, copies, history


def _mark(
    client,
    bucket: str,
    history: str | None,
    held: Mapping[str, Iterable],
    left: Mapping[str, str],
    copies: Iterable[str],
) -> None:
    publications = {name: sorted(keys) for name, keys in held.items()}
    told = {"what": WHAT, "history": history, "publications": publications, "left": left, "copies": sorted(copies)}
    storage.put_bytes(client, bucket, MARK, json.dumps(told, indent=1).encode())


def write_pbids(file: Path, server: str, database: str) -> None:
    """Write a Power BI data source file, which opens Power BI Desktop on a Postgres; it asks for user and password."""
    details = {"protocol": "postgresql", "address": {"server": server, "database": database}}
    connection = {"details": details, "options": {}, "mode": "Import"}
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(file, json.dumps({"version": "0.1", "connections": [connection]}, indent=2))
