"""What was spoilt on purpose is what ingestion and staging say of it, kind by kind."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from duckbook.backends import manifest, servers, storage, warehouse
from duckbook.generate import landing
from duckbook.generate.shop.dirt import KINDS
from duckbook.ingest import history, raw
from duckbook.transform import dbt_layers


@pytest.fixture(scope="module")
def told_and_found(start_store):
    """The dirt that generation counted, by table and kind, and a connection to the warehouse that was built of it."""
    store = start_store("dirty", customers=300, dirt=0.1, quarantine_limit=1)
    endpoints = servers.up(store)
    chosen = manifest.choose(store, endpoints)
    landing.land_history(store, endpoints, **chosen)
    day = manifest.read(store, endpoints).history[-1]["date"]
    told = json.loads(
        storage.get_bytes(storage.client(endpoints.s3), store.s3_historic_bucket, f"truth/dirt_{day}.json")
    )
    counts: Counter = Counter()
    for row in told:
        counts[row["table"], row["kind"]] += row["records"]
    history.ingest(store, endpoints, None)
    raw.load(store, endpoints)
    dbt_layers.build(store, "staging")
    with warehouse.open_warehouse(store, read_only=True) as connection:
        yield counts, connection


def by_table(connection, query: str) -> dict[str, int]:
    return dict(connection.execute(query).fetchall())


def expected(counts: Counter, *kinds: str) -> dict[str, int]:
    sums = {table: sum(counts[table, kind] for kind in kinds) for table in KINDS}
    return {table: number for table, number in sums.items() if number}


def test_every_broken_line_is_unreadable_and_nothing_else_is(told_and_found):
    counts, connection = told_and_found
    found = by_table(connection, "select table_name, count(*) from ecom_raw.unreadable group by 1")
    assert found == expected(counts, "broken_line")


def test_every_record_without_a_key_is_quarantined_and_nothing_else_is(told_and_found):
    counts, connection = told_and_found
    found = by_table(
        connection,
        """
        select table_name, count(*)
        from ecom_raw.quarantine
        where (table_name, source, row_number) not in (select table_name, source, row_number from ecom_raw.unreadable)
        group by table_name
        """,
    )
    wanted = expected(counts, "missing_key")
    # A product whose price is what it was a quarter ago lands as it was, without a key just the same.
    assert 0 < found.pop("products") <= wanted.pop("products")
    assert found == wanted


def test_every_duplicate_is_unchanged_and_nothing_else_is(told_and_found):
    counts, connection = told_and_found
    query = "select table_name, sum(unchanged)::bigint from ecom_raw.batches group by 1 having sum(unchanged) > 0"
    found, wanted = by_table(connection, query), expected(counts, "duplicate")
    assert found.pop("products") >= wanted.pop("products") > 0
    assert found == wanted
