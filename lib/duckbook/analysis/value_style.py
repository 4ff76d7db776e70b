"""Formats of table values, and the choice of a column's format by its name and type.

Amounts and shares are rounded half away from zero on their decimal digits, not as floats. A nonzero number is never
shown as zero, and no number is shown in scientific notation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from numbers import Integral, Number, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("percent", "money", "count", "number", "id", "date", "text")
LEFT_ALIGNED = frozenset({"text", "date"})
MISSING = "–"

SHARES = {"rate", "share", "conversion"}
MONEY = {"revenue", "amount", "value", "price", "cost", "margin", "refund", "discount", "gross", "net", "spend"}
COUNTED = {
    "order",
    "unit",
    "customer",
    "buyer",
    "item",
    "line",
    "row",
    "product",
    "review",
    "session",
    "event",
    "basket",
}
COUNTED |= {"day", "week", "month", "change"}
RATIOS = {"ratio", "index", "elasticity", "score", "rank", "coefficient", "factor", "effect", "log", "p"}
JOINTS = {"at", "with", "without", "on", "in", "of", "by"}
"""Words that qualify a count, as in ``orders_with_discount``."""

LABELS = {"id", "key", "year", "code", "zip", "seed"}
SIDES = {"low", "high", "lower", "upper", "before", "after", "from", "to", "least", "most", "mean", "median", "total"}
"""Words that may follow the name of a measure: ``return_rate_low``, ``price_before``."""

WIDE = Context(prec=400, rounding=ROUND_HALF_UP)


def choose_format(name: Any, values: pd.Series) -> str:
    """Choose the format of a column by its type, and for numbers by its name."""
    import pandas as pd

    kind = pd.api.types
    known = [value for value in values if not is_missing(value)]
    if kind.is_datetime64_any_dtype(values.dtype) or (known and all(isinstance(v, date) for v in known)):
        return "date"
    if kind.is_bool_dtype(values.dtype) or not all(_is_number(value) for value in known):
        return "text"
    if not known:
        return "text" if values.dtype == object or kind.is_string_dtype(values.dtype) else "count"
    return _format_of_numbers(_words(name), known)


def formatter(chosen: str, values: Iterable[Any]) -> Callable[[Any], str]:
    """Return the function that formats the values of a column, with the same number of decimals for all."""
    known = [value for value in values if not is_missing(value)]
    if "{" in chosen:
        return _or_missing(lambda value: _signed(chosen.format(value)))
    if chosen == "date":
        return _or_missing(_moments(known))
    if chosen == "number":
        if all(isinstance(value, Decimal) for value in known):
            return _or_missing(_exact)
        places = _places(known)
        return _or_missing(lambda value: _rounded(value, places))
    return _or_missing({"percent": _percent, "money": _cents, "count": _count, "id": _label, "text": plain}[chosen])


def plain(value: Any) -> str:
    """Format a single value, such as the expected value of a check: 1,234, 0.25, yes, 2026-06-30, –."""
    if is_missing(value):
        return MISSING
    if isinstance(value, date):
        return _moments([value])(value)
    if hasattr(value, "__iter__") and not isinstance(value, (str, bytes, dict)):
        return ", ".join(map(plain, value))
    if not _is_number(value):
        return ("yes" if value else "no") if _is_bool(value) else str(value)
    if isinstance(value, Decimal):
        return _exact(value)
    is_whole = (number := _decimal(value)) is not None and number == int(number)
    return _count(value) if is_whole else _rounded(value, max(_places([value]), 2))


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or NA."""
    import pandas as pd

    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, Number) and bool(value != value))


def _format_of_numbers(words: list[str], known: list[Any]) -> str:
    own = [word for word in words if word not in SIDES] or words
    last, first = (own[-1], own[0]) if own else ("", "")
    is_whole = all(_decimal(value) is not None and value == int(value) for value in known)
    if last in SHARES or own[:2] == ["share", "of"]:
        return "percent"
    if is_whole and (last in LABELS or ("year" in own and all(1800 <= value <= 2200 for value in known))):
        return "id"
    is_counted = last in COUNTED or (first in COUNTED and bool(JOINTS & set(own[1:2])))
    is_money = bool(MONEY & set(own)) and not is_counted and not RATIOS & set(own)
    if is_money and not all(isinstance(value, Integral) for value in known):
        return "money"
    return "count" if is_whole else "number"


def _words(name: Any) -> list[str]:
    text = " ".join(map(str, name)) if isinstance(name, tuple) else str(name)
    words = text.lower().replace("_", " ").replace(",", " ").split()
    return [word[:-1] if word[:-1] in MONEY | COUNTED | SHARES | LABELS else word for word in words]


def _or_missing(write: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: MISSING if is_missing(value) else write(value)


def _is_bool(value: Any) -> bool:
    import numpy as np

    return isinstance(value, (bool, np.bool_))


def _is_number(value: Any) -> bool:
    return isinstance(value, (Real, Decimal)) and not _is_bool(value)


def _decimal(value: Any) -> Decimal | None:
    """The decimal with the digits that a number prints; None if it is infinite or not a number."""
    if not _is_number(value):
        return None
    number = (
        value
        if isinstance(value, Decimal)
        else Decimal(int(value) if isinstance(value, Integral) else repr(float(value)))
    )
    return number if number.is_finite() else None


def _rounded(value: Any, places: int, unit: str = "", scale: int = 0) -> str:
    """Round to a number of decimals; a nonzero number that rounds to zero becomes ``<0.01`` or ``>-0.01``."""
    number = _decimal(value)
    if number is None:
        return _signed(str(value).replace("inf", "∞").replace("Infinity", "∞")) if _is_number(value) else str(value)
    least = Decimal(1).scaleb(-places)
    shown = number.scaleb(scale, WIDE).quantize(least, context=WIDE)
    if number and not shown:
        return _signed(f"{'<' if number > 0 else '>'}{least if number > 0 else -least:f}{unit}")
    return _signed(f"{shown if shown else abs(shown):,f}{unit}")


def _percent(value: Any) -> str:
    return _rounded(value, 1, "%", scale=2)


def _cents(value: Any) -> str:
    return _rounded(value, 2)


def _count(value: Any) -> str:
    return _rounded(value, 0)


def _label(value: Any) -> str:
    return str(int(value)) if _is_number(value) else str(value)


def _places(known: Iterable[Any]) -> int:
    """Decimals of a column: three significant digits of the largest number, two of the smallest."""
    sizes = [number.adjusted() for value in known if (number := _decimal(value))]
    largest, smallest = max(sizes, default=0), min(sizes, default=0)
    return min(max(2 - largest, min(1 - smallest, 4 - largest, 3), 1), 6)


def _exact(value: Decimal) -> str:
    exponent = value.as_tuple().exponent
    return _rounded(value, max(-exponent, 0) if isinstance(exponent, int) else 0)


def _moments(known: list[Any]) -> Callable[[Any], str]:
    """Formatter of dates: without time of day if none has one, else to the minute, or to the second if one needs it."""
    times = [value for value in known if isinstance(value, datetime)]
    length = 10 if all(str(value)[11:19] == "00:00:00" for value in times) else 16
    length = 19 if any(value.second for value in times) else length
    return lambda value: str(value)[:length] if isinstance(value, date) else str(value)


def _signed(text: str) -> str:
    """Replace the hyphen of a negative number by a minus sign."""
    return re.sub(r"^([<>]?)-", r"\1−", text)
