"""Shares compared within strata, such as the visits of two devices in the same month.

Where one group has more of its visits in a season or a year in which everybody buys more, pooled shares differ though
nothing else does. Within strata the shares are compared at equal exposure: the difference of each stratum is weighted
as Mantel and Haenszel do (Greenland and Robins, "Estimation of a Common Effect Parameter from Sparse Follow-up Data",
Biometrics 41, 1985).
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from duckbook.analysis import statements
from duckbook.analysis.statements import Comparison, Estimate

Counts = tuple[str, Any, Any]
"""A name, and for each stratum the hits and the n."""

ENOUGH_HITS = 2 * statements.MIN_HITS
"""A sum over strata has a normal interval, which wants more of a small share than Wilson's does."""


def compare_within(first: Counts, second: Counts, *, design_effect: float = 1.0, tests: int = 1) -> Comparison:
    """Compare two shares within strata.

    Parameters
    ----------
    first, second
        Name, and arrays of hits and of n with one entry per stratum; a stratum that one of them lacks tells nothing.
    design_effect
        By which variances are multiplied, because what is counted is not independent.
    tests
        How many comparisons are made (Bonferroni).

    Returns
    -------
    Comparison
        Its shares are those of the strata that both have, weighted alike; n counts what is in these strata.
    """
    hits = [np.asarray(group[1], dtype=float) for group in (first, second)]
    n = [np.asarray(group[2], dtype=float) for group in (first, second)]
    both = (n[0] > 0) & (n[1] > 0)
    hits, n = [one[both] for one in hits], [one[both] for one in n]
    counted = [round(one.sum()) for one in n]
    if not both.any():
        nothing = [Estimate(np.nan, np.nan, np.nan, count) for count in (*counted, sum(counted))]
        return Comparison(first[0], second[0], *nothing, "too few", "share")
    weight = n[0] * n[1] / (n[0] + n[1])
    weight = weight / weight.sum()
    z = statements.z(tests)
    errors = [sqrt(design_effect * _variance(*one, weight)) for one in zip(hits, n, strict=True)]
    shares = [float(weight @ (one / all_)) for one, all_ in zip(hits, n, strict=True)]
    gap, half = shares[0] - shares[1], z * sqrt(errors[0] ** 2 + errors[1] ** 2)
    difference = Estimate(gap, gap - half, gap + half, sum(counted))
    of = [
        Estimate(share, share - z * error, share + z * error, count)
        for share, error, count in zip(shares, errors, counted, strict=True)
    ]
    is_enough = min(counted) / design_effect >= statements.MIN_OBSERVATIONS and statements.have_enough_hits(
        *((float(one.sum()), float(all_.sum()), design_effect) for one, all_ in zip(hits, n, strict=True)),
        enough=ENOUGH_HITS,
    )
    verdict = statements.verdict(difference, is_enough)
    return Comparison(first[0], second[0], *of, difference, verdict, "share")


def _variance(hits: np.ndarray, n: np.ndarray, weight: np.ndarray) -> float:
    """Variance of a weighted share.

    A stratum's share is drawn to that of all by two observations, or one without a hit would be taken for certainty.
    """
    pooled = (hits.sum() + 1) / (n.sum() + 2)
    share = (hits + 2 * pooled) / (n + 2)
    return float((share * (1 - share) * weight**2 / n).sum())
