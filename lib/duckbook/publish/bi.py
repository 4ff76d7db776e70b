"""Publishing to BI: the current publication as a schema of Postgres and as Parquet in S3.

What is copied is what `publish` has published: tested, reconciled, and with personal data masked. Nothing is read from
the warehouse, so that BI can be fed while the next run works, and again whenever it is wanted.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.errors import PublishError, ServerError, first_line
from duckbook.publish import bi_files, bi_reader, bi_schema, publisher
from duckbook.publish.publication import GRACE
from duckbook.redaction import Redactor, secrets_of
from duckbook.settings import Endpoints, Settings
from duckbook.transform import contracts

if TYPE_CHECKING:
    import duckdb

    from duckbook.backends.postgres_connection import Connection

PUBLICATION = "publication"
"""The table that says of which run and as-of date the schema is."""


ATTACHED = "bi_postgres"
"""Name under which a DuckDB finds the Postgres that BI reads."""


@dataclass(frozen=True)
class BiPublication:
    """What BI reads from now on.

    Attributes
    ----------
    marts
        Rows by mart, as Postgres took them.
    objects
        Address of the Parquet object by mart.
    locked
        False where readers held the old tables so long that they were passed by.
    held
        Schemas of earlier publications that a reader still holds.
    pbids
        The Power BI data source file.
    """

    run_id: str
    as_of: str | None
    marts: dict[str, int]
    objects: dict[str, str]
    locked: bool
    held: tuple[str, ...]
    pbids: Path


def publish_bi(
    settings: Settings, endpoints: Endpoints, patience: float | None = None, grace: timedelta = GRACE
) -> BiPublication:
    """Copy the current publication to where BI reads it; readers go on meanwhile.

    Parameters
    ----------
    patience
        Seconds in which readers may let go of the old tables; None: a minute.
    grace
        For so long the files of earlier publications stay after this one, whatever the settings keep.

    Raises
    ------
    PublishError
        Nothing has been published, or it holds personal data that should be masked, or Postgres refuses; BI then keeps
        what it had.
    ServerError
        Postgres or the object store does not answer.
    """
    from duckbook.backends import storage
    from duckbook.ingest import commit_log

    dsn = dsn_of(settings, endpoints)
    with publisher.published(settings) as published:
        publication = published.publication
        _refuse_personal(settings, publication)
        declared = contracts.load_marts(settings)
        wanted = {mart: declared[mart] for mart in sorted(publication.marts)}
        published.connection.execute("load postgres_scanner")
        published.connection.execute("set pg_null_byte_replacement = ''")  # Postgres knows no text with a NUL in it.
        history = commit_log.identity(storage.client(endpoints.s3), settings.s3_historic_bucket)
        locked, rows, held = _to_postgres(settings, endpoints, dsn, published, wanted, patience, history)
        with tempfile.TemporaryDirectory(dir=settings.data) as folder:
            files = publisher.files(settings, published, Path(folder))
            objects = _to_s3(settings, endpoints, publication, files, history, grace)
    reader = bi_reader.of(settings, dsn)
    pbids = settings.data / "bi" / "duckbook.pbids"
    bi_files.write_pbids(pbids, f"{reader.host}:{reader.port}", reader.database)
    return BiPublication(publication.run_id, publication.as_of, rows, objects, locked, tuple(held), pbids)


def attach(connection: duckdb.DuckDBPyConnection, settings: Settings, endpoints: Endpoints) -> str:
    """Let a DuckDB read the schema that BI reads, as BI's own role; the name under which it finds the schema."""
    from duckbook.backends import warehouse

    reader = bi_reader.of(settings, dsn_of(settings, endpoints))
    values = {"host": reader.host, "port": reader.port, "database": reader.database, "user": reader.user}
    warehouse.attach_postgres(connection, ATTACHED, values | ({"password": reader.password} if reader.password else {}))
    return f"{ATTACHED}.{settings.bi_schema}"


def attach_as_owner(connection: duckdb.DuckDBPyConnection, settings: Settings, endpoints: Endpoints) -> None:
    """As `attach`, but with every right that the settings' own user has."""
    from psycopg2.extensions import parse_dsn

    from duckbook.backends import warehouse

    told = parse_dsn(dsn_of(settings, endpoints))
    names = {"host": "host", "port": "port", "dbname": "database", "user": "user", "password": "password"}
    values = {names[key]: str(value) for key, value in told.items() if key in names}
    warehouse.attach_postgres(connection, ATTACHED, values)


def schemas(settings: Settings, endpoints: Endpoints) -> list[str]:
    """The schemas that hold marts for BI: the one that is read, and earlier ones that a reader may still hold."""
    from duckbook.backends import connections

    with connections.postgres(dsn_of(settings, endpoints)) as postgres:
        return bi_schema.existing(postgres, settings.bi_schema)


def dsn_of(settings: Settings, endpoints: Endpoints) -> str:
    """The Postgres that BI reads."""
    own = settings.bi_postgres_dsn
    return own.get_secret_value() if own else endpoints.postgres_dsn


def _refuse_personal(settings: Settings, publication: publisher.Publication) -> None:
    if settings.mask_personal and not publication.masked:
        raise PublishError(
            f"The publication {publication.run_id} holds personal data as they are, and DUCKBOOK_MASK_PERSONAL is "
            "true: publish again with 07_publish.ipynb, or `make pipeline FROM=publish UNTIL=publish`."
        )


def _to_postgres(settings, endpoints, dsn: str, published, wanted, patience, history: str | None):
    import psycopg2

    from duckbook.backends import connections

    setting = "DUCKBOOK_BI_POSTGRES_DSN" if settings.bi_postgres_dsn else "DUCKBOOK_POSTGRES_DSN"
    schema = settings.bi_schema
    new = f"{schema}__new"
    try:
        with connections.postgres(dsn, setting) as postgres:
            with postgres:
                # One publication at a time; a second waits, and then takes the place of the first. It asks again and
                # again, for a wait within libpq hears no Ctrl-C.
                one = "select pg_try_advisory_xact_lock(hashtext(%s))"
                while not postgres.execute(one, [f"duckbook {schema}"]).fetchone()[0]:
                    time.sleep(0.2)
                _refuse_a_schema_of_others(postgres, schema, history)
                bi_reader.ensure(postgres, settings, dsn)
                rows = bi_schema.build(postgres, published.connection, new, wanted, publisher.SCHEMA)
                _tell_publication(postgres, new, published.publication, rows, history)
                bi_reader.admit(postgres, settings, new)
                locked = bi_schema.swap(
                    postgres, new, schema, bi_schema.PATIENCE_SECONDS if patience is None else patience
                )
            held = bi_schema.sweep(postgres, schema)
    except psycopg2.OperationalError as error:
        raise ServerError(
            f"{setting}: Postgres stopped answering, and BI keeps what it had: {first_line(error)}."
        ) from None
    except psycopg2.Error as error:
        why = first_line(Redactor(secrets_of(settings, endpoints)).text(str(error)))
        raise PublishError(f"Postgres refuses the marts for BI, which keeps what it had: {why}.") from error
    return locked, rows, held


def _refuse_a_schema_of_others(postgres: Connection, schema: str, history: str | None) -> None:
    """A schema that was not made here, or of another history, is not replaced: it may hold somebody's work."""
    found = postgres.execute(
        "select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = %s", [schema]
    ).fetchone()
    comment = found and (found[0] or "")
    if found and history and (of := re.search(r"of the history (\w+)", comment)) and of[1] != history:
        raise PublishError(
            f"DUCKBOOK_BI_SCHEMA={schema} holds the marts of another history, which these would replace: name another "
            "schema, or drop that one."
        )
    if found and not comment.startswith(bi_schema.COMMENT):
        raise PublishError(
            f"DUCKBOOK_BI_SCHEMA={schema} is there and was not made by a publication, which would replace it: name "
            "another schema, or drop that one."
        )


def _tell_publication(postgres, schema: str, publication, rows: dict[str, int], history: str | None) -> None:
    """Say of which run and date the schema is, for the corner of a dashboard."""
    from psycopg2 import sql

    named = sql.Identifier(schema, PUBLICATION)
    postgres.execute(
        sql.SQL(
            "create table {} (mart text primary key, rows bigint not null, run_id text not null, as_of date)"
        ).format(named)
    )
    lines = io.StringIO()
    csv.writer(lines).writerows((mart, count, publication.run_id, publication.as_of) for mart, count in rows.items())
    lines.seek(0)
    postgres.cursor().copy_expert(sql.SQL("copy {} from stdin (format csv, freeze)").format(named), lines)
    postgres.execute(
        sql.SQL("comment on table {} is %s").format(named), ["One row per mart: rows, run and as-of date."]
    )
    of = f", of the history {history}" if history else ""
    told = f"{bi_schema.COMMENT}: run {publication.run_id}, as of {publication.as_of}{of}."
    postgres.execute(sql.SQL("comment on schema {} is %s").format(sql.Identifier(schema)), [told])


def _to_s3(
    settings, endpoints, publication, files: dict[str, Path], history: str | None, grace: timedelta
) -> dict[str, str]:
    from duckbook.backends import storage

    return bi_files.put(
        storage.client(endpoints.s3),
        settings.s3_marts_bucket,
        publication.run_id,
        publication.as_of,
        files,
        settings.keep_publications,
        history,
        grace,
    )
