"""Customer lifetime value: BG/NBD for the number of future purchases, gamma-gamma for their value.

Both are fitted by maximum likelihood to the summary used in the papers: one row per customer with the number of repeat
purchases, the time of the last one and the time observed, both since the first purchase, and the mean value of the
repeat purchases. `summarise` computes it from a purchase log. Times may be in any unit; ``alpha`` has the same one.

    fit = lifetime.fit_bgnbd(frequency, recency, age)  # lists, arrays or columns: fit.r, fit.alpha, fit.a, fit.b
    spend = lifetime.fit_gamma_gamma(frequency, mean_value)  # spend.p, spend.q, spend.gamma

Fader, Hardie and Lee, "Counting Your Customers the Easy Way: An Alternative to the Pareto/NBD Model", Marketing
Science 24 (2005), cited as FHL; Fader and Hardie, "The Gamma-Gamma Model of Monetary Value" (2013), note 25.
scipy comes with `make science`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from duckbook.analysis.likelihood import Fit, maximum
from duckbook.errors import NotEnough, ScienceError

if TYPE_CHECKING:
    import pandas as pd


def summarise(
    customers: Any, days: Any, until: Any, amounts: Any = None, *, unit: float = 7.0, clock: pd.Series | None = None
) -> pd.DataFrame:
    """Summarise a purchase log per customer; purchases of a customer on the same day count as one.

    Parameters
    ----------
    customers, days, amounts : arrays of shape (purchases,)
        Customer, day and amount of each purchase; without amounts `mean_value` is 0.
    until
        The last day observed; later purchases are ignored.
    unit
        Days per unit of time: 7 counts weeks.
    clock
        Time at the start of each day, indexed by day, from `duckbook.analysis.seasonality.clock`. Default: calendar
        time.

    Returns
    -------
    pandas.DataFrame
        One row per customer, indexed by customer: frequency, recency, age (FHL's x, t_x and T), and mean_value, the
        mean amount per day with repeat purchases.
    """
    import pandas as pd

    log = pd.DataFrame({"customer": np.asarray(customers), "day": pd.to_datetime(np.asarray(days))})
    log["day"], log["amount"] = log.day.dt.normalize(), 0.0 if amounts is None else np.asarray(amounts, dtype=float)
    log = log[log.day <= pd.Timestamp(until)].groupby(["customer", "day"], as_index=False).amount.sum()
    by_customer = log.groupby("customer").day
    first, last = by_customer.min(), by_customer.max()
    repeats = log[log.day > log.customer.map(first)]
    if clock is None:
        clock = pd.Series({day: (day - first.min()).days / unit for day in pd.date_range(first.min(), until)})
    start = first.map(clock)
    return pd.DataFrame(
        {
            "frequency": by_customer.size() - 1,
            "recency": last.map(clock) - start,
            "age": clock[pd.Timestamp(until)] - start,
            "mean_value": repeats.groupby("customer").amount.mean().reindex(first.index).fillna(0.0),
        }
    )


def fit_bgnbd(frequency: Any, recency: Any, age: Any) -> Fit:
    """Fit BG/NBD: r, alpha, a, b (FHL, equation 6).

    Parameters
    ----------
    frequency : array of shape (customers,)
        Repeat purchases, x in FHL: purchases minus the first.
    recency : array of shape (customers,)
        Time of the last purchase since the first, t_x in FHL; 0 without a repeat purchase.
    age : array of shape (customers,)
        Time observed since the first purchase, T in FHL.

    Raises
    ------
    ScienceError
        The summary is invalid or too small, or the likelihood has no maximum.
    """
    x, tx, t = _summary(frequency, recency, age)
    scale = t.mean()

    def loss(logs: np.ndarray) -> float:
        return -_bgnbd_log_likelihood(np.exp(logs), x, tx / scale, t / scale).sum() / len(x)

    # Scaled by the mean age, so that the result does not depend on the unit of time; only alpha has a unit.
    fit = maximum(loss, ("r", "alpha", "a", "b"), np.array([0.5, 0.25, 1.0, 3.0]), len(x))
    values = fit.values * np.array([1.0, scale, 1.0, 1.0])
    return Fit(fit.names, values, fit.covariance, fit.log_likelihood - x.sum() * np.log(scale), len(x))


def fit_gamma_gamma(frequency: Any, mean_value: Any) -> Fit:
    """Fit gamma-gamma: p, q, gamma (Fader and Hardie 2013, equation 1a; v in earlier papers) to repeat customers.

    Parameters
    ----------
    frequency : array of shape (customers,)
        Repeat purchases; customers without any are ignored.
    mean_value : array of shape (customers,)
        Mean value of the repeat purchases. Customers with a mean of 0 or less are ignored too, because the gamma
        distribution is positive; `Fit.customers` is the number used.

    Raises
    ------
    ScienceError
        There are too few customers, or the likelihood has no maximum.
    """
    x, z = _spend(frequency, mean_value)
    is_usable = (x > 0) & (z > 0)
    x, z = x[is_usable], z[is_usable]
    if len(x) < 50:
        raise NotEnough("Gamma-gamma needs at least 50 customers whose repeat purchases have a positive mean value.")
    scale = z.mean()

    def loss(logs: np.ndarray) -> float:
        from scipy.special import gammaln

        p, q, gamma = np.exp(logs)
        y = z / scale
        return -np.mean(
            gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(gamma)
            + (p * x - 1) * np.log(y) + p * x * np.log(x) - (p * x + q) * np.log(gamma + x * y)
        )  # fmt: skip

    # Scaled by the mean, so that the parameters have similar sizes; only gamma has a unit.
    fit = maximum(loss, ("p", "q", "gamma"), np.array([4.0, 3.0, 1.0]), len(x))
    values = fit.values * np.array([1.0, 1.0, scale])
    return Fit(fit.names, values, fit.covariance, fit.log_likelihood - len(x) * np.log(scale), len(x))


def expected_purchases(fit: Fit, horizon: Any, frequency: Any, recency: Any, age: Any) -> np.ndarray:
    """Expected purchases of each customer within `horizon` after the time observed (FHL, equation 10)."""
    from scipy.special import hyp2f1

    x, tx, t = _summary(frequency, recency, age)
    r, alpha, a, b = fit.values
    horizon = np.asarray(horizon, dtype=float)
    rate = ((alpha + t) / (alpha + t + horizon)) ** (r + x)
    a_minus_1 = _nonzero_a_minus_1(a)
    series = hyp2f1(r + x, b + x, a_minus_1 + b + x, horizon / (alpha + t + horizon))
    return (a_minus_1 + b + x) / a_minus_1 * (1 - rate * series) * probability_alive(fit, x, tx, t)


def expected_purchases_of_new(fit: Fit, horizon: Any) -> np.ndarray:
    """Expected repeat purchases of a new customer within `horizon` after the first purchase (FHL, equation 9)."""
    from scipy.special import hyp2f1

    r, alpha, a, b = fit.values
    time = np.asarray(horizon, dtype=float)
    a_minus_1 = _nonzero_a_minus_1(a)
    series = hyp2f1(r, b, a_minus_1 + b, time / (alpha + time))
    return (a_minus_1 + b) / a_minus_1 * (1 - (alpha / (alpha + time)) ** r * series)


def probability_alive(fit: Fit, frequency: Any, recency: Any, age: Any) -> np.ndarray:
    """Probability that each customer has not dropped out (FHL, inverse of the denominator of equation 10)."""
    x, tx, t = _summary(frequency, recency, age)
    r, alpha, a, b = fit.values
    odds = np.log(a) - np.log(b + np.maximum(x, 1) - 1) + (r + x) * (np.log(alpha + t) - np.log(alpha + tx))
    return np.where(x > 0, 1 / (1 + np.exp(np.minimum(odds, 700))), 1.0)


def expected_value(fit: Fit, frequency: Any, mean_value: Any) -> np.ndarray:
    """Expected mean value of a purchase, per customer (Fader and Hardie 2013, equation 5).

    A weighted mean of the customer's own mean and the population's; the more purchases, the larger the own weight.
    """
    x, own = _spend(frequency, mean_value)
    p, q, gamma = fit.values
    if q <= 1:
        raise NotEnough(f"Gamma-gamma with q = {q:.3f} has no mean: the values differ too much between customers.")
    return p * (gamma + x * own) / (p * x + q - 1)


def simulate(parameters: Any, age: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate frequency and recency of customers from BG/NBD, each observed for `age`.

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


def _nonzero_a_minus_1(a: float) -> float:
    """Keep a - 1 away from 0. The forecasts are finite at a = 1, because the other factor is 0 there too."""
    return a - 1 if abs(a - 1) > 1e-6 else 1e-6


def _bgnbd_log_likelihood(parameters: np.ndarray, x: np.ndarray, tx: np.ndarray, t: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln

    r, alpha, a, b = parameters
    # Terms that depend only on the frequency are computed once per frequency, of which there are few.
    n, customer = np.unique(x, return_inverse=True)
    rate = gammaln(r + n) - gammaln(r) + r * np.log(alpha)
    stays = gammaln(a + b) + gammaln(b + n) - gammaln(b) - gammaln(a + b + n)
    leaves = np.log(a) - np.log(b + np.maximum(n, 1) - 1)
    alive = -(r + x) * np.log(alpha + t)
    gone = leaves[customer] - (r + x) * np.log(alpha + tx)
    return (rate + stays)[customer] + np.where(x > 0, np.logaddexp(alive, gone), alive)


def _summary(frequency: Any, recency: Any, age: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, tx, t = _columns("BG/NBD", frequency=frequency, recency=recency, age=age)
    if not len(x) or not (np.isfinite(x) & np.isfinite(tx) & np.isfinite(t)).all():
        raise ScienceError("BG/NBD needs frequency, recency and age of at least one customer, without missing values.")
    if (x != np.floor(x)).any():
        raise ScienceError("BG/NBD needs a frequency that counts repeat purchases: whole numbers.")
    if not ((x >= 0) & (tx >= 0) & (tx <= t)).all() or (tx[x == 0] > 0).any() or not t.any():
        raise ScienceError(
            "BG/NBD needs frequency >= 0 and 0 <= recency <= age, both since the first purchase, and a recency of 0 "
            "without a repeat purchase."
        )
    return x, tx, t


def _spend(frequency: Any, mean_value: Any) -> tuple[np.ndarray, np.ndarray]:
    """Frequency and mean value, with 0 for customers without a repeat purchase."""
    x, z = _columns("Gamma-gamma", frequency=frequency, mean_value=mean_value)
    return x, np.where(x > 0, z, 0.0)


def _columns(model: str, **columns: Any) -> list[np.ndarray]:
    """Convert lists, arrays or series to arrays of the same length, ignoring any index."""
    if find_spec("scipy") is None:
        raise ScienceError(f"{model} needs scipy: run make science once to install it.")
    arrays = []
    for name, values in columns.items():
        try:
            arrays.append(np.atleast_1d(np.asarray(values, dtype=float)))
        except (TypeError, ValueError) as error:
            raise ScienceError(f"{model} needs numbers, but {name} is not numeric: {error}.") from None
    lengths = ", ".join(f"{name} {len(values):,}" for name, values in zip(columns, arrays, strict=True))
    if len({len(values) for values in arrays}) > 1:
        raise ScienceError(f"{model} needs one value per customer in each column; the lengths are: {lengths}.")
    return arrays
