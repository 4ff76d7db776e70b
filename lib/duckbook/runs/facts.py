"""Merge the facts that notebooks report into the record of a run.

A notebook writes ``facts/STEP/NAME.json`` in the folder of its run (`notebook.Notebook.report`). The files are merged
when the step has ended. A step that runs again replaces its facts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from duckbook.files import checksum

FLOWS = ("landed", "appended", "unchanged", "unreadable")
"""Rows of a source table that a run landed: the first is the sum of the others."""

STOCKS = ("raw", "staged", "superseded", "quarantined")
"""Rows of a source table after a run: the first is the sum of the others."""

PASSED, WARNED, FAILED = "passed", "warned", "failed"

TEST_WORDS = {"pass": PASSED, "passed": PASSED, "success": PASSED, "warn": WARNED, "warned": WARNED}


def tests_line(tests: dict[str, int]) -> str:
    """The counts of tests, such as ``103 ran, 98 passed, 4 warned, 1 failed``."""
    counts = [f"{tests[status]:,} {status}" for status in (PASSED, WARNED, FAILED) if tests[status]]
    return ", ".join([f"{sum(tests.values()):,} ran", *counts])


def merge(record: dict[str, Any], folder: Path, step: str) -> None:
    """Merge the facts that a step's notebook reported into the record of the run.

    Tables are merged by name, because ingestion reports the flows and staging the stocks; reconciliation rows are
    merged by mart and measure; tests are counted; ``run`` may have the as-of date. Of ``lineage``, the batches in raw,
    the record keeps only totals and a checksum. All others are under ``facts``, by name.

    Parameters
    ----------
    record
        The content of ``run.json``, which is changed.
    folder
        Folder with a folder of facts per step.
    step
        The name of the ended step.
    """
    for report in sorted((folder / step).glob("*.json")):
        rows = json.loads(report.read_text("utf-8"))
        if report.stem == "lineage":
            record["lineage"] = _lineage(rows, report, folder.parent)
        else:
            _merge_report(record, step, report.stem, rows)


def _merge_report(record: dict[str, Any], step: str, name: str, rows: Any) -> None:
    if name == "tables":
        record["tables"] = _merged(record["tables"], rows, "table")
    elif name == "reconciliation":
        record["reconciliation"] = _merged(record["reconciliation"], rows, "mart", "measure")
    elif name == "tests":
        others = [row for row in record.get("test_results", []) if row["step"] != step]
        record["test_results"] = others + [_test(step, row) for row in rows]
        statuses = [row["status"] for row in record["test_results"]]
        record["tests"] = {word: statuses.count(word) for word in (PASSED, FAILED, WARNED)}
    elif name == "run":
        record["as_of"] = rows.get("as_of") or record["as_of"]
    else:
        record.setdefault("facts", {})[name] = rows


def _lineage(batches: list[dict[str, Any]], report: Path, run: Path) -> dict[str, Any]:
    new = [batch for batch in batches if batch["new"]]
    return {
        "batches": len(batches),
        "bytes": sum(batch["size"] for batch in batches),
        "new": len(new),
        "file": report.relative_to(run).as_posix(),
        "sha256": checksum(report),
    }


def _merged(old: list[dict[str, Any]], new: list[dict[str, Any]], *key: str) -> list[dict[str, Any]]:
    """Rows by key, in the order of arrival; a new row adds or replaces columns of an old one."""
    rows = {tuple(row.get(k) for k in key): dict(row) for row in old}
    for row in new:
        rows.setdefault(tuple(row.get(k) for k in key), {}).update(row)
    return list(rows.values())


def _test(step: str, row: dict[str, Any]) -> dict[str, Any]:
    name = row.get("test") or row.get("name")
    status = TEST_WORDS.get(str(row.get("status")), FAILED)
    return {"step": step, "test": name, "model": row.get("model"), "status": status, "failures": row.get("failures")}
