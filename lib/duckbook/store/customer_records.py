"""Records of customers: those who signed up, came, changed or left in a window, as they are at its end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from duckbook.store import season
from duckbook.store.columns import join, moment, money, pick, text
from duckbook.store.customers import (
    ACQUISITION,
    CHANNELS,
    EDUCATIONS,
    GENDERS,
    LOCATIONS,
    MARITAL,
    YEAR,
    Customers,
)
from duckbook.store.places import CITIES, all_first_names, last_names, streets
from duckbook.store.randomness import part
from duckbook.store.simulation import Store, Window
from duckbook.tables import source_tables

_DOMAINS = ("example.com", "example.org", "example.net")

_VISIT_DAYS = 31
"""Visits are made a month at a time, which bounds the memory."""


def customers(store: Store, window: Window) -> pa.Table:
    """Customers who signed up, visited, changed or left in the window."""
    people = store.customers
    seen = last_seen(store, window)
    which = np.flatnonzero(seen >= window.begin)
    ends = np.minimum(store.closed[which], window.end)
    moves, marriages, channels, raises = (
        (at[which] < ends[:, None]).sum(axis=1)
        for at in (people.moved, people.remarried, people.rechannelled, people.repaid)
    )
    _, _, city, _, kind = people.address(which, moves)
    first, last = _names(people, which)
    # The age at the last visit, so that a record changes with what the customer does and not with the day it lands.
    age = (seen[which] - people.born[which]) // int(YEAR)
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
        "last_login": moment(seen[which]),
        "preferred_channel": pick(CHANNELS, people.channel_after(which, channels)),
        "is_active": pa.array(store.closed[which] >= window.end),
        "acquisition_channel": pick(ACQUISITION, people.acquisition[which]),
    }
    return pa.table({name: columns[name] for name in source_tables()["customers"].column_names})


def last_seen(store: Store, window: Window) -> np.ndarray:
    """Last moment of the window in which each customer was on the site; 0 where they were not.

    Changes are made on the site, so each is a visit, though nothing is looked at in it.
    """
    people = store.customers
    seen = np.zeros(len(people), dtype=np.int64)
    ends = np.minimum(store.closed, window.end - 1)
    for at in (people.moved, people.remarried, people.rechannelled, people.repaid):
        for column in at.T:
            inside = (column >= window.begin) & (column < ends)
            np.maximum(seen, np.where(inside, column, 0), out=seen)
    for column in (people.signup, store.closed):
        inside = (column >= window.begin) & (column < window.end)
        np.maximum(seen, np.where(inside, column, 0), out=seen)
    for begin in range(window.begin, window.end, _VISIT_DAYS * season.DAY):
        visits = store.visiting.between(begin, min(begin + _VISIT_DAYS * season.DAY, window.end))
        # Visits come in order of time, so the last assignment to a customer is the last visit.
        newest = np.zeros(len(people), dtype=np.int64)
        newest[visits.customer] = visits.start
        np.maximum(seen, newest, out=seen)
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
