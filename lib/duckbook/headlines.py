"""The headline figures of a store: each with its definition, a period, and its change over periods of equal length.

Figures are those of the last month that is over. They are compared with the month before and with the same month a year
before, where the store was open for the whole of it. Definitions are the words of the metric dictionary.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from duckbook import charts
from duckbook.settings import ROOT

if TYPE_CHECKING:
    import pandas as pd

MEASURES = {
    "Gross amount": ("gross_amount", "USD"),
    "Net amount": ("net_amount", "USD"),
    "Cancelled amount": ("cancelled_amount", "USD"),
    "Revenue": ("revenue", "USD"),
    "Orders": ("orders", "orders"),
    "Cancelled orders": ("cancelled_orders", "orders"),
    "Average order value": ("average_order_value", "USD"),
    "Customers": ("customers", "customers"),
}
"""Name → figure of the metric dictionary, and its unit."""

WHOLE = "all"
"""The month of the row that is of the whole history."""


def headlines(sums: pd.DataFrame, as_of: str) -> list[dict[str, Any]]:
    """The headline figures as records for the archive.

    Parameters
    ----------
    sums
        A row for each month of orders, ``2026-06``, and one for the whole history, with `first_day`, the first day of
        orders, and the sums that `MEASURES` names; an average order value is computed from them.
    as_of
        The last day of the data, as ISO text.

    Returns
    -------
    list of dict
        ``name``, ``definition``, ``unit``, ``value`` of the whole history, ``period``, and ``in_period``,
        ``month_before`` and ``year_before``, which are None where they are not known. A figure that is not known at
        all is left out.
    """
    rows = {row["month"]: row | {"average_order_value": _average(row)} for row in sums.to_dict("records")}
    if WHOLE not in rows or not rows[WHOLE]["orders"]:
        return []
    opened = _day(rows[WHOLE]["first_day"])
    last_day = date.fromisoformat(as_of)
    months = {name: f"{_before(last_day, back):%Y-%m}" for name, back in (("in", 0), ("month", 1), ("year", 12))}
    is_whole = {month: opened is not None and opened <= date.fromisoformat(f"{month}-01") for month in months.values()}
    found = []
    for name, (measure, unit) in MEASURES.items():
        if (value := _known(rows[WHOLE].get(measure))) is None:
            continue
        known = {
            at: (_known(rows[month][measure]) if month in rows else 0 if measure != "average_order_value" else None)
            for at, month in months.items()
            if is_whole[month]
        }
        found.append(
            {
                "name": name,
                "definition": definition(measure),
                "unit": unit,
                "value": value,
                "period": months["in"] if is_whole[months["in"]] else None,
                "in_period": known.get("in"),
                "month_before": known.get("month"),
                "year_before": known.get("year"),
            }
        )
    return found


def cards(figures: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The headline figures in words: name, definition, period, what it was, and its change since the two others."""
    return [_card(figure) for figure in figures]


def _card(figure: dict[str, Any]) -> dict[str, str]:
    told = {"name": figure["name"], "definition": figure.get("definition", "")}
    if not figure.get("period"):
        return told | {"period": "whole history", "shown": charts.shown(figure), "month_before": "", "year_before": ""}
    year, month = map(int, figure["period"].split("-"))
    now = date(year, month, 1)
    before = {
        "month_before": date(year - (month == 1), (month - 2) % 12 + 1, 1),
        "year_before": date(year - 1, month, 1),
    }
    changes = {name: _change(figure["in_period"], figure[name], day) for name, day in before.items()}
    shown = charts.shown(figure | {"value": figure["in_period"]})
    return told | {"period": f"{now:%B %Y}", "shown": shown} | changes


def _change(now: float | None, before: float | None, month: date) -> str:
    if now is None or before is None:
        return f"{month:%B %Y} is not known"
    if not before:
        return f"none in {month:%B %Y}"
    return f"{100 * (now - before) / before:+.1f}% on {month:%B %Y}".replace("-", "−")


@cache
def _dictionary() -> dict[str, tuple[str, str]]:
    """Figure → its formula and its words, from the tables of the metric dictionary."""
    lines = (ROOT / "docs" / "metrics.md").read_text("utf-8").splitlines()
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| "))
    return {row[0]: (row[1].strip("`"), row[2]) for row in rows if len(row) == 5}


def definition(figure: str) -> str:
    """What a figure is, in one line: its words in the metric dictionary, or its formula where it is a ratio."""
    formula, words = _dictionary()[figure]
    return formula.replace("_", " ") if "/" in formula or not words else words


def _average(row: dict[str, Any]) -> float | None:
    orders = row["orders"] - row["cancelled_orders"]
    return (row["net_amount"] - row["cancelled_amount"]) / orders if orders else None


def _known(value: Any) -> float | int | None:
    if value is None or value != value:
        return None
    return round(float(value), 2) if float(value) % 1 else int(value)


def _day(value: Any) -> date | None:
    return value.date() if hasattr(value, "date") else value


def _before(as_of: date, months: int) -> date:
    """The first day of the last month that is over on a day, or of one so many months before it."""
    following = as_of + timedelta(days=1)
    count = 12 * following.year + following.month - 2 - months
    return date(count // 12, count % 12 + 1, 1)
