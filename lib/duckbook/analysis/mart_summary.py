"""Summary of a mart: per numeric or date column the number of values, minimum, maximum and, for numbers, the sum.

Sums of decimals and integers are exact, so they are the same on every machine, and a change of any number in a mart
changes a sum. Keys are excluded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duckbook.analysis import value_style

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

NUMBERS = ("DECIMAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
TIMES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


def numeric_columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Numeric columns in table order, excluding keys."""
    return [name for name, kind in _types(connection, table).items() if kind in NUMBERS]


def figures(connection: duckdb.DuckDBPyConnection, table: str) -> pd.DataFrame:
    """Summarise the numeric and date columns of a table.

    Parameters
    ----------
    table
        Name with schema.

    Returns
    -------
    pandas.DataFrame
        One row per column: its name, the number of rows with and without a value, the minimum, the maximum and, for
        numbers, the sum. Values are text, because a float would round them; an en dash means no value.
    """
    import pandas as pd

    types = {name: kind for name, kind in _types(connection, table).items() if kind in NUMBERS + TIMES}
    columns = ["column", "filled", "missing", "least", "most", "total"]
    if not types:
        return pd.DataFrame(columns=columns)
    parts = [
        f'count("{name}"), count(*) - count("{name}"), min("{name}"), max("{name}"), '
        + (f'sum("{name}")' if kind in NUMBERS else "null")
        for name, kind in types.items()
    ]
    [values] = connection.execute(f"select {', '.join(parts)} from {table}").fetchall()
    cells = (values[5 * index : 5 * index + 5] for index in range(len(types)))
    rows = [
        (name, filled, missing, _text(least, name), _text(most, name), _text(total))
        for name, (filled, missing, least, most, total) in zip(types, cells, strict=True)
    ]
    return pd.DataFrame(rows, columns=columns)


def _types(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    columns = connection.execute(f"describe {table}").fetchall()
    types = {name: kind.split("(")[0].removeprefix("U") for name, kind, *_ in columns}
    return {name: kind for name, kind in types.items() if not name.endswith("_key")}


def _text(value: Any, name: str = "") -> str:
    if hasattr(value, "year"):
        return str(value).removesuffix(" 00:00:00")
    # A year has no thousands separator; a sum of years has.
    return str(value) if "year" in name.split("_") and _is_year(value) else value_style.plain(value)


def _is_year(value: Any) -> bool:
    return value is not None and 1800 <= value <= 2200
