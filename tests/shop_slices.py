"""Slices of small simulated shops, and the newest version of each key, as in staging."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

import pyarrow as pa
from duckbook.generate.shop import records
from duckbook.generate.shop.simulation import Shop, Window, history_end, quarters

FIRST_AS_OF = date(2026, 6, 30)
END = history_end(FIRST_AS_OF)

KEYS = {
    "customers": ("customer_id",),
    "products": ("product_id",),
    "orders": ("order_id",),
    "reviews": ("review_id",),
    "order_items": ("order_id", "order_item_id"),
    "interactions": ("event_id",),
}


@lru_cache(maxsize=12)
def simulate(customers: int = 400, seed: int = 42, until: date = END, dirt: float = 0.0) -> Shop:
    """Simulate a shop up to `until`."""
    return Shop(customers, seed, FIRST_AS_OF, until, dirt)


def piece(shop: Shop, table: str, window: Window) -> pa.Table:
    """One slice of a table, as a single Arrow table."""
    return pa.concat_tables(records.SLICES[table](shop, window)).unify_dictionaries()


def newest(slices: list[pa.Table], key: tuple[str, ...]) -> dict[tuple, dict]:
    """The newest version of each key, from slices in landing order."""
    rows: dict[tuple, dict] = {}
    for table in slices:
        for row in table.to_pylist():
            rows[tuple(row[name] for name in key)] = row
    return rows


def history(shop: Shop, table: str) -> list[pa.Table]:
    """The history of a table: one slice per S3 object, or one for Postgres."""
    whole = Window(shop.before_first, END)
    windows = quarters(FIRST_AS_OF) if table in ("customers", "products", "orders", "reviews") else [whole]
    return [piece(shop, table, window) for window in windows]
