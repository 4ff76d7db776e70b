"""Price elasticity: Poisson regression of units per product and week, with product and week fixed effects.

Poisson pseudo maximum likelihood needs no logarithm of units, so it keeps weeks without sales (Santos Silva and
Tenreyro, "The Log of Gravity", Review of Economics and Statistics 88, 2006). The fixed effects are partialled out in
each step (Correia, Guimarães and Zylkin, "Fast Poisson Estimation with High-Dimensional Fixed Effects", Stata
Journal 20, 2020). Standard errors are clustered by product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duckbook.errors import NotEnough

MAX_STEPS = 200
"""Upper limit of iterations; they end when the slope converges."""


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
    """Estimate the elasticity of units with respect to price, from price changes within products.

    Parameters
    ----------
    units, log_price : arrays of shape (rows,)
        One row per product and week in which it was on sale, sold or not.
    product, week : arrays of shape (rows,)
        Labels of the fixed effects. Without `week`, the effect of a good season is attributed to the promotions in it.

    Raises
    ------
    ScienceError
        No product changed its price.
    """
    y, x = np.asarray(units, dtype=float), np.asarray(log_price, dtype=float)
    effects = [
        np.unique(np.asarray(labels), return_inverse=True)[1] for labels in (product, week) if labels is not None
    ]
    # A product or week without sales has a fixed effect of minus infinity, and no information about the price.
    sold = np.logical_and.reduce([_group_sums(y, codes)[codes] > 0 for codes in effects])
    effects = [np.unique(codes[sold], return_inverse=True)[1] for codes in effects]
    y, x = y[sold], x[sold]
    slope, mean = 0.0, _fitted_mean(y, np.ones(len(y)), effects)
    for _ in range(MAX_STEPS):
        residual = _partial_out(x, mean, effects)
        information = (mean * residual**2).sum()
        if not information > 1e-9:
            raise NotEnough("No product changed its price relative to the others: no elasticity can be estimated.")
        step = float((residual * (y - mean)).sum() / information)
        slope += float(np.clip(step, -1.0, 1.0))
        mean = _fitted_mean(y, np.exp(slope * x), effects)
        if abs(step) < 1e-8:
            break
    scores = _group_sums(residual * (y - mean), effects[0])
    return Slope(slope, float(np.sqrt((scores**2).sum()) / information), len(y))


def _fitted_mean(y: np.ndarray, base: np.ndarray, effects: list[np.ndarray]) -> np.ndarray:
    """Scale `base` by fixed effects until its sums per product and per week equal those of `y`."""
    mean = base.copy()
    for _ in range(MAX_STEPS):
        previous = mean
        for codes in effects:
            mean = mean * (_group_sums(y, codes) / _group_sums(mean, codes))[codes]
        if np.abs(mean - previous).max() < 1e-10 * mean.max():
            break
    return mean


def _partial_out(x: np.ndarray, weight: np.ndarray, effects: list[np.ndarray]) -> np.ndarray:
    """Residual of `x` after removing its weighted means per product and per week."""
    residual = x.copy()
    for _ in range(MAX_STEPS):
        previous = residual
        for codes in effects:
            residual = residual - (_group_sums(weight * residual, codes) / _group_sums(weight, codes))[codes]
        if np.abs(residual - previous).max() < 1e-10:
            break
    return residual


def _group_sums(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.bincount(codes, weights=values)
