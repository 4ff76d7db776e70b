"""Where the time of a step went: its slowest cells, and the slowest queries of dbt's, as its run's folder tells."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

SHOWN = 3
"""So many cells and queries a step: they are most of its time."""


def told(folder: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps that ran, each with what took it longest.

    Parameters
    ----------
    folder, record
        The folder of a run, and its ``run.json``.

    Returns
    -------
    list of dict
        A step a row: ``name``, ``seconds``, ``in_cells`` (seconds), ``cells`` and ``queries`` (what and seconds, the
        slowest first), ``read_mb`` and ``written_mb`` (of files, by its kernel).
    """
    queries = _queries(folder, record)
    rows = []
    for step in record["steps"]:
        cells = _cells(folder / step["notebook"])
        if step["seconds"] is None or not cells:
            continue
        rows.append(
            {
                "name": step["name"],
                "seconds": step["seconds"],
                "in_cells": sum(seconds for _, seconds in cells),
                "cells": _slowest(cells),
                "queries": _slowest(queries.get(step["name"], [])),
                "read_mb": step.get("read_mb"),
                "written_mb": step.get("written_mb"),
            }
        )
    return rows


def _slowest(taken: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(what, seconds) for what, seconds in sorted(taken, key=lambda each: -each[1])[:SHOWN] if seconds >= 0.05]


def _cells(notebook: Path) -> list[tuple[str, float]]:
    """What each executed cell is about, and its seconds: named by the section that it stands in."""
    found, heading = [], "Set-up"
    with contextlib.suppress(OSError, ValueError):
        for number, cell in enumerate(json.loads(notebook.read_text("utf-8"))["cells"], 1):
            if cell["cell_type"] == "markdown":
                titles = [line for line in "".join(cell["source"]).splitlines() if line.startswith("##")]
                heading = titles[-1].lstrip("# ") if titles else heading
            elif seconds := cell["metadata"].get("papermill", {}).get("duration"):
                found.append((f"{heading}, cell {number}", seconds))
    return found


def _queries(folder: Path, record: dict[str, Any]) -> dict[str, list[tuple[str, float]]]:
    """Step → the models and tests that dbt ran in it, with their seconds."""
    results: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        results = json.loads((folder / "dbt" / "run_results.json").read_text("utf-8"))["results"]
    step_of_test = {row["test"]: row["step"] for row in record.get("test_results", [])}
    found: dict[str, list[tuple[str, float]]] = {}
    for result in results:
        kind, _, name, *_ = result["unique_id"].split(".")
        # The schema of a layer is named for it, and so is the step that builds it.
        schema = (result.get("relation_name") or "..").split(".")[1].strip('"')
        step = step_of_test.get(name) if kind == "test" else schema.removeprefix("ecom_")
        if step:
            found.setdefault(step, []).append((f"{kind} {name}", result["execution_time"]))
    return found
