"""The shared lake: the chain on it is the chain on DuckDB, row by row, and nobody who reads it ever waits or fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import pytest
from chains import ELSEWHERE, ODD, begin, duckbook, load_and_build
from duckbook.backends import lake, servers, warehouse
from duckbook.backends.lock import one_writer
from duckbook.errors import ChainError, DuckbookError, PublishError, ServerError, WarehouseError
from duckbook.ingest import raw
from duckbook.ops import parity, promotion
from duckbook.ops.parity import compare
from duckbook.publish import publisher
from duckbook.runs import pruning, run_archive
from duckbook.settings import Settings
from duckbook.transform import dbt_runner
from pydantic import SecretStr

READER = """
import json, os, sys, time
from duckbook.publish import publisher
from duckbook.settings import settings

seen = []
print("reading", flush=True)
last = False
while not last:
    last = os.path.exists(sys.argv[1])
    with publisher.published(settings()) as reader:
        for _ in range(int(sys.argv[2])):
            told = reader.connection.execute(
                "select sum(revenue)::varchar, count(*) from ecom_marts.fct_order_details"
            ).fetchone()
            customers = reader.connection.execute("select count(*) from ecom_marts.dim_customers").fetchone()
            seen.append([reader.publication.run_id, *told, *customers])
            if os.path.exists(sys.argv[1]):
                break
            time.sleep(2)
print(json.dumps(seen), flush=True)
"""
"""A kernel of somebody else's: it opens what is published and asks the marts, on and on until a file is there."""

WRITER = """
import os, sys, time
from duckbook.backends import warehouse
from duckbook.settings import settings

written = 0
with warehouse.open_warehouse(settings()) as connection:
    connection.execute("create schema if not exists of_my_own")
    connection.execute("create table of_my_own.notes (number integer)")
    while not os.path.exists(sys.argv[1]):
        connection.execute("insert into of_my_own.notes values (?)", [written])
        written += 1
        time.sleep(float(sys.argv[2]))
print(written, flush=True)
"""
"""A colleague who writes a table of their own to the lake meanwhile."""


@dataclass(frozen=True)
class Lake:
    """A lake after two days: the first one was promoted, the second one a run of the chain amid readers.

    `local` is the same two days in a file; `promoted` what the promotion proved; `readers` what each reader saw;
    `written` the rows that somebody else wrote meanwhile.
    """

    settings: Settings
    local: Settings
    promoted: promotion.Promotion
    record: dict
    readers: list[list]
    written: int


def process(shop: Settings, code: str, *arguments: str) -> subprocess.Popen:
    env = {name: value for name, value in os.environ.items() if not name.startswith("DUCKBOOK_")}
    env |= {"DUCKBOOK_DATA": str(shop.data), "DUCKBOOK_RUNS": str(shop.runs), "DUCKBOOK_TARGET": "lake"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _last_line(printed: str) -> Any:
    """What a process told at its end; on a slow machine DuckDB draws a bar before it."""
    return json.loads(printed.splitlines()[-1])


@pytest.fixture(scope="module")
def shared(start_shop, request) -> Lake:
    """A tiny shop whose second day is a run of the chain on the lake, while others read and one writes.

    One reads, and four in `make soak`, which open the publication more often: each costs the run a core's share. Before
    it the data folder was moved, and the run's shell is one of another place, of which nothing may be seen in what it
    made.
    """
    reading, reads, pause = (4, "3", "1") if request.config.getoption("--soak") else (1, "3", "3")
    begun = start_shop("lake", customers=200)
    begin(begun)
    promoted = promotion.promote(begun, "duckdb", "lake")
    servers.down(begun)
    local = begun.model_copy(update={"data": begun.data.parent / ODD})
    begun.data.rename(local.data)
    request.addfinalizer(lambda: servers.down(local))
    settings = local.model_copy(update={"target": "lake"})
    elsewhere = {name: value for values in ELSEWHERE.values() for name, value in values.items()}

    done = settings.data / "done"
    others = [process(settings, READER, str(done), reads) for _ in range(reading)]
    others.append(process(settings, WRITER, str(done), pause))
    try:
        for reader in others[:reading]:
            assert reader.stdout.readline() == "reading\n"
        run = duckbook(settings, "latest", "--target", "lake", **{"DUCKBOOK_CUSTOMERS": "200"} | elsewhere)
        told, wrong = run.communicate(timeout=1200)
    finally:
        done.touch()
        outcomes = [other.communicate(timeout=300) for other in others]
    assert run.returncode == 0, told + wrong
    assert [other.returncode for other in others] == [0] * (reading + 1), [error for _, error in outcomes]
    *seen, (written, _) = outcomes

    load_and_build(local)
    record = run_archive.read(run_archive.latest(settings.runs))
    return Lake(settings, local, promoted, record, [_last_line(out) for out, _ in seen], _last_line(written))


def test_the_chain_succeeds_and_its_marts_add_up(shared):
    record = shared.record
    assert (record["status"], record["target"]) == ("succeeded", "lake")
    assert record["tests"]["passed"] > 90
    assert record["tests"]["failed"] == 0
    assert len(record["reconciliation"]) > 100
    assert all(row["equal"] for row in record["reconciliation"])
    for row in record["tables"]:
        assert row["landed"] == row["appended"] + row["unchanged"] + row["unreadable"]
        assert row["raw"] == row["staged"] + row["superseded"] + row["quarantined"]


def test_every_row_of_every_table_is_that_of_duckdb(shared):
    """Two days by increments in the lake are one full build in a file."""
    with parity.open_side(shared.settings, "duckdb") as left, parity.open_side(shared.settings, "lake") as right:
        found = compare(shared.settings, left, right)
    assert {table.table: table.summary for table in found if not table.equal} == {}
    assert len(found) > 70
    assert sum(table.rows[0] for table in found) > 10_000


def test_processes_that_read_through_the_run_see_whole_days(shared):
    whole = {}
    for publication in publisher.publications(shared.settings):
        with publisher.published(shared.settings, run_id=publication.run_id) as reader:
            query = "select sum(revenue)::varchar, count(*) from ecom_marts.fct_order_details"
            orders = reader.connection.execute(query).fetchone()
            customers = reader.connection.execute("select count(*) from ecom_marts.dim_customers").fetchone()
            whole[publication.run_id] = [*orders, *customers]
    assert len(whole) == 2
    for seen in shared.readers:
        assert len(seen) >= 6
        assert seen[0][0] == shared.promoted.publication.run_id
        assert seen[-1][0] == shared.record["run_id"]
        for name, *figures in seen:
            assert figures == whole[name]


def test_somebody_else_writes_to_the_lake_through_the_run(shared):
    with warehouse.open_warehouse(shared.settings, read_only=True) as connection:
        query = "select count(*), count(distinct number) from of_my_own.notes"
        assert connection.execute(query).fetchone() == (shared.written, shared.written)
    assert shared.written > 3


def test_the_page_of_the_run_names_the_snapshot_that_was_pinned(shared):
    publication = shared.record["publication"]
    current = publisher.current(shared.settings)
    assert (publication["name"], publication["snapshot"]) == (current.run_id, current.snapshot)
    assert {mart: told["rows"] for mart, told in publication["marts"].items()} == current.marts
    page = (shared.settings.runs / shared.record["run_id"] / "index.html").read_text("utf-8")
    assert f"pinned at snapshot {current.snapshot} of the lake" in page


def test_readers_go_back_to_an_earlier_publication(shared):
    first, latest = shared.promoted.publication.run_id, publisher.current(shared.settings).run_id
    publisher.roll_back(shared.settings, first)
    try:
        with publisher.published(shared.settings) as reader:
            assert reader.publication.run_id == first
    finally:
        publisher.roll_back(shared.settings, latest)
    with publisher.published(shared.settings, as_of=shared.settings.first_as_of.isoformat()) as reader:
        assert reader.publication.run_id == first
    with pytest.raises(PublishError, match=rf"no publication nonsense: kept are .*{first}"):
        publisher.roll_back(shared.settings, "nonsense")


def test_a_promotion_proves_every_row_and_what_follows_goes_on_from_it(shared):
    """What dbt noted on the tables went with them: the next day was an increment, and no batch was loaded twice."""
    assert all(table.equal for table in shared.promoted.parity)
    assert len(shared.promoted.parity) > 70
    assert raw.load(shared.settings, servers.up(shared.settings)).commits == ()
    with warehouse.open_warehouse(shared.settings, read_only=True) as connection:
        query = "select count(*), count(distinct batch_id) from ecom_raw.batches"
        batches, different = connection.execute(query).fetchone()
    assert batches == different


def test_a_difference_is_found_and_shown(shared, tmp_path):
    """In a column, a sum, a key and a value: what parity calls equal is. Both sides are files, quickly read."""
    copy = tmp_path / "warehouse.duckdb"
    shutil.copyfile(shared.local.warehouse_path, copy)
    with duckdb.connect(str(copy)) as connection:
        first = connection.execute("select min(customer_id) from ecom_marts.dim_customers").fetchone()[0]
        connection.execute("update ecom_marts.dim_customers set customer_id = 'X' where customer_id = ?", [first])
        connection.execute("update ecom_marts.fct_order_details set units = units + 1")
        connection.execute("delete from ecom_marts.dim_dates where date_key = 20260101")
        connection.execute("alter table ecom_marts.dim_locations rename column city to town")
        connection.execute("drop table ecom_marts.fct_funnel")
        connection.execute("alter table ecom_marts.fct_product_changes alter product_key type varchar")
    with parity.open_side(shared.local, str(copy)) as left, parity.open_side(shared.local, "duckdb") as right:
        found = {table.table: table for table in compare(shared.local, left, right, ("ecom_marts",))}
        turned = compare(shared.local, right, left, ("ecom_marts",))
        sampled = compare(shared.local, left, right, ("ecom_marts",), sample=1)
    different = {name.split(".")[1] for name, table in found.items() if not table.equal}
    assert different == {
        "dim_customers",
        "fct_order_details",
        "dim_dates",
        "dim_locations",
        "fct_funnel",
        "fct_product_changes",
    }
    assert {table.table.split(".")[1] for table in turned if not table.equal} == different
    # Of a sample, whatever keys it has: columns, numbers of rows, sums and keys are still those of whole tables.
    assert different - {"dim_customers"} <= {table.table.split(".")[1] for table in sampled if not table.equal}
    customers = found["ecom_marts.dim_customers"]
    assert (customers.changed, customers.only_left, customers.only_right) == (1, 0, 0)
    assert [(e.column, e.left, e.right) for e in customers.examples] == [("customer_id", "X", first)]
    units = found["ecom_marts.fct_order_details"]
    assert "units" in units.sums
    assert units.changed == units.rows[0]
    assert found["ecom_marts.dim_dates"].only_right == 1
    assert found["ecom_marts.dim_locations"].columns == {"town": ("VARCHAR", None), "city": (None, "VARCHAR")}
    changes = found["ecom_marts.fct_product_changes"]
    assert (changes.columns, changes.changed) == ({"product_key": ("VARCHAR", "BIGINT")}, 0)
    assert found["ecom_marts.fct_funnel"].summary == "missing on the left"

    run = duckbook(shared.local, "parity", str(copy), "duckdb", "--schema", "ecom_marts")
    told, wrong = run.communicate(timeout=300)
    assert run.returncode == 1, wrong
    assert "24 tables" in told
    assert "6 of them differ" in told


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nonsense", "nonsense is no target .*no publication: There is no publication nonsense"),
        ("oracle:a", "there is no target 'oracle'"),
        ("gone.duckdb", r"The file gone\.duckdb cannot be read"),
        ("motherduck", "needs a token"),
    ],
)
def test_a_side_that_is_none_is_told(tmp_path, name, sentence):
    with pytest.raises(DuckbookError, match=sentence):
        parity.open_side(Settings(data=tmp_path / "data", _env_file=None), name)


def test_a_promotion_of_nothing_is_refused(tmp_path):
    settings = Settings(data=tmp_path / "data", _env_file=None)
    for source, to, sentence in (
        ("duckdb", "duckdb", "cannot be promoted to itself"),
        ("duckdb", "oracle", "oracle is no target"),
        ("duckdb", "lake", r"There is no warehouse warehouse\.duckdb yet"),
    ):
        with pytest.raises(WarehouseError, match=sentence):
            promotion.promote(settings, source, to)


def test_a_data_folder_of_another_machine_is_told_that_the_lake_is_at_work(external_settings, tmp_path):
    mine = external_settings.model_copy(update={"target": "lake"})
    theirs = mine.model_copy(update={"data": tmp_path / "theirs"})
    with (
        one_writer(mine, "a run of the chain"),
        pytest.raises(ChainError, match="at work on the lake lake"),
        one_writer(theirs, "a run of the chain"),
    ):
        pass
    with one_writer(theirs, "a run of the chain"):
        pass


@pytest.mark.parametrize(
    ("dsn", "sentence"),
    [
        (
            "postgresql://me:hunter2@127.0.0.1:1/lake",
            r"DUCKBOOK_LAKE_DSN names 127\.0\.0\.1:1, which cannot be reached",
        ),
        ("{}?options=-crole%3Dnobody", r"Postgres refuses DUCKBOOK_LAKE_DSN: .*nobody"),
    ],
)
def test_a_wrong_catalog_is_told_before_any_work(external_settings, dsn, sentence):
    whole = dsn.format(external_settings.postgres_dsn.get_secret_value())
    wrong = external_settings.model_copy(update={"target": "lake", "lake_dsn": SecretStr(whole)})
    with pytest.raises(ServerError, match=sentence) as told:
        servers.preflight(wrong)
    assert "hunter2" not in str(told.value)


def test_a_lake_that_nobody_has_made_is_told_and_not_made(shared):
    new = shared.settings.model_copy(update={"lake_schema": "nowhere"})
    with pytest.raises(WarehouseError, match=r"There is no lake nowhere yet: run notebooks/pipeline/03_ingest\.ipynb"):
        warehouse.open_warehouse(new, read_only=True)
    with pytest.raises(PublishError, match="Nothing has been published yet"):
        publisher.published(new)
    assert not lake.exists(new, servers.up(new).catalog_dsn)


def test_dbt_typed_by_hand_reaches_the_lake(shared):
    """With the settings of the environment, and no credential in the profile."""
    folders = ["--project-dir", str(dbt_runner.PROJECT), "--profiles-dir", str(dbt_runner.PROJECT)]
    code = "from dbt.cli.main import cli; cli()"
    run = process(shared.settings, code, "debug", "--connection", "--target", "lake", *folders)
    told, wrong = run.communicate(timeout=300)
    assert run.returncode == 0, told + wrong
    assert "connection ok" in told


def test_what_no_publication_pins_is_let_go_after_a_day(shared):
    pinned = {publication.snapshot for publication in publisher.publications(shared.settings)}
    with closing(warehouse.open_warehouse(shared.settings, trusted=True)) as connection:

        def files() -> int:
            query = "select count(*) from glob(?)"
            return connection.execute(query, [f"{lake.data_path(shared.settings)}**"]).fetchone()[0]

        before = files()
        connection.execute("create table of_my_own.waste as select range as number from range(1000)")
        connection.execute("drop table of_my_own.waste")
        dsn = servers.up(shared.settings).catalog_dsn
        lake.expire(connection, shared.settings, dsn, pinned)
        assert files() == before + 1
        lake.expire(connection, shared.settings, dsn, pinned, kept_for="0 seconds")
        assert files() <= before
        kept = {snapshot for (snapshot,) in connection.execute("select snapshot_id from lake.snapshots()").fetchall()}
        assert pinned < kept
        assert len(kept) == len(pinned) + 1
    for publication in publisher.publications(shared.settings):
        with publisher.published(shared.settings, run_id=publication.run_id) as reader:
            counts = " union all ".join(f"select '{m}', count(*) from ecom_marts.{m}" for m in publication.marts)
            assert dict(reader.connection.execute(counts).fetchall()) == publication.marts


def test_what_an_open_transaction_deletes_is_not_lost_where_no_snapshot_may_stay(shared, monkeypatch):
    """DuckLake would take its commit, and keep the row, were the snapshots gone by which it tells of a conflict."""
    monkeypatch.setattr(lake, "OPEN_SECONDS", 0)
    dsn = servers.up(shared.settings).catalog_dsn
    with (
        closing(warehouse.open_warehouse(shared.settings, trusted=True)) as writer,
        closing(warehouse.open_warehouse(shared.settings, trusted=True)) as open_one,
    ):
        writer.execute("create table of_my_own.kept as select 1 as number")
        open_one.execute("begin")
        assert open_one.execute("select number from of_my_own.kept").fetchall() == [(1,)]
        writer.execute("insert into of_my_own.kept values (2)")
        writer.execute(f"call ducklake_merge_adjacent_files('{lake.NAME}')")
        writer.execute("create table of_my_own.later (number integer)")
        pinned = {publication.snapshot for publication in publisher.publications(shared.settings)}
        with pytest.raises(WarehouseError, match="has a transaction open on the lake lake, and would lose its deletes"):
            lake.expire(writer, shared.settings, dsn, pinned, kept_for="0 seconds")
        lake.expire(writer, shared.settings, dsn, pinned)
        open_one.execute("delete from of_my_own.kept where number = 1")
        with pytest.raises(duckdb.Error, match="Transaction conflict"):
            open_one.execute("commit")
        lake.expire(writer, shared.settings, dsn, pinned, kept_for="0 seconds")
        assert writer.execute("select count(*) from of_my_own.kept").fetchone() == (2,)
        writer.execute("drop table of_my_own.kept")
        writer.execute("drop table of_my_own.later")


def test_a_publication_stays_as_it_was_whatever_is_written_since(shared):
    """Last, because it spoils the warehouse."""
    with publisher.published(shared.settings) as reader, warehouse.open_warehouse(shared.settings) as writer:
        query = "select count(*), sum(revenue) from ecom_marts.fct_order_details"
        before = reader.connection.execute(query).fetchone()
        writer.execute("begin")
        writer.execute("delete from ecom_marts.fct_order_details")
        writer.execute("alter table ecom_marts.fct_order_details add column another integer")
        writer.execute("commit")
        assert writer.execute(query).fetchone()[0] == 0
        assert reader.connection.execute(query).fetchone() == before
        with publisher.published(shared.settings) as later:
            assert later.connection.execute(query).fetchone() == before
            with pytest.raises(duckdb.Error, match="read-only"):
                later.connection.execute("delete from lake.ecom_marts.dim_customers")


def test_a_clean_up_lets_go_what_is_beyond_the_bounds_and_readers_have_left(shared, monkeypatch):
    shop = shared.settings.model_copy(update={"keep_publications": 1})
    first, latest = shared.promoted.publication.run_id, publisher.current(shop).run_id
    publisher.roll_back(shop, first)
    publisher.roll_back(shop, latest)
    assert [removal.name for removal in pruning.prune(shop, dry_run=True)[0] if removal.kind == "publication"] == []
    monkeypatch.setattr("duckbook.publish.publication.GRACE", timedelta(0))
    removed, _ = pruning.prune(shop)
    assert [removal.name for removal in removed if removal.kind == "publication"] == [first]
    assert [kept.run_id for kept in publisher.publications(shop)] == [latest]
    with publisher.published(shop) as reader:
        assert reader.publication.run_id == latest
        assert reader.connection.execute("select count(*) from ecom_marts.dim_customers").fetchone()[0] > 100


def test_raw_is_made_again_from_the_history_alone(shared):
    raw.rebuild(shared.settings, servers.up(shared.settings))
    with parity.open_side(shared.settings, "duckdb") as left, parity.open_side(shared.settings, "lake") as right:
        found = {table.table: table for table in compare(shared.settings, left, right, ("ecom_raw",))}
    del found["ecom_raw.quarantine"]  # dbt's
    assert {name: table.summary for name, table in found.items() if not table.equal} == {}
    assert len(found) >= 13
