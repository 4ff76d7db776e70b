"""Running dbt from the library: layers, error sentences, locks and the archive."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
from duckbook.backends import warehouse
from duckbook.errors import TransformError, WarehouseLocked
from duckbook.settings import ROOT, Settings
from duckbook.transform import dbt_layers, dbt_runner, reconciliation
from raw_rows import Raw
from shop import copy_of

HOLD = (
    "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print('open', flush=True); sys.stdin.read()"
)


def layer_results(shop: Settings) -> dict[str, set[str]]:
    """Return layer → ids of the nodes that its build ran."""
    return {layer: ran(shop.data / "dbt" / "layers" / f"{layer}.json") for layer in dbt_layers.SELECTION}


def ran(results: Path) -> set[str]:
    """Return the ids of models, seeds and tests in a file of results, without hooks."""
    found = {result["unique_id"] for result in json.loads(results.read_text())["results"]}
    return {node for node in found if not node.startswith("operation.")}


def digests(shop: Settings) -> dict[str, str]:
    """Return mart → a digest of its rows, in order."""
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        marts = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'ecom_marts' order by 1"
        ).fetchall()
        digest = (
            "select md5(string_agg(line, ',' order by line)) from (select to_json(m)::varchar as line from {} as m)"
        )
        return {mart: connection.execute(digest.format(f"ecom_marts.{mart}")).fetchone()[0] for (mart,) in marts}


def test_items_that_are_numbered_anew_are_replaced_whole_where_the_setting_says_so(built_shop, tmp_path):
    shop = copy_of(built_shop[0], tmp_path)
    with warehouse.open_warehouse(shop) as connection:
        order, before = connection.execute(
            "select order_id, count(*) from ecom_staging.stg_order_items group by 1 order by 2 desc, 1 limit 1"
        ).fetchone()
        raw = Raw(connection)
        connection.execute("delete from ecom_raw.as_of where rowid > 0")
        raw.arrivals = 1_000
        raw.land(
            "order_items", [{"order_id": order, "order_item_id": "9", "quantity": 1}], date(2030, 1, 1), "postgres"
        )
    staged = f"select count(*) from ecom_staging.stg_order_items where order_id = '{order}'"
    for renumbered, expected in ((True, 1), (False, before + 1)):
        dbt_layers.build(shop.model_copy(update={"order_items_renumbered": renumbered}), "staging")
        with warehouse.open_warehouse(shop, read_only=True) as connection:
            assert connection.execute(staged).fetchone() == (expected,)
            for row in reconciliation.tables(connection):
                assert row["raw"] == row["staged"] + row["superseded"] + row["quarantined"]


@pytest.mark.parametrize(
    ("memory", "full_refresh", "alone"), [("4GB", True, False), ("8MB", False, False), ("8MB", True, True)]
)
def test_more_than_the_memory_holds_is_built_anew_one_node_at_a_time(
    built_shop, tmp_path, monkeypatch, memory, full_refresh, alone
):
    shop, asked = copy_of(built_shop[0], tmp_path).model_copy(update={"memory_limit": memory}), []

    def ask(_settings, arguments, **_):
        asked.extend(arguments)
        return SimpleNamespace(success=False, result=None, exception="only asked")

    monkeypatch.setattr(dbt_runner, "invoke", ask)
    with pytest.raises(TransformError, match="only asked"):
        dbt_layers.build(shop, "marts", full_refresh=full_refresh)
    assert ("--threads" in asked) == alone


def test_a_new_data_folder_parses_nothing_that_another_one_of_the_checkout_parsed(built_shop, tmp_path):
    assert dbt_runner.parse(Settings(data=tmp_path, _env_file=None)).success
    parsed = (dbt_runner.PROJECT / "target" / "parsed").glob("*/perf_info.json")
    newest = max(parsed, key=lambda file: file.stat().st_mtime)
    assert json.loads(newest.read_text())["parsed_path_count"] == 0


def test_a_manifest_that_was_prepared_is_that_of_the_settings_and_is_used_once(built_shop, tmp_path, monkeypatch):
    shop = copy_of(built_shop[0], tmp_path)
    dbt_runner.prepare(shop)
    renumbered = shop.model_copy(update={"order_items_renumbered": True})
    assert dbt_runner.invoke(renumbered, ["ls", "--select", "stg_orders"]).success
    parses = []
    monkeypatch.setattr(dbt_runner, "parse", lambda *_, **__: parses.append(1) or SimpleNamespace(success=False))
    assert dbt_runner.invoke(shop, ["ls", "--select", "stg_orders"]).success
    assert not parses
    assert not dbt_runner.invoke(shop, ["ls"]).success
    assert parses


def test_a_checkout_that_was_moved_and_one_with_the_same_data_folder_find_their_seeds(built_shop, tmp_path):
    shop, seeds = copy_of(built_shop[0], tmp_path / "copy"), ["seed", "--no-write-json"]
    here, there = tmp_path / "here" / "dbt", tmp_path / "there" / "dbt"
    # Seeds need no models, and parsing all models takes seconds.
    shutil.copytree(dbt_runner.PROJECT, here, ignore=shutil.ignore_patterns("target", "models"))
    shutil.rmtree(shop.data / "dbt")
    assert dbt_runner.invoke(shop, seeds, here).success
    here.parent.rename(there.parent)
    for project in (there, dbt_runner.PROJECT):
        assert dbt_runner.invoke(shop, seeds, project).success


def test_the_three_builds_leave_no_model_seed_or_test_out_and_do_none_twice(built_shop, tmp_path):
    shop, _ = built_shop
    manifest = json.loads((dbt_layers.archive(shop, tmp_path) / "manifest.json").read_text())
    every = {node for node in (*manifest["nodes"], *manifest["unit_tests"]) if not node.startswith("operation.")}
    layers = layer_results(shop)
    assert set().union(*layers.values()) == every
    assert sum(map(len, layers.values())) == len(every)


def test_a_build_tells_its_models_with_rows_and_its_tests(built_shop):
    _, built = built_shop
    models = {model.name: model for model in built.models}
    assert models["stg_orders"].rows == 62
    assert models["fct_order_details"].grain == ("order_line_key",)
    assert set(models["int_orders"].reads) >= {"stg_orders", "int_order_items"}
    assert {test.kind for test in built.tests} == {"data", "unit"}
    assert {record["status"] for record in built.test_records()} == {"passed", "warned"}


def test_the_warehouse_is_free_after_a_build(built_shop):
    shop, _ = built_shop
    opened = f"import duckdb; duckdb.connect({str(shop.warehouse_path)!r}).close()"
    subprocess.run([sys.executable, "-c", opened], check=True)


def test_a_build_leaves_the_environment_and_dbt_as_they_were(built_shop):
    from dbt_common.events.base_types import DebugLevel

    assert "__init__" not in vars(DebugLevel)
    assert "DUCKBOOK_DATA" not in os.environ
    assert "motherduck_token" not in os.environ


def test_a_layer_without_the_one_before_names_the_notebook_to_run(tmp_path):
    shop = Settings(data=tmp_path, _env_file=None)
    with pytest.raises(Exception, match="03_ingest"):
        dbt_layers.build(shop, "staging")
    with warehouse.open_warehouse(shop) as connection:
        Raw(connection)
    with pytest.raises(TransformError, match=r"no ecom_staging .* run notebooks/pipeline/04_staging.ipynb first"):
        dbt_layers.build(shop, "intermediate")
    with pytest.raises(TransformError, match="There is no layer 'mart'"):
        dbt_layers.build(shop, "mart")


def test_a_warehouse_that_another_process_holds_is_a_sentence(built_shop):
    shop, _ = built_shop
    command = [sys.executable, "-c", HOLD, str(shop.warehouse_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(WarehouseLocked, match=f"PID {holder.pid}"):
            dbt_layers.build(shop, "marts")
        holder.stdin.close()


def test_a_model_that_fails_is_named_and_what_was_built_before_is_no_longer_told(built_shop, tmp_path):
    shop = copy_of(built_shop[0], tmp_path)
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("alter table ecom_raw.customers drop column gender")
    with pytest.raises(TransformError, match=r"layer staging\. model base_customers: .*gender"):
        dbt_layers.build(shop, "staging")
    reported = json.loads((shop.data / "dbt" / "layers" / "staging.json").read_text())["results"]
    assert any(result["status"] == "error" for result in reported)


def test_a_test_that_fails_is_named(built_shop, tmp_path):
    shop = copy_of(built_shop[0], tmp_path)
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("update ecom_raw.batches set landed = landed + 1 where table_name = 'orders'")
    with pytest.raises(TransformError, match="test batches_are_accounted_for: 2 rows fail"):
        dbt_layers.build(shop, "staging")


def test_a_total_that_differs_is_named_with_its_mart_and_both_totals_and_told_to_the_archive(built_shop, tmp_path):
    shop = copy_of(built_shop[0], tmp_path)
    with warehouse.open_warehouse(shop) as connection:
        (right,) = connection.execute("select sum(shipping_amount) from ecom_marts.fct_order_details").fetchone()
        connection.execute(
            "update ecom_intermediate.int_order_items set shipping_amount = shipping_amount + 1000.01 "
            "where rowid = (select min(rowid) from ecom_intermediate.int_order_items)"
        )
    reported = {}
    both = f"is {right + Decimal('1000.01'):,.2f} in the mart and {right:,.2f} in staging"
    named = re.escape(f"fct_order_details.shipping_amount {both}")
    with pytest.raises(TransformError, match=f"test every_measure_reconciles: .*{named}"):
        dbt_layers.build(shop, "marts", lambda name, rows: reported.update({name: rows}), full_refresh=True)
    differing = {(row["mart"], row["measure"]) for row in reported["reconciliation"] if not row["equal"]}
    assert ("fct_order_details", "shipping_amount") in differing
    failed = {row["test"] for row in reported["tests"] if row["status"] == "failed"}
    assert "every_measure_reconciles" in failed
    assert reconciliation.differences(reported["reconciliation"], most=0) == f"{len(differing)} more totals differ"


def test_a_key_that_leads_nowhere_is_told_with_its_column(built_shop, tmp_path):
    shop = copy_of(built_shop[0], tmp_path)
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("update ecom_intermediate.int_orders set location_key = -1 where order_id = '5'")
    with pytest.raises(
        TransformError, match=r"test fct_\w+_keys_and_values_are_known: 1 rows fail in location_key \(1\)"
    ):
        dbt_layers.build(shop, "marts")


def test_the_same_raw_gives_the_same_marts_whatever_the_threads_and_the_order_of_rows(built_shop, tmp_path):
    before = digests(built_shop[0])
    shop = copy_of(built_shop[0], tmp_path).model_copy(update={"threads": 1})
    with warehouse.open_warehouse(shop) as connection:
        for table in ("orders", "order_items", "interactions"):
            connection.execute(f"create or replace table ecom_raw.{table} as from ecom_raw.{table} order by _row_hash")
    dbt_layers.build(shop, "all")
    assert len(before) > 15
    assert digests(shop) == before


def test_an_archive_holds_all_layers_and_a_page_that_needs_no_server(built_shop, tmp_path):
    shop, built = built_shop
    folder = dbt_layers.archive(shop, tmp_path / "run")
    assert sorted(file.name for file in folder.iterdir()) == sorted(dbt_layers.ARTIFACTS)
    assert len(ran(folder / "run_results.json")) == len(built.models) + len(built.tests)
    catalog = json.loads((folder / "catalog.json").read_text())["nodes"]
    manifest = json.loads((folder / "manifest.json").read_text())["nodes"]
    assert {node for node in manifest if node.startswith("model.")} <= set(catalog)
    assert "fct_order_details" in (folder / "index.html").read_text()


def test_an_archive_of_nothing_is_a_sentence(tmp_path):
    with pytest.raises(TransformError, match="built nothing yet"):
        dbt_layers.archive(Settings(data=tmp_path, _env_file=None), tmp_path / "run")


def test_dbt_typed_by_hand_in_its_folder_builds_the_same(built_shop, tmp_path):
    shop = copy_of(built_shop[0], tmp_path)
    with duckdb.connect(str(shop.warehouse_path)) as connection:
        connection.execute("drop table ecom_marts.dim_dates")
    dbt = Path(sys.executable).parent / "dbt"
    environment = os.environ | {"DUCKBOOK_DATA": str(shop.data), "DO_NOT_TRACK": "1"}
    command = [
        dbt,
        "build",
        "--select",
        "dim_dates",
        "--target-path",
        shop.data / "dbt",
        "--log-path",
        shop.data / "dbt",
    ]
    typed = subprocess.run(command, cwd=ROOT / "dbt", env=environment, capture_output=True, text=True)
    assert typed.returncode == 0, typed.stdout
    assert digests(shop) == digests(built_shop[0])
