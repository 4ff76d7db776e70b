"""Maximum likelihood of positive parameters: searched for on their logarithms, with the intervals that it gives.

scipy comes with `make science`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duckbook.errors import NotEnough


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


def maximum(loss: Any, names: tuple[str, ...], start: np.ndarray, customers: int) -> Fit:
    """Minimise a mean loss over the logarithms of the parameters, and see that what is found is a minimum.

    Parameters
    ----------
    loss : callable
        Of the logarithms: minus the log-likelihood a customer.
    names
        Of the parameters.
    start : float array of shape (parameters,)
        Where the search begins; where it fails it begins again at a third and at three times that.
    customers
        Independent observations.

    Raises
    ------
    ScienceError
        There is no maximum.
    """
    from scipy.optimize import minimize

    for factor in (1.0, 0.3, 3.0):
        # Where there is no maximum it runs to the ends of the numbers, which is told below.
        with np.errstate(all="ignore"):
            logs = minimize(loss, np.log(start * factor), method="BFGS", jac="3-point", options={"gtol": 1e-8}).x
        if not np.isfinite(logs).all() or np.abs(logs).max() > 12:
            continue
        information = _hessian(loss, logs) * customers
        if (np.linalg.eigvalsh(information) > 0).all():
            return Fit(names, np.exp(logs), np.linalg.inv(information), -loss(logs) * customers, customers)
    raise NotEnough(
        f"The likelihood of {', '.join(names)} has no maximum in these data: they are too few, or too much alike."
    )


def _hessian(loss: Any, at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Second derivatives by central differences."""
    shift = np.eye(len(at)) * step
    return np.array(
        [
            [loss(at + i + j) - loss(at + i - j) - loss(at - i + j) + loss(at - i - j) for j in shift]
            for i in shift
        ]
    ) / (4 * step**2)  # fmt: skip
