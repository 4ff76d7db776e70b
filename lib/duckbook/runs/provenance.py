"""Provenance of a run: data folder, commit, versions, publication, and code that has changed since."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from duckbook.publish import publisher
from duckbook.runs import codebase, run_archive
from duckbook.runs.chain import Step
from duckbook.settings import ROOT, Settings

PACKAGES = ("duckbook", "duckdb", "dbt-core", "dbt-duckdb", "papermill", "jupysql", "pandas", "ipykernel")


def data_folder(settings: Settings) -> str:
    """The data folder, relative to the checkout if it is inside."""
    return str(settings.data.relative_to(ROOT) if settings.data.is_relative_to(ROOT) else settings.data)


def git() -> dict[str, Any]:
    """The commit of the checkout, and whether it has uncommitted changes; nulls outside a checkout."""

    def run(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {"commit": run("rev-parse", "HEAD"), "dirty": bool(run("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def versions() -> dict[str, str]:
    """Versions of Python and of `PACKAGES`."""
    names = {"dbt-core": "dbt"}
    return {"python": platform.python_version()} | {names.get(name, name): version(name) for name in PACKAGES}


def publication(settings: Settings, run_id: str) -> dict[str, Any] | None:
    """The last publication of a run, or None: its name, and the rows of each mart.

    Marts in files have their SHA-256, and a publication in the lake its snapshot.
    """
    if settings.target == "lake":
        for found in publisher.publications(settings):  # newest first
            # A second publication of a run has a numeric suffix.
            if found.run_id.startswith(run_id):
                rows = {mart: {"rows": count} for mart, count in found.marts.items()}
                return {"name": found.run_id, "as_of": found.as_of, "snapshot": found.snapshot, "marts": rows}
    files = sorted(settings.data.glob(f"published/{run_id}*/publication.json"), key=lambda file: file.stat().st_mtime)
    for file in reversed(files):
        published = json.loads(file.read_text("utf-8"))
        if published["run_id"] == run_id:
            return {"name": file.parent.name, "as_of": published["as_of"], "marts": published["marts"]}
    return None


def readers(settings: Settings) -> dict[str, Any] | None:
    """Name and as-of date of the publication that readers use, or None."""
    found = publisher.current(settings)
    return {"run_id": found.run_id, "as_of": found.as_of} if found else None


def resume_from(record: dict[str, Any], steps: list[Step], chain_file: Path) -> tuple[str, str]:
    """The step to resume a run from, and why: the first whose code has changed or that did not succeed.

    Parameters
    ----------
    record
        The content of its ``run.json``.
    steps
        Its steps, in order.
    """
    then, now = record["code"], codebase.checksums(chain_file)
    status = {entry["name"]: entry["status"] for entry in record["steps"]}
    for step in steps:
        if names := codebase.changed(step, then, now):
            return step.name, f"its code has changed since: {', '.join(names)}"
        if status[step.name] != run_archive.SUCCEEDED:
            return step.name, f"it was {status[step.name]}"
    return steps[-1].name, "the run did not end"
