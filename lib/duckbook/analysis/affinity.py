"""Lift of a pair: how much more often two items share a basket than by chance, with an interval.

Chance is computed among similar baskets: same season, similar value. A lift over all baskets would find that cheap
items go with cheap items, and gloves with sledges because both are sold in winter.
"""

from __future__ import annotations

from math import sqrt

from duckbook.analysis import statements
from duckbook.analysis.statements import Estimate


def lift(orders: float, expected: float, squares: float, *, tests: int = 1) -> Estimate:
    """Estimate a lift from the observed and the expected number of orders with both items.

    Parameters
    ----------
    orders
        Orders with both items.
    expected
        Orders with both items expected by chance. Treated as exact, because it is based on many more orders.
    squares
        Sum over customers of the squared number of their orders with both items: the variance of `orders` clustered by
        customer. A customer who orders the pair ten times is ten orders, but one observation.
    tests
        Number of pairs tested (Bonferroni).

    Returns
    -------
    Estimate
        `n` counts orders; the value is nan if nothing is expected.
    """
    if expected <= 0 or orders <= 0:
        return Estimate(0.0 if expected > 0 else float("nan"), float("nan"), float("nan"), round(orders))
    z = statements.z(tests)
    effect, independent = max(squares / orders, 1.0), orders / max(squares / orders, 1.0)
    low, high = _byar(independent, -z), _byar(independent + 1, z)
    return Estimate(orders / expected, effect * low / expected, effect * high / expected, round(orders))


def _byar(count: float, z: float) -> float:
    """Limit of a Poisson mean by Byar's approximation, accurate for small counts too (Breslow and Day 1987, p. 69)."""
    return count * max(1 - 1 / (9 * count) + z / (3 * sqrt(count)), 0.0) ** 3
