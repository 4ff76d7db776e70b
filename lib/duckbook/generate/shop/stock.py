"""Stock: units of each product on hand, from weekly replenishment.

On a Monday a product is replenished if the stock would not last the supplier's lead time. It is filled up to some weeks
of recent sales, and to a few units at least. Some deliveries fail, which leads to stock-outs. Orders beyond the stock
ship from the next delivery.
"""

from __future__ import annotations

import numpy as np

from duckbook.generate.shop.baskets import Baskets
from duckbook.generate.shop.distributions import lognormal
from duckbook.generate.shop.products import Products
from duckbook.generate.shop.purchases import Purchases
from duckbook.generate.shop.randomness import Randomness, part
from duckbook.generate.shop.spool import Spool

PACE_WEEKS = 6
"""Weeks whose mean sales are a product's pace."""

REORDER_WEEKS = 2.5
"""Weeks of sales in stock below which a product is replenished."""

COVER_WEEKS, COVER_SPREAD = 8.0, 0.45
"""Weeks of sales that a product is filled up to: the median, and the spread of its logarithm between products."""

FEWEST = 2
"""Units that a product is filled up to even without sales; up to four times as many, by product."""

FAILED_SHARE = 0.35
"""Share of the deliveries that fail."""


class Stock:
    """Stock of all products in all weeks.

    Attributes
    ----------
    filled : int32 array of shape (weeks, products)
        Units after each Monday's delivery; 0 if a product is not on sale.
    """

    def __init__(
        self, randomness: Randomness, products: Products, purchases: Purchases, baskets: Baskets, spool: Spool
    ) -> None:
        self._randomness, self._products = randomness, products
        self.filled = self._fill(_weekly(products, purchases, baskets, spool))

    def left(self, which: np.ndarray, week: np.ndarray, sold: np.ndarray) -> np.ndarray:
        """Units left of products: those after Monday's delivery, less those sold since."""
        return np.maximum(self.filled[week, which] - sold, 0)

    def _fill(self, sold: np.ndarray) -> np.ndarray:
        products, number = self._products, np.arange(self._products.count)
        bits = self._randomness.bits("stock", number)
        cover = lognormal(1000.0 * COVER_WEEKS, COVER_SPREAD)(bits, 0) / 1000.0
        minimum = FEWEST + (part(bits, 16, 16) * 3 * FEWEST >> 16)
        filled = np.zeros((products.weeks, products.count), dtype=np.int32)
        left = np.zeros(products.count, dtype=np.int64)
        for week in range(products.weeks):
            since = max(week - PACE_WEEKS, 0)
            pace = sold[since:week].sum(axis=0) / max(week - since, 1)
            draw = self._randomness.bits("delivery", number, week + 1)
            arrives = part(draw, 0, 16) >= FAILED_SHARE * 65_536
            wanted = np.maximum((pace * cover).astype(np.int64), minimum)
            ordered = (left < pace * REORDER_WEEKS) | (left == 0)
            left = np.where(products.on_sale[week], np.where(ordered & arrives, np.maximum(wanted, left), left), 0)
            filled[week] = left
            left = np.maximum(left - sold[week], 0)
        return filled


def _weekly(products: Products, purchases: Purchases, baskets: Baskets, spool: Spool) -> np.ndarray:
    """Units of each product ordered per week."""
    units = np.zeros(products.weeks * products.count)
    for chunk in spool.ranges(len(baskets.order)):
        week = products.week_of(purchases.placed[baskets.order[chunk]])
        units += np.bincount(week * products.count + baskets.product[chunk], baskets.quantity[chunk], len(units))
    return units.astype(np.int64).reshape(products.weeks, products.count)
