"""Stock: how many units of each product are on the shelf, from deliveries on Mondays that follow its own pace.

On a Monday a product is ordered anew when what is left would not last the weeks that its supplier takes; it is then
filled up to some weeks of what it sold of late, and to a few units at least. Some deliveries fail, which is when a
shelf runs empty. Orders beyond what is there are shipped from the next delivery.
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
"""Weeks before a Monday of which the sales are a product's pace."""

REORDER_WEEKS = 2.5
"""A product is ordered when less than so many weeks of its pace are left."""

COVER_WEEKS, COVER_SPREAD = 8.0, 0.45
"""Median of the weeks of its pace that a product is filled up to, and the spread of its logarithm between products."""

FEWEST = 2
"""Units that a shelf is filled up to even if nothing was sold; up to four times as many, by product."""

FAILED_SHARE = 0.35
"""Share of the deliveries that do not come on their Monday."""


class Stock:
    """The stock of all products in all weeks of the store.

    Attributes
    ----------
    filled : int32 array of shape (weeks, products)
        Units after each Monday's delivery; 0 where a product is not on sale.
    """

    def __init__(
        self, randomness: Randomness, products: Products, purchases: Purchases, baskets: Baskets, spool: Spool
    ) -> None:
        self._randomness, self._products = randomness, products
        self.filled = self._fill(_weekly(products, purchases, baskets, spool))

    def left(self, which: np.ndarray, week: np.ndarray, sold: np.ndarray) -> np.ndarray:
        """Units of some products: what Monday's delivery left there in a week, less what was sold since."""
        return np.maximum(self.filled[week, which] - sold, 0)

    def _fill(self, sold: np.ndarray) -> np.ndarray:
        goods, number = self._products, np.arange(self._products.count)
        bits = self._randomness.bits("stock", number)
        cover = lognormal(1000.0 * COVER_WEEKS, COVER_SPREAD)(bits, 0) / 1000.0
        fewest = FEWEST + (part(bits, 16, 16) * 3 * FEWEST >> 16)
        filled = np.zeros((goods.weeks, goods.count), dtype=np.int32)
        left = np.zeros(goods.count, dtype=np.int64)
        for week in range(goods.weeks):
            since = max(week - PACE_WEEKS, 0)
            pace = sold[since:week].sum(axis=0) / max(week - since, 1)
            luck = self._randomness.bits("delivery", number, week + 1)
            comes = part(luck, 0, 16) >= FAILED_SHARE * 65_536
            wanted = np.maximum((pace * cover).astype(np.int64), fewest)
            ordered = (left < pace * REORDER_WEEKS) | (left == 0)
            left = np.where(goods.on_sale[week], np.where(ordered & comes, np.maximum(wanted, left), left), 0)
            filled[week] = left
            left = np.maximum(left - sold[week], 0)
        return filled


def _weekly(products: Products, purchases: Purchases, baskets: Baskets, spool: Spool) -> np.ndarray:
    """Units ordered of each product in each week."""
    units = np.zeros(products.weeks * products.count)
    for some in spool.ranges(len(baskets.order)):
        week = products.week_of(purchases.placed[baskets.order[some]])
        units += np.bincount(week * products.count + baskets.product[some], baskets.quantity[some], len(units))
    return units.astype(np.int64).reshape(products.weeks, products.count)
