"""Publications of a local warehouse: Parquet files, and a pointer to the current ones.

A publication is a folder ``data/published/<run_id>/`` with ``MART.parquet`` for each mart and ``publication.json``,
which lists its content. The file ``CURRENT`` names the publication that readers get; it is replaced atomically once
all files are written. Earlier publications stay for a while, for readers in the middle of a query and for a rollback.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.backends import parallel
from duckbook.errors import PublishError
from duckbook.files import checksum, write_private
from duckbook.publish.publication import MartQuery, Publication, choose, free_name, removable
from duckbook.settings import Settings
from duckbook.sql import PARQUET, literal, quoted

if TYPE_CHECKING:
    import duckdb

SCHEMA = "ecom_marts"

MAKING, GONE = ".making-", ".gone-"
"""Prefixes of the folders that are being written, and being removed."""

LEFT = "left"
"""A file in the folder of a publication; its modification time is when the publication was replaced."""


def publish(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    marts: dict[str, MartQuery],
    run_id: str,
    as_of: str | None,
    keep: int,
) -> Publication:
    """Write the marts of a warehouse to files, make them current, and keep the newest `keep` publications."""
    folder = _folder(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = folder / f"{MAKING}{run_id}"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)

    def write(cursor: duckdb.DuckDBPyConnection, mart: str) -> dict[str, int | str]:
        published, file = marts[mart], making / f"{mart}.parquet"
        order = ", ".join(map(quoted, published.sorted_by)) or "all"
        query = f"{published.query} order by {order}"
        (rows,) = cursor.execute(f"copy ({query}) to {literal(str(file))} {PARQUET}").fetchone()
        return {"rows": rows, "sha256": checksum(file)}

    # Each cursor has its own transaction. All see the same data: a file that is open for reading has no writer.
    entries = dict(zip(marts, parallel.run_concurrently(connection, write, marts), strict=True))
    content = {"run_id": run_id, "as_of": as_of, "target": settings.target, "masked": settings.mask_personal}
    content["marts"] = entries
    write_private(making / "publication.json", json.dumps(content, indent=1))
    final = folder / free_name(run_id, (path.name for path in folder.iterdir()))
    making.replace(final)
    _point_at(settings, final.name)
    _remove_old(settings, keep)
    return _read(final)


def attach(
    connection: duckdb.DuckDBPyConnection, settings: Settings, as_of: str | None, run_id: str | None
) -> Publication:
    """Create one view per mart of a publication, in the schema `SCHEMA` of a connection.

    Raises
    ------
    PublishError
        Nothing has been published yet, or there is no such publication.
    """
    if as_of is None and run_id is None:
        publication = _read(_current_folder(settings))
    else:
        publication = choose(publications(settings), current(settings), as_of, run_id)
    for mart in publication.marts:
        file = literal(str(_folder(settings) / publication.run_id / f"{mart}.parquet"))
        connection.execute(f"create view {SCHEMA}.{quoted(mart)} as select * from read_parquet({file})")
    return publication


def publications(settings: Settings) -> list[Publication]:
    """List the publications, newest first, without those that lack a file."""
    files = sorted(_manifests(settings), key=lambda file: file.stat().st_mtime, reverse=True)
    return [_read(file.parent) for file in files if _is_complete(file.parent)]


def current(settings: Settings) -> Publication | None:
    """Return the current publication, or None. Loads no DuckDB."""
    try:
        return _read(_current_folder(settings))
    except PublishError:
        return None


def roll_back(settings: Settings, run_id: str) -> Publication:
    """Make an earlier publication the current one.

    Raises
    ------
    PublishError
        There is no such publication, or it lacks a file.
    """
    publication = choose(publications(settings), None, run_id=run_id)
    _point_at(settings, run_id)
    return publication


def remove(settings: Settings, run_id: str) -> None:
    """Remove a publication, unless it is the current one."""
    if _pointer(settings) != run_id:
        _remove(_folder(settings) / run_id)


def leftovers(settings: Settings) -> list[Path]:
    """Folders of publications whose writing or removal was interrupted; other folders are not ours."""
    partial = [path for path in _folder(settings).glob("*/") if path.name.startswith((MAKING, GONE))]
    broken = [file.parent for file in _manifests(settings) if not _is_complete(file.parent)]
    return partial + [path for path in broken if path.name != _pointer(settings)]


def folder_of(settings: Settings, publication: Publication) -> Path | None:
    """The folder with the files of a publication; None if it is not kept as files."""
    folder = _folder(settings) / publication.run_id
    return folder if (folder / "publication.json").is_file() else None


def _folder(settings: Settings) -> Path:
    return settings.data / "published"


def _manifests(settings: Settings) -> list[Path]:
    return list(_folder(settings).glob("[!.]*/publication.json"))


def _current_folder(settings: Settings) -> Path:
    if (name := _pointer(settings)) is None:
        choose([], None)  # raises
    folder = _folder(settings) / name
    if not _is_complete(folder):
        raise PublishError(
            f"The current publication {name} is missing: publish again with notebooks/pipeline/07_publish.ipynb."
        )
    return folder


def _pointer(settings: Settings) -> str | None:
    """The name of the current publication, even if its files are missing."""
    try:
        return (_folder(settings) / "CURRENT").read_text("utf-8").strip()
    except FileNotFoundError:
        return None


def _is_complete(folder: Path) -> bool:
    """Whether all files of a publication exist."""
    try:
        content = json.loads((folder / "publication.json").read_text("utf-8"))
    except FileNotFoundError:
        return False
    return all((folder / f"{mart}.parquet").is_file() for mart in content["marts"])


def _read(folder: Path) -> Publication:
    content = json.loads((folder / "publication.json").read_text("utf-8"))
    rows = {mart: entry["rows"] for mart, entry in content["marts"].items()}
    left = folder / LEFT
    left_at = datetime.fromtimestamp(left.stat().st_mtime, UTC) if left.exists() else None
    # Publications of versions without masking have no such key.
    return Publication(folder.name, content["as_of"], rows, content.get("masked", False), left_at=left_at)


def _point_at(settings: Settings, name: str) -> None:
    """Make a publication the current one, and note when it replaced the one before."""
    before = _pointer(settings)
    if before and before != name and (folder := _folder(settings) / before).is_dir():
        write_private(folder / LEFT, "")
    write_private(_folder(settings) / "CURRENT", name + "\n")


def _remove_old(settings: Settings, keep: int) -> None:
    """Remove old publications and those whose writing or removal was interrupted."""
    old = [_folder(settings) / each.run_id for each in removable(publications(settings), _pointer(settings), keep)]
    for folder in (*old, *leftovers(settings)):
        _remove(folder)


def _remove(folder: Path) -> None:
    """Rename the folder of a publication before deleting it, so that a killed removal leaves no partial publication."""
    gone = folder if folder.name.startswith(GONE) else folder.with_name(GONE + folder.name.removeprefix(MAKING))
    if gone != folder:
        shutil.rmtree(gone, ignore_errors=True)
        folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)
