"""Customer lifetime value: BG/NBD for how often customers will buy, gamma-gamma for how much they spend.

Both are fitted by maximum likelihood to the summary that the papers use: a row a customer with the number of repeat
purchases, the time of the last one and the time observed, both since the first purchase, and the mean value of the
repeat purchases. Times may be in any unit; ``alpha`` is in the same one.

Fader, Hardie and Lee, "Counting Your Customers the Easy Way: An Alternative to the Pareto/NBD Model", Marketing
Science 24 (2005), from here on FHL; Fader and Hardie, "The Gamma-Gamma Model of Monetary Value" (2013), note 25.
scipy comes with `make science`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duckbook.errors import ScienceError


@dataclass(frozen=True)
class Fit:
    """Parameters with the covariance of their logarithms, by which they have intervals that stay positive.

    Attributes
    ----------
    names : tuple of str
    values : float array of shape (parameters,)
    covariance : float array of shape (parameters, parameters)
        Of the logarithms: the inverse of the observed information.
    log_likelihood : float
    customers : int
    """

    names: tuple[str, ...]
    values: np.ndarray
    covariance: np.ndarray
    log_likelihood: float
    customers: int

    def __getattr__(self, name: str) -> float:
        names = self.__dict__.get("names", ())
        if name not in names:
            raise AttributeError(name)
        return float(self.values[names.index(name)])

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Lower and upper limits of each parameter, shape (parameters, 2)."""
        from scipy.stats import norm

        width = norm.ppf(0.5 + level / 2) * np.sqrt(np.diag(self.covariance))
        return np.exp(np.log(self.values)[:, None] + width[:, None] * np.array([-1.0, 1.0]))

    def contains(self, planted: np.ndarray, level: float = 0.95) -> bool:
        """Whether the joint confidence region (Wald, on logarithms) holds these parameters."""
        from scipy.stats import chi2

        off = np.log(np.asarray(planted, dtype=float)) - np.log(self.values)
        return bool(off @ np.linalg.solve(self.covariance, off) <= chi2.ppf(level, len(off)))


def fit_bgnbd(frequency: Any, recency: Any, age: Any) -> Fit:
    """Fit BG/NBD: r, alpha, a, b (FHL, equation 6).

    Parameters
    ----------
    frequency : array of shape (customers,)
        Repeat purchases: purchases less the first.
    recency : array of shape (customers,)
        Time of the last purchase since the first; 0 without a repeat purchase.
    age : array of shape (customers,)
        Time observed since the first purchase.

    Raises
    ------
    ScienceError
        The summary is not one, is too small, or has no maximum.
    """
    x, tx, t = _summary(frequency, recency, age)

    def loss(logs: np.ndarray) -> float:
        return -_bgnbd_log_likelihood(np.exp(logs), x, tx, t).sum() / len(x)

    return _maximum(loss, ("r", "alpha", "a", "b"), np.array([0.5, t.mean() / 4, 1.0, 3.0]), len(x))


def fit_gamma_gamma(frequency: Any, mean_value: Any) -> Fit:
    """Fit gamma-gamma: p, q, gamma (Fader and Hardie 2013, equation 1a) to the customers with repeat purchases.

    Parameters
    ----------
    frequency : array of shape (customers,)
        Repeat purchases; customers without any say nothing and are left out.
    mean_value : array of shape (customers,)
        Mean value of the repeat purchases.

    Raises
    ------
    ScienceError
        There are too few, a value is not positive, or there is no maximum.
    """
    x, z = np.asarray(frequency, dtype=float), np.asarray(mean_value, dtype=float)
    x, z = x[x > 0], z[x > 0]
    if len(x) < 50 or not (z > 0).all():
        raise ScienceError("Gamma-gamma wants at least 50 customers with repeat purchases, each of a positive value.")
    scale = z.mean()

    def loss(logs: np.ndarray) -> float:
        from scipy.special import gammaln

        p, q, gamma = np.exp(logs)
        y = z / scale
        return -np.mean(
            gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(gamma)
            + (p * x - 1) * np.log(y) + p * x * np.log(x) - (p * x + q) * np.log(gamma + x * y)
        )  # fmt: skip

    # In units of the mean, so that all three are of the same size; only gamma has a unit.
    found = _maximum(loss, ("p", "q", "gamma"), np.array([4.0, 3.0, 1.0]), len(x))
    values = found.values * np.array([1.0, 1.0, scale])
    return Fit(found.names, values, found.covariance, found.log_likelihood - len(x) * np.log(scale), len(x))


def expected_purchases(fit: Fit, horizon: Any, frequency: Any, recency: Any, age: Any) -> np.ndarray:
    """Purchases expected of each customer in the time `horizon` after the observation (FHL, equation 10)."""
    from scipy.special import hyp2f1

    x, tx, t = _summary(frequency, recency, age)
    r, alpha, a, b = fit.values
    horizon = np.asarray(horizon, dtype=float)
    rate = ((alpha + t) / (alpha + t + horizon)) ** (r + x)
    reach = hyp2f1(r + x, b + x, a + b + x - 1, horizon / (alpha + t + horizon))
    # The pole at a = 1 is none of the product's, for the bracket is zero there too: its limit is taken from beside.
    above = a - 1 if abs(a - 1) > 1e-6 else 1e-6
    return (above + b + x) / above * (1 - rate * reach) * probability_alive(fit, x, tx, t)


def expected_purchases_of_new(fit: Fit, horizon: Any) -> np.ndarray:
    """Repeat purchases expected of a new customer within a time since the first purchase (FHL, equation 9)."""
    from scipy.special import hyp2f1

    r, alpha, a, b = fit.values
    time = np.asarray(horizon, dtype=float)
    reach = hyp2f1(r, b, a + b - 1, time / (alpha + time))
    return (a + b - 1) / (a - 1) * (1 - (alpha / (alpha + time)) ** r * reach)


def probability_alive(fit: Fit, frequency: Any, recency: Any, age: Any) -> np.ndarray:
    """Chance that each customer has not dropped out (FHL, the denominator of equation 10, inverted)."""
    x, tx, t = _summary(frequency, recency, age)
    r, alpha, a, b = fit.values
    odds = np.log(a) - np.log(b + np.maximum(x, 1) - 1) + (r + x) * (np.log(alpha + t) - np.log(alpha + tx))
    return np.where(x > 0, 1 / (1 + np.exp(np.minimum(odds, 700))), 1.0)


def expected_value(fit: Fit, frequency: Any, mean_value: Any) -> np.ndarray:
    """Mean value of a purchase expected of each customer (Fader and Hardie 2013, equation 5).

    A weighted mean of the customer's own and the population's: the more purchases, the more the own one counts.
    """
    x = np.asarray(frequency, dtype=float)
    own = np.where(x > 0, np.nan_to_num(np.asarray(mean_value, dtype=float)), 0.0)
    p, q, gamma = fit.values
    if q <= 1:
        raise ScienceError(f"Gamma-gamma with q = {q:.3f} has no mean: the values differ too much between customers.")
    return p * (gamma + x * own) / (p * x + q - 1)


def simulate(parameters: Any, age: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequency and recency of customers drawn from BG/NBD, observed for `age` each.

    Parameters
    ----------
    parameters
        r, alpha, a, b.
    """
    r, alpha, a, b = parameters
    draw, t = np.random.default_rng(seed), np.asarray(age, dtype=float)
    rate, dropout = draw.gamma(r, 1 / alpha, len(t)), draw.beta(a, b, len(t))
    frequency, recency = np.zeros(len(t)), np.zeros(len(t))
    alive, now = np.arange(len(t)), np.zeros(len(t))
    while len(alive):
        now[alive] += draw.exponential(1 / np.maximum(rate[alive], 1e-300))
        alive = alive[now[alive] < t[alive]]
        frequency[alive] += 1
        recency[alive] = now[alive]
        alive = alive[draw.random(len(alive)) >= dropout[alive]]
    return frequency, recency


def _bgnbd_log_likelihood(parameters: np.ndarray, x: np.ndarray, tx: np.ndarray, t: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln

    r, alpha, a, b = parameters
    # Most of the work is the same for all customers of one frequency, and there are few frequencies.
    n, customer = np.unique(x, return_inverse=True)
    rate = gammaln(r + n) - gammaln(r) + r * np.log(alpha)
    stays = gammaln(a + b) + gammaln(b + n) - gammaln(b) - gammaln(a + b + n)
    leaves = np.log(a) - np.log(b + np.maximum(n, 1) - 1)
    alive = -(r + x) * np.log(alpha + t)
    gone = leaves[customer] - (r + x) * np.log(alpha + tx)
    return (rate + stays)[customer] + np.where(x > 0, np.logaddexp(alive, gone), alive)


def _summary(frequency: Any, recency: Any, age: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, tx, t = (np.asarray(values, dtype=float) for values in (frequency, recency, age))
    if not len(x) or not (np.isfinite(x) & np.isfinite(tx) & np.isfinite(t)).all():
        raise ScienceError("BG/NBD wants frequency, recency and age of at least one customer, without gaps.")
    if not ((x >= 0) & (tx >= 0) & (tx <= t)).all() or (tx[x == 0] > 0).any():
        raise ScienceError(
            "BG/NBD wants frequency >= 0 and 0 <= recency <= age, both since the first purchase, and a recency of 0 "
            "where there is no repeat purchase."
        )
    return x, tx, t


def _maximum(loss: Any, names: tuple[str, ...], start: np.ndarray, customers: int) -> Fit:
    """Minimise a mean loss over the logarithms of the parameters, and see that what is found is a minimum."""
    from scipy.optimize import minimize

    for factor in (1.0, 0.3, 3.0):
        logs = minimize(loss, np.log(start * factor), method="BFGS", jac="3-point", options={"gtol": 1e-8}).x
        if not np.isfinite(logs).all() or np.abs(logs).max() > 12:
            continue
        information = _hessian(loss, logs) * customers
        if (np.linalg.eigvalsh(information) > 0).all():
            return Fit(names, np.exp(logs), np.linalg.inv(information), -loss(logs) * customers, customers)
    raise ScienceError(f"The likelihood of {', '.join(names)} has no maximum in these data: take more customers.")


def _hessian(loss: Any, at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Second derivatives by central differences."""
    shift = np.eye(len(at)) * step
    return np.array(
        [
            [loss(at + i + j) - loss(at + i - j) - loss(at - i + j) + loss(at - i - j) for j in shift]
            for i in shift
        ]
    ) / (4 * step**2)  # fmt: skip
