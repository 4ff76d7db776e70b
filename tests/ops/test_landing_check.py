"""`check` reports what an ingest would do, and changes nothing."""

import json
from datetime import date

import pytest
import rendered
from duckbook.backends import warehouse
from duckbook.errors import IngestError
from duckbook.ingest.rows import key as row_key
from duckbook.ops.landing_check import check
from duckbook.source_tables import source_tables
from duckbook.transform import rejections
from landing_zone import AS_OF, Shop, lines, order


@pytest.fixture
def shop(tmp_path_factory, endpoints) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("check"), endpoints, "checked")
    shop.clear()
    return shop


def table(report, name: str) -> dict:
    return next(row for row in report.tables if row["table"] == name)


def test_rows_to_quarantine_are_reported_and_nothing_is_changed(shop):
    good = order(1, order_date="2026-06-01", total_amount="1.50", coupon="X")
    rows = [good, order(None), order(2, total_amount="12 EUR"), order(3, order_date="soon")]
    address = shop.land("orders/o.ndjson", lines(*rows, "{oops"))
    stray = shop.land("order.json", b"[]")
    report = check(shop.settings.model_copy(update={"quarantine_limit": 1}), shop.endpoints)
    assert report.stops == []
    assert table(report, "orders") == {
        "table": "orders", "found": 1, "new": 1, "landed": 5, "unreadable": 1, "quarantined": 3,
    }  # fmt: skip
    found = {(f.source, f.finding, f.rows, f.example) for f in report.findings}
    assert {
        (address, "quarantined: the record has no key", 1, ""),
        (address, "quarantined: total_amount is not a decimal(14,2)", 1, "12 EUR"),
        (address, "quarantined: order_date is not a timestamp", 1, "soon"),
        (address, "columns added", 1, "coupon"),
        (stray, "is not read: no source table has that name", 1, ""),
    } <= found
    assert shop.history_keys() == []
    assert not shop.settings.warehouse_path.exists()
    assert not list((shop.settings.data / "tmp").iterdir())


def test_a_status_of_unknown_meaning_is_reported_with_its_orders(shop):
    for n, status in enumerate(("wc-failed", "Closed", "closed", "lost in post", None)):
        shop.land(f"orders/{n}.ndjson", lines(order(n, status=status)))
    explained = shop.settings.model_copy(update={"order_statuses": "lost_in_post=cancelled"})
    found = {f.finding: f.rows for f in check(explained, shop.endpoints).findings if f.finding.startswith("status")}
    (finding,) = found
    assert found[finding] == 2 and "status 'closed' is unknown" in finding


def test_all_reasons_that_would_stop_an_ingest_are_reported_at_once(shop):
    shop.land("customers/bad.json", json.dumps([{"customer_id": 1}]).encode()[:-3])
    shop.land("products/bad.json", b"<html>")
    stops = check(shop.settings, shop.endpoints).stops
    assert len(stops) == 3
    assert stops[0].startswith("orders is missing")


def findings(report) -> set:
    return {(f.table, f.finding, f.rows, f.example) for f in report.findings}


def test_totals_are_computed_per_currency(shop):
    rows = [
        order(1, total_amount="30.00", currency="USD", order_date="2026-05-01T10:00:00"),
        order(1, total_amount="20.00", currency="USD", order_date="2026-05-01T10:00:00"),
        order(2, total_amount="7,5", currency="EUR", order_date="2026-05-03T23:00:00"),
        order(3, total_amount="1e1", currency="EUR", order_date="2026-06-02"),
    ]
    shop.land("orders/o.ndjson", lines(*rows))
    items = [
        ("1", 1, 2, "5.25", None),
        ("1", 2, 1, "9.50", "9.50"),
        ("2", 1, 3, "0.50", None),
        ("3", 1, 7, "1", "10.00"),
        ("9", 1, 1, "1", "1"),
    ]
    columns = "order_id text, order_item_id int, quantity int, unit_price numeric(18, 6), total_price numeric(10, 2)"
    shop.land_table("order_items", columns, items)
    report = check(shop.settings.model_copy(update={"quarantine_limit": 1}), shop.endpoints)
    names = ("currency", "orders", "lines", "units", "items_amount", "orders_amount", "first_day", "last_day")
    found = [tuple(str(row[name]) for name in names) for row in report.totals]
    # A quarantined order is not counted, and its items have no currency.
    assert found == [
        ("", "0", "2", "4", "2.50", "None", "None", "None"),
        ("EUR", "1", "1", "7", "10.00", "10.00", "2026-06-02", "2026-06-02"),
        ("USD", "1", "2", "3", "20.00", "20.00", "2026-05-01", "2026-05-01"),
    ]
    assert ("orders", "keys with several records that differ: the last counts", 1, "1") in findings(report)


def test_possible_mistakes_are_reported_and_stop_nothing(shop):
    future = {"order_date": "2099-01-01", "promised_at": "2099-01-01"}
    shop.land("orders/o.ndjson", lines(order(1), order(2) | future))
    shop.land_table("order_items", "order_id text, order_item_id int, quantity int", [("1", 1, -1), ("1", 2, 3)])
    report = check(shop.settings, shop.endpoints)
    assert {
        ("orders", "order_date is after today", 1, "2099-01-01"), ("order_items", "negative quantity", 1, "-1"),
    } <= findings(report)  # fmt: skip
    assert not [f for f in report.findings if "promised_at" in f.finding and "after" in f.finding]
    assert report.stops == []
    assert str(shop.ingest(as_of=None).as_of) == "2026-03-01"


def test_missing_keys_and_objects_are_reported_and_their_rows_stay(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    shop.land("orders/p.ndjson", lines(order(5)))
    shop.land("orders/q.ndjson", lines(order(6)), latest=True)
    columns = "category_id int, category_name text"
    shop.land_table("categories", columns, [(1, "a"), (2, "b"), (3, "c")])
    shop.ingest()
    shop.land_table("categories", columns, [(1, "a"), (4, "d")])
    shop.land("orders/q.ndjson", lines(order(7)), latest=True)
    shop.take_away("orders/p.ndjson")
    report = check(shop.settings, shop.endpoints)
    assert ("categories", "keys that are gone: their rows stay", 2, "2") in findings(report)
    assert ("orders", "is gone from the landing zone: its rows stay", 0, "") in findings(report)
    shop.ingest()
    assert [row["gone"] for row in shop.query("select gone from ecom_raw.batches order by sequence")][-2:] == [0, 2]
    assert shop.newest("categories").keys() == {"1", "2", "3", "4"}
    shop.land_table("categories", columns, [])
    shop.ingest()
    assert shop.query("select gone from ecom_raw.batches order by sequence desc limit 1") == [{"gone": 2}]


def test_a_batch_of_a_future_day_stops_unless_as_of_allows_it(shop):
    shop.land("orders/date=2026-06-01/o.ndjson", lines(order(1)))
    address = shop.land("orders/date=2099-01-01/o.ndjson", lines(order(2)))
    (stop,) = check(shop.settings, shop.endpoints).stops
    assert stop.startswith(f"{address} declares the date 2099-01-01, which is after today")
    with pytest.raises(IngestError, match="AS_OF=2099-01-01"):
        shop.ingest(as_of=None)
    assert shop.history_keys() == []
    asked = date(2099, 1, 1)
    report = check(shop.settings, shop.endpoints, asked)
    assert report.stops == []
    assert any(f.finding.startswith("AS_OF=2099-01-01 is after today: ") for f in report.findings)
    assert shop.ingest(as_of=asked).as_of == asked
    shop.land("orders/date=2098-01-01/o.ndjson", lines(order(3)))
    assert shop.ingest(as_of=None).as_of == asked, "the history is of a later day already"


def test_after_an_ingest_nothing_is_new(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    shop.ingest()
    report = check(shop.settings, shop.endpoints)
    assert table(report, "orders") == {
        "table": "orders", "found": 1, "new": 0, "landed": 0, "unreadable": 0, "quarantined": 0,
    }  # fmt: skip
    assert report.stops == []
    assert [finding for finding in report.findings if not finding.finding.startswith("is missing")] == []


def test_a_missing_optional_table_is_reported_and_stops_nothing(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    report = check(shop.settings, shop.endpoints)
    missing = {finding.table for finding in report.findings if finding.finding.startswith("is missing")}
    assert missing == {"customers", "products", "reviews", "categories", "subcategories", "interactions"}
    assert report.stops == []


def test_a_landing_zone_without_a_date_stops_unless_one_is_given(shop):
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


def test_a_row_that_a_later_record_fixes_stops_nothing_as_in_a_run(shop):
    bad = [order(n, total_amount="12 EUR") for n in range(10)]
    shop.land("orders/date=2026-06-01/o.ndjson", lines(*bad))
    shop.land("orders/date=2026-06-02/o.ndjson", lines(*(order(n, total_amount="12") for n in range(7))))
    report = check(shop.settings, shop.endpoints)
    assert (report.stops, table(report, "orders")["quarantined"]) == ([], 10)
    assert [(row["orders"], str(row["orders_amount"])) for row in report.totals] == [(7, "84.00")]
    shop.take_away("orders/date=2026-06-02/o.ndjson")
    (stop,) = check(shop.settings, shop.endpoints).stops
    assert stop.startswith("orders: 10 of the 10 rows")
    assert "for example total_amount: '12 EUR' is not a decimal(14,2). Fix them" in stop
    shop.ingest()
    assert check(shop.settings, shop.endpoints).stops == [stop], "also without a staged warehouse"
    shop.land("orders/date=2026-06-02/o.ndjson", lines(*(order(n, total_amount="12") for n in range(7))))
    assert check(shop.settings, shop.endpoints).stops == []


def test_an_unchanged_view_is_not_new(shop):
    schema = shop.settings.postgres_schema
    shop.land("orders/o.ndjson", lines(order(1)))
    shop.land_table("items", "order_id text, order_item_id int, quantity text", [("1", 1, "2"), ("1", 2, "two")])
    with shop.postgres() as connection:
        connection.execute(f"create view {schema}.latest_order_items as select * from {schema}.items")
    before = check(shop.settings, shop.endpoints)
    shop.ingest()
    after = check(shop.settings, shop.endpoints)
    counts = ("found", "new", "landed", "quarantined")
    found = [[table(report, "order_items")[name] for name in counts] for report in (before, after)]
    assert found == [[2, 2, 2, 1], [2, 0, 0, 0]]
    assert after.stops == before.stops != []
    assert after.totals == []


VALUES = (
    "1e2", " 12.5 ", "-0.005", "1,000", "$5", "NaN", "inf", "99999999999999999", "3.0", "2.5", "3000000000", "three",
    "True", "1.0", "0.0", " no ", "maybe", "2026-06-30", "2026-06-30T12:00:00", "2026-06-30T12:00:00+02:00",
    "2026-06-30 12:00:00 UTC", "2026-02-30", "06/30/2026", "infinity", "0001-01-01", "9999-12-31",
    "1899-12-31 23:30:00-05", "2.00001", "1_000", ".5e-3", "1e-400", "0x10", "epoch", "t", "on",
    "2026-06-30 12:00:00 EST",
    "", "  ", "x",
)  # fmt: skip


@pytest.mark.parametrize("name", source_tables())
def test_the_check_and_staging_give_the_same_reason_for_a_row(shop, name):
    table = source_tables()[name]
    casts = {column.name: column.data_type for column in table.columns if column.data_type != "varchar"}
    product = ("quantity", "unit_price", "total_price") if name == "order_items" else None
    staging = rendered.macro("rejection", table.key, casts, product)
    check_landing = rejections.rejection(table, table.column_names)
    key = "'k'" if table.derived_key else row_key(table, table.column_names)
    columns = ", ".join(f"v as {column}" for column in table.column_names)
    relation = f"select {columns} from (select unnest($1) as v)"
    if product:
        relation += f" union all by name ({relation.replace('v as total_price', 'null as total_price')})"
    with warehouse.engine(shop.settings) as connection:
        reasons = connection.execute(
            f"select {check_landing}, {staging} from (select *, {key} as _key from ({relation}))", [list(VALUES)]
        ).fetchall()
    assert [pair for pair in reasons if pair[0] != pair[1]] == []
    assert len({reason for reason, _ in reasons}) > 2
