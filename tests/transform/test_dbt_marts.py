"""The marts of the small shop, compared with the books that tests/books keeps of the same batches."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from books import comparing
from books.accounts import Books
from books.landed import Batch, Ledger
from duckbook.backends import warehouse
from duckbook.transform import reconciliation
from shop import batches

AS_OF = date(2026, 6, 30)


@pytest.fixture(scope="module")
def books() -> Books:
    landed = [
        Batch(table, f"{table}/{day}", day, (day, False, f"{table}/{day}", arrival), [_text(row) for row in rows])
        for arrival, (table, rows, day) in enumerate(batches())
    ]
    return Books(Ledger(landed), AS_OF)


def _text(row: dict) -> dict[str, str]:
    return {name: str(value) for name, value in row.items() if value is not None}


@pytest.fixture(scope="module")
def connection(built_shop):
    with warehouse.open_warehouse(built_shop[0], read_only=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def marts(connection) -> comparing.Marts:
    return comparing.Marts(connection)


def test_every_test_of_dbt_passes_or_warns(built_shop):
    _, built = built_shop
    assert built.verdicts["failed"] == 0
    assert built.verdicts["passed"] > 90
    findings = built.findings().set_index("test")
    assert built.verdicts["warned"] == len(findings) > 5
    assert findings.loc["stg_orders_keys_and_values_are_known", "in"] == "customer_id (1)"


@pytest.mark.parametrize("mart", comparing.MARTS)
def test_a_mart_is_what_the_books_say(marts, books, mart):
    rows = marts.rows(mart)
    assert rows
    found = comparing.differences(mart, rows, comparing.expected(mart, books))
    assert not found, "\n".join(sorted(found)[:8])


def test_raw_is_staged_superseded_or_quarantined(connection, books):
    for row in reconciliation.tables(connection):
        assert row["raw"] == row["staged"] + row["superseded"] + row["quarantined"], row
        assert row["staged"] == len(books.staged(row["table"])), row
        assert row["landed"] == row["appended"] + row["unchanged"] + row["unreadable"], row


def test_every_quarantined_row_says_why_and_what_it_was(connection):
    found = connection.execute("select reason, original from ecom_raw.quarantine").fetchall()
    assert {reason for reason, _ in found} == {
        "not JSON",
        "total_amount: 'twelve' is not a decimal(14,2)",
        "order_id: the record has no key",
        "order_id, order_item_id: the record has no key",
        "total_price: '1,000.00' is not a decimal(14,2)",
        "quantity: '2.5' is not an integer",
    }
    (twelve,) = [original for reason, original in found if "twelve" in reason]
    assert '"order_id":"3"' in twelve and "_batch_id" not in twelve


def test_a_version_that_cannot_be_cast_leaves_the_one_before_staged(connection, books):
    (staged,) = connection.execute("select total_amount from ecom_staging.stg_orders where order_id = '3'").fetchone()
    assert staged == books.staged("orders")["3",]["total_amount"] > 0


def test_the_shop_has_what_the_comparison_is_for(connection):
    """Members that only events and lines name, rows of the unknown members, and orders of unknown customers."""
    for table, named in (("customers", {"998", "999"}), ("products", {"77"})):
        query = f"select {table.removesuffix('s')}_id from ecom_marts.dim_{table} where is_inferred"
        assert {identity for (identity,) in connection.execute(query).fetchall()} >= named
    for member in ("customer", "product"):
        (amount,) = connection.execute(f"""
            select sum(gross_amount) from ecom_marts.fct_order_details
            inner join ecom_marts.dim_{member}s using ({member}_key) where is_unknown
        """).fetchone()
        assert amount > Decimal(0)
    (found,) = connection.execute("""
        select [
            (select count(distinct customer_status) from ecom_marts.dim_customers) >= 3,
            (select count(distinct is_order_known) from ecom_marts.fct_customer_orders) = 2,
            (select bool_or(units = 0) from ecom_marts.fct_product_performance),
            (select count(*) from ecom_marts.fct_basket_pairs) > 3
        ]
    """).fetchone()
    assert all(found), found


def test_every_measure_of_every_mart_reconciles(connection):
    found = reconciliation.marts(connection)
    assert len(found) > 130
    assert all(row["equal"] for row in found)
