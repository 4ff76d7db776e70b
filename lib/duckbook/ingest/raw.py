"""The raw layer of a warehouse: rows as the sources gave them, and the bookkeeping of their batches.

Raw is a copy of the history in S3: `load` inserts the commits that a warehouse lacks, `rebuild` replaces everything.
Only dbt's quarantine model writes to the schema as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb

from duckbook.backends import disk_space
from duckbook.errors import IngestError, WarehouseError, first_line
from duckbook.ingest import rows
from duckbook.ingest.batches import Batch, History
from duckbook.ingest.rows import ROW_COLUMNS
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import source_tables
from duckbook.sql import listed, literal, quoted

SCHEMA = "ecom_raw"

BOOKKEEPING = {
    "sightings": {
        "table_name": "varchar",
        "_key": "varchar",
        "_row_hash": "ubigint",
        "_batch_id": "varchar",
        "_row_number": "bigint",
    },
    "batches": {
        "batch_id": "varchar",
        "table_name": "varchar",
        "system": "varchar",
        "source": "varchar",
        "batch_date": "date",
        "sequence": "bigint",
        "content_hash": "varchar",
        "as_of": "date",
        "landed": "bigint",
        "appended": "bigint",
        "unchanged": "bigint",
        "unreadable": "bigint",
        "drift": "varchar",
        "declared": "boolean",
        "conflicting": "bigint",
        "gone": "bigint",
    },
    "unreadable": {
        "table_name": "varchar",
        "batch_id": "varchar",
        "source": "varchar",
        "row_number": "bigint",
        "reason": "varchar",
        "original": "varchar",
    },
    "as_of": {"as_of": "date"},
    "commits": {"number": "bigint", "digest": "varchar"},
}
"""Bookkeeping tables: name → column → type; `sightings` holds the unchanged rows."""

INCREMENTAL_SCHEMAS = ("ecom_staging", "ecom_intermediate")
"""Schemas with incremental dbt models."""

RESTORE = "Restore what was changed or lost below history/, or empty history/ and ingest the landing zone again."

UNIQUE_TEXT_COMPRESSION = "using compression zstd"
"""Compression of columns that hardly repeat, such as keys and times. DuckDB's own choice is no smaller and makes the
load of raw a fifth slower."""

FILES_PER_STATEMENT = 200
"""Maximum, because DuckDB evaluates the lists with the files' attributes again for every chunk of rows."""

READ_IN_PROCESS = {"duckdb": "", "lake": "", "motherduck": ", md_run = local"}
"""Target → option to read files from S3 in this process: MotherDuck's servers may not reach the endpoint."""

ROLES = {
    "rows": (None, "appended"),
    "sightings": ("sightings", "unchanged"),
    "unreadable": ("unreadable", "unreadable"),
}
"""Kind of file of a batch → target table (None: the source table) and the count that it must match."""


def create(connection: duckdb.DuckDBPyConnection, target: str = "duckdb") -> None:
    """Create the schema, its tables and the columns that were defined since, if they do not exist.

    Parameters
    ----------
    connection
        A warehouse, open for writing.
    target
        The target, as in the setting; compression is only set for a DuckDB file.
    """
    connection.execute(f"create schema if not exists {SCHEMA}")
    compression = UNIQUE_TEXT_COMPRESSION if target == "duckdb" else ""
    for name, table in source_tables().items():
        columns = dict.fromkeys(table.column_names, "varchar") | ROW_COLUMNS
        times = (column.name for column in table.columns if column.data_type == "timestamp")
        compressed = {column: f"{columns[column]} {compression}" for column in ("_key", table.key[0], *times)}
        connection.execute(_create_table(name, columns | compressed))
    for name, columns in BOOKKEEPING.items():
        connection.execute(_create_table(name, columns))
    present = set(
        connection.execute(
            "select table_name, column_name from information_schema.columns "
            "where table_catalog = current_database() and table_schema = ?",
            [SCHEMA],
        ).fetchall()
    )
    defined = {name: dict.fromkeys(table.column_names, "varchar") for name, table in source_tables().items()}
    for name, columns in (defined | BOOKKEEPING).items():
        for column, kind in columns.items():
            if (name, column) not in present:
                connection.execute(f"alter table {SCHEMA}.{name} add column {quoted(column)} {kind}")


def check_owner(connection: duckdb.DuckDBPyConnection) -> None:
    """Check that schemas with our names are ours, before anything in them is replaced.

    Raises
    ------
    WarehouseError
        They hold tables but not ecom_raw.commits.
    """
    query = (
        "select min(concat_ws('.', table_schema, table_name)), bool_or(table_name = 'commits' and table_schema = ?) "
        "from system.information_schema.tables where table_catalog = current_database() "
        "and list_contains(?, table_schema)"
    )
    schemas = [SCHEMA, *INCREMENTAL_SCHEMAS, "ecom_marts"]
    [(table, are_ours)] = connection.execute(query, [SCHEMA, schemas]).fetchall()
    if table and not are_ours:
        raise WarehouseError(
            f"The warehouse holds {table}, which duckbook did not create and would replace: rename that schema, or use "
            "another database (DUCKBOOK_MOTHERDUCK_DATABASE, DUCKBOOK_LAKE_SCHEMA) or data folder (DATA=folder)."
        )


@dataclass(frozen=True)
class LoadReport:
    """The loaded commits' numbers and batches, and the history that raw now holds."""

    commits: tuple[int, ...]
    batches: tuple[Batch, ...]
    history: History

    @property
    def lineage(self) -> list[dict[str, Any]]:
        """Every batch in raw with its checksums, and whether this load added it."""
        new = {batch.batch_id for batch in self.batches}
        return [batch.identity | {"new": batch.batch_id in new} for batch in self.history.batches]


def load(settings: Settings, endpoints: Endpoints) -> LoadReport:
    """Load the commits that the warehouse lacks, in one transaction.

    Raises
    ------
    WarehouseError
        The warehouse cannot be opened, or was loaded from another history.
    IngestError
        A file of the history does not match its commit.
    """
    return _load(settings, endpoints, rebuild=False)


def rebuild(settings: Settings, endpoints: Endpoints) -> LoadReport:
    """Rebuild raw from the history alone, in one transaction.

    The incremental models of dbt are dropped, so that dbt builds them in full.

    Raises
    ------
    WarehouseError, IngestError
        As for `load`, or there is no history; raw is then unchanged.
    """
    return _load(settings, endpoints, rebuild=True)


def _load(settings: Settings, endpoints: Endpoints, rebuild: bool) -> LoadReport:
    from duckbook.backends import lock, storage, warehouse
    from duckbook.ingest import commit_log

    bucket = settings.s3_historic_bucket
    history = commit_log.read(storage.client(endpoints.s3), bucket)
    if rebuild and not history.commits:
        raise IngestError(f"There is no history in s3://{bucket} to rebuild raw from; raw is unchanged. {RESTORE}")
    with warehouse.open_warehouse(settings, trusted=True) as connection:
        connection.execute("begin")
        check_owner(connection)
        create(connection, settings.target)
        commits = history.commits if rebuild else history.commits[applied(connection, history) :]
        # An erasure or a withdrawal changes batches that are already loaded.
        amends = any(commit.forgotten or commit.withdrawn for commit in commits)
        if rebuild or (amends and len(commits) < len(history.commits)):
            commits = history.commits
            for name in (*source_tables(), *BOOKKEEPING):
                connection.execute(f"drop table if exists {SCHEMA}.{name}")
            for schema in INCREMENTAL_SCHEMAS:
                connection.execute(f"drop schema if exists {schema} cascade")
            create(connection, settings.target)
        batch_ids = {batch.batch_id for commit in commits for batch in commit.batches}
        batches = tuple(batch for batch in history.batches if batch.batch_id in batch_ids)
        if commits:
            warehouse.use_s3(connection, endpoints.s3)
            if settings.target != "motherduck":
                # In order, row groups would be as small as those of the files, and DuckDB would write a table with
                # partly filled row groups a second time when it closes.
                connection.execute("set preserve_insertion_order = false")
                warehouse.halve_memory_limit(connection)
            insert_batches(connection, batches)
            for name in source_tables():
                of_table = [batch for batch in batches if batch.table == name]
                _insert_table(connection, bucket, name, of_table, READ_IN_PROCESS[settings.target])
            connection.execute(f"delete from {SCHEMA}.as_of")
            connection.execute(f"insert into {SCHEMA}.as_of values (?)", [commits[-1].as_of])
            connection.execute(
                f"insert into {SCHEMA}.commits select unnest(?), unnest(?)",
                [[commit.number for commit in commits], [commit.digest for commit in commits]],
            )
        lock.check_lease(settings)
        try:
            connection.execute("commit")
        except duckdb.TransactionException as error:
            if disk_space.FULL.search(str(error)):
                raise WarehouseError(f"Nothing was loaded: {first_line(error)}.") from None
            raise WarehouseError(
                "Another process loaded the same warehouse at the same moment; this one added nothing: run it again."
            ) from None
    return LoadReport(tuple(commit.number for commit in commits), batches, history)


def applied(connection: duckdb.DuckDBPyConnection, history: History, schema: str = SCHEMA) -> int:
    """Return the number of commits that the warehouse has.

    Raises
    ------
    WarehouseError
        It was loaded from another history.
    """
    commits = connection.execute(f"select number, digest from {schema}.commits order by number").fetchall()
    if commits != [(commit.number, commit.digest) for commit in history.commits[: len(commits)]]:
        raise WarehouseError(
            "The warehouse was loaded from another history than the one in S3: rebuild it from S3 with `make rebuild`."
        )
    return len(commits)


def insert_batches(connection: duckdb.DuckDBPyConnection, batches: Sequence[Batch]) -> None:
    """Insert batches into `ecom_raw.batches`."""
    columns: dict[str, list[Any]] = {name: [] for name in BOOKKEEPING["batches"]}
    for batch in batches:
        converted = {"table_name": batch.table, "drift": json.dumps(batch.drift)}
        for name, values in columns.items():
            values.append(converted[name] if name in converted else getattr(batch, name))
    unnested = ", ".join(f"unnest(?::{kind}[])" for kind in BOOKKEEPING["batches"].values())
    connection.execute(f"insert into {SCHEMA}.batches select {unnested}", list(columns.values()))


def _insert_table(
    connection: duckdb.DuckDBPyConnection, bucket: str, name: str, batches: Sequence[Batch], read_option: str = ""
) -> None:
    """Insert the new, unchanged and unreadable rows of a table's batches, and check their counts."""
    known = (*source_tables()[name].column_names, *ROW_COLUMNS)
    for column in dict.fromkeys(c for batch in batches for c in batch.columns if c not in known):
        connection.execute(f"alter table {SCHEMA}.{name} add column if not exists {quoted(column)} varchar")
    for role, (target, flow) in ROLES.items():
        for alike in groups(role, batches):
            query = rows_query(bucket, name, role, alike, read_option)
            try:
                [(inserted,)] = connection.execute(f"insert into {SCHEMA}.{target or name} by name {query}").fetchall()
            except (duckdb.HTTPException, duckdb.IOException, duckdb.InvalidInputException) as error:
                why = first_line(error)
                raise IngestError(f"{name}: the history cannot be read: {why}. {RESTORE}") from error
            if inserted != (expected := sum(getattr(batch, flow) for batch in alike)):
                raise IngestError(
                    f"{name}: the commits of the history list {expected:,} {flow} rows, its files hold {inserted:,}. "
                    f"{RESTORE}"
                )


def groups(role: str, batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    """Group the batches that have files of a role by columns and key types, so that one statement can read a group."""

    def properties(batch: Batch) -> tuple[tuple[str, ...], list[str], str]:
        whole = sorted(rows.whole_numbers(batch.types) & set(source_tables()[batch.table].key))
        # A column of this name would hide DuckDB's own file_index.
        return batch.columns, whole, batch.batch_id if "file_index" in batch.columns else ""

    with_role = sorted((batch for batch in batches if role in batch.files), key=properties)
    for _, group in groupby(with_role, key=properties):
        alike = list(group)
        yield from (alike[n : n + FILES_PER_STATEMENT] for n in range(0, len(alike), FILES_PER_STATEMENT))


def rows_query(
    bucket: str,
    name: str,
    role: str,
    batches: Sequence[Batch],
    read_option: str = "",
    local: Mapping[str, Path] | None = None,
) -> str:
    """Return a query for the rows of a group of batches of a table, with each batch's attributes.

    Parameters
    ----------
    read_option
        A value of `READ_IN_PROCESS`.
    local
        Key → local file, for files that are not in the bucket yet.
    """
    attributes = {"_batch_id": "batch_id", "_source": "source", "_loaded_at": "as_of"}
    condition = ""
    if role == "rows":
        table, present = source_tables()[name], batches[0].columns
        data = [column for column in present if column not in ROW_COLUMNS]
        # In tables without derived keys, staging quarantines records without a key.
        key_of = rows.any_key if table.derived_key else rows.key
        key = key_of(table, present, rows.whole_numbers(batches[0].types))
        number = rows.row_number(present)
        columns = [*map(quoted, data), f"{key} as _key", f"{number} as _row_number", "_row_hash"]
        if mixed := [index for index, b in enumerate(batches) if b.with_sightings and "sightings" in b.files]:
            unchanged = _files(bucket, "sightings", [batches[index] for index in mixed], read_option, local)
            numbers = f"select {_unique_row_number(mixed, '_row_number')} from {unchanged}"
            condition = f" where {_unique_row_number(range(len(batches)), number)} not in ({numbers})"
    elif role == "sightings":
        columns = [f"'{name}' as table_name", "_key", "_row_hash", "_row_number"]
        attributes = {"_batch_id": "batch_id"}
    else:
        columns = [f"'{name}' as table_name", "row_number", "reason", "original"]
        attributes = {"batch_id": "batch_id", "source": "source"}
    for column, attribute in attributes.items():
        values = [literal(str(getattr(batch, attribute))) for batch in batches]
        columns.append(f"{_value_per_file(values, 'timestamp' if attribute == 'as_of' else 'varchar')} as {column}")
    return f"select {', '.join(columns)} from {_files(bucket, role, batches, read_option, local)}{condition}"


def _files(bucket: str, role: str, batches: Sequence[Batch], read_option: str, local: Mapping[str, Path] | None) -> str:
    keys, local = [batch.files[role] for batch in batches], local or {}
    files = listed(str(local[key]) if key in local else f"s3://{bucket}/{key}" for key in keys)
    return f"read_parquet({files}, file_row_number = true, hive_partitioning = false{read_option})"


def _value_per_file(values: Sequence[str], kind: str) -> str:
    """Return SQL for the value of the row's file, given one per file; a join would take a fifth of the load."""
    if len(values) == 1:
        return f"{values[0]}::{kind}"
    return f"([{', '.join(values)}]::{kind}[])[file_index::bigint + 1]"


def _unique_row_number(indexes: Sequence[int], number: str) -> str:
    """Return SQL for a row number that is unique over several files, given the index per file."""
    return f"{_value_per_file([str(index) for index in indexes], 'bigint')} * 1_000_000_000_000 + {number}"


def _create_table(name: str, columns: dict[str, str]) -> str:
    listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    return f"create table if not exists {SCHEMA}.{name} ({listed})"
