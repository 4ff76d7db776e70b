"""Dirt is what was asked for, is counted, and costs no cent."""

import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import numpy as np
import pytest
from duckbook.generate.shop import dirt
from duckbook.generate.shop.records import dirt_keys
from store_slices import FIRST_AS_OF, piece, store

SHARE = 0.1


def as_json(records):
    lines = duckdb.sql("select to_json(records)::varchar as line from records").fetchall()
    return [line for (line,) in lines]


def soiled(table):
    """A whole slice as it lands: clean records, soiled lines, counts, and the records as they were."""
    look = store(until=FIRST_AS_OF, dirt=SHARE)
    records = piece(look, table, look.whole)
    return (*look.dirt.of_lines(table, records, dirt_keys(table, records), as_json), records)


@pytest.mark.parametrize("table", ["customers", "orders", "products", "reviews"])
def test_counts_say_what_is_in_the_lines(table):
    clean, lines, counts, records = soiled(table)
    unreadable = [line for line in lines if not _reads(line)]
    assert len(unreadable) == counts["broken_line"]
    copies = counts["duplicate"] + counts["broken_line"] + counts["missing_key"]
    assert len(lines) == sum(counts.values()) - counts["late"]
    assert len(clean) + len(lines) == len(records) + copies
    key = next(iter(records.column_names))
    read = [json.loads(line) for line in lines if _reads(line)]
    assert sum(row[key] is None for row in read) == counts["missing_key"]


@pytest.mark.parametrize("table", ["customers", "orders", "products", "reviews", "order_items", "interactions"])
def test_about_as_many_records_are_dirty_as_asked_for_and_of_every_kind(table):
    look = store(until=FIRST_AS_OF, dirt=SHARE)
    records = piece(look, table, look.whole)
    # All versions of a product have the same dirt.
    kinds = look.dirt.kinds(table, np.unique(dirt_keys(table, records)))
    assert (kinds >= 0).mean() == pytest.approx(SHARE, abs=3 * (SHARE / len(kinds)) ** 0.5)
    if len(kinds) > 500:
        assert set(kinds[kinds >= 0]) == set(range(len(dirt.KINDS[table])))


def test_no_dirt_is_no_dirt():
    look = store(until=FIRST_AS_OF)
    records = piece(look, "orders", look.whole)
    clean, lines, counts = look.dirt.of_lines("orders", records, dirt_keys("orders", records), as_json)
    assert clean.equals(records) and lines == [] and counts == Counter()


def test_money_survives_the_dirt():
    clean, lines, _, records = soiled("orders")
    found = {row["order_id"]: row["total_amount"] for row in clean.to_pylist()}
    for line in filter(_reads, lines):
        row = json.loads(line, parse_float=str)
        if row["order_id"] is not None:
            found[row["order_id"]] = Decimal(row["total_amount"])
    assert found == {row["order_id"]: row["total_amount"] for row in records.to_pylist()}


def test_a_moment_with_an_offset_is_the_same_moment():
    _, lines, counts, records = soiled("orders")
    placed = {row["order_id"]: row["order_date"].replace(tzinfo=UTC) for row in records.to_pylist()}
    rows = [json.loads(line) for line in lines if '-05:00"' in line and _reads(line)]
    assert len(rows) == counts["offset_timestamp"] > 0
    assert all(datetime.fromisoformat(row["order_date"]) == placed[row["order_id"]] for row in rows)


def test_untidy_names_are_the_names_with_blanks_and_capitals():
    _, lines, counts, records = soiled("customers")
    names = {row["customer_id"]: row["last_name"] for row in records.to_pylist()}
    rows = [json.loads(line) for line in lines if _reads(line)]
    untidy = [row for row in rows if row["last_name"].startswith("  ")]
    assert len(untidy) == counts["untidy_name"] > 0
    assert all(row["last_name"].strip() == names[row["customer_id"]].upper() for row in untidy)


@pytest.mark.parametrize("table", ["order_items", "interactions"])
def test_rows_of_postgres_are_soiled_within_their_types_and_counted(table):
    look = store(until=FIRST_AS_OF, dirt=SHARE)
    records = piece(look, table, look.whole)
    rows, counts = look.dirt.of_rows(table, records, dirt_keys(table, records))
    key = "order_item_id" if table == "order_items" else "event_id"
    assert rows.column_names == records.column_names
    assert len(rows) == len(records) + counts["duplicate"] + counts["missing_key"]
    assert rows.column(key).null_count == counts["missing_key"] > 0
    orphans = [number for number in rows.column("product_id").to_pylist() if number and number > dirt.ORPHAN]
    assert len(orphans) == counts["orphan_key"] > 0


def test_a_late_order_lands_whole_a_month_after_it_was_placed():
    look = store(3000, until=FIRST_AS_OF, dirt=SHARE)
    placed = piece(look, "orders", look.whole)
    clean = store(3000, until=FIRST_AS_OF)
    missing = set(piece(clean, "orders", clean.whole)["order_id"].to_pylist()) - set(placed["order_id"].to_pylist())
    assert missing
    later = store(3000, until=FIRST_AS_OF.replace(month=9), dirt=SHARE)
    assert missing <= set(piece(later, "orders", later.whole)["order_id"].to_pylist())


def _reads(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
