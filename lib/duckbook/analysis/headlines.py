"""Headline figures of a shop: definition, value of the last whole month, and change against earlier months.

A month is compared with the month before and with the same month a year before, if the shop was open for the whole of
it. Refunds and cancellations count on the day of the order, so a figure that includes them is compared only after the
month has settled. Definitions come from the metric dictionary.
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
"""Name → metric in the metric dictionary, and its unit."""

CHANGED_BY = {
    "revenue": ("refunds", "cancellations"),
    "cancelled_amount": ("cancellations",),
    "cancelled_orders": ("cancellations",),
    "average_order_value": ("cancellations",),
}
"""Metric → what can still change it after the day of the order."""

WHOLE = "all"
"""Value of `month` in the row for the whole history."""


def headlines(
    sums: pd.DataFrame, as_of: str, settling_days: dict[str, float | None] | None = None
) -> list[dict[str, Any]]:
    """Compute the headline figures as records for the archive.

    Parameters
    ----------
    sums
        One row per month of orders, ``2026-06``, and one for the whole history, with `first_day`, the first day of
        orders, and the sums named in `MEASURES`. The average order value is computed from them.
    as_of
        The last day of the data, as ISO text.
    settling_days
        Days until refunds and cancellations are complete, from the function `settling_days`.

    Returns
    -------
    list of dict
        ``name``, ``definition``, ``unit``, ``value`` of the whole history, ``period``, and ``in_period``,
        ``month_before`` and ``year_before``, which are None if unknown. Figures without a value are omitted. A figure
        whose period has not settled has ``waits_for``: the changes still to come, and their settling days.
    """
    rows = {row["month"]: row | {"average_order_value": _average(row)} for row in sums.to_dict("records")}
    if WHOLE not in rows or not rows[WHOLE]["orders"]:
        return []
    opened = _day(rows[WHOLE]["first_day"])
    last_day = date.fromisoformat(as_of)
    months = {name: f"{_before(last_day, back):%Y-%m}" for name, back in (("in", 0), ("month", 1), ("year", 12))}
    is_whole = {month: opened is not None and opened <= date.fromisoformat(f"{month}-01") for month in months.values()}
    figures = []
    for name, (measure, unit) in MEASURES.items():
        if (value := _number(rows[WHOLE].get(measure))) is None:
            continue
        changed_by = CHANGED_BY.get(measure, ())
        values = {
            key: (_number(rows[month][measure]) if month in rows else 0 if measure != "average_order_value" else None)
            for key, month in months.items()
            if is_whole[month]
        }
        figures.append(
            {
                "name": name,
                "definition": definition(measure),
                "unit": unit,
                "value": value,
                "period": months["in"] if is_whole[months["in"]] else None,
                "in_period": values.get("in"),
                "month_before": values.get("month"),
                "year_before": values.get("year"),
            }
            | _waits_for(
                months["in"],
                as_of,
                {change: days for change, days in (settling_days or {}).items() if change in changed_by},
            )
        )
    return figures


def settling_days(changes: pd.DataFrame) -> dict[str, float | None]:
    """Kind of change → days until nearly all of them have happened; None if unknown.

    Parameters
    ----------
    changes
        One row per kind of change, with `change` and `days`. Kinds without a row never happened.
    """
    return {row["change"]: _number(row["days"]) for row in changes.to_dict("records")}


def is_settled(month: str, as_of: str, settling_days: dict[str, float | None]) -> bool:
    """Whether the longest of the settling days has passed since the end of a month, such as ``2026-06``."""
    return not _waits_for(month, as_of, settling_days)


def note(figures: list[dict[str, Any]]) -> str | None:
    """Explain why some figures are not compared; None if all are."""
    waiting = [figure for figure in figures if figure.get("period") and figure.get("waits_for")]
    if not waiting:
        return None
    changes = {change: _in_days(change, days) for figure in waiting for change, days in figure["waits_for"].items()}
    names = [waiting[0]["name"], *(figure["name"].lower() for figure in waiting[1:])]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    year, month = map(int, waiting[0]["period"].split("-"))
    is_high = " (revenue is likely to fall)" if "revenue" in listed.lower() else ""
    return (
        f"{' and '.join(changes).capitalize()} count on the day of the order, and come in later: "
        f"{'; '.join(changes.values())}. So {listed[0].lower()}{listed[1:]} of {date(year, month, 1):%B %Y} may still "
        f"change{is_high}, and no change since other months is shown."
    )


def cards(figures: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Format the headline figures: name, definition, period, value, and change since the two earlier months."""
    return [_card(figure) for figure in figures]


def _card(figure: dict[str, Any]) -> dict[str, str]:
    card = {"name": figure["name"], "definition": figure.get("definition", "")}
    if not figure.get("period"):
        return card | {
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
    return card | {"period": f"{now:%B %Y}", "shown": shown} | changes


def _change(now: float | None, before: float | None, month: date) -> str:
    if now is None or before is None:
        return f"{month:%B %Y} is not known"
    if not before:
        return f"none in {month:%B %Y}"
    return f"{100 * (now - before) / before:+.1f}% on {month:%B %Y}".replace("-", "−")


def _waits_for(month: str, as_of: str, settling_days: dict[str, float | None]) -> dict[str, dict[str, float | None]]:
    """``waits_for`` of a month: the changes to its orders that may still come; an empty dict if it has settled."""
    year, number = map(int, month.split("-"))
    next_month = date(year + number // 12, number % 12 + 1, 1)
    passed = (date.fromisoformat(as_of) - next_month).days + 1
    pending = {change: days for change, days in settling_days.items() if days is None or days > passed}
    return {"waits_for": pending} if pending else {}


def _in_days(change: str, days: int | None) -> str:
    return f"it is not known how fast {change} do" if days is None else f"99% of the {change} within {days} days"


@cache
def _dictionary() -> dict[str, tuple[str, str]]:
    """Metric → formula and definition, from the tables of docs/metrics.md."""
    lines = (ROOT / "docs" / "metrics.md").read_text("utf-8").splitlines()
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| "))
    return {row[0]: (row[1].strip("`"), row[2]) for row in rows if len(row) == 5}


def definition(metric: str) -> str:
    """Definition of a metric in one line: its formula if it is a ratio, else its text in the metric dictionary."""
    formula, text = _dictionary()[metric]
    return formula.replace("_", " ") if "/" in formula or not text else text


def _average(row: dict[str, Any]) -> float | None:
    orders = row["orders"] - row["cancelled_orders"]
    return (row["net_amount"] - row["cancelled_amount"]) / orders if orders else None


def _number(value: Any) -> float | int | None:
    if value is None or value != value:
        return None
    return round(float(value), 2) if float(value) % 1 else int(value)


def _day(value: Any) -> date | None:
    # NaT is not equal to itself.
    if value is None or value != value:
        return None
    return value.date() if hasattr(value, "date") else value


def _before(as_of: date, months: int) -> date:
    """First day of the last whole month by `as_of`, or of the one this many months before it."""
    next_day = as_of + timedelta(days=1)
    count = 12 * next_day.year + next_day.month - 2 - months
    return date(count // 12, count % 12 + 1, 1)
