"""The raw layer of a warehouse: rows as the sources gave them, and the bookkeeping of their batches.

Raw is a copy of what the history in S3 has committed: `load` brings the commits that a warehouse lacks, `rebuild`
makes it anew. Nothing else writes to the schema but the quarantine model of dbt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import duckdb

from duckbook.backends import disk_space
from duckbook.errors import IngestError, WarehouseError, first_line
from duckbook.ingest import rows
from duckbook.ingest.batches import Batch, Chronicle
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
"""The tables beside the source tables: name → column → type."""


GROWN = ("ecom_staging", "ecom_intermediate")
"""The schemas in which dbt adds to tables that it built before."""

RESTORE = "Restore what was changed or lost below history/, or empty history/ and ingest the landing zone anew."

HARDLY_REPEATS = "using compression zstd"
"""How a file keeps text that hardly repeats, as keys and times do: DuckDB would try every way, and take one that is no
smaller, for a fifth more of the time that raw takes to load."""

MOST_FILES = 200
"""One statement reads so many files: the lists of what is known of them are made anew for every piece of a file."""

READ_HERE = {"duckdb": "", "lake": "", "motherduck": ", md_run = local"}
"""Target → what tells it to read files of S3 in this process: MotherDuck's own servers may not reach the endpoint."""

ROLES = {
    "rows": (None, "appended"),
    "sightings": ("sightings", "unchanged"),
    "unreadable": ("unreadable", "unreadable"),
}
"""Kind of file of a batch → the table that takes it (None: the source table's own), and the flow that counts it."""


def create(connection: duckdb.DuckDBPyConnection, target: str = "duckdb") -> None:
    """Make the schema and its empty tables, where they do not exist yet, and columns that were defined since.

    Parameters
    ----------
    connection
        A warehouse, open for writing.
    target
        What it is, as in the setting: only a file is told how to keep text that hardly repeats.
    """
    connection.execute(f"create schema if not exists {SCHEMA}")
    packing = HARDLY_REPEATS if target == "duckdb" else ""
    for name, table in source_tables().items():
        columns = dict.fromkeys(table.column_names, "varchar") | ROW_COLUMNS
        times = (column.name for column in table.columns if column.data_type == "timestamp")
        packed = {column: f"{columns[column]} {packing}" for column in ("_key", table.key[0], *times)}
        connection.execute(_create_table(name, columns | packed))
    for name, columns in BOOKKEEPING.items():
        connection.execute(_create_table(name, columns))
    there = set(
        connection.execute(
            "select table_name, column_name from information_schema.columns "
            "where table_catalog = current_database() and table_schema = ?",
            [SCHEMA],
        ).fetchall()
    )
    defined = {name: dict.fromkeys(table.column_names, "varchar") for name, table in source_tables().items()}
    for name, columns in (defined | BOOKKEEPING).items():
        for column, kind in columns.items():
            if (name, column) not in there:
                connection.execute(f"alter table {SCHEMA}.{name} add column {quoted(column)} {kind}")


def refuse_others(connection: duckdb.DuckDBPyConnection) -> None:
    """See that a warehouse's schemas of our names are ours, before anything in them is replaced.

    Raises
    ------
    WarehouseError
        They hold tables and not the list of commits, which is made first.
    """
    query = (
        "select min(concat_ws('.', table_schema, table_name)), bool_or(table_name = 'commits' and table_schema = ?) "
        "from system.information_schema.tables where table_catalog = current_database() "
        "and list_contains(?, table_schema)"
    )
    found, are_ours = connection.execute(query, [SCHEMA, [SCHEMA, *GROWN, "ecom_marts"]]).fetchone()
    if found and not are_ours:
        raise WarehouseError(
            f"The warehouse holds {found}, which duckbook has not made and would replace: rename that schema, or name "
            "another database (DUCKBOOK_MOTHERDUCK_DATABASE, DUCKBOOK_LAKE_SCHEMA) or data folder (DATA=folder)."
        )


@dataclass(frozen=True)
class LoadReport:
    """What was loaded: the numbers of the commits, and their batches; and all that raw holds now."""

    commits: tuple[int, ...]
    batches: tuple[Batch, ...]
    history: Chronicle

    @property
    def lineage(self) -> list[dict]:
        """What raw was made of: every batch with its checksums, and whether it came with this load."""
        new = {batch.batch_id for batch in self.batches}
        return [batch.identity | {"new": batch.batch_id in new} for batch in self.history.batches]


def load(settings: Settings, endpoints: Endpoints) -> LoadReport:
    """Bring the commits of the history that the warehouse lacks, all of them or none.

    Raises
    ------
    WarehouseError
        The warehouse cannot be opened, or was loaded from another history.
    IngestError
        A file of the history does not hold what its commit says.
    """
    return _load(settings, endpoints, anew=False)


def rebuild(settings: Settings, endpoints: Endpoints) -> LoadReport:
    """Make raw anew from the history alone; what was there is replaced in one transaction.

    The models that dbt builds by increments go with it, so that they are made anew as well.

    Raises
    ------
    WarehouseError, IngestError
        As `load`, or there is no history; raw is then as it was.
    """
    return _load(settings, endpoints, anew=True)


def _load(settings: Settings, endpoints: Endpoints, anew: bool) -> LoadReport:
    from duckbook.backends import lock, storage, warehouse
    from duckbook.ingest import commit_log

    bucket = settings.s3_historic_bucket
    chronicle = commit_log.read(storage.client(endpoints.s3), bucket)
    if anew and not chronicle.commits:
        raise IngestError(f"There is no history in s3://{bucket} to make raw of, so it is left as it is. {RESTORE}")
    with warehouse.open_warehouse(settings, trusted=True) as connection:
        connection.execute("begin")
        refuse_others(connection)
        create(connection, settings.target)
        lacking = chronicle.commits[applied(connection, chronicle) :] if not anew else chronicle.commits
        # A warehouse that was loaded before somebody was forgotten, or a batch withdrawn, is made anew from what the
        # history holds now.
        taken_out = any(commit.forgotten or commit.withdrawn for commit in lacking)
        anew = anew or (len(lacking) < len(chronicle.commits) and taken_out)
        if anew:
            lacking = chronicle.commits
            for name in (*source_tables(), *BOOKKEEPING):
                connection.execute(f"drop table if exists {SCHEMA}.{name}")
            for schema in GROWN:
                connection.execute(f"drop schema if exists {schema} cascade")
            create(connection, settings.target)
        named = {batch.batch_id for commit in lacking for batch in commit.batches}
        batches = tuple(batch for batch in chronicle.batches if batch.batch_id in named)
        if lacking:
            warehouse.use_s3(connection, endpoints.s3)
            if settings.target != "motherduck":
                # Kept in order, row groups would be as full as those of the files, and where these are not full DuckDB
                # writes the whole table a second time when it closes.
                connection.execute("set preserve_insertion_order = false")
                warehouse.halve_memory_limit(connection)
            insert_batches(connection, batches)
            for name in source_tables():
                mine = [batch for batch in batches if batch.table == name]
                _insert_table(connection, bucket, name, mine, READ_HERE[settings.target])
            connection.execute(f"delete from {SCHEMA}.as_of")
            connection.execute(f"insert into {SCHEMA}.as_of values (?)", [lacking[-1].as_of])
            connection.execute(
                f"insert into {SCHEMA}.commits select unnest(?), unnest(?)",
                [[commit.number for commit in lacking], [commit.digest for commit in lacking]],
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
    return LoadReport(tuple(commit.number for commit in lacking), batches, chronicle)


def applied(connection: duckdb.DuckDBPyConnection, chronicle: Chronicle, schema: str = SCHEMA) -> int:
    """How many commits the warehouse has.

    Raises
    ------
    WarehouseError
        It was loaded from another history.
    """
    found = connection.execute(f"select number, digest from {schema}.commits order by number").fetchall()
    if found != [(commit.number, commit.digest) for commit in chronicle.commits[: len(found)]]:
        raise WarehouseError(
            "The warehouse was loaded from another history than the one in S3: `make rebuild` makes it anew from that."
        )
    return len(found)


def insert_batches(connection: duckdb.DuckDBPyConnection, batches: Sequence[Batch]) -> None:
    """Insert what is told of batches, into `ecom_raw.batches`."""
    columns = {name: [] for name in BOOKKEEPING["batches"]}
    for batch in batches:
        told = {"table_name": batch.table, "drift": json.dumps(batch.drift)}
        for name, values in columns.items():
            values.append(told[name] if name in told else getattr(batch, name))
    unnested = ", ".join(f"unnest(?::{kind}[])" for kind in BOOKKEEPING["batches"].values())
    connection.execute(f"insert into {SCHEMA}.batches select {unnested}", list(columns.values()))


def _insert_table(connection, bucket: str, name: str, batches: Sequence[Batch], here: str = "") -> None:
    """Insert rows, sightings and unreadable records of a table's batches, as many as the batches say."""
    known = (*source_tables()[name].column_names, *ROW_COLUMNS)
    for column in dict.fromkeys(c for batch in batches for c in batch.columns if c not in known):
        connection.execute(f"alter table {SCHEMA}.{name} add column if not exists {quoted(column)} varchar")
    for role, (target, flow) in ROLES.items():
        for alike in groups(role, batches):
            query = selected(bucket, name, role, alike, here)
            try:
                (found,) = connection.execute(f"insert into {SCHEMA}.{target or name} by name {query}").fetchone()
            except (duckdb.HTTPException, duckdb.IOException, duckdb.InvalidInputException) as error:
                why = first_line(error)
                raise IngestError(f"{name}: the history cannot be read: {why}. {RESTORE}") from error
            if found != (expected := sum(getattr(batch, flow) for batch in alike)):
                raise IngestError(
                    f"{name}: the commits of the history name {expected:,} {flow} rows, its files hold {found:,}. "
                    f"{RESTORE}"
                )


def groups(role: str, batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    """The batches with files of a role, by what those have in common that one statement inserts."""

    def told(batch: Batch) -> tuple:
        whole = sorted(rows.whole_numbers(batch.types) & set(source_tables()[batch.table].key))
        # A column of this name would be taken for the place of the file.
        return batch.columns, whole, batch.batch_id if "file_index" in batch.columns else ""

    for _, group in groupby(sorted((batch for batch in batches if role in batch.files), key=told), key=told):
        alike = list(group)
        yield from (alike[n : n + MOST_FILES] for n in range(0, len(alike), MOST_FILES))


def selected(
    bucket: str,
    name: str,
    role: str,
    batches: Sequence[Batch],
    here: str = "",
    local: Mapping[str, Path] | None = None,
) -> str:
    """A query for the rows of batches of a table that are alike, with what is known of these.

    Parameters
    ----------
    here
        As in `READ_HERE`.
    local
        Key → file, of what is not in the bucket yet.
    """
    told = {"_batch_id": "batch_id", "_source": "source", "_loaded_at": "as_of"}
    left_out = ""
    if role == "rows":
        table, columns = source_tables()[name], batches[0].columns
        data = [column for column in columns if column not in ROW_COLUMNS]
        # Where a record has to have a key of its own, one without it is for staging to set aside.
        key_of = rows.any_key if table.derived_key else rows.key
        key = key_of(table, columns, rows.whole_numbers(batches[0].types))
        number = rows.row_number(columns)
        told_columns = [*map(quoted, data), f"{key} as _key", f"{number} as _row_number", "_row_hash"]
        if whole := [place for place, b in enumerate(batches) if b.with_sightings and "sightings" in b.files]:
            sightings = _files(bucket, "sightings", [batches[place] for place in whole], here, local)
            seen = f"select {_among_all(whole, '_row_number')} from {sightings}"
            left_out = f" where {_among_all(range(len(batches)), number)} not in ({seen})"
    elif role == "sightings":
        told_columns = [f"'{name}' as table_name", "_key", "_row_hash", "_row_number"]
        told = {"_batch_id": "batch_id"}
    else:
        told_columns = [f"'{name}' as table_name", "row_number", "reason", "original"]
        told = {"batch_id": "batch_id", "source": "source"}
    for column, attribute in told.items():
        known = [literal(str(getattr(batch, attribute))) for batch in batches]
        told_columns.append(f"{_of_file(known, 'timestamp' if attribute == 'as_of' else 'varchar')} as {column}")
    return f"select {', '.join(told_columns)} from {_files(bucket, role, batches, here, local)}{left_out}"


def _files(bucket: str, role: str, batches: Sequence[Batch], here: str, local: Mapping[str, Path] | None) -> str:
    keys, local = [batch.files[role] for batch in batches], local or {}
    files = listed(str(local[key]) if key in local else f"s3://{bucket}/{key}" for key in keys)
    return f"read_parquet({files}, file_row_number = true, hive_partitioning = false{here})"


def _of_file(values: Sequence[str], kind: str) -> str:
    """What is known of the file that a row is of, by the file's place among those that are read.

    It is the same for all that DuckDB reads of a file at once, where a join costs a fifth of the time.
    """
    if len(values) == 1:
        return f"{values[0]}::{kind}"
    return f"([{', '.join(values)}]::{kind}[])[file_index::bigint + 1]"


def _among_all(places: Sequence[int], number: str) -> str:
    """A number that tells a row from those of all other files, of its number in a file that has one of these places."""
    return f"{_of_file([str(place) for place in places], 'bigint')} * 1_000_000_000_000 + {number}"


def _create_table(name: str, columns: dict[str, str]) -> str:
    listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    return f"create table if not exists {SCHEMA}.{name} ({listed})"
