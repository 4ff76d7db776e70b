"""Promotion: copy the warehouse of one target to another, verify that they are equal, and publish.

Tables are copied in one transaction, with the comments in which dbt notes what they were built of, so that increments
continue on the target. dbt creates the views, because they name their database. Nothing is published unless every row
is equal.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duckbook.backends import clock, lake, lock, servers, warehouse
from duckbook.errors import WarehouseError
from duckbook.ingest import raw
from duckbook.ops import parity
from duckbook.ops.parity import TableParity
from duckbook.publish import publisher
from duckbook.publish.publication import Publication
from duckbook.settings import Settings
from duckbook.sql import literal
from duckbook.transform import dbt_runner

if TYPE_CHECKING:
    import duckdb

FILE = "promoted_from"
"""Name under which a local warehouse is attached to the target."""


TABLES = """
select schema_name || '.' || table_name, sql, comment
from duckdb_tables()
where
    database_name = current_database()
    and list_contains(?, schema_name)
    and not starts_with(table_name, '_')
order by 1
"""
"""The tables of a warehouse in some schemas: name, definition without the database, and comment."""


@dataclass(frozen=True)
class Promotion:
    """The comparison of both warehouses, and the new publication."""

    parity: list[TableParity]
    publication: Publication


def promote(settings: Settings, source: str, to: str) -> Promotion:
    """Copy the warehouse of one target to another, compare both, and publish.

    Raises
    ------
    WarehouseError
        There is nothing to copy, the other target cannot be opened, or the two differ afterwards. Readers keep the
        publication that they had.
    PublishError, QuarantineError
        As `publisher.publish`.
    """
    for name in (source, to):
        if name not in parity.TARGETS:
            raise WarehouseError(f"{name} is no target: the targets are {', '.join(parity.TARGETS)}.")
    if source == to:
        raise WarehouseError(f"{source} cannot be promoted to itself: name another target with TO=.")
    origin, target = parity.with_target(settings, source), parity.with_target(settings, to)
    with closing(warehouse.open_warehouse(origin, read_only=True)) as connection:
        tables = connection.execute(TABLES, [list(parity.SCHEMAS)]).fetchall()
    if not tables:
        raise WarehouseError(f"The warehouse of {source} is empty: run `make pipeline TARGET={source}` first.")
    warehouse.preflight(target)
    with closing(warehouse.open_warehouse(target)) as connection:
        _copy(target, connection, _attach(connection, origin), tables)
    views = dbt_runner.invoke(target, ["run", "--select", "config.materialized:view", "--no-write-json"])
    if not views.success:
        raise WarehouseError(f"dbt could not create the views of {to}: {views.exception or 'see `dbt run` in dbt/'}.")
    with parity.open_side(settings, source) as left, parity.open_side(settings, to) as right:
        compared = parity.compare(settings, left, right)
    if not parity.all_equal(compared):
        different = [f"{table.table} ({table.summary})" for table in compared if not table.equal]
        raise WarehouseError(
            f"{to} differs from {source} in {', '.join(different[:5])}, so nothing was published: "
            f"`make parity A={source} B={to}` shows the rows."
        )
    # The target has exactly the rows that passed the tests, so their results count for it too.
    shutil.copytree(dbt_runner.target(origin) / "layers", dbt_runner.target(target) / "layers", dirs_exist_ok=True)
    name = f"promoted-{clock.now()[:19].replace(':', '')}"
    return Promotion(compared, publisher.publish(target, name, keep=settings.keep_publications))


def _attach(connection: duckdb.DuckDBPyConnection, origin: Settings) -> str:
    """Attach the origin read-only to the target's connection; return the name of its database."""
    if origin.target == "lake":
        warehouse.use_lake(connection, origin, servers.up(origin), read_only=True)
        return lake.NAME
    if origin.target == "motherduck":
        from duckbook.backends import motherduck

        return motherduck.attach_database(connection, origin)
    connection.execute(f"attach {literal(str(origin.warehouse_path))} as {FILE} (read_only)")
    return FILE


def _copy(target: Settings, connection: duckdb.DuckDBPyConnection, source: str, tables: list[tuple]) -> None:
    """Replace the content of the four schemas by these tables, in one transaction."""
    raw.check_owner(connection)
    connection.execute("begin")
    for schema in parity.SCHEMAS:
        connection.execute(f"drop schema if exists {schema} cascade")
        connection.execute(f"create schema {schema}")
    for table, definition, comment in tables:
        connection.execute(definition)
        connection.execute(f"insert into {table} select * from {source}.{table}")
        if comment:
            connection.execute(f"comment on table {table} is {literal(comment)}")
    lock.check_lease(target)
    connection.execute("commit")
