"""Maximum likelihood of positive parameters on the log scale, with intervals. scipy comes with `make science`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duckbook.errors import NotEnough


@dataclass(frozen=True)
class Fit:
    """Fitted parameters with the covariance of their logarithms, so that intervals stay positive.

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
        """Whether the joint confidence region (Wald, on logarithms) contains these parameters."""
        from scipy.stats import chi2

        error = np.log(np.asarray(planted, dtype=float)) - np.log(self.values)
        return bool(error @ np.linalg.solve(self.covariance, error) <= chi2.ppf(level, len(error)))


def maximum(loss: Any, names: tuple[str, ...], start: np.ndarray, customers: int) -> Fit:
    """Minimise a mean loss over the logarithms of the parameters, and verify that the result is a minimum.

    Parameters
    ----------
    loss : callable
        Negative log-likelihood per customer, as a function of the logarithms.
    names
        Names of the parameters.
    start : float array of shape (parameters,)
        Starting point. If the search fails, it starts again from 0.3 and 3 times these values.
    customers
        Number of independent observations.

    Raises
    ------
    NotEnough
        No maximum was found.
    """
    from scipy.optimize import minimize

    for factor in (1.0, 0.3, 3.0):
        # Without a maximum the search runs to infinity; that is checked below.
        with np.errstate(all="ignore"):
            logs = minimize(loss, np.log(start * factor), method="BFGS", jac="3-point", options={"gtol": 1e-8}).x
        if not np.isfinite(logs).all() or np.abs(logs).max() > 12:
            continue
        information = _hessian(loss, logs) * customers
        if (np.linalg.eigvalsh(information) > 0).all():
            return Fit(names, np.exp(logs), np.linalg.inv(information), -loss(logs) * customers, customers)
    raise NotEnough(f"The likelihood of {', '.join(names)} has no maximum: the data are too few or too similar.")


def _hessian(loss: Any, at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Second derivatives by central differences."""
    shift = np.eye(len(at)) * step
    return np.array(
        [
            [loss(at + i + j) - loss(at + i - j) - loss(at - i + j) + loss(at - i - j) for j in shift]
            for i in shift
        ]
    ) / (4 * step**2)  # fmt: skip
