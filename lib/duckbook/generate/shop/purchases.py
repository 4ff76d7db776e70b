"""Purchases: the times of each customer's orders, by BG/NBD in operational time.

After the first order a customer orders at a gamma-distributed rate, and drops out for good after each repeat order with
a beta-distributed probability (Fader, Hardie and Lee, "Counting Your Customers the Easy Way: An Alternative to the
Pareto/NBD Model", Marketing Science 24, 2005).
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
from duckbook.generate.shop.spool import Columns, Spool

MOST_ORDERS = 4096
"""More orders than any customer places. The key of an order is customer_id × this + its number."""


class Purchases(Columns):
    """Orders of all customers up to the horizon, in time order.

    Attributes
    ----------
    customer : int64 array of shape (orders,)
        Position of the customer.
    number : int64 array of shape (orders,)
        0 for a customer's first order, 1 for the second, …
    key : int64 array of shape (orders,)
        Key of the order's random numbers, independent of the horizon.
    placed : int64 array of shape (orders,)
        Second in which the order is placed, ascending. order_id is the position plus one, and so is never reused.
    dropped : int64 array of shape (customers,)
        Second in which each customer dropped out; `NEVER` beyond the horizon.
    """

    def __init__(
        self, randomness: Randomness, parameters: Parameters, customers: Customers, span: season.Span, spool: Spool
    ) -> None:
        self._randomness = randomness
        self._parameters = parameters
        # Local time is behind UTC, so the clock starts one day early.
        days = (span.horizon - span.first).days + 3
        self.clock = season.Clock(span.first - timedelta(days=1), days)
        self.experiment = Experiment(randomness, parameters, customers, span.history_end, self.clock, spool)
        end = season.epoch(span.horizon) + season.DAY
        runs: list[int] = [0]

        def record_runs(pieces: Iterator[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
            for piece in pieces:
                runs.append(runs[-1] + len(piece["placed"]))
                yield piece

        pieces = spool.pieces(len(customers), lambda chunk: self._orders(customers, chunk, end))
        columns = spool.gather(record_runs(pieces))
        self.dropped = columns.pop("dropped")
        vars(self).update(columns if len(runs) == 2 else spool.gather(_merge(columns, runs)))

    def __len__(self) -> int:
        return len(self.placed)

    def _first_orders(self, customers: Customers, chunk: slice) -> np.ndarray:
        planted, draw = self._parameters, self._randomness
        number, signup, offset = customers.id[chunk], customers.signup[chunk], customers.offset[chunk]
        quick = lognormal(780.0, 0.6)(draw.bits("first order delay", number)) + 120
        wait = -log(draw.uniform("first order wait", number)) * planted.first_purchase_weeks
        later = self.clock.second(self.clock.weeks(signup - offset) + wait) + offset
        at_once = draw.uniform("first order at signup", number) < planted.share_first_at_signup
        placed = np.where(at_once, signup + quick, np.maximum(later, signup + 120))
        return np.where(customers.buys[chunk], placed, NEVER)

    def _orders(self, customers: Customers, chunk: slice, end: int) -> dict[str, np.ndarray]:
        """Orders of a chunk of customers in time order, and the drop-out time of each customer."""
        first = self._first_orders(customers, chunk)
        dropped = np.full(len(first), NEVER)
        who = np.flatnonzero(first < end) + chunk.start
        placed = first[who - chunk.start]
        weeks = self.clock.weeks(placed - customers.offset[who])
        number = 0
        columns = []
        while len(who):
            columns.append((who, np.full(len(who), number), placed))
            if number:
                leaves = self._randomness.uniform("leaving", customers.id[who], number) < customers.dropout[who]
                dropped[who[leaves] - chunk.start] = placed[leaves]
                who, weeks = who[~leaves], weeks[~leaves]
            number += 1
            wait = -log(self._randomness.uniform("wait", customers.id[who], number)) / customers.rate[who]
            weeks = self.experiment.after(who, weeks, wait)
            placed = self.clock.second(weeks) + customers.offset[who]
            within_horizon = (placed < end) & (number < MOST_ORDERS)
            who, weeks, placed = who[within_horizon], weeks[within_horizon], placed[within_horizon]
        who, nth, placed = (np.concatenate(column) for column in zip(*columns, strict=True)) if columns else [who] * 3
        key = customers.id[who] * MOST_ORDERS + nth
        return _sort_by_time({"customer": who, "number": nth, "key": key, "placed": placed}) | {"dropped": dropped}


def _sort_by_time(orders: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    order = np.lexsort((orders["key"], orders["placed"]))
    return {name: column[order] for name, column in orders.items()}


def _merge(orders: dict[str, np.ndarray], runs: list[int]) -> Iterator[dict[str, np.ndarray]]:
    """Merge sorted runs, which begin at the positions `runs`, into time order, one week at a time."""
    placed = orders["placed"]
    weeks = np.arange(placed.min(), placed.max() + season.WEEK + 1, season.WEEK)
    edges = [begin + np.searchsorted(placed[begin:end], weeks) for begin, end in pairwise(runs)]
    for number in range(len(weeks) - 1):
        parts = [slice(edge[number], edge[number + 1]) for edge in edges]
        yield _sort_by_time({name: np.concatenate([column[part] for part in parts]) for name, column in orders.items()})
