"""The figures of a mart at a glance: for each column of numbers or dates how many there are, the least and the most.

Numbers have their sum as well. Sums are exact, of decimals and whole numbers, so that they are the same on every
machine, and a change of any one number of a mart changes one of them. Keys name rows and are no figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duckbook.analysis import value_style

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

NUMBERS = ("DECIMAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
TIMES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


def numbers(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Columns of a table that hold numbers, in its order, without keys."""
    return [name for name, kind in _kinds(connection, table).items() if kind in NUMBERS]


def figures(connection: duckdb.DuckDBPyConnection, table: str) -> pd.DataFrame:
    """What the columns of numbers and dates of a table hold.

    Parameters
    ----------
    table
        Its name with its schema.

    Returns
    -------
    pandas.DataFrame
        One row per column: its name, how many rows have a value and how many have none, the least, the most and, of
        numbers, the total. Values are text, because a float would round them; an en dash stands for no value.
    """
    import pandas as pd

    kinds = {name: kind for name, kind in _kinds(connection, table).items() if kind in NUMBERS + TIMES}
    columns = ["column", "filled", "missing", "least", "most", "total"]
    if not kinds:
        return pd.DataFrame(columns=columns)
    parts = [
        f'count("{name}"), count(*) - count("{name}"), min("{name}"), max("{name}"), '
        + (f'sum("{name}")' if kind in NUMBERS else "null")
        for name, kind in kinds.items()
    ]
    found = connection.execute(f"select {', '.join(parts)} from {table}").fetchone()
    cells = (found[5 * place : 5 * place + 5] for place in range(len(kinds)))
    rows = [
        (name, filled, missing, _text(least, name), _text(most, name), _text(total))
        for name, (filled, missing, least, most, total) in zip(kinds, cells, strict=True)
    ]
    return pd.DataFrame(rows, columns=columns)


def _kinds(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    columns = connection.execute(f"describe {table}").fetchall()
    kinds = {name: kind.split("(")[0].removeprefix("U") for name, kind, *_ in columns}
    return {name: kind for name, kind in kinds.items() if not name.endswith("_key")}


def _text(value: Any, name: str = "") -> str:
    if hasattr(value, "year"):
        return str(value).removesuffix(" 00:00:00")
    # A year is a label, without separators; a sum of years is a number.
    return str(value) if "year" in name.split("_") and _is_year(value) else value_style.plain(value)


def _is_year(value: Any) -> bool:
    return value is not None and 1800 <= value <= 2200
