"""The shared lake: DuckLake, with its catalog in a Postgres schema and its data as Parquet files in S3.

Many processes read and write it at once without locks. A transaction reads one snapshot, and conflicting writers are
detected at commit. `warehouse` opens the connections, so that notebooks, dbt and publications attach the lake alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from duckbook.errors import WarehouseError, first_line
from duckbook.settings import Settings
from duckbook.sql import literal

if TYPE_CHECKING:
    import duckdb

NAME = "lake"
"""Name of the attached database. dbt's views refer to it, so it is the same everywhere."""

KEPT_FOR = "1 day"
"""How long snapshots without a publication stay, so that readers can finish."""

OPEN_SECONDS = 10
"""How long to wait for open transactions when no old snapshot may stay."""

CATALOG_SECRET = "lake_postgres"
"""DuckDB's secret with the credentials of the catalog's Postgres."""


def data_path(settings: Settings) -> str:
    """Return the folder of the lake's files: one of its own, because DuckLake removes files that it does not know."""
    return f"s3://{settings.s3_historic_bucket}/lake/{settings.lake_schema}/"


def attach(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    options: str = "",
    *,
    read_only: bool = False,
    snapshot: int | None = None,
) -> None:
    """Attach the lake as the database `NAME`; the secrets for Postgres and S3 must exist.

    Parameters
    ----------
    options
        The options of the catalog's DSN except its credentials, as libpq writes them.
    snapshot
        Snapshot to read; None: the current one, writable.

    Raises
    ------
    WarehouseError
        The lake cannot be opened, or does not exist and is only to be read.
    """
    import duckdb

    attach_options = [f"metadata_schema {literal(settings.lake_schema)}", f"meta_secret '{CATALOG_SECRET}'"]
    if read_only or snapshot is not None:
        # By default a reader would create the catalog of a lake that does not exist yet.
        attach_options += ["read_only", "create_if_not_exists false"]
    else:
        # A person who is erased must be found in the files, so no rows are inlined in the catalog.
        attach_options += [f"data_path {literal(data_path(settings))}", "data_inlining_row_limit 0"]
    if snapshot is not None:
        attach_options.append(f"snapshot_version {snapshot}")
    connection.execute("load ducklake")
    # Of several commits at the same moment one wins and the others retry. DuckLake's default of ten retries with
    # growing pauses is too few on a slow machine; use a hundred, a tenth of a second apart.
    connection.execute("set global ducklake_max_retry_count = 100")
    connection.execute("set global ducklake_retry_backoff = 1")
    for retry in (True, False):
        try:
            source = literal(f"ducklake:postgres:{options}")
            connection.execute(f"attach if not exists {source} as {NAME} ({', '.join(attach_options)})")
            return
        except duckdb.Error as error:
            # Another process created the catalog at the same moment.
            if retry and any(text in str(error) for text in ("already exists", "duplicate key")):
                continue
            raise WarehouseError(_error_message(settings, str(error))) from None


def _error_message(settings: Settings, text: str) -> str:
    if "creating a new DuckLake is explicitly disabled" in text:
        return (
            f"There is no lake {settings.lake_schema} yet: run notebooks/pipeline/03_ingest.ipynb first, "
            "or `make pipeline TARGET=lake`."
        )
    return (
        f"The lake {settings.lake_schema} cannot be opened: {first_line(text)}. Check that DUCKBOOK_LAKE_DSN, "
        "DUCKBOOK_LAKE_SCHEMA and the S3 settings are those that it was created with."
    )


def exists(settings: Settings, dsn: str) -> bool:
    """Whether the lake exists; `dsn` is the Postgres of its catalog."""
    from duckbook.backends import connections

    with connections.postgres(dsn, "the Postgres of the lake's catalog") as connection:
        table = f'"{settings.lake_schema}".ducklake_snapshot'
        return bool(connection.execute("select to_regclass(%s) is not null", [table]).fetchall()[0][0])


def expire(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    dsn: str,
    pinned: Iterable[int],
    kept_for: str = KEPT_FOR,
) -> None:
    """Expire unpinned snapshots that are a day old, and remove files that were expired a day ago.

    Readers of an unpublished snapshot have that long to finish. DuckLake detects conflicts from the snapshots since
    the start of a transaction, and loses its deletes if they are expired. Nothing is expired while an older
    transaction is open.

    Parameters
    ----------
    dsn
        Postgres of the catalog.
    kept_for
        How long snapshots stay, as a DuckDB interval; less than a day to erase a person.

    Raises
    ------
    WarehouseError
        A transaction is open, and `kept_for` is not the default.
    """
    listed = ", ".join(map(str, sorted(pinned))) or "-1"
    old = connection.execute(
        f"select snapshot_id from {NAME}.snapshots() where snapshot_time < now() - interval {literal(kept_for)} "
        f"and snapshot_id not in ({listed}) and snapshot_id < (select id from {NAME}.current_snapshot())"
    ).fetchall()
    # Asked after listing the snapshots: a transaction that starts later sees one that stays.
    until = time.monotonic() + (0 if kept_for == KEPT_FOR else OPEN_SECONDS)
    while session := _open_transaction(settings, dsn, kept_for):
        if time.monotonic() > until:
            if kept_for == KEPT_FOR:
                return
            raise WarehouseError(
                f"{session} has a transaction open on the lake {settings.lake_schema}, and would lose its deletes if "
                "earlier snapshots were removed now: end it (commit it, or close its connection), and try again. "
                "Until then earlier snapshots keep their data."
            )
        time.sleep(0.2)
    if old:
        versions = ", ".join(str(snapshot) for (snapshot,) in old)
        connection.execute(f"call ducklake_expire_snapshots({literal(NAME)}, versions => [{versions}])")
    connection.execute(
        f"call ducklake_cleanup_old_files({literal(NAME)}, older_than => now() - interval {literal(kept_for)})"
    )


def _open_transaction(settings: Settings, dsn: str, kept_for: str) -> str | None:
    """Describe the oldest session with a transaction open on the lake for this long, or None."""
    from duckbook.backends import connections

    with connections.postgres(dsn, "the Postgres of the lake's catalog") as connection:
        session = connection.execute(
            "select session.usename, host(session.client_addr), date_trunc('second', session.xact_start)::text "
            "from pg_locks inner join pg_class on pg_locks.relation = pg_class.oid "
            "inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid "
            "inner join pg_stat_activity as session on pg_locks.pid = session.pid "
            "where pg_locks.database = (select oid from pg_database where datname = current_database()) "
            # Postgres hides the start of another user's transaction from ordinary users.
            "and pg_namespace.nspname = %s and coalesce(session.xact_start, now()) <= now() - %s::interval "
            "order by session.xact_start limit 1",
            [settings.lake_schema, kept_for],
        ).fetchone()
    return f"{session[0]} at {session[1] or 'this machine'}, since {session[2] or 'some time'}," if session else None
