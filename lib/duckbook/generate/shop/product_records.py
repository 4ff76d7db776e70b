"""Records of products: one for each change of price or availability, and one for the state at the end of a window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from duckbook.generate.shop.catalogue import ADJECTIVES, CATEGORIES, SUBCATEGORIES
from duckbook.generate.shop.columns import decimal, join, moment, money, pick, text
from duckbook.generate.shop.simulation import Store, Window
from duckbook.source_tables import source_tables


def products(store: Store, window: Window) -> Iterator[pa.Table]:
    """Each launch and each change of price or availability in the window, and every product as it is at its end.

    A record is dated by the moment from which it holds (`updated_at`) and says what is known at that moment, so that
    it is the same whichever window holds it.
    """
    moments = _Moments(store, window)
    goods, which, at = store.products, moments.product, moments.at
    week = goods.week_of(at)
    name = _names(store, which)
    rating = (2 * 100 * moments.stars + moments.reviews) // np.maximum(2 * moments.reviews, 1)
    columns = {
        "product_id": pa.array(which + 1),
        "category_id": pa.array(goods.category[which] + 1),
        "subcategory_id": pa.array(goods.subcategory[which] + 1),
        "product_name": name,
        "description": _descriptions(store, which, name),
        "base_price": money(goods.base[week, which]),
        "sale_price": money(goods.sale[week, which]),
        "stock_quantity": pa.array(store.stock.left(which, week, moments.sold).astype(np.int32)),
        "weight_kg": decimal(goods.grams[which], 3),
        "is_active": pa.array(goods.on_sale[week, which]),
        "created_at": moment(goods.launched[which]),
        "brand": pick(*_brands(store, which)),
        "sku": _skus(store, which),
        "rating": decimal(rating, 2, moments.reviews > 0),
        "review_count": pa.array(moments.reviews.astype(np.int32)),
        "cost": money(goods.cost[which]),
        "updated_at": moment(at),
    }
    yield pa.table({column: columns[column] for column in source_tables()["products"].column_names})


class _Moments:
    """The moments of a window from which a record of a product holds, by product and time.

    Attributes
    ----------
    product, at : int64 arrays of shape (records,)
        Position of the product, and the second.
    reviews, stars, sold : int64 arrays of shape (records,)
        Reviews and their stars until then, and units sold since Monday.
    """

    def __init__(self, store: Store, window: Window) -> None:
        goods, size = store.products, store.products.count
        changed = _changed(store)
        mondays = np.maximum(goods.week_start(np.arange(goods.weeks)), store.whole.begin)
        inside = np.flatnonzero((mondays >= window.begin) & (mondays < window.end))
        count, stars, reviewed = _reviews(store, window, mondays[inside])
        sold = np.stack([_sold(store, second, second + 1)[0] for second in mondays[inside]] or [np.zeros(size, int)])
        # A change of price, a withdrawal, or a launch that is on sale from now on.
        nth, product = np.nonzero(changed[inside])
        changes = (product, mondays[inside][nth], count[nth, product], stars[nth, product], sold[nth, product])
        launched = np.flatnonzero((goods.launched >= window.begin) & (goods.launched < window.end))
        none = np.zeros(len(launched), dtype=np.int64)
        launches = (launched, goods.launched[launched], none, none, none)
        # As it is at the window's end, since the last thing that happened to it.
        last = int(goods.week_of(np.int64(window.end - 1)))
        units, bought = _sold(store, int(goods.week_start(np.int64(last))), window.end)
        week = np.where(changed[: last + 1], np.arange(last + 1)[:, None], 0).max(axis=0)
        week = np.where(goods.on_sale[last], last, week)
        since = np.where(changed[: last + 1].any(axis=0), mondays[week], 0)
        since = np.maximum.reduce([since, goods.launched, reviewed, bought])
        first = int(goods.week_of(np.int64(window.begin)))
        shown = goods.on_sale[max(first - 1, 0) : last + 1].any(axis=0)
        fresh = (reviewed >= window.begin) | (goods.launched >= window.begin)
        here = np.flatnonzero((goods.launched < window.end) & (shown | fresh))
        ends = (here, since[here], count[-1, here], stars[-1, here], units[here])
        columns = [np.concatenate(column) for column in zip(changes, launches, ends, strict=True)]
        _, once = np.unique((columns[0] << 32) + columns[1], return_index=True)
        self.product, self.at, self.reviews, self.stars, self.sold = (column[once] for column in columns)


def _changed(store: Store) -> np.ndarray:
    """Whether price or availability are others than in the week before, bool array of shape (weeks, products)."""
    goods = store.products
    changed = np.zeros((goods.weeks, goods.count), dtype=bool)
    changed[0] = goods.on_sale[0]
    for column in (goods.base, goods.sale, goods.on_sale):
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _reviews(store: Store, window: Window, until: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reviews and stars of each product until some moments and until the window's end, and when the last one came."""
    told, size = store.reviews, store.products.count
    shape = (len(until) + 1, size)
    count, stars = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    last = np.zeros(size, dtype=np.int64)
    for some in store.spool.ranges(len(told)):
        known = told.written[some] < window.end
        written, product = told.written[some][known], store.baskets.product[told.of[some][known]]
        place = np.searchsorted(until, written) * size + product
        count += np.bincount(place, minlength=count.size).reshape(shape)
        stars += np.bincount(place, told.score[some][known], minlength=count.size).astype(np.int64).reshape(shape)
        np.maximum.at(last, product, written)
    return count.cumsum(axis=0), stars.cumsum(axis=0), last


def _sold(store: Store, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Units of each product in orders of some days, and the moment of the last such order."""
    baskets, size = store.baskets, store.products.count
    orders = np.searchsorted(store.purchases.placed, [begin, end])
    lines = slice(*baskets.begin[orders])
    last = np.zeros(size, dtype=np.int64)
    np.maximum.at(last, baskets.product[lines], store.purchases.placed[baskets.order[lines]])
    units = np.bincount(baskets.product[lines], baskets.quantity[lines], minlength=size)
    return units.astype(np.int64), last


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
