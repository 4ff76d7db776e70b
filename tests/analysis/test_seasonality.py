"""Planted seasonal factors are recovered, and days after the cut-off are not used."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from duckbook.analysis import seasonality

PLANTED = pd.Series([0.8, 0.8, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.2, 1.4], index=range(1, 13))


def orders(years: float, growth: float = 0.3) -> pd.Series:
    """A growing shop with planted seasonal factors."""
    days = pd.date_range("2023-01-01", periods=int(365 * years))
    return pd.Series(100 * np.exp(growth * np.arange(len(days)) / 365) * PLANTED[days.month].to_numpy(), index=days)


def test_planted_factors_are_recovered_from_a_growing_shop():
    found = seasonality.monthly(orders(3), "2025-12-30")
    assert found.to_numpy() == pytest.approx((PLANTED / PLANTED.mean()).to_numpy(), abs=0.03)


def test_days_after_the_cut_off_are_not_used():
    known = orders(4)
    changed = known.where(known.index <= "2025-06-30", 0.0)
    assert seasonality.monthly(known, "2025-06-30").equals(seasonality.monthly(changed, "2025-06-30"))


def test_missing_days_count_as_days_without_orders():
    known = orders(3).astype(int)
    sparse = known[known.index.day != 13]
    filled = sparse.reindex(known.index, fill_value=0)
    assert seasonality.monthly(sparse, "2025-12-30").equals(seasonality.monthly(filled, "2025-12-30"))


@pytest.mark.parametrize("years", [0.5, 1.5])
def test_less_than_two_years_give_no_factors(years):
    assert seasonality.monthly(orders(years), "2024-06-30") is None
    assert seasonality.monthly(pd.Series(dtype=float, index=pd.DatetimeIndex([])), "2024-06-30") is None


def test_a_month_with_one_covered_day_gives_no_factors():
    flat = pd.Series(100.0, index=pd.date_range("2023-01-01", periods=700))
    flat["2024-06-01"] = 300.0
    assert seasonality.monthly(flat, flat.index[-1]) is None


def test_a_clock_without_factors_is_the_calendar_and_with_factors_the_year_is_as_long():
    plain = seasonality.clock(None, date(2025, 1, 1), date(2025, 12, 31))
    assert plain[pd.Timestamp("2025-01-15")] == 2.0
    seasonal = seasonality.clock(PLANTED / PLANTED.mean(), date(2025, 1, 1), date(2025, 12, 31))
    assert seasonal.iloc[-1] == pytest.approx(365 / 7, rel=0.01)
    assert seasonal.diff()[pd.Timestamp("2025-12-20")] > seasonal.diff()[pd.Timestamp("2025-02-20")]
