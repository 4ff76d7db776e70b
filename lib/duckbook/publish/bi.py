"""Publish to BI: the current publication as a schema of Postgres and as Parquet in S3.

BI gets what `publisher.publish` has published: tested, reconciled and masked. Nothing is read from the warehouse, so BI
can be refreshed at any time, even during the next run.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.errors import PublishError, ServerError, first_line
from duckbook.publish import bi_files, bi_schema, publisher
from duckbook.publish.publication import GRACE, SCHEMA
from duckbook.redaction import Redactor, secrets_of
from duckbook.settings import Endpoints, Settings
from duckbook.sql import literal, quoted
from duckbook.transform.contracts import Column, Contract, load_marts

if TYPE_CHECKING:
    import duckdb

PUBLICATION = "publication"
"""The table with the run and as-of date of the schema."""

PUBLICATION_CONTRACT = Contract(
    "One row per mart: rows, run and as-of date.",
    ("mart",),
    tuple(Column(name, "", required=True) for name in ("mart", "rows", "run_id")),
    {},
)

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
    settings: Settings, endpoints: Endpoints, patience: float = bi_schema.PATIENCE_SECONDS, grace: timedelta = GRACE
) -> BiPublication:
    """Copy the current publication to Postgres and S3 for BI, without interrupting readers.

    Parameters
    ----------
    patience
        Seconds to wait for readers' locks on the old tables.
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

    dsn, client = bi_dsn(settings, endpoints), storage.client(endpoints.s3)
    temporary = settings.data / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    with publisher.published(settings) as published, tempfile.TemporaryDirectory(dir=temporary) as folder:
        publication = published.publication
        if settings.mask_personal and not publication.masked:
            raise PublishError(
                f"The publication {publication.run_id} holds unmasked personal data, and DUCKBOOK_MASK_PERSONAL is "
                "true: publish again with notebooks/pipeline/07_publish.ipynb, "
                "or `make pipeline FROM=publish UNTIL=publish`."
            )
        contracts = load_marts(settings)
        copied = {mart: contracts[mart] for mart in sorted(publication.marts)}
        history = commit_log.identity(client, settings.s3_historic_bucket)
        rows, locked, retained = _to_postgres(settings, endpoints, published, copied, patience, history)
        files = publisher.parquet_files(settings, published, Path(folder))
        bucket, keep = settings.s3_marts_bucket, settings.keep_publications
        objects = bi_files.upload(client, bucket, publication, files, keep, history, grace)
    reader = bi_schema.reader_for(settings, dsn)
    pbids = settings.data / "bi" / "duckbook.pbids"
    bi_files.write_pbids(pbids, f"{reader['host']}:{reader['port']}", reader.get("dbname", ""))
    return BiPublication(publication.run_id, publication.as_of, rows, objects, locked, retained, pbids)


def attach(
    connection: duckdb.DuckDBPyConnection, settings: Settings, endpoints: Endpoints, *, as_owner: bool = False
) -> str:
    """Attach BI's Postgres to a DuckDB, and return the schema's name in it.

    Parameters
    ----------
    as_owner
        Whether to attach it as the user of the settings, with all of its rights, instead of BI's own role.
    """
    from psycopg2.extensions import make_dsn

    from duckbook.backends import warehouse

    dsn = bi_dsn(settings, endpoints)
    warehouse.attach_postgres(
        connection, ATTACHED, dsn if as_owner else make_dsn(**bi_schema.reader_for(settings, dsn))
    )
    return f"{ATTACHED}.{settings.bi_schema}"


def schemas(settings: Settings, endpoints: Endpoints) -> list[str]:
    """The schemas with marts for BI: the current one, and earlier ones that a reader may still have locked."""
    from duckbook.backends import connections

    with connections.postgres(bi_dsn(settings, endpoints)) as postgres:
        return bi_schema.existing(postgres, settings.bi_schema)


def bi_dsn(settings: Settings, endpoints: Endpoints) -> str:
    """The DSN of the Postgres that BI reads."""
    own = settings.bi_postgres_dsn
    return own.get_secret_value() if own else endpoints.postgres_dsn


def _to_postgres(
    settings: Settings,
    endpoints: Endpoints,
    published: publisher.Published,
    contracts: dict[str, Contract],
    patience: float,
    history: str | None,
) -> tuple[dict[str, int], bool, tuple[str, ...]]:
    """Copy the marts to Postgres; return their rows, whether old tables were locked, and schemas still locked."""
    import psycopg2

    from duckbook.backends import connections

    setting = "DUCKBOOK_BI_POSTGRES_DSN" if settings.bi_postgres_dsn else "DUCKBOOK_POSTGRES_DSN"
    dsn, schema, new = bi_dsn(settings, endpoints), settings.bi_schema, f"{settings.bi_schema}__new"
    publication, marts = published.publication, published.connection
    marts.execute("load postgres_scanner")
    marts.execute("set pg_null_byte_replacement = ''")  # Postgres text has no NUL.
    marts.execute(
        f"create table {SCHEMA}.{PUBLICATION} as select unnest(?::varchar[]) as mart, "
        "unnest(?::bigint[]) as rows, ?::varchar as run_id, ?::date as as_of",
        [[*contracts], [publication.marts[mart] for mart in contracts], publication.run_id, publication.as_of],
    )
    try:
        with connections.postgres(dsn, setting) as postgres:
            with postgres:
                # One publication at a time; a second waits and then replaces the first. It polls, because Ctrl-C
                # does not interrupt a wait inside libpq.
                try_lock = "select pg_try_advisory_xact_lock(hashtext(%s))"
                while not postgres.execute(try_lock, [f"duckbook {schema}"]).fetchall()[0][0]:
                    time.sleep(0.2)
                bi_schema.refuse_foreign(postgres, schema, history)
                bi_schema.ensure_reader(postgres, settings, dsn)
                tables = contracts | {PUBLICATION: PUBLICATION_CONTRACT}
                rows = bi_schema.build(postgres, marts, new, tables, SCHEMA)
                origin = f", of the history {history}" if history else ""
                comment = f"{bi_schema.COMMENT}: run {publication.run_id}, as of {publication.as_of}{origin}."
                postgres.execute(f"comment on schema {quoted(new)} is {literal(comment)}")
                for right in ("usage on schema", "select on all tables in schema"):
                    postgres.execute(f"grant {right} {quoted(new)} to {quoted(settings.bi_reader)}")
                locked = bi_schema.swap(postgres, new, schema, patience)
            rows.pop(PUBLICATION)
            return rows, locked, tuple(bi_schema.drop_old(postgres, schema))
    except psycopg2.OperationalError as error:
        raise ServerError(
            f"{setting}: Postgres stopped answering, and BI keeps what it had: {first_line(error)}."
        ) from None
    except psycopg2.Error as error:
        reason = first_line(Redactor(secrets_of(settings, endpoints)).text(str(error)))
        raise PublishError(f"Postgres refuses the marts for BI, which keeps what it had: {reason}.") from error
