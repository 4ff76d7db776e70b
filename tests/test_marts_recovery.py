"""What is planted is found again in the marts of a large store, with the truth tables beside the data."""

from __future__ import annotations

import numpy as np
import pytest
from chains import begin
from duckbook import servers, warehouse
from duckbook.lifetime import fit_bgnbd

CUSTOMERS = 100_000


@pytest.fixture(scope="module")
def marts(start_store, soak):
    """A connection that sees the marts and the truth of a store of a hundred thousand customers."""
    if not soak:
        pytest.skip("a store of 100,000 customers takes minutes: make soak")
    store = start_store("large", customers=CUSTOMERS)
    begin(store)
    with warehouse.open_warehouse(store, read_only=True) as connection:
        warehouse.use_landing(connection, servers.up(store))
        for name in ("parameters", "calendar", "products", "prices", "affinities"):
            found = f"s3://{store.s3_historic_bucket}/truth/{name}.parquet"
            connection.execute(f"create temp table truth_{name} as select * from read_parquet('{found}')")
        yield connection


def planted(connection, *names: str) -> list[float]:
    values = dict(connection.execute("select parameter, value from truth_parameters").fetchall())
    return [float(values[name]) for name in names]


def test_bgnbd_parameters_come_back_from_the_marts_on_time_adjusted_for_the_season(marts):
    buyers = marts.execute("""
        with orders as (
            select customer_key, order_id, any_value(ordered_at) as ordered_at
            from ecom_marts.fct_order_details
            where is_order_known
            group by customer_key, order_id
        ),
        timed as (
            select
                customer_key,
                operational_weeks + intensity / 7 * (epoch(ordered_at) % 86400) / 86400 as week
            from orders
            inner join ecom_marts.dim_customers using (customer_key)
            inner join truth_calendar on ordered_at::date = truth_calendar.date
            where customer_id is not null
        )
        select
            count(*) - 1 as repeats,
            max(week) - min(week) as recency,
            (select max(operational_weeks + intensity / 7) from truth_calendar) - min(week) as age
        from timed
        group by customer_key
    """).fetchnumpy()
    found = fit_bgnbd(*(np.asarray(buyers[name], dtype=float) for name in ("repeats", "recency", "age"))).values
    assert found == pytest.approx(planted(marts, "bgnbd_r", "bgnbd_alpha", "bgnbd_a", "bgnbd_b"), rel=0.10)


def test_elasticities_come_back_from_the_marts_with_their_sign_and_order(marts):
    """Units of a product in weeks of a deep promotion against its other weeks, by quarter of the planted elasticity."""
    found = marts.execute("""
        with weekly as (
            select
                prices.product_id,
                prices.week,
                prices.sale_price / prices.base_price as price_ratio,
                coalesce(sum(units), 0) as units
            from truth_prices as prices
            left join (
                select product_id, date_trunc('week', ordered_at)::date as week, units
                from ecom_marts.fct_order_details
                inner join ecom_marts.dim_products using (product_key)
                where is_order_known
            ) as sold on prices.product_id::varchar = sold.product_id::varchar and prices.week = sold.week
            group by all
        ),
        season as (
            select week, sum(units) / count(*) as usual from weekly where price_ratio = 1 group by week
        ),
        expected as (
            select weekly.*, usual, sum(units) filter (where price_ratio = 1) over product
                / sum(usual) filter (where price_ratio = 1) over product * usual as expected
            from weekly
            inner join season using (week)
            window product as (partition by product_id)
        )
        select
            ntile,
            ln(sum(units) / sum(expected)) / ln(avg(price_ratio)) as elasticity
        from expected
        inner join (
            select product_id, ntile(4) over (order by elasticity) as ntile from truth_products
        ) using (product_id)
        where price_ratio <= 0.8
        group by ntile
        order by ntile
    """).fetchnumpy()["elasticity"]
    assert list(found) == sorted(found)
    assert max(found) < 0
    assert np.mean(found) == pytest.approx(planted(marts, "elasticity_mean")[0], abs=0.6)


def test_affinities_come_back_from_the_marts_with_their_order(marts):
    pairs = marts.execute("""
        with baskets as (
            select distinct order_id, subcategory_name
            from ecom_marts.fct_order_details
            inner join ecom_marts.dim_products using (product_key)
            where product_id is not null
        ),
        several as (
            select * from baskets qualify count(*) over (partition by order_id) > 1
        ),
        share as (
            select subcategory_name, count(*) / (select count(distinct order_id) from several) as share
            from several
            group by subcategory_name
        ),
        pairs as (
            select
                one.subcategory_name as one,
                other.subcategory_name as other,
                count(*) / (select count(distinct order_id) from several) as share
            from several as one
            inner join several as other using (order_id)
            where one.subcategory_name < other.subcategory_name
            group by all
        )
        select pairs.share / left_share.share / right_share.share as lift, coalesce(planted.weight, 0) as weight
        from pairs
        inner join share as left_share on one = left_share.subcategory_name
        inner join share as right_share on other = right_share.subcategory_name
        left join truth_affinities as planted
            on one = least(planted.subcategory, planted.other)
            and pairs.other = greatest(planted.subcategory, planted.other)
    """).fetchnumpy()
    lift, weight = (np.asarray(pairs[name], dtype=float) for name in ("lift", "weight"))
    assert lift[weight > 0].min() > 1.2
    assert np.median(lift[weight > 0]) > 5 * np.median(lift[weight == 0])
