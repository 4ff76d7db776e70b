"""Slices of the shop as Arrow tables with the columns of ``dbt/models/staging/_sources.yml``.

A slice holds the rows that are new or changed in a window of days, in their state at the end of the window. It is an
iterator of tables, whose size does not grow with the shop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from duckbook.generate.shop import season
from duckbook.generate.shop.catalogue import CATEGORIES, SUBCATEGORIES
from duckbook.generate.shop.columns import hexadecimal, moment, money, pick
from duckbook.generate.shop.customer_records import addresses, customers
from duckbook.generate.shop.fulfilment import STATUSES
from duckbook.generate.shop.interactions import KINDS, PURCHASE
from duckbook.generate.shop.product_records import products
from duckbook.generate.shop.randomness import part
from duckbook.generate.shop.reviews import LINES
from duckbook.generate.shop.simulation import Shop, Window
from duckbook.generate.shop.visits import DEVICES
from duckbook.source_tables import source_tables

PAYMENTS = ("credit card", "debit card", "paypal", "apple pay", "google pay", "gift card", "pay later")
_PAYMENT_SHARES = (40, 19, 21, 8, 5, 2, 5)

EVENTS_AT_ONCE = 300_000
"""About the number of interactions in one table, which bounds memory."""


def categories(shop: Shop, window: Window) -> Iterator[pa.Table]:
    """Yield all categories, whatever the window, as a small reference table lands."""
    number = np.arange(len(CATEGORIES))
    created = np.full(len(number), season.epoch(shop.first) - 90 * season.DAY)
    yield _table(
        "categories",
        category_id=pa.array(number + 1),
        category_name=pa.array([category.name for category in CATEGORIES]),
        created_at=moment(created),
    )


def subcategories(shop: Shop, window: Window) -> Iterator[pa.Table]:
    """Yield all subcategories, whatever the window."""
    number = np.arange(len(SUBCATEGORIES))
    created = np.full(len(number), season.epoch(shop.first) - 90 * season.DAY)
    yield _table(
        "subcategories",
        subcategory_id=pa.array(number + 1),
        category_id=pa.array([subcategory.category + 1 for subcategory in SUBCATEGORIES]),
        subcategory_name=pa.array([subcategory.name for subcategory in SUBCATEGORIES]),
        created_at=moment(created),
    )


def orders(shop: Shop, window: Window) -> Iterator[pa.Table]:
    """Yield orders placed in the window, or whose status changed in it."""
    known = int(np.searchsorted(shop.purchases.placed, window.end))
    for chunk in shop.spool.ranges(known):
        yield _orders(shop, window, chunk)


def _orders(shop: Shop, window: Window, chunk: slice) -> pa.Table:
    placed = shop.purchases.placed[chunk]
    status, updated = shop.fulfilment.state(chunk, placed, window.end)
    arrived = placed + shop.dirt.delay("orders", np.arange(chunk.start, chunk.stop) + 1)
    selected = np.flatnonzero((np.maximum(updated, arrived) >= window.begin) & (arrived < window.end))
    which, placed, status, updated = selected + chunk.start, placed[selected], status[selected], updated[selected]
    who = shop.purchases.customer[which]
    plan, baskets = shop.fulfilment, shop.baskets
    bits = shop.randomness.bits("payment", shop.purchases.key[which])
    method = np.searchsorted(np.cumsum(_PAYMENT_SHARES), part(bits, 0, 16) * 100 // 65_536, side="right")
    moves, shipped_to = plan.address_number(which)
    discount, shipping = baskets.order_discount[which], baskets.shipping[which]
    return _table(
        "orders",
        order_id=pa.array(which + 1),
        customer_id=pa.array(shop.customers.id[who]),
        order_date=moment(placed),
        status=pick(STATUSES, status),
        total_amount=money(baskets.goods[which] - discount + shipping),
        shipping_cost=money(shipping),
        payment_method=pick(PAYMENTS, method),
        shipping_address=addresses(shop.customers, who, shipped_to),
        billing_address=addresses(shop.customers, who, moves),
        created_at=moment(placed),
        updated_at=moment(updated),
        discount_amount=money(discount),
        promised_at=moment(plan.promised[which]),
        shipped_at=moment(plan.shipped[which], window.end),
        delivered_at=moment(plan.delivered[which], window.end),
    )


def order_items(shop: Shop, window: Window) -> Iterator[pa.Table]:
    """Yield lines of orders placed in the window, and lines returned in it."""
    known = int(shop.baskets.begin[np.searchsorted(shop.purchases.placed, window.end)])
    for chunk in shop.spool.ranges(known):
        yield _order_items(shop, window, chunk)


def _order_items(shop: Shop, window: Window, chunk: slice) -> pa.Table:
    baskets = shop.baskets
    placed = shop.purchases.placed[baskets.order[chunk]]
    returned = shop.fulfilment.line_returned[chunk]
    selected = np.flatnonzero((placed >= window.begin) | ((returned >= window.begin) & (returned < window.end)))
    which, placed, returned = selected + chunk.start, placed[selected], returned[selected]
    return _table(
        "order_items",
        order_item_id=pa.array(baskets.line[which].astype(np.int64)),
        order_id=pa.array(baskets.order[which].astype(np.int64) + 1),
        product_id=pa.array(baskets.product[which].astype(np.int64) + 1),
        quantity=pa.array(baskets.quantity[which].astype(np.int32)),
        unit_price=money(baskets.price[which]),
        total_price=money(baskets.total[which]),
        created_at=moment(placed),
        discount_amount=money(baskets.discount[which]),
        returned_at=moment(returned, window.end),
        refund_amount=money(baskets.total[which] - baskets.discount[which], returned < window.end),
    )


def reviews(shop: Shop, window: Window) -> Iterator[pa.Table]:
    """Yield reviews written in the window."""
    reviews = shop.reviews
    arrived_in_window = []
    for chunk in shop.spool.ranges(len(reviews)):
        arrived = reviews.written[chunk] + shop.dirt.delay("reviews", reviews.ids(chunk))
        arrived_in_window.append(np.flatnonzero((arrived >= window.begin) & (arrived < window.end)) + chunk.start)
    which = np.concatenate(arrived_in_window)
    which = which[np.lexsort((reviews.line[which], reviews.written[which]))]
    for chunk in shop.spool.ranges(len(which)):
        yield _reviews(shop, which[chunk])


def _reviews(shop: Shop, which: np.ndarray) -> pa.Table:
    reviews = shop.reviews
    line = reviews.line[which]
    order = shop.baskets.order[line].astype(np.int64)
    return _table(
        "reviews",
        review_id=pa.array(reviews.ids(which)),
        product_id=pa.array(shop.baskets.product[line].astype(np.int64) + 1),
        order_id=pa.array(order + 1),
        customer_id=pa.array(shop.customers.id[shop.purchases.customer[order]]),
        review_score=pa.array(reviews.score[which].astype(np.int32)),
        review_text=reviews.texts(which),
        created_at=moment(reviews.written[which]),
    )


def dirt_keys(table: str, records: pa.Table) -> np.ndarray:
    """Number that decides the dirt of each record."""
    if table == "order_items":
        return records.column("order_id").to_numpy() * LINES + records.column("order_item_id").to_numpy()
    key = {"customers": "customer_id", "products": "product_id", "orders": "order_id", "reviews": "review_id"}
    return records.column(key.get(table, "event_id")).to_numpy()


def interactions(shop: Shop, window: Window, days: int | None = None) -> Iterator[pa.Table]:
    """Yield events of the window, `days` at a time, which affects only memory."""
    # A visit that begins before midnight has its last events after it.
    day = window.after
    while day <= window.until:
        span = days or _days_at_once(shop, day)
        last = min(day + timedelta(days=span - 1), window.until)
        yield _interactions(shop, day, last, window)
        shop.spool.release()
        day = last + timedelta(days=1)


def _interactions(shop: Shop, first: date, last: date, window: Window) -> pa.Table:
    visits = shop.visit_generator.between(season.epoch(first), season.epoch(last) + season.DAY)
    events = shop.event_generator.events(visits)
    inside = (events.at >= window.begin) & (events.at < window.end)
    visit, kind, at = events.visit[inside], events.kind[inside], events.at[inside]
    line, product = events.line[inside], events.product[inside]
    bought = kind == PURCHASE
    occurred = moment(at)
    return _table(
        "interactions",
        event_id=pa.array(events.id[inside]),
        customer_id=pa.array(shop.customers.id[visits.customer[visit]]),
        product_id=pa.array(product + 1, mask=product < 0),
        event_type=_coded(pa.array(KINDS), kind),
        event_date=occurred,
        device_type=_coded(pa.array(DEVICES), shop.event_generator.devices(visits)[visit].astype(np.int8)),
        session_id=_coded(hexadecimal(visits.key), visit.astype(np.int32)),
        created_at=occurred,
        order_id=pa.array(visits.order[visit] + 1, mask=~bought),
        order_item_id=pa.array(line.astype(np.int64), mask=~bought),
    )


def _days_at_once(shop: Shop, day: date) -> int:
    """Days whose events fit into one table, estimated from the orders of the 30 days from `day`."""
    begin = season.epoch(day)
    first, after = np.searchsorted(shop.purchases.placed, [begin, begin + 30 * season.DAY])
    # With 30 events per order, a day has as many events as 30 days have orders.
    return int(np.clip(EVENTS_AT_ONCE // max(after - first, 1), 1, 100))


def _coded(pool: pa.Array, index: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(index), pool)


def _table(name: str, **columns: pa.Array) -> pa.Table:
    """Put the columns in the order of the source table."""
    return pa.table({column: columns[column] for column in source_tables()[name].column_names})


SLICES: dict[str, Callable[[Shop, Window], Iterator[pa.Table]]] = {
    "customers": customers,
    "products": products,
    "orders": orders,
    "reviews": reviews,
    "categories": categories,
    "subcategories": subcategories,
    "order_items": order_items,
    "interactions": interactions,
}
"""Generator of the slices of each table."""
