"""Landing on real servers: once, again, after a kill, day after day, and never over somebody else's data."""

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
from duckbook.backends import manifest, servers, storage, warehouse
from duckbook.errors import LandingError, SettingError
from duckbook.generate import landing
from duckbook.generate.shop.parameters import planting

FIRST = date(2026, 6, 30)
STORE = {"customers": 250, "seed": 7, "dirt": 0.05, "first_as_of": FIRST, "planted": "bgnbd_r=0.3"}

POSTGRES = ("categories", "subcategories", "order_items", "interactions")


def fingerprints(settings, endpoints):
    """A hash of every landed object, and of every landed table with its declared date."""
    client, found = storage.client(endpoints.s3), {}
    for bucket in (settings.s3_historic_bucket, settings.s3_latest_bucket):
        for stored in storage.list_objects(client, bucket):
            if not stored.key.startswith(("json/", "truth/", "landing.json")):
                continue
            found[bucket, stored.key] = stored.etag
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
            found[schema, name] = postgres.execute(query).fetchone()
    return found


@pytest.fixture(scope="module")
def landed(start_store):
    """Settings and endpoints of a store whose history and first latest days have landed, and what was landed."""
    settings = start_store("landing", postgres_schema="ecom")
    endpoints = servers.up(settings)
    history = landing.land_history(settings, endpoints, **STORE)
    latest = landing.land_latest(settings, endpoints, FIRST)
    return settings, endpoints, history, latest


def test_landing_again_gives_the_same_answer_and_generates_nothing(landed, monkeypatch):
    settings, endpoints, history, latest = landed
    before = fingerprints(settings, endpoints)
    monkeypatch.setattr("duckbook.generate.shop.simulation.Store", None)
    assert landing.land_history(settings, endpoints, **STORE) == history
    assert landing.land_latest(settings, endpoints, FIRST) == latest
    assert fingerprints(settings, endpoints) == before


def test_what_is_said_to_have_landed_is_there(landed):
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


def test_objects_are_json_lines_with_the_columns_of_the_definition_and_moments_in_iso_text(landed):
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


def test_dirt_is_counted_as_it_landed(landed):
    settings, endpoints, history, _ = landed
    client = storage.client(endpoints.s3)
    told = json.loads(storage.get_bytes(client, settings.s3_historic_bucket, "truth/dirt_2026-05-31.json"))
    broken = Counter()
    for row in history:
        if row["system"] == "s3":
            bucket, key = row["where"].removeprefix("s3://").split("/", 1)
            lines = storage.get_bytes(client, bucket, key).decode().splitlines()
            broken[row["where"]] += sum(not line.endswith("}") for line in lines)
    assert +broken == {row["where"]: row["records"] for row in told if row["kind"] == "broken_line"}
    with postgres_servers.connect(endpoints.postgres_dsn) as postgres:
        keyless = postgres.execute("select count(*) from ecom.interactions where event_id is null").fetchone()[0]
    assert [row["records"] for row in told if (row["table"], row["kind"]) == ("interactions", "missing_key")] == [
        keyless
    ]


@pytest.mark.parametrize(
    "name, value",
    [("customers", 300), ("seed", 8), ("dirt", 0.0), ("first_as_of", date(2026, 7, 1)), ("planted", "bgnbd_r=0.4")],
)
def test_another_store_is_refused(landed, name, value):
    settings, endpoints, _, _ = landed
    with pytest.raises(LandingError, match=f"{name}={STORE[name]}, not {value}"):
        landing.land_history(settings, endpoints, **STORE | {name: value})


def test_an_earlier_day_is_refused(landed):
    settings, endpoints, _, _ = landed
    with pytest.raises(LandingError, match="2026-06-29 is earlier"):
        landing.land_latest(settings, endpoints, FIRST - timedelta(days=1))


def test_as_of_dates_follow_from_what_has_landed(landed):
    settings, endpoints, _, _ = landed
    assert manifest.resolve_as_of(settings, endpoints, None) == FIRST
    assert manifest.resolve_as_of(settings, endpoints, date(2026, 8, 1)) == date(2026, 8, 1)
    assert manifest.next_as_of(settings, endpoints) == FIRST + timedelta(days=1)


def test_the_truth_lies_beside_the_data(landed):
    settings, endpoints, _, _ = landed
    connection = warehouse.engine(settings)
    warehouse.use_landing(connection, endpoints)
    truth = f"s3://{settings.s3_historic_bucket}/truth"
    rate = connection.sql(f"select value from '{truth}/parameters.parquet' where parameter = 'bgnbd_r'").fetchone()
    assert rate == ("0.3",)
    people = connection.sql(f"select count(*), count(dropped_at) from '{truth}/customers.parquet'").fetchone()
    assert people[0] >= STORE["customers"] and 0 < people[1] < people[0]


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
def test_a_planted_parameter_that_cannot_be_is_told(planted, sentence):
    with pytest.raises(SettingError, match=re.escape(sentence)):
        planting(planted)


def test_planted_parameters_are_chosen_as_given_then_as_set_then_as_landed(landed):
    settings, endpoints, _, _ = landed
    given = manifest.choose(settings, endpoints, planted="spend_mean=50, bgnbd_r=0.4")
    assert given["planted"] == "bgnbd_r=0.4 spend_mean=50"
    assert manifest.choose(settings, endpoints)["planted"] == STORE["planted"]


def test_before_anything_has_landed(start_store):
    settings = start_store("empty", first_as_of=date(2026, 3, 31))
    endpoints = servers.up(settings)
    assert manifest.read(settings, endpoints) is None
    assert (
        manifest.resolve_as_of(settings, endpoints, None)
        == manifest.next_as_of(settings, endpoints)
        == date(2026, 3, 31)
    )
    with pytest.raises(LandingError, match=r"run 01_generate_history.ipynb first"):
        landing.land_latest(settings, endpoints, date(2026, 3, 31))
    storage.put_bytes(storage.client(endpoints.s3), settings.s3_historic_bucket, "json/orders.json", b"[]")
    with pytest.raises(LandingError, match=r"holds data that was not generated here, such as .*json/orders.json"):
        landing.land_history(settings, endpoints, **STORE)
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
landing.land_history(settings, endpoints, customers=250, seed=7, dirt=0.05, first_as_of=date(2026, 6, 30),
    planted="bgnbd_r=0.3")
print("history", flush=True)
landing.land_latest(settings, endpoints, date(2026, 6, 30))
"""


def test_a_load_killed_at_any_moment_is_done_again_to_the_same_end(landed, start_store):
    """Killed at some moments, and with another number of threads: the same bytes and rows as undisturbed."""
    settings = start_store("killed")
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
        # The last one is killed once it is surely at work, however slow the machine is.
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


def test_a_table_that_cannot_be_made_to_the_end_leaves_the_one_before(landed):
    from duckbook.generate.landing_writer import Writer
    from duckbook.generate.shop import records
    from duckbook.generate.shop.simulation import Store

    settings, endpoints, _, _ = landed
    store = Store(250, 7, FIRST, FIRST)
    before = fingerprints(settings, endpoints)

    def pieces():
        yield from records.order_items(store, store.whole)
        raise MemoryError("no more")

    with Writer(settings, endpoints) as writer:
        with pytest.raises(MemoryError):
            writer.put_table(store, "latest_", "order_items", FIRST, pieces())
        assert fingerprints(settings, endpoints) == before
        writer.put_table(store, "", "categories", date(2026, 5, 31), records.categories(store, store.whole))
    assert fingerprints(settings, endpoints) == before


def test_a_killed_load_of_another_size_leaves_nothing_behind(start_store, landed):
    settings = start_store("resized")
    endpoints = servers.up(settings)
    manifest.write(settings, endpoints, manifest.Manifest(900, 7, 0.05, date(2025, 1, 31)))
    storage.put_bytes(
        storage.client(endpoints.s3), settings.s3_historic_bucket, "json/orders/date=2025-01-01/orders.ndjson", b"{}\n"
    )
    theirs = "json/orders/date=2024-12-31/orders.ndjson"
    storage.put_bytes(storage.client(endpoints.s3), settings.s3_historic_bucket, theirs, b"{}\n")
    landing.land_history(settings, endpoints, **STORE)
    landing.land_latest(settings, endpoints, FIRST)
    assert storage.get_bytes(storage.client(endpoints.s3), settings.s3_historic_bucket, theirs) == b"{}\n"
    storage.delete(storage.client(endpoints.s3), settings.s3_historic_bucket, theirs)
    assert fingerprints(settings, endpoints) == fingerprints(landed[0], landed[1])


def test_the_next_day_replaces_the_tables_and_adds_objects(landed, start_store):
    """Last in this file, because it moves the store on."""
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
