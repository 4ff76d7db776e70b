"""The marts as a schema of Postgres, which each publication builds again and swaps in by a rename, and its reader.

One transaction creates and fills the new schema and renames it, so a killed publication leaves nothing. DuckDB writes
the rows in Postgres's binary format, and Postgres freezes them: a transaction that began before sees them, where it
would find tables empty that were filled by an insert into an attached database. The rename locks the old tables, so
that no query joins old marts with new ones. Readers that still hold locks after the timeout keep the old tables.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2.errors
from psycopg2.extensions import encrypt_password, parse_dsn

from duckbook.backends.postgres_connection import Connection
from duckbook.errors import PublishError
from duckbook.files import read_json, write_private
from duckbook.settings import Settings
from duckbook.sql import literal, quoted
from duckbook.transform.contracts import Contract

if TYPE_CHECKING:
    import duckdb

TYPES = {
    **{kind: kind.lower() for kind in ("BOOLEAN", "SMALLINT", "INTEGER", "BIGINT", "DATE", "TIMESTAMP")},
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "TINYINT": "smallint",
    "HUGEINT": "numeric(38,0)",
    "FLOAT": "real",
    "DOUBLE": "double precision",
}
"""DuckDB type → a type that both know; decimals keep their precision, and all other types become text."""

LOCK_MILLISECONDS = 300
"""How long one attempt waits for the locks, and makes new readers wait."""

PATIENCE_SECONDS = 60
"""How long to try to lock the old tables before renaming without the locks."""

CHUNK = 1 << 20

COMMENT = "Marts published by duckbook"
"""Start of the comment on our schemas; only these may be replaced and dropped."""

BUSY = (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected)
"""Errors of a statement that did not get its locks."""


def reader_for(settings: Settings, dsn: str) -> dict[str, str]:
    """How the reader of the BI schema connects, by libpq's names; without a password if the role is not ours."""
    parts = parse_dsn(dsn)
    found = {
        "host": parts.get("host") or "localhost",
        "port": parts.get("port") or 5432,
        "dbname": parts.get("dbname") or parts.get("user"),
        "user": settings.bi_reader,
        "password": read_json(_password_file(settings)).get(_password_key(settings, dsn)),
    }
    return {name: str(value) for name, value in found.items() if value}


def ensure_reader(postgres: Connection, settings: Settings, dsn: str) -> None:
    """Create the reader's role if it is missing, in the open transaction.

    Its password is generated and kept in the data folder, readable only by its owner. A role that an administrator
    has created signs in as the administrator decided.

    Raises
    ------
    PublishError
        The role is missing and this user may not create roles, or the role may create roles or is a superuser.
    """
    role = settings.bi_reader
    query = "select rolsuper or rolcreaterole from pg_roles where rolname = %s"
    if existing := postgres.execute(query, [role]).fetchone():
        if existing[0]:
            raise PublishError(
                f"DUCKBOOK_BI_READER={role} may do more than read: name another role, or one that does not exist yet."
            )
        return
    password = secrets.token_urlsafe(24)
    # Save the password before creating the role: an unknown password would lock the readers out.
    file = _password_file(settings)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(file, json.dumps(read_json(file) | {_password_key(settings, dsn): password}))
    try:
        # Postgres logs failing statements: send the verifier that it stores instead of the password.
        scram = encrypt_password(password, role, postgres, "scram-sha-256")
        postgres.execute(f"create role {quoted(role)} login password {literal(scram)}")
    except psycopg2.errors.InsufficientPrivilege:
        raise PublishError(
            f"The role {role} does not exist and user {postgres.info.user} may not create it: have it created "
            f"(CREATE ROLE {role} LOGIN PASSWORD '…'), or name one that exists in DUCKBOOK_BI_READER."
        ) from None
    postgres.execute(f"alter role {quoted(role)} set default_transaction_read_only = on")
    postgres.execute(f"alter role {quoted(role)} set search_path = {quoted(settings.bi_schema)}")


def _password_file(settings: Settings) -> Path:
    return settings.data / "bi" / "reader.json"


def _password_key(settings: Settings, dsn: str) -> str:
    # Leave out the port: that of an embedded server may change with a restart.
    server = "embedded" if settings.embedded_postgres and not settings.bi_postgres_dsn else parse_dsn(dsn).get("host")
    return f"{settings.bi_reader}@{server}"


def refuse_foreign(postgres: Connection, schema: str, history: str | None) -> None:
    """Raise if the schema is not from a publication of this history, and may hold other people's work."""
    query = "select coalesce(obj_description(oid, 'pg_namespace'), '') from pg_namespace where nspname = %s"
    for (comment,) in postgres.execute(query, [schema]).fetchall():
        other = re.search(r"of the history (\w+)", comment)
        if not comment.startswith(COMMENT):
            problem = "exists and was not made by a publication, which would replace it"
        elif history and other and other[1] != history:
            problem = "holds the marts of another history, which these would replace"
        else:
            return
        raise PublishError(f"DUCKBOOK_BI_SCHEMA={schema} {problem}: name another schema, or drop that one.")


def build(
    postgres: Connection, marts: duckdb.DuckDBPyConnection, schema: str, contracts: dict[str, Contract], source: str
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
    # Sort the keys of millions of rows in memory; the default of 64 MB assumes many sessions.
    postgres.execute(f"set local maintenance_work_mem = '256MB'; create schema {quoted(schema)}")
    tables = {mart: f"{quoted(schema)}.{quoted(mart)}" for mart in contracts}
    rows, references = {}, []
    for mart, contract in contracts.items():
        required = {column.name for column in contract.columns if column.required}
        described = marts.execute(f"describe {source}.{mart}").fetchall()
        types = {name: _type(kind) for name, kind, *_ in described}
        columns = (f"{quoted(name)} {kind}{' not null' * (name in required)}" for name, kind in types.items())
        postgres.execute(f"create table {tables[mart]} ({', '.join(columns)})")
        rows[mart] = copy_table(postgres, marts, f"{source}.{mart}", types, tables[mart])
        statements = [f"comment on table {tables[mart]} is {literal(contract.description)}"]
        for column in contract.columns:
            statements.append(
                f"comment on column {tables[mart]}.{quoted(column.name)} is {literal(column.description)}"
            )
        if contract.grain:
            key = "primary key" if required.issuperset(contract.grain) else "unique nulls not distinct"
            if postgres.info.server_version < 150000:
                key = key.removesuffix(" nulls not distinct")
            name = quoted(f"{mart}_grain")
            statements.append(f"alter table {tables[mart]} add constraint {name} {key} ({_names(contract.grain)})")
        postgres.execute("; ".join(statements))
        # BI tools relate tables by foreign keys. These are not validated, because dbt has tested them.
        references += [
            f"alter table {tables[mart]} add foreign key ({quoted(column)}) "
            f"references {tables[to]} ({_names(contracts[to].grain)}) not valid"
            for column, to in contract.references.items()
            if to in contracts
        ]
    postgres.execute("; ".join([*references, *(f"analyze {table}" for table in tables.values())]))
    return rows


def copy_table(
    postgres: Connection, marts: duckdb.DuckDBPyConnection, source: str, types: dict[str, str], table: str
) -> int:
    """Copy a DuckDB table into a Postgres table created in this transaction, and return the number of rows.

    DuckDB writes Postgres's binary format into a pipe from which Postgres reads concurrently.

    Parameters
    ----------
    types
        The columns and their types in Postgres.
    """
    reading, writing = os.pipe()
    columns = ", ".join(f"cast({quoted(name)} as {kind})" for name, kind in types.items())

    def write() -> None:
        try:
            marts.execute(f"copy (select {columns} from {source}) to '/dev/fd/{writing}' (format postgres_binary)")
        finally:
            os.close(writing)

    with ThreadPoolExecutor(1) as pool, postgres.cursor() as cursor:
        written = pool.submit(write)
        try:
            # Closing the pipe after an error stops DuckDB.
            with os.fdopen(reading, "rb", buffering=0) as stream:
                cursor.copy_expert(f"copy {table} from stdin (format binary, freeze)", stream, CHUNK)
        except psycopg2.errors.BadCopyFileFormat:
            written.result()  # Raises why DuckDB stopped in the middle.
            raise
        written.result()
        return int(cursor.rowcount)


def _type(kind: str) -> str:
    return f"numeric{kind[7:]}" if kind.startswith("DECIMAL(") else TYPES.get(kind, "text")


def _names(columns: Iterable[str]) -> str:
    return ", ".join(map(quoted, columns))


def swap(postgres: Connection, new: str, schema: str, patience: float = PATIENCE_SECONDS) -> bool:
    """Give the new schema the name that readers use, in the open transaction, and rename the old schema.

    Returns
    -------
    bool
        Whether the old tables were locked. If readers held them for all of `patience` (seconds), a query that starts
        at the moment of the rename may see marts of both publications.
    """
    locked = _lock(postgres, schema, time.monotonic() + patience)
    if schema in existing(postgres, schema):
        old = f"{schema}__{time.time_ns():x}_old"
        postgres.execute(f"alter schema {quoted(schema)} rename to {quoted(old)}")
    postgres.execute(f"alter schema {quoted(new)} rename to {quoted(schema)}")
    return locked


def _lock(postgres: Connection, schema: str, deadline: float) -> bool:
    """Try to lock all tables of a schema against readers until the deadline, with pauses that let readers go on."""
    query = "select quote_ident(tablename) from pg_tables where schemaname = %s order by 1"
    tables = [f"{quoted(schema)}.{name}" for (name,) in postgres.execute(query, [schema]).fetchall()]
    postgres.execute(f"set local lock_timeout = {LOCK_MILLISECONDS}; savepoint unlocked")
    locked = last = not tables
    while not (locked or last):
        last = time.monotonic() >= deadline
        try:
            postgres.execute(f"lock table {', '.join(tables)} in access exclusive mode")
            locked = True
        except BUSY:
            postgres.execute("rollback to savepoint unlocked")
            time.sleep(0 if last else LOCK_MILLISECONDS / 1000)
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
        try:
            with postgres:
                if name != schema:
                    postgres.execute(
                        f"set local lock_timeout = {LOCK_MILLISECONDS}; drop schema {quoted(name)} cascade"
                    )
        except BUSY:
            locked.append(name)
    return locked
