"""Working days: when the warehouse ships, when carriers deliver, and the holidays on which neither does.

Days are counted from 1 January 1970 in local time. What is said of a day depends on its date alone, so that a longer
look at the store shows the same days.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.distributions import Lookup

WAREHOUSE_OFFSET = 5 * season.HOUR
"""Standard time of the warehouse, in Louisville, Kentucky, behind UTC."""

OPENS, CLOSES = 8, 18
"""Hours between which the warehouse ships and takes returns, on any day but Sundays and federal holidays."""

CARRIER_HOURS = (0,) * 9 + (5, 8, 11, 12, 12, 12, 11, 10, 8, 6, 3) + (0,) * 4
"""Weights of the hours, local to the customer, in which parcels arrive: between 9 and 20 h, most around midday."""

LAST_DELIVERY = 20 * season.HOUR
"""Second of the day by which the carriers have finished."""

AHEAD = 1000
"""Days after the last one that is looked at in which something that was begun may still end."""


def federal_holiday(day: date) -> bool:
    """Whether a day is a federal holiday of the USA, on the day that the law names."""
    fixed = {(1, 1), (6, 19), (7, 4), (11, 11), (12, 25)}
    # The third Monday of January and February, the first of September, the second of October.
    mondays = {(1, 3), (2, 3), (9, 1), (10, 2)}
    if day.weekday() == 0 and ((day.month, (day.day + 6) // 7) in mondays or (day.month == 5 and day.day > 24)):
        return True
    return (day.month, day.day) in fixed or day == season.thanksgiving(day.year)


def warehouse_works(day: date) -> bool:
    """Monday to Saturday, but for federal holidays."""
    return day.weekday() < 6 and not federal_holiday(day)


def is_day_off(day: date) -> bool:
    """Whether nearly everybody has the day off: New Year, Thanksgiving and Christmas."""
    return (day.month, day.day) in {(1, 1), (12, 25)} or day == season.thanksgiving(day.year)


def carriers_deliver(day: date) -> bool:
    """Monday to Saturday, but for days off."""
    return day.weekday() < 6 and not is_day_off(day)


class WorkingDays:
    """The days of a span on which somebody works.

    Parameters
    ----------
    span
        The days that are looked at.
    works
        Whether a day is a working day.
    """

    def __init__(self, span: season.Span, works: Callable[[date], bool]) -> None:
        first = span.first - timedelta(days=30)
        count = (span.horizon - first).days + AHEAD
        self._first = season.epoch(first) // season.DAY
        open_days = np.array([works(first + timedelta(days=n)) for n in range(count)])
        # How many working days there are before each day, and which day the n-th of them is.
        self._before = np.concatenate([[0], np.cumsum(open_days)])
        self._days = np.concatenate([np.flatnonzero(open_days), [count]]) + self._first

    def following(self, day: np.ndarray, days: np.ndarray | int = 0) -> np.ndarray:
        """The first working day that is not before a day, or so many working days after it."""
        return self._days[np.minimum(self._before[self._place(day)] + days, len(self._days) - 1)]

    def after(self, second: np.ndarray, work: np.ndarray) -> np.ndarray:
        """When so many seconds of work are done, from a moment on, between `OPENS` and `CLOSES` of the warehouse."""
        local = second - WAREHOUSE_OFFSET
        day = local // season.DAY
        length = (CLOSES - OPENS) * season.HOUR
        place = self._place(day)
        before, works = self._before[place], self._days[self._before[place]] == day
        today = np.where(works, np.clip(local - day * season.DAY - OPENS * season.HOUR, 0, length), 0)
        days, rest = np.divmod(before * length + today + work, length)
        return self._days[np.minimum(days, len(self._days) - 1)] * season.DAY + (
            OPENS * season.HOUR + rest + WAREHOUSE_OFFSET
        )

    def _place(self, day: np.ndarray) -> np.ndarray:
        return np.clip(day - self._first, 0, len(self._before) - 2)


def time_of_day(hours: tuple[float, ...]) -> Lookup:
    """Seconds since midnight, drawn by the weights of the hours: to be looked up with 16 bits."""
    hour = Lookup.weighted(hours).values
    first = np.searchsorted(hour, np.arange(24))
    size = np.maximum(np.bincount(hour, minlength=24), 1)
    return Lookup(hour * season.HOUR + (np.arange(len(hour)) - first[hour]) * season.HOUR // size[hour])
