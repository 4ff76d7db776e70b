"""One name, one value: marts that share a column agree on it for each entity.

Of two marts, `one` has the coarser grain and `other` has its key. With the same grain, every shared column has the
same value. If `other` is finer, attributes of the entity are the same on each of its rows, and additive measures have
the same sum.
"""

from __future__ import annotations

from itertools import permutations

import pytest
import yaml
from duckbook.backends import warehouse
from duckbook.settings import ROOT

MARTS = ROOT / "dbt" / "models" / "marts"

OTHER_MEANING = {
    ("dim_customers", "fct_customer_orders", "location_key"): "where the customer lives; where the order goes",
    ("dim_customers", "fct_order_details", "location_key"): "where the customer lives; where the order goes",
}
"""Columns that share a name and differ in meaning. `is_unknown` is not compared either: it describes the row."""

OF_ANOTHER_TIME = ("dim_customers_history", "dim_products_history")
"""Marts with former versions."""


@pytest.fixture(scope="module")
def marts() -> dict[str, dict]:
    """Mart → its YAML, without the marts of former versions."""
    models = [model for file in MARTS.glob("*.yml") for model in yaml.safe_load(file.read_text())["models"]]
    return {model["name"]: model for model in models if model["name"] not in (*OF_ANOTHER_TIME, "reconciliation")}


def columns(mart: dict) -> dict[str, dict]:
    return {column["name"]: column for column in mart["columns"]}


def adds_up(marts: dict, name: str) -> bool:
    """Whether a column is marked additive in any mart that has it."""
    return any(columns(mart).get(name, {}).get("config", {}).get("meta", {}).get("additive") for mart in marts.values())


def is_attribute(column: dict) -> bool:
    """Whether a column is an attribute of the entity, not a measure."""
    if column["name"] == "is_unknown":
        return False
    return column["name"].endswith("_key") or column["data_type"] in ("varchar", "boolean", "timestamp", "date")


def disagreement(one: str, other: str, key: list[str], name: str, sums: bool) -> str:
    keys = ", ".join(key)
    if sums:
        return f"""
            select count(*) from (select {keys}, {name} from {one}) as a
            full outer join (select {keys}, sum({name}) as {name} from {other} group by {keys}) as b using ({keys})
            where coalesce(a.{name}, 0) <> coalesce(b.{name}, 0)
        """
    return f"""
        select count(*) from {one} as a inner join {other} as b using ({keys})
        where a.{name} is distinct from b.{name}
    """


def test_marts_agree_on_what_they_name_alike(built_shop, marts):
    compared, wrong = 0, []
    with warehouse.open_warehouse(built_shop[0], read_only=True) as connection:
        connection.execute("use ecom_marts")
        for one, other in permutations(marts, 2):
            key = marts[one]["config"]["meta"]["grain"]
            mine, its = columns(marts[one]), columns(marts[other])
            if not set(key) <= its.keys():
                continue
            same_grain = set(key) == set(marts[other]["config"]["meta"]["grain"])
            for name in mine.keys() & its.keys() - set(key):
                sums = not same_grain and adds_up(marts, name)
                if (one, other, name) in OTHER_MEANING or not (same_grain or sums or is_attribute(mine[name])):
                    continue
                compared += 1
                query = disagreement(one, other, key, name, sums)
                if found := connection.execute(query).fetchone()[0]:
                    wrong.append((one, other, name, found))
    assert compared > 100
    assert wrong == []
