"""A small shop with everything that goes wrong in one.

`batches` makes rows as three exports would bring them: versions of a key, unchanged records, values that cannot be
cast, keys that lead nowhere, orders without items and items without orders.
"""

from __future__ import annotations

import random
import shutil
from datetime import date, datetime, timedelta
from decimal import Decimal
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
