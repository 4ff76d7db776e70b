"""Fulfilment: what happens to an order after it is placed, as a plan of moments that the order's key decides.

The state of an order on a day is the plan read up to that day; nothing is drawn again as time goes on, which is why
days run one by one and days skipped end the same.
"""

from __future__ import annotations

import numpy as np

from duckbook.store import season
from duckbook.store.baskets import Baskets
from duckbook.store.catalogue import CATEGORIES
from duckbook.store.customers import NEVER
from duckbook.store.distributions import exp, exponential, lognormal
from duckbook.store.parameters import Parameters
from duckbook.store.products import Products
from duckbook.store.purchases import Purchases
from duckbook.store.randomness import Randomness, part
from duckbook.store.spool import Spool

PENDING, PROCESSING, SHIPPED, DELIVERED, CANCELLED, RETURNED = range(6)
STATUSES = ("pending", "processing", "shipped", "delivered", "cancelled", "returned")


class Fulfilment:
    """The plan of each order and of each line.

    Attributes
    ----------
    promised : int64 array of shape (orders,)
        Delivery promised when the order is placed.
    processing, shipped, delivered, cancelled, returned : int64 arrays of shape (orders,)
        When each status is reached, `NEVER` where it is not. An order is returned when all of its lines have come back.
    late : bool array of shape (orders,)
        Delivered after the promise.
    disappoints : bool array of shape (lines,)
        Latent: whether the line disappoints, which raises returns and lowers scores.
    line_returned : int64 array of shape (lines,)
        When the line comes back, or `NEVER`.
    """

    def __init__(
        self,
        randomness: Randomness,
        parameters: Parameters,
        products: Products,
        purchases: Purchases,
        baskets: Baskets,
        spool: Spool,
    ) -> None:
        self._randomness, self._parameters = randomness, parameters

        def made(some: slice) -> dict[str, np.ndarray]:
            plan = self._deliver(some, purchases, baskets)
            return plan | self._return(some, plan, products, purchases, baskets)

        vars(self).update(spool.columns(len(purchases), made))

    def _deliver(self, some: slice, purchases: Purchases, baskets: Baskets) -> dict[str, np.ndarray]:
        draw, planted = self._randomness, self._parameters
        placed, key, express = purchases.placed[some], purchases.key[some], baskets.express[some]
        bits = draw.bits("handling", key)
        is_cancelled = part(bits, 0, 16) < planted.cancelled_share * 65_536
        processing = placed + lognormal(2.5 * season.HOUR, 0.8)(bits, 16) + 300
        handled = processing + lognormal(20.0 * season.HOUR, 0.5)(bits, 32)
        # The warehouse is closed on Sundays.
        weekday = (handled // season.DAY + 3) % 7
        dispatched = handled + np.where(weekday == 6, season.DAY, 0)
        after = exponential(14.0 * season.HOUR)(bits, 48) + 600
        # 1 January 1970 was a Thursday; the peak is from Black Friday to Christmas, when carriers are slow.
        peak = is_peak(placed)
        median = planted.transit_days * season.DAY
        slow = lognormal(median, planted.transit_sigma)(draw.bits("transit", key))
        slow = slow * np.where(peak, 130, 100) // 100
        quick = lognormal(1.2 * season.DAY, 0.3)(draw.bits("transit", key))
        transit = np.where(express, quick, slow)
        day = placed // season.DAY * season.DAY
        promised = day + np.where(express, 4, 7) * season.DAY - 1
        cancelled = np.where(is_cancelled, np.minimum(placed + after, dispatched - 60), NEVER)
        delivered = np.where(is_cancelled, NEVER, dispatched + transit + 2 * season.HOUR)
        return {
            "promised": promised,
            "processing": np.where(processing < cancelled, processing, NEVER),
            "shipped": np.where(is_cancelled, NEVER, dispatched),
            "delivered": delivered,
            "cancelled": cancelled,
            "late": (delivered > promised) & ~is_cancelled,
        }

    def _return(
        self, some: slice, plan: dict[str, np.ndarray], products: Products, purchases: Purchases, baskets: Baskets
    ) -> dict[str, np.ndarray]:
        planted = self._parameters
        begin = baskets.begin[some.start : some.stop + 1]
        lines = slice(begin[0], begin[-1])
        order, product = baskets.order[lines] - some.start, baskets.product[lines]
        delivered = plan["delivered"][order]
        base = np.where(plan["late"][order], planted.unhappy_late, planted.unhappy_on_time)
        odds = base / (1.0 - base) * exp(-0.75 * products.quality[product])
        bits = self._randomness.bits("line experience", baskets.keys(lines))
        disappoints = part(bits, 0, 20) < odds / (1.0 + odds) * 2**20
        usual = np.array([category.return_rate for category in CATEGORIES])[products.category[product]]
        chance = usual * np.where(disappoints, 2.6, 0.85) * planted.return_scale
        is_returned = (part(bits, 20, 20) < chance * 2**20) & (delivered < NEVER)
        wait = lognormal(9.0 * season.DAY, 0.6)(bits, 48) + season.DAY
        back = delivered + wait
        # Gifts go back after Christmas, hence the returns of January.
        back = np.where(is_peak(purchases.placed[some])[order] & is_returned, _after_christmas(back), back)
        line_returned = np.where(is_returned, back, NEVER)
        last = np.maximum.reduceat(line_returned, begin[:-1] - begin[0]) if len(line_returned) else line_returned
        return {
            "disappoints": disappoints,
            "line_returned": line_returned,
            "returned": np.where(last < NEVER, last, NEVER),
        }

    def events(self) -> list[np.ndarray]:
        """When each status is reached, in the order of `STATUSES` from processing on."""
        return [self.processing, self.shipped, self.delivered, self.cancelled, self.returned]

    def state(self, some: slice, placed: np.ndarray, until: int) -> tuple[np.ndarray, np.ndarray]:
        """Status of some orders, and the moment of its last change, at the last moment before `until`."""
        status, updated = np.full(len(placed), PENDING), placed.copy()
        for number, moments in enumerate(self.events(), start=PROCESSING):
            moment = moments[some]
            reached = moment < until
            status[reached] = number
            updated[reached] = moment[reached]
        return status, updated


def is_peak(placed: np.ndarray) -> np.ndarray:
    """Whether moments lie between 20 November and 24 December."""
    days = placed.astype("datetime64[s]").astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    month, day = months.astype(np.int64) % 12 + 1, (days - months).astype(np.int64) + 1
    return ((month == 11) & (day >= 20)) | ((month == 12) & (day <= 24))


def _after_christmas(back: np.ndarray) -> np.ndarray:
    """Move returns that would come before 27 December to the weeks after it, in their order."""
    year = back.astype("datetime64[s]").astype("datetime64[Y]")
    edge = (year.astype("datetime64[D]") + np.timedelta64(360, "D")).astype("datetime64[s]").astype(np.int64)
    early = back < edge
    november = edge - 40 * season.DAY
    return np.where(early & (back > november), edge + (back - november) // 2, back)
