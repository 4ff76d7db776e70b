"""The sources of the landing zone: objects in S3 and tables in Postgres, found without reading a row.

A source's fingerprint changes with its content. For an object it is the ETag; `fingerprints` computes those of Postgres
tables.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import psycopg2

from duckbook.backends import connections, storage
from duckbook.backends.postgres_connection import Connection
from duckbook.errors import IngestError, ServerError, first_line, visible
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import source_tables

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REPORT_SECONDS, WAIT_SECONDS = 3, 60

POLL_SECONDS = 0.2

BLOCKING_LOCK = """
with recursive landed as (
    select relation.oid
    from pg_class as relation
    inner join pg_namespace as namespace on namespace.oid = relation.relnamespace
    where namespace.nspname = %(schema)s and relation.relname = any(%(names)s)
    union
    select below.oid
    from landed
    cross join lateral (
        select inhrelid as oid from pg_inherits where inhparent = landed.oid
        union all
        select depend.refobjid
        from pg_rewrite as rule
        inner join pg_depend as depend
            on depend.classid = 'pg_rewrite'::regclass
            and depend.objid = rule.oid
            and depend.refclassid = 'pg_class'::regclass
        where rule.ev_class = landed.oid
    ) as below
)

select
    lock.relation::regclass::text,
    lock.pid,
    activity.usename::text,
    activity.application_name,
    activity.state
from pg_locks as lock
inner join landed on lock.relation = landed.oid
left join pg_stat_activity as activity on lock.pid = activity.pid
where
    lock.mode = 'AccessExclusiveLock'
    and lock.pid <> pg_backend_pid()
    and lock.database = (select oid from pg_database where datname = current_database())
order by not lock.granted, lock.pid
limit 1
"""
"""An exclusive lock on one of these relations, or on a table or partition below them."""


def wait_for_locks(connection: Connection, schema: str, names: Sequence[str]) -> None:
    """Wait until no other session locks these relations against readers.

    Raises
    ------
    IngestError
        A relation is still locked after a minute.
    """
    connection.execute(f"set lock_timeout = '{WAIT_SECONDS}s'")
    begun, reported = time.monotonic(), False
    parameters = {"schema": schema, "names": list(names)}
    while (lock := connection.execute(BLOCKING_LOCK, parameters).fetchone()) is not None:
        relation, pid, user, program, state = lock
        who = ", ".join(filter(None, [f"user {user}", program and f"program {program}", f"PID {pid}", state]))
        waited = time.monotonic() - begun
        if waited >= WAIT_SECONDS:
            raise IngestError(
                visible(
                    f"postgres:{relation} has been locked for {WAIT_SECONDS} seconds by another session ({who}), and "
                    "cannot be read. End its transaction, or the session itself by "
                    f"`select pg_terminate_backend({pid})`, and run this again. Nothing was ingested."
                )
            )
        if waited >= REPORT_SECONDS and not reported:
            left = WAIT_SECONDS - REPORT_SECONDS
            print(
                visible(f"postgres:{relation} is locked by another session ({who}): waiting up to {left} s for it."),
                file=sys.stderr,
                flush=True,
            )
            reported = True
        time.sleep(POLL_SECONDS)


PREFIX = "json/"

OBJECT_KEY = re.compile(r"json/(?:(?P<folder>[^/]+)/.*|(?P<file>[^/.]+)\.(?:json|ndjson|jsonl)(?:\.(?:gz|zst|bz2))?)")

LATEST = "latest_"

DATE_KEYS = ("date", "as_of", "batch_date", "generated_at")
"""Keys with which metadata or a comment may declare the date of a batch, in order of precedence."""

PATH_DATES = (
    re.compile(r"date=(\d{4})-(\d{2})-(\d{2})"),
    re.compile(r"year=(\d{4})/month=(\d{1,2})/day=(\d{1,2})"),
    re.compile(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)"),
    re.compile(r"(?<!\d)(\d{4})/(\d{2})/(\d{2})(?!\d)"),
    re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})(?!\d)"),
)


@dataclass(frozen=True)
class StoredSource:
    """An object in S3 with rows of a table.

    `latest` says whether it is in the bucket of the latest days; `put_at` is the ISO time at which it was put.
    """

    table: str
    bucket: str
    key: str
    fingerprint: str
    size: int
    latest: bool
    put_at: str = ""

    system = "s3"

    @property
    def name(self) -> str:
        """Address."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def origin(self) -> str:
        """Folder of its table in its bucket."""
        return f"s3://{self.bucket}/{PREFIX}{self.table}"

    @property
    def declared(self) -> date | None:
        """Date that the path declares."""
        return date_in_path(self.key)


@dataclass(frozen=True)
class PostgresSource:
    """A table or view in Postgres with rows of a source table; `columns` are names and Postgres types."""

    table: str
    schema: str
    relation: str
    kind: str
    identity: str
    comment: str | None
    columns: tuple[tuple[str, str], ...]
    size: int
    fingerprint: str | None = None

    system = "postgres"

    @property
    def name(self) -> str:
        """Address."""
        return f"postgres:{self.schema}.{self.relation}"

    @property
    def latest(self) -> bool:
        """Whether it is a table of the latest days."""
        return self.relation.startswith(LATEST)

    @property
    def origin(self) -> str:
        """The relation itself."""
        return self.name

    @property
    def declared(self) -> date | None:
        """Date that the table's comment declares."""
        try:
            return date_in_metadata(json.loads(self.comment or "null"))
        except (ValueError, RecursionError):
            return None


Source = StoredSource | PostgresSource


@dataclass(frozen=True)
class Landed:
    """The content of the landing zone.

    Attributes
    ----------
    sources
        In order of arrival: by table, the historic load before the latest days.
    ignored
        Objects below ``json/`` that are not read → reason.
    """

    sources: tuple[Source, ...]
    ignored: dict[str, str]

    @property
    def origins(self) -> tuple[str, ...]:
        """Places where tables were found."""
        return tuple(sorted({source.origin for source in self.sources}))


def discover(settings: Settings, endpoints: Endpoints, client: S3Client) -> Landed:
    """List the sources in the landing zone.

    Raises
    ------
    ServerError
        The object storage or Postgres does not answer.
    """
    objects, ignored = _objects(settings, client)
    tables = list(source_tables())

    def arrival(source: Source) -> tuple[int, bool, date, str]:
        return tables.index(source.table), source.latest, source.declared or date.max, source.name

    sources: list[Source] = [*objects, *_relations(settings, endpoints)]
    return Landed(tuple(sorted(sources, key=arrival)), dict(sorted(ignored.items())))


def date_in_path(path: str) -> date | None:
    """Return the date that a path declares; of several dates of one form, such as a range, the last."""
    for form in PATH_DATES:
        for parts in reversed(form.findall(path)):
            try:
                declared = date(*map(int, parts))
            except ValueError:
                continue
            if 1970 <= declared.year < 2200:
                return declared
    return None


def date_in_metadata(metadata: object) -> date | None:
    """Return the date that a document's metadata or a table's comment declares."""
    if not isinstance(metadata, dict):
        return None
    for name in DATE_KEYS:
        try:
            return date.fromisoformat(str(metadata[name])[:10])
        except (KeyError, ValueError):
            continue
    return None


def _objects(settings: Settings, client: S3Client) -> tuple[list[StoredSource], dict[str, str]]:
    objects, ignored = [], {}
    for bucket in (settings.s3_historic_bucket, settings.s3_latest_bucket):
        for key, etag, size, put_at in storage.list_objects(client, bucket, PREFIX):
            if key.endswith("/"):
                continue
            match = OBJECT_KEY.fullmatch(key)
            table = (match["folder"] or match["file"]) if match else ""
            if why := _why_ignored(key, table):
                ignored[f"s3://{bucket}/{key}"] = why
            else:
                latest = bucket == settings.s3_latest_bucket
                objects.append(StoredSource(table, bucket, key, etag, size, latest, put_at.isoformat()))
    return objects, ignored


def _why_ignored(key: str, table: str) -> str:
    """Return why an object is not read; empty if it is."""
    name = key.rsplit("/", 1)[-1]
    if name.startswith(("_", ".")):
        return "its name begins with _ or ., like the marker files of other programs"
    if table in source_tables():
        return ""
    if not table and name.partition(".")[0] in source_tables():
        return "next to the tables' folders only TABLE.json, .ndjson and .jsonl are read, plain or compressed"
    return "no source table has that name"


RELATIONS = """
select
    relation.relname,
    relation.relkind::text,
    concat_ws(
        ':', (select system_identifier from pg_control_system()), relation.oid, pg_relation_filenode(relation.oid)
    ),
    obj_description(relation.oid, 'pg_class'),
    array_agg(attribute.attname::text order by attribute.attnum),
    array_agg(format_type(attribute.atttypid, attribute.atttypmod) order by attribute.attnum),
    coalesce(pg_table_size(relation.oid), 0)
from pg_class as relation
inner join pg_namespace as namespace on namespace.oid = relation.relnamespace
inner join pg_attribute as attribute
    on attribute.attrelid = relation.oid and attribute.attnum > 0 and not attribute.attisdropped
where
    namespace.nspname = %(schema)s
    and relation.relname = any(%(names)s)
    and relation.relkind::text = any('{r,p,v,m,f}')
group by relation.oid, relation.relname, relation.relkind
"""


def _relations(settings: Settings, endpoints: Endpoints) -> list[PostgresSource]:
    return describe(settings, endpoints, [f"{prefix}{name}" for name in source_tables() for prefix in ("", LATEST)])


def describe(settings: Settings, endpoints: Endpoints, names: Sequence[str]) -> list[PostgresSource]:
    """Describe the relations with these names in the landing schema; missing ones are left out.

    Raises
    ------
    ServerError
        Postgres does not answer.
    """
    schema = settings.postgres_schema
    with postgres(endpoints) as connection:
        # pg_table_size waits for a lock.
        wait_for_locks(connection, schema, names)
        # Without access to pg_control_system, fingerprints do not identify the server.
        [(allowed,)] = connection.execute("select has_function_privilege('pg_control_system()', 'execute')").fetchall()
        query = RELATIONS if allowed else RELATIONS.replace("(select system_identifier from pg_control_system())", "''")
        rows = connection.execute(query, {"schema": schema, "names": list(names)}).fetchall()
    return [
        PostgresSource(
            name.removeprefix(LATEST),
            schema,
            name,
            kind,
            identity,
            comment,
            tuple(zip(names, types, strict=True)),
            size,
        )
        for name, kind, identity, comment, names, types, size in rows
    ]


@contextmanager
def postgres(endpoints: Endpoints) -> Iterator[Connection]:
    """Open a connection to the landing Postgres that turns its errors into ours.

    Raises
    ------
    ServerError
        Postgres does not answer, or stops answering.
    IngestError
        Postgres refuses a query.
    """
    with connections.postgres(endpoints.postgres_dsn) as connection:
        try:
            yield connection
        except psycopg2.Error as error:
            why = first_line(str(error).strip() or type(error).__name__)
            if connection.closed:
                raise ServerError(
                    f"Postgres stopped answering while the landing zone was listed: {why}. Check that it is up, and "
                    "run this again."
                ) from None
            raise IngestError(
                f"Postgres refused to list the landing zone: {why}. Correct that in Postgres, and run this again."
            ) from error
