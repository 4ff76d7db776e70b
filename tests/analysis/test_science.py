"""Helpers of the science notebooks: intervals, model cards, saved models, and the planted truth."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pytest
from duckbook.analysis import models, science, text_model
from duckbook.backends import manifest, servers, storage, warehouse
from duckbook.errors import NotEnough, ScienceError
from duckbook.generate import ground_truth, landing
from duckbook.runs import chain, prerequisites
from duckbook.runs.chain import read_chain
from duckbook.runs.request import Request
from duckbook.settings import Settings

CARD = models.Card(
    name="a-model",
    purpose="To be tested.",
    method="A mean.",
    training="Ten rows.",
    evaluation="Five later rows.",
    metrics=[{"metric": "error", "found": 0.12, "low": -0.1, "high": float("nan"), "baseline": 1234.5, "n": 1234}],
    findings=["The error is lower than chance (n = 30)"],
    limits=["Nowhere else."],
    truth=[{"parameter": "r", "planted": 0.243, "found": 0.25}],
)


def test_an_interval_covers_the_mean_at_its_level():
    draw, covered = np.random.default_rng(1), 0
    for seed in range(60):
        low, high = science.bootstrap(np.mean, draw.normal(3.0, 1.0, 80), draws=200, level=0.9, seed=seed)
        covered += low < 3.0 < high
    assert 45 <= covered <= 59


def test_rows_are_drawn_together():
    x = np.arange(50.0)
    assert science.bootstrap(lambda a, b: np.abs(a - 2 * b).max(), 2 * x, x) == (0.0, 0.0)


def test_a_metric_has_an_interval_and_is_reproducible():
    x = np.random.default_rng(2).normal(5, 1, 200)
    row = science.metric("mean", np.mean, x)
    assert row == science.metric("mean", np.mean, x)
    assert row["low"] < row["found"] == x.mean() < row["high"]


def published(customers: int) -> duckdb.DuckDBPyConnection:
    """A connection to marts with this many customers and the unknown member."""
    connection = duckdb.connect()
    connection.execute("create schema ecom_marts")
    connection.execute(
        f"create table ecom_marts.dim_customers as select range = {customers} as is_unknown from range({customers + 1})"
    )
    return connection


def test_the_minimum_number_of_customers_is_enough():
    assert science.require_customers(published(science.MIN_CUSTOMERS), is_generated=True) == 5_000
    assert science.require_customers(published(science.MIN_CUSTOMERS_OWN_DATA), is_generated=False) == 500


def test_too_few_customers_raise_with_a_remedy():
    with pytest.raises(NotEnough, match=r"hold too few customers, 4,999.*at least 5,000.*CUSTOMERS=5000"):
        science.require_customers(published(4_999), is_generated=True)
    with pytest.raises(
        NotEnough,
        match=r"hold too few customers, 499: this notebook needs at least 500\.$",
    ):
        science.require_customers(published(499), is_generated=False)


@pytest.mark.parametrize(
    ("is_generated", "enough"), [(True, science.MIN_CUSTOMERS), (False, science.MIN_CUSTOMERS_OWN_DATA)]
)
def test_too_few_customers_raise_before_any_notebook_runs(tmp_path, is_generated, enough):
    shop = Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None)
    folder = shop.data / "published" / "r"
    folder.mkdir(parents=True)
    (folder / "dim_customers.parquet").touch()
    (folder.parent / "CURRENT").write_text("r\n")
    if is_generated:
        (shop.data / "servers").mkdir()
        landed = {"customers": enough, "seed": 1, "dirt": 0, "first_as_of": "2026-06-30", "last_as_of": None}
        copy = shop.data / "servers" / f"{shop.s3_historic_bucket}.{manifest.KEY}"
        copy.write_text(json.dumps(landed | {"history": []}))

    def checked(customers: int) -> date | None:
        marts = {"dim_customers": {"rows": customers + 1}}
        (folder / "publication.json").write_text(json.dumps({"run_id": "r", "as_of": "2026-06-30", "marts": marts}))
        return prerequisites.check(shop, request, chain.select(chain.read_chain(), only=request.only))

    request = Request(only="science")
    assert checked(enough) == date(2026, 6, 30)
    with pytest.raises(
        NotEnough, match=rf"too few customers, {enough - 1:,}: data science needs at least {enough:,}\."
    ):
        checked(enough - 1)
    # Outside data science too few customers are no reason to stop.
    request = Request(only="explore_sales")
    assert checked(enough - 1) == date(2026, 6, 30)
    assert not shop.runs.exists()


def test_a_parameter_out_of_its_range_is_refused_by_name():
    science.require_between(1, 52, horizon=52)
    with pytest.raises(ScienceError, match=r"horizon=0 must be from 1 to 52"):
        science.require_between(1, 52, origins=3, horizon=0)


def test_too_few_days_raise():
    science.require_days(date(2026, 1, 1), date(2026, 1, 10), 10, "This")
    with pytest.raises(ScienceError, match=r"This needs 11 days of data.*2026-01-01 to 2026-01-10 there are 10"):
        science.require_days(date(2026, 1, 1), date(2026, 1, 10), 11, "This")


def test_too_few_rows_raise():
    science.require_rows(30, 30, "reviews")
    with pytest.raises(ScienceError, match=r"hold too few reviews, 29.*at least 30"):
        science.require_rows(29, 30, "reviews")


def test_an_interval_without_rows_raises():
    with pytest.raises(ScienceError, match="at least one row"):
        science.bootstrap(np.mean, [])


def test_the_deviance_is_lowest_for_the_true_mean_and_not_for_a_forecast_of_no_purchases():
    bought = np.random.default_rng(3).poisson(0.3, 4000)
    score = {mean: science.deviance(bought, np.full(4000, mean)).mean() for mean in (0.01, 0.2, 0.3, 0.4)}
    assert min(score, key=score.get) == 0.3
    assert np.abs(bought - 0.01).mean() < np.abs(bought - 0.3).mean()
    assert science.deviance([0, 2], [1.0, 2.0]).tolist() == [2.0, 0.0]


def test_the_interval_of_a_few_values_covers_the_mean_at_its_level():
    draw = np.random.default_rng(4)
    covered = [low < 0 < high for _, low, high in (science.mean_interval(draw.normal(size=6)) for _ in range(400))]
    assert 0.92 < np.mean(covered) < 0.98
    assert np.isnan(science.mean_interval([1.0])[1])


def test_a_card_has_metrics_findings_and_truth():
    page = CARD.markdown()
    assert "| error | 0.120 | −0.100 | – | 1,234.5 | 1,234 |" in page
    assert "**Findings**\n\n- The error is lower than chance (n = 30)\n" in page
    assert "Against the planted truth" in page
    assert "Against the planted truth" not in models.Card(**{**CARD.__dict__, "truth": []}).markdown()


def test_a_saved_model_loads_with_its_card(tmp_path):
    pytest.importorskip("skops", reason="comes with make science")
    shop = Settings(data=tmp_path, _env_file=None)
    folder = models.save(shop, {"r": 0.243, "at": np.arange(3.0)}, CARD)
    assert models.load(shop, "a-model")["at"].tolist() == [0.0, 1.0, 2.0]
    assert (folder / "card.md").read_text("utf-8") == CARD.markdown()
    saved = json.loads((folder / "card.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert saved["metrics"] == [CARD.metrics[0] | {"high": None}]


def test_an_unknown_or_unsafe_model_is_refused(tmp_path):
    skops_io = pytest.importorskip("skops.io", reason="comes with make science")
    shop = Settings(data=tmp_path, _env_file=None)
    models.save(shop, {"r": 1.0}, CARD)
    with pytest.raises(ScienceError, match="no saved model 'other': there are a-model"):
        models.load(shop, "other")
    skops_io.dump({"f": CARD}, tmp_path / "models" / "a-model" / "model.skops")
    with pytest.raises(ScienceError, match="could run code"):
        models.load(shop, "a-model")
    with pytest.raises(ScienceError, match="letters, digits and hyphens"):
        models.load(shop, "../a")


def test_the_truth_of_data_landed_by_others_is_empty_and_has_its_columns(start_shop):
    shop = start_shop("no truth", customers=200)
    connection = warehouse.engine(shop)
    assert ground_truth.attach(connection, shop, servers.up(shop)) is False
    for name in ground_truth.TABLES:
        assert connection.sql(f"from truth.{name}").fetchall() == []
    assert "is_treated" in connection.sql("from truth.experiment").columns


def test_a_simulated_shop_is_introduced_and_your_own_data_are_not(start_shop, capsys):
    shop = start_shop("introduced", customers=200, seed=7, planted="spend_mean=60")
    endpoints = servers.up(shop)
    landing.land_history(shop, endpoints, **manifest.choose(shop, endpoints))
    capsys.readouterr()
    ground_truth.introduce(shop, endpoints)
    assert capsys.readouterr().out == "Shop: 200 customers, seed 7, planted spend_mean=60\n"
    storage.delete_prefix(storage.client(endpoints.s3), shop.s3_historic_bucket, "truth/")
    ground_truth.introduce(shop, endpoints)
    assert capsys.readouterr().out == ""


def reads_the_truth(notebook: Path) -> list[str]:
    """Cells that query the truth outside the section that compares results with it."""
    found, scores = [], False
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and "## " in source:
            scores = "The only section that reads" in source
        elif re.search(r"\btruth\.", source) and cell["cell_type"] == "code" and not scores:
            found.append(cell["id"])
    return found


@pytest.mark.parametrize("step", [step for step in read_chain() if step.group == "science"], ids=lambda step: step.name)
def test_the_truth_is_only_used_to_score_results(step):
    """Except for the treated customers of the experiment, which only its own table has."""
    assert reads_the_truth(step.notebook) == (["14-04a"] if step.name == "experiment" else [])


def rate(texts: list[str]) -> list[float]:
    """A text model set by the user."""
    return [float("good" in text) for text in texts]


def rate_one(texts: list[str]) -> list[float]:
    return [0.5]


def test_the_function_named_in_the_setting_rates_texts(tmp_path):
    shop = Settings(data=tmp_path, text_model="test_science:rate", _env_file=None)
    assert text_model.sentiment(shop, ["good", "bad"]).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("test_science:rate_one", "one number from 0 to 1"),
        ("test_science:nothing", "failed with AttributeError"),
        ("no_such_module:rate", "failed with ModuleNotFoundError"),
    ],
)
def test_an_unusable_function_is_reported(tmp_path, named, sentence):
    with pytest.raises(ScienceError, match=f"DUCKBOOK_TEXT_MODEL={named} .*{sentence}"):
        text_model.sentiment(Settings(data=tmp_path, text_model=named, _env_file=None), ["good", "bad"])


def test_the_local_model_must_be_trained_first(tmp_path):
    pytest.importorskip("skops", reason="comes with make science")
    with pytest.raises(ScienceError, match="no saved model 'review-sentiment'"):
        text_model.sentiment(Settings(data=tmp_path, _env_file=None), ["good"])
