"""Which rows are new, and which are what their key was already: the comparison of batches with the history.

A row is unchanged when it is identical to the version of its key that precedes it in source order: by the place of
its batch, then by its number within it. Where records tell from when they hold (`update_time`), it is compared with
those that hold from the same time: a batch may bring several records of a key, and the next batch bring them again.
The history is asked only about the keys that the new batches hold, and not at all where there is none yet.
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

FEW_ROWS = 2_000_000
"""Below this, what came is read once and held; above, it is read again from its files for each question."""

IN_RANGE = "between getvariable('lowest_key') and getvariable('highest_key')"
"""Whether a key is in the range of those that came; a variable, since a key that holds a NUL would end a query."""


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
    sighted: Sequence[tuple[str, Place]],
    rows_landed: int,
) -> None:
    """Make the temp table `unchanged` (file, row_number, key, row_hash) of the rows that need not be stored again.

    Parameters
    ----------
    landed, appended
        Files of rows that came now, and that the history has.
    sighted
        Files of the history's sightings: path, place of the batch.
    rows_landed
        How many rows came now.
    """
    files = [(file.path, file.place) for file in (*landed, *appended)] + list(sighted)
    _name_files(connection, (path for path, _ in files))
    connection.execute("create or replace temp table places (file file_of_rows, place bigint)")
    order = {place: n for n, place in enumerate(sorted({place for _, place in files}))}
    connection.execute(
        "insert into places select unnest(?), unnest(?)", [[f for f, _ in files], [order[place] for _, place in files]]
    )
    came = _versions(table, landed)
    if rows_landed < FEW_ROWS:
        connection.execute(f"create or replace temp table came as {came}")
        came = "from came"
    can_be_pruned = bool(sighted) or any(_whole(table, file) for file in appended)
    has_range = can_be_pruned and _set_range(connection, table, landed)
    derived_landed = any("_key" in file.columns for file in landed)
    known = [_versions(table, appended, has_range, derived_landed)] if appended else []
    if sighted:
        # Of a derived key all versions are the same, so that the row which was appended tells of its sightings as well.
        known.append(
            "select _key as key, _row_hash as row_hash, _row_number as row_number, null as told, "
            "filename::file_of_rows as file "
            f"from read_parquet({listed(path for path, _ in sighted)}, filename = true, hive_partitioning = false)"
            + (f" where _key {IN_RANGE}" if has_range else "")
        )
    # Keys are compared by their hash first: most occur once, and those never leave the scan.
    connection.execute(
        f"create or replace temp table contested as select hash(key) as h from ({came}) group by 1 having count(*) > 1"
    )
    connection.execute(
        "create or replace temp table known "
        "(key varchar, row_hash ubigint, row_number bigint, told varchar, file file_of_rows)"
    )
    if known:
        connection.execute(
            f"insert into known select * from ({' union all '.join(known)}) "
            f"where hash(key) in (select hash(key) from ({came}))"
        )
        connection.execute("insert into contested select distinct hash(key) from known")
    connection.execute(
        "create or replace temp table unchanged as "
        f"with arrived as (select *, true as is_new from ({came}) where hash(key) in (select h from contested)), "
        "versions as (select * from arrived union all select *, false from known), "
        f"{_timed(table, (*landed, *appended), bool(sighted))}"
        "preceded as (select timed.*, lag(row_hash) over (partition by key, time order by place, row_number) as before "
        "from timed inner join places using (file)) "
        "select file, row_number, key, row_hash from preceded where is_new and row_hash = before"
    )


def find_conflicting(
    connection: duckdb.DuckDBPyConnection, table: SourceTable, landed: Sequence[File]
) -> dict[str, tuple[int, str]]:
    """File → how many keys it has several records of that differ and hold from the same time, and one of these keys.

    Of such records one alone can be the newest, and nothing but their order tells which.
    """
    _name_files(connection, [file.path for file in landed])
    came = _versions(table, landed)
    repeated = f"select hash(key) from ({came}) where key is not null group by file, hash(key) having count(*) > 1"
    found = connection.execute(
        f"with repeated as ({repeated}), conflicting as (select file, key from ({came}) "
        "where hash(key) in (from repeated) and key is not null "
        "group by file, key, told having count(distinct row_hash) > 1) "
        "select file::varchar, count(distinct key), min(key) from conflicting group by file"
    ).fetchall()
    return {file: (keys, example) for file, keys, example in found}


def find_gone(
    connection: duckdb.DuckDBPyConnection,
    table: SourceTable,
    landed: File,
    before: Sequence[File],
    sightings: str | None,
) -> tuple[int, str]:
    """How many keys a source held when it was read before and holds no more, and one of these; without derived ones.

    Parameters
    ----------
    before, sightings
        The files of the batch before: of its rows, none or one, and of its sightings.
    """
    if not any(set(table.key) <= set(file.columns) for file in (landed, *before)):
        return 0, ""
    _name_files(connection, [landed.path, *(file.path for file in before)])
    held, now = ([_with_own_keys(file) for file in files] for files in (before, [landed]))
    queries = [f"select key from ({_versions(table, held)})"] if held else []
    if sightings:
        queries.append(f"select _key as key from {literal(sightings)}")
    if not queries:
        return 0, ""
    return connection.execute(
        f"with held as ({' union '.join(queries)}) select count(*), coalesce(min(key), '') from held "
        f"where key is not null and key not in (select key from ({_versions(table, now)}) "
        "where key is not null)"
    ).fetchone()


def _with_own_keys(file: File) -> File:
    return replace(file, columns=[name for name in file.columns if name != "_key"])


def _name_files(connection: duckdb.DuckDBPyConnection, paths: Iterable[str]) -> None:
    """Make the type of the names of files: a path for each row would take more memory than all else that is held."""
    connection.execute(f"create or replace temp type file_of_rows as enum ({', '.join(map(literal, paths))})")


def _timed(table: SourceTable, files: Iterable[File], with_sightings: bool) -> str:
    """A CTE with the `time` from which each of the versions holds, null where it tells none.

    A sighting holds from the time of the row that it is of.
    """
    if not any(table.update_time in file.columns for file in files):
        return "timed as (select *, null as time from versions), "
    told = "max(told) over (partition by key, row_hash)" if with_sightings else "told"
    return f"timed as (select *, try_cast({told} as timestamptz) as time from versions), "


def _set_range(connection, table: SourceTable, landed: Sequence[File]) -> bool:
    """Set the range of the keys that came; False where keys have several parts, or no row has one of its own."""
    if len(table.key) > 1:
        return False
    own = [_with_own_keys(file) for file in landed]
    ends = connection.execute(f"select min(key), max(key) from ({_versions(table, own)})").fetchone()
    for name, end in zip(("lowest_key", "highest_key"), ends, strict=True):
        connection.execute(f"set variable {name} = ?", [end])
    return None not in ends


def _versions(table: SourceTable, files: Iterable[File], in_range: bool = False, derived: bool = True) -> str:
    """A query for key, hash, number, time and file of rows; files that have these alike are read together.

    Parameters
    ----------
    in_range
        Whether rows may be left out whose keys are not in the range that was set: where a key is in the file as it
        is, Parquet tells which groups of rows hold none of it, and of a long history only the latest part is read.
    derived
        Whether rows are asked for then whose keys are derived from their content, and so have no range.
    """

    def told(file: File) -> tuple[bool, bool, bool, str, list[str]]:
        return (
            set(table.key) <= set(file.columns),
            "_key" in file.columns,
            table.update_time in file.columns,
            rows.row_number(file.columns),
            _whole(table, file),
        )

    selects = []
    for (has_key, has_derived, has_time, number, whole), group in groupby(sorted(files, key=told), key=told):
        own = table.key if has_key else ()
        time = sql.quoted(table.update_time) if has_time else "null"
        read = (
            f"_row_hash as row_hash, {number} as row_number, {time} as told, filename::file_of_rows as file "
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


def _whole(table: SourceTable, file: File) -> list[str]:
    """The columns of the key whose text in a file is that of whole numbers, so that Parquet knows their range."""
    return sorted(rows.whole_numbers(file.types) & set(table.key))
