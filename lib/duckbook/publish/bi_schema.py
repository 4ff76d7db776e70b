"""The marts as a schema of Postgres, which each publication builds again and swaps in by a rename.

One transaction creates and fills the new schema and renames it, so a killed publication leaves nothing. Rows are copied
in Postgres's binary format and frozen: a transaction that began before sees them, where it would otherwise find the new
tables empty. The rename locks the old tables, so that no query joins old marts with new ones. Readers that still hold
locks after the timeout keep the old tables.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import psycopg2.errors
from psycopg2 import sql

from duckbook.backends.postgres_connection import Connection
from duckbook.sql import quoted
from duckbook.transform.contracts import Contract

if TYPE_CHECKING:
    import duckdb

TYPES = {
    "VARCHAR": "text",
    "BOOLEAN": "boolean",
    "TINYINT": "smallint",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "HUGEINT": "numeric(38,0)",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}
"""DuckDB type → Postgres type; decimals keep their precision, and all other types become text."""

CAST = {"TINYINT": "smallint", "HUGEINT": "decimal(38,0)"}
"""DuckDB type → the type to which DuckDB casts it before writing."""

LOCK_SECONDS = 0.3
"""How long one attempt waits for the locks, and makes new readers wait."""

PATIENCE_SECONDS = 60
"""How long to try to lock the old tables before renaming without the locks."""

CHUNK = 1 << 20

COMMENT = "Marts published by duckbook"
"""Start of the comment on our schemas; only these may be replaced and dropped."""

Columns = Sequence[tuple[str, str]]
"""Name and DuckDB type of each column."""


def build(
    postgres: Connection,
    marts: duckdb.DuckDBPyConnection,
    schema: str,
    contracts: dict[str, Contract],
    source: str,
) -> dict[str, int]:
    """Create a schema with all marts, in the open transaction.

    Parameters
    ----------
    marts
        A DuckDB with the postgres extension, which has each mart as ``SOURCE.MART``.
    contracts
        The contracts of the marts to copy.

    Returns
    -------
    dict
        Rows by mart.
    """
    new = sql.Identifier(schema)
    # Sort the keys of millions of rows in memory; the default of 64 MB assumes many sessions.
    postgres.execute("set local maintenance_work_mem = '256MB'")
    postgres.execute(sql.SQL("create schema {}").format(new))
    rows = {}
    for mart, contract in contracts.items():
        described = marts.execute(f"describe {source}.{mart}").fetchall()
        columns = [(name, kind) for name, kind, *_ in described]
        required = {column.name for column in contract.columns if column.required}
        postgres.execute(_create(schema, mart, columns, required))
        rows[mart] = copy_table(postgres, marts, f"{source}.{mart}", columns, sql.Identifier(schema, mart))
        keys = _key(schema, mart, contract, required, postgres.info.server_version)
        for statement in (*keys, *_comments(schema, mart, contract)):
            postgres.execute(statement)
    for mart, contract in contracts.items():
        for column, to in contract.references.items():
            if to in contracts:
                postgres.execute(_reference(schema, mart, column, to, contracts[to]))
        postgres.execute(sql.SQL("analyze {}").format(sql.Identifier(schema, mart)))
    return rows


def copy_table(
    postgres: Connection,
    marts: duckdb.DuckDBPyConnection,
    table: str,
    columns: Columns,
    into: sql.Identifier,
) -> int:
    """Copy a DuckDB table into a Postgres table created in this transaction, and return the number of rows.

    DuckDB writes Postgres's binary format into a pipe from which Postgres reads concurrently.
    """
    listed = ", ".join(_select_item(name, kind) for name, kind in columns)
    reading, writing = os.pipe()

    def feed(cursor: psycopg2.extensions.cursor) -> None:
        # Closing the pipe after an error stops DuckDB.
        with os.fdopen(reading, "rb", buffering=0) as stream:
            cursor.copy_expert(sql.SQL("copy {} from stdin (format binary, freeze)").format(into), stream, CHUNK)

    with ThreadPoolExecutor(1) as pool, postgres.cursor() as cursor:
        copying = pool.submit(feed, cursor)
        try:
            query = f"copy (select {listed} from {table}) to '/dev/fd/{writing}' (format postgres_binary)"
            (written,) = marts.execute(query).fetchone()
        except Exception:
            # An error of Postgres says more than the broken pipe. Without one, Postgres still waits for data.
            postgres_error = copying.exception() if wait([copying], timeout=1).done else None
            os.close(writing)
            if postgres_error:
                raise postgres_error from None
            raise
        os.close(writing)
        copying.result()
        if cursor.rowcount != written:
            raise RuntimeError(f"{table}: DuckDB wrote {written:,} rows, and Postgres took {cursor.rowcount:,}")
    return written


def _select_item(name: str, kind: str) -> str:
    """A column in the select list from which DuckDB writes, with a cast if Postgres needs one."""
    cast = "varchar" if _type(kind) == "text" != TYPES.get(kind) else CAST.get(kind)
    return f"cast({quoted(name)} as {cast})" if cast else quoted(name)


def _type(kind: str) -> str:
    return f"numeric{kind[7:]}" if kind.startswith("DECIMAL(") else TYPES.get(kind, "text")


def _create(schema: str, mart: str, columns: Columns, required: set[str]) -> sql.Composed:
    listed = [
        sql.SQL("{} {}{}").format(
            sql.Identifier(name), sql.SQL(_type(kind)), sql.SQL(" not null" if name in required else "")
        )
        for name, kind in columns
    ]
    return sql.SQL("create table {} ({})").format(sql.Identifier(schema, mart), sql.SQL(", ").join(listed))


def _key(schema: str, mart: str, contract: Contract, required: set[str], version: int) -> list[sql.Composed]:
    """The grain as primary key, or as a unique constraint with nulls not distinct if it has nullable columns."""
    if not contract.grain:
        return []
    unique = "unique nulls not distinct" if version >= 150000 else "unique"
    kind = "primary key" if required.issuperset(contract.grain) else unique
    columns = sql.SQL(", ").join(map(sql.Identifier, contract.grain))
    add = "alter table {} add constraint {} " + kind + " ({})"
    return [sql.SQL(add).format(sql.Identifier(schema, mart), sql.Identifier(f"{mart}_grain"), columns)]


def _reference(schema: str, mart: str, column: str, to: str, dimension: Contract) -> sql.Composed:
    """A foreign key, by which BI tools relate tables; not validated, because dbt has tested it."""
    return sql.SQL("alter table {} add foreign key ({}) references {} ({}) not valid").format(
        sql.Identifier(schema, mart),
        sql.Identifier(column),
        sql.Identifier(schema, to),
        sql.SQL(", ").join(map(sql.Identifier, dimension.grain)),
    )


def _comments(schema: str, mart: str, contract: Contract) -> list[sql.Composed]:
    statements = [
        sql.SQL("comment on table {} is {}").format(sql.Identifier(schema, mart), sql.Literal(contract.description))
    ]
    for column in contract.columns:
        name = sql.Identifier(schema, mart, column.name)
        statements.append(sql.SQL("comment on column {} is {}").format(name, sql.Literal(column.description)))
    return statements


def swap(postgres: Connection, new: str, schema: str, patience: float = PATIENCE_SECONDS) -> bool:
    """Give the new schema the name that readers use, in the open transaction, and rename the old schema.

    Returns
    -------
    bool
        Whether the old tables were locked. If readers held them for all of `patience` (seconds), a query that starts
        at the moment of the rename may see marts of both publications.
    """
    exists = postgres.execute("select 1 from pg_namespace where nspname = %s", [schema]).fetchone()
    locked = not exists or _lock(postgres, schema, time.monotonic() + patience)
    rename = sql.SQL("alter schema {} rename to {}")
    if exists:
        postgres.execute(rename.format(sql.Identifier(schema), sql.Identifier(f"{schema}__{time.time_ns():x}_old")))
    postgres.execute(rename.format(sql.Identifier(new), sql.Identifier(schema)))
    return bool(locked)


def _lock(postgres: Connection, schema: str, deadline: float) -> bool:
    """Try to lock all tables of a schema against readers until the deadline, with pauses that let readers go on."""
    tables = postgres.execute("select tablename from pg_tables where schemaname = %s order by 1", [schema]).fetchall()
    if not tables:
        return True
    listed = sql.SQL(", ").join(sql.Identifier(schema, name) for (name,) in tables)
    postgres.execute("set local lock_timeout = %s", [int(1000 * LOCK_SECONDS)])
    postgres.execute("savepoint unlocked")
    locked, last = False, False
    while not (locked or last):
        last = time.monotonic() >= deadline
        try:
            postgres.execute(sql.SQL("lock table {} in access exclusive mode").format(listed))
            locked = True
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
            postgres.execute("rollback to savepoint unlocked")
            time.sleep(0 if last else LOCK_SECONDS)
    postgres.execute("set local lock_timeout = 0")
    return locked


def existing(postgres: Connection, schema: str) -> list[str]:
    """The current schema and those of earlier publications, as far as they exist."""
    pattern = schema.replace("_", r"\_") + r"\_\_%\_old"
    query = (
        "select nspname from pg_namespace where nspname = %s "
        "or (nspname like %s and obj_description(oid, 'pg_namespace') like %s) order by 1"
    )
    return [name for (name,) in postgres.execute(query, [schema, pattern, f"{COMMENT}%"]).fetchall()]


def drop_old(postgres: Connection, schema: str) -> list[str]:
    """Drop the schemas of earlier publications, and return those that a reader still has locked."""
    locked = []
    for name in existing(postgres, schema):
        if name == schema:
            continue
        try:
            with postgres:
                postgres.execute("set local lock_timeout = %s", [int(1000 * LOCK_SECONDS)])
                postgres.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(name)))
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
            locked.append(name)
    return locked
