"""The fingerprint of a Postgres table, by which ingestion knows one that is as it was when it was read.

A row's xmin is the transaction that wrote it, so that rows which come, go or change alter their count or their sum.
That takes a look at every row. Postgres also counts what is written to a table, and while these counts stand still, so
does the sum: it is kept beside them, in a file that can be lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg import sql

from duckbook import access
from duckbook.endpoints import Endpoints
from duckbook.errors import IngestError
from duckbook.processes import write_private
from duckbook.settings import Settings
from duckbook.sources import PostgresSource

SUM = "select sum(n), sum(n * xid::text::bigint) from (select xmin, count(*) from {} group by 1) as t(xid, n)"

COUNTS = """
select
    relname::text,
    concat_ws(
        ':',
        extract(epoch from pg_postmaster_start_time()),
        (select extract(epoch from stats_reset) from pg_stat_bgwriter),
        (select extract(epoch from stats_reset) from pg_stat_database where datname = current_database()),
        n_tup_ins,
        n_tup_upd,
        n_tup_del,
        pg_relation_size(relid)
    )
from pg_stat_all_tables
where schemaname = %s
"""
"""What was written to each table since the server started, or since its counts were reset or lost in a crash."""

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
    with access.postgres(endpoints.postgres_dsn) as connection:
        try:
            # In this order: a session that ends in between has told its counts by then.
            (all_counted,) = connection.execute(ALL_COUNTED).fetchone()
            counts = dict(connection.execute(COUNTS, [settings.postgres_schema]).fetchall())
            for source in relations:
                if source.kind not in {"r", "m"}:
                    continue
                # Counted before the rows are looked at, so that what is written meanwhile changes the next count.
                counted = f"{source.identity}:{counts.get(source.relation)}"
                before = kept.get(source.name, {})
                if all_counted and before.get("counted") == counted:
                    summed = before["summed"]
                else:
                    summed = _summed(connection, source)
                now[source.name] = {"counted": counted, "summed": summed}
                found[source.name] = f"{source.identity}:{summed}:{source.declared}"
        except psycopg.Error as error:
            raise IngestError(f"Postgres cannot tell what is in the landing zone: {error}") from error
    if keep and now != kept:
        write_private(file, json.dumps(now))
    return found


def _summed(connection: psycopg.Connection, source: PostgresSource) -> str:
    named = sql.SQL(SUM).format(sql.Identifier(source.schema, source.relation))
    return ":".join(map(str, connection.execute(named).fetchone()))


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
