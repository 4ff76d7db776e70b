"""Visits and what is done in them: views, searches, wishlist, cart and purchases.

A visit either ends in an order, or looks at what a coming order will hold, or is a visit like any other. The visits
of a stretch of days are made from the keys of orders and of customers alone, so that no stretch depends on another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.baskets import Baskets
from duckbook.generate.shop.customers import NEVER, Customers
from duckbook.generate.shop.distributions import Lookup, exp, exponential, geometric, log, poisson
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.purchases import Purchases
from duckbook.generate.shop.randomness import Randomness, part
from duckbook.generate.shop.spool import Spool

CELL = 4.0
"""Operational weeks of a cell: visits that lead to no order are counted by customer and cell."""

MOST_IN_CELL = 64

MOST_EAGER = 12.0
"""Most visits of a customer relative to the mean, which bounds the cells of those who order every week."""

FADED = 5.0
"""After so many times its mean, interest that fades is over: a hundredth of it is cut off."""

LOOK_AHEAD = 8
"""Days after a stretch whose orders may have visits in it."""

DEVICES = ("desktop", "mobile", "tablet")


@dataclass(frozen=True)
class Visits:
    """Visits in order of their start.

    Attributes
    ----------
    start : int64 array of shape (visits,)
        Second of the first event.
    customer : int64 array
        Position of the customer.
    key : uint64 array
        Tells the visit and its random numbers; session_id is made of it.
    order : int64 array
        Position of the order that the visit ends in, that it prepares (`buys` is false), or -1.
    buys : bool array
    gap : int64 array
        Seconds between two products that are looked at; -1 where the visit decides it itself.
    products : int64 array
        How many products are looked at.
    """

    start: np.ndarray
    customer: np.ndarray
    key: np.ndarray
    order: np.ndarray
    buys: np.ndarray
    gap: np.ndarray
    products: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


class Visiting:
    """Makes the visits of any stretch of days."""

    def __init__(
        self,
        randomness: Randomness,
        parameters: Parameters,
        customers: Customers,
        purchases: Purchases,
        baskets: Baskets,
        closed: np.ndarray,
        spool: Spool,
    ) -> None:
        self._randomness, self._parameters = randomness, parameters
        self._customers, self._purchases, self._baskets = customers, purchases, baskets
        self._closed = closed
        mean = parameters.bgnbd_r / parameters.bgnbd_alpha

        def made(some: slice) -> dict[str, np.ndarray]:
            # Visits are in proportion to orders: without that, customers who neither order nor drop out would pile up,
            # and conversion would fall for as long as the store exists.
            eager = np.where(customers.buys[some], np.minimum(customers.rate[some] / mean, MOST_EAGER), 0.0)
            per_cell = parameters.visits_weekly * CELL * eager
            return {"per_cell": per_cell, "none": exp(-per_cell)}

        self._spool = spool
        idle = spool.columns(len(customers), made)
        self._per_cell, self._none = idle["per_cell"], idle["none"]
        self._welcomes = geometric(parameters.signup_visits)
        self._fade = parameters.interest_weeks
        self._looks = Lookup.weighted([0.42, 0.25, 0.14, 0.08, 0.05, 0.03, 0.02, 0.01])
        self._more_looks = Lookup.weighted([0.20, 0.22, 0.19, 0.14, 0.10, 0.07, 0.05, 0.03])

    def between(self, begin: int, end: int) -> Visits:
        """The visits that start from `begin` on and before `end`, seconds since 1970."""
        parts = [
            self._buying(begin, end),
            self._preparing(begin, end),
            self._idle(*self._looking_around(begin, end)),
            self._idle(*self._new(begin, end)),
        ]
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        inside = (joined[0] >= begin) & (joined[0] < end)
        joined = [column[inside] for column in joined]
        by_time = np.lexsort((joined[2], joined[0]))
        return Visits(*(column[by_time] for column in joined))

    def _orders(self, begin: int, end: int) -> np.ndarray:
        placed = self._purchases.placed
        return np.arange(*np.searchsorted(placed, [begin, end]))

    def _buying(self, begin: int, end: int) -> tuple[np.ndarray, ...]:
        orders = self._orders(begin, end + 3 * season.HOUR)
        key = self._randomness.bits("buying visit", self._purchases.key[orders])
        looks = self._baskets.lines[orders] + self._more_looks(key, 48)
        who, placed = self._purchases.customer[orders], self._purchases.placed[orders]
        # Someone who signs up in this visit has not looked around before it.
        signup = self._customers.signup[who]
        gap = np.minimum(25 + part(key, 0, 16) * 130 // 65_536, (placed - signup) // (looks + 1))
        return placed - gap * looks, who, key, orders, np.full(len(orders), True), gap, looks

    def _preparing(self, begin: int, end: int) -> tuple[np.ndarray, ...]:
        orders = self._orders(begin, end + LOOK_AHEAD * season.DAY)
        count = Lookup.weighted(self._parameters.research_visits)(
            self._randomness.bits("preparing visits", self._purchases.key[orders])
        )
        orders, nth = np.repeat(orders, count), _within(count)
        key = self._randomness.bits("preparing visit", self._purchases.key[orders], nth + 1)
        days = part(key, 0, 16) * 7 >> 16
        ahead = days * season.DAY + (part(key, 16, 16) * 4 * season.HOUR >> 16) + 2 * season.HOUR
        start, who = self._purchases.placed[orders] - ahead, self._purchases.customer[orders]
        known = start >= self._customers.signup[who]
        looks = self._looks(key, 48) + 2
        columns = (start, who, key, orders, np.full(len(key), False), np.full(len(key), -1), looks)
        return tuple(column[known] for column in columns)

    def _idle(self, who: np.ndarray, start: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, ...]:
        """Visits that lead to no order, of those customers who are still there."""
        dropped = self._purchases.dropped[who]
        stays = np.full(len(key), True)
        gone = np.flatnonzero(start >= dropped)
        weeks = (start[gone] - dropped[gone]) / season.WEEK
        stays[gone] = self._randomness.uniform(
            "visit after leaving", key[gone]
        ) < self._parameters.visits_after_dropout * exp(-weeks / self._fade)
        keep = stays & (start >= self._customers.signup[who]) & (start < self._closed[who])
        who, start, key = who[keep], start[keep], key[keep]
        none = np.full(len(key), -1)
        return start, who, key, none, np.full(len(key), False), none, self._looks(key, 48) + 1

    def _looking_around(self, begin: int, end: int) -> tuple[np.ndarray, ...]:
        """Who visits when, of the buyers, all through their time with the store."""
        clock = self._purchases.clock
        low, high = clock.weeks(np.array([begin - 12 * season.HOUR, end])) // CELL
        here = int(np.searchsorted(self._customers.signup, end))
        cells = range(int(low), int(high) + 1)
        found = [self._of_cell(cell, some, begin, end) for some in self._spool.ranges(here) for cell in cells]
        return _joined(found)

    def _of_cell(self, cell: int, some: slice, begin: int, end: int) -> tuple[np.ndarray, ...]:
        customers, clock = self._customers, self._purchases.clock
        luck = self._randomness.uniform("visits", customers.id[some], cell)
        any_visit = np.flatnonzero(luck > self._none[some])
        count = poisson(luck[any_visit], self._per_cell[some][any_visit])
        who = np.repeat(any_visit + some.start, count)
        entity = (customers.id[who] * 4096 + cell) * MOST_IN_CELL + _within(count)
        key = self._randomness.bits("visit", entity)
        share = self._randomness.uniform("visit time", entity)
        start = clock.second((cell + share) * CELL) + customers.offset[who]
        inside = (start >= begin) & (start < end)
        return who[inside], start[inside], key[inside]

    def _new(self, begin: int, end: int) -> tuple[np.ndarray, ...]:
        """Who visits when, of those who have signed up some time before: interest that fades, of buyers and others."""
        signup, clock = self._customers.signup, self._purchases.clock
        day = np.array([begin - season.DAY])
        since = clock.second(np.maximum(clock.weeks(day) - FADED * self._fade, 0.0))[0] - season.DAY
        first, last = np.searchsorted(signup, [since, end])
        found = []
        for some in self._spool.ranges(int(last - first)):
            some = slice(some.start + first, some.stop + first)
            number, offset = self._customers.id[some], self._customers.offset[some]
            count = self._welcomes(self._randomness.bits("welcome visits", number))
            who = np.repeat(np.arange(some.start, some.stop), count)
            key = self._randomness.bits("welcome visit", self._customers.id[who], _within(count) + 1)
            wait = exponential(1_000_000.0)(key, 0) * (self._fade / 1_000_000.0)
            weeks = np.repeat(clock.weeks(signup[some] - offset), count) + wait
            start = clock.second(weeks) + np.repeat(offset, count)
            inside = (start >= begin) & (start < end) & (wait < FADED * self._fade)
            found.append((who[inside], start[inside], key[inside]))
        return _joined(found)


def _joined(found: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def _within(count: np.ndarray) -> np.ndarray:
    """0, 1, … within each of the repeats of `np.repeat(…, count)`."""
    ends = np.cumsum(count)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - count, count)


def closing(
    randomness: Randomness, parameters: Parameters, customers: Customers, purchases: Purchases, spool: Spool
) -> np.ndarray:
    """When customers who have dropped out close their account; `NEVER` where they do not, shape (customers,)."""
    year = 365.25 * season.DAY

    def made(some: slice) -> dict[str, np.ndarray]:
        wait = -log(randomness.uniform("closing", customers.id[some])) * year / parameters.closed_yearly
        dropped = purchases.dropped[some]
        gone = dropped < NEVER
        moment = np.where(gone, dropped, 0) + np.minimum(wait, 1e10).astype(np.int64) + 30 * season.DAY
        return {"closed": np.where(gone, moment, NEVER)}

    return spool.columns(len(customers), made)["closed"]
