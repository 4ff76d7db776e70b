"""Publications: whole, tested, switched at once, and read without a lock."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import subprocess
import sys
from datetime import date, timedelta

import duckdb
import pytest
from duckbook.backends import warehouse
from duckbook.errors import PublishError, WarehouseLocked
from duckbook.publish import publication, published_files, publisher
from duckbook.publish.publication import PublicationBackend
from duckbook.settings import Settings
from duckbook.transform import contracts, dbt_layers
from shop import copy_of


@pytest.fixture
def shop(built_shop, tmp_path) -> Settings:
    """A copy of the shop with nothing published."""
    return copy_of(built_shop[0], tmp_path)


def checksums(shop: Settings, name: str) -> dict[str, str]:
    folder = shop.data / "published" / name
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.parquet")}


def test_every_mart_is_published_and_nothing_else(shop):
    made = publisher.publish(shop, "a")
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        names = {
            name
            for (name,) in connection.execute(
                "select table_name from duckdb_tables() where schema_name = 'ecom_marts'"
            ).fetchall()
        }
    assert set(made.marts) == names - {"reconciliation"}
    assert made.as_of == "2026-06-30"
    told = json.loads((shop.data / "published" / "a" / "publication.json").read_text("utf-8"))
    assert {f"{mart}.parquet": entry["sha256"] for mart, entry in told["marts"].items()} == checksums(shop, "a")


def ingested_since(shop: Settings, day: str) -> None:
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("delete from ecom_raw.as_of")
        connection.execute("insert into ecom_raw.as_of values (?)", [day])


def test_marts_are_published_as_of_the_day_that_they_were_built_with_whatever_was_ingested_since(shop):
    ingested_since(shop, "2026-07-30")
    assert publisher.publish(shop, "a").as_of == "2026-06-30"
    # Built again from the staging of the day before, they are of that day as well.
    dbt_layers.build(shop, "marts")
    assert publisher.publish(shop, "b").as_of == "2026-06-30"
    with publisher.published(shop) as reader:
        last = reader.connection.execute("select max(date_day) from ecom_marts.dim_dates").fetchone()
    assert last == (date(2026, 6, 30),)


def test_marts_that_do_not_say_of_which_day_they_are_are_refused(shop):
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("alter table ecom_marts.reconciliation drop column as_of")
    with pytest.raises(PublishError, match="have no as-of date: build them"):
        publisher.publish(shop, "a")


def test_readers_find_the_marts_by_the_names_of_the_warehouse(shop):
    publisher.publish(shop.model_copy(update={"mask_personal": False}), "a")
    reader = publisher.published(shop)
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        for mart, rows in reader.publication.marts.items():
            query = f"from ecom_marts.{mart} order by all"
            found = reader.connection.execute(query).fetchall()
            assert len(found) == rows
            assert found == connection.execute(query).fetchall()


def test_personal_columns_are_masked_and_all_others_are_what_they_were(shop):
    publisher.publish(shop, "a")
    reader, masked = publisher.published(shop), 0
    assert reader.publication.masked
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        for mart, contract in contracts.load_marts(shop).items():
            if mart not in reader.publication.marts:
                continue
            rest = ", ".join(column.name for column in contract.columns if not column.personal)
            query = f"select {rest} from ecom_marts.{mart} order by all"
            assert reader.connection.execute(query).fetchall() == connection.execute(query).fetchall(), mart
            for name in contract.personal:
                told = f"select typeof({name}), count({name}), count(distinct {name}) from ecom_marts.{mart} group by 1"
                kind, there, different = reader.connection.execute(told).fetchone()
                was = connection.execute(told).fetchone()
                assert kind == was[0]
                # A text that was there is seen to have been there; a number is gone.
                assert (there, different) == ((was[1], 1) if kind == "VARCHAR" else (0, 0)), f"{mart}.{name}"
                masked += 1
    assert masked >= 10


def test_a_mart_that_no_model_declares_is_not_published(shop):
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("create table ecom_marts.fct_secrets as select 'Ada' as first_name")
    with pytest.raises(PublishError, match="No model declares the mart fct_secrets"):
        publisher.publish(shop, "a")


def test_the_same_marts_give_the_same_bytes(shop):
    publisher.publish(shop, "a")
    publisher.publish(shop.model_copy(update={"threads": 1}), "b")
    assert checksums(shop, "a") == checksums(shop, "b")


def test_a_fact_is_published_in_the_order_of_its_days(shop):
    publisher.publish(shop, "a")
    found = {}
    for mart in ("fct_customer_orders", "fct_order_details", "fct_customer_reviews"):
        file = shop.data / "published" / "a" / f"{mart}.parquet"
        days = [day for (day,) in duckdb.execute(f"select date_key from '{file}'").fetchall()]
        found[mart] = days == sorted(days) and len(set(days)) > 1
    assert found == dict.fromkeys(found, True)


def test_a_reader_holds_no_lock_on_the_warehouse(shop):
    publisher.publish(shop, "a")
    reader = publisher.published(shop)
    code = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('create table x as select 1')"
    subprocess.run([sys.executable, "-c", code, str(shop.warehouse_path)], check=True)
    assert reader.connection.execute("select count(*) from ecom_marts.dim_customers").fetchone()[0] > 0


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"JPY_SESSION_NAME": "/home/me/04_staging.ipynb"}, r"the notebook 04_staging\.ipynb \(PID \d+\): run `book"),
        ({"DUCKBOOK_RUN_ID": "20260630T000000"}, r"run 20260630T000000 \(PID \d+\): wait for it to end"),
        ({}, r"another process \(PID \d+\): end it"),
    ],
)
def test_who_holds_the_warehouse_is_told_with_how_they_let_go(shop, environment, sentence):
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(shop.warehouse_path)],
        env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        holder.stdout.readline()
        with pytest.raises(WarehouseLocked, match=sentence):
            publisher.publish(shop, "a")
        holder.stdin.close()


def test_nothing_published_names_the_notebook_to_run(shop):
    with pytest.raises(PublishError, match=r"run 07_publish\.ipynb first"):
        publisher.published(shop)
    assert publisher.current(shop) is None


def spoil(shop: Settings) -> None:
    results = shop.data / "dbt" / "layers" / "marts.json"
    told = json.loads(results.read_text("utf-8"))
    test = next(result for result in told["results"] if result["unique_id"].startswith("test."))
    test["status"] = "fail"
    results.write_text(json.dumps(told), "utf-8")


def test_marts_that_failed_a_test_are_refused_and_readers_keep_the_last_good_ones(shop):
    publisher.publish(shop, "good")
    spoil(shop)
    with pytest.raises(PublishError, match="Tests of the marts did not pass"):
        publisher.publish(shop, "bad")
    assert publisher.current(shop).run_id == "good"
    assert sorted(path.name for path in (shop.data / "published").iterdir()) == ["CURRENT", "good"]


def test_marts_that_were_never_tested_are_refused(shop):
    (shop.data / "dbt" / "layers" / "marts.json").unlink()
    with pytest.raises(PublishError, match="have not been tested"):
        publisher.publish(shop, "a")


def test_marts_that_differ_from_staging_are_refused(shop):
    with warehouse.open_warehouse(shop) as connection:
        one = "mart = 'fct_sales_by_date' and measure = 'revenue'"
        connection.execute(f"update ecom_marts.reconciliation set equal = false where {one}")
    totals = r"revenue is [\d,]+\.\d\d in the mart and [\d,]+\.\d\d in staging"
    with pytest.raises(PublishError, match=rf"differ from staging: fct_sales_by_date\.{totals}"):
        publisher.publish(shop, "a")


def test_a_publication_that_dies_half_way_is_never_seen(shop, monkeypatch):
    publisher.publish(shop, "good")

    def die(_file):
        raise KeyboardInterrupt

    monkeypatch.setattr(published_files, "_sha256", die)
    with pytest.raises(KeyboardInterrupt):
        publisher.publish(shop, "half")
    monkeypatch.undo()
    assert publisher.published(shop).publication.run_id == "good"
    publisher.publish(shop, "next")
    assert sorted(path.name for path in (shop.data / "published").iterdir()) == ["CURRENT", "good", "next"]


def test_a_run_that_publishes_again_leaves_its_first_publication_to_its_readers(shop):
    publisher.publish(shop, "a")
    reader = publisher.published(shop)
    again = publisher.publish(shop, "a")
    assert again.run_id == "a-2"
    assert publisher.current(shop).run_id == "a-2"
    assert reader.connection.execute("select count(*) from ecom_marts.dim_dates").fetchone()[0] > 0


@pytest.mark.parametrize("target", publisher.BACKENDS)
def test_what_keeps_publications_offers_all_that_is_asked_of_it(target):
    """Every function of the protocol, with its parameters, their types and their order."""
    keeper = importlib.import_module(f"duckbook.publish.{publisher.BACKENDS[target]}")
    asked = {name: function for name, function in vars(PublicationBackend).items() if inspect.isfunction(function)}
    offered = {name: vars(keeper)[name] for name in asked if not name.startswith("_")}
    assert len(offered) == 6
    for name, function in offered.items():
        wanted = list(inspect.signature(asked[name]).parameters.values())[1:]
        found = list(inspect.signature(function).parameters.values())
        told = [[(one.name, one.annotation, one.kind, one.default) for one in side] for side in (found, wanted)]
        assert told[0] == told[1], name


def test_a_publication_is_not_taken_from_under_its_readers(shop, monkeypatch):
    """After going back to the oldest one, the next two publications leave it to those who read it."""
    for name in "abc":
        publisher.publish(shop, name, keep=3)
    publisher.roll_back(shop, "a")
    with publisher.published(shop) as reader:
        for name in "de":
            publisher.publish(shop, name, keep=1)
            assert publisher.current(shop).run_id == name
        assert reader.connection.execute("select count(*) from ecom_marts.dim_customers").fetchone()[0] > 0
    monkeypatch.setattr(publication, "GRACE", -timedelta(hours=1))
    publisher.publish(shop, "f", keep=2)
    assert [kept.run_id for kept in publisher.publications(shop)] == ["f", "e"]


def test_a_publication_that_lacks_a_file_is_none(shop):
    for name in "ab":
        publisher.publish(shop, name)
    (shop.data / "published" / "a" / "dim_dates.parquet").unlink()
    with pytest.raises(PublishError, match="There is no publication a: kept are b"):
        publisher.roll_back(shop, "a")
    (shop.data / "published" / "b" / "dim_dates.parquet").unlink()
    with pytest.raises(PublishError, match="The current publication b is missing: publish again"):
        publisher.published(shop)


def test_the_last_few_publications_stay_and_one_can_go_back(shop, monkeypatch):
    monkeypatch.setattr(publication, "GRACE", timedelta(0))
    for name in "abcd":
        publisher.publish(shop, name, keep=3)
    assert [kept.run_id for kept in publisher.publications(shop)] == ["d", "c", "b"]
    assert publisher.roll_back(shop, "b").run_id == "b"
    assert publisher.published(shop).publication.run_id == "b"
    with pytest.raises(PublishError, match="kept are d, c, b"):
        publisher.roll_back(shop, "a")


def test_an_empty_warehouse_names_the_notebook_to_run(tmp_path):
    store = Settings(data=tmp_path, _env_file=None)
    with warehouse.open_warehouse(store):
        pass
    with pytest.raises(PublishError, match=r"run 06_marts\.ipynb first"):
        publisher.publish(store, "a")
