"""Ingestion and staging report exactly the planted dirt, kind by kind."""

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
def dirt_and_warehouse(start_shop):
    """Dirt counts by table and kind, and a connection to the warehouse built from the dirty data."""
    settings = start_shop("dirty", customers=300, dirt=0.1, quarantine_limit=1)
    endpoints = servers.up(settings)
    chosen = manifest.choose(settings, endpoints)
    landing.land_history(settings, endpoints, **chosen)
    day = manifest.read(settings, endpoints).history[-1]["date"]
    landed_dirt = json.loads(
        storage.get_bytes(storage.client(endpoints.s3), settings.s3_historic_bucket, f"truth/dirt_{day}.json")
    )
    counts: Counter = Counter()
    for row in landed_dirt:
        counts[row["table"], row["kind"]] += row["records"]
    history.ingest(settings, endpoints, None)
    raw.load(settings, endpoints)
    dbt_layers.build(settings, "staging")
    with warehouse.open_warehouse(settings, read_only=True) as connection:
        yield counts, connection


def by_table(connection, query: str) -> dict[str, int]:
    return dict(connection.execute(query).fetchall())


def expected(counts: Counter, *kinds: str) -> dict[str, int]:
    sums = {table: sum(counts[table, kind] for kind in kinds) for table in KINDS}
    return {table: number for table, number in sums.items() if number}


def test_exactly_the_broken_lines_are_unreadable(dirt_and_warehouse):
    counts, connection = dirt_and_warehouse
    found = by_table(connection, "select table_name, count(*) from ecom_raw.unreadable group by 1")
    assert found == expected(counts, "broken_line")


def test_exactly_the_records_without_a_key_are_quarantined(dirt_and_warehouse):
    counts, connection = dirt_and_warehouse
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
    # A product with the same price as a quarter ago lands again as an equal record, without a key both times.
    assert 0 < found.pop("products") <= wanted.pop("products")
    assert found == wanted


def test_exactly_the_duplicates_are_unchanged(dirt_and_warehouse):
    counts, connection = dirt_and_warehouse
    query = "select table_name, sum(unchanged)::bigint from ecom_raw.batches group by 1 having sum(unchanged) > 0"
    found, wanted = by_table(connection, query), expected(counts, "duplicate")
    assert found.pop("products") >= wanted.pop("products") > 0
    assert found == wanted
