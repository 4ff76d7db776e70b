"""The Postgres role that reads the marts, and how it connects. It sees one schema and nothing else.

A missing role is created, with a generated password that is kept in the data folder, readable only by its owner. A role
that an administrator has created is only granted the schema, and signs in as the administrator decided.
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
    """Connection details of the role; `password` is None if the role is not ours."""

    host: str
    port: str
    database: str
    user: str
    password: str | None = field(repr=False)


def reader_for(settings: Settings, dsn: str) -> Reader:
    """The reader of the BI schema on the server of a DSN."""
    from psycopg2.extensions import parse_dsn

    parts = parse_dsn(dsn)
    password = read_json(_password_file(settings)).get(_password_key(settings, dsn))
    host, port = str(parts.get("host") or "localhost"), str(parts.get("port") or 5432)
    return Reader(host, port, str(parts.get("dbname") or parts.get("user") or ""), settings.bi_reader, password)


def ensure_role(postgres: Connection, settings: Settings, dsn: str) -> None:
    """Create the role if it is missing, in the open transaction.

    Raises
    ------
    PublishError
        The role is missing and this user may not create roles, or the role may create roles or is a superuser.
    """
    import psycopg2.errors
    from psycopg2 import sql
    from psycopg2.extensions import encrypt_password

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
    named = sql.Identifier(role)
    try:
        # Postgres logs failing statements: send the verifier that it stores instead of the password.
        scram = encrypt_password(password, role, postgres, "scram-sha-256")
        postgres.execute(sql.SQL("create role {} login password %s").format(named), [scram])
    except psycopg2.errors.InsufficientPrivilege:
        raise PublishError(
            f"The role {role} does not exist and user {postgres.info.user} may not create it: have it created "
            f"(CREATE ROLE {role} LOGIN PASSWORD '…'), or name one that exists in DUCKBOOK_BI_READER."
        ) from None
    postgres.execute(sql.SQL("alter role {} set default_transaction_read_only = on").format(named))
    postgres.execute(sql.SQL("alter role {} set search_path = {}").format(named, sql.Identifier(settings.bi_schema)))


def grant_read(postgres: Connection, settings: Settings, schema: str) -> None:
    """Grant the role read access to a schema, in the open transaction."""
    from psycopg2 import sql

    named, role = sql.Identifier(schema), sql.Identifier(settings.bi_reader)
    postgres.execute(sql.SQL("grant usage on schema {} to {}").format(named, role))
    postgres.execute(sql.SQL("grant select on all tables in schema {} to {}").format(named, role))


def _password_file(settings: Settings) -> Path:
    return settings.data / "bi" / "reader.json"


def _password_key(settings: Settings, dsn: str) -> str:
    from psycopg2.extensions import parse_dsn

    # Leave out the port: that of an embedded server may change with a restart.
    server = "embedded" if settings.embedded_postgres and not settings.bi_postgres_dsn else parse_dsn(dsn).get("host")
    return f"{settings.bi_reader}@{server}"
