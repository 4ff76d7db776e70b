"""Withdrawing a batch leaves the history as if it had never been ingested, and it is not read again."""

import random
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date
from unittest.mock import patch

import pytest
import rendered
from duckbook.backends import servers, storage, warehouse
from duckbook.errors import IngestError
from duckbook.ingest import batch_files
from duckbook.ops.withdrawal import withdraw
from landing_zone import Shop, content, lines, order

BAD = "orders/date=2026-06-02/o.ndjson"


def take_out(shop: Shop, *names: str):
    from duckbook.ingest import raw

    done = withdraw(shop.settings, shop.endpoints, names)
    raw.load(shop.settings, shop.endpoints)
    shop.check_row_counts()
    return done


def staged(shop: Shop, table: str = "orders") -> dict[str, dict]:
    """Return key → content of the rows that staging takes as the newest."""
    with warehouse.open_warehouse(shop.settings) as connection:
        rendered.stage(connection)
    rows = shop.query(f"""
        select rows.* from ecom_raw.{table} as rows
        inner join ecom_staging.base_{table} as base using (_batch_id, _row_number) where base._state = 'staged'
    """)
    return {row["_key"] or row["_row_hash"]: content(row) for row in rows}


def text(rows: list[dict]) -> dict[str, dict]:
    return {str(row["order_id"]): {name: str(value) for name, value in row.items()} for row in rows}


@pytest.fixture(params=["small batches", "large batches"])
def of_size(request) -> Iterator[None]:
    """The file of a large batch may keep its unchanged rows. The patch makes every batch large."""
    with (
        patch.multiple(batch_files, MANY_ROWS=0, FEW_UNCHANGED=1) if request.param == "large batches" else nullcontext()
    ):
        yield


def test_rows_of_a_withdrawn_batch_go_except_those_unchanged_in_other_batches(shop, of_size):
    shop.land("orders/date=2026-06-01/o.ndjson", lines(order(1), order(2)))
    address = shop.land(BAD, lines(order(1, "wrong"), order(2), order(3), order(4, "wrong"), "{oops"))
    shop.land("orders/date=2026-06-03/o.ndjson", lines(order(3), order(1, "wrong"), order(5)))
    shop.ingest()
    shop.land("orders/date=2026-06-04/o.ndjson", lines(order(3), order(2)))
    shop.ingest()
    done = take_out(shop, address)
    assert [batch.source for batch in done.batches] == [address]
    assert done.kept == 2
    assert staged(shop) == text([order(1, "wrong"), order(2), order(3), order(5)])
    assert shop.query("from ecom_raw.unreadable") == []
    assert not [key for key in shop.history_keys() if done.batches[0].batch_id in key]
    assert shop.ingest().number is None, "it stays withdrawn"
    assert staged(shop).keys() == {"1", "2", "3", "5"}
    with pytest.raises(IngestError, match="withdrawn already"):
        take_out(shop, done.batches[0].batch_id)


def test_withdrawn_rows_leave_the_disk_with_the_next_erasure(shop, shop_settings):
    address = shop.land(BAD, lines(*(order(f"withdrawn-{n}") for n in range(50))))
    shop.land("orders/date=2026-06-01/o.ndjson", lines(order(1)))
    shop.ingest()
    (key,) = (key for key in shop.history_keys() if "batch=orders-20260602" in key)
    body = storage.get_bytes(shop.client, shop.settings.s3_historic_bucket, key)

    def is_on_disk() -> bool:
        files = (path for path in (shop_settings.data / "servers").rglob("*") if path.is_file())
        return any(body in path.read_bytes() for path in files)

    assert is_on_disk()
    take_out(shop, address)
    assert storage.get_bytes(shop.client, shop.settings.s3_historic_bucket, key) is None
    servers.vacuum(shop_settings)
    assert not is_on_disk()


def test_a_withdrawn_batch_is_ingested_when_it_is_landed_again(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    address = shop.land(BAD, lines(order(2)))
    table = f"postgres:{shop.settings.postgres_schema}.order_items"
    columns = "order_id text, order_item_id int, quantity int"
    shop.land_table("order_items", columns, [("1", 1, 5)])
    shop.ingest()
    take_out(shop, address, table)
    assert (len(shop.raw()), len(shop.raw("order_items"))) == (1, 0)
    assert shop.ingest().number is None
    shop.land(BAD, lines(order(2)))
    shop.land_table("order_items", columns, [("1", 1, 5)])
    assert len(shop.ingest().batches) == 2
    assert (len(shop.raw()), len(shop.raw("order_items"))) == (2, 1)


def test_the_as_of_date_goes_back_with_the_batch_that_set_it(shop):
    shop.land("orders/date=2026-06-01/o.ndjson", lines(order(1)))
    shop.land("customers/c.ndjson", lines({"customer_id": 1}))
    address = shop.land("orders/date=2099-01-01/o.ndjson", lines(order(2)))
    shop.ingest(as_of=date(2099, 1, 1))
    assert take_out(shop, address).as_of == date(2026, 6, 1)
    assert {str(row["batch_date"]) for row in shop.query("select batch_date from ecom_raw.batches")} == {"2026-06-01"}
    assert shop.query("select as_of::varchar as as_of from ecom_raw.as_of") == [{"as_of": "2026-06-01"}]
    shop.take_away("orders/date=2099-01-01/o.ndjson")
    shop.land("orders/date=2026-06-02/o.ndjson", lines(order(3)))
    assert shop.ingest(as_of=None).as_of == date(2026, 6, 2)


def test_unchanged_rows_count_after_a_batch_without_a_date_moved_before_them(shop, of_size):
    shop.land("orders/date=2026-06-01/o.ndjson", lines(order(1, "a"), order(2, "a")))
    shop.ingest(as_of=None)
    address = shop.land("orders/date=2026-06-20/o.ndjson", lines(order(9)))
    shop.land("orders/undated.ndjson", lines(order(1, "b"), order(3, "b")))
    shop.ingest(as_of=None)
    shop.land("orders/date=2026-06-10/o.ndjson", lines(order(1, "a"), order(2, "a")))
    shop.ingest(as_of=None)
    assert staged(shop)["1"] == text([order(1, "b")])["1"]
    assert str(take_out(shop, address).as_of) == "2026-06-10"
    assert staged(shop) == text([order(1, "a"), order(2, "a"), order(3, "b")])
    assert shop.newest() == staged(shop)


def test_rows_count_that_follow_a_moved_batch_of_unchanged_rows(shop, of_size):
    shop.land("orders/date=2026-06-05/o.ndjson", lines(order(1, "a")))
    shop.land("orders/date=2026-06-08/o.ndjson", lines(order(9)))
    shop.ingest(as_of=None)
    address = shop.land("orders/date=2026-06-10/o.ndjson", lines(order(8)))
    shop.land("orders/undated.ndjson", lines(order(1, "a")))
    shop.ingest(as_of=None)
    for day in ("07", "09"):
        shop.land(f"orders/date=2026-06-{day}/o.ndjson", lines(order(1, "b")))
        shop.ingest(as_of=None)
    assert staged(shop)["1"] == text([order(1, "a")])["1"]
    assert str(take_out(shop, address).as_of) == "2026-06-09"
    assert staged(shop) == text([order(1, "b"), order(9)])
    assert shop.newest() == staged(shop)


def test_the_as_of_date_goes_back_with_the_order_dates_that_set_it(shop):
    """Dates are read as staging reads them: 23:30 five hours west of Greenwich is the next day in UTC."""
    shop.land("orders/a.ndjson", lines(order(1) | {"order_date": "2026-05-31 23:30:00-05:00"}))
    assert shop.ingest(as_of=None).as_of == date(2026, 6, 1)
    address = shop.land("orders/b.ndjson", lines(order(2) | {"order_date": "2026-06-20T10:00+02:00"}))
    assert shop.ingest(as_of=None).as_of == date(2026, 6, 20)
    assert take_out(shop, address).as_of == date(2026, 6, 1)


def test_an_unknown_batch_is_an_error(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    shop.ingest()
    with pytest.raises(IngestError, match="no batch orders-1: name a batch_id"):
        take_out(shop, "orders-1")


def test_the_remainder_equals_a_history_without_the_batch(shop, of_size, soak):
    if not soak:
        pytest.skip("in make soak: many random sequences, with the batch and without")
    for seed in range(12):
        chance = random.Random(seed)
        days = list(range(1, 6))
        bodies = {
            day: lines(*(order(n, chance.choice("aab")) for n in range(6) if chance.random() < 0.8)) for day in days
        }
        reviews = {day: lines(*({"review_text": chance.choice("xy")} for _ in range(3))) for day in days}
        arrival, bad = chance.sample(days, len(days)), chance.choice(days)
        # The batch without a date may take that of the withdrawn one.
        undated = chance.choice([day for day in days if day != bad])
        paths = {day: f"date=2026-05-0{day}/o.ndjson" if day != undated else "undated.ndjson" for day in days}
        states = []
        for left_out in ([bad], []):
            shop.clear()
            for day in arrival:
                if day not in left_out:
                    shop.land(f"orders/{paths[day]}", bodies[day])
                    shop.land(f"reviews/{paths[day]}", reviews[day])
                    shop.ingest(as_of=None)
            if not left_out:
                named = f"s3://{shop.settings.s3_historic_bucket}/json"
                take_out(shop, *(f"{named}/{table}/{paths[bad]}" for table in ("orders", "reviews")))
            texts = sorted(row["review_text"] for row in staged(shop, "reviews").values())
            states.append((staged(shop), texts))
        assert states[0] == states[1], f"seed {seed}"
