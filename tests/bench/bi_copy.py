"""How quick a mart of events gets to where BI reads it, against the bare copy of DuckDB's postgres extension.

The bare copy is `insert into` an attached table, which the extension turns into Postgres's binary COPY; it makes no
key, no comment and no statistics, and a reader finds the table empty while it fills. Ours is `bi_schema.copy_table`,
then the whole publication of that mart: in one transaction, with its primary key and statistics, put in place by a
rename. `python tests/bench/run.py bi --customers 700000` is a mart of 44 million events, and wants 15 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from time import perf_counter

from measuring import Figures, Timing, fresh_shop, timed

ROWS_A_CUSTOMER = 63
BARE = "DuckDB's insert into an attached Postgres"

EVENTS = """
create table source.fct_events as
select
    (md5_number(range::varchar) >> 65)::bigint as event_key,
    (md5_number((range % 100000)::varchar) >> 65)::bigint as customer_key,
    (md5_number((range % 500)::varchar) >> 65)::bigint as product_key,
    20230601 + (range % 28)::integer as date_key,
    ['view', 'cart_add', 'purchase'][range % 3 + 1] as event_type,
    timestamp '2023-06-01' + to_seconds(range) as occurred_at,
    (range % 10000 / 100)::decimal(18, 2) as amount,
    range % 7 = 0 as is_first
from range({rows})
"""

EVENT_TYPES = {
    "event_key": "bigint",
    "customer_key": "bigint",
    "product_key": "bigint",
    "date_key": "integer",
    "event_type": "text",
    "occurred_at": "timestamp",
    "amount": "numeric(18, 2)",
    "is_first": "boolean",
}


def measure(figures: Figures, customers: int, runs: int) -> None:
    """Add the figures of a mart of this many customers' events."""
    rows, taken = ROWS_A_CUSTOMER * customers, {}
    with fresh_shop() as environment:
        for _ in range(runs):
            for what in WORK:
                done = timed([[sys.executable, __file__, "--work", what, "--rows", str(rows)]], environment)
                told = json.loads(done.printed.splitlines()[-1])
                taken.setdefault(what, []).append(Timing(told["seconds"], told["peak_mb"], ""))
    size = f"{rows:,} rows"
    figures.add(BARE, size, taken["bare"], rows=rows)
    bare = (BARE, figures.rows[-1]["seconds"])
    figures.add("copied to BI", size, taken["copy"], bare, rows)
    figures.add("published to BI, with key and statistics", size, taken["publish"], bare, rows)


def bare(marts, postgres, dsn: str) -> None:
    """The extension's own way."""
    from psycopg2.extensions import parse_dsn

    told = parse_dsn(dsn)
    secret = f"host '{told['host']}', port '{told['port']}', database '{told['dbname']}', user '{told['user']}'"
    marts.execute(f"create secret bench (type postgres, {secret}, password '{told['password']}')")
    marts.execute("attach '' as bench (type postgres, secret bench)")
    _create(postgres)
    marts.execute("insert into bench.bench.fct_events from source.fct_events")


def copy(marts, postgres, _dsn: str) -> None:
    """Our copy alone."""
    from duckbook.publish import bi_schema

    with postgres:
        _create(postgres)
        bi_schema.copy_table(postgres, marts, "source.fct_events", EVENT_TYPES, "bench.fct_events")


def publish(marts, postgres, _dsn: str) -> None:
    """The whole publication of the mart, over the one before it."""
    from duckbook.publish import bi_schema
    from duckbook.transform.contracts import Column, Contract

    columns = tuple(Column(name, f"The {name}.", True) for name in ("event_key", "customer_key", "occurred_at"))
    contract = Contract("Events.", ("event_key",), columns, {})
    with postgres:
        bi_schema.build(postgres, marts, "bench__new", {"fct_events": contract}, "source")
        bi_schema.swap(postgres, "bench__new", "bench")


def _create(postgres) -> None:
    columns = ", ".join(f"{name} {kind}" for name, kind in EVENT_TYPES.items())
    postgres.execute(f"create table bench.fct_events ({columns})")


WORK = {"bare": bare, "copy": copy, "publish": publish}


def _timed_here(what: str, rows: int) -> None:
    """Do one thing in this process, and print what it took without making the rows."""
    import contextlib

    from duckbook.backends import postgres_connection, servers, warehouse
    from duckbook.publish import bi_schema
    from duckbook.settings import settings

    dsn = servers.up(settings()).postgres_dsn
    with warehouse.engine(settings()) as marts, contextlib.closing(postgres_connection.connect(dsn)) as postgres:
        marts.execute("load postgres_scanner")
        marts.execute("create schema source")
        marts.execute(EVENTS.format(rows=rows))
        for name in bi_schema.existing(postgres, "bench"):
            postgres.execute(f"drop schema {name} cascade")
        postgres.execute("create schema bench")
        postgres.execute("checkpoint")
        begun = perf_counter()
        WORK[what](marts, postgres, dsn)
        seconds = perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", choices=WORK, required=True)
    parser.add_argument("--rows", type=int, required=True)
    options = parser.parse_args()
    _timed_here(options.work, options.rows)
