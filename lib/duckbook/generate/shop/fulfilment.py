"""Fulfilment: shipping, delivery, cancellation and returns, as a plan of times per order.

The key of an order decides its plan, and its state on a day is the plan up to that day. Nothing is drawn again later,
so that landing every day and skipping days give the same result.
"""

from __future__ import annotations

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.baskets import Baskets
from duckbook.generate.shop.catalogue import CATEGORIES
from duckbook.generate.shop.customers import NEVER, Customers
from duckbook.generate.shop.distributions import exp, exponential, lognormal
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.places import CITIES, ZONES, mean_zone
from duckbook.generate.shop.products import Products
from duckbook.generate.shop.purchases import Purchases
from duckbook.generate.shop.randomness import Randomness, part
from duckbook.generate.shop.spool import Columns, Spool
from duckbook.generate.shop.working_days import (
    CARRIER_HOURS,
    CLOSES,
    LAST_DELIVERY,
    OPENS,
    WAREHOUSE_OFFSET,
    WorkingDays,
    carriers_deliver,
    time_of_day,
    warehouse_works,
)

PENDING, PROCESSING, SHIPPED, DELIVERED, CANCELLED, RETURNED = range(6)
STANDARD_DAYS, EXPRESS_DAYS = 6, 3
"""Days from the order to the promised delivery, in the customer's local time; moved to the next delivery day."""

ELSEWHERE = 9
"""Number of the other address to which a tenth of the orders ship, above the numbers of the customer's moves."""

STATUSES = ("pending", "processing", "shipped", "delivered", "cancelled", "returned")


class Fulfilment(Columns):
    """Plan of each order and line.

    The warehouse ships and takes returns in its opening hours, and carriers deliver by day, except on Sundays and
    holidays. Standard shipping takes longer the more zones a parcel crosses.

    Attributes
    ----------
    promised : int64 array of shape (orders,)
        Delivery time promised when the order is placed.
    processing, shipped, delivered, cancelled, returned : int64 arrays of shape (orders,)
        Second in which each status is reached, or `NEVER`. An order is returned once all of its lines are.
    late : bool array of shape (orders,)
        Delivered after the promise.
    disappoints : bool array of shape (lines,)
        Latent: whether the line disappoints, which raises returns and lowers review scores.
    line_returned : int64 array of shape (lines,)
        Second in which the line is returned, or `NEVER`.
    """

    def __init__(
        self,
        randomness: Randomness,
        parameters: Parameters,
        customers: Customers,
        products: Products,
        purchases: Purchases,
        baskets: Baskets,
        span: season.Span,
        spool: Spool,
    ) -> None:
        self._randomness, self._parameters = randomness, parameters
        self._customers, self._purchases = customers, purchases
        self._warehouse, self._carriers = WorkingDays(span, warehouse_works), WorkingDays(span, carriers_deliver)
        self._arrivals = time_of_day(CARRIER_HOURS)

        def make(chunk: slice) -> dict[str, np.ndarray]:
            plan = self._deliver(chunk, baskets)
            return plan | self._return(chunk, plan, products, purchases, baskets)

        vars(self).update(spool.columns(len(purchases), make))

    def address_number(self, which: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the customer's moves before each order, and number of the shipping address."""
        who, placed = self._purchases.customer[which], self._purchases.placed[which]
        moves = (self._customers.moved[who] <= placed[:, None]).sum(axis=1)
        elsewhere = part(self._randomness.bits("payment", self._purchases.key[which]), 16, 16) < 0.1 * 65_536
        return moves, np.where(elsewhere, ELSEWHERE, moves)

    def _deliver(self, chunk: slice, baskets: Baskets) -> dict[str, np.ndarray]:
        draw, planted, purchases = self._randomness, self._parameters, self._purchases
        placed, key, express = purchases.placed[chunk], purchases.key[chunk], baskets.express[chunk]
        city = self._customers.city(purchases.customer[chunk], self.address_number(chunk)[1])
        offset = np.array([place.offset for place in CITIES])[city] * season.HOUR
        bits = draw.bits("handling", key)
        is_cancelled = part(bits, 0, 16) < planted.cancelled_share * 65_536
        processing = placed + lognormal(2.5 * season.HOUR, 0.8)(bits, 16) + 300
        dispatched = self._warehouse.after(processing, lognormal(6.0 * season.HOUR, 0.5)(bits, 32) + 600)
        after = exponential(14.0 * season.HOUR)(bits, 48) + 600
        bits = draw.bits("transit", key)
        transit = np.where(express, lognormal(1.2 * season.DAY, 0.3)(bits), self._standard(bits, placed, city))
        # Parcels arrive on the first delivery day after the transit, the day after dispatch at the earliest. Carriers
        # work six days in seven.
        dispatched_local, hour = dispatched - offset, self._arrivals(bits, 0)
        days = np.maximum((dispatched_local % season.DAY + transit * 6 // 7) // season.DAY, 1)
        day = self._carriers.following(dispatched_local // season.DAY, days)
        delivered = day * season.DAY + hour + offset
        due_day = (placed - offset) // season.DAY + np.where(express, EXPRESS_DAYS, STANDARD_DAYS)
        promised = self._carriers.following(due_day) * season.DAY + LAST_DELIVERY + offset
        cancelled = np.where(is_cancelled, np.minimum(placed + after, dispatched - 60), NEVER)
        delivered = np.where(is_cancelled, NEVER, delivered)
        return {
            "promised": promised,
            "processing": np.where(processing < cancelled, processing, NEVER),
            "shipped": np.where(is_cancelled, NEVER, dispatched),
            "delivered": delivered,
            "cancelled": cancelled,
            "late": (delivered > promised) & ~is_cancelled,
        }

    def _standard(self, bits: np.ndarray, placed: np.ndarray, city: np.ndarray) -> np.ndarray:
        """Seconds of standard shipping, which depend on chance, the zone of the city, and the season."""
        planted = self._parameters
        distance = zone_factors(planted, np.array([ZONES[place.state] for place in CITIES]))
        usual = lognormal(planted.transit_days * season.DAY, planted.transit_sigma)(bits)
        # Carriers are slow in the peak.
        return (usual * distance[city] * np.where(is_peak(placed), 1.3, 1.0)).astype(np.int64)

    def _return(
        self, chunk: slice, plan: dict[str, np.ndarray], products: Products, purchases: Purchases, baskets: Baskets
    ) -> dict[str, np.ndarray]:
        planted = self._parameters
        begin = baskets.begin[chunk.start : chunk.stop + 1]
        lines = slice(begin[0], begin[-1])
        order, product = baskets.order[lines] - chunk.start, baskets.product[lines]
        delivered = plan["delivered"][order]
        base = np.where(plan["late"][order], planted.unhappy_late, planted.unhappy_on_time)
        odds = base / (1.0 - base) * exp(-0.75 * products.quality[product])
        bits = self._randomness.bits("line experience", baskets.keys(lines))
        disappoints = part(bits, 0, 20) < odds / (1.0 + odds) * 2**20
        usual = np.array([category.return_rate for category in CATEGORIES])[products.category[product]]
        chance = usual * np.where(disappoints, 2.6, 0.85) * planted.return_scale
        is_returned = (part(bits, 20, 20) < chance * 2**20) & (delivered < NEVER)
        wait = lognormal(9.0 * season.DAY, 0.6)(bits, 48) + season.DAY
        returned_at = delivered + wait
        # Gifts are returned after Christmas, hence the returns of January.
        returned_at = np.where(
            is_peak(purchases.placed[chunk])[order] & is_returned, _after_christmas(returned_at), returned_at
        )
        day = self._warehouse.following((np.where(is_returned, returned_at, 0) - WAREHOUSE_OFFSET) // season.DAY)
        hour = OPENS * season.HOUR + (part(bits, 40, 8) * (CLOSES - OPENS) * season.HOUR >> 8) + part(bits, 48, 7)
        line_returned = np.where(is_returned, day * season.DAY + hour + WAREHOUSE_OFFSET, NEVER)
        last = np.maximum.reduceat(line_returned, begin[:-1] - begin[0]) if len(line_returned) else line_returned
        return {
            "disappoints": disappoints,
            "line_returned": line_returned,
            "returned": np.where(last < NEVER, last, NEVER),
        }

    def events(self) -> list[np.ndarray]:
        """Seconds in which each status is reached, in the order of `STATUSES` from processing."""
        return [self.processing, self.shipped, self.delivered, self.cancelled, self.returned]

    def state(self, chunk: slice, placed: np.ndarray, until: int) -> tuple[np.ndarray, np.ndarray]:
        """Status of a chunk of orders just before `until`, and the second of its last change."""
        status, updated = np.full(len(placed), PENDING), placed.copy()
        for number, moments in enumerate(self.events(), start=PROCESSING):
            moment = moments[chunk]
            reached = moment < until
            status[reached] = number
            updated[reached] = moment[reached]
        return status, updated


def zone_factors(parameters: Parameters, zones: np.ndarray) -> np.ndarray:
    """Factor on the mean time of standard shipping, by zone."""
    return exp(parameters.transit_zone_effect * (zones - mean_zone()))


def is_peak(placed: np.ndarray) -> np.ndarray:
    """Whether orders are placed from 20 November to 24 December."""
    days = placed.astype("datetime64[s]").astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    month, day = months.astype(np.int64) % 12 + 1, (days - months).astype(np.int64) + 1
    return ((month == 11) & (day >= 20)) | ((month == 12) & (day <= 24))


def _after_christmas(returned_at: np.ndarray) -> np.ndarray:
    """Move returns before 27 December to the following weeks, in order."""
    year = returned_at.astype("datetime64[s]").astype("datetime64[Y]")
    edge = (year.astype("datetime64[D]") + np.timedelta64(360, "D")).astype("datetime64[s]").astype(np.int64)
    early = returned_at < edge
    november = edge - 40 * season.DAY
    return np.where(early & (returned_at > november), edge + (returned_at - november) // 2, returned_at)
