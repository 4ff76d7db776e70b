"""Postgres and S3 of a store: brought up, taken down, told about, and checked before any work.

A facade: the embedded servers are in `postgres_server` and `object_store`, signing in to any server is in `access`.
Nothing heavy is imported before it is needed: `status` asks nothing of Postgres or S3 but whether they live.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from duckbook import files
from duckbook.backends import data_folder
from duckbook.backends.postgres_server import PostgresServer
from duckbook.backends.s3_server import SECRET_NAMES, ObjectStore
from duckbook.errors import ServerError
from duckbook.settings import Endpoints, Settings

LOCK_SECONDS = 180

started: set[Path] = set()
"""Data folders whose servers were down until this process started them."""

LIBPQ = (
    "PGSERVICE",
    "PGSSL",
    "PGOPTIONS",
    "PGGSS",
    "PGKRB",
    "PGREQUIRE",
    "PGCHANNEL",
    "PGTARGET",
    "PGCLIENT",
    "PGHOSTADDR",
)
"""Beginnings of libpq's variables that say how any connection is made; address and password each connection names."""


def up(settings: Settings) -> Endpoints:
    """Bring up what the settings ask for; the landing schema and the two buckets exist afterwards.

    Servers that already run, whoever started them, are found again. Two processes may call this at once.

    Raises
    ------
    ServerError
        A server cannot be started, reached or signed in to.
    """
    _leave_out_of_libpq(settings)
    postgres, store = _wanted(settings)
    endpoints = _endpoints(settings, postgres, store)
    _prepare(settings, endpoints, store)
    return endpoints


def reach(settings: Settings) -> Endpoints:
    """As `up`, but nothing is made on servers of a person's own: neither a schema nor a bucket.

    Raises
    ------
    ServerError
        An embedded server cannot be started.
    """
    if settings.embedded_postgres and settings.embedded_s3:
        return up(settings)
    _leave_out_of_libpq(settings)
    return _endpoints(settings, *_wanted(settings))


def down(settings: Settings) -> list[str]:
    """Stop this store's embedded servers, also when the settings now ask for others; the names of those that ran."""
    servers = _embedded(settings)
    if not servers:
        return []
    with _locked(settings), ThreadPoolExecutor() as pool:
        ran = list(pool.map(lambda server: server.stop(), servers))
    return [server.name for server, stopped in zip(servers, ran, strict=True) if stopped]


def status(settings: Settings) -> list[dict]:
    """Name, state (running, stopped or external) and address of Postgres and S3."""
    rows = [{"name": name, "state": "stopped", "address": ""} for name in ("postgres", "s3")]
    for row, server in zip(rows, _embedded(settings), strict=False):
        if server.is_running():
            row |= {"state": "running", "address": server.address}
    postgres, s3 = rows
    if not settings.embedded_postgres:
        from duckbook.backends import connections

        address = connections.postgres_address(settings.postgres_dsn.get_secret_value())
        postgres |= {"state": "external", "address": "{}:{}".format(*address) if address else "as its DSN says"}
    if not settings.embedded_s3:
        url = settings.s3_endpoint
        s3 |= {"state": "external", "address": urlsplit(url).netloc if url else f"AWS {settings.s3_region}"}
    return rows


def vacuum(settings: Settings) -> list[str]:
    """Take what was deleted off the disks of the embedded servers; the names of those that are not ours to ask.

    Raises
    ------
    ServerError
        A server does not do it.
    """
    postgres, store = _wanted(settings)
    if postgres:
        postgres.vacuum()
    if store:
        store.vacuum()
    return [name for name, server in (("Postgres", postgres), ("S3", store)) if server is None]


def running(settings: Settings) -> bool:
    """Whether Postgres and S3 can be asked without starting anything."""
    return all(row["state"] != "stopped" for row in status(settings))


def preflight(settings: Settings) -> None:
    """See in about a second that a person's own Postgres and S3 can be reached and signed in to.

    Embedded servers want no check. Nothing is changed on any server.

    Raises
    ------
    ServerError
        One of them cannot be; the sentence names the setting.
    """
    from duckbook.backends import preflight

    preflight.check(settings)


def _leave_out_of_libpq(settings: Settings) -> None:
    """Take libpq's variables out of the environment where it is the embedded Postgres alone that is asked.

    A PGSSLMODE=require or a PGSERVICE of the shell would keep every connection, DuckDB's as well, from a server that
    is ours and needs none of it.
    """
    own = (settings.postgres_dsn, settings.bi_postgres_dsn, settings.lake_dsn)
    if not any(own):
        for name in [name for name in os.environ if name.startswith(LIBPQ)]:
            del os.environ[name]


def _wanted(settings: Settings) -> tuple[PostgresServer | None, ObjectStore | None]:
    return _ready(settings) if settings.embedded_postgres or settings.embedded_s3 else (None, None)


def _ready(settings: Settings) -> tuple[PostgresServer | None, ObjectStore | None]:
    """The embedded servers that the settings ask for, started where they do not run."""
    _make_secrets(settings)
    owner = _folder(settings).stat().st_uid
    if owner != os.geteuid():
        # Root could, but would leave files there that the owner cannot open.
        raise ServerError(f"{_folder(settings)} belongs to another user (id {owner}): work as that user.")
    postgres, store = _embedded(settings)
    wanted = [
        server for server, asked in ((postgres, settings.embedded_postgres), (store, settings.embedded_s3)) if asked
    ]
    if not all(server.is_ready() for server in wanted):
        with _locked(settings), ThreadPoolExecutor() as pool:
            idle = [server for server in wanted if not server.is_ready()]
            if not any(server.is_running() for server in (postgres, store)):
                started.add(settings.data)
            for starting in [pool.submit(server.start) for server in idle]:
                starting.result()
    return (postgres if settings.embedded_postgres else None), (store if settings.embedded_s3 else None)


def _embedded(settings: Settings) -> tuple[()] | tuple[PostgresServer, ObjectStore]:
    """The store's embedded servers; none when it never had any."""
    folder = _folder(settings)
    known = files.read_json(folder / "secrets.json")
    if not known:
        return ()
    keys = {name: known[name] for name in SECRET_NAMES}
    store = ObjectStore(folder, known["s3_access_key_id"], known["s3_secret_access_key"], keys)
    return PostgresServer(folder, known["postgres_password"]), store


def _folder(settings: Settings) -> Path:
    return settings.data / "servers"


def _make_secrets(settings: Settings) -> None:
    """Make the store's folder of servers and its passwords, once."""
    folder = _folder(settings)
    path = folder / "secrets.json"
    if files.read_json(path):
        return
    try:
        data_folder.claim(settings.data)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ServerError(f"DUCKBOOK_DATA={settings.data} cannot be made or written: {error.strerror}.") from None
    with _locked(settings):
        if path.exists():
            return
        if (folder / "postgres").exists():
            raise ServerError(f"{path} is gone, and with it the password of this Postgres: put it back from a copy.")
        names = ("postgres_password", "s3_access_key_id", "s3_secret_access_key", *SECRET_NAMES)
        files.write_private(path, json.dumps({name: secrets.token_hex(20) for name in names}, indent=1) + "\n")


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    import filelock

    path = _folder(settings) / "lock"
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except filelock.Timeout:
        raise ServerError(
            f"Another process has been starting or stopping the servers for {LOCK_SECONDS} s: end it ({path})."
        ) from None
    except OSError as error:
        raise ServerError(f"{path} cannot be written ({error.strerror}): work as the user who owns it.") from None
    try:
        yield
    finally:
        lock.release()


def _endpoints(settings: Settings, postgres: PostgresServer | None, store: ObjectStore | None) -> Endpoints:
    from duckbook.backends import connections

    dsn = postgres.dsn if postgres else settings.postgres_dsn.get_secret_value()
    lake_dsn = settings.lake_dsn.get_secret_value() if settings.lake_dsn else None
    return Endpoints(dsn, store.endpoint if store else connections.s3_endpoint(settings), lake_dsn)


def _prepare(settings: Settings, endpoints: Endpoints, store: ObjectStore | None) -> None:
    """Make the landing schema and the buckets where they are missing."""
    from duckbook.backends import connections

    setting = "the embedded Postgres" if settings.embedded_postgres else "DUCKBOOK_POSTGRES_DSN"
    connections.ensure_schema(endpoints.postgres_dsn, settings.postgres_schema, setting)
    if store:
        for bucket in (settings.s3_historic_bucket, settings.s3_latest_bucket):
            store.ensure_bucket(bucket)
    else:
        from duckbook.backends import preflight

        preflight.ensure_buckets(endpoints.s3, settings)
