"""DuckDB connections: the engine with its extensions, the landing zone attached to it, and the warehouse of a target.

The parts specific to the shared lake are in `lake`, those of MotherDuck in `motherduck`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from psycopg2.extensions import make_dsn, parse_dsn

from duckbook.backends import data_folder, lake, motherduck
from duckbook.errors import WarehouseError, WarehouseLocked
from duckbook.settings import Endpoints, S3Endpoint, Settings
from duckbook.sql import literal

if TYPE_CHECKING:
    _Connection = duckdb.DuckDBPyConnection
else:  # DuckDB opens no connections of a subclass.
    _Connection = object


class DatabaseConnection(_Connection):
    """A DuckDB connection whose cursors also use an attached database; as a context manager it closes at the end.

    Parameters
    ----------
    connection
        The connection; all its other methods are available.
    database
        Database of unqualified names.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, database: str):
        connection.execute(f"use {database}")
        self._connection, self._database = connection, database

    def cursor(self) -> DatabaseConnection:
        """Return another connection to the same engine and database."""
        return DatabaseConnection(self._connection.cursor(), self._database)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> DatabaseConnection:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


EXTENSIONS = ("httpfs", "postgres_scanner", "ducklake", "motherduck")

LANDING_DATABASE = "landing_postgres"
"""Name under which the landing Postgres is attached."""

STORAGE_VERSION = "v1.5.0"
"""Format of new warehouse files. The default is that of 2023; this one stores text in half the time."""

FILE_CONFIG = {"storage_compatibility_version": STORAGE_VERSION, "max_vacuum_tasks": "0"}
"""Further options for warehouse files. dbt's macro ``fill_gaps`` decides when free space in them is reused."""


def extension_directory(settings: Settings) -> Path:
    """Return the folder with DuckDB's extensions, linked from their wheels, so that nothing is downloaded.

    It is in the data folder because ``~/.duckdb`` is shared by all programs of the user.
    """
    data_folder.claim(settings.data)
    folder = settings.data / "duckdb_extensions"
    links = folder / f"v{duckdb.__version__}" / _platform()
    links.mkdir(parents=True, exist_ok=True)
    site_packages = Path(duckdb.__file__).parents[1]
    for name in EXTENSIONS:
        link = links / f"{name}.duckdb_extension"
        wheel = site_packages / f"duckdb_extension_{name}" / "extensions" / f"v{duckdb.__version__}" / link.name
        if not wheel.exists() or (link.is_symlink() and link.readlink() == wheel):
            continue
        # Atomic, because two processes may create the link at the same moment.
        temporary = links / f".{name}.{os.getpid()}"
        temporary.symlink_to(wheel)
        temporary.replace(link)
    return folder


@lru_cache(maxsize=1)
def _platform() -> str:
    """Return the platform for which this DuckDB's extensions are built."""
    # Not on duckdb's default connection, which all threads share.
    with duckdb.connect() as connection:
        return str(connection.execute("pragma platform").fetchall()[0][0])


def engine_config(settings: Settings, trusted: bool = False) -> dict[str, str]:
    """Return the configuration of every DuckDB engine of the workbook, dbt's included.

    Parameters
    ----------
    trusted
        Whether only statements of duckbook will run. Then signatures of the installed extensions are not verified,
        which saves a third of a second per engine, and no other extensions can be downloaded.
    """
    extensions = extension_directory(settings)  # Claims the data folder, so it must come first.
    temporary = settings.data / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    config = {
        "extension_directory": str(extensions),
        "temp_directory": str(temporary),
        "memory_limit": settings.memory_limit,
    }
    if settings.threads:
        config["threads"] = str(settings.threads)
    if trusted:
        config |= {"allow_unsigned_extensions": "true", "autoinstall_known_extensions": "false"}
    return config


def engine(settings: Settings, trusted: bool = False) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB in UTC, without a warehouse; `trusted` as in `engine_config`."""
    return _in_utc(duckdb.connect(":memory:", config={**engine_config(settings, trusted)}))


def halve_memory_limit(connection: duckdb.DuckDBPyConnection) -> None:
    """Halve the memory limit of an engine that only streams rows, to leave memory to concurrent processes."""
    [(limit,)] = connection.execute("select parse_formatted_bytes(current_setting('memory_limit'))").fetchall()
    connection.execute(f"set memory_limit = {literal(f'{limit // 2}B')}")


@contextlib.contextmanager
def limit_threads(connection: duckdb.DuckDBPyConnection, least: int = 1, most: int | None = None) -> Iterator[None]:
    """Keep the threads of an engine between two bounds during the block."""
    [(current,)] = connection.execute("select current_setting('threads')").fetchall()
    connection.execute(f"set threads = {max(least, min(current, most or current))}")
    try:
        yield
    finally:
        connection.execute(f"set threads = {current}")


def open_warehouse(settings: Settings, read_only: bool = False, trusted: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the warehouse of the target.

    Parameters
    ----------
    trusted
        As in `engine_config`; ignored for MotherDuck.

    Raises
    ------
    WarehouseLocked
        Another process has the file open.
    WarehouseError
        There is no warehouse to read yet, or the lake or MotherDuck cannot be opened.
    """
    if settings.target == "motherduck":
        connection = _in_utc(motherduck.open_database(settings, engine_config(settings)))
        return DatabaseConnection(connection, settings.motherduck_database)
    if settings.target == "lake":
        return _open_lake(settings, read_only, trusted)
    path = settings.warehouse_path
    if read_only and not path.exists():
        raise WarehouseError(
            f"There is no warehouse {path.name} yet: run notebooks/pipeline/03_ingest.ipynb first, or `make pipeline`."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        config = engine_config(settings, trusted)
        return _in_utc(duckdb.connect(str(path), read_only=read_only, config={**config, **FILE_CONFIG}))
    except duckdb.IOException as error:
        holder = re.search(r"Conflicting lock is held in .*?\(PID (\d+)\)", str(error))
        if holder is None:
            raise
        message = f"The warehouse {path.name} is open in {_describe_holder(int(holder[1]))}, and try again."
        raise WarehouseLocked(message) from None


def _describe_holder(pid: int) -> str:
    """Describe the process that has the warehouse open, from its environment, and how to close it."""
    import psutil

    environment = {}
    with contextlib.suppress(psutil.Error):
        environment = psutil.Process(pid).environ()
    if run_id := environment.get("DUCKBOOK_RUN_ID"):
        return f"run {run_id} (PID {pid}): wait for it to end"
    # JupyterLab passes the notebook's path to its kernel.
    if notebook := environment.get("JPY_SESSION_NAME"):
        name = Path(notebook).name
        return f"the notebook {name} (PID {pid}): run `book.release()` in it, or shut down its kernel in JupyterLab"
    return f"another process (PID {pid}): end it, or shut down its kernel if it is a notebook's"


def preflight(settings: Settings) -> None:
    """Check before a run that a remote warehouse can be opened.

    Raises
    ------
    WarehouseError
        MotherDuck cannot be reached, or does not accept the connection.
    """
    if settings.target == "motherduck":
        motherduck.check(settings, extension_directory(settings))
        open_warehouse(settings).close()


def _open_lake(settings: Settings, read_only: bool, trusted: bool) -> DatabaseConnection:
    from duckbook.backends import servers

    connection = engine(settings, trusted)
    try:
        use_lake(connection, settings, servers.up(settings), read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return DatabaseConnection(connection, lake.NAME)


def use_lake(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    endpoints: Endpoints,
    read_only: bool = False,
    snapshot: int | None = None,
) -> None:
    """Attach the shared lake to a connection as the database `lake.NAME`.

    Parameters
    ----------
    snapshot
        Snapshot to read; None: the current one.

    Raises
    ------
    WarehouseError
        The lake cannot be opened, or does not exist and is only to be read.
    """
    use_s3(connection, endpoints.s3)
    options = _use_postgres(connection, lake.CATALOG_SECRET, endpoints.catalog_dsn)
    lake.attach(connection, settings, options, read_only=read_only, snapshot=snapshot)


def use_s3(connection: duckdb.DuckDBPyConnection, s3: S3Endpoint) -> None:
    """Load httpfs and create the secret for S3."""
    connection.execute("load httpfs")
    secret = {"key_id": s3.access_key_id, "secret": s3.secret_access_key, "region": s3.region}
    if s3.session_token:
        secret["session_token"] = s3.session_token
    if s3.host:
        secret |= {"endpoint": s3.host, "url_style": "path", "use_ssl": str(s3.use_ssl).lower()}
    _create_secret(connection, "landing_s3", "s3", secret)


def use_landing(connection: duckdb.DuckDBPyConnection, endpoints: Endpoints, read_only: bool = True) -> None:
    """Let a connection read S3 with httpfs, and Postgres as the database `landing_postgres`.

    Credentials are in DuckDB's secrets, which redact them, and never in the text of an ATTACH.
    """
    use_s3(connection, endpoints.s3)
    attach_postgres(connection, LANDING_DATABASE, endpoints.postgres_dsn, read_only)


def attach_postgres(connection: duckdb.DuckDBPyConnection, name: str, dsn: str, read_only: bool = True) -> None:
    """Attach the Postgres of a DSN as the database `name`."""
    options = _use_postgres(connection, name, dsn)
    mode = ", read_only" if read_only else ""
    connection.execute(f"attach if not exists {literal(options)} as {name} (type postgres, secret {name}{mode})")


def _use_postgres(connection: duckdb.DuckDBPyConnection, secret: str, dsn: str) -> str:
    """Create a secret with a DSN's credentials, and return its other options, which an ATTACH may show."""
    connection.execute("load postgres_scanner")
    parts = parse_dsn(dsn)
    names = {"host": "host", "port": "port", "dbname": "database", "user": "user", "password": "password"}
    _create_secret(
        connection, secret, "postgres", {names[key]: str(value) for key, value in parts.items() if key in names}
    )
    return make_dsn(None, **{key: value for key, value in parts.items() if key not in names})


def _create_secret(connection: duckdb.DuckDBPyConnection, name: str, kind: str, values: dict[str, str]) -> None:
    options = ", ".join(f"{key} {literal(value)}" for key, value in values.items())
    connection.execute(f"create or replace temporary secret {name} (type {kind}, {options})")


def _in_utc(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    # Global, so that its cursors, such as those of `%sql`, do not use the machine's time zone.
    connection.execute("set global timezone = 'UTC'")
    return connection
