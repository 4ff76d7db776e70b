"""A small shop with everything that goes wrong in one, and its books kept by hand.

`batches` makes rows as three exports would bring them: versions of a key, records seen again, values that cannot be
cast, keys that lead nowhere, orders without items and items without orders. `Books` keeps the same shop's accounts
in plain Python with `Decimal`, by no query, so that a mart can be held against them.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path

from duckbook.settings import Settings

STATUSES = ("pending", "processing", "shipped", "delivered", "cancelled", "returned")
CITIES = (("Springfield", "IL", "62701"), ("Portland", "OR", "97201"), ("Austin", "TX", "73301"))
EVENTS = ("view", "view", "view", "cart_add", "cart_remove", "wishlist_add", "search", "purchase")

Batch = tuple[str, list[dict], date]


def copy_of(shop: Settings, folder: Path) -> Settings:
    """A shop of its own to be damaged, with what dbt has parsed."""
    shutil.copytree(shop.data, folder / "data", symlinks=True)
    return Settings(data=folder / "data", _env_file=None)


def batches(seed: int = 1, customers: int = 20, orders: int = 60) -> list[Batch]:
    """The shop's batches in the order of their arrival: a history, two later days, and a day that arrives late."""
    shop = random.Random(seed)
    buyers = [_customer(shop, n) for n in range(customers)]
    goods = [_product(shop, n) for n in range(8)]
    # Nobody buys this one.
    goods.append(goods[0] | {"product_id": "20"})
    sold = [_order(shop, n, customers) for n in range(orders)]
    items = [item for n in range(orders + 3) if n % 13 for item in _items(shop, n)]
    events = [_event(shop, n, customers) for n in range(300)]
    reviews = [_review(shop, n, orders, customers) for n in range(40)]

    dirty = [
        sold[3] | {"total_amount": "twelve", "updated_at": "2026-06-29T00:00:00"},
        {"order_id": None, "customer_id": "1"},
    ]
    moved = [row | {"status": "Delivered ", "updated_at": "2026-06-20T10:00:00"} for row in sold[5:15]]
    dearer = [row | {"base_price": "199.99", "cost": "123.45"} for row in goods[:3]]
    # Two prices of one day, and each says from when it holds; all other products leave that to their batch.
    repriced = [
        goods[5] | {"sale_price": price, "updated_at": f"2026-03-10T{hour}:00:00"}
        for price, hour in (("7.77", "08"), ("6.66", "20"))
    ]
    # Lands last and holds before the others of these customers.
    moved_earlier = [
        row | {"city": "Austin", "state": "TX", "updated_at": "2026-02-01T12:00:00"} for row in buyers[13:16]
    ]
    moved[0] |= {"status": "Voided"}
    moved[1] |= {"status": "wc-refunded"}
    # A line that takes back comes after the one that sold, with its part of the order's discount; another comes before
    # what its order sells, which is free.
    credited = [
        {"order_id": order, "customer_id": "1", "order_date": "2026-02-02", "status": "delivered"}
        | {"shipping_cost": "4.99", "discount_amount": discount}
        for order, discount in (("2001", "10"), ("2002", None))
    ]
    halves = [
        {"order_id": "2001", "order_item_id": "1", "product_id": "1", "quantity": "10", "unit_price": "10"},
        {"order_id": "2001", "order_item_id": "2", "quantity": "-5", "unit_price": "10", "discount_amount": "-5"},
        {"order_id": "2002", "order_item_id": "2", "product_id": "1", "quantity": "-1", "unit_price": "3"},
        {"order_id": "2002", "order_item_id": "3", "product_id": "2", "quantity": "1", "unit_price": "0"},
    ]
    # Returns that are lines, one of them all that its order has, and a voucher; and many units of less than a cent.
    taken_back = [
        {"order_id": order, "order_item_id": "98", "product_id": product, "quantity": quantity, "unit_price": price}
        for order, product, quantity, price in (
            ("8", "1", "-1", "19.99"),
            ("17", "3", "-2", "3.33"),
            ("2000", "4", "-1", "9"),
        )
    ]
    taken_back += [
        {"order_id": "16", "order_item_id": "98", "quantity": "1", "total_price": "-5.00", "discount_amount": "-0.50"},
        {"order_id": "16", "order_item_id": "99", "product_id": "2", "quantity": "1000", "unit_price": "0.0125"},
    ]
    taken_back = [row | {"created_at": "2026-03-01T12:00:00"} for row in taken_back]
    broken = [items[0] | {"total_price": "1,000.00"}, items[1] | {"quantity": "2.5"}]
    history, second, third = date(2026, 5, 31), date(2026, 6, 15), date(2026, 6, 30)
    return [
        ("categories", [{"category_id": str(n), "category_name": f"Category {n}"} for n in range(3)], history),
        ("subcategories", [_subcategory(n) for n in range(5)], history),
        ("customers", buyers, history),
        ("products", goods, history),
        ("orders", sold + credited, history),
        ("order_items", [*items, *halves[::2]], history),
        ("interactions", events[:200], history),
        ("reviews", reviews[:25], history),
        ("products", [*repriced, *goods], third),
        ("customers", [*(row | {"city": "Portland", "state": "OR"} for row in buyers[:12]), *moved_earlier], third),
        ("orders", dirty + moved + sold[20:30], third),
        ("order_items", [*broken, *items[10:20], {"order_id": "1000"}, *taken_back, *halves[1::2]], third),
        ("interactions", events[150:], third),
        ("reviews", reviews[20:], third),
        # Arrives last, though it stands between the other two: the products are dearer for two weeks and no longer.
        ("products", dearer, second),
    ]


def _customer(shop: random.Random, n: int) -> dict:
    city, state, _ = shop.choice(CITIES)
    return {
        "customer_id": f"{n}.0" if n % 3 == 0 else str(n),
        "email": f"c{n}@example.com",
        "first_name": f"First{n}",
        "last_name": f"Last{n}",
        "age": shop.randint(18, 80),
        "annual_income": f"{shop.randint(20_000, 90_000)}.50",
        "marital_status": shop.choice((" Single", "MARRIED", None)),
        "education": shop.choice(("Bachelor", "master ", None)),
        "city": city,
        "state": state,
        "country": ("United States", "usa", "U.S.A.", "united  states")[n % 4],
        "signup_date": f"2025-0{shop.randint(1, 9)}-15T08:00:00",
        "is_active": shop.choice(("true", "1", "False")),
        "acquisition_channel": ("email", "Social ", None)[n % 3],
    }


def _subcategory(n: int) -> dict:
    return {"subcategory_id": f"S{n}", "category_id": str(n % 4), "subcategory_name": f"Subcategory {n}"}


def _product(shop: random.Random, n: int) -> dict:
    price = Decimal(shop.randint(500, 9999)) / 100
    return {
        "product_id": str(n),
        "category_id": str(n % 4),
        # No record describes the last one.
        "subcategory_id": f"S{n % 6}",
        "product_name": f"Product {n}",
        "base_price": f" {price} ",
        "sale_price": str(price - 1) if n % 2 else None,
        "cost": str(price / 2),
        "stock_quantity": f"{shop.randint(0, 50)}.0",
        "brand": shop.choice(("Acme", "Bolt", " ACME", None)),
        "created_at": "2024-01-01",
    }


def _order(shop: random.Random, n: int, customers: int) -> dict:
    city, state, code = shop.choice(CITIES)
    placed = datetime(2026, 1, 1) + timedelta(hours=shop.randint(0, 24 * 140))
    return {
        "order_id": str(n),
        # Some name a customer that nobody knows, and some name none.
        "customer_id": shop.choice((str(shop.randrange(customers)), str(shop.randrange(customers)), "999", None)),
        "order_date": placed.isoformat() + ("+02:00" if n % 7 == 0 else ""),
        "status": shop.choice(STATUSES).upper() if n % 5 == 0 else shop.choice(STATUSES),
        "total_amount": f"{shop.randint(100, 30_000) / 100:.2f}",
        "shipping_cost": shop.choice(("0", "4.99", "9.95", None)),
        "discount_amount": shop.choice((None, "0.01", "10", "1e1", "33.33")),
        "payment_method": shop.choice(("card", "PayPal", None)),
        "shipping_address": shop.choice((f"{n} Main St, {city}, {state} {code}", f"{n} Elm St", None)),
        "billing_address": f"{n} Main St, {city}, {state} {code}",
        "updated_at": placed.isoformat(),
        "promised_at": (placed + timedelta(days=4)).isoformat() if n % 4 else None,
        "shipped_at": (placed + timedelta(days=1 + n % 3)).isoformat() if n % 3 else None,
        "delivered_at": (placed + timedelta(days=2 + n % 5)).isoformat() if n % 6 in (1, 2, 4) else None,
    }


def _items(shop: random.Random, order: int) -> list[dict]:
    own_discounts = order % 4 == 0
    return [
        {
            "order_id": f"{order}.0" if order % 6 == 0 else str(order),
            "order_item_id": str(line),
            "product_id": shop.choice((str(shop.randrange(8)), str(shop.randrange(8)), "77", None)),
            "quantity": str(quantity := shop.randint(1, 4)),
            "unit_price": (price := shop.choice(("0.00", "3.33", "19.99", "100"))),
            # Some totals are not quantity times price: the source's own total counts.
            "total_price": str(Decimal(price) * quantity + (order % 11 == 0)) if line != 2 else None,
            "discount_amount": "0.50"
            if own_discounts and line == 1
            else "0.00"
            if own_discounts or order % 3
            else None,
            "refund_amount": "3.33" if shop.random() < 0.2 else None,
            "returned_at": "2026-06-01T00:00:00" if shop.random() < 0.2 else None,
            "created_at": "2026-03-01T12:00:00",
        }
        for line in range(1, shop.randint(2, 5))
    ]


def _event(shop: random.Random, n: int, customers: int) -> dict:
    kind = shop.choice(EVENTS)
    return {
        "event_id": str(n),
        "customer_id": shop.choice((str(shop.randrange(customers)), "998", None)),
        "product_id": None if kind == "search" else str(shop.randrange(9)),
        "event_type": kind.title() if n % 9 == 0 else kind,
        "event_date": (datetime(2026, 1, 1) + timedelta(hours=n * 13)).isoformat(),
        "device_type": ("mobile", "desktop", None)[n // 3 % 3],
        "session_id": f"s{n // 3}" if n % 10 else None,
    }


def _review(shop: random.Random, n: int, orders: int, customers: int) -> dict:
    return {
        "review_id": str(n) if n % 2 else None,
        "product_id": str(shop.randrange(9)),
        "order_id": str(shop.randrange(orders)),
        "customer_id": shop.choice((str(shop.randrange(customers)), None)),
        "review_score": shop.choice(("1", "3.0", "5", None)),
        "review_text": f"Review {n}",
    }


@dataclass
class Books:
    """The shop's accounts, from the batches alone."""

    landed: list[Batch]
    staged: dict[str, dict[str, dict]] = field(default_factory=lambda: defaultdict(dict))
    held_from: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    quarantined: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        # In the order of their dates, each sound row takes the place of its key's version before.
        for table, rows, on in sorted(self.landed, key=lambda batch: batch[2]):
            for row in rows:
                self._stage(table, row, on)

    def _stage(self, table: str, row: dict, on: date) -> None:
        key = _business_key(table, row)
        if key is None or not _is_sound(table, row):
            self.quarantined[table] += 1
            return
        # A record holds from its own time, or else from the day of its batch; all orders have a time.
        holds = row.get("updated_at") or f"{on}T00:00:00"
        if self.held_from[table].get(key, holds) > holds:
            return
        self.staged[table][key], self.held_from[table][key] = row, holds

    @property
    def lines(self) -> list[dict]:
        """Order lines with their amounts, one for an order without items too."""
        items = defaultdict(list)
        for item in self.staged["order_items"].values():
            items[_id(item["order_id"])].append(item)
        lines = []
        for order_id in sorted({*items, *self.staged["orders"]}):
            lines += self._priced(order_id, self.staged["orders"].get(order_id, {}), items.get(order_id, [{}]))
        return lines

    def _priced(self, order_id: str, order: dict, items: list[dict]) -> list[dict]:
        items = sorted(items, key=lambda item: item.get("order_item_id") or "")
        amounts = [_gross(item) for item in items]
        credits = [
            amount < 0 or int(item.get("quantity") or 0) < 0 for item, amount in zip(items, amounts, strict=True)
        ]
        gross = [Decimal(0) if credits[n] else amount for n, amount in enumerate(amounts)]
        own = [item.get("discount_amount") for item in items]
        # What the order takes off beyond its items is shared out over those that sell.
        weights = [None if is_credit and not all(credits) else amounts[n] for n, is_credit in enumerate(credits)]
        of_items = sum(_money(own[n]) for n, weight in enumerate(weights) if weight is not None)
        discounts = shares(max(_money(order.get("discount_amount")) - of_items, Decimal(0)), weights)
        shipping = shares(_money(order.get("shipping_cost")), weights)
        cancelled = _word(order.get("status")) in ("cancelled", "voided")
        refunds = [_money(item.get("refund_amount")) - credits[n] * amounts[n] for n, item in enumerate(items)]
        is_refunded = _word(order.get("status")) == "wc-refunded" and not any(refunds)
        lines = []
        for n, item in enumerate(items):
            discount = _money(own[n]) + discounts[n]
            net = gross[n] - discount
            refund = net if is_refunded else refunds[n]
            quantity = int(item.get("quantity") or 0)
            units = 0 if credits[n] else quantity
            returned = max(-quantity, 0) if credits[n] else units if item.get("returned_at") else 0
            lines.append(
                {
                    "order_id": order_id,
                    "order_item_id": item.get("order_item_id"),
                    "customer_id": _id(order.get("customer_id")),
                    "product_id": _id(item.get("product_id")),
                    "ordered_at": _time(order.get("order_date") or item.get("created_at")),
                    "order_lines": 1 if item else 0,
                    "units": units,
                    "returned_units": returned,
                    "gross_amount": gross[n],
                    "discount_amount": discount,
                    "net_amount": net,
                    "shipping_amount": shipping[n],
                    "cancelled_amount": net if cancelled else Decimal(0),
                    "refund_amount": refund,
                    "revenue": Decimal(0) if cancelled else net - refund,
                    "is_cancelled": cancelled,
                    "is_credit_line": credits[n],
                }
            )
        return lines


def shares(amount: Decimal, weights: list[Decimal | None]) -> list[Decimal]:
    """Hamilton's method in whole cents, one cent after another; None has no share."""
    cents = int(abs(amount) * 100)
    weighed = [abs(weight or Decimal(0)) for weight in weights]
    if not sum(weighed):
        weighed = [Decimal(weight is not None) for weight in weights]
    total = sum(weighed)
    given = [int(cents * weight / total) for weight in weighed]
    remainders = [cents * weight % total for weight in weighed]
    for n in sorted(range(len(weights)), key=lambda n: -remainders[n])[: cents - sum(given)]:
        given[n] += 1
    sign = -1 if amount < 0 else 1
    return [sign * Decimal(cent) / 100 for cent in given]


def _gross(item: dict) -> Decimal:
    if item.get("total_price") is not None:
        return _money(item["total_price"])
    amount = _money(item.get("unit_price")) * int(item.get("quantity") or 0)
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def _business_key(table: str, row: dict) -> str | None:
    names = {"order_items": ("order_id", "order_item_id"), "interactions": ("event_id",)}
    singular = {"categories": "category_id", "subcategories": "subcategory_id"}
    parts = [_id(row.get(name)) for name in names.get(table, (singular.get(table, f"{table[:-1]}_id"),))]
    if table == "reviews" and parts == [None]:
        return str(sorted(row.items(), key=str))
    return None if None in parts else "|".join(parts)


def _is_sound(table: str, row: dict) -> bool:
    try:
        _money(row.get("total_amount"))
        _money(row.get("total_price"))
        return Decimal(row.get("quantity") or 0) % 1 == 0
    except InvalidOperation:
        return False


def _id(value: str | None) -> str | None:
    return None if value is None else value.strip().removesuffix(".0")


def _word(value: str | None) -> str | None:
    return None if value is None else value.strip().lower()


def _money(value: str | None) -> Decimal:
    return Decimal(value or 0)


def _time(value: str | None) -> datetime | None:
    if value is None:
        return None
    told = datetime.fromisoformat(value)
    return told.astimezone(UTC).replace(tzinfo=None) if told.tzinfo else told
