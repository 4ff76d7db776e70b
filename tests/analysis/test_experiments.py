"""Simulated power matches the rate at which the test detects a planted uplift; without one, the significance."""

from __future__ import annotations

import numpy as np
import pytest
from duckbook.analysis import experiments
from duckbook.errors import ScienceError

CUSTOMERS = 3000


def counts(seed: int, uplift: float = 0.0, share: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orders during, before and whether treated, of customers whose rates differ by a gamma distribution."""
    draw = np.random.default_rng(seed)
    rates, treated = draw.gamma(0.25, 0.6, CUSTOMERS), draw.random(CUSTOMERS) < share
    return draw.poisson(rates * (1 + uplift * treated)), draw.poisson(rates), treated


@pytest.mark.parametrize(("uplift", "share"), [(0.0, 0.5), (0.4, 0.1)])
def test_simulated_power_matches_the_detection_rate(uplift, share):
    found = 0
    for seed in range(300):
        during, before, treated = counts(seed, uplift, share)
        found += experiments.welch(experiments.cuped(during, before), treated).p < 0.05
    during, before, _ = counts(1000)
    power = experiments.power(during, before, uplift, treated=share, draws=600)
    assert power.n == 600
    assert power.value == pytest.approx(found / 300, abs=0.1 if uplift else 0.035)


def test_power_rises_with_the_uplift_and_is_reproducible():
    during, before, _ = counts(2)
    power = [experiments.power(during, before, uplift, draws=150).value for uplift in (0.0, 0.3, 0.8)]
    assert power[0] < power[1] < power[2]
    assert experiments.power(during, before, 0.3, draws=150).value == power[1]


def test_cuped_reduces_the_variance_and_keeps_the_mean():
    during, before, _ = counts(3)
    adjusted = experiments.cuped(during, before)
    assert adjusted.mean() == pytest.approx(during.mean())
    assert adjusted.var() < during.var()
    assert abs(np.corrcoef(adjusted, before)[0, 1]) < 1e-9
    assert experiments.cuped(during, np.zeros(CUSTOMERS)).tolist() == during.tolist()


def test_the_interval_is_that_of_welchs_test():
    found = experiments.welch([1.0, 2.0, 3.0, 4.0, 5.0, 9.0], [True, True, True, False, False, False])
    assert (found.difference, found.p) == (-4.0, pytest.approx(0.106, abs=0.001))
    assert found.low < -4.0 < found.high


@pytest.mark.parametrize(
    ("outcome", "treated"), [([1.0, 2.0, 3.0], [True, False, False]), ([1.0] * 4, [True, False] * 2)]
)
def test_groups_that_cannot_be_compared_raise(outcome, treated):
    with pytest.raises(ScienceError, match="at least two customers"):
        experiments.welch(outcome, treated)
