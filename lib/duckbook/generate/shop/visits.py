"""Visits: buying visits, visits that prepare an order, and visits that lead to none.

The visits of a period depend only on the keys of orders and customers, so that no period depends on another.
"""

from __future__ import annotations

from collections.abc import Iterable
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
"""Operational weeks per cell. Visits that lead to no order are drawn per customer and cell."""

MOST_IN_CELL = 64

MOST_ACTIVE = 12.0
"""Most visits of a customer relative to the mean, which bounds the visits per cell."""

FADED = 5.0
"""Multiple of its mean after which fading interest ends, which cuts off about one percent."""

LOOK_AHEAD = 8
"""Days after a period whose orders may have visits in it."""

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
        Key of the visit's random numbers and of session_id.
    order : int64 array
        Position of the order that the visit places, or prepares if `buys` is false; else -1.
    buys : bool array
    gap : int64 array
        Seconds between two looks; -1 if the key decides them.
    products : int64 array
        Number of looks at products.
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


class VisitGenerator:
    """Generator of the visits of any period."""

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

        def make(chunk: slice) -> dict[str, np.ndarray]:
            # Visits are in proportion to orders. Otherwise customers who neither order nor drop out would accumulate,
            # and conversion would fall for as long as the shop exists.
            activity = np.where(customers.buys[chunk], np.minimum(customers.rate[chunk] / mean, MOST_ACTIVE), 0.0)
            per_cell = parameters.visits_weekly * CELL * activity
            return {"per_cell": per_cell, "none": exp(-per_cell)}

        self._spool = spool
        idle = spool.columns(len(customers), make)
        self._per_cell, self._none = idle["per_cell"], idle["none"]
        self._welcomes = geometric(parameters.signup_visits)
        self._fade = parameters.interest_weeks
        self._looks = Lookup.weighted([0.42, 0.25, 0.14, 0.08, 0.05, 0.03, 0.02, 0.01])
        self._more_looks = Lookup.weighted([0.20, 0.22, 0.19, 0.14, 0.10, 0.07, 0.05, 0.03])

    def between(self, begin: int, end: int) -> Visits:
        """Generate the visits that start from `begin` and before `end`, in seconds since 1970."""
        parts = [
            self._buying(begin, end),
            self._preparing(begin, end),
            self._idle(*self._browsing(begin, end)),
            self._idle(*self._after_signup(begin, end)),
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
        # The gap is short enough for the visit to start after the sign-up.
        signup = self._customers.signup[who]
        gap = np.minimum(25 + part(key, 0, 16) * 130 // 65_536, (placed - signup) // (looks + 1))
        return placed - gap * looks, who, key, orders, np.full(len(orders), True), gap, looks

    def _preparing(self, begin: int, end: int) -> tuple[np.ndarray, ...]:
        orders = self._orders(begin, end + LOOK_AHEAD * season.DAY)
        count = Lookup.weighted(self._parameters.research_visits)(
            self._randomness.bits("preparing visits", self._purchases.key[orders])
        )
        orders, nth = np.repeat(orders, count), _number_within(count)
        key = self._randomness.bits("preparing visit", self._purchases.key[orders], nth + 1)
        days = part(key, 0, 16) * 7 >> 16
        ahead = days * season.DAY + (part(key, 16, 16) * 4 * season.HOUR >> 16) + 2 * season.HOUR
        start, who = self._purchases.placed[orders] - ahead, self._purchases.customer[orders]
        known = start >= self._customers.signup[who]
        looks = self._looks(key, 48) + 2
        columns = (start, who, key, orders, np.full(len(key), False), np.full(len(key), -1), looks)
        return tuple(column[known] for column in columns)

    def _idle(self, who: np.ndarray, start: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, ...]:
        """Visits that lead to no order, without those of customers who have left."""
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

    def _browsing(self, begin: int, end: int) -> tuple[np.ndarray, ...]:
        """Customer, start and key of visits of buyers, throughout their lifetime."""
        clock = self._purchases.clock
        low, high = clock.weeks(np.array([begin - 12 * season.HOUR, end])) // CELL
        signed_up = int(np.searchsorted(self._customers.signup, end))
        cells = range(int(low), int(high) + 1)
        parts = [
            self._visits_in_cell(cell, chunk, begin, end) for chunk in self._spool.ranges(signed_up) for cell in cells
        ]
        return _concatenate(parts)

    def _visits_in_cell(self, cell: int, chunk: slice, begin: int, end: int) -> tuple[np.ndarray, ...]:
        customers, clock = self._customers, self._purchases.clock
        draw = self._randomness.uniform("visits", customers.id[chunk], cell)
        any_visit = np.flatnonzero(draw > self._none[chunk])
        count = poisson(draw[any_visit], self._per_cell[chunk][any_visit])
        who = np.repeat(any_visit + chunk.start, count)
        entity = (customers.id[who] * 4096 + cell) * MOST_IN_CELL + _number_within(count)
        key = self._randomness.bits("visit", entity)
        share = self._randomness.uniform("visit time", entity)
        start = clock.second((cell + share) * CELL) + customers.offset[who]
        inside = (start >= begin) & (start < end)
        return who[inside], start[inside], key[inside]

    def _after_signup(self, begin: int, end: int) -> tuple[np.ndarray, ...]:
        """Customer, start and key of visits after a sign-up, from interest that fades, of buyers and others."""
        signup, clock = self._customers.signup, self._purchases.clock
        day = np.array([begin - season.DAY])
        since = clock.second(np.maximum(clock.weeks(day) - FADED * self._fade, 0.0))[0] - season.DAY
        first, last = np.searchsorted(signup, [since, end])
        parts = []
        for chunk in self._spool.ranges(int(last - first)):
            chunk = slice(chunk.start + first, chunk.stop + first)
            number, offset = self._customers.id[chunk], self._customers.offset[chunk]
            count = self._welcomes(self._randomness.bits("welcome visits", number))
            who = np.repeat(np.arange(chunk.start, chunk.stop), count)
            key = self._randomness.bits("welcome visit", self._customers.id[who], _number_within(count) + 1)
            wait = exponential(1_000_000.0)(key, 0) * (self._fade / 1_000_000.0)
            weeks = np.repeat(clock.weeks(signup[chunk] - offset), count) + wait
            start = clock.second(weeks) + np.repeat(offset, count)
            inside = (start >= begin) & (start < end) & (wait < FADED * self._fade)
            parts.append((who[inside], start[inside], key[inside]))
        return _concatenate(parts)


def _concatenate(parts: Iterable[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _number_within(count: np.ndarray) -> np.ndarray:
    """Number 0, 1, … within each group of `np.repeat(…, count)`."""
    ends = np.cumsum(count)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - count, count)


def closing_times(
    randomness: Randomness, parameters: Parameters, customers: Customers, purchases: Purchases, spool: Spool
) -> np.ndarray:
    """Second in which customers who have dropped out close their account, or `NEVER`, shape (customers,)."""
    year = 365.25 * season.DAY

    def make(chunk: slice) -> dict[str, np.ndarray]:
        wait = -log(randomness.uniform("closing", customers.id[chunk])) * year / parameters.closed_yearly
        dropped = purchases.dropped[chunk]
        gone = dropped < NEVER
        moment = np.where(gone, dropped, 0) + np.minimum(wait, 1e10).astype(np.int64) + 30 * season.DAY
        return {"closed": np.where(gone, moment, NEVER)}

    return spool.columns(len(customers), make)["closed"]
