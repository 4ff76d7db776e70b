"""Number formats and geometry of the small charts on a run's page.

The page draws them as inline SVG, without a script. Figures are rows ``{"name", "value", "unit"}``; the unit ``USD`` is
money.
"""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT, LEFT = 400, 226, 48


def number(value: Any) -> str:
    """Format a number with thousands separators, and with two decimals unless it is an integer."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def compact(value: float) -> str:
    """Format a number with three digits and a unit letter: 1.25M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def format_figure(figure: dict[str, Any]) -> str:
    """Format a headline figure in its unit."""
    value = figure["value"]
    if value is None:
        return "–"
    if figure.get("unit") == "USD":
        amount = compact(abs(value)) if abs(value) >= 1e5 else f"{abs(value):,.2f}"
        return f"{'−' if value < 0 else ''}${amount}"
    return compact(value) if abs(value) >= 1e6 else f"{value:,.0f}"


def months(rows: list[dict[str, Any]], as_of: str | None) -> dict[str, Any] | None:
    """Bars of revenue per month. Unfinished and unsettled months are pale and do not count as the best month."""
    if len(rows) < 2:
        return None
    top = _round_up(max(row["revenue"] for row in rows) or 1)
    step = (WIDTH - LEFT) / len(rows)
    bottom = HEIGHT - 24
    bars = []
    for index, row in enumerate(rows):
        height = bottom * max(row["revenue"], 0) / top * 0.94
        year, month = row["month"].split("-")[:2]
        is_open = not row.get("is_settled", True)
        partial = as_of is not None and as_of.startswith(row["month"]) and not _is_month_end(as_of)
        bars.append(
            {
                "x": round(LEFT + index * step, 1),
                "y": round(bottom - height, 1),
                "width": round(step * 0.78, 1),
                "height": round(height, 1),
                "title": f"{row['month']}: ${row['revenue']:,.0f}" + (" so far" if partial or is_open else ""),
                "label": year if month == "01" else "",
                "partial": partial or is_open,
            }
        )
    settled = [row for row in rows if row.get("is_settled", True)]
    best = max(settled or rows, key=lambda row: row["revenue"])
    pale = "" if len(settled) == len(rows) else "; pale: refunds or cancellations still come in"
    lines = [
        {"y": round(bottom - bottom * share * 0.94, 1), "label": f"${compact(top * share)}"} for share in (0, 0.5, 1)
    ]
    return {
        "title": f"The best month was {best['month']}, with ${compact(best['revenue'])}",
        "subtitle": f"Revenue by month, USD, {rows[0]['month']} to {rows[-1]['month']}{pale}",
        "bars": bars,
        "grid": lines,
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
    }


def mix(rows: list[dict[str, Any]], most: int = 8) -> dict[str, Any] | None:
    """Bars of revenue per category, largest first; the last bar sums all others."""
    if not rows:
        return None
    ranked = sorted(rows, key=lambda row: -row["revenue"])
    total = sum(row["revenue"] for row in ranked) or 1
    kept, rest = ranked[:most], ranked[most:]
    if rest:
        kept = [*kept, {"category": f"{len(rest)} others", "revenue": sum(row["revenue"] for row in rest)}]
    left, room = 140, 200
    widest = max(row["revenue"] for row in kept) or 1
    bars = [
        {
            "name": str(row["category"])[:21],
            "y": 4 + 25 * index,
            "width": round(max(room * row["revenue"] / widest, 1), 1),
            "shown": f"{100 * row['revenue'] / total:.1f}%".replace("-", "−"),
            "title": f"{row['category']}: ${row['revenue']:,.0f}",
        }
        for index, row in enumerate(kept)
    ]
    return {
        "title": f"{kept[0]['category']} brings {100 * kept[0]['revenue'] / total:.0f}% of revenue",
        "subtitle": "Share of revenue by category, whole history",
        "bars": bars,
        "width": WIDTH,
        "height": 8 + 25 * len(bars),
        "left": left,
    }


def _round_up(value: float) -> float:
    """Round up to a round number for the top of an axis."""
    scale = 10 ** (len(str(int(value))) - 1)
    return next(scale * part for part in (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if scale * part >= value)


def _is_month_end(day: str) -> bool:
    from datetime import date, timedelta

    return (date.fromisoformat(day) + timedelta(days=1)).day == 1
