"""Price elasticity: units by product and week as a Poisson regression with an effect of each product and of each week.

Poisson by pseudo maximum likelihood needs no logarithm of units, so that weeks in which nothing was sold stay in
(Santos Silva and Tenreyro, "The Log of Gravity", Review of Economics and Statistics 88, 2006). The effects are swept
out of each step rather than written as columns (Correia, Guimarães and Zylkin, "Fast Poisson Estimation with
High-Dimensional Fixed Effects", Stata Journal 20, 2020), and errors are clustered by product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duckbook.errors import NotEnough

STEPS = 200
"""More than any data took; the steps end when the slope stands still."""


@dataclass(frozen=True)
class Slope:
    """An elasticity with its standard error, clustered by product, and a 95 % interval."""

    value: float
    error: float
    rows: int

    @property
    def low(self) -> float:
        """Lower limit."""
        return self.value - 1.96 * self.error

    @property
    def high(self) -> float:
        """Upper limit."""
        return self.value + 1.96 * self.error


def fit(units: Any, log_price: Any, product: Any, week: Any | None = None) -> Slope:
    """The elasticity of units with respect to price, from changes within products.

    Parameters
    ----------
    units, log_price : arrays of shape (rows,)
        A row a product and week in which it was on sale, sold or not.
    product, week : arrays of shape (rows,)
        Labels of the effects. Without `week` every week counts alike, and a promotion in a good season gets the
        credit for the season.

    Raises
    ------
    ScienceError
        No product changed its price.
    """
    y, x = np.asarray(units, dtype=float), np.asarray(log_price, dtype=float)
    effects = [
        np.unique(np.asarray(labels), return_inverse=True)[1] for labels in (product, week) if labels is not None
    ]
    # A product or week without a sale has an effect of minus infinity, and says nothing about the price.
    sold = np.logical_and.reduce([_sums(y, of)[of] > 0 for of in effects])
    effects = [np.unique(of[sold], return_inverse=True)[1] for of in effects]
    y, x = y[sold], x[sold]
    slope, mean = 0.0, _fitted(y, np.ones(len(y)), effects)
    for _ in range(STEPS):
        alone = _without(x, mean, effects)
        information = (mean * alone**2).sum()
        if not information > 1e-9:
            raise NotEnough("No product changed its price against the others: there is no elasticity to be found.")
        step = float((alone * (y - mean)).sum() / information)
        slope += float(np.clip(step, -1.0, 1.0))
        mean = _fitted(y, np.exp(slope * x), effects)
        if abs(step) < 1e-8:
            break
    scores = _sums(alone * (y - mean), effects[0])
    return Slope(slope, float(np.sqrt((scores**2).sum()) / information), len(y))


def _fitted(y: np.ndarray, base: np.ndarray, effects: list[np.ndarray]) -> np.ndarray:
    """The base times the effects that make the sums of each product and of each week those of `y`."""
    mean = base.copy()
    for _ in range(STEPS):
        before = mean
        for of in effects:
            mean = mean * (_sums(y, of) / _sums(mean, of))[of]
        if np.abs(mean - before).max() < 1e-10 * mean.max():
            break
    return mean


def _without(x: np.ndarray, weight: np.ndarray, effects: list[np.ndarray]) -> np.ndarray:
    """What is left of `x` when its weighted mean by product and by week is taken away."""
    left = x.copy()
    for _ in range(STEPS):
        before = left
        for of in effects:
            left = left - (_sums(weight * left, of) / _sums(weight, of))[of]
        if np.abs(left - before).max() < 1e-10:
            break
    return left


def _sums(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.bincount(of, weights=values)
