"""Publications of the shared lake: snapshots of the lake, each pinned under the name of a run.

A publication copies nothing. A table of the lake has the snapshot of each publication and marks the current one. A
reader attaches the lake at that snapshot and sees no later write. The snapshot holds personal values, so the readers'
views mask them. Snapshots without a publication expire a day later, and their files are deleted a day after that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from duckbook.backends import lake, lock, servers, warehouse
from duckbook.errors import PublishError
from duckbook.publish.publication import (
    SCHEMA,
    MartQuery,
    Publication,
    PublicationBackend,
    choose,
    free_name,
    removable,
)
from duckbook.sql import literal, quoted
from duckbook.transform import masking

if TYPE_CHECKING:
    import duckdb

TABLE = "ecom_published.publications"

COLUMNS = (
    "run_id varchar, as_of varchar, marts varchar, masked boolean, snapshot_id bigint, personal varchar, "
    "is_current boolean, left_at timestamptz"
)
"""One row per publication; `marts` is JSON of mart → rows, `personal` of mart → the columns that readers see masked.

A higher snapshot is a newer publication. `left_at` is when another publication replaced it.
"""


class Backend(PublicationBackend):
    """Keeps publications as pinned snapshots of the lake."""

    def publish(
        self, connection: duckdb.DuckDBPyConnection, marts: dict[str, MartQuery], new: Publication, keep: int
    ) -> Publication:
        """Pin the snapshot of the connection's transaction."""
        [(snapshot,)] = connection.execute(f"select id from {lake.NAME}.current_snapshot()").fetchall()
        counts = " union all ".join(f"select {literal(mart)}, count(*) from {SCHEMA}.{mart}" for mart in marts)
        rows = dict(connection.execute(counts).fetchall())
        hidden = {mart: list(query.personal) for mart, query in marts.items()}
        with self._lake() as writer:
            writer.execute(f"create schema if not exists {TABLE.split('.')[0]}")
            writer.execute(f"create table if not exists {TABLE} ({COLUMNS})")
            _add_left_at(writer)
            writer.execute("begin")
            name = free_name(new.run_id, (publication.run_id for publication in _read(writer)))
            writer.execute(
                f"insert into {TABLE} values (?, ?, ?, ?, ?, ?, false, null)",
                [name, new.as_of, json.dumps(rows), new.masked, snapshot, json.dumps(hidden)],
            )
            _point_at(writer, name)
            lock.check_lease(self.settings)
            writer.execute("commit")
            self._remove(writer, [old.run_id for old in removable(_read(writer), name, keep)])
        return replace(new, run_id=name, marts=rows, snapshot=snapshot, personal=hidden)

    def _open(self, connection: duckdb.DuckDBPyConnection, as_of: str | None, run_id: str | None) -> Publication:
        endpoints = servers.up(self.settings)
        if not lake.exists(self.settings, endpoints.catalog_dsn):
            choose([], None)  # raises
        warehouse.use_lake(connection, self.settings, endpoints, read_only=True)
        publication = choose(_read(connection), _current(connection), as_of, run_id)
        connection.execute(f"detach {lake.NAME}")
        warehouse.use_lake(connection, self.settings, endpoints, snapshot=publication.snapshot)
        return publication

    def _query(self, connection: duckdb.DuckDBPyConnection, publication: Publication, mart: str) -> str:
        table = f"{lake.NAME}.{SCHEMA}.{quoted(mart)}"
        columns = [(name, kind) for name, kind, *_ in connection.execute(f"describe {table}").fetchall()]
        return f"select {masking.masked_select(columns, publication.personal.get(mart, ()))} from {table}"

    def publications(self) -> list[Publication]:
        """List the publications, newest first; none without a lake, or while its servers are down."""
        if not self._is_up():
            return []
        with self._lake(read_only=True) as connection:
            return _read(connection)

    def current(self) -> Publication | None:
        """Return the current publication; None without a lake, or while its servers are down."""
        if not self._is_up():
            return None
        with self._lake(read_only=True) as connection:
            return _current(connection)

    def roll_back(self, run_id: str) -> Publication:
        """Mark an earlier publication as the current one."""
        publication = choose(self.publications(), None, run_id=run_id)
        with self._lake() as connection:
            _add_left_at(connection)
            _point_at(connection, run_id)
        return publication

    def remove(self, run_id: str) -> None:
        """Remove a publication, unless it is the current one, and expire the snapshots that no other one pins."""
        with self._lake() as connection:
            self._remove(connection, [run_id])

    def _remove(self, connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> None:
        if names:
            connection.execute(f"delete from {TABLE} where list_contains(?, run_id) and not is_current", [names])
        pinned = {publication.snapshot or 0 for publication in _read(connection)}
        lake.expire(connection, self.settings, servers.up(self.settings).catalog_dsn, pinned)

    def _is_up(self) -> bool:
        """Whether the servers run and have a lake."""
        settings = self.settings
        return servers.are_running(settings) and lake.exists(settings, servers.up(settings).catalog_dsn)

    @contextmanager
    def _lake(self, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        with closing(warehouse.open_warehouse(self.settings, read_only=read_only, trusted=True)) as connection:
            yield connection


def _current(connection: duckdb.DuckDBPyConnection) -> Publication | None:
    return next(iter(_read(connection, "where is_current")), None)


def _read(connection: duckdb.DuckDBPyConnection, where: str = "") -> list[Publication]:
    # Look it up by its columns: duckdb_tables() counts the rows of every table of the lake.
    lookup = "select 1 from duckdb_columns() where concat_ws('.', schema_name, table_name) = ? and database_name = ?"
    if not connection.execute(lookup, [TABLE, lake.NAME]).fetchone():
        return []
    query = f"from {lake.NAME}.{TABLE} {where} order by snapshot_id desc"
    rows = connection.execute(query).fetchall()
    return [
        Publication(
            run_id, as_of, json.loads(marts), masked, snapshot, json.loads(hidden), left_at=next(iter(left), None)
        )
        for run_id, as_of, marts, masked, snapshot, hidden, _, *left in rows
    ]


def _add_left_at(connection: duckdb.DuckDBPyConnection) -> None:
    """Add the column `left_at` to a table that an earlier version created."""
    connection.execute(f"alter table {TABLE} add column if not exists left_at timestamptz")


def _point_at(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    changed = "is_current = (run_id = $name), left_at = case when run_id <> $name then now() end"
    connection.execute(f"update {TABLE} set {changed} where is_current or run_id = $name", {"name": name})
    if connection.execute(f"select count(*) from {TABLE} where is_current").fetchone() != (1,):
        raise PublishError(
            f"The publication {name} is missing: publish again with notebooks/pipeline/07_publish.ipynb."
        )
