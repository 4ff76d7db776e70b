"""What a run would say of the limit of quarantined rows, if it ingested what has landed.

It is asked as in a run, by `quarantine.counts`, of tables in memory which hold of staging what that reads: the
rows that are set aside, and the sound ones of their keys. What staging has built is taken from the warehouse; what came
since, or all where there is no warehouse to be read, from the files of the history and of the landing zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb

from duckbook.backends import lake, warehouse
from duckbook.errors import WarehouseError
from duckbook.ingest import raw
from duckbook.ingest.batches import Batch, History
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import source_tables
from duckbook.sql import literal
from duckbook.transform import quarantine
from duckbook.transform.rejections import rejection

BUILT = "built"
"""Name under which the file of the warehouse is attached."""


def outstanding(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    endpoints: Endpoints,
    chronicle: History,
    new: Sequence[Batch],
    files: Mapping[str, Path],
) -> list[dict]:
    """As `quarantine.counts`, after an ingest of new batches.

    Parameters
    ----------
    connection
        An engine in memory that reads the history; it gets tables of its own.
    new, files
        Batches with all of their rows, and their files by key.

    Raises
    ------
    WarehouseError
        The warehouse was loaded from another history.
    """
    database, until = _built(connection, settings, endpoints, chronicle)
    batches = [*chronicle.batches, *new]
    connection.execute("create schema if not exists ecom_staging")
    raw.create(connection, target="")
    raw.insert_batches(connection, batches)
    placed = sorted(batches, key=lambda batch: batch.place)
    connection.execute(
        "create table ecom_staging.stg_batches as select unnest($1) as batch_id, unnest($2) as table_name, "
        "generate_subscripts($1, 1) as place",
        [[batch.batch_id for batch in placed], [batch.table for batch in placed]],
    )
    newest = {batch.source: batch for batch in batches}
    for name in source_tables():
        mine = [batch for batch in batches if batch.table == name]
        held = (settings.s3_historic_bucket, name, mine, files, database, until.get(name, -1))
        for unreadable in raw.groups("unreadable", [batch for batch in mine if newest[batch.source] is batch]):
            query = raw.rows_query(settings.s3_historic_bucket, name, "unreadable", unreadable, local=files)
            connection.execute(f"insert into ecom_raw.unreadable by name {query}")
        _fill(connection, name, list(_rows(*held)), list(_sightings(*held)))
    return quarantine.counts(connection, settings.mask_personal)


def _built(connection, settings: Settings, endpoints: Endpoints, chronicle: History) -> tuple[str, dict[str, int]]:
    """The database with what staging has built; and table → the sequence up to which it has, for those that it has."""
    try:
        if settings.target == "lake":
            warehouse.use_lake(connection, settings, endpoints, read_only=True)
            database = lake.NAME
        elif settings.target == "duckdb" and settings.warehouse_path.exists():
            connection.execute(f"attach {literal(str(settings.warehouse_path))} as {BUILT} (read_only)")
            database = BUILT
        else:
            return "", {}
    except (WarehouseError, duckdb.Error):
        return "", {}  # In use, or not there yet.
    try:
        applied = raw.applied(connection, chronicle, f"{database}.{raw.SCHEMA}")
    except duckdb.CatalogException:
        return "", {}
    if any(commit.forgotten or commit.withdrawn for commit in chronicle.commits[applied:]):
        return "", {}  # It will be made anew.
    found = connection.execute(
        "select table_name, string_split(table_comment, ' ')[-1] from system.information_schema.tables "
        "where table_catalog = ? and table_schema = 'ecom_staging' and starts_with(table_name, 'base_') "
        "and table_comment like 'Built by code % up to %'",
        [database],
    ).fetchall()
    return database, {name.removeprefix("base_"): int(sequence) for name, sequence in found}


def _rows(
    bucket: str, name: str, batches: Sequence[Batch], files: Mapping[str, Path], database: str, until: int
) -> Iterator[str]:
    """Queries for the rows of a table, each with the reason for which it is set aside."""
    columns = "_key, _row_hash, _batch_id, _row_number"
    if until >= 0:
        yield f"select {columns}, _rejection from {database}.ecom_staging.base_{name}"
    for alike in raw.groups("rows", [batch for batch in batches if batch.sequence > until]):
        why = rejection(source_tables()[name], alike[0].columns)
        yield f"select {columns}, {why} as _rejection from ({raw.rows_query(bucket, name, 'rows', alike, local=files)})"


def _sightings(
    bucket: str, name: str, batches: Sequence[Batch], files: Mapping[str, Path], database: str, until: int
) -> Iterator[str]:
    """Queries for the sightings of a table."""
    columns = "table_name, _key, _row_hash, _batch_id, _row_number"
    if until >= 0:
        of = f"table_name = {literal(name)}"
        known = f"select batch_id from {database}.ecom_raw.batches where {of} and sequence <= {until}"
        sightings = f"{database}.ecom_raw.sightings where {of} and _batch_id in ({known})"
        yield f"select {columns} from {sightings}"
    for alike in raw.groups("sightings", [batch for batch in batches if batch.sequence > until]):
        yield f"select {columns} from ({raw.rows_query(bucket, name, 'sightings', alike, local=files)})"


def _fill(connection, name: str, rows: Sequence[str], sightings: Sequence[str]) -> None:
    """Make the base table of the rows that are set aside, and of all others that have one of their keys."""
    base = f"ecom_staging.base_{name}"
    connection.execute(
        f"create table {base} (_key varchar, _row_hash ubigint, _batch_id varchar, _row_number bigint, "
        "_rejection varchar, _state varchar)"
    )
    for query in rows:
        connection.execute(f"insert into {base} select *, 'quarantined' from ({query}) where _rejection is not null")
    connection.execute(f"create or replace temp table at_fault as select _key, _row_hash from {base}")
    if connection.execute("select 1 from at_fault limit 1").fetchone():
        keys = "_key in (select _key from at_fault where _key is not null)"
        for query in rows:
            connection.execute(
                f"insert into {base} select *, 'staged' from ({query}) where {keys} and _rejection is null"
            )
        seen = f"{keys} or _row_hash in (select _row_hash from at_fault)"
        for query in sightings:
            connection.execute(f"insert into ecom_raw.sightings by name select * from ({query}) where {seen}")
