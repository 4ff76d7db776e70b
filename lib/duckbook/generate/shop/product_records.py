"""Product records: one per change of price or availability, and one for the state at the end of a window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from duckbook.generate.shop.catalogue import ADJECTIVES, CATEGORIES, SUBCATEGORIES
from duckbook.generate.shop.columns import decimal, join, moment, money, pick, text
from duckbook.generate.shop.simulation import Shop, Window
from duckbook.source_tables import source_tables


def products(shop: Shop, window: Window) -> Iterator[pa.Table]:
    """Yield records of launches and changes in the window, and the state of the products at its end.

    A record holds from its `updated_at` and contains what is known at that time, so that it is the same in every
    window that includes it.
    """
    moments = _Moments(shop, window)
    products, which, at = shop.products, moments.product, moments.at
    week = products.week_of(at)
    name = _names(shop, which)
    rating = (2 * 100 * moments.stars + moments.reviews) // np.maximum(2 * moments.reviews, 1)
    columns = {
        "product_id": pa.array(which + 1),
        "category_id": pa.array(products.category[which] + 1),
        "subcategory_id": pa.array(products.subcategory[which] + 1),
        "product_name": name,
        "description": _descriptions(shop, which, name),
        "base_price": money(products.base[week, which]),
        "sale_price": money(products.sale[week, which]),
        "stock_quantity": pa.array(shop.stock.left(which, week, moments.sold).astype(np.int32)),
        "weight_kg": decimal(products.grams[which], 3),
        "is_active": pa.array(products.on_sale[week, which]),
        "created_at": moment(products.launched[which]),
        "brand": pick(*_brands(shop, which)),
        "sku": _skus(shop, which),
        "rating": decimal(rating, 2, moments.reviews > 0),
        "review_count": pa.array(moments.reviews.astype(np.int32)),
        "cost": money(products.cost[which]),
        "updated_at": moment(at),
    }
    yield pa.table({column: columns[column] for column in source_tables()["products"].column_names})


class _Moments:
    """Moments in a window from which product records hold, by product and time.

    Attributes
    ----------
    product, at : int64 arrays of shape (records,)
        Position of the product and second.
    reviews, stars, sold : int64 arrays of shape (records,)
        Number of reviews and sum of their stars so far, and units sold since Monday.
    """

    def __init__(self, shop: Shop, window: Window) -> None:
        products, size = shop.products, shop.products.count
        changed = _changed(shop)
        mondays = np.maximum(products.week_start(np.arange(products.weeks)), shop.whole.begin)
        inside = np.flatnonzero((mondays >= window.begin) & (mondays < window.end))
        count, stars, reviewed = _reviews(shop, window, mondays[inside])
        sold = np.stack([_sold(shop, second, second + 1)[0] for second in mondays[inside]] or [np.zeros(size, int)])
        # Changes of price, withdrawals, and first days on sale.
        nth, product = np.nonzero(changed[inside])
        changes = (product, mondays[inside][nth], count[nth, product], stars[nth, product], sold[nth, product])
        launched = np.flatnonzero((products.launched >= window.begin) & (products.launched < window.end))
        none = np.zeros(len(launched), dtype=np.int64)
        launches = (launched, products.launched[launched], none, none, none)
        # The state at the window's end, dated by the product's last event.
        last = int(products.week_of(np.int64(window.end - 1)))
        units, bought = _sold(shop, int(products.week_start(np.int64(last))), window.end)
        week = np.where(changed[: last + 1], np.arange(last + 1)[:, None], 0).max(axis=0)
        week = np.where(products.on_sale[last], last, week)
        since = np.where(changed[: last + 1].any(axis=0), mondays[week], 0)
        since = np.maximum.reduce([since, products.launched, reviewed, bought])
        first = int(products.week_of(np.int64(window.begin)))
        shown = products.on_sale[max(first - 1, 0) : last + 1].any(axis=0)
        fresh = (reviewed >= window.begin) | (products.launched >= window.begin)
        kept = np.flatnonzero((products.launched < window.end) & (shown | fresh))
        ends = (kept, since[kept], count[-1, kept], stars[-1, kept], units[kept])
        columns = [np.concatenate(column) for column in zip(changes, launches, ends, strict=True)]
        _, once = np.unique((columns[0] << 32) + columns[1], return_index=True)
        self.product, self.at, self.reviews, self.stars, self.sold = (column[once] for column in columns)


def _changed(shop: Shop) -> np.ndarray:
    """Whether price or availability differs from the week before, bool array of shape (weeks, products)."""
    products = shop.products
    changed = np.zeros((products.weeks, products.count), dtype=bool)
    changed[0] = products.on_sale[0]
    for column in (products.base, products.sale, products.on_sale):
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _reviews(shop: Shop, window: Window, until: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reviews and stars of each product up to some moments and the window's end, and the time of the last review."""
    reviews, size = shop.reviews, shop.products.count
    shape = (len(until) + 1, size)
    count, stars = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    last = np.zeros(size, dtype=np.int64)
    for chunk in shop.spool.ranges(len(reviews)):
        known = reviews.written[chunk] < window.end
        written, product = reviews.written[chunk][known], shop.baskets.product[reviews.line[chunk][known]]
        place = np.searchsorted(until, written) * size + product
        count += np.bincount(place, minlength=count.size).reshape(shape)
        stars += np.bincount(place, reviews.score[chunk][known], minlength=count.size).astype(np.int64).reshape(shape)
        np.maximum.at(last, product, written)
    return count.cumsum(axis=0), stars.cumsum(axis=0), last


def _sold(shop: Shop, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Units of each product ordered from `begin` until `end`, and the time of the last such order."""
    baskets, size = shop.baskets, shop.products.count
    orders = np.searchsorted(shop.purchases.placed, [begin, end])
    lines = slice(*baskets.begin[orders])
    last = np.zeros(size, dtype=np.int64)
    np.maximum.at(last, baskets.product[lines], shop.purchases.placed[baskets.order[lines]])
    units = np.bincount(baskets.product[lines], baskets.quantity[lines], minlength=size)
    return units.astype(np.int64), last


def _brands(shop: Shop, which: np.ndarray) -> tuple[list[str], np.ndarray]:
    starts = np.cumsum([0] + [len(category.brands) for category in CATEGORIES])
    flat = [brand for category in CATEGORIES for brand in category.brands]
    return flat, starts[shop.products.category[which]] + shop.products.brand[which]


def _names(shop: Shop, which: np.ndarray) -> pa.Array:
    products = shop.products
    starts = np.cumsum([0] + [len(item.nouns) for item in SUBCATEGORIES])
    nouns = pick(
        [noun for item in SUBCATEGORIES for noun in item.nouns],
        starts[products.subcategory[which]] + products.noun[which],
    )
    adjective = pick(ADJECTIVES, products.adjective[which] * len(ADJECTIVES) >> 16)
    model = text(100 + which % 900)
    return join([pick(*_brands(shop, which)), adjective, nouns, model], " ")


def _descriptions(shop: Shop, which: np.ndarray, name: pa.Array) -> pa.Array:
    items = [f"{item.name} from {CATEGORIES[item.category].name}." for item in SUBCATEGORIES]
    return join([name, pick(items, shop.products.subcategory[which])], ": ")


def _skus(shop: Shop, which: np.ndarray) -> pa.Array:
    codes = ["".join(letter for letter in item.name.upper() if letter.isalpha())[:4] for item in SUBCATEGORIES]
    number = pc.utf8_slice_codeunits(text(100_000 + which + 1), 1)
    return join([pick(codes, shop.products.subcategory[which]), number], "-")
