"""Versions in the marts have the true prices and addresses at the time of every order."""

from __future__ import annotations

from datetime import timedelta

import pytest
from chains import load_and_build
from duckbook.backends import manifest, servers, warehouse
from duckbook.generate import landing
from duckbook.generate.shop.simulation import quarters
from duckbook.ingest import history
from shop_slices import FIRST_AS_OF


@pytest.fixture(scope="module")
def marts(start_shop):
    """Connection to the marts and the truth of a shop with dirt, after its history and two landings of latest days."""
    settings = start_shop("versions", customers=300, dirt=0.05, quarantine_limit=1)
    endpoints = servers.up(settings)
    landing.land_history(settings, endpoints, **manifest.choose(settings, endpoints))
    for day in (settings.first_as_of, settings.first_as_of + timedelta(days=9)):
        landing.land_latest(settings, endpoints, day)
        history.ingest(settings, endpoints, day)
    load_and_build(settings)
    with warehouse.open_warehouse(settings, read_only=True) as connection:
        warehouse.use_landing(connection, endpoints)
        location = f"s3://{settings.s3_historic_bucket}/truth/prices.parquet"
        connection.execute(f"create temp table truth_prices as select * from read_parquet('{location}')")
        connection.execute("use ecom_marts")
        yield connection


def test_every_line_was_sold_at_the_price_of_its_product_version(marts):
    """Lines whose product is an orphan have no version; all others are compared."""
    query = """
        select
            count(*) as lines,
            count(*) filter (where lines.unit_price <> history.current_price) as otherwise,
            count(*) filter (where history.is_on_sale) as on_sale
        from ecom_staging.stg_order_items as items
        inner join fct_order_details as lines
            on items.order_id = lines.order_id and items.order_item_id = lines.order_item_id
        inner join dim_products_history as history on lines.product_version_key = history.product_version_key
        where items.product_id::bigint < 900_000_000
    """
    lines, otherwise, on_sale = marts.execute(query).fetchone()
    assert otherwise == 0
    assert lines > 500 and on_sale > 50


def test_the_history_of_products_has_the_true_price_of_every_week(marts):
    """No version that overlaps a week has another price."""
    query = """
        select
            count(distinct (truth.product_id, truth.week)) as weeks,
            count(*) filter (
                where
                (history.base_price, history.sale_price) <> (truth.base_price, truth.sale_price)
                or history.is_on_sale <> (truth.sale_price < truth.base_price)
                or not history.is_active
            ) as otherwise
        from truth_prices as truth
        inner join dim_products_history as history
            on truth.product_id::varchar = history.product_id
            and history.valid_from < truth.week + 7
            and history.valid_to > greatest(truth.week, $opening)
    """
    weeks, otherwise = marts.execute(query, {"opening": quarters(FIRST_AS_OF)[0].after + timedelta(days=1)}).fetchone()
    assert weeks == marts.execute("select count(*) from truth_prices").fetchone()[0] > 10_000
    assert otherwise == 0


def test_price_changes_are_the_true_ones(marts):
    """Promotions begin and end, and list prices change, on their Mondays and at no other time."""
    true = """
        select * from (
            select
                product_id::varchar, week::timestamp as changed_at,
                lag(sale_price) over (partition by product_id order by week) as price_before, sale_price
            from truth_prices
        )
        where price_before <> sale_price
    """
    found = """
        select product_id, changed_at, price_before, price_after
        from fct_product_changes inner join dim_products using (product_key)
        -- The truth has prices only for weeks on sale, so launches and withdrawals are left out.
        where change_type = 'price change'
        and (product_id, changed_at) in (select (product_id::varchar, week::timestamp) from truth_prices)
        and (product_id, changed_at) in (select (product_id::varchar, week + interval 7 day) from truth_prices)
    """
    assert sorted(marts.execute(found).fetchall()) == sorted(marts.execute(true).fetchall())


def test_every_order_has_the_address_of_its_customer_version(marts):
    """The billing address is the customer's address when the order was placed."""
    query = """
        select
            count(*) as orders,
            count(*) filter (
                where not contains(staged.billing_address, ', ' || versions.city || ', ' || versions.state || ' ')
            ) as elsewhere,
            count(*) filter (where not versions.is_current) as earlier
        from ecom_staging.stg_orders as staged
        inner join ecom_intermediate.int_orders as orders on staged.order_id = orders.order_id
        inner join ecom_intermediate.int_customer_versions as versions
            on orders.customer_version_key = versions.customer_version_key
    """
    orders, elsewhere, earlier = marts.execute(query).fetchone()
    assert elsewhere == 0
    assert orders > 300 and earlier > 100


def test_records_that_land_again_are_unchanged(marts):
    """The windows of the latest days overlap; records in both are appended once."""
    query = """
        select products.product_id, products.updated_at, products._row_hash
        from ecom_staging.base_products as products
        where products.updated_at is not null
        group by all having count(*) > 1
    """
    assert marts.execute(query).fetchall() == []
    (unchanged,) = marts.execute(
        "select sum(unchanged) from ecom_raw.batches where table_name = 'products' and batch_date > '2026-06-30'"
    ).fetchone()
    assert unchanged > 30
