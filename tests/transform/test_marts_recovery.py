"""Planted values are recovered from the marts at full grain, with the truth tables next to the data.

The shop has 10,000 customers in every run, and 100,000 in the long version. Tolerances are multiples of the standard
error of the estimate, which shrinks as the shop grows; exact values have none.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import combinations

import numpy as np
import pytest
from chains import begin
from duckbook.analysis.lifetime import fit_bgnbd
from duckbook.backends import servers, warehouse
from duckbook.generate.shop.simulation import quarters
from duckbook.publish import publisher
from duckbook.settings import Settings
from estimates import PLANTED, columns, effect, risk_ratio, scores, simulated

CUSTOMERS, CUSTOMERS_IN_SOAK = 10_000, 100_000

WIDE = 4.0
"""Allowed error of an estimate in standard errors: one estimate in 16,000 is further off by chance."""


@pytest.fixture(scope="module")
def marts(start_shop, data_of_the_notebooks, soak):
    """A connection with the marts and the truth of a shop: that of the notebooks if they ran in this session."""
    shop = data_of_the_notebooks and Settings(data=data_of_the_notebooks / "data", _env_file=None)
    if soak or shop is None or publisher.current(shop) is None:
        shop = start_shop("large", customers=CUSTOMERS_IN_SOAK if soak else CUSTOMERS)
        begin(shop)
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        warehouse.use_landing(connection, servers.up(shop))
        for name in ("calendar", "products", "prices", "affinities"):
            found = f"s3://{shop.s3_historic_bucket}/truth/{name}.parquet"
            connection.execute(f"create temp table truth_{name} as select * from read_parquet('{found}')")
        yield connection


# ---------- prices


def test_every_line_has_the_price_that_its_version_of_the_product_asked_and_that_was_planted(marts):
    lines, as_its_version, as_planted = marts.execute("""
        select
            count(*),
            count(*) filter (where unit_price = current_price),
            count(*) filter (where unit_price = prices.sale_price and history.base_price = prices.base_price)
        from ecom_marts.fct_order_details
        inner join ecom_marts.dim_products_history as history using (product_version_key)
        left join truth_prices as prices
            on history.product_id = prices.product_id::varchar and date_trunc('week', ordered_at)::date = prices.week
        where not history.is_unknown and not history.is_inferred
    """).fetchone()
    assert lines > CUSTOMERS
    assert as_its_version == lines
    assert as_planted == lines


def test_the_changes_of_price_are_those_that_were_planted_each_at_its_moment(marts):
    """Only weeks whose price and previous price are planted count, so not the first and the last of a product."""
    planted, in_mart, alike = marts.execute("""
        with weeks as (
            select
                product_id::varchar as product_id, week::timestamp as changed_at, sale_price as price_after,
                lag(sale_price) over (partition by product_id order by week) as price_before
            from truth_prices
        ),
        planted as (select * from weeks where price_before <> price_after),
        found as (
            select product_id, changed_at, changes.price_after, changes.price_before
            from ecom_marts.fct_product_changes as changes
            inner join ecom_marts.dim_products using (product_key)
            inner join weeks using (product_id, changed_at)
            where price_changes = 1 and weeks.price_before is not null
        )
        select
            (select count(*) from planted), (select count(*) from found),
            (select count(*) from planted natural join found)
    """).fetchone()
    assert planted == in_mart == alike > 1000


def test_versions_of_products_have_the_planted_price_of_every_week(marts):
    """No version that overlaps a week has another price."""
    weeks, landed, otherwise = marts.execute(
        """
        select
            count(distinct (truth.product_id, truth.week)),
            (select count(*) from truth_prices),
            count(*) filter (
                where
                (history.base_price, history.sale_price) <> (truth.base_price, truth.sale_price)
                or history.is_on_sale <> (truth.sale_price < truth.base_price)
                or not history.is_active
            )
        from truth_prices as truth
        inner join ecom_marts.dim_products_history as history
            on truth.product_id::varchar = history.product_id
            and history.valid_from < truth.week + 7
            and history.valid_to > greatest(truth.week, $opening)
        """,
        {"opening": quarters(Settings(_env_file=None).first_as_of)[0].after + timedelta(days=1)},
    ).fetchone()
    assert weeks == landed > 10_000
    assert otherwise == 0


# ---------- addresses


def test_every_order_has_the_address_of_its_customer_version(marts):
    """The billing address is the customer's address when the order was placed."""
    orders, elsewhere, earlier = marts.execute("""
        select
            count(*),
            count(*) filter (
                where not contains(staged.billing_address, ', ' || versions.city || ', ' || versions.state || ' ')
            ),
            count(*) filter (where not versions.is_current)
        from ecom_staging.stg_orders as staged
        inner join ecom_intermediate.int_orders as orders on staged.order_id = orders.order_id
        inner join ecom_intermediate.int_customer_versions as versions
            on orders.customer_version_key = versions.customer_version_key
    """).fetchone()
    assert elsewhere == 0
    assert orders > CUSTOMERS and earlier > CUSTOMERS / 10


# ---------- elasticity

WEEKLY = """
    select
        dense_rank() over (order by prices.product_id) - 1 as product,
        dense_rank() over (order by prices.week) - 1 as week,
        (history.current_price / history.base_price)::double as price_ratio,
        truth_products.elasticity::double as elasticity,
        coalesce(sold.units, 0)::double as units
    from truth_prices as prices
    inner join truth_products using (product_id)
    inner join ecom_marts.dim_products_history as history
        on prices.product_id::varchar = history.product_id
        and prices.week + interval 12 hour >= valid_from and prices.week + interval 12 hour < valid_to
    left join (
        select product_key, date_trunc('week', ordered_at)::date as week, sum(units) as units
        from ecom_marts.fct_order_details
        where is_order_known
        group by all
    ) as sold on history.product_key = sold.product_key and prices.week = sold.week
"""
"""Units per product and week on sale, with the price in the marts and the planted elasticity."""


SUBSTITUTION = 0.6
"""Allowed error of a pooled elasticity besides chance: buyers choose among goods promoted in the same week."""


def test_the_effect_of_a_price_comes_back_with_its_sign_and_size(marts):
    cells = columns(marts, WEEKLY)
    found, error = effect(cells, np.full(len(cells["units"]), True))
    assert found + WIDE * error < 0
    assert abs(found - PLANTED.elasticity_mean) < SUBSTITUTION + WIDE * error


def test_elastic_products_are_told_from_others(marts, soak):
    cells = columns(marts, WEEKLY)
    parts = 4 if soak else 2
    edges = np.quantile(np.unique(cells["elasticity"]), np.linspace(0, 1, parts + 1)[1:-1])
    group = np.searchsorted(edges, cells["elasticity"])
    found, errors = zip(*(effect(cells, group == number) for number in range(parts)), strict=True)
    assert found[-1] - found[0] > WIDE / 2 * np.hypot(errors[0], errors[-1])
    assert list(found) == sorted(found) and max(found) < 0


# ---------- visits


def test_conversion_by_device_is_as_planted_in_visits_of_the_same_months_and_channels(marts):
    """Return Mantel-Haenszel ratios over months and channels, with the standard error of Greenland and Robins."""
    for device, other in (("desktop", "mobile"), ("tablet", "mobile"), ("desktop", "tablet")):
        strata = columns(
            marts,
            f"""
            select
                sum(buying_sessions) filter (where device_type = '{device}') as a,
                sum(sessions) filter (where device_type = '{device}') as n,
                sum(buying_sessions) filter (where device_type = '{other}') as b,
                sum(sessions) filter (where device_type = '{other}') as m
            from ecom_marts.fct_funnel
            where month_key > 0
            group by month_key, acquisition_channel
            having a is not null and b is not null
            """,
        )
        ratio, error = risk_ratio(*strata.values())
        shares = dict(zip(("desktop", "mobile", "tablet"), PLANTED.device_conversion, strict=True))
        assert np.log(ratio) == pytest.approx(np.log(shares[device] / shares[other]), abs=WIDE * error)


# ---------- repeat purchases

BUYERS = """
    with timed as (
        select
            customer_key,
            operational_weeks + intensity / 7 * (epoch(ordered_at) % 86400) / 86400 as week
        from ecom_marts.fct_customer_orders
        inner join truth_calendar on ordered_at::date = truth_calendar.date
        where customer_key > 0 and is_order_known
    )
    select
        count(*) - 1 as repeats,
        max(week) - min(week) as recency,
        (select max(operational_weeks + intensity / 7) from truth_calendar) - min(week) as age,
        min(week) as first
    from timed
    group by customer_key
"""
"""Buyers on time adjusted for the season."""


def test_repeat_orders_of_each_age_are_those_that_bgnbd_expects(marts):
    """Repeat orders in the first 13, 26 and 52 weeks of buyers observed that long follow the planted parameters."""
    buyers = columns(marts, BUYERS)
    draws = 10
    who, when = simulated(buyers["first"], (buyers["first"] + buyers["age"]).max(), draws)
    expected = np.bincount(who, minlength=draws * len(buyers["first"])).reshape(-1, draws)
    assert (when >= np.repeat(buyers["first"], draws)[who]).all()
    for weeks in (13, 26, 52):
        old = (buyers["age"] >= weeks) & (buyers["age"] < 2 * weeks)
        error = expected[old].std() * np.sqrt((1 + 1 / draws) / old.sum())
        assert buyers["repeats"][old].mean() == pytest.approx(expected[old].mean(), abs=WIDE * error)


def test_retention_by_month_is_that_of_bgnbd(marts):
    """Customers are active 1 to 12 months after their first order as often as planted customers of the same cohorts."""
    calendar = columns(
        marts,
        "select date_diff('day', date '1970-01-01', date) as day, operational_weeks from truth_calendar order by 1",
    )
    buyers, draws = columns(marts, BUYERS), 10
    end = (buyers["first"] + buyers["age"]).max()
    who, when = simulated(buyers["first"], end, draws)

    def months(weeks: np.ndarray) -> np.ndarray:
        days = np.interp(weeks, calendar["operational_weeks"], calendar["day"])
        return days.astype(np.int64).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)

    age = months(when) - months(np.repeat(buyers["first"], draws)[who])
    found = columns(
        marts,
        """
        select months_since_first_order as age, sum(active_customers) as active
        from ecom_marts.fct_cohort_retention
        where cohort_month_key > 0
        group by age
        """,
    )
    active = dict(zip(found["age"], found["active"], strict=True))
    for month in range(1, 13):
        expected = len(np.unique(who[age == month])) / draws
        error = np.sqrt(expected * (1 + 1 / draws))
        assert active[month] == pytest.approx(expected, abs=WIDE * error), f"{month} months on"


def test_bgnbd_parameters_come_back_on_time_adjusted_for_the_season(marts, soak):
    if not soak:
        pytest.skip("four parameters want 100,000 customers: make soak")
    buyers = columns(marts, BUYERS)
    found = fit_bgnbd(buyers["repeats"], buyers["recency"], buyers["age"]).values
    planted = [PLANTED.bgnbd_r, PLANTED.bgnbd_alpha, PLANTED.bgnbd_a, PLANTED.bgnbd_b]
    assert found == pytest.approx(planted, rel=0.10)


# ---------- lateness


def test_late_and_punctual_orders_are_scored_as_planted(marts):
    """Mean stars, given the latent quality of the product, are the planted mean within the planted variance."""
    reviews = columns(
        marts,
        """
        select is_late::int as late, review_score as score, quality::double as quality
        from ecom_marts.fct_customer_reviews
        inner join ecom_marts.fct_customer_orders using (order_id)
        inner join ecom_marts.dim_products using (product_key)
        inner join truth_products on dim_products.product_id = truth_products.product_id::varchar
        where is_late is not null and review_score is not null
        """,
    )
    means = []
    for late in (False, True):
        some = reviews["late"] == late
        mean, variance = scores(reviews["quality"][some], late)
        means.append(reviews["score"][some].mean())
        assert means[-1] == pytest.approx(mean.mean(), abs=WIDE * np.sqrt(variance.sum()) / some.sum())
    assert means[0] - means[1] > 1


def test_lateness_has_no_effect_on_the_next_order_because_none_is_planted(marts):
    """Compare first orders that were observed for 90 days, per month in which they were placed."""
    strata = columns(
        marts,
        """
        with followed as (
            select
                customer_order_number, is_late, date_trunc('month', ordered_at) as month, ordered_at,
                lead(ordered_at) over (partition by customer_key order by customer_order_number) as next_at
            from ecom_marts.fct_customer_orders
            where customer_key > 0 and ordered_at is not null
        )
        select
            count(*) filter (where is_late and next_at < ordered_at + interval 90 day) as a,
            count(*) filter (where is_late) as n,
            count(*) filter (where not is_late and next_at < ordered_at + interval 90 day) as b,
            count(*) filter (where not is_late) as m
        from followed
        where customer_order_number = 1 and is_late is not null
            and ordered_at < (select max(date_day) from ecom_marts.dim_dates) - interval 90 day
        group by month
        having n > 0 and m > 0
        """,
    )
    ratio, error = risk_ratio(*strata.values())
    assert np.log(ratio) == pytest.approx(0, abs=WIDE * error)


# ---------- baskets


def test_what_is_planted_to_go_together_is_bought_together(marts):
    """Compare orders with both subcategories with the number expected by chance, for planted and other pairs."""
    rows = marts.execute("""
        select subcategory_name_a, subcategory_name_b, orders_with_both from ecom_marts.fct_basket_pairs
    """).fetchall()
    both = {frozenset((a, b)): orders for a, b, orders in rows}
    paired: Counter = Counter()
    for pair, orders in both.items():
        paired.update(dict.fromkeys(pair, orders))
    chance = {frozenset(pair): paired[pair[0]] * paired[pair[1]] for pair in combinations(sorted(paired), 2)}
    planted = {frozenset(pair) for pair in marts.execute("select subcategory, other from truth_affinities").fetchall()}
    planted &= chance.keys()
    others = chance.keys() - planted
    usual = sum(both.get(pair, 0) for pair in others) / sum(chance[pair] for pair in others)
    found, expected = (sum(of.get(pair, 0) for pair in planted) for of in (both, chance))
    assert np.log(found / (expected * usual)) - WIDE / np.sqrt(found) > np.log(3)
    for pair in planted:
        least = 1.2 * usual * chance[pair]
        assert both.get(pair, 0) > least - WIDE * np.sqrt(least), set(pair)
