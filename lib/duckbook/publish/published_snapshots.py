"""Publications of the shared lake: each is a snapshot of it, pinned under the name of a run.

A publication copies nothing. A table of the lake says which snapshot holds the marts of which run, and which of them
readers take; a reader attaches the lake as it was at that snapshot, so that it sees nothing that was written since.
Personal columns are masked by the views that readers get, for the snapshot itself holds the values.
Snapshots that no publication pins are let go a day later, and their files a day after that.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

from duckbook.backends import lake, lock, servers, warehouse
from duckbook.errors import PublishError
from duckbook.publish.publication import Outgoing, Pinned, beyond, chosen, free_name
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
"""One row a publication; `marts` is JSON of mart → rows, `personal` of mart → the columns that readers see masked.

A higher snapshot is a newer publication. `left_at` is when readers were pointed at another one.
"""


def publish(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    marts: dict[str, Outgoing],
    run_id: str,
    as_of: str | None,
    keep: int,
) -> Pinned:
    """Pin the snapshot that a transaction sees, point readers at it, and keep the newest few publications.

    Parameters
    ----------
    connection
        The lake, in the transaction in which the marts were looked at.
    """
    (snapshot,) = connection.execute(f"select id from {lake.NAME}.current_snapshot()").fetchone()
    counts = " union all ".join(f"select {literal(mart)}, count(*) from {SCHEMA}.{mart}" for mart in marts)
    rows = dict(connection.execute(counts).fetchall())
    with closing(warehouse.open_warehouse(settings, trusted=True)) as writer:
        writer.execute(f"create schema if not exists {TABLE.split('.')[0]}")
        writer.execute(f"create table if not exists {TABLE} ({COLUMNS})")
        _know_when_left(writer)
        writer.execute("begin")
        name = free_name(run_id, (kept.run_id for kept in _read(writer)))
        hidden = {mart: list(outgoing.personal) for mart, outgoing in marts.items()}
        publication = Pinned(name, as_of, rows, settings.mask_personal, snapshot, hidden)
        writer.execute(
            f"insert into {TABLE} values (?, ?, ?, ?, ?, ?, false, null)",
            [name, as_of, json.dumps(rows), settings.mask_personal, snapshot, json.dumps(hidden)],
        )
        _point_at(writer, publication.run_id)
        lock.check_lease(settings)
        writer.execute("commit")
        _let_go(settings, writer, [old.run_id for old in beyond(_read(writer), name, keep)])
    return publication


def attach(connection: duckdb.DuckDBPyConnection, settings: Settings, as_of: str | None, run_id: str | None) -> Pinned:
    """Make a view a mart of a publication, in the schema `SCHEMA` of a connection, over the lake as it was then.

    Raises
    ------
    PublishError
        Nothing has been published yet, or what is asked for is not kept.
    """
    endpoints = servers.up(settings)
    if not lake.exists(settings, endpoints.catalog_dsn):
        chosen([], None)
    warehouse.use_lake(connection, settings, endpoints, read_only=True)
    publication = chosen(_read(connection), _current(connection), as_of, run_id)
    connection.execute(f"detach {lake.NAME}")
    warehouse.use_lake(connection, settings, endpoints, snapshot=publication.snapshot)
    # One transaction, for each asks the catalog anew which snapshot it sees.
    connection.begin()
    for mart in publication.marts:
        table = f"{lake.NAME}.{SCHEMA}.{mart}"
        columns = [(name, kind) for name, kind, *_ in connection.execute(f"describe {table}").fetchall()]
        shown = masking.masked_select(columns, publication.personal.get(mart, ()))
        connection.execute(f"create view {SCHEMA}.{mart} as select {shown} from {table}")
    connection.commit()
    return publication


def publications(settings: Settings) -> list[Pinned]:
    """The publications that are kept, newest first; none where there is no lake yet, or its servers are down."""
    if not servers.are_running(settings) or not lake.exists(settings, servers.up(settings).catalog_dsn):
        return []
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        return _read(connection)


def current(settings: Settings) -> Pinned | None:
    """The publication that readers take, or None; while its servers are down too, for a look starts none."""
    if not servers.are_running(settings) or not lake.exists(settings, servers.up(settings).catalog_dsn):
        return None
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        return _current(connection)


def roll_back(settings: Settings, run_id: str) -> Pinned:
    """Point readers at an earlier publication.

    Raises
    ------
    PublishError
        It is not kept.
    """
    publication = chosen(publications(settings), None, run_id=run_id)
    with closing(warehouse.open_warehouse(settings, trusted=True)) as connection:
        _know_when_left(connection)
        _point_at(connection, run_id)
    return publication


def remove(settings: Settings, run_id: str) -> None:
    """Let a publication go, unless it is the current one, and with it whatever of the lake no other one pins."""
    with closing(warehouse.open_warehouse(settings, trusted=True)) as connection:
        _let_go(settings, connection, [run_id])


def _let_go(settings: Settings, connection: duckdb.DuckDBPyConnection, names: list[str]) -> None:
    if names:
        connection.execute(f"delete from {TABLE} where list_contains(?, run_id) and not is_current", [names])
    pinned = {kept.snapshot for kept in _read(connection)}
    lake.expire(connection, settings, servers.up(settings).catalog_dsn, pinned)


def _current(connection: duckdb.DuckDBPyConnection) -> Pinned | None:
    return next(iter(_read(connection, "where is_current")), None)


def _read(connection: duckdb.DuckDBPyConnection, where: str = "") -> list[Pinned]:
    # Of its columns, because a look for the table counts the rows of every table of the lake.
    catalog = "select 1 from duckdb_columns() where concat_ws('.', schema_name, table_name) = ? and database_name = ?"
    if not connection.execute(catalog, [TABLE, lake.NAME]).fetchone():
        return []
    query = f"from {lake.NAME}.{TABLE} {where} order by snapshot_id desc"
    rows = connection.execute(query).fetchall()
    return [
        Pinned(run_id, as_of, json.loads(marts), masked, snapshot, json.loads(hidden), left_at=next(iter(left), None))
        for run_id, as_of, marts, masked, snapshot, hidden, _, *left in rows
    ]


def _know_when_left(connection: duckdb.DuckDBPyConnection) -> None:
    """Add the column to a table that an earlier version made."""
    connection.execute(f"alter table {TABLE} add column if not exists left_at timestamptz")


def _point_at(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    changed = "is_current = (run_id = $name), left_at = case when run_id <> $name then now() end"
    connection.execute(f"update {TABLE} set {changed} where is_current or run_id = $name", {"name": name})
    if connection.execute(f"select count(*) from {TABLE} where is_current").fetchone() != (1,):
        raise PublishError(f"The publication {name} is gone: publish again with 07_publish.ipynb.")
