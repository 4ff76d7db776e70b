"""Records of products: those on sale, launched, withdrawn or reviewed in a window, as they are at its end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from duckbook.store.catalogue import ADJECTIVES, CATEGORIES, SUBCATEGORIES
from duckbook.store.columns import decimal, join, moment, money, pick, text
from duckbook.store.simulation import HISTORY_YEARS, Store, Window
from duckbook.tables import source_tables

COVER_WEEKS = 5.0
"""Weeks of average sales that a Monday's delivery fills the shelf up to."""


def products(store: Store, window: Window) -> Iterator[pa.Table]:
    """Products whose price, stock, rating or availability may have changed in the window."""
    goods = store.products
    launched = goods.launched < window.end
    weeks = goods.week_of(np.array([window.begin, window.end - 1]))
    shown = goods.on_sale[max(weeks[0] - 1, 0) : weeks[1] + 1].any(axis=0)
    count, stars, fresh = _ratings(store, window)
    which = np.flatnonzero(launched & (shown | fresh | (goods.launched >= window.begin)))
    week = int(weeks[1])
    name = _names(store, which)
    sale = goods.sale[week, which]
    rating = (2 * 100 * stars[which] + count[which]) // np.maximum(2 * count[which], 1)
    columns = {
        "product_id": pa.array(which + 1),
        "category_id": pa.array(goods.category[which] + 1),
        "subcategory_id": pa.array(goods.subcategory[which] + 1),
        "product_name": name,
        "description": _descriptions(store, which, name),
        "base_price": money(goods.base[week, which]),
        "sale_price": money(sale),
        "stock_quantity": pa.array(_stock(store, window, week)[which].astype(np.int32)),
        "weight_kg": decimal(goods.grams[which], 3),
        "is_active": pa.array(goods.on_sale[week, which]),
        "created_at": moment(goods.launched[which]),
        "brand": pick(*_brands(store, which)),
        "sku": _skus(store, which),
        "rating": decimal(rating, 2, count[which] > 0),
        "review_count": pa.array(count[which].astype(np.int32)),
        "cost": money(goods.cost[which]),
    }
    yield pa.table({column: columns[column] for column in source_tables()["products"].column_names})


def _ratings(store: Store, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reviews and stars of each product until the window's end, and whether one came in the window."""
    told, size = store.reviews, store.products.count
    count, stars, fresh = (np.zeros(size, dtype=np.int64) for _ in range(3))
    for some in store.spool.ranges(len(told)):
        written, product = told.written[some], store.baskets.product[told.of[some]]
        until = written < window.end
        count += np.bincount(product[until], minlength=size)
        stars += np.bincount(product[until], told.score[some][until], minlength=size).astype(np.int64)
        fresh += np.bincount(product[until & (written >= window.begin)], minlength=size)
    return count, stars, fresh > 0


def _stock(store: Store, window: Window, week: int) -> np.ndarray:
    """Units left of what Monday's delivery filled the shelf up to."""
    goods, number = store.products, np.arange(store.products.count)
    weekly = store.size * 3.3 / (HISTORY_YEARS * 52)
    share = goods.popularity / (goods.planned * 3.2)
    luck = store.randomness.uniform("delivery", number, week + 1)
    filled = 3 + (weekly * share * COVER_WEEKS * (0.4 + 1.2 * luck)).astype(np.int64)
    begin = int(goods.week_start(np.int64(week)))
    orders = np.searchsorted(store.purchases.placed, [begin, window.end])
    lines = slice(*store.baskets.begin[orders])
    sold = np.bincount(store.baskets.product[lines], store.baskets.quantity[lines], minlength=goods.count)
    left = np.maximum(filled - sold.astype(np.int64), 0)
    return np.where(goods.on_sale[week], left, 0)


def _brands(store: Store, which: np.ndarray) -> tuple[list[str], np.ndarray]:
    starts = np.cumsum([0] + [len(category.brands) for category in CATEGORIES])
    flat = [brand for category in CATEGORIES for brand in category.brands]
    return flat, starts[store.products.category[which]] + store.products.brand[which]


def _names(store: Store, which: np.ndarray) -> pa.Array:
    goods = store.products
    starts = np.cumsum([0] + [len(item.nouns) for item in SUBCATEGORIES])
    nouns = pick(
        [noun for item in SUBCATEGORIES for noun in item.nouns], starts[goods.subcategory[which]] + goods.noun[which]
    )
    adjective = pick(ADJECTIVES, goods.adjective[which] * len(ADJECTIVES) >> 16)
    model = text(100 + which % 900)
    return join([pick(*_brands(store, which)), adjective, nouns, model], " ")


def _descriptions(store: Store, which: np.ndarray, name: pa.Array) -> pa.Array:
    items = [f"{item.name} from {CATEGORIES[item.category].name}." for item in SUBCATEGORIES]
    return join([name, pick(items, store.products.subcategory[which])], ": ")


def _skus(store: Store, which: np.ndarray) -> pa.Array:
    codes = ["".join(letter for letter in item.name.upper() if letter.isalpha())[:4] for item in SUBCATEGORIES]
    number = pc.utf8_slice_codeunits(text(100_000 + which + 1), 1)
    return join([pick(codes, store.products.subcategory[which]), number], "-")
