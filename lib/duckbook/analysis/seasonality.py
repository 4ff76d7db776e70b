"""The season of a year, estimated from past days alone, and a clock that runs by it.

Classical decomposition: what was placed in a month divided by the mean of the year around it. A month that was never
seen with half a year on either side says nothing, so that a season takes two years of data.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd

YEAR = 365
"""Days of the centred moving average, which holds every season once."""

SHOWN = 28
"""Days of a month that must be seen with half a year on either side: one day is no month."""


def monthly(counts: pd.Series, until: Any) -> pd.Series | None:
    """How many times a mean day of the year each month's days count.

    Parameters
    ----------
    counts
        What was placed on each day, by day; a day without a row counts as 0.
    until
        The last day that may be looked at.

    Returns
    -------
    pandas.Series or None
        Twelve factors with a mean of 1, by month from 1 to 12; None where the days do not show each month with half a
        year on either side.
    """
    known = counts[counts.index <= pd.Timestamp(until)]
    if known.empty:
        return None
    known = known.reindex(pd.date_range(known.index.min(), pd.Timestamp(until)), fill_value=0).astype(float)
    year = known.rolling(YEAR, center=True, min_periods=YEAR).mean()
    seen = year[year > 0].index
    placed, usual = (days[seen].groupby(seen.month).sum() for days in (known, year))
    factors = placed / usual
    if len(factors) < 12 or seen.month.value_counts().min() < SHOWN or not (factors > 0).all():
        return None
    return factors / factors.mean()


def clock(factors: pd.Series | None, first: date, last: date) -> pd.Series:
    """Weeks of an average season that have passed at the start of each day from `first` to the day after `last`.

    Parameters
    ----------
    factors
        By month, of `monthly`; None: calendar weeks.
    """
    days = pd.date_range(first, last)
    pace = np.ones(len(days)) if factors is None else factors.reindex(days.month).to_numpy()
    passed = np.concatenate([[0.0], np.cumsum(pace)]) / 7
    return pd.Series(passed, index=pd.date_range(first, periods=len(days) + 1))
