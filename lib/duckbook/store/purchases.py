"""Purchases: when each customer orders, by BG/NBD in operational time.

Fader, Hardie and Lee, "Counting Your Customers the Easy Way: An Alternative to the Pareto/NBD Model", Marketing Science
24 (2005): after the first order a customer orders at a rate that is gamma-distributed over customers, and after each
repeat order drops out for good with a chance that is beta-distributed over them.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from duckbook.store import season
from duckbook.store.customers import NEVER, Customers
from duckbook.store.distributions import log, lognormal
from duckbook.store.experiment import Experiment
from duckbook.store.parameters import Parameters
from duckbook.store.randomness import Randomness

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
        first: date,
        history_end: date,
        horizon: date,
    ) -> None:
        self._randomness = randomness
        self._parameters = parameters
        # Local time runs behind UTC, hence the day before the first.
        days = (horizon - first).days + 3
        self.clock = season.Clock(first - timedelta(days=1), days)
        self.experiment = Experiment(randomness, parameters, customers, history_end, self.clock)
        end = season.epoch(horizon) + season.DAY
        self.dropped = np.full(len(customers), NEVER)
        self.first = self._first_orders(customers)
        found = list(self._orders(customers, end))
        who, number, placed = (np.concatenate(column) for column in zip(*found, strict=True))
        key = customers.id[who] * MOST_ORDERS + number
        by_time = np.lexsort((key, placed))
        self.customer, self.number, self.key, self.placed = (a[by_time] for a in (who, number, key, placed))

    def __len__(self) -> int:
        return len(self.placed)

    def _first_orders(self, customers: Customers) -> np.ndarray:
        planted, draw = self._parameters, self._randomness
        quick = lognormal(780.0, 0.6)(draw.bits("first order delay", customers.id)) + 120
        wait = -log(draw.uniform("first order wait", customers.id)) * planted.first_purchase_weeks
        later = self.clock.second(self.clock.weeks(customers.signup - customers.offset) + wait) + customers.offset
        at_once = draw.uniform("first order at signup", customers.id) < planted.share_first_at_signup
        placed = np.where(at_once, customers.signup + quick, np.maximum(later, customers.signup + 120))
        return np.where(customers.buys, placed, NEVER)

    def _orders(self, customers: Customers, end: int):
        who = np.flatnonzero(self.first < end)
        placed = self.first[who]
        weeks = self.clock.weeks(placed - customers.offset[who])
        number = 0
        while len(who):
            yield who, np.full(len(who), number), placed
            if number:
                leaves = self._randomness.uniform("leaving", customers.id[who], number) < customers.dropout[who]
                self.dropped[who[leaves]] = placed[leaves]
                who, weeks = who[~leaves], weeks[~leaves]
            number += 1
            wait = -log(self._randomness.uniform("wait", customers.id[who], number)) / customers.rate[who]
            weeks = self.experiment.after(who, weeks, wait)
            placed = self.clock.second(weeks) + customers.offset[who]
            soon = (placed < end) & (number < MOST_ORDERS)
            who, weeks, placed = who[soon], weeks[soon], placed[soon]
