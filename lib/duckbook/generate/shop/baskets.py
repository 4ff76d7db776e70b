"""Baskets: the lines of each order and their amounts, in whole cents.

The value of an order is drawn first (gamma-gamma: the customer's mean times a gamma variate), then the number of lines,
then products at prices that add up to that value. A customer's spend is thus planted, while demand within a price band
follows popularity and price. Further lines of an order come from subcategories that go with that of the first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from duckbook.generate.shop.catalogue import CATEGORIES, SUBCATEGORIES, partners
from duckbook.generate.shop.customers import Customers
from duckbook.generate.shop.distributions import Lookup, gamma
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.products import PRICE_BANDS, Products
from duckbook.generate.shop.purchases import Purchases
from duckbook.generate.shop.randomness import Randomness, part
from duckbook.generate.shop.shelves import BANDS, Shelves
from duckbook.generate.shop.spool import Columns, Spool

COUPONS = (5, 10, 10, 15, 20)
"""Percent off by coupon."""

STANDARD, EXPRESS, HEAVY = 599, 1499, 700
"""Shipping in cents: standard below the free threshold, express, and the surcharge for heavy orders."""

REDRAWS = 3
"""Times that a line is drawn again if it repeats a product of its order."""

MOST_UNITS = 8
"""Most units per line. Higher quantities are rarer."""

HEAVY_FROM = 12_000
"""Grams above which an order is heavy."""


class Baskets(Columns):
    """Lines of all orders, in order of the orders.

    Attributes
    ----------
    order, line, product, quantity : int arrays of shape (lines,)
        Position of the order, number of the line (from 1), position of the product, units.
    price, total, discount : int64 arrays of shape (lines,)
        Cents per unit, per line (quantity × price), and the line's share of the order's discount.
    begin : int64 array of shape (orders + 1,)
        Position of each order's first line.
    goods, order_discount, shipping : int64 arrays of shape (orders,)
        Cents. The order's total is goods - order_discount + shipping.
    express : bool array of shape (orders,)
    """

    def __init__(
        self,
        randomness: Randomness,
        parameters: Parameters,
        customers: Customers,
        products: Products,
        purchases: Purchases,
        spool: Spool,
    ) -> None:
        self._randomness, self._parameters = randomness, parameters
        self._customers, self._products, self._purchases = customers, products, purchases
        self.shelves = Shelves(products)
        self._partners = _partner_tables()
        self._sizes = Lookup.weighted(parameters.lines)
        vars(self).update(spool.gather(_renumber(spool.pieces(len(purchases), self._make))))

    def keys(self, lines: slice | np.ndarray) -> np.ndarray:
        """Keys of the lines' random numbers, independent of the horizon."""
        return self._purchases.key[self.order[lines]] * 16 + self.line[lines]

    def _make(self, chunk: slice) -> dict[str, np.ndarray]:
        """Columns of a range of orders, with `begin` relative to its first line."""
        purchases = self._purchases
        count = self._sizes(self._randomness.bits("basket size", purchases.key[chunk])) + 1
        begin = np.concatenate([[0], np.cumsum(count)])
        within = np.repeat(np.arange(len(count)), count)
        product, quantity = self._fill(chunk, count, begin)
        price = self._products.sale[self._products.week_of(purchases.placed[chunk])[within], product]
        return {
            "lines": count,
            "begin": begin,
            "order": (within + chunk.start).astype(np.int32),
            "line": (np.arange(len(within)) - begin[within] + 1).astype(np.int8),
            "product": product,
            "quantity": quantity,
            "price": price,
            "total": price * quantity,
            **self._charge(chunk, begin, product, quantity, price * quantity),
        }

    def _fill(self, orders: slice, count: np.ndarray, begin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Choose products and quantities, line by line."""
        draw, planted = self._randomness, self._parameters
        key, who = self._purchases.key[orders], self._purchases.customer[orders]
        week = self._products.week_of(self._purchases.placed[orders])
        products, quantities = np.empty(begin[-1], dtype=np.int32), np.empty(begin[-1], dtype=np.int8)
        value = self._customers.spend[who] * gamma(draw.uniform("order value", key), planted.spend_p) / planted.spend_p
        budget = value / count
        band = np.searchsorted(np.array(PRICE_BANDS, dtype=np.float64), budget, side="right")
        chosen = np.full((len(key), int(count.max(initial=1))), -1)
        for line in range(chosen.shape[1]):
            on = np.flatnonzero(count > line)
            context = (key[on], line, week[on], band[on])
            if line == 0:
                product = self._first(*context, self._customers.favourite[who[on]])
            else:
                product = self._further(*context, self._products.subcategory[chosen[on, 0]])
                for again in range(1, REDRAWS + 1):
                    # An order has one line per product, unless a small catalogue offers no other.
                    repeated = np.flatnonzero((chosen[on] == product[:, None]).any(axis=1))
                    on_again = on[repeated]
                    product[repeated] = self._near(key[on_again], week[on_again], band[on_again], line + 16 * again)
            chosen[on, line] = product
            at = begin[on] + line
            products[at] = product
            bits = draw.bits("quantity", key[on], line)
            units = np.maximum(budget[on] / self._products.sale[week[on], product] + part(bits, 0, 16) / 131_072, 1.0)
            # Budgets beyond the maximum buy a random number of units, most often one.
            share = part(bits, 16, 16) / 65_536
            quantities[at] = np.where(units < MOST_UNITS + 1, units, 1.0 + share * share * MOST_UNITS).astype(np.int8)
        return products, quantities

    def _first(
        self, key: np.ndarray, line: int, week: np.ndarray, band: np.ndarray, favourite: np.ndarray
    ) -> np.ndarray:
        """First line: at the budget, from the favourite category for a share of the orders."""
        choice = self._randomness.bits("line choice", key, line)
        preferred = part(choice, 0, 16) < self._parameters.favourite_share * 65_536
        low = band * len(CATEGORIES) + favourite
        product = self.shelves.by_price.draw(self._randomness.bits("favourite", key, line), week, low, low + 1)
        return np.where(preferred & (product >= 0), product, self._near(key, week, band, line, below=0))

    def _further(
        self, key: np.ndarray, line: int, week: np.ndarray, band: np.ndarray, leading: np.ndarray
    ) -> np.ndarray:
        """Further line: from a subcategory that goes with the leading one, or any product up to the budget."""
        choice = self._randomness.bits("line choice", key, line)
        preferred = part(choice, 0, 16) < self._parameters.partner_share * 65_536
        partner = self._partner(key, line, week, band, leading, choice)
        return np.where(preferred & (partner >= 0), partner, self._near(key, week, band, line))

    def _near(self, key: np.ndarray, week: np.ndarray, band: np.ndarray, counter: int, below: int = 4) -> np.ndarray:
        """Product in the price band of the budget, or in up to `below` bands under it."""
        shelf, bits = self.shelves.by_price, self._randomness.bits("product choice", key, counter)
        size = len(CATEGORIES)
        product = shelf.draw(bits, week, np.maximum(band - below, 0) * size, (band + 1) * size)
        # A small catalogue may lack the band in that week: fall back to cheaper products, then to any.
        for low, high in ((band * 0, (band + 1) * size), (band * 0, band * 0 + BANDS * size)):
            if (product < 0).any():
                product = np.where(product >= 0, product, shelf.draw(bits, week, low, high))
        return product

    def _partner(
        self, key: np.ndarray, line: int, week: np.ndarray, band: np.ndarray, leading: np.ndarray, choice: np.ndarray
    ) -> np.ndarray:
        """Product near or below the budget from a subcategory that goes with the leading one, or -1."""
        subcategory = self._partners[leading, part(choice, 16, 8)]
        bits = self._randomness.bits("partner choice", key, line)
        low = subcategory * BANDS
        return self.shelves.by_subcategory.draw(bits, week, low, low + np.minimum(band + 2, BANDS))

    def _charge(
        self, orders: slice, begin: np.ndarray, product: np.ndarray, quantity: np.ndarray, total: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Compute discount, shipping, and each line's share of the discount."""
        draw, planted, key = self._randomness, self._parameters, self._purchases.key[orders]
        goods, grams = (
            np.add.reduceat(per_line, begin[:-1]) if len(key) else np.zeros(0, dtype=np.int64)
            for per_line in (total, self._products.grams[product] * quantity)
        )
        bits = draw.bits("coupon", key)
        welcome = (self._purchases.number[orders] == 0) & (part(bits, 0, 16) < 0.25 * 65_536)
        coupon = part(bits, 16, 16) < planted.coupon_share * 65_536
        percent = np.where(welcome, 10, np.where(coupon, np.array(COUPONS)[part(bits, 32, 16) * len(COUPONS) >> 16], 0))
        discount = (goods * percent + 50) // 100
        express = part(draw.bits("shipping", key), 0, 16) < 0.11 * 65_536
        free = goods - discount >= planted.free_shipping_from * 100
        shipping = np.where(express, EXPRESS, np.where(free, 0, STANDARD)) + np.where(grams > HEAVY_FROM, HEAVY, 0)
        return {
            "goods": goods,
            "order_discount": discount,
            "discount": share_out(discount, total, begin),
            "shipping": shipping,
            "express": express,
        }


def _renumber(pieces: Iterator[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """Make `begin` of each piece relative to the first line of all orders."""
    before = 0
    for number, piece in enumerate(pieces):
        begin = piece["begin"] + before
        before = begin[-1]
        yield piece | {"begin": begin[1:] if number else begin}


def share_out(amount: np.ndarray, weight: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Allocate whole amounts to the members of groups in proportion to weights, by largest remainder.

    Parameters
    ----------
    amount : int64 array of shape (groups,)
        Amount per group, in cents.
    weight : int64 array of shape (members,)
        Positive weights, ordered by group.
    begin : int64 array of shape (groups + 1,)
        Position of each group's first member.

    Returns
    -------
    int64 array of shape (members,)
        Shares that add up exactly to each group's amount. Ties go to the earlier member.
    """
    share = np.zeros(len(weight), dtype=np.int64)
    group = np.repeat(np.arange(len(amount)), np.diff(begin))
    sharing = np.flatnonzero(amount[group] > 0)
    if not len(sharing):
        return share
    group, parts = group[sharing], weight[sharing]
    first = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    size = np.diff(np.concatenate([first, [len(group)]]))
    total = np.repeat(np.add.reduceat(parts, first), size)
    share[sharing], rest = np.divmod(amount[group] * parts, total)
    left = amount[group[first]] - np.add.reduceat(share[sharing], first)
    by_rest = np.lexsort((np.arange(len(group)), -rest, group))
    place = np.empty(len(group), dtype=np.int64)
    place[by_rest] = np.arange(len(group)) - np.repeat(first, size)
    share[sharing] += place < np.repeat(left, size)
    return share


def _partner_tables() -> np.ndarray:
    """Table of 256 slots per subcategory with the subcategories that go with it, by weight."""
    tables = np.empty((len(SUBCATEGORIES), 256), dtype=np.int64)
    for subcategory, pairs in partners().items():
        edges = np.cumsum([weight for _, weight in pairs])
        drawn = np.searchsorted(edges / edges[-1], (np.arange(256) + 0.5) / 256)
        tables[subcategory] = np.array([partner for partner, _ in pairs])[drawn]
    return tables
