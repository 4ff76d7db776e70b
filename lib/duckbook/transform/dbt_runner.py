"""dbt, invoked in this process: with the settings in its environment, quietly, and with no lock left behind."""

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
"""What dbt keeps of a project that it has parsed, and looks through itself for what has changed since."""

QUIETLY = (
    *("--quiet", "--log-level", "none", "--log-level-file", "none", "--no-use-colors"),
    *("--no-version-check", "--no-send-anonymous-usage-stats"),
)
"""What dbt would say is in its results, which `build` turns into a sentence."""


_held: dict[Path, tuple[Any, Any]] = {}
"""Project → the state of its files when it was parsed, and what dbt made of them."""


def target(settings: Settings) -> Path:
    """The folder in which dbt keeps its parsed project and its artifacts: one for each target of a store."""
    folder = settings.data / "dbt"
    return folder if settings.target == "duckdb" else folder / settings.target


def hold(settings: Settings, project: Path = PROJECT) -> None:
    """Parse a project, and keep what dbt made of it for `take_held`, here and in processes that split off from here."""
    from dbt.adapters.factory import reset_adapters

    state = _state(settings, project)
    outcome = invoke(settings, ["parse", "--no-write-json"], project)
    # An adapter has locks that processes would share: each makes its own.
    reset_adapters()
    if outcome.success:
        # Where nothing had changed but the files' times, dbt leaves it as old as it is.
        _keep(settings, project)
        _held[project] = state, outcome.result
        dbt_cache.compile_templates(outcome.result)


def take_held(settings: Settings, project: Path = PROJECT) -> Any:
    """What `hold` keeps of a project, once, because dbt writes into it; None where a file or a setting has changed."""
    state, manifest = _held.pop(project, (None, None))
    return manifest if state == _state(settings, project) else None


def is_parsed(settings: Settings, project: Path = PROJECT) -> bool:
    """Whether no file of the project is newer than what this checkout keeps of it, so that `hold` takes no second."""
    kept = _kept(settings, project)
    return _is_of(project, kept) and max(changed for _, changed, _ in _files(project)) < (_changed_at(kept) or 0)


def _state(settings: Settings, project: Path) -> Any:
    """What a project parsed alike depends on: its files, and the variables that its profile reads."""
    return _files(project), _variables(settings)


def _files(project: Path) -> list[tuple[str, int, int]]:
    """The files of a project, each with when it changed and its size."""
    read = (folder for folder in sorted(project.iterdir()) if folder.name not in ("target", "logs"))
    files = (file for each in read for file in (each.rglob("*") if each.is_dir() else [each]))
    return [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]


def invoke(settings: Settings, arguments: list[str], project: Path = PROJECT, manifest: Any = None) -> Any:
    """Run dbt quietly in this process and close its connections, which would otherwise hold the warehouse's lock.

    Parameters
    ----------
    settings
        Name the warehouse, the target and the folder of the artifacts.
    arguments
        A command of dbt's and its options.
    project
        Folder of the project.
    manifest
        What `take_held` gave; None to have the project looked through.

    Returns
    -------
    dbtRunnerResult
        What dbt says of the run; a failure is told in it and raises nothing.
    """
    # Imported here: dbt takes two seconds to import.
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt.cli.main import dbtRunner

    dbt_cache.remember()
    # dbt would parse the project anew for each store, because the warehouse lies elsewhere; no model reads where.
    DuckDBCredentials._connection_keys = lambda _: ("database", "schema", "settings")
    folder = str(target(settings))
    always = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", folder, *QUIETLY]
    warehouse.engine_config(settings)  # links the extensions and makes the folders that the profile names
    with (
        _environment(settings),
        _without_collection(),
        _unheard(),
        _parsed_once(settings, project),
        _lake_of(settings),
    ):
        try:
            return dbtRunner(manifest).invoke([*arguments, *always, "--log-path", folder])
        finally:
            DuckDBConnectionManager.close_all_connections()


def _kept(settings: Settings, project: Path) -> Path:
    """What the last store in this checkout parsed, for the next one."""
    return project / "target" / settings.target / PARSED


@contextmanager
def _parsed_once(settings: Settings, project: Path) -> Iterator[None]:
    """A new store begins with what the last one in this checkout parsed, which saves seconds."""
    kept, own = _kept(settings, project), target(settings) / PARSED
    if not _is_of(project, own):
        with suppress(OSError):
            own.unlink(missing_ok=True)
        if _is_of(project, kept):
            _copy(kept, own)
    before = _changed_at(own)
    try:
        yield
    finally:
        if _changed_at(own) != before:
            _keep(settings, project)


def _keep(settings: Settings, project: Path) -> None:
    """Keep what this store parsed, unless another checkout has parsed it meanwhile."""
    own = target(settings) / PARSED
    if _is_of(project, own):
        _copy(own, _kept(settings, project))


def _is_of(project: Path, parsed: Path) -> bool:
    """Whether this project was parsed, where it lies now: dbt notes with each seed where it does, and reads it there.

    Another one is that of a checkout which was moved since, or of a second one with the same store.
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
    """Copy a file whole or not at all; where it cannot be, dbt does without."""
    part = destination.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
        part.replace(destination)
    part.unlink(missing_ok=True)


@contextmanager
def _lake_of(settings: Settings) -> Iterator[None]:
    """The lake that dbt attaches is the one of these settings."""
    if settings.target != "lake":
        yield
        return
    from duckbook.transform import dbt_lake

    with dbt_lake.settings_of(settings):
        yield


@contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection: dbt makes many objects and few cycles, and the search for them takes a tenth of a run."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _unheard() -> Iterator[None]:
    """What dbt would tell for debugging is not put together, an eighth of a build's time, because nobody hears it."""
    from dbt_common.events.base_types import DebugLevel
    from dbt_common.events.event_manager import EventManager

    fire = EventManager.fire_event

    def fire_the_others(self: EventManager, event: Any, *more: Any, **options: Any) -> None:
        if not isinstance(event, DebugLevel):
            fire(self, event, *more, **options)

    DebugLevel.__init__ = lambda *_, **__: None
    EventManager.fire_event = fire_the_others
    try:
        yield
    finally:
        del DebugLevel.__init__
        EventManager.fire_event = fire


def _variables(settings: Settings) -> dict[str, str]:
    """The settings as profiles.yml reads them."""
    wanted = {
        "DO_NOT_TRACK": "1",
        "DUCKBOOK_DATA": str(settings.data),
        "DUCKBOOK_TARGET": settings.target,
        "DUCKBOOK_MEMORY_LIMIT": settings.memory_limit,
        "DUCKBOOK_ORDER_ITEMS_RENUMBERED": str(settings.order_items_renumbered).lower(),
        "DUCKBOOK_ORDER_STATUSES": settings.order_statuses,
        "DUCKBOOK_MOTHERDUCK_DATABASE": settings.motherduck_database,
    }
    if settings.threads:
        wanted["DUCKBOOK_THREADS"] = str(settings.threads)
    if settings.target == "motherduck":
        wanted["motherduck_token"] = settings.motherduck_token.get_secret_value()
    return wanted


@contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """The settings in the environment, for the time of a run."""
    wanted = _variables(settings)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
