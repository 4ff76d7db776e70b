"""What a run was made of: which store, which commit, which versions, and which code, by checksum."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from duckbook import runs
from duckbook.chain import Step
from duckbook.settings import ROOT, Settings

PACKAGES = ("duckbook", "duckdb", "dbt-core", "dbt-duckdb", "papermill", "jupysql", "pandas", "ipykernel")


def store(settings: Settings) -> str:
    """The store's folder as a person names it: from the checkout where it stands in it."""
    return str(settings.data.relative_to(ROOT) if settings.data.is_relative_to(ROOT) else settings.data)


def git() -> dict[str, Any]:
    """The commit of the checkout, and whether files of it were changed; nulls where it is none."""

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that matter."""
    names = {"dbt-core": "dbt"}
    return {"python": platform.python_version()} | {names.get(name, name): version(name) for name in PACKAGES}


def code(chain_file: Path) -> dict[str, Any]:
    """Checksums of the library, of the dbt project, and of each notebook of a chain."""
    notebooks = {path.name: _sha256([path]) for path in sorted(chain_file.parent.glob("*.ipynb"))}
    library = _sha256(sorted((ROOT / "lib" / "duckbook").rglob("*.py")))
    models = [path for path in sorted((ROOT / "dbt").rglob("*")) if path.suffix in {".sql", ".yml", ".csv"}]
    return {"library": library, "models": _sha256(models), "notebooks": notebooks}


def resume_from(record: dict[str, Any], steps: list[Step], chain_file: Path) -> tuple[str, str]:
    """From which step a run goes on, and why.

    Parameters
    ----------
    record
        The content of its ``run.json``.
    steps
        Its steps, in order.
    """
    then, now = record["code"], code(chain_file)
    status = {entry["name"]: entry["status"] for entry in record["steps"]}
    for step in steps:
        name = step.notebook.name
        if then["library"] != now["library"]:
            return step.name, "the library has changed since"
        if then["notebooks"].get(name) != now["notebooks"].get(name):
            return step.name, f"{name} has changed since"
        if step.group == "transform" and then["models"] != now["models"]:
            return step.name, "the dbt project has changed since"
        if status[step.name] != runs.SUCCEEDED:
            return step.name, f"it was {status[step.name]}"
    return steps[-1].name, "the run did not end"


def _sha256(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
