"""Distributions by inversion, bit-identical on every machine.

The exp and log of numpy and of C libraries differ in the last bit between processors. `log` and `exp` here use only
IEEE additions, multiplications and divisions, which are exactly rounded everywhere. Quantile functions are tables
computed with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

_LN2 = 0.6931471805599453
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10
_SQRT_HALF = 0.7071067811865476

_EDGE = 40.0
"""The tables span logits within ±40, beyond the reach of 53-bit uniforms."""
_KNOTS = 4096


def log(x: np.ndarray) -> np.ndarray:
    """Natural logarithm of positive numbers (error below 1e-15)."""
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    series = np.full_like(s, 1.0 / 19.0)
    for odd in (17, 15, 13, 11, 9, 7, 5, 3, 1):
        series *= square
        series += 1.0 / odd
    return (exponent - small) * _LN2 + 2.0 * s * series


def exp(x: np.ndarray) -> np.ndarray:
    """Exponential function; 0 for arguments below -700."""
    x = np.asarray(x, dtype=np.float64)
    clipped = np.clip(x, -700.0, 700.0)
    power = np.rint(clipped / _LN2)
    rest = (clipped - power * _LN2_HIGH) - power * _LN2_LOW
    series = np.ones_like(rest)
    for degree in range(14, 0, -1):
        series *= rest
        series /= degree
        series += 1.0
    return np.where(x < -700.0, 0.0, np.ldexp(series, power.astype(np.int32)))


def logit(u: np.ndarray) -> np.ndarray:
    """log(u / (1 - u)) for u in (0, 1)."""
    return log(u / (1.0 - u))


class Quantiles:
    """Quantile function of a density, tabulated on the logit scale so that both tails are as exact as the middle.

    Parameters
    ----------
    log_density
        Logarithm of the density of y, up to a constant.
    low, high
        Range of y that holds practically all of the mass.
    """

    def __init__(self, log_density: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> None:
        y = low + (high - low) * (np.arange(40_001) / 40_000)
        height = log_density(y)
        mass = exp(height - height.max())
        slices = (mass[1:] + mass[:-1]) * 0.5
        # Unlike sum, cumsum adds in the same order on every machine.
        left = np.concatenate([[0.0], np.cumsum(slices)])
        right = np.concatenate([np.cumsum(slices[::-1])[::-1], [0.0]])
        inside = (left > left[-1] * 1e-18) & (right > left[-1] * 1e-18)
        self._knots = interpolate(
            -_EDGE + 2 * _EDGE * (np.arange(_KNOTS + 1) / _KNOTS), log(left[inside] / right[inside]), y[inside]
        )

    def __call__(self, u: np.ndarray) -> np.ndarray:
        """Quantiles at uniforms u in (0, 1)."""
        position = (logit(u) + _EDGE) * (_KNOTS / (2 * _EDGE))
        knot = np.clip(position.astype(np.int64), 0, _KNOTS - 1)
        lower = self._knots[knot]
        return lower + (position - knot) * (self._knots[knot + 1] - lower)


@lru_cache
def normal() -> Quantiles:
    """Quantiles of the standard normal distribution."""
    return Quantiles(lambda y: -0.5 * y * y, -10.0, 10.0)


@lru_cache
def log_gamma_variate(shape: float) -> Quantiles:
    """Quantiles of log(X) where X is gamma with this shape and scale 1."""
    return Quantiles(lambda y: shape * y - exp(y), -60.0 / min(shape, 1.0), 6.0)


@lru_cache
def logit_beta_variate(a: float, b: float) -> Quantiles:
    """Quantiles of logit(X) where X is beta(a, b)."""

    def log_density(y: np.ndarray) -> np.ndarray:
        upper = log(1.0 + exp(-np.abs(y))) + np.maximum(y, 0.0)
        return a * y - (a + b) * upper

    return Quantiles(log_density, -60.0 / min(a, 1.0), 60.0 / min(b, 1.0))


def gamma(u: np.ndarray, shape: float) -> np.ndarray:
    """Gamma variates with scale 1 at uniforms u."""
    return exp(log_gamma_variate(shape)(u))


def beta(u: np.ndarray, a: float, b: float) -> np.ndarray:
    """Beta variates at uniforms u."""
    return 1.0 / (1.0 + exp(-logit_beta_variate(a, b)(u)))


class Lookup:
    """Quantile function as 65,536 equally likely values, so that a draw is one gather. Tails end at about 1e-5."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @classmethod
    def tabulate(cls, quantile: Callable[[np.ndarray], np.ndarray], dtype: type = np.float64) -> Lookup:
        """Tabulate a quantile function; integer types are rounded."""
        values = quantile((np.arange(65_536) + 0.5) / 65_536)
        return cls(np.rint(values).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype))

    @classmethod
    def weighted(cls, weights: Sequence[float] | np.ndarray) -> Lookup:
        """Tabulate the indices 0 … n-1 by weight."""
        return _weighted(tuple(weights))

    def __call__(self, bits: np.ndarray, shift: int = 48) -> np.ndarray:
        """Value selected by 16 of the 64 bits."""
        return self.values[((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)]


@lru_cache
def _weighted(weights: tuple[float, ...]) -> Lookup:
    edges = np.cumsum(np.array(weights, dtype=np.float64))
    values = np.searchsorted(edges / edges[-1], (np.arange(65_536) + 0.5) / 65_536, side="right")
    return Lookup(np.minimum(values, len(edges) - 1).astype(np.int64))


@lru_cache
def lognormal(median: float, sigma: float) -> Lookup:
    """Log-normal integers, such as seconds."""
    return Lookup.tabulate(lambda u: median * exp(sigma * normal()(u)), np.int64)


@lru_cache
def exponential(mean: float) -> Lookup:
    """Exponential integers, such as seconds."""
    return Lookup.tabulate(lambda u: -mean * log(1.0 - u), np.int64)


@lru_cache
def geometric(mean: float, most: int = 60) -> Lookup:
    """Geometric integers from 0."""
    falls = np.full(most, mean / (1.0 + mean))
    falls[0] = 1.0
    return Lookup.weighted(np.cumprod(falls))


def poisson(u: np.ndarray, mean: np.ndarray, most: int = 12) -> np.ndarray:
    """Poisson counts at uniforms u, at most `most`."""
    term = exp(-mean)
    reached = term.copy()
    count = np.zeros(len(u), dtype=np.int64)
    for k in range(1, most + 1):
        above = u > reached
        if not above.any():
            break
        count += above
        term = term * mean / k
        reached += term
    return count


def interpolate(x: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolate linearly between ascending known points, constant beyond them."""
    at = np.clip(np.searchsorted(known, x, side="right") - 1, 0, len(known) - 2)
    share = np.clip((x - known[at]) / (known[at + 1] - known[at]), 0.0, 1.0)
    return values[at] + share * (values[at + 1] - values[at])
