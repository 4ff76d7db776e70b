"""The headline figures of a store: each with its definition, a period, and its change over periods of equal length.

Figures are those of the last month that is over. They are compared with the month before and with the same month a year
before, where the store was open for the whole of it. Refunds and cancellations count on the day of the order: a figure
that they move is compared only when the month has settled. Definitions are the words of the metric dictionary.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from duckbook.analysis import page_charts
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

MOVED_BY = {
    "revenue": ("refunds", "cancellations"),
    "cancelled_amount": ("cancellations",),
    "cancelled_orders": ("cancellations",),
    "average_order_value": ("cancellations",),
}
"""Figure → what still changes it after the day of the order."""

WHOLE = "all"
"""The month of the row that is of the whole history."""


def headlines(sums: pd.DataFrame, as_of: str, waits: dict[str, int | None] | None = None) -> list[dict[str, Any]]:
    """The headline figures as records for the archive.

    Parameters
    ----------
    sums
        A row for each month of orders, ``2026-06``, and one for the whole history, with `first_day`, the first day of
        orders, and the sums that `MEASURES` names; an average order value is computed from them.
    as_of
        The last day of the data, as ISO text.
    waits
        In how many days refunds and cancellations come in, as `waits` gives them.

    Returns
    -------
    list of dict
        ``name``, ``definition``, ``unit``, ``value`` of the whole history, ``period``, and ``in_period``,
        ``month_before`` and ``year_before``, which are None where they are not known. A figure that is not known at
        all is left out. One whose period has not settled has ``waits_for``: what it waits for, and for how many days.
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
        moved = MOVED_BY.get(measure, ())
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
            | _waiting(months["in"], as_of, {what: days for what, days in (waits or {}).items() if what in moved})
        )
    return found


def waits(changes: pd.DataFrame) -> dict[str, int | None]:
    """What changes an order after its day → in how many days nearly all of it comes in; None where it is not known.

    Parameters
    ----------
    changes
        A row for each kind of change that there is, with `change` and `days`. Kinds without a row never happened.
    """
    return {row["change"]: _known(row["days"]) for row in changes.to_dict("records")}


def is_settled(month: str, as_of: str, waits: dict[str, int | None]) -> bool:
    """Whether the changes of a month's orders have come in by a day: of ``2026-06`` after the longest of the waits."""
    return not _waiting(month, as_of, waits)


def note(figures: list[dict[str, Any]]) -> str | None:
    """Why some of the figures are not compared, in one sentence; None where all are."""
    waiting = [figure for figure in figures if figure.get("period") and figure.get("waits_for")]
    if not waiting:
        return None
    told = {what: _in_days(what, days) for figure in waiting for what, days in figure["waits_for"].items()}
    names = [waiting[0]["name"], *(figure["name"].lower() for figure in waiting[1:])]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    year, month = map(int, waiting[0]["period"].split("-"))
    is_high = " (revenue is likely to fall)" if "revenue" in listed.lower() else ""
    return (
        f"{' and '.join(told).capitalize()} count on the day of the order, and come in later: "
        f"{'; '.join(told.values())}. So {listed[0].lower()}{listed[1:]} of {date(year, month, 1):%B %Y} may still "
        f"change{is_high}, and no change since other months is shown."
    )


def cards(figures: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The headline figures in words: name, definition, period, what it was, and its change since the two others."""
    return [_card(figure) for figure in figures]


def _card(figure: dict[str, Any]) -> dict[str, str]:
    told = {"name": figure["name"], "definition": figure.get("definition", "")}
    if not figure.get("period"):
        return told | {
            "period": "whole history",
            "shown": page_charts.format_figure(figure),
            "month_before": "",
            "year_before": "",
        }
    year, month = map(int, figure["period"].split("-"))
    now = date(year, month, 1)
    before = {
        "month_before": date(year - (month == 1), (month - 2) % 12 + 1, 1),
        "year_before": date(year - 1, month, 1),
    }
    changes = {name: _change(figure["in_period"], figure[name], day) for name, day in before.items()}
    if waiting := " and ".join(figure.get("waits_for") or {}):
        changes = {"month_before": f"not compared yet: {waiting} still come in", "year_before": ""}
    shown = page_charts.format_figure(figure | {"value": figure["in_period"]})
    return told | {"period": f"{now:%B %Y}", "shown": shown} | changes


def _change(now: float | None, before: float | None, month: date) -> str:
    if now is None or before is None:
        return f"{month:%B %Y} is not known"
    if not before:
        return f"none in {month:%B %Y}"
    return f"{100 * (now - before) / before:+.1f}% on {month:%B %Y}".replace("-", "−")


def _waiting(month: str, as_of: str, waits: dict[str, int | None]) -> dict[str, dict[str, int | None]]:
    """``waits_for`` of a month on a day: the changes that may still come in for its orders; nothing where none may."""
    year, number = map(int, month.split("-"))
    following = date(year + number // 12, number % 12 + 1, 1)
    passed = (date.fromisoformat(as_of) - following).days + 1
    late = {what: days for what, days in waits.items() if days is None or days > passed}
    return {"waits_for": late} if late else {}


def _in_days(what: str, days: int | None) -> str:
    return f"it is not known how fast {what} do" if days is None else f"99% of the {what} within {days} days"


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
    # A column of times without any holds NaT, which is not equal to itself.
    if value is None or value != value:
        return None
    return value.date() if hasattr(value, "date") else value


def _before(as_of: date, months: int) -> date:
    """The first day of the last month that is over on a day, or of one so many months before it."""
    following = as_of + timedelta(days=1)
    count = 12 * following.year + following.month - 2 - months
    return date(count // 12, count % 12 + 1, 1)
