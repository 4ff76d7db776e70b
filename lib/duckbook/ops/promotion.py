"""Promotion: the warehouse of one target copied to another, proven equal, and published there.

Tables are copied as they are, in one transaction, with what dbt has noted on them, so that increments go on from there;
views are made by dbt, because they name the database that they stand in. Nothing is published unless every row is the
same.
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
from duckbook.sql import literal, quoted
from duckbook.transform import dbt_runner

if TYPE_CHECKING:
    import duckdb

FILE = "promoted_from"
"""The database that a local warehouse is attached as beside the one that it is copied to."""


@dataclass(frozen=True)
class Promotion:
    """What was proven, and what readers of the target now take."""

    parity: list[TableParity]
    publication: Publication


def promote(settings: Settings, source: str, to: str) -> Promotion:
    """Copy the warehouse of a target to another one, hold both against each other, and publish.

    Parameters
    ----------
    settings
        Name the store.
    source, to
        Two targets.

    Raises
    ------
    WarehouseError
        There is nothing to copy, the other target cannot be opened, or they are not equal afterwards; readers see what
        they saw before.
    PublishError, QuarantineError
        As `publish.publish`.
    """
    for name in (source, to):
        if name not in parity.TARGETS:
            raise WarehouseError(f"{name} is no target: there are {', '.join(parity.TARGETS)}.")
    if source == to:
        raise WarehouseError(f"{source} cannot be promoted to itself: name another target with TO=.")
    origin, target = parity.of_target(settings, source), parity.of_target(settings, to)
    with closing(warehouse.open_warehouse(origin, read_only=True)) as connection:
        tables = _definitions(connection)
    if not tables:
        raise WarehouseError(f"The warehouse of {source} holds nothing: `make pipeline TARGET={source}` first.")
    warehouse.preflight(target)
    with closing(warehouse.open_warehouse(target)) as connection:
        _copy(target, connection, _attach(connection, origin), tables)
    made = dbt_runner.invoke(target, ["run", "--select", "config.materialized:view", "--no-write-json"])
    if not made.success:
        raise WarehouseError(f"dbt could not make the views of {to}: {made.exception or 'see `dbt run` in dbt/'}.")
    with parity.open_side(settings, source) as left, parity.open_side(settings, to) as right:
        found = parity.compare(settings, left, right)
    if not parity.holds(found):
        wrong = [f"{table.table} ({table.told})" for table in found if not table.equal]
        raise WarehouseError(
            f"{to} differs from {source} in {', '.join(wrong[:5])}, so nothing was published: "
            f"`make parity A={source} B={to}` shows the rows."
        )
    # The tests of the marts were passed by the very rows that are there now.
    shutil.copytree(dbt_runner.target(origin) / "layers", dbt_runner.target(target) / "layers", dirs_exist_ok=True)
    name = f"promoted-{clock.now()[:19].replace(':', '')}"
    return Promotion(found, publisher.publish(target, name, keep=settings.keep_publications))


@dataclass(frozen=True)
class _Definition:
    name: str
    columns: tuple[tuple[str, str, bool], ...]
    comment: str | None


def _definitions(connection: duckdb.DuckDBPyConnection) -> list[_Definition]:
    """The tables of a warehouse with their columns (name, type, whether it may be null) and comments."""
    of_ours = (
        "table_catalog = current_database() and list_contains(?, table_schema) and not starts_with(table_name, '_')"
    )
    tables = connection.execute(
        "select table_schema, table_name, table_comment from system.information_schema.tables "
        f"where {of_ours} and table_type = 'BASE TABLE' order by 1, 2",
        [list(parity.SCHEMAS)],
    ).fetchall()
    columns: dict[tuple[str, str], list] = {}
    for schema, name, *column in connection.execute(
        "select table_schema, table_name, column_name, data_type, is_nullable = 'YES' "
        f"from system.information_schema.columns where {of_ours} order by 1, 2, ordinal_position",
        [list(parity.SCHEMAS)],
    ).fetchall():
        columns.setdefault((schema, name), []).append(tuple(column))
    return [_Definition(f"{schema}.{name}", tuple(columns[schema, name]), comment) for schema, name, comment in tables]


def _attach(connection: duckdb.DuckDBPyConnection, origin: Settings) -> str:
    """Attach what is copied, read-only, to the connection that it is copied on; the name of its database."""
    if origin.target == "lake":
        warehouse.use_lake(connection, origin, servers.up(origin), read_only=True)
        return lake.NAME
    if origin.target == "motherduck":
        from duckbook.backends import motherduck

        return motherduck.attach_database(connection, origin)
    connection.execute(f"attach {literal(str(origin.warehouse_path))} as {FILE} (read_only)")
    return FILE


def _copy(target: Settings, connection: duckdb.DuckDBPyConnection, source: str, tables: list[_Definition]) -> None:
    """Make the tables anew, all or none; what stood in their schemas besides is dropped."""
    raw.check_owner(connection)
    connection.execute("begin")
    standing = connection.execute(
        "select table_schema, table_name, if(table_type = 'VIEW', 'view', 'table') "
        "from system.information_schema.tables "
        "where table_catalog = current_database() and list_contains(?, table_schema)",
        [list(parity.SCHEMAS)],
    ).fetchall()
    for schema, name, kind in standing:
        connection.execute(f"drop {kind} {schema}.{quoted(name)}")
    for table in tables:
        listed = ", ".join(
            f"{quoted(column)} {data_type}{'' if nullable else ' not null'}"
            for column, data_type, nullable in table.columns
        )
        connection.execute(f"create schema if not exists {table.name.split('.')[0]}")
        connection.execute(f"create table {table.name} ({listed})")
        connection.execute(f"insert into {table.name} select * from {source}.{table.name}")
        if table.comment:
            connection.execute(f"comment on table {table.name} is {literal(table.comment)}")
    lock.check_lease(target)
    connection.execute("commit")
