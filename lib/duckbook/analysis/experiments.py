"""Randomised experiments on counts: the effect with CUPED, and the power of the same test by simulation.

CUPED removes the variance that pre-experiment data explain (Deng, Xu, Kohavi and Walker, "Improving the Sensitivity of
Online Controlled Experiments by Utilizing Pre-Experiment Data", WSDM 2013). Power is simulated on counts from before
the experiment, because the power formula of the t-test assumes equal variances and a higher rate has a higher variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duckbook.analysis.statements import Estimate, share
from duckbook.errors import NotEnough


@dataclass(frozen=True)
class Effect:
    """Difference of two means, treated minus control, with its interval and p-value (Welch)."""

    difference: float
    low: float
    high: float
    p: float


def welch(outcome: Any, treated: Any, significance: float = 0.05) -> Effect:
    """Compare the means of treated and control.

    Raises
    ------
    ScienceError
        A group has fewer than two rows, or all rows are equal.
    """
    from scipy import stats

    y, is_treated = np.asarray(outcome, dtype=float), np.asarray(treated, dtype=bool)
    groups = y[is_treated], y[~is_treated]
    if min(map(len, groups)) < 2 or not y.std():
        raise NotEnough("A comparison needs two groups of at least two customers, and outcomes that differ.")
    result = stats.ttest_ind(*groups, equal_var=False)
    limits = result.confidence_interval(1 - significance)
    return Effect(groups[0].mean() - groups[1].mean(), float(limits.low), float(limits.high), float(result.pvalue))


def cuped(outcome: Any, before: Any) -> np.ndarray:
    """Adjust the outcome for the pre-experiment covariate `before`; the mean does not change."""
    y, x = np.asarray(outcome, dtype=float), np.asarray(before, dtype=float)
    if not x.std():
        return y
    return y - np.cov(y, x)[0, 1] / x.var(ddof=1) * (x - x.mean())


def power(
    outcome: Any,
    before: Any,
    uplift: float,
    *,
    treated: float = 0.5,
    significance: float = 0.05,
    draws: int = 400,
    seed: int = 7,
) -> Estimate:
    """Simulate the power of CUPED with Welch's test to detect an uplift of the rate.

    Parameters
    ----------
    outcome : array of shape (customers,)
        Counts in a period without an experiment, as long as the experiment.
    before : array of shape (customers,)
        Counts in the period before that.
    uplift
        Relative increase of the rate of treated customers.
    treated
        Share of the customers to treat.

    Returns
    -------
    Estimate
        Share of simulated experiments with p below `significance`, with its simulation interval.

    Notes
    -----
    Each simulated experiment draws the treated customers and adds counts at `uplift` times their rate. A rate is drawn
    from its gamma posterior given the count (gamma-Poisson mixture, fitted by moments), because a high count does not
    imply a high rate.
    """
    from scipy.special import stdtr

    y, x = np.asarray(outcome, dtype=float), np.asarray(before, dtype=float)
    draw, mean, spread = np.random.default_rng(seed), y.mean(), y.var() - y.mean()
    size, hits = int(treated * len(y)), 0
    for _ in range(draws):
        order = draw.permutation(len(y))
        chosen = order[:size]
        rates = np.full(size, mean)
        if spread > 0:
            rates = draw.gamma(mean**2 / spread + y[chosen]) / (mean / spread + 1)
        counts = y.copy()
        counts[chosen] += draw.poisson(uplift * rates)
        counts = cuped(counts, x)
        test, control = counts[chosen], counts[order[size:]]
        errors = test.var(ddof=1) / len(test), control.var(ddof=1) / len(control)
        if sum(errors):
            freedom = sum(errors) ** 2 / (errors[0] ** 2 / (len(test) - 1) + errors[1] ** 2 / (len(control) - 1))
            t = abs(test.mean() - control.mean()) / np.sqrt(sum(errors))
            hits += 2 * stdtr(freedom, -t) < significance
    return share(int(hits), draws)
