"""A small maximum-likelihood fit of BG/NBD, so that the planted parameters can be asked back from the orders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_LANCZOS = (
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
)  # fmt: skip


def log_gamma(z):
    """Logarithm of the gamma function of positive numbers (Lanczos, g = 7)."""
    z = np.asarray(z, dtype=float) - 1
    series = _LANCZOS[0] + sum(c / (z + n) for n, c in enumerate(_LANCZOS[1:], start=1))
    t = z + 7.5
    return 0.5 * np.log(2 * np.pi) + (z + 0.5) * np.log(t) - t + np.log(series)


def fit(repeats: np.ndarray, recency: np.ndarray, age: np.ndarray) -> np.ndarray:
    """r, alpha, a, b from repeat orders, time of the last one, and time observed (Fader, Hardie and Lee 2005)."""

    def loss(logs: np.ndarray) -> float:
        r, alpha, a, b = np.exp(logs)
        first = log_gamma(r + repeats) - log_gamma(r) + r * np.log(alpha)
        second = log_gamma(a + b) + log_gamma(b + repeats) - log_gamma(b) - log_gamma(a + b + repeats)
        third = -(r + repeats) * np.log(alpha + age)
        gone = np.log(a) - np.log(b + np.maximum(repeats, 1) - 1) - (r + repeats) * np.log(alpha + recency)
        return -(first + second + np.logaddexp(third, np.where(repeats > 0, gone, -np.inf))).sum()

    return np.exp(_simplex(loss, np.log([0.5, 5.0, 1.0, 3.0])))


def _simplex(loss: Callable[[np.ndarray], float], start: np.ndarray) -> np.ndarray:
    """Nelder and Mead's simplex."""
    points = [start, *(start + 0.3 * unit for unit in np.eye(len(start)))]
    losses = [loss(point) for point in points]
    for _ in range(500):
        order = np.argsort(losses)
        points, losses = [points[n] for n in order], [losses[n] for n in order]
        if losses[-1] - losses[0] < 1e-4:
            break
        centre = np.mean(points[:-1], axis=0)
        far, near = 2 * centre - points[-1], (centre + points[-1]) / 2
        further = 3 * centre - 2 * points[-1]
        candidates = [(loss(point), n, point) for n, point in enumerate((far, further, near))]
        value, _, point = min(candidates)
        if value < losses[-1]:
            points[-1], losses[-1] = point, value
        else:
            points = [points[0], *((points[0] + point) / 2 for point in points[1:])]
            losses = [losses[0], *(loss(point) for point in points[1:])]
    return points[0]
