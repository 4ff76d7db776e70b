"""A look at a store: what runs, what there is, and how the newest run ended. It starts and opens nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from duckbook import publish, runs, servers
from duckbook.settings import Settings


def lines(settings: Settings) -> list[tuple[str, str]]:
    """What there is, as pairs of a name and a text, in well under a second."""
    told = [(server["name"], f"{server['state']} {server['address']}".strip()) for server in servers.status(settings)]
    return [*told, ("warehouse", _warehouse(settings)), ("published", _published(settings)), *_runs(settings)]


def _warehouse(settings: Settings) -> str:
    if settings.target == "motherduck":
        return f"MotherDuck database {settings.motherduck_database}"
    path = settings.warehouse_path
    if not path.exists():
        return "none yet: make pipeline makes it"
    told = path.stat()
    written = datetime.fromtimestamp(told.st_mtime, UTC)
    return f"{path.name}, {told.st_size / 1e6:,.1f} MB, written {written:%Y-%m-%d %H:%M} UTC"


def _published(settings: Settings) -> str:
    if settings.target == "motherduck":
        return f"schema ecom_published of {settings.motherduck_database}"
    publication = publish.current(settings)
    if publication is None:
        return "nothing yet"
    return f"{len(publication.marts)} marts of run {publication.run_id}, as of {publication.as_of}"


def _runs(settings: Settings) -> list[tuple[str, str]]:
    newest = runs.latest(settings.runs)
    if newest is None:
        return [("newest run", "none yet")]
    record = runs.read(newest)
    seconds = "" if record["seconds"] is None else f" in {record['seconds']:.1f} s"
    as_of = f", as of {record['as_of']}" if record["as_of"] else ""
    told = [("newest run", f"{record['run_id']} {record['status']}{seconds}{as_of}")]
    if record["error"]:
        told.append(("", record["error"]))
    archive = sum(file.stat().st_size for file in _files(settings.runs))
    return [*told, ("archive", f"{len(runs.read_all(settings.runs))} runs, {archive / 1e6:,.1f} MB")]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
