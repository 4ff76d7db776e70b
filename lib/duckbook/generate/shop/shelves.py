"""Shelves: for each week, where a random number finds a product in proportion to its demand.

A shelf is a long row of slots that hold product numbers, as many slots for a product as its share of demand asks for. A
draw is one gather from a stretch of slots, and stretches (a subcategory, a price band, …) are contiguous.
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
    """Slots of all weeks in one order of products.

    Parameters
    ----------
    weights, shape (weeks, products)
        Demand in each week; 0 where a product is not on sale.
    group, shape (products,)
        Number of the finest stretch that each product stands in, 0 … groups-1.
    groups
        How many such stretches there are.
    slots
        About how many slots a week has.
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
        """A product from the stretches low … high-1, or -1 where they are empty in that week."""
        begin = self._edges[week, low]
        size = self._edges[week, high] - begin
        found = self._slots[np.minimum(begin + below(bits, size), len(self._slots) - 1)].astype(np.int64)
        return np.where(size > 0, found, -1)


class Shelves:
    """The three shelves of a store."""

    def __init__(self, products: Products) -> None:
        self.products = products
        self._slots = max(4096, 1 << (12 * products.planned - 1).bit_length())

    @cached_property
    def _looked_at(self) -> np.ndarray:
        return np.where(self.products.on_sale, self.products.popularity, 0.0)

    @cached_property
    def _bought(self) -> np.ndarray:
        products = self.products
        relative = products.sale / products.first_price
        return self._looked_at * exp(products.elasticity * log(relative))

    @cached_property
    def views(self) -> Shelf:
        """By category: what people look at, which the price does not change."""
        return Shelf(self._looked_at, self.products.category, len(CATEGORIES), self._slots)

    @cached_property
    def by_subcategory(self) -> Shelf:
        """By subcategory and price band within it: what people buy."""
        group = self.products.subcategory * BANDS + self.products.band
        return Shelf(self._bought, group, len(SUBCATEGORIES) * BANDS, self._slots)

    @cached_property
    def by_price(self) -> Shelf:
        """By price band and category within it: what people buy."""
        group = self.products.band * len(CATEGORIES) + self.products.category
        return Shelf(self._bought, group, BANDS * len(CATEGORIES), self._slots)
