"""The lift of a pair: one where baskets are filled at random, and found where two things go together."""

from __future__ import annotations

from itertools import combinations
from math import isnan

import numpy as np
import pytest
from duckbook.analysis import affinity


def lifts(baskets: list[set[int]], customers: np.ndarray, things: int) -> dict[tuple[int, int], tuple]:
    """Orders, expected and squares of each pair, as explore/03_products.ipynb counts them in SQL."""
    holds = np.array([[thing in basket for thing in range(things)] for basket in baskets], dtype=float)
    size = holds.sum(axis=1)
    picks, pairs = size.sum(), (size * (size - 1)).sum()
    found = {}
    for one, other in combinations(range(things), 2):
        both = holds[:, one] * holds[:, other]
        expected = pairs * holds[:, one].sum() / picks * holds[:, other].sum() / picks
        squares = (np.bincount(customers, both) ** 2).sum()
        found[one, other] = both.sum(), expected, squares
    return found


def test_a_pair_is_told_from_its_orders_and_its_customers():
    found = affinity.lift(100, 40, 100)
    assert (found.value, found.n) == (2.5, 100)
    # The exact limits of a Poisson mean for 100 are 81.36 and 121.63 (Pearson and Hartley, table 40).
    assert found.low == pytest.approx(81.36 / 40, rel=1e-3)
    assert found.high == pytest.approx(121.63 / 40, rel=1e-3)
    assert affinity.lift(5, 1, 5).low == pytest.approx(1.6235, rel=0.02), "and for 5 it is 1.62 to 11.67"
    assert affinity.lift(5, 1, 5).high == pytest.approx(11.668, rel=0.02)
    assert affinity.lift(100, 40, 100 * 100).low < 0.4, "all by one customer"
    assert affinity.lift(100, 40, 100, tests=1000).low < found.low


def test_nothing_expected_or_found_has_no_interval():
    assert isnan(affinity.lift(5, 0, 5).value)
    assert (affinity.lift(0, 5, 0).value, isnan(affinity.lift(0, 5, 0).low)) == (0.0, True)


def test_random_baskets_of_many_sizes_and_loyal_customers_hold_no_pair():
    draw, told = np.random.default_rng(2), 0
    weights = np.array([5.0, *np.linspace(1, 3, 19)])
    for _ in range(10):
        customers = draw.integers(0, 400, 3000)
        sizes = draw.choice([1, 2, 3, 8], 3000, p=[0.5, 0.25, 0.2, 0.05])
        taken = [set(draw.choice(20, size, p=weights / weights.sum())) for size in sizes]
        for orders, expected, squares in lifts(taken, customers, 20).values():
            told += affinity.lift(orders, expected, squares, tests=190).low > 1
    assert told <= 1, "of ten times 190 pairs"


def test_two_that_go_together_are_found():
    draw = np.random.default_rng(3)
    taken = [set(draw.integers(0, 20, draw.integers(1, 4))) for _ in range(3000)]
    for basket in taken:
        if 7 in basket and draw.random() < 0.4:
            basket.add(8)
    found = {pair: affinity.lift(*counts, tests=190) for pair, counts in lifts(taken, np.arange(3000), 20).items()}
    assert [pair for pair, one in found.items() if one.low > 1] == [(7, 8)]
