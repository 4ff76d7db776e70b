"""`check` says what an ingest would do, and does none of it."""

import json

import pytest
from duckbook.landing_check import check
from landing_zone import Shop, lines, order


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
    report = check(shop.settings, shop.endpoints)
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
    assert report.findings == report.stops == []
