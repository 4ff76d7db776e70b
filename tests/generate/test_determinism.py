"""The same seed, dates and size give the same store, however it is cut and looked at; days follow on from days."""

import hashlib
import tracemalloc
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from duckbook.generate.shop import customer_records, products, records, spool
from duckbook.generate.shop.simulation import Store, Window, history_end, latest_window, quarters
from duckbook.generate.shop.truth import truth
from store_slices import END, FIRST_AS_OF, KEYS, history, newest, piece, store

WINDOW = Window(date(2025, 11, 20), date(2025, 12, 10))


def test_interactions_do_not_depend_on_how_many_days_are_made_at_once():
    one, forty = (
        [row for table in records.interactions(store(), WINDOW, days=days) for row in table.to_pylist()]
        for days in (1, 40)
    )
    assert one == forty
    assert len(one) > 300


def test_the_store_does_not_depend_on_how_much_of_it_is_made_at_once(monkeypatch, tmp_path):
    whole = {table: piece(store(), table, WINDOW) for table in KEYS}
    known = {name: pa.concat_tables(made) for name, made in truth(store()).items()}
    monkeypatch.setattr(spool, "PIECE", 7)
    other = Store(400, 42, FIRST_AS_OF, END, folder=tmp_path)
    assert len(list(records.orders(other, WINDOW))) > 50
    assert {table: piece(other, table, WINDOW).equals(whole[table]) for table in KEYS} == dict.fromkeys(KEYS, True)
    assert {name: pa.concat_tables(made).equals(known[name]) for name, made in truth(other).items()} == dict.fromkeys(
        known, True
    )
    assert list(tmp_path.iterdir()) == [], "its files have no names that a killed load would leave"


def test_the_memory_does_not_grow_with_the_store(monkeypatch):
    """Beyond its pieces, the one thing that is held of each customer is when they were last seen."""
    monkeypatch.setattr(spool, "PIECE", 2000)
    # How many pieces there are at one moment would depend on the threads.
    monkeypatch.setattr(spool, "AT_ONCE", 1)
    monkeypatch.setattr(products, "MOST", 200)
    monkeypatch.setattr(records, "EVENTS_AT_ONCE", 4000)
    monkeypatch.setattr(customer_records, "_CUSTOMER_DAYS", 120_000)
    # What is imported and made once is no store's.
    peaks = [peak_of(customers) for customers in (200, 8000, 24_000)]
    assert peaks[2] - peaks[1] < 16 * 16_000, peaks


def peak_of(customers: int) -> int:
    """Bytes that a store takes while some of its days are made."""
    tracemalloc.start()
    made = Store(customers, 42, FIRST_AS_OF, END, 0.002)
    for slices in records.SLICES.values():
        assert max(table.num_rows for table in slices(made, WINDOW)) < 30_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("table", KEYS)
def test_a_longer_look_shows_the_same_days(table):
    longer = store(until=END + timedelta(days=200))
    assert piece(longer, table, WINDOW).equals(piece(store(), table, WINDOW))


@pytest.mark.parametrize("table", ["customers", "products", "orders", "order_items", "interactions", "reviews"])
def test_another_seed_gives_another_store(table):
    assert not piece(store(seed=43), table, WINDOW).equals(piece(store(), table, WINDOW))


@pytest.mark.parametrize("table", KEYS)
def test_days_one_by_one_and_days_skipped_end_in_the_same_state(table):
    """Also over a gap that is longer than the thirty days of a window."""
    last = FIRST_AS_OF + timedelta(days=45)
    every_few_days = [FIRST_AS_OF + timedelta(days=n) for n in (0, 1, 2, 5, 20, 21, 45)]
    ends = []
    for days in (every_few_days, [last]):
        slices, landed = history(store(), table), END
        for day in days:
            slices.append(piece(store(until=day), table, latest_window(day, landed)))
            landed = day
        ends.append(newest(slices, KEYS[table]))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("table", ["orders", "order_items", "interactions", "reviews", "customers"])
def test_what_is_landed_in_pieces_is_what_there_is(table):
    """History and latest days put together are the store as one long look shows it."""
    later = store(until=FIRST_AS_OF)
    together = newest([*history(store(), table), piece(later, table, latest_window(FIRST_AS_OF, END))], KEYS[table])
    assert together == newest([piece(later, table, later.whole)], KEYS[table])


@pytest.mark.parametrize("table", ["customers", "products"])
def test_a_record_is_the_same_whichever_window_holds_it(table):
    """A record holds from its time on, whatever comes later: nothing in it knows the future, nor the window's end."""
    days = [FIRST_AS_OF + timedelta(days=n) for n in (0, 1, 9)]
    windows = [(store(), window) for window in quarters(FIRST_AS_OF)]
    windows += [(store(until=day), latest_window(day, END)) for day in days] + [(store(), store().whole)]
    known: dict[tuple, dict] = {}
    for look, window in windows:
        rows = piece(look, table, window).to_pylist()
        times = [(row[KEYS[table][0]], row["updated_at"]) for row in rows]
        assert times == sorted(set(times)), "by key and time, each once"
        assert max(row["updated_at"].date() for row in rows) <= window.until
        for key, row in zip(times, rows, strict=True):
            assert known.setdefault(key, row) == row
    assert len(known) > 1000


def test_a_record_of_a_product_tells_what_was_known_at_its_time():
    """Reviews until then, and stock less what was sold since Monday's delivery, counted from what landed."""
    whole = store().whole
    windows = [Window(END - timedelta(days=n + 1), END - timedelta(days=n)) for n in range(28)]
    seen = [row for window in [*windows, whole] for row in piece(store(), "products", window).to_pylist()]
    goods = sorted({(r["product_id"], r["updated_at"]): r for r in seen}.values(), key=lambda r: r["updated_at"])
    said = piece(store(), "reviews", whole).to_pylist()
    sold = piece(store(), "order_items", whole).to_pylist()
    delivered: dict[tuple, tuple] = {}
    rated = sales = 0
    for row in goods:
        product, at = row["product_id"], row["updated_at"]
        scores = [r["review_score"] for r in said if r["product_id"] == product and r["created_at"] <= at]
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


def test_a_record_of_a_customer_tells_what_had_changed_by_then():
    """A change of address, channel, status or income is a record of its own, dated by the moment of the change."""
    people, whole = store().customers, store().whole
    rows = piece(store(), "customers", whole).to_pylist()
    kinds = {"moved": ("city", "state", "location_type"), "rechannelled": ("preferred_channel",),
             "remarried": ("marital_status",), "repaid": ("annual_income",)}  # fmt: skip
    by_time = {(row["customer_id"], row["updated_at"]): row for row in rows}
    last: dict[int, dict] = {}
    for row in rows:
        which, at = row["customer_id"] - 1, int(row["updated_at"].replace(tzinfo=UTC).timestamp())
        assert row["last_login"] == row["updated_at"] >= row["signup_date"]
        assert row["is_active"] == (at < store().closed[which])
        if before := last.get(which):
            for kind, columns in kinds.items():
                if any(before[column] != row[column] for column in columns):
                    assert at in getattr(people, kind)[which], "what changes, changes at its own moment"
        else:
            assert row["updated_at"] == row["signup_date"], "the first record is the sign-up"
        last[which] = row
    for kind in kinds:
        for which, times in enumerate(getattr(people, kind)):
            for at in times[(times < whole.end) & (times < store().closed[which])]:
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


def test_as_many_customers_as_asked_for_have_signed_up_by_the_end_of_the_history():
    for customers in (200, 401):
        assert (store(customers, until=FIRST_AS_OF).customers.signup < store(customers).whole.end).sum() == customers


def test_the_bytes_are_those_of_every_other_machine():
    """A change of the generator changes this sum; a change of machine, thread count or chunk must not."""
    digest = hashlib.sha256()
    for table in KEYS:
        rows = piece(store(), table, WINDOW).to_pylist()
        digest.update(repr([[str(value) for value in row.values()] for row in rows]).encode())
    assert digest.hexdigest()[:16] == "877fc8bbc7ea6a6e"
