"""Of shops after the formats of other people's data the truth is told: no red run, no false sentence, no place moved.

The shops are those of tests/outside.py. One is quick; all, through the whole command line, run with `make soak`.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import outside
import pytest
from conclusions import GRAMMAR, Books, execute, sentences, untrue
from duckbook.backends import servers
from duckbook.publish import publisher
from duckbook.settings import Settings
from duckbook.transform import dbt_layers
from landing_zone import Shop

for module in sorted(Path(__file__).parents[1].glob("conclusions_of_*.py")):
    importlib.import_module(module.stem)

FILTERS = {
    "online_retail": [
        {"sales": {"period_start": "2011-01-01"}, "customers": {"period_start": "2011-06-01"}},
        {
            "sales": {"period_start": "2011-11-07", "period_end": "2011-11-07"},
            "operations": {"period_end": "2011-05-31"},
        },
        {
            "sales": {"category": "unknown"},
            "operations": {"period_start": "2011-11-01"},
            "all_marts": {"mart": "fct_sales_by_region"},
        },
        {
            "sales": {"period_end": "2011-06-30"},
            "customers": {"period_end": "2011-05-31"},
            "all_marts": {"mart": "dim_locations"},
        },
        {"sales": {"period_start": "2011-05-15", "period_end": "2011-08-14"}, "products": {"period_end": "2011-06-01"}},
    ],
    "olist": [
        {
            "sales": {"state": "SC"},
            "customers": {"state": "SC"},
            "products": {"category": "telefonia"},
            "operations": {"state": "SC"},
        },
        {"sales": {"category": "cama_mesa_banho"}, "customers": {"state": "SP"}, "operations": {"state": "SP"}},
        {"sales": {"state": "RJ", "period_start": "2017-06-01"}, "products": {"period_start": "2017-06-01"}},
        {"sales": {"state": "AL"}, "customers": {"period_start": "2018-01-01"}, "operations": {"state": "AL"}},
        {
            "sales": {"period_end": "2017-12-31"},
            "operations": {"period_start": "2018-08-01"},
            "all_marts": {"mart": "fct_fulfilment"},
        },
    ],
    "shopify": [
        {"sales": {"state": "TX"}, "operations": {"state": "TX"}, "all_marts": {"mart": "fct_sales_by_region"}},
        {"sales": {"state": "ON"}, "operations": {"state": "ON"}},
        {"sales": {"period_start": "2026-01-01"}, "operations": {"period_start": "2026-01-01"}},
        {"sales": {"period_end": "2025-12-31"}, "products": {"period_start": "2026-01-01"}},
        {
            "sales": {"period_start": "2025-11-01", "period_end": "2025-11-30"},
            "operations": {"period_end": "2025-12-31"},
        },
    ],
}
"""Five filters of each shop: parameters by notebook."""

AS_A_FACT = re.compile(r"\b(nan|NaN|NaT|None|inf|unknown is the|<NA>)\b")
"""What a sentence must not say of what is not known."""

COUNTRY_OF = {"Texas": "United States", "WA 98101": "United States", "California": "United States",
              "ME 04101": "United States", "Canada": "Canada", "QC H3A": "Canada", "SW1A": "United Kingdom",
              "Berlin": "Germany", "75001": "France", "NSW": "Australia"}  # fmt: skip


def ordered_by(books: Books, column: str) -> dict[str, Decimal]:
    """What was ordered after discounts by a column of dim_locations, whatever became of the orders."""
    lines = books.mart("fct_order_details").merge(books.mart("dim_locations"), on="location_key")
    return {name: Decimal(str(amount)) for name, amount in lines.groupby(column).net_amount.sum().items()}


def hold(books: Books, notebook: str, parameters: dict, said: dict) -> list[str]:
    """What is wrong with what a notebook said."""
    wrong = [said["error"]] if said["error"] and not said["error"].startswith("NotEnough: ") else []
    wrong += [f"{notebook} says as a fact: {one}" for one in sentences(said) if AS_A_FACT.search(one)]
    return wrong + untrue(notebook, books, parameters, said)


def wrong_in(books: Books, jobs: list[tuple[str, dict]], folder: Path) -> list[str]:
    """What is wrong in all that these notebooks say."""
    said = execute(books.data, jobs, folder)
    return [line for job, one in zip(jobs, said, strict=True) for line in hold(books, *job, one)]


@pytest.fixture(scope="module")
def small_shopify(tmp_path_factory, external_endpoints) -> tuple[Books, outside.Tables]:
    """A few hundred orders of the export, published, and what was landed."""
    folder = tmp_path_factory.mktemp("outside")
    shop, tables = Shop(folder / "data", external_endpoints, "outside"), outside.shopify(600)
    outside.land(tables, external_endpoints, "outside-past", "outside")
    shop.ingest()
    dbt_layers.build(shop.settings, "all")
    publisher.publish(shop.settings, "outside")
    return Books(shop.settings.data), tables


def test_money_goes_to_the_countries_and_states_that_the_addresses_say(small_shopify):
    books, tables = small_shopify
    address_of = {order["order_id"]: order["shipping_address"] or "" for order in tables["orders"]}
    discount_of = {order["order_id"]: Decimal(order["discount_amount"]) for order in tables["orders"]}
    sold: Counter = Counter()
    for item in tables["order_items"]:
        sold[item["order_id"]] += item["total_price"]
    by_country, in_texas = Counter(), Decimal(0)
    for order, address in address_of.items():
        country = next((country for sign, country in COUNTRY_OF.items() if sign in address), "unknown")
        by_country[country] += sold[order] - discount_of[order]
        in_texas += sold[order] - discount_of[order] if "Texas" in address else 0
    assert ordered_by(books, "country") == dict(by_country)
    assert ordered_by(books, "state_name")["Texas"] == in_texas


def test_what_is_said_of_an_export_is_true(small_shopify, tmp_path):
    books, _ = small_shopify
    jobs = [("sales", {}), ("operations", {})]
    assert (wrong := wrong_in(books, jobs, tmp_path)) == [], "\n".join(wrong)


@pytest.fixture(scope="module", params=outside.SHOPS)
def shop(request, tmp_path_factory, soak):
    """A shop through the command line: its name, its books, and the records of its runs."""
    if not soak:
        pytest.skip("takes minutes: make soak")
    folder = tmp_path_factory.mktemp(request.param)
    shop = Settings(data=folder / "data", runs=folder / "runs", _env_file=None)
    outside.land(outside.SHOPS[request.param](), servers.up(shop))
    records = {}
    for name, arguments in {
        "pipeline": ["--no-generate"], "explore": ["--only", "explore"], "science": ["--only", "science"],
        "bi": ["--only", "bi"],
    }.items():  # fmt: skip
        if name == "science" and not importlib.util.find_spec("statsmodels"):
            continue
        program = [str(Path(sys.executable).parent / "duckbook"), "run", "--data", shop.data, "--runs", shop.runs]
        done = subprocess.run([*program, *arguments], env=os.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        records[name] = json.loads((shop.runs / "latest" / "run.json").read_text("utf-8"))
    yield request.param, Books(shop.data), records
    servers.down(shop)


def test_no_run_is_red_and_what_is_left_out_is_a_sentence(shop):
    _, _, records = shop
    steps = [step for record in records.values() for step in record["steps"]]
    assert {step["status"] for step in steps} <= {"succeeded", "skipped"}
    left_out = [step for step in steps if step["status"] == "skipped"]
    assert all(re.fullmatch(r"[A-Z].+\.", step["error"]) for step in left_out), left_out
    assert not [step for step in records["pipeline"]["steps"] if step["status"] == "skipped"]
    assert all(row["equal"] for row in records["pipeline"]["reconciliation"])


def test_what_is_said_is_true_whatever_the_filter(shop, tmp_path):
    name, books, _ = shop
    jobs = [(notebook, {}) for notebook in sorted(GRAMMAR)]
    jobs += [(notebook, chosen) for filters in FILTERS[name] for notebook, chosen in filters.items()]
    assert (wrong := wrong_in(books, jobs, tmp_path)) == [], "\n".join(wrong)


def test_no_state_of_brazil_is_one_of_the_united_states(shop):
    name, books, _ = shop
    if name != "olist":
        pytest.skip("of the shop in Brazil")
    places = books.mart("dim_locations")
    assert set(places.country) == {"Brazil", "unknown"}
    assert set(places.region) == {"unknown"}
    assert {"SC", "PA", "AL", "MT"} <= set(places.state)
    assert "South Carolina" not in set(places.state_name)
