"""Two files that differ in repeated rows, in a value and in a key; the targets are compared in product/test_lake."""

from __future__ import annotations

import duckdb
import pytest
from duckbook.ops import parity
from duckbook.ops.parity import Difference
from duckbook.settings import Settings

ROWS = {
    "left": "values (1, 'a', 0.5), (1, 'a', 0.5), (2, 'b', 1.5), (3, null, null)",
    "right": "values (1, 'a', 0.5), (2, 'b', 1.5), (2, 'b', 1.5), (3, '', null)",
}


@pytest.fixture
def compared(tmp_path) -> dict[str, parity.TableParity]:
    """A table without a known key and a view of it on both sides, and a table with one; each side lacks a table."""
    files = {name: str(tmp_path / f"{name}.duckdb") for name in ROWS}
    for name, file in files.items():
        with duckdb.connect(file) as connection:
            connection.execute("create schema ecom_marts; create schema of_my_own")
            connection.execute(f"create table of_my_own.{name} as select 1 as number")
            connection.execute(f"create table ecom_marts.only_{name} as select 1 as number")
            connection.execute("create table ecom_marts.unkeyed (number integer, word varchar, share double)")
            connection.execute(f"insert into ecom_marts.unkeyed {ROWS[name]}")
            connection.execute("create view ecom_marts.viewed as select * from ecom_marts.unkeyed")
            connection.execute(
                "create table ecom_marts.dim_customers as select number as customer_key, word, {'x': share} as shares "
                "from ecom_marts.unkeyed group by all"
            )
    settings = Settings(data=tmp_path / "data", _env_file=None)
    with parity.open_side(settings, files["left"]) as left, parity.open_side(settings, files["right"]) as right:
        return {table.table.removeprefix("ecom_marts."): table for table in parity.compare(settings, left, right)}


def test_repeated_rows_are_counted(compared):
    for name in ("unkeyed", "viewed"):
        found = compared[name]
        assert found.rows == (4, 4)
        assert found.sums == {"number": ("7", "8"), "share": ("2.500000", "3.500000")}
        assert (found.only_left, found.only_right, found.changed) == (1, 1, 2)
        assert {(example.left, example.right) for example in found.examples} == {
            ("2 rows", "1 row"),
            ("1 row", "2 rows"),
            ("1 row", None),
            (None, "1 row"),
        }


def test_null_and_empty_text_differ(compared):
    found = compared["dim_customers"]
    assert found.summary == "1 keys with other values"
    assert found.examples == (Difference("customer_key 3", "word", None, ""),)


def test_tables_of_one_side_are_reported_and_other_schemas_are_not(compared):
    assert set(compared) == {"unkeyed", "viewed", "dim_customers", "only_left", "only_right"}
    assert compared["only_left"].summary == "missing on the right"
    assert compared["only_right"].summary == "missing on the left"
    assert not parity.all_equal(list(compared.values()))
