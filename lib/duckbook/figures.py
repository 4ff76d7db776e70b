"""The figures of a mart at a glance: for each column of numbers how many there are, the least, the most and the total.

Totals are exact, of decimals and whole numbers, so that they are the same on every machine, and no number of a mart can
change without one of them changing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

NUMBERS = ("DECIMAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")


def numbers(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The columns of a table that hold numbers, in its order; a surrogate key is none."""
    columns = connection.execute(f"describe {table}").fetchall()
    kinds = {name: kind.split("(")[0].removeprefix("U") for name, kind, *_ in columns}
    # A day and a month have a key that says which one it is, and so a total that says something.
    surrogate = {name for name, kind in kinds.items() if name.endswith("_key") and kind == "BIGINT"}
    return [name for name, kind in kinds.items() if kind in NUMBERS and name not in surrogate]


def figures(connection: duckdb.DuckDBPyConnection, table: str) -> pd.DataFrame:
    """What the columns of numbers of a table hold.

    Parameters
    ----------
    table
        Its name with its schema.

    Returns
    -------
    pandas.DataFrame
        A row a column: its name, how many rows have a number in it, the least, the most and the total, as text because
        a float would round them.
    """
    import pandas as pd

    columns = numbers(connection, table)
    if not columns:
        return pd.DataFrame(columns=["column", "filled", "least", "most", "total"])
    parts = ", ".join(
        f'count("{name}"), min("{name}")::varchar, max("{name}")::varchar, sum("{name}")::varchar' for name in columns
    )
    found = connection.execute(f"select {parts} from {table}").fetchone()
    rows = [(name, *found[4 * place : 4 * place + 4]) for place, name in enumerate(columns)]
    return pd.DataFrame(rows, columns=["column", "filled", "least", "most", "total"]).fillna("")
