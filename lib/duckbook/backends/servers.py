"""Start, stop and check Postgres and S3.

The embedded servers are in `postgres_server` and `s3_server`, connections to any server in `connections`. Heavy modules
are imported late: `status` sends no request to Postgres or S3.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from duckbook import files
from duckbook.backends import data_folder
from duckbook.backends.postgres_server import PostgresServer
from duckbook.backends.s3_server import SECRET_NAMES, S3Server
from duckbook.errors import ServerError
from duckbook.settings import Endpoints, Settings, revealed

LOCK_SECONDS = 180

_users: dict[Path, int] = {}
"""Data folder → this process's descriptor of the file ``users``, on which every user of the servers holds a lock."""

_users_mutex = threading.Lock()

LIBPQ = (
    *("PGSERVICE", "PGSSL", "PGOPTIONS", "PGGSS", "PGKRB", "PGREQUIRE", "PGCHANNEL", "PGTARGET", "PGCLIENT"),
    "PGHOSTADDR",
)
"""Prefixes of libpq's variables that change how connections are made; a DSN overrides address and password itself."""


def up(settings: Settings) -> Endpoints:
    """Start the embedded servers that are not running, and create the landing schema and the two buckets if needed.

    Several processes may call this at the same time.

    Raises
    ------
    ServerError
        A server cannot be started or reached, or does not accept the credentials.
    """
    _ignore_libpq_variables(settings)
    postgres, s3 = _start(settings)
    endpoints = _endpoints(settings, postgres, s3)
    _prepare(settings, endpoints, s3)
    return endpoints


def connect(settings: Settings) -> Endpoints:
    """Do the same as `up`, but create no schema and no bucket on your own servers.

    Raises
    ------
    ServerError
        An embedded server cannot be started.
    """
    if settings.embedded_postgres and settings.embedded_s3:
        return up(settings)
    _ignore_libpq_variables(settings)
    return _endpoints(settings, *_start(settings))


def down(settings: Settings) -> list[str]:
    """Stop the embedded servers of this data folder, whatever the settings say; return the names of those that ran."""
    servers: Sequence[PostgresServer | S3Server] = _embedded(settings)
    if not servers:
        return []
    with _locked(settings), ThreadPoolExecutor() as pool:
        stopped = list(pool.map(lambda server: server.stop(), servers))
        keep(settings)  # Forget who started them.
        _stop_using(settings)
    return [server.name for server, was_running in zip(servers, stopped, strict=True) if was_running]


def stop_unused(settings: Settings, *, even_if_kept: bool = False) -> None:
    """Stop the embedded servers if this process started them and no other process that called `up` is still there.

    Parameters
    ----------
    even_if_kept
        Stop them also if another process started them, or `keep` was called since.
    """
    descriptor = _users.get(settings.data)
    if descriptor is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # Another process uses them.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return
    try:
        if even_if_kept or started_here(settings):
            down(settings)
    finally:
        _stop_using(settings)


def started_here(settings: Settings) -> bool:
    """Whether this process started the embedded servers, and `keep` was not called since."""
    try:
        return _users_file(settings).read_text() == str(os.getpid())
    except OSError:
        return False


def keep(settings: Settings) -> None:
    """Keep the embedded servers running, even if the command that started them fails."""
    with suppress(FileNotFoundError):
        os.truncate(_users_file(settings), 0)


def status(settings: Settings) -> list[dict[str, str]]:
    """Return name, state (running, stopped or external) and address of Postgres and S3."""
    rows = [{"name": name, "state": "stopped", "address": ""} for name in ("postgres", "s3")]
    servers: Sequence[PostgresServer | S3Server] = _embedded(settings)
    for row, server in zip(rows, servers, strict=False):
        if server.is_running():
            row |= {"state": "running", "address": server.address or ""}
    postgres, s3 = rows
    if settings.postgres_dsn is not None:
        from duckbook.backends import connections

        address = connections.postgres_address(settings.postgres_dsn.get_secret_value())
        postgres |= {"state": "external", "address": "{}:{}".format(*address) if address else "as in its DSN"}
    if not settings.embedded_s3:
        url = settings.s3_endpoint
        s3 |= {"state": "external", "address": urlsplit(url).netloc if url else f"AWS {settings.s3_region}"}
    return rows


def vacuum(settings: Settings) -> list[str]:
    """Remove the bytes of deleted data from the embedded servers; return the names of the servers that are external.

    Raises
    ------
    ServerError
        A server cannot do it.
    """
    postgres, s3 = _start(settings)
    if postgres:
        postgres.vacuum()
    if s3:
        s3.vacuum()
    return [name for name, server in (("Postgres", postgres), ("S3", s3)) if server is None]


def are_running(settings: Settings) -> bool:
    """Whether both Postgres and S3 are running or external."""
    return all(row["state"] != "stopped" for row in status(settings))


def preflight(settings: Settings) -> None:
    """Check in about a second that your own Postgres and S3 accept connections; nothing is changed on any server.

    Raises
    ------
    ServerError
        A server does not; the message names the setting.
    """
    from duckbook.backends import preflight

    preflight.check(settings)


def _ignore_libpq_variables(settings: Settings) -> None:
    """Remove libpq's variables from the environment if only the embedded Postgres is used.

    PGSSLMODE=require or PGSERVICE would make every connection to it fail, DuckDB's included.
    """
    own = (settings.postgres_dsn, settings.bi_postgres_dsn, settings.lake_dsn)
    if not any(own):
        for name in [name for name in os.environ if name.startswith(LIBPQ)]:
            del os.environ[name]


def _start(settings: Settings) -> tuple[PostgresServer | None, S3Server | None]:
    """Start the embedded servers that the settings ask for and that are not running; return them."""
    if not (settings.embedded_postgres or settings.embedded_s3):
        return None, None
    _make_secrets(settings)
    owner = _folder(settings).stat().st_uid
    if owner != os.geteuid():
        # Root could, but would leave files there that the owner cannot open.
        raise ServerError(f"{_folder(settings)} belongs to another user (id {owner}): work as that user.")
    # Before the check that they run, so that `stop_unused` does not stop them in between.
    _use(settings)
    postgres, s3 = _servers(settings)
    wanted = [
        server for server, needed in ((postgres, settings.embedded_postgres), (s3, settings.embedded_s3)) if needed
    ]
    if not all(server.is_ready() for server in wanted):
        with _locked(settings), ThreadPoolExecutor() as pool:
            idle = [server for server in wanted if not server.is_ready()]
            if not any(server.is_running() for server in (postgres, s3)):
                _users_file(settings).write_text(str(os.getpid()))
            for future in [pool.submit(server.start) for server in idle]:
                future.result()
    return (postgres if settings.embedded_postgres else None), (s3 if settings.embedded_s3 else None)


def _embedded(settings: Settings) -> tuple[()] | tuple[PostgresServer, S3Server]:
    """Return the embedded servers of the data folder, or nothing if it never had any."""
    return _servers(settings) if files.read_json(_folder(settings) / "secrets.json") else ()


def _servers(settings: Settings) -> tuple[PostgresServer, S3Server]:
    folder = _folder(settings)
    known = files.read_json(folder / "secrets.json")
    keys = {name: known[name] for name in SECRET_NAMES}
    s3 = S3Server(folder, known["s3_access_key_id"], known["s3_secret_access_key"], keys)
    return PostgresServer(folder, known["postgres_password"]), s3


def _folder(settings: Settings) -> Path:
    return settings.data / "servers"


def _users_file(settings: Settings) -> Path:
    return _folder(settings) / "users"


def _use(settings: Settings) -> None:
    """Hold a shared lock on the file ``users`` until this process ends, however it ends."""
    with _users_mutex:
        descriptor = os.open(_users_file(settings), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        # `make lab` becomes JupyterLab, which uses them too. Child processes do not inherit it from `subprocess`.
        os.set_inheritable(descriptor, True)
        # A folder that was removed in the meantime has another file now.
        if (previous := _users.get(settings.data)) is not None:
            os.close(previous)
        _users[settings.data] = descriptor


def _stop_using(settings: Settings) -> None:
    with _users_mutex:
        if (descriptor := _users.pop(settings.data, None)) is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for forked processes, which share the lock
            os.close(descriptor)


def _make_secrets(settings: Settings) -> None:
    """Create the folder of servers and its passwords, once."""
    folder = _folder(settings)
    path = folder / "secrets.json"
    if files.read_json(path):
        return
    try:
        data_folder.claim(settings.data)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ServerError(f"DUCKBOOK_DATA={settings.data} cannot be created or written: {error.strerror}.") from None
    with _locked(settings):
        if path.exists():
            return
        if (folder / "postgres").exists():
            raise ServerError(f"{path} is gone, and with it the password of this Postgres: restore it from a copy.")
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


def _endpoints(settings: Settings, postgres: PostgresServer | None, s3: S3Server | None) -> Endpoints:
    from duckbook.backends import connections

    dsn = postgres.dsn if postgres else revealed(settings.postgres_dsn)
    s3_endpoint = s3.endpoint if s3 else connections.s3_endpoint(settings)
    return Endpoints(dsn, s3_endpoint, revealed(settings.lake_dsn) or None)


def _prepare(settings: Settings, endpoints: Endpoints, s3: S3Server | None) -> None:
    """Create the landing schema and the buckets if they are missing."""
    from duckbook.backends import connections

    setting = "the embedded Postgres" if settings.embedded_postgres else "DUCKBOOK_POSTGRES_DSN"
    connections.ensure_schema(endpoints.postgres_dsn, settings.postgres_schema, setting)
    if s3:
        for bucket in (settings.s3_historic_bucket, settings.s3_latest_bucket):
            s3.ensure_bucket(bucket)
    else:
        from duckbook.backends import preflight

        preflight.ensure_buckets(endpoints.s3, settings)
