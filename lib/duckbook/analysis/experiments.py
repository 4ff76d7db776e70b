"""Randomised experiments: the effect on a count with CUPED, and the power that the same test would have.

CUPED takes out of the outcome what the time before the experiment explains (Deng, Xu, Kohavi and Walker, "Improving
the Sensitivity of Online Controlled Experiments by Utilizing Pre-Experiment Data", WSDM 2013). Power is simulated with
that test on counts of before the experiment. A formula of a t-test takes the variance of both groups to be the same,
and a higher rate has a higher variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duckbook.analysis.statements import Estimate, share
from duckbook.errors import NotEnough


@dataclass(frozen=True)
class Effect:
    """The difference of two means, treated less control, with its interval and p-value (Welch)."""

    difference: float
    low: float
    high: float
    p: float


def welch(outcome: Any, treated: Any, significance: float = 0.05) -> Effect:
    """Compare the means of treated and control.

    Raises
    ------
    ScienceError
        A group has fewer than two rows, or no row differs from another.
    """
    from scipy import stats

    y, is_treated = np.asarray(outcome, dtype=float), np.asarray(treated, dtype=bool)
    groups = y[is_treated], y[~is_treated]
    if min(map(len, groups)) < 2 or not y.std():
        raise NotEnough("A comparison needs two groups of at least two customers, and outcomes that differ.")
    found = stats.ttest_ind(*groups, equal_var=False)
    limits = found.confidence_interval(1 - significance)
    return Effect(groups[0].mean() - groups[1].mean(), float(limits.low), float(limits.high), float(found.pvalue))


def adjusted(outcome: Any, before: Any) -> np.ndarray:
    """The outcome less what `before` explains of it; its mean stays as it is."""
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
    """The chance that CUPED with Welch's test finds an uplift of the rate, by simulation.

    Parameters
    ----------
    outcome : array of shape (customers,)
        Counts of a period without an experiment, as long as the experiment.
    before : array of shape (customers,)
        Counts of the period before that.
    uplift
        Relative rise of the rate of the treated.
    treated
        The share of the customers that is to be treated.

    Returns
    -------
    Estimate
        The share of simulated experiments with p below `significance`, with the interval of the simulation.

    Notes
    -----
    Each simulated experiment draws the treated, and gives them extra counts at `uplift` times their own rate.
    A customer's rate is drawn from a gamma distribution given the count (a gamma mixture of Poisson counts, fitted by
    moments), for a count that happened to be high is not a high rate.
    """
    from scipy.special import stdtr

    y, x = np.asarray(outcome, dtype=float), np.asarray(before, dtype=float)
    draw, mean, spread = np.random.default_rng(seed), y.mean(), y.var() - y.mean()
    size, hits = int(treated * len(y)), 0
    for _ in range(draws):
        order = draw.permutation(len(y))
        drawn = order[:size]
        rates = np.full(size, mean)
        if spread > 0:
            rates = draw.gamma(mean**2 / spread + y[drawn]) / (mean / spread + 1)
        counts = y.copy()
        counts[drawn] += draw.poisson(uplift * rates)
        counts = adjusted(counts, x)
        one, other = counts[drawn], counts[order[size:]]
        errors = one.var(ddof=1) / len(one), other.var(ddof=1) / len(other)
        if sum(errors):
            freedom = sum(errors) ** 2 / (errors[0] ** 2 / (len(one) - 1) + errors[1] ** 2 / (len(other) - 1))
            t = abs(one.mean() - other.mean()) / np.sqrt(sum(errors))
            hits += 2 * stdtr(freedom, -t) < significance
    return share(int(hits), draws)
