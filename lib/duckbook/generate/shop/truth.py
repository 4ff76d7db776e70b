"""The truth: planted parameters and latent values, for scoring analyses. No staging or mart model reads it."""

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
from duckbook.generate.shop.simulation import Store


def truth(store: Store) -> dict[str, Iterator[pa.Table]]:
    """The truth tables by name, each in one piece or more, as known at the end of the store's last day.

    Returns
    -------
    dict
        ``parameters`` (a row a planted parameter), ``customers`` (a row a customer who has signed up), ``products``
        (a row a product that has been launched), ``prices`` (a row a product and week in which it is on sale),
        ``affinities`` (a row a pair of subcategories that go together), ``calendar`` (a row a day: how much is sold on
        it relative to an average day, and the weeks of operational time since the opening that its start is at),
        ``experiment`` (a row a customer who takes part in the experiment: whether the customer is treated, and when),
        ``reviews`` (a row a review: its tone, the topics praised and blamed, whether it contradicts the stars),
        ``zones`` (a row a state: carriers' zone from the warehouse, and median days of standard shipping to it).
    """
    return {
        "parameters": iter([pa.Table.from_pylist(store.parameters.rows())]),
        "customers": (_customers(store, known) for known in _known(store)),
        "products": iter([_products(store)]),
        "prices": iter([_prices(store)]),
        "affinities": iter([_affinities()]),
        "calendar": iter([_calendar(store)]),
        "experiment": (_experiment(store, known) for known in _known(store)),
        "reviews": (_reviews(store, some) for some in store.spool.ranges(len(store.reviews))),
        "zones": iter([_zones(store)]),
    }


def _known(store: Store) -> Iterator[slice]:
    """Those who have signed up, in pieces."""
    return store.spool.ranges(int(np.searchsorted(store.customers.signup, store.whole.end)))


def _affinities() -> pa.Table:
    return pa.Table.from_pylist(
        [{"subcategory": one, "other": other, "weight": weight} for one, other, weight in AFFINITIES]
    )


def _customers(store: Store, known: slice) -> pa.Table:
    people, end = store.customers, store.whole.end
    return pa.table(
        {
            "customer_id": pa.array(people.id[known]),
            "orders_weekly": _millionths(people.rate[known]),
            "dropout_chance": _millionths(people.dropout[known]),
            "dropped_at": moment(store.purchases.dropped[known], end),
            "closed_at": moment(store.closed[known], end),
            "mean_order_value": money(np.rint(people.spend[known]).astype(np.int64)),
            "favourite_category_id": pa.array(people.favourite[known] + 1),
            "ever_buys": pa.array(people.buys[known]),
        }
    )


def _products(store: Store) -> pa.Table:
    goods = store.products
    known = np.flatnonzero(goods.launched < store.whole.end)
    return pa.table(
        {
            "product_id": pa.array(known + 1),
            "quality": _millionths(goods.quality[known]),
            "popularity": _millionths(goods.popularity[known]),
            "elasticity": _millionths(goods.elasticity[known]),
            "withdrawn_at": moment(goods.withdrawn[known], store.whole.end),
        }
    )


def _prices(store: Store) -> pa.Table:
    goods = store.products
    weeks = int(goods.week_of(np.array([store.whole.end - 1]))[0]) + 1
    week, product = np.nonzero(goods.on_sale[:weeks])
    day = (goods.week_start(week) // season.DAY).astype("datetime64[D]")
    return pa.table(
        {
            "product_id": pa.array(product + 1),
            "week": pa.array(day),
            "base_price": money(goods.base[week, product]),
            "sale_price": money(goods.sale[week, product]),
        }
    )


def _calendar(store: Store) -> pa.Table:
    days = (store.until - store.first).days + 1
    intensity = season.daily(store.first, days)
    return pa.table(
        {
            "date": pa.array(np.datetime64(store.first) + np.arange(days)),
            "intensity": _millionths(intensity),
            "operational_weeks": _millionths(np.concatenate([[0.0], np.cumsum(intensity)[:-1]]) / 7),
        }
    )


def _experiment(store: Store, known: slice) -> pa.Table:
    trial = store.purchases.experiment
    part = np.flatnonzero(trial.enrolled[known]) + known.start
    return pa.table(
        {
            "customer_id": pa.array(store.customers.id[part]),
            "is_treated": pa.array(trial.treated[part]),
            "first_day": pa.array([trial.first] * len(part), pa.date32()),
            "last_day": pa.array([trial.last] * len(part), pa.date32()),
        }
    )


def _reviews(store: Store, some: slice) -> pa.Table:
    written = np.flatnonzero(store.reviews.written[some] < store.whole.end) + some.start
    said = store.reviews.said(written)
    return pa.table(
        {
            "review_id": pa.array(store.reviews.ids(written)),
            "tone": pick(TONES, said.tone),
            "praised": pick(TOPICS, said.praised),
            "blamed": pick(TOPICS, said.blamed),
            "contradicts_stars": pa.array(said.contradicts),
        }
    )


def _zones(store: Store) -> pa.Table:
    states = np.array(sorted(ZONES))
    zones = np.array([ZONES[state] for state in states])
    days = store.parameters.transit_days * zone_factors(store.parameters, zones)
    return pa.table({"state": states, "zone": zones, "transit_days": _millionths(days)})


def _millionths(values: np.ndarray) -> pa.Array:
    """Rounded before it is written, as every float is."""
    return decimal(np.rint(values * 1e6).astype(np.int64), 6)
