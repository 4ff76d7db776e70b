"""Ground truth: planted parameters and latent values, for scoring analyses. No model of the warehouse reads it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from duckbook.generate.shop import season
from duckbook.generate.shop.catalogue import AFFINITIES
from duckbook.generate.shop.columns import decimal, moment, money, pick
from duckbook.generate.shop.fulfilment import zone_factors
from duckbook.generate.shop.places import ZONES
from duckbook.generate.shop.review_words import TOPICS
from duckbook.generate.shop.reviews import TONES
from duckbook.generate.shop.simulation import Shop


def truth(shop: Shop) -> dict[str, Iterator[pa.Table]]:
    """Build the truth tables, each in one or more pieces, as of the end of the shop's last day.

    Returns
    -------
    dict
        Tables by name, with one row per:
        ``parameters`` planted parameter; ``customers`` customer who has signed up; ``products`` launched product;
        ``prices`` product and week on sale; ``affinities`` pair of subcategories that go together;
        ``calendar`` day, with its sales relative to an average day and the operational weeks from the opening to its
        start; ``experiment`` enrolled customer, with treatment and period; ``reviews`` review, with its tone, the
        topics praised and blamed, and whether it contradicts the stars; ``zones`` state, with its carrier zone and the
        median days of standard shipping.
    """
    return {
        "parameters": iter([pa.Table.from_pylist(shop.parameters.rows())]),
        "customers": (_customers(shop, known) for known in _known(shop)),
        "products": iter([_products(shop)]),
        "prices": iter([_prices(shop)]),
        "affinities": iter([_affinities()]),
        "calendar": iter([_calendar(shop)]),
        "experiment": (_experiment(shop, known) for known in _known(shop)),
        "reviews": (_reviews(shop, chunk) for chunk in shop.spool.ranges(len(shop.reviews))),
        "zones": iter([_zones(shop)]),
    }


def _known(shop: Shop) -> Iterator[slice]:
    """Ranges of the customers who have signed up."""
    return shop.spool.ranges(int(np.searchsorted(shop.customers.signup, shop.whole.end)))


def _affinities() -> pa.Table:
    return pa.Table.from_pylist(
        [{"subcategory": one, "other": other, "weight": weight} for one, other, weight in AFFINITIES]
    )


def _customers(shop: Shop, known: slice) -> pa.Table:
    customers, end = shop.customers, shop.whole.end
    return pa.table(
        {
            "customer_id": pa.array(customers.id[known]),
            "orders_weekly": _millionths(customers.rate[known]),
            "dropout_chance": _millionths(customers.dropout[known]),
            "dropped_at": moment(shop.purchases.dropped[known], end),
            "closed_at": moment(shop.closed[known], end),
            "mean_order_value": money(np.rint(customers.spend[known]).astype(np.int64)),
            "favourite_category_id": pa.array(customers.favourite[known] + 1),
            "ever_buys": pa.array(customers.buys[known]),
        }
    )


def _products(shop: Shop) -> pa.Table:
    products = shop.products
    known = np.flatnonzero(products.launched < shop.whole.end)
    return pa.table(
        {
            "product_id": pa.array(known + 1),
            "quality": _millionths(products.quality[known]),
            "popularity": _millionths(products.popularity[known]),
            "elasticity": _millionths(products.elasticity[known]),
            "withdrawn_at": moment(products.withdrawn[known], shop.whole.end),
        }
    )


def _prices(shop: Shop) -> pa.Table:
    products = shop.products
    weeks = int(products.week_of(np.array([shop.whole.end - 1]))[0]) + 1
    week, product = np.nonzero(products.on_sale[:weeks])
    day = (products.week_start(week) // season.DAY).astype("datetime64[D]")
    return pa.table(
        {
            "product_id": pa.array(product + 1),
            "week": pa.array(day),
            "base_price": money(products.base[week, product]),
            "sale_price": money(products.sale[week, product]),
        }
    )


def _calendar(shop: Shop) -> pa.Table:
    days = (shop.until - shop.first).days + 1
    intensity = season.daily(shop.first, days)
    return pa.table(
        {
            "date": pa.array(np.datetime64(shop.first) + np.arange(days)),
            "intensity": _millionths(intensity),
            "operational_weeks": _millionths(np.concatenate([[0.0], np.cumsum(intensity)[:-1]]) / 7),
        }
    )


def _experiment(shop: Shop, known: slice) -> pa.Table:
    experiment = shop.purchases.experiment
    enrolled = np.flatnonzero(experiment.enrolled[known]) + known.start
    return pa.table(
        {
            "customer_id": pa.array(shop.customers.id[enrolled]),
            "is_treated": pa.array(experiment.treated[enrolled]),
            "first_day": pa.array([experiment.first] * len(enrolled), pa.date32()),
            "last_day": pa.array([experiment.last] * len(enrolled), pa.date32()),
        }
    )


def _reviews(shop: Shop, chunk: slice) -> pa.Table:
    which = np.flatnonzero(shop.reviews.written[chunk] < shop.whole.end) + chunk.start
    opinions = shop.reviews.opinions(which)
    return pa.table(
        {
            "review_id": pa.array(shop.reviews.ids(which)),
            "tone": pick(TONES, opinions.tone),
            "praised": pick(TOPICS, opinions.praised),
            "blamed": pick(TOPICS, opinions.blamed),
            "contradicts_stars": pa.array(opinions.contradicts),
        }
    )


def _zones(shop: Shop) -> pa.Table:
    states = np.array(sorted(ZONES))
    zones = np.array([ZONES[state] for state in states])
    days = shop.parameters.transit_days * zone_factors(shop.parameters, zones)
    return pa.table({"state": states, "zone": zones, "transit_days": _millionths(days)})


def _millionths(values: np.ndarray) -> pa.Array:
    """Round to six decimal places, as all floats are before they land."""
    return decimal(np.rint(values * 1e6).astype(np.int64), 6)
