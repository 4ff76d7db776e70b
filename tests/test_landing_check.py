"""`check` says what an ingest would do, and does none of it."""

import json

import pytest
import rendered
from duckbook import warehouse
from duckbook.landing_check import _cast, check
from duckbook.tables import Column
from landing_zone import AS_OF, Shop, lines, order


@pytest.fixture
def shop(tmp_path_factory, endpoints) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("check"), endpoints, "checked")
    shop.clear()
    return shop


def table(report, name: str) -> dict:
    return next(row for row in report.tables if row["table"] == name)


def test_what_would_be_set_aside_is_told_and_nothing_is_changed(shop):
    good = order(1, order_date="2026-06-01", total_amount="1.50", coupon="X")
    rows = [good, order(None), order(2, total_amount="12 EUR"), order(3, order_date="soon")]
    address = shop.land("orders/o.ndjson", lines(*rows, "{oops"))
    stray = shop.land("order.json", b"[]")
    report = check(shop.settings.model_copy(update={"quarantine_limit": 1}), shop.endpoints)
    assert report.stops == []
    assert table(report, "orders") == {
        "table": "orders", "found": 1, "new": 1, "landed": 5, "unreadable": 1, "quarantined": 3,
    }  # fmt: skip
    told = {(f.source, f.finding, f.rows, f.example) for f in report.findings}
    assert {
        (address, "quarantined: the record has no key", 1, ""),
        (address, "quarantined: total_amount is no decimal(18,2)", 1, "12 EUR"),
        (address, "quarantined: order_date is no timestamp", 1, "soon"),
        (address, "columns added", 1, "coupon"),
        (stray, "is not read: no source table has that name", 1, ""),
    } <= told
    assert shop.history_keys() == []
    assert not shop.settings.warehouse_path.exists()
    assert not list((shop.settings.data / "tmp").iterdir())


def test_everything_that_would_stop_an_ingest_is_told_at_once(shop):
    shop.land("customers/bad.json", json.dumps([{"customer_id": 1}]).encode()[:-3])
    shop.land("products/bad.json", b"<html>")
    stops = check(shop.settings, shop.endpoints).stops
    assert len(stops) == 3
    assert stops[0].startswith("orders is missing")


def test_after_an_ingest_nothing_is_new(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    shop.ingest()
    report = check(shop.settings, shop.endpoints)
    assert table(report, "orders") == {
        "table": "orders", "found": 1, "new": 0, "landed": 0, "unreadable": 0, "quarantined": 0,
    }  # fmt: skip
    assert report.stops == []
    assert [finding for finding in report.findings if not finding.finding.startswith("is missing")] == []


def test_a_table_that_is_not_required_and_missing_is_told_and_stops_nothing(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    report = check(shop.settings, shop.endpoints)
    missing = {finding.table for finding in report.findings if finding.finding.startswith("is missing")}
    assert missing == {"customers", "products", "reviews", "categories", "subcategories", "interactions"}
    assert report.stops == []


def test_a_landing_zone_that_tells_no_date_stops_unless_one_is_given(shop):
    shop.land("orders/o.ndjson", lines({"order_id": 1}))
    (stop,) = check(shop.settings, shop.endpoints).stops
    assert "AS_OF=2026-06-30" in stop
    assert check(shop.settings, shop.endpoints, AS_OF).stops == []


def test_more_rows_than_the_quarantine_limit_stop_also_when_they_were_ingested_before(shop):
    shop.land("orders/o.ndjson", lines(*(order(n, total_amount="12 EUR") for n in range(60)), "{oops"))
    (stop,) = check(shop.settings, shop.endpoints).stops
    assert "61 of the 61 rows" in stop
    assert "DUCKBOOK_QUARANTINE_LIMIT=0.05" in stop
    assert "'12 EUR'" in stop or "not JSON" in stop
    shop.ingest()
    with warehouse.open_warehouse(shop.settings) as connection:
        rendered.stage(connection)
    again = check(shop.settings, shop.endpoints)
    assert table(again, "orders")["new"] == 0
    assert [text.partition(" are ")[0] for text in again.stops] == [stop.partition(" are ")[0]]
    shop.land("orders/o.ndjson", lines(*(order(n, total_amount="12") for n in range(60))))
    assert check(shop.settings, shop.endpoints).stops == []


VALUES = (
    "1e2", " 12.5 ", "-0.005", "1,000", "$5", "NaN", "inf", "99999999999999999", "3.0", "2.5", "3000000000", "three",
    "True", "1.0", "0.0", " no ", "maybe", "2026-06-30", "2026-06-30T12:00:00", "2026-06-30T12:00:00+02:00",
    "2026-06-30 12:00:00 UTC", "2026-02-30", "06/30/2026", "infinity", "0001-01-01", "9999-12-31",
    "1899-12-31 23:30:00-05", "2.00001", "1_000", ".5e-3", "1e-400", "0x10", "epoch", "t", "on",
    "2026-06-30 12:00:00 EST",
    "", "  ", "x",
)  # fmt: skip


@pytest.mark.parametrize("data_type", ["integer", "boolean", "timestamp", "decimal(18,2)", "decimal(4,2)"])
def test_what_is_told_to_be_quarantined_is_what_staging_cannot_cast(shop, data_type):
    cast = _cast(Column("v", data_type, "")).format("nullif(trim(v), '')")
    staging = rendered.macro("as_type", "v", data_type)
    with warehouse.engine(shop.settings) as connection:
        differ = connection.execute(
            f"select v, ({cast}) is null, ({staging}) is null from (select unnest($1) as v) "
            f"where (({cast}) is null) != (({staging}) is null)",
            [list(VALUES)],
        ).fetchall()
    assert differ == []
