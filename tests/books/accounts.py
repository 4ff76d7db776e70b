"""The books of one shop, from its landed batches: what is staged, and the figures that all marts are made of."""

from __future__ import annotations

from collections import Counter
from datetime import date
from functools import cached_property

from books import lines, typed, versions, visits
from books.landed import Ledger
from books.places import Places

NAMED_BY = {
    "customers": ("orders", "reviews", "interactions"),
    "products": ("order_items", "reviews", "interactions"),
}
"""Table of a dimension → the tables whose records name its members."""


class Books:
    """One shop's books as of a day."""

    def __init__(self, ledger: Ledger, as_of: date) -> None:
        self.ledger, self.as_of = ledger, as_of
        self._staged: dict[str, dict[tuple, dict]] = {}
        self.marts: dict[str, list[dict]] = {}

    @property
    def is_bare(self) -> bool:
        """Whether the shop has landed nothing but orders and their items."""
        return {batch.table for batch in self.ledger.batches} == {"orders", "order_items"}

    def staged(self, table: str) -> dict[tuple, dict]:
        """Key → the record that counts."""
        if table not in self._staged:
            self._staged[table] = versions.newest(table, versions.sound(table, self.ledger.of(table)))
        return self._staged[table]

    def _by_id(self, table: str) -> dict[str, dict]:
        return {key[0]: record for key, record in self.staged(table).items()}

    def _inferred(self, table: str) -> dict[str, dict]:
        """Id → a record that says nothing, of each member that a sound record names and none of its own describes."""
        column = f"{table.removesuffix('s')}_id"
        named = {
            landed.values[column]
            for other in NAMED_BY[table]
            for landed in versions.sound(other, self.ledger.of(other))
        }
        nothing = dict.fromkeys(typed.COLUMNS[table])
        return {
            identity: nothing | {column: identity, "is_inferred": True}
            for identity in named - self._by_id(table).keys() - {None}
        }

    @cached_property
    def customers(self) -> dict[str, dict]:
        """Id → the customer as known now."""
        return self._by_id("customers") | self._inferred("customers")

    @cached_property
    def customer_versions(self) -> dict[str, list[dict]]:
        """Id → the customer as known once, version by version."""
        return self._versions("customers")

    @cached_property
    def product_versions(self) -> dict[str, list[dict]]:
        """Id → the product as it was once, version by version."""
        return self._versions("products")

    def _versions(self, table: str) -> dict[str, list[dict]]:
        inferred = self._inferred(table).items()
        told = versions.history(versions.sound(table, self.ledger.of(table)))
        return told | {identity: [record | versions.ALWAYS] for identity, record in inferred}

    @cached_property
    def categories(self) -> dict[str, dict]:
        """Id → category."""
        return self._by_id("categories")

    @cached_property
    def subcategories(self) -> dict[str, dict]:
        """Id → subcategory."""
        return self._by_id("subcategories")

    @cached_property
    def products(self) -> dict[str, dict]:
        """Id → the product as it stands, with its category and price."""
        found = self._by_id("products") | self._inferred("products")
        return {identity: self.priced(product) for identity, product in found.items()}

    def priced(self, product: dict) -> dict:
        """A product, or a version of one, with what follows from it.

        Its own category, else that of its subcategory. The price asked is the sale price, else the list price.
        """
        subcategory = self.subcategories.get(product["subcategory_id"])
        category = product["category_id"]
        if category not in self.categories:
            category = subcategory and subcategory["category_id"]
        base, sale, cost = product["base_price"], product["sale_price"], product["cost"]
        price = base if sale is None else sale
        return product | {
            "category": category if category in self.categories else None,
            "category_name": self.categories.get(category, {}).get("category_name"),
            "subcategory": subcategory and product["subcategory_id"],
            "subcategory_name": subcategory and subcategory["subcategory_name"],
            "current_price": price,
            "unit_margin": None
            if price is None or cost is None or abs(price - cost) >= lines.TRILLION
            else price - cost,
            # A brand that no product has any more is spelt as it was.
            "brand": self._brands.get((product["brand"] or "").lower(), product["brand"]),
            "is_on_sale": sale is not None and base is not None and sale < base,
        }

    @cached_property
    def _brands(self) -> dict[str, str]:
        """Brand in any case → as most products write it; of as many, the first in the alphabet."""
        found = Counter(product["brand"] for product in self._by_id("products").values() if product["brand"])
        written: dict[str, list[str]] = {}
        for brand in sorted(found, key=lambda one: (-found[one], one)):
            written.setdefault(brand.lower(), []).append(brand)
        return {brand: ways[0] for brand, ways in written.items()}

    @cached_property
    def places(self) -> Places:
        """Where customers live or lived, and orders go."""
        return Places(
            self.customers.values(),
            [version for found in self.customer_versions.values() for version in found],
            self.staged("orders").values(),
        )

    @cached_property
    def lines(self) -> list[dict]:
        """Order lines, and orders without any."""
        return lines.order_lines(
            self.staged("orders"),
            self.staged("order_items").values(),
            self.customer_versions,
            self.product_versions,
            self.places,
        )

    @cached_property
    def orders(self) -> list[dict]:
        """Orders, those that only their items name among them."""
        return lines.whole_orders(self.lines)

    @cached_property
    def events(self) -> list[dict]:
        """Interactions."""
        return visits.events(self.staged("interactions").values())

    @cached_property
    def sessions(self) -> list[dict]:
        """Visits."""
        return visits.sessions(self.events)

    @cached_property
    def reviews(self) -> list[dict]:
        """Reviews."""
        orders = {order["order_id"]: order for order in self.orders}
        return visits.reviews(self.staged("reviews").values(), orders)
