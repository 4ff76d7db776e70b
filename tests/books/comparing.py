"""A mart held against the books: the same rows, the same columns, the same values, null for null.

A surrogate key stands for something, and that is compared: its business key, which the dimensions tell. The unknown
member, 0, stands for None.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import duckdb

from books import dimensions, goods, people, sales
from books.accounts import Books

MARTS: dict[str, Callable[[Books], list[dict]]] = {
    function.__name__: function
    for function in (
        dimensions.dim_categories, dimensions.dim_customers, dimensions.dim_customers_history, dimensions.dim_dates,
        dimensions.dim_locations, dimensions.dim_products, dimensions.dim_products_history, sales.fct_order_details,
        sales.fct_customer_orders, sales.fct_sales_by_date, sales.fct_sales_by_product, sales.fct_sales_by_region,
        sales.fct_fulfilment, people.fct_customer_activity, people.fct_customer_reviews, people.fct_customer_segments,
        people.fct_cohort_retention, people.fct_funnel, goods.fct_product_performance, goods.fct_product_interactions,
        goods.fct_product_changes, goods.fct_basket_pairs, goods.fct_inventory_cover,
    )
}  # fmt: skip
"""Mart → the function of the books that writes its rows."""

MEANINGS = {
    "customer": "select customer_key, customer_id from ecom_marts.dim_customers",
    "product": "select product_key, product_id from ecom_marts.dim_products",
    "category": "select category_key, category_id from ecom_marts.dim_categories",
    "location": "select location_key, city, state, country from ecom_marts.dim_locations",
    "customer_version": "select customer_version_key, customer_id, version from ecom_marts.dim_customers_history",
    "product_version": "select product_version_key, product_id, version from ecom_marts.dim_products_history",
    "order": "select order_key, order_id from ecom_marts.fct_customer_orders",
    "order_line": "select order_line_key, order_id, order_item_id from ecom_marts.fct_order_details",
    "review": "select review_key, review_id from ecom_marts.fct_customer_reviews",
}
"""What a surrogate key stands for: name → its key and the business key."""

KEYS = {
    "dim_categories": ("category",), "dim_customers": ("customer",), "dim_customers_history": ("customer_version",),
    "dim_dates": ("date_key",), "dim_locations": ("location",), "dim_products": ("product",),
    "dim_products_history": ("product_version",), "fct_order_details": ("order_line",),
    "fct_customer_orders": ("order",), "fct_sales_by_date": ("date_key",),
    "fct_sales_by_product": ("product", "month_key"), "fct_sales_by_region": ("country", "state", "month_key"),
    "fct_fulfilment": ("month_key", "country", "state"), "fct_customer_activity": ("customer", "month_key"),
    "fct_customer_reviews": ("review",), "fct_customer_segments": ("customer",),
    "fct_cohort_retention": ("cohort_month_key", "months_since_first_order"),
    "fct_funnel": ("month_key", "device_type", "acquisition_channel"), "fct_product_performance": ("product",),
    "fct_product_interactions": ("product", "month_key"),
    "fct_product_changes": ("product", "change_type", "changed_at"),
    "fct_basket_pairs": ("subcategory_id_a", "subcategory_id_b"), "fct_inventory_cover": ("product",),
    "reconciliation": ("mart", "measure"),
}  # fmt: skip
"""Mart → the columns of its grain, surrogate keys by what they stand for."""

DERIVED = re.compile(r"[0-9a-f]{32}#\d+")
"""The id of a review that has none of its own."""


class Marts:
    """The marts of a warehouse, with business keys in the place of surrogate ones."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._meanings = {name: self._meaning(query) for name, query in MEANINGS.items()}

    def _meaning(self, query: str) -> dict[int, object]:
        found = self._connection.execute(query).fetchall()
        told = {key: rest[0] if len(rest) == 1 else rest for key, *rest in found}
        assert len(told) == len(found), f"a key stands twice: {query}"
        return {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()} | {0: None}

    def rows(self, mart: str) -> list[dict]:
        """The rows of a mart."""
        found = self._connection.execute(f"select * from ecom_marts.{mart}")
        names = [_plain(column[0]) for column in found.description]
        columns = [(name, self._meanings.get(name)) for name in names]
        return named(
            [
                {
                    name: value if meaning is None else meaning[value]
                    for (name, meaning), value in zip(columns, row, strict=True)
                }
                for row in found.fetchall()
            ]
        )


def _plain(name: str) -> str:
    stem = name.removesuffix("_key")
    return stem if name.endswith("_key") and stem in MEANINGS else name


def named(rows: list[dict]) -> list[dict]:
    """Rows of reviews with one name for each id that was derived, whoever derived it: the same content, counted."""
    if not rows or "review" not in rows[0]:
        return rows
    alike: Counter = Counter()
    for row in rows:
        if row["review_id"] is None or DERIVED.fullmatch(row["review_id"]):
            content = tuple(sorted((n, str(v)) for n, v in row.items() if n not in ("review", "review_id")))
            alike[content] += 1
            row["review"] = row["review_id"] = f"derived of {content}, {alike[content]}"
    return rows


def expected(mart: str, books: Books) -> list[dict]:
    """The rows of a mart by the books; a place is called as dim_locations calls it, and the unknown one is None."""
    if mart not in books.marts:
        books.marts[mart] = named(MARTS[mart](books))
        for row in books.marts[mart]:
            if "location" in row:
                place = row["location"]
                row["location"] = tuple(part or "unknown" for part in place) if any(place) else None
    return books.marts[mart]


def differences(mart: str, found: list[dict], wanted: list[dict]) -> list[str]:
    """What differs, a line each: a row that only one has, a column, a value."""
    key = KEYS[mart]
    told = []
    columns, told_columns = (set().union(*rows[:1]) for rows in (found, wanted))
    if found and wanted and columns != told_columns:
        told.append(f"columns only in the mart {sorted(columns - told_columns)}, only in the books "
                    f"{sorted(told_columns - columns)}")  # fmt: skip
    mine, theirs = ({tuple(row[name] for name in key): row for row in rows} for rows in (wanted, found))
    told += [f"the mart has a key twice: {len(found)} rows, {len(theirs)} keys"] if len(theirs) != len(found) else []
    told += [f"the books have a key twice: {len(wanted)}, {len(mine)}"] if len(mine) != len(wanted) else []
    told += [f"{one}: only the mart has it: {theirs[one]}" for one in theirs.keys() - mine.keys()]
    told += [f"{one}: only the books have it: {mine[one]}" for one in mine.keys() - theirs.keys()]
    shared = sorted(columns & told_columns)
    for one in mine.keys() & theirs.keys():
        for name in shared:
            value, other = theirs[one][name], mine[one][name]
            if not (type(value) is type(other) and value == other) and not _same(value, other):
                told.append(f"{one}: {name} is {value!r}, by the books {other!r}")
    return told


def _same(found: object, wanted: object) -> bool:
    if isinstance(wanted, datetime) != isinstance(found, datetime):
        return found is wanted
    if isinstance(found, bool) != isinstance(wanted, bool):
        return False
    return found == wanted
