"""How an exploration begins and ends: its parameters, whether they leave enough to look at, and what it comes to."""

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
    among: Mapping[str, str] | None = None,
    **parameters: str | float | None,
) -> None:
    """Put the parameters of a notebook into the table ``chosen``, one row, for its SQL to filter by.

    SQL reads them as ``(select category from chosen)``: a value is bound and never pasted into a query, so that a quote
    in a name is a quote and nothing else. A parameter that is None is null there, and means all. Where the database is
    open to be read alone, the table is ``parameters.chosen``.

    Parameters
    ----------
    months
        Whether periods are whole months, as they are where a mart has one row per month.
    among
        For each parameter that is one of a list, a query that gives the list.
    parameters
        By name. Those that begin with ``period_`` are dates, written as YYYY-MM-DD.

    Raises
    ------
    DuckbookError
        A date is none, or not the first of a month where months are asked for; the period ends before it begins; or a
        value is not in its list. The sentence names the parameter.
    """
    values = {
        name: _date(name, value, months) if name.startswith("period_") else value for name, value in parameters.items()
    }
    start, end = values.get("period_start"), values.get("period_end")
    if start is not None and end is not None and end < start:
        raise DuckbookError(f"The period ends before it begins: change period_start={start} or period_end={end}.")
    for name, query in (among or {}).items():
        _refuse_unknown(connection, name, values[name], query)
    kinds = ["date" if name.startswith("period_") else _kind(value) for name, value in values.items()]
    columns = ", ".join(f'cast(? as {kind}) as "{name}"' for name, kind in zip(values, kinds, strict=True))
    place = "chosen"
    if connection.execute(
        "select readonly from duckdb_databases() where database_name = current_database()"
    ).fetchone()[0]:
        connection.execute("attach if not exists ':memory:' as parameters (read_write)")
        place = "parameters.chosen"
    connection.execute(f"create or replace table {place} as select {columns}", list(values.values()))


def _date(name: str, value: Any, months: bool) -> date | None:
    if value is None:
        return None
    try:
        day = date.fromisoformat(str(value))
    except ValueError as error:
        raise DuckbookError(f"{name}={value!r} is no date: write it as YYYY-MM-DD, such as 2026-01-01.") from error
    if months and day.day != 1:
        first = day.replace(day=1)
        raise DuckbookError(
            f"{name}={value!r} is within a month, and this notebook counts whole months: write {first}."
        )
    return day


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "bigint" if isinstance(value, int) else "double" if isinstance(value, float) else "varchar"


def _refuse_unknown(connection: duckdb.DuckDBPyConnection, name: str, value: Any, query: str) -> None:
    if value is None:
        return
    known = sorted(str(row[0]) for row in connection.execute(f"select distinct * from ({query})").fetchall() if row[0])
    if str(value) not in known:
        near = difflib.get_close_matches(str(value), known, n=12, cutoff=0.5) or known[:12]
        raise DuckbookError(
            f"There is no {name} {value!r}. There are, among others: {', '.join(near) or 'none at all'}."
        )


def require(found: int, enough: int, what: str, **filters: Any) -> None:
    """Say so below the cell where a pattern cannot be read, and stop where there is nothing at all.

    Parameters
    ----------
    found
        How many there are.
    enough
        From how many on a pattern can be read.
    what
        What is counted, in the plural.
    filters
        The parameters that chose them, by name; None where all were meant.

    Raises
    ------
    DuckbookError
        None is left; the sentence names the parameters to change.
    NotEnough
        There is none at all: what is asked of them is left out, and no step fails.
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


def hours(busy: Iterable[int]) -> str:
    """Hours of the day in words: ``from 9:00 to 12:00 and from 19:00 to 23:00``; without any, ``in no hour``."""
    spans: list[list[int]] = []
    for hour in sorted(busy):
        if spans and spans[-1][1] == hour:
            spans[-1][1] = hour + 1
        else:
            spans.append([hour, hour + 1])
    return " and ".join(f"from {start}:00 to {end}:00" for start, end in spans) or "in no hour"


def conclude(lines: Iterable[str]) -> Markdown:
    """What an exploration comes to, as a list.

    Names that data brought are text and no markup, whatever they hold. Money is told by its code, USD: two dollar signs
    in a text begin and end a formula in JupyterLab and on GitHub, and no way to write them otherwise is read alike by
    both and by the pages of a run.
    """
    from IPython.display import Markdown

    return Markdown("\n".join(f"- {plain(line)}" for line in lines).replace("$", "USD "))


def tell(text: str) -> None:
    """Show a finding below a cell that has no chart to say it, in bold type, as a sentence."""
    from IPython.display import Markdown, display

    display(Markdown(f"**{plain(text)}.**".replace("$", "USD ")))


def plain(text: object) -> str:
    """A text for Markdown in which nothing is a tag, a link or code."""
    return re.sub(r"([\[\]`\\])", r"\\\1", str(text)).replace("<", "&lt;")
