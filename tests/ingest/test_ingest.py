"""Ingestion loses nothing and counts nothing twice, whatever order, shape or state batches come in."""

import gzip
import json
from datetime import date

import pytest
from duckbook.backends import storage, warehouse
from duckbook.errors import IngestError, WarehouseError
from duckbook.ingest import batch_files, commit_log, history, new_sources, raw, rows, sources
from duckbook.ingest.batches import Commit, History
from landing_zone import AS_OF, Shop, content, lines, order


def flows(report, table: str = "orders") -> dict[str, int]:
    (found,) = (row for row in report.tables if row["table"] == table)
    return {name: found[name] for name in ("appended", "unchanged", "unreadable")}


# Versions of a key


def test_a_row_that_lands_again_unchanged_is_counted_and_not_stored(shop):
    shop.land("orders/date=2026-05-31/o.ndjson", lines(order(1), order(2)))
    shop.land("orders/date=2026-06-30/o.ndjson", lines(order(2), order(1, "shipped")), latest=True)
    assert flows(shop.ingest()) == {"appended": 3, "unchanged": 1, "unreadable": 0}
    assert [(row["_key"], row["status"]) for row in shop.raw()] == [
        ("1", "pending"),
        ("2", "pending"),
        ("1", "shipped"),
    ]


def test_a_then_b_then_a_ends_at_a(shop):
    for day, status in enumerate(["pending", "shipped", "pending", "pending"], 1):
        shop.land(f"orders/date=2026-06-0{day}/o.ndjson", lines(order(1, status)))
        shop.ingest()
    assert shop.newest()["1"]["status"] == "pending"
    assert len(shop.raw()) == 3


@pytest.mark.parametrize("arrival", [(0, 2, 1), (2, 1, 0), (1, 2, 0)])
def test_dated_batches_end_in_the_same_state_in_whatever_order_they_arrive(shop, arrival):
    for day in arrival:
        status = ["pending", "shipped", "pending"][day]
        shop.land(f"orders/date=2026-06-0{day + 1}/o.ndjson", lines(order(1, status), order(f"only-{day}")))
        shop.ingest()
    assert {key: row["status"] for key, row in shop.newest().items()} == {
        "1": "pending", "only-0": "pending", "only-1": "pending", "only-2": "pending",
    }  # fmt: skip


def test_batches_without_a_date_count_in_the_order_of_their_arrival(shop):
    shop.land("orders/z.ndjson", lines(order(1, "pending")))
    shop.ingest()
    shop.land("orders/a.ndjson", lines(order(1, "shipped")))
    shop.ingest()
    assert shop.newest()["1"]["status"] == "shipped"


def test_the_latest_days_count_after_the_history_when_both_arrive_without_a_date(shop):
    shop.land_table("order_items", "order_id text, order_item_id int, quantity int", [("1", 1, 5)])
    shop.land_table("latest_order_items", "order_id text, order_item_id int, quantity int", [("1", 1, 6)])
    shop.land("orders.json", lines(order(1)))
    shop.ingest()
    assert shop.newest("order_items")["1|1"]["quantity"] == "6"


def test_a_changed_object_under_the_same_name_is_a_new_batch(shop):
    for status in ("pending", "shipped", "pending"):
        shop.land("orders/date=2026-06-01/o.ndjson", lines(order(1, status)))
        assert len(shop.ingest().batches) == (2 if status == "pending" and len(shop.history_keys()) < 4 else 1)
    assert [row["status"] for row in shop.raw()] == ["pending", "shipped", "pending"]
    assert shop.newest()["1"]["status"] == "pending"


def test_within_one_batch_the_later_record_of_a_key_is_the_newer(shop):
    shop.land("orders/o.ndjson", lines(order(1, "pending"), order(1, "shipped"), order(1, "shipped")))
    assert flows(shop.ingest()) == {"appended": 2, "unchanged": 1, "unreadable": 0}
    assert shop.newest()["1"]["status"] == "shipped"


def test_two_records_of_a_key_that_differ_in_one_batch_are_counted_and_versions_in_time_are_not(shop):
    late = {"updated_at": "2026-05-02"}
    rows = [order(1, note="a"), order(1, note="b"), order(1, note="a"), order(2), order(2), order(3) | late, order(3)]
    shop.land("orders/o.ndjson", lines(*rows, order(4, note="x") | late, order(4, note="y") | late))
    columns = "order_id text, order_item_id int, total_price numeric"
    shop.land_table("order_items", columns, [("1", 1, "10.00"), ("1", 1, "99.00"), ("1", 2, "5.00")])
    shop.land("reviews/r.ndjson", lines({"review_text": "x"}, {"review_text": "x"}, {"review_text": "y"}))
    shop.ingest()
    found = shop.query("select table_name, conflicting from ecom_raw.batches order by table_name")
    assert [tuple(row.values()) for row in found] == [("order_items", 1), ("orders", 2), ("reviews", 0)]


def test_another_order_of_keys_and_a_new_column_of_nulls_change_nothing(shop):
    first = order(1)
    shop.land("orders/date=2026-06-01/o.ndjson", lines(first))
    shop.land("orders/date=2026-06-02/o.ndjson", lines(dict(reversed(first.items())) | {"coupon": None}))
    assert flows(shop.ingest()) == {"appended": 1, "unchanged": 1, "unreadable": 0}


# Keys


def test_a_reused_order_item_id_is_not_a_duplicate(shop):
    shop.land("orders.json", lines(order(1)))
    shop.land_table(
        "order_items", "order_id int, order_item_id int, quantity int", [(1, 1, 1), (2, 1, 1)], "2026-05-31"
    )
    shop.land_table(
        "latest_order_items", "order_id text, order_item_id text", [("3", "1"), ("2.0", "1.0")], "2026-06-30"
    )
    shop.ingest()
    assert sorted(row["_key"] for row in shop.raw("order_items")) == ["1|1", "2|1", "2|1", "3|1"]


def test_an_id_is_the_same_whatever_type_its_source_gives_it(shop):
    same = [7, "7", "7.0", " 7 ", 7.0]
    for day, name in enumerate(same, 1):
        shop.land(f"orders/date=2026-06-0{day}/o.ndjson", lines(order(name, f"status {day}")))
    shop.ingest()
    assert shop.newest().keys() == {"7"}
    assert [row["order_id"] for row in shop.raw()] == list(map(str, same)), "raw keeps what the source wrote"


def test_ids_that_look_alike_are_not_merged(shop):
    ids = ["7", "07", "7.5", "7-0", "A", "a", "7.00.0", "6f9619ff-8b86-d011-b42d-00c04fc964ff"]
    shop.land("orders.json", json.dumps([order(name) for name in ids]).encode())
    shop.ingest()
    assert shop.newest().keys() == set(ids)


def test_parts_of_a_key_that_hold_the_separator_stay_apart(shop):
    shop.land("orders.json", lines(order(1)))
    shop.land_table("order_items", "order_id text, order_item_id text", [("a|b", "c"), ("a", "b|c"), ("a\\", "b")])
    shop.ingest()
    assert len(shop.newest("order_items")) == 3


def test_two_equal_reviews_without_an_id_are_two_and_stay_two_when_they_land_again(shop):
    review = {"product_id": "p", "review_score": 5}
    shop.land("orders.json", lines(order(1)))
    shop.land("reviews/date=2026-06-01/r.ndjson", lines(review, review, {"review_id": "9.0"} | review))
    shop.ingest()
    shop.land("reviews/date=2026-06-02/r.ndjson", lines({"review_id": 9} | review, review, review, review))
    assert flows(shop.ingest(), "reviews") == {"appended": 2, "unchanged": 2, "unreadable": 0}
    keys = [row["_key"] for row in shop.raw("reviews")]
    assert sorted(key.rpartition("#")[2] for key in keys) == ["1", "2", "3", "9", "9"]


def test_a_record_without_a_key_is_kept_once_and_has_none(shop):
    shop.land("orders/date=2026-06-01/o.ndjson", lines(order(None), order(" "), order(1)))
    shop.land("orders/date=2026-06-02/o.ndjson", lines(order(None), {"status": "pending"}))
    assert flows(shop.ingest()) == {"appended": 4, "unchanged": 1, "unreadable": 0}
    assert [row.get("_key") for row in shop.raw()] == [None, None, "1", None]


# Drift


def test_a_new_column_is_kept_and_a_missing_one_is_null_and_both_are_reported(shop):
    many = [order(n) for n in range(300)]
    shop.land("orders/o.ndjson", lines(*many, order(300, coupon="SPRING")))
    (batch, _) = shop.ingest().batches
    assert batch.drift["added"] == ["coupon"]
    assert "shipping_cost" in batch.drift["missing"]
    assert "status" not in batch.drift["missing"]
    assert [row["coupon"] for row in shop.raw() if "coupon" in row] == ["SPRING"]
    assert shop.query("select count(*) as n from ecom_raw.orders where shipping_cost is null") == [{"n": 301}]


def test_a_changed_type_is_reported_with_what_it_was_and_what_it_is(shop):
    many = [order(n, total_amount=n + 0.5, flags=None) for n in range(300)]
    shop.land("orders/date=2026-06-01/o.ndjson", lines(*many))
    shop.land("orders/date=2026-06-02/o.ndjson", lines(*many[1:], order(0, total_amount="12 EUR", flags=["a"])))
    shop.land_table(
        "order_items", "order_id int, order_item_id int, unit_price numeric(18,2)", [(1, 1, 5)], "2026-06-01"
    )
    found = {batch.source: batch.drift["changed"] for batch in shop.ingest().batches}
    assert [changes for changes in found.values() if changes] == [["total_amount: number, now number or text"]]
    columns = "order_id text, order_item_id int, unit_price numeric(18,2)"
    shop.land_table("order_items", columns, [("1", 1, 6)], "2026-06-03")
    shop.land("orders/date=2026-06-03/o.ndjson", lines(order(9, total_amount="9", flags={"a": 1})), latest=True)
    drifts = [row["column"] for batch in shop.ingest().batches for row in batch.drifts if row["drift"] == "changed"]
    assert drifts == [
        "flags: array, now object",
        "total_amount: number or text, now text",
        "order_id: integer, now text",
    ]
    stored = shop.query("select drift ->> '$.changed' as changed from ecom_raw.batches order by sequence desc limit 1")
    assert stored == [{"changed": '["order_id: integer, now text"]'}]
    shop.land("orders/date=2026-06-04/o.ndjson", lines(order(10, total_amount=None)), latest=True)
    shop.land("orders/date=2026-06-05/o.ndjson", lines(order(11, total_amount="1")), latest=True)
    assert not [batch for batch in shop.ingest().batches if batch.drift["changed"]]


def test_a_column_that_begins_in_a_later_batch_is_null_before(shop):
    shop.land("orders/date=2026-06-01/o.ndjson", lines(order(1)))
    shop.ingest()
    shop.land("orders/date=2026-06-02/o.ndjson", lines(order(2, gift=True)))
    shop.ingest()
    assert [row.get("gift") for row in shop.raw()] == [None, "true"]


def test_names_are_columns_whatever_their_case_and_spaces(shop):
    shop.land("orders/o.ndjson", lines({"Order_ID": 1, " STATUS ": "x"}, {"order_id": 2, "Status": "y"}, order(3)))
    shop.ingest()
    assert [(row["_key"], row["status"]) for row in shop.raw()] == [("1", "x"), ("2", "y"), ("3", "pending")]


def test_reserved_and_odd_names_are_kept_next_to_our_columns(shop):
    odd = {"_key": "k", "filename": "f", "": "e", "a.b": "c", "source": "s", 'say "x"': "q", "/a~b": "p", "batch": "b"}
    shop.land("orders/o.ndjson", lines(order(1) | odd, order(2)))
    shop.ingest()
    row = shop.raw()[0]
    assert row["_key"] == "1"
    kept = {"_key_of_source": "k", "filename_of_source": "f", "unnamed": "e", "a.b": "c", "source": "s"}
    assert kept.items() <= row.items()
    assert {'say "x"': "q", "/a~b": "p", "batch": "b"}.items() <= row.items()


@pytest.mark.parametrize("is_older_history", [False, True])
def test_a_column_called_file_index_assigns_no_row_to_another_batch(shop, monkeypatch, is_older_history):
    if is_older_history:
        monkeypatch.setattr(rows, "RESERVED", rows.RESERVED - {"file_index"})
    monkeypatch.setattr(batch_files, "MANY_ROWS", 0)
    monkeypatch.setattr(batch_files, "FEW_UNCHANGED", 1)
    odd = {"file_index": "0", "file": "1", "number": "2", "seen": "3"}
    shop.land("orders/date=2026-06-01/o.ndjson", lines(order(1) | odd, order(2) | odd))
    shop.land("orders/date=2026-06-02/o.ndjson", lines(order(2) | odd, order(3) | odd))
    assert flows(shop.ingest()) == {"appended": 3, "unchanged": 1, "unreadable": 0}
    assert [(row["_key"], row["_source"][-23:-9]) for row in shop.raw()] == [
        ("1", "ate=2026-06-01"),
        ("2", "ate=2026-06-01"),
        ("3", "ate=2026-06-02"),
    ]


def test_rows_keep_their_batch_if_files_need_several_statements(shop, monkeypatch):
    monkeypatch.setattr(raw, "FILES_PER_STATEMENT", 2)
    for day in range(1, 6):
        shop.land(f"orders/date=2026-06-0{day}/o.ndjson", lines(order(day)))
    assert flows(shop.ingest()) == {"appended": 5, "unchanged": 0, "unreadable": 0}
    assert [(row["_key"], row["_source"][-12:-9]) for row in shop.raw()] == [
        (f"{day}", f"-0{day}") for day in range(1, 6)
    ]


def test_values_are_kept_as_the_source_gave_them(shop):
    values = {
        "total_amount": 12.5,
        "status": None,
        "tags": ["a", {"b": 1}],
        "note": 'é "quoted" \n',
        "big": 2**70,
        "yes": True,
    }
    shop.land("orders/o.ndjson", lines({"order_id": 1} | values))
    shop.ingest()
    assert content(shop.raw()[0]) == {
        "order_id": "1", "total_amount": "12.5", "tags": '["a",{"b":1}]', "note": 'é "quoted" \n',
        "big": "1180591620717411303424", "yes": "true",
    }  # fmt: skip


SEPARATED = [
    ({"note": "a\x1fstatus\x1eopen", "status": None}, {"note": "a", "status": "open"}),
    ({"note": "a\x1f", "status": "\x1eb"}, {"note": "a\x1f\x1e", "status": "b"}),
    ({"note": None, "status": "b"}, {"note": "", "status": "b"}),
    ({"note": "a\x1f\x1eb"}, {"note": "a\x1fb"}),
    ({"note": "b", "zz": None}, {"note": "b", "zz": "", "status": None}),
]


def test_rows_with_separators_in_their_values_have_different_hashes(shop):
    for place in (0, 1):
        landed = [order(str(number)) | pair[place] for number, pair in enumerate(SEPARATED)]
        shop.land("orders/o.ndjson", lines(*landed))
        assert flows(shop.ingest()) == {"appended": len(SEPARATED), "unchanged": 0, "unreadable": 0}
    kept = [{name: value for name, value in row.items() if value is not None} for row in landed]
    assert shop.newest() == {row["order_id"]: row for row in kept}


def test_the_hash_of_a_row_never_changes_between_versions(shop):
    hashed = rows.row_hash(["a", "b"])
    with warehouse.engine(shop.settings) as connection:
        found = connection.execute(f"select {hashed} from (select 'x' as b, '' as a)").fetchone()
    assert found == (11175649636794729964,), "every row of a history would be read as changed"


# Postgres


def test_a_postgres_table_is_read_with_every_type_as_text(shop):
    columns = (
        "order_id bigint, order_item_id int, exact numeric, unit_price numeric(18,2), at timestamp, zoned timestamptz,"
        ' day date, yes boolean, tags text[], doc jsonb, id uuid, padded char(5), "Odd Name" text'
    )
    uuid = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    row = (1, 2, "12345678901234567890.123456789", "10.00", "2026-06-30 10:00:00.5", "2026-06-30 10:00:00+00",
           "2026-06-30", True, ["a", "b"], '{"b": 1}', uuid, "ab", "x")  # fmt: skip
    shop.land_table("order_items", columns, [row])
    shop.land("orders.json", lines(order(1)))
    shop.ingest()
    assert content(shop.raw("order_items")[0]) == {
        "order_id": "1", "order_item_id": "2", "exact": "12345678901234567890.123456789", "unit_price": "10.00",
        "at": "2026-06-30 10:00:00.5", "zoned": "2026-06-30 10:00:00+00", "day": "2026-06-30", "yes": "true",
        "tags": "{a,b}", "doc": '{"b": 1}', "id": uuid, "padded": "ab", "odd name": "x",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["table", "view", "partitioned table"])
def test_values_that_duckdb_misreads_arrive_as_postgres_writes_them(shop, kind):
    """NaN in a numeric with a precision is not 0.00, and a time in the far future is not before Christ."""
    columns = "order_id int, order_item_id int, unit_price numeric(10,2), created_at timestamp"
    rows = [(1, 1, "NaN", "2026-06-01"), (1, 2, "0.00", "294276-12-31"), (1, 3, "12.50", "infinity")]
    shop.land_table("landed" if kind == "view" else "order_items", columns, rows, "2026-06-01")
    schema = shop.settings.postgres_schema
    with shop.postgres() as connection:
        if kind == "view":
            connection.execute(f"drop table {schema}.order_items")
            connection.execute(f"create view {schema}.order_items as select * from {schema}.landed")
        if kind == "partitioned table":
            connection.execute(f"alter table {schema}.order_items rename to part")
            connection.execute(f"create table {schema}.order_items ({columns}) partition by range (order_id)")
            connection.execute(f"alter table {schema}.order_items attach partition {schema}.part default")
    shop.land("orders.json", lines(order(1)))
    shop.ingest()
    found = shop.query("select unit_price, created_at from ecom_raw.order_items order by cast(order_item_id as int)")
    assert [tuple(row.values()) for row in found] == [
        ("NaN", "2026-06-01 00:00:00"),
        ("0.00", "294276-12-31 00:00:00"),
        ("12.50", "infinity"),
    ]


def test_money_arrives_as_a_number_whatever_the_servers_locale_and_dates_whatever_its_style(shop):
    columns = "order_id text, order_item_id int, unit_price money, created_at timestamptz, day date, odd interval"
    shop.land_table("order_items", columns, [("1", 1, "-1234.56", "2026-02-03 10:00:00+00", "2026-02-03", "1 day")])
    shop.land("orders.json", lines(order(1)))
    with shop.postgres() as connection:
        (user,) = connection.execute("select current_user").fetchone()
        connection.execute(f"alter role {user} set datestyle = 'German'")
    try:
        shop.ingest()
    finally:
        with shop.postgres() as connection:
            connection.execute(f"alter role {user} reset datestyle")
    (row,) = shop.raw("order_items")
    assert row["unit_price"] == "-1234.56"
    assert (row["created_at"][:19], row["day"]) == ("2026-02-03 10:00:00", "2026-02-03")


@pytest.mark.parametrize("locked", ["order_items", "below"])
def test_a_lock_on_a_table_is_reported_and_the_wait_is_limited(shop, monkeypatch, capsys, locked):
    shop.land("orders.json", lines(order(1)))
    schema = shop.settings.postgres_schema
    shop.land_table("below", "customer_id int", [(1,)])
    monkeypatch.setattr(sources, "REPORT_SECONDS", 0.3)
    monkeypatch.setattr(sources, "WAIT_SECONDS", 1)
    with shop.postgres() as connection:
        connection.execute(f"create view {schema}.customers as select * from {schema}.below")
        connection.commit()
        connection.execute(f"lock table {schema}.{locked} in access exclusive mode")
        (pid,) = connection.execute("select pg_backend_pid()").fetchone()
        with pytest.raises(IngestError, match=f"{schema}.{locked} has been locked for 1 seconds .*PID {pid}, idle in"):
            shop.ingest()
    log = capsys.readouterr().err
    assert f"{schema}.{locked} is locked by another session" in log and f"PID {pid}" in log
    assert shop.ingest().number == 1


def test_a_postgres_table_replaced_by_the_same_rows_adds_nothing(shop):
    shop.land("orders.json", lines(order(1)))
    columns, rows = "order_id text, order_item_id int", [("1", 1), ("1", 2)]
    shop.land_table("order_items", columns, rows, "2026-06-30")
    shop.ingest()
    shop.land_table("order_items", columns, rows, "2026-06-30")
    assert shop.ingest().batches == ()
    assert shop.ingest().number is None, "a table known to be the same is not read a third time"


def test_the_same_rows_under_a_later_date_are_the_newest(shop):
    shop.land("orders.json", lines(order(1)))
    columns = "order_id text, order_item_id int, quantity int"
    shop.land_table("latest_order_items", columns, [("1", 1, 5)], "2026-06-01")
    shop.land_table("order_items", columns, [("1", 1, 6)], "2026-06-02")
    shop.ingest()
    shop.land_table("latest_order_items", columns, [("1", 1, 5)], "2026-06-03")
    shop.ingest()
    assert shop.newest("order_items")["1|1"]["quantity"] == "5"


@pytest.mark.parametrize(
    "change", ["update {} set quantity = 2", "insert into {} values ('2', 1, 1)", "delete from {}"]
)
def test_a_changed_postgres_table_is_read_again(shop, change):
    shop.land("orders.json", lines(order(1)))
    shop.land_table("order_items", "order_id text, order_item_id int, quantity int", [("1", 1, 1)])
    shop.ingest()
    with shop.postgres() as connection:
        connection.execute(change.format(f"{shop.settings.postgres_schema}.order_items"))
    (batch,) = shop.ingest().batches
    assert batch.source == "postgres:ingest.order_items"


def test_a_view_is_read_and_adds_nothing_while_it_shows_the_same(shop):
    shop.land("orders.json", lines(order(1)))
    with shop.postgres() as connection:
        connection.execute(
            "create view ingest.interactions as select 'e-' || n as event_id from generate_series(1, 3) as n"
        )
    assert flows(shop.ingest(), "interactions") == {"appended": 3, "unchanged": 0, "unreadable": 0}
    assert shop.ingest().number is None


# Missing tables and other objects


def test_a_required_table_that_is_missing_stops_the_ingest(shop):
    with pytest.raises(IngestError, match=r"orders is missing .*s3://ingest-past/json/orders/"):
        shop.ingest()
    assert shop.history_keys() == []


def test_a_table_that_was_there_before_and_is_missing_stops_the_ingest(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    shop.land("customers/c.ndjson", lines({"customer_id": 1}))
    shop.ingest()
    shop.take_away("customers/c.ndjson")
    with pytest.raises(IngestError, match="s3://ingest-past/json/customers was in the landing zone before"):
        shop.ingest()
    shop.land("customers/empty.ndjson", b"")
    assert flows(shop.ingest(), "customers") == {"appended": 0, "unchanged": 0, "unreadable": 0}


def test_objects_of_no_source_table_are_reported_and_not_read(shop):
    stray = shop.land("order/typo.ndjson", lines(order(1)))
    marker = shop.land("orders/_SUCCESS", b"")
    shop.land("orders/o.ndjson", lines(order(2)))
    csv = shop.land("orders.csv", b"order_id\n1\n")
    assert shop.ingest().ignored == {
        stray: "no source table has that name",
        marker: "its name begins with _ or ., like the marker files of other programs",
        csv: "next to the tables' folders only TABLE.json, .ndjson and .jsonl are read, plain or compressed",
    }
    assert len(shop.raw()) == 1


def test_without_an_as_of_date_the_newest_date_counts(shop):
    shop.land("orders/o.ndjson", lines(order(1), order(2) | {"order_date": "2026-04-05 23:59:59"}))
    assert shop.ingest(as_of=None).as_of == date(2026, 4, 5)
    shop.land("customers/date=2026-05-06/c.ndjson", lines({"customer_id": 1}))
    assert shop.ingest(as_of=None).as_of == date(2026, 5, 6)
    assert shop.query("select as_of from ecom_raw.as_of") == [{"as_of": date(2026, 5, 6)}]


# Repeated ingests and rebuilds


def test_what_was_ingested_is_not_read_again(shop, monkeypatch):
    shop.land("orders/o.ndjson.gz", gzip.compress(lines(order(1))))
    shop.land("products.json", lines({"product_id": 1}))
    shop.ingest()
    before = shop.dump(), shop.history_keys()
    monkeypatch.setattr(new_sources, "read_all", lambda *_: pytest.fail("a source was read"))
    assert shop.ingest().number is None
    assert (shop.dump(), shop.history_keys()) == before


def fill(shop: Shop) -> None:
    """Land and ingest several kinds of batches, in three ingests."""
    shop.land("orders/date=2026-05-31/o.ndjson", lines(order(1), "{oops", order(2), order(None)))
    shop.ingest(date(2026, 5, 31))
    shop.land_table("latest_order_items", "order_id text, order_item_id int, more text", [("1", 1, "x")], "2026-06-29")
    shop.land("orders/date=2026-06-29/o.ndjson", lines(order(2), order(1, "shipped", gift="yes")), latest=True)
    shop.ingest(date(2026, 6, 29))
    shop.land(
        "reviews/r.json", json.dumps({"metadata": {"date": "2026-06-30"}, "data": [{"review_score": 1}] * 2}).encode()
    )
    shop.ingest()


def test_a_warehouse_rebuilt_from_the_history_alone_equals_the_one_before(shop):
    fill(shop)
    before = shop.dump()
    raw.rebuild(shop.settings, shop.endpoints)
    assert shop.dump() == before
    shop.lose_warehouse()
    raw.load(shop.settings, shop.endpoints)
    assert shop.dump() == before


def test_rebuild_drops_incremental_models(shop):
    fill(shop)
    with warehouse.open_warehouse(shop.settings) as connection:
        connection.execute("create schema if not exists ecom_staging; create or replace table ecom_staging.x (a int)")
        connection.execute("create or replace view ecom_staging.y as select * from ecom_staging.x")
    raw.rebuild(shop.settings, shop.endpoints)
    with warehouse.open_warehouse(shop.settings, read_only=True) as connection:
        assert not connection.execute("from duckdb_tables() where schema_name = 'ecom_staging'").fetchall()


def test_a_warehouse_of_another_history_is_refused_until_it_is_rebuilt(shop):
    fill(shop)
    storage.delete_prefix(shop.client, shop.settings.s3_historic_bucket, "history/")
    history.ingest(shop.settings, shop.endpoints, AS_OF)
    with pytest.raises(WarehouseError, match=r"another history .*make rebuild"):
        raw.load(shop.settings, shop.endpoints)
    raw.rebuild(shop.settings, shop.endpoints)
    shop.check_row_counts()


def test_a_lost_file_of_the_history_stops_the_rebuild_and_leaves_raw_as_it_was(shop):
    fill(shop)
    before = shop.dump()
    (key, *_) = (key for key in shop.history_keys() if key.endswith("rows.parquet"))
    storage.delete(shop.client, shop.settings.s3_historic_bucket, key)
    with pytest.raises(IngestError, match="history"):
        raw.rebuild(shop.settings, shop.endpoints)
    assert shop.dump() == before


def test_a_lost_commit_is_an_error(shop):
    fill(shop)
    storage.delete(shop.client, shop.settings.s3_historic_bucket, commit_log.commit_key(2))
    with pytest.raises(IngestError, match=r"_log/00000003\.json does not follow"):
        shop.ingest()


def test_a_checkpoint_replaces_reading_commits_only_while_they_are_unchanged(shop, monkeypatch):
    monkeypatch.setattr(commit_log, "COMMITS_PER_CHECKPOINT", 3)
    bucket = shop.settings.s3_historic_bucket
    for day in range(1, 6):
        shop.land(f"orders/date=2026-06-0{day}/o.ndjson", lines(order(day)))
        shop.ingest()
    read: list[str] = []
    get_bytes = storage.get_bytes
    monkeypatch.setattr(storage, "get_bytes", lambda c, b, key: read.append(key) or get_bytes(c, b, key))
    history_read = commit_log.read(shop.client, bucket)
    assert read == [commit_log.CHECKPOINT, commit_log.commit_key(4), commit_log.commit_key(5)]
    before = shop.dump()
    raw.rebuild(shop.settings, shop.endpoints)
    assert shop.dump() == before
    for broken in (b"", b"no gzip", gzip.compress(b"one\ntwo")):
        storage.put_bytes(shop.client, bucket, commit_log.CHECKPOINT, broken)
        assert commit_log.read(shop.client, bucket).digest == history_read.digest
    commit_log.checkpoint(shop.client, bucket, History(history_read.commits[:3]))
    storage.put_bytes(shop.client, bucket, commit_log.commit_key(2), b"{}")
    with pytest.raises(IngestError, match=r"00000002\.json is not a commit"):
        commit_log.read(shop.client, bucket)
    storage.delete(shop.client, bucket, commit_log.commit_key(2))
    with pytest.raises(IngestError, match=r"00000003\.json does not follow"):
        commit_log.read(shop.client, bucket)


def test_of_two_ingests_that_take_one_number_the_second_adds_nothing(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    shop.ingest()
    second = Commit(1, "", AS_OF, (), {}, ())
    with pytest.raises(IngestError, match="Another ingest wrote"):
        commit_log.put(shop.client, shop.settings.s3_historic_bucket, second)
    assert flows(shop.ingest())["appended"] == 0


def test_an_ingest_that_dies_before_its_commit_leaves_no_trace(shop, monkeypatch):
    shop.land("orders/o.ndjson", lines(order(1), "oops"))
    with monkeypatch.context() as patched:
        patched.setattr(commit_log, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shop.ingest()
    uncommitted = set(shop.history_keys())
    assert uncommitted, "its files are there"
    assert raw.load(shop.settings, shop.endpoints).batches == (), "and none of them counts"
    shop.land("orders/o.ndjson", lines(order(2)))
    shop.ingest()
    assert [row["_key"] for row in shop.raw()] == ["2"]
    assert not {key for key in uncommitted if "orders" in key} & set(shop.history_keys()), "they are swept"


# The as-of date


def test_the_as_of_date_never_goes_back(shop):
    shop.land("orders/date=2026-06-29/a.json", lines(order(1)))
    shop.ingest(date(2026, 6, 30))
    with pytest.raises(IngestError, match="The history is as of 2026-06-30, and 2026-06-29 is earlier"):
        shop.ingest(date(2026, 6, 29))
    assert shop.ingest(None).as_of == date(2026, 6, 30)
    assert shop.ingest(date(2026, 7, 2)).as_of == date(2026, 7, 2)


def test_an_as_of_date_before_what_a_batch_declares_is_refused(shop):
    address = shop.land("orders/date=2026-07-05/a.json", lines(order(1)))
    with pytest.raises(IngestError, match=f"{address} declares the date 2026-07-05, and the as-of date 2026-07-04"):
        shop.ingest(date(2026, 7, 4))
    assert shop.ingest(date(2026, 7, 5)).number == 1


def test_a_warehouse_gets_columns_that_were_defined_later(shop):
    shop.land("orders/a.json", lines(order(1)))
    shop.ingest()
    with warehouse.open_warehouse(shop.settings) as connection:
        connection.execute("alter table ecom_raw.orders drop column updated_at")
        connection.execute("alter table ecom_raw.customers drop column updated_at")
    shop.land("orders/b.json", lines(order(2, updated_at="2026-06-01T00:00:00")))
    shop.ingest()
    found = shop.query("select order_id, updated_at from ecom_raw.orders order by order_id")
    assert [tuple(row.values()) for row in found] == [("1", None), ("2", "2026-06-01T00:00:00")]
    assert shop.query("select count(updated_at) as n from ecom_raw.customers") == [{"n": 0}]
