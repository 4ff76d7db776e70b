"""Realism: what the generated data measure, held against published figures.

A band is a figure that a query reads off the tables of the store, the range in which it must lie, and the source of
the range. Ranges allow for the luck of a store of 5,000 customers or more; below that, figures wander. Where shops
disagree, the band says which one is followed.

The queries read `orders`, `order_items`, `reviews`, `customers`, `products`, `subcategories`, `interactions` as
staging would have them (the newest version of each key), and from the truth `prices`, `affinities` and, of reviews,
`said`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from duckbook.store import realism_queries as queries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Band:
    """A figure, its range, what was published, the query that measures it, and whether it is a share of a whole."""

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
_ASSUMED = "Truth: reviews; assumed in size"

_share = partial(Band, is_share=True)

BANDS = (
    _share("sessions that buy", 0.135, 0.175, "15.5%", _UCI, f"select avg(buys::int) from ({queries.SESSIONS})"),
    Band("conversion, last year to first after opening", 0.90, 1.10, "about 1", "A store that is open is stable",
         queries.STEADY),
    _share("carts abandoned", 0.66, 0.75, "70.2%", "Baymard Institute, mean of 50 studies, 2025",
           f"select avg((not buys)::int) from ({queries.SESSIONS}) where fills"),
    Band("cart adds for a line bought", 2.5, 3.7, "3.1", "RetailRocket (69,332 / 22,457)", queries.CART_ADDS),
    Band("conversion, desktop to mobile", 1.6, 2.8, "about 2", "Monetate, Ecommerce Quarterly", queries.DEVICES),
    _share("value of goods returned", 0.135, 0.215, "17.6%", _NRF, queries.RETURNED),
    Band("returns of January to a mean month", 1.3, 3.5, "1.5 to 2.5", "NRF and Appriss Retail, holidays",
         queries.JANUARY),
    _share("deliveries late", 0.055, 0.115, "8.1%", _OLIST, queries.LATE),
    _share("shipped outside of the warehouse's hours", 0, 0.001, "none", _HOURS, queries.SHIPPED_OFF_HOURS),
    _share("delivered on Sundays and days off", 0, 0.002, "none", "UPS and FedEx Ground, holiday schedules",
           queries.DELIVERED_OFF_DAYS),
    _share("delivered by night", 0, 0.002, "none", "UPS: deliveries from 9 to 19 h, at times later",
           queries.DELIVERED_BY_NIGHT),
    Band("days in transit, West Coast to near the warehouse", 1.4, 3.0, "4 to 5 days against 1 to 2",
         "UPS, Ground Time-in-Transit Maps", queries.FAR),
    Band("stars when on time", 4.13, 4.43, "4.28", _OLIST, queries.STARS.format(late="false")),
    Band("stars when late", 2.1, 3.0, "2.55", _OLIST, queries.STARS.format(late="true")),
    _share("reviews with five stars", 0.52, 0.66, "57.8%", _J_SHAPE, queries.FIVE_STARS),
    Band("reviews, one star to two", 1.6, 5.5, "3.6", _J_SHAPE, queries.ONE_STAR),
    _share("reviews written between 1 and 6 h", 0.01, 0.09, "most are asleep", "BLS, American Time Use Survey 2023",
           queries.REVIEWED_BY_NIGHT),
    _share("one or two stars when late that say so", 0.45, 0.85, "planted", _ASSUMED, queries.LATE_TOLD),
    _share("texts that praise and complain", 0.15, 0.28, "planted", _ASSUMED, queries.TONES.format("tone = 'mixed'")),
    _share("texts that contradict their stars", 0.025, 0.065, "planted", _ASSUMED,
           queries.TONES.format("contradicts_stars")),
    _share("products out of stock", 0.01, 0.10, "8.3%", "Gruen, Corsten and Bharadwaj 2002", queries.EMPTY_SHELVES),
    Band("stock in months of sales", 1.0, 2.8, "1.3", "US Census Bureau, retail inventories to sales, 2015-2024",
         queries.MONTHS_OF_STOCK),
    Band("income, bachelor's degree to high school", 1.4, 2.0, "1.66", "BLS, Education Pays 2023", queries.EDUCATED),
    Band("income at 45 to 54 to that under 25", 1.6, 2.9, "2.02", "US Census Bureau, P60-282, 2023", queries.AGED),
    Band("units per view, promoted to usual, as an elasticity", -3.5, -1.7, "−2.62",
         "Bijmolt, van Heerde and Pieters 2005", queries.ELASTICITY),
    Band("Zipf exponent of units sold", 0.55, 1.15, "0.87", "Brynjolfsson, Hu and Smith 2003 (Amazon)", queries.ZIPF),
    Band("Gini of spend, buyers of 18 months or more", 0.53, 0.70, "0.63", _CDNOW, queries.GINI),
    _share("spend of the top fifth, buyers of 18 months or more", 0.57, 0.73, "67%", _CDNOW, queries.TOP_FIFTH),
    _share("buyers without a second order in 39 weeks", 0.55, 0.80, "60%", f"{_CDNOW}; general stores are above",
           queries.ONCE),
    Band("orders of Black Friday to a mean day", 2.0, 4.5, "about 3", _ADOBE, queries.BLACK_FRIDAY),
    Band("orders of Monday to Saturday", 1.05, 1.50, "about 1.2", _ADOBE, queries.MONDAY),
    Band("value of an order with shipping, USD", 75, 115, "80 to 120", "Dynamic Yield, eCommerce benchmarks",
         "select avg(total_amount) from orders where status != 'cancelled'"),
    _share("planted pairs among the twenty with most lift", 0.7, 1.0, "planted", "Truth: affinities", queries.PLANTED),
)  # fmt: skip


def measure(connection: DuckDBPyConnection, bands: Iterable[Band] = BANDS) -> list[dict]:
    """Measure the bands on the tables that a connection sees.

    Returns
    -------
    list of dict
        A record per band: name, value (rounded to four places), low, high, is_share, published, source, passed.
    """
    rows = []
    for band in bands:
        (found,) = connection.execute(band.query).fetchone()
        value = None if found is None else round(float(found), 4)
        passed = value is not None and band.low <= value <= band.high
        told = {"name": band.name, "value": value, "low": band.low, "high": band.high, "is_share": band.is_share}
        rows.append(told | {"published": band.published, "source": band.source, "passed": passed})
    return rows
