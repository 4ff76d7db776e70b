"""Who may read the marts in Postgres: a role that sees one schema and nothing else, and how it is reached.

A role that is missing is made, with a generated password that is kept in the store, readable by its owner alone. One
that an administrator has made is only let into the schema, and signs in as they have settled.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.errors import PublishError
from duckbook.files import read_json, write_private
from duckbook.settings import Settings

if TYPE_CHECKING:
    from duckbook.backends.postgres_connection import Connection


@dataclass(frozen=True)
class Reader:
    """How the role signs in; `password` is None where we do not know it."""

    host: str
    port: str
    database: str
    user: str
    password: str | None = field(repr=False)


def of(settings: Settings, dsn: str) -> Reader:
    """The reader of the BI schema on the server that a DSN names."""
    from psycopg2.extensions import parse_dsn

    told = parse_dsn(dsn)
    kept = read_json(_file(settings)).get(_place(settings, dsn))
    host, port = str(told.get("host") or "localhost"), str(told.get("port") or 5432)
    return Reader(host, port, str(told.get("dbname") or told.get("user") or ""), settings.bi_reader, kept)


def ensure(postgres: Connection, settings: Settings, dsn: str) -> None:
    """Make the role where it is missing, in the open transaction.

    Raises
    ------
    PublishError
        The role is missing, and this user may not make one.
    """
    import psycopg2.errors
    from psycopg2 import sql
    from psycopg2.extensions import encrypt_password

    role = settings.bi_reader
    found = postgres.execute("select rolsuper or rolcreaterole from pg_roles where rolname = %s", [role]).fetchone()
    if found is not None:
        if found[0]:
            raise PublishError(
                f"DUCKBOOK_BI_READER={role} may do more than read: name another role, or one that is missing."
            )
        return
    password = secrets.token_urlsafe(24)
    # Kept before it is made: a password that nobody knows would lock the readers out.
    file = _file(settings)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(file, json.dumps(read_json(file) | {_place(settings, dsn): password}))
    named = sql.Identifier(role)
    try:
        # Postgres writes statements that fail into its log: it is given what it would store, not the password.
        scram = encrypt_password(password, role, postgres, "scram-sha-256")
        postgres.execute(sql.SQL("create role {} login password %s").format(named), [scram])
    except psycopg2.errors.InsufficientPrivilege:
        raise PublishError(
            f"The role {role} does not exist and user {postgres.info.user} may not create it: have it created "
            f"(CREATE ROLE {role} LOGIN PASSWORD '…'), or name one that exists in DUCKBOOK_BI_READER."
        ) from None
    postgres.execute(sql.SQL("alter role {} set default_transaction_read_only = on").format(named))
    postgres.execute(sql.SQL("alter role {} set search_path = {}").format(named, sql.Identifier(settings.bi_schema)))


def admit(postgres: Connection, settings: Settings, schema: str) -> None:
    """Let the role read a schema, in the open transaction."""
    from psycopg2 import sql

    named, role = sql.Identifier(schema), sql.Identifier(settings.bi_reader)
    postgres.execute(sql.SQL("grant usage on schema {} to {}").format(named, role))
    postgres.execute(sql.SQL("grant select on all tables in schema {} to {}").format(named, role))


def _file(settings: Settings) -> Path:
    return settings.data / "bi" / "reader.json"


def _place(settings: Settings, dsn: str) -> str:
    from psycopg2.extensions import parse_dsn

    told = parse_dsn(dsn)
    # The port of an embedded server may be another after a restart.
    server = "embedded" if settings.embedded_postgres and not settings.bi_postgres_dsn else told.get("host")
    return f"{settings.bi_reader}@{server}"
