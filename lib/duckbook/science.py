"""What the science notebooks share: enough data or a sentence, intervals by bootstrap, and nothing by the clock."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from duckbook.errors import ScienceError

# Threads that share a sum out add it up in another order each time, and on a busy machine wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ENOUGH = 5_000
"""Customers from which on the intervals of the notebooks are narrow enough to say something."""

SEED = 7
"""Of every random choice of an analysis, so that two runs agree to the last digit."""


def require(customers: int, enough: int = ENOUGH) -> None:
    """See that there are enough customers.

    Raises
    ------
    ScienceError
        There are fewer; the sentence says how to get more.
    """
    if customers < enough:
        raise ScienceError(
            f"The published marts hold {customers:,} customers, and this notebook wants at least {enough:,} to say "
            f"something: make pipeline DATA=another CUSTOMERS={2 * enough}, then make science DATA=another."
        )


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
    """
    arrays = [np.asarray(column) for column in columns]
    rows, draw = len(arrays[0]), np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        chosen = draw.integers(0, rows, rows)
        found.append(statistic(*(array[chosen] for array in arrays)))
    low, high = np.nanquantile(np.array(found, dtype=float), [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return (low, high) if np.ndim(low) else (float(low), float(high))


def measured(name: str, statistic: Callable[..., Any], *columns: Any, digits: int = 3, **options: Any) -> dict:
    """A metric with its interval as a row of a table: metric, value, low, high."""
    low, high = bootstrap(statistic, *columns, **options)
    value = float(statistic(*(np.asarray(column) for column in columns)))
    return {"metric": name, "value": round(value, digits), "low": round(low, digits), "high": round(high, digits)}
