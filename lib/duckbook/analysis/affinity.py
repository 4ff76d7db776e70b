"""How many times as often as by chance two things are in one basket, with an interval.

What is by chance is reckoned among like baskets: of the same season, and as dear. A lift over all baskets alike would
find that cheap things go with cheap things, and gloves with sledges because both are sold in winter.
"""

from __future__ import annotations

from math import sqrt

from duckbook.analysis import statements
from duckbook.analysis.statements import Estimate


def lift(orders: float, expected: float, squares: float, *, tests: int = 1) -> Estimate:
    """Estimate a lift from the orders that hold both, and those that would by chance.

    Parameters
    ----------
    orders
        Orders that hold both.
    expected
        Orders that would hold both by chance. It rests on many more orders, and is taken to be without error.
    squares
        Sum over customers of the square of their orders that hold both. It is the variance of `orders`, where most
        customers have none: one who orders the same pair ten times is ten orders, and one customer.
    tests
        How many pairs were tried (Bonferroni).

    Returns
    -------
    Estimate
        `n` counts orders. Not a number where nothing is expected.
    """
    if expected <= 0 or orders <= 0:
        return Estimate(0.0 if expected > 0 else float("nan"), float("nan"), float("nan"), round(orders))
    z = statements.z(tests)
    effect, independent = max(squares / orders, 1.0), orders / max(squares / orders, 1.0)
    low, high = _byar(independent, -z), _byar(independent + 1, z)
    return Estimate(orders / expected, effect * low / expected, effect * high / expected, round(orders))


def _byar(count: float, z: float) -> float:
    """Limit of a Poisson mean by Byar's approximation, which holds for few as well (Breslow and Day 1987, p. 69)."""
    return count * max(1 - 1 / (9 * count) + z / (3 * sqrt(count)), 0.0) ** 3
