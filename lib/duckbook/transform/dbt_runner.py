"""Run dbt in this process, with our settings in its environment, no output, and no lock left behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from duckbook.backends import data_folder, warehouse
from duckbook.settings import ROOT, Settings

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

PROJECT = ROOT / "dbt"

QUIET_OPTIONS = (
    *("--quiet", "--log-level", "none", "--log-level-file", "none", "--no-use-colors"),
    *("--no-version-check", "--no-send-anonymous-usage-stats"),
)
"""dbt's results say as much; `dbt_layers.build` turns them into a sentence."""

LOCK_SECONDS = 60
"""How long to wait for another process that parses the project."""

NOT_PARSED = {"DUCKBOOK_DATA": "data", "DUCKBOOK_MEMORY_LIMIT": "4GB", "DUCKBOOK_THREADS": ""}
"""Variables that no model depends on, with the values that the project is parsed with."""

_prepared: dict[Path, Manifest] = {}
"""Folder of a parsed project → the manifest that `prepare` keeps."""


def target(settings: Settings) -> Path:
    """The target folder of dbt, with its artifacts: one per target of a data folder."""
    folder = settings.data / "dbt"
    return folder if settings.target == "duckdb" else folder / settings.target


def prepare(settings: Settings, project: Path = PROJECT) -> None:
    """Parse a project ahead, for the next command of this process or of one forked from it.

    Takes a second, or several if a file of the project has changed. Opens no warehouse.
    """
    from dbt.adapters.factory import reset_adapters

    outcome = parse(settings, project=project)
    # Forked processes must not share the adapter's locks: each creates its own adapter.
    reset_adapters()
    if outcome.success:
        _prepared[_parse_folder(settings, project)] = outcome.result


def parse(settings: Settings, manifest_file: Path | None = None, project: Path = PROJECT) -> dbtRunnerResult:
    """Parse a project into a folder of the checkout, which all data folders share.

    dbt parses again if a variable of its profile has changed, such as the path of the warehouse.

    Parameters
    ----------
    manifest_file
        File to write the manifest to, if any.
    """
    folder = _parse_folder(settings, project)
    if folder.is_relative_to(settings.data):
        data_folder.claim(settings.data)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    # Without the lock dbt parses the whole project if it reads what another process is writing.
    with suppress(Timeout):
        lock.acquire(timeout=LOCK_SECONDS)
    try:
        options = [] if manifest_file else ["--no-write-json"]
        outcome = _invoke(["parse", *options], project, folder, _variables(settings) | NOT_PARSED)
        if manifest_file and outcome.success:
            shutil.copyfile(folder / "manifest.json", manifest_file)
        return outcome
    finally:
        lock.release()


def invoke(settings: Settings, arguments: list[str], project: Path = PROJECT) -> dbtRunnerResult:
    """Run a dbt command in this process and close its connections, which would keep the warehouse locked.

    Parameters
    ----------
    arguments
        A command of dbt and its options.

    Returns
    -------
    dbtRunnerResult
        Holds a failure as well; none is raised.
    """
    manifest = _prepared.pop(_parse_folder(settings, project), None)  # dbt modifies it
    if manifest is None:
        outcome = parse(settings, project=project)
        if not outcome.success:
            return outcome
        manifest = outcome.result
    warehouse.engine_config(settings)  # links the extensions and creates the folders that the profile names
    with _lake_of(settings):
        return _invoke(arguments, project, target(settings), _variables(settings), manifest)


def _invoke(
    arguments: list[str], project: Path, folder: Path, variables: dict[str, str], manifest: Manifest | None = None
) -> dbtRunnerResult:
    # Imported here: dbt takes two seconds to import.
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    always = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(folder)]
    with _environment(variables):
        try:
            return dbtRunner(manifest).invoke([*arguments, *always, *QUIET_OPTIONS, "--log-path", str(folder)])
        finally:
            DuckDBConnectionManager.close_all_connections()


def _parse_folder(settings: Settings, project: Path) -> Path:
    """The folder of a parsed project, which depends on its settings and, because of its seeds, on its path."""
    decisive = {name: value for name, value in _variables(settings).items() if name not in NOT_PARSED}
    decisive.pop("motherduck_token", None)
    key = hashlib.sha256(json.dumps([str(project), decisive], sort_keys=True).encode()).hexdigest()[:12]
    is_own = project.stat().st_uid == os.geteuid() and os.access(project, os.W_OK)
    return (project / "target" if is_own else settings.data / "dbt") / "parsed" / key


def _lake_of(settings: Settings) -> AbstractContextManager[None]:
    """Make dbt attach the lake of these settings."""
    if settings.target != "lake":
        return nullcontext()
    from duckbook.transform import dbt_lake

    return dbt_lake.use_settings(settings)


def _variables(settings: Settings) -> dict[str, str]:
    """The environment variables that profiles.yml and dbt_project.yml read."""
    variables = {
        "DO_NOT_TRACK": "1",
        "DUCKBOOK_DATA": str(settings.data),
        "DUCKBOOK_TARGET": settings.target,
        "DUCKBOOK_MEMORY_LIMIT": settings.memory_limit,
        "DUCKBOOK_ORDER_ITEMS_RENUMBERED": str(settings.order_items_renumbered).lower(),
        "DUCKBOOK_ORDER_STATUSES": settings.order_statuses,
        "DUCKBOOK_MOTHERDUCK_DATABASE": settings.motherduck_database,
    }
    if settings.threads:
        variables["DUCKBOOK_THREADS"] = str(settings.threads)
    if settings.target == "motherduck" and settings.motherduck_token is not None:
        variables["motherduck_token"] = settings.motherduck_token.get_secret_value()
    return variables


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside the block, and restore them after it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
