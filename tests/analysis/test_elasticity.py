"""The regression recovers the elasticity of a simulated shop, and is biased without week effects."""

from __future__ import annotations

import numpy as np
import pytest
from duckbook.analysis import elasticity
from duckbook.errors import ScienceError

PRODUCTS, WEEKS = 120, 104


@pytest.fixture
def shop() -> dict[str, np.ndarray]:
    """A shop with more promotions in weeks with high demand."""
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


def test_without_week_effects_the_season_biases_the_elasticity(shop):
    assert elasticity.fit(**(shop | {"week": None})).high < -2.5


def test_it_equals_a_regression_with_dummy_columns(shop):
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


def test_constant_prices_raise(shop):
    with pytest.raises(ScienceError, match="No product changed its price"):
        elasticity.fit(**(shop | {"log_price": np.zeros(len(shop["units"]))}))
