"""Compare shares within strata, such as the visits from two devices in the same month.

If one group has more of its visits in a season in which everybody buys more, the pooled shares differ even without any
other difference. Differences within strata are combined with Mantel-Haenszel weights (Greenland and Robins,
"Estimation of a Common Effect Parameter from Sparse Follow-up Data", Biometrics 41, 1985).
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from duckbook.analysis import statements
from duckbook.analysis.statements import Comparison, Estimate

Counts = tuple[str, Any, Any]
"""A name, and the hits and n of each stratum."""

MIN_HITS = 2 * statements.MIN_HITS
"""The sum over strata has a normal interval, which needs more hits than Wilson's interval."""


def compare_within(first: Counts, second: Counts, *, design_effect: float = 1.0, tests: int = 1) -> Comparison:
    """Compare two shares within strata.

    Parameters
    ----------
    first, second
        Name, and arrays of hits and n with one entry per stratum. Strata missing in one group are ignored.
    design_effect
        Factor of the variances, for observations that are not independent.
    tests
        Number of comparisons (Bonferroni).

    Returns
    -------
    Comparison
        Weighted shares and n of the strata that both groups have.
    """
    hits = [np.asarray(group[1], dtype=float) for group in (first, second)]
    n = [np.asarray(group[2], dtype=float) for group in (first, second)]
    both = (n[0] > 0) & (n[1] > 0)
    hits, n = [counts[both] for counts in hits], [counts[both] for counts in n]
    totals = [round(counts.sum()) for counts in n]
    if not both.any():
        one, other, difference = (Estimate(np.nan, np.nan, np.nan, total) for total in (*totals, sum(totals)))
        return Comparison(first[0], second[0], one, other, difference, "too few", "share")
    weight = n[0] * n[1] / (n[0] + n[1])
    weight = weight / weight.sum()
    z = statements.z(tests)
    errors = [sqrt(design_effect * _variance(k, size, weight)) for k, size in zip(hits, n, strict=True)]
    shares = [float(weight @ (k / size)) for k, size in zip(hits, n, strict=True)]
    gap, half = shares[0] - shares[1], z * sqrt(errors[0] ** 2 + errors[1] ** 2)
    difference = Estimate(gap, gap - half, gap + half, sum(totals))
    one, other = (
        Estimate(share, share - z * error, share + z * error, total)
        for share, error, total in zip(shares, errors, totals, strict=True)
    )
    is_enough = min(totals) / design_effect >= statements.MIN_OBSERVATIONS and statements.have_enough_hits(
        *((float(k.sum()), float(size.sum()), design_effect) for k, size in zip(hits, n, strict=True)),
        enough=MIN_HITS,
    )
    verdict = statements.verdict(difference, is_enough)
    return Comparison(first[0], second[0], one, other, difference, verdict, "share")


def _variance(hits: np.ndarray, n: np.ndarray, weight: np.ndarray) -> float:
    """Variance of a weighted share.

    Each stratum's share is shrunk to the pooled share by two observations, so that none without hits has variance 0.
    """
    pooled = (hits.sum() + 1) / (n.sum() + 2)
    share = (hits + 2 * pooled) / (n + 2)
    return float((share * (1 - share) * weight**2 / n).sum())
