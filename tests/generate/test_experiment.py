"""The planted experiment: chance assigns, only the rate of the treated changes, and only while it lasts."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from duckbook.errors import SettingError
from duckbook.generate.shop import season
from duckbook.generate.shop.parameters import Parameters, planting
from duckbook.generate.shop.simulation import Store
from duckbook.generate.shop.truth import truth
from store_slices import END, FIRST_AS_OF

SIZE = 20_000


@pytest.fixture(scope="module")
def stores() -> tuple[Store, Store]:
    """The same store without and with an effect."""
    return tuple(
        Store(SIZE, 42, FIRST_AS_OF, END, parameters=Parameters(experiment_uplift=uplift)) for uplift in (0.0, 0.5)
    )


def orders_of(store: Store, customers: np.ndarray) -> list[tuple[int, int]]:
    orders = store.purchases
    chosen = customers[orders.customer] & (orders.placed < store.whole.end)
    return list(zip(orders.key[chosen].tolist(), orders.placed[chosen].tolist(), strict=True))


def test_who_is_not_treated_orders_the_same_to_the_second(stores):
    without, treated = stores
    assert orders_of(without, ~without.purchases.experiment.treated) == orders_of(
        treated, ~treated.purchases.experiment.treated
    )


def test_the_treated_order_the_same_until_it_starts_and_faster_while_it_lasts(stores):
    trial = stores[0].purchases.experiment
    begin, end = season.epoch(trial.first), season.epoch(trial.last) + season.DAY
    before, during = [], []
    for store in stores:
        found = [(key, at) for key, at in orders_of(store, trial.treated) if at < end]
        before.append([order for order in found if order[1] < begin])
        during.append(sum(1 for key, at in found if at >= begin and key % 4096))
    assert before[0] == before[1]
    # Less than by half: who orders sooner may drop out sooner.
    assert during[1] / during[0] == pytest.approx(1.45, abs=0.08)


def test_a_wait_passes_faster_only_within_the_treatment(stores):
    trial = stores[1].purchases.experiment
    who = np.flatnonzero(trial.treated)[:1]
    begin, end = (trial._clock.weeks(moment - stores[1].customers.offset[who]) for moment in trial._span)
    assert trial.after(who, begin - 3, np.array([2.0])) == pytest.approx(begin - 1)
    assert trial.after(who, begin, np.array([1.5])) == pytest.approx(begin + 1)
    assert trial.after(who, begin - 1, np.array([2.5])) == pytest.approx(begin + 1)
    assert trial.after(who, end, np.array([2.0])) == pytest.approx(end + 2)
    assert trial.after(who, end - 1, np.array([2.5])) == pytest.approx(end + 1)


def test_the_truth_says_who_takes_part_and_who_is_treated(stores):
    store = stores[0]
    rows = [row for piece in truth(store)["experiment"] for row in piece.to_pylist()]
    people = store.customers
    assert len(rows) == (people.signup < season.epoch(store.purchases.experiment.first)).sum()
    assert np.mean([row["is_treated"] for row in rows]) == pytest.approx(0.5, abs=0.02)
    days = {(row["last_day"] - row["first_day"]).days for row in rows}
    assert days == {90}
    assert rows[0]["last_day"] == END - timedelta(days=182)


def test_chance_alone_assigns(stores):
    store = stores[0]
    trial, people = store.purchases.experiment, store.customers
    for value in (people.rate, people.spend, people.signup):
        inside, outside = value[trial.treated], value[trial.enrolled & ~trial.treated]
        error = np.sqrt(inside.var() / len(inside) + outside.var() / len(outside))
        assert abs(inside.mean() - outside.mean()) < 4 * error


def test_an_effect_is_planted_by_a_setting_and_has_bounds():
    assert planting("experiment_uplift=0.3").experiment_uplift == 0.3
    with pytest.raises(SettingError, match=r"experiment_uplift=9.0 must lie between"):
        planting("experiment_uplift=9")
