"""What is planted can be found again: in the orders, without looking at the latent values."""

import numpy as np
import pytest
from duckbook.lifetime import fit_bgnbd
from duckbook.store.catalogue import AFFINITIES, SUBCATEGORIES
from duckbook.store.parameters import Parameters
from store_slices import store

PLANTED = Parameters()
SIZE = 60_000


def test_bgnbd_parameters_come_back_within_a_tenth_on_time_adjusted_for_the_season():
    look = store(SIZE)
    orders, people, end = look.purchases, look.customers, look.whole.end
    count = np.searchsorted(orders.placed, end)
    who = orders.customer[:count]
    weeks = orders.clock.weeks(orders.placed[:count] - people.offset[who])
    placed = np.bincount(who, minlength=len(people))
    first, last = np.full(len(people), np.inf), np.zeros(len(people))
    np.minimum.at(first, who, weeks)
    np.maximum.at(last, who, weeks)
    buyers = placed > 0
    until = orders.clock.weeks(end - people.offset)
    found = fit_bgnbd(placed[buyers] - 1, (last - first)[buyers], (until - first)[buyers]).values
    planted = [PLANTED.bgnbd_r, PLANTED.bgnbd_alpha, PLANTED.bgnbd_a, PLANTED.bgnbd_b]
    assert found == pytest.approx(planted, rel=0.10)


def test_elastic_products_are_told_from_others_by_their_promotions():
    """Units in promoted weeks against what product and week sell otherwise, by quarter of planted elasticity."""
    look = store(SIZE)
    goods, lines = look.products, look.baskets
    weeks = 156
    units = np.zeros((goods.weeks, goods.count))
    np.add.at(units, (goods.week_of(look.purchases.placed)[lines.order], lines.product), lines.quantity)
    units, on_sale, depth = units[:weeks], goods.on_sale[:weeks], goods.depth[:weeks]
    usual = on_sale & (depth == 0)
    product, week = np.ones(goods.count), np.ones(weeks)
    for _ in range(20):
        product = (units * usual).sum(0) / np.maximum((usual * week[:, None]).sum(0), 1e-9)
        week = (units * usual).sum(1) / np.maximum((usual * product).sum(1), 1e-9)
    expected = week[:, None] * product
    quarter = np.argsort(np.argsort(goods.elasticity)) * 4 // goods.count
    found = []
    for n in range(4):
        cells = on_sale & (depth >= 20) & (quarter == n)
        ratio = units[cells].sum() / expected[cells].sum()
        found.append(np.log(ratio) / np.log(1 - depth[cells].mean() / 100))
    assert found == sorted(found)
    assert np.mean(found) == pytest.approx(PLANTED.elasticity_mean, abs=0.6)


def test_subcategories_planted_together_are_bought_together():
    look = store(SIZE)
    lines, count = look.baskets, len(SUBCATEGORIES)
    held = np.zeros((len(look.purchases), count), dtype=bool)
    held[lines.order, look.products.subcategory[lines.product]] = True
    held = held[held.sum(axis=1) > 1].astype(np.float32)
    share = held.mean(axis=0)
    lift = held.T @ held / len(held) / np.outer(share, share)
    number = {subcategory.name: n for n, subcategory in enumerate(SUBCATEGORIES)}
    planted = {frozenset((number[one], number[other])) for one, other, _ in AFFINITIES}
    pairs = {frozenset((i, j)): lift[i, j] for i in range(count) for j in range(i)}
    others = [value for pair, value in pairs.items() if pair not in planted]
    assert min(pairs[pair] for pair in planted) > 1.2
    assert np.median([pairs[pair] for pair in planted]) > 5 * np.median(others)


def test_spend_differs_by_customer_as_planted():
    """Mean order values follow the customers' own, and orders of one customer vary less than those of many."""
    look = store(SIZE)
    who = look.purchases.customer
    own = np.log(look.customers.spend[who])
    value = np.log(look.baskets.goods)
    assert np.corrcoef(own, value)[0, 1] > 0.75
    assert look.baskets.goods.mean() / look.customers.spend[who].mean() == pytest.approx(1.0, abs=0.06)
    assert (value - own).std() < 0.75 * value.std()


def test_income_and_age_matter_a_little():
    people = store(SIZE).customers
    assert 0.2 < np.corrcoef(np.log(people.income), np.log(people.spend))[0, 1] < 0.45
    by_age, by_rate = (np.argsort(np.argsort(values)) for values in (people.signup - people.born, people.rate))
    assert -0.2 < np.corrcoef(by_age, by_rate)[0, 1] < -0.05
