"""The shop is within published bands at several seeds, and a band fails when its pattern is switched off."""

from dataclasses import replace
from functools import lru_cache

import duckdb
import pyarrow as pa
import pytest
from duckbook.generate import realism
from duckbook.generate.shop import fulfilment, records, reviews, season, stock
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.simulation import Shop
from duckbook.generate.shop.truth import truth
from shop_slices import END, FIRST_AS_OF, KEYS

PLANTED = Parameters()


def measured(seed=42, customers=5000, bands=realism.BANDS, **switched):
    """Measure the bands of a shop in memory, by name."""
    shop = Shop(customers, seed, FIRST_AS_OF, END, parameters=replace(PLANTED, **switched))
    connection = duckdb.connect()
    for table, make in records.SLICES.items():
        connection.register(f"every_{table}", pa.concat_tables(make(shop, shop.whole)).unify_dictionaries())
        columns = [name for name, *_ in connection.execute(f"describe every_{table}").fetchall()]
        newest = ""
        if "updated_at" in columns:
            newest = f"qualify row_number() over (partition by {KEYS[table][0]} order by updated_at desc) = 1"
        connection.execute(f"create view {table} as from every_{table} {newest}")
    for table, name in (("prices", "prices"), ("affinities", "affinities"), ("reviews", "review_tones")):
        connection.register(name, pa.concat_tables(truth(shop)[table]))
    return {row["name"]: row for row in realism.measure(connection, bands)}


measured_once = lru_cache(measured)


@pytest.mark.parametrize("seed", [42, 7, 2026])
def test_the_shop_is_within_published_bands(seed):
    failed = [row for row in measured_once(seed).values() if not row["passed"]]
    assert failed == []


SWITCHED = {
    "sessions with a purchase": {"visits_weekly": 0.01, "signup_visits": 1.0},
    "conversion, last year / first year after opening": {"interest_weeks": 60.0},
    "abandoned carts": {"abandoned_cart_share": 0.1},
    "cart adds per line bought": {"abandoned_cart_share": 0.02},
    "conversion, desktop / mobile": {"device_conversion": (1.0, 1.0, 1.0)},
    "goods returned, by value": {"return_scale": 0.3},
    "late deliveries": {"transit_sigma": 0.01},
    "days in transit, West Coast / near the warehouse": {"transit_zone_effect": 0.0},
    "reviews that praise and complain": {"review_mixed_share": 0.0},
    "reviews that contradict their stars": {"review_contradicting_share": 0.0},
    "income, bachelor's degree / high school": {"income_by_education": (1.0,) * 5},
    "income, age 45 to 54 / under 25": {"income_by_age": (1.0,) * 6},
    "mean stars, delivered on time": {"unhappy_on_time": 0.4},
    "mean stars, delivered late": {"unhappy_late": PLANTED.unhappy_on_time},
    "reviews with five stars": {"happy_scores": (0.0, 0.2, 0.4, 0.2, 0.2)},
    "reviews, one star / two stars": {"unhappy_scores": (0.3, 0.5, 0.1, 0.1, 0.0)},
    "price elasticity of units per view in promotions": {"elasticity_mean": 0.0, "elasticity_sd": 0.0},
    "Zipf exponent of units sold": {"popularity_exponent": 0.01},
    "Gini of spend, signed up 18+ months ago": {"bgnbd_r": 24.3, "bgnbd_alpha": 1000.0, "spend_q": 100.0},
    "spend of the top fifth, signed up 18+ months ago": {"bgnbd_r": 24.3, "bgnbd_alpha": 1000.0, "spend_q": 100.0},
    "buyers without a second order within 39 weeks": {"bgnbd_alpha": 1.0},
    "mean order value with shipping, USD": {"spend_mean": 35.0},
    "planted pairs among the 20 with the highest lift": {"partner_share": 0.0},
}


@pytest.mark.parametrize("name", SWITCHED)
def test_a_band_fails_when_its_pattern_is_switched_off(name):
    band = [band for band in realism.BANDS if band.name == name]
    assert not measured(bands=band, **SWITCHED[name])[name]["passed"]


CALENDAR = {
    "orders, Black Friday / mean day": [(season, "occasion", lambda day: 1.0)],
    "orders, Monday / Saturday": [(season, "WEEKDAYS", (1.0,) * 7)],
    "returns, January / mean month": [(fulfilment, "is_peak", lambda placed: placed < 0)],
    "shipments outside the warehouse's hours": [(fulfilment, "warehouse_works", lambda day: True)],
    "deliveries on Sundays and holidays": [(fulfilment, "carriers_deliver", lambda day: True)],
    "deliveries at night": [(fulfilment, "CARRIER_HOURS", (1.0,) * 24)],
    "reviews written between 1:00 and 6:00": [(season, "HOURS", (1.0,) * 24)],
    "bad reviews of late orders that mention it": [(reviews, "LATE_BLAMED", 0.0)],
    "products out of stock": [(stock, "FAILED_SHARE", 0.9)],
    "stock in months of sales": [(stock, "COVER_WEEKS", 1.0), (stock, "FEWEST", 1), (stock, "REORDER_WEEKS", 1.0)],
}
"""Patterns planted in the calendar and in constants, by the band that fails without them."""


def test_the_bands_of_the_calendar_fail_without_it(monkeypatch):
    for changes in CALENDAR.values():
        for change in changes:
            monkeypatch.setattr(*change)
    found = measured(bands=[band for band in realism.BANDS if band.name in CALENDAR])
    assert {name for name in CALENDAR if not found[name]["passed"]} == set(CALENDAR)


def test_every_band_has_a_test_that_switches_it_off():
    assert set(SWITCHED) | set(CALENDAR) == {band.name for band in realism.BANDS}


def test_a_band_without_data_does_not_pass():
    connection = duckdb.connect()
    connection.execute("create table reviews (review_score int)")
    (row,) = realism.measure(connection, [band for band in realism.BANDS if band.name == "reviews with five stars"])
    assert row["value"] is None and not row["passed"]
