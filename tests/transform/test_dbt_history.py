"""Slowly changing dimensions equal those of a simple model in Python, whatever the order of arrival."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import duckdb
import pytest
import rendered
from duckbook.ingest import batch_files
from duckbook.ingest.batches import Batch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw_rows import Raw

FIRST, LAST = datetime(1900, 1, 1), datetime(9999, 12, 31)

TIMES = (None, None, "2026-06-02T00:00:00", "2026-06-02T10:00:00", "2026-06-04T10:00:00")
"""Update times of records: two on one day, one at the start of that day, and none."""

ROWS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["1.00", "2.00", None, "three"]),
        st.integers(0, 1),
        st.sampled_from(TIMES),
    ),
    min_size=1,
    max_size=4,
)
LANDINGS = st.lists(st.tuples(st.integers(0, 4), ROWS), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def raw():
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("create schema ecom_staging")
        yield Raw(connection)


def history(raw: Raw, landings: list) -> list[tuple]:
    """Return product, price, valid_from and valid_to per version after batches of (day, rows) landed in this order."""
    for table in ("products", "sightings", "batches"):
        raw.connection.execute(f"delete from ecom_raw.{table}")
    for day, rows in landings:
        names = ("product_id", "base_price", "stock_quantity", "updated_at")
        raw.land("products", [dict(zip(names, row, strict=True)) for row in rows], date(2026, 6, 1) + timedelta(day))
    for name in ("stg_batches", "base_products"):
        raw.connection.execute(f"create or replace table ecom_staging.{name} as {rendered.model(name)}")
    versions = rendered.macro("history_of", "ecom_staging.base_products", "products", "product_id", ["base_price"])
    query = f"select product_id, base_price, valid_from, valid_to from ({versions}) order by product_id, valid_from"
    return raw.connection.execute(query).fetchall()


def modelled(landings: list) -> list[tuple]:
    """The same, from the last sound price of each product at each moment."""
    last: dict[str, dict[datetime, Decimal | None]] = {}
    for day, rows in sorted(landings, key=lambda landing: landing[0]):
        for product, price, _, values in rows:
            moment = datetime.fromisoformat(values) if values else datetime.combine(date(2026, 6, 1 + day), time())
            if price != "three":
                last.setdefault(product, {})[moment] = price and Decimal(price)
    versions = []
    for product, prices in sorted(last.items()):
        moments = sorted(prices)
        changes = [at for n, at in enumerate(moments) if n == 0 or prices[moments[n - 1]] != prices[at]]
        for n, at in enumerate(changes):
            end = changes[n + 1] if n + 1 < len(changes) else LAST
            versions.append((product, prices[at], FIRST if n == 0 else at, end))
    return versions


A, B, ELEVEN = ("a", "1.00", 0, None), ("a", "2.00", 0, TIMES[3]), ("a", "1.00", 1, "2026-06-02T11:00:00")


@settings(max_examples=60, deadline=None)
@example(landings=[(0, [("a", "1.00", 0, None), ("a", "three", 0, None), ("a", "three", 0, None)])])
@example(landings=[(0, [A]), (2, [B, ELEVEN]), (3, [B, ELEVEN])])
@example(landings=[(0, [A]), (4, [B]), (3, [A])])
@example(landings=[(3, [("a", "1.00", 0, TIMES[2]), ("a", "2.00", 0, TIMES[2])]), (4, [("a", "1.00", 0, TIMES[2])])])
@given(landings=LANDINGS)
def test_a_history_has_the_last_content_of_each_moment_and_a_version_a_change(raw, landings):
    found = history(raw, landings)
    assert found == modelled(landings)
    staged = "select product_id, base_price from ecom_staging.base_products where _state = 'staged' order by product_id"
    newest = [(product, price) for product, price, _, valid_to in found if valid_to == LAST]
    assert raw.connection.execute(staged).fetchall() == newest


ARRIVALS = st.lists(
    st.tuples(st.integers(1, 3), st.booleans(), st.sampled_from("ab"), st.integers(0, 1)), min_size=1, max_size=6
)


def batch(sequence: int, day: int, declared: bool, source: str, appended: int) -> Batch:
    on = date(2026, 6, day)
    values = (f"b{sequence}", "products", "s3", source, on, declared, sequence, None, str(sequence), on, 1)
    return Batch(*values, appended, 1 - appended, 0, drift={}, columns=(), files={"rows": "r"} if appended else {})


@given(arrived=ARRIVALS, arriving=ARRIVALS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_ingestion_and_dbt_say_alike_which_batches_are_overtaken(raw, arrived, arriving):
    """Ingestion decides before it knows whether new batches have rows, and assumes that they do."""
    arriving = [(*placed, 1) for *placed, _ in arriving]
    batches = [batch(sequence, *values) for sequence, values in enumerate([*arrived, *arriving], start=1)]
    before, after = batches[: len(arrived)], batches[len(arrived) :]
    raw.connection.execute("delete from ecom_raw.batches")
    for b in batches:
        raw.connection.execute(
            "insert into ecom_raw.batches (batch_id, table_name, source, batch_date, declared, sequence, appended) "
            "values (?, ?, ?, ?, ?, ?, ?)",
            [b.batch_id, b.table, b.source, b.batch_date, b.declared, b.sequence, b.appended],
        )
    found = raw.connection.execute(f"select batch_id from ({rendered.model('stg_batches')}) where is_overtaken")
    of_ingestion = batch_files._overtaken(before, [b.place for b in after])
    of_dbt = {batch_id for (batch_id,) in found.fetchall()}
    assert {b.batch_id for b in of_ingestion} == of_dbt & {b.batch_id for b in before}
