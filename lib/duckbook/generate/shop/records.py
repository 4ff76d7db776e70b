"""Records: slices of the store as the source tables hold them, in Arrow.

A slice is what is new or changed in a window of days, in its state at the window's end. It comes in one table or more,
one after the other, none of which grows with the store. Columns and their order are those of
``dbt/models/staging/_sources.yml``.
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
from duckbook.generate.shop.simulation import Store, Window
from duckbook.generate.shop.visits import DEVICES
from duckbook.source_tables import source_tables

PAYMENTS = ("credit card", "debit card", "paypal", "apple pay", "google pay", "gift card", "pay later")
_PAYMENT_SHARES = (40, 19, 21, 8, 5, 2, 5)

EVENTS_AT_ONCE = 300_000
"""About as many interactions are made at once, which bounds the memory."""


def categories(store: Store, window: Window) -> Iterator[pa.Table]:
    """All categories; they come whole each time, as small reference tables do."""
    number = np.arange(len(CATEGORIES))
    created = np.full(len(number), season.epoch(store.first) - 90 * season.DAY)
    yield _table(
        "categories",
        category_id=pa.array(number + 1),
        category_name=pa.array([category.name for category in CATEGORIES]),
        created_at=moment(created),
    )


def subcategories(store: Store, window: Window) -> Iterator[pa.Table]:
    """All subcategories; they come whole each time."""
    number = np.arange(len(SUBCATEGORIES))
    created = np.full(len(number), season.epoch(store.first) - 90 * season.DAY)
    yield _table(
        "subcategories",
        subcategory_id=pa.array(number + 1),
        category_id=pa.array([subcategory.category + 1 for subcategory in SUBCATEGORIES]),
        subcategory_name=pa.array([subcategory.name for subcategory in SUBCATEGORIES]),
        created_at=moment(created),
    )


def orders(store: Store, window: Window) -> Iterator[pa.Table]:
    """Orders placed or moved on in the window."""
    known = int(np.searchsorted(store.purchases.placed, window.end))
    for some in store.spool.ranges(known):
        yield _orders(store, window, some)


def _orders(store: Store, window: Window, some: slice) -> pa.Table:
    placed = store.purchases.placed[some]
    status, updated = store.fulfilment.state(some, placed, window.end)
    arrived = placed + store.dirt.delay("orders", np.arange(some.start, some.stop) + 1)
    here = np.flatnonzero((np.maximum(updated, arrived) >= window.begin) & (arrived < window.end))
    which, placed, status, updated = here + some.start, placed[here], status[here], updated[here]
    who = store.purchases.customer[which]
    plan, baskets = store.fulfilment, store.baskets
    bits = store.randomness.bits("payment", store.purchases.key[which])
    method = np.searchsorted(np.cumsum(_PAYMENT_SHARES), part(bits, 0, 16) * 100 // 65_536, side="right")
    moves, shipped_to = plan.address_number(which)
    discount, shipping = baskets.order_discount[which], baskets.shipping[which]
    return _table(
        "orders",
        order_id=pa.array(which + 1),
        customer_id=pa.array(store.customers.id[who]),
        order_date=moment(placed),
        status=pick(STATUSES, status),
        total_amount=money(baskets.goods[which] - discount + shipping),
        shipping_cost=money(shipping),
        payment_method=pick(PAYMENTS, method),
        shipping_address=addresses(store.customers, who, shipped_to),
        billing_address=addresses(store.customers, who, moves),
        created_at=moment(placed),
        updated_at=moment(updated),
        discount_amount=money(discount),
        promised_at=moment(plan.promised[which]),
        shipped_at=moment(plan.shipped[which], window.end),
        delivered_at=moment(plan.delivered[which], window.end),
    )


def order_items(store: Store, window: Window) -> Iterator[pa.Table]:
    """Lines of orders placed in the window, and lines that came back in it."""
    known = int(store.baskets.begin[np.searchsorted(store.purchases.placed, window.end)])
    for some in store.spool.ranges(known):
        yield _order_items(store, window, some)


def _order_items(store: Store, window: Window, some: slice) -> pa.Table:
    baskets = store.baskets
    placed = store.purchases.placed[baskets.order[some]]
    back = store.fulfilment.line_returned[some]
    here = np.flatnonzero((placed >= window.begin) | ((back >= window.begin) & (back < window.end)))
    which, placed, back = here + some.start, placed[here], back[here]
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
        returned_at=moment(back, window.end),
        refund_amount=money(baskets.total[which] - baskets.discount[which], back < window.end),
    )


def reviews(store: Store, window: Window) -> Iterator[pa.Table]:
    """Reviews written in the window."""
    told = store.reviews
    found = []
    for some in store.spool.ranges(len(told)):
        arrived = told.written[some] + store.dirt.delay("reviews", told.ids(some))
        found.append(np.flatnonzero((arrived >= window.begin) & (arrived < window.end)) + some.start)
    which = np.concatenate(found)
    which = which[np.lexsort((told.of[which], told.written[which]))]
    for some in store.spool.ranges(len(which)):
        yield _reviews(store, which[some])


def _reviews(store: Store, which: np.ndarray) -> pa.Table:
    told = store.reviews
    line = told.of[which]
    order = store.baskets.order[line].astype(np.int64)
    return _table(
        "reviews",
        review_id=pa.array(told.ids(which)),
        product_id=pa.array(store.baskets.product[line].astype(np.int64) + 1),
        order_id=pa.array(order + 1),
        customer_id=pa.array(store.customers.id[store.purchases.customer[order]]),
        review_score=pa.array(told.score[which].astype(np.int32)),
        review_text=told.texts(which),
        created_at=moment(told.written[which]),
    )


def dirt_keys(table: str, records: pa.Table) -> np.ndarray:
    """The number of each record by which its dirt is decided."""
    if table == "order_items":
        return records.column("order_id").to_numpy() * LINES + records.column("order_item_id").to_numpy()
    key = {"customers": "customer_id", "products": "product_id", "orders": "order_id", "reviews": "review_id"}
    return records.column(key.get(table, "event_id")).to_numpy()


def interactions(store: Store, window: Window, days: int | None = None) -> Iterator[pa.Table]:
    """Events of the window, some days at a time; how many (`days`) changes nothing but the memory that it takes."""
    # A visit that begins before midnight has its last events after it.
    day = window.after
    while day <= window.until:
        span = days or _days_at_once(store, day)
        last = min(day + timedelta(days=span - 1), window.until)
        yield _interactions(store, day, last, window)
        store.spool.release()
        day = last + timedelta(days=1)


def _interactions(store: Store, first: date, last: date, window: Window) -> pa.Table:
    visits = store.visiting.between(season.epoch(first), season.epoch(last) + season.DAY)
    events = store.interacting.of(visits)
    inside = (events.at >= window.begin) & (events.at < window.end)
    visit, kind, at = events.visit[inside], events.kind[inside], events.at[inside]
    line, product = events.line[inside], events.product[inside]
    bought = kind == PURCHASE
    when = moment(at)
    return _table(
        "interactions",
        event_id=pa.array(events.id[inside]),
        customer_id=pa.array(store.customers.id[visits.customer[visit]]),
        product_id=pa.array(product + 1, mask=product < 0),
        event_type=_coded(pa.array(KINDS), kind),
        event_date=when,
        device_type=_coded(pa.array(DEVICES), store.interacting.devices(visits)[visit].astype(np.int8)),
        session_id=_coded(hexadecimal(visits.key), visit.astype(np.int32)),
        created_at=when,
        order_id=pa.array(visits.order[visit] + 1, mask=~bought),
        order_item_id=pa.array(line.astype(np.int64), mask=~bought),
    )


def _days_at_once(store: Store, day: date) -> int:
    """Days whose events fit into memory, by the orders of the month that begins with a day."""
    begin = season.epoch(day)
    count = np.diff(np.searchsorted(store.purchases.placed, [begin, begin + 30 * season.DAY]))[0]
    # Thirty events an order: so many events a day as orders a month.
    return int(np.clip(EVENTS_AT_ONCE // max(count, 1), 1, 100))


def _coded(pool: pa.Array, index: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(index), pool)


def _table(name: str, **columns: pa.Array) -> pa.Table:
    """A table with the columns of its definition, in its order."""
    return pa.table({column: columns[column] for column in source_tables()[name].column_names})


SLICES: dict[str, Callable[[Store, Window], Iterator[pa.Table]]] = {
    "customers": customers,
    "products": products,
    "orders": orders,
    "reviews": reviews,
    "categories": categories,
    "subcategories": subcategories,
    "order_items": order_items,
    "interactions": interactions,
}
"""What makes the slices of each table."""
