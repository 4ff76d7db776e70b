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
_TIME = re.compile(
    r"(\d{4})([-/])(\d\d?)\2(\d\d?)(?:[T ](\d\d?:\d\d(?::\d\d(?:\.\d{1,6})?)?)(?: ?(Z|UTC|[+-]\d\d(?::?\d\d)?))?)?"
)
AMERICA = {"us", "usa", "united states", "united states of america"}


class Unreadable(ValueError):
    """A value that is there and cannot be read."""


def text(raw: str) -> str | None:
    """A text without the spaces around it; a blank one is null."""
    return raw.strip(" ") or None


def name(raw: str) -> str | None:
    """A name that people group by: white space around it goes, and within it becomes one space."""
    return " ".join(raw.split()) or None


def word(raw: str) -> str | None:
    """A word out of a short list: a name in lower case."""
    return (name(raw) or "").lower() or None


STATUSES = {
    "cancelled": ("canceled", "voided", "failed"),
    "refunded": ("wc_refunded",),
    "returned": ("partially_refunded",),
    "pending": ("on_hold",),
    "delivered": ("wc_completed",),
}
"""Status → words for it that a hostile shop writes."""


def status(raw: str) -> str | None:
    """The status that stands for the shop's word, or that word; blanks, hyphens and underscores in it are one."""
    spelt = re.sub("[ _-]+", "_", word(raw) or "")
    return next((ours for ours, words in STATUSES.items() if spelt in words), word(raw))


def state(raw: str) -> str | None:
    """A name in upper case."""
    return (name(raw) or "").upper() or None


def country(raw: str) -> str | None:
    """A name; `US`, `USA`, `U.S.A.`, `United States of America` are `United States` in any case, `DE` is `Germany`."""
    spelling = (word(raw) or "").replace(".", "")
    return "United States" if spelling in AMERICA else {"de": "Germany", "germany": "Germany"}.get(spelling, name(raw))


def email(raw: str) -> str | None:
    """An address for mail: lower case."""
    return (text(raw) or "").lower() or None


def identity(raw: str) -> str | None:
    """An id is text; `123.0` is `123`."""
    found = text(raw)
    return re.sub(r"^(-?[0-9]+)\.0$", r"\1", found) if found else None


def decimal(places: int, digits: int = 14) -> Callable[[str], Decimal | None]:
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
    """A whole number of 32 bits: `3`, `3.0`, `1.2e3`; nothing is rounded, and a negative exponent is not read."""
    if (found := text(raw)) is None:
        return None
    if not _NUMBER.fullmatch(found) or "e-" in found.lower() or Decimal(found) % 1:
        raise Unreadable(raw)
    if not -(2**31) <= Decimal(found) < 2**31:
        raise Unreadable(raw)
    return int(Decimal(found))


def boolean(raw: str) -> bool | None:
    """`true`, `t`, `yes`, `y`, `1`, `1.0` and `false`, `f`, `no`, `n`, `0`, `0.0`, in any case."""
    if (found := text(raw)) is None:
        return None
    for told, ways in ((True, ("true", "t", "yes", "y", "1", "1.0")), (False, ("false", "f", "no", "n", "0", "0.0"))):
        if found.lower() in ways:
            return told
    raise Unreadable(raw)


def time(raw: str) -> datetime | None:
    """A day, with or without a time, and after that with or without an offset.

    Times with an offset become UTC, times without one are UTC; before 1900 or after 2199 they are set aside.
    """
    if (found := text(raw)) is None:
        return None
    if not (parts := _TIME.fullmatch(found)):
        raise Unreadable(raw)
    year, _, month, day, clock, offset = parts.groups()
    offset = {"Z": "+00:00", "UTC": "+00:00", None: ""}.get(offset, offset)
    try:
        told = datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}T{(clock or '00:00'):0>5}{offset}")
    except ValueError as error:
        raise Unreadable(raw) from error
    moment = told.astimezone(UTC).replace(tzinfo=None) if told.tzinfo else told
    if not 1900 <= moment.year <= 2199:
        raise Unreadable(raw)
    return moment


money = decimal(2)
of_a_unit = decimal(6, 18)
"""What is multiplied by units is not rounded to cents before."""

COLUMNS: dict[str, dict[str, Callable]] = {
    "customers": {
        "customer_id": identity, "email": email, "first_name": text, "last_name": text, "age": integer,
        "gender": word, "annual_income": money, "marital_status": word, "education": word, "location_type": word,
        "city": name, "state": state, "country": country, "signup_date": time, "last_login": time,
        "preferred_channel": word, "is_active": boolean, "acquisition_channel": word, "updated_at": time,
    },
    "products": {
        "product_id": identity, "category_id": identity, "subcategory_id": identity, "product_name": text,
        "description": text, "base_price": money, "sale_price": money, "stock_quantity": integer,
        "weight_kg": decimal(3, 18), "is_active": boolean, "created_at": time, "brand": name, "sku": text,
        "rating": decimal(2, 4), "review_count": integer, "cost": of_a_unit, "updated_at": time,
    },
    "orders": {
        "order_id": identity, "customer_id": identity, "order_date": time, "status": status, "total_amount": money,
        "shipping_cost": money, "payment_method": word, "shipping_address": text, "billing_address": text,
        "created_at": time, "updated_at": time, "discount_amount": money, "promised_at": time, "shipped_at": time,
        "delivered_at": time,
    },
    "reviews": {
        "review_id": identity, "product_id": identity, "order_id": identity, "customer_id": identity,
        "review_score": integer, "review_text": text, "created_at": time,
    },
    "categories": {"category_id": identity, "category_name": name, "created_at": time},
    "subcategories": {
        "subcategory_id": identity, "category_id": identity, "subcategory_name": name, "created_at": time,
    },
    "order_items": {
        "order_item_id": identity, "order_id": identity, "product_id": identity, "quantity": integer,
        "unit_price": of_a_unit, "total_price": money, "created_at": time, "discount_amount": money,
        "returned_at": time, "refund_amount": money,
    },
    "interactions": {
        "event_id": identity, "customer_id": identity, "product_id": identity, "event_type": word,
        "event_date": time, "device_type": word, "session_id": identity, "created_at": time, "order_id": identity,
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
    read = {column: cast(row[column]) if column in row else None for column, cast in COLUMNS[table].items()}
    if table != "reviews" and any(read[column] is None for column in KEYS[table]):
        raise Unreadable("no key")
    if table == "order_items" and read["total_price"] is None:
        money(str((read["quantity"] or 0) * (read["unit_price"] or Decimal(0))))
    return read
