"""The marts of a small shop, held against books kept in plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal

import duckdb
import holidays
import pytest
from duckbook import reconcile, warehouse
from shop import Books, batches

AMOUNTS = (
    "gross_amount",
    "discount_amount",
    "net_amount",
    "shipping_amount",
    "cancelled_amount",
    "refund_amount",
    "revenue",
)
COUNTS = ("order_lines", "units", "returned_units")


@pytest.fixture(scope="module")
def shop() -> list:
    return batches()


@pytest.fixture(scope="module")
def books(shop) -> Books:
    return Books(shop)


@pytest.fixture(scope="module")
def marts(built_shop):
    with warehouse.open_warehouse(built_shop[0], read_only=True) as connection:
        connection.execute("use ecom_marts")
        yield connection


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict]:
    result = connection.execute(query)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def test_every_test_of_dbt_passes_or_warns(built_shop):
    _, built = built_shop
    assert built.verdicts["failed"] == 0
    assert built.verdicts["passed"] > 90
    findings = built.findings().set_index("test")
    assert built.verdicts["warned"] == len(findings) > 5
    assert findings.loc["stg_orders_keys_and_values_are_known", "in"] == "customer_id (1)"


def test_raw_is_staged_superseded_or_quarantined(marts, books):
    for row in reconcile.tables(marts):
        assert row["raw"] == row["staged"] + row["superseded"] + row["quarantined"], row
        assert row["staged"] == len(books.staged[row["table"]]), row
        assert row["quarantined"] == books.quarantined[row["table"]], row
        assert row["landed"] == row["appended"] + row["unchanged"] + row["unreadable"], row


def test_every_row_set_aside_says_why_and_what_it_was(marts):
    found = rows(marts, "select table_name, reason, original from ecom_raw.quarantine")
    reasons = {row["reason"] for row in found}
    assert reasons == {
        "not JSON",
        "total_amount: 'twelve' is not a decimal(18,2)",
        "order_id: the record has no key",
        "order_id, order_item_id: the record has no key",
        "total_price: '1,000.00' is not a decimal(18,2)",
        "quantity: '2.5' is not an integer",
    }
    (twelve,) = [row["original"] for row in found if "twelve" in row["reason"]]
    assert '"order_id":"3"' in twelve and "_batch_id" not in twelve


def test_a_version_that_cannot_be_cast_leaves_the_one_before_staged(marts, shop):
    first = next(row for table, landed, _ in shop if table == "orders" for row in landed if row["order_id"] == "3")
    (staged,) = rows(marts, "select total_amount from ecom_staging.stg_orders where order_id = '3'")
    assert staged["total_amount"] == Decimal(first["total_amount"])


def test_a_content_that_comes_back_is_the_newest_though_a_batch_between_arrives_late(marts, shop):
    cheap = {row["product_id"]: Decimal(row["base_price"]) for row in shop[3][1]}
    for row in rows(marts, "select product_id, base_price from dim_products where not is_unknown"):
        assert row["base_price"] == cheap[row["product_id"]]


def test_order_lines_carry_the_amounts_of_the_books_to_the_cent(marts, books):
    found = {(r["order_id"], r["order_item_id"]): r for r in rows(marts, "select * from fct_order_details")}
    assert len(found) == len(books.lines)
    for line in books.lines:
        row = found[line["order_id"], line["order_item_id"]]
        for measure in (*COUNTS, *AMOUNTS, "is_cancelled", "ordered_at"):
            assert row[measure] == line[measure], (measure, line)


@pytest.mark.parametrize(
    ("mart", "label", "of"),
    [
        ("dim_customers", "customer_id", "customer_id"),
        ("fct_product_performance inner join dim_products using (product_key)", "product_id", "product_id"),
        ("fct_sales_by_date", "date_day", "day"),
        ("fct_customer_orders", "order_id", "order_id"),
    ],
)
def test_a_mart_has_the_sums_of_the_books_on_each_row(marts, books, mart, label, of):
    expected = defaultdict(Counter)
    for line in books.lines:
        value = line["ordered_at"].date() if of == "day" else line[of]
        expected[value].update({measure: line[measure] for measure in (*COUNTS, *AMOUNTS)})
    for row in rows(marts, f"select * from {mart}"):
        for measure in {*COUNTS, *AMOUNTS} & row.keys():
            assert row[measure] == expected[row[label]][measure], (row[label], measure)
    known = {row[label] for row in rows(marts, f"select {label} from {mart}")}
    assert known >= expected.keys()


def test_sales_by_product_and_month_are_those_of_the_books(marts, books):
    expected = defaultdict(Counter)
    orders = defaultdict(set)
    for line in books.lines:
        cell = line["product_id"], line["ordered_at"].date().replace(day=1)
        expected[cell].update({measure: line[measure] for measure in (*COUNTS, *AMOUNTS)})
        orders[cell].add(line["order_id"])
    query = "select p.product_id, s.* from fct_sales_by_product s inner join dim_products p using (product_key)"
    found = rows(marts, query)
    assert len(found) == len(expected)
    for row in found:
        cell = row["product_id"], row["month_start"]
        assert row["orders_with_product"] == len(orders[cell])
        for measure in (*COUNTS, *AMOUNTS):
            assert row[measure] == expected[cell][measure], (cell, measure)


def test_average_order_value_divides_by_orders(marts, books):
    sold = [line for line in books.lines if not line["is_cancelled"]]
    by_day = defaultdict(list)
    for line in sold:
        by_day[line["ordered_at"].date()].append(line)
    found = rows(marts, "select date_day, average_order_value from fct_sales_by_date")
    for row in found:
        lines = by_day.get(row["date_day"], [])
        if not lines:
            assert row["average_order_value"] is None
            continue
        exact = sum(line["net_amount"] for line in lines) / len({line["order_id"] for line in lines})
        assert abs(row["average_order_value"] - exact) <= Decimal("0.005")


def test_a_customer_has_the_status_of_the_as_of_date(marts, books):
    last = {}
    for line in books.lines:
        if line["customer_id"]:
            last[line["customer_id"]] = max(last.get(line["customer_id"], date.min), line["ordered_at"].date())
    query = "select customer_id, customer_status, days_since_last_order from dim_customers where not is_unknown"
    found = rows(marts, query)
    assert {row["customer_status"] for row in found} >= {"active", "lapsing"}
    for row in found:
        days = (date(2026, 6, 30) - last[row["customer_id"]]).days if row["customer_id"] in last else None
        assert row["days_since_last_order"] == days
        expected = "prospect" if days is None else "active" if days <= 90 else "lapsing" if days <= 365 else "lost"
        assert row["customer_status"] == expected


def test_events_and_sessions_are_counted_once(marts, books):
    events = books.staged["interactions"].values()
    kinds = Counter(event["event_type"].lower() for event in events)
    for mart in ("fct_product_interactions", "fct_customer_activity"):
        sums = ", ".join(f"sum({measure}) as {measure}" for measure in ("events", "views", "searches"))
        (row,) = rows(marts, f"select {sums} from {mart}")
        assert row == {"events": len(events), "views": kinds["view"], "searches": kinds["search"]}
    sessions = {event["session_id"] for event in events if event["session_id"]}
    (row,) = rows(marts, "select sum(sessions) as sessions from fct_customer_activity")
    assert row["sessions"] == len(sessions)


def test_a_review_without_a_key_is_merged_with_no_other(marts, books):
    (row,) = rows(marts, "select count(*) as reviews, sum(review_score) as stars from fct_customer_reviews")
    staged = books.staged["reviews"].values()
    assert row == {"reviews": len(staged), "stars": sum(int(float(r["review_score"] or 0)) for r in staged)}


def test_the_date_dimension_has_every_day_and_the_holidays_of_the_calendar(marts):
    days = rows(marts, "select * from dim_dates where not is_unknown order by date_day")
    first, last = days[0]["date_day"], days[-1]["date_day"]
    assert [row["date_day"] for row in days] == [first + timedelta(n) for n in range((last - first).days + 1)]
    assert first <= date(2025, 10, 1) and last == date(2026, 6, 30)
    calendar = holidays.country_holidays("US", years=range(2025, 2027), observed=False)
    for row in days:
        assert row["is_holiday"] == (row["date_day"] in calendar), row["date_day"]
        _, week, weekday = row["date_day"].isocalendar()
        assert (row["week_of_year"], row["day_of_week"]) == (week, weekday)


def test_orders_without_a_known_customer_or_product_reach_the_unknown_member(marts, books):
    (row,) = rows(
        marts,
        """
        select
            sum(gross_amount) filter (where c.is_unknown) as customer,
            sum(gross_amount) filter (where p.is_unknown) as product
        from fct_order_details
        inner join dim_customers as c using (customer_key)
        inner join dim_products as p using (product_key)
        """,
    )
    assert row["customer"] == sum(line["gross_amount"] for line in books.lines if line["customer_id"] is None) > 0
    assert row["product"] == sum(line["gross_amount"] for line in books.lines if line["product_id"] is None) > 0


def test_every_measure_of_every_mart_reconciles(marts, books):
    found = reconcile.marts(marts)
    assert len(found) > 130
    assert all(row["equal"] for row in found)
    totals = {row["measure"]: row["staging_total"] for row in found}
    for measure in (*COUNTS, *AMOUNTS):
        assert totals[measure] == sum(line[measure] for line in books.lines), measure
