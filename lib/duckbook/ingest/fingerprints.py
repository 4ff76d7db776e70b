"""Fingerprints of Postgres tables, which tell ingestion that a table has not changed since it was read.

A row's xmin is the transaction that wrote it, so every insert, update and delete changes the number of rows or the sum
of their xmins. Computing the sum scans the table. Postgres also counts writes per table, and while these counters are
unchanged, so is the sum: it is cached with them in a file that may be lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from psycopg2 import sql

from duckbook.backends.postgres_connection import Connection
from duckbook.files import write_private
from duckbook.ingest import sources
from duckbook.ingest.sources import PostgresSource
from duckbook.settings import Endpoints, Settings

SUM = "select sum(n), sum(n * xid::text::bigint) from (select xmin, count(*) from {} group by 1) as t(xid, n)"

COUNTS = """
select
    counted.relname::text,
    concat_ws(
        ':',
        (select oid from pg_database where datname = current_database()),
        extract(epoch from pg_postmaster_start_time()),
        extract(epoch from pg_conf_load_time()),
        current_setting('track_counts'),
        pg_is_in_recovery(),
        (select extract(epoch from stats_reset) from pg_stat_bgwriter),
        (select extract(epoch from stats_reset) from pg_stat_database where datname = current_database()),
        counted.n_tup_ins,
        counted.n_tup_upd,
        counted.n_tup_del
    )
from pg_stat_all_tables as counted
inner join pg_class as relation on counted.relid = relation.oid
where
    counted.schemaname = %(schema)s
    and counted.relname = any(%(names)s)
    and not relation.relrowsecurity
    and not exists (select from pg_inherits where inhparent = relation.oid)
"""
"""Write counters per table, with everything that resets them.

Parents of other tables are left out, because they return rows of their children and count only their own. So are
tables with row-level security, whose visible rows can change without a write.
"""

ALL_COUNTED = """
select
    current_setting('track_counts')::boolean
    and not pg_is_in_recovery()
    and current_setting('server_version_num')::integer >= 150000
    and not exists (
        select from pg_stat_activity
        where
            datname = current_database()
            and pid <> pg_backend_pid()
            and backend_type is distinct from 'autovacuum worker'
            and (
                backend_type is distinct from 'client backend'
                or state is distinct from 'idle'
                or state_change > clock_timestamp() - interval '30 seconds'
            )
    )
"""
"""Whether every session has flushed its counters, which it does when it ends and ten seconds after it became idle.

Needs Postgres 15, as earlier versions could lose counts, and a primary, as a standby does not count replicated writes.
Without the right to see other sessions it is false.
"""


def find(
    settings: Settings, endpoints: Endpoints, relations: Iterable[PostgresSource], *, keep: bool = True
) -> dict[str, str]:
    """Return the fingerprint per Postgres table, by name; views have none and are always read.

    Parameters
    ----------
    keep
        Whether to cache the sums in a file.

    Raises
    ------
    IngestError
        Postgres refuses a query.
    """
    file = settings.data / "fingerprints.json"
    cached, current, fingerprints = _read_cache(file), {}, {}
    tables = [source for source in relations if source.kind in {"r", "m"}]
    parameters = {"schema": settings.postgres_schema, "names": [source.relation for source in tables]}
    with sources.postgres(endpoints) as connection:
        # A table may be locked after it was described.
        connection.execute("set lock_timeout = %s", [f"{sources.WAIT_SECONDS}s"])
        # In this order: a session that ends in between has flushed its counters by then.
        [(all_counted,)] = connection.execute(ALL_COUNTED).fetchall()
        counts = dict(connection.execute(COUNTS, parameters).fetchall())
        for source in tables:
            # Counted before the scan, so that a write during the scan changes the next count.
            count = counts.get(source.relation)
            key = f"{source.name} {source.identity} {count}"
            version_sum = cached.get(key) if count and all_counted else None
            if version_sum is None:
                version_sum = _row_version_sum(connection, source)
            if count:
                current[key] = version_sum
            fingerprints[source.name] = f"{source.identity}:{version_sum}:{source.declared}"
    if keep and current != cached:
        write_private(file, json.dumps(current))
    return fingerprints


def _row_version_sum(connection: Connection, source: PostgresSource) -> str:
    query = sql.SQL(SUM).format(sql.Identifier(source.schema, source.relation))
    return ":".join(map(str, connection.execute(query).fetchall()[0]))


def _read_cache(file: Path) -> dict[str, str]:
    """Return the cached sums by a table's address, identity and counters; empty if the file is lost or damaged."""
    try:
        cached = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return cached if isinstance(cached, dict) else {}
