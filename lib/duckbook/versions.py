"""Which rows are new, and which are what their key was already: the comparison of batches with the history.

A row is unchanged when it is identical to the version of its key that precedes it in source order: by the place of
its batch, then by its number within it. The history is asked only about the keys that the new batches hold, and not at
all where there is none yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import duckdb

from duckbook import rows
from duckbook.batches import Place
from duckbook.rows import listed
from duckbook.tables import SourceTable

FEW_ROWS = 2_000_000
"""Below this, what came is read once and held; above, it is read again from its files for each question."""


MANY_FILES = 8
"""From so many files of the history on, reading them is waiting for the server, which more threads do at once."""


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
    connection.execute("create or replace temp table places (file varchar, place bigint)")
    files = [(file.path, file.place) for file in (*landed, *appended)] + list(sighted)
    order = {place: n for n, place in enumerate(sorted({place for _, place in files}))}
    connection.execute(
        "insert into places select unnest(?), unnest(?)", [[f for f, _ in files], [order[place] for _, place in files]]
    )
    came = _versions(table, landed)
    if rows_landed < FEW_ROWS:
        connection.execute(f"create or replace temp table came as {came}")
        came = "from came"
    known = [_versions(table, appended)] if appended else []
    if sighted:
        known.append(
            "select _key as key, _row_hash as row_hash, _row_number as row_number, filename as file "
            f"from read_parquet({listed(path for path, _ in sighted)}, filename = true, hive_partitioning = false)"
        )
    # Keys are compared by their hash first: most occur once, and those never leave the scan.
    connection.execute(
        f"create or replace temp table contested as select hash(key) as h from ({came}) group by 1 having count(*) > 1"
    )
    connection.execute(
        "create or replace temp table known (key varchar, row_hash ubigint, row_number bigint, file varchar)"
    )
    if known:
        with _threads_for(connection, len(appended) + len(sighted)):
            connection.execute(
                f"insert into known select * from ({' union all '.join(known)}) "
                f"where hash(key) in (select hash(key) from ({came}))"
            )
        connection.execute("insert into contested select distinct hash(key) from known")
    connection.execute(
        "create or replace temp table unchanged as "
        f"with arrived as (select *, true as is_new from ({came}) where hash(key) in (select h from contested)), "
        "versions as (select * from arrived union all select *, false from known), "
        "preceded as (select versions.*, lag(row_hash) over (partition by key order by place, row_number) as before "
        "from versions inner join places using (file)) "
        "select file, row_number, key, row_hash from preceded where is_new and row_hash = before"
    )


@contextmanager
def _threads_for(connection: duckdb.DuckDBPyConnection, files: int) -> Iterator[None]:
    (threads,) = connection.execute("select current_setting('threads')").fetchone()
    connection.execute(f"set threads = {max(threads, 16 if files >= MANY_FILES else 1)}")
    try:
        yield
    finally:
        connection.execute(f"set threads = {threads}")


def _versions(table: SourceTable, files: Iterable[File]) -> str:
    """A query for key, hash, number and file of rows; files are read together where they have the same of these."""

    def told(file: File) -> tuple[bool, bool, str, list[str]]:
        whole = rows.whole_numbers(file.types) & set(table.key)
        number = rows.row_number(file.columns)
        return set(table.key) <= set(file.columns), "_key" in file.columns, number, sorted(whole)

    selects = []
    for (has_key, has_derived, number, whole), group in groupby(sorted(files, key=told), key=told):
        key = rows.key(table, table.key if has_key else (), whole)
        selects.append(
            f"select {f'coalesce({key}, _key)' if has_derived else key} as key, _row_hash as row_hash, "
            f"{number} as row_number, filename as file "
            f"from read_parquet({listed(file.path for file in group)}, filename = true, file_row_number = true, "
            "union_by_name = true, hive_partitioning = false)"
        )
    return " union all ".join(selects)
