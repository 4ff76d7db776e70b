"""Working days and hours of the warehouse and of carriers, and holidays.

Days are counted from 1 January 1970 in local time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.distributions import Lookup

WAREHOUSE_OFFSET = 5 * season.HOUR
"""Seconds that standard time in Louisville, Kentucky, home of the warehouse, is behind UTC."""

OPENS, CLOSES = 8, 18
"""Opening hours of the warehouse, for shipments and returns, except on Sundays and federal holidays."""

CARRIER_HOURS = (0,) * 9 + (5, 8, 11, 12, 12, 12, 11, 10, 8, 6, 3) + (0,) * 4
"""Weights of the delivery hours in the customer's local time: 9 to 20 h, with a peak at midday."""

LAST_DELIVERY = 20 * season.HOUR
"""Second of the day at which deliveries end."""

AHEAD = 1000
"""Days after the last simulated one, for processes that end there."""


def federal_holiday(day: date) -> bool:
    """Whether a day is a US federal holiday, on its legal date."""
    fixed = {(1, 1), (6, 19), (7, 4), (11, 11), (12, 25)}
    # The third Monday of January and February, the first of September, the second of October.
    mondays = {(1, 3), (2, 3), (9, 1), (10, 2)}
    if day.weekday() == 0 and ((day.month, (day.day + 6) // 7) in mondays or (day.month == 5 and day.day > 24)):
        return True
    return (day.month, day.day) in fixed or day == season.thanksgiving(day.year)


def warehouse_works(day: date) -> bool:
    """Whether the warehouse works: Monday to Saturday, except federal holidays."""
    return day.weekday() < 6 and not federal_holiday(day)


def is_day_off(day: date) -> bool:
    """Whether nearly everyone has the day off: New Year, Thanksgiving and Christmas."""
    return (day.month, day.day) in {(1, 1), (12, 25)} or day == season.thanksgiving(day.year)


def carriers_deliver(day: date) -> bool:
    """Whether carriers deliver: Monday to Saturday, except days off."""
    return day.weekday() < 6 and not is_day_off(day)


class WorkingDays:
    """Calendar of the working days in a span.

    Parameters
    ----------
    span
        Simulated days.
    works
        Whether a day is a working day.
    """

    def __init__(self, span: season.Span, works: Callable[[date], bool]) -> None:
        first = span.first - timedelta(days=30)
        count = (span.horizon - first).days + AHEAD
        self._first = season.epoch(first) // season.DAY
        open_days = np.array([works(first + timedelta(days=n)) for n in range(count)])
        # The number of working days before each day, and the n-th working day.
        self._before = np.concatenate([[0], np.cumsum(open_days)])
        self._days = np.concatenate([np.flatnonzero(open_days), [count]]) + self._first

    def following(self, day: np.ndarray, days: np.ndarray | int = 0) -> np.ndarray:
        """The first working day on or after a day, plus so many working days."""
        return self._days[np.minimum(self._before[self._place(day)] + days, len(self._days) - 1)]

    def after(self, second: np.ndarray, work: np.ndarray) -> np.ndarray:
        """Second in which so many seconds of work are done, counting only the warehouse's opening hours."""
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
    """Lookup of seconds since midnight, weighted by hour."""
    hour = Lookup.weighted(hours).values
    first = np.searchsorted(hour, np.arange(24))
    size = np.maximum(np.bincount(hour, minlength=24), 1)
    return Lookup(hour * season.HOUR + (np.arange(len(hour)) - first[hour]) * season.HOUR // size[hour])
