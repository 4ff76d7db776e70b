"""Run dbt in this process, with our settings in its environment, no output, and no lock left behind."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from duckbook.backends import warehouse
from duckbook.settings import ROOT, Settings
from duckbook.transform import dbt_cache

PROJECT = ROOT / "dbt"

PARSED = "partial_parse.msgpack"
"""dbt's own cache of a parsed project; dbt checks it for changed files itself."""

QUIET_OPTIONS = (
    *("--quiet", "--log-level", "none", "--log-level-file", "none", "--no-use-colors"),
    *("--no-version-check", "--no-send-anonymous-usage-stats"),
)
"""dbt's results say as much; `dbt_layers.build` turns them into a sentence."""

_parsed: dict[Path, tuple[Any, Any]] = {}
"""Project → the state of its files when it was parsed, and the manifest."""


def target(settings: Settings) -> Path:
    """The target folder of dbt, with its parsed project and its artifacts: one per target of a data folder."""
    folder = settings.data / "dbt"
    return folder if settings.target == "duckdb" else folder / settings.target


def preparse(settings: Settings, project: Path = PROJECT) -> None:
    """Parse a project and keep its manifest for `take_parsed`, in this process and in those forked from it."""
    from dbt.adapters.factory import reset_adapters

    state = _state(settings, project)
    outcome = invoke(settings, ["parse", "--no-write-json"], project)
    # Forked processes must not share the adapter's locks: each creates its own adapter.
    reset_adapters()
    if outcome.success:
        # If only the times of files have changed, dbt does not write its cache again.
        _share(settings, project)
        _parsed[project] = state, outcome.result
        dbt_cache.compile_templates(outcome.result)


def take_parsed(settings: Settings, project: Path = PROJECT) -> Any:
    """Pop the manifest that `preparse` kept, because dbt modifies it; None if a file or setting has changed since."""
    state, manifest = _parsed.pop(project, (None, None))
    return manifest if state == _state(settings, project) else None


def is_parsed(settings: Settings, project: Path = PROJECT) -> bool:
    """Whether this checkout's shared parse is newer than every file of the project, so that `preparse` is fast."""
    shared = _shared_parse(settings, project)
    return _is_of(project, shared) and max(changed for _, changed, _ in _files(project)) < (_changed_at(shared) or 0)


def _state(settings: Settings, project: Path) -> Any:
    """All that a parsed project depends on: its files, and the variables that its profile reads."""
    return _files(project), _variables(settings)


def _files(project: Path) -> list[tuple[str, int, int]]:
    """The files of a project, each with its modification time and size."""
    sources = (folder for folder in sorted(project.iterdir()) if folder.name not in ("target", "logs"))
    files = (file for each in sources for file in (each.rglob("*") if each.is_dir() else [each]))
    return [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]


def invoke(settings: Settings, arguments: list[str], project: Path = PROJECT, manifest: Any = None) -> Any:
    """Run a dbt command in this process and close its connections, which would keep the warehouse locked.

    Parameters
    ----------
    arguments
        A command of dbt and its options.
    manifest
        The manifest from `take_parsed`; None to let dbt parse the project.

    Returns
    -------
    dbtRunnerResult
        Holds a failure as well; none is raised.
    """
    # Imported here: dbt takes two seconds to import.
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt.cli.main import dbtRunner

    dbt_cache.enable()
    # Otherwise dbt parses again for each data folder, because the path of the warehouse differs. No model reads it.
    DuckDBCredentials._connection_keys = lambda _: ("database", "schema", "settings")
    folder = str(target(settings))
    always = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", folder, *QUIET_OPTIONS]
    warehouse.engine_config(settings)  # links the extensions and creates the folders that the profile names
    with (
        _environment(settings),
        _gc_disabled(),
        _without_debug_events(),
        _shared_parsing(settings, project),
        _lake_of(settings),
    ):
        try:
            return dbtRunner(manifest).invoke([*arguments, *always, "--log-path", folder])
        finally:
            DuckDBConnectionManager.close_all_connections()


def _shared_parse(settings: Settings, project: Path) -> Path:
    """The parsed project that the data folders of this checkout share."""
    return project / "target" / settings.target / PARSED


@contextmanager
def _shared_parsing(settings: Settings, project: Path) -> Iterator[None]:
    """Start a new data folder with the shared parse, which saves seconds, and share what is parsed in the block."""
    shared, own = _shared_parse(settings, project), target(settings) / PARSED
    if not _is_of(project, own):
        with suppress(OSError):
            own.unlink(missing_ok=True)
        if _is_of(project, shared):
            _copy(shared, own)
    before = _changed_at(own)
    try:
        yield
    finally:
        if _changed_at(own) != before:
            _share(settings, project)


def _share(settings: Settings, project: Path) -> None:
    """Share what this data folder parsed, unless another checkout has parsed into it meanwhile."""
    own = target(settings) / PARSED
    if _is_of(project, own):
        _copy(own, _shared_parse(settings, project))


def _is_of(project: Path, parsed: Path) -> bool:
    """Whether dbt's cache is of this project at this path: dbt stores the path with each seed, and reads it there.

    It is not if the checkout was moved since, or if a second checkout uses the same data folder.
    """
    import msgpack

    with suppress(OSError):
        return msgpack.packb("root_path") + msgpack.packb(str(project)) in parsed.read_bytes()
    return False


def _changed_at(file: Path) -> int | None:
    with suppress(OSError):
        return file.stat().st_mtime_ns
    return None


def _copy(source: Path, destination: Path) -> None:
    """Copy a file atomically; on an error dbt works without it."""
    part = destination.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
        part.replace(destination)
    part.unlink(missing_ok=True)


@contextmanager
def _lake_of(settings: Settings) -> Iterator[None]:
    """Make dbt attach the lake of these settings."""
    if settings.target != "lake":
        yield
        return
    from duckbook.transform import dbt_lake

    with dbt_lake.use_settings(settings):
        yield


@contextmanager
def _gc_disabled() -> Iterator[None]:
    """Disable garbage collection: dbt makes many objects and few cycles, and collection takes a tenth of a run."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _without_debug_events() -> Iterator[None]:
    """Skip building dbt's debug events, which nothing logs: an eighth of a build's time."""
    from dbt_common.events.base_types import DebugLevel
    from dbt_common.events.event_manager import EventManager

    fire = EventManager.fire_event

    def fire_unless_debug(self: EventManager, event: Any, *arguments: Any, **options: Any) -> None:
        if not isinstance(event, DebugLevel):
            fire(self, event, *arguments, **options)

    DebugLevel.__init__ = lambda *_, **__: None
    EventManager.fire_event = fire_unless_debug
    try:
        yield
    finally:
        del DebugLevel.__init__
        EventManager.fire_event = fire


def _variables(settings: Settings) -> dict[str, str]:
    """The environment variables that profiles.yml reads."""
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
    if settings.target == "motherduck":
        variables["motherduck_token"] = settings.motherduck_token.get_secret_value()
    return variables


@contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """Set the variables of profiles.yml inside the block, and restore the environment after it."""
    variables = _variables(settings)
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
