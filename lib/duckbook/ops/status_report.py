"""Status of a shop: servers, warehouse, publication, history and newest run. Starts no server and opens no database."""

from __future__ import annotations

from datetime import UTC, datetime

from duckbook.backends import lake, servers
from duckbook.publish import publisher
from duckbook.runs import provenance, run_archive
from duckbook.runs.pruning import size_of
from duckbook.settings import Settings


def lines(settings: Settings) -> list[tuple[str, str]]:
    """Return the status as pairs of a name and a text."""
    found = [(server["name"], f"{server['state']} {server['address']}".strip()) for server in servers.status(settings)]
    found += [("warehouse", _warehouse(settings)), ("published", _published(settings)), ("history", _history(settings))]
    return found + _runs(settings)


def _warehouse(settings: Settings) -> str:
    if settings.target == "motherduck":
        return f"MotherDuck database {settings.motherduck_database}"
    if settings.target == "lake":
        return f"the lake {settings.lake_schema}, its files below {lake.data_path(settings)}"
    path = settings.warehouse_path
    if not path.exists():
        return "none yet: make pipeline builds it"
    stat = path.stat()
    written = datetime.fromtimestamp(stat.st_mtime, UTC)
    return f"{path.name}, {stat.st_size / 1e6:,.1f} MB, written {written:%Y-%m-%d %H:%M} UTC"


def _published(settings: Settings) -> str:
    if settings.target == "motherduck":
        return f"schema ecom_published of {settings.motherduck_database}"
    if settings.target == "lake" and not servers.are_running(settings):
        return "not known while the servers are down: make up"
    publication = publisher.current(settings)
    if publication is None:
        return "nothing yet"
    current = f"{len(publication.marts)} marts of run {publication.run_id}, as of {publication.as_of}"
    kept = f"{current}; {len(publisher.publications(settings))} publications"
    if publication.snapshot is not None:
        return f"{kept}, this one at snapshot {publication.snapshot}"
    return f"{kept}, {size_of(settings.data / 'published') / 1e6:,.1f} MB"


def _history(settings: Settings) -> str:
    """Describe the history as the newest run recorded it, which is faster than reading S3."""
    here = provenance.data_folder(settings)
    lineage = next((r["lineage"] for r in run_archive.read_all(settings.runs, here) if r.get("lineage")), None)
    return f"{lineage['batches']:,} batches, {lineage['bytes'] / 1e6:,.1f} MB" if lineage else "not known before a run"


def _runs(settings: Settings) -> list[tuple[str, str]]:
    here = provenance.data_folder(settings)
    newest = run_archive.latest(settings.runs, here)
    if newest is None:
        return [("newest run", "none yet")]
    record = run_archive.read(newest)
    seconds = "" if record["seconds"] is None else f" in {record['seconds']:.1f} s"
    as_of = f", as of {record['as_of']}" if record["as_of"] else ""
    found = [("newest run", f"{record['run_id']} {run_archive.kind(record)} {record['status']}{seconds}{as_of}")]
    if record["error"]:
        found.append(("", record["error"]))
    kept = run_archive.read_all(settings.runs, here)
    over = f"; {len(kept) - settings.keep_runs} more than DUCKBOOK_KEEP_RUNS: make prune"
    archive = f"{len(kept)} runs, {sum(size_of(settings.runs / run['run_id']) for run in kept) / 1e6:,.1f} MB"
    return [*found, ("archive", archive + (over if len(kept) > settings.keep_runs else ""))]
