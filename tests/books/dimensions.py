"""The dimensions: customers and products as they are and as they were, categories, places and days."""

from __future__ import annotations

from datetime import timedelta

from books.accounts import Books
from books.calendar import described
from books.figures import UNKNOWN, average_order_value, day, grouped, sums
from books.places import NOWHERE, shown
from books.versions import FIRST, LAST

Rows = list[dict]

AGES = ((18, "under 18"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"), (65, "55-64"))
"""Age in groups: below the first number it is called the text; from 65 on, 65 and over."""

_SHOWN = ("education", "marital_status", "location_type", "preferred_channel", "acquisition_channel")
"""Attributes that are called unknown where they are not known."""


def age_group(age: int | None) -> str:
    """Age in groups."""
    if age is None:
        return UNKNOWN
    return next((group for below, group in AGES if age < below), "65 and over")


def _customer(books: Books, record: dict) -> dict:
    """What a customer, or a version of one, is called."""
    plain = ("customer_id", "email", "first_name", "last_name", "gender", "age", "annual_income", "is_active")
    names = [name for name in (record["first_name"], record["last_name"]) if name]
    return {
        **{name: record[name] for name in plain},
        **{name: record[name] or UNKNOWN for name in _SHOWN},
        "customer": record["customer_id"],
        "location": books.places.spelling(books.places.of_customer(record)),
        "full_name": " ".join(names) or None,
        "age_group": age_group(record["age"]),
        "signed_up_at": record["signup_date"],
        "is_inferred": record.get("is_inferred", False),
        "is_unknown": False,
    }


_NOBODY = {
    **dict.fromkeys(("customer_id", "email", "first_name", "last_name", "gender", "age", "annual_income")),
    **dict.fromkeys(_SHOWN, UNKNOWN),
    "customer": None,
    "location": NOWHERE,
    "age_group": UNKNOWN,
    "full_name": UNKNOWN,
    "is_active": None,
    "signed_up_at": None,
    "is_inferred": False,
    "is_unknown": True,
}


def dim_customers(books: Books) -> Rows:
    """Who buys? Customers as they are known now, with their lifetime until the as-of date."""
    orders = grouped(books.orders, lambda order: order["customer"])
    rows = [
        _customer(books, record) | {"last_login_at": record["last_login"]} | lifetime(books, record, orders[identity])
        for identity, record in books.customers.items()
    ]
    return [*rows, _NOBODY | {"last_login_at": None} | lifetime(books, None, orders[None])]


def lifetime(books: Books, record: dict | None, orders: Rows) -> dict:
    """What a customer has ordered until the as-of date; cancelled orders count as orders."""
    measures = ("orders", "cancelled_orders", "net_amount", "cancelled_amount", "refund_amount", "revenue")
    totals = sums(orders, measures)
    times = [order["ordered_at"] for order in orders if order["ordered_at"]]
    first, last = min(times, default=None), max(times, default=None)
    since = None if last is None else (books.as_of - day(last)).days
    stood = totals["orders"] - totals["cancelled_orders"]
    begun = day(record and record["signup_date"]) or day(first)
    return totals | {
        "average_order_value": average_order_value(totals),
        "days_since_last_order": since,
        "lifetime_days": None if record is None or begun is None else (books.as_of - begun).days,
        "customer_status": UNKNOWN if record is None else customer_status(stood, since),
        "is_repeat_customer": record is not None and stood > 1,
        "first_order_at": first,
        "last_order_at": last,
    }


def customer_status(stood: int, since: int | None) -> str:
    """A prospect is no buyer: without an order that was not cancelled.

    A buyer is active up to 90 days after the last order, cancelled ones included, lapsing up to 365, lost after that;
    and unknown where none of the orders has a day.
    """
    if not stood:
        return "prospect"
    if since is None:
        return UNKNOWN
    return "active" if since <= 90 else "lapsing" if since <= 365 else "lost"


def dim_customers_history(books: Books) -> Rows:
    """Who was the customer then? Customers version by version, each with the time for which it is valid."""
    rows = [
        _customer(books, version) | _span(version, (identity, version["version"]), "customer_version")
        for identity, found in books.customer_versions.items()
        for version in found
    ]
    return [*rows, _NOBODY | _no_span("customer_version")]


def _span(version: dict, key: tuple, name: str) -> dict:
    return {name: key} | {part: version[part] for part in ("version", "valid_from", "valid_to", "is_current")}


def _no_span(name: str) -> dict:
    """The unknown member is one version that is always valid."""
    return {name: None, "version": 1, "valid_from": FIRST, "valid_to": LAST, "is_current": True}


_PRODUCT = (
    "product_id", "category", "description", "sku", "base_price", "sale_price", "current_price", "cost", "unit_margin",
    "weight_kg", "is_active", "is_on_sale",
)  # fmt: skip
_NAMED = ("product_name", "category_name", "subcategory_name", "brand")
_DAILY = ("stock_quantity", "rating", "review_count")


def _product(priced: dict) -> dict:
    return {
        **{name: priced[name] for name in _PRODUCT},
        **{name: priced[name] or UNKNOWN for name in _NAMED},
        "product": priced["product_id"],
        "launched_at": priced["created_at"],
        "is_inferred": priced.get("is_inferred", False),
        "is_unknown": False,
    }


_NOTHING = {
    **dict.fromkeys(_PRODUCT),
    **dict.fromkeys(_NAMED, UNKNOWN),
    "product": None,
    "launched_at": None,
    "is_on_sale": False,
    "is_inferred": False,
    "is_unknown": True,
}


def dim_products(books: Books) -> Rows:
    """What is sold? Products as they stand now."""
    rows = [_product(priced) | {name: priced[name] for name in _DAILY} for priced in books.products.values()]
    return [*rows, _NOTHING | dict.fromkeys(_DAILY)]


def dim_products_history(books: Books) -> Rows:
    """What was sold then, at which price and cost? Products version by version."""
    rows = [
        _product(books.priced(version)) | _span(version, (identity, version["version"]), "product_version")
        for identity, found in books.product_versions.items()
        for version in found
    ]
    return [*rows, _NOTHING | _no_span("product_version")]


def dim_categories(books: Books) -> Rows:
    """How is the range divided? Categories, with the number of their subcategories and products."""
    products = grouped(books.products.values(), lambda product: product["category"])
    subcategories = grouped(books.subcategories.values(), lambda subcategory: subcategory["category_id"])
    rows = [
        {
            "category": identity,
            "category_id": identity,
            "category_name": record["category_name"] or UNKNOWN,
            "subcategories": len(subcategories[identity]),
            "products": len(products[identity]),
            "is_unknown": False,
            "created_at": record["created_at"],
        }
        for identity, record in books.categories.items()
    ]
    unknown = {"category": None, "category_id": None, "category_name": UNKNOWN, "is_unknown": True, "created_at": None}
    return [*rows, unknown | {"subcategories": 0, "products": len(products[None])}]


def dim_locations(books: Books) -> Rows:
    """Where do customers live and orders go? Places."""
    rows = [{"location": place} | shown(place) | {"is_unknown": False} for place in books.places.all]
    unknown = dict.fromkeys(("city", "state", "state_name", "region", "country"), UNKNOWN)
    return [*rows, {"location": NOWHERE, "is_unknown": True} | unknown]


def dim_dates(books: Books) -> Rows:
    """Every day from the first event to the last, the as-of date among them."""
    moments = [order["ordered_at"] for order in books.orders]
    moments += [event["occurred_at"] for event in books.events]
    moments += [review["reviewed_at"] for review in books.reviews]
    moments += [customer["signup_date"] for customer in books.customers.values()]
    days = [moment.date() for moment in moments if moment] + [books.as_of]
    first, last = min(days), max(days)
    return [described(None), *(described(first + timedelta(n)) for n in range((last - first).days + 1))]
