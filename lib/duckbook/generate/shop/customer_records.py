"""Records of customers: one for each change of theirs in a window, and one for the last visit in it."""

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
from duckbook.generate.shop.simulation import Store, Window
from duckbook.source_tables import source_tables

_DOMAINS = ("example.com", "example.org", "example.net")

_VISIT_DAYS, _CUSTOMER_DAYS = 31, 31_000_000
"""Visits are made a month at a time, or as many days as have those of a million customers in a month."""


def customers(store: Store, window: Window) -> Iterator[pa.Table]:
    """Sign-ups, changes and closings of the window, and the last visit of each customer who came in it.

    A record is dated by the moment from which it holds (`updated_at`) and says what is known at that moment, so that
    it is the same whichever window holds it.
    """
    seen = last_seen(store, window)
    which = np.flatnonzero(seen >= window.begin)
    for some in store.spool.ranges(len(which)):
        yield _customers(store, *_moments(store, window, which[some], seen[which[some]]))


def _moments(store: Store, window: Window, which: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Customer and second of each record of some customers, by customer and time."""
    people, closed = store.customers, store.closed[which][:, None]
    changes = np.concatenate([at[which] for at in _changes(people)], axis=1)
    changes = np.where(changes < closed, changes, NEVER)
    at = np.sort(np.concatenate([changes, closed, people.signup[which][:, None], seen[:, None]], axis=1), axis=1)
    inside = (at >= window.begin) & (at < window.end)
    inside[:, 1:] &= at[:, 1:] != at[:, :-1]
    who, nth = np.nonzero(inside)
    return which[who], at[who, nth]


def _changes(people: Customers) -> tuple[np.ndarray, ...]:
    return people.moved, people.remarried, people.rechannelled, people.repaid


def _customers(store: Store, which: np.ndarray, at: np.ndarray) -> pa.Table:
    """Records of customers as they are at a moment each; what is changed is changed on the site, so it is a visit."""
    people = store.customers
    closed = store.closed[which]
    moves, marriages, channels, raises = (
        ((change[which] <= at[:, None]) & (change[which] < closed[:, None])).sum(axis=1) for change in _changes(people)
    )
    _, _, city, _, kind = people.address(which, moves)
    first, last = _names(people, which)
    age = (at - people.born[which]) // int(YEAR)
    columns = {
        "customer_id": pa.array(people.id[which]),
        "email": _emails(store, which, first, last),
        "first_name": first,
        "last_name": last,
        "age": pa.array(age.astype(np.int32)),
        "gender": pick(GENDERS, people.gender[which]),
        "annual_income": money(people.income_after(which, raises) * 100),
        "marital_status": pick(MARITAL, people.marital_after(which, marriages)),
        "education": pick(EDUCATIONS, people.education[which]),
        "location_type": pick(LOCATIONS, kind),
        "city": pick([place.name for place in CITIES], city),
        "state": pick([place.state for place in CITIES], city),
        "country": pick(["United States"], np.zeros(len(which), dtype=np.int64)),
        "signup_date": moment(people.signup[which]),
        "last_login": moment(at),
        "preferred_channel": pick(CHANNELS, people.channel_after(which, channels)),
        "is_active": pa.array(closed > at),
        "acquisition_channel": pick(ACQUISITION, people.acquisition[which]),
        "updated_at": moment(at),
    }
    return pa.table({name: columns[name] for name in source_tables()["customers"].column_names})


def last_seen(store: Store, window: Window) -> np.ndarray:
    """Last moment of the window in which each customer was on the site; 0 where they were not.

    Changes are made on the site, so each is a visit, though nothing is looked at in it.
    """
    people = store.customers
    seen = np.zeros(len(people), dtype=np.int64)
    for some in store.spool.ranges(len(people)):
        closed, latest = store.closed[some], seen[some]
        ends = np.minimum(closed, window.end)
        for at in _changes(people):
            for column in at[some].T:
                inside = (column >= window.begin) & (column < ends)
                np.maximum(latest, np.where(inside, column, 0), out=latest)
        for column in (people.signup[some], closed):
            inside = (column >= window.begin) & (column < window.end)
            np.maximum(latest, np.where(inside, column, 0), out=latest)
    step = int(np.clip(_CUSTOMER_DAYS // store.size, 1, _VISIT_DAYS)) * season.DAY
    for begin in range(window.begin, window.end, step):
        visits = store.visiting.between(begin, min(begin + step, window.end))
        np.maximum.at(seen, visits.customer, visits.start)
        store.spool.release()
    return seen


def addresses(people: Customers, who: np.ndarray, moves: np.ndarray) -> pa.Array:
    """Addresses such as '123 Oak Street, Springfield, IL 62704'."""
    house, street, city, suffix, _ = people.address(who, moves)
    road = join([text(house), pick(streets().values, street)], " ")
    town = pick([f"{place.name}, {place.state} {place.zip3}" for place in CITIES], city)
    return join([join([road, town], ", "), pick([f"{n:02d}" for n in range(1, 100)], suffix)], "")


def _names(people: Customers, which: np.ndarray) -> tuple[pa.Array, pa.Array]:
    return pick(all_first_names(), people.first_name[which]), pick(last_names().values, people.last_name[which])


def _emails(store: Store, which: np.ndarray, first: pa.Array, last: pa.Array) -> pa.Array:
    number = store.customers.id[which]
    domain = pick(_DOMAINS, part(store.randomness.bits("email", number), 0, 16) * len(_DOMAINS) >> 16)
    plain = pc.replace_substring_regex(pc.utf8_lower(join([first, last], ".")), "[^a-z.]", "")
    return join([join([plain, text(number)], ""), domain], "@")
