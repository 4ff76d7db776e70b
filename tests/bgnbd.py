"""A maximum-likelihood fit of BG/NBD, so that the planted parameters can be asked back from the orders."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln


def fit(repeats: np.ndarray, recency: np.ndarray, age: np.ndarray) -> np.ndarray:
    """r, alpha, a, b from repeat orders, time of the last one, and time observed (Fader, Hardie and Lee 2005)."""

    def loss(logs: np.ndarray) -> float:
        r, alpha, a, b = np.exp(logs)
        first = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha)
        second = gammaln(a + b) + gammaln(b + repeats) - gammaln(b) - gammaln(a + b + repeats)
        third = -(r + repeats) * np.log(alpha + age)
        gone = np.log(a) - np.log(b + np.maximum(repeats, 1) - 1) - (r + repeats) * np.log(alpha + recency)
        return -(first + second + np.logaddexp(third, np.where(repeats > 0, gone, -np.inf))).sum()

    return np.exp(minimize(loss, np.log([0.5, 5.0, 1.0, 3.0]), method="L-BFGS-B").x)
