"""Seasonal factors per month, estimated from past days only, and a clock that runs at their pace.

Classical decomposition: the orders of a month divided by the mean of the year around it. A month counts only with half
a year of data on either side, so seasonal factors need two years of data.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd

YEAR = 365
"""Days of the centred moving average, which covers every season once."""

MIN_DAYS = 28
"""Days of each month that must have half a year of data on either side."""


def monthly(counts: pd.Series, until: Any) -> pd.Series | None:
    """Estimate the seasonal factor of each month, relative to the mean day of the year.

    Parameters
    ----------
    counts
        Orders per day, indexed by day; a missing day counts as 0.
    until
        The last day that may be used.

    Returns
    -------
    pandas.Series or None
        Twelve factors with a mean of 1, by month from 1 to 12; None if the data do not cover each month with half a
        year on either side.
    """
    known = counts[counts.index <= pd.Timestamp(until)]
    if known.empty:
        return None
    known = known.reindex(pd.date_range(known.index.min(), pd.Timestamp(until)), fill_value=0).astype(float)
    year = known.rolling(YEAR, center=True, min_periods=YEAR).mean()
    covered = year[year > 0].index
    orders, expected = (days[covered].groupby(covered.month).sum() for days in (known, year))
    factors = orders / expected
    if len(factors) < 12 or covered.month.value_counts().min() < MIN_DAYS or not (factors > 0).all():
        return None
    return factors / factors.mean()


def clock(factors: pd.Series | None, first: date, last: date) -> pd.Series:
    """Season-adjusted weeks that have passed at the start of each day from `first` to the day after `last`.

    Parameters
    ----------
    factors
        Factors per month from `monthly`; None gives calendar weeks.
    """
    days = pd.date_range(first, last)
    pace = np.ones(len(days)) if factors is None else factors.reindex(days.month).to_numpy()
    passed = np.concatenate([[0.0], np.cumsum(pace)]) / 7
    return pd.Series(passed, index=pd.date_range(first, periods=len(days) + 1))
