"""Shares within strata: a different composition is no difference, and visits of one customer are dependent."""

from __future__ import annotations

import numpy as np
import pytest
from duckbook.analysis import statements, strata
from duckbook.analysis.statements import Group


def test_with_one_stratum_it_equals_the_comparison_of_two_shares():
    found = strata.compare_within(("desktop", [300], [1000]), ("mobile", [1500], [10_000]))
    plain = statements.compare_shares(("desktop", 300, 1000), ("mobile", 1500, 10_000))
    assert (found.first_estimate.value, found.second_estimate.value, found.verdict) == (0.3, 0.15, "higher")
    assert found.difference.low == pytest.approx(plain.difference.low, abs=0.002)
    assert found.difference.high == pytest.approx(plain.difference.high, abs=0.002)
    assert (found.first_estimate.n, found.second_estimate.n) == (1000, 10_000)


def test_a_different_composition_is_no_difference():
    """Both convert at 40% in the first stratum and 10% in the second; most desktop visits are in the first."""
    desktop, mobile = ("desktop", [400, 10], [1000, 100]), ("mobile", [40, 100], [100, 1000])
    pooled = statements.compare_shares(("desktop", 410, 1100), ("mobile", 140, 1100))
    assert pooled.verdict == "higher"
    found = strata.compare_within(desktop, mobile)
    assert (found.difference.value, found.verdict) == (pytest.approx(0), "no difference")


def test_strata_missing_in_one_group_are_ignored():
    found = strata.compare_within(("new", [0, 50], [0, 500]), ("old", [900, 25], [1000, 500]))
    assert (found.second_estimate.value, found.second_estimate.n) == (0.05, 500)
    disjoint = strata.compare_within(("new", [0, 50], [0, 500]), ("old", [900, 0], [1000, 0]))
    assert disjoint.verdict == "too few"


def test_too_few_visits_or_purchases_are_too_few():
    assert strata.compare_within(("tablet", [9], [29]), ("mobile", [200], [1000])).verdict == "too few"
    assert strata.compare_within(("tablet", [4], [400]), ("mobile", [5], [1000])).verdict == "too few"
    few = strata.compare_within(("tablet", [30], [40]), ("mobile", [200], [1000]), design_effect=2)
    assert few.verdict == "too few"


def test_the_design_effect_of_rows_repeated_ten_times_is_ten():
    draw = np.random.default_rng(4)
    bought = (draw.random(4000) < 0.2).astype(float)
    assert Group("once", bought, np.ones(4000)).design_effect == pytest.approx(1, abs=0.01)
    assert Group("tenfold", 10 * bought, np.full(4000, 10)).design_effect == pytest.approx(10, abs=0.01)
    assert Group("none", np.zeros(40), np.ones(40)).design_effect == 1


def test_false_differences_are_rare_and_intervals_cover_true_ones():
    """Customers have different conversions and one device each; months differ too."""
    draw, significant, covered = np.random.default_rng(7), 0, 0
    month = draw.integers(0, 12, 3000) % np.array([12, 6])[(draw.random(3000) < 0.5).astype(int)]
    for _ in range(300):
        device, visits = draw.integers(0, 2, 3000), draw.poisson(4, 3000)
        rate = draw.beta(2, 12, 3000) * (1 + month / 12)
        for lift in (0.0, 0.05):
            bought = draw.binomial(visits, np.clip(rate + lift * (device == 0), 0, 1))
            counts = [
                [np.bincount(month[device == d], values[device == d], 12) for values in (bought, visits)]
                for d in (0, 1)
            ]
            effect = Group("all", bought, visits).design_effect
            found = strata.compare_within(("a", *counts[0]), ("b", *counts[1]), design_effect=effect)
            if lift:
                covered += found.difference.low <= lift <= found.difference.high
            else:
                significant += found.is_significant
    assert significant / 300 < 0.085
    assert covered / 300 > 0.915


@pytest.mark.parametrize(
    ("sizes", "rate", "count"), [((50, 2000), 0.01, 1), ((60, 2000), 0.02, 6), ((100, 1000), 0.1, 6)]
)
def test_a_small_group_without_rare_hits_has_no_lower_share(sizes, rate, count):
    draw = np.random.default_rng(43)
    n = np.array([np.full(count, size // count) for size in sizes])
    hits = draw.binomial(n, rate, (1000, *n.shape))
    significant = sum(strata.compare_within(("a", k[0], n[0]), ("b", k[1], n[1])).is_significant for k in hits)
    assert significant / 1000 < 0.075


def test_confounded_groups_rarely_differ_significantly():
    """Most visits of one group are in the stratum with low conversion, those of the other in the high one."""
    draw, significant = np.random.default_rng(41), 0
    n, rate = np.array([[7007, 142], [12, 3715]]), np.array([0.01, 0.47])
    for _ in range(1000):
        hits = draw.binomial(n, rate)
        significant += strata.compare_within(("a", hits[0], n[0]), ("b", hits[1], n[1])).is_significant
    assert significant / 1000 < 0.08
