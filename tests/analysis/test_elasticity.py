"""The elasticity of a simulated shop comes back, and what is left out of the regression biases it."""

from __future__ import annotations

import numpy as np
import pytest
from duckbook.analysis import elasticity
from duckbook.errors import ScienceError

PRODUCTS, WEEKS = 120, 104


@pytest.fixture
def shop() -> dict[str, np.ndarray]:
    """Promotions are deepest in the weeks in which more is sold anyway."""
    draw = np.random.default_rng(4)
    product, week = np.repeat(np.arange(PRODUCTS), WEEKS), np.tile(np.arange(WEEKS), PRODUCTS)
    season = 1 + (week % 52 > 44) * 1.0
    promoted = draw.random(len(week)) < np.where(season > 1, 0.5, 0.1)
    log_price = np.where(promoted, np.log(0.8), 0.0)
    size = draw.lognormal(-0.5, 1.0, PRODUCTS)[product]
    units = draw.poisson(size * season * np.exp(-2.5 * log_price))
    return {"units": units, "log_price": log_price, "product": product, "week": week}


def test_the_planted_elasticity_lies_in_the_interval(shop):
    found = elasticity.fit(**shop)
    assert found.low < -2.5 < found.high
    assert found.error < 0.15


def test_without_weeks_the_season_is_taken_for_the_price(shop):
    assert elasticity.fit(**(shop | {"week": None})).high < -2.5


def test_it_is_what_a_regression_with_a_column_for_each_effect_gives(shop):
    statsmodels = pytest.importorskip("statsmodels.api", reason="comes with make science")
    few = {name: values[shop["product"] < 12] for name, values in shop.items()}
    columns = [
        few["log_price"],
        *(few["product"] == n for n in range(12)),
        *(few["week"] == n for n in range(1, WEEKS)),
    ]
    model = statsmodels.GLM(few["units"], np.column_stack(columns).astype(float), statsmodels.families.Poisson())
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": few["product"], "use_correction": False})
    found = elasticity.fit(**few)
    assert found.value == pytest.approx(fitted.params[0], abs=1e-5)
    assert found.error == pytest.approx(fitted.bse[0], rel=1e-3)


def test_prices_that_never_move_are_told(shop):
    with pytest.raises(ScienceError, match="No product changed its price"):
        elasticity.fit(**(shop | {"log_price": np.zeros(len(shop["units"]))}))
