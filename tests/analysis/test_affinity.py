"""Lift of a pair: 1 for random baskets, and detected for items that go together."""

from __future__ import annotations

from itertools import combinations
from math import isnan

import numpy as np
import pytest
from duckbook.analysis import affinity


def lifts(baskets: list[set[int]], customers: np.ndarray, items: int) -> dict[tuple[int, int], tuple]:
    """Orders, expected and squares per pair, as explore/03_products.ipynb counts them in SQL."""
    holds = np.array([[item in basket for item in range(items)] for basket in baskets], dtype=float)
    size = holds.sum(axis=1)
    picks, pairs = size.sum(), (size * (size - 1)).sum()
    found = {}
    for one, other in combinations(range(items), 2):
        both = holds[:, one] * holds[:, other]
        expected = pairs * holds[:, one].sum() / picks * holds[:, other].sum() / picks
        squares = (np.bincount(customers, both) ** 2).sum()
        found[one, other] = both.sum(), expected, squares
    return found


def test_the_interval_of_a_lift_depends_on_orders_and_customers():
    found = affinity.lift(100, 40, 100)
    assert (found.value, found.n) == (2.5, 100)
    # The exact limits of a Poisson mean for 100 are 81.36 and 121.63 (Pearson and Hartley, table 40).
    assert found.low == pytest.approx(81.36 / 40, rel=1e-3)
    assert found.high == pytest.approx(121.63 / 40, rel=1e-3)
    assert affinity.lift(5, 1, 5).low == pytest.approx(1.6235, rel=0.02), "and for 5 it is 1.62 to 11.67"
    assert affinity.lift(5, 1, 5).high == pytest.approx(11.668, rel=0.02)
    assert affinity.lift(100, 40, 100 * 100).low < 0.4, "all by one customer"
    assert affinity.lift(100, 40, 100, tests=1000).low < found.low


def test_without_orders_or_expected_orders_there_is_no_interval():
    assert isnan(affinity.lift(5, 0, 5).value)
    assert (affinity.lift(0, 5, 0).value, isnan(affinity.lift(0, 5, 0).low)) == (0.0, True)


def test_random_baskets_have_no_significant_pair():
    draw, significant = np.random.default_rng(2), 0
    weights = np.array([5.0, *np.linspace(1, 3, 19)])
    for _ in range(10):
        customers = draw.integers(0, 400, 3000)
        sizes = draw.choice([1, 2, 3, 8], 3000, p=[0.5, 0.25, 0.2, 0.05])
        taken = [set(draw.choice(20, size, p=weights / weights.sum())) for size in sizes]
        for orders, expected, squares in lifts(taken, customers, 20).values():
            significant += affinity.lift(orders, expected, squares, tests=190).low > 1
    assert significant <= 1, "of ten times 190 pairs"


def test_items_that_go_together_are_found():
    draw = np.random.default_rng(3)
    taken = [set(draw.integers(0, 20, draw.integers(1, 4))) for _ in range(3000)]
    for basket in taken:
        if 7 in basket and draw.random() < 0.4:
            basket.add(8)
    found = {pair: affinity.lift(*counts, tests=190) for pair, counts in lifts(taken, np.arange(3000), 20).items()}
    assert [pair for pair, lift in found.items() if lift.low > 1] == [(7, 8)]
