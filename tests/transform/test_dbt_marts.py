"""The marts of a small shop, compared with books kept in plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal
from itertools import combinations

import duckdb
import holidays
import pytest
from duckbook.backends import warehouse
from duckbook.transform import reconciliation
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
    for row in reconciliation.tables(marts):
        assert row["raw"] == row["staged"] + row["superseded"] + row["quarantined"], row
        assert row["staged"] == len(books.staged[row["table"]]), row
        assert row["quarantined"] == books.quarantined[row["table"]], row
        assert row["landed"] == row["appended"] + row["unchanged"] + row["unreadable"], row


def test_every_row_set_aside_says_why_and_what_it_was(marts):
    found = rows(marts, "select table_name, reason, original from ecom_raw.quarantine")
    reasons = {row["reason"] for row in found}
    assert reasons == {
        "not JSON",
        "total_amount: 'twelve' is not a decimal(14,2)",
        "order_id: the record has no key",
        "order_id, order_item_id: the record has no key",
        "total_price: '1,000.00' is not a decimal(14,2)",
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
    for row in rows(marts, "select product_id, base_price from dim_products where not (is_unknown or is_inferred)"):
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
        # An order without items has no product, and a credit line sells none.
        orders[cell] |= {line["order_id"]} if line["order_lines"] and not line["is_credit_line"] else set()
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


def test_a_customer_has_the_status_of_the_as_of_date_and_a_segment_of_it(marts, books):
    orders = defaultdict(dict)
    for line in books.lines:
        orders[line["customer_id"]][line["order_id"]] = (line["ordered_at"].date(), line["is_cancelled"])
    query = """
        select customer_id, customer_status, segment, d.days_since_last_order, recency_score, frequency_score
        from dim_customers as d inner join fct_customer_segments using (customer_key) where not is_unknown
    """
    found = rows(marts, query)
    assert {row["customer_status"] for row in found} >= {"active", "lapsing", "prospect"}
    for row in found:
        placed = orders.get(row["customer_id"], {}).values()
        ages = [(date(2026, 6, 30) - day).days for day, _ in placed]
        bought = sum(not is_cancelled for _, is_cancelled in placed)
        assert row["days_since_last_order"] == min(ages, default=None)
        status = (
            "prospect" if not bought else "active" if min(ages) <= 90 else "lapsing" if min(ages) <= 365 else "lost"
        )
        assert row["customer_status"] == status
        once = "promising" if max(ages, default=0) > 90 else "new"
        segments = {
            "active": {1: once, 2: "promising", 3: "champion"},
            "lapsing": {1: "hibernating", 2: "needs attention", 3: "at risk"},
        }
        assert row["segment"] == segments.get(status, {}).get(min(bought, 3), status)
        assert row["frequency_score"] == (min(bought, 3) or None)
        assert row["recency_score"] == {"active": 3, "lapsing": 2, "lost": 1}.get(status)


def test_an_order_is_known_to_its_reviews_where_it_is_known_to_its_lines(marts, books):
    for row in rows(marts, "select order_id, is_order_known from fct_customer_reviews"):
        assert row["is_order_known"] == (row["order_id"] in books.staged["orders"]), row
    assert {row["is_order_known"] for row in rows(marts, "select is_order_known from fct_customer_orders")} == {
        True,
        False,
    }


def test_the_unknown_customer_is_counted_nowhere(marts, books):
    by_day = defaultdict(set)
    for line in books.lines:
        by_day[line["ordered_at"].date()] |= {line["customer_id"]} - {None}
    for row in rows(marts, "select date_day, customers from fct_sales_by_date where date_day is not null"):
        assert row["customers"] == len(by_day[row["date_day"]]), row
    events = defaultdict(set)
    for event in books.staged["interactions"].values():
        month = int(event["event_date"][:4] + event["event_date"][5:7])
        events[event["product_id"], month] |= {event["customer_id"]} - {None}
    query = """
        select product_id, month_key, customers
        from fct_product_interactions inner join dim_products using (product_key)
    """
    for row in rows(marts, query):
        assert row["customers"] == len(events[row["product_id"], row["month_key"]]), row
    for row in rows(marts, "select * from fct_cohort_retention"):
        assert row["active_customers"] <= row["cohort_customers"], row


def test_a_country_and_a_brand_have_one_spelling(marts):
    assert rows(marts, "select distinct country from fct_sales_by_region where country <> 'unknown'") == [
        {"country": "United States"}
    ]
    assert (
        rows(marts, "select country, state, month_key from fct_sales_by_region group by all having count(*) > 1") == []
    )
    brands = {row["brand"] for row in rows(marts, "select brand from dim_products")}
    assert len(brands) == len({brand.lower() for brand in brands})
    assert {brand.lower() for brand in brands} >= {"acme", "bolt"}


def test_baskets_are_of_known_subcategories(marts, books):
    described = set(books.staged["subcategories"])
    baskets = defaultdict(set)
    for line in books.lines:
        product = books.staged["products"].get(line["product_id"])
        if (
            product
            and not line["is_cancelled"]
            and not line["is_credit_line"]
            and product["subcategory_id"] in described
        ):
            baskets[line["order_id"]].add(product["subcategory_id"])
    assert {p["subcategory_id"] for p in books.staged["products"].values()} - described
    singles = Counter(name for names in baskets.values() for name in names)
    pairs = Counter(pair for names in baskets.values() for pair in combinations(sorted(names), 2))
    found = rows(marts, "select * from fct_basket_pairs")
    assert len(found) == len(pairs) > 3
    for row in found:
        a, b = row["subcategory_id_a"], row["subcategory_id_b"]
        counts = (row["baskets"], row["orders_with_a"], row["orders_with_b"], row["orders_with_both"])
        assert counts == (len(baskets), singles[a], singles[b], pairs[a, b])


def test_a_margin_is_the_same_in_every_mart(marts):
    query = """
        select product_key, p.margin_amount, s.margin_amount as of_months, p.uncosted_units, p.units
        from fct_product_performance as p left join (
            select product_key, case when sum(uncosted_units) = 0 then sum(revenue - cost_amount) end as margin_amount
            from fct_sales_by_product group by product_key
        ) as s using (product_key)
    """
    found = rows(marts, query)
    assert any(not row["units"] for row in found), "a product that nobody bought"
    for row in found:
        expected = row["of_months"] if row["units"] else 0
        assert row["margin_amount"] == (None if row["uncosted_units"] else expected), row


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


def test_who_is_named_and_described_by_no_record_is_a_member_of_the_dimension(marts, books):
    named = {"customers": {"998", "999"}, "products": {"77"}}
    for table, ids in named.items():
        member = table.removesuffix("s")
        described = {*books.staged[table]} - {None}
        found = rows(marts, f"select {member}_id as id, is_inferred, is_unknown from dim_{table}")
        inferred = {row["id"]: row["is_inferred"] for row in found if not row["is_unknown"]}
        assert ids <= inferred.keys() - {identity.removesuffix(".0") for identity in described}
        assert {identity for identity, is_inferred in inferred.items() if is_inferred} >= ids
        (spans,) = rows(
            marts,
            "select count(*) as n, min(valid_from)::date as since "
            f"from dim_{table}_history where {member}_id = '{min(ids)}'",
        )
        assert spans == {"n": 1, "since": date(1900, 1, 1)}
    (row,) = rows(marts, "select orders, customer_status from dim_customers where customer_id = '999'")
    assert row["orders"] == len({line["order_id"] for line in books.lines if line["customer_id"] == "999"}) > 5


def test_orders_without_a_customer_or_product_reach_the_unknown_member(marts, books):
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
    found = reconciliation.marts(marts)
    assert len(found) > 130
    assert all(row["equal"] for row in found)
    totals = {row["measure"]: row["staging_total"] for row in found}
    for measure in (*COUNTS, *AMOUNTS):
        assert totals[measure] == sum(line[measure] for line in books.lines), measure
