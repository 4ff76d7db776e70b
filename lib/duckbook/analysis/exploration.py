"""Parameters of an exploration notebook, checks for too little data, and its conclusion."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from duckbook.errors import DuckbookError, NotEnough

if TYPE_CHECKING:
    import duckdb
    from IPython.display import Markdown


def choose(
    connection: duckdb.DuckDBPyConnection,
    *,
    months: bool = False,
    allowed: Mapping[str, str] | None = None,
    **parameters: str | float | None,
) -> None:
    """Write the parameters of a notebook to the one-row table ``chosen``, for its SQL to filter by.

    SQL reads them as ``(select category from chosen)``. Values are bound, never pasted into a query, so quotes in
    names are safe. None becomes null, which means all. In a read-only database the table is ``parameters.chosen``.

    Parameters
    ----------
    months
        Whether periods must be whole months, as in a mart with one row per month.
    allowed
        Parameter → query that returns its allowed values.
    parameters
        Parameters by name. Those that begin with ``period_`` are dates, written as YYYY-MM-DD.

    Raises
    ------
    DuckbookError
        A date is invalid, or not the first of a month if `months`; the period ends before it begins; or a value is not
        allowed. The message names the parameter.
    """
    values = {
        name: _date(name, value, months) if name.startswith("period_") else value for name, value in parameters.items()
    }
    start, end = values.get("period_start"), values.get("period_end")
    if isinstance(start, date) and isinstance(end, date) and end < start:
        raise DuckbookError(f"The period ends before it begins: change period_start={start} or period_end={end}.")
    for name, query in (allowed or {}).items():
        _refuse_unknown(connection, name, values[name], query)
    types = ["date" if name.startswith("period_") else _sql_type(value) for name, value in values.items()]
    columns = ", ".join(f'cast(? as {kind}) as "{name}"' for name, kind in zip(values, types, strict=True))
    table = "chosen"
    if connection.execute(
        "select readonly from duckdb_databases() where database_name = current_database()"
    ).fetchall()[0][0]:
        connection.execute("attach if not exists ':memory:' as parameters (read_write)")
        table = "parameters.chosen"
    connection.execute(f"create or replace table {table} as select {columns}", list(values.values()))


def _date(name: str, value: Any, months: bool) -> date | None:
    if value is None:
        return None
    try:
        day = date.fromisoformat(str(value))
    except ValueError as error:
        raise DuckbookError(f"{name}={value!r} is not a date: write it as YYYY-MM-DD, such as 2026-01-01.") from error
    if months and day.day != 1:
        first = day.replace(day=1)
        raise DuckbookError(
            f"{name}={value!r} is not the first of a month, and this notebook counts whole months: write {first}."
        )
    return day


def _sql_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "bigint" if isinstance(value, int) else "double" if isinstance(value, float) else "varchar"


def _refuse_unknown(connection: duckdb.DuckDBPyConnection, name: str, value: Any, query: str) -> None:
    if value is None:
        return
    known = sorted(str(row[0]) for row in connection.execute(f"select distinct * from ({query})").fetchall() if row[0])
    if str(value) not in known:
        similar = difflib.get_close_matches(str(value), known, n=12, cutoff=0.5) or known[:12]
        raise DuckbookError(
            f"There is no {name} {value!r}. There are, among others: {', '.join(similar) or 'none at all'}."
        )


def require(found: int, enough: int, what: str, **filters: Any) -> None:
    """Warn below the cell if there is too little data to read a pattern from; raise if there is none.

    Parameters
    ----------
    found
        Number of rows.
    enough
        Minimum number to read a pattern from.
    what
        What is counted, in the plural.
    filters
        Parameters that selected the rows, by name; None means no filter.

    Raises
    ------
    DuckbookError
        The filters match nothing; the message names the parameters to change.
    NotEnough
        There is no data without any filter. The step is skipped and does not fail.
    """
    chosen = ", ".join(f"{name}={value!r}" for name, value in filters.items() if value is not None)
    if not found and chosen:
        raise DuckbookError(f"There are no {what}: change {chosen} in the parameters cell.")
    if not found:
        raise NotEnough(f"The published marts hold no {what}.")
    if found < enough:
        from IPython.display import Markdown, display

        remedy = " Widen the period, or drop a filter." if chosen else ""
        display(Markdown(f"**Too few {what} to read a pattern from, {found:,}**.{remedy}"))


def hour_ranges(hours: Iterable[int]) -> str:
    """Hours of the day in words: ``from 9:00 to 12:00 and from 19:00 to 23:00``; without any, ``in no hour``."""
    spans: list[list[int]] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour:
            spans[-1][1] = hour + 1
        else:
            spans.append([hour, hour + 1])
    return " and ".join(f"from {start}:00 to {end}:00" for start, end in spans) or "in no hour"


def conclude(lines: Iterable[str]) -> Markdown:
    """Format the conclusions of an exploration as a list.

    Text from the data is escaped. Money is written with USD: two dollar signs delimit a formula in JupyterLab and on
    GitHub, and no escape for them works in both and in the pages of a run.
    """
    from IPython.display import Markdown

    return Markdown("\n".join(f"- {escape_markdown(line)}" for line in lines).replace("$", "USD "))


def show_finding(text: str) -> None:
    """Show a finding in bold below a cell without a chart."""
    from IPython.display import Markdown, display

    display(Markdown(f"**{escape_markdown(text)}.**".replace("$", "USD ")))


def escape_markdown(text: object) -> str:
    """Escape tags, links and code for Markdown."""
    return re.sub(r"([\[\]`\\])", r"\\\1", str(text)).replace("<", "&lt;")
