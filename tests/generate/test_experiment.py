"""The planted experiment: assignment is random, and only the rate of the treated changes, only while it lasts."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from duckbook.errors import SettingError
from duckbook.generate.shop import season
from duckbook.generate.shop.parameters import Parameters, planting
from duckbook.generate.shop.simulation import Shop
from duckbook.generate.shop.truth import truth
from shop_slices import END, FIRST_AS_OF

SIZE = 20_000


@pytest.fixture(scope="module")
def shops() -> tuple[Shop, Shop]:
    """The same shop without and with an effect."""
    return tuple(
        Shop(SIZE, 42, FIRST_AS_OF, END, parameters=Parameters(experiment_uplift=uplift)) for uplift in (0.0, 0.5)
    )


def orders_of(shop: Shop, customers: np.ndarray) -> list[tuple[int, int]]:
    orders = shop.purchases
    chosen = customers[orders.customer] & (orders.placed < shop.whole.end)
    return list(zip(orders.key[chosen].tolist(), orders.placed[chosen].tolist(), strict=True))


def test_the_untreated_order_the_same_to_the_second(shops):
    without, treated = shops
    assert orders_of(without, ~without.purchases.experiment.treated) == orders_of(
        treated, ~treated.purchases.experiment.treated
    )


def test_the_treated_order_faster_only_during_the_experiment(shops):
    trial = shops[0].purchases.experiment
    begin, end = season.epoch(trial.first), season.epoch(trial.last) + season.DAY
    before, during = [], []
    for shop in shops:
        found = [(key, at) for key, at in orders_of(shop, trial.treated) if at < end]
        before.append([order for order in found if order[1] < begin])
        during.append(sum(1 for key, at in found if at >= begin and key % 4096))
    assert before[0] == before[1]
    # Less than 1.5, because customers who order sooner may drop out sooner.
    assert during[1] / during[0] == pytest.approx(1.45, abs=0.08)


def test_a_wait_passes_faster_only_during_the_treatment(shops):
    trial = shops[1].purchases.experiment
    who = np.flatnonzero(trial.treated)[:1]
    begin, end = (trial._clock.weeks(moment - shops[1].customers.offset[who]) for moment in trial._span)
    assert trial.after(who, begin - 3, np.array([2.0])) == pytest.approx(begin - 1)
    assert trial.after(who, begin, np.array([1.5])) == pytest.approx(begin + 1)
    assert trial.after(who, begin - 1, np.array([2.5])) == pytest.approx(begin + 1)
    assert trial.after(who, end, np.array([2.0])) == pytest.approx(end + 2)
    assert trial.after(who, end - 1, np.array([2.5])) == pytest.approx(end + 1)


def test_the_truth_has_enrolment_and_treatment(shops):
    shop = shops[0]
    rows = [row for piece in truth(shop)["experiment"] for row in piece.to_pylist()]
    people = shop.customers
    assert len(rows) == (people.signup < season.epoch(shop.purchases.experiment.first)).sum()
    assert np.mean([row["is_treated"] for row in rows]) == pytest.approx(0.5, abs=0.02)
    days = {(row["last_day"] - row["first_day"]).days for row in rows}
    assert days == {90}
    assert rows[0]["last_day"] == END - timedelta(days=182)


def test_chance_alone_assigns(shops):
    shop = shops[0]
    trial, people = shop.purchases.experiment, shop.customers
    for value in (people.rate, people.spend, people.signup):
        inside, outside = value[trial.treated], value[trial.enrolled & ~trial.treated]
        error = np.sqrt(inside.var() / len(inside) + outside.var() / len(outside))
        assert abs(inside.mean() - outside.mean()) < 4 * error


def test_a_setting_plants_an_effect_within_bounds():
    assert planting("experiment_uplift=0.3").experiment_uplift == 0.3
    with pytest.raises(SettingError, match=r"experiment_uplift=9.0 must lie between"):
        planting("experiment_uplift=9")
