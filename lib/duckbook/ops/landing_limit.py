"""Predict whether a run would exceed the limit of quarantined rows.

`quarantine.counts` counts as in a run, but over in-memory tables with only the rows of staging that it reads:
quarantined rows, and valid rows of the same keys. Rows that staging has built come from the warehouse. Later rows, or
all rows if the warehouse cannot be read, come from the files of the history and of the landing zone.
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
"""Name under which the warehouse file is attached."""


def quarantined_after_ingest(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    endpoints: Endpoints,
    chronicle: History,
    new: Sequence[Batch],
    files: Mapping[str, Path],
) -> list[dict]:
    """Return what `quarantine.counts` would return after an ingest of new batches.

    Parameters
    ----------
    connection
        An in-memory engine that can read the history. Tables are created in it.
    new, files
        Batches with all of their rows, and their files by key.

    Raises
    ------
    WarehouseError
        The warehouse was loaded from another history.
    """
    database, built_up_to = _attach_built(connection, settings, endpoints, chronicle)
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
        table_batches = [batch for batch in batches if batch.table == name]
        arguments = (settings.s3_historic_bucket, name, table_batches, files, database, built_up_to.get(name, -1))
        for unreadable in raw.groups("unreadable", [batch for batch in table_batches if newest[batch.source] is batch]):
            query = raw.rows_query(settings.s3_historic_bucket, name, "unreadable", unreadable, local=files)
            connection.execute(f"insert into ecom_raw.unreadable by name {query}")
        _fill(connection, name, list(_row_queries(*arguments)), list(_unchanged_queries(*arguments)))
    return quarantine.counts(connection, settings.mask_personal)


def _attach_built(
    connection, settings: Settings, endpoints: Endpoints, chronicle: History
) -> tuple[str, dict[str, int]]:
    """Attach the warehouse; return its database, and table → the last sequence that its staging was built of."""
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
        return "", {}  # The next load rebuilds it.
    built = connection.execute(
        "select table_name, string_split(table_comment, ' ')[-1] from system.information_schema.tables "
        "where table_catalog = ? and table_schema = 'ecom_staging' and starts_with(table_name, 'base_') "
        "and table_comment like 'Built by code % up to %'",
        [database],
    ).fetchall()
    return database, {name.removeprefix("base_"): int(sequence) for name, sequence in built}


def _row_queries(
    bucket: str, name: str, batches: Sequence[Batch], files: Mapping[str, Path], database: str, until: int
) -> Iterator[str]:
    """Yield queries for the rows of a table with their rejections."""
    columns = "_key, _row_hash, _batch_id, _row_number"
    if until >= 0:
        yield f"select {columns}, _rejection from {database}.ecom_staging.base_{name}"
    for alike in raw.groups("rows", [batch for batch in batches if batch.sequence > until]):
        why = rejection(source_tables()[name], alike[0].columns)
        yield f"select {columns}, {why} as _rejection from ({raw.rows_query(bucket, name, 'rows', alike, local=files)})"


def _unchanged_queries(
    bucket: str, name: str, batches: Sequence[Batch], files: Mapping[str, Path], database: str, until: int
) -> Iterator[str]:
    """Yield queries for the unchanged rows of a table."""
    columns = "table_name, _key, _row_hash, _batch_id, _row_number"
    if until >= 0:
        of_table = f"table_name = {literal(name)}"
        built = f"select batch_id from {database}.ecom_raw.batches where {of_table} and sequence <= {until}"
        yield f"select {columns} from {database}.ecom_raw.sightings where {of_table} and _batch_id in ({built})"
    for alike in raw.groups("sightings", [batch for batch in batches if batch.sequence > until]):
        yield f"select {columns} from ({raw.rows_query(bucket, name, 'sightings', alike, local=files)})"


def _fill(connection, name: str, row_queries: Sequence[str], unchanged_queries: Sequence[str]) -> None:
    """Create the base table with quarantined rows, and with valid rows that share a key with one."""
    base = f"ecom_staging.base_{name}"
    connection.execute(
        f"create table {base} (_key varchar, _row_hash ubigint, _batch_id varchar, _row_number bigint, "
        "_rejection varchar, _state varchar)"
    )
    for query in row_queries:
        connection.execute(f"insert into {base} select *, 'quarantined' from ({query}) where _rejection is not null")
    connection.execute(f"create or replace temp table rejected as select _key, _row_hash from {base}")
    if connection.execute("select 1 from rejected limit 1").fetchone():
        keys = "_key in (select _key from rejected where _key is not null)"
        for query in row_queries:
            connection.execute(
                f"insert into {base} select *, 'staged' from ({query}) where {keys} and _rejection is null"
            )
        relevant = f"{keys} or _row_hash in (select _row_hash from rejected)"
        for query in unchanged_queries:
            connection.execute(f"insert into ecom_raw.sightings by name select * from ({query}) where {relevant}")
