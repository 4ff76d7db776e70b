"""Publications are complete, tested, switched atomically, and read without a lock."""

from __future__ import annotations

import hashlib
import importlib
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
    """A copy of the shop without a publication."""
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
    content = json.loads((shop.data / "published" / "a" / "publication.json").read_text("utf-8"))
    assert {f"{mart}.parquet": entry["sha256"] for mart, entry in content["marts"].items()} == checksums(shop, "a")


def ingested_since(shop: Settings, day: str) -> None:
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("delete from ecom_raw.as_of")
        connection.execute("insert into ecom_raw.as_of values (?)", [day])


def test_a_publication_has_the_as_of_date_of_the_build_whatever_was_ingested_since(shop):
    ingested_since(shop, "2026-07-30")
    assert publisher.publish(shop, "a").as_of == "2026-06-30"
    # Built again from the staging of the earlier day, they still have its date.
    dbt_layers.build(shop, "marts")
    assert publisher.publish(shop, "b").as_of == "2026-06-30"
    with publisher.published(shop) as reader:
        last = reader.connection.execute("select max(date_day) from ecom_marts.dim_dates").fetchone()
    assert last == (date(2026, 6, 30),)


def test_marts_without_an_as_of_date_are_refused(shop):
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("alter table ecom_marts.reconciliation drop column as_of")
    with pytest.raises(PublishError, match="have no as-of date: build them"):
        publisher.publish(shop, "a")


def test_readers_find_the_marts_under_the_names_of_the_warehouse(shop):
    publisher.publish(shop.model_copy(update={"mask_personal": False}), "a")
    reader = publisher.published(shop)
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        for mart, rows in reader.publication.marts.items():
            query = f"from ecom_marts.{mart} order by all"
            found = reader.connection.execute(query).fetchall()
            assert len(found) == rows
            assert found == connection.execute(query).fetchall()


def test_personal_columns_are_masked_and_all_others_are_unchanged(shop):
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
                summary = (
                    f"select typeof({name}), count({name}), count(distinct {name}) from ecom_marts.{mart} group by 1"
                )
                kind, values, distinct = reader.connection.execute(summary).fetchone()
                original = connection.execute(summary).fetchone()
                assert kind == original[0]
                # A masked text is not null; a masked number is.
                assert (values, distinct) == ((original[1], 1) if kind == "VARCHAR" else (0, 0)), f"{mart}.{name}"
                masked += 1
    assert masked >= 10


def test_a_mart_without_a_model_is_not_published(shop):
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("create table ecom_marts.fct_secrets as select 'Ada' as first_name")
    with pytest.raises(PublishError, match="No model declares the mart fct_secrets"):
        publisher.publish(shop, "a")


def test_the_same_marts_give_the_same_bytes(shop):
    publisher.publish(shop, "a")
    publisher.publish(shop.model_copy(update={"threads": 1}), "b")
    assert checksums(shop, "a") == checksums(shop, "b")


def test_a_fact_is_sorted_by_day(shop):
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
def test_the_error_names_the_process_that_locks_the_warehouse_and_how_to_end_it(shop, environment, sentence):
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(shop.warehouse_path)],
        env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        holder.stdout.readline()
        with pytest.raises(WarehouseLocked, match=sentence):
            publisher.publish(shop, "a")
        holder.stdin.close()


def test_without_a_publication_the_error_names_the_notebook_to_run(shop):
    with pytest.raises(PublishError, match=r"run notebooks/pipeline/07_publish\.ipynb first"):
        publisher.published(shop)
    assert publisher.current(shop) is None


def fail_a_test(shop: Settings) -> None:
    results = shop.data / "dbt" / "layers" / "marts.json"
    content = json.loads(results.read_text("utf-8"))
    test = next(result for result in content["results"] if result["unique_id"].startswith("test."))
    test["status"] = "fail"
    results.write_text(json.dumps(content), "utf-8")


def test_marts_that_failed_a_test_are_refused_and_readers_keep_the_last_good_ones(shop):
    publisher.publish(shop, "good")
    fail_a_test(shop)
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
        total = "mart = 'fct_sales_by_date' and measure = 'revenue'"
        connection.execute(f"update ecom_marts.reconciliation set equal = false where {total}")
    message = r"revenue is [\d,]+\.\d\d in the mart and [\d,]+\.\d\d in staging"
    with pytest.raises(PublishError, match=rf"differ from staging: fct_sales_by_date\.{message}"):
        publisher.publish(shop, "a")


def test_a_killed_publication_is_never_read(shop, monkeypatch):
    publisher.publish(shop, "good")

    def die(_file):
        raise KeyboardInterrupt

    monkeypatch.setattr(published_files, "checksum", die)
    with pytest.raises(KeyboardInterrupt):
        publisher.publish(shop, "half")
    monkeypatch.undo()
    assert publisher.published(shop).publication.run_id == "good"
    publisher.publish(shop, "next")
    assert sorted(path.name for path in (shop.data / "published").iterdir()) == ["CURRENT", "good", "next"]


def test_a_second_publication_of_a_run_leaves_the_first_to_its_readers(shop):
    publisher.publish(shop, "a")
    reader = publisher.published(shop)
    again = publisher.publish(shop, "a")
    assert again.run_id == "a-2"
    assert publisher.current(shop).run_id == "a-2"
    assert reader.connection.execute("select count(*) from ecom_marts.dim_dates").fetchone()[0] > 0


@pytest.mark.parametrize("module", publisher.BACKENDS.values())
def test_each_target_has_a_whole_backend(module):
    backend = importlib.import_module(f"duckbook.publish.{module}").Backend(Settings(_env_file=None))
    assert isinstance(backend, PublicationBackend)


def test_a_publication_is_not_taken_from_under_its_readers(shop, monkeypatch):
    """After a rollback to the oldest publication, the next two leave it to its readers."""
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


def test_a_publication_that_lacks_a_file_is_not_listed(shop):
    for name in "ab":
        publisher.publish(shop, name)
    (shop.data / "published" / "a" / "dim_dates.parquet").unlink()
    with pytest.raises(PublishError, match="There is no publication a: kept are b"):
        publisher.roll_back(shop, "a")
    (shop.data / "published" / "b" / "dim_dates.parquet").unlink()
    with pytest.raises(PublishError, match="The current publication b is missing: publish again"):
        publisher.published(shop)


def test_the_last_publications_are_kept_and_can_be_restored(shop, monkeypatch):
    monkeypatch.setattr(publication, "GRACE", timedelta(0))
    for name in "abcd":
        publisher.publish(shop, name, keep=3)
    assert [kept.run_id for kept in publisher.publications(shop)] == ["d", "c", "b"]
    assert publisher.roll_back(shop, "b").run_id == "b"
    assert publisher.published(shop).publication.run_id == "b"
    with pytest.raises(PublishError, match="kept are d, c, b"):
        publisher.roll_back(shop, "a")


def test_with_an_empty_warehouse_the_error_names_the_notebook_to_run(tmp_path):
    settings = Settings(data=tmp_path, _env_file=None)
    with warehouse.open_warehouse(settings):
        pass
    with pytest.raises(PublishError, match=r"run notebooks/pipeline/06_marts\.ipynb first"):
        publisher.publish(settings, "a")
