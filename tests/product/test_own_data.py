"""Somebody else's data, in the landing format, on servers that are not ours, reaches the marts whole.

The program below is what a user would write from docs/landing.md: it knows boto3, psycopg2 and json, and nothing of
the library. It writes each of the formats, text ids, a keyless table of reviews, and two tables alone are complete.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import boto3
import postgres_servers
import pytest

DUCKBOOK = str(Path(sys.executable).parent / "duckbook")

CUSTOMERS = [
    {"customer_id": "c-1", "email": "ann@example.org", "city": "Boise", "state": "ID", "signup_date": "2026-01-02"},
    {"customer_id": "c-2", "email": "bo@example.org", "city": "Reno", "state": "NV", "signup_date": "2026-01-03"},
]
ORDERS = [
    {"order_id": f"o-{n}", "customer_id": customer, "order_date": f"2026-03-{n:02d}T10:00:00", "status": status,
     "total_amount": total, "shipping_cost": "5.00", "updated_at": f"2026-03-{n:02d}T12:00:00"}
    for n, customer, status, total in [
        (1, "c-1", "delivered", "25.00"), (2, "c-2", "shipped", "17.50"), (3, "c-9", "delivered", "105.01"),
        (4, "c-1", "cancelled", "45.00"), (5, "c-2", "delivered", "5.00"),
    ]
]  # fmt: skip
ITEMS = [
    ("o-1", 1, "p-1", 2, "10.00"), ("o-2", 1, "p-2", 1, "12.50"), ("o-3", 1, "p-1", 10, "10.00"),
    ("o-3", 2, "p-3", 1, "0.01"), ("o-4", 1, "p-2", 4, "10.00"), ("o-77", 1, "p-1", 1, "9.99"),
]  # fmt: skip
REVIEWS = [
    {"product_id": "p-1", "order_id": "o-1", "customer_id": "c-1", "review_score": 5, "review_text": "Good"},
    {"product_id": "p-1", "order_id": "o-1", "customer_id": "c-1", "review_score": 5, "review_text": "Good"},
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory, external_endpoints, external_environment) -> dict[str, str]:
    """The environment of a run on other servers, with other people's data landed on them."""
    folder = tmp_path_factory.mktemp("own data")
    land(external_endpoints)
    return (
        os.environ
        | external_environment
        | {
            "DUCKBOOK_DATA": str(folder / "data"),
            "DUCKBOOK_RUNS": str(folder / "runs"),
            "DUCKBOOK_S3_HISTORIC_BUCKET": "theirs-past",
            "DUCKBOOK_S3_LATEST_BUCKET": "theirs-new",
            "DUCKBOOK_POSTGRES_SCHEMA": "theirs",
        }
    )


def client(endpoints):
    return boto3.client(
        "s3",
        endpoint_url=endpoints.s3.url,
        region_name=endpoints.s3.region,
        aws_access_key_id=endpoints.s3.access_key_id,
        aws_secret_access_key=endpoints.s3.secret_access_key,
    )


def land(endpoints) -> None:
    """What someone else's program does."""
    s3 = client(endpoints)
    for bucket in ("theirs-past", "theirs-new"):
        s3.create_bucket(Bucket=bucket)
    old, new = ORDERS[:3], ORDERS[2:]
    lines = "\n".join(map(json.dumps, old))
    s3.put_object(Bucket="theirs-past", Key="json/orders/2026/first.ndjson.gz", Body=gzip.compress(lines.encode()))
    s3.put_object(Bucket="theirs-new", Key="json/orders.json", Body=json.dumps(new))
    document = {"metadata": {"date": "2026-03-06", "by": "them"}, "data": CUSTOMERS}
    s3.put_object(Bucket="theirs-past", Key="json/customers/all.json", Body=json.dumps(document))
    s3.put_object(
        Bucket="theirs-past", Key="json/reviews/r.ndjson", Body="\n".join(map(json.dumps, REVIEWS)) + "\n{oops"
    )
    with postgres_servers.connect(endpoints.postgres_dsn) as postgres:
        postgres.execute("create schema theirs")
        postgres.execute(
            "create table theirs.order_items (order_id text, order_item_id int, product_id text, quantity int,"
            " unit_price numeric(10, 2), total_price numeric(10, 2))"
        )
        with postgres.cursor() as cursor:
            cursor.executemany(
                "insert into theirs.order_items values (%s, %s, %s, %s, %s, %s)",
                [(*item, item[3] * Decimal(item[4])) for item in ITEMS],
            )


def everything(endpoints, schema: str, buckets: tuple[str, ...], data: Path) -> dict:
    """All that a look at a landing zone could change: objects, tables with the transactions that wrote them, files."""
    s3 = client(endpoints)
    objects = {
        (bucket, found["Key"]): (found["ETag"], found["LastModified"])
        for bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]
        for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        if bucket in buckets
    }
    with postgres_servers.connect(endpoints.postgres_dsn) as postgres:
        named = (
            "select schemaname, tablename, obj_description((schemaname || '.' || tablename)::regclass) from pg_tables"
        )
        tables = postgres.execute(f"{named} where schemaname !~ '^(pg_|information)' order by 1, 2").fetchall()
        rows = {
            (owner, name): postgres.execute(f"select xmin, ctid, t.* from {owner}.{name} as t").fetchall()
            for owner, name, _ in tables
            if owner == schema
        }
        schemas = postgres.execute("select nspname from pg_namespace order by 1").fetchall()
    # Beside the mark of a data folder.
    found = [path for path in data.glob("**/*") if path.is_file() and "duckdb_ext" not in str(path)]
    files = {path: path.read_bytes() for path in found if path.name != "duckbook.json"}
    names = sorted(one["Name"] for one in s3.list_buckets()["Buckets"])
    return {"objects": objects, "tables": tables, "rows": rows, "schemas": schemas, "files": files, "buckets": names}


def check_landing(shop: dict, **others: str) -> subprocess.CompletedProcess:
    done = subprocess.run([DUCKBOOK, "check-landing"], env=shop | others, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    return done


def test_a_look_at_it_tells_what_a_run_would_do_and_changes_nothing(shop, external_endpoints):
    state = lambda: everything(  # noqa: E731
        external_endpoints, "theirs", ("theirs-past", "theirs-new"), Path(shop["DUCKBOOK_DATA"])
    )
    before = state()
    assert before["objects"] and before["rows"]
    done = check_landing(shop)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"│ orders +│ +2 │ +2 │ +6 │ +0 │ +0 │", done.stdout)
    assert re.search(r"│ reviews +│ +1 │ +1 │ +3 │ +1 │ +0 │", done.stdout)
    assert re.search(r"│ order_items +│ +1 │ +1 │ +6 │ +0 │ +0 │", done.stdout)
    assert re.search(r"│ products +│ is missing ", done.stdout)
    assert re.search(r"│ reviews +│ unreadable: is not JSON.*\{oops", done.stdout)
    assert state() == before


def test_a_look_fails_where_a_run_would_and_makes_no_bucket_and_no_schema(shop, external_endpoints):
    elsewhere = {
        "DUCKBOOK_S3_HISTORIC_BUCKET": "not-there", "DUCKBOOK_S3_LATEST_BUCKET": "not-there-new",
        "DUCKBOOK_POSTGRES_SCHEMA": "not_there",
    }  # fmt: skip
    state = lambda: everything(external_endpoints, "theirs", ("theirs-past",), Path(shop["DUCKBOOK_DATA"]))  # noqa: E731
    before = state()
    done = check_landing(shop, **elsewhere)
    assert done.returncode == 1
    assert "✗ orders is missing from the landing zone" in done.stdout
    assert "would fail" in done.stdout
    assert check_landing(shop, DUCKBOOK_QUARANTINE_LIMIT="0").returncode == 1, "one line of theirs is unreadable"
    assert state() == before


@pytest.fixture(scope="module")
def run(shop) -> dict:
    """run.json of `make pipeline GENERATE=0` on these data."""
    done = subprocess.run([DUCKBOOK, "run", "--no-generate"], env=shop, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((Path(shop["DUCKBOOK_RUNS"]) / "latest" / "run.json").read_text("utf-8"))


def test_no_row_of_theirs_is_unaccounted_for(run):
    rows = {row["table"]: row for row in run["tables"]}
    assert {table: row["landed"] for table, row in rows.items()} == {
        "customers": 2, "products": 0, "orders": 6, "reviews": 3, "categories": 0, "subcategories": 0,
        "order_items": 6, "interactions": 0,
    }  # fmt: skip
    assert rows["orders"]["unchanged"] == 1, "an order that is landed twice is one order"
    assert rows["reviews"]["staged"] == 2, "two equal reviews without an id are two reviews"
    assert rows["reviews"]["unreadable"] == 1
    for row in rows.values():
        assert row["landed"] == row["appended"] + row["unchanged"] + row["unreadable"]
        assert row["raw"] == row["staged"] + row["superseded"] + row["quarantined"]


def test_their_money_reaches_the_marts_to_the_cent(run):
    truth = sum(quantity * Decimal(price) for _, _, _, quantity, price in ITEMS)
    totals = {
        row["mart"]: Decimal(str(row["mart_total"]))
        for row in run["reconciliation"]
        if row["measure"] == "gross_amount"
    }
    assert totals, "no mart carries gross_amount"
    assert set(totals.values()) == {truth}
    assert all(row["equal"] for row in run["reconciliation"])


def test_an_order_of_a_customer_whom_no_record_describes_keeps_its_money_and_its_customer(run, shop):
    import duckdb

    current = (Path(shop["DUCKBOOK_DATA"]) / "published" / "CURRENT").read_text("utf-8").strip()
    marts = Path(shop["DUCKBOOK_DATA"]) / "published" / current
    total = duckdb.sql(
        f"select sum(gross_amount) from '{marts}/fct_order_details.parquet' where order_id = 'o-3'"
    ).fetchone()[0]
    assert total == Decimal("100.01")
    # Nor has anything landed that describes products.
    named = duckdb.sql(f"""
        select distinct customer_id, customers.is_inferred, products.is_inferred
        from '{marts}/fct_order_details.parquet' as lines
        inner join '{marts}/dim_customers.parquet' as customers using (customer_key)
        inner join '{marts}/dim_products.parquet' as products using (product_key)
        where order_id in ('o-1', 'o-3') order by 1
    """).fetchall()
    assert named == [("c-1", False, True), ("c-9", True, True)]


def test_a_run_that_only_reads_is_of_the_datas_day_and_says_nothing_of_a_generated_shop(run, shop):
    done = subprocess.run([DUCKBOOK, "run", "--only", "bi"], env=shop, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = (Path(shop["DUCKBOOK_RUNS"]) / "latest").resolve()
    record = json.loads((folder / "run.json").read_text("utf-8"))
    assert record["as_of"] == run["as_of"] == "2026-03-06"
    assert record["parameters"] == {"generate": False}
    assert "as of 2026-03-06" in done.stdout
    assert "2026-06-30" not in (folder / "index.html").read_text("utf-8")


def test_more_quarantined_rows_than_the_limit_fail_the_run_before_it_publishes_until_they_are_mended(
    run, shop, external_endpoints
):
    published = Path(shop["DUCKBOOK_DATA"]) / "published" / "CURRENT"
    before = published.read_text("utf-8")
    strict = shop | {"DUCKBOOK_QUARANTINE_LIMIT": "0"}
    done = subprocess.run([DUCKBOOK, "run", "--no-generate"], env=strict, capture_output=True, text=True)
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert "1 of the 3 rows of s3://theirs-past/json/reviews/r.ndjson are quarantined, more than the 0 that" in told
    record = json.loads((Path(shop["DUCKBOOK_RUNS"]) / "latest" / "run.json").read_text("utf-8"))
    assert {step["name"]: step["status"] for step in record["steps"]}["staging"] == "failed"
    assert published.read_text("utf-8") == before
    mended = "\n".join(map(json.dumps, [*REVIEWS, {"review_score": 4}]))
    client(external_endpoints).put_object(Bucket="theirs-past", Key="json/reviews/r.ndjson", Body=mended)
    mending = [DUCKBOOK, "run", "--no-generate", "--until", "publish"]
    done = subprocess.run(mending, env=strict, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert published.read_text("utf-8") != before
    # The third run over the same data adds what was mended and nothing else.
    record = json.loads((Path(shop["DUCKBOOK_RUNS"]) / "latest" / "run.json").read_text("utf-8"))
    added = {row["table"]: row["appended"] for row in record["tables"]}
    assert added == dict.fromkeys(added, 0) | {"reviews": 1}
    staged = {row["table"]: row["staged"] for row in run["tables"]}
    assert {row["table"]: row["staged"] for row in record["tables"]} == staged | {"reviews": staged["reviews"] + 1}
