"""Locks on the landing tables: who holds one is told after a few seconds, and is not waited for without an end.

What another program rewrites under a lock is not to be read meanwhile; a program that forgot its transaction would be
waited for in silence.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from duckbook.errors import IngestError, visible
from duckbook.postgres_connection import Connection

TELL_SECONDS, MOST_SECONDS = 3, 60

POLL_SECONDS = 0.2

HELD = """
with recursive mine as (
    select relation.oid
    from pg_class as relation
    inner join pg_namespace as namespace on namespace.oid = relation.relnamespace
    where namespace.nspname = %(schema)s and relation.relname = any(%(names)s)
    union
    select further.oid
    from mine
    cross join lateral (
        select inhrelid as oid from pg_inherits where inhparent = mine.oid
        union all
        select depend.refobjid
        from pg_rewrite as rule
        inner join pg_depend as depend
            on depend.classid = 'pg_rewrite'::regclass
            and depend.objid = rule.oid
            and depend.refclassid = 'pg_class'::regclass
        where rule.ev_class = mine.oid
    ) as further
)

select
    lock.relation::regclass::text,
    lock.pid,
    activity.usename::text,
    activity.application_name,
    activity.state
from pg_locks as lock
inner join mine on lock.relation = mine.oid
left join pg_stat_activity as activity on lock.pid = activity.pid
where
    lock.mode = 'AccessExclusiveLock'
    and lock.pid <> pg_backend_pid()
    and lock.database = (select oid from pg_database where datname = current_database())
order by not lock.granted, lock.pid
limit 1
"""
"""A lock that keeps readers out of these relations, or of what lies below them as views and partitions."""


def wait(connection: Connection, schema: str, names: Sequence[str]) -> None:
    """Wait until nobody keeps readers out of the relations of these names.

    Raises
    ------
    IngestError
        Somebody still does after a minute.
    """
    connection.execute(f"set lock_timeout = '{MOST_SECONDS}s'")
    began, told = time.monotonic(), False
    while (held := connection.execute(HELD, {"schema": schema, "names": list(names)}).fetchone()) is not None:
        relation, pid, user, program, state = held
        who = ", ".join(filter(None, [f"user {user}", program and f"program {program}", f"PID {pid}", state]))
        waited = time.monotonic() - began
        if waited >= MOST_SECONDS:
            raise IngestError(
                visible(
                    f"postgres:{relation} has been locked for {MOST_SECONDS} seconds by another session ({who}), and "
                    "cannot be read. End its transaction, or the session itself by "
                    f"`select pg_terminate_backend({pid})`, and run this again. Nothing was ingested."
                )
            )
        if waited >= TELL_SECONDS and not told:
            left = MOST_SECONDS - TELL_SECONDS
            print(
                visible(f"postgres:{relation} is locked by another session ({who}): waiting up to {left} s for it."),
                file=sys.stderr,
                flush=True,
            )
            told = True
        time.sleep(POLL_SECONDS)
