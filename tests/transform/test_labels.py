"""Labels: each has one definition, its test accepts exactly the values of the definition, and each value occurs."""

from __future__ import annotations

import re

import pytest
import rendered
import yaml
from duckbook.backends import warehouse
from duckbook.settings import ROOT

MODELS = ROOT / "dbt" / "models"

LABELS = {
    "customer_status": ("dim_customers", rendered.macro("customer_status")),
    "segment": ("fct_customer_segments", rendered.macro("segment")),
    "cover_status": ("fct_inventory_cover", rendered.macro("cover_status")),
    "age_group": ("dim_customers", rendered.macro("age_group", "age")),
    "sentiment": ("fct_customer_reviews", rendered.macro("sentiment", "review_score")),
}
"""Label → the mart that has it, and its definition."""

OF_OTHER_SHOPS = {("age_group", "under 18"), ("sentiment", "unknown")}
"""Labels without a case in the generated shop: all of its customers are adults, and each review has stars."""


def given(definition: str) -> set[str]:
    """Return the values of a definition, and `unknown`, which the mart has where the definition is null."""
    return set(re.findall(r"(?:then|else)\s+'([^']+)'", definition)) | {"unknown"}


def accepted(label: str, mart: str) -> set[str]:
    """Return the values that the test of the mart accepts."""
    (model,) = yaml.safe_load((MODELS / "marts" / f"{mart}.yml").read_text())["models"]
    (values,) = [
        test["keys_and_values_are_known"]["arguments"]["accepted"]
        for test in model["data_tests"]
        if "accepted" in test.get("keys_and_values_are_known", {}).get("arguments", {})
    ]
    return set(values[label])


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_accepted_where_its_definition_can_give_it_and_no_other(label):
    mart, definition = LABELS[label]
    assert accepted(label, mart) == given(definition)
    assert len(given(definition)) > 3


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_defined_in_one_place(label):
    words = given(LABELS[label][1]) - {"unknown"}
    for path in MODELS.glob("**/*.sql"):
        found = {word for word in words if f"'{word}'" in path.read_text()}
        assert not found, (path.name, found)


@pytest.fixture(scope="module")
def marts(generated_shop):
    """The marts of a generated shop."""
    with warehouse.open_warehouse(generated_shop, read_only=True) as connection:
        yield connection


@pytest.mark.parametrize("label", LABELS)
def test_every_label_occurs_in_a_generated_shop(marts, label):
    mart, definition = LABELS[label]
    found = {value for (value,) in marts.execute(f"select distinct {label} from ecom_marts.{mart}").fetchall()}
    assert given(definition) - found <= {value for name, value in OF_OTHER_SHOPS if name == label}


def test_a_segment_is_a_part_of_a_status_and_the_two_cover_all_customers(marts):
    found = marts.execute(
        """
        select segment, count(distinct customer_status), count(*)
        from ecom_marts.dim_customers inner join ecom_marts.fct_customer_segments using (customer_key)
        group by segment
        """
    ).fetchall()
    assert {statuses for _, statuses, _ in found} == {1}
    (customers,) = marts.execute("select count(*) from ecom_marts.dim_customers").fetchone()
    assert sum(rows for _, _, rows in found) == customers
