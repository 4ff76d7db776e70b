"""The simulated shop as a whole, and the windows of days that land.

The process is continuous in time and has no as-of date. A `Shop` is the process from the first day up to some last day;
a later last day changes nothing about the days before it.
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
from duckbook.generate.shop.interactions import EventGenerator
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.products import Products
from duckbook.generate.shop.purchases import Purchases
from duckbook.generate.shop.randomness import Randomness
from duckbook.generate.shop.reviews import Reviews
from duckbook.generate.shop.spool import Spool
from duckbook.generate.shop.stock import Stock
from duckbook.generate.shop.visits import LOOK_AHEAD, VisitGenerator, closing_times

HISTORY_YEARS = 3

LATEST_DAYS = 30
"""Days between the end of the history and the first as-of date, and days that a landing of the latest days covers."""


@dataclass(frozen=True)
class Window:
    """Days after `after`, up to and including `until`."""

    after: date
    until: date

    @property
    def begin(self) -> int:
        """First second of the window."""
        return season.epoch(self.after) + season.DAY

    @property
    def end(self) -> int:
        """First second after the window."""
        return season.epoch(self.until) + season.DAY


class Shop:
    """The shop from its first day to a last day.

    Parameters
    ----------
    customers
        Number of customers at the end of the history.
    seed
        Seed of every random choice.
    first_as_of
        First as-of date; the history ends 30 days before it.
    until
        Last simulated day.
    dirt
        Share of records that land dirty.
    parameters
        Planted parameters.
    folder
        Folder for columns larger than one chunk; the system's temporary folder if None.
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
        # Visits of the last days prepare orders of the following days.
        self.span = season.Span(self.first, end, until + timedelta(days=LOOK_AHEAD + 1))
        self.randomness = Randomness(seed)
        self.spool = Spool(folder)
        self.dirt = Dirt(self.randomness, dirt)

    @cached_property
    def customers(self) -> Customers:
        """Customers who sign up."""
        return Customers(self.randomness, self.parameters, self.size, self.span, self.spool)

    @cached_property
    def products(self) -> Products:
        """Products launched."""
        return Products(self.randomness, self.parameters, self.size, self.span)

    @cached_property
    def purchases(self) -> Purchases:
        """Customer and time of each order."""
        return Purchases(self.randomness, self.parameters, self.customers, self.span, self.spool)

    @cached_property
    def baskets(self) -> Baskets:
        """Lines and amounts of the orders."""
        parts = (self.customers, self.products, self.purchases)
        return Baskets(self.randomness, self.parameters, *parts, self.spool)

    @cached_property
    def fulfilment(self) -> Fulfilment:
        """Shipping, delivery and returns."""
        parts = (self.customers, self.products, self.purchases, self.baskets)
        return Fulfilment(self.randomness, self.parameters, *parts, self.span, self.spool)

    @cached_property
    def reviews(self) -> Reviews:
        """Reviews of delivered lines."""
        parts = (self.customers, self.products, self.purchases, self.baskets, self.fulfilment)
        return Reviews(self.randomness, self.parameters, *parts, self.span, self.spool)

    @cached_property
    def stock(self) -> Stock:
        """Stock by week and product."""
        return Stock(self.randomness, self.products, self.purchases, self.baskets, self.spool)

    @cached_property
    def closed(self):
        """Second in which each account is closed, int64 array of shape (customers,)."""
        return closing_times(self.randomness, self.parameters, self.customers, self.purchases, self.spool)

    @cached_property
    def visit_generator(self) -> VisitGenerator:
        """Generator of visits."""
        parts = (self.customers, self.purchases, self.baskets, self.closed)
        return VisitGenerator(self.randomness, self.parameters, *parts, self.spool)

    @cached_property
    def event_generator(self) -> EventGenerator:
        """Generator of the events of visits."""
        parts = (self.customers, self.products, self.baskets)
        return EventGenerator(self.randomness, self.parameters, *parts)

    def build(self) -> Shop:
        """Compute all parts now, because cached properties are not safe across threads."""
        _ = self.reviews, self.stock, self.visit_generator, self.event_generator
        return self

    @property
    def whole(self) -> Window:
        """All simulated days."""
        return Window(self.before_first, self.until)


def history_end(first_as_of: date) -> date:
    """Last day of the history."""
    return first_as_of - timedelta(days=LATEST_DAYS)


def quarters(first_as_of: date) -> list[Window]:
    """The twelve quarters of the history, in order."""
    end = history_end(first_as_of)
    ends = [_months_before(end, 3 * n) for n in range(4 * HISTORY_YEARS, -1, -1)]
    return [Window(after, until) for after, until in pairwise(ends)]


def latest_window(as_of: date, landed: date) -> Window:
    """The 30 days up to the as-of date, or all days since the last landing if there are more."""
    return Window(min(as_of - timedelta(days=LATEST_DAYS), landed), as_of)


def _years_before(day: date, years: int) -> date:
    return _months_before(day, 12 * years)


def _months_before(day: date, months: int) -> date:
    """The same day of an earlier month, or that month's last day. The last day of a month maps to a last day."""
    is_last = (day + timedelta(days=1)).month != day.month
    count = day.year * 12 + day.month - 1 - months
    year, month = divmod(count, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    last = following - timedelta(days=1)
    return last if is_last else min(last, date(year, month + 1, min(day.day, last.day)))
