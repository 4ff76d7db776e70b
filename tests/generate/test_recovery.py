"""What is planted can be found again: in the orders, without looking at the latent values."""

import numpy as np
import pyarrow as pa
import pytest
from duckbook.analysis.lifetime import fit_bgnbd
from duckbook.generate.shop import season
from duckbook.generate.shop.catalogue import AFFINITIES, SUBCATEGORIES
from duckbook.generate.shop.customers import INCOME_AGES, NEVER, YEAR
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.places import CITIES, ZONES
from duckbook.generate.shop.reviews import TONES
from duckbook.generate.shop.truth import truth
from store_slices import FIRST_AS_OF, store

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


def test_income_follows_education_and_age_and_what_is_left_of_it_the_spend():
    people = store(SIZE).customers
    age = ((people.signup - people.born) / YEAR).astype(int)
    income = np.log(people.income)
    grown = age >= 30
    medians = np.array([np.median(people.income[grown & (people.education == level)]) for level in range(5)])
    assert medians / medians[0] == pytest.approx(np.array(PLANTED.income_by_education) / 0.77, rel=0.06)
    by_age = [np.median(people.income[np.abs(age - at) <= 2]) for at in INCOME_AGES[1:]]
    planted = np.array(PLANTED.income_by_age[1:])
    assert np.array(by_age) / by_age[2] == pytest.approx(planted / planted[2], rel=0.08)
    known = np.column_stack([np.eye(5)[people.education], np.eye(100)[age]])
    left = income - known @ np.linalg.lstsq(known, income, rcond=None)[0]
    scores = [np.argsort(np.argsort(values)) for values in (left, people.spend)]
    assert np.corrcoef(*scores)[0, 1] == pytest.approx(PLANTED.spend_income_correlation, abs=0.03)


def test_a_quarter_converts_as_any_other_once_the_store_is_open_on_every_device():
    look = store(SIZE)
    visits = look.visiting.between(look.whole.begin, look.whole.end)
    device = look.interacting.devices(visits)
    quarter = (visits.start - look.whole.begin) // (91 * season.DAY)
    conversion = np.array([visits.buys[quarter == n].mean() for n in range(12)])
    assert conversion[1:] == pytest.approx(0.155, rel=0.05)
    assert conversion[0] < 0.20
    for n, relative in enumerate(PLANTED.device_conversion):
        found = [visits.buys[(device == n) & (quarter == q)].mean() for q in range(1, 12)]
        assert np.mean(found) == pytest.approx(0.155 * relative, rel=0.05)
        assert np.std(found) / np.mean(found) < (0.12 if n == 2 else 0.04)


def test_first_orders_grow_as_sign_ups_are_planted_to():
    """Sales as a whole grow faster, as those who come back add up."""
    look = store(SIZE)
    orders, year, end = look.purchases, int(YEAR), look.whole.end
    second, third = ((orders.placed >= end - n * year) & (orders.placed < end - (n - 1) * year) for n in (2, 1))
    first = orders.number == 0
    assert (third & first).sum() / (second & first).sum() == pytest.approx(np.exp(PLANTED.yearly_growth), abs=0.05)
    assert 1.35 < third.sum() / second.sum() < 1.60


def test_fewer_lines_hold_one_unit_more():
    held = np.bincount(store(SIZE).baskets.quantity)
    assert held[0] == 0 and len(held) == 9
    assert list(held[1:]) == sorted(held[1:], reverse=True) and len(set(held)) == 9


def test_transit_grows_with_each_zone_and_lateness_with_it():
    look = store(SIZE)
    plan, orders = look.fulfilment, look.purchases
    city = look.customers.city(orders.customer, plan.address_number(slice(None))[1])
    zone = np.array([ZONES[place.state] for place in CITIES])[city]
    usual = (plan.delivered < NEVER) & ~look.baskets.express
    days = (plan.delivered - plan.shipped) / season.DAY
    zones = np.arange(3, 10)
    logs = [np.log(days[usual & (zone == n)]).mean() for n in zones]
    assert np.polyfit(zones, logs, 1)[0] == pytest.approx(PLANTED.transit_zone_effect, abs=0.02)
    late = [plan.late[usual & (zone == n)].mean() for n in zones]
    assert late == sorted(late) and late[0] < 0.04 and late[-1] > 0.2
    assert np.median(days[plan.delivered < NEVER]) == pytest.approx(PLANTED.transit_days, abs=0.3)
    assert plan.late[plan.delivered < NEVER].mean() == pytest.approx(0.08, abs=0.01)


@pytest.mark.parametrize("seed", [42, 7])
def test_stock_covers_some_weeks_and_every_kind_of_cover_occurs(seed):
    """As `fct_inventory_cover` tells them: 14 and 180 days are its limits."""
    look = store(10_000, seed, FIRST_AS_OF)
    goods, end = look.products, look.whole.end
    units = np.bincount(*_lines(look, end - 30 * season.DAY, end), minlength=goods.count)
    monday = int(goods.week_of(np.int64(end - 1)))
    since = np.bincount(*_lines(look, int(goods.week_start(np.int64(monday))), end), minlength=goods.count)
    stock = look.stock.left(np.arange(goods.count), np.full(goods.count, monday), since.astype(np.int64))
    on_sale = goods.on_sale[monday]
    days = stock * 30 // np.maximum(units, 1)
    kinds = [stock == 0, units == 0, days < 14, days > 180]
    kind = np.select(kinds, ["out of stock", "not selling", "low", "ample"], "healthy")[on_sale]
    assert set(kind) == {"out of stock", "not selling", "low", "ample", "healthy"}
    assert 0.01 < np.mean(kind == "out of stock") < 0.10 and np.mean(kind == "healthy") > 0.5
    assert 1.0 < stock[on_sale].sum() / units.sum() < 2.8
    assert not stock[~on_sale].any()


def _lines(look, begin, end):
    lines = slice(*look.baskets.begin[np.searchsorted(look.purchases.placed, [begin, end])])
    return look.baskets.product[lines], look.baskets.quantity[lines]


def test_texts_tell_the_happy_from_the_others_but_not_all_of_them():
    """A bag of words reads most of them right; those that are mixed, neutral or wrong it cannot."""
    linear = pytest.importorskip("sklearn.linear_model")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    metrics = pytest.importorskip("sklearn.metrics")
    told = store(10_000).reviews
    texts, happy = np.array(told.texts(np.arange(len(told))).to_pylist()), told.score >= 4
    older = told.written < np.quantile(told.written, 0.7)
    words = text.TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    model = linear.LogisticRegression(C=2.0, max_iter=500, class_weight="balanced")
    model.fit(words.fit_transform(texts[older]), happy[older])
    said = model.predict_proba(words.transform(texts[~older]))[:, 1]
    assert 0.90 < metrics.roc_auc_score(happy[~older], said) < 0.97
    assert len(set(texts)) > 0.9 * len(texts)


def test_tones_and_topics_are_planted_and_follow_what_happened():
    look = store(SIZE)
    said = pa.concat_tables(truth(look)["reviews"]).to_pandas()
    told = look.reviews
    known = told.written < look.whole.end
    score, line = told.score[known], told.of[known]
    late = look.fulfilment.late[look.baskets.order[line]]
    assert set(said.tone) == set(TONES)
    assert said.contradicts_stars[score != 3].mean() == pytest.approx(PLANTED.review_contradicting_share, abs=0.005)
    assert (said.tone == "mixed")[score != 3].mean() == pytest.approx(PLANTED.review_mixed_share, abs=0.03)
    assert (said.tone == "neutral")[score != 3].mean() == pytest.approx(PLANTED.review_neutral_share, abs=0.005)
    blames = said.blamed.notna().to_numpy()
    delivery = (said.blamed == "delivery").to_numpy()
    assert delivery[blames & late].mean() > 0.7 > 0.12 > delivery[blames & ~late].mean()
    assert not (said.praised == "delivery").to_numpy()[late].any()
    fitted = look.products.category[look.baskets.product[line]] == 1
    fit = (said.blamed == "fit").to_numpy()
    assert fit[blames & fitted & ~late].mean() > 3 * fit[blames & ~fitted & ~late].mean()
