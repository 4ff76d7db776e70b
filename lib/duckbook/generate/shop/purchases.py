"""Purchases: when each customer orders, by BG/NBD in operational time.

Fader, Hardie and Lee, "Counting Your Customers the Easy Way: An Alternative to the Pareto/NBD Model", Marketing Science
24 (2005): after the first order a customer orders at a rate that is gamma-distributed over customers, and after each
repeat order drops out for good with a chance that is beta-distributed over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.customers import NEVER, Customers
from duckbook.generate.shop.distributions import log, lognormal
from duckbook.generate.shop.experiment import Experiment
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.randomness import Randomness
from duckbook.generate.shop.spool import Spool

MOST_ORDERS = 4096
"""More orders than any customer places; the key of an order is customer_id × this + number of the order."""


class Purchases:
    """The orders of all customers until the end of a horizon, in order of time.

    Attributes
    ----------
    customer : int64 array of shape (orders,)
        Position of the customer.
    number : int64 array of shape (orders,)
        0 for a customer's first order, 1 for the second, …
    key : int64 array of shape (orders,)
        Tells the order's random numbers, whatever the horizon is.
    placed : int64 array of shape (orders,)
        Second in which it is placed; ascending. order_id is the position plus one, and so is never given again.
    dropped : int64 array of shape (customers,)
        When each customer dropped out; `NEVER` where that lies beyond the horizon.
    """

    def __init__(
        self,
        randomness: Randomness,
        parameters: Parameters,
        customers: Customers,
        span: season.Span,
        spool: Spool,
    ) -> None:
        self._randomness = randomness
        self._parameters = parameters
        # Local time runs behind UTC, hence the day before the first.
        days = (span.horizon - span.first).days + 3
        self.clock = season.Clock(span.first - timedelta(days=1), days)
        self.experiment = Experiment(randomness, parameters, customers, span.history_end, self.clock, spool)
        end = season.epoch(span.horizon) + season.DAY
        runs: list[int] = [0]

        def counted(pieces: Iterator[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
            for piece in pieces:
                runs.append(runs[-1] + len(piece["placed"]))
                yield piece

        pieces = spool.pieces(len(customers), lambda some: self._orders(customers, some, end))
        found = spool.gather(counted(pieces))
        self.dropped = found.pop("dropped")
        vars(self).update(found if len(runs) == 2 else spool.gather(_merged(found, runs)))

    def __len__(self) -> int:
        return len(self.placed)

    def _first_orders(self, customers: Customers, some: slice) -> np.ndarray:
        planted, draw = self._parameters, self._randomness
        number, signup, offset = customers.id[some], customers.signup[some], customers.offset[some]
        quick = lognormal(780.0, 0.6)(draw.bits("first order delay", number)) + 120
        wait = -log(draw.uniform("first order wait", number)) * planted.first_purchase_weeks
        later = self.clock.second(self.clock.weeks(signup - offset) + wait) + offset
        at_once = draw.uniform("first order at signup", number) < planted.share_first_at_signup
        placed = np.where(at_once, signup + quick, np.maximum(later, signup + 120))
        return np.where(customers.buys[some], placed, NEVER)

    def _orders(self, customers: Customers, some: slice, end: int) -> dict[str, np.ndarray]:
        """The orders of some customers in order of time, and when each of these customers dropped out."""
        first = self._first_orders(customers, some)
        dropped = np.full(len(first), NEVER)
        who = np.flatnonzero(first < end) + some.start
        placed = first[who - some.start]
        weeks = self.clock.weeks(placed - customers.offset[who])
        number = 0
        found = []
        while len(who):
            found.append((who, np.full(len(who), number), placed))
            if number:
                leaves = self._randomness.uniform("leaving", customers.id[who], number) < customers.dropout[who]
                dropped[who[leaves] - some.start] = placed[leaves]
                who, weeks = who[~leaves], weeks[~leaves]
            number += 1
            wait = -log(self._randomness.uniform("wait", customers.id[who], number)) / customers.rate[who]
            weeks = self.experiment.after(who, weeks, wait)
            placed = self.clock.second(weeks) + customers.offset[who]
            soon = (placed < end) & (number < MOST_ORDERS)
            who, weeks, placed = who[soon], weeks[soon], placed[soon]
        who, counted, placed = (np.concatenate(column) for column in zip(*found, strict=True)) if found else [who] * 3
        key = customers.id[who] * MOST_ORDERS + counted
        return _by_time({"customer": who, "number": counted, "key": key, "placed": placed}) | {"dropped": dropped}


def _by_time(orders: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    order = np.lexsort((orders["key"], orders["placed"]))
    return {name: column[order] for name, column in orders.items()}


def _merged(orders: dict[str, np.ndarray], runs: list[int]) -> Iterator[dict[str, np.ndarray]]:
    """Orders in order of time, a week at a time, from runs that are in order each and begin where `runs` says."""
    placed = orders["placed"]
    weeks = np.arange(placed.min(), placed.max() + season.WEEK + 1, season.WEEK)
    edges = [begin + np.searchsorted(placed[begin:end], weeks) for begin, end in pairwise(runs)]
    for number in range(len(weeks) - 1):
        parts = [slice(edge[number], edge[number + 1]) for edge in edges]
        yield _by_time({name: np.concatenate([column[part] for part in parts]) for name, column in orders.items()})
