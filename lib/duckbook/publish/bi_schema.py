"""The marts as a schema of Postgres: made anew by each publication, and put in place by a rename.

One transaction makes the new schema, fills it and takes the old one's name, so that a publication which is killed
leaves nothing. Rows are copied in Postgres's binary format and frozen: they are visible to a reader whose transaction
began before they came, who would otherwise find a new table empty. The old tables are locked for the instant of the
rename, so that no query joins old marts to new ones; a reader who does not let go in time is passed by, and keeps what
it has open.
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
"""DuckDB's type → Postgres's; a decimal keeps its precision, and what is not listed is text."""

CAST = {"TINYINT": "smallint", "HUGEINT": "decimal(38,0)"}
"""What DuckDB casts to before it writes it as the type above."""

LOCK_SECONDS = 0.3
"""How long the rename waits for readers, and new readers for the rename, in one try."""

PATIENCE_SECONDS = 60
"""How long it is tried before readers who hold the old tables are passed by."""

CHUNK = 1 << 20

COMMENT = "Marts published by duckbook"
"""How the comment of a schema begins that may be replaced and dropped."""

Columns = Sequence[tuple[str, str]]
"""Name and DuckDB type of each column."""


def build(
    postgres: Connection,
    marts: duckdb.DuckDBPyConnection,
    schema: str,
    contracts: dict[str, Contract],
    source: str,
) -> dict[str, int]:
    """Make a schema with all marts in it, in the open transaction; nobody sees it before that is committed.

    Parameters
    ----------
    marts
        A DuckDB with the postgres extension, which has each mart as ``SOURCE.MART``.
    contracts
        What is declared of each mart that is copied.

    Returns
    -------
    dict
        Rows by mart.
    """
    new = sql.Identifier(schema)
    # A key over millions of rows is sorted in memory; Postgres's own 64 MB are for many at once.
    postgres.execute("set local maintenance_work_mem = '256MB'")
    postgres.execute(sql.SQL("create schema {}").format(new))
    rows = {}
    for mart, contract in contracts.items():
        described = marts.execute(f"describe {source}.{mart}").fetchall()
        columns = [(name, kind) for name, kind, *_ in described]
        required = {column.name for column in contract.columns if column.required}
        postgres.execute(_create(schema, mart, columns, required))
        rows[mart] = copy(postgres, marts, f"{source}.{mart}", columns, sql.Identifier(schema, mart))
        keyed = _key(schema, mart, contract, required, postgres.info.server_version)
        for statement in (*keyed, *_comments(schema, mart, contract)):
            postgres.execute(statement)
    for mart, contract in contracts.items():
        for column, to in contract.references.items():
            if to in contracts:
                postgres.execute(_reference(schema, mart, column, to, contracts[to]))
        postgres.execute(sql.SQL("analyze {}").format(sql.Identifier(schema, mart)))
    return rows


def copy(
    postgres: Connection,
    marts: duckdb.DuckDBPyConnection,
    table: str,
    columns: Columns,
    into: sql.Identifier,
) -> int:
    """Copy a table of DuckDB into a table that this transaction has made; how many rows.

    DuckDB writes Postgres's binary format into a pipe and Postgres reads it, side by side: nothing is kept in between.
    """
    listed = ", ".join(_written(name, kind) for name, kind in columns)
    reading, writing = os.pipe()

    def feed(cursor: psycopg2.extensions.cursor) -> None:
        # When the pipe is closed after an error, DuckDB writes into nothing, and stops.
        with os.fdopen(reading, "rb", buffering=0) as stream:
            cursor.copy_expert(sql.SQL("copy {} from stdin (format binary, freeze)").format(into), stream, CHUNK)

    with ThreadPoolExecutor(1) as pool, postgres.cursor() as cursor:
        fed = pool.submit(feed, cursor)
        try:
            query = f"copy (select {listed} from {table}) to '/dev/fd/{writing}' (format postgres_binary)"
            (written,) = marts.execute(query).fetchone()
        except Exception:
            # Where Postgres refused, that says more than that nobody reads; else it only waits for more.
            refused = fed.exception() if wait([fed], timeout=1).done else None
            os.close(writing)
            if refused:
                raise refused from None
            raise
        os.close(writing)
        fed.result()
        if cursor.rowcount != written:
            raise RuntimeError(f"{table}: DuckDB wrote {written:,} rows, and Postgres took {cursor.rowcount:,}")
    return written


def _written(name: str, kind: str) -> str:
    """A column as DuckDB writes it for Postgres."""
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
    """The grain as primary key, or where a part of it may be null as a constraint that takes null for a value."""
    if not contract.grain:
        return []
    unique = "unique nulls not distinct" if version >= 150000 else "unique"
    kind = "primary key" if required.issuperset(contract.grain) else unique
    columns = sql.SQL(", ").join(map(sql.Identifier, contract.grain))
    add = "alter table {} add constraint {} " + kind + " ({})"
    return [sql.SQL(add).format(sql.Identifier(schema, mart), sql.Identifier(f"{mart}_grain"), columns)]


def _reference(schema: str, mart: str, column: str, to: str, leads: Contract) -> sql.Composed:
    """A foreign key, by which BI tools relate tables. Not checked again: dbt has tested it in the build."""
    return sql.SQL("alter table {} add foreign key ({}) references {} ({}) not valid").format(
        sql.Identifier(schema, mart),
        sql.Identifier(column),
        sql.Identifier(schema, to),
        sql.SQL(", ").join(map(sql.Identifier, leads.grain)),
    )


def _comments(schema: str, mart: str, contract: Contract) -> list[sql.Composed]:
    told = [
        sql.SQL("comment on table {} is {}").format(sql.Identifier(schema, mart), sql.Literal(contract.description))
    ]
    for column in contract.columns:
        name = sql.Identifier(schema, mart, column.name)
        told.append(sql.SQL("comment on column {} is {}").format(name, sql.Literal(column.description)))
    return told


def swap(postgres: Connection, new: str, schema: str, patience: float = PATIENCE_SECONDS) -> bool:
    """Give a new schema the name of the one that readers use, in the open transaction; the old one is named apart.

    Returns
    -------
    bool
        Whether the old tables were locked for it. Where they were not, because readers held them for all of
        `patience` (seconds), a query that begins in that very instant may see marts of both publications.
    """
    there = postgres.execute("select 1 from pg_namespace where nspname = %s", [schema]).fetchone()
    locked = not there or _lock(postgres, schema, time.monotonic() + patience)
    rename = sql.SQL("alter schema {} rename to {}")
    if there:
        postgres.execute(rename.format(sql.Identifier(schema), sql.Identifier(f"{schema}__{time.time_ns():x}_old")))
    postgres.execute(rename.format(sql.Identifier(new), sql.Identifier(schema)))
    return bool(locked)


def _lock(postgres: Connection, schema: str, deadline: float) -> bool:
    """Lock all tables of a schema against readers; again and again with pauses in which readers go on."""
    tables = postgres.execute("select tablename from pg_tables where schemaname = %s order by 1", [schema]).fetchall()
    if not tables:
        return True
    named = sql.SQL(", ").join(sql.Identifier(schema, name) for (name,) in tables)
    postgres.execute("set local lock_timeout = %s", [int(1000 * LOCK_SECONDS)])
    postgres.execute("savepoint unlocked")
    locked, last = False, False
    while not (locked or last):
        last = time.monotonic() >= deadline
        try:
            postgres.execute(sql.SQL("lock table {} in access exclusive mode").format(named))
            locked = True
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
            postgres.execute("rollback to savepoint unlocked")
            time.sleep(0 if last else LOCK_SECONDS)
    postgres.execute("set local lock_timeout = 0")
    return locked


def existing(postgres: Connection, schema: str) -> list[str]:
    """The schema that is read, and those that were and still are there."""
    pattern = schema.replace("_", r"\_") + r"\_\_%\_old"
    query = (
        "select nspname from pg_namespace where nspname = %s "
        "or (nspname like %s and obj_description(oid, 'pg_namespace') like %s) order by 1"
    )
    return [name for (name,) in postgres.execute(query, [schema, pattern, f"{COMMENT}%"]).fetchall()]


def sweep(postgres: Connection, schema: str) -> list[str]:
    """Drop the schemas that earlier publications were read from, but for those that a reader still holds.

    Returns
    -------
    list of str
        Those that are held; the next publication sweeps them away.
    """
    held = []
    for name in existing(postgres, schema):
        if name == schema:
            continue
        try:
            with postgres:
                postgres.execute("set local lock_timeout = %s", [int(1000 * LOCK_SECONDS)])
                postgres.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(name)))
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
            held.append(name)
    return held
