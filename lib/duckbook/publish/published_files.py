"""Publications of a local warehouse: Parquet files, and a pointer to the current ones.

A publication is a folder ``data/published/<run_id>/`` with ``MART.parquet`` for each mart and ``publication.json``,
which lists its content. The file ``CURRENT`` names the publication that readers get; it is replaced atomically once
all files are written. Earlier publications stay for a while, for readers in the middle of a query and for a rollback.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.backends import parallel
from duckbook.errors import PublishError
from duckbook.files import checksum, write_private
from duckbook.publish.publication import MartQuery, Publication, PublicationBackend, choose, free_name, removable
from duckbook.sql import PARQUET, literal, quoted

if TYPE_CHECKING:
    import duckdb

MAKING, GONE = ".making-", ".gone-"
"""Prefixes of the folders that are being written, and being removed."""

MANIFEST = "publication.json"

LEFT = "left"
"""A file in the folder of a publication; its modification time is when the publication was replaced."""


class Backend(PublicationBackend):
    """Keeps publications as files in the data folder."""

    @property
    def folder(self) -> Path:
        """The folder of all publications."""
        return self.settings.data / "published"

    def publish(
        self, connection: duckdb.DuckDBPyConnection, marts: dict[str, MartQuery], new: Publication, keep: int
    ) -> Publication:
        """Write the marts to files, point at them, and remove old publications and interrupted ones."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        making = self.folder / f"{MAKING}{new.run_id}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)

        def write(cursor: duckdb.DuckDBPyConnection, mart: str) -> dict[str, int | str]:
            published, file = marts[mart], making / f"{mart}.parquet"
            order = ", ".join(map(quoted, published.sorted_by)) or "all"
            query = f"{published.query} order by {order}"
            [(rows,)] = cursor.execute(f"copy ({query}) to {literal(str(file))} {PARQUET}").fetchall()
            return {"rows": rows, "sha256": checksum(file)}

        # Each cursor has its own transaction. All see the same data: a file that is open for reading has no writer.
        entries = dict(zip(marts, parallel.run_concurrently(connection, write, marts), strict=True))
        content = {"run_id": new.run_id, "as_of": new.as_of, "target": self.settings.target, "masked": new.masked}
        write_private(making / MANIFEST, json.dumps(content | {"marts": entries}, indent=1))
        name = free_name(new.run_id, (path.name for path in self.folder.iterdir()))
        making.replace(self.folder / name)
        self._point_at(name)
        old = [self.folder / publication.run_id for publication in removable(self.publications(), name, keep)]
        for folder in (*old, *self.leftovers()):
            _remove(folder)
        return replace(new, run_id=name, marts={mart: int(entry["rows"]) for mart, entry in entries.items()})

    def _open(self, connection: duckdb.DuckDBPyConnection, as_of: str | None, run_id: str | None) -> Publication:
        current, pointer = self.current(), self._pointer()
        if pointer and not (current or as_of or run_id):
            raise PublishError(
                f"The current publication {pointer} is missing: publish again with notebooks/pipeline/07_publish.ipynb."
            )
        return choose(self.publications(), current, as_of, run_id)

    def _query(self, connection: duckdb.DuckDBPyConnection, publication: Publication, mart: str) -> str:
        file = self.folder / publication.run_id / f"{mart}.parquet"
        return f"select * from read_parquet({literal(str(file))})"

    def publications(self) -> list[Publication]:
        """List the publications, newest first, without those that lack a file."""
        files = sorted(self._manifests(), key=lambda file: file.stat().st_mtime, reverse=True)
        return [publication for file in files if (publication := _read(file.parent))]

    def current(self) -> Publication | None:
        """Return the current publication, or None. Loads no DuckDB."""
        pointer = self._pointer()
        return _read(self.folder / pointer) if pointer else None

    def roll_back(self, run_id: str) -> Publication:
        """Point at an earlier publication."""
        publication = choose(self.publications(), None, run_id=run_id)
        self._point_at(run_id)
        return publication

    def remove(self, run_id: str) -> None:
        """Remove the folder of a publication, unless it is the current one."""
        if self._pointer() != run_id:
            _remove(self.folder / run_id)

    def leftovers(self) -> list[Path]:
        """Folders of publications whose writing or removal was interrupted; other folders are not ours."""
        partial = [path for path in self.folder.glob("*/") if path.name.startswith((MAKING, GONE))]
        broken = [file.parent for file in self._manifests() if _read(file.parent) is None]
        return partial + [path for path in broken if path.name != self._pointer()]

    def _manifests(self) -> list[Path]:
        return list(self.folder.glob(f"[!.]*/{MANIFEST}"))

    def _pointer(self) -> str | None:
        """The name of the current publication, even if its files are missing."""
        try:
            return (self.folder / "CURRENT").read_text("utf-8").strip()
        except FileNotFoundError:
            return None

    def _point_at(self, name: str) -> None:
        """Make a publication the current one, and note when it replaced the one before."""
        before = self._pointer()
        if before and before != name and (self.folder / before).is_dir():
            write_private(self.folder / before / LEFT, "")
        write_private(self.folder / "CURRENT", name + "\n")


def _read(folder: Path) -> Publication | None:
    """The publication of a folder; None if one of its files is missing."""
    try:
        content = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        return None
    rows = {mart: entry["rows"] for mart, entry in content["marts"].items()}
    if not all((folder / f"{mart}.parquet").is_file() for mart in rows):
        return None
    left = folder / LEFT
    left_at = datetime.fromtimestamp(left.stat().st_mtime, UTC) if left.exists() else None
    # Publications of versions without masking have no such key.
    return Publication(folder.name, content["as_of"], rows, content.get("masked", False), left_at=left_at)


def _remove(folder: Path) -> None:
    """Rename the folder of a publication before deleting it, so that a killed removal leaves no partial publication."""
    gone = folder if folder.name.startswith(GONE) else folder.with_name(GONE + folder.name.removeprefix(MAKING))
    if gone != folder:
        shutil.rmtree(gone, ignore_errors=True)
        folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)
