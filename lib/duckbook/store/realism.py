"""Realism: what the generated data measure, held against published figures.

A band is a figure that a query reads off the tables of the store, the range in which it must lie, and the source of
the range. Ranges allow for the luck of a store of 5,000 customers or more; below that, figures wander. Where shops
disagree, the band says which one is followed.

The queries read `orders`, `order_items`, `reviews`, `customers`, `products`, `subcategories`, `interactions` as
staging would have them (the newest version of each key), and from the truth `prices` and `affinities`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Band:
    """A figure, the range that it must lie in, what was published, and the query that measures it."""

    name: str
    low: float
    high: float
    published: str
    source: str
    query: str


_SESSIONS = """
    select
        session_id,
        any_value(device_type) as device,
        count(*) filter (where event_type = 'cart_add') > 0 as fills,
        count(*) filter (where event_type = 'purchase') > 0 as buys
    from interactions
    group by session_id
"""

_SPEND = """
    select orders.customer_id, sum(order_items.total_price)::double as spend
    from orders
    join order_items using (order_id)
    join customers using (customer_id)
    where customers.signup_date < (select max(order_date) from orders) - interval 78 week
    group by orders.customer_id
"""

_STARS = """
    select avg(review_score) from reviews join orders using (order_id)
    where (orders.delivered_at > orders.promised_at) = {late}
"""

_DAYS = "select order_date::date as day, count(*) as orders from orders group by day"

_PAIRS = """
    with lines as (
        select order_items.order_id, subcategories.subcategory_name as name
        from order_items
        join products using (product_id)
        join subcategories on products.subcategory_id = subcategories.subcategory_id
        group by all
    ),
    baskets as (select order_id from lines group by order_id having count(*) > 1),
    shares as (
        select name, count(*) / (select count(*) from baskets) as share
        from lines join baskets using (order_id) group by name
    ),
    pairs as (
        select one.name as one, other.name as other, count(*) as together,
            count(*) / (select count(*) from baskets) / any_value(a.share) / any_value(b.share) as lift
        from lines as one
        join lines as other on one.order_id = other.order_id and one.name < other.name
        join shares as a on one.name = a.name
        join shares as b on other.name = b.name
        group by one.name, other.name
    ),
    known as (
        select pairs.*, affinities.weight is not null as planted
        from pairs
        left join affinities
            on least(affinities.subcategory, affinities.other) = pairs.one
            and greatest(affinities.subcategory, affinities.other) = pairs.other
    )
"""

_PROMOTIONS = """
    with sold as (
        select product_id, date_trunc('week', created_at)::date as week, sum(quantity) as units
        from order_items group by all
    ),
    viewed as (
        select product_id, date_trunc('week', event_date)::date as week, count(*) as views
        from interactions where event_type = 'view' and order_id is null group by all
    ),
    weeks as (
        select
            sale_price < 0.99 * base_price as promoted, sale_price / base_price as relative,
            coalesce(units, 0) as units, coalesce(views, 0) as views
        from prices left join sold using (product_id, week) left join viewed using (product_id, week)
    ),
    kinds as (
        select promoted, sum(units) / sum(views) as units_a_view, sum(views * ln(relative)) / sum(views) as log_price
        from weeks group by promoted
    )
"""

_ZIPF = """
    with sold as (select product_id, sum(quantity)::double as units from order_items group by product_id),
    ranked as (select units, row_number() over (order by units desc) as place from sold)
    select -regr_slope(ln(units), ln(place)) from ranked where place <= (select count(*) / 3 from products)
"""

_GINI = f"""
    with ranked as (
        select spend, row_number() over (order by spend) as place, count(*) over () as n from ({_SPEND})
    )
    select sum((2 * place - n - 1) * spend) / (max(n) * sum(spend)) from ranked
"""

_TOP_FIFTH = f"""
    with ranked as (select spend, percent_rank() over (order by spend) as place from ({_SPEND}))
    select sum(spend) filter (where place > 0.8) / sum(spend) from ranked
"""

_ONCE = """
    with numbered as (
        select customer_id, order_date, row_number() over (partition by customer_id order by order_id) as number
        from orders
    ),
    buyers as (
        select customer_id, min(order_date) as first, min(order_date) filter (where number = 2) as again
        from numbered group by customer_id
    )
    select avg((again is null or again > first + interval 39 week)::int) from buyers
    where first < (select max(order_date) from orders) - interval 39 week
"""

_RETURNED = """
    select sum(total_price) filter (where returned_at is not null)::double / sum(total_price)
    from order_items join orders using (order_id) where delivered_at is not null
"""

_JANUARY = """
    select count(*) filter (where month(returned_at) = 1) * 12 / count(*)
    from order_items where returned_at is not null
"""

_BLACK_FRIDAY = f"""
    select avg(orders) filter (where month(day) = 11 and dayofweek(day) = 5 and day(day) between 23 and 29)
        / avg(orders)
    from ({_DAYS})
"""

_MONDAY = f"""
    select sum(orders) filter (where dayofweek(day) = 1) / sum(orders) filter (where dayofweek(day) = 6)
    from ({_DAYS}) where not (month(day) = 11 and day(day) > 20)
"""

_DEVICES = f"""
    select avg(buys::int) filter (where device = 'desktop') / avg(buys::int) filter (where device = 'mobile')
    from ({_SESSIONS})
"""

_CART_ADDS = """
    select count(*) filter (where event_type = 'cart_add') / count(*) filter (where event_type = 'purchase')
    from interactions
"""

_ELASTICITY = f"""
    {_PROMOTIONS}
    select
        ln(max(units_a_view) filter (where promoted) / max(units_a_view) filter (where not promoted))
        / max(log_price) filter (where promoted)
    from kinds
"""

_PLANTED = f"""
    {_PAIRS}
    select avg(planted::int)
    from (select planted from known where together >= 12 order by lift desc, one, other limit 20)
"""

_FIVE_STARS = "select avg((review_score = 5)::int) from reviews"

_ONE_STAR = "select count(*) filter (where review_score = 1) / count(*) filter (where review_score = 2) from reviews"

_LATE = "select avg((delivered_at > promised_at)::int) from orders where delivered_at is not null"

_UCI = "UCI Online Shoppers (Sakar et al. 2018)"
_OLIST = "Olist 2016-2018"
_J_SHAPE = "Olist; J shape as in Hu, Pavlou and Zhang 2009"
_CDNOW = "CDNOW (Fader and Hardie)"
_ADOBE = "Adobe Digital Insights 2023-2024"
_NRF = "NRF and Appriss Retail 2023, online sales"

BANDS = (
    Band("sessions that buy", 0.135, 0.175, "15.5 %", _UCI, f"select avg(buys::int) from ({_SESSIONS})"),
    Band("carts abandoned", 0.66, 0.75, "70.2 %", "Baymard Institute, mean of 50 studies, 2025",
         f"select avg((not buys)::int) from ({_SESSIONS}) where fills"),
    Band("cart adds for a line bought", 2.5, 3.7, "3.1", "RetailRocket (69,332 / 22,457)", _CART_ADDS),
    Band("conversion, desktop to mobile", 1.6, 2.8, "about 2", "Monetate, Ecommerce Quarterly", _DEVICES),
    Band("value of goods returned", 0.135, 0.215, "17.6 %", _NRF, _RETURNED),
    Band("returns of January to a mean month", 1.3, 3.5, "1.5 to 2.5", "NRF and Appriss Retail, holidays", _JANUARY),
    Band("deliveries late", 0.055, 0.115, "8.1 %", _OLIST, _LATE),
    Band("stars when on time", 4.13, 4.43, "4.28", _OLIST, _STARS.format(late="false")),
    Band("stars when late", 2.1, 3.0, "2.55", _OLIST, _STARS.format(late="true")),
    Band("reviews with five stars", 0.52, 0.66, "57.8 %", _J_SHAPE, _FIVE_STARS),
    Band("reviews, one star to two", 1.6, 5.5, "3.6", _J_SHAPE, _ONE_STAR),
    Band("price elasticity", -3.5, -1.7, "-2.62", "Bijmolt, van Heerde and Pieters 2005", _ELASTICITY),
    Band("Zipf exponent of units sold", 0.55, 1.15, "0.87", "Brynjolfsson, Hu and Smith 2003 (Amazon)", _ZIPF),
    Band("Gini of spend, buyers of 18 months or more", 0.53, 0.70, "0.63", _CDNOW, _GINI),
    Band("spend of the top fifth of them", 0.57, 0.73, "67 %", _CDNOW, _TOP_FIFTH),
    Band("buyers without a second order in 39 weeks", 0.55, 0.80, "60 %", f"{_CDNOW}; general stores are above", _ONCE),
    Band("orders of Black Friday to a mean day", 2.0, 4.5, "about 3", _ADOBE, _BLACK_FRIDAY),
    Band("orders of Monday to Saturday", 1.05, 1.50, "about 1.2", _ADOBE, _MONDAY),
    Band("value of an order, USD", 75, 115, "80 to 120", "Dynamic Yield, eCommerce benchmarks",
         "select avg(total_amount) from orders where status != 'cancelled'"),
    Band("planted pairs among the twenty with most lift", 0.7, 1.0, "planted", "Truth: affinities", _PLANTED),
)  # fmt: skip


def measure(connection: DuckDBPyConnection, bands: Iterable[Band] = BANDS) -> list[dict]:
    """Measure the bands on the tables that a connection sees.

    Returns
    -------
    list of dict
        A record a band: name, value (rounded to four places), low, high, published, source, passed.
    """
    rows = []
    for band in bands:
        (found,) = connection.execute(band.query).fetchone()
        value = None if found is None else round(float(found), 4)
        passed = value is not None and band.low <= value <= band.high
        told = {"name": band.name, "value": value, "low": band.low, "high": band.high}
        rows.append(told | {"published": band.published, "source": band.source, "passed": passed})
    return rows
