"""The simulated store as a whole: the parts in the order in which one follows from another.

The process is one, continuous in time and without an as-of date; a `Store` is a look at it from its first day to a
last one. What a longer look shows of the same days is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from duckbook.generate.shop import season
from duckbook.generate.shop.baskets import Baskets
from duckbook.generate.shop.customers import Customers
from duckbook.generate.shop.dirt import Dirt
from duckbook.generate.shop.fulfilment import Fulfilment
from duckbook.generate.shop.interactions import Interacting
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.products import Products
from duckbook.generate.shop.purchases import Purchases
from duckbook.generate.shop.randomness import Randomness
from duckbook.generate.shop.reviews import Reviews
from duckbook.generate.shop.spool import Spool
from duckbook.generate.shop.stock import Stock
from duckbook.generate.shop.visits import LOOK_AHEAD, Visiting, closing

HISTORY_YEARS = 3

LATEST_DAYS = 30
"""The history ends this many days before the first as-of date, and a landing of the latest days covers as many."""


@dataclass(frozen=True)
class Window:
    """Days after `after` up to and with `until`."""

    after: date
    until: date

    @property
    def begin(self) -> int:
        """First second."""
        return season.epoch(self.after) + season.DAY

    @property
    def end(self) -> int:
        """First second after it."""
        return season.epoch(self.until) + season.DAY


class Store:
    """The store from its first day to a last one.

    Parameters
    ----------
    customers
        Customers at the end of the history.
    seed
        Seed of every random choice.
    first_as_of
        The first as-of date; the history ends 30 days before it.
    until
        Last day that is looked at.
    dirt
        Share of records that land dirty.
    parameters
        What is planted.
    folder
        Where columns that outgrow the memory of a piece are kept, in files; the system's folder for them if None.
    """

    def __init__(
        self,
        customers: int,
        seed: int,
        first_as_of: date,
        until: date,
        dirt: float = 0.0,
        parameters: Parameters | None = None,
        folder: Path | None = None,
    ) -> None:
        self.size = customers
        self.seed = seed
        self.parameters = parameters or Parameters()
        end = history_end(first_as_of)
        self.before_first = _years_before(end, HISTORY_YEARS)
        self.first = self.before_first + timedelta(days=1)
        self.until = until
        # Visits of the last days prepare orders of the days after them.
        self.span = season.Span(self.first, end, until + timedelta(days=LOOK_AHEAD + 1))
        self.randomness = Randomness(seed)
        self.spool = Spool(folder)
        self.dirt = Dirt(self.randomness, dirt)

    @cached_property
    def customers(self) -> Customers:
        """Everyone who signs up."""
        return Customers(self.randomness, self.parameters, self.size, self.span, self.spool)

    @cached_property
    def products(self) -> Products:
        """Everything that is launched."""
        return Products(self.randomness, self.parameters, self.size, self.span)

    @cached_property
    def purchases(self) -> Purchases:
        """Who orders when."""
        return Purchases(self.randomness, self.parameters, self.customers, self.span, self.spool)

    @cached_property
    def baskets(self) -> Baskets:
        """What is ordered."""
        parts = (self.customers, self.products, self.purchases)
        return Baskets(self.randomness, self.parameters, *parts, self.spool)

    @cached_property
    def fulfilment(self) -> Fulfilment:
        """What becomes of it."""
        parts = (self.customers, self.products, self.purchases, self.baskets)
        return Fulfilment(self.randomness, self.parameters, *parts, self.span, self.spool)

    @cached_property
    def reviews(self) -> Reviews:
        """What is said about it."""
        parts = (self.customers, self.products, self.purchases, self.baskets, self.fulfilment)
        return Reviews(self.randomness, self.parameters, *parts, self.span, self.spool)

    @cached_property
    def stock(self) -> Stock:
        """What is left on the shelves."""
        return Stock(self.randomness, self.products, self.purchases, self.baskets, self.spool)

    @cached_property
    def closed(self):
        """When accounts are closed, int64 array of shape (customers,)."""
        return closing(self.randomness, self.parameters, self.customers, self.purchases, self.spool)

    @cached_property
    def visiting(self) -> Visiting:
        """Makes visits."""
        parts = (self.customers, self.purchases, self.baskets, self.closed)
        return Visiting(self.randomness, self.parameters, *parts, self.spool)

    @cached_property
    def interacting(self) -> Interacting:
        """Makes the events of visits."""
        parts = (self.customers, self.products, self.baskets)
        return Interacting(self.randomness, self.parameters, *parts)

    def build(self) -> Store:
        """Make all parts now, before several threads ask for them."""
        _ = self.reviews, self.stock, self.visiting, self.interacting
        return self

    @property
    def whole(self) -> Window:
        """All days of this look."""
        return Window(self.before_first, self.until)


def history_end(first_as_of: date) -> date:
    """Last day of the history."""
    return first_as_of - timedelta(days=LATEST_DAYS)


def quarters(first_as_of: date) -> list[Window]:
    """The twelve quarters of the history, in order; the last one ends with it."""
    end = history_end(first_as_of)
    ends = [_months_before(end, 3 * n) for n in range(4 * HISTORY_YEARS, -1, -1)]
    return [Window(after, until) for after, until in pairwise(ends)]


def latest_window(as_of: date, landed: date) -> Window:
    """What a landing of the latest days covers: 30 days, or all since the last landing where that is longer."""
    return Window(min(as_of - timedelta(days=LATEST_DAYS), landed), as_of)


def _years_before(day: date, years: int) -> date:
    return _months_before(day, 12 * years)


def _months_before(day: date, months: int) -> date:
    """The same day of an earlier month, or its last day where it has none such; ends of months stay ends."""
    is_last = (day + timedelta(days=1)).month != day.month
    count = day.year * 12 + day.month - 1 - months
    year, month = divmod(count, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    last = following - timedelta(days=1)
    return last if is_last else min(last, date(year, month + 1, min(day.day, last.day)))
