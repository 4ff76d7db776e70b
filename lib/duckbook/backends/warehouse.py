"""DuckDB connections: the engine with its extensions, the landing zone attached to it, and the warehouse of a target.

How the shared lake is attached stands in `lake`, what only MotherDuck needs in `motherduck`; here is what they share.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
from psycopg2.extensions import make_dsn, parse_dsn

from duckbook.backends import data_folder, lake, motherduck
from duckbook.errors import WarehouseError, WarehouseLocked
from duckbook.settings import Endpoints, S3Endpoint, Settings
from duckbook.sql import literal


class Within:
    """A DuckDB connection, and its cursors, within an attached database; a context that closes it.

    Parameters
    ----------
    connection
        The connection; everything but `cursor` is its own.
    database
        The database that unqualified names mean.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, database: str):
        connection.execute(f"use {database}")
        self._connection, self._database = connection, database

    def cursor(self) -> Within:
        """Another connection to the same engine, within the same database."""
        return Within(self._connection.cursor(), self._database)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> Within:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


EXTENSIONS = ("httpfs", "postgres_scanner", "ducklake", "motherduck")

LANDING_DATABASE = "landing_postgres"
"""Name under which the landing Postgres is attached."""

STORAGE_VERSION = "v1.5.0"
"""Format of new warehouse files. The default is one that DuckDB read in 2023; this one takes text in half the time."""

FILE_CONFIG = {"storage_compatibility_version": STORAGE_VERSION, "max_vacuum_tasks": "0"}
"""How the file of a warehouse is opened, besides: dbt's macro ``fill_gaps`` says when room in it is used again."""


def extension_directory(settings: Settings) -> Path:
    """Folder that holds the extensions of this DuckDB, linked from their wheels, so that no download is needed.

    ``~/.duckdb`` is shared by everything on a machine, hence a folder of the store's own.
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
        # Two processes may link at once: each makes its own link and moves it into place.
        mine = links / f".{name}.{os.getpid()}"
        mine.symlink_to(wheel)
        mine.replace(link)
    return folder


@lru_cache(maxsize=1)
def _platform() -> str:
    """The platform that extensions of this DuckDB are built for."""
    # Not on the connection that duckdb keeps by itself: threads share that one.
    with duckdb.connect() as connection:
        return connection.execute("pragma platform").fetchone()[0]


def engine_config(settings: Settings, closed: bool = False) -> dict[str, str]:
    """The configuration that every DuckDB of the workbook is opened with, dbt's included.

    Parameters
    ----------
    closed
        For statements of our own alone: our extensions are taken as they are, and no others can be fetched. To verify a
        signature DuckDB hashes tens of megabytes at each load, a third of a second for both of ours, which came in
        wheels as DuckDB itself did.
    """
    extensions = extension_directory(settings)  # which claims the data folder before anything is made in it
    temporary = settings.data / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    config = {
        "extension_directory": str(extensions),
        "temp_directory": str(temporary),
        "memory_limit": settings.memory_limit,
    }
    if settings.threads:
        config["threads"] = str(settings.threads)
    if closed:
        config |= {"allow_unsigned_extensions": "true", "autoinstall_known_extensions": "false"}
    return config


def engine(settings: Settings, closed: bool = False) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory, in UTC, that touches no warehouse; `closed` as in `engine_config`."""
    return _in_utc(duckdb.connect(":memory:", config=engine_config(settings, closed)))


def take_half(connection: duckdb.DuckDBPyConnection) -> None:
    """Let an engine take half of the memory that the setting allows, where rows only pass through it.

    What it keeps beyond that is read once more at best, and the rest is left to those who work beside it.
    """
    (limit,) = connection.execute("select parse_formatted_bytes(current_setting('memory_limit'))").fetchone()
    connection.execute(f"set memory_limit = {literal(f'{limit // 2}B')}")


@contextlib.contextmanager
def threads(connection: duckdb.DuckDBPyConnection, least: int = 1, most: int | None = None) -> Iterator[None]:
    """Let an engine use more threads for a while, or fewer, than it is set to."""
    (held,) = connection.execute("select current_setting('threads')").fetchone()
    connection.execute(f"set threads = {max(least, min(held, most or held))}")
    try:
        yield
    finally:
        connection.execute(f"set threads = {held}")


def open_warehouse(
    settings: Settings, read_only: bool = False, closed: bool = False
) -> duckdb.DuckDBPyConnection | Within:
    """Open the warehouse of the target.

    Parameters
    ----------
    closed
        As in `engine_config`, where the target is a file.

    Raises
    ------
    WarehouseLocked
        Another process has the file open.
    WarehouseError
        There is no warehouse yet to be read, or the lake or MotherDuck refuses.
    """
    if settings.target == "motherduck":
        return Within(
            _in_utc(motherduck.open_database(settings, engine_config(settings))), settings.motherduck_database
        )
    if settings.target == "lake":
        return _open_lake(settings, read_only, closed)
    path = settings.warehouse_path
    if read_only and not path.exists():
        raise WarehouseError(f"There is no warehouse {path.name} yet: run 03_ingest.ipynb first, or `make pipeline`.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        config = engine_config(settings, closed) | FILE_CONFIG
        return _in_utc(duckdb.connect(str(path), read_only=read_only, config=config))
    except duckdb.IOException as error:
        holder = re.search(r"Conflicting lock is held in .*?\(PID (\d+)\)", str(error))
        if holder is None:
            raise
        raise WarehouseLocked(f"The warehouse {path.name} is open in {_who(int(holder[1]))}, and try again.") from None


def _who(pid: int) -> str:
    """Who holds the warehouse, as far as its environment tells, and how it lets go."""
    import psutil

    told = {}
    with contextlib.suppress(psutil.Error):
        told = psutil.Process(pid).environ()
    if run_id := told.get("DUCKBOOK_RUN_ID"):
        return f"run {run_id} (PID {pid}): wait for it to end"
    # JupyterLab tells each kernel the notebook that it was started for.
    if notebook := told.get("JPY_SESSION_NAME"):
        name = Path(notebook).name
        return f"the notebook {name} (PID {pid}): run `book.release()` in it, or shut down its kernel in JupyterLab"
    return f"another process (PID {pid}): end it, or shut down its kernel if it is a notebook's"


def preflight(settings: Settings) -> None:
    """See that the warehouse of another machine can be opened, before any work; a local file needs no look.

    Raises
    ------
    WarehouseError
        MotherDuck refuses, or is not reached.
    """
    if settings.target == "motherduck":
        motherduck.check(settings, extension_directory(settings))
        open_warehouse(settings).close()


def _open_lake(settings: Settings, read_only: bool, closed: bool) -> Within:
    from duckbook.backends import servers

    connection = engine(settings, closed)
    try:
        use_lake(connection, settings, servers.up(settings), read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return Within(connection, lake.NAME)


def use_lake(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    endpoints: Endpoints,
    read_only: bool = False,
    snapshot: int | None = None,
) -> None:
    """Attach the shared lake to a connection, as the database `lake.NAME`.

    Parameters
    ----------
    snapshot
        As it was at that snapshot, read-only; None: as it is.

    Raises
    ------
    WarehouseError
        It cannot be opened, or there is none yet to be read.
    """
    use_s3(connection, endpoints.s3)
    options = _use_postgres(connection, lake.CATALOG_SECRET, endpoints.catalog_dsn)
    lake.attach(connection, settings, options, read_only=read_only, snapshot=snapshot)


def use_s3(connection: duckdb.DuckDBPyConnection, s3: S3Endpoint) -> None:
    """Let a connection read S3 by httpfs."""
    connection.execute("load httpfs")
    secret = {"key_id": s3.access_key_id, "secret": s3.secret_access_key, "region": s3.region}
    if s3.session_token:
        secret["session_token"] = s3.session_token
    if s3.host:
        secret |= {"endpoint": s3.host, "url_style": "path", "use_ssl": str(s3.use_ssl).lower()}
    _create_secret(connection, "landing_s3", "s3", secret)


def use_landing(connection: duckdb.DuckDBPyConnection, endpoints: Endpoints, read_only: bool = True) -> None:
    """Let a connection read S3 by httpfs, and Postgres as the database `landing_postgres`.

    Credentials go into DuckDB's secrets, which redact them, and never into the text of an ATTACH.
    """
    use_s3(connection, endpoints.s3)
    options = _use_postgres(connection, "landing_postgres", endpoints.postgres_dsn)
    mode = ", read_only" if read_only else ""
    connection.execute(
        f"attach if not exists {literal(options)} as {LANDING_DATABASE} (type postgres, secret landing_postgres{mode})"
    )


def attach_postgres(connection: duckdb.DuckDBPyConnection, name: str, values: dict[str, str]) -> None:
    """Attach another Postgres as the database `name`, to be read; `values` are those of DuckDB's secret."""
    connection.execute("load postgres_scanner")
    _create_secret(connection, name, "postgres", values)
    connection.execute(f"attach if not exists '' as {name} (type postgres, secret {name}, read_only)")


def _use_postgres(connection: duckdb.DuckDBPyConnection, secret: str, dsn: str) -> str:
    """Keep a DSN's credentials as a secret, and give its other options, which an ATTACH may show."""
    connection.execute("load postgres_scanner")
    parts = parse_dsn(dsn)
    names = {"host": "host", "port": "port", "dbname": "database", "user": "user", "password": "password"}
    _create_secret(
        connection, secret, "postgres", {names[key]: str(value) for key, value in parts.items() if key in names}
    )
    return make_dsn(**{key: value for key, value in parts.items() if key not in names})


def _create_secret(connection: duckdb.DuckDBPyConnection, name: str, kind: str, values: dict[str, str]) -> None:
    listed = ", ".join(f"{key} {literal(value)}" for key, value in values.items())
    connection.execute(f"create or replace temporary secret {name} (type {kind}, {listed})")


def _in_utc(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    # For its cursors too, on which `%sql` and what works side by side run: else they take the machine's.
    connection.execute("set global timezone = 'UTC'")
    return connection
