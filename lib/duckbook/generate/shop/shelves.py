"""Shelves: tables to draw products from, by week, in proportion to demand.

A shelf is an array of slots that hold product numbers. A product has slots in proportion to its demand. The slots of a
group (a subcategory, a price band, …) are contiguous, so that a draw is one gather.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from duckbook.generate.shop.catalogue import CATEGORIES, SUBCATEGORIES
from duckbook.generate.shop.distributions import exp, log
from duckbook.generate.shop.products import PRICE_BANDS, Products
from duckbook.generate.shop.randomness import below

BANDS = len(PRICE_BANDS) + 1


class Shelf:
    """Slots of all weeks, ordered by product group.

    Parameters
    ----------
    weights, shape (weeks, products)
        Demand per week; 0 where a product is not on sale.
    group, shape (products,)
        Finest group of each product, 0 … groups-1.
    groups
        Number of groups.
    slots
        Approximate number of slots per week.
    """

    def __init__(self, weights: np.ndarray, group: np.ndarray, groups: int, slots: int) -> None:
        order = np.argsort(group, kind="stable")
        sorted_weights = weights[:, order]
        totals = np.cumsum(sorted_weights, axis=1)[:, -1:]
        counts = np.rint(sorted_weights * (slots / totals)).astype(np.int64)
        counts = np.where(sorted_weights > 0, np.maximum(counts, 1), 0)
        self._slots = np.repeat(np.broadcast_to(order.astype(np.uint16), counts.shape).ravel(), counts.ravel())
        edges = np.zeros((len(counts), len(order) + 1), dtype=np.int64)
        np.cumsum(counts, axis=1, out=edges[:, 1:])
        edges[:, 0] = 0
        begins = np.concatenate([[0], np.cumsum(edges[:, -1])[:-1]])
        boundary = np.searchsorted(group[order], np.arange(groups + 1))
        self._edges = edges[:, boundary] + begins[:, None]

    def draw(self, bits: np.ndarray, week: np.ndarray, low: np.ndarray | int, high: np.ndarray | int) -> np.ndarray:
        """Draw a product from the groups low … high-1, or -1 where they are empty in that week."""
        begin = self._edges[week, low]
        size = self._edges[week, high] - begin
        product = self._slots[np.minimum(begin + below(bits, size), len(self._slots) - 1)].astype(np.int64)
        return np.where(size > 0, product, -1)


class Shelves:
    """The three shelves of a shop."""

    def __init__(self, products: Products) -> None:
        self.products = products
        self._slots = max(4096, 1 << (12 * products.planned - 1).bit_length())

    @cached_property
    def _view_demand(self) -> np.ndarray:
        return np.where(self.products.on_sale, self.products.popularity, 0.0)

    @cached_property
    def _purchase_demand(self) -> np.ndarray:
        products = self.products
        relative = products.sale / products.first_price
        return self._view_demand * exp(products.elasticity * log(relative))

    @cached_property
    def views(self) -> Shelf:
        """Views by category, independent of price."""
        return Shelf(self._view_demand, self.products.category, len(CATEGORIES), self._slots)

    @cached_property
    def by_subcategory(self) -> Shelf:
        """Purchases by subcategory, then price band."""
        group = self.products.subcategory * BANDS + self.products.band
        return Shelf(self._purchase_demand, group, len(SUBCATEGORIES) * BANDS, self._slots)

    @cached_property
    def by_price(self) -> Shelf:
        """Purchases by price band, then category."""
        group = self.products.band * len(CATEGORIES) + self.products.category
        return Shelf(self._purchase_demand, group, BANDS * len(CATEGORIES), self._slots)
