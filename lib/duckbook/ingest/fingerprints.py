"""The fingerprint of a Postgres table, by which ingestion knows one that is as it was when it was read.

A row's xmin is the transaction that wrote it, so that rows which come, go or change alter their count or their sum.
That takes a look at every row. Postgres also counts what is written to a table, and while these counts stand still, so
does the sum: it is kept beside them, in a file that can be lost.
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
"""What was written to each table, and since when it is counted: until a restart, a reset or a crash.

A table that others inherit from shows their rows and counts its own alone; where there are policies for rows, what is
seen of them changes without a write.
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
"""Whether every session has told its counts: it does so when it ends, and ten seconds after it fell idle.

From version 15 on; before, counts could be lost on their way. A standby counts nothing that comes from its primary, and
where one may not see what others do, nobody can know.
"""


def find(
    settings: Settings, endpoints: Endpoints, relations: Iterable[PostgresSource], *, keep: bool = True
) -> dict[str, str]:
    """Name → fingerprint of each Postgres table; a view has none and is always read.

    Parameters
    ----------
    keep
        Whether what was found is kept for the next time; a mere look leaves no file.

    Raises
    ------
    IngestError
        Postgres does not tell.
    """
    file = settings.data / "fingerprints.json"
    kept, now, found = _read(file), {}, {}
    tables = [source for source in relations if source.kind in {"r", "m"}]
    asked = {"schema": settings.postgres_schema, "names": [source.relation for source in tables]}
    with sources.postgres(endpoints) as connection:
        # A lock that is taken after the tables were described.
        connection.execute("set lock_timeout = %s", [f"{sources.MOST_SECONDS}s"])
        # In this order: a session that ends in between has told its counts by then.
        (all_counted,) = connection.execute(ALL_COUNTED).fetchone()
        counts = dict(connection.execute(COUNTS, asked).fetchall())
        for source in tables:
            # Counted before the rows are looked at, so that what is written meanwhile changes the next count.
            counted = counts.get(source.relation)
            known = f"{source.name} {source.identity} {counted}"
            summed = kept.get(known) if counted and all_counted else None
            if summed is None:
                summed = _summed(connection, source)
            if counted:
                now[known] = summed
            found[source.name] = f"{source.identity}:{summed}:{source.declared}"
    if keep and now != kept:
        write_private(file, json.dumps(now))
    return found


def _summed(connection: Connection, source: PostgresSource) -> str:
    named = sql.SQL(SUM).format(sql.Identifier(source.schema, source.relation))
    return ":".join(map(str, connection.execute(named).fetchone()))


def _read(file: Path) -> dict[str, str]:
    """Address, identity and counts of a table → its sum; empty where the file is lost or damaged."""
    try:
        kept = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
