"""Landing on real servers: once, again, after a kill, day by day, and never over other data."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import date, timedelta

import postgres_servers
import pytest
import rendered
from duckbook.backends import manifest, servers, storage, warehouse
from duckbook.errors import LandingError, SettingError
from duckbook.generate import landing
from duckbook.generate.shop.dirt import KINDS
from duckbook.generate.shop.parameters import planting
from duckbook.ingest import history, raw

FIRST = date(2026, 6, 30)
SHOP = {"customers": 250, "seed": 7, "dirt": 0.1, "first_as_of": FIRST, "planted": "bgnbd_r=0.3"}

POSTGRES = ("categories", "subcategories", "order_items", "interactions")


def fingerprints(settings, endpoints):
    """A hash of every landed object, and of every landed table with its declared date."""
    client, hashes = storage.client(endpoints.s3), {}
    for bucket in (settings.s3_historic_bucket, settings.s3_latest_bucket):
        for stored in storage.list_objects(client, bucket):
            if not stored.key.startswith(("json/", "truth/", "landing.json")):
                continue
            hashes[bucket, stored.key] = stored.etag
    with postgres_servers.connect(endpoints.postgres_dsn) as postgres:
        schema = settings.postgres_schema
        tables = postgres.execute(
            "select tablename from pg_tables where schemaname = %s order by 1", [schema]
        ).fetchall()
        for (name,) in tables:
            query = f"""
                select count(*), sum(hashtextextended(r::text, 0)), obj_description('{schema}.{name}'::regclass)
                from {schema}.{name} as r
            """
            hashes[schema, name] = postgres.execute(query).fetchone()
    return hashes


@pytest.fixture(scope="module")
def landed(start_shop):
    """Settings and endpoints after the history and the first latest days have landed, and the landed records."""
    settings = start_shop("landing", postgres_schema="ecom")
    endpoints = servers.up(settings)
    history = landing.land_history(settings, endpoints, **SHOP)
    latest = landing.land_latest(settings, endpoints, FIRST)
    return settings, endpoints, history, latest


def test_landing_again_returns_the_same_records_and_generates_nothing(landed, monkeypatch):
    settings, endpoints, history, latest = landed
    before = fingerprints(settings, endpoints)
    monkeypatch.setattr("duckbook.generate.shop.simulation.Shop", None)
    assert landing.land_history(settings, endpoints, **SHOP) == history
    assert landing.land_latest(settings, endpoints, FIRST) == latest
    assert fingerprints(settings, endpoints) == before


def test_reported_objects_and_tables_exist(landed):
    _, endpoints, history, latest = landed
    client = storage.client(endpoints.s3)
    with postgres_servers.connect(endpoints.postgres_dsn) as postgres:
        for row in [*history, *latest]:
            if row["system"] == "s3":
                bucket, key = row["where"].removeprefix("s3://").split("/", 1)
                assert storage.get_bytes(client, bucket, key).count(b"\n") == row["rows"]
                assert f"/{row['table']}/date={row['date']}/" in row["where"]
            else:
                assert postgres.execute(f"select count(*) from {row['where']}").fetchone() == (row["rows"],)
                comment = postgres.execute("select obj_description(%s::regclass)", [row["where"]]).fetchone()
                assert json.loads(comment[0]) == {"date": row["date"]}
    assert Counter(row["table"] for row in history) == Counter(
        dict.fromkeys(landing.S3_TABLES, 12) | dict.fromkeys(POSTGRES, 1)
    )
    assert Counter(row["table"] for row in latest) == Counter([*landing.S3_TABLES, *POSTGRES])


def test_objects_are_json_lines_with_the_defined_columns_and_iso_timestamps(landed):
    from duckbook.source_tables import source_tables

    settings, endpoints, _, _ = landed
    client = storage.client(endpoints.s3)
    for table in landing.S3_TABLES:
        key = f"json/{table}/date=2026-05-31/{table}.ndjson"
        line = storage.get_bytes(client, settings.s3_historic_bucket, key).splitlines()[0]
        assert tuple(json.loads(line)) == source_tables()[table].column_names
    order = json.loads(
        line := storage.get_bytes(
            client, settings.s3_historic_bucket, "json/orders/date=2026-05-31/orders.ndjson"
        ).splitlines()[0]
    )
    assert order["order_date"] == f"{order['order_date'][:10]}T{order['order_date'][11:]}"
    assert b'"total_amount":"' not in line and b".0," not in line.replace(b".00,", b"")


@pytest.fixture(scope="module")
def dirt_and_raw(landed):
    """Records by table and kind of dirt, and a connection to raw and staging as they are made from these records."""
    settings, endpoints, _, _ = landed
    client, counts = storage.client(endpoints.s3), Counter()
    for stored in storage.list_objects(client, settings.s3_historic_bucket, "truth/dirt_"):
        for row in json.loads(storage.get_bytes(client, settings.s3_historic_bucket, stored.key)):
            counts[row["table"], row["kind"]] += row["records"]
            counts[row["where"], row["kind"]] += row["records"]
    history.ingest(settings, endpoints, None)
    raw.load(settings, endpoints)
    with warehouse.open_warehouse(settings) as connection:
        rendered.stage(connection)
        yield counts, connection


def planted(counts: Counter, kind: str) -> dict[str, int]:
    return {table: counts[table, kind] for table in KINDS if counts[table, kind]}


def test_exactly_the_broken_lines_are_unreadable(dirt_and_raw):
    counts, connection = dirt_and_raw
    found = connection.execute("select source, count(*) from ecom_raw.unreadable group by 1").fetchall()
    assert dict(found) == {
        where: n for (where, kind), n in counts.items() if kind == "broken_line" and n and where not in KINDS
    }


def test_exactly_the_records_without_a_key_are_quarantined(dirt_and_raw):
    counts, connection = dirt_and_raw
    found = dict(
        connection.execute("""
            select table_name, count(*)
            from ecom_staging.quarantine
            anti join ecom_raw.unreadable using (table_name, source, row_number)
            group by table_name
        """).fetchall()
    )
    wanted = planted(counts, "missing_key")
    # A product with the same price as a quarter ago lands again as an equal record, without a key both times.
    assert 0 < found.pop("products") <= wanted.pop("products")
    assert found == wanted


def test_exactly_the_duplicates_are_unchanged(dirt_and_raw):
    counts, connection = dirt_and_raw
    query = "select table_name, sum(unchanged)::bigint from ecom_raw.batches group by 1 having sum(unchanged) > 0"
    # Categories have no dirt, and land whole each time.
    found = {table: unchanged for table, unchanged in connection.execute(query).fetchall() if table in KINDS}
    wanted = planted(counts, "duplicate")
    assert found.pop("products") >= wanted.pop("products") > 0
    assert found == wanted


@pytest.mark.parametrize(
    "name, value",
    [("customers", 300), ("seed", 8), ("dirt", 0.0), ("first_as_of", date(2026, 7, 1)), ("planted", "bgnbd_r=0.4")],
)
def test_another_shop_is_refused(landed, name, value):
    settings, endpoints, _, _ = landed
    with pytest.raises(LandingError, match=f"{name}={SHOP[name]}, not {value}"):
        landing.land_history(settings, endpoints, **SHOP | {name: value})


def test_an_earlier_day_is_refused(landed):
    settings, endpoints, _, _ = landed
    with pytest.raises(LandingError, match="2026-06-29 is earlier"):
        landing.land_latest(settings, endpoints, FIRST - timedelta(days=1))


def test_as_of_dates_follow_the_last_landing(landed):
    settings, endpoints, _, _ = landed
    assert manifest.resolve_as_of(settings, endpoints, None) == FIRST
    assert manifest.resolve_as_of(settings, endpoints, date(2026, 8, 1)) == date(2026, 8, 1)
    assert manifest.next_as_of(settings, endpoints) == FIRST + timedelta(days=1)


def test_the_truth_is_next_to_the_data(landed):
    settings, endpoints, _, _ = landed
    connection = warehouse.engine(settings)
    warehouse.use_landing(connection, endpoints)
    truth = f"s3://{settings.s3_historic_bucket}/truth"
    rate = connection.sql(f"select value from '{truth}/parameters.parquet' where parameter = 'bgnbd_r'").fetchone()
    assert rate == ("0.3",)
    people = connection.sql(f"select count(*), count(dropped_at) from '{truth}/customers.parquet'").fetchone()
    assert people[0] >= SHOP["customers"] and 0 < people[1] < people[0]


@pytest.mark.parametrize(
    "planted, sentence",
    [
        ("bgnbd_rr=0.3", "there is no planted number bgnbd_rr; did you mean bgnbd_r?"),
        ("bgnbd_alpha=0", "bgnbd_alpha=0.0 must lie between 0.001 and"),
        ("lines=0.5", "there is no planted number lines"),
        ("coupon_share=1.5", "coupon_share=1.5 must lie between 0.0 and 1.0"),
        ("bgnbd_r=1.2.3", "bgnbd_r=1.2.3 is not NAME=NUMBER"),
    ],
)
def test_an_invalid_planted_parameter_is_refused(planted, sentence):
    with pytest.raises(SettingError, match=re.escape(sentence)):
        planting(planted)


def test_given_planted_parameters_win_over_landed_ones(landed):
    settings, endpoints, _, _ = landed
    given = manifest.choose(settings, endpoints, planted="spend_mean=50, bgnbd_r=0.4")
    assert given["planted"] == "bgnbd_r=0.4 spend_mean=50"
    assert manifest.choose(settings, endpoints)["planted"] == SHOP["planted"]


def test_before_anything_has_landed(start_shop):
    settings = start_shop("empty", first_as_of=date(2026, 3, 31))
    endpoints = servers.up(settings)
    assert manifest.read(settings, endpoints) is None
    assert (
        manifest.resolve_as_of(settings, endpoints, None)
        == manifest.next_as_of(settings, endpoints)
        == date(2026, 3, 31)
    )
    with pytest.raises(LandingError, match=r"run notebooks/pipeline/01_generate_history.ipynb first"):
        landing.land_latest(settings, endpoints, date(2026, 3, 31))
    storage.put_bytes(storage.client(endpoints.s3), settings.s3_historic_bucket, "json/orders.json", b"[]")
    with pytest.raises(LandingError, match=r"holds data that was not generated here, such as .*json/orders.json"):
        landing.land_history(settings, endpoints, **SHOP)
    storage.put_bytes(storage.client(endpoints.s3), settings.s3_historic_bucket, manifest.KEY, b"{}")
    with pytest.raises(LandingError, match=r"landing.json is not a manifest"):
        manifest.read(settings, endpoints)


LAND = """
import os, sys
from datetime import date
from duckbook.generate import landing; from duckbook.backends import servers
from duckbook.settings import Settings
settings = Settings(data=sys.argv[1], runs=sys.argv[1], threads=int(sys.argv[2]), _env_file=None)
endpoints = servers.up(settings)
print("ready", flush=True)
landing.land_history(settings, endpoints, customers=250, seed=7, dirt=0.1, first_as_of=date(2026, 6, 30),
    planted="bgnbd_r=0.3")
print("history", flush=True)
landing.land_latest(settings, endpoints, date(2026, 6, 30))
"""


def test_a_load_killed_at_any_moment_can_be_repeated_with_the_same_result(landed, start_shop):
    """After kills and with another number of threads, bytes and rows equal those of an undisturbed load."""
    settings = start_shop("killed")
    endpoints = servers.up(settings)

    def at_work() -> list:
        return list((settings.data / "tmp").glob("landing-*"))

    for seconds in (0.2, 0.6, 1.0, None):
        child = subprocess.Popen(
            [sys.executable, "-c", LAND, str(settings.data), "1"],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": ""},
        )
        child.stdout.readline()
        # Kill the last one only after it has begun, however slow the machine is.
        while seconds is None and child.poll() is None and not at_work():
            time.sleep(0.01)
        time.sleep(seconds or 0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert at_work()
    subprocess.run([sys.executable, "-c", LAND, str(settings.data), "1"], check=True, capture_output=True)
    assert not at_work()
    assert fingerprints(settings, endpoints) == fingerprints(landed[0], landed[1])


def test_a_failed_table_load_keeps_the_previous_table(landed):
    from duckbook.generate.landing_writer import Writer
    from duckbook.generate.shop import records
    from duckbook.generate.shop.simulation import Shop

    settings, endpoints, _, _ = landed
    shop = Shop(250, 7, FIRST, FIRST)
    before = fingerprints(settings, endpoints)

    def pieces():
        yield from records.order_items(shop, shop.whole)
        raise MemoryError("no more")

    with Writer(settings, endpoints) as writer:
        with pytest.raises(MemoryError):
            writer.put_table(shop, "latest_", "order_items", FIRST, pieces())
        assert fingerprints(settings, endpoints) == before
        writer.put_table(shop, "", "categories", date(2026, 5, 31), records.categories(shop, shop.whole))
    assert fingerprints(settings, endpoints) == before


def test_a_killed_load_of_another_size_leaves_nothing_behind(start_shop, landed):
    settings = start_shop("resized")
    endpoints = servers.up(settings)
    manifest.write(settings, endpoints, manifest.Manifest(900, 7, 0.05, date(2025, 1, 31)))
    storage.put_bytes(
        storage.client(endpoints.s3), settings.s3_historic_bucket, "json/orders/date=2025-01-01/orders.ndjson", b"{}\n"
    )
    theirs = "json/orders/date=2024-12-31/orders.ndjson"
    storage.put_bytes(storage.client(endpoints.s3), settings.s3_historic_bucket, theirs, b"{}\n")
    landing.land_history(settings, endpoints, **SHOP)
    landing.land_latest(settings, endpoints, FIRST)
    assert storage.get_bytes(storage.client(endpoints.s3), settings.s3_historic_bucket, theirs) == b"{}\n"
    storage.delete(storage.client(endpoints.s3), settings.s3_historic_bucket, theirs)
    assert fingerprints(settings, endpoints) == fingerprints(landed[0], landed[1])


def test_the_next_day_replaces_the_tables_and_adds_objects(landed, start_shop):
    """Last in this file, because it lands another day."""
    settings, endpoints, history, _ = landed
    before = fingerprints(settings, endpoints)
    next_day = landing.land_latest(settings, endpoints, FIRST + timedelta(days=1))
    after = fingerprints(settings, endpoints)
    kept = {
        where: value
        for where, value in before.items()
        if "latest_" not in where[1] and where[1].startswith(("json/", "order", "inter"))
    }
    assert all(after[where] == value for where, value in kept.items())
    assert after["ecom", "latest_interactions"][2] == '{"date": "2026-07-01"}'
    assert manifest.read(settings, endpoints).last_as_of == FIRST + timedelta(days=1)
    assert manifest.read(settings, endpoints).history == history
    assert {row["date"] for row in next_day} == {"2026-07-01"}
