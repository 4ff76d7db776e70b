"""Estimates for tests: an effect with its standard error, and what the planted parameters lead one to expect."""

from __future__ import annotations

import numpy as np
from duckbook.generate.shop.parameters import Parameters

PLANTED = Parameters()


def columns(connection, query: str) -> dict[str, np.ndarray]:
    """The columns of a query as arrays; what is null is not a number."""
    found = connection.execute(query).fetchnumpy()
    return {name: np.ma.filled(values.astype(float), np.nan) for name, values in found.items()}


def effect(cells: dict[str, np.ndarray], some: np.ndarray) -> tuple[float, float]:
    """Elasticity of promoted weeks against what product and week sell otherwise, and its standard error.

    Usual weeks are fitted as product x week; units of an order count as one draw each time, so that the variance of a
    sum of units is 2.5 times the sum at most.
    """
    product, week = cells["product"].astype(int), cells["week"].astype(int)
    usual = cells["price_ratio"] == 1
    by_product, by_week = np.ones(product.max() + 1), np.ones(week.max() + 1)
    for _ in range(20):
        weight = usual * by_week[week]
        by_product = np.bincount(product, cells["units"] * usual) / np.maximum(np.bincount(product, weight), 1e-9)
        weight = usual * by_product[product]
        by_week = np.bincount(week, cells["units"] * usual) / np.maximum(np.bincount(week, weight), 1e-9)
    deep = some & (cells["price_ratio"] <= 0.85)
    expected, sold = (by_product[product] * by_week[week])[deep], cells["units"][deep]
    depth = np.average(np.log(cells["price_ratio"][deep]), weights=expected)
    error = np.sqrt(2.5 / sold.sum()) / abs(depth)
    return np.log(sold.sum() / expected.sum()) / depth, error


def risk_ratio(a: np.ndarray, n: np.ndarray, b: np.ndarray, m: np.ndarray) -> tuple[float, float]:
    """How many times as often `a` of `n` happens as `b` of `m`, over strata; the standard error of its logarithm."""
    whole = n + m
    above, below = (a * m / whole).sum(), (b * n / whole).sum()
    variance = ((n * m * (a + b) - a * b * whole) / whole**2).sum() / (above * below)
    return above / below, np.sqrt(variance)


def simulated(first: np.ndarray, end: float, draws: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Buyer and time of each repeat order that BG/NBD with the planted parameters makes after each first order."""
    chance = np.random.default_rng(seed)
    first = np.repeat(first, draws)
    rate = chance.gamma(PLANTED.bgnbd_r, 1 / PLANTED.bgnbd_alpha, len(first))
    leaves = chance.beta(PLANTED.bgnbd_a, PLANTED.bgnbd_b, len(first))
    here, now, found = np.arange(len(first)), first.copy(), []
    while len(here):
        now = now + chance.exponential(1 / np.maximum(rate[here], 1e-12))
        inside = now < end
        here, now = here[inside], now[inside]
        found.append((here, now))
        stays = chance.random(len(here)) >= leaves[here]
        here, now = here[stays], now[stays]
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def scores(quality: np.ndarray, late: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the stars for a product of a latent quality, by an order that came late or in time."""
    base = PLANTED.unhappy_late if late else PLANTED.unhappy_on_time
    odds = base / (1 - base) * np.exp(-0.75 * quality)
    unhappy, stars = odds / (1 + odds), np.arange(1, 6)
    chances = np.outer(unhappy, PLANTED.unhappy_scores) + np.outer(1 - unhappy, PLANTED.happy_scores)
    mean = chances @ stars
    return mean, chances @ stars**2 - mean**2
