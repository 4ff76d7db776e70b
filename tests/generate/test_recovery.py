"""Planted parameters can be recovered from the data, without the latent values."""

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
from shop_slices import FIRST_AS_OF, simulate

PLANTED = Parameters()
SIZE = 60_000


def test_bgnbd_parameters_come_back_within_a_tenth_on_time_adjusted_for_the_season():
    shop = simulate(SIZE)
    orders, customers, end = shop.purchases, shop.customers, shop.whole.end
    count = np.searchsorted(orders.placed, end)
    who = orders.customer[:count]
    weeks = orders.clock.weeks(orders.placed[:count] - customers.offset[who])
    placed = np.bincount(who, minlength=len(customers))
    first, last = np.full(len(customers), np.inf), np.zeros(len(customers))
    np.minimum.at(first, who, weeks)
    np.maximum.at(last, who, weeks)
    buyers = placed > 0
    until = orders.clock.weeks(end - customers.offset)
    found = fit_bgnbd(placed[buyers] - 1, (last - first)[buyers], (until - first)[buyers]).values
    planted = [PLANTED.bgnbd_r, PLANTED.bgnbd_alpha, PLANTED.bgnbd_a, PLANTED.bgnbd_b]
    assert found == pytest.approx(planted, rel=0.10)


def test_promotions_reveal_which_products_are_elastic():
    """Compare units in promoted weeks with the usual units of product and week, by quarter of planted elasticity."""
    shop = simulate(SIZE)
    products, lines = shop.products, shop.baskets
    weeks = 156
    units = np.zeros((products.weeks, products.count))
    np.add.at(units, (products.week_of(shop.purchases.placed)[lines.order], lines.product), lines.quantity)
    units, on_sale, depth = units[:weeks], products.on_sale[:weeks], products.depth[:weeks]
    usual = on_sale & (depth == 0)
    product, week = np.ones(products.count), np.ones(weeks)
    for _ in range(20):
        product = (units * usual).sum(0) / np.maximum((usual * week[:, None]).sum(0), 1e-9)
        week = (units * usual).sum(1) / np.maximum((usual * product).sum(1), 1e-9)
    expected = week[:, None] * product
    quarter = np.argsort(np.argsort(products.elasticity)) * 4 // products.count
    found = []
    for n in range(4):
        cells = on_sale & (depth >= 20) & (quarter == n)
        ratio = units[cells].sum() / expected[cells].sum()
        found.append(np.log(ratio) / np.log(1 - depth[cells].mean() / 100))
    assert found == sorted(found)
    assert np.mean(found) == pytest.approx(PLANTED.elasticity_mean, abs=0.6)


def test_subcategories_planted_together_are_bought_together():
    shop = simulate(SIZE)
    lines, count = shop.baskets, len(SUBCATEGORIES)
    in_order = np.zeros((len(shop.purchases), count), dtype=bool)
    in_order[lines.order, shop.products.subcategory[lines.product]] = True
    in_order = in_order[in_order.sum(axis=1) > 1].astype(np.float32)
    share = in_order.mean(axis=0)
    lift = in_order.T @ in_order / len(in_order) / np.outer(share, share)
    number = {subcategory.name: n for n, subcategory in enumerate(SUBCATEGORIES)}
    planted = {frozenset((number[one], number[other])) for one, other, _ in AFFINITIES}
    pairs = {frozenset((i, j)): lift[i, j] for i in range(count) for j in range(i)}
    others = [value for pair, value in pairs.items() if pair not in planted]
    assert min(pairs[pair] for pair in planted) > 1.2
    assert np.median([pairs[pair] for pair in planted]) > 5 * np.median(others)


def test_spend_varies_by_customer_as_planted():
    """Order values follow the customer's mean, and vary less within a customer than between customers."""
    shop = simulate(SIZE)
    who = shop.purchases.customer
    own = np.log(shop.customers.spend[who])
    value = np.log(shop.baskets.products)
    assert np.corrcoef(own, value)[0, 1] > 0.75
    assert shop.baskets.products.mean() / shop.customers.spend[who].mean() == pytest.approx(1.0, abs=0.06)
    assert (value - own).std() < 0.75 * value.std()


def test_income_and_age_matter_a_little():
    customers = simulate(SIZE).customers
    assert 0.2 < np.corrcoef(np.log(customers.income), np.log(customers.spend))[0, 1] < 0.45
    by_age, by_rate = (np.argsort(np.argsort(values)) for values in (customers.signup - customers.born, customers.rate))
    assert -0.2 < np.corrcoef(by_age, by_rate)[0, 1] < -0.05


def test_income_follows_education_and_age_and_its_residual_follows_spend():
    customers = simulate(SIZE).customers
    age = ((customers.signup - customers.born) / YEAR).astype(int)
    income = np.log(customers.income)
    grown = age >= 30
    medians = np.array([np.median(customers.income[grown & (customers.education == level)]) for level in range(5)])
    assert medians / medians[0] == pytest.approx(np.array(PLANTED.income_by_education) / 0.77, rel=0.06)
    by_age = [np.median(customers.income[np.abs(age - at) <= 2]) for at in INCOME_AGES[1:]]
    planted = np.array(PLANTED.income_by_age[1:])
    assert np.array(by_age) / by_age[2] == pytest.approx(planted / planted[2], rel=0.08)
    known = np.column_stack([np.eye(5)[customers.education], np.eye(100)[age]])
    left = income - known @ np.linalg.lstsq(known, income, rcond=None)[0]
    scores = [np.argsort(np.argsort(values)) for values in (left, customers.spend)]
    assert np.corrcoef(*scores)[0, 1] == pytest.approx(PLANTED.spend_income_correlation, abs=0.03)


def test_conversion_is_stable_after_the_opening_on_every_device():
    shop = simulate(SIZE)
    visits = shop.visit_generator.between(shop.whole.begin, shop.whole.end)
    device = shop.event_generator.devices(visits)
    quarter = (visits.start - shop.whole.begin) // (91 * season.DAY)
    conversion = np.array([visits.buys[quarter == n].mean() for n in range(12)])
    assert conversion[1:] == pytest.approx(0.155, rel=0.05)
    assert conversion[0] < 0.20
    for n, relative in enumerate(PLANTED.device_conversion):
        found = [visits.buys[(device == n) & (quarter == q)].mean() for q in range(1, 12)]
        assert np.mean(found) == pytest.approx(0.155 * relative, rel=0.05)
        assert np.std(found) / np.mean(found) < (0.12 if n == 2 else 0.04)


def test_first_orders_grow_at_the_planted_rate_of_sign_ups():
    """Total sales grow faster, as returning customers accumulate."""
    shop = simulate(SIZE)
    orders, year, end = shop.purchases, int(YEAR), shop.whole.end
    second, third = ((orders.placed >= end - n * year) & (orders.placed < end - (n - 1) * year) for n in (2, 1))
    first = orders.number == 0
    assert (third & first).sum() / (second & first).sum() == pytest.approx(np.exp(PLANTED.yearly_growth), abs=0.05)
    assert 1.35 < third.sum() / second.sum() < 1.60


def test_higher_quantities_are_rarer():
    in_order = np.bincount(simulate(SIZE).baskets.quantity)
    assert in_order[0] == 0 and len(in_order) == 9
    assert list(in_order[1:]) == sorted(in_order[1:], reverse=True) and len(set(in_order)) == 9


def test_transit_and_lateness_grow_with_the_zone():
    shop = simulate(SIZE)
    plan, orders = shop.fulfilment, shop.purchases
    city = shop.customers.city(orders.customer, plan.address_number(slice(None))[1])
    zone = np.array([ZONES[place.state] for place in CITIES])[city]
    usual = (plan.delivered < NEVER) & ~shop.baskets.express
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
    """With the limits of `fct_inventory_cover`, 14 and 180 days."""
    shop = simulate(10_000, seed, FIRST_AS_OF)
    products, end = shop.products, shop.whole.end
    units = np.bincount(*_lines(shop, end - 30 * season.DAY, end), minlength=products.count)
    monday = int(products.week_of(np.int64(end - 1)))
    since = np.bincount(*_lines(shop, int(products.week_start(np.int64(monday))), end), minlength=products.count)
    stock = shop.stock.left(np.arange(products.count), np.full(products.count, monday), since.astype(np.int64))
    on_sale = products.on_sale[monday]
    days = stock * 30 // np.maximum(units, 1)
    kinds = [stock == 0, units == 0, days < 14, days > 180]
    kind = np.select(kinds, ["out of stock", "not selling", "low", "ample"], "healthy")[on_sale]
    assert set(kind) == {"out of stock", "not selling", "low", "ample", "healthy"}
    assert 0.01 < np.mean(kind == "out of stock") < 0.10 and np.mean(kind == "healthy") > 0.5
    assert 1.0 < stock[on_sale].sum() / units.sum() < 2.8
    assert not stock[~on_sale].any()


def _lines(shop, begin, end):
    lines = slice(*shop.baskets.begin[np.searchsorted(shop.purchases.placed, [begin, end])])
    return shop.baskets.product[lines], shop.baskets.quantity[lines]


def test_texts_predict_most_scores_but_not_all():
    """A bag-of-words model classifies most texts, but not those that are mixed, neutral or contradict their stars."""
    linear = pytest.importorskip("sklearn.linear_model")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    metrics = pytest.importorskip("sklearn.metrics")
    reviews = simulate(10_000).reviews
    texts, happy = np.array(reviews.texts(np.arange(len(reviews))).to_pylist()), reviews.score >= 4
    older = reviews.written < np.quantile(reviews.written, 0.7)
    words = text.TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    model = linear.LogisticRegression(C=2.0, max_iter=500, class_weight="balanced")
    model.fit(words.fit_transform(texts[older]), happy[older])
    tones = model.predict_proba(words.transform(texts[~older]))[:, 1]
    assert 0.90 < metrics.roc_auc_score(happy[~older], tones) < 0.97
    assert len(set(texts)) > 0.9 * len(texts)


def test_tones_and_topics_are_planted_and_follow_events():
    shop = simulate(SIZE)
    tones = pa.concat_tables(truth(shop)["reviews"]).to_pandas()
    reviews = shop.reviews
    known = reviews.written < shop.whole.end
    score, line = reviews.score[known], reviews.line[known]
    late = shop.fulfilment.late[shop.baskets.order[line]]
    assert set(tones.tone) == set(TONES)
    assert tones.contradicts_stars[score != 3].mean() == pytest.approx(PLANTED.review_contradicting_share, abs=0.005)
    assert (tones.tone == "mixed")[score != 3].mean() == pytest.approx(PLANTED.review_mixed_share, abs=0.03)
    assert (tones.tone == "neutral")[score != 3].mean() == pytest.approx(PLANTED.review_neutral_share, abs=0.005)
    blames = tones.blamed.notna().to_numpy()
    delivery = (tones.blamed == "delivery").to_numpy()
    assert delivery[blames & late].mean() > 0.7 > 0.12 > delivery[blames & ~late].mean()
    assert not (tones.praised == "delivery").to_numpy()[late].any()
    fitted = shop.products.category[shop.baskets.product[line]] == 1
    fit = (tones.blamed == "fit").to_numpy()
    assert fit[blames & fitted & ~late].mean() > 3 * fit[blames & ~fitted & ~late].mean()
