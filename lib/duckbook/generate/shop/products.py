"""Products: attributes, and list price, sale price and availability per week.

Weeks run from Monday to Sunday, UTC. Prices, promotions, launches and withdrawals take effect at the start of a week,
so that baskets need only tables of weeks × products.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TypeVar

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.catalogue import CATEGORIES, SUBCATEGORIES
from duckbook.generate.shop.distributions import Lookup, exp, log, lognormal, normal
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.randomness import Randomness, below, part, to_uniform

Whole = TypeVar("Whole", np.ndarray, np.int64)

PRICE_BANDS = (1000, 1500, 2200, 3200, 4600, 6600, 9500, 14000, 22000, 40000)
"""Inner edges, in cents, of the price bands. A customer's budget selects a band."""

FEWEST, MOST = 120, 5000
"""Bounds of the number of products at the end of the history; between them there is one per 20 customers."""

DEPTHS = (0, 10, 15, 20, 25, 30)
"""Promotion depths in percent of the list price."""

STEPS = (0, 0, 2, 3, 5, -3)
"""Changes of the list price in percent; each half-yearly review applies one."""


class Products:
    """Products launched up to a horizon. A later horizon only adds products.

    Parameters
    ----------
    randomness, parameters
        Random streams and planted parameters.
    customers
        Size of the shop, which sets the number of products.
    span
        Simulated days.

    Attributes
    ----------
    subcategory, category, brand, adjective, noun : arrays of shape (products,)
        Indices into the catalogue. product_id is the position plus one.
    quality, elasticity, popularity : float arrays of shape (products,)
        Latent values: quality as a normal score, price elasticity, and demand weight at the first list price.
    launched, withdrawn : int64 arrays of shape (products,)
        Seconds since 1970. `withdrawn` is far in the future for products that stay.
    base, sale : int64 arrays of shape (weeks, products)
        List price and sale price in cents.
    on_sale : bool array of shape (weeks, products)
    """

    def __init__(self, randomness: Randomness, parameters: Parameters, customers: int, span: season.Span) -> None:
        self._randomness = randomness
        self._parameters = parameters
        self.first_week = span.first - timedelta(days=span.first.weekday())
        self.weeks = (span.horizon - self.first_week).days // 7 + 2
        self.planned = int(np.clip(customers // 20, FEWEST, MOST))
        self.launched = self._launches(span)
        self.count = len(self.launched)
        self._describe()
        self._value()
        self._withdraw()
        self._price()

    def week_of(self, second: Whole) -> Whole:
        """Index of the week that contains a second."""
        return (second - season.epoch(self.first_week)) // season.WEEK

    def week_start(self, week: Whole) -> Whole:
        """First second of a week."""
        return season.epoch(self.first_week) + week * season.WEEK

    def _launches(self, span: season.Span) -> np.ndarray:
        later = round(self.planned * self._parameters.share_launched_later)
        opening = self.planned - later
        start, days = season.epoch(span.first), (span.history_end - span.first).days + 1
        elapsed = (span.horizon - span.first).days + 1
        number = np.arange(opening + int(later * elapsed / days) + 1)
        jitter = self._randomness.uniform("product launch", number)
        before = start - (jitter * 60 * season.DAY).astype(np.int64) - season.DAY
        after = start + ((number - opening + jitter) / later * days * season.DAY).astype(np.int64)
        launched = np.where(number < opening, before, after)
        return launched[launched < season.epoch(span.horizon) + season.DAY]

    def _describe(self) -> None:
        number = np.arange(self.count)
        bits = self._randomness.bits("product description", number)
        drawn = Lookup.weighted([item.demand for item in SUBCATEGORIES])(bits)
        # Each subcategory keeps one product that is never withdrawn, so that there is always one to buy.
        self.anchor = number < len(SUBCATEGORIES)
        self.subcategory = np.where(self.anchor, number % len(SUBCATEGORIES), drawn)
        self.category = np.array([item.category for item in SUBCATEGORIES])[self.subcategory]
        brands = np.array([len(item.brands) for item in CATEGORIES])[self.category]
        nouns = np.array([len(item.nouns) for item in SUBCATEGORIES])[self.subcategory]
        self.brand = part(bits, 0, 16) * brands >> 16
        self.noun = part(bits, 16, 16) * nouns >> 16
        self.adjective = part(bits, 32, 16)

    def _value(self) -> None:
        number, planted = np.arange(self.count), self._parameters
        self.quality = normal()(self._randomness.uniform("product quality", number))
        spread = normal()(self._randomness.uniform("product elasticity", number))
        mean = planted.elasticity_mean
        self.elasticity = np.clip(mean + planted.elasticity_sd * spread, -5.0, max(mean, -0.6))
        rank = self._randomness.uniform("product popularity", number)
        # Sorted Pareto weights follow Zipf's law. The cap keeps one product from dominating the shop.
        zipf = np.minimum(exp(-planted.popularity_exponent * log(rank)), 60.0)
        self.popularity = zipf * exp(0.25 * self.quality)
        median = np.array([item.price for item in SUBCATEGORIES])[self.subcategory]
        # Better products cost more, which biases an elasticity estimated from a cross-section of products.
        tier = normal()(self._randomness.uniform("product price", number))
        price = median * exp(0.40 * tier + 0.15 * self.quality)
        self.first_price = np.maximum((price).astype(np.int64), 2) * 100 - 1
        margin = np.array([item.margin for item in CATEGORIES])[self.category]
        jitter = 0.12 * (self._randomness.uniform("product margin", number) - 0.5)
        self.cost = np.rint(self.first_price * (1.0 - margin - jitter)).astype(np.int64)
        weight = np.array([item.weight for item in SUBCATEGORIES])[self.subcategory]
        spread = lognormal(1000.0, 0.35)(self._randomness.bits("product weight", number))
        self.grams = np.maximum(np.rint(weight * spread).astype(np.int64), 10)
        self.band = np.searchsorted(np.array(PRICE_BANDS), self.first_price, side="right")

    def _withdraw(self) -> None:
        number = np.arange(self.count)
        chance = self._randomness.uniform("product withdrawal", number)
        life = self._randomness.uniform("product life", number)
        days = 90.0 - 420.0 * log(life)
        leaves = (chance < self._parameters.share_discontinued) & ~self.anchor
        # Sales begin on the Monday after the launch.
        begin = np.maximum(self.week_of(self.launched) + 1, 0)
        end = np.where(leaves, begin + (days / 7).astype(np.int64) + 1, 10**6)
        self.withdrawn = self.week_start(end)
        week = np.arange(self.weeks)[:, None]
        self.on_sale = (week >= begin) & (week < end)

    def _price(self) -> None:
        number = np.arange(self.count)
        phase = part(self._randomness.bits("price review", number), 0, 16) % 26
        base = np.empty((self.weeks, self.count), dtype=np.int64)
        current = self.first_price
        for week in range(self.weeks):
            step = np.array(STEPS)[below(self._randomness.bits("price step", number, week + 1), len(STEPS))]
            reviewed = (phase == week % 26) & (self.week_start(np.int64(week)) > self.launched + 8 * season.WEEK)
            reviewed &= self.on_sale[week]
            changed = np.maximum((current * (100 + step) + 5000) // 10_000, 2) * 100 - 1
            current = np.where(reviewed & (step != 0), changed, current)
            base[week] = current
        self.base = base
        self.depth = self._promotions()
        self.sale = base * (100 - self.depth) // 100

    def _promotions(self) -> np.ndarray:
        number = np.arange(self.count)
        eager = 0.5 + to_uniform(self._randomness.bits("promotion propensity", number))
        cells = np.arange(self.weeks)[:, None] * 10**6 + number[None, :]
        bits = self._randomness.bits("promotion", cells.ravel()).reshape(cells.shape)
        base = self._parameters.promotion_share
        share = np.array([_promotion_factor(self.first_week + timedelta(weeks=n)) for n in range(self.weeks)]) * base
        promoted = part(bits, 0, 24) < share[:, None] * eager[None, :] * 2**24
        deep = np.where(share[:, None] > 3 * base, 2, 1)
        depth = np.minimum(1 + (part(bits, 24, 16) * 3 >> 16) + deep * (part(bits, 40, 16) * 2 >> 16), len(DEPTHS) - 1)
        return np.where(promoted & self.on_sale, np.array(DEPTHS)[depth], 0)


def _promotion_factor(monday: date) -> float:
    """Factor on the promotion share in the week of a Monday, higher when demand is high anyway."""
    since = (monday - season.thanksgiving(monday.year)).days
    if -3 <= since <= 4:
        return 4.0
    if monday.month == 12 and monday.day <= 18:
        return 2.0
    if monday.month == 1 and monday.day >= 2:
        return 1.8
    return 2.2 if monday.month == 7 and 3 <= monday.day <= 12 else 1.0
