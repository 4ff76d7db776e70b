"""Seed, dates and size decide the shop, whatever the chunks, windows and landings."""

import hashlib
import tracemalloc
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from duckbook.generate.shop import customer_records, products, records, spool
from duckbook.generate.shop.simulation import Shop, Window, history_end, latest_window, quarters
from duckbook.generate.shop.truth import truth
from shop_slices import END, FIRST_AS_OF, KEYS, history, newest, piece, simulate

WINDOW = Window(date(2025, 11, 20), date(2025, 12, 10))


def test_interactions_do_not_depend_on_the_days_per_table():
    one, forty = (
        [row for table in records.interactions(simulate(), WINDOW, days=days) for row in table.to_pylist()]
        for days in (1, 40)
    )
    assert one == forty
    assert len(one) > 300


def test_the_shop_does_not_depend_on_the_chunk_size(monkeypatch, tmp_path):
    tables = {table: piece(simulate(), table, WINDOW) for table in KEYS}
    truth_tables = {name: pa.concat_tables(pieces) for name, pieces in truth(simulate()).items()}
    monkeypatch.setattr(spool, "CHUNK", 7)
    other = Shop(400, 42, FIRST_AS_OF, END, folder=tmp_path)
    assert len(list(records.orders(other, WINDOW))) > 50
    assert [table for table in KEYS if not piece(other, table, WINDOW).equals(tables[table])] == []
    equal = {name: pa.concat_tables(pieces).equals(truth_tables[name]) for name, pieces in truth(other).items()}
    assert equal == dict.fromkeys(truth_tables, True)
    assert list(tmp_path.iterdir()) == [], "unnamed files, so that a killed load leaves none behind"


def test_memory_does_not_grow_with_the_shop(monkeypatch):
    """Apart from chunks, memory holds only the last visit of each customer."""
    monkeypatch.setattr(spool, "CHUNK", 2000)
    # The number of chunks in memory depends on the threads.
    monkeypatch.setattr(spool, "AT_ONCE", 1)
    monkeypatch.setattr(products, "MOST", 200)
    monkeypatch.setattr(records, "EVENTS_AT_ONCE", 4000)
    monkeypatch.setattr(customer_records, "_CUSTOMER_DAYS", 120_000)
    # The first shop pays for imports and caches.
    peaks = [peak_of(customers) for customers in (200, 8000, 24_000)]
    assert peaks[2] - peaks[1] < 16 * 16_000, peaks


def peak_of(customers: int) -> int:
    """Peak memory in bytes while some days of a shop are generated."""
    tracemalloc.start()
    shop = Shop(customers, 42, FIRST_AS_OF, END, 0.002)
    for slices in records.SLICES.values():
        assert max(table.num_rows for table in slices(shop, WINDOW)) < 30_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("table", KEYS)
def test_a_later_last_day_leaves_earlier_days_unchanged(table):
    longer = simulate(until=END + timedelta(days=200))
    assert piece(longer, table, WINDOW).equals(piece(simulate(), table, WINDOW))


@pytest.mark.parametrize("table", ["customers", "products", "orders", "order_items", "interactions", "reviews"])
def test_another_seed_gives_another_shop(table):
    assert not piece(simulate(seed=43), table, WINDOW).equals(piece(simulate(), table, WINDOW))


@pytest.mark.parametrize("table", KEYS)
def test_landing_daily_and_skipping_days_end_in_the_same_state(table):
    """Also over a gap longer than the thirty days of a window."""
    last = FIRST_AS_OF + timedelta(days=45)
    every_few_days = [FIRST_AS_OF + timedelta(days=n) for n in (0, 1, 2, 5, 20, 21, 45)]
    ends = []
    for days in (every_few_days, [last]):
        slices, landed = history(simulate(), table), END
        for day in days:
            slices.append(piece(simulate(until=day), table, latest_window(day, landed)))
            landed = day
        ends.append(newest(slices, KEYS[table]))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("table", ["orders", "order_items", "interactions", "reviews", "customers"])
def test_history_and_latest_days_together_are_the_whole_shop(table):
    """History and latest days together equal one slice of all days."""
    later = simulate(until=FIRST_AS_OF)
    together = newest([*history(simulate(), table), piece(later, table, latest_window(FIRST_AS_OF, END))], KEYS[table])
    assert together == newest([piece(later, table, later.whole)], KEYS[table])


@pytest.mark.parametrize("table", ["customers", "products"])
def test_a_record_is_the_same_in_every_window(table):
    """No record depends on later events or on the end of its window."""
    days = [FIRST_AS_OF + timedelta(days=n) for n in (0, 1, 9)]
    windows = [(simulate(), window) for window in quarters(FIRST_AS_OF)]
    windows += [(simulate(until=day), latest_window(day, END)) for day in days] + [(simulate(), simulate().whole)]
    known: dict[tuple, dict] = {}
    for shop, window in windows:
        rows = piece(shop, table, window).to_pylist()
        times = [(row[KEYS[table][0]], row["updated_at"]) for row in rows]
        assert times == sorted(set(times)), "by key and time, each once"
        assert max(row["updated_at"].date() for row in rows) <= window.until
        for key, row in zip(times, rows, strict=True):
            assert known.setdefault(key, row) == row
    assert len(known) > 1000


def test_a_product_record_contains_what_was_known_at_its_time():
    """Reviews up to its time, and stock less the units sold since Monday's delivery, match the landed tables."""
    whole = simulate().whole
    windows = [Window(END - timedelta(days=n + 1), END - timedelta(days=n)) for n in range(28)]
    seen = [row for window in [*windows, whole] for row in piece(simulate(), "products", window).to_pylist()]
    products_by_time = sorted(
        {(r["product_id"], r["updated_at"]): r for r in seen}.values(), key=lambda r: r["updated_at"]
    )
    reviews = piece(simulate(), "reviews", whole).to_pylist()
    sold = piece(simulate(), "order_items", whole).to_pylist()
    delivered: dict[tuple, tuple] = {}
    rated = sales = 0
    for row in products_by_time:
        product, at = row["product_id"], row["updated_at"]
        scores = [r["review_score"] for r in reviews if r["product_id"] == product and r["created_at"] <= at]
        assert row["review_count"] == len(scores)
        assert (row["rating"] is None) == (not scores)
        if scores:
            rated += 1
            assert abs(float(row["rating"]) - sum(scores) / len(scores)) <= 0.005
        week = product, at.date() - timedelta(days=at.weekday())
        if not row["is_active"]:
            assert row["stock_quantity"] == 0
        elif at.time() == time.min:
            delivered[week] = (at, row["stock_quantity"])
        elif week in delivered:
            monday, stock = delivered[week]
            units = sum(i["quantity"] for i in sold if i["product_id"] == product and monday < i["created_at"] <= at)
            assert row["stock_quantity"] == max(stock - units, 0)
            sales += units > 0
    assert rated > 500 and sales > 30


def test_a_customer_record_contains_the_changes_up_to_its_time():
    """A change of address, channel, status or income is a separate record, dated by the change."""
    customers, whole = simulate().customers, simulate().whole
    rows = piece(simulate(), "customers", whole).to_pylist()
    kinds = {"moved": ("city", "state", "location_type"), "rechannelled": ("preferred_channel",),
             "remarried": ("marital_status",), "repaid": ("annual_income",)}  # fmt: skip
    by_time = {(row["customer_id"], row["updated_at"]): row for row in rows}
    last: dict[int, dict] = {}
    for row in rows:
        which, at = row["customer_id"] - 1, int(row["updated_at"].replace(tzinfo=UTC).timestamp())
        assert row["last_login"] == row["updated_at"] >= row["signup_date"]
        assert row["is_active"] == (at < simulate().closed[which])
        if before := last.get(which):
            for kind, columns in kinds.items():
                if any(before[column] != row[column] for column in columns):
                    assert at in getattr(customers, kind)[which], "what changes, changes at its own moment"
        else:
            assert row["updated_at"] == row["signup_date"], "the first record is the sign-up"
        last[which] = row
    for kind in kinds:
        for which, times in enumerate(getattr(customers, kind)):
            for at in times[(times < whole.end) & (times < simulate().closed[which])]:
                assert (which + 1, datetime.fromtimestamp(at, UTC).replace(tzinfo=None)) in by_time, kind


def test_quarters_cover_three_years_without_a_gap():
    spans = quarters(FIRST_AS_OF)
    assert len(spans) == 12
    assert spans[0].after == date(2023, 5, 31) and spans[-1].until == END == date(2026, 5, 31)
    assert all(one.until == other.after for one, other in pairwise(spans))


@pytest.mark.parametrize("first_as_of", [date(2024, 3, 30), date(2026, 1, 1), date(2024, 3, 31), date(2023, 12, 30)])
def test_quarters_fit_any_first_date(first_as_of):
    spans = quarters(first_as_of)
    assert spans[-1].until == history_end(first_as_of)
    assert all(80 <= (span.until - span.after).days <= 95 for span in spans)


def test_the_requested_number_of_customers_have_signed_up_by_the_end_of_the_history():
    for customers in (200, 401):
        assert (
            simulate(customers, until=FIRST_AS_OF).customers.signup < simulate(customers).whole.end
        ).sum() == customers


def test_the_bytes_are_the_same_on_every_machine():
    """Only a change of the generator may change this hash, not the machine, the threads or the chunk size."""
    digest = hashlib.sha256()
    for table in KEYS:
        rows = piece(simulate(), table, WINDOW).to_pylist()
        digest.update(repr([[str(value) for value in row.values()] for row in rows]).encode())
    assert digest.hexdigest()[:16] == "877fc8bbc7ea6a6e"
