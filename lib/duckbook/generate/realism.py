"""Compare figures of the generated data with published ones.

A band is a figure measured by a query, the range in which it must lie, and the source of the range. Ranges allow for
the sampling error of a shop with 5,000 customers or more. Where published figures disagree, the band names its source.

The queries read `orders`, `order_items`, `reviews`, `customers`, `products`, `subcategories` and `interactions` as
in staging (the newest version of each key), and `prices`, `affinities` and `review_tones` (the table `reviews`) from
the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duckdb import DuckDBPyConnection

SESSIONS = """
    select
        session_id,
        any_value(device_type) as device,
        count(*) filter (where event_type = 'cart_add') > 0 as fills,
        count(*) filter (where event_type = 'purchase') > 0 as buys
    from interactions
    group by session_id
"""

SPEND = """
    select orders.customer_id, sum(order_items.total_price)::double as spend
    from orders
    join order_items using (order_id)
    join customers using (customer_id)
    where customers.signup_date < (select max(order_date) from orders) - interval 78 week
    group by orders.customer_id
"""

MEAN_STARS = """
    select avg(review_score) from reviews join orders using (order_id)
    where (orders.delivered_at > orders.promised_at) = {late}
"""

DAILY_ORDERS = "select order_date::date as day, count(*) as orders from orders group by day"

PAIRS = """
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

PROMOTIONS = """
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
        select promoted, sum(units) / sum(views) as units_per_view, sum(views * ln(relative)) / sum(views) as log_price
        from weeks group by promoted
    )
"""

ZIPF = """
    with sold as (select product_id, sum(quantity)::double as units from order_items group by product_id),
    ranked as (select units, row_number() over (order by units desc) as place from sold)
    select -regr_slope(ln(units), ln(place)) from ranked where place <= (select count(*) / 3 from products)
"""

GINI = f"""
    with ranked as (
        select spend, row_number() over (order by spend) as place, count(*) over () as n from ({SPEND})
    )
    select sum((2 * place - n - 1) * spend) / (max(n) * sum(spend)) from ranked
"""

TOP_FIFTH = f"""
    with ranked as (select spend, percent_rank() over (order by spend) as place from ({SPEND}))
    select sum(spend) filter (where place > 0.8) / sum(spend) from ranked
"""

ONE_TIME_BUYERS = """
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

RETURNED = """
    select sum(total_price) filter (where returned_at is not null)::double / sum(total_price)
    from order_items join orders using (order_id) where delivered_at is not null
"""

JANUARY = """
    select count(*) filter (where month(returned_at) = 1) * 12 / count(*)
    from order_items where returned_at is not null
"""

BLACK_FRIDAY = f"""
    select avg(orders) filter (where month(day) = 11 and dayofweek(day) = 5 and day(day) between 23 and 29)
        / avg(orders)
    from ({DAILY_ORDERS})
"""

MONDAY = f"""
    select sum(orders) filter (where dayofweek(day) = 1) / sum(orders) filter (where dayofweek(day) = 6)
    from ({DAILY_ORDERS}) where not (month(day) = 11 and day(day) > 20)
"""

DEVICES = f"""
    select avg(buys::int) filter (where device = 'desktop') / avg(buys::int) filter (where device = 'mobile')
    from ({SESSIONS})
"""

CART_ADDS = """
    select count(*) filter (where event_type = 'cart_add') / count(*) filter (where event_type = 'purchase')
    from interactions
"""

ELASTICITY = f"""
    {PROMOTIONS}
    select
        ln(max(units_per_view) filter (where promoted) / max(units_per_view) filter (where not promoted))
        / max(log_price) filter (where promoted)
    from kinds
"""

PLANTED = f"""
    {PAIRS}
    select avg(planted::int)
    from (select planted from known where together >= 12 order by lift desc, one, other limit 20)
"""

FIVE_STARS = "select avg((review_score = 5)::int) from reviews"

ONE_STAR = "select count(*) filter (where review_score = 1) / count(*) filter (where review_score = 2) from reviews"

LATE = "select avg((delivered_at > promised_at)::int) from orders where delivered_at is not null"

STEADY_CONVERSION = f"""
    with days as (
        select session_id, min(event_date) as began from interactions group by session_id
    ),
    opened as (select min(began) + interval 91 day as opened, max(began) as ended from days)
    select avg(buys::int) filter (where began > ended - interval 1 year)
        / avg(buys::int) filter (where began <= opened + interval 1 year)
    from ({SESSIONS}) join days using (session_id), opened
    where began > opened
"""

INCOME_BY_EDUCATION = """
    select median(annual_income) filter (where education = 'bachelor')
        / median(annual_income) filter (where education = 'high school')
    from customers
"""

INCOME_BY_AGE = """
    select median(annual_income) filter (where age between 45 and 54) / median(annual_income) filter (where age < 25)
    from customers
"""

SHIPPED_OFF_HOURS = """
    select avg((hour(local) not between 8 and 17 or dayofweek(local) = 0
        or strftime(local, '%m-%d') in ('01-01', '06-19', '07-04', '11-11', '12-25'))::int)
    from (select shipped_at - interval 5 hour as local from orders where shipped_at is not null)
"""

DELIVERED_OFF_DAYS = """
    select avg((dayofweek(local) = 0 or strftime(local, '%m-%d') in ('01-01', '12-25'))::int)
    from (select delivered_at - interval 7 hour as local from orders where delivered_at is not null)
"""

DELIVERED_BY_NIGHT = """
    select avg((hour(delivered_at - interval 7 hour) < 6)::int) from orders where delivered_at is not null
"""

REVIEWED_BY_NIGHT = "select avg((hour(created_at - interval 6 hour) between 1 and 5)::int) from reviews"

TRANSIT_BY_DISTANCE = """
    select avg(days) filter (where state in ('CA', 'OR', 'WA'))
        / avg(days) filter (where state in ('KY', 'IN', 'IL', 'OH', 'TN', 'WV'))
    from (
        select
            regexp_extract(shipping_address, ', ([A-Z]{2}) [0-9]', 1) as state,
            date_diff('hour', shipped_at, delivered_at) / 24 as days
        from orders where delivered_at is not null
    )
"""

EMPTY_SHELVES = "select avg((stock_quantity = 0)::int) from products where is_active"

MONTHS_OF_STOCK = """
    select (select sum(stock_quantity) from products where is_active) / sum(quantity)
    from order_items
    where created_at > (select max(created_at) from order_items) - interval 30 day
"""

LATE_MENTIONED = """
    select avg(regexp_matches(review_text, '(?i)\\b(late|delayed|waited)\\b')::int)
    from reviews join orders using (order_id)
    where review_score <= 2 and delivered_at > promised_at
"""

TONE_SHARE = "select avg(({})::int) from review_tones"


@dataclass(frozen=True)
class Band:
    """A figure to measure, its range, and the published value and its source."""

    name: str
    low: float
    high: float
    published: str
    source: str
    query: str
    is_share: bool = False


_UCI = "UCI Online Shoppers (Sakar et al. 2018)"
_OLIST = "Olist 2016-2018"
_J_SHAPE = "Olist; J shape as in Hu, Pavlou and Zhang 2009"
_CDNOW = "CDNOW (Fader and Hardie)"
_ADOBE = "Adobe Digital Insights 2023-2024"
_NRF = "NRF and Appriss Retail 2023, online sales"
_HOURS = "Louisville hours, Monday to Saturday; 5 U.S.C. 6103 (federal holidays)"
_ASSUMED = "Truth: reviews; the size is an assumption"

_share = partial(Band, is_share=True)

BANDS = (
    _share("sessions with a purchase", 0.135, 0.175, "15.5%", _UCI, f"select avg(buys::int) from ({SESSIONS})"),
    Band("conversion, last year / first year after opening", 0.90, 1.10, "about 1",
         "Assumption: an established shop is stable", STEADY_CONVERSION),
    _share("abandoned carts", 0.66, 0.75, "70.2%", "Baymard Institute, mean of 50 studies, 2025",
           f"select avg((not buys)::int) from ({SESSIONS}) where fills"),
    Band("cart adds per line bought", 2.5, 3.7, "3.1", "RetailRocket (69,332 / 22,457)", CART_ADDS),
    Band("conversion, desktop / mobile", 1.6, 2.8, "about 2", "Monetate, Ecommerce Quarterly", DEVICES),
    _share("goods returned, by value", 0.135, 0.215, "17.6%", _NRF, RETURNED),
    Band("returns, January / mean month", 1.3, 3.5, "1.5 to 2.5", "NRF and Appriss Retail, holidays",
         JANUARY),
    _share("late deliveries", 0.055, 0.115, "8.1%", _OLIST, LATE),
    _share("shipments outside the warehouse's hours", 0, 0.001, "none", _HOURS, SHIPPED_OFF_HOURS),
    _share("deliveries on Sundays and holidays", 0, 0.002, "none", "UPS and FedEx Ground, holiday schedules",
           DELIVERED_OFF_DAYS),
    _share("deliveries at night", 0, 0.002, "none", "UPS: deliveries from 9:00 to 19:00, sometimes later",
           DELIVERED_BY_NIGHT),
    Band("days in transit, West Coast / near the warehouse", 1.4, 3.0, "4 to 5 days / 1 to 2 days",
         "UPS, Ground Time-in-Transit Maps", TRANSIT_BY_DISTANCE),
    Band("mean stars, delivered on time", 4.13, 4.43, "4.28", _OLIST, MEAN_STARS.format(late="false")),
    Band("mean stars, delivered late", 2.1, 3.0, "2.55", _OLIST, MEAN_STARS.format(late="true")),
    _share("reviews with five stars", 0.52, 0.66, "57.8%", _J_SHAPE, FIVE_STARS),
    Band("reviews, one star / two stars", 1.6, 5.5, "3.6", _J_SHAPE, ONE_STAR),
    _share("reviews written between 1:00 and 6:00", 0.01, 0.09, "most people are asleep",
           "BLS, American Time Use Survey 2023", REVIEWED_BY_NIGHT),
    _share("bad reviews of late orders that mention it", 0.45, 0.85, "planted", _ASSUMED, LATE_MENTIONED),
    _share("reviews that praise and complain", 0.15, 0.28, "planted", _ASSUMED, TONE_SHARE.format("tone = 'mixed'")),
    _share("reviews that contradict their stars", 0.025, 0.065, "planted", _ASSUMED,
           TONE_SHARE.format("contradicts_stars")),
    _share("products out of stock", 0.01, 0.10, "8.3%", "Gruen, Corsten and Bharadwaj 2002", EMPTY_SHELVES),
    Band("stock in months of sales", 1.0, 2.8, "1.3", "US Census Bureau, retail inventories to sales, 2015-2024",
         MONTHS_OF_STOCK),
    Band("income, bachelor's degree / high school", 1.4, 2.0, "1.66", "BLS, Education Pays 2023", INCOME_BY_EDUCATION),
    Band("income, age 45 to 54 / under 25", 1.6, 2.9, "2.02", "US Census Bureau, P60-282, 2023", INCOME_BY_AGE),
    Band("price elasticity of units per view in promotions", -3.5, -1.7, "−2.62",
         "Bijmolt, van Heerde and Pieters 2005", ELASTICITY),
    Band("Zipf exponent of units sold", 0.55, 1.15, "0.87", "Brynjolfsson, Hu and Smith 2003 (Amazon)", ZIPF),
    Band("Gini of spend, signed up 18+ months ago", 0.53, 0.70, "0.63", _CDNOW, GINI),
    _share("spend of the top fifth, signed up 18+ months ago", 0.57, 0.73, "67%", _CDNOW, TOP_FIFTH),
    _share("buyers without a second order within 39 weeks", 0.55, 0.80, "60%", f"{_CDNOW}; general shops are higher",
           ONE_TIME_BUYERS),
    Band("orders, Black Friday / mean day", 2.0, 4.5, "about 3", _ADOBE, BLACK_FRIDAY),
    Band("orders, Monday / Saturday", 1.05, 1.50, "about 1.2", _ADOBE, MONDAY),
    Band("mean order value with shipping, USD", 75, 115, "80 to 120", "Dynamic Yield, eCommerce benchmarks",
         "select avg(total_amount) from orders where status != 'cancelled'"),
    _share("planted pairs among the 20 with the highest lift", 0.7, 1.0, "planted", "Truth: affinities", PLANTED),
)  # fmt: skip


def measure(connection: DuckDBPyConnection, bands: Iterable[Band] = BANDS) -> list[dict]:
    """Measure bands on the tables of a connection.

    Returns
    -------
    list of dict
        One record per band: name, value (rounded to four places), low, high, is_share, published, source, passed.
    """
    rows = []
    for band in bands:
        [(result,)] = connection.execute(band.query).fetchall()
        value = None if result is None else round(float(result), 4)
        passed = value is not None and band.low <= value <= band.high
        row = {"name": band.name, "value": value, "low": band.low, "high": band.high, "is_share": band.is_share}
        rows.append(row | {"published": band.published, "source": band.source, "passed": passed})
    return rows
