"""Describe a failed dbt build: an error sentence, and records for the run archive."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from duckbook.backends import warehouse
from duckbook.settings import Settings
from duckbook.transform import reconciliation

BAD = frozenset({"error", "fail", "runtime error"})

BY_COLUMN = "keys_and_values_are_known"
"""The generic test that checks many columns of a model at once; each failing row names its column."""

RECONCILES = "every_measure_reconciles"
"""The test that compares every total of a mart with staging."""

MAX_NAMED = 5
"""How many failures one sentence names."""


def describe(settings: Settings, layer: str, outcome: Any, results: list[Any]) -> str | None:
    """Describe what failed in the build of a layer; None if nothing did."""
    failed = [result for result in results if str(result.status) in BAD]
    if failed:
        named = "; ".join(f"{_kind(r.node)} {r.node.name}: {_reason(settings, r)}" for r in failed[:MAX_NAMED])
        more = f"; and {len(failed) - MAX_NAMED} more" if len(failed) > MAX_NAMED else ""
        return f"dbt failed in the layer {layer}. {named}{more}."
    return None if outcome.success else f"dbt could not build the layer {layer}: {error_text(outcome.exception)}"


def reconciliation_records(settings: Settings, results: list[Any]) -> list[dict[str, Any]]:
    """The totals of the marts and of staging; empty if this build failed before it compared them."""
    if not any(result.node.name == "reconciliation" and str(result.status) == "success" for result in results):
        return []
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        return reconciliation.marts(connection)


def failing_columns(result: Any) -> str:
    """The failing columns of a multi-column test, with the number of values in each, as its macro reports them."""
    if not result.failures or getattr(getattr(result.node, "test_metadata", None), "name", None) != BY_COLUMN:
        return ""
    return result.adapter_response.get("_message", "")


def error_text(error: Any) -> str:
    """The error message of dbt on one line, without the lines that repeat the name of the node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    repeated = ("Runtime Error in", "Compilation Error in", "compiled code at")
    useful = [line for line in lines if not line.startswith(repeated)]
    return " ".join(useful[:6]).rstrip(".") or "no reason given"


def _kind(node: Any) -> str:
    kind = str(node.resource_type)
    return "test" if kind in ("test", "unit_test") else kind


def _reason(settings: Settings, result: Any) -> str:
    if str(result.node.resource_type) != "test" or str(result.status) != "fail":
        return error_text(result.message)
    if result.node.name == RECONCILES:
        with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
            return reconciliation.differences(reconciliation.marts(connection))
    where = failing_columns(result)
    return f"{result.failures} rows fail{where and f' in {where}'}, found by {result.node.original_file_path}"
