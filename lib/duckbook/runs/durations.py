"""The slowest cells and dbt queries of each step, from the folder of a run."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

SHOWN = 3
"""Cells and queries shown per step, which take most of its time."""


def slowest(folder: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The slowest cells and queries of each step that ran.

    Parameters
    ----------
    folder, record
        The folder of a run, and its ``run.json``.

    Returns
    -------
    list of dict
        One row per step: ``name``, ``seconds``, ``in_cells`` (seconds), ``cells`` and ``queries`` (name and seconds,
        slowest first), ``read_mb`` and ``written_mb`` (files read and written by its kernel).
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


def _slowest(durations: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(name, seconds) for name, seconds in sorted(durations, key=lambda row: -row[1])[:SHOWN] if seconds >= 0.05]


def _cells(notebook: Path) -> list[tuple[str, float]]:
    """Name and seconds of each executed cell; the name has the heading of its section."""
    cells, heading = [], "Set-up"
    with contextlib.suppress(OSError, ValueError):
        for number, cell in enumerate(json.loads(notebook.read_text("utf-8"))["cells"], 1):
            if cell["cell_type"] == "markdown":
                titles = [line for line in "".join(cell["source"]).splitlines() if line.startswith("##")]
                heading = titles[-1].lstrip("# ") if titles else heading
            elif seconds := cell["metadata"].get("papermill", {}).get("duration"):
                cells.append((f"{heading}, cell {number}", seconds))
    return cells


def _queries(folder: Path, record: dict[str, Any]) -> dict[str, list[tuple[str, float]]]:
    """Step → name and seconds of the models and tests that dbt ran in it."""
    results: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        results = json.loads((folder / "dbt" / "run_results.json").read_text("utf-8"))["results"]
    step_of_test = {row["test"]: row["step"] for row in record.get("test_results", [])}
    queries: dict[str, list[tuple[str, float]]] = {}
    for result in results:
        kind, _, name, *_ = result["unique_id"].split(".")
        # A layer's schema and step have its name.
        schema = (result.get("relation_name") or "..").split(".")[1].strip('"')
        step = step_of_test.get(name) if kind == "test" else schema.removeprefix("ecom_")
        if step:
            queries.setdefault(step, []).append((f"{kind} {name}", result["execution_time"]))
    return queries
