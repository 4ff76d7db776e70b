"""Postgres and S3 of a store: brought up, taken down, told about, and checked before any work.

A facade: the embedded servers are in `postgres_server` and `object_store`, signing in to any server is in `access`.
Nothing heavy is imported before it is needed: `status` asks nothing of Postgres or S3 but whether they live.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from duckbook import processes
from duckbook.endpoints import Endpoints
from duckbook.errors import ServerError
from duckbook.object_store import SECRET_NAMES, ObjectStore
from duckbook.postgres_server import PostgresServer
from duckbook.settings import Settings

LOCK_SECONDS = 180


def up(settings: Settings) -> Endpoints:
    """Bring up what the settings ask for; the landing schema and the two buckets exist afterwards.

    Servers that already run, whoever started them, are found again. Two processes may call this at once.

    Raises
    ------
    ServerError
        A server cannot be started, reached or signed in to.
    """
    servers = _embedded(settings, create=True)
    if not all(server.is_ready() for server in servers):
        with _locked(settings), ThreadPoolExecutor() as pool:
            idle = [server for server in servers if not server.is_ready()]
            for starting in [pool.submit(server.start) for server in idle]:
                starting.result()
    endpoints = _endpoints(settings, servers)
    _prepare_postgres(settings, endpoints)
    _prepare_s3(settings, endpoints, servers)
    return endpoints


def down(settings: Settings) -> list[str]:
    """Stop this store's embedded servers; the names of those that ran."""
    servers = _embedded(settings)
    if not servers:
        return []
    with _locked(settings), ThreadPoolExecutor() as pool:
        return [server.name for server, ran in zip(servers, pool.map(lambda s: s.stop(), servers), strict=True) if ran]


def status(settings: Settings) -> list[dict]:
    """Name, state (running, stopped or external) and address of Postgres and S3."""
    rows = {server.name: _row(server) for server in _embedded(settings)}
    if not settings.embedded_postgres:
        from duckbook import access

        address = access.postgres_address(settings.postgres_dsn.get_secret_value())
        rows["postgres"] = _external("postgres", "{}:{}".format(*address) if address else "as its DSN says")
    if not settings.embedded_s3:
        url = settings.s3_endpoint
        rows["s3"] = _external("s3", urlsplit(url).netloc.rpartition("@")[2] if url else f"AWS {settings.s3_region}")
    stopped = {"state": "stopped", "address": ""}
    return [rows.get(name) or {"name": name} | stopped for name in ("postgres", "s3")]


def preflight(settings: Settings) -> None:
    """See in about a second that a person's own Postgres and S3 can be reached and signed in to.

    Embedded servers want no check. Nothing is changed on any server.

    Raises
    ------
    ServerError
        One of them cannot be; the sentence names the setting.
    """
    from duckbook import preflight

    preflight.check(settings)


def _row(server: PostgresServer | ObjectStore) -> dict:
    running = server.is_running()
    return {"name": server.name, "state": "running" if running else "stopped", "address": server.address if running else ""}


def _external(name: str, address: str) -> dict:
    return {"name": name, "state": "external", "address": address}


def _folder(settings: Settings) -> Path:
    return settings.data / "servers"


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    import filelock

    path = _folder(settings) / "lock"
    try:
        with filelock.FileLock(path, timeout=LOCK_SECONDS):
            yield
    except filelock.Timeout:
        raise ServerError(f"Another process has been starting or stopping the servers for long: end it ({path}).") from None


def _embedded(settings: Settings, create: bool = False) -> list[PostgresServer | ObjectStore]:
    """The embedded servers that the settings ask for; none when this store never had any, unless `create`."""
    if not (settings.embedded_postgres or settings.embedded_s3):
        return []
    folder = _folder(settings)
    known = processes.read_json(folder / "secrets.json")
    if not known:
        if not create:
            return []
        known = _make_secrets(settings)
    servers: list[PostgresServer | ObjectStore] = []
    if settings.embedded_postgres:
        servers.append(PostgresServer(folder, known["postgres_password"]))
    if settings.embedded_s3:
        keys = {name: known[name] for name in SECRET_NAMES}
        servers.append(ObjectStore(folder, known["s3_access_key_id"], known["s3_secret_access_key"], keys))
    return servers


def _make_secrets(settings: Settings) -> dict[str, str]:
    folder = _folder(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ServerError(f"DUCKBOOK_DATA={settings.data} cannot be made or written: {error.strerror}.") from None
    path = folder / "secrets.json"
    with _locked(settings):
        if not path.exists():
            if (folder / "postgres").exists():
                raise ServerError(f"{path} is gone, and with it the password of this Postgres: put it back from a copy.")
            names = ("postgres_password", "s3_access_key_id", "s3_secret_access_key", *SECRET_NAMES)
            processes.write_private(path, json.dumps({name: secrets.token_hex(20) for name in names}, indent=1) + "\n")
    return processes.read_json(path)


def _endpoints(settings: Settings, servers: list[PostgresServer | ObjectStore]) -> Endpoints:
    from duckbook import access

    by_name = {server.name: server for server in servers}
    dsn = by_name["postgres"].dsn if "postgres" in by_name else settings.postgres_dsn.get_secret_value()
    return Endpoints(dsn, by_name["s3"].endpoint if "s3" in by_name else access.s3_endpoint(settings))


def _prepare_postgres(settings: Settings, endpoints: Endpoints) -> None:
    from duckbook import access

    setting = "the embedded Postgres" if settings.embedded_postgres else "DUCKBOOK_POSTGRES_DSN"
    access.ensure_schema(endpoints.postgres_dsn, settings.postgres_schema, setting)


def _prepare_s3(settings: Settings, endpoints: Endpoints, servers: list[PostgresServer | ObjectStore]) -> None:
    buckets = (settings.s3_historic_bucket, settings.s3_latest_bucket)
    if settings.embedded_s3:
        store = next(server for server in servers if isinstance(server, ObjectStore))
        for bucket in buckets:
            store.ensure_bucket(bucket)
    else:
        from duckbook import preflight

        preflight.ensure_buckets(endpoints.s3, settings)
