"""Helpers of the science notebooks: checks for too little data, bootstrap intervals, and scores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from duckbook.errors import NotEnough, ScienceError

if TYPE_CHECKING:
    import duckdb
    from IPython.display import Markdown

# With several threads the order of summation varies from run to run, and on a busy machine threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MIN_CUSTOMERS = 5_000
"""Customers of a simulated shop needed to recover the planted truth within the bounds of the checks."""

MIN_CUSTOMERS_OWN_DATA = 500
"""Customers needed in your own data, where no truth is checked."""

SEED = 7
"""Seed of every random choice, so that two runs agree to the last digit."""


def require_customers(connection: duckdb.DuckDBPyConnection, *, is_generated: bool) -> int:
    """Count the customers of the published marts, and raise if there are too few.

    All customers count, whenever they signed up: a shop made with ``CUSTOMERS=5000`` has enough.

    Parameters
    ----------
    is_generated
        Whether the shop is simulated, so that the notebook checks its results against the planted truth.

    Returns
    -------
    int
        Number of customers.

    Raises
    ------
    NotEnough
        There are too few.
    """
    query = "select count(*) from ecom_marts.dim_customers where not is_unknown"
    [(customers,)] = connection.execute(query).fetchall()
    refuse_few(customers, is_generated=is_generated)
    return customers


def refuse_few(customers: int, *, is_generated: bool, who: str = "this notebook") -> None:
    """Raise if there are too few customers; see `require_customers`.

    Parameters
    ----------
    who
        What needs more customers, in the singular.

    Raises
    ------
    NotEnough
        There are too few.
    """
    enough = MIN_CUSTOMERS if is_generated else MIN_CUSTOMERS_OWN_DATA
    if customers < enough:
        hint = f" Make a larger shop: make pipeline DATA=another CUSTOMERS={enough}, then make science DATA=another."
        raise NotEnough(
            f"The published marts hold too few customers, {customers:,}: {who} needs at least {enough:,}."
            + (hint if is_generated else "")
        )


def require_between(low: float, high: float, **parameters: float) -> None:
    """Raise if a parameter of a notebook is out of range.

    Raises
    ------
    ScienceError
        A parameter is out of range; the message names it.
    """
    for name, value in parameters.items():
        if not low <= value <= high:
            raise ScienceError(f"{name}={value!r} must be from {low:,} to {high:,}: change it in the parameters cell.")


def require_days(first: date, last: date, enough: int, what: str) -> None:
    """Raise if the data cover too few days for an analysis.

    Parameters
    ----------
    first, last
        First and last day that the analysis may use.
    enough
        Days needed.
    what
        What needs them, as the subject of a sentence, with the parameter that changes it if there is one.

    Raises
    ------
    NotEnough
        There are fewer days.
    """
    if (found := (last - first).days + 1) < enough:
        raise NotEnough(f"{what} needs {enough:,} days of data, and from {first} to {last} there are {found:,}.")


def require_rows(found: int, enough: int, what: str) -> None:
    """Raise if there are too few rows for an analysis.

    Parameters
    ----------
    what
        What is counted, in the plural.

    Raises
    ------
    NotEnough
        There are fewer than `enough`.
    """
    if found < enough:
        raise NotEnough(f"The published marts hold too few {what}, {found:,}: this notebook needs at least {enough:,}.")


def skip_note(what: str) -> Markdown:
    """Note that a section is skipped, because its planted truth is known only for simulated shops.

    Parameters
    ----------
    what
        What is unknown, as the subject of a sentence.
    """
    from IPython.display import Markdown

    return Markdown(f"**Left out**: {what} is known only for simulated shops.")


def bootstrap(
    statistic: Callable[..., Any], *columns: Any, draws: int = 400, level: float = 0.95, seed: int = SEED
) -> tuple[Any, Any]:
    """Bootstrap percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

    Parameters
    ----------
    statistic
        A function of the columns that returns a number or an array of fixed shape.
    columns : arrays of shape (rows, …)
        Rows are drawn together, with replacement.

    Returns
    -------
    tuple
        Lower and upper limit, in the shape of the statistic.

    Raises
    ------
    ScienceError
        There are no rows.
    """
    arrays = [np.asarray(column) for column in columns]
    rows, draw = len(arrays[0]), np.random.default_rng(seed)
    if not rows:
        raise ScienceError("There is nothing to draw from: an interval needs at least one row.")
    results = []
    for _ in range(draws):
        chosen = draw.integers(0, rows, rows)
        results.append(statistic(*(array[chosen] for array in arrays)))
    low, high = np.nanquantile(np.array(results, dtype=float), [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return (low, high) if np.ndim(low) else (float(low), float(high))


def metric(name: str, statistic: Callable[..., Any], *columns: Any, **options: Any) -> dict:
    """Compute a metric with its bootstrap interval, as a table row: metric, found, low, high."""
    low, high = bootstrap(statistic, *columns, **options)
    return {"metric": name, "found": float(statistic(*map(np.asarray, columns))), "low": low, "high": high}


def deviance(observed: Any, expected: Any) -> np.ndarray:
    """Poisson deviance per row: a proper score of expected counts, 0 at best (McCullagh and Nelder 1989).

    The mean absolute error is not proper: if most customers buy nothing, a forecast of 0 for all has the lowest error.
    """
    y, mean = np.asarray(observed, dtype=float), np.asarray(expected, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * (np.where(y > 0, y * np.log(y / mean), 0.0) - (y - mean))


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of a few independent values with its 95% interval by Student's t; no interval for fewer than two.

    A bootstrap interval of so few values would be too narrow.
    """
    from scipy.stats import t

    rows = np.asarray(values, dtype=float)
    if len(rows) < 2:
        return float(rows.mean()) if len(rows) else float("nan"), float("nan"), float("nan")
    half = t.ppf(0.975, len(rows) - 1) * rows.std(ddof=1) / np.sqrt(len(rows))
    return float(rows.mean()), float(rows.mean() - half), float(rows.mean() + half)
