"""Dirt has the requested share and kinds, is counted, and changes no amount of money."""

import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import numpy as np
import pytest
from duckbook.generate.shop import dirt
from duckbook.generate.shop.records import dirt_keys
from shop_slices import FIRST_AS_OF, piece, simulate

SHARE = 0.1


def as_json(records):
    lines = duckdb.sql("select to_json(records)::varchar as line from records").fetchall()
    return [line for (line,) in lines]


def land_dirty(table):
    """Make a whole table dirty, and return clean records, dirty lines, counts, and the original records."""
    shop = simulate(until=FIRST_AS_OF, dirt=SHARE)
    records = piece(shop, table, shop.whole)
    return (*shop.dirt.soil_lines(table, records, dirt_keys(table, records), as_json), records)


@pytest.mark.parametrize("table", ["customers", "orders", "products", "reviews"])
def test_counts_match_the_lines(table):
    clean, lines, counts, records = land_dirty(table)
    unreadable = [line for line in lines if not _reads(line)]
    assert len(unreadable) == counts["broken_line"]
    copies = counts["duplicate"] + counts["broken_line"] + counts["missing_key"]
    assert len(lines) == sum(counts.values()) - counts["late"]
    assert len(clean) + len(lines) == len(records) + copies
    key = next(iter(records.column_names))
    read = [json.loads(line) for line in lines if _reads(line)]
    assert sum(row[key] is None for row in read) == counts["missing_key"]


@pytest.mark.parametrize("table", ["customers", "orders", "products", "reviews", "order_items", "interactions"])
def test_the_requested_share_of_records_is_dirty_with_every_kind(table):
    shop = simulate(until=FIRST_AS_OF, dirt=SHARE)
    records = piece(shop, table, shop.whole)
    # All versions of a product have the same dirt.
    kinds = shop.dirt.kinds(table, np.unique(dirt_keys(table, records)))
    assert (kinds >= 0).mean() == pytest.approx(SHARE, abs=3 * (SHARE / len(kinds)) ** 0.5)
    if len(kinds) > 500:
        assert set(kinds[kinds >= 0]) == set(range(len(dirt.KINDS[table])))


def test_a_share_of_zero_leaves_records_clean():
    shop = simulate(until=FIRST_AS_OF)
    records = piece(shop, "orders", shop.whole)
    clean, lines, counts = shop.dirt.soil_lines("orders", records, dirt_keys("orders", records), as_json)
    assert clean.equals(records) and lines == [] and counts == Counter()


def test_money_survives_the_dirt():
    clean, lines, _, records = land_dirty("orders")
    found = {row["order_id"]: row["total_amount"] for row in clean.to_pylist()}
    for line in filter(_reads, lines):
        row = json.loads(line, parse_float=str)
        if row["order_id"] is not None:
            found[row["order_id"]] = Decimal(row["total_amount"])
    assert found == {row["order_id"]: row["total_amount"] for row in records.to_pylist()}


def test_a_timestamp_with_an_offset_is_the_same_moment():
    _, lines, counts, records = land_dirty("orders")
    placed = {row["order_id"]: row["order_date"].replace(tzinfo=UTC) for row in records.to_pylist()}
    rows = [json.loads(line) for line in lines if '-05:00"' in line and _reads(line)]
    assert len(rows) == counts["offset_timestamp"] > 0
    assert all(datetime.fromisoformat(row["order_date"]) == placed[row["order_id"]] for row in rows)


def test_untidy_names_differ_only_by_blanks_and_capitals():
    _, lines, counts, records = land_dirty("customers")
    names = {row["customer_id"]: row["last_name"] for row in records.to_pylist()}
    rows = [json.loads(line) for line in lines if _reads(line)]
    untidy = [row for row in rows if row["last_name"].startswith("  ")]
    assert len(untidy) == counts["untidy_name"] > 0
    assert all(row["last_name"].strip() == names[row["customer_id"]].upper() for row in untidy)


@pytest.mark.parametrize("table", ["order_items", "interactions"])
def test_dirty_postgres_rows_keep_their_types_and_are_counted(table):
    shop = simulate(until=FIRST_AS_OF, dirt=SHARE)
    records = piece(shop, table, shop.whole)
    rows, counts = shop.dirt.soil_rows(table, records, dirt_keys(table, records))
    key = "order_item_id" if table == "order_items" else "event_id"
    assert rows.column_names == records.column_names
    assert len(rows) == len(records) + counts["duplicate"] + counts["missing_key"]
    assert rows.column(key).null_count == counts["missing_key"] > 0
    orphans = [number for number in rows.column("product_id").to_pylist() if number and number > dirt.ORPHAN]
    assert len(orphans) == counts["orphan_key"] > 0


def test_a_late_order_lands_complete_a_month_after_it_was_placed():
    shop = simulate(3000, until=FIRST_AS_OF, dirt=SHARE)
    placed = piece(shop, "orders", shop.whole)
    clean = simulate(3000, until=FIRST_AS_OF)
    missing = set(piece(clean, "orders", clean.whole)["order_id"].to_pylist()) - set(placed["order_id"].to_pylist())
    assert missing
    later = simulate(3000, until=FIRST_AS_OF.replace(month=9), dirt=SHARE)
    assert missing <= set(piece(later, "orders", later.whole)["order_id"].to_pylist())


def _reads(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
