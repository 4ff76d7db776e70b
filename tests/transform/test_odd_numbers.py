"""Whatever number is in a numeric column, the marts are built and reconcile, or the row is quarantined with a reason.

Each numeric column of each source table has each odd number once, alone and together with all others of its row. The
rows that `check-landing` reports are those that are quarantined.
"""

from __future__ import annotations

import pytest
from duckbook.backends import warehouse
from duckbook.ops import landing_check
from duckbook.source_tables import source_tables
from duckbook.transform import dbt_layers, quarantine, reconciliation
from landing_zone import Shop, lines

ODD = (
    None,
    "0",
    "-1",
    "-0.01",
    "0.0049",
    "999999999",
    "2147483647",
    "-2147483648",
    "999999999999.99",
    "-1e15",
    "1e400",
)

PLAIN = {
    "customers": {"customer_id": "c", "city": "Boise", "state": "ID"},
    "products": {"product_id": "p", "base_price": "9.99", "cost": "4", "stock_quantity": "7", "brand": "Acme"},
    "orders": {"order_id": "o", "customer_id": "c", "order_date": "2026-06-20", "status": "delivered"},
    "order_items": {"order_id": "o", "order_item_id": "1", "product_id": "p", "quantity": "3", "unit_price": "9.99"},
    "reviews": {"review_id": "r", "order_id": "o", "product_id": "p", "customer_id": "c", "review_score": "4"},
}  # fmt: skip
"""A record of each table without odd numbers."""

KEYS = ("customer_id", "product_id", "order_id", "review_id")


def odd(table: str) -> list[dict]:
    """Return the plain record and odd ones, each with its own key, which other tables refer to."""
    plain = PLAIN[table]
    numeric = [c.name for c in source_tables()[table].columns if c.data_type.startswith(("integer", "decimal"))]
    records = [plain]
    for number, value in enumerate(ODD):
        alone = [(f"-{column}-{number}", {column: value}) for column in numeric]
        for suffix, values in [*alone, (f"-all-{number}", dict.fromkeys(numeric, value))]:
            ids = {name: plain[name] + suffix for name in KEYS if name in plain}
            records.append(plain | ids | values)
    return records


@pytest.fixture(scope="module")
def shop(tmp_path_factory, endpoints):
    """A built shop of odd numbers, with the reports of check-landing."""
    shop = Shop(tmp_path_factory.mktemp("odd"), endpoints, "odd")
    shop.clear()
    for table in PLAIN:
        if table != "order_items":
            shop.land(f"{table}/date=2026-06-30/all.ndjson", lines(*odd(table)))
    columns = sorted({column for record in odd("order_items") for column in record})
    rows = [tuple(record.get(column) for column in columns) for record in odd("order_items")]
    shop.land_table("order_items", ", ".join(f"{column} text" for column in columns), rows, "2026-06-30")
    strict = shop.settings
    shop.settings = strict.model_copy(update={"quarantine_limit": 1})
    reports = [landing_check.check(settings, endpoints) for settings in (strict, shop.settings)]
    shop.ingest()
    dbt_layers.build(shop.settings, "all")
    reports.append(landing_check.check(strict, endpoints))
    with warehouse.open_warehouse(shop.settings, read_only=True) as connection:
        yield strict, reports, connection


def test_every_total_of_every_mart_is_that_of_staging(shop):
    *_, connection = shop
    assert {row["mart"] for row in reconciliation.marts(connection) if not row["equal"]} == set()
    sold = "select count(*), count(*) filter (where is_credit_line) from ecom_marts.fct_order_details"
    lines, taking_back = connection.execute(sold).fetchone()
    assert lines > 60 and taking_back > 5


def test_exactly_the_rows_that_the_check_reports_are_quarantined(shop):
    strict, (of_strict, report, later), connection = shop
    assert report.stops == []
    reported = {row["table"]: row["quarantined"] for row in report.tables}
    query = "select table_name, count(*) from ecom_raw.quarantine group by table_name"
    assert {table: n for table, n in reported.items() if n} == dict(connection.execute(query).fetchall())
    # Above the limit, both report it.
    refused = quarantine.violations(quarantine.counts(connection), strict)
    limits = (of_strict.stops, later.stops, refused)
    stops, stops_later, refused = ({text.partition("; for example")[0] for text in texts} for texts in limits)
    assert stops == stops_later == refused != set()
