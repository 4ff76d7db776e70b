"""BG/NBD and gamma-gamma reproduce the published CDNOW results and recover known parameters."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from duckbook.analysis import lifetime
from duckbook.errors import ScienceError

PUBLISHED = {"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259}
"""CDNOW, 2,357 customers over 39 weeks (Fader, Hardie and Lee 2005, table 2), with a log-likelihood of -9582.4."""

PUBLISHED_SPEND = {"p": 6.25, "q": 3.74, "gamma": 15.44}
"""CDNOW, 946 customers with repeat purchases (Fader and Hardie 2013), with a log-likelihood of -4055.9."""


@pytest.fixture(scope="module")
def log() -> dict[str, list]:
    """Purchases of CDNOW from the wheel of `lifetimes`: customer, day and amount in USD."""
    file = Path(distribution("lifetimes").locate_file("lifetimes/datasets/CDNOW_sample.txt"))
    rows = [line.split() for line in file.read_text("ascii").splitlines()]
    return {
        "customers": [row[1] for row in rows],
        "days": [f"{row[2][:4]}-{row[2][4:6]}-{row[2][6:]}" for row in rows],
        "amounts": [float(row[4]) for row in rows],
    }


@pytest.fixture(scope="module")
def cdnow(log) -> pd.DataFrame:
    return lifetime.summarise(**log, until="1997-09-30")


@pytest.fixture(scope="module")
def fitted(cdnow) -> lifetime.Fit:
    return lifetime.fit_bgnbd(cdnow.frequency, cdnow.recency, cdnow.age)


def test_the_published_parameters_of_cdnow_are_reproduced(fitted):
    assert {name: round(getattr(fitted, name), 4) for name in fitted.names} == PUBLISHED
    assert fitted.log_likelihood == pytest.approx(-9582.4, abs=0.05)
    assert fitted.customers == 2357


def test_the_summary_equals_that_of_lifetimes(cdnow):
    name = "lifetimes/datasets/cdnow_customers_summary_with_transactions.csv"
    theirs = pd.read_csv(distribution("lifetimes").locate_file(name))
    assert cdnow.frequency.to_list() == theirs.x.to_list()
    for column, other in (("recency", "t_x"), ("age", "T"), ("mean_value", "zbar")):
        assert np.abs(cdnow[column].to_numpy() - theirs[other].to_numpy()).max() < 0.0051, column


def test_the_published_spend_of_cdnow_is_reproduced(cdnow):
    found = lifetime.fit_gamma_gamma(cdnow.frequency, cdnow.mean_value)
    assert {name: getattr(found, name) for name in found.names} == pytest.approx(PUBLISHED_SPEND, abs=0.01)
    assert found.log_likelihood == pytest.approx(-4055.9, abs=0.05)
    assert found.customers == 946


def test_the_published_forecast_of_one_customer_is_reproduced(fitted):
    """Two repeat purchases, the last in week 30.43 of 38.86: 1.226 more are expected in the next 39 weeks."""
    assert lifetime.expected_purchases(fitted, 39, [2], [30.43], [38.86])[0] == pytest.approx(1.226, abs=0.0005)


@pytest.mark.parametrize("unit", [7, 7 * 86_400, 7 / 365.25])
def test_the_fit_does_not_depend_on_the_unit_of_time(cdnow, fitted, unit):
    """Days, seconds and years, from lists."""
    columns = [cdnow.frequency.to_list(), (cdnow.recency * unit).to_list(), (cdnow.age * unit).to_list()]
    other = lifetime.fit_bgnbd(*columns)
    assert other.values / [1, unit, 1, 1] == pytest.approx(fitted.values, rel=1e-5)


@pytest.mark.parametrize("planted", [(0.243, 4.414, 0.793, 2.426), (0.9, 12.0, 0.5, 4.0), (0.3, 40.0, 1.5, 2.0)])
def test_known_parameters_lie_in_the_confidence_region(planted):
    age = np.random.default_rng(5).uniform(20, 160, 8000)
    found = lifetime.fit_bgnbd(*lifetime.simulate(planted, age, seed=6), age)
    assert found.contains(planted, level=0.99)
    assert not found.contains(np.array(planted) * [1.5, 1, 1, 1])


def test_intervals_cover_the_planted_parameters_at_their_level():
    planted, age = (0.5, 8.0, 0.8, 2.5), np.linspace(20, 100, 3000)
    covered = np.zeros(4)
    for seed in range(20):
        low, high = lifetime.fit_bgnbd(*lifetime.simulate(planted, age, seed), age).interval(0.9).T
        covered += (low < planted) & (planted < high)
    assert (covered >= 15).all(), covered


def test_the_forecast_matches_simulated_purchases():
    planted, age = (0.5, 8.0, 0.8, 2.5), np.full(60_000, 60.0)
    later, _ = lifetime.simulate(planted, age + 30, seed=3)
    fit = lifetime.Fit(("r", "alpha", "a", "b"), np.array(planted), np.eye(4), 0.0, len(age))
    expected = lifetime.expected_purchases_of_new(fit, 90)
    assert later.mean() == pytest.approx(expected, rel=0.03)


def test_the_conditional_forecast_adds_up_to_the_unconditional_one():
    """Averaged over all customers, the conditional expectation equals the unconditional one (FHL, 9 and 10)."""
    planted, age = (0.5, 8.0, 0.8, 2.5), np.full(80_000, 60.0)
    fit = lifetime.Fit(("r", "alpha", "a", "b"), np.array(planted), np.eye(4), 0.0, len(age))
    after = lifetime.expected_purchases(fit, 30.0, *lifetime.simulate(planted, age, seed=4), age)
    whole = lifetime.expected_purchases_of_new(fit, 90.0) - lifetime.expected_purchases_of_new(fit, 60.0)
    assert after.mean() == pytest.approx(whole, rel=0.03)


def test_a_longer_time_without_purchase_lowers_the_probability_alive(fitted):
    alive = lifetime.probability_alive(fitted, [5, 5, 5, 0], [38, 20, 5, 0], [39, 39, 39, 39])
    assert alive[0] > alive[1] > alive[2] and alive[3] == 1.0


def test_known_spend_parameters_lie_in_the_confidence_region():
    p, q, gamma = 6.25, 2.8, 26.5
    draw = np.random.default_rng(8)
    count = draw.integers(0, 6, 9000)
    rate = draw.gamma(q, 1 / gamma, len(count))
    mean = np.where(count > 0, draw.gamma(np.maximum(p * count, 1)) / rate / np.maximum(count, 1), 0)
    found = lifetime.fit_gamma_gamma(count, mean)
    assert found.contains([p, q, gamma], level=0.99)
    value = lifetime.expected_value(found, count, mean)
    assert value[count == 0] == pytest.approx(p * gamma / (q - 1), rel=0.05)
    many = (count == 5) & (mean > 2 * mean[count > 0].mean())
    assert ((value[many] < mean[many]) & (value[many] > value[count == 0][0])).all()


@pytest.mark.parametrize(
    ("summary", "sentence"),
    [
        (([1], [5.0], [4.0]), "0 <= recency <= age"),
        (([0], [1.0], [4.0]), "a recency of 0 without a repeat purchase"),
        (([-1], [0.0], [4.0]), "frequency >= 0"),
        (([1], [np.nan], [4.0]), "without missing values"),
        (([], [], []), "at least one customer"),
        (([1.5], [1.0], [4.0]), "whole numbers"),
        (([1, 2], [1.0], [4.0, 5.0]), "lengths are: frequency 2, recency 1, age 2"),
        ((["many"], [1.0], [4.0]), "frequency is not numeric"),
    ],
)
def test_an_invalid_summary_is_refused(summary, sentence):
    with pytest.raises(ScienceError, match=f"BG/NBD needs .*{sentence}"):
        lifetime.fit_bgnbd(*summary)


def test_a_missing_mean_value_without_repeat_purchases_is_ignored():
    fit = lifetime.Fit(("p", "q", "gamma"), np.array([6.25, 3.74, 15.44]), np.eye(3), 0.0, 946)
    assert lifetime.expected_value(fit, [0, 2], [np.nan, 20.0])[0] == pytest.approx(6.25 * 15.44 / 2.74)


def test_the_forecast_of_a_new_customer_has_no_pole(fitted):
    """At a = 1 the forecast equals that close to it."""
    at, close = (lifetime.Fit(fitted.names, np.array([0.25, 4.4, a, 2.4]), np.eye(4), 0.0, 1) for a in (1.0, 1.0001))
    found, near = (lifetime.expected_purchases_of_new(fit, [13.0, 39.0]) for fit in (at, close))
    assert found == pytest.approx(near, rel=1e-3)
    assert (found > 0).all()


def test_customers_whose_repeats_were_free_do_not_refuse_the_fit_of_the_others(cdnow):
    frequency, value = (np.append(cdnow[name].to_numpy(), more) for name, more in (("frequency", 2), ("mean_value", 0)))
    found = lifetime.fit_gamma_gamma(frequency, value)
    assert found.customers == 946
    assert {name: getattr(found, name) for name in found.names} == pytest.approx(PUBLISHED_SPEND, abs=0.01)


def test_time_follows_the_given_clock(log):
    days = pd.date_range("1997-01-01", "1997-10-01")
    slow = pd.Series(np.arange(len(days)) / 14, index=days)
    by_calendar, by_clock = (lifetime.summarise(**log, until="1997-09-30", clock=clock) for clock in (None, slow))
    assert by_clock.age.to_numpy() == pytest.approx(by_calendar.age.to_numpy() / 2)
    assert by_clock.recency.to_numpy() == pytest.approx(by_calendar.recency.to_numpy() / 2)
    assert by_clock.frequency.equals(by_calendar.frequency)


def test_without_scipy_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(lifetime, "find_spec", lambda name: None)
    with pytest.raises(ScienceError, match="run make science once"):
        lifetime.fit_gamma_gamma([1], [2.0])


def test_too_few_customers_raise():
    with pytest.raises(ScienceError, match="has no maximum"):
        lifetime.fit_bgnbd(np.zeros(30), np.zeros(30), np.full(30, 10.0))
    with pytest.raises(ScienceError, match="at least 50"):
        lifetime.fit_gamma_gamma([1, 2], [3.0, 4.0])
