"""Sums, ratios and groups, as every mart of the books writes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

UNKNOWN = "unknown"


def ratio(above, below, places: int) -> Decimal | None:
    """A quotient, rounded half away from zero; null over nothing."""
    if not below or above is None:
        return None
    exact = Fraction(above) / Fraction(below)
    scaled = abs(exact) * 10**places
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    whole += 2 * rest >= scaled.denominator
    if whole >= 10**18:
        return None
    return Decimal(whole if exact >= 0 else -whole).scaleb(-places)


def cents(amount: Decimal | None) -> Decimal | None:
    """An amount in whole cents."""
    return None if amount is None else amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def grouped(rows: Iterable[dict], key: Callable[[dict], Hashable]) -> dict[Hashable, list[dict]]:
    """Rows by what a function makes of each."""
    groups: dict[Hashable, list[dict]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def sums(rows: Iterable[dict], names: Iterable[str]) -> dict[str, int | Decimal]:
    """The sum of each measure over rows."""
    rows = list(rows)
    return {name: sum(row[name] for row in rows) for name in names}


def different(rows: Iterable[dict], name: str) -> int:
    """How many different values that are known a column has."""
    return len({row[name] for row in rows} - {None})


def average_order_value(totals: dict) -> Decimal | None:
    """(net amount - cancelled amount) / (orders - cancelled orders)."""
    stood = totals["orders"] - totals["cancelled_orders"]
    return ratio(totals["net_amount"] - totals["cancelled_amount"], stood, 2)


def month_start(key: int) -> date | None:
    """First day of a month such as 202606; null for 0."""
    return date(key // 100, key % 100, 1) if key else None


def day(moment: datetime | None) -> date | None:
    """The day of a moment, UTC."""
    return moment and moment.date()
