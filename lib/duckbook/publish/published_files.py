"""Publications of a local warehouse: Parquet files, and a pointer to the ones that readers take.

A publication is a folder ``data/published/<run_id>/`` with ``MART.parquet`` for each mart and ``publication.json``,
which says what is in it. The file ``CURRENT`` names the one that readers take; it is replaced in one move when
everything is there. Earlier publications stay for a while, so that a reader in the middle of a query is not disturbed
and one can go back.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.backends import parallel
from duckbook.errors import PublishError
from duckbook.files import write_private
from duckbook.publish.publication import Outgoing, Publication, beyond, chosen, free_name
from duckbook.settings import Settings
from duckbook.sql import PARQUET, literal, quoted

if TYPE_CHECKING:
    import duckdb

SCHEMA = "ecom_marts"

MAKING, GONE = ".making-", ".gone-"
"""How the names of folders begin that are being made, and being removed."""

LEFT = "left"
"""A file in the folder of a publication, as old as the moment at which readers were pointed at another one."""


def publish(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    marts: dict[str, Outgoing],
    run_id: str,
    as_of: str | None,
    keep: int,
) -> Publication:
    """Write the marts of a warehouse to files, point readers at them, and keep the newest few.

    Parameters
    ----------
    marts
        What is published of each, with the order of its file.
    """
    folder = _folder(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = folder / f"{MAKING}{run_id}"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)

    def written(cursor: duckdb.DuckDBPyConnection, mart: str) -> dict[str, int | str]:
        outgoing, file = marts[mart], making / f"{mart}.parquet"
        order = ", ".join(map(quoted, outgoing.sorted_by)) or "all"
        rows_in_order = f"{outgoing.query} order by {order}"
        (rows,) = cursor.execute(f"copy ({rows_in_order}) to {literal(str(file))} {PARQUET}").fetchone()
        return {"rows": rows, "sha256": _sha256(file)}

    # Each cursor has a transaction of its own, and sees the same: who opens a file for reading keeps writers out.
    entries = dict(zip(marts, parallel.run_concurrently(connection, written, marts), strict=True))
    told = {"run_id": run_id, "as_of": as_of, "target": settings.target, "masked": settings.mask_personal}
    told["marts"] = entries
    write_private(making / "publication.json", json.dumps(told, indent=1))
    final = folder / free_name(run_id, (path.name for path in folder.iterdir()))
    making.replace(final)
    _point_at(settings, final.name)
    _tidy(settings, keep)
    return _read(final)


def attach(
    connection: duckdb.DuckDBPyConnection, settings: Settings, as_of: str | None, run_id: str | None
) -> Publication:
    """Make a view a mart of a publication, in the schema `SCHEMA` of a connection.

    Raises
    ------
    PublishError
        Nothing has been published yet, or what is asked for is not kept.
    """
    if as_of is None and run_id is None:
        publication = _read(_current(settings))
    else:
        publication = chosen(publications(settings), current(settings), as_of, run_id)
    for mart in publication.marts:
        file = literal(str(_folder(settings) / publication.run_id / f"{mart}.parquet"))
        connection.execute(f"create view {SCHEMA}.{quoted(mart)} as select * from read_parquet({file})")
    return publication


def publications(settings: Settings) -> list[Publication]:
    """The publications that are kept, newest first; one that lacks a file is none."""
    files = sorted(_told(settings), key=lambda file: file.stat().st_mtime, reverse=True)
    return [_read(file.parent) for file in files if _is_whole(file.parent)]


def current(settings: Settings) -> Publication | None:
    """The publication that readers take, or None; light enough for a look at the state."""
    try:
        return _read(_current(settings))
    except PublishError:
        return None


def roll_back(settings: Settings, run_id: str) -> Publication:
    """Point readers at an earlier publication.

    Raises
    ------
    PublishError
        It is not kept, or not whole.
    """
    publication = chosen(publications(settings), None, run_id=run_id)
    _point_at(settings, run_id)
    return publication


def remove(settings: Settings, run_id: str) -> None:
    """Remove a publication, unless it is the current one."""
    if _pointer(settings) != run_id:
        _remove(_folder(settings) / run_id)


def leftovers(settings: Settings) -> list[Path]:
    """The folders of what was killed while it was made or removed; others in their place are somebody's own."""
    found = [path for path in _folder(settings).glob("*/") if path.name.startswith((MAKING, GONE))]
    broken = [file.parent for file in _told(settings) if not _is_whole(file.parent)]
    return found + [path for path in broken if path.name != _pointer(settings)]


def folder_of(settings: Settings, publication: Publication) -> Path | None:
    """The folder that holds the files of a publication; None where it is kept as something else."""
    folder = _folder(settings) / publication.run_id
    return folder if (folder / "publication.json").is_file() else None


def _folder(settings: Settings) -> Path:
    return settings.data / "published"


def _told(settings: Settings) -> list[Path]:
    return list(_folder(settings).glob("[!.]*/publication.json"))


def _current(settings: Settings) -> Path:
    if (name := _pointer(settings)) is None:
        chosen([], None)  # says that nothing has been published
    named = _folder(settings) / name
    if not _is_whole(named):
        raise PublishError(f"The publication {name} is gone: publish again with 07_publish.ipynb.")
    return named


def _pointer(settings: Settings) -> str | None:
    """Name of the publication that readers take, whether it is there or not."""
    try:
        return (_folder(settings) / "CURRENT").read_text("utf-8").strip()
    except FileNotFoundError:
        return None


def _is_whole(folder: Path) -> bool:
    """Whether all files of a publication are there."""
    try:
        told = json.loads((folder / "publication.json").read_text("utf-8"))
    except FileNotFoundError:
        return False
    return all((folder / f"{mart}.parquet").is_file() for mart in told["marts"])


def _read(folder: Path) -> Publication:
    told = json.loads((folder / "publication.json").read_text("utf-8"))
    rows = {mart: entry["rows"] for mart, entry in told["marts"].items()}
    left = folder / LEFT
    left_at = datetime.fromtimestamp(left.stat().st_mtime, UTC) if left.exists() else None
    # What was published before there were masks holds the values.
    return Publication(folder.name, told["as_of"], rows, told.get("masked", False), left_at=left_at)


def _point_at(settings: Settings, name: str) -> None:
    before = _pointer(settings)
    if before and before != name and (folder := _folder(settings) / before).is_dir():
        write_private(folder / LEFT, "")
    write_private(_folder(settings) / "CURRENT", name + "\n")


def _tidy(settings: Settings, keep: int) -> None:
    """Remove what is beyond the last few, and what was killed while it was made or removed."""
    gone = [_folder(settings) / old.run_id for old in beyond(publications(settings), _pointer(settings), keep)]
    for folder in (*gone, *leftovers(settings)):
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a publication at once, and then its files, so that one whose removal is killed half way is none."""
    gone = folder if folder.name.startswith(GONE) else folder.with_name(GONE + folder.name.removeprefix(MAKING))
    if gone != folder:
        shutil.rmtree(gone, ignore_errors=True)
        folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
