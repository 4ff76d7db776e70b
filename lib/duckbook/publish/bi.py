"""Publish to BI: the current publication as a schema of Postgres and as Parquet in S3.

BI gets what `publisher.publish` has published: tested, reconciled and masked. Nothing is read from the warehouse, so BI
can be refreshed at any time, even during the next run.
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
"""The table with the run and as-of date of the schema."""

ATTACHED = "bi_postgres"
"""The name under which DuckDB attaches the Postgres that BI reads."""


@dataclass(frozen=True)
class BiPublication:
    """A publication as BI reads it.

    Attributes
    ----------
    marts
        Mart → rows in Postgres.
    objects
        Mart → address of its Parquet object.
    locked
        False if readers held the old tables past the timeout.
    retained
        Schemas of earlier publications that a reader still has locked.
    pbids
        The Power BI data source file.
    """

    run_id: str
    as_of: str | None
    marts: dict[str, int]
    objects: dict[str, str]
    locked: bool
    retained: tuple[str, ...]
    pbids: Path


def publish_bi(
    settings: Settings, endpoints: Endpoints, patience: float | None = None, grace: timedelta = GRACE
) -> BiPublication:
    """Copy the current publication to Postgres and S3 for BI, without interrupting readers.

    Parameters
    ----------
    patience
        Seconds to wait for readers' locks on the old tables; None: a minute.
    grace
        The files of earlier publications are kept this long after they were replaced, whatever the settings keep.

    Raises
    ------
    PublishError
        Nothing has been published, its personal data should be masked and are not, or Postgres refuses. BI keeps what
        it had.
    ServerError
        Postgres or the object storage does not answer.
    """
    from duckbook.backends import storage
    from duckbook.ingest import commit_log

    dsn = bi_dsn(settings, endpoints)
    with publisher.published(settings) as published:
        publication = published.publication
        _refuse_personal(settings, publication)
        contract = contracts.load_marts(settings)
        copied = {mart: contract[mart] for mart in sorted(publication.marts)}
        published.connection.execute("load postgres_scanner")
        published.connection.execute("set pg_null_byte_replacement = ''")  # Postgres text has no NUL.
        history = commit_log.identity(storage.client(endpoints.s3), settings.s3_historic_bucket)
        locked, rows, retained = _to_postgres(settings, endpoints, dsn, published, copied, patience, history)
        with tempfile.TemporaryDirectory(dir=settings.data) as folder:
            files = publisher.parquet_files(settings, published, Path(folder))
            objects = _to_s3(settings, endpoints, publication, files, history, grace)
    reader = bi_reader.reader_for(settings, dsn)
    pbids = settings.data / "bi" / "duckbook.pbids"
    bi_files.write_pbids(pbids, f"{reader.host}:{reader.port}", reader.database)
    return BiPublication(publication.run_id, publication.as_of, rows, objects, locked, tuple(retained), pbids)


def attach(connection: duckdb.DuckDBPyConnection, settings: Settings, endpoints: Endpoints) -> str:
    """Attach BI's Postgres to a DuckDB, as BI's own role, and return the schema's name in it."""
    from duckbook.backends import warehouse

    reader = bi_reader.reader_for(settings, bi_dsn(settings, endpoints))
    values = {"host": reader.host, "port": reader.port, "database": reader.database, "user": reader.user}
    warehouse.attach_postgres(connection, ATTACHED, values | ({"password": reader.password} if reader.password else {}))
    return f"{ATTACHED}.{settings.bi_schema}"


def attach_as_owner(connection: duckdb.DuckDBPyConnection, settings: Settings, endpoints: Endpoints) -> None:
    """Attach BI's Postgres to a DuckDB as the user of the settings, with all of its rights."""
    from psycopg2.extensions import parse_dsn

    from duckbook.backends import warehouse

    parts = parse_dsn(bi_dsn(settings, endpoints))
    names = {"host": "host", "port": "port", "dbname": "database", "user": "user", "password": "password"}
    values = {names[key]: str(value) for key, value in parts.items() if key in names}
    warehouse.attach_postgres(connection, ATTACHED, values)


def schemas(settings: Settings, endpoints: Endpoints) -> list[str]:
    """The schemas with marts for BI: the current one, and earlier ones that a reader may still have locked."""
    from duckbook.backends import connections

    with connections.postgres(bi_dsn(settings, endpoints)) as postgres:
        return bi_schema.existing(postgres, settings.bi_schema)


def bi_dsn(settings: Settings, endpoints: Endpoints) -> str:
    """The DSN of the Postgres that BI reads."""
    own = settings.bi_postgres_dsn
    return own.get_secret_value() if own else endpoints.postgres_dsn


def _refuse_personal(settings: Settings, publication: publisher.Publication) -> None:
    if settings.mask_personal and not publication.masked:
        raise PublishError(
            f"The publication {publication.run_id} holds unmasked personal data, and DUCKBOOK_MASK_PERSONAL is "
            "true: publish again with notebooks/pipeline/07_publish.ipynb, "
            "or `make pipeline FROM=publish UNTIL=publish`."
        )


def _to_postgres(settings, endpoints, dsn: str, published, contract, patience, history: str | None):
    import psycopg2

    from duckbook.backends import connections

    setting = "DUCKBOOK_BI_POSTGRES_DSN" if settings.bi_postgres_dsn else "DUCKBOOK_POSTGRES_DSN"
    schema = settings.bi_schema
    new = f"{schema}__new"
    try:
        with connections.postgres(dsn, setting) as postgres:
            with postgres:
                # One publication at a time; a second waits and then replaces the first. It polls, because Ctrl-C
                # does not interrupt a wait inside libpq.
                try_lock = "select pg_try_advisory_xact_lock(hashtext(%s))"
                while not postgres.execute(try_lock, [f"duckbook {schema}"]).fetchone()[0]:
                    time.sleep(0.2)
                _refuse_foreign_schema(postgres, schema, history)
                bi_reader.ensure_role(postgres, settings, dsn)
                rows = bi_schema.build(postgres, published.connection, new, contract, publisher.SCHEMA)
                _describe_publication(postgres, new, published.publication, rows, history)
                bi_reader.grant_read(postgres, settings, new)
                locked = bi_schema.swap(
                    postgres, new, schema, bi_schema.PATIENCE_SECONDS if patience is None else patience
                )
            retained = bi_schema.drop_old(postgres, schema)
    except psycopg2.OperationalError as error:
        raise ServerError(
            f"{setting}: Postgres stopped answering, and BI keeps what it had: {first_line(error)}."
        ) from None
    except psycopg2.Error as error:
        reason = first_line(Redactor(secrets_of(settings, endpoints)).text(str(error)))
        raise PublishError(f"Postgres refuses the marts for BI, which keeps what it had: {reason}.") from error
    return locked, rows, retained


def _refuse_foreign_schema(postgres: Connection, schema: str, history: str | None) -> None:
    """Raise if the schema is not from a publication of this history, and may hold other people's work."""
    row = postgres.execute(
        "select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = %s", [schema]
    ).fetchone()
    comment = row and (row[0] or "")
    if row and history and (other := re.search(r"of the history (\w+)", comment)) and other[1] != history:
        raise PublishError(
            f"DUCKBOOK_BI_SCHEMA={schema} holds the marts of another history, which these would replace: name another "
            "schema, or drop that one."
        )
    if row and not comment.startswith(bi_schema.COMMENT):
        raise PublishError(
            f"DUCKBOOK_BI_SCHEMA={schema} exists and was not made by a publication, which would replace it: name "
            "another schema, or drop that one."
        )


def _describe_publication(postgres, schema: str, publication, rows: dict[str, int], history: str | None) -> None:
    """Write the run and as-of date into a table, for dashboards, and into the comment on the schema."""
    from psycopg2 import sql

    table = sql.Identifier(schema, PUBLICATION)
    postgres.execute(
        sql.SQL(
            "create table {} (mart text primary key, rows bigint not null, run_id text not null, as_of date)"
        ).format(table)
    )
    lines = io.StringIO()
    csv.writer(lines).writerows((mart, count, publication.run_id, publication.as_of) for mart, count in rows.items())
    lines.seek(0)
    postgres.cursor().copy_expert(sql.SQL("copy {} from stdin (format csv, freeze)").format(table), lines)
    postgres.execute(
        sql.SQL("comment on table {} is %s").format(table), ["One row per mart: rows, run and as-of date."]
    )
    origin = f", of the history {history}" if history else ""
    comment = f"{bi_schema.COMMENT}: run {publication.run_id}, as of {publication.as_of}{origin}."
    postgres.execute(sql.SQL("comment on schema {} is %s").format(sql.Identifier(schema)), [comment])


def _to_s3(
    settings, endpoints, publication, files: dict[str, Path], history: str | None, grace: timedelta
) -> dict[str, str]:
    from duckbook.backends import storage

    return bi_files.upload(
        storage.client(endpoints.s3),
        settings.s3_marts_bucket,
        publication.run_id,
        publication.as_of,
        files,
        settings.keep_publications,
        history,
        grace,
    )
