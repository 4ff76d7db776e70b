"""Slowly changing dimensions from all versions in raw: as a plain model has them, in any order of arrival."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import permutations

import duckdb
import pytest
import rendered
from duckbook import appending, warehouse
from duckbook.batches import Batch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw_rows import Raw

FIRST, LAST = date(1900, 1, 1), date(9999, 12, 31)

ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["1.00", "2.00", "three"]), st.integers(0, 1)),
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
    """Product, price, valid_from, valid_to of every version after batches of (day, rows) landed in this order."""
    for table in ("products", "sightings", "batches"):
        raw.connection.execute(f"delete from ecom_raw.{table}")
    for day, rows in landings:
        records = [{"product_id": p, "base_price": price, "stock_quantity": stock} for p, price, stock in rows]
        raw.land("products", records, date(2026, 6, 1) + timedelta(day))
    for name in ("stg_batches", "base_products"):
        raw.connection.execute(f"create or replace table ecom_staging.{name} as {rendered.model(name)}")
    versions = rendered.macro("history_of", "ecom_staging.base_products", "products", "product_id", ["base_price"])
    query = f"select product_id, base_price, valid_from, valid_to from ({versions}) order by product_id, valid_from"
    return raw.connection.execute(query).fetchall()


def modelled(landings: list) -> list[tuple]:
    """The same, from the last sound price of each product on each day."""
    last: dict[str, dict[date, Decimal]] = {}
    for day, rows in sorted(landings, key=lambda landing: landing[0]):
        for product, price, _ in rows:
            if price != "three":
                last.setdefault(product, {})[date(2026, 6, 1) + timedelta(day)] = Decimal(price)
    versions = []
    for product, prices in sorted(last.items()):
        days = sorted(prices)
        changes = [day for n, day in enumerate(days) if n == 0 or prices[days[n - 1]] != prices[day]]
        for n, day in enumerate(changes):
            end = changes[n + 1] if n + 1 < len(changes) else LAST
            versions.append((product, prices[day], FIRST if n == 0 else day, end))
    return versions


@settings(max_examples=40, deadline=None)
@example(landings=[(0, [("a", "1.00", 0), ("a", "three", 0), ("a", "three", 0)])])
@given(landings=LANDINGS)
def test_a_history_has_the_last_content_of_each_day_and_a_version_a_change(raw, landings):
    assert history(raw, landings) == modelled(landings)


@settings(max_examples=6, deadline=None)
@given(rows=st.lists(ROWS, min_size=3, max_size=3))
def test_batches_that_arrive_late_or_out_of_order_give_the_same_history(raw, rows):
    results = [history(raw, list(arrival)) for arrival in permutations(enumerate(rows))]
    assert all(result == results[0] for result in results)


def test_the_newest_version_is_the_staged_one(raw):
    landings = [(0, [("a", "1.00", 1)]), (2, [("a", "2.00", 1)]), (1, [("a", "1.00", 0)]), (3, [("a", "three", 0)])]
    assert [row[1] for row in history(raw, landings)] == [Decimal("1.00"), Decimal("2.00")]
    query = "select base_price from ecom_staging.base_products where _state = 'staged'"
    assert raw.connection.execute(query).fetchall() == [(Decimal("2.00"),)]


@pytest.fixture(scope="module")
def marts(built_shop):
    with warehouse.open_warehouse(built_shop[0], read_only=True) as connection:
        connection.execute("use ecom_marts")
        yield connection


def test_products_were_dearer_for_two_weeks_and_no_longer(marts):
    # The batch that says so arrived last: see batches() in shop.py.
    query = """
        select valid_from, valid_to, base_price from dim_products_history where product_id = '1' order by version
    """
    first, second, third = marts.execute(query).fetchall()
    assert first[:2] == (FIRST, date(2026, 6, 15))
    assert second == (date(2026, 6, 15), date(2026, 6, 30), Decimal("199.99"))
    assert third[:2] == (date(2026, 6, 30), LAST) and third[2] == first[2]


def test_an_order_goes_where_the_customer_lived_at_its_time(marts):
    # Customers 0 to 11 move to Portland on the last day; no order of before goes there for that reason.
    query = """
        select
            count(*) as orders,
            count(*) filter (where orders.location_key = history.location_key) as at_home_then,
            count(*) filter (where orders.location_key = now.location_key) as at_home_now
        from fct_customer_orders as orders
        inner join ecom_staging.stg_orders as staged on orders.order_id = staged.order_id
        left join ecom_intermediate.int_addresses as addresses on staged.shipping_address = addresses.address
        inner join dim_customers_history as history
            on orders.customer_key = history.customer_key and not history.is_current
        inner join dim_customers as now on orders.customer_key = now.customer_key
        where addresses.city is null and history.location_key <> now.location_key
    """
    orders, then, now = marts.execute(query).fetchone()
    assert (orders, now) == (then, 0)
    assert orders > 0


def test_a_line_names_the_version_that_was_valid_on_its_day(marts):
    query = """
        select
            count(*) as lines,
            count(*) filter (
                where not products.is_unknown
                and (lines.ordered_at::date < products.valid_from or lines.ordered_at::date >= products.valid_to)
            ) as wrong
        from fct_order_details as lines
        inner join dim_products_history as products on lines.product_version_key = products.product_version_key
    """
    lines, wrong = marts.execute(query).fetchone()
    assert (lines, wrong) == (marts.execute("select count(*) from fct_order_details").fetchone()[0], 0)


ARRIVALS = st.lists(
    st.tuples(st.integers(1, 3), st.booleans(), st.sampled_from("ab"), st.integers(0, 1)), min_size=1, max_size=6
)


def batch(sequence: int, day: int, declared: bool, source: str, appended: int) -> Batch:
    on = date(2026, 6, day)
    told = (f"b{sequence}", "products", "s3", source, on, declared, sequence, None, str(sequence), on, 1)
    return Batch(*told, appended, 1 - appended, 0, drift={}, columns=(), files={"rows": "r"} if appended else {})


@given(arrived=ARRIVALS, arriving=ARRIVALS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_ingestion_and_dbt_say_alike_which_batches_are_overtaken(raw, arrived, arriving):
    """Ingestion asks before it knows whether those that arrive bring rows: it takes it that they do."""
    arriving = [(*placed, 1) for *placed, _ in arriving]
    batches = [batch(sequence, *told) for sequence, told in enumerate([*arrived, *arriving], start=1)]
    before, after = batches[: len(arrived)], batches[len(arrived) :]
    raw.connection.execute("delete from ecom_raw.batches")
    for b in batches:
        raw.connection.execute(
            "insert into ecom_raw.batches (batch_id, table_name, source, batch_date, declared, sequence, appended) "
            "values (?, ?, ?, ?, ?, ?, ?)",
            [b.batch_id, b.table, b.source, b.batch_date, b.declared, b.sequence, b.appended],
        )
    found = raw.connection.execute(f"select batch_id from ({rendered.model('stg_batches')}) where is_overtaken")
    of_ingestion = appending._overtaken(before, [b.place for b in after])
    told_by_dbt = {batch_id for (batch_id,) in found.fetchall()}
    assert {b.batch_id for b in of_ingestion} == told_by_dbt & {b.batch_id for b in before}
