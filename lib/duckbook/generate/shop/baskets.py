"""Baskets: what each order holds and what it costs, in whole cents.

The value of an order is drawn first (gamma-gamma: the customer's mean times a gamma variate), the number of lines
second, and the lines are then looked for at prices that make up that value. So what a customer spends is planted,
and demand for a product still follows its popularity and its price among products of that price. Further lines of
an order come from subcategories that go with that of the first.
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
from duckbook.generate.shop.spool import Spool

COUPONS = (5, 10, 10, 15, 20)
"""Percent that a coupon takes off."""

STANDARD, EXPRESS, HEAVY = 599, 1499, 700
"""Shipping in cents: standard below the free threshold, express, and the surcharge of heavy orders."""

REDRAWS = 3
"""How often a line that repeats a product of its order is drawn again."""

MOST_UNITS = 8
"""Most units of a product in a line; fewer lines hold two units than one, fewer three than two, and so on."""

HEAVY_FROM = 12_000
"""Grams from which an order is heavy."""


class Baskets:
    """The lines of all orders, in the order of the orders.

    Attributes
    ----------
    order, line, product, quantity : int arrays of shape (lines,)
        Position of the order, number of the line (1, 2, …), position of the product, units.
    price, total, discount : int64 arrays of shape (lines,)
        Cents: of a unit, of the line (quantity × price), and the line's share of the order's discount.
    begin : int64 array of shape (orders + 1,)
        Where each order's lines begin.
    goods, order_discount, shipping : int64 arrays of shape (orders,)
        Cents; the order's total is goods - order_discount + shipping.
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
        vars(self).update(spool.gather(_one_after_another(spool.pieces(len(purchases), self._made))))

    def keys(self, lines: slice | np.ndarray) -> np.ndarray:
        """What tells the random numbers of lines, whatever the horizon is."""
        return self._purchases.key[self.order[lines]] * 16 + self.line[lines]

    def _made(self, some: slice) -> dict[str, np.ndarray]:
        """The columns of a range of orders, whose lines are counted from its first one on."""
        purchases = self._purchases
        count = self._sizes(self._randomness.bits("basket size", purchases.key[some])) + 1
        begin = np.concatenate([[0], np.cumsum(count)])
        within = np.repeat(np.arange(len(count)), count)
        product, quantity = self._fill(some, count, begin)
        price = self._products.sale[self._products.week_of(purchases.placed[some])[within], product]
        return {
            "lines": count,
            "begin": begin,
            "order": (within + some.start).astype(np.int32),
            "line": (np.arange(len(within)) - begin[within] + 1).astype(np.int8),
            "product": product,
            "quantity": quantity,
            "price": price,
            "total": price * quantity,
            **self._charge(some, begin, product, quantity, price * quantity),
        }

    def _fill(self, orders: slice, count: np.ndarray, begin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Choose products and quantities for some orders, line by line."""
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
            about = (key[on], line, week[on], band[on])
            if line == 0:
                product = self._first(*about, self._customers.favourite[who[on]])
            else:
                product = self._further(*about, self._products.subcategory[chosen[on, 0]])
                for again in range(1, REDRAWS + 1):
                    # One puts two of a thing into the cart, not the thing twice; small catalogues may have no other.
                    twice = np.flatnonzero((chosen[on] == product[:, None]).any(axis=1))
                    product[twice] = self._near(
                        *(part[twice] for part in (key[on], week[on], band[on])), line + 16 * again
                    )
            chosen[on, line] = product
            at = begin[on] + line
            products[at] = product
            bits = draw.bits("quantity", key[on], line)
            units = np.maximum(budget[on] / self._products.sale[week[on], product] + part(bits, 0, 16) / 131_072, 1.0)
            # Who could buy more is content with fewer, most of them with one: not with the most there may be.
            share = part(bits, 16, 16) / 65_536
            quantities[at] = np.where(units < MOST_UNITS + 1, units, 1.0 + share * share * MOST_UNITS).astype(np.int8)
        return products, quantities

    def _first(
        self, key: np.ndarray, line: int, week: np.ndarray, band: np.ndarray, favourite: np.ndarray
    ) -> np.ndarray:
        """The first line: at the budget, and of the favourite category for a share of the orders."""
        choice = self._randomness.bits("line choice", key, line)
        asked = part(choice, 0, 16) < self._parameters.favourite_share * 65_536
        low = band * len(CATEGORIES) + favourite
        product = self.shelves.by_price.draw(self._randomness.bits("favourite", key, line), week, low, low + 1)
        return np.where(asked & (product >= 0), product, self._near(key, week, band, line, below=0))

    def _further(
        self, key: np.ndarray, line: int, week: np.ndarray, band: np.ndarray, leading: np.ndarray
    ) -> np.ndarray:
        """A further line: of a subcategory that goes with the leading one, or anything up to the budget."""
        choice = self._randomness.bits("line choice", key, line)
        asked = part(choice, 0, 16) < self._parameters.partner_share * 65_536
        partner = self._partner(key, line, week, band, leading, choice)
        return np.where(asked & (partner >= 0), partner, self._near(key, week, band, line))

    def _near(self, key: np.ndarray, week: np.ndarray, band: np.ndarray, counter: int, below: int = 4) -> np.ndarray:
        """A product of the price band of the budget, or of some bands below it."""
        shelf, bits = self.shelves.by_price, self._randomness.bits("product choice", key, counter)
        size = len(CATEGORIES)
        product = shelf.draw(bits, week, np.maximum(band - below, 0) * size, (band + 1) * size)
        # A small catalogue may lack the band in that week: then what is cheaper, then anything.
        for low, high in ((band * 0, (band + 1) * size), (band * 0, band * 0 + BANDS * size)):
            if (product < 0).any():
                product = np.where(product >= 0, product, shelf.draw(bits, week, low, high))
        return product

    def _partner(
        self, key: np.ndarray, line: int, week: np.ndarray, band: np.ndarray, leading: np.ndarray, choice: np.ndarray
    ) -> np.ndarray:
        """A product, not much above the budget, of a subcategory that goes with the leading one; -1 where there is
        none.
        """
        subcategory = self._partners[leading, part(choice, 16, 8)]
        bits = self._randomness.bits("partner choice", key, line)
        low = subcategory * BANDS
        return self.shelves.by_subcategory.draw(bits, week, low, low + np.minimum(band + 2, BANDS))

    def _charge(
        self, orders: slice, begin: np.ndarray, product: np.ndarray, quantity: np.ndarray, total: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Discount, shipping, and each line's share of the discount, of some orders."""
        draw, planted, key = self._randomness, self._parameters, self._purchases.key[orders]
        goods, grams = (
            np.add.reduceat(of_lines, begin[:-1]) if len(key) else np.zeros(0, dtype=np.int64)
            for of_lines in (total, self._products.grams[product] * quantity)
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


def _one_after_another(pieces: Iterator[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """The same pieces, with lines that are counted from the first of all on."""
    before = 0
    for number, piece in enumerate(pieces):
        begin = piece["begin"] + before
        before = begin[-1]
        yield piece | {"begin": begin[1:] if number else begin}


def share_out(amount: np.ndarray, weight: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Share whole amounts out over the members of groups in proportion to weights, by largest remainder.

    Parameters
    ----------
    amount : int64 array of shape (groups,)
        What each group has to share, in cents.
    weight : int64 array of shape (members,)
        Positive weights; the members of a group stand together.
    begin : int64 array of shape (groups + 1,)
        Where each group's members begin.

    Returns
    -------
    int64 array of shape (members,)
        Shares that add up to each group's amount exactly; of equal remainders the earlier member takes the cent.
    """
    share = np.zeros(len(weight), dtype=np.int64)
    group = np.repeat(np.arange(len(amount)), np.diff(begin))
    held = np.flatnonzero(amount[group] > 0)
    if not len(held):
        return share
    group, parts = group[held], weight[held]
    first = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    size = np.diff(np.concatenate([first, [len(group)]]))
    total = np.repeat(np.add.reduceat(parts, first), size)
    share[held], rest = np.divmod(amount[group] * parts, total)
    left = amount[group[first]] - np.add.reduceat(share[held], first)
    by_rest = np.lexsort((np.arange(len(group)), -rest, group))
    place = np.empty(len(group), dtype=np.int64)
    place[by_rest] = np.arange(len(group)) - np.repeat(first, size)
    share[held] += place < np.repeat(left, size)
    return share


def _partner_tables() -> np.ndarray:
    """For each subcategory 256 slots that hold the subcategories that go with it, by weight."""
    tables = np.empty((len(SUBCATEGORIES), 256), dtype=np.int64)
    for subcategory, found in partners().items():
        edges = np.cumsum([weight for _, weight in found])
        drawn = np.searchsorted(edges / edges[-1], (np.arange(256) + 0.5) / 256)
        tables[subcategory] = np.array([partner for partner, _ in found])[drawn]
    return tables
