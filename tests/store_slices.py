"""Slices of small stores for the tests, and what staging makes of landings: the newest version of each key."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

import pyarrow as pa
from duckbook.generate.shop import records
from duckbook.generate.shop.simulation import Store, Window, history_end, quarters

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
def store(customers: int = 400, seed: int = 42, until: date = END, dirt: float = 0.0) -> Store:
    """A store from its first day to `until`."""
    return Store(customers, seed, FIRST_AS_OF, until, dirt)


def piece(of: Store, table: str, window: Window) -> pa.Table:
    """A slice of any table, in one."""
    return pa.concat_tables(records.SLICES[table](of, window)).unify_dictionaries()


def newest(slices: list[pa.Table], key: tuple[str, ...]) -> dict[tuple, dict]:
    """The newest version of each key, from slices in their order."""
    found: dict[tuple, dict] = {}
    for table in slices:
        for row in table.to_pylist():
            found[tuple(row[name] for name in key)] = row
    return found


def history(of: Store, table: str) -> list[pa.Table]:
    """The exports of the history of a table of S3, or its one batch in Postgres."""
    whole = Window(of.before_first, END)
    windows = quarters(FIRST_AS_OF) if table in ("customers", "products", "orders", "reviews") else [whole]
    return [piece(of, table, window) for window in windows]
