"""A small shop that is as hostile as sources are: every value drawn from what was once seen to go wrong.

References lead nowhere, keys repeat in a batch, orders have no items and items no orders, discounts stand on the order,
on its lines, on both or on neither, cancelled orders are refunded, countries and ids are spelt in several ways, two
versions come in one day or with one time, and one batch arrives after those that follow it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

AS_OF = (date(2026, 6, 28), date(2026, 6, 29), date(2026, 6, 30))
"""As-of dates of the three ingests."""

HOMES = (
    ("Portland", "OR", "USA"), ("portland", "or", "United States"), ("PORTLAND", "OR", None), ("Austin", "TX", "u.s."),
    ("Austin", "TX", "united states"), ("Toronto", "ON", "Canada"), ("Paris", None, "France"), (None, "TX", "US"),
    (None, None, "Germany"), ("Berlin", None, "DE"), (None, None, None), (" Boise ", " id", "United States of America"),
    ("New\t York", "ny", "U.S.A."), ("new york", "NY", "usa"), ("Berlin", None, "GERMANY"), ("BERLIN", None, "germany"),
)  # fmt: skip
ADDRESSES = (
    "1 Elm St, Portland, OR 97201", "1 Elm St, PORTLAND, or 97201-1234", "2 Oak St\nAustin, TX 73301", "3 Main St",
    "3 Main St, Apt 4", "4 Main St, Paris", "5 Main St, IL 62701", "USNV Smith\nFPO AP 96601", " ", None,
    "6 Bay St, Toronto, ON 12345", "7 Main St, Apt 9, Springfield, IL 62701", "NV 89501",
    "8 Elm St, Portland, Oregon, USA", "9 Rua A, Florianópolis, SC, Brazil", "Germany", "1 Allee, Deutschland",
    "2 High St, Leeds, UK", "4 Main St, Nowhere",
)  # fmt: skip
MONEY = (
    "0", "0.00", 0, 7, 3.33, "3.33", " 12.50 ", "1e1", "19.995", "19.994", "0.005", "100", "33.34", "0.01", None,
    "+1.5E1", ".5", "5e-1", "5e-3", "0.0125", "-0.01", "999999999999.99",
)  # fmt: skip
STATUSES = (
    "pending", "Processing", " shipped", "DELIVERED ", "delivered", "cancelled", "Canceled", "returned", "odd", "",
    None, "Voided", "failed", "wc-refunded", "REFUNDED", "Partially refunded", "on-hold", "wc-completed", "closed",
)  # fmt: skip
EVENTS = ("view", "View ", "cart_add", "cart_remove", "wishlist_add", "search", "purchase", "hover", None)
BROKEN = {
    "money": ("1,000.00", "$5", "1_000", "NaN", "twelve", "inf", "0x10", "1e30"),
    "whole": ("2.5", "1_000", "2.00001", "many", "3000000000", "10e-1"),
    "time": ("yesterday", "1899-12-31T23:59:59", "2200-01-01", "2026-02-30", "epoch", "30.06.2026", "06/30/2026",
             "today", "infinity", "2026-06-01 10:00:00 EST"),
    "truth": ("maybe", "on", "2"),
}  # fmt: skip
"""Kind of value → what cannot be read as one."""


EDGE_AGES = (90, 91, 365, 366)
"""Days from a customer's only order to the last as-of date: the last of a status, and the first of the next."""
EDGE_BUYERS = [{"customer_id": f"edge-{days}"} for days in EDGE_AGES]
EDGE_GOODS = [
    {"product_id": f"edge-{stock}", "subcategory_id": f"s{n}", "stock_quantity": stock, "created_at": "2024-01-01"}
    for n, stock in enumerate((14, 180))
] + [{"product_id": "edge-price", "updated_at": "2026-01-01"}]
"""Two are of subcategories that are described, so that a shop of any seed has baskets of two."""
EDGE_SALES = {"2026-04-01T23:59:59": 900, "2026-04-02T00:00:00": 60, "2026-06-30T23:59:59": 30}
"""When units of such goods were sold: 90 in the 90 days up to the last as-of date, and some a second before."""
EDGE_ORDERS = [
    {"order_id": f"edge-{n}", "customer_id": buyer, "order_date": at, "status": "delivered"}
    for n, (buyer, at) in enumerate(
        [(f"edge-{days}", (AS_OF[-1] - timedelta(days)).isoformat()) for days in EDGE_AGES]
        + [(None, at) for at in EDGE_SALES]
    )
]
EDGE_LINES = [
    {"order_id": f"edge-{n}", "order_item_id": stock, "product_id": f"edge-{stock}", "quantity": units}
    for n, units in enumerate(EDGE_SALES.values(), start=len(EDGE_AGES))
    for stock in (14, 180)
]


def priced(since: str, price: object) -> dict:
    """A version of a product whose price is not always known."""
    return {"product_id": "edge-price", "base_price": price, "updated_at": since}


@dataclass(frozen=True)
class Landing:
    """What lands at once: an object of S3, named by its key, or a table of Postgres, named by its name."""

    name: str
    rows: list[dict]
    day: date | None = None

    @property
    def is_table(self) -> bool:
        """Whether it is a table of Postgres."""
        return "/" not in self.name


class Hostile:
    """The shop: `steps` is what lands before each of three ingests."""

    def __init__(self, seed: int, wrong: float = 0.02) -> None:
        self._random, self._wrong = random.Random(seed), wrong

    def steps(self) -> Iterator[list[Landing]]:
        """A history, a day on top with two exports of one table, and a batch that arrives late."""
        customers = [self._customer(n) for n in range(25)]
        products = [self._product(n) for n in range(14)]
        orders = [self._order(n) for n in range(130)]
        items = [item for n in range(136) if n % 12 for item in self._items(n)]
        events = [self._event(n) for n in range(400)]
        reviews = [self._review(n) for n in range(60)]
        first, late, second = date(2026, 5, 31), date(2026, 6, 7), date(2026, 6, 15)
        yield [
            Landing(
                "customers/date=2026-05-31/all.ndjson", [*customers, customers[0], self._customer(3), *EDGE_BUYERS]
            ),
            Landing("products/date=2026-05-31/all.ndjson", [*products, self._product(5), *EDGE_GOODS]),
            Landing("orders/date=2026-05-31/all.ndjson", [*orders[:90], self._order(7), orders[8], *EDGE_ORDERS]),
            Landing("reviews/date=2026-05-31/all.ndjson", reviews[:40] + reviews[:2]),
            Landing("categories", [{"category_id": n, "category_name": name} for n, name in enumerate("ABC")], first),
            Landing("subcategories", [self._subcategory(n) for n in range(6)], first),
            Landing("order_items", [*items[:200], *self._items(9), {"order_id": "1000"}, *EDGE_LINES], first),
            Landing("interactions", events[:250] + events[:3], first),
        ]
        yield [
            Landing("customers/date=2026-06-15/a.ndjson", [self._customer(n) for n in range(0, 30, 2)]),
            Landing("customers/date=2026-06-15/b.ndjson", [self._customer(n) for n in range(0, 30, 3)]),
            Landing(
                "products/date=2026-06-15/a.ndjson", [*(self._product(n) for n in range(8)), priced("2026-06-10", 10)]
            ),
            Landing("products/date=2026-06-15/b.ndjson", [self._product(n) for n in range(4, 17)]),
            Landing("orders/undated.ndjson", orders[60:]),
            Landing("latest_order_items", [*items[150:], *self._items(10)], second),
            Landing("latest_interactions", events[200:] + [self._event(n) for n in range(20)], second),
        ]
        yield [
            Landing("customers/date=2026-06-07/late.ndjson", [self._customer(n) for n in range(12)]),
            Landing("products/date=2026-06-07/late.ndjson", [self._product(n) for n in range(10)] + products[10:]),
            Landing("orders/date=2026-06-07/late.ndjson", [self._order(n) for n in range(0, 130, 5)]),
            Landing("reviews/date=2026-06-07/late.ndjson", reviews[30:]),
            Landing("customers/date=2026-06-30/again.ndjson", customers[:6]),
            Landing("products/date=2026-06-30/last.ndjson", [priced("2026-06-20", None)]),
            Landing("latest_order_items", [item for n in range(0, 60, 7) for item in self._items(n)], late),
        ]

    def _of(self, *values: object) -> object:
        return self._random.choice(values)

    def _kind(self, kind: str, value: object) -> object:
        return self._of(*BROKEN[kind]) if value is not None and self._random.random() < self._wrong else value

    def _money(self) -> object:
        return self._kind("money", self._of(*MONEY))

    def _whole(self, least: int, most: int) -> object:
        number = self._random.randint(least, most)
        return self._kind("whole", self._of(number, str(number), f" {number}.0 ", f"{number / 10}e1"))

    def _id(self, number: int, prefix: str = "") -> object:
        if self._random.random() < self._wrong / 2:
            return self._of(None, " ")
        return self._of(f"{prefix}{number}", f" {prefix}{number} ", *([] if prefix else [number, f"{number}.0"]))

    def _time(self, least: str = "2026-03-01", days: int = 100) -> object:
        moment = datetime.fromisoformat(least) + timedelta(minutes=self._random.randrange(days * 24 * 60))
        moment = self._of(moment, moment.replace(hour=0, minute=0), moment.replace(microsecond=123456))
        local = moment.replace(microsecond=0)
        written = self._of(moment.isoformat(), moment.isoformat(" "), f"{moment.isoformat()}+05:30", f"{local}-0530",
                           f"{moment.isoformat()}Z", f"{local} UTC", f" {moment.date()} ", f"{moment:%Y/%m/%d}",
                           f"{moment:%Y-%m-%dT%H:%M}", f"{local}+02", None)  # fmt: skip
        return self._kind("time", written)

    def _changed(self) -> object:
        """Few moments, so that two versions of a key share one, or differ by less than a day from a batch's day."""
        return self._of(None, None, "2026-06-10T00:00:00", "2026-05-31T09:00:00", "2026-06-07T12:30:00",
                        "2026-06-15T09:00:00", "2026-05-30 08:00:00", self._time())  # fmt: skip

    def _customer(self, n: int) -> dict:
        city, state, country = self._of(*HOMES)
        return {
            "customer_id": self._id(n),
            "email": self._of(f"C{n}@Example.org", None),
            "first_name": self._of(" Ann ", "Bo", None),
            "last_name": self._of("Lee", "", None),
            "age": self._kind("whole", self._of(17, 18, 24, 25, 34, "35", 44, 45, 54, 55, 64, 65.0, None)),
            "annual_income": self._money(),
            "gender": self._of("F", "m ", None),
            "marital_status": self._of("Single", " married", None),
            "education": self._of("Master", "PhD ", None),
            "location_type": self._of("Urban", None),
            "preferred_channel": self._of("Email", None),
            "acquisition_channel": self._of("Social ", "email", None),
            "city": city, "state": state, "country": country,
            "signup_date": self._time("2025-11-01", 200),
            "last_login": self._time(),
            "is_active": self._kind("truth", self._of(True, False, "1", " False ", 0, "Y", "no", None)),
            "updated_at": self._changed(),
        }  # fmt: skip

    def _subcategory(self, n: int) -> dict:
        return {"subcategory_id": f"s{n}", "category_id": n % 4, "subcategory_name": self._of(f"Sub {n}", None)}

    def _product(self, n: int) -> dict:
        return {
            "product_id": self._id(n),
            "category_id": self._of(None, n % 3, f"{n % 3}.0", "nowhere"),
            "subcategory_id": self._of(f"s{n % 6}", f" s{n % 5}", "nowhere", None),
            "product_name": self._of(f"Product {n}", None),
            "description": self._of("Fine", None),
            "base_price": self._money(), "sale_price": self._money(), "cost": self._money(),
            "stock_quantity": self._of(-3, 0, None, self._whole(1, 400)),
            "weight_kg": self._of("0.2505", 1, None),
            "is_active": self._of(True, "false", None),
            "created_at": self._of("2024-01-01", self._time("2026-04-01", 80)),
            "brand": self._of("Acme", " ACME ", "acme", "Bolt  Co", None),
            "rating": self._of("4.255", 3, None), "review_count": self._of(3, None),
            "updated_at": self._changed(),
        }  # fmt: skip

    def _order(self, n: int) -> dict:
        placed = self._time()
        return {
            "order_id": self._id(n),
            "customer_id": self._of(n % 25, f" {n % 7}.0", n % 5, "nobody", None),
            # Several orders of a customer share a moment.
            "order_date": self._of(placed, placed, "2026-05-05T10:00:00"),
            "status": self._of(*STATUSES),
            "total_amount": self._money(),
            "shipping_cost": self._of(self._money(), "4.99", "0.05", "-1.00"),
            "discount_amount": self._of(self._money(), None, "10", "0.01", "-0.05"),
            "payment_method": self._of("Card", "barter ", "Gift\t Card", "gift card", None),
            "shipping_address": self._of(*ADDRESSES),
            "billing_address": self._of(*ADDRESSES),
            "created_at": self._time(),
            "updated_at": self._changed(),
            "promised_at": self._time(days=118), "shipped_at": self._time(), "delivered_at": self._time(days=110),
        }  # fmt: skip

    def _items(self, order: int) -> list[dict]:
        """Lines of an order, their discounts in one of four positions."""
        own = self._of((None,), ("0.00",), ("0.50", None), MONEY)
        return [
            {
                "order_id": self._id(order),
                "order_item_id": self._of(line, f"{line}.0", f" {line}"),
                "product_id": self._of(self._random.randrange(17), self._random.randrange(8), "nothing", None),
                "quantity": self._of(None, 0, -1, "-2.0", self._whole(1, 5), self._whole(1, 5), self._whole(1, 5)),
                "unit_price": self._money(),
                "total_price": self._of(None, self._money(), "-4.00"),
                "discount_amount": self._of(*own),
                "refund_amount": self._of(None, None, None, self._money()),
                "returned_at": self._of(None, None, None, self._time()),
                "created_at": self._time(),
            }
            for line in range(1, self._random.randint(2, 13))
        ]

    def _event(self, n: int) -> dict:
        return {
            "event_id": self._id(n),
            "customer_id": self._of(n % 25, n % 6, "nobody", None),
            "product_id": self._of(n % 14, n % 5, "nothing", None),
            "event_type": self._of(*EVENTS),
            "event_date": self._of(self._time(), "2026-05-31T23:59:59", "2026-06-01T00:00:00"),
            "device_type": self._of("Mobile", "desktop ", None),
            "session_id": self._of(f"v{n // 4}", f"v{n // 5}", n // 6, None),
            "created_at": self._time(),
        }

    def _review(self, n: int) -> dict:
        return {
            "review_id": self._of(self._id(n), None),
            "product_id": self._of(n % 14, "nothing"),
            "order_id": self._of(n, n + 80, "nowhere", None),
            "customer_id": self._of(n % 25, None, "nobody"),
            "review_score": self._kind("whole", self._of(1, 2, "3.0", 4, 5, None)),
            "review_text": self._of("Good", "", None),
            "created_at": self._time(),
        }
