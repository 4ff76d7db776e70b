"""Interactions: the events of visits.

A visit is a sequence of looks at products. A look is a view, possibly with a search before it and a wishlist_add,
cart_add and cart_remove after it. A buying visit ends with one purchase event per line of its order. Events are read
row by row from a table of looks × kinds, which gives them in order without sorting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.baskets import Baskets
from duckbook.generate.shop.catalogue import CATEGORIES
from duckbook.generate.shop.customers import Customers
from duckbook.generate.shop.distributions import Lookup
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.products import Products
from duckbook.generate.shop.randomness import Randomness, part
from duckbook.generate.shop.visits import Visits

KINDS = ("search", "view", "wishlist_add", "cart_add", "cart_remove", "purchase")
SEARCH, VIEW, WISH, CART, REMOVE, PURCHASE = range(6)

SHARES = {SEARCH: 170, WISH: 75, CART: 420, REMOVE: 200}
"""Looks per 1,024 that begin with a search, end with a wishlist_add, fill a cart to be abandoned, or undo that."""

SPARE = 110
"""Looks per 1,024 at other products in a buying visit that add to the cart and remove it again."""

WITHIN_A_LOOK = np.array([-3, 0, 4, 6, 8, 0])
"""Time of each kind of event, in 24ths of the time between two looks."""

FAVOURITE_VISITS = 0.5
"""Share of visits without an order that are about the customer's favourite category."""

MOST_PER_DAY = 10_000_000
"""More events than on any day. event_id is YYYYMMDD × this + the event's number within the visits of that day."""


@dataclass(frozen=True)
class Events:
    """Events in order of their visits. `product` is -1 and `line` is 0 where there is none."""

    visit: np.ndarray
    kind: np.ndarray
    product: np.ndarray
    line: np.ndarray
    at: np.ndarray
    id: np.ndarray

    def __len__(self) -> int:
        return len(self.visit)


class EventGenerator:
    """Generator of the events of visits."""

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

    def events(self, visits: Visits) -> Events:
        """Generate the events of visits. Visits must cover whole days, as an event's id is its number on the day."""
        bought = np.zeros(len(visits), dtype=np.int64)
        bought[visits.buys] = self._baskets.lines[visits.order[visits.buys]]
        rows = visits.products + bought
        visit = np.repeat(np.arange(len(visits)), rows)
        place = np.arange(len(visit)) - np.repeat(np.cumsum(rows) - rows, rows)
        pays = place >= visits.products[visit]
        bits = self._randomness.bits("look", visits.key[visit], place)
        # The last looks of a buying visit are at the products that it buys.
        line = np.where(visits.buys[visit], place - (visits.products - bought)[visit], -1)
        line = np.where(pays, place - visits.products[visit], line)
        product = self._viewed_products(visits, visit, line, bits)
        occurs = self._flags(visits, visit, place, line, pays, bits)
        look, kind = np.nonzero(occurs)
        at = self._moments(visits, visit, place, pays, bits, look, kind)
        visit = visit[look]
        return Events(
            visit=visit,
            kind=kind.astype(np.int8),
            product=np.where(kind == SEARCH, -1, product[look]),
            line=np.where(kind == PURCHASE, line[look] + 1, 0),
            at=at,
            id=_ids(visits.start, visit),
        )

    def _viewed_products(self, visits: Visits, visit: np.ndarray, line: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """Product of each look: from the order if the visit buys or prepares one, else from a category."""
        baskets, week = self._baskets, self._products.week_of(visits.start)[visit]
        category = self._interest(visits)[visit]
        # Looks that buy nothing have a line of -1, so their own bits distinguish them.
        draw = self._randomness.bits("looked at", visits.key[visit], line + 1 + part(bits, 32, 24))
        product = baskets.shelves.views.draw(draw, week, category, category + 1)
        ordered = np.flatnonzero(visits.order[visit] >= 0)
        if not len(ordered):
            return product
        order = visits.order[visit[ordered]]
        buys = line[ordered] >= 0
        any_line = part(bits[ordered], 40, 8) * baskets.lines[order] // 256
        wanted = baskets.product[baskets.begin[order] + np.where(buys, line[ordered], any_line)]
        # Products that are not on sale yet cannot be viewed.
        prepares = ~visits.buys[visit[ordered]] & (part(bits[ordered], 48, 8) < 128)
        prepares &= self._products.on_sale[week[ordered], wanted]
        product[ordered] = np.where(buys | prepares, wanted, product[ordered])
        return product

    def _interest(self, visits: Visits) -> np.ndarray:
        """Category of each visit: that of its order, else the favourite, else any."""
        bits = self._randomness.bits("mind", visits.key)
        favourite = part(bits, 0, 16) < FAVOURITE_VISITS * 65_536
        category = np.where(favourite, self._customers.favourite[visits.customer], self._category(bits, 16))
        ordered = np.flatnonzero(visits.order >= 0)
        first = self._baskets.product[self._baskets.begin[visits.order[ordered]]]
        category[ordered] = self._products.category[first]
        return category

    def _flags(
        self, visits: Visits, visit: np.ndarray, place: np.ndarray, line: np.ndarray, pays: np.ndarray, bits: np.ndarray
    ) -> np.ndarray:
        """Whether each kind of event happens at each look, shape (looks, kinds)."""
        abandons = (
            part(self._randomness.bits("abandons", visits.key), 0, 16) < self._parameters.abandoned_cart_share * 65_536
        )
        fills = (abandons & ~visits.buys)[visit]
        last = place == visits.products[visit] - 1
        buying = line >= 0
        more = part(bits, 0, 10)
        occurs = np.zeros((len(visit), len(KINDS)), dtype=bool)
        occurs[:, PURCHASE] = pays
        occurs[:, VIEW] = ~pays
        occurs[:, SEARCH] = ~pays & (part(bits, 10, 10) < SHARES[SEARCH])
        occurs[:, WISH] = ~pays & ~buying & (part(bits, 20, 10) < SHARES[WISH])
        occurs[:, CART] = ~pays & (
            buying | (fills & (last | (more < SHARES[CART]))) | (visits.buys[visit] & (more < SPARE))
        )
        occurs[:, REMOVE] = occurs[:, CART] & ~buying & (visits.buys[visit] | (part(bits, 30, 10) < SHARES[REMOVE]))
        return occurs

    def _moments(
        self,
        visits: Visits,
        visit: np.ndarray,
        place: np.ndarray,
        pays: np.ndarray,
        bits: np.ndarray,
        look: np.ndarray,
        kind: np.ndarray,
    ) -> np.ndarray:
        """Second of each event. Purchases happen when the order is placed."""
        usual = 30 + part(visits.key, 16, 16) * 150 // 65_536
        gaps = np.where(visits.gap < 0, usual, visits.gap)
        gap = gaps[visit]
        jitter = np.where(place > 0, part(bits, 56, 8) * (gap // 4) // 256, 0)
        paid = visits.start[visit] + visits.products[visit] * gap
        begins = np.where(pays, paid, visits.start[visit] + place * gap + jitter)
        # A look ends before the search of the next one.
        moment = begins[look] + gap[look] * WITHIN_A_LOOK[kind] // 24
        return np.maximum(moment, visits.start[visit[look]])


def _ids(start: np.ndarray, visit: np.ndarray) -> np.ndarray:
    """Event ids, from the day of the visit's start and the number within the events of that day's visits."""
    day = (start // season.DAY)[visit]
    day_starts = (
        np.flatnonzero(np.concatenate([[True], day[1:] != day[:-1]])) if len(day) else np.zeros(0, dtype=np.int64)
    )
    place = np.arange(len(day)) - np.repeat(day_starts, np.diff(np.concatenate([day_starts, [len(day)]])))
    days = day.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970
    number = years * 10_000 + (months.astype(np.int64) % 12 + 1) * 100 + (days - months).astype(np.int64) + 1
    return number * MOST_PER_DAY + place + 1
