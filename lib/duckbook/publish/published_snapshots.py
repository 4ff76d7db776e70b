"""Publications of the shared lake: snapshots of the lake, each pinned under the name of a run.

A publication copies nothing. A table of the lake has the snapshot of each publication and marks the current one. A
reader attaches the lake at that snapshot and sees no later write. The snapshot holds personal values, so the readers'
views mask them. Snapshots without a publication expire a day later, and their files are deleted a day after that.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

from duckbook.backends import lake, lock, servers, warehouse
from duckbook.errors import PublishError
from duckbook.publish.publication import LakePublication, MartQuery, choose, free_name, removable
from duckbook.settings import Settings
from duckbook.sql import literal
from duckbook.transform import masking

if TYPE_CHECKING:
    import duckdb

SCHEMA = "ecom_marts"

TABLE = "ecom_published.publications"

COLUMNS = (
    "run_id varchar, as_of varchar, marts varchar, masked boolean, snapshot_id bigint, personal varchar, "
    "is_current boolean, left_at timestamptz"
)
"""One row per publication; `marts` is JSON of mart → rows, `personal` of mart → the columns that readers see masked.

A higher snapshot is a newer publication. `left_at` is when another publication replaced it.
"""


def publish(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    marts: dict[str, MartQuery],
    run_id: str,
    as_of: str | None,
    keep: int,
) -> LakePublication:
    """Pin the snapshot of a transaction, make it current, and keep the newest `keep` publications.

    Parameters
    ----------
    connection
        The lake, in the transaction that checked the marts.
    """
    (snapshot,) = connection.execute(f"select id from {lake.NAME}.current_snapshot()").fetchone()
    counts = " union all ".join(f"select {literal(mart)}, count(*) from {SCHEMA}.{mart}" for mart in marts)
    rows = dict(connection.execute(counts).fetchall())
    with closing(warehouse.open_warehouse(settings, trusted=True)) as writer:
        writer.execute(f"create schema if not exists {TABLE.split('.')[0]}")
        writer.execute(f"create table if not exists {TABLE} ({COLUMNS})")
        _add_left_at(writer)
        writer.execute("begin")
        name = free_name(run_id, (publication.run_id for publication in _read(writer)))
        hidden = {mart: list(query.personal) for mart, query in marts.items()}
        publication = LakePublication(name, as_of, rows, settings.mask_personal, snapshot, hidden)
        writer.execute(
            f"insert into {TABLE} values (?, ?, ?, ?, ?, ?, false, null)",
            [name, as_of, json.dumps(rows), settings.mask_personal, snapshot, json.dumps(hidden)],
        )
        _point_at(writer, publication.run_id)
        lock.check_lease(settings)
        writer.execute("commit")
        _remove(settings, writer, [old.run_id for old in removable(_read(writer), name, keep)])
    return publication


def attach(
    connection: duckdb.DuckDBPyConnection, settings: Settings, as_of: str | None, run_id: str | None
) -> LakePublication:
    """Create one view per mart of a publication, in the schema `SCHEMA`, over the lake at its snapshot.

    Raises
    ------
    PublishError
        Nothing has been published yet, or there is no such publication.
    """
    endpoints = servers.up(settings)
    if not lake.exists(settings, endpoints.catalog_dsn):
        choose([], None)  # raises
    warehouse.use_lake(connection, settings, endpoints, read_only=True)
    publication = choose(_read(connection), _current(connection), as_of, run_id)
    connection.execute(f"detach {lake.NAME}")
    warehouse.use_lake(connection, settings, endpoints, snapshot=publication.snapshot)
    # One transaction: each would ask the catalog for its snapshot again.
    connection.begin()
    for mart in publication.marts:
        table = f"{lake.NAME}.{SCHEMA}.{mart}"
        columns = [(name, kind) for name, kind, *_ in connection.execute(f"describe {table}").fetchall()]
        shown = masking.masked_select(columns, publication.personal.get(mart, ()))
        connection.execute(f"create view {SCHEMA}.{mart} as select {shown} from {table}")
    connection.commit()
    return publication


def publications(settings: Settings) -> list[LakePublication]:
    """List the publications, newest first; none without a lake, or while its servers are down."""
    if not servers.are_running(settings) or not lake.exists(settings, servers.up(settings).catalog_dsn):
        return []
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        return _read(connection)


def current(settings: Settings) -> LakePublication | None:
    """Return the current publication; None without a lake, or while its servers are down."""
    if not servers.are_running(settings) or not lake.exists(settings, servers.up(settings).catalog_dsn):
        return None
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        return _current(connection)


def roll_back(settings: Settings, run_id: str) -> LakePublication:
    """Make an earlier publication the current one.

    Raises
    ------
    PublishError
        There is no such publication.
    """
    publication = choose(publications(settings), None, run_id=run_id)
    with closing(warehouse.open_warehouse(settings, trusted=True)) as connection:
        _add_left_at(connection)
        _point_at(connection, run_id)
    return publication


def remove(settings: Settings, run_id: str) -> None:
    """Remove a publication, unless it is the current one, and expire the snapshots that no other one pins."""
    with closing(warehouse.open_warehouse(settings, trusted=True)) as connection:
        _remove(settings, connection, [run_id])


def _remove(settings: Settings, connection: duckdb.DuckDBPyConnection, names: list[str]) -> None:
    if names:
        connection.execute(f"delete from {TABLE} where list_contains(?, run_id) and not is_current", [names])
    pinned = {publication.snapshot for publication in _read(connection)}
    lake.expire(connection, settings, servers.up(settings).catalog_dsn, pinned)


def _current(connection: duckdb.DuckDBPyConnection) -> LakePublication | None:
    return next(iter(_read(connection, "where is_current")), None)


def _read(connection: duckdb.DuckDBPyConnection, where: str = "") -> list[LakePublication]:
    # Look it up by its columns: duckdb_tables() counts the rows of every table of the lake.
    lookup = "select 1 from duckdb_columns() where concat_ws('.', schema_name, table_name) = ? and database_name = ?"
    if not connection.execute(lookup, [TABLE, lake.NAME]).fetchone():
        return []
    query = f"from {lake.NAME}.{TABLE} {where} order by snapshot_id desc"
    rows = connection.execute(query).fetchall()
    return [
        LakePublication(
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
