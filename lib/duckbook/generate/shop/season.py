"""Season: sales intensity by hour, and operational time, in which the intensity is constant.

The season follows the monthly and weekly pattern of US online retail (US Census Bureau, Monthly Retail Trade,
electronic shopping, not adjusted; Adobe Digital Economy Index for Cyber Week). Hours are in the customer's local time,
without daylight saving.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from duckbook.generate.shop.distributions import exp

HOUR = 3600
DAY = 86_400
WEEK = 7 * DAY

MONTHS = (0.90, 0.86, 0.93, 0.92, 0.97, 0.95, 0.99, 0.96, 0.94, 1.00, 1.16, 1.26)
"""Sales of an ordinary day by month, without Cyber Week and the days before Christmas."""

WEEKDAYS = (1.10, 1.06, 1.03, 1.01, 0.94, 0.89, 0.97)
"""Monday to Sunday: online sales are highest on Monday and lowest on Saturday."""

HOURS = (
    0.45, 0.27, 0.17, 0.13, 0.13, 0.20, 0.38, 0.62, 0.88, 1.12, 1.30, 1.38,
    1.40, 1.36, 1.32, 1.30, 1.28, 1.28, 1.36, 1.50, 1.62, 1.56, 1.22, 0.77,
)  # fmt: skip
"""Sales by hour from midnight, with a plateau over midday and a peak at 20 h."""


@dataclass(frozen=True)
class Span:
    """First day of the shop, last day of its history, and last simulated day."""

    first: date
    history_end: date
    horizon: date


def epoch(day: date) -> int:
    """Seconds from 1970 to the start of a day, UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def thanksgiving(year: int) -> date:
    """The fourth Thursday of November."""
    first = date(year, 11, 1)
    return first + timedelta(days=(3 - first.weekday()) % 7 + 21)


def occasion(day: date) -> float:
    """Factor of a special day on top of month and weekday; 1 on an ordinary day."""
    since = (day - thanksgiving(day.year)).days
    cyber_week = {-3: 1.15, -2: 1.20, -1: 1.30, 0: 1.75, 1: 3.10, 2: 1.75, 3: 1.80, 4: 2.95, 5: 1.60, 6: 1.20}
    if since in cyber_week:
        return cyber_week[since]
    fixed = {(1, 1): 0.75, (2, 12): 1.15, (2, 13): 1.10, (7, 4): 0.80, (12, 24): 0.55, (12, 25): 0.50, (12, 31): 0.75}
    if (day.month, day.day) in fixed:
        return fixed[day.month, day.day]
    if day.month == 12 and day.day <= 17:
        return 1.22
    if day.month == 7 and 9 <= day.day <= 12:
        return 1.30
    mothers_day = date(day.year, 5, 1) + timedelta(days=(6 - date(day.year, 5, 1).weekday()) % 7 + 7)
    return 1.15 if 2 <= (mothers_day - day).days <= 8 else 1.0


def daily(first: date, days: int) -> np.ndarray:
    """Sales intensity of each day, 1 on an average day of an average year."""
    dates = [first + timedelta(days=n) for n in range(days)]
    values = [MONTHS[d.month - 1] * WEEKDAYS[d.weekday()] * occasion(d) for d in dates]
    return np.array(values) / _YEARLY_MEAN


def _yearly_mean() -> float:
    # Four fixed years, so that the mean does not depend on the simulated days.
    first = date(2020, 1, 1)
    days = [first + timedelta(days=n) for n in range(1461)]
    return sum(MONTHS[d.month - 1] * WEEKDAYS[d.weekday()] * occasion(d) for d in days) / len(days)


_YEARLY_MEAN = _yearly_mean()


class Clock:
    """Monotone map between seconds since 1970 and operational weeks, linear within an hour.

    Parameters
    ----------
    first
        Day at whose start operational time is 0.
    days
        Days that the map spans. Moments beyond have no inverse.
    growth
        Yearly growth of the intensity; 0 for the season alone.
    strength
        Factor on the deviations from an average day: 1 for the full season, 0 for none.
    """

    def __init__(self, first: date, days: int, growth: float = 0.0, strength: float = 1.0) -> None:
        self.start = epoch(first)
        hours = np.array(HOURS) / (sum(HOURS) / 24)
        day = daily(first, days)
        if strength != 1.0:
            day = 1.0 + strength * (day - 1.0)
        if growth:
            day = day * exp(growth * np.arange(days) / 365.25)
        steps = (day[:, None] * hours[None, :] / (24 * 7)).ravel()
        self._edges = np.concatenate([[0.0], np.cumsum(steps)])
        self.end = self.start + days * DAY

    def weeks(self, second: np.ndarray) -> np.ndarray:
        """Operational weeks at seconds within the span."""
        since = np.clip(second - self.start, 0, (len(self._edges) - 1) * HOUR - 1)
        hour = since // HOUR
        lower = self._edges[hour]
        return lower + (self._edges[hour + 1] - lower) * ((since - hour * HOUR) / HOUR)

    def second(self, weeks: np.ndarray) -> np.ndarray:
        """Second at which operational weeks have passed; `end` or later beyond the span."""
        hour = np.searchsorted(self._edges, weeks, side="right") - 1
        inside = np.minimum(hour, len(self._edges) - 2)
        lower = self._edges[inside]
        share = (weeks - lower) / (self._edges[inside + 1] - lower)
        # Beyond the span the share exceeds 1, so the result is after the end, which is all that callers need.
        return self.start + inside * HOUR + np.minimum(share * HOUR, 1e9).astype(np.int64)
