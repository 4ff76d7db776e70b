"""Interactions: the events of visits.

A visit looks at one product after the other; each look is a view, and may come with a search before it and a wish,
a cart_add and a cart_remove after it. A visit that buys ends with a purchase event for each line of its order.
Events are laid out as a table of looks × kinds and read row by row, so that they come out in order with nothing
sorted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duckbook.store import season
from duckbook.store.baskets import Baskets
from duckbook.store.catalogue import CATEGORIES
from duckbook.store.customers import Customers
from duckbook.store.distributions import Lookup
from duckbook.store.parameters import Parameters
from duckbook.store.products import Products
from duckbook.store.randomness import Randomness, part
from duckbook.store.visits import Visits

KINDS = ("search", "view", "wishlist_add", "cart_add", "cart_remove", "purchase")
SEARCH, VIEW, WISH, CART, REMOVE, PURCHASE = range(6)

A_DAY = 10_000_000
"""More events than a day holds; event_id is YYYYMMDD × this + the event's place among those of the visits of that
day."""


@dataclass(frozen=True)
class Events:
    """Events in order of the visits that they belong to; `product` and `line` are -1 and 0 where there is none."""

    visit: np.ndarray
    kind: np.ndarray
    product: np.ndarray
    line: np.ndarray
    at: np.ndarray
    id: np.ndarray

    def __len__(self) -> int:
        return len(self.visit)


class Interacting:
    """Makes the events of visits."""

    def __init__(
        self, randomness: Randomness, parameters: Parameters, customers: Customers, products: Products, baskets: Baskets
    ) -> None:
        self._randomness, self._parameters = randomness, parameters
        self._customers, self._products, self._baskets = customers, products, baskets
        shares = np.array(parameters.device_shares)
        buying = shares * np.array(parameters.device_conversion)
        self._devices = Lookup.weighted((shares - 0.155 * buying / buying.sum()).clip(0.01))
        self._buying_devices = Lookup.weighted(buying)
        self._category = Lookup.weighted([category.demand for category in CATEGORIES])

    def devices(self, visits: Visits) -> np.ndarray:
        """Index of the device of each visit."""
        bits = self._randomness.bits("device", visits.key)
        return np.where(visits.buys, self._buying_devices(bits), self._devices(bits))

    def of(self, visits: Visits) -> Events:
        """The events of whole days of visits.

        Notes
        -----
        A day's visits must be complete, because an event's id counts those before it on the day.
        """
        order = np.maximum(visits.order, 0)
        bought = (
            np.where(visits.buys, self._baskets.lines[order], 0) if len(self._baskets.lines) else visits.products * 0
        )
        rows = visits.products + bought
        visit = np.repeat(np.arange(len(visits)), rows)
        place = np.arange(len(visit)) - np.repeat(np.cumsum(rows) - rows, rows)
        pays = place >= visits.products[visit]
        bits = self._randomness.bits("look", visits.key[visit], place)
        # The last looks of a visit that buys are at what it buys.
        line = np.where(visits.buys[visit], place - (visits.products - bought)[visit], -1)
        line = np.where(pays, place - visits.products[visit], line)
        product = self._looked_at(visits, visit, line, bits)
        happens = self._flags(visits, visit, place, line, pays, bits)
        at = self._moments(visits, visit, place, pays, bits)
        look, kind = np.nonzero(happens)
        moment = at[look] + np.array([-9, 0, 6, 11, 17, 0])[kind] * (np.abs(visits.gap[visit[look]]) > 24)
        visit = visit[look]
        return Events(
            visit=visit,
            kind=kind.astype(np.int8),
            product=np.where(kind == SEARCH, -1, product[look]),
            line=np.where(kind == PURCHASE, line[look] + 1, 0),
            at=np.maximum(moment, visits.start[visit]),
            id=_ids(visits.start, visit),
        )

    def _looked_at(self, visits: Visits, visit: np.ndarray, line: np.ndarray, bits: np.ndarray) -> np.ndarray:
        start, order = visits.start[visit], visits.order[visit]
        week = self._products.week_of(start)
        key = visits.key[visit]
        mind = self._randomness.bits("mind", visits.key)
        favourite = part(mind, 0, 16) < 0.5 * 65_536
        category = np.where(favourite, self._customers.favourite[visits.customer], self._category(mind, 16))
        baskets = self._baskets
        if len(baskets.order):
            ordered = np.maximum(order, 0)
            first = baskets.begin[ordered]
            category = np.where(
                visits.order >= 0,
                self._products.category[baskets.product[baskets.begin[np.maximum(visits.order, 0)]]],
                category,
            )
            wanted = baskets.product[first + part(bits, 40, 8) * baskets.lines[ordered] // 256]
            prepares = (order >= 0) & (line < 0) & (part(bits, 48, 8) < 128) & ~visits.buys[visit]
            prepares &= self._products.on_sale[week, wanted]
            bought = baskets.product[first + np.maximum(line, 0)]
        drawn = baskets.shelves.views.draw(
            self._randomness.bits("looked at", key, line + 1 + part(bits, 32, 24)),
            week,
            category[visit],
            category[visit] + 1,
        )
        if len(baskets.order):
            drawn = np.where(prepares, wanted, drawn)
            drawn = np.where(line >= 0, bought, drawn)
        return drawn

    def _flags(
        self, visits: Visits, visit: np.ndarray, place: np.ndarray, line: np.ndarray, pays: np.ndarray, bits: np.ndarray
    ) -> np.ndarray:
        """Which kinds of events happen at each look, shape (looks, kinds)."""
        mood = (
            part(self._randomness.bits("abandons", visits.key), 0, 16) < self._parameters.abandoned_cart_share * 65_536
        )
        fills = (mood & ~visits.buys)[visit]
        last = place == visits.products[visit] - 1
        buying = line >= 0
        more = part(bits, 0, 10)
        happens = np.zeros((len(visit), len(KINDS)), dtype=bool)
        happens[:, PURCHASE] = pays
        happens[:, VIEW] = ~pays
        happens[:, SEARCH] = ~pays & (part(bits, 10, 10) < 170)
        happens[:, WISH] = ~pays & ~buying & (part(bits, 20, 10) < 75)
        happens[:, CART] = ~pays & (buying | (fills & (last | (more < 420))) | (visits.buys[visit] & (more < 110)))
        happens[:, REMOVE] = happens[:, CART] & ~buying & (visits.buys[visit] | (part(bits, 30, 10) < 200))
        return happens

    def _moments(
        self, visits: Visits, visit: np.ndarray, place: np.ndarray, pays: np.ndarray, bits: np.ndarray
    ) -> np.ndarray:
        """When each look begins; the purchase of an order is when the order is placed."""
        usual = 30 + part(visits.key, 16, 16) * 150 // 65_536
        gap = np.where(visits.gap < 0, usual, visits.gap)[visit]
        jitter = part(bits, 56, 8) * (gap // 3) // 256
        look = visits.start[visit] + place * gap + np.where(place > 0, jitter, 0)
        paid = visits.start[visit] + visits.products[visit] * gap
        return np.where(pays, paid, look)


def _ids(start: np.ndarray, visit: np.ndarray) -> np.ndarray:
    """Day of the visit's start and place among the events of that day's visits."""
    day = (start // season.DAY)[visit]
    fresh = np.flatnonzero(np.concatenate([[True], day[1:] != day[:-1]])) if len(day) else np.zeros(0, dtype=np.int64)
    place = np.arange(len(day)) - np.repeat(fresh, np.diff(np.concatenate([fresh, [len(day)]])))
    days = day.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970
    number = years * 10_000 + (months.astype(np.int64) % 12 + 1) * 100 + (days - months).astype(np.int64) + 1
    return number * A_DAY + place + 1
