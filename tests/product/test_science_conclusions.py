"""What the science notebooks conclude of a shop is what an independent computation says of it, or they are silent.

Shops of several seeds: with and without an effect of the mails, without the truth next to them, with tables missing.
Each takes minutes to make, so these tests run with ``make soak`` only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckbook
import numpy as np
import pandas as pd
import postgres_servers
import pytest
from duckbook.analysis import models
from duckbook.backends import servers, storage
from duckbook.publish import publisher
from duckbook.runs import run_archive
from duckbook.settings import Settings

SHOPS = {
    "with an effect": {"seed": 11, "planted": "experiment_uplift=0.4 experiment_share=0.3"},
    "without one": {"seed": 12, "planted": "experiment_uplift=0"},
    "of one's own": {"seed": 13, "planted": "experiment_uplift=0", "less": ("truth/",)},
    "sparse": {"seed": 14, "planted": "experiment_uplift=0", "less": ("truth/", "json/reviews", "json/products")},
}
REFUSED = {"sparse": {"reviews", "price_elasticity"}}
"""Shop → steps whose question cannot be asked there at all."""

NUMBER = r"[−-]?[\d,]+(?:\.\d+)?"


@dataclass
class Shop:
    """A shop with its science run."""

    name: str
    settings: Settings
    record: dict

    @property
    def has_truth(self) -> bool:
        return "less" not in SHOPS[self.name]

    def query(self, sql: str) -> pd.DataFrame:
        with closing(publisher.published(self.settings).connection) as connection:
            return connection.execute(sql).df()

    def said(self, step: str) -> str:
        """All that a notebook says, but for its pictures and cards; the test is skipped where it was refused."""
        if step in REFUSED.get(self.name, ()):
            pytest.skip(f"{self.name} refuses {step}")
        entry = next(entry for entry in self.record["steps"] if entry["name"] == step)
        cells = json.loads((self.settings.runs / "latest" / entry["notebook"]).read_text("utf-8"))["cells"]
        texts = []
        for output in (output for cell in cells for output in cell.get("outputs", [])):
            data = output.get("data", {})
            texts.append("".join(data.get("text/markdown") or data.get("text/plain") or output.get("text", "")))
        return "\n".join(text for text in texts if not text.startswith("### Model card"))

    def numbers(self, step: str, sentence: str) -> list[float]:
        """The numbers of a sentence, in which ``#`` stands for each."""
        pattern = re.escape(sentence).replace(r"\#", f"({NUMBER})")
        found = re.search(pattern, self.said(step))
        assert found, (sentence, self.said(step))
        return [float(number.replace(",", "").replace("−", "-")) for number in found.groups()]


@pytest.fixture(scope="module", params=SHOPS)
def shop(request, tmp_path_factory, soak) -> Iterator[Shop]:
    if not soak:
        pytest.skip("takes minutes: make soak")
    for module in ("statsmodels", "sklearn", "skops"):
        pytest.importorskip(module, reason="comes with make science")
    chosen, folder = SHOPS[request.param], tmp_path_factory.mktemp("science")
    shop = Settings(data=folder / "data", runs=folder / "runs", _env_file=None)
    command(
        shop,
        "--until",
        "generate_latest",
        "--customers",
        "5000",
        "--seed",
        str(chosen["seed"]),
        "--planted",
        chosen["planted"],
    )
    take_away(shop, chosen.get("less", ()))
    command(shop, "--no-generate", "--until", "publish")
    command(shop, "--only", "science")
    yield Shop(request.param, shop, run_archive.read(shop.runs / "latest"))
    servers.down(shop)


def command(shop: Settings, *arguments: str) -> None:
    program = Path(sys.executable).parent / "duckbook"
    said = subprocess.run(
        [program, "run", "--data", str(shop.data), "--runs", str(shop.runs), *arguments],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout + said.stderr


def take_away(shop: Settings, prefixes: tuple[str, ...]) -> None:
    """What a shop of one's own does not land."""
    endpoints = servers.up(shop)
    client = storage.client(endpoints.s3)
    for bucket in (shop.s3_historic_bucket, shop.s3_latest_bucket):
        for prefix in prefixes:
            storage.delete_prefix(client, bucket, prefix)
    if len(prefixes) > 1:
        with postgres_servers.connect(endpoints.postgres_dsn, autocommit=True) as connection:
            for table in ("interactions", "latest_interactions"):
                connection.execute(f'drop table "{shop.postgres_schema}".{table}')


def test_every_question_that_can_be_asked_is_answered(shop):
    refused = {step["name"]: step["error"] for step in shop.record["steps"] if step["status"] == "skipped"}
    assert set(refused) == REFUSED.get(shop.name, set())
    assert all(error.startswith("The published marts hold ") for error in refused.values())


def test_what_needs_the_truth_is_left_out_and_said_where_there_is_none(shop):
    left_out = {
        step["name"]: shop.said(step["name"]).count("Left out")
        for step in shop.record["steps"]
        if step["status"] == "succeeded" and step["name"] != "features"
    }
    assert all((count > 0) != shop.has_truth for count in left_out.values()), left_out


def test_lifetime_value_counts_what_came_after_the_cut(shop):
    end = date.fromisoformat(publisher.current(shop.settings).as_of)
    cut = end - timedelta(days=182)
    orders = shop.query(
        "select o.customer_key, o.ordered_at::date as day "
        "from ecom_marts.fct_customer_orders as o, ecom_marts.dim_customers as c "
        "where o.customer_key = c.customer_key and not c.is_unknown and o.ordered_at is not null"
    )
    orders["day"] = pd.to_datetime(orders.day).dt.date
    known = set(orders.customer_key[orders.day <= cut])
    later = orders[(orders.day > cut) & orders.customer_key.isin(known)]
    forecast, placed = shop.numbers("lifetime_value", "After the cut # repeat purchases were forecast and # placed")
    assert placed == len(later.drop_duplicates(["customer_key", "day"]))
    ratio, low, high = shop.numbers("lifetime_value", "Purchases, forecast / placed: # (95% interval # to #)")
    assert ratio == pytest.approx(forecast / placed, abs=0.006)
    verdict = "too high" if low > 1 else "too low" if high < 1 else "no bias detected"
    assert re.search(rf"Purchases, forecast / placed: [^\n]*\), {verdict} in total", shop.said("lifetime_value"))
    assert 0.6 < ratio < 1.6


def test_next_purchase_says_what_its_model_says_of_who_ordered(shop):
    saved = models.load(shop.settings, "next-purchase")
    end = date.fromisoformat(publisher.current(shop.settings).as_of)
    day = end - timedelta(days=90)
    table = duckbook.load("features", as_of=day, labels=False, settings=shop.settings)
    chance = saved["model"].predict_proba(table[saved["columns"]].astype(float).to_numpy())[:, 1]
    after = shop.query(
        "select distinct customer_key from ecom_marts.fct_customer_orders "
        f"where ordered_at::date > '{day}' and ordered_at::date <= '{end}'"
    )
    ordered = table.customer_key.isin(after.customer_key).to_numpy()
    said, did = shop.numbers("next_purchase", "The model expected # customers to order and # did")
    assert (said, did) == (round(chance.sum()), ordered.sum())
    best = pd.Series(chance).rank(method="first").to_numpy() > np.ceil(0.9 * (len(chance) - 1) + 1 - 1e-9)
    text = re.search(r"Share of the tenth with the highest probabilities[^\n]*", shop.said("next_purchase")).group()
    shares = [float(share) for share in re.findall(r"([\d.]+)% for", text)]
    assert shares == pytest.approx([100 * chance[best].mean(), 100 * ordered[best].mean()], abs=0.25)
    gap, error = chance[best].mean() - ordered[best].mean(), np.std(chance[best] - ordered[best]) / np.sqrt(best.sum())
    assert ("no difference can be told" in text) == (abs(gap) < 1.96 * error) or abs(abs(gap) / error - 1.96) < 0.1


def test_the_sales_forecast_is_no_better_than_it_says(shop):
    sales = shop.query(
        "select date_trunc('week', date_day)::date as week, sum(net_amount)::double as amount, count(*) as days "
        "from ecom_marts.fct_sales_by_date where date_day is not null group by 1 order by 1"
    )
    amount = sales.amount[sales.days == 7].to_numpy()
    errors = []
    for start in range(len(amount) - 13 * 6, len(amount), 13):
        before = amount[:start]
        naive = before[-52:-39] * before[-13:].sum() / before[-65:-52].sum()
        errors.append(np.abs(naive - amount[start : start + 13]).sum() / amount[start : start + 13].sum())
    said = shop.said("sales_forecast").replace("+", "")
    _, by_naive = shop.numbers("sales_forecast", "Mean error of a week: #% by the model, #% by naive with growth: ")
    assert by_naive == pytest.approx(100 * np.mean(errors), abs=0.06)
    gap = re.search(rf"difference ({NUMBER}) points to ({NUMBER}) points, 6 origins", said)
    low, high = (float(limit.replace("−", "-")) for limit in gap.groups())
    verdict = "the model is better" if high < 0 else "the model is worse" if low > 0 else "no difference can be told"
    assert verdict in said


def test_the_experiment_finds_an_effect_where_an_analysis_of_covariance_does(shop):
    import statsmodels.api as sm

    said = shop.said("experiment")
    if not shop.has_truth:
        assert "A/A test" in said
        return
    truth = truth_of(shop, "experiment")
    orders = shop.query(
        "select c.customer_id, o.ordered_at::date as day from ecom_marts.fct_customer_orders as o, "
        "ecom_marts.dim_customers as c where o.customer_key = c.customer_key and o.customer_order_number > 1"
    )
    known = set(shop.query("select customer_id from ecom_marts.dim_customers where not is_unknown").customer_id)
    truth = truth.assign(customer_id=truth.customer_id.astype(str))
    truth = truth[truth.customer_id.isin(known)].set_index("customer_id")
    day, first = pd.to_datetime(orders.day), pd.Timestamp(truth.first_day.iloc[0])
    periods = {
        "during": (day >= first) & (day <= pd.Timestamp(truth.last_day.iloc[0])),
        "before": (day < first) & (day >= first - pd.Timedelta(days=91)),
    }
    counts = {
        name: orders[chosen].customer_id.value_counts().reindex(truth.index, fill_value=0)
        for name, chosen in periods.items()
    }
    design = sm.add_constant(pd.DataFrame({"treated": truth.is_treated.astype(float), "before": counts["before"]}))
    fit = sm.OLS(counts["during"], design).fit(cov_type="HC1")
    p, effect = fit.pvalues["treated"], fit.params["treated"]
    if not 0.03 < p < 0.08:
        told = "An effect of the mails cannot be told from none" if p > 0.05 else "With the mails there are "
        assert told in said, (p, said)
    uplift = re.search(rf"({NUMBER})% (?:more |fewer )?repeat orders \(95% interval", said.replace("+", ""))
    assert abs(float(uplift.group(1).replace("−", "-"))) == pytest.approx(
        abs(100 * effect / (counts["during"].mean() - effect * truth.is_treated.mean())), abs=2
    )


def test_of_the_reviews_as_many_are_told_wrong_as_it_says(shop):
    end = date.fromisoformat(publisher.current(shop.settings).as_of)
    said = shop.said("reviews")
    later = shop.query(
        "select r.review_score as stars, r.review_text as text from ecom_marts.fct_customer_reviews as r, "
        "ecom_marts.dim_products as p where r.product_key = p.product_key and not p.is_unknown and "
        f"r.review_score is not null and trim(r.review_text) != '' and r.reviewed_at::date > '{end}'::date - 182"
    )
    score = models.load(shop.settings, "review-sentiment").predict_proba(later.text)[:, 1]
    happy = (later.stars >= 4).to_numpy()
    reviews, wrong = shop.numbers("reviews", "Of # later reviews # are misclassified")
    assert (reviews, wrong) == (len(later), ((score >= 0.5) != happy).sum())
    pairs = (score[happy][:, None] > score[~happy][None, :]).mean()
    auc, low, high = shop.numbers("reviews", "AUC of the text: # (95% interval # to #)")
    assert auc == pytest.approx(pairs, abs=0.002)
    assert 0.8 < auc < 0.99 and low < auc < high, said


def test_the_elasticity_is_that_of_the_prices_which_were_asked(shop):
    from duckbook.analysis import elasticity

    value, low, high = shop.numbers("price_elasticity", "The elasticity of a promotion is # (95% interval # to #")
    assert low < value < high < 0
    if not shop.has_truth:
        return
    prices = truth_of(shop, "prices").assign(week=lambda rows: pd.to_datetime(rows.week))
    units = shop.query(
        "select p.product_id, date_trunc('week', l.ordered_at)::date as week, sum(l.units)::double as units "
        "from ecom_marts.fct_order_details as l, ecom_marts.dim_products as p "
        "where l.product_key = p.product_key and not p.is_unknown and l.ordered_at is not null group by all"
    )
    units["week"] = pd.to_datetime(units.week)
    panel = prices.assign(product_id=prices.product_id.astype(str)).merge(units, on=["product_id", "week"], how="left")
    panel = panel[panel.week <= panel.week.unique()[-2 if panel.week.max().dayofweek else -1] - pd.Timedelta(weeks=26)]
    discount = np.log(panel.sale_price.astype(float) / panel.base_price.astype(float))
    again = elasticity.fit(panel.units.fillna(0), discount, panel.product_id, panel.week)
    assert value == pytest.approx(again.value, abs=0.15)
    planted = truth_of(shop, "products").elasticity.astype(float).mean()
    assert abs(value - planted) < 0.8


def truth_of(shop: Shop, name: str) -> pd.DataFrame:
    from duckbook.backends import warehouse
    from duckbook.generate import ground_truth

    with closing(warehouse.engine(shop.settings)) as connection:
        ground_truth.attach(connection, shop.settings, servers.up(shop.settings))
        return connection.execute(f"from truth.{name}").df()
