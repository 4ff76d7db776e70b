"""Customer records: one per change in a window, and one for the last visit in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from duckbook.generate.shop import season
from duckbook.generate.shop.columns import join, moment, money, pick, text
from duckbook.generate.shop.customers import (
    ACQUISITION,
    CHANNELS,
    EDUCATIONS,
    GENDERS,
    LOCATIONS,
    MARITAL,
    NEVER,
    YEAR,
    Customers,
)
from duckbook.generate.shop.places import CITIES, all_first_names, last_names, streets
from duckbook.generate.shop.randomness import part
from duckbook.generate.shop.simulation import Shop, Window
from duckbook.source_tables import source_tables

_DOMAINS = ("example.com", "example.org", "example.net")

_VISIT_DAYS, _CUSTOMER_DAYS = 31, 31_000_000
"""Visits are generated per month, or for fewer days in shops of more than a million customers."""


def customers(shop: Shop, window: Window) -> Iterator[pa.Table]:
    """Yield records of sign-ups, changes, closings, and each customer's last visit in the window.

    A record holds from its `updated_at` and contains what is known at that time, so that it is the same in every
    window that includes it.
    """
    seen = last_seen(shop, window)
    which = np.flatnonzero(seen >= window.begin)
    for chunk in shop.spool.ranges(len(which)):
        yield _customers(shop, *_moments(shop, window, which[chunk], seen[which[chunk]]))


def _moments(shop: Shop, window: Window, which: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Customer and second of each record, by customer and time."""
    customers, closed = shop.customers, shop.closed[which][:, None]
    changes = np.concatenate([at[which] for at in _changes(customers)], axis=1)
    changes = np.where(changes < closed, changes, NEVER)
    at = np.sort(np.concatenate([changes, closed, customers.signup[which][:, None], seen[:, None]], axis=1), axis=1)
    inside = (at >= window.begin) & (at < window.end)
    inside[:, 1:] &= at[:, 1:] != at[:, :-1]
    who, nth = np.nonzero(inside)
    return which[who], at[who, nth]


def _changes(customers: Customers) -> tuple[np.ndarray, ...]:
    return customers.moved, customers.remarried, customers.rechannelled, customers.repaid


def _customers(shop: Shop, which: np.ndarray, at: np.ndarray) -> pa.Table:
    """Records of customers, each at one moment. `last_login` is that moment, because changes are made on the site."""
    customers = shop.customers
    closed = shop.closed[which]
    moves, marriages, channels, raises = (
        ((change[which] <= at[:, None]) & (change[which] < closed[:, None])).sum(axis=1)
        for change in _changes(customers)
    )
    _, _, city, _, kind = customers.address(which, moves)
    first, last = _names(customers, which)
    age = (at - customers.born[which]) // int(YEAR)
    columns = {
        "customer_id": pa.array(customers.id[which]),
        "email": _emails(shop, which, first, last),
        "first_name": first,
        "last_name": last,
        "age": pa.array(age.astype(np.int32)),
        "gender": pick(GENDERS, customers.gender[which]),
        "annual_income": money(customers.income_after(which, raises) * 100),
        "marital_status": pick(MARITAL, customers.marital_after(which, marriages)),
        "education": pick(EDUCATIONS, customers.education[which]),
        "location_type": pick(LOCATIONS, kind),
        "city": pick([place.name for place in CITIES], city),
        "state": pick([place.state for place in CITIES], city),
        "country": pick(["United States"], np.zeros(len(which), dtype=np.int64)),
        "signup_date": moment(customers.signup[which]),
        "last_login": moment(at),
        "preferred_channel": pick(CHANNELS, customers.channel_after(which, channels)),
        "is_active": pa.array(closed > at),
        "acquisition_channel": pick(ACQUISITION, customers.acquisition[which]),
        "updated_at": moment(at),
    }
    return pa.table({name: columns[name] for name in source_tables()["customers"].column_names})


def last_seen(shop: Shop, window: Window) -> np.ndarray:
    """Last second of the window in which each customer was on the site, or 0.

    Changes are made on the site, so each counts as a visit, though it has no interactions.
    """
    customers = shop.customers
    seen = np.zeros(len(customers), dtype=np.int64)
    for chunk in shop.spool.ranges(len(customers)):
        closed, latest = shop.closed[chunk], seen[chunk]
        ends = np.minimum(closed, window.end)
        for at in _changes(customers):
            for column in at[chunk].T:
                inside = (column >= window.begin) & (column < ends)
                np.maximum(latest, np.where(inside, column, 0), out=latest)
        for column in (customers.signup[chunk], closed):
            inside = (column >= window.begin) & (column < window.end)
            np.maximum(latest, np.where(inside, column, 0), out=latest)
    step = int(np.clip(_CUSTOMER_DAYS // shop.size, 1, _VISIT_DAYS)) * season.DAY
    for begin in range(window.begin, window.end, step):
        visits = shop.visit_generator.between(begin, min(begin + step, window.end))
        np.maximum.at(seen, visits.customer, visits.start)
        shop.spool.release()
    return seen


def addresses(customers: Customers, who: np.ndarray, moves: np.ndarray) -> pa.Array:
    """Addresses after so many moves, such as '123 Oak Street, Springfield, IL 62704'."""
    house, street, city, suffix, _ = customers.address(who, moves)
    road = join([text(house), pick(streets().values, street)], " ")
    town = pick([f"{place.name}, {place.state} {place.zip3}" for place in CITIES], city)
    return join([join([road, town], ", "), pick([f"{n:02d}" for n in range(1, 100)], suffix)], "")


def _names(customers: Customers, which: np.ndarray) -> tuple[pa.Array, pa.Array]:
    return pick(all_first_names(), customers.first_name[which]), pick(last_names().values, customers.last_name[which])


def _emails(shop: Shop, which: np.ndarray, first: pa.Array, last: pa.Array) -> pa.Array:
    number = shop.customers.id[which]
    domain = pick(_DOMAINS, part(shop.randomness.bits("email", number), 0, 16) * len(_DOMAINS) >> 16)
    plain = pc.replace_substring_regex(pc.utf8_lower(join([first, last], ".")), "[^a-z.]", "")
    return join([join([plain, text(number)], ""), domain], "@")
