"""What the science notebooks share: enough data or a sentence, intervals by bootstrap, and nothing by the clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from duckbook.errors import ScienceError

if TYPE_CHECKING:
    import duckdb
    from IPython.display import Markdown

# Threads that share a sum out add it up in another order each time, and on a busy machine wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ENOUGH = 5_000
"""Customers in the published marts from which on the notebooks can say something."""

SEED = 7
"""Of every random choice of an analysis, so that two runs agree to the last digit."""


def require(connection: duckdb.DuckDBPyConnection, enough: int = ENOUGH) -> int:
    """Count the customers of the published marts, and refuse too few before any work is done.

    All customers count, whenever they signed up: a store that was made with ``CUSTOMERS=5000`` has enough.

    Returns
    -------
    int
        How many there are.

    Raises
    ------
    ScienceError
        There are fewer than `enough`; the sentence says how to get more.
    """
    customers = connection.execute("select count(*) from ecom_marts.dim_customers where not is_unknown").fetchone()[0]
    if customers < enough:
        raise ScienceError(
            f"The published marts hold {customers:,} customers, and this notebook needs at least {enough:,}: generate "
            f"more with make pipeline DATA=another CUSTOMERS={enough}, then make science DATA=another."
        )
    return customers


def require_between(low: float, high: float, **parameters: float) -> None:
    """Refuse a parameter of a notebook that is out of its range.

    Raises
    ------
    ScienceError
        One is; the sentence names it.
    """
    for name, value in parameters.items():
        if not low <= value <= high:
            raise ScienceError(f"{name}={value!r} must be from {low:,} to {high:,}: change it in the parameters cell.")


def require_days(first: date, last: date, enough: int, what: str) -> None:
    """Refuse a history that is too short for an analysis.

    Parameters
    ----------
    first, last
        First and last day that the analysis may look at.
    enough
        Days that it needs.
    what
        What needs them, as the subject of a sentence, with the parameter that changes it if there is one.

    Raises
    ------
    ScienceError
        There are fewer.
    """
    if (found := (last - first).days + 1) < enough:
        raise ScienceError(f"{what} needs {enough:,} days of data, and from {first} to {last} there are {found:,}.")


def require_rows(found: int, enough: int, what: str) -> None:
    """Refuse too few of what an analysis counts.

    Parameters
    ----------
    what
        What is counted, in the plural.

    Raises
    ------
    ScienceError
        There are fewer than `enough`.
    """
    if found < enough:
        raise ScienceError(
            f"The published marts hold {found:,} {what}, and this notebook needs at least {enough:,}: it can say "
            "nothing of fewer."
        )


def left_out(what: str) -> Markdown:
    """Say that a section scores by the planted truth, which data of one's own do not have.

    Parameters
    ----------
    what
        What is not known, as the subject of a sentence.
    """
    from IPython.display import Markdown

    return Markdown(f"**Left out**: {what} is known of generated stores only.")


def bootstrap(
    statistic: Callable[..., Any], *columns: Any, draws: int = 400, level: float = 0.95, seed: int = SEED
) -> tuple[Any, Any]:
    """A percentile interval of a statistic (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

    Parameters
    ----------
    statistic
        A function of the columns; numbers or arrays of one shape.
    columns : arrays of shape (rows, …)
        Rows are drawn together, with replacement.

    Returns
    -------
    tuple
        Lower and upper limit, of the statistic's own shape.

    Raises
    ------
    ScienceError
        There is no row to draw.
    """
    arrays = [np.asarray(column) for column in columns]
    rows, draw = len(arrays[0]), np.random.default_rng(seed)
    if not rows:
        raise ScienceError("There is nothing to draw from: an interval needs at least one row.")
    found = []
    for _ in range(draws):
        chosen = draw.integers(0, rows, rows)
        found.append(statistic(*(array[chosen] for array in arrays)))
    low, high = np.nanquantile(np.array(found, dtype=float), [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return (low, high) if np.ndim(low) else (float(low), float(high))


def measured(name: str, statistic: Callable[..., Any], *columns: Any, **options: Any) -> dict:
    """A metric with its interval as a row of a table: metric, found, low, high."""
    low, high = bootstrap(statistic, *columns, **options)
    return {"metric": name, "found": float(statistic(*map(np.asarray, columns))), "low": low, "high": high}


def deviance(observed: Any, expected: Any) -> np.ndarray:
    """Poisson deviance of each row: a proper score of expected counts, 0 at best (McCullagh and Nelder 1989).

    The mean absolute error is none: where most customers buy nothing, it is lowest for whoever expects nothing.
    """
    y, mean = np.asarray(observed, dtype=float), np.asarray(expected, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * (np.where(y > 0, y * np.log(y / mean), 0.0) - (y - mean))


def mean_of_few(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of a few independent values with its 95 % interval by Student's t.

    A bootstrap of six values is too narrow; with fewer than two there is no interval.
    """
    from scipy.stats import t

    rows = np.asarray(values, dtype=float)
    if len(rows) < 2:
        return float(rows.mean()) if len(rows) else float("nan"), float("nan"), float("nan")
    half = t.ppf(0.975, len(rows) - 1) * rows.std(ddof=1) / np.sqrt(len(rows))
    return float(rows.mean()), float(rows.mean() - half), float(rows.mean() + half)
