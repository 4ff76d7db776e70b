"""The shared lake: DuckLake, whose catalog is a schema of Postgres and whose data are Parquet files in S3.

Many processes read and write it at once and none of them locks it: a reader sees one snapshot for as long as its
transaction lasts, and two writers that change the same thing are told apart when they commit. Nothing here opens a
connection (`warehouse` does), so that the workbook, dbt and the publications attach it in the same way.
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
"""The database that it is attached as; the views of dbt name it, so it is the same for everybody."""

KEPT_FOR = "1 day"
"""How long what no publication pins stays, so that no reader is disturbed."""

OPEN_SECONDS = 10
"""How long a transaction that is open is waited for, where no snapshot may stay."""

CATALOG_SECRET = "lake_postgres"
"""DuckDB's secret with the credentials of the catalog's Postgres."""


def data_path(settings: Settings) -> str:
    """Where the lake's files lie: a folder of its own, because a lake removes what it does not know."""
    return f"s3://{settings.s3_historic_bucket}/lake/{settings.lake_schema}/"


def attach(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    options: str = "",
    *,
    read_only: bool = False,
    snapshot: int | None = None,
) -> None:
    """Attach the lake as the database `NAME`; the secrets for its Postgres and its S3 are there already.

    Parameters
    ----------
    options
        What the DSN of the catalog holds beside its credentials, as libpq writes it.
    snapshot
        See the lake as it was at that snapshot; None: as it is.

    Raises
    ------
    WarehouseError
        It cannot be opened, or there is none yet to be read.
    """
    import duckdb

    chosen = [f"metadata_schema {literal(settings.lake_schema)}", f"meta_secret '{CATALOG_SECRET}'"]
    if read_only or snapshot is not None:
        # Without it a reader would make the catalog of a lake that nobody has written to yet.
        chosen += ["read_only", "create_if_not_exists false"]
    else:
        # Whoever is forgotten is to be found in the files, so no row is kept in the catalog instead.
        chosen += [f"data_path {literal(data_path(settings))}", "data_inlining_row_limit 0"]
    if snapshot is not None:
        chosen.append(f"snapshot_version {snapshot}")
    connection.execute("load ducklake")
    # Of several that commit in one moment one is first, and the others try again: as it comes ten times, with pauses
    # that grow, and a slow machine has lost all ten; here a hundred times, a tenth of a second apart.
    connection.execute("set global ducklake_max_retry_count = 100")
    connection.execute("set global ducklake_retry_backoff = 1")
    for again in (True, False):
        try:
            where = literal(f"ducklake:postgres:{options}")
            connection.execute(f"attach if not exists {where} as {NAME} ({', '.join(chosen)})")
            return
        except duckdb.Error as error:
            # Two that make the catalog of a new lake at once: the second one finds it made.
            if again and any(sign in str(error) for sign in ("already exists", "duplicate key")):
                continue
            raise WarehouseError(_refusal(settings, str(error))) from None


def _refusal(settings: Settings, text: str) -> str:
    if "creating a new DuckLake is explicitly disabled" in text:
        return (
            f"There is no lake {settings.lake_schema} yet: run 03_ingest.ipynb first, or `make pipeline TARGET=lake`."
        )
    return (
        f"The lake {settings.lake_schema} cannot be opened: {first_line(text)}. See whether DUCKBOOK_LAKE_DSN, "
        "DUCKBOOK_LAKE_SCHEMA and the S3 settings are those that it was made with."
    )


def exists(settings: Settings, dsn: str) -> bool:
    """Whether somebody has made the lake; `dsn` is of the Postgres of its catalog."""
    from duckbook.backends import connections

    with connections.postgres(dsn, "the Postgres of the lake's catalog") as connection:
        table = f'"{settings.lake_schema}".ducklake_snapshot'
        return connection.execute("select to_regclass(%s) is not null", [table]).fetchone()[0]


def expire(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    dsn: str,
    pinned: Iterable[int],
    kept_for: str = KEPT_FOR,
) -> None:
    """Let go every snapshot that is a day old and not pinned, and remove the files that were let go a day ago.

    A reader of what is not published has that long to end its query, and a transaction to commit: DuckLake tells by the
    snapshots since the one that a transaction sees whether two have changed the same thing, and loses what it deletes
    where they are gone. While one has been open for longer, nothing is let go.

    Parameters
    ----------
    dsn
        Of the Postgres of the catalog.
    kept_for
        Another time than a day, as DuckDB writes an interval: none at all where a person is to be forgotten.

    Raises
    ------
    WarehouseError
        A transaction is open, and another time than a day was asked for.
    """
    listed = ", ".join(map(str, sorted(pinned))) or "-1"
    old = connection.execute(
        f"select snapshot_id from {NAME}.snapshots() where snapshot_time < now() - interval {literal(kept_for)} "
        f"and snapshot_id not in ({listed}) and snapshot_id < (select id from {NAME}.current_snapshot())"
    ).fetchall()
    # Asked after these were listed: whoever begins later sees one that stays.
    until = time.monotonic() + (0 if kept_for == KEPT_FOR else OPEN_SECONDS)
    while told := _open_transaction(settings, dsn, kept_for):
        if time.monotonic() > until:
            if kept_for == KEPT_FOR:
                return
            raise WarehouseError(
                f"{told} has a transaction open on the lake {settings.lake_schema}, and what it deletes would be lost "
                "if earlier snapshots went now: end it (commit it, or close its connection), and do this again. Until "
                "then earlier snapshots hold what they held."
            )
        time.sleep(0.2)
    if old:
        versions = ", ".join(str(snapshot) for (snapshot,) in old)
        connection.execute(f"call ducklake_expire_snapshots({literal(NAME)}, versions => [{versions}])")
    connection.execute(
        f"call ducklake_cleanup_old_files({literal(NAME)}, older_than => now() - interval {literal(kept_for)})"
    )


def _open_transaction(settings: Settings, dsn: str, kept_for: str) -> str | None:
    """Who has had a transaction open on the lake for so long, with its beginning; None where nobody has."""
    from duckbook.backends import connections

    with connections.postgres(dsn, "the Postgres of the lake's catalog") as connection:
        found = connection.execute(
            "select session.usename, host(session.client_addr), date_trunc('second', session.xact_start)::text "
            "from pg_locks inner join pg_class on pg_locks.relation = pg_class.oid "
            "inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid "
            "inner join pg_stat_activity as session on pg_locks.pid = session.pid "
            "where pg_locks.database = (select oid from pg_database where datname = current_database()) "
            # Postgres does not tell everybody when another user's transaction began.
            "and pg_namespace.nspname = %s and coalesce(session.xact_start, now()) <= now() - %s::interval "
            "order by session.xact_start limit 1",
            [settings.lake_schema, kept_for],
        ).fetchone()
    return found and f"{found[0]} at {found[1] or 'this machine'}, since {found[2] or 'some time'},"
