"""Compare new batches with the history: which rows are new versions of their key, and which are unchanged.

A row is unchanged if it equals the version of its key that precedes it: by the place of its batch, then by its number
in the batch. In tables with an `update_time`, only versions of the same time are compared, because a batch may hold
several records of a key, and so may the next. Only the new batches' keys are read from the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import duckdb

from duckbook import sql
from duckbook.ingest import rows
from duckbook.ingest.batches import Place
from duckbook.source_tables import SourceTable
from duckbook.sql import listed, literal

ROWS_IN_MEMORY = 2_000_000
"""Up to this many new rows are kept in a temp table; more are read from their files for each query."""

IN_RANGE = "between getvariable('lowest_key') and getvariable('highest_key')"
"""SQL for whether a key is in the range of the new keys; variables, because a NUL in a literal would end the query."""


@dataclass(frozen=True)
class File:
    """A file of rows: its path, its columns and their types, and the place of its batch."""

    path: str
    columns: Sequence[str]
    types: Mapping[str, str]
    place: Place


def find_unchanged(
    connection: duckdb.DuckDBPyConnection,
    table: SourceTable,
    landed: Sequence[File],
    appended: Sequence[File],
    unchanged_before: Sequence[tuple[str, Place]],
    rows_landed: int,
) -> None:
    """Create the temp table `unchanged` (file, row_number, key, row_hash) of rows that need not be stored again.

    Parameters
    ----------
    landed, appended
        Files of new rows, and files of rows in the history.
    unchanged_before
        Files of unchanged rows in the history, with the place of their batch.
    rows_landed
        Number of new rows.
    """
    files = [(file.path, file.place) for file in (*landed, *appended)] + list(unchanged_before)
    _create_file_type(connection, (path for path, _ in files))
    connection.execute("create or replace temp table places (file file_of_rows, place bigint)")
    order = {place: n for n, place in enumerate(sorted({place for _, place in files}))}
    connection.execute(
        "insert into places select unnest(?), unnest(?)", [[f for f, _ in files], [order[place] for _, place in files]]
    )
    new = _versions(table, landed)
    if rows_landed < ROWS_IN_MEMORY:
        connection.execute(f"create or replace temp table new_rows as {new}")
        new = "from new_rows"
    can_be_pruned = bool(unchanged_before) or any(_integer_keys(table, file) for file in appended)
    has_range = can_be_pruned and _set_range(connection, table, landed)
    derived_landed = any("_key" in file.columns for file in landed)
    known = [_versions(table, appended, has_range, derived_landed)] if appended else []
    if unchanged_before:
        # Unchanged rows of a derived key equal its appended row, so the range may leave them out.
        paths = listed(path for path, _ in unchanged_before)
        known.append(
            "select _key as key, _row_hash as row_hash, _row_number as row_number, null as update_time, "
            f"filename::file_of_rows as file from read_parquet({paths}, filename = true, hive_partitioning = false)"
            + (f" where _key {IN_RANGE}" if has_range else "")
        )
    # Compare hashes first: most keys occur once, and their rows never leave the scan.
    connection.execute(
        f"create or replace temp table repeated as select hash(key) as h from ({new}) group by 1 having count(*) > 1"
    )
    connection.execute(
        "create or replace temp table known "
        "(key varchar, row_hash ubigint, row_number bigint, update_time varchar, file file_of_rows)"
    )
    if known:
        connection.execute(
            f"insert into known select * from ({' union all '.join(known)}) "
            f"where hash(key) in (select hash(key) from ({new}))"
        )
        connection.execute("insert into repeated select distinct hash(key) from known")
    connection.execute(
        "create or replace temp table unchanged as "
        f"with arrived as (select *, true as is_new from ({new}) where hash(key) in (select h from repeated)), "
        "versions as (select * from arrived union all select *, false from known), "
        f"{_timed(table, (*landed, *appended), bool(unchanged_before))}"
        "preceded as (select timed.*, lag(row_hash) over (partition by key, time order by place, row_number) as before "
        "from timed inner join places using (file)) "
        "select file, row_number, key, row_hash from preceded where is_new and row_hash = before"
    )


def find_conflicting(
    connection: duckdb.DuckDBPyConnection, table: SourceTable, landed: Sequence[File]
) -> dict[str, tuple[int, str]]:
    """Return file → number of keys with several different records of one update time, and one of these keys.

    Only the order of such records says which is the newest.
    """
    _create_file_type(connection, [file.path for file in landed])
    new = _versions(table, landed)
    repeated = f"select hash(key) from ({new}) where key is not null group by file, hash(key) having count(*) > 1"
    conflicts = connection.execute(
        f"with repeated as ({repeated}), conflicting as (select file, key from ({new}) "
        "where hash(key) in (from repeated) and key is not null "
        "group by file, key, update_time having count(distinct row_hash) > 1) "
        "select file::varchar, count(distinct key), min(key) from conflicting group by file"
    ).fetchall()
    return {file: (keys, example) for file, keys, example in conflicts}


def find_gone(
    connection: duckdb.DuckDBPyConnection,
    table: SourceTable,
    landed: File,
    before: Sequence[File],
    unchanged_before: str | None,
) -> tuple[int, str]:
    """Return the number of business keys that a source no longer holds, and one of them.

    Parameters
    ----------
    before, unchanged_before
        The source's previous batch: its file of rows, if any, and its file of unchanged rows.
    """
    if not any(set(table.key) <= set(file.columns) for file in (landed, *before)):
        return 0, ""
    _create_file_type(connection, [landed.path, *(file.path for file in before)])
    old, new = ([_without_derived_key(file) for file in files] for files in (before, [landed]))
    queries = [f"select key from ({_versions(table, old)})"] if old else []
    if unchanged_before:
        queries.append(f"select _key as key from {literal(unchanged_before)}")
    if not queries:
        return 0, ""
    [(keys, example)] = connection.execute(
        f"with old as ({' union '.join(queries)}) select count(*), coalesce(min(key), '') from old "
        f"where key is not null and key not in (select key from ({_versions(table, new)}) "
        "where key is not null)"
    ).fetchall()
    return keys, example


def _without_derived_key(file: File) -> File:
    return replace(file, columns=[name for name in file.columns if name != "_key"])


def _create_file_type(connection: duckdb.DuckDBPyConnection, paths: Iterable[str]) -> None:
    """Create an enum of the files' paths: a path per row would take more memory than the rest of the row."""
    connection.execute(f"create or replace temp type file_of_rows as enum ({', '.join(map(literal, paths))})")


def _timed(table: SourceTable, files: Iterable[File], with_unchanged: bool) -> str:
    """Return a CTE that adds the update `time` of each version; an unchanged row takes that of the row it equals."""
    if not any(table.update_time in file.columns for file in files):
        return "timed as (select *, null as time from versions), "
    update_time = "max(update_time) over (partition by key, row_hash)" if with_unchanged else "update_time"
    return f"timed as (select *, try_cast({update_time} as timestamptz) as time from versions), "


def _set_range(connection: duckdb.DuckDBPyConnection, table: SourceTable, landed: Sequence[File]) -> bool:
    """Set the range of the new keys; False if keys have several parts or no row has a business key."""
    if len(table.key) > 1:
        return False
    own = [_without_derived_key(file) for file in landed]
    [ends] = connection.execute(f"select min(key), max(key) from ({_versions(table, own)})").fetchall()
    for name, end in zip(("lowest_key", "highest_key"), ends, strict=True):
        connection.execute(f"set variable {name} = ?", [end])
    return None not in ends


def _versions(table: SourceTable, files: Iterable[File], in_range: bool = False, derived: bool = True) -> str:
    """Return a query for key, hash, number, update time and file of rows; files with the same layout are read together.

    Parameters
    ----------
    in_range
        Whether to leave out keys outside the range, so that Parquet's statistics skip most row groups of a long
        history. Only keys that are stored as they are can be skipped.
    derived
        Whether to include derived keys, which have no range, with `in_range`.
    """

    def layout(file: File) -> tuple[bool, bool, bool, str, list[str]]:
        return (
            set(table.key) <= set(file.columns),
            "_key" in file.columns,
            table.update_time in file.columns,
            rows.row_number(file.columns),
            _integer_keys(table, file),
        )

    selects = []
    for (has_key, has_derived, has_time, number, whole), group in groupby(sorted(files, key=layout), key=layout):
        own = table.key if has_key else ()
        time = sql.quoted(table.update_time) if table.update_time and has_time else "null"
        read = (
            f"_row_hash as row_hash, {number} as row_number, {time} as update_time, filename::file_of_rows as file "
            f"from read_parquet({listed(file.path for file in group)}, filename = true, file_row_number = true, "
            "union_by_name = true, hive_partitioning = false)"
        )
        if in_range and whole:
            key = rows.key(table, own, whole)
            selects.append(f"select {key} as key, {read} where {key} {IN_RANGE}")
            if has_derived and derived:
                selects.append(f"select _key as key, {read} where _key is not null")
        else:
            columns = (*own, "_key") if has_derived else own
            selects.append(f"select {rows.any_key(table, columns, whole)} as key, {read}")
    return " union all ".join(selects)


def _integer_keys(table: SourceTable, file: File) -> list[str]:
    """Return the key columns that hold integers in a file, whose range is in Parquet's statistics."""
    return sorted(rows.whole_numbers(file.types) & set(table.key))
