"""Facts that notebooks report to the archive, and how those of several steps make one record.

A notebook leaves ``facts/STEP/NAME.json`` in the folder of its run (`notebook.Notebook.report`), which are merged when
its step has ended. A step that is done again replaces what it said.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

FLOWS = ("landed", "appended", "unchanged", "unreadable")
"""What a run did to a source table, in rows: the first is the sum of the others."""

STOCKS = ("raw", "staged", "superseded", "quarantined")
"""What there is of a source table after a run, in rows: the first is the sum of the others."""

PASSED, WARNED, FAILED = "passed", "warned", "failed"

TEST_WORDS = {"pass": PASSED, "passed": PASSED, "success": PASSED, "warn": WARNED, "warned": WARNED}


def tests_line(tests: dict[str, int]) -> str:
    """How many tests ran and what became of them, in words that add up: ``103 ran, 98 passed, 4 warned, 1 failed``."""
    told = [f"{tests[word]:,} {word}" for word in (PASSED, WARNED, FAILED) if tests[word]]
    return ", ".join([f"{sum(tests.values()):,} ran", *told])


def merge(record: dict[str, Any], folder: Path, step: str) -> None:
    """Take what a step's notebook reported into the record of the run.

    Tables are merged by name, so that the ingest tells the flows and staging the stocks; reconciliation rows by mart
    and measure; tests are counted; ``run`` may tell the as-of date; of ``lineage``, the batches that raw was made of,
    the record has the sum and the checksum, for they grow in number; others stand under ``facts`` by their name.

    Parameters
    ----------
    record
        The content of ``run.json``; it is changed.
    folder
        Where notebooks leave their facts, each in a folder of its step.
    step
        The name of the step that has ended.
    """
    for report in sorted((folder / step).glob("*.json")):
        rows = json.loads(report.read_text("utf-8"))
        if report.stem == "lineage":
            record["lineage"] = _lineage(rows, report, folder.parent)
        else:
            _take(record, step, report.stem, rows)


def _take(record: dict[str, Any], step: str, name: str, rows: Any) -> None:
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
    told = {"batches": len(batches), "bytes": sum(batch["size"] for batch in batches), "new": len(new)}
    return told | {
        "file": report.relative_to(run).as_posix(),
        "sha256": hashlib.sha256(report.read_bytes()).hexdigest(),
    }


def _merged(old: list[dict], new: list[dict], *key: str) -> list[dict]:
    """Rows by key: a newer row adds and replaces columns of an older one, and the order of arrival stays."""
    rows = {tuple(row.get(k) for k in key): dict(row) for row in old}
    for row in new:
        rows.setdefault(tuple(row.get(k) for k in key), {}).update(row)
    return list(rows.values())


def _test(step: str, row: dict[str, Any]) -> dict[str, Any]:
    name = row.get("test") or row.get("name")
    status = TEST_WORDS.get(str(row.get("status")), FAILED)
    return {"step": step, "test": name, "model": row.get("model"), "status": status, "failures": row.get("failures")}
