"""How a raw text is read, as docs/decisions.md says, and which rows are set aside.

Spaces around a value do not count, and a blank text is null. What cannot be read as its column's type is not guessed:
its row is quarantined.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?( ?(Z|[+-]\d\d(:?\d\d)?))?)?")


class Unreadable(ValueError):
    """A value that is there and cannot be read."""


def text(raw: str) -> str | None:
    """A text without the spaces around it; a blank one is null."""
    return raw.strip(" ") or None


def lower(raw: str) -> str | None:
    """A value out of a short list, and an address for mail: lower case."""
    return (text(raw) or "").lower() or None


def upper(raw: str) -> str | None:
    """A state: upper case."""
    return (text(raw) or "").upper() or None


def identity(raw: str) -> str | None:
    """An id is text; `123.0` is `123`."""
    found = text(raw)
    return re.sub(r"^(-?[0-9]+)\.0$", r"\1", found) if found else None


def decimal(places: int, digits: int = 18) -> Callable[[str], Decimal | None]:
    """`1e2`, ` 12.5 ` and `3.0` are numbers, `1,000.00` and `$5` are not; rounded half away from zero."""

    def read(raw: str) -> Decimal | None:
        if (found := text(raw)) is None:
            return None
        if not _NUMBER.fullmatch(found):
            raise Unreadable(raw)
        number = Decimal(found)
        if abs(number) >= Decimal(10) ** (digits - places):
            raise Unreadable(raw)
        return number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)

    return read


def integer(raw: str) -> int | None:
    """A whole number with a fraction is not rounded but set aside."""
    if (found := text(raw)) is None:
        return None
    if not _NUMBER.fullmatch(found) or Decimal(found) % 1 or abs(Decimal(found)) >= 2**31:
        raise Unreadable(raw)
    return int(Decimal(found))


def boolean(raw: str) -> bool | None:
    """True or false, also as 1 or 0."""
    if (found := text(raw)) is None:
        return None
    told = {"true": True, "t": True, "1": True, "1.0": True, "false": False, "f": False, "0": False, "0.0": False}
    if found.lower() not in told:
        raise Unreadable(raw)
    return told[found.lower()]


def time(raw: str) -> datetime | None:
    """Times with an offset become UTC, times without one are UTC; before 1900 or after 2199 they are set aside."""
    if (found := text(raw)) is None:
        return None
    if not _TIME.fullmatch(found):
        raise Unreadable(raw)
    try:
        told = datetime.fromisoformat(re.sub(r" (?=[Z+-])", "", found))
        moment = told.astimezone(UTC).replace(tzinfo=None) if told.tzinfo else told
    except ValueError as error:
        raise Unreadable(raw) from error
    if not 1900 <= moment.year <= 2199:
        raise Unreadable(raw)
    return moment


money = decimal(2)

COLUMNS: dict[str, dict[str, Callable]] = {
    "customers": {
        "customer_id": identity, "email": lower, "first_name": text, "last_name": text, "age": integer,
        "gender": lower, "annual_income": money, "marital_status": lower, "education": lower, "location_type": lower,
        "city": text, "state": upper, "country": text, "signup_date": time, "last_login": time,
        "preferred_channel": lower, "is_active": boolean, "acquisition_channel": lower, "updated_at": time,
    },
    "products": {
        "product_id": identity, "category_id": identity, "subcategory_id": identity, "product_name": text,
        "description": text, "base_price": money, "sale_price": money, "stock_quantity": integer,
        "weight_kg": decimal(3), "is_active": boolean, "created_at": time, "brand": text, "sku": text,
        "rating": decimal(2, 4), "review_count": integer, "cost": money, "updated_at": time,
    },
    "orders": {
        "order_id": identity, "customer_id": identity, "order_date": time, "status": lower, "total_amount": money,
        "shipping_cost": money, "payment_method": lower, "shipping_address": text, "billing_address": text,
        "created_at": time, "updated_at": time, "discount_amount": money, "promised_at": time, "shipped_at": time,
        "delivered_at": time,
    },
    "reviews": {
        "review_id": identity, "product_id": identity, "order_id": identity, "customer_id": identity,
        "review_score": integer, "review_text": text, "created_at": time,
    },
    "categories": {"category_id": identity, "category_name": text, "created_at": time},
    "subcategories": {
        "subcategory_id": identity, "category_id": identity, "subcategory_name": text, "created_at": time,
    },
    "order_items": {
        "order_item_id": identity, "order_id": identity, "product_id": identity, "quantity": integer,
        "unit_price": money, "total_price": money, "created_at": time, "discount_amount": money, "returned_at": time,
        "refund_amount": money,
    },
    "interactions": {
        "event_id": identity, "customer_id": identity, "product_id": identity, "event_type": lower,
        "event_date": time, "device_type": lower, "session_id": identity, "created_at": time, "order_id": identity,
        "order_item_id": identity,
    },
}  # fmt: skip
"""Table → its columns and how each is read. Further columns are kept in raw and mean nothing to the marts."""

KEYS = {
    "customers": ("customer_id",), "products": ("product_id",), "orders": ("order_id",), "reviews": ("review_id",),
    "categories": ("category_id",), "subcategories": ("subcategory_id",),
    "order_items": ("order_id", "order_item_id"), "interactions": ("event_id",),
}  # fmt: skip


def record(table: str, row: dict[str, str]) -> dict:
    """A row with its values read; one that is missing is None.

    Raises
    ------
    Unreadable
        A value is there and cannot be read, or a part of the key is missing: the row is quarantined.
    """
    read = {name: cast(row[name]) if name in row else None for name, cast in COLUMNS[table].items()}
    if table != "reviews" and any(read[name] is None for name in KEYS[table]):
        raise Unreadable("no key")
    return read
