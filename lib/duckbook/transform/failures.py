"""What a build of dbt that failed found: a sentence that names it, and the facts for the run's archive."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from duckbook.backends import warehouse
from duckbook.settings import Settings
from duckbook.transform import reconciliation

BAD = frozenset({"error", "fail", "runtime error"})

BY_COLUMN = "keys_and_values_are_known"
"""The generic test that checks many columns of a model at once; each row that it finds names its column."""

RECONCILES = "every_measure_reconciles"
"""The test that holds every total of a mart against staging."""

MOST = 5
"""How many failures, or totals that differ, one sentence names."""


def sentence(settings: Settings, layer: str, outcome: Any, results: list[Any]) -> str | None:
    """What failed in a build of a layer; None where nothing did."""
    failed = [result for result in results if str(result.status) in BAD]
    if failed:
        told = "; ".join(f"{_kind(r.node)} {r.node.name}: {_reason(settings, r)}" for r in failed[:MOST])
        more = f"; and {len(failed) - MOST} more" if len(failed) > MOST else ""
        return f"dbt failed in the layer {layer}. {told}{more}."
    return None if outcome.success else f"dbt could not build the layer {layer}: {first_line(outcome.exception)}"


def reconciled(settings: Settings, results: list[Any]) -> list[dict[str, Any]]:
    """The totals of the marts beside those of staging, where this build came to compare them."""
    if not any(result.node.name == "reconciliation" and str(result.status) == "success" for result in results):
        return []
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        return reconciliation.marts(connection)


def columns_at_fault(result: Any) -> str:
    """The columns that a test of many columns found wanting, with the number of values in each: dbt's macros tell."""
    if not result.failures or getattr(getattr(result.node, "test_metadata", None), "name", None) != BY_COLUMN:
        return ""
    return result.adapter_response.get("_message", "")


def first_line(error: Any) -> str:
    """The telling lines of dbt's message: it opens with a line that names the node once more."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    frame = ("Runtime Error in", "Compilation Error in", "compiled code at")
    told = [line for line in lines if not line.startswith(frame)]
    return " ".join(told[:6]).rstrip(".") or "no reason given"


def _kind(node: Any) -> str:
    kind = str(node.resource_type)
    return "test" if kind in ("test", "unit_test") else kind


def _reason(settings: Settings, result: Any) -> str:
    if str(result.node.resource_type) != "test" or str(result.status) != "fail":
        return first_line(result.message)
    if result.node.name == RECONCILES:
        with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
            return reconciliation.differences(reconciliation.marts(connection))
    where = columns_at_fault(result)
    return f"{result.failures} rows fail{where and f' in {where}'}, found by {result.node.original_file_path}"
